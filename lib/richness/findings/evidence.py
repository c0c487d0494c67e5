"""What the ledger is made of: claims, rows, and the rule that gives a verdict, never a hand.

An exponent is fitted in two windows of γ, and a row stands for each. A window *holds* if the measured exponent is
within `WITHIN` of the predicted one, or if the prediction lies in an interval no wider than `NARROW`. The verdict
belongs to a claim's part: *reproduced* if both windows hold, *partly* if one does, *not-reproduced* if neither does,
*not-run* if nothing was measured. Predictions are the paper's asymptotic exponents; the slope of the solvable model
over the very same γ, which bends, stands beside them in `Exponent.theory`.

A claim without an exponent states its criterion in ``predicted`` and is judged by it in two ways (two windows, two
settings, two streams: the row says which), so that the same verdicts mean the same strictness. *larger-scale* is for a
statement that this scale cannot decide; its row says what is missing. *not-tested* is for one that could not be put to
the test as it was made, say because the paper's own formula was not had; the reason says so, and ``measured`` may hold
what our reading of it gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from richness.findings import boundaries, theory
from richness.findings.boundaries import Fit, Window
from richness.runs import results

__all__ = [
    "FIELDS",
    "NARROW",
    "NOT_RUN",
    "VERDICTS",
    "WITHIN",
    "Claim",
    "Exponent",
    "Load",
    "exponent",
    "exponent_rows",
    "obtained",
    "rounded",
    "verdict",
    "verdicts",
]

#: name of a recipe → its result.
Load = Callable[[str], xr.Dataset]

#: The keys of a row: the ledger's public columns.
FIELDS = (
    "id",
    "part",
    "claim",
    "predicted",
    "measured",
    "interval",
    "reason",
    "window",
    "seeds",
    "scale",
    "verdict",
    "chapter",
)

VERDICTS = ("reproduced", "partly", "larger-scale", "not-reproduced", "not-tested", "not-run")

#: A window holds if the measured exponent is this close to the predicted one …
WITHIN = 0.05
#: … or if the prediction lies in an interval no wider than this.
NARROW = 0.15

NOT_RUN = "not run in this edition"


@dataclass(frozen=True)
class Claim:
    """One part of a claim of the paper: what is said, and where in the book it is shown.

    Attributes:
        id: the paper's claim, ``"C2"``. part: of it, such as ``"rich"``; unique within the id.
        sentence: the claim in a few words.
        predicted: the exponent, or the criterion in words where there is none.
        chapter: stem of the notebook that shows it.
    """

    id: str
    part: str
    sentence: str
    predicted: float | str
    chapter: str

    def row(self, **known: Any) -> dict[str, Any]:
        """A row of the ledger, *not-run* until more is known.

        ``known`` may give any of `FIELDS`. ``reason`` must stand where there is no ``interval``, and only there.

        Raises:
            ValueError: a key that is none of `FIELDS`, or a verdict that is none of `VERDICTS`.
        """
        predicted = self.predicted if isinstance(self.predicted, str) else rounded(self.predicted)
        row = dict.fromkeys(FIELDS) | {
            "id": self.id,
            "part": self.part,
            "claim": self.sentence,
            "predicted": predicted,
            "reason": NOT_RUN,
            "seeds": 0,
            "verdict": "not-run",
            "chapter": self.chapter,
        }
        unknown = set(known) - set(FIELDS)
        if unknown:
            raise ValueError(f"a row has the keys {', '.join(FIELDS)}; got {', '.join(sorted(unknown))} besides.")
        row |= known
        if row["verdict"] not in VERDICTS:
            raise ValueError(f"a verdict is one of {', '.join(VERDICTS)}; got {row['verdict']!r}.")
        return row


def rounded(value: float) -> float:
    """To four decimals: as rows hold their numbers."""
    return round(float(value), 4)


def verdict(holds: Iterable[bool]) -> str:
    """The verdict of a claim's part from whether each of its windows holds: all, some or none of them."""
    windows = list(holds)
    if not windows:
        return "not-run"
    return "reproduced" if all(windows) else "partly" if any(windows) else "not-reproduced"


def verdicts(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """``"id part"`` → verdict: what ``precomputed/expected_verdicts.json`` holds and a test compares."""
    return {f"{row['id']} {row['part']}": row["verdict"] for row in rows}


def obtained(load: Load, name: str) -> xr.Dataset | str:
    """A recipe's result, or, where it is missing or damaged, the reason with the command that makes it."""
    try:
        return load(name)
    except (results.ResultError, FileNotFoundError) as why:
        command = f"richness precompute {name}"
        return f"{NOT_RUN}: {why}" + ("" if command in str(why) else f"; make it with `{command}`")


# -- exponents ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exponent:
    """One measured exponent: a claim's part in one window.

    Attributes:
        id, part: the ledger's.
        predicted: the paper's asymptotic exponent.
        theory: the solvable model's slope over the same γ (C3's T-part: −1 exactly); NaN where there is no fit.
        asked: the window of γ that was asked for.
        fit: the fit, or ``None`` where the boundary was not seen often enough.
        reason: why there is no fit; empty otherwise.
    """

    id: str
    part: str
    predicted: float
    theory: float
    asked: Window
    fit: Fit | None
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Within `WITHIN` of the prediction, or the prediction in an interval no wider than `NARROW`."""
        if self.fit is None:
            return False
        return abs(self.fit.slope - self.predicted) <= WITHIN or (
            self.fit.holds(self.predicted) and self.fit.width <= NARROW
        )


def exponent(
    claim: str,
    part: str,
    predicted: float,
    boundary: xr.DataArray,
    window: Window,
    model: Callable[[np.ndarray], np.ndarray] | None = None,
    fit: Callable[[xr.DataArray, Window], Fit] = boundaries.fit,
) -> Exponent:
    """Fit one exponent in one window.

    Args:
        claim, part, predicted: the ledger's.
        boundary: what ``fit`` takes: a positive quantity over (gamma, seed).
        window: of γ, both ends included.
        model: the solvable model's quantity as a function of γ; ``predicted`` stands for it where there is none.
    """
    try:
        found = fit(boundary, window)
    except ValueError as why:
        return Exponent(claim, part, predicted, float("nan"), window, None, str(why))
    slope = theory.slope(model, found.gammas) if model else predicted
    return Exponent(claim, part, predicted, slope, window, found)


def exponent_rows(claim: Claim, windows: Sequence[Exponent], scale: str) -> list[dict[str, Any]]:
    """The rows of one part from its exponents, a row a window, all with the part's one verdict."""
    seen = any(one.fit for one in windows)
    together = verdict(one.holds for one in windows) if seen else "not-run"
    return [_exponent_row(claim, one, together, scale) for one in windows]


def _exponent_row(claim: Claim, one: Exponent, together: str, scale: str) -> dict[str, Any]:
    known: dict[str, Any] = {"predicted": rounded(one.predicted), "scale": scale, "verdict": together}
    if one.fit is None:
        return claim.row(**known, reason=one.reason, window=list(one.asked))
    return claim.row(
        **known,
        measured=rounded(one.fit.slope),
        interval=[rounded(end) for end in one.fit.interval],
        reason="",
        window=[float(f"{end:.4g}") for end in one.fit.window],
        seeds=one.fit.seeds,
    )
