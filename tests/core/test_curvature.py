"""Each estimate against the dense Hessian in float64, entry by entry."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import richness
from richness import rng
from richness.measure import along_gradient, sharpest_direction, sharpness, spectral_density, top_eigenvalues, trace
from richness.measure.curvature import (
    Density,
    bin_density,
    gauss_newton_vector_product,
    gradient,
    hessian_vector_product,
    lanczos,
    largest_eigenpair,
    smooth_density,
    symmetric_log_edges,
)
from richness.networks import LOSSES, MLP
from richness.runs.training import Trainer


class Problem:
    """A stack of networks briefly trained at different γ and η, in float64, and a loss of their outputs."""

    def __init__(self, experiment, cells=((0.1, 1e-3), (1.0, 0.05), (30.0, 1.0)), samples=64):
        trainer = Trainer(experiment, 0, cells)
        for step in range(12):
            trainer.update(step)
        x, y = trainer.task.probe(samples)
        self.x = x.to(trainer.dtype)
        stack = trainer.stack
        self.network, self.weights = trainer.network, stack.weights
        at_start = trainer.network.forward(trainer.start, self.x)
        self.of_outputs = lambda raw: LOSSES[experiment.loss]((raw - at_start) / stack.gamma[:, None, None], y)
        self.size = sum(w[0].numel() for w in self.weights)

    def loss(self, weights):
        return self.of_outputs(self.network.forward(weights, self.x))

    @property
    def cells(self):
        return len(self.weights[0])

    def dense(self, cell):
        """The Hessian of one cell's loss."""
        sizes = [w[0].numel() for w in self.weights]
        flat = torch.cat([w[cell].flatten() for w in self.weights])

        def loss(vector):
            parts = zip(vector.split(sizes), self.weights, strict=True)
            return self.loss([torch.cat([w[:cell], p.view_as(w[:1]), w[cell + 1 :]]) for p, w in parts])[cell]

        return torch.autograd.functional.hessian(loss, flat, vectorize=True)

    def spectrum(self, cell):
        return torch.linalg.eigvalsh(self.dense(cell))


@pytest.fixture
def trained(small):
    def build(**changes):
        return Problem(small(**{"width": 6, "task": "teacher", "dtype": "float64"} | changes))

    return build


@pytest.fixture
def classifier(small):
    return Problem(small(width=3, loss="cross_entropy", dtype="float64"), [(1.0, 0.1), (5.0, 1.0)], samples=40)


def broken_in_the_middle(problem):
    """The weights with a NaN in cell 1 alone."""
    weights = [w.clone() for w in problem.weights]
    weights[0][1, 0, 0] = torch.nan
    return weights


# Products


def test_the_product_is_the_hessians(trained):
    problem = trained(depth=3)
    vector = torch.randn(3, problem.size, dtype=torch.float64)
    rows = hessian_vector_product(problem.loss, problem.weights)(vector)
    for cell in range(3):
        torch.testing.assert_close(rows[cell], problem.dense(cell) @ vector[cell])


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_networks_own_product_is_double_backwards(activation, depth, loss):
    network = MLP(inputs=5, outputs=3, width=7, depth=depth, activation=activation)
    weights = [torch.stack(layer) for layer in zip(*[network.initialise(s) for s in range(3)], strict=True)]
    x, labels = torch.randn(20, 5, dtype=torch.float64), torch.arange(20) % 3
    scale = torch.tensor([1.0, 0.5, 20.0], dtype=torch.float64)

    def of_outputs(raw):
        return LOSSES[loss](raw * scale[:, None, None], labels)

    vector = torch.randn(3, sum(w[0].numel() for w in weights), dtype=torch.float64)
    written_out = network.hessian_vector_product(weights, x, of_outputs)
    backward_twice = hessian_vector_product(lambda w: of_outputs(network.forward(w, x)), weights)
    for _ in range(2):  # what is kept between calls is left as it was
        torch.testing.assert_close(written_out(vector), backward_twice(vector), rtol=1e-11, atol=1e-14)


# The largest eigenvalue


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_sharpness_against_the_dense_hessian(trained, depth, activation):
    problem = trained(depth=depth, activation=activation)
    own = problem.network.hessian_vector_product(problem.weights, problem.x, problem.of_outputs)
    for product in (None, own):
        found = sharpness(problem.loss, problem.weights, tolerance=1e-10, iterations=400, product=product)
        for cell in range(3):
            assert float(found[cell]) == pytest.approx(float(problem.spectrum(cell)[-1]), rel=1e-8)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_curvature_along_the_gradient_against_the_dense_hessian(trained, activation):
    problem = trained(depth=3, activation=activation)
    slopes = gradient(problem.loss, problem.weights)
    dense = torch.stack([problem.dense(cell) for cell in range(problem.cells)])
    expected = torch.einsum("ci,cij,cj->c", slopes, dense, slopes) / slopes.square().sum(dim=1)
    own = problem.network.hessian_vector_product(problem.weights, problem.x, problem.of_outputs)
    for product in (None, own):
        found = along_gradient(problem.loss, problem.weights, product=product)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    flat = along_gradient(lambda w: 0 * w[0].square().sum(dim=1), [torch.ones(2, 3, dtype=torch.float64)])
    assert torch.isnan(flat).all()


def test_sharpness_under_cross_entropy_against_the_dense_hessian(classifier):
    found = sharpness(classifier.loss, classifier.weights, 1e-10, 300)
    for cell in range(2):
        assert float(found[cell]) == pytest.approx(float(classifier.spectrum(cell)[-1]), rel=1e-8)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_tolerance_is_the_error(small, activation, dtype):
    experiment = small(width=6, task="teacher", activation=activation, dtype="float64")
    problem = Problem(experiment)
    exact = [float(problem.spectrum(cell)[-1]) for cell in range(3)]
    measured = Problem(experiment.model_copy(update={"dtype": dtype}))
    found = sharpness(measured.loss, measured.weights)
    assert found.dtype == getattr(torch, dtype)
    assert found.tolist() == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(("gap", "error"), [(1e-1, 1e-4), (1e-2, 1e-4), (1e-3, 1e-3), (1e-4, 1e-4)])
def test_two_close_eigenvalues_are_told_apart(gap, error):
    """The hard case: the residual is small before the Ritz value has chosen between the two. Closer than the residual of the
    default tolerance they are taken for one between them; a tighter one tells them apart."""
    spectrum = torch.cat([torch.linspace(-0.5, 0.9, 398), torch.tensor([1 - gap, 1.0])]).double()
    turn = torch.linalg.qr(torch.randn(400, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(3))).Q
    product = stack_of(turn @ torch.diag(spectrum) @ turn.T)
    start = torch.randn(1, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    pair = largest_eigenpair(product, start, iterations=200)
    assert float(pair.value) == pytest.approx(float(spectrum[-1]), rel=error)
    tight = largest_eigenpair(product, start, tolerance=1e-12, iterations=400)
    assert float(tight.value) == pytest.approx(float(spectrum[-1]), rel=1e-11)
    assert abs(float(tight.vector[0] @ turn[:, -1])) == pytest.approx(1.0, abs=1e-6)


def test_a_warm_start_gives_the_same_value_for_fewer_products(trained):
    problem = trained(width=8)
    calls = []

    def counted(vector):
        calls.append(1)
        return inner(vector)

    inner = hessian_vector_product(problem.loss, problem.weights)
    cold = sharpest_direction(problem.loss, problem.weights, 1e-6, 200, product=counted)
    before = len(calls)
    moved = [w + 1e-3 * torch.randn_like(w) for w in problem.weights]
    inner = hessian_vector_product(problem.loss, moved)
    warm = sharpness(problem.loss, moved, 1e-6, 200, product=counted, start=cold.vector)
    assert len(calls) - before < before
    torch.testing.assert_close(warm, sharpness(problem.loss, moved, 1e-10, 200), rtol=1e-6, atol=0)


def test_a_start_in_the_wrong_eigenvector_does_not_hide_the_right_one():
    weights = [torch.zeros(1, 4, dtype=torch.float64)]
    diagonal = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    start = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    for guess in (start, 0 * start, start / 0):
        found = sharpness(lambda w: 0.5 * (diagonal * w[0] ** 2).sum(dim=1), weights, start=guess)
        assert float(found) == pytest.approx(4)


def stack_of(*matrices):
    m = torch.stack([torch.as_tensor(a, dtype=torch.float64) for a in matrices])
    return lambda v: torch.einsum("cij,cj->ci", m, v)


def even(cells, size):
    return torch.full((cells, size), size**-0.5, dtype=torch.float64)


def test_largest_is_algebraic_not_in_modulus():
    product = stack_of(torch.diag(torch.tensor([-9.0, 1.0, 2.0])), torch.diag(torch.tensor([-9.0, -3.0, -2.0])))
    pair = largest_eigenpair(product, even(2, 3), 1e-10, 3)
    assert pair.value.tolist() == pytest.approx([2.0, -2.0])
    assert pair.vector.abs().tolist() == [pytest.approx([0, 0, 1], abs=1e-10)] * 2


def test_a_flat_loss_has_sharpness_zero_and_a_broken_one_nan():
    product = stack_of(torch.zeros(3, 3), torch.full((3, 3), torch.nan), torch.eye(3))
    pair = largest_eigenpair(product, even(3, 3), 1e-6, 3)
    flat, broken, unit = pair.value.tolist()
    assert flat == 0 and broken != broken and unit == pytest.approx(1)
    assert torch.isnan(pair.vector).all(dim=1).tolist() == [False, True, False]


def test_the_constant_of_the_loss_is_the_constant_of_the_sharpness():
    weights = [torch.ones(2, 4, dtype=torch.float64)]
    scale = torch.tensor([0.5, 3.0], dtype=torch.float64)
    found = sharpness(lambda w: scale * (w[0] ** 2).sum(dim=1), weights)
    assert found.tolist() == pytest.approx([1.0, 6.0])


def test_lanczos_keeps_its_basis_orthonormal_and_its_relation(trained):
    problem = trained(depth=3)
    *_, space = lanczos(
        hessian_vector_product(problem.loss, problem.weights), gradient(problem.loss, problem.weights), 60
    )
    for cell in range(3):
        basis = space.basis[cell]
        torch.testing.assert_close(basis @ basis.T, torch.eye(60).double(), rtol=0, atol=1e-12)
        projected = basis @ problem.dense(cell) @ basis.T
        np.testing.assert_allclose(projected.numpy(), space.tridiagonal[cell], rtol=0, atol=1e-12)


# The k largest


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_eigenvalues_against_the_dense_hessian(trained, k):
    problem = trained(depth=3)
    found = top_eigenvalues(problem.loss, problem.weights, k, tolerance=1e-10, iterations=problem.size)
    assert found.shape == (3, k)
    for cell in range(3):
        exact = problem.spectrum(cell).flip(0)[:k]
        torch.testing.assert_close(found[cell], exact, rtol=0, atol=1e-8 * float(exact[0]))


def test_top_eigenvalues_at_the_default_tolerance(classifier):
    found = top_eigenvalues(classifier.loss, classifier.weights, 4)
    for cell in range(2):
        exact = classifier.spectrum(cell).flip(0)[:4]
        torch.testing.assert_close(found[cell], exact, rtol=0, atol=1e-4 * float(exact[0]))


def test_equal_eigenvalues_are_found_when_the_space_begins_anew():
    diagonal = torch.tensor([2.0, 2.0, 1.0, -1.0], dtype=torch.float64)
    weights = [torch.zeros(2, 4, dtype=torch.float64)]
    found = top_eigenvalues(lambda w: 0.5 * (diagonal * w[0] ** 2).sum(dim=1), weights, 4, tolerance=0)
    assert found.tolist() == [pytest.approx([2, 2, 1, -1])] * 2


def test_k_beyond_the_parameters_is_refused():
    with pytest.raises(ValueError, match="from 1 to the 4 parameters"):
        top_eigenvalues(lambda w: (w[0] ** 2).sum(dim=1), [torch.ones(1, 4)], 5)


# The trace


def test_trace_is_exact_with_enough_products(classifier):
    found = trace(classifier.loss, classifier.weights, products=3 * classifier.size)
    for cell in range(2):
        assert float(found[cell]) == pytest.approx(float(classifier.dense(cell).trace()), rel=1e-10)


def test_trace_is_exact_where_the_hessian_has_low_rank():
    """Rank 3, sketched with 4 directions: nothing is left to estimate."""
    root = torch.randn(2, 3, 50, dtype=torch.float64)
    weights = [torch.zeros(2, 50, dtype=torch.float64)]
    found = trace(lambda w: 0.5 * (torch.bmm(root, w[0][:, :, None]) ** 2).sum(dim=(1, 2)), weights, products=12)
    torch.testing.assert_close(found, (root**2).sum(dim=(1, 2)), rtol=1e-9, atol=0)


def test_the_trace_errs_by_its_standard_error(trained):
    """Over many seeds: unbiased, and as far off as the docstring says of what a sketch of that size leaves."""
    problem = trained(depth=2)
    dense = problem.dense(0)
    estimates = np.array([float(trace(problem.loss, problem.weights, 15, seed)[0]) for seed in range(60)])
    signs = torch.sign(torch.randn(200, problem.size, 5, dtype=torch.float64))
    q = torch.linalg.qr(dense @ signs).Q
    p = torch.eye(problem.size, dtype=torch.float64) - q @ q.mT
    rest = p @ dense @ p
    off_diagonal = (rest**2).sum(dim=(1, 2)) - (rest.diagonal(dim1=1, dim2=2) ** 2).sum(dim=1)
    expected = float((2 * off_diagonal / 5).mean().sqrt())
    errors = estimates - float(dense.trace())
    assert abs(errors.mean()) < 4 * expected / 60**0.5
    assert np.sqrt((errors**2).mean()) == pytest.approx(expected, rel=0.35)


def test_a_trace_needs_thirds():
    with pytest.raises(ValueError, match="multiple of 3"):
        trace(lambda w: (w[0] ** 2).sum(dim=1), [torch.ones(1, 4)], 10)


# The density


def test_the_density_has_the_moments_that_its_directions_see(trained):
    """Gauss quadrature: Σ w λ^m = vᵀH^m v up to m = 2·steps − 1, and the mass is 1."""
    problem = trained(depth=2)
    nodes, masses = spectral_density(problem.loss, problem.weights, steps=5, probes=1)
    assert nodes.shape == masses.shape == (3, 5)
    v = direction(problem, 0)
    for cell in range(3):
        dense, image = problem.dense(cell), v
        for m in range(10):
            assert float((masses[cell] * nodes[cell] ** m).sum()) == pytest.approx(float(v @ image), rel=1e-9)
            image = dense @ image


def direction(problem, probe):
    """The random direction that the density starts from, (P,), of length 1."""
    v = rng.normals(0, "density/direction", probe, problem.size)
    return v / v.norm()


@pytest.mark.slow
def test_the_densitys_points_are_the_eigenvalues_when_steps_are_enough(classifier):
    """Each with the mean share of it in the directions, whose expectation is 1/P."""
    probes, size = 6, classifier.size
    density = spectral_density(classifier.loss, classifier.weights, steps=size, probes=probes)
    assert density.nodes.shape == (2, probes * size)
    for cell in range(2):
        exact, vectors = torch.linalg.eigh(classifier.dense(cell))
        nodes, masses = density.nodes[cell], density.weights[cell]
        assert float(masses.sum()) == pytest.approx(1)
        for outlier in (-1, -2, 0):
            there = (nodes - exact[outlier]).abs() < 1e-6 * exact[-1]
            share = np.mean([float(direction(classifier, p) @ vectors[:, outlier]) ** 2 for p in range(probes)])
            assert float(masses[there].sum()) == pytest.approx(share, rel=1e-6)


def test_a_smoothed_density_integrates_to_one_and_peaks_at_its_nodes():
    density = Density(
        torch.tensor([[0.0, 3.0], [1.0, 1.0]]).double(), torch.tensor([[0.25, 0.75], [0.5, 0.5]]).double()
    )
    grid = torch.linspace(-5, 8, 2601, dtype=torch.float64)
    curve = smooth_density(density, grid, 0.2)
    assert curve.shape == (2, 2601)
    assert torch.trapezoid(curve, grid).tolist() == pytest.approx([1.0, 1.0], rel=1e-9)
    peak = 1 / (0.2 * (2 * np.pi) ** 0.5)
    assert curve[0, grid.sub(3).abs().argmin()] == pytest.approx(0.75 * peak, rel=1e-6)
    assert curve[1, grid.sub(1).abs().argmin()] == pytest.approx(peak, rel=1e-6)


def test_bins_are_alike_on_both_sides_of_zero_and_hold_everything():
    edges = symmetric_log_edges(0.01, 10.0, 2)
    assert edges[len(edges) // 2 :] == pytest.approx([10 ** (k / 2) / 100 for k in range(7)])
    assert (edges == -edges[::-1]).all()
    density = Density(
        torch.tensor([[-99.0, 0.0, 1e-3, 2.0, 99.0], [torch.nan, 1.0, 1.0, 1.0, 1.0]]).double(),
        torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.25]]).double().expand(2, -1),
    )
    found = bin_density(density, edges)
    assert found.shape == (2, 13) and torch.isnan(found[1]).all()
    assert {place: float(share) for place, share in enumerate(found[0]) if share} == pytest.approx(
        {0: 0.1, 6: 0.5, 11: 0.15, 12: 0.25}
    )


# All of them


MEASURES = {
    "sharpness": lambda loss, weights, **more: sharpness(loss, weights, **more),
    "top": lambda loss, weights, **more: top_eigenvalues(loss, weights, 3, **more),
    "trace": lambda loss, weights, **more: trace(loss, weights, 12, **more),
    "density": lambda loss, weights, **more: torch.cat(spectral_density(loss, weights, 8, 2, **more), dim=1),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_nan_weights_give_nan_in_that_cell_alone(trained, measure):
    problem = trained(depth=3)
    whole = MEASURES[measure](problem.loss, problem.weights)
    found = MEASURES[measure](problem.loss, broken_in_the_middle(problem))
    assert torch.isnan(found[1]).all()
    assert torch.equal(found[[0, 2]], whole[[0, 2]]) and torch.isfinite(whole).all()


@pytest.mark.parametrize("measure", MEASURES)
def test_a_cell_does_not_feel_its_neighbours(small, measure):
    """Bit for bit, though its neighbours need more iterations."""
    experiment = small(width=16, task="teacher", dtype="float64")
    cells = [(0.1, 1e-3), (30.0, 1.0), (3.0, 0.05), (1.0, 0.01)]
    whole, pair = Problem(experiment, cells), Problem(experiment, cells[2:])
    found, alone = (MEASURES[measure](p.loss, p.weights) for p in (whole, pair))
    assert torch.equal(found[2:], alone)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_product_built_elsewhere_is_used_and_agrees(trained, measure):
    problem = trained(depth=3)
    inner, calls = problem.network.hessian_vector_product(problem.weights, problem.x, problem.of_outputs), []

    def product(vector):
        calls.append(1)
        return inner(vector)

    found = MEASURES[measure](problem.loss, problem.weights, product=product)
    assert calls
    torch.testing.assert_close(found, MEASURES[measure](problem.loss, problem.weights), rtol=1e-6, atol=1e-9)


# Where estimates had failed


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_one_parameter(value):
    """Gradient and fixed direction are the same or opposite; a start that is opposite to it is the same."""
    weights = [torch.tensor([[value]])]
    for measure, expected in ((sharpness, 2.0), (along_gradient, 2.0), (trace, 2.0)):
        assert measure(lambda w: (w[0] ** 2).sum(dim=1), weights).tolist() == pytest.approx([expected])
    assert float(top_eigenvalues(lambda w: (w[0] ** 2).sum(dim=1), weights, 1)) == pytest.approx(2)
    assert float(sharpness(lambda w: (w[0] ** 2).sum(dim=1), weights, start=torch.tensor([[-1.0]]))) == pytest.approx(2)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("loss", "largest"),
    [
        (lambda w: w[0].sum(dim=1) + 3 * w[1].sum(dim=1), 0.0),  # linear
        (lambda w: (w[0] ** 2).sum(dim=1), 2.0),  # one of the two is not used
        (lambda w: (w[0] ** 2).sum(dim=1) + w[1].sum(dim=1), 2.0),  # linear in one
        (lambda w: w[0].detach().sum(dim=1), 0.0),  # constant
    ],
)
def test_what_the_loss_does_not_bend_with_has_no_curvature(measure, loss, largest):
    weights = [torch.ones(2, 3, dtype=torch.float64), torch.ones(2, 4, dtype=torch.float64)]
    found = MEASURES[measure](loss, weights)
    assert torch.isfinite(found).all()
    if measure != "density":
        total = 3 * largest if measure == "trace" else largest
        assert found[:, 0].tolist() if found.ndim > 1 else found.tolist() == pytest.approx([total] * 2)


def test_a_linear_loss_of_an_mlps_outputs(trained):
    problem = trained(depth=3)
    product = problem.network.hessian_vector_product(problem.weights, problem.x, lambda raw: raw.sum(dim=(1, 2)))
    plain = hessian_vector_product(lambda w: problem.network.forward(w, problem.x).sum(dim=(1, 2)), problem.weights)
    vectors = torch.ones(problem.cells, problem.size, dtype=torch.float64)
    torch.testing.assert_close(product(vectors), plain(vectors))
    outputs = lambda w: problem.network.forward(w, problem.x)  # noqa: E731
    linear = gauss_newton_vector_product(outputs, lambda f: f.sum(dim=(1, 2)), problem.weights)
    assert not linear(vectors).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [-36, -30, -22, -10, 0, 10, 19, 25, 36])
def test_curvature_of_any_size(dtype, power):
    """To the ends of the dtype's exponents: in float64 those of ten times as many decades."""
    size = 10.0 ** (power if dtype == torch.float32 else 8 * power)
    diagonal = torch.tensor([0.3, 1.0, 0.5, -0.2], dtype=dtype) * size
    product = lambda v: diagonal * v  # noqa: E731
    weights, start = [torch.ones(1, 4, dtype=dtype)], torch.ones(1, 4, dtype=dtype)
    for begin in (start, start * size):
        found = sharpness(None, weights, 1e-6, product=product, start=begin)
        assert float(found) / size == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_weights_that_are_not_finite_have_no_curvature(measure):
    """Though the loss and its derivatives may be: here the infinite one is cut off."""
    weights = [torch.ones(2, 3)]
    weights[0][1, 0] = -torch.inf
    found = MEASURES[measure](lambda w: (torch.relu(w[0]) ** 2).sum(dim=1), weights)
    assert torch.isfinite(found[0]).all() and torch.isnan(found[1]).all()


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision(measure, dtype):
    weights = [torch.linspace(0.5, 2, 10).view(2, 5)]
    loss = lambda w: (w[0] ** 4).mean(dim=1)  # noqa: E731
    exact, found = MEASURES[measure](loss, weights), MEASURES[measure](loss, [w.to(dtype) for w in weights])
    assert found.dtype == dtype
    if measure != "density":
        torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.05 * float(exact.abs().max()))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("weights", "loss", "message"),
    [
        ([torch.ones(3, 4)], lambda w: (w[0] ** 2).sum(), r"one value a network, shape \(3,\), got \(\)"),
        ([torch.ones(3, 4)], lambda w: w[0] ** 2, r"one value a network, shape \(3,\), got \(3, 4\)"),
        (
            [torch.ones(2, 4), torch.ones(3, 4)],
            lambda w: (w[0] ** 2).sum(dim=1),
            "must be a stack .* leading axis of one",
        ),
        ([torch.tensor(2.0)], lambda w: w[0] ** 2, "must be a stack"),
        ([], lambda w: torch.zeros(0), "must be a stack"),
    ],
)
def test_what_is_no_stack_is_refused(measure, weights, loss, message):
    with pytest.raises(ValueError, match=message):
        MEASURES[measure](loss, weights)


# Of a torch module


class Frozen(torch.nn.Module):
    """With a frozen layer, a norm that counts, attention, and a buffer."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 2)
        self.first.requires_grad_(False)
        self.register_buffer("shift", torch.ones(6))

    def forward(self, x):
        h = self.norm(self.first(x)) + self.shift
        h = torch.nn.functional.scaled_dot_product_attention(h[:, None], h[:, None], h[:, None])[:, 0]
        return self.last(torch.tanh(h))


def test_the_sharpness_of_a_module_is_its_dense_hessians():
    torch.manual_seed(0)
    model, x, y = Frozen().double(), torch.randn(20, 4).double(), torch.randint(2, (20,))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    found = richness.sharpness(model, torch.nn.functional.cross_entropy, (x, y), tolerance=1e-9)
    assert found.shape == () and not found.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())

    def loss(*parts):
        state = dict(zip([n for n, p in model.named_parameters() if p.requires_grad], parts, strict=True))
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return torch.nn.functional.cross_entropy(torch.func.functional_call(model, state, x), y)

    blocks = torch.autograd.functional.hessian(loss, tuple(trained))
    dense = torch.cat(
        [torch.cat([b.reshape(p.numel(), -1) for b in row], 1) for p, row in zip(trained, blocks, strict=True)]
    )
    assert float(found) == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-6)


def test_what_a_module_cannot_be_measured_with():
    model, x = torch.nn.Linear(3, 1), torch.ones(5, 3)
    with pytest.raises(ValueError, match="one number, got shape"):
        richness.sharpness(model, lambda f, y: (f - y) ** 2, (x, torch.ones(5, 1)))
    with pytest.raises(ValueError, match="a pair"):
        richness.sharpness(model, torch.nn.functional.mse_loss, x)
    with pytest.raises(ValueError, match="frozen"):
        richness.sharpness(model.requires_grad_(False), torch.nn.functional.mse_loss, (x, torch.ones(5, 1)))
