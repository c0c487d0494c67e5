"""The paper's networks at the paper's size: weights counted against torch's own modules, and one training step of each."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from richness import networks
from richness.data import TASKS
from richness.runs.experiment import Experiment
from richness.runs.recipes import all_recipes, names, paper_recipes, recipe
from richness.runs.training import Trainer, cell_bytes


def count(network) -> int:
    return sum(math.prod(shape) for shape in network.shapes)


def torch_resnet18(outputs: int) -> nn.Sequential:
    """ResNet-18 for small images, with a batch norm after each convolution, as torchvision builds its blocks."""

    def block(into: int, out: int) -> nn.ModuleList:
        made = [nn.Conv2d(into, out, 3, bias=False), nn.BatchNorm2d(out)]
        made += [nn.Conv2d(out, out, 3, bias=False), nn.BatchNorm2d(out)]
        return nn.ModuleList(made + ([nn.Conv2d(into, out, 1, bias=False), nn.BatchNorm2d(out)] if into != out else []))

    sizes = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    blocks = [block(into, out) for into, out in itertools.pairwise(sizes)]
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, bias=False), nn.BatchNorm2d(64), *blocks, nn.Linear(512, outputs, bias=False)
    )


@pytest.mark.parametrize("outputs", [10, 200])
def test_resnet18_has_the_weights_of_resnet18(outputs):
    ours = networks.build("resnet", 3 * 64**2, outputs, 64, 18, "relu")
    theirs = sum(p.numel() for p in torch_resnet18(outputs).parameters())
    assert count(ours) == theirs == 11_173_952 + 512 * (outputs - 10)  # with ten biases in its readout: 11,173,962


def test_the_vit_has_the_blocks_of_vit_tiny():
    ours = networks.build("vit", 3 * 64**2, 200, 192, 50, "relu")
    block = nn.TransformerEncoderLayer(192, 3, 768)
    biases = sum(p.numel() for name, p in block.named_parameters() if "bias" in name and "norm" not in name)
    blocks = 12 * (sum(p.numel() for p in block.parameters()) - biases)
    ends = 192 * 3 * 16**2 + 16 * 192 + 2 * 192 + 192 * 200  # patches, places, the last norm, the readout
    assert count(ours) == blocks + ends == 5_506_944


def test_cnn_and_mlp_are_counted_by_hand():
    cnn = networks.build("cnn", 3 * 32**2, 10, 128, 4, "relu")
    assert count(cnn) == 3 * 9 * 128 + 128 * 9 * 128 + 128 * 8 * 8 * 128 + 128 * 10 == 1_200_768
    assert count(networks.build("mlp", 784, 10, 1024, 3, "relu")) == 784 * 1024 + 1024**2 + 1024 * 10


def test_recipes_on_downloaded_data_are_of_paper_scale_alone():
    assert not set(paper_recipes()) & set(all_recipes()) and set(names("paper")) - set(names("laptop")) == set(
        paper_recipes()
    )
    for name in paper_recipes():
        experiment = recipe(name, "paper")
        assert TASKS[experiment.task].bring is not None and experiment.device == "cuda", name
        with pytest.raises(ValueError, match="no scale but 'paper'"):
            recipe(name, "laptop")
    with pytest.raises(ValueError, match="unknown recipe"):
        recipe("nothing", "paper")


def test_a_finite_stream_outlasts_its_recipe():
    samples = {"mnist1m": 900_000, "cifar5m": 5 * 1_000_448}
    for name in paper_recipes():
        experiment = recipe(name, "paper")
        needed = (experiment.steps + 1) * experiment.batch_size
        assert needed <= samples.get(experiment.task, needed), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["portrait_mlp3_mse_mnist1m", "portrait_cnn4_mse_cifar5m",
                                  "portrait_resnet_mse_tinyimagenet", "portrait_vit_mse_tinyimagenet"])  # fmt: skip
def test_one_training_step_at_the_papers_size(name, monkeypatch):
    """On noise in the shape of the data, of as many samples as this machine has memory for, at most 16."""
    fields = recipe(name, "paper").model_dump() | {"device": "cpu", "steps": 1, "budgets": (), "probes": ("loss",)}
    source = TASKS[fields["task"]]

    def noise(seed, steps, batch_size, stream, device):
        chance = torch.Generator().manual_seed(seed)
        x = torch.randn(len(steps), batch_size, source.inputs, generator=chance)
        return x, torch.randint(0, source.outputs, x.shape[:2], generator=chance)

    monkeypatch.setitem(TASKS, source.name, replace(source, draw=noise))
    gamma, room = 1.0, psutil.virtual_memory().available / 2
    for batch_size in (16, 8, 4, 2, 1):
        experiment = Experiment.model_validate(fields | {"batch_size": batch_size})
        if 6 * cell_bytes(experiment, torch.float32) < room:  # its twin, and what autograd and convolutions keep
            break
    trainer = Trainer(experiment, 0, [(gamma, 1e-3 * experiment.natural_eta(gamma))])
    x, y = trainer.batch(0)
    assert (trainer.outputs(trainer.stack, trainer.stack.weights, x) == 0).all(), "centred"
    before = float(trainer.update(0)[0])
    assert before == pytest.approx(1 / source.outputs, rel=1e-5)  # mean square of one-hot targets
    f = trainer.outputs(trainer.stack, trainer.stack.weights, x)[0]
    after = float(((f - nn.functional.one_hot(y, source.outputs)) ** 2).mean())
    assert 0 < before - after < before and np.isfinite(after)
    moved = [float((w - w0).abs().max()) for w, w0 in zip(trainer.stack.weights, trainer.start, strict=True)]
    assert all(distance > 0 for distance in moved), "every parameter has a gradient"
