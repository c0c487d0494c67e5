from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from alike import measure_coordinates

from richness import Experiment
from richness.networks import LOSSES, MLP, NETWORKS
from richness.networks.optimizers import stability_line
from richness.networks.parameterization import centre_output, natural_eta
from richness.runs.training import Trainer


def reference(weights, x, activation):
    """f̃ of one network, written out layer by layer."""
    act = {"relu": torch.relu, "tanh": torch.tanh, "linear": lambda h: h}[activation]
    h = x
    for weight in weights[:-1]:
        h = act(h @ weight.T / math.sqrt(weight.shape[1]))
    return h @ weights[-1].T / weights[-1].shape[1]


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
def test_forward_is_the_written_out_network(depth, activation):
    net = MLP(inputs=5, outputs=3, width=7, depth=depth, activation=activation)
    cells = [net.initialise(seed) for seed in (0, 1)]
    x = torch.randn(11, 5, dtype=torch.float64)
    out = net.forward([torch.stack(layer) for layer in zip(*cells, strict=True)], x)
    assert out.shape == (2, 11, 3)
    for cell, weights in enumerate(cells):
        torch.testing.assert_close(out[cell], reference(weights, x, activation))


def test_weights_are_standard_normal_and_a_function_of_the_seed():
    net = MLP(64, 10, 50, 3)
    weights = net.initialise(4)
    assert all(torch.equal(a, b) for a, b in zip(weights, net.initialise(4), strict=True))
    values = torch.cat([w.flatten() for w in weights])
    assert abs(values.mean()) < 0.05 and values.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gamma", [1e-4, 1.0, 1e4])
def test_the_centred_output_is_exactly_zero_at_step_0(small, gamma, dtype):
    trainer = Trainer(small(dtype=dtype), 0, [(gamma, 0.1), (gamma, 0.2), (gamma, 0.3)])
    x, _ = trainer.batch(0)
    assert (trainer.outputs(trainer.stack, trainer.stack.weights, x) == 0).all()


def test_centring_divides_by_each_cells_gamma():
    raw, start = torch.ones(2, 3, 4), torch.zeros(1, 3, 4)
    out = centre_output(raw, start, torch.tensor([0.5, 4.0]))
    assert (out[0] == 2).all() and (out[1] == 0.25).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_have_torchs_constants(loss):
    f, labels = torch.randn(3, 9, 5, dtype=torch.float64), torch.arange(9) % 5
    one_hot = torch.eye(5, dtype=torch.float64)[labels]
    for cell, found in zip(f, LOSSES[loss](f, labels), strict=True):
        if loss == "mse":
            torch.testing.assert_close(found, torch.nn.functional.mse_loss(cell, one_hot))
        else:
            torch.testing.assert_close(found, torch.nn.functional.cross_entropy(cell, labels))


def test_the_natural_step_bends_from_the_square_to_the_root():
    assert natural_eta(1e-6, 3) == pytest.approx(1e-12, rel=1e-5)
    assert natural_eta(1e6, 3) == pytest.approx(1e4, rel=1e-5)
    assert natural_eta(np.array([1.0, 1.0]), 2) == pytest.approx([0.5, 0.5])
    assert stability_line(0.5) == 4.0


class WrongReadout(MLP):
    """1/√N in the readout instead of 1/N."""

    @property
    def scales(self):
        return [*super().scales[:-1], 1 / math.sqrt(self.width)]


def coordinates(width: int, steps: int = 10) -> tuple[float, float, float]:
    """Of the last hidden layer, of its change and of f, after a few steps at γ = 1."""
    experiment = Experiment(width=width, task="digits8", steps=steps, gammas=[1.0], etas=[1.0], batch_size=64)
    after, changes, f = measure_coordinates(experiment, samples=256)
    return after[-1], changes[-1], f


def exponent(widths, values):
    return np.polyfit(np.log(widths), np.log(values), 1)[0]


def test_the_mup_coordinate_check_and_that_it_notices_a_wrong_readout(monkeypatch):
    """Hidden activations, their change and f are of order one in the width, at a fixed step."""
    widths = [64, 256, 1024]
    rows = np.array([coordinates(n) for n in widths])
    for name, column in zip(("hidden", "change", "f"), rows.T, strict=True):
        assert abs(exponent(widths, column)) < 0.1, (name, column)
    monkeypatch.setitem(NETWORKS, "mlp", WrongReadout)
    changes = [coordinates(n)[1] for n in widths]
    assert not np.all(np.isfinite(changes)) or abs(exponent(widths, changes)) > 0.25
