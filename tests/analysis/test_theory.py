"""The closed forms against what does not know them: autodiff, an ODE solver, and the model run step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from richness.analysis import theory

DEPTHS = (2, 3, 4, 6)
GAMMAS = np.geomspace(1e-4, 1e6, 11)
P1 = 1 / (1 + np.exp(-1.0))


def torch_loss(weights: torch.Tensor, depth: int, gamma: float, loss: str) -> torch.Tensor:
    """The loss written afresh: of one shared weight (a scalar) or of L separate ones (a vector)."""
    product = weights.prod() if weights.ndim else weights**depth
    f = (product - 1) / gamma
    if loss == "mse":
        return 0.5 * (f - 1) ** 2
    return -P1 * torch.nn.functional.logsigmoid(f) - (1 - P1) * torch.nn.functional.logsigmoid(-f)


def second_derivative(at: float, depth: int, gamma: float, loss: str) -> float:
    w = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(torch_loss(w, depth, gamma, loss), w, create_graph=True)
    (second,) = torch.autograd.grad(first, w)
    return float(second)


@pytest.mark.parametrize("loss", theory.LOSSES)
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("gamma", [1e-3, 0.5, 1.0, 30.0, 1e4])
def test_curvatures_against_autodiff(depth: int, gamma: float, loss: str) -> None:
    at_minimum = second_derivative(float(theory.minimum(depth, gamma)), depth, gamma, loss)
    assert theory.minimum_sharpness(depth, gamma, loss) == pytest.approx(at_minimum, rel=1e-7)
    assert theory.initial_sharpness(depth, gamma, loss) == pytest.approx(
        second_derivative(1.0, depth, gamma, loss), rel=1e-9, abs=1e-12 / gamma**2
    )
    assert theory.critical_eta(depth, gamma, loss) == pytest.approx(2 / at_minimum, rel=1e-7)


@pytest.mark.parametrize("loss", theory.LOSSES)
@pytest.mark.parametrize("depth", (2, 3, 4))
def test_separate_weights_share_the_derivative(depth: int, loss: str) -> None:
    gamma = 7.0
    hessian = torch.autograd.functional.hessian(
        lambda w: torch_loss(w, depth, gamma, loss), torch.ones(depth, dtype=torch.float64)
    )
    found = np.sort(torch.linalg.eigvalsh(hessian).numpy())
    wanted = [float(theory.initial_sharpness(depth, gamma, loss)) / depth]
    wanted += [float(theory.transverse_sharpness(depth, gamma, loss))] * (depth - 1)
    np.testing.assert_allclose(found, np.sort(wanted), rtol=1e-10)
    at_minimum = torch.full((depth,), float(theory.minimum(depth, gamma)), dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda w: torch_loss(w, depth, gamma, loss), at_minimum)
    largest = float(torch.linalg.eigvalsh(hessian)[-1])
    assert largest == pytest.approx(float(theory.minimum_sharpness(depth, gamma, loss)) / depth, rel=1e-9)


def test_the_start_is_a_saddle_on_the_rich_side() -> None:
    for depth in DEPTHS:
        turn = depth / (depth - 1)
        assert theory.initial_sharpness(depth, 0.99 * turn) > 0 > theory.initial_sharpness(depth, 1.01 * turn)


@pytest.mark.parametrize("loss", theory.LOSSES)
@pytest.mark.parametrize("depth", (2, 3, 4))
@pytest.mark.parametrize("gamma", [1e-3, 1.0, 100.0, 1e4])
@pytest.mark.parametrize("level", [0.2254, 0.5, 0.9])
def test_escape_time_against_an_ode_solver(depth: int, gamma: float, loss: str, level: float) -> None:
    def flow(_: float, w: np.ndarray) -> np.ndarray:
        f = (w**depth - 1) / gamma
        pull = 1 - f if loss == "mse" else P1 - 1 / (1 + np.exp(-f))
        return pull * depth * w ** (depth - 1) / gamma

    def arrived(_: float, w: np.ndarray) -> float:
        return float((w[0] ** depth - 1) / gamma - level)

    arrived.terminal = True  # type: ignore[attr-defined]
    exact = float(theory.escape_time(depth, gamma, loss, level))
    path = solve_ivp(flow, (0, 3 * exact), [1.0], events=arrived, rtol=1e-10, atol=1e-13)
    assert exact == pytest.approx(path.t_events[0][0], rel=1e-6)


def test_escape_time_in_closed_form_at_depth_two() -> None:
    exact = GAMMAS**2 / (4 * (1 + GAMMAS)) * np.log(2 + GAMMAS)
    np.testing.assert_allclose(theory.escape_time(2, GAMMAS), exact, rtol=1e-10)
    np.testing.assert_allclose(theory.escape_time_asymptote(2, 1e6), theory.escape_time(2, 1e6), rtol=1e-4)


def test_escape_time_comes_slowly_to_its_asymptote() -> None:
    assert 1 - theory.escape_time(3, 100.0) / theory.escape_time_asymptote(3, 100.0) == pytest.approx(0.19, abs=0.005)
    for depth in (3, 4, 6):
        gap = [1 - theory.escape_time(depth, g) / theory.escape_time_asymptote(depth, g) for g in (1e8, 1e10)]
        assert np.log10(gap[1] / gap[0]) / 2 == pytest.approx(-(depth - 2) / depth, abs=0.05)
    ratio = theory.escape_time(3, 1e6, "cross_entropy") / theory.escape_time(3, 1e6)
    assert ratio == pytest.approx(4.3, abs=0.05)


@pytest.mark.parametrize("loss", theory.LOSSES)
@pytest.mark.parametrize("depth", (2, 3, 4))
def test_boundary_by_simulation(depth: int, loss: str) -> None:
    ratio = theory.simulated_boundary(depth, GAMMAS[:-2], loss) / theory.critical_eta(depth, GAMMAS[:-2], loss)
    assert np.all((ratio > 0.99) & (ratio < 1.02)), ratio


def test_cross_entropy_oscillates_on_the_lazy_side_without_diverging() -> None:
    gammas = np.geomspace(1e-4, 1e-2, 7)
    bounded = theory.simulated_boundary(3, gammas, "cross_entropy", steps=300, criterion="bounded")
    measured = theory.slope(lambda _: bounded, gammas)
    assert measured == pytest.approx(theory.predicted_exponent("C4", 3, "largest"), abs=0.1)
    mse = theory.simulated_boundary(3, gammas, "mse", steps=300, criterion="bounded")
    assert theory.slope(lambda _: mse, gammas) == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize("loss", theory.LOSSES)
def test_escape_by_simulation(loss: str) -> None:
    gammas = np.geomspace(1e-2, 1e4, 7)
    for depth in (2, 3, 4):
        ratio = theory.simulated_escape_time(depth, gammas, loss) / theory.escape_time(depth, gammas, loss)
        np.testing.assert_allclose(ratio, 1, atol=0.02)


def test_simulate_is_a_plane_with_a_status() -> None:
    gammas, etas = np.geomspace(1e-2, 1e2, 3), np.geomspace(1e-3, 1e3, 5)
    run = theory.simulate(3, gammas[:, None], etas[None, :], 50, record=True)
    assert run.status.shape == (3, 5) and run.history is not None and run.history.shape == (51, 3, 5)
    assert np.all(run.history[0] == 0.5)
    assert set(np.unique(run.status)) == {0, 1}
    assert np.all(np.isnan(run.loss) == (run.status == 1)) and np.all(np.isinf(run.peak_loss) == (run.status == 1))
    one = theory.simulate(3, float(gammas[1]), float(etas[1]), 50)
    assert one.output == run.output[1, 1] != run.output[1, 0]
    w = 1.0  # the same cell, written out
    for _ in range(50):
        w -= etas[1] * ((w**3 - 1) / gammas[1] - 1) * 3 * w**2 / gammas[1]
    assert theory.output(w, 3, gammas[1]) == pytest.approx(float(one.output), rel=1e-12)


def test_window_slopes() -> None:
    """The exact formula is no power law on [1, 100]; the asymptotic slope holds for γ ≥ 1e3."""
    for depth, average in ((2, 1.15), (3, 0.86), (4, 0.72)):
        assert theory.slope(lambda g, depth=depth: theory.critical_eta(depth, g), [1.0, 100.0]) == pytest.approx(
            average, abs=0.006
        )
    far, near = np.geomspace(1e3, 1e7, 9), np.geomspace(1e-6, 1e-3, 9)
    for depth in DEPTHS:
        critical = lambda g, depth=depth: theory.critical_eta(depth, g)  # noqa: E731
        assert theory.slope(critical, far) == pytest.approx(theory.predicted_exponent("C2", depth), abs=1e-3)
        assert theory.slope(critical, near) == pytest.approx(theory.predicted_exponent("C1", depth), abs=1e-3)
        sharp = lambda g, depth=depth: theory.minimum_sharpness(depth, g)  # noqa: E731
        assert theory.slope(sharp, far) == pytest.approx(theory.predicted_exponent("C11", depth, "rich"), abs=1e-3)
    assert theory.slope(lambda g: 3 * g**1.7, [1.0, 2.0, 5.0]) == pytest.approx(1.7, abs=1e-12)


def test_minimal_eta_and_the_triangle() -> None:
    np.testing.assert_allclose(theory.minimal_eta(3, GAMMAS, 500), 2 * theory.minimal_eta(3, GAMMAS, 1000))
    tip = theory.triangle_tip(3, 1000)
    assert tip == pytest.approx((2 * 1000 / 3) ** 3, rel=0.02)
    assert theory.minimal_eta(3, tip, 1000) == pytest.approx(float(theory.critical_eta(3, tip)), rel=1e-6)
    assert np.log10(theory.triangle_tip(4, 10**6) / theory.triangle_tip(4, 10**4)) / 2 == pytest.approx(2, abs=0.02)
    assert theory.triangle_tip(2, 20) == pytest.approx(np.exp(40) - 2, rel=1e-6)
    assert theory.triangle_tip(2, 1000) == np.inf


def test_predicted_exponents() -> None:
    assert theory.predicted_exponent("C2", 3) == pytest.approx(2 / 3)
    assert theory.predicted_exponent("C3", 3) == 1
    assert theory.predicted_exponent("C3", 3, "T") == -1
    assert theory.predicted_exponent("C16", 4, "rich") == 0.25
    for claim, part in (("C13", None), ("C5", None), ("C1", "rich")):
        with pytest.raises(ValueError, match="predicts no exponent"):
            theory.predicted_exponent(claim, 3, part)


@pytest.mark.parametrize(
    "call",
    [
        lambda: theory.critical_eta(1, 1.0),
        lambda: theory.critical_eta(3, 0.0),
        lambda: theory.critical_eta(3, [1.0, np.nan]),
        lambda: theory.escape_time(3, 1.0, "readers_hinge"),
        lambda: theory.escape_time(3, 1.0, level=1.0),
        lambda: theory.simulate(3, 1.0, -1.0, 10),
        lambda: theory.simulate(3, 1.0, 1.0, 0),
        lambda: theory.simulated_boundary(3, 1.0, criterion="finite"),
        lambda: theory.slope(lambda g: g, [1.0, 1.0]),
        lambda: theory.slope(lambda g: g - 1, [1.0, 2.0]),
        lambda: theory.minimal_eta(3, 1.0, 0),
    ],
)
def test_bad_input_is_refused(call) -> None:
    with pytest.raises(ValueError):
        call()
