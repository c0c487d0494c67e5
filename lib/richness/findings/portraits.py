"""From portraits to exponents, and to the ledger: C1 to C5, and C16."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import xarray as xr

from richness.findings import boundaries, theory
from richness.findings.boundaries import Window
from richness.findings.evidence import Claim, Exponent, Load, exponent, exponent_rows, obtained, rounded, verdict
from richness.findings.theory import sign_steps
from richness.networks.optimizers import OPTIMIZERS
from richness.runs.experiment import degree

__all__ = ["CLAIMS", "PORTRAIT", "SOURCES", "Source", "exponents", "predicted", "rows", "slopes", "triangle_rows"]

#: The recipe from which the headline's C1, C2, C3 and C5 are computed, and the chapters that show portraits.
PORTRAIT = "phase_portrait_mlp3_mse"
CHAPTER, OPTIMIZERS_CHAPTER = "02-phase-portrait", "08-optimizers"

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


# -- exponents ---------------------------------------------------------------------------------------------------------


def predicted(boundary: str, side: str, loss: str = "mse", optimizer: str = "sgd") -> tuple[str, str] | None:
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


def slopes(runs: xr.Dataset, boundary: str, side: str) -> list[Exponent]:
    """A boundary's exponent in its two windows, each with theory's slope over the same γ.

    Args:
        runs: a portrait; its recipe gives the network's degree (L, without norms), loss and optimiser.
        boundary, side: as for :func:`predicted`. η_min's slope in γ is taken at the longest budget.

    Raises:
        ValueError: the paper predicts no exponent there. A boundary that was not seen gives an `Exponent` with a reason.
    """
    made = json.loads(runs.attrs["recipe"])
    depth, loss, optimizer = degree(made), str(made["loss"]), str(made.get("optimizer", "sgd"))
    claimed = predicted(boundary, side, loss, optimizer)
    if claimed is None:
        raise ValueError(
            f"no exponent is predicted for {boundary}, {side} side, under {loss} with {optimizer}; "
            f"with SGD and MSE there are those of {', '.join(sorted({f'{b} {s}' for b, s in _CLAIMED}))}."
        )
    value = theory.predicted_exponent(claimed[0], depth, claimed[1])
    windows = _windows(boundary, side)
    try:
        found = getattr(boundaries, boundary)(runs)
    except ValueError as why:
        return [Exponent(*claimed, value, float("nan"), window, None, str(why)) for window in windows]
    if side != "T" and "budget" in found.dims:
        found = found.isel(budget=-1)
    model = None if side == "T" else _model(boundary, side, depth, loss, OPTIMIZERS[optimizer].by_sign)
    fit = boundaries.fit_budget if side == "T" else boundaries.fit
    return [exponent(*claimed, value, found, window, model, fit) for window in windows]


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


def exponents(runs: xr.Dataset) -> list[Exponent]:
    """C1, C2, C3 and C5 from a portrait under MSE with budgets, each in its two windows."""
    asked = (
        ("eta_max", "lazy"), ("eta_max", "rich"), ("eta_min", "rich"), ("eta_min", "T"), ("eta_star", "lazy"),
        ("eta_star", "rich"),
    )  # fmt: skip
    return [found for boundary, side in asked for found in slopes(runs, boundary, side)]


# -- the ledger --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Where a claim's part comes from: a boundary of a recipe's portrait, on one side."""

    claim: Claim
    recipe: str
    boundary: str
    side: str


def _source(
    id: str, part: str, boundary: str, side: str, sentence: str, recipe: str, depth: int = 3, chapter: str = CHAPTER
) -> Source:
    value = theory.predicted_exponent(id, depth, part.split()[0])
    return Source(
        Claim(id, part, f"{sentence}: slope in {'T' if side == 'T' else 'γ'}", value, chapter), recipe, boundary, side
    )


def _depths(id: str, side: str, sentence: str) -> list[Source]:
    """The largest convergent η at the other depths, on 8×8 digits."""
    return [
        _source(id, f"{side} L={L}", "eta_max", side, f"{sentence}, L = {L}", f"portrait_mlp{L}_mse", L)
        for L in (2, 4, 6)
    ]


def _networks(id: str, side: str, sentence: str) -> list[Source]:
    """The largest convergent η of other architectures: the CNN's L is 4; with norms there are two factors, whatever L is."""
    return [
        _source(id, f"{side} {name}", "eta_max", side, f"{sentence}, {words}", f"portrait_{recipe}", factors)
        for name, words, recipe, factors in (
            ("CNN", "CNN of L = 4", "cnn4_mse", 4),
            ("CNN photos", "CNN of L = 4, colour", "cnn4_mse_photos", 4),
            ("ResNet photos", "ResNet with norms, colour", "resnet_mse_photos", 2),
            ("ViT photos", "ViT with norms, colour", "vit_mse_photos", 2),
        )
    ]


_LARGEST, _LEARNS = "largest convergent η", "smallest η that learns within T steps, rich side"
_ENTROPY, _BAND = "portrait_mlp3_cross_entropy", "largest convergent η"

SOURCES: tuple[Source, ...] = (
    _source("C1", "lazy", "eta_max", "lazy", f"{_LARGEST}, lazy side, MSE", PORTRAIT),
    *_depths("C1", "lazy", f"{_LARGEST}, lazy side, MSE"),
    _source("C2", "rich", "eta_max", "rich", f"{_LARGEST}, rich side", PORTRAIT),
    *_depths("C2", "rich", f"{_LARGEST}, rich side, MSE"),
    _source("C2", "rich cross_entropy", "eta_max", "rich", f"{_LARGEST}, rich side, cross-entropy", _ENTROPY),
    _source("C2", "rich teacher", "eta_max", "rich", f"{_LARGEST}, rich side, linear teacher", "portrait_mlp3_mse_teacher"),
    _source("C2", "rich momentum", "eta_max", "rich", f"{_LARGEST}, rich side, momentum", "portrait_mlp3_mse_momentum",
            chapter=OPTIMIZERS_CHAPTER),
    *_networks("C1", "lazy", f"{_LARGEST}, lazy side, MSE"),
    *_networks("C2", "rich", f"{_LARGEST}, rich side, MSE"),
    _source("C3", "gamma", "eta_min", "rich", _LEARNS, PORTRAIT),
    _source("C3", "gamma teacher", "eta_min", "rich", f"{_LEARNS}, linear teacher", "portrait_mlp3_mse_teacher"),
    _source("C3", "T", "eta_min", "T", _LEARNS, PORTRAIT),
    _source("C4", "onset", "eta_crit", "lazy", "cross-entropy, lazy side, onset of instability", _ENTROPY),
    _source("C4", "largest", "eta_works", "lazy", "cross-entropy, lazy side, largest η that still classifies", _ENTROPY),
    _source("C5", "lazy", "eta_star", "lazy", "best η, lazy side", PORTRAIT),
    _source("C5", "rich", "eta_star", "rich", "best η, rich side", PORTRAIT),
    *(
        _source("C16", f"{side}{part}", "eta_max", side, f"{words}, {side} side, {_BAND}", f"portrait_mlp3_mse_{recipe}",
                chapter=OPTIMIZERS_CHAPTER)
        for part, words, recipe in (
            ("", "SignSGD", "signsgd"), (" adam", "Adam", "adam"), (" teacher", "SignSGD, linear teacher", "signsgd_teacher"),
        )
        for side in ("lazy", "rich")
    ),
)  # fmt: skip

#: A claim without an exponent: at each of two budgets and for every seed the tips must stand in this order.
TRIANGLE = Claim(
    "C3",
    "triangle",
    "for L > 2 the band closes: γ beyond which nothing learns, L = 4",
    "at two budgets, at every seed: smaller for L = 6, no smaller for L = 3, beyond the largest γ for L = 2",
    CHAPTER,
)

CLAIMS: tuple[Claim, ...] = (*(source.claim for source in SOURCES), TRIANGLE)


def rows(load: Load, chapter: str | None = None) -> list[dict[str, Any]]:
    """The ledger's rows that rest on portraits; of one chapter alone where its stem is given."""
    asked = [source for source in SOURCES if chapter in (None, source.claim.chapter)]
    once = cache(lambda name: obtained(load, name))
    found: list[dict[str, Any]] = []
    for source in asked:
        runs = once(source.recipe)
        if isinstance(runs, str):
            found.append(source.claim.row(reason=runs))
        else:
            scale = str(runs.attrs.get("scale", ""))
            found += exponent_rows(source.claim, slopes(runs, source.boundary, source.side), scale)
    return found if chapter not in (None, TRIANGLE.chapter) else found + _triangle(once)


def _triangle(load: Callable[[str], xr.Dataset | str]) -> list[dict[str, Any]]:
    depths: dict[int, xr.Dataset] = {}
    for L in (2, 3, 4, 6):
        runs = load(f"portrait_mlp{L}_mse")
        if isinstance(runs, str):
            return [TRIANGLE.row(reason=runs)]
        depths[L] = runs
    return triangle_rows(depths)


def triangle_rows(depths: Mapping[int, xr.Dataset]) -> list[dict[str, Any]]:
    """`TRIANGLE`, a row for each of the two shorter budgets. ``depths``: the portraits of L = 2, 3, 4 and 6."""
    tips = {L: _tip_or_beyond(runs) for L, runs in depths.items()}
    budgets = [int(budget) for budget in tips[4].budget.values[:2]]
    holds, known = [], []
    for budget in budgets:
        two, three, four, six = (tips[L].sel(budget=budget).values for L in (2, 3, 4, 6))
        holds.append(bool(np.all((six < four) & (four <= three) & (three <= two) & np.isinf(two))))
        seen = four[np.isfinite(four)]
        known.append(
            {
                "measured": rounded(np.exp(np.log(seen).mean())),
                "interval": [rounded(seen.min()), rounded(seen.max())],
                "reason": "",
            }
            if seen.size
            else {"reason": f"at T = {budget} something learned at every γ, or nothing at any"}
        )
    if not any("measured" in one for one in known):
        return [TRIANGLE.row(**one) for one in known]
    scale = str(depths[4].attrs.get("scale", ""))
    sentences = [f"{TRIANGLE.sentence}, T = {budget}" for budget in budgets]
    shared = {"scale": scale, "seeds": int(tips[4].sizes["seed"]), "verdict": verdict(holds)}
    return [TRIANGLE.row(**one, **shared, claim=words) for one, words in zip(known, sentences, strict=True)]


def _tip_or_beyond(runs: xr.Dataset) -> xr.DataArray:
    """The tip; infinite where something learned at the largest γ."""
    axis = "trial" if "trial" in runs.dims else "eta"
    beyond = boundaries.learned(runs).isel(gamma=-1).any(axis)
    return boundaries.tip(runs).where(~beyond, np.inf)
