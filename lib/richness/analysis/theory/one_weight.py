r"""The solvable model: one example, a width-1 linear network of ``depth`` equal weights.

    f(w) = (w^L − 1) / γ,   w₀ = 1,   target f = 1,   one step:  w ← w − η ∂ℓ/∂w

Two losses, both with their minimum at f = 1 (hence at w* = (1+γ)^{1/L}):

* ``"mse"``: ½ (f − 1)²: the factor ½ stands, and there is one output, so no mean over classes;
* ``"cross_entropy"``: −p₁ log σ(f) − p₀ log(1 − σ(f)) with p₀ = 1/(1+e) and p₁ = 1 − p₀ = σ(1).

Convention. Here the derivative is taken by the one number w. A network of L *separate* weights that start equal stay
equal, and each of them sees 1/L of that derivative: such a network's sharpness λ* and λ₀ is 1/L of the value given
here, its critical step and its escape time L times as large. It is a constant factor, so it moves no exponent. With
separate weights the Hessian at the start has, besides the symmetric direction, L − 1 transverse ones
(`transverse_sharpness`).

The scale that joins the two regimes, γ²(1+γ)^{2/L−2}, is `richness.networks.parameterization.natural_eta`; every
boundary below is that scale times a constant or an integral. All functions take floats or arrays of γ > 0, compute in
float64 and broadcast.

References:
    The Optimization Landscape of SGD Across the Feature Learning Strength, Atanasov, Meterez, Simon and Pehlevan,
    ICLR 2025, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from richness.analysis.theory.scan import check_model, check_positive, find_largest_good
from richness.networks.parameterization import natural_eta

#: The output f at which the plateau counts as left: half way to the target (MSE: a quarter of the initial loss).
ESCAPE_LEVEL = 0.5

#: A simulated run has converged when |f − 1| at its last step is below this.
CONVERGED_WITHIN = 1e-3

#: Beyond this |f| a simulated run counts as diverged; it is stopped there before floats overflow.
_DIVERGED_BEYOND = 1e12

#: The largest γ at which `triangle_tip` looks for the tip.
_LARGEST_TIP = 1e30

_TARGET_PROBABILITY = 1.0 / (1.0 + np.exp(-1.0))  # p₁ = σ(1)

# Gauss–Legendre on [0, 1]. The escape integrand is analytic there, so 128 nodes reach rounding error for γ ≤ 1e30.
_NODES, _WEIGHTS = (array / 2 for array in np.polynomial.legendre.leggauss(128))
_NODES = _NODES + 0.5


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # never overflows


def _residual(f: np.ndarray, loss: str) -> np.ndarray:
    """∂ℓ/∂f: f − 1 (MSE) or σ(f) − σ(1) (cross-entropy)."""
    return f - 1.0 if loss == "mse" else _sigmoid(f) - _TARGET_PROBABILITY


def loss_value(f: ArrayLike, loss: str = "mse") -> np.ndarray:
    """The loss at output ``f``: ½ (f − 1)², or the cross-entropy in nats. Same shape as ``f``."""
    check_model(2, loss)
    f = np.asarray(f, dtype=np.float64)
    if loss == "mse":
        return 0.5 * (f - 1.0) ** 2
    with np.errstate(invalid="ignore"):  # NaN, a diverged run, stays NaN without a warning
        return _TARGET_PROBABILITY * np.logaddexp(0, -f) + (1 - _TARGET_PROBABILITY) * np.logaddexp(0, f)


def output(w: ArrayLike, depth: int, gamma: ArrayLike) -> np.ndarray:
    """The network's output f(w) = (w^L − 1)/γ, broadcast over ``w`` and ``gamma``."""
    check_model(depth)
    return (np.asarray(w, dtype=np.float64) ** depth - 1.0) / check_positive("gamma", gamma)


def minimum(depth: int, gamma: ArrayLike) -> np.ndarray:
    """Where both losses are smallest: w* = (1+γ)^{1/L}."""
    check_model(depth)
    return (1.0 + check_positive("gamma", gamma)) ** (1.0 / depth)


def minimum_sharpness(depth: int, gamma: ArrayLike, loss: str = "mse") -> np.ndarray:
    """λ* = ∂²ℓ/∂w² at the minimum: L²(1+γ)^{2−2/L}/γ², times p₀p₁ ≈ 0.197 for cross-entropy.

    Slope −2 in γ on the lazy side, −2/L on the rich side. L separate weights: 1/L of it.
    """
    check_model(depth, loss)
    curvature = 1.0 if loss == "mse" else _TARGET_PROBABILITY * (1 - _TARGET_PROBABILITY)
    return curvature * depth**2 / natural_eta(check_positive("gamma", gamma), depth)


def initial_sharpness(depth: int, gamma: ArrayLike, loss: str = "mse") -> np.ndarray:
    """λ₀ = ∂²ℓ/∂w² at w₀ = 1, along the symmetric direction.

    MSE: L²/γ² − L(L−1)/γ, negative once γ > L/(L−1): the rich side starts near a saddle. Cross-entropy: the first term
    times σ′(0) = ¼, the second times |σ(0) − p₁| = 0.231. L separate weights: 1/L of it.
    """
    check_model(depth, loss)
    gamma = check_positive("gamma", gamma)
    curvature, residual = (1.0, 1.0) if loss == "mse" else (0.25, _TARGET_PROBABILITY - 0.5)
    return curvature * depth**2 / gamma**2 - residual * depth * (depth - 1) / gamma


def transverse_sharpness(depth: int, gamma: ArrayLike, loss: str = "mse") -> np.ndarray:
    """The Hessian's other eigenvalue at the start when the L weights are separate, L − 1 times: +1/γ for MSE.

    Cross-entropy: 0.231/γ. Here nothing is to be divided by L.
    """
    check_model(depth, loss)
    return (1.0 if loss == "mse" else _TARGET_PROBABILITY - 0.5) / check_positive("gamma", gamma)


def critical_eta(depth: int, gamma: ArrayLike, loss: str = "mse") -> np.ndarray:
    """η_crit = 2/λ*: the largest step at which the minimum is stable. L separate weights: L times it."""
    return 2.0 / minimum_sharpness(depth, gamma, loss)


def escape_time(depth: int, gamma: ArrayLike, loss: str = "mse", level: float = ESCAPE_LEVEL) -> np.ndarray:
    r"""The exact time η·t that gradient flow takes from f = 0 to f = ``level``, in units of w's own step.

    Gradient flow obeys df/dt = f′(w)² r(f) with r = 1 − f (MSE) or σ(1) − σ(f) (cross-entropy), so

        η·t = (γ²/L²) ∫₀^level (1+γf)^{2/L−2} / r(f) df,

    taken in s = log(1+γf), where it is smooth at every γ. L separate weights: L times it.

    Args:
        depth: number of weights L.
        gamma: richness, any shape.
        loss: ``"mse"`` or ``"cross_entropy"``.
        level: the output at which the plateau counts as left, in (0, 1).

    Raises:
        ValueError: for γ ≤ 0, a level outside (0, 1), an unknown loss, or a depth below 2.
    """
    check_model(depth, loss)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1 (the target), got {level!r}.")
    gamma = check_positive("gamma", gamma)
    end = np.log1p(gamma * level)[..., None]
    s = end * _NODES
    pull = -_residual(np.expm1(s) / gamma[..., None], loss)
    integral = end[..., 0] * np.sum(_WEIGHTS * np.exp(s * (2.0 / depth - 1.0)) / pull, axis=-1)
    return gamma / depth**2 * integral


def escape_time_asymptote(depth: int, gamma: ArrayLike, loss: str = "mse") -> np.ndarray:
    """The escape time at large γ: γ/(L(L−2)) for L > 2, (γ/4)·log(1+γ) for L = 2.

    For L > 2 the correction falls only as γ^{−(L−2)/L}: 19 % at γ = 100, L = 3. Cross-entropy: divided by
    |σ(0) − p₁| = 0.231, that is 4.3 times longer.
    """
    check_model(depth, loss)
    gamma = check_positive("gamma", gamma)
    time = gamma / 4 * np.log1p(gamma) if depth == 2 else gamma / (depth * (depth - 2))
    return time if loss == "mse" else time / (_TARGET_PROBABILITY - 0.5)


def minimal_eta(depth: int, gamma: ArrayLike, steps: int, loss: str = "mse", level: float = ESCAPE_LEVEL) -> np.ndarray:
    """η_min = escape time / T: the smallest step size that leaves the plateau within ``steps`` steps (small steps)."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps!r}.")
    return escape_time(depth, gamma, loss, level) / steps


def triangle_tip(depth: int, steps: int, loss: str = "mse") -> float:
    """The γ > 1 at which η_min reaches η_crit, so that nothing learns within ``steps`` steps beyond it.

    About (2T(L−2)/L)^{L/(L−2)} for MSE and L > 2. For L = 2 it is e^{2T} − 2: the triangle does not close, up to logs.

    Returns:
        γ at the tip; ``inf`` when it lies beyond 1e30; ``nan`` when η_min is above η_crit from γ = 1 on.
    """

    def gap(log_gamma: float) -> float:
        gamma = 10.0**log_gamma
        return float(np.log(critical_eta(depth, gamma, loss) / minimal_eta(depth, gamma, steps, loss)))

    largest = float(np.log10(_LARGEST_TIP))
    if gap(0.0) < 0:
        return float("nan")
    if gap(largest) > 0:
        return float("inf")
    return float(10.0 ** brentq(gap, 0.0, largest))


# -- the model, run ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Simulation:
    """Runs of the solvable model; every array has the broadcast shape of ``gamma`` and ``eta``.

    Attributes:
        output: f after the last step; NaN where diverged.
        loss: the loss there, in `loss_value`'s units; NaN where diverged.
        peak_loss: the largest loss met on the way, ``inf`` where diverged.
        status: int8, 0 ok, 1 diverged (|f| beyond 1e12 or not finite).
        history: the loss at every step, with shape (steps + 1, ...), NaN after divergence; ``None`` unless asked for.
    """

    output: np.ndarray
    loss: np.ndarray
    peak_loss: np.ndarray
    status: np.ndarray
    history: np.ndarray | None = None


def simulate(
    depth: int, gamma: ArrayLike, eta: ArrayLike, steps: int, loss: str = "mse", record: bool = False
) -> Simulation:
    """Run w ← w − η ∂ℓ/∂w from w = 1 for ``steps`` steps, in float64, all cells at once.

    Args:
        depth: number of weights L.
        gamma, eta: positive, broadcast against each other.
        steps: number of steps, at least 1.
        loss: ``"mse"`` or ``"cross_entropy"``.
        record: also keep the loss at every step.
    """
    check_model(depth, loss)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps!r}.")
    gamma, eta = np.broadcast_arrays(check_positive("gamma", gamma), check_positive("eta", eta))
    w, power = np.ones(gamma.shape), np.ones(gamma.shape)  # power = w^{L−1}
    f, lowest, highest = np.zeros((3, *gamma.shape))
    pace = eta * depth / gamma
    history = [loss_value(f, loss)] if record else []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            w = w - pace * _residual(f, loss) * power
            power = w ** (depth - 1)
            f = (power * w - 1.0) / gamma
            f = np.where(np.abs(f) <= _DIVERGED_BEYOND, f, np.nan)  # NaN stays NaN: a dead run never comes back
            lowest, highest = np.fmin(lowest, f), np.fmax(highest, f)
            if record:
                history.append(loss_value(f, loss))
    status = np.isnan(f).astype(np.int8)
    # the loss is convex in f, so its peak lies at one of the two extremes
    peak = np.where(status == 1, np.inf, np.maximum(loss_value(lowest, loss), loss_value(highest, loss)))
    return Simulation(f, loss_value(f, loss), peak, status, np.stack(history) if record else None)


def simulated_boundary(
    depth: int,
    gamma: ArrayLike,
    loss: str = "mse",
    steps: int = 1000,
    criterion: str = "converged",
    refinements: int = 2,
) -> np.ndarray:
    """The largest η of the contiguous stretch of good step sizes, found by running the model.

    A log-spaced scan over three and a half decades around `natural_eta` (up to 300γ for ``"bounded"`` under
    cross-entropy), then ``refinements`` finer scans between the last good and the first bad η. Contiguous, because
    beyond the boundary there are islands of η that happen to converge.

    Args:
        depth: number of weights L.
        gamma: 1-d array.
        loss: ``"mse"`` or ``"cross_entropy"``.
        steps: length of each run; the escape at the boundary takes about γ^{1−2/L} of them.
        criterion: ``"converged"`` (|f − 1| < `CONVERGED_WITHIN` at the last step) or ``"bounded"`` (not diverged:
            |f| never beyond 1e12; under cross-entropy such a run may oscillate for ever).
        refinements: each divides the distance by 16.

    Returns:
        η, with the shape of ``gamma``; NaN where no η was good or none was bad.
    """
    if criterion not in ("converged", "bounded"):
        raise ValueError(f"criterion must be converged or bounded, got {criterion!r}.")
    gamma = np.atleast_1d(check_positive("gamma", gamma))
    scale = natural_eta(gamma, depth)
    # bounded gradients (cross-entropy) carry a lazy run on to η ∝ γ, which is γ⁻¹ above the natural scale
    top = np.maximum(30.0, 300.0 / gamma) if criterion == "bounded" and loss != "mse" else np.full(gamma.shape, 30.0)

    def good(etas: np.ndarray, at: np.ndarray) -> np.ndarray:
        return _good(simulate(depth, gamma[at, None], etas, steps, loss), criterion)

    return find_largest_good(good, scale * 0.01, scale * top, refinements=refinements)


def _good(run: Simulation, criterion: str) -> np.ndarray:
    return np.abs(run.output - 1.0) < CONVERGED_WITHIN if criterion == "converged" else run.status == 0


def simulated_escape_time(
    depth: int, gamma: ArrayLike, loss: str = "mse", steps: int = 2000, level: float = ESCAPE_LEVEL
) -> np.ndarray:
    """η·t until f first passes ``level``, from runs with steps so small that about ``steps`` of them are needed.

    The crossing is interpolated between two steps; NaN where it was not reached within 1.5 × ``steps``.
    """
    gamma = np.atleast_1d(check_positive("gamma", gamma))
    eta = escape_time(depth, gamma, loss, level) / steps
    w, f, time = np.ones(gamma.shape), np.zeros(gamma.shape), np.full(gamma.shape, np.nan)
    for step in range(int(1.5 * steps)):
        w = w - eta * _residual(f, loss) * depth * w ** (depth - 1) / gamma
        before, f = f, (w**depth - 1.0) / gamma
        crossed = np.isnan(time) & (f >= level)
        time[crossed] = (step + (level - before[crossed]) / (f - before)[crossed]) * eta[crossed]
        if not np.isnan(time).any():
            break
    return time
