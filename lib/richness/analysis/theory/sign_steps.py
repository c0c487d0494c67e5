r"""The one weight of `one_weight` under SignSGD: w ← w − η sign(∂ℓ/∂w), from w = 1, for either loss.

The weight walks to w* = (1+γ)^{1/L} in strides of η and then steps over it for ever. Both ends of the band are lengths:

* resolution: it stays within ``level`` of the target for certain if one stride from w* does not pass f = 1 + level,
  η ≤ (1 + (1+level)γ)^{1/L} − (1+γ)^{1/L}: slope 1 in γ lazy, 1/L rich;
* distance: in T strides it comes to f = level if η ≥ [(1 + level·γ)^{1/L} − 1]/T: the same slopes.

So at every γ the band is a constant times T wide, and does not close.

The step is taken in the one number w; L separate weights that start equal take the same one.

References:
    The Optimization Landscape of SGD Across the Feature Learning Strength, Atanasov, Meterez, Simon and Pehlevan,
    ICLR 2025, section 4 and its appendix on SignSGD and Adam.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from richness.analysis.theory.scan import check_model, check_positive, find_largest_good

#: How far from the target f counts as there: half way from the start, as in `one_weight`.
LEVEL = 0.5

_PHASES = np.arange(16) / 16


def _grown(output: ArrayLike, depth: int, gamma: np.ndarray) -> np.ndarray:
    """w − 1 at that output, exact at small γ too."""
    return np.expm1(np.log1p(gamma * output) / depth)


def largest_eta(depth: int, gamma: ArrayLike, level: float = LEVEL) -> np.ndarray:
    """(1 + (1+level)γ)^{1/L} − (1+γ)^{1/L}: the largest stride with which f stays within ``level`` of 1 for certain."""
    check_model(depth)
    gamma = check_positive("gamma", gamma)
    return _grown(1 + level, depth, gamma) - _grown(1.0, depth, gamma)


def minimal_eta(depth: int, gamma: ArrayLike, steps: int, level: float = LEVEL) -> np.ndarray:
    """[(1 + level·γ)^{1/L} − 1]/T: the smallest stride with which f comes to ``level`` in T steps.

    Raises:
        ValueError: fewer than one step, a depth below 2, or γ not positive.
    """
    check_model(depth)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps!r}.")
    return _grown(level, depth, check_positive("gamma", gamma)) / steps


def simulate(depth: int, gamma: ArrayLike, eta: ArrayLike, steps: int, phase: ArrayLike = 0.0) -> np.ndarray:
    """The larger |f − 1| of the last two steps: at the end a run alternates between two places.

    Args:
        gamma, eta, phase: broadcast against each other. phase: the share of a stride by which the start lies before
            w = 1, in [0, 1); it decides how far the walk oversteps w*.
    """
    check_model(depth)
    gamma, eta, phase = np.broadcast_arrays(
        check_positive("gamma", gamma), check_positive("eta", eta), np.asarray(phase, float)
    )
    grown = -phase * eta  # w − 1, so that a lazy stride is not lost beside 1
    residual = previous = np.full(gamma.shape, -1.0)
    for _ in range(steps):
        grown = grown - eta * np.sign(residual) * np.sign(1 + grown) ** (depth - 1)
        with np.errstate(invalid="ignore"):
            power = np.where(grown > -1, np.expm1(depth * np.log1p(grown)), (1 + grown) ** depth - 1)
        previous, residual = residual, power / gamma - 1
    return np.maximum(np.abs(previous), np.abs(residual))


def simulated_band(depth: int, gamma: ArrayLike, steps: int, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """(η_min, η_max) by simulation, for each γ: the first stride that ends within ``level`` of the target, and the last of
    its stretch. For η_max from every phase of `_PHASES`: a lucky walk that stops short of overstepping must not count."""
    gamma = np.atleast_1d(check_positive("gamma", gamma))
    low, high = minimal_eta(depth, gamma, steps, level), largest_eta(depth, gamma, level)

    def short(etas: np.ndarray, at: np.ndarray) -> np.ndarray:
        return simulate(depth, gamma[at, None], etas, steps) > level

    def arrived(etas: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.all(simulate(depth, gamma[at, None, None], etas[..., None], steps, _PHASES) <= level, axis=-1)

    return find_largest_good(short, low / 3, np.sqrt(low * high), points=16), find_largest_good(
        arrived, high / 3, high * 3, points=32
    )
