"""Statistics over seeds: means with their intervals, and the bootstrap. There is no other place for either.

A seed may be lost: its run diverged, or what is asked was never reached. What then becomes of the mean is a policy, named where
it is chosen: ``"refuse"`` makes it NaN, ``"leave out"`` takes it over the seeds that are left. A `Mean` says on how many it
stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

Lost = Literal["refuse", "leave out"]


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: the mean, or a mean of paired differences; NaN where there is none.
        interval: 95 %, Student's t over the seeds; infinitely wide for a single seed, NaN where there is no mean.
        seeds: how many it stands on; 0 where there is no mean.
    """

    value: float
    interval: tuple[float, float]
    seeds: int

    def __contains__(self, number: float) -> bool:
        """Whether the number lies in the interval."""
        return self.interval[0] <= number <= self.interval[1]

    @property
    def width(self) -> float:
        """The interval's."""
        return self.interval[1] - self.interval[0]


def mean_over_seeds(values: Iterable[float], lost: Lost = "refuse") -> Mean:
    """The mean of one value a seed, with its interval.

    Args:
        values: one a seed; not finite where the seed was lost.
        lost: what a lost seed does to the mean.
    """
    every = np.asarray(values if isinstance(values, np.ndarray) else list(values), np.float64)
    known = every[np.isfinite(every)]
    if known.size == 0 or (lost == "refuse" and known.size < every.size):
        return Mean(float("nan"), (float("nan"), float("nan")), 0)
    mean, half = float(known.mean()), float("inf")
    if known.size > 1:
        half = float(student.ppf(0.975, known.size - 1) * known.std(ddof=1) / np.sqrt(known.size))
    return Mean(mean, (mean - half, mean + half), known.size)


def resample_counts(draws: np.random.Generator, resamples: int, size: int) -> np.ndarray:
    """How often each of ``size`` things is drawn, with replacement, in each resample: float64 (resamples, size)."""
    return draws.multinomial(size, np.full(size, 1 / size), size=resamples).astype(np.float64)


def percentile_interval(resampled: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of resampled numbers, NaN left out."""
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return float(low), float(high)
