"""Means over seeds with their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

NOTHING = "fewer than two seeds, or no finite number"


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its 95 % interval (Student's)."""

    value: float
    interval: tuple[float, float]
    seeds: int


def mean(values: Any) -> Mean | None:
    """Over seeds; None where there are fewer than two, or one is not finite."""
    values = np.asarray(values, float)
    if values.size < 2 or not np.isfinite(values).all():
        return None
    half = student.ppf(0.975, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return Mean(values.mean(), (values.mean() - half, values.mean() + half), values.size)
