from __future__ import annotations

import pytest
import torch

from richness.measure import sharpness
from richness.measure.curvature import hessian_vector_product, lanczos_largest
from richness.runs.training import Trainer


def dense(trainer, cell, x, y):
    """The Hessian of one cell's loss, entry by entry."""
    stack = trainer.stack.keep(torch.tensor([cell]))
    sizes = [w.numel() for w in stack.weights]
    flat = torch.cat([w.flatten() for w in stack.weights])

    def loss(vector):
        parts = [p.view_as(w) for p, w in zip(vector.split(sizes), stack.weights, strict=True)]
        return trainer.losses(stack, parts, x, y)[0]

    return torch.autograd.functional.hessian(loss, flat, vectorize=True)


@pytest.fixture
def trained(small):
    def build(**changes):
        experiment = small(width=6, task="teacher", dtype="float64", **changes)
        trainer = Trainer(experiment, 0, [(0.1, 1e-3), (1.0, 0.05), (30.0, 1.0)])
        for step in range(12):
            trainer.update(step)
        x, y = trainer.task.probe(64)
        return trainer, x.double(), y

    return build


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_against_the_dense_hessian(trained, depth, activation):
    trainer, x, y = trained(depth=depth, activation=activation)
    stack = trainer.stack
    found = sharpness(lambda w: trainer.losses(stack, w, x, y), stack.weights, tolerance=1e-7, iterations=400)
    for cell in range(3):
        exact = torch.linalg.eigvalsh(dense(trainer, cell, x, y))[-1]
        assert float(found[cell]) == pytest.approx(float(exact), rel=1e-8)


def test_cross_entropy_against_the_dense_hessian(small):
    trainer = Trainer(small(width=4, loss="cross_entropy", dtype="float64"), 0, [(1.0, 0.1), (5.0, 1.0)])
    x, y = trainer.task.probe(40)
    x = x.double()
    found = sharpness(lambda w: trainer.losses(trainer.stack, w, x, y), trainer.stack.weights, 1e-7, 300)
    for cell in range(2):
        assert float(found[cell]) == pytest.approx(
            float(torch.linalg.eigvalsh(dense(trainer, cell, x, y))[-1]), rel=1e-8
        )


def test_the_default_tolerance_is_good_to_a_thousandth(trained):
    trainer, x, y = trained(depth=3)
    found = sharpness(lambda w: trainer.losses(trainer.stack, w, x, y), trainer.stack.weights)
    for cell in range(3):
        exact = float(torch.linalg.eigvalsh(dense(trainer, cell, x, y))[-1])
        assert float(found[cell]) == pytest.approx(exact, rel=1e-3)


def test_the_product_is_the_hessians(trained):
    trainer, x, y = trained(depth=3)
    product = hessian_vector_product(lambda w: trainer.losses(trainer.stack, w, x, y), trainer.stack.weights)
    size = sum(w[0].numel() for w in trainer.stack.weights)
    vector = torch.randn(3, size, dtype=torch.float64)
    rows = product(vector)
    for cell in range(3):
        torch.testing.assert_close(rows[cell], dense(trainer, cell, x, y) @ vector[cell])


def stack_of(*matrices):
    m = torch.stack([torch.as_tensor(a, dtype=torch.float64) for a in matrices])
    return lambda v: torch.einsum("cij,cj->ci", m, v)


def start(cells, size):
    return torch.full((cells, size), size**-0.5, dtype=torch.float64)


def test_largest_is_algebraic_not_in_modulus():
    product = stack_of(torch.diag(torch.tensor([-9.0, 1.0, 2.0])), torch.diag(torch.tensor([-9.0, -3.0, -2.0])))
    assert lanczos_largest(product, start(2, 3), 1e-10, 3).tolist() == pytest.approx([2.0, -2.0])


def test_a_flat_loss_has_sharpness_zero_and_a_broken_one_nan():
    product = stack_of(torch.zeros(3, 3), torch.full((3, 3), torch.nan), torch.eye(3))
    flat, broken, unit = lanczos_largest(product, start(3, 3), 1e-6, 3).tolist()
    assert flat == 0 and broken != broken and unit == pytest.approx(1)


def test_the_constant_of_the_loss_is_the_constant_of_the_sharpness():
    weights = [torch.ones(2, 4, dtype=torch.float64)]
    scale = torch.tensor([0.5, 3.0], dtype=torch.float64)
    found = sharpness(lambda w: scale * (w[0] ** 2).sum(dim=1), weights)
    assert found.tolist() == pytest.approx([1.0, 6.0])
