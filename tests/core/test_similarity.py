"""R² and CKA against formulas written out, and the probes that keep what they are taken of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from richness import measure
from richness.runs import probes
from richness.runs.training import Trainer


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_r_squared_is_its_formula_pair_by_pair():
    f = normals(4, 7, 3)
    table = measure.r_squared(f).numpy()
    for i in range(4):
        for j in range(4):
            apart = ((f[i] - f[j]) ** 2).sum()
            one_sided = [float(apart / (f[k] ** 2).sum()) for k in (i, j)]
            harmonic = 0.0 if i == j else 2 / (1 / one_sided[0] + 1 / one_sided[1])
            assert table[i, j] == pytest.approx(1 - harmonic, abs=1e-12)


def test_r_squared_knows_factors_orthogonal_networks_and_those_that_have_not_begun():
    f = torch.zeros(4, 2, 2, dtype=torch.float64)
    f[0, 0, 0], f[1, 0, 0], f[2, 1, 1] = 1.0, 0.5, 1.0  # f, ½f, one orthogonal to both, and 0
    table = measure.r_squared(f)
    assert table[0, 1] == pytest.approx(1 - 0.25 / (0.5 * 1.25))
    assert table[0, 2] == pytest.approx(-1)
    assert table[0, 3] == pytest.approx(-1)
    assert torch.isnan(table[3, 3])
    with pytest.raises(ValueError, match="networks, samples, K"):
        measure.r_squared(f[0])


def test_a_network_that_is_not_finite_spoils_its_own_row_alone():
    f, features = normals(3, 8, 2), normals(3, 5, 8)
    f[1, 0, 0] = features[1, 0, 0] = torch.nan
    for table in (measure.r_squared(f), measure.cka(measure.gram(features))):
        assert torch.isnan(table[1]).all()
        assert torch.isfinite(table[[0, 2]][:, [0, 2]]).all()


def test_biased_cka_is_that_of_the_features():
    first, second = normals(6, 9, seed=1), normals(6, 9, seed=2)
    table = measure.cka(measure.gram(torch.stack([first, second])), debiased=False)
    x, y = (h - h.mean(dim=1, keepdim=True) for h in (first, second))
    norm = torch.linalg.matrix_norm
    assert table[0, 1] == pytest.approx(float(norm(x @ y.T) ** 2 / (norm(x @ x.T) * norm(y @ y.T))))


def hsic(k: np.ndarray, other: np.ndarray) -> float:
    """Song et al. 2012, equation 5, as it stands there."""
    n = len(k)
    k, other = k - np.diag(np.diag(k)), other - np.diag(np.diag(other))
    one = np.ones(n)
    terms = np.trace(k @ other) + (one @ k @ one) * (one @ other @ one) / ((n - 1) * (n - 2))
    return float((terms - 2 / (n - 2) * one @ k @ other @ one) / (n * (n - 3)))


def test_debiased_cka_is_made_of_unbiased_estimates_of_hsic():
    raw = torch.stack([h.T @ h for h in (normals(5, 8, seed=3), normals(5, 8, seed=4) + 1)])
    k, other = (g.numpy() for g in raw)
    wanted = hsic(k, other) / np.sqrt(hsic(k, k) * hsic(other, other))
    assert measure.cka(raw)[0, 1] == pytest.approx(wanted)
    centred = raw - raw.mean(1, keepdim=True) - raw.mean(2, keepdim=True) + raw.mean((1, 2), keepdim=True)
    assert measure.cka(centred)[0, 1] == pytest.approx(wanted)  # centred before or not


def test_only_debiased_cka_sees_that_random_representations_are_not_alike():
    units, samples = 24, 32
    grams = measure.gram(normals(40, units, samples, seed=5))
    apart = ~torch.eye(40, dtype=torch.bool)
    assert abs(float(measure.cka(grams)[apart].mean())) < 0.01
    assert float(measure.cka(grams, debiased=False)[apart].mean()) == pytest.approx(units / (units + samples), abs=0.03)


def test_cka_does_not_see_rotations_shifts_and_factors():
    features = normals(1, 6, 10)
    turn = torch.linalg.qr(normals(6, 6, seed=6))[0]
    other = 3 * turn @ features[0] + normals(6, 1, seed=7)
    for debiased in (True, False):
        table = measure.cka(measure.gram(torch.stack([features[0], other])), debiased)
        torch.testing.assert_close(table, torch.ones_like(table))


def test_errors_of_shape():
    with pytest.raises(ValueError, match="four samples or more"):
        measure.cka(normals(2, 3, 3))
    with pytest.raises(ValueError, match="got 5"):
        measure.from_triangle(normals(2, 5))


def test_a_triangle_comes_back_square():
    square = normals(2, 3, 4, 4)
    square = square + square.mT
    rows, columns = torch.triu_indices(4, 4)
    torch.testing.assert_close(measure.from_triangle(square[..., rows, columns]), square)


def test_the_probes_keep_outputs_and_gram_matrices_of_held_out_samples(small):
    trainer = Trainer(small(depth=3, width=5, dtype="float64"), 0, [(0.5, 0.02), (3.0, 0.3)])
    for step in range(10):
        trainer.update(step)
    x = trainer.task.test()[0][: probes.COMPARED_SAMPLES].double()
    raw = trainer.network.forward(trainer.stack.weights, x)
    start = trainer.network.forward([w.repeat(2, 1, 1) for w in trainer.start], x)
    f = (raw - start) / torch.tensor([0.5, 3.0])[:, None, None]
    kept = trainer.probe("outputs")
    assert kept.shape == (2, probes.COMPARED_SAMPLES, 10)
    torch.testing.assert_close(kept, f, rtol=2.0**-probes.OUTPUT_BITS, atol=0)
    layers = trainer.network.hidden(trainer.stack.weights, x[: probes.GRAM_SAMPLES])
    grams = measure.from_triangle(trainer.probe("gram"))
    assert grams.shape == (2, 2, probes.GRAM_SAMPLES, probes.GRAM_SAMPLES)
    for layer, h in enumerate(layers):
        h = h - h.mean(dim=2, keepdim=True)
        torch.testing.assert_close(grams[:, layer], h.mT @ h / 5, rtol=2.0**-probes.GRAM_BITS, atol=1e-12)
        exact = measure.cka(h.mT @ h / 5)[0, 1]
        assert abs(float(measure.cka(grams[:, layer])[0, 1] - exact)) < 1e-3  # rounding moves no CKA
