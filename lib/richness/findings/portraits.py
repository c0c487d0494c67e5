"""From portraits to the ledger: C1 to C5, and C16."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from richness.findings import boundaries, theory
from richness.findings.boundaries import Window
from richness.findings.evidence import Claim, Exponent, Load, exponent, exponent_rows, obtained

__all__ = ["CLAIMS", "PORTRAIT", "exponents", "rows"]

#: The recipe from which C1, C2, C3 and C5 are computed, and the chapter that shows it.
PORTRAIT = "phase_portrait_mlp3_mse"
CHAPTER = "02-phase-portrait"


def _claim(id: str, part: str, sentence: str, chapter: str = CHAPTER) -> Claim:
    return Claim(id, part, sentence, theory.predicted_exponent(id, 3, part), chapter)


CLAIMS = (
    _claim("C1", "lazy", "largest convergent η, lazy side, MSE: slope in γ"),
    _claim("C2", "rich", "largest convergent η, rich side: slope in γ"),
    _claim("C3", "gamma", "smallest η that learns within T steps, rich side: slope in γ"),
    _claim("C3", "T", "smallest η that learns within T steps, rich side: slope in T"),
    _claim("C4", "onset", "cross-entropy, lazy side, onset of instability: slope in γ"),
    _claim("C4", "largest", "cross-entropy, lazy side, largest convergent η: slope in γ"),
    _claim("C5", "lazy", "best η, lazy side: slope in γ"),
    _claim("C5", "rich", "best η, rich side: slope in γ"),
    _claim("C16", "lazy", "Adam and SignSGD, lazy side: the band's slope in γ", "08-optimizers"),
    _claim("C16", "rich", "Adam and SignSGD, rich side: the band's slope in γ", "08-optimizers"),
)


def exponents(runs: xr.Dataset) -> list[Exponent]:
    """C1, C2, C3 and C5 from a portrait with budgets, each in its two windows, with theory's slope over the same γ.

    Args:
        runs: a portrait; its recipe gives depth and loss. C3's slope in γ is taken at the longest budget.
    """
    recipe = json.loads(runs.attrs["recipe"])
    depth, loss = int(recipe["depth"]), str(recipe["loss"])
    level = 1 - float(np.sqrt(boundaries.LEARNED_BELOW))  # the f at which the model's MSE counts as learned
    largest, best, smallest = boundaries.eta_max(runs), boundaries.eta_star(runs), boundaries.eta_min(runs)

    def critical(gamma: np.ndarray) -> np.ndarray:
        return theory.critical_eta(depth, gamma, loss)

    def minimal(gamma: np.ndarray) -> np.ndarray:
        return theory.escape_time(depth, gamma, loss, level)

    lazy, rich, rich_min = boundaries.LAZY_WINDOWS, boundaries.RICH_WINDOWS, boundaries.RICH_WINDOWS_MIN
    longest = smallest.isel(budget=-1)
    plan: list[tuple[str, str, xr.DataArray, tuple[Window, Window], Callable[[np.ndarray], np.ndarray] | None]] = [
        ("C1", "lazy", largest, lazy, critical),
        ("C2", "rich", largest, rich, critical),
        ("C3", "gamma", longest, rich_min, minimal),
        ("C3", "T", smallest, boundaries.RICH_WINDOWS_T, None),
        ("C5", "lazy", best, lazy, critical),
        ("C5", "rich", best, rich, critical),
    ]
    return [
        exponent(
            claim,
            part,
            theory.predicted_exponent(claim, depth, part),
            boundary,
            window,
            model,
            boundaries.fit_budget if part == "T" else boundaries.fit,
        )
        for claim, part, boundary, windows, model in plan
        for window in windows
    ]


def rows(load: Load) -> list[dict[str, Any]]:
    """The ledger's rows that rest on portraits."""
    claims = [claim for claim in CLAIMS if claim.id in ("C1", "C2", "C3", "C5")]
    runs = obtained(load, PORTRAIT)
    if isinstance(runs, str):
        return [claim.row(reason=runs) for claim in claims]
    scale, found = str(runs.attrs.get("scale", "")), exponents(runs)
    return [
        row
        for claim in claims
        for row in exponent_rows(claim, [one for one in found if (one.id, one.part) == (claim.id, claim.part)], scale)
    ]
