"""The batched trainer against one network at a time, written out with torch's autograd in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from richness import sweep
from richness.analysis import boundaries
from richness.data import task
from richness.networks.parameterization import dtype_for
from richness.runs import training
from richness.runs.training import History, Trainer, train


def alone(experiment, seed: int, gamma: float, eta: float) -> np.ndarray:
    """The losses of one network, one eager step after another."""
    source = task(experiment.task)
    start = experiment.architecture.initialise(seed)
    weights = [w.clone().requires_grad_() for w in start]

    def raw(layers, x):
        h = x
        for w in layers[:-1]:
            h = torch.relu(h @ w.T / math.sqrt(w.shape[1]))
        return h @ layers[-1].T / layers[-1].shape[1]

    losses = []
    for step in range(experiment.steps + 1):
        x, y = source.batch(seed, step, experiment.batch_size)
        x = x.double()
        f = (raw(weights, x) - raw(start, x)) / gamma
        if experiment.loss == "mse":
            target = y.double() if y.is_floating_point() else torch.eye(source.outputs, dtype=torch.float64)[y]
            loss = torch.nn.functional.mse_loss(f, target)
        else:
            loss = torch.nn.functional.cross_entropy(f, y)
        losses.append(float(loss.detach()))
        loss.backward()
        with torch.no_grad():
            for w in weights:
                w -= experiment.width * eta * w.grad
                w.grad = None
    return np.array(losses)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_batched_is_one_at_a_time(small, loss, depth):
    experiment = small(loss=loss, depth=depth, dtype="float64")
    cells = [(1e-3, 1e-6), (0.3, 0.05), (3.0, 0.4), (40.0, 3.0)]
    history = train(experiment, 1, cells)
    for column, (gamma, eta) in enumerate(cells):
        np.testing.assert_allclose(history.loss[:, column], alone(experiment, 1, gamma, eta), rtol=1e-10, atol=1e-10)


def test_batched_is_one_at_a_time_on_real_targets(small):
    experiment = small(task="staircase", dtype="float64")
    history = train(experiment, 0, [(2.0, 0.1)])
    np.testing.assert_allclose(history.loss[:, 0], alone(experiment, 0, 2.0, 0.1), rtol=1e-10)


def same(a: History, b: History) -> bool:
    parts = [(a.loss, b.loss), (a.diverged_at, b.diverged_at), *((a.probes[k], b.probes[k]) for k in a.probes)]
    return all(np.array_equal(x, y, equal_nan=True) for x, y in parts)


def columns(history: History, index) -> History:
    return History(
        history.loss[:, index], history.diverged_at[index], {k: v[:, index] for k, v in history.probes.items()}
    )


@pytest.mark.slow
@pytest.mark.parametrize(("width", "batch_size"), [(12, 16), (64, 32)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_chunks_order_and_dropping_leave_every_bit(small, dtype, width, batch_size):
    experiment = small(
        probes=("sharpness", "accuracy"), probe_points=3, dtype=dtype, steps=45, width=width, batch_size=batch_size
    )
    cells = [(1e-3, e) for e in np.geomspace(1e-7, 1e3, 7)] + [(3.0, e) for e in np.geomspace(1e-3, 300, 6)]
    whole = train(experiment, 0, cells)
    assert 0 < (whole.diverged_at >= 0).sum() < len(cells)
    order = np.random.default_rng(0).permutation(len(cells))
    assert same(columns(whole, order), train(experiment, 0, [cells[k] for k in order]))
    for k in range(len(cells)):
        assert same(columns(whole, [k]), train(experiment, 0, [cells[k]]))
    parts = [train(experiment, 0, cells[a:b]) for a, b in ((0, 5), (5, 12), (12, 13))]
    joined = History(
        np.concatenate([p.loss for p in parts], axis=1),
        np.concatenate([p.diverged_at for p in parts]),
        {k: np.concatenate([p.probes[k] for p in parts], axis=1) for k in whole.probes},
    )
    assert same(whole, joined)


def test_when_every_cell_dies(small):
    history = train(small(probes=("sharpness",)), 0, [(0.01, 1e3), (0.01, 1e4)])
    assert (history.diverged_at > 0).all()
    assert np.isnan(history.loss[-1]).all() and np.isfinite(history.loss[0]).all()
    assert np.isfinite(history.probes["sharpness"][0]).all() and np.isnan(history.probes["sharpness"][-1]).all()


@pytest.mark.parametrize("last", [0, 1, 7])
def test_a_cell_that_dies_after_the_last_look_is_seen(small, monkeypatch, last):
    """Poison one cell's weights shortly before the end, between two looks at what is alive."""
    experiment = small(steps=47)
    start_on = Trainer.start_on

    def poisoned(self, block, prepared):
        yield from start_on(self, block, prepared)
        if block.number == 46 - last:
            self.stack.weights[-1][1] = torch.inf

    monkeypatch.setattr(Trainer, "start_on", poisoned)
    monkeypatch.setattr(training, "BLOCK_STEPS", 1)
    history = train(experiment, 0, [(3.0, 0.1)] * 3)
    assert history.diverged_at.tolist() == [-1, 47 - last, -1]
    assert np.isnan(history.loss[47 - last :, 1]).all() and np.isfinite(history.loss[:, [0, 2]]).all()


def test_a_dead_network_is_finite_but_not_converged(small, monkeypatch):
    """Every unit switched off by one huge step: the loss is finite for ever after, and nothing is learned."""
    experiment = small(gammas=[1.0], etas=[1e-3, 2e-3, 4e-3], steps=40)
    original = Trainer.__init__

    def off(self, *args):
        original(self, *args)
        for weights in (self.start[1], self.stack.weights[1]):
            weights.copy_(-weights.abs())  # negative second layer on non-negative activations: all units silent

    monkeypatch.setattr(Trainer, "__init__", off)
    runs = sweep(experiment)
    assert (runs.status == 0).all()
    assert not boundaries.converged(runs).any() and not boundaries.learned(runs).any()


def test_float32_cannot_hold_small_gamma(small):
    """Why γ < 1e-3 trains in float64: the centred difference divided by γ loses its digits."""

    def error(gamma):
        eta = 10 * gamma**2
        exact, single = (
            train(small(dtype=d, width=64, batch_size=64, steps=20), 0, [(gamma, eta)]).loss[-1, 0]
            for d in ("float64", "float32")
        )
        return abs(single / exact - 1)

    assert error(1e-6) > 1e-3 and error(1e-3) < 1e-4
    assert dtype_for(9e-4) == torch.float64 and dtype_for(1e-3) == torch.float32
