"""The scan for the largest good step size, and the checks of what a model is asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

LOSSES = ("mse", "cross_entropy")

#: (step sizes with shape (n, points), which γ the n rows belong to) → whether each step size is good, same shape.
Good = Callable[[np.ndarray, np.ndarray], np.ndarray]


def check_positive(name: str, value: ArrayLike) -> np.ndarray:
    """``value`` as float64, all of it positive and finite; ValueError otherwise."""
    array = np.asarray(value, dtype=np.float64)
    if not np.all(np.isfinite(array) & (array > 0)):
        raise ValueError(f"{name} must be positive and finite, got {value!r}; pass values such as 1e-3 or 10.")
    return array


def check_model(depth: int, loss: str = "mse") -> None:
    """ValueError for a depth below 2 or a loss that is none of `LOSSES`."""
    if isinstance(depth, bool) or depth != int(depth) or depth < 2:
        raise ValueError(f"depth must be a whole number of weights, 2 or more, got {depth!r}.")
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}.")


def find_largest_good(
    good: Good, low: np.ndarray, high: np.ndarray, points: int = 64, refinements: int = 2, topmost: bool = False
) -> np.ndarray:
    """The largest good step size at every γ, between ``low`` and ``high``, by a log-spaced scan and finer ones.

    Args:
        good: which step sizes are good; it is asked for ``points`` of them at every γ, then for 17 between the last
            good and the first bad one, ``refinements`` times: each divides the distance by 16.
        low, high: the ends of the scan, 1-d, one of each a γ.
        topmost: the topmost good step size, beyond whatever bad ones lie below it; else the end of the contiguous
            stretch that begins at the first good one.

    Returns:
        The geometric middle of the last bracket, with the shape of ``low``; NaN where no step size was good, or none
        above it bad.
    """
    boundary = np.full(low.shape, np.nan)
    at = np.arange(low.size)
    for scan in range(refinements + 1):
        etas = np.geomspace(low, high, 17 if scan else points, axis=-1)
        low, high = _bracket(etas, good(etas, at), topmost)
        seen = np.isfinite(low)
        at, low, high = at[seen], low[seen], high[seen]
    boundary[at] = np.sqrt(low * high)
    return boundary


def _bracket(etas: np.ndarray, good: np.ndarray, topmost: bool) -> tuple[np.ndarray, np.ndarray]:
    """The last good η and the bad η above it, along the last axis; NaN where there is none."""
    if topmost:
        last = good.shape[-1] - 1 - np.argmax(good[..., ::-1], axis=-1)
    else:
        start = np.argmax(good, axis=-1)
        bad_after = ~good & (np.arange(good.shape[-1]) > start[..., None])
        last = np.where(bad_after.any(-1), np.argmax(bad_after, axis=-1) - 1, good.shape[-1] - 1)
    seen = good.any(-1) & (last < good.shape[-1] - 1)
    low, high = (
        np.take_along_axis(etas, np.clip(at, 0, etas.shape[-1] - 1)[..., None], -1)[..., 0] for at in (last, last + 1)
    )
    return np.where(seen, low, np.nan), np.where(seen, high, np.nan)
