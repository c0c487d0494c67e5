"""Normed networks in depth: how the isometry gap decays, which gradients explode, and what shaping does to an activation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

from richness.studies.neighbours.normalised.measurement import Case, NormalisedDepth

POWERS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
DEPTHS = (2, 5, 10, 20, 50, 100, 200, 500, 1000)
#: The seeds by scale: they are cheap, and the gradients of one network are one draw.
SEEDS = {"smoke": (0, 1), "laptop": tuple(range(8)), "paper": tuple(range(32))}


def square(widths: Iterable[int], **fields: Any) -> list[Case]:
    """As many samples as units, at each width."""
    return [Case(width=width, samples=width, **fields) for width in widths]


def _depths(scale: str, deepest: int = 1000) -> tuple[int, ...]:
    return tuple(depth for depth in DEPTHS if depth <= (20 if scale == "smoke" else deepest))


def isometry(scale: str) -> NormalisedDepth:
    """Orthogonal against Gaussian weights, linear, over widths and inputs, to a thousand layers."""
    widths = (8, 16) if scale == "smoke" else (8, 16, 32, 64) if scale == "laptop" else (8, 16, 32, 64, 128, 256)
    kinds = product(("orthogonal", "gaussian"), ("gaussian", "correlated", "near", "digits"))
    cases = [
        case
        for weights, inputs in kinds
        for case in square([w for w in widths if inputs != "digits" or w <= 32], weights=weights, inputs=inputs)
    ]
    return NormalisedDepth(cases=cases, depths=_depths(scale), seeds=SEEDS[scale])


def explosion(scale: str) -> NormalisedDepth:
    """Wide networks, where theory knows the slope: Gaussian weights, linear at small batches, and ReLU at a large one."""
    widths = (32, 64) if scale == "smoke" else (96, 192, 384) if scale == "laptop" else (256, 512, 1024, 2048)
    cases = [
        Case(weights="gaussian", width=width, samples=samples, centred=centred)
        for width, samples, centred in product(widths, (8, 12, 16), (False, True))
    ]
    cases += [
        Case(weights=weights, width=width, samples=width // 4, activation="relu", centred=True)
        for width, weights in product(widths, ("gaussian", "orthogonal"))
    ]
    return NormalisedDepth(cases=cases, depths=(2, 5, 10, 20, 40), seeds=SEEDS[scale])


def traps(scale: str) -> NormalisedDepth:
    """Orthogonal weights where the theorem's conditions fail: too few samples, twins, digits, a mean subtracted."""
    cases = [
        Case(),
        Case(inputs="twins"),
        Case(samples=24),
        Case(samples=16),
        Case(samples=48),
        Case(width=16, samples=16, centred=True),
        Case(inputs="digits"),
        Case(inputs="digits", width=64, samples=64),
    ]
    return NormalisedDepth(cases=cases, depths=_depths(scale, 500), seeds=SEEDS[scale])


def shaping(scale: str) -> NormalisedDepth:
    """Activations after the norm, with the gain ℓ^(−p) before them."""
    powers = (0.0, 0.2, 0.4) if scale == "smoke" else POWERS
    cases = [Case(activation=activation, power=power) for activation, power in product(("tanh", "sin", "relu"), powers)]
    return NormalisedDepth(cases=cases, depths=_depths(scale), seeds=SEEDS[scale][:4])


RECIPES: dict[str, Callable[[str], NormalisedDepth]] = {
    "normalised_isometry": isometry,
    "normalised_explosion": explosion,
    "normalised_traps": traps,
    "normalised_shaping": shaping,
}
