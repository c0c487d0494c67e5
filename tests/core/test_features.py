"""Features against numpy's decompositions and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from alike import stack_networks

from richness.measure import drift, feature_rank, singular_values
from richness.measure.features import RANKS
from richness.networks import MLP

# Singular values


def test_singular_values_against_numpy():
    matrices = [torch.randn(3, 7, 5, dtype=torch.float64), torch.randn(3, 2, 7, dtype=torch.float64)]
    found = singular_values(matrices)
    assert [values.shape for values in found] == [(3, 5), (3, 2)]
    for values, matrix in zip(found, matrices, strict=True):
        for cell in range(3):
            exact = np.linalg.svd(matrix[cell].numpy(), compute_uv=False)
            np.testing.assert_allclose(values[cell].numpy(), exact, rtol=1e-12)


def test_the_learned_change_stands_out_of_the_bulk():
    """A step of rank one: one value, as large as the step; the weights themselves hardly show it."""
    network = MLP(inputs=30, outputs=3, width=40, depth=3)
    start = stack_networks(network, (0, 1))
    u, v = torch.randn(40, dtype=torch.float64), torch.randn(30, dtype=torch.float64)
    moved = [w.clone() for w in start]
    moved[0][1] += torch.outer(u, v)
    change = singular_values(moved, minus=start)
    assert (change[0][0] == 0).all() and (change[1] == 0).all()
    assert float(change[0][1, 0]) == pytest.approx(float(u.norm() * v.norm()))
    assert change[0][1, 1:].max() < 1e-12
    torch.testing.assert_close(singular_values(moved, minus=[w[:1] for w in start])[0][0], change[0][0])


def test_operators_are_the_weights_as_they_act():
    """The largest singular value bounds what a layer does to any input, and some input meets the bound."""
    network = MLP(inputs=5, outputs=3, width=7, depth=3, activation="linear")
    weights = stack_networks(network, (0, 1))
    first, second, readout = network.operators(weights)
    x = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(network.hidden(weights, x)[0], first)
    torch.testing.assert_close(network.forward(weights, x).mT, readout @ second @ first)
    for values, scaled in zip(singular_values(weights), singular_values([first, second, readout]), strict=True):
        assert (values / scaled).std() < 1e-10  # one scale a layer
    assert float(singular_values(weights)[1][0, 0] / singular_values([second])[0][0, 0]) == pytest.approx(math.sqrt(7))


# Rank


def spread(eigenvalues, features, batch):
    """A representation (features, batch) whose covariance over the batch has the given eigenvalues, and a mean far off."""
    generator = torch.Generator().manual_seed(1)
    directions = torch.linalg.qr(torch.randn(features, len(eigenvalues), generator=generator).double()).Q
    samples = torch.randn(batch, len(eigenvalues), generator=generator).double()
    samples = torch.linalg.qr(samples - samples.mean(dim=0)).Q  # orthonormal columns that sum to zero
    roots = torch.tensor(eigenvalues, dtype=torch.float64).sqrt()
    return directions @ (roots[:, None] * samples.T) + 5.0 * torch.randn(features, 1, generator=generator).double()


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
def test_ranks_against_their_definitions(shape):
    eigenvalues = np.array([4.0, 2.0, 1.0, 0.5])
    h = torch.stack([spread(eigenvalues, *shape), 3.0 * spread(eigenvalues**2, *shape)])
    for cell, lam in enumerate((eigenvalues, eigenvalues**2)):
        p = lam / lam.sum()
        expected = {
            "participation": lam.sum() ** 2 / (lam**2).sum(),
            "stable": lam.sum() / lam.max(),
            "entropy": np.exp(-(p * np.log(p)).sum()),
        }
        assert expected["stable"] < expected["participation"] < expected["entropy"]
        for kind in RANKS:
            assert float(feature_rank(h, kind)[cell]) == pytest.approx(expected[kind], rel=1e-9)


@pytest.mark.parametrize("kind", RANKS)
def test_equal_directions_are_counted(kind):
    h = torch.stack([spread([2.0] * n, 12, 40) for n in (1, 3, 7)])
    assert feature_rank(h, kind).tolist() == pytest.approx([1, 3, 7])


@pytest.mark.parametrize("kind", RANKS)
def test_rank_does_not_move_with_scale_rotation_or_order(kind):
    h = torch.randn(2, 12, 40, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64)).Q
    found = feature_rank(h, kind)
    for other in (1e3 * h, turn @ h, h[:, :, torch.randperm(40)], h + torch.randn(2, 12, 1, dtype=torch.float64)):
        torch.testing.assert_close(feature_rank(other, kind), found)


def test_without_centring_the_mean_is_a_direction():
    h = torch.stack([spread([1.0, 1.0], 12, 40)])
    moments = np.linalg.svd(h[0].numpy(), compute_uv=False) ** 2
    expected = moments.sum() ** 2 / (moments**2).sum()
    assert float(feature_rank(h, centre=False)) == pytest.approx(expected)
    assert expected < 1.1 and float(feature_rank(h)) == pytest.approx(2)


def test_participation_is_the_default_and_an_unknown_rank_is_refused():
    h = torch.randn(2, 12, 40)
    assert torch.equal(feature_rank(h), feature_rank(h, "participation"))
    with pytest.raises(ValueError, match="participation, stable, entropy, got 'soft'"):
        feature_rank(torch.randn(1, 3, 4), "soft")


# Drift


def test_drift_is_the_relative_distance():
    start = [torch.randn(1, 4, 6, dtype=torch.float64), torch.randn(1, 3, 6, dtype=torch.float64)]
    step = torch.tensor([0.0, 0.25, -2.0], dtype=torch.float64)
    moved = [h * (1 + step)[:, None, None] for h in start]
    for found in drift(moved, start):
        assert found.tolist() == pytest.approx([0, 0.25, 2.0])
    other = torch.randn(3, 4, 6, dtype=torch.float64)
    expected = np.linalg.norm(other[2].numpy() - start[0][0].numpy()) / np.linalg.norm(start[0][0].numpy())
    assert float(drift([other], start[:1])[0][2]) == pytest.approx(expected)


def test_nan_gives_nan_in_that_cell_alone():
    network = MLP(inputs=5, outputs=3, width=7, depth=3)
    weights, x = stack_networks(network, (0, 1, 2)), torch.randn(20, 5, dtype=torch.float64)

    def everything(weights):
        hidden = network.hidden(weights, x)
        ranks = [feature_rank(h, kind) for h in hidden for kind in RANKS]
        firsts = [values[:, 0] for values in singular_values(weights)[:1]]
        return torch.stack([*ranks, *firsts, *drift(hidden, network.hidden(start, x))])

    start = stack_networks(network, (7,))
    whole = everything(weights)
    weights[0][1, 0, 0] = torch.nan
    found = everything(weights)
    assert torch.isnan(found[:, 1]).all()
    torch.testing.assert_close(found[:, [0, 2]], whole[:, [0, 2]])
