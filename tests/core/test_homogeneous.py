"""Homogeneous perceptrons and the series of a loss along a step, against automatic differentiation and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.func import grad

from richness import measure, rng
from richness.data import TASKS
from richness.networks import LOSSES, homogeneous
from richness.runs.jobs import measure_seeds
from richness.runs.recipes import recipe
from richness.studies.neighbours.beyond.measurement import BeyondTheEdge, Case

HIDDEN = [3, 5, 4]


def stack(seeds: int = 2) -> list[Tensor]:
    starts = [homogeneous.initialise(seed, 6, HIDDEN, 3) for seed in range(seeds)]
    return [torch.stack(layer) for layer in zip(*starts, strict=True)]


def samples(count: int = 7) -> tuple[Tensor, Tensor]:
    return rng.normals(5, "x", range(count), 6), rng.integers(5, "y", 0, count, 3)


def outputs(weights: list[Tensor], x: Tensor, linear: float) -> Tensor:
    """f of one network, (batch, K), written out for one sample at a time."""
    rows = []
    for sample in x:
        h = weights[0] @ sample / math.sqrt(len(sample))
        for weight in weights[1:]:
            h = weight @ (linear * h + math.sqrt(1 - linear**2) * h.abs()) / math.sqrt(len(h))
        rows.append(h)
    return torch.stack(rows)


def a_step(linear: float, loss_name: str) -> tuple:
    weights, (x, y) = stack(), samples()
    moves = [
        0.1 * rng.normals(9, f"v{k}", 0, w[0].numel()).view(w[0].shape).expand(w.shape) for k, w in enumerate(weights)
    ]
    done = homogeneous.forward(weights, x, linear)
    series = homogeneous.expansion(weights, moves, done, 3)
    return weights, moves, x, y, lambda f: LOSSES[loss_name](f.mT, y), series


@pytest.mark.parametrize("linear", [0.0, 0.5**0.5, 0.3])
def test_layers_and_gradients_are_the_definitions(linear):
    weights, (x, y) = stack(), samples()
    done = homogeneous.forward(weights, x, linear)
    f = done.outputs.detach().requires_grad_()
    (residual,) = torch.autograd.grad(LOSSES["cross_entropy"](f.mT, y).sum(), f)
    own = homogeneous.gradients(done, homogeneous.backward(weights, done, residual))
    for cell in range(2):
        leaves = [w[cell].clone().requires_grad_() for w in weights]
        expected = outputs(leaves, x, linear)
        torch.testing.assert_close(done.outputs[cell].mT, expected, rtol=1e-13, atol=1e-13)
        slopes = torch.autograd.grad(torch.nn.functional.cross_entropy(expected, y), leaves)
        for mine, theirs in zip(own, slopes, strict=True):
            torch.testing.assert_close(mine[cell], theirs, rtol=1e-12, atol=1e-14)


def test_outputs_are_homogeneous_of_the_depth():
    weights, (x, _) = stack(), samples()
    f = homogeneous.forward(weights, x, 0.3).outputs
    torch.testing.assert_close(homogeneous.forward([2 * w for w in weights], x, 0.3).outputs, 2.0**4 * f)


@pytest.mark.parametrize("linear", [0.0, 0.4])
def test_the_activation_keeps_the_mean_square_of_normals(linear):
    """One wide layer: the mean square of what it gives out is that of its normal pre-activations."""
    wide = [rng.normals(0, "w", 0, 4000 * 6).view(1, 4000, 6), torch.zeros(1, 1, 4000, dtype=torch.float64)]
    x = math.sqrt(6) * torch.nn.functional.normalize(samples(4)[0], dim=1)
    received = homogeneous.forward(wide, x, linear).inputs[1].square().sum(dim=1)
    assert (received - 1).abs().max() < 0.1


@pytest.mark.parametrize("loss_name", ["cross_entropy", "mse"])
@pytest.mark.parametrize("linear", [0.0, 0.3])
def test_the_series_is_the_nested_derivatives(linear, loss_name):
    """c₁, c₂, c₃ to 1e-12 of what differentiating the whole network three times along the step gives."""
    weights, moves, x, y, loss, series = a_step(linear, loss_name)
    found = measure.taylor(series, loss)
    for cell in range(2):

        def along(t: Tensor, cell: int = cell) -> Tensor:
            moved = [(w + t * v)[cell] for w, v in zip(weights, moves, strict=True)]
            return LOSSES[loss_name](outputs(moved, x, linear)[None], y)[0]

        derivative, zero = along, torch.zeros((), dtype=torch.float64)
        for order in range(4):
            torch.testing.assert_close(
                found[cell, order], derivative(zero) / math.factorial(order), rtol=1e-12, atol=1e-13
            )
            derivative = grad(derivative)


def test_the_cubic_is_the_loss_inside_a_linear_region():
    """The remainder falls with the fourth power of the step until it is rounding: 1e-12 and less."""
    weights, moves, x, _, loss, series = a_step(0.0, "cross_entropy")
    found = measure.taylor(series, loss)
    errors = []
    for t in (4e-4, 2e-4, 1e-4):
        moved = [w + t * v for w, v in zip(weights, moves, strict=True)]
        gates = homogeneous.forward(moved, x).gates
        assert all(torch.equal(a, b) for a, b in zip(gates, homogeneous.forward(weights, x).gates, strict=True))
        powers = torch.tensor([1, t, t**2, t**3], dtype=torch.float64)
        errors.append(float((loss(homogeneous.forward(moved, x).outputs) - found @ powers).abs().max()))
    assert max(errors) < 1e-12
    frozen = homogeneous.forward(weights, x).gates
    rest = []
    for t in (0.4, 0.2, 0.1):
        moved = [w + t * v for w, v in zip(weights, moves, strict=True)]
        powers = torch.tensor([1, t, t**2, t**3], dtype=torch.float64)
        rest.append(float((loss(homogeneous.forward(moved, x, gates=frozen).outputs) - found @ powers).abs()[0]))
    assert 12 < rest[0] / rest[1] < 21 and 13 < rest[1] / rest[2] < 19  # 2⁴, and what the fifth order adds


def test_the_whole_polynomial_is_the_network_with_fixed_gates():
    weights, moves, x, *_ = a_step(0.3, "mse")
    done = homogeneous.forward(weights, x, 0.3)
    terms = homogeneous.expansion(weights, moves, done, len(weights))
    moved = [w + 1.7 * v for w, v in zip(weights, moves, strict=True)]
    whole = sum(1.7**p * term for p, term in enumerate(terms))
    torch.testing.assert_close(whole, homogeneous.forward(moved, x, 0.3, done.gates).outputs, rtol=1e-12, atol=1e-12)


def test_overshoot_is_curvature_along_the_gradient():
    """½·η·gᵀHg/‖g‖² of a plain step, with H from double backward."""
    weights, (x, y), eta = stack(), samples(), 0.7
    loss = lambda w: LOSSES["cross_entropy"](homogeneous.forward(w, x).outputs.mT, y)  # noqa: E731
    leaves = [w.clone().requires_grad_() for w in weights]
    slopes = torch.autograd.grad(loss(leaves).sum(), leaves)
    g = torch.cat([s.flatten(1) for s in slopes], dim=1)
    curved = (g * measure.curvature.hessian_vector_product(loss, weights)(g)).sum(1)
    done = homogeneous.forward(weights, x)
    series = homogeneous.expansion(weights, [-eta * s for s in slopes], done, 3)
    found = measure.overshoot(measure.taylor(series, lambda f: LOSSES["cross_entropy"](f.mT, y))[:, 1:])
    torch.testing.assert_close(found, eta * curved / g.square().sum(1) / 2, rtol=1e-10, atol=0)


def test_balance_gives_every_layer_one_share_of_the_kernel():
    """Scaled by ξ_k, a layer's kernel, summed over residuals' directions, has the trace that the reference has."""
    weights, (x, y) = stack(1), samples()
    done = homogeneous.forward(weights, x)
    f = done.outputs.detach().requires_grad_()
    (residual,) = torch.autograd.grad(LOSSES["cross_entropy"](f.mT, y).sum(), f)
    deltas = homogeneous.backward(weights, done, residual)
    for xi, below, delta in zip(homogeneous.balance(done, deltas), done.inputs, deltas, strict=True):
        received = np.mean([float(below[0, :, b].square().sum()) for b in range(len(x))])
        passed = float(delta.square().sum() / residual.square().sum())
        assert float(xi) * received * passed == pytest.approx(1)
    wide = [torch.stack([w]) for w in homogeneous.initialise(0, 6, [400, 400, 400], 3)]
    x = math.sqrt(6) * torch.nn.functional.normalize(x, dim=1)
    done = homogeneous.forward(wide, x)
    factors = homogeneous.balance(done, homogeneous.backward(wide, done, residual))
    assert all(0.5 < float(xi) < 2 for xi in factors)


@pytest.mark.parametrize("power", [-1, 0, 0.5, 2, 3])
def test_widths_follow_their_power_and_keep_the_count(power):
    found = homogeneous.widths(power, 5, 64, 10, 60_000)
    assert homogeneous.parameters(64, found, 10) == pytest.approx(60_000, rel=0.08)
    shape = np.array(found) / np.arange(1, 6.0) ** power
    assert np.abs(np.array(found) - shape[-1] * np.arange(1, 6.0) ** power).max() <= 1.5
    with pytest.raises(ValueError, match="ask for more weights"):
        homogeneous.widths(6, 5, 64, 10, 1_000)


def test_training_is_gradient_descent_and_the_gone_are_left_behind():
    described = BeyondTheEdge(
        cases=[Case(), Case(scaled=True)], etas=(0.5, 1e5), weights=2_000, steps=5, depth=4, batch_size=16,
        record_points=5, probed=(0,), fractions=3,
    )  # fmt: skip
    runs = described.measure(3)
    weights = [w.clone().requires_grad_() for w in homogeneous.initialise(3, 64, described.widths(Case()), 10)]
    for step in range(5):
        x, y = TASKS["digits8"].batch(3, step, 16)
        loss = torch.nn.functional.cross_entropy(outputs(weights, x.double(), 0.0), y)
        kept = runs.batch_loss.isel(case=0, eta=0).sel(step=step)
        assert float(kept) == pytest.approx(loss.item(), rel=1e-4)
        slopes = torch.autograd.grad(loss, weights)
        weights = [(w - 0.5 * g).detach().requires_grad_() for w, g in zip(weights, slopes, strict=True)]
    stays, gone = runs.isel(eta=0), runs.isel(eta=1)
    assert np.isinf(gone.peak[0]) and np.isnan(gone.beyond[0]) and np.isnan(gone.test_loss[0, -1])
    assert np.isfinite(stays.peak).all() and (stays.miss < 1e-12).all() and (stays.turned < 0.2).all()
    np.testing.assert_allclose(stays.along.sel(fraction=0), stays.frozen.sel(fraction=0))
    first = stays.sel(step=0)
    np.testing.assert_allclose(stays.along.sel(fraction=0, taken=0), first.batch_loss, rtol=1e-3)
    np.testing.assert_allclose(stays.taken_series.sel(taken=0), first.series, rtol=1e-2)


def test_recipes_run_and_say_what_is_wrong():
    runs = measure_seeds(recipe("along_a_step", "smoke"))
    assert runs.sizes["seed"] == 2 and runs.attrs["kind"] == "BeyondTheEdge"
    with pytest.raises(ValidationError, match="positive numbers"):
        BeyondTheEdge(cases=[Case()], etas=(0.5, -1.0))
    with pytest.raises(ValidationError, match="positive numbers"):
        BeyondTheEdge(cases=[Case()], etas=(float("nan"),))
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Case(linear=1.5)
