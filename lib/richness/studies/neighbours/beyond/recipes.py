"""Homogeneous perceptrons beyond the edge of stability: step sizes, patterns of widths, plain and balanced gradients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from richness.studies.neighbours.beyond.measurement import BeyondTheEdge, Case

POWERS = (-1.0, 0.0, 1.0, 2.0, 3.0)
#: Step sizes, √2 apart.
ETAS = tuple(2 ** (k / 2) for k in range(-4, 15))
SEEDS = {"smoke": (0, 1), "laptop": (0, 1, 2), "paper": tuple(range(8))}
RELU = 0.5**0.5  # the share of the linear part in √2·relu


def edge(scale: str) -> BeyondTheEdge:
    """Over step sizes: every power of the widths, plain and balanced; and the quadratic pattern under MSE, and with ReLU."""
    powers = (0.0, 2.0) if scale == "smoke" else POWERS
    kinds: list[dict[str, Any]] = [{"power": power} for power in powers] + [{"loss": "mse"}, {"linear": RELU}]
    cases = [Case(**kind, scaled=scaled) for kind, scaled in product(kinds, (False, True))]
    if scale == "smoke":
        return BeyondTheEdge(
            cases=cases,
            etas=(1.0, 4.0, 64.0),
            weights=12_000,
            steps=8,
            probed=(0,),
            record_points=5,
            seeds=SEEDS[scale],
        )
    sizes: dict[str, Any] = {"steps": 3_000, "weights": 1_000_000, "device": "cuda"} if scale == "paper" else {}
    return BeyondTheEdge(cases=cases, etas=ETAS, probed=(0, 30, 100), record_points=40, seeds=SEEDS[scale], **sizes)


def along(scale: str) -> BeyondTheEdge:
    """Single steps looked along, at moments of training: the loss on the way, its series, and the same with fixed gates."""
    cases = [Case(), Case(scaled=True)]
    if scale == "smoke":
        return BeyondTheEdge(
            cases=cases, etas=(1.0, 8.0), weights=3_000, steps=6, probed=(0, 3), record_points=4, fractions=7,
            seeds=SEEDS[scale],
        )  # fmt: skip
    sizes: dict[str, Any] = {"weights": 1_000_000, "device": "cuda"} if scale == "paper" else {}
    etas = (1.0, 2.0, 4.0, 8.0, 16.0)
    return BeyondTheEdge(
        cases=cases, etas=etas, probed=(0, 3, 10, 30, 100, 200), fractions=31, seeds=SEEDS[scale], **sizes
    )


RECIPES: dict[str, Callable[[str], BeyondTheEdge]] = {"beyond_the_edge": edge, "along_a_step": along}
