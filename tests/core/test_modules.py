"""Modules of a reader's own as networks of the plane: against torch's own training, one module at a time."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import richness
from richness import sweep
from richness.networks.rules import RULES
from richness.runs.training import train

pytestmark = pytest.mark.usefixtures("tidy_registries")


def single(width, outputs):
    """A batch norm that has one number a sample and unit: it takes no lone sample."""
    return nn.Sequential(nn.Linear(64, width, bias=False), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, outputs))


def normed(width, outputs):
    """Convolutions and batch norms, with a step that changes its inputs in place."""
    return nn.Sequential(
        nn.Hardtanh(-2.0, 2.0, inplace=True), nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.ConvTranspose2d(width, width, 2, stride=2), nn.GroupNorm(2, width), nn.AvgPool2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * width, outputs),
    )  # fmt: skip


class Attention(nn.Module):
    def __init__(self, width, outputs, kept=3.0):
        super().__init__()
        self.table, self.embed = nn.Embedding(8, width), nn.Linear(8, width)
        self.mark, self.fixed = nn.Parameter(torch.full((width,), 0.5)), nn.Linear(8, width).requires_grad_(False)
        self.attend = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm, self.readout = nn.LayerNorm(width), nn.Linear(width, outputs)
        self.register_buffer("order", torch.arange(8))
        self.register_buffer("gain", torch.tensor(kept))

    def forward(self, x):
        x = x.unflatten(1, (8, 8))
        h = self.embed(x) + self.fixed(x) + self.table(self.order) + self.mark
        h = h + self.gain * self.attend(h, h, h, need_weights=False)[0]
        return self.readout(self.norm(h).mean(1))


MAKES = {"single": (single, None), "normed": (normed, None), "attention": (Attention, {"mark": "offset"})}
FIELDS = {"width": 8, "steps": 12, "dtype": "float64", "batch_size": 16}


@pytest.fixture(params=MAKES)
def named(request):
    make, rules = MAKES[request.param]
    richness.register_module(request.param, make, rules=rules)
    return request.param


@pytest.mark.parametrize(("optimizer", "eta"), [("sgd", 0.05), ("adam", 0.003)])
@pytest.mark.parametrize("gamma", [0.3, 3.0])
def test_it_trains_as_torch_trains_it(small, named, gamma, optimizer, eta):
    """Centred, in µP and stepped by torch, from the same weights."""
    experiment = small(network=named, optimizer=optimizer, **FIELDS)
    found = train(experiment, 1, [(gamma, eta), (1.0, eta)]).loss[:, 0]
    torch.manual_seed(0)
    module, network = MAKES[named][0](width=8, outputs=10).double(), experiment.architecture
    groups = richness.maximal_update_(module, eta, width=8, optimizer=optimizer, rules=MAKES[named][1])
    assert [group["name"] for group in groups] == [p.name for p in network.parameters]
    for group, parameter, weight in zip(groups, network.parameters, network.initialise(1), strict=True):
        if parameter.rule != "offset":
            group["params"][0].data.copy_(weight * parameter.scale)
        if optimizer == "adam":
            group["eps"] = 1e-8 / (gamma * 8 * parameter.scale)
    centred, losses = richness.Centred(module, gamma), []
    step = (torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam)(groups, lr=0)
    for t in range(experiment.steps + 1):
        x, labels = experiment.source.batch(1, t, 16)
        loss = nn.functional.mse_loss(centred(x.double()), nn.functional.one_hot(labels, 10).double())
        losses.append(loss.item())
        step.zero_grad()
        loss.backward()
        step.step()
    np.testing.assert_allclose(found, losses, rtol=1e-7)
    assert abs(losses[-1] / losses[0] - 1) > 1e-3


def test_threads_change_nothing(small, named):
    cells = [(1.0, eta) for eta in np.geomspace(1e-3, 0.05, 24)]
    experiment = small(network=named, **FIELDS | {"steps": 6})
    alone, together = (train(experiment, 0, cells, threads=threads).loss for threads in (1, 4))
    np.testing.assert_allclose(together, alone, rtol=1e-9)


def test_curvature_can_be_had(small, named):
    probes = ["sharpness", *["ntk_alignment"] * (named == "attention")]
    runs = sweep(small(network=named, **FIELDS | {"steps": 2}, probes=probes))
    assert all(runs[probe].notnull().all() for probe in probes) and (runs.sharpness > 0).all()
    if named != "attention":
        with pytest.raises(ValueError, match=f"kernel_change is of samples one by one, and '{named}' has batch norms"):
            small(network=named, probes=["kernel_change"])


def test_every_parameter_stands_in_the_table(small):
    richness.register_module("attention", Attention, rules={"mark": "offset"})
    network = small(network="attention", **FIELDS).architecture
    lines = [line.split() for line in str(network).splitlines()[1:]]
    assert {line[0]: line[2] for line in lines} == {
        "mark": "offset", "table.weight": "embedding", "embed.weight": "hidden", "embed.bias": "hidden_bias",
        "attend.in_proj_weight": "hidden", "attend.in_proj_bias": "hidden_bias", "attend.out_proj.weight": "hidden",
        "attend.out_proj.bias": "hidden_bias", "norm.weight": "offset", "norm.bias": "offset",
        "readout.weight": "readout", "readout.bias": "readout_bias",
    }  # fmt: skip
    assert set(RULES) > {line[2] for line in lines}


@pytest.mark.slow
def test_the_coordinate_check_passes_where_nothing_depends_on_the_batch():
    richness.register_module("attention", partial(Attention, kept=1.0), rules={"mark": "offset"})
    checked = richness.check_coordinates("attention", widths=(64, 128, 256))
    assert checked.passed, str(checked)
    richness.register_module("normed", normed)
    failed = richness.check_coordinates("normed", widths=(32, 64, 128), seeds=(0, 1)).failed
    assert [row.axis for row in failed] == ["batch"], failed
    richness.register_module("single", single)
    assert "batch" in {row.axis for row in richness.check_coordinates("single", widths=(16, 32), seeds=(0,)).failed}


def test_an_edited_module_or_another_rule_is_another_recipe(small):
    prints = set()
    for kept, rules in ((1.0, {"mark": "offset"}), (2.0, {"mark": "offset"}), (2.0, {"mark": "frozen"})):
        richness.register_module("attention", partial(Attention, kept=kept), rules=rules)
        prints.add(small(network="attention", **FIELDS).hash)
    assert len(prints) == 3


def test_what_does_not_fit_is_told_so(small):
    wrong = (
        (Attention, r"no rule covers mark: give rules="),
        (lambda width: nn.Linear(64, width), "two linear or convolutional layers or more"),
        (lambda width: "tree", "must return a torch.nn.Module, got str"),
        (
            lambda channels: nn.Linear(64, channels),
            "may ask for inputs, .*, and asks for channels",
        ),
        (
            lambda width: nn.Sequential(nn.Linear(64, width), nn.Dropout(0.1), nn.Linear(width, 10)),
            "1 drops out a share 0.1",
        ),
        (
            lambda width: nn.Sequential(nn.Linear(64, width), nn.RReLU(), nn.Linear(width, 10)),
            r"1 \(RReLU\) draws random numbers",
        ),
        (lambda width: nn.Sequential(nn.Linear(64, width), nn.Linear(width, 9)), r"outputs \(batch, 10\)"),
        (
            lambda width: nn.Sequential(nn.Embedding(9, width, 0), nn.Linear(4, 4), nn.Linear(width, 9)),
            "row of padding",
        ),
    )
    for k, (make, words) in enumerate(wrong):
        richness.register_module(f"wrong{k}", make)
        with pytest.raises(ValueError, match=words):
            small(network=f"wrong{k}")
    with pytest.raises(
        TypeError, match="takes a function that makes a module, got Linear: hand over the function itself"
    ):
        richness.register_module("wrong", nn.Linear(3, 3))
