"""The axes that recipes are written with, and how their names say the setting."""

from __future__ import annotations

import math

import numpy as np

from richness.runs.description import canonical

#: Every portrait of a perceptron has one of these, and every combination has a portrait.
DEPTHS = (2, 3, 4, 6)
LOSSES = ("mse", "cross_entropy")
OPTIMIZERS = ("sgd", "momentum", "signsgd", "adam")


def recipe_name(kind: str, depth: int = 3, loss: str = "mse", optimizer: str = "sgd", *others: str) -> str:
    """A recipe's name from its setting: ``portrait_mlp3_mse``, ``portrait_mlp4_cross_entropy_adam``, ``batch_mlp3_mse_b16``.

    SGD and what is empty are left out.
    """
    named = ["" if optimizer == "sgd" else optimizer, *others]
    return "_".join([f"{kind}_mlp{depth}_{loss}", *filter(None, named)])


def eta_axis(low: float, high: float, gammas_a_decade: int, at_least: float = 8.0) -> tuple[float, ...]:
    """A log-spaced η axis whose spacing is incommensurate with γ's, so that no slope is quantised into place for certain.

    The spacing in decades is γ's times 2(√5 − 1)/5 = 0.494…, divided by the smallest whole number that gives ``at_least``
    points a decade. It is near ½: a boundary of slope 2, 1 or ½ crosses 4.05, 2.02 or 1.01 cells from one γ to the next, and
    where its seeds differ by less than a cell, 4, 2 or 1 of them over a whole window, which is a slope of 1.978, 0.989 or
    0.494. What this is worth is in the interval of `richness.analysis.boundaries.fit`, whose cover is tested on such an axis.
    """
    spacing = 0.4 * (math.sqrt(5.0) - 1.0) / gammas_a_decade
    spacing /= math.ceil(at_least * spacing)
    points = math.floor((math.log10(high) - math.log10(low)) / spacing) + 1
    return canonical(low * 10.0 ** (spacing * np.arange(points)))
