"""Exponents: a boundary fitted in two windows of γ, beside what the paper and the solvable model predict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from richness.analysis import boundaries, theory
from richness.analysis.boundaries import Fit, Window
from richness.analysis.ledger import Claim, Held, judge_exponent, round_for_row, scale_of, verdict
from richness.analysis.theory import sign_steps
from richness.networks.optimizers import OPTIMIZERS
from richness.runs.experiment import degree
from richness.runs.results import recipe_fields

#: (boundary, side) → the claim that says its exponent, where steps follow the gradient.
_CLAIMED = {
    ("eta_max", "lazy"): ("C1", "lazy"),
    ("eta_max", "rich"): ("C2", "rich"),
    ("eta_star", "lazy"): ("C5", "lazy"),
    ("eta_star", "rich"): ("C5", "rich"),
    ("eta_min", "rich"): ("C3", "gamma"),
    ("eta_min", "T"): ("C3", "T"),
    ("eta_crit", "lazy"): ("C4", "onset"),
    ("eta_works", "lazy"): ("C4", "largest"),
    ("eta_works", "rich"): ("C2", "rich"),
}
#: Of one loss alone. Under cross-entropy, on the lazy side, the largest η by the loss and the best one are no power laws; C4
#: speaks of cross-entropy only.
_MSE_ONLY, _ENTROPY_ONLY = (("C1", "lazy"), ("C5", "lazy")), (("C4", "onset"), ("C4", "largest"))


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
    def window(self) -> Window:
        """The window of γ that the fit used; the one asked for where there is none."""
        return self.fit.window if self.fit else self.asked

    @property
    def points(self) -> int:
        """How many γ it stands on; 0 where there is no fit."""
        return self.fit.points if self.fit else 0

    @property
    def numbers(self) -> dict[str, float]:
        """``slope``, ``low`` and ``high``: the fit's slope and its interval, NaN where there is none."""
        slope, (low, high) = (self.fit.slope, self.fit.interval) if self.fit else (np.nan, (np.nan, np.nan))
        return {"slope": slope, "low": low, "high": high}

    @property
    def judged(self) -> Held:
        """Whether the window holds, by the ledger's rule; it fails where there is no fit."""
        return self.fit is not None and judge_exponent(self.fit.interval, self.predicted)

    @property
    def holds(self) -> bool:
        """Whether it does, for certain."""
        return self.judged is True


def fit_exponent(
    claim: str,
    part: str,
    predicted: float,
    boundary: Any,
    window: Window,
    model: Callable[[np.ndarray], np.ndarray] | None = None,
    fit: Callable[[Any, Window], Fit] = boundaries.fit,
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


def fit_columns(one: Exponent) -> dict[str, float]:
    """An exponent as a table's columns: its window, slope and interval (NaN where there is no fit), and both predictions."""
    (start, stop), (slope, low, high) = one.window, one.numbers.values()
    return {
        "γ from": start, "γ to": stop, "exponent": slope, "95 % from": low, "95 % to": high,
        "predicted": one.predicted, "theory, same γ": one.theory,
    }  # fmt: skip


def exponent_rows(claim: Claim, windows: Sequence[Exponent], scale: str) -> list[dict[str, Any]]:
    """The rows of one part from its exponents, a row a window, all with the part's one verdict."""
    seen = any(one.fit for one in windows)
    together = verdict(one.judged for one in windows) if seen else "not-run"
    return [_exponent_row(claim, one, together, scale) for one in windows]


def _exponent_row(claim: Claim, one: Exponent, together: str, scale: str) -> dict[str, Any]:
    known: dict[str, Any] = {"predicted": round_for_row(one.predicted), "scale": scale, "verdict": together}
    if one.fit is None:
        return claim.row(**known, reason=one.reason, window=list(one.asked))
    return claim.row(
        **known,
        measured=round_for_row(one.fit.slope),
        interval=[round_for_row(end) for end in one.fit.interval],
        reason="",
        window=[float(f"{end:.4g}") for end in one.fit.window],
        seeds=one.fit.seeds,
    )


def find_prediction(boundary: str, side: str, loss: str = "mse", optimizer: str = "sgd") -> tuple[str, str] | None:
    """The claim and part that predict the exponent of a boundary, or None where the paper predicts none.

    Args:
        boundary: ``"eta_max"``, ``"eta_works"``, ``"eta_star"``, ``"eta_min"`` or ``"eta_crit"``.
        side: ``"lazy"`` or ``"rich"``: the exponent in γ; ``"T"``: that of η_min in the budget.
        loss, optimizer: of the portrait. Where steps do not follow the gradient (SignSGD, Adam), C16 speaks of the whole
            band: of every boundary but ``"eta_works"``.
    """
    claimed = _CLAIMED.get((boundary, side))
    if OPTIMIZERS[optimizer].by_sign:
        if boundary == "eta_works" or side == "T":
            return claimed if side == "T" else None
        return "C16", side
    return None if claimed in (_ENTROPY_ONLY if loss == "mse" else _MSE_ONLY) else claimed


def fit_exponents(runs: xr.Dataset, boundary: str, side: str, threshold: float | None = None) -> list[Exponent]:
    """A boundary's exponent in its two windows, each with theory's slope over the same γ.

    Args:
        runs: a portrait; its recipe gives the network's degree (L, without norms), loss and optimiser.
        boundary, side: as for :func:`predicted`. η_min's slope in γ is taken at the longest budget.
        threshold: the boundary's, where it is to be another than its own.

    Raises:
        ValueError: the paper predicts no exponent there. A boundary that was not seen gives an `Exponent` with a reason.
    """
    made = recipe_fields(runs)
    depth, loss, optimizer = degree(made), str(made["loss"]), str(made.get("optimizer", "sgd"))
    claimed = find_prediction(boundary, side, loss, optimizer)
    if claimed is None:
        raise ValueError(
            f"no exponent is predicted for {boundary}, {side} side, under {loss} with {optimizer}; "
            f"with SGD and MSE there are those of {', '.join(sorted({f'{b} {s}' for b, s in _CLAIMED}))}."
        )
    value = theory.predicted_exponent(claimed[0], depth, claimed[1])
    windows = _windows(boundary, side)
    try:
        found = getattr(boundaries, boundary)(runs, *(() if threshold is None else (threshold,)))
    except ValueError as why:
        return [Exponent(*claimed, value, float("nan"), window, None, str(why)) for window in windows]
    if side != "T" and "budget" in found.dims:
        found = found.isel(budget=-1)
    model = None if side == "T" else _model(boundary, side, depth, loss, OPTIMIZERS[optimizer].by_sign)
    fit = boundaries.fit_budget if side == "T" else boundaries.fit
    return [fit_exponent(*claimed, value, found, window, model, fit) for window in windows]


def _windows(boundary: str, side: str) -> tuple[Window, Window]:
    if side == "lazy":
        return boundaries.LAZY_WINDOWS
    if side == "T":
        return boundaries.RICH_WINDOWS_T
    return boundaries.RICH_WINDOWS_MIN if boundary == "eta_min" else boundaries.RICH_WINDOWS


def _model(boundary: str, side: str, depth: int, loss: str, by_sign: bool) -> Callable[[np.ndarray], np.ndarray]:
    """The solvable model's boundary as a function of γ, up to a factor; by sign steps, SignSGD's, which is Adam's too."""
    # under MSE, the f at which the model's loss counts as learned
    level = 1 - float(np.sqrt(boundaries.LEARNED_BELOW)) if loss == "mse" else theory.ESCAPE_LEVEL
    if by_sign and boundary == "eta_min":
        return lambda gamma: sign_steps.minimal_eta(depth, gamma, steps=1, level=level)
    if by_sign:
        return lambda gamma: sign_steps.largest_eta(depth, gamma)
    if boundary == "eta_min":
        return lambda gamma: theory.escape_time(depth, gamma, loss, level)
    if boundary == "eta_works" and side == "lazy":
        return lambda gamma: theory.simulated_boundary(depth, gamma, loss, criterion="bounded")
    return lambda gamma: theory.critical_eta(depth, gamma, loss)


def fit_claimed_exponents(runs: xr.Dataset) -> list[Exponent]:
    """C1, C2, C3 and C5 from a portrait under MSE with budgets, each in its two windows."""
    asked = (
        ("eta_max", "lazy"), ("eta_max", "rich"), ("eta_min", "rich"), ("eta_min", "T"), ("eta_star", "lazy"),
        ("eta_star", "rich"),
    )  # fmt: skip
    return [found for boundary, side in asked for found in fit_exponents(runs, boundary, side)]


# -- the ledger --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BoundarySource:
    """Where a claim's part comes from: a boundary of a recipe's portrait, on one side."""

    claim: Claim
    recipe: str
    boundary: str
    side: str


def new_source(
    id: str,
    part: str,
    boundary: str,
    side: str,
    sentence: str,
    recipe: str,
    depth: int = 3,
    chapter: str = "02-phase-portrait",
) -> BoundarySource:
    value = theory.predicted_exponent(id, depth, part.split()[0])
    return BoundarySource(
        Claim(id, part, f"{sentence}: slope in {'T' if side == 'T' else 'γ'}", value, chapter), recipe, boundary, side
    )


def source_rows(sources: Iterable[BoundarySource], once: Callable[[str], xr.Dataset | str]) -> list[dict[str, Any]]:
    """The ledger's rows of boundaries' exponents; ``once``: of `load_once`."""
    found: list[dict[str, Any]] = []
    for source in sources:
        runs = once(source.recipe)
        if isinstance(runs, str):
            found.append(source.claim.row(reason=runs))
        else:
            found += exponent_rows(source.claim, fit_exponents(runs, source.boundary, source.side), scale_of(runs))
    return found
