"""Any module on the dial: against the engine that the book's figures come from, and what a torch module must be able to do."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import richness
from richness.networks import cnn
from richness.networks.parameterization import natural_eta
from richness.runs.training import Trainer

OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0),
    "momentum": lambda groups: torch.optim.SGD(groups, lr=0, momentum=0.9),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0),
}


def mlp(width=12, outputs=10, bias=False):
    sizes = [64, width, width, outputs]
    layers = [nn.Linear(a, b, bias=bias) for a, b in pairwise(sizes)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).double()


@pytest.mark.parametrize(("optimizer", "straight"), [("sgd", 8.0), ("momentum", 2.0), ("adam", 0.1)])
@pytest.mark.parametrize("gamma", [0.1, 10.0])
def test_it_trains_as_the_engine_does(small, optimizer, straight, gamma):
    """Layer by layer the same weights and the same steps: the same losses, under every rule for the step."""
    eta = straight * natural_eta(gamma, 3, optimizer)
    trainer = Trainer(small(task="digits8", width=12, dtype="float64", optimizer=optimizer), 0, [(gamma, eta)])
    module = mlp()
    groups = richness.maximal_update_(module, eta, optimizer=optimizer)
    layers = zip(module[::2], groups, trainer.stack.weights, trainer.network.scales, strict=True)
    with torch.no_grad():
        for layer, group, weight, scale in layers:
            layer.weight.copy_(weight[0] * scale)
            if optimizer == "adam":
                group["eps"] = 1e-8 / (gamma * 12 * scale)  # as the gradients, which the multiplier divides
    network = richness.Centred(module, gamma)
    step = OPTIMIZERS[optimizer](groups)
    ours, theirs = [], []
    for t in range(12):
        x, labels = trainer.batch(t)
        loss = nn.functional.mse_loss(network(x), nn.functional.one_hot(labels, 10).double())
        step.zero_grad()
        loss.backward()
        step.step()
        ours.append(loss.item())
        theirs.append(float(trainer.update(t)))
    assert ours == pytest.approx(theirs, rel=1e-8)
    assert abs(ours[-1] - ours[0]) > 1e-3 * ours[0]


def test_convolutions_are_scaled_as_in_the_package():
    module = nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False), nn.Conv2d(6, 6, 3, bias=False), nn.Linear(24, 10, bias=False)
    )
    groups = richness.maximal_update_(module, 2.0, width=6)
    ours = cnn(64, 10, 6, 3, "relu")
    for group, scale in zip(groups, ours.scales, strict=True):
        assert group["lr"] == pytest.approx(6 * 2.0 * scale**2)
        (weight,) = group["params"]
        assert float(weight.std()) == pytest.approx(scale, rel=0.3)


def test_biases_start_at_zero_and_move_by_order_eta():
    groups = richness.maximal_update_(mlp(width=16, bias=True), 3.0)
    biases = [group for group in groups if group["params"][0].ndim == 1]
    assert [group["lr"] for group in biases] == pytest.approx([48.0, 48.0, 3.0])
    assert all(not group["params"][0].any() for group in biases)


def test_it_is_exactly_zero_at_first_and_then_the_difference():
    module = mlp()
    before, network, x = copy.deepcopy(module), richness.Centred(module, 0.01), torch.randn(7, 64).double()
    assert not network(x).any()
    with torch.no_grad():
        module[0].weight.add_(0.1)
    assert torch.allclose(network(x), (module(x) - before(x)) / 0.01)


def test_only_the_module_is_trained_and_all_of_it_is_saved(tmp_path):
    network = richness.Centred(mlp(bias=True), 5.0)
    assert {id(p) for p in network.parameters()} == {id(p) for p in network.module.parameters()}
    x = torch.randn(3, 64).double()
    network(x).square().sum().backward()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.01)
    torch.save(network.state_dict(), tmp_path / "state.pt")
    other = richness.Centred(mlp(bias=True), 5.0)
    other.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert torch.equal(other(x), network(x)) and network(x).abs().max() > 0
    single = other.float()
    assert {buffer.dtype for buffer in single.start.buffers()} == {torch.float32}
    assert {value.device.type for value in network.to("meta").state_dict().values()} == {"meta"}


def test_batch_normalisation_follows_train_and_eval():
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    network = richness.Centred(module, 1.0)
    for _ in range(3):
        assert not network(torch.randn(16, 4)).any()
    assert not network.eval()(torch.randn(16, 4)).any() and not network.start.training
    assert torch.equal(network.start[1].running_mean, module[1].running_mean) and module[1].running_mean.any()


def test_what_it_cannot_do_it_refuses():
    for use, module, number, words in (
        (richness.Centred, mlp(), 0.0, "positive"),
        (richness.Centred, nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)), 1.0, r"1 drops out a share 0.5"),
        (richness.Centred, nn.TransformerEncoderLayer(8, 2, 16), 1.0, "drops out"),
        (richness.maximal_update_, nn.Linear(3, 3), 0.1, "found 1"),
        (richness.maximal_update_, nn.Sequential(mlp(), nn.LayerNorm(10)), 0.1, r"does not know 1\.weight"),
    ):
        with pytest.raises(ValueError, match=words):
            use(module, number)
    assert math.isclose(richness.Centred(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), 2.0).gamma, 2.0)
