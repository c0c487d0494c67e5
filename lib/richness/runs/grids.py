"""The axes that recipes are written with."""

from __future__ import annotations

import math

import numpy as np

from richness.runs.description import canonical


def eta_axis(low: float, high: float, gammas_a_decade: int, at_least: float = 8.0) -> tuple[float, ...]:
    """A log-spaced η axis whose spacing is incommensurate with γ's, so that no slope is quantised into place.

    The spacing in decades is γ's times 2(√5 − 1)/5 = 0.494…, divided by the smallest whole number that gives ``at_least``
    points a decade: the golden ratio's fractions repeat least.
    """
    spacing = 0.4 * (math.sqrt(5.0) - 1.0) / gammas_a_decade
    spacing /= math.ceil(at_least * spacing)
    points = math.floor((math.log10(high) - math.log10(low)) / spacing) + 1
    return canonical(low * 10.0 ** (spacing * np.arange(points)))
