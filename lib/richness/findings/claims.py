"""The ledger: what the paper claims, what was measured here, and a verdict that a rule gives, never a hand.

An exponent is fitted in two windows of γ, and a row stands for each. A window *holds* if the measured exponent is
within `WITHIN` of the predicted one, or if the prediction lies in an interval no wider than `NARROW`. The verdict
belongs to a claim's part: *reproduced* if both windows hold, *partly* if one does, *not-reproduced* if neither does,
*not-run* if nothing was measured. Predictions are the paper's asymptotic exponents; the slope of the solvable model
over the very same γ, which bends, stands beside them in `Exponent.theory`.

C17, the solvable model itself, is run afresh whenever the ledger is made: every simulated boundary and escape time is
divided by its closed form, and the verdict asks whether these ratios stay within `RATIO_WITHIN` of 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from richness.findings import boundaries, theory
from richness.findings.boundaries import Fit, Window
from richness.runs import results

__all__ = [
    "FIELDS",
    "PORTRAIT",
    "VERDICTS",
    "Exponent",
    "exponents",
    "ledger",
    "verdict",
    "verdicts",
]

#: The recipe from which C1, C2, C3 and C5 are computed, and the chapter that shows it.
PORTRAIT = "phase_portrait_mlp3_mse"
PORTRAIT_CHAPTER = "02-phase-portrait"

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

VERDICTS = ("reproduced", "partly", "larger-scale", "not-reproduced", "not-run")

#: A window holds if the measured exponent is this close to the predicted one …
WITHIN = 0.05
#: … or if the prediction lies in an interval no wider than this.
NARROW = 0.15
#: C17 holds at a γ if simulation divided by closed form is this close to 1.
RATIO_WITHIN = 0.02

NOT_RUN = "not run in this edition"

#: (id, part) → the claim in a sentence, and what is predicted where that is no exponent.
_CLAIMS: dict[tuple[str, str], tuple[str, str | None]] = {
    ("C1", "lazy"): ("largest convergent η, lazy side, MSE: slope in γ", None),
    ("C2", "rich"): ("largest convergent η, rich side: slope in γ", None),
    ("C3", "gamma"): ("smallest η that learns within T steps, rich side: slope in γ", None),
    ("C3", "T"): ("smallest η that learns within T steps, rich side: slope in T", None),
    ("C4", "onset"): ("cross-entropy, lazy side, onset of instability: slope in γ", None),
    ("C4", "largest"): ("cross-entropy, lazy side, largest convergent η: slope in γ", None),
    ("C5", "lazy"): ("best η, lazy side: slope in γ", None),
    ("C5", "rich"): ("best η, rich side: slope in γ", None),
    ("C6", "whole"): ("lazy side, MSE: catapults a little above 2/λ₀", "a band of about a factor 2 in η"),
    ("C7", "whole"): (
        "rich side: the kernel aligns while the loss is still flat",
        "alignment's half-rise before the loss's",
    ),
    ("C8", "whole"): ("after the plateau the loss falls in steps", "plateau length ∝ γ/η"),
    ("C9", "whole"): ("sharpness rises at the plateau's end to the edge of stability", "λ_max about 2/lr_raw"),
    ("C10", "whole"): ("rich runs collapse in τ = η·t/γ", "curves closer in τ than in t"),
    ("C11", "lazy"): ("λ_max at the end of training, lazy side: slope in γ", None),
    ("C11", "rich"): ("λ_max at the end of training, rich side: slope in γ", None),
    ("C12", "whole"): ("outlying eigenvalues of the Hessian", "about one a class when lazy, many when rich"),
    ("C13", "whole"): ("rich networks of different γ end as nearly the same function", "R² within groups above across"),
    ("C14", "whole"): (
        "rich networks of different γ end with nearly the same features",
        "CKA within groups above across",
    ),
    ("C15", "whole"): (
        "best online accuracy against γ at several budgets",
        "as good or better at large γ, given the steps",
    ),
    ("C16", "lazy"): ("Adam and SignSGD, lazy side: the band's slope in γ", None),
    ("C16", "rich"): ("Adam and SignSGD, rich side: the band's slope in γ", None),
    ("C17", "boundary mse"): ("solvable model, MSE: simulated boundary over 2/λ*", None),
    ("C17", "boundary cross_entropy"): ("solvable model, cross-entropy: simulated boundary over 2/λ*", None),
    ("C17", "escape mse"): ("solvable model, MSE: simulated escape time over the exact integral", None),
    ("C17", "escape cross_entropy"): (
        "solvable model, cross-entropy: simulated escape time over the exact integral",
        None,
    ),
}

_MODEL_DEPTHS = (2, 3, 4)
_MODEL_GAMMAS = np.geomspace(1e-3, 1e4, 8)


# -- exponents from the portrait ---------------------------------------------------------------------------------------


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
        _exponent(claim, part, boundary, window, depth, model)
        for claim, part, boundary, windows, model in plan
        for window in windows
    ]


def _exponent(
    claim: str,
    part: str,
    boundary: xr.DataArray,
    window: Window,
    depth: int,
    model: Callable[[np.ndarray], np.ndarray] | None,
) -> Exponent:
    predicted = theory.predicted_exponent(claim, depth, part)
    try:
        found = (boundaries.fit_budget if part == "T" else boundaries.fit)(boundary, window)
    except ValueError as why:
        return Exponent(claim, part, predicted, float("nan"), window, None, str(why))
    slope = theory.slope(model, found.gammas) if model else predicted
    return Exponent(claim, part, predicted, slope, window, found)


def verdict(holds: Iterable[bool]) -> str:
    """The verdict of a claim's part from whether each of its windows holds: all, some or none of them."""
    windows = list(holds)
    if not windows:
        return "not-run"
    return "reproduced" if all(windows) else "partly" if any(windows) else "not-reproduced"


def verdicts(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """``"id part"`` → verdict: what ``precomputed/expected_verdicts.json`` holds and a test compares."""
    return {f"{row['id']} {row['part']}": row["verdict"] for row in rows}


# -- the ledger --------------------------------------------------------------------------------------------------------


def ledger(load: Callable[[str], xr.Dataset] | None = None) -> list[dict[str, Any]]:
    """Every claim of the paper, C1 to C17, as rows ready for JSON; several rows may share an id.

    Args:
        load: name of a recipe → its result; `richness.load` when left out. Where the result is missing or damaged, the
            rows that rest on it say *not-run*, with the reason and the command that makes it.

    Returns:
        Rows with the keys of `FIELDS`. ``predicted`` is a number, or a sentence where the claim is no exponent;
        ``measured`` a number or ``None``; ``interval`` is ``[low, high]`` (95 %) or ``None``, and then ``reason`` says
        why; ``window`` is ``[smallest γ, largest γ]`` of what was used, or ``None``; ``seeds`` how many;
        ``scale`` that of the result, ``"live"`` for C17; ``chapter`` the stem of the notebook that shows it, or
        ``None``.
    """
    rows = _portrait_rows(load or results.load) + _model_rows()
    done = {(row["id"], row["part"]) for row in rows}
    rows += [_row(claim, part) for claim, part in _CLAIMS if (claim, part) not in done]
    order = {key: place for place, key in enumerate(_CLAIMS)}
    return sorted(rows, key=lambda row: order[row["id"], row["part"]])


def _row(claim: str, part: str, **known: Any) -> dict[str, Any]:
    """A row of the ledger, *not-run* until more is known. Depth 3 gives the predicted exponents that depend on it."""
    sentence, prediction = _CLAIMS[claim, part]
    if claim == "C17":
        predicted: Any = 1.0
    else:
        predicted = prediction if prediction else _rounded(theory.predicted_exponent(claim, 3, part))
    row = dict.fromkeys(FIELDS) | {
        "id": claim,
        "part": part,
        "claim": sentence,
        "predicted": predicted,
        "reason": NOT_RUN,
        "seeds": 0,
        "verdict": "not-run",
    }
    return row | known


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _portrait_rows(load: Callable[[str], xr.Dataset]) -> list[dict[str, Any]]:
    try:
        runs = load(PORTRAIT)
    except (results.ResultError, FileNotFoundError) as why:
        command = f"richness precompute {PORTRAIT}"
        reason = f"{NOT_RUN}: {why}" + ("" if command in str(why) else f"; make it with `{command}`")
        parts = [key for key in _CLAIMS if key[0] in ("C1", "C2", "C3", "C5")]
        return [_row(claim, part, reason=reason, chapter=PORTRAIT_CHAPTER) for claim, part in parts]
    found = exponents(runs)
    verdicts = {
        key: verdict(one.holds for one in found if (one.id, one.part) == key)
        if any(one.fit for one in found if (one.id, one.part) == key)
        else "not-run"
        for key in {(one.id, one.part) for one in found}
    }
    scale = str(runs.attrs.get("scale", ""))
    return [_exponent_row(one, verdicts[one.id, one.part], scale) for one in found]


def _exponent_row(one: Exponent, verdict: str, scale: str) -> dict[str, Any]:
    known: dict[str, Any] = {
        "predicted": _rounded(one.predicted),
        "scale": scale,
        "verdict": verdict,
        "chapter": PORTRAIT_CHAPTER,
    }
    if one.fit is None:
        return _row(one.id, one.part, **known, reason=one.reason, window=list(one.asked))
    return _row(
        one.id,
        one.part,
        **known,
        measured=_rounded(one.fit.slope),
        interval=[_rounded(end) for end in one.fit.interval],
        reason="",
        window=[float(f"{end:.4g}") for end in one.fit.window],
        seeds=one.fit.seeds,
    )


def _model_rows() -> list[dict[str, Any]]:
    """C17: the ratio furthest from 1, over three depths and eight γ, for each loss, boundary and escape."""
    rows = []
    for kind, simulated, exact in (
        ("boundary", theory.simulated_boundary, theory.critical_eta),
        ("escape", theory.simulated_escape_time, theory.escape_time),
    ):
        for loss in theory.LOSSES:
            ratios = np.concatenate(
                [simulated(depth, _MODEL_GAMMAS, loss) / exact(depth, _MODEL_GAMMAS, loss) for depth in _MODEL_DEPTHS]
            )
            rows.append(_model_row(f"{kind} {loss}", ratios))
    return rows


def _model_row(part: str, ratios: np.ndarray) -> dict[str, Any]:
    known = np.where(np.isfinite(ratios), ratios, np.inf)  # a boundary not found counts against it
    worst = known[np.argmax(np.abs(known - 1))]
    within = np.abs(known - 1) <= RATIO_WITHIN
    return _row(
        "C17",
        part,
        measured=_rounded(worst) if np.isfinite(worst) else None,
        reason=f"deterministic, so no interval: the ratio furthest from 1 of {ratios.size} (L = 2, 3, 4; eight γ), "
        f"{int(within.sum())} of them within {RATIO_WITHIN:g} of 1",
        window=[float(_MODEL_GAMMAS[0]), float(_MODEL_GAMMAS[-1])],
        scale="live",
        # whole where every ratio holds, partly where at least half do
        verdict=verdict([bool(within.all()), bool(within.mean() >= 0.5)]),
    )
