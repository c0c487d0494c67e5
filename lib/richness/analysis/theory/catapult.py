r"""The catapult's model: two weights that may start unbalanced, f = (uv − u₀v₀)/γ, target f = 1, loss ½ (f − 1)².

One step of gradient descent, with the residual r = f − 1:

    u ← u − η r v/γ,   v ← v − η r u/γ

*Sharpness* here is the Gauss–Newton eigenvalue λ = (u² + v²)/γ², which is the NTK of the one example; at the minimum it
is the Hessian's, elsewhere the Hessian has (f − 1)/γ besides, in its off-diagonal. Since u² + v² ≥ 2|uv|, no minimum
(where uv = u₀v₀ + γ) is flatter than λ = 2|u₀v₀ + γ|/γ². A start with u₀ = v₀ > 0 already lies at or below that, and has
nothing to gain; an unbalanced start lies far above it, and a step beyond 2/λ₀ throws it to where the step is stable.

Convention: u and v are *separate* weights, so this is the depth L = 2 without the factor L of `one_weight`: from
u₀ = v₀ = 1 its λ₀ is half of that module's.

References:
    The Large Learning Rate Phase of Deep Learning: the Catapult Mechanism, Lewkowycz, Bahri, Dyer, Sohl-Dickstein and
    Gur-Ari, 2020, for the mechanism; The Optimization Landscape of SGD Across the Feature Learning Strength, Atanasov,
    Meterez, Simon and Pehlevan, ICLR 2025, for γ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from richness.analysis.theory.scan import check_positive, find_largest_good

Start = tuple[float, float]

#: (u₀, v₀) of the two starts that the book shows.
UNBALANCED: Start = (2.0, 0.1)
BALANCED: Start = (1.0, 1.0)

#: A run has converged when |f − 1| at its last step is below this.
CONVERGED_WITHIN = 1e-3

_DIVERGED_BEYOND = 1e12  # in |f|


def initial_sharpness(start: Start, gamma: ArrayLike) -> np.ndarray:
    """λ₀ = (u₀² + v₀²)/γ², with the shape of ``gamma``."""
    u, v = start
    return (u**2 + v**2) / check_positive("gamma", gamma) ** 2


def stable_eta(start: Start, gamma: ArrayLike) -> np.ndarray:
    """γ²/|u₀v₀ + γ|: 2/λ of the flattest minimum, beyond which no minimum is stable."""
    u, v = start
    gamma = check_positive("gamma", gamma)
    return gamma**2 / np.abs(u * v + gamma)


def window(start: Start, gamma: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Where a catapult is predicted to land: 2/λ₀ < η < min(4/λ₀, `stable_eta`); empty where the second is the smaller.

    4/λ₀: of a large residual a step leaves λ + η r² (ηλ − 4)/γ², which is less than λ only below it.
    """
    threshold = 2 / initial_sharpness(start, gamma)
    return threshold, np.minimum(2 * threshold, stable_eta(start, gamma))


@dataclass(frozen=True)
class Trajectory:
    """Trajectories from one start; every array has the broadcast shape of γ and η.

    Attributes:
        output: f after the last step, NaN where diverged.
        peak_loss: the largest loss met on the way, ``inf`` where diverged.
        sharpness: λ after the last step, NaN where diverged.
        loss_history, sharpness_history: both at every step, (steps + 1, ...); ``None`` unless asked for.
    """

    output: np.ndarray
    peak_loss: np.ndarray
    sharpness: np.ndarray
    loss_history: np.ndarray | None = None
    sharpness_history: np.ndarray | None = None

    @property
    def converged(self) -> np.ndarray:
        """Whether |f − 1| is below `CONVERGED_WITHIN` at the end."""
        return np.abs(self.output - 1) < CONVERGED_WITHIN


def simulate(start: Start, gamma: ArrayLike, eta: ArrayLike, steps: int = 1000, record: bool = False) -> Trajectory:
    """Run gradient descent from ``start`` in float64, all cells of γ and η (broadcast) at once.

    Raises:
        ValueError: γ or η not positive, or fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps!r}.")
    gamma, eta = np.broadcast_arrays(check_positive("gamma", gamma), check_positive("eta", eta))
    u, v = (np.full(gamma.shape, float(weight)) for weight in start)
    product, pace = start[0] * start[1], eta / gamma
    residual = np.full(gamma.shape, -1.0)
    furthest = np.abs(residual)
    kept = [(residual, u, v)]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            push = pace * residual
            u, v = u - push * v, v - push * u
            residual = (u * v - product) / gamma - 1
            residual = np.where(np.abs(residual) <= _DIVERGED_BEYOND, residual, np.nan)
            furthest = np.fmax(furthest, np.abs(residual))
            if record:
                kept.append((residual, u, v))
        alive = np.isfinite(residual)
        sharpness = np.where(alive, (u**2 + v**2) / gamma**2, np.nan)
        peak = np.where(alive, furthest**2 / 2, np.inf)
        if not record:
            return Trajectory(residual + 1, peak, sharpness)
        losses = np.stack([r**2 / 2 for r, _, _ in kept])
        along = np.stack([(a**2 + b**2) / gamma**2 for _, a, b in kept])
    return Trajectory(residual + 1, peak, sharpness, losses, np.where(np.isfinite(losses), along, np.nan))


def convergent_eta(start: Start, gamma: ArrayLike, steps: int = 1000) -> np.ndarray:
    """The topmost η that converges within ``steps`` steps, by simulation; NaN where none does. 1-d, one for each γ.

    The topmost: exactly at 2/λ₀ a run converges too slowly to be seen, and a catapult above it does not.
    """
    gamma = np.atleast_1d(check_positive("gamma", gamma))
    threshold = 2 / initial_sharpness(start, gamma)

    def good(etas: np.ndarray, at: np.ndarray) -> np.ndarray:
        return simulate(start, gamma[at, None], etas, steps).converged

    return find_largest_good(good, threshold * 0.1, threshold * 10, topmost=True)
