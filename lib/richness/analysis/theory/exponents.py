"""What the paper predicts as exponents, and the slope of an exact formula over the very γ of a measurement."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from richness.analysis.theory.scan import check_model, check_positive


def slope(function: Callable[[np.ndarray], Any], gammas: ArrayLike) -> float:
    """Theory's least-squares slope of log10 function(γ) against log10 γ, at exactly the γ given.

    The exact formulas bend, so a measured slope is only to be compared with theory's over the same points:
    ``slope(lambda gamma: critical_eta(3, gamma), fit.gammas)``.

    Raises:
        ValueError: for fewer than two different γ, or values that are not positive and finite.
    """
    gammas = check_positive("gammas", gammas).ravel()
    if np.unique(gammas).size < 2:
        raise ValueError(f"a slope needs at least two different γ, got {gammas.tolist()}.")
    values = check_positive("the function's values", function(gammas))
    x = np.log10(gammas) - np.log10(gammas).mean()
    return float(x @ np.log10(values) / (x @ x))


#: (claim, part) → the predicted exponent as a function of the depth L.
_EXPONENTS: dict[tuple[str, str], Callable[[int], Fraction]] = {
    ("C1", "lazy"): lambda depth: Fraction(2),
    ("C2", "rich"): lambda depth: Fraction(2, depth),
    ("C3", "gamma"): lambda depth: Fraction(1),
    ("C3", "T"): lambda depth: Fraction(-1),
    ("C4", "onset"): lambda depth: Fraction(2),
    ("C4", "largest"): lambda depth: Fraction(1),
    ("C5", "lazy"): lambda depth: Fraction(2),
    ("C5", "rich"): lambda depth: Fraction(2, depth),
    ("C11", "lazy"): lambda depth: Fraction(-2),
    ("C11", "rich"): lambda depth: Fraction(-2, depth),
    ("C16", "lazy"): lambda depth: Fraction(1),
    ("C16", "rich"): lambda depth: Fraction(1, depth),
}


def predicted_exponent(claim: str, depth: int, part: str | None = None) -> float:
    """The exponent of γ (or of T, for C3's part ``"T"``) that a claim predicts for depth L.

    Args:
        claim: the ledger's id, such as ``"C2"``.
        depth: number of weight layers L.
        part: ``"lazy"``, ``"rich"``, ``"gamma"``, ``"T"``, ``"onset"``, ``"largest"``; may be left out where the claim
            predicts a single exponent (C1, C2), and is ``"gamma"`` for C3 when left out.

    Raises:
        ValueError: for a claim or part without an exponent.
    """
    check_model(depth)
    parts = [name for identity, name in _EXPONENTS if identity == claim]
    chosen = part if part is not None else ("gamma" if claim == "C3" else (parts[0] if len(parts) == 1 else None))
    if chosen not in parts:
        known = ", ".join(f"{identity} {name}" for identity, name in _EXPONENTS)
        raise ValueError(f"claim {claim!r}, part {part!r} predicts no exponent; those that do: {known}.")
    return float(_EXPONENTS[claim, chosen](depth))
