"""Kernels against dense Jacobians, their comparisons against closed forms in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from alike import stack_networks

from richness.measure import alignment, kernel_change, ntk, ntk_from_factors
from richness.networks import MLP


def jacobian(network, weights, cell, x):
    """∂f_k(x_b)/∂θ of one cell, row b·K + k, by jacrev."""
    rows = torch.func.jacrev(lambda w: network.forward([layer[None] for layer in w], x)[0])([w[cell] for w in weights])
    return torch.cat([row.reshape(len(x) * network.outputs, -1) for row in rows], dim=1)


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_both_roads_against_the_jacobian(activation, depth):
    network = MLP(inputs=5, outputs=3, width=7, depth=depth, activation=activation)
    weights, x = stack_networks(network, (0, 1)), torch.randn(11, 5, dtype=torch.float64)
    factors = network.factors(weights, x)
    for cell in range(2):
        rows = jacobian(network, weights, cell, x)
        full = rows @ rows.T
        summed = torch.einsum("bkck->bc", full.view(11, 3, 11, 3))
        for kernel in (ntk(network.forward, weights, x), ntk_from_factors(factors)):
            torch.testing.assert_close(kernel[cell], summed, rtol=1e-10, atol=1e-12)
        for kernel in (ntk(network.forward, weights, x, full=True), ntk_from_factors(factors, full=True)):
            torch.testing.assert_close(kernel[cell], full, rtol=1e-10, atol=1e-12)


def test_the_factors_are_the_derivatives():
    network = MLP(inputs=5, outputs=3, width=7, depth=4)
    weights, x = stack_networks(network, (0, 1)), torch.randn(11, 5, dtype=torch.float64)
    factors = network.factors(weights, x)
    for cell in range(2):
        rows = [torch.einsum("bko,bi->bkoi", delta[cell], a[cell]).reshape(33, -1) for a, delta in factors]
        torch.testing.assert_close(torch.cat(rows, dim=1), jacobian(network, weights, cell, x), rtol=1e-12, atol=1e-14)


def test_the_kernel_of_any_function_with_inputs_of_any_shape():
    """f_k = Σ θ_kij x_ij: the kernel is ⟨x_b, x_c⟩ for each output, and 0 between two."""
    x = torch.randn(6, 2, 4, dtype=torch.float64)
    weights = [torch.randn(3, 5, 2, 4, dtype=torch.float64)]
    gram = torch.einsum("bij,cij->bc", x, x).expand(3, -1, -1)

    def outputs(w, x):
        return torch.einsum("ckij,bij->cbk", w[0], x)

    torch.testing.assert_close(ntk(outputs, weights, x), 5 * gram)
    full = torch.einsum("nbc,kl->nbkcl", gram, torch.eye(5, dtype=torch.float64)).reshape(3, 30, 30)
    torch.testing.assert_close(ntk(outputs, weights, x, full=True), full)


def test_no_factors_are_refused():
    with pytest.raises(ValueError, match="one pair"):
        ntk_from_factors([])


def test_nan_weights_give_a_nan_kernel_in_that_cell_alone():
    network = MLP(inputs=5, outputs=3, width=7, depth=3)
    weights, x = stack_networks(network, (0, 1, 2)), torch.randn(11, 5, dtype=torch.float64)
    whole = ntk_from_factors(network.factors(weights, x))
    weights[-1][1] = torch.nan
    for kernel in (ntk_from_factors(network.factors(weights, x)), ntk(network.forward, weights, x)):
        assert torch.isnan(kernel[1]).any()
        torch.testing.assert_close(kernel[[0, 2]], whole[[0, 2]])
    labels = torch.arange(11) % 3
    for number in (alignment(kernel, labels), kernel_change(kernel, whole)):
        assert torch.isnan(number).tolist() == [False, True, False]


# Alignment


@pytest.fixture
def kernels():
    """Three random positive semi-definite kernels on nine samples."""
    root = torch.randn(3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return root @ root.mT


def test_alignment_against_numpy(kernels):
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1])
    centre = np.eye(9) - np.ones((9, 9)) / 9
    y = np.eye(3)[labels.numpy()]
    wanted = centre @ y @ y.T @ centre
    for found, kernel in zip(alignment(kernels, labels), kernels.numpy(), strict=True):
        now = centre @ kernel @ centre
        expected = np.sum(now * wanted) / np.sqrt(np.sum(now**2) * np.sum(wanted**2))
        assert float(found) == pytest.approx(expected, rel=1e-12)
        assert 0 < expected < 1


def test_alignment_of_the_targets_own_kernel_is_one_whatever_its_scale_and_offset():
    y = torch.randn(9, 4, dtype=torch.float64)
    own = torch.stack([y @ y.T, 1e-3 * y @ y.T, (y + 7) @ (y + 7).T])
    assert alignment(own, y).tolist() == pytest.approx([1, 1, 1])
    orthogonal = torch.linalg.qr(torch.cat([torch.ones(9, 1), y], dim=1).double()).Q
    assert float(alignment((orthogonal[:, 2:3] @ orthogonal[:, 2:3].T)[None], orthogonal[:, 1:2])) == pytest.approx(0)


def test_alignment_does_not_move_with_scale_offset_or_the_order_of_samples(kernels):
    y = torch.randn(9, 4, dtype=torch.float64)
    found, order = alignment(kernels, y), torch.randperm(9)
    torch.testing.assert_close(alignment(1e4 * kernels, y), found)
    torch.testing.assert_close(alignment(kernels, 1e-4 * y + 3), found)
    torch.testing.assert_close(alignment(kernels[:, order][:, :, order], y[order]), found)


def test_labels_are_one_hot_targets_and_scalar_ones_a_column(kernels):
    labels, y = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1]), torch.randn(9, dtype=torch.float64)
    for short, columns in ((labels, torch.nn.functional.one_hot(labels).double()), (y, y[:, None])):
        torch.testing.assert_close(alignment(kernels, short), alignment(kernels, columns))
    assert float(alignment(torch.outer(y, y)[None], y)) == pytest.approx(1)


# Change


def test_kernel_change_against_numpy(kernels):
    for found, kernel in zip(kernel_change(kernels, kernels[:1]), kernels.numpy(), strict=True):
        start = kernels[0].numpy()
        cosine = np.sum(kernel * start) / (np.linalg.norm(kernel) * np.linalg.norm(start))
        assert float(found) == pytest.approx(1 - cosine, abs=1e-14)


def test_a_kernel_that_only_grows_has_not_changed_and_one_of_another_direction_fully(kernels):
    growth = torch.tensor([1.0, 1e-3, 1e5], dtype=torch.float64)[:, None, None]
    assert kernel_change(growth * kernels, kernels).tolist() == pytest.approx([0, 0, 0], abs=1e-15)
    first, second = torch.diag(torch.tensor([1.0, 0.0, 0.0])), torch.diag(torch.tensor([0.0, 3.0, 1.0]))
    assert float(kernel_change(first[None], second[None])) == pytest.approx(1)


def test_a_small_change_outlives_rounding():
    """1e-10 in float32, where 1 − cos would be 0 or 1e-7: what lazy networks need."""
    start = torch.eye(4)[None]
    turned = start + 1e-5 * torch.tensor([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert float(kernel_change(turned, start)) == pytest.approx(0.5 * 2e-10 / 4, rel=1e-3)
