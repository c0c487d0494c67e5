"""The model's relatives against what does not know them: autodiff, quadrature, Monte Carlo, and steps written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from richness.analysis.theory import catapult, critical_eta, escape_time, sign_steps, single_index
from richness.analysis.theory.scan import find_largest_good

# -- the largest good step size ----------------------------------------------------------------------------------------


def test_the_contiguous_and_the_topmost_boundary() -> None:
    """Good below 2 and on an island from 5 to 6 for the first γ, below 7 for the second."""

    def good(etas: np.ndarray, at: np.ndarray) -> np.ndarray:
        island = (etas < 2) | ((etas > 5) & (etas < 6))
        return np.where((at == 0)[:, None], island, etas < 7)

    low, high = np.array([0.1, 0.1]), np.array([100.0, 200.0])
    np.testing.assert_allclose(find_largest_good(good, low, high), [2, 7], rtol=1e-3)
    np.testing.assert_allclose(find_largest_good(good, low, high, topmost=True), [6, 7], rtol=1e-3)


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("topmost", [True, False])
def test_a_boundary_that_was_not_seen_is_nan(answer: bool, topmost: bool) -> None:
    def good(etas: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.where((at == 0)[:, None], answer, etas < 3)

    found = find_largest_good(good, np.array([1.0, 1.0]), np.array([10.0, 10.0]), topmost=topmost)
    assert np.isnan(found[0]) and found[1] == pytest.approx(3, rel=1e-3)


# -- the catapult ------------------------------------------------------------------------------------------------------


def test_catapult_steps_written_out() -> None:
    gammas, etas = np.array([0.01, 0.3]), np.array([1e-5, 3e-5, 1e-2])
    run = catapult.simulate((2.0, 0.1), gammas[:, None], etas[None, :], 7, record=True)
    assert run.output.shape == (2, 3) and run.loss_history is not None and run.loss_history.shape == (8, 2, 3)
    gamma, eta = 0.3, 1e-2
    weights = torch.tensor([2.0, 0.1], dtype=torch.float64, requires_grad=True)
    losses = []
    for _ in range(7):
        loss = 0.5 * ((weights[0] * weights[1] - 0.2) / gamma - 1) ** 2
        losses.append(float(loss.detach()))
        (slope,) = torch.autograd.grad(loss, weights)
        weights = (weights - eta * slope).detach().requires_grad_()
    np.testing.assert_allclose(run.loss_history[:7, 1, 2], losses, rtol=1e-10)
    assert run.sharpness[1, 2] == pytest.approx(float((weights.detach() ** 2).sum()) / gamma**2, rel=1e-10)
    assert run.peak_loss[1, 2] == pytest.approx(max(losses), rel=1e-10)


def test_at_the_minimum_the_catapults_sharpness_is_the_hessians() -> None:
    gamma, u = 0.7, 1.3
    v = (0.2 + gamma) / u
    hessian = torch.autograd.functional.hessian(
        lambda w: 0.5 * ((w[0] * w[1] - 0.2) / gamma - 1) ** 2, torch.tensor([u, v], dtype=torch.float64)
    )
    assert float(torch.linalg.eigvalsh(hessian)[-1]) == pytest.approx((u**2 + v**2) / gamma**2, rel=1e-10)
    assert 2 / catapult.stable_eta((2.0, 0.1), gamma) <= (u**2 + v**2) / gamma**2


def test_the_unbalanced_start_outlives_its_threshold_and_the_balanced_does_not() -> None:
    gammas = np.geomspace(1e-3, 1e-1, 5)
    threshold, top = catapult.window(catapult.UNBALANCED, gammas)
    np.testing.assert_allclose(top, 2 * threshold)
    np.testing.assert_allclose(catapult.convergent_eta(catapult.UNBALANCED, gammas), top, rtol=0.02)
    run = catapult.simulate(catapult.UNBALANCED, gammas, 1.5 * threshold)
    before = catapult.initial_sharpness(catapult.UNBALANCED, gammas)
    assert run.converged.all() and np.all(run.peak_loss * gammas**2 > 0.1)  # far above the ½ that it began with
    assert np.all(run.sharpness < 0.5 * before) and np.all(run.sharpness * 1.5 * threshold < 2)
    threshold, top = catapult.window(catapult.BALANCED, gammas)
    assert np.all(top < threshold)
    found = catapult.convergent_eta(catapult.BALANCED, gammas)
    np.testing.assert_allclose(found, catapult.stable_eta(catapult.BALANCED, gammas), rtol=0.02)
    assert np.all(found < threshold)
    # two equal weights are the shared one of depth 2, where each of them sees half of the derivative
    np.testing.assert_allclose(catapult.stable_eta(catapult.BALANCED, gammas), 2 * critical_eta(2, gammas), rtol=1e-12)


# -- steps by sign -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", (2, 3, 4))
def test_the_band_of_sign_steps(depth: int) -> None:
    gammas = np.geomspace(1e-4, 1e6, 6)
    low, high = sign_steps.simulated_band(depth, gammas, 200)
    np.testing.assert_allclose(low, sign_steps.minimal_eta(depth, gammas, 200), rtol=0.01)
    ratio = high / sign_steps.largest_eta(depth, gammas)  # the closed form is what is certain; phases are sixteenths
    assert np.all((ratio > 0.99) & (ratio < 1.2)), ratio
    width = sign_steps.largest_eta(depth, gammas) / sign_steps.minimal_eta(depth, gammas, 200)
    assert np.all((width > 20) & (width < 201))  # the band does not close


def test_sign_steps_written_out() -> None:
    gamma, eta, w, kept = 3.0, 0.07, 1.0, []
    for _ in range(40):
        w -= eta * np.sign(((w**3 - 1) / gamma - 1) * 3 * w**2 / gamma)
        kept.append(abs((w**3 - 1) / gamma - 1))
    found = sign_steps.simulate(3, np.array([0.1, gamma])[:, None], np.array([0.01, eta, 0.5]), 40)
    assert found.shape == (2, 3) and found[1, 1] == pytest.approx(max(kept[-2:]), rel=1e-10)


# -- the single-index target -------------------------------------------------------------------------------------------


def plain_loss(u: np.ndarray, w: float, x: np.ndarray, gamma: float, m: float, depth: int, power: int) -> np.ndarray:
    """½ (f(x) − y(x))² of each sample, from the definition; the plane's axes are a and the direction across it."""
    start = np.array([m, np.sqrt(1 - m**2)])
    f = (w ** (depth - 1) * (x @ u) ** power - (x @ start) ** power) / gamma
    return 0.5 * (f - x[:, 0] ** power) ** 2


@pytest.mark.parametrize("power", (1, 2, 3))
@pytest.mark.parametrize("depth", (2, 3))
def test_the_population_loss_against_quadrature(depth: int, power: int) -> None:
    """Gauss–Hermite of 8 nodes is exact for a polynomial of degree 2p ≤ 6."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    x = np.stack([each.ravel() for each in np.meshgrid(nodes, nodes, indexing="ij")], axis=-1)
    share = np.outer(weights, weights).ravel() / (2 * np.pi)
    w, u, gamma, m = 1.3, np.array([0.8, -0.4]), 2.5, 0.3
    exact = float(share @ plain_loss(u, w, x, gamma, m, depth, power))
    loss = single_index.population_loss(depth, power)
    assert float(loss.value(w, *u, gamma, m)) == pytest.approx(exact, rel=1e-12)

    def as_torch(v: torch.Tensor) -> torch.Tensor:
        inside = v[0] ** (depth - 1) * (torch.tensor(x) @ v[1:]) ** power
        start = torch.tensor(x @ np.array([m, np.sqrt(1 - m**2)])) ** power
        return 0.5 * (torch.tensor(share) * ((inside - start) / gamma - torch.tensor(x[:, 0]) ** power) ** 2).sum()

    at = torch.tensor([w, *u], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(as_torch(at), at)
    np.testing.assert_allclose(loss.gradient(w, *u, gamma, m), slope.numpy(), rtol=1e-10)
    hessian = torch.autograd.functional.hessian(as_torch, at.detach())
    np.testing.assert_allclose(
        np.array(loss.hessian(w, *u, gamma, m), dtype=float), hessian.numpy(), rtol=1e-9, atol=1e-12
    )


def test_the_dimension_of_the_input_does_not_matter() -> None:
    """Drawn in nine dimensions, u, u₀ and a in some plane of them: the same loss, within its error."""
    draws = np.random.default_rng(0)
    axes = np.linalg.qr(draws.standard_normal((9, 2)))[0]
    x = draws.standard_normal((200_000, 9)) @ axes
    samples = plain_loss(np.array([0.9, 0.5]), 1.2, x, 3.0, 0.3, 3, 2)
    exact = float(single_index.population_loss(3, 2).value(1.2, 0.9, 0.5, 3.0, 0.3))
    assert abs(samples.mean() - exact) < 4 * samples.std() / np.sqrt(samples.size)


@pytest.mark.parametrize(("depth", "power"), [(2, 1), (2, 2), (3, 3)])
def test_the_minimum_is_where_gradient_flow_ends(depth: int, power: int) -> None:
    for gamma in (0.1, 30.0):
        loss = single_index.population_loss(depth, power)
        scale = float(single_index.critical_eta(depth, power, gamma)[0])

        def flow(_: float, y: np.ndarray, gamma: float = gamma, loss=loss, scale: float = scale) -> list[float]:
            return [-scale * float(slope) for slope in loss.gradient(*y, gamma, 0.3)]

        path = solve_ivp(flow, (0, 400), [1.0, 0.3, np.sqrt(1 - 0.09)], method="LSODA", rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(path.y[:, -1], single_index.minimum(depth, power, gamma)[:, 0], atol=2e-4)


def test_at_power_one_it_is_the_constant_targets_model_but_for_the_turning() -> None:
    """With m = 1 and a weight that grows as u does (L = 2) the target is reached along one direction."""
    gammas = np.array([0.1, 10.0])
    found = single_index.minimum(2, 1, gammas, m=1.0)
    np.testing.assert_allclose(found[0], np.sqrt(1 + gammas), rtol=1e-8)  # w = |u| = w* of two equal weights
    np.testing.assert_allclose(found[1], np.sqrt(1 + gammas), rtol=1e-8)
    # separate layers: the boundary and the escape are L = 2 times the shared weight's
    np.testing.assert_allclose(single_index.critical_eta(2, 1, gammas, m=1.0), 2 * critical_eta(2, gammas), rtol=1e-7)
    np.testing.assert_allclose(single_index.escape_time(2, 1, gammas, m=1.0), 2 * escape_time(2, gammas), rtol=1e-5)


@pytest.mark.parametrize("power", (1, 2))
def test_simulated_boundary_of_a_single_index(power: int) -> None:
    gammas = np.array([1e-3, 1e2, 1e3])
    ratio = single_index.convergent_eta(2, power, gammas, steps=500) / single_index.critical_eta(2, power, gammas)
    assert np.all((ratio > 0.98) & (ratio < 1.1)), ratio


def test_what_cannot_be_reached_stays() -> None:
    assert np.all(single_index.floor(3, 1, [1e-3, 1.0, 1e3]) < 1e-8)
    lazy, middle, rich = single_index.floor(3, 2, [1e-3, 1.0, 1e3])
    assert 0.5 < lazy < 1 and 0.01 < middle < lazy and rich < 1e-5


@pytest.mark.parametrize(
    "call",
    [
        lambda: catapult.simulate((1.0, 1.0), 0.0, 1.0),
        lambda: catapult.simulate((1.0, 1.0), 1.0, 1.0, 0),
        lambda: sign_steps.minimal_eta(3, 1.0, 0),
        lambda: sign_steps.largest_eta(1, 1.0),
        lambda: single_index.population_loss(2, 0),
        lambda: single_index.degree(1, 1),
        lambda: single_index.minimum(2, 1, 1e-9),
    ],
)
def test_bad_input_is_refused(call) -> None:
    with pytest.raises(ValueError):
        call()
