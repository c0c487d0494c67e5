"""The page on a reader's own network, task, optimiser, loss and probe: each of its examples is run as it is printed."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from richness.networks import OPTIMIZERS
from richness.networks.optimizers import Step, stability_line
from richness.runs.probes import PROBES

PAGE = Path(__file__).parents[2] / "chapters" / "your-own.md"
NAMES = (
    "loop",
    "module",
    "attention",
    "network",
    "task",
    "data",
    "optimizer",
    "momenta",
    "clipping",
    "muon",
    "probe",
    "weights",
    "results",
    "batches",
    "measured module",
)
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
EXAMPLES = dict(zip(NAMES, BLOCKS, strict=True))

pytestmark = pytest.mark.usefixtures("tidy_registries")


LONG = {"loop", "module", "attention", "muon", "batches"}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in LONG)) for kind in EXAMPLES])
def test_the_example_runs_as_printed(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where its store goes
    text = EXAMPLES[kind]
    assert len([line for line in text.splitlines() if line.strip()]) <= 20
    namespace = {"__name__": "__main__"}
    exec(text, namespace)
    if kind == "measured module":
        assert float(namespace["largest"]) > 0
        return
    runs = namespace["runs"]
    assert (runs.status == 0).any(), "some of its networks converge"
    best = float(runs.late_loss.min())
    assert best < 0.9 * float(runs.initial_loss.max()), "and learn"
    if kind == "muon":
        assert namespace["report"].passed
    if kind == "batches":
        assert namespace["largest"].dims == ("batch", "gamma", "seed") and np.isfinite(namespace["largest"]).any()
    if kind == "weights":
        assert namespace["largest"].shape == namespace["aligned"].shape == namespace["now"].eta.shape
        assert namespace["outputs"].shape == (1, 256, 10)
    if kind == "probe":
        assert runs.movement.dims == ("gamma", "eta", "seed", "step", "layer") and runs.sizes["layer"] == 3
        moved = runs.movement.isel(step=-1, layer=0, seed=0)
        assert np.isfinite(moved.where(runs.status[..., 0] == 0, drop=True)).any() and float(moved.max()) > 0


def defined(kind: str) -> dict:
    """What an example defines, its plane small."""
    namespace: dict = {"__name__": "__main__"}
    exec(EXAMPLES[kind].replace('"steps": 200', '"steps": 2'), namespace)
    return namespace


@pytest.mark.parametrize(
    ("kind", "name", "memories", "theirs"),
    [
        ("momenta", "nesterov", 1, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True)),
        ("momenta", "adamw", 2, lambda p: torch.optim.AdamW(p, 0.1, eps=1e-8, weight_decay=0.1)),
        ("clipping", "clipped", 0, lambda p: torch.optim.SGD(p, 0.1)),
    ],
)
def test_its_optimisers_are_torchs(kind, name, memories, theirs):
    torch.manual_seed(0)
    update, weight = defined(kind)[name], torch.randn(1, 4, 5, dtype=torch.float64)
    other, size = torch.nn.Parameter(weight[0].clone()), torch.full((1, 1, 1), 0.1, dtype=torch.float64)
    memory, optimizer = [torch.zeros_like(weight) for _ in range(memories)], theirs([other])
    for number in range(6):
        gradient = torch.randn(1, 4, 5, dtype=torch.float64) * 3 ** (number - 3)
        other.grad = gradient[0].clone()
        if name == "clipped":
            torch.nn.utils.clip_grad_norm_([other], 5**0.5)
        optimizer.step()
        update(weight, gradient, memory, size, Step(number, [size], torch.tensor([1e-8], dtype=torch.float64), 0.9))
    torch.testing.assert_close(weight[0], other.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_nesterovs_line_is_where_a_quadratic_diverges(beta):
    defined("momenta")
    update, line = OPTIMIZERS["my_nesterov"].update, stability_line(0.1, "my_nesterov", beta)
    for share in (0.98, 1.02):
        weight, memory = torch.ones(1, 1, 1, dtype=torch.float64), [torch.zeros(1, 1, 1, dtype=torch.float64)]
        size = torch.full((1, 1, 1), 0.1, dtype=torch.float64)
        for number in range(2000):
            update(weight, share * line * weight, memory, size, Step(number, [size], torch.zeros(1), beta))
        assert (abs(float(weight)) < 1) == (share < 1)


@pytest.mark.slow
def test_its_muon_steps_as_torchs_does():
    """Torch's is in bfloat16, its momentum a mean, and its step's size another: the directions are compared."""
    torch.manual_seed(0)
    update, weight = defined("muon")["muon"], torch.randn(2, 4, 6)
    others = [torch.nn.Parameter(one.clone()) for one in weight]
    optimizer, memory = torch.optim.Muon(others, lr=0.1, weight_decay=0.0, momentum=0.9), [torch.zeros_like(weight)]
    for number in range(5):
        gradient, before = (
            torch.randn(2, 4, 6) * 10.0 ** (number - 2),
            (weight.clone(), [one.clone() for one in others]),
        )
        for one, own in zip(others, gradient, strict=True):
            one.grad = own.clone()
        optimizer.step()
        update(weight, gradient, memory, torch.full((1, 1, 1), 0.1), Step(number, [], torch.tensor([1e-8]), 0.9))
        for k, one in enumerate(others):
            ours, theirs = (weight[k] - before[0][k]) / (0.1 * 24**0.5), (one - before[1][k]).detach() / 0.1
            torch.testing.assert_close(ours, theirs, atol=0.08, rtol=0)
            assert torch.linalg.svdvals(ours).sub(1).abs().max() < 0.5
    assert math.isnan(stability_line(0.1, "muon"))


def test_its_smoothed_loss_is_torchs():
    outputs, labels = torch.randn(3, 4, 5), torch.tensor([4, 0, 2, 1])
    found = defined("clipping")["smoothed"](outputs, labels)
    expected = [torch.nn.functional.cross_entropy(one, labels, label_smoothing=0.1) for one in outputs]
    torch.testing.assert_close(found, torch.stack(expected))
    assert math.isnan(stability_line(0.1, "clipped"))


def test_the_page_names_every_probe():
    for name in PROBES:
        assert f"`{name}`" in PAGE.read_text(), name
