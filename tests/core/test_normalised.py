"""Normed networks in depth: weights, norm, gap and gradients against what is known of them otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from richness import rng
from richness.measure import isometry_gap
from richness.networks import normalised
from richness.runs.jobs import measure_seeds
from richness.runs.recipes import recipe
from richness.studies.neighbours.normalised import theory
from richness.studies.neighbours.normalised.measurement import Case, NormalisedDepth, make_batch


def test_orthogonal_weights_are_uniform_over_the_group():
    w = normalised.orthogonal(0, "w", 4000, 4)
    torch.testing.assert_close(w @ w.mT, torch.eye(4, dtype=torch.float64).expand(4000, 4, 4))
    traces = w.diagonal(dim1=1, dim2=2).sum(1)
    # E tr² = 1 and E tr⁴ = 3 (QR alone, without the signs, has E tr² far above)
    assert abs(float(traces.square().mean()) - 1) < 0.08 and abs(float(traces.pow(4).mean()) - 3) < 0.5


def test_the_norm_is_torchs_without_its_epsilon():
    h = rng.normals(0, "h", range(5), 7) + 2
    centred = torch.nn.functional.batch_norm(h.T, None, None, training=True, eps=1e-16).T
    torch.testing.assert_close(normalised.batch_norm(h, centred=True), centred)
    plain = normalised.batch_norm(h)
    torch.testing.assert_close(plain, torch.diag(torch.diag(h @ h.T / 7) ** -0.5) @ h)


def test_the_gap_is_means_of_eigenvalues_and_knows_lost_directions():
    x = rng.normals(1, "x", range(3 * 5), 6).view(3, 5, 6)
    grams = x @ x.mT
    expected = torch.log(grams.diagonal(dim1=1, dim2=2).sum(1) / 5) - torch.linalg.slogdet(grams)[1] / 5
    torch.testing.assert_close(isometry_gap(x), expected)
    torch.testing.assert_close(isometry_gap(7 * x), expected)
    assert float(isometry_gap(normalised.orthogonal(0, "q", 1, 6)[0]).abs()) < 1e-14
    assert torch.isinf(isometry_gap(x[..., :4])).all()
    x[:, 4] = x[:, 3]
    assert torch.isinf(isometry_gap(x)).all()


def test_a_rotation_and_a_norm_take_two_parts_in_d_plus_two():
    """The first-order law, from its derivation: the mean over 4,000 rotations of one small deviation."""
    width = 6
    deviation = rng.normals(2, "e", range(width), width)
    deviation = 1e-4 * (deviation + deviation.T) * (1 - torch.eye(width))
    turned = normalised.orthogonal(3, "w", 4000, width)
    gram = turned @ (torch.eye(width) + deviation) @ turned.mT
    sizes = gram.diagonal(dim1=1, dim2=2).rsqrt()
    after = gram * sizes[:, :, None] * sizes[:, None, :] - torch.eye(width)
    ratios = after.square().sum((1, 2)) / deviation.square().sum()
    error = float(ratios.std()) / math.sqrt(len(ratios))
    assert abs(float(ratios.mean()) - theory.contraction(width)) < 4 * error < 0.02


@pytest.mark.parametrize(("activation", "power", "centred"), [("linear", 0.0, False), ("tanh", 0.4, True)])
def test_gradients_against_differences(activation, power, centred):
    case = Case(width=4, samples=5, activation=activation, power=power, centred=centred)
    runs = NormalisedDepth(cases=[case], depths=[2, 3], layer_points=5).measure(7)
    weights = list(normalised.orthogonal(7, "normalised/weights/4", 3, 4))
    readout = rng.normals(7, "normalised/readout", 0, 40).view(10, 4)
    labels = rng.integers(7, "normalised/labels", 0, 5, 10)

    def loss(layer: int, change: torch.Tensor) -> float:
        moved = [w + change if k == layer else w for k, w in enumerate(weights)]
        out = normalised.layers(moved, make_batch(case, 7), activation, power, centred)
        return float(normalised.loss(out[-1], readout, labels))

    for layer in range(3):
        slopes = torch.zeros(4, 4, dtype=torch.float64)
        for place in range(16):
            step = torch.zeros(16, dtype=torch.float64)
            step[place] = 1e-6
            slopes.view(-1)[place] = (loss(layer, step.view(4, 4)) - loss(layer, -step.view(4, 4))) / 2e-6
        np.testing.assert_allclose(runs.log_gradient.sel(layer=layer + 1), math.log(float(slopes.norm())), rtol=1e-6)
    np.testing.assert_allclose(runs.first_gradient.sel(depth=3), runs.log_gradient.sel(layer=1))


@pytest.mark.slow
def test_measured_laws_of_small_networks():
    cases = [
        Case(width=16, samples=16, inputs="near"),
        Case(width=16, samples=16, weights="gaussian"),
        Case(width=192, samples=8, weights="gaussian"),
        Case(width=192, samples=8, weights="gaussian", centred=True),
        Case(width=96, samples=48, activation="relu", centred=True),
    ]
    runs = measure_seeds(NormalisedDepth(cases=cases, depths=[4, 40], seeds=range(6)))
    slopes = runs.gradient_slope.mean("seed").values
    assert abs(float(runs.contraction[:, 0].mean()) - theory.contraction(16)) < 0.01
    assert abs(slopes[0]) < 0.01
    assert abs(slopes[2] / theory.gaussian_slope(8, centred=False) - 1) < 0.2
    assert abs(slopes[3] / theory.gaussian_slope(8) - 1) < 0.2
    assert abs(slopes[4] / theory.relu_slope() - 1) < 0.2
    gap = runs.gap.isel(case=1, seed=0).values
    assert np.isinf(gap[-1]) and np.isinf(gap[np.isinf(gap).argmax() :]).all()


def test_inputs_are_what_they_say():
    assert float(isometry_gap(make_batch(Case(inputs="near"), 0))) < 0.01 < float(isometry_gap(make_batch(Case(), 0)))
    twins = make_batch(Case(inputs="twins"), 0)
    assert torch.linalg.matrix_rank(twins) == 32 - 4 and torch.equal(twins[:, 0], twins[:, 4])
    common = torch.corrcoef(make_batch(Case(inputs="correlated", width=400, samples=3), 0).T)
    assert abs(float(common[0, 1]) - 0.9) < 0.03
    assert torch.linalg.matrix_rank(make_batch(Case(inputs="digits"), 0)) == 32
    assert torch.linalg.matrix_rank(make_batch(Case(inputs="digits", width=64, samples=64), 0)) < 64
    with pytest.raises(ValueError, match="64 pixels"):
        Case(inputs="digits", width=65)
    with pytest.raises(ValidationError, match="at least one layer"):
        NormalisedDepth(cases=[Case()], depths=[0, 3])


def test_what_differs_only_in_its_use_is_paired():
    """Sizes and seed fix the draws: an activation's gain changes nothing in ReLU but the last factor, p·ln L."""
    runs = NormalisedDepth(cases=[Case(activation="relu", power=p) for p in (0.0, 0.4)], depths=[2, 9]).measure(0)
    scale = (runs.first_gradient[0] - runs.first_gradient[1]).values / np.log(runs.depth.values)
    assert (scale > 0.2).all() and (scale < 0.5).all()
    assert recipe("normalised_shaping", "smoke").measure(0).equals(recipe("normalised_shaping", "smoke").measure(0))
