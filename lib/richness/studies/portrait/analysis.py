"""From portraits to exponents, and to the ledger: C1 to C5, and C16."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from richness.analysis import boundaries
from richness.analysis.exponents import BoundarySource, new_source, source_rows
from richness.analysis.ledger import Claim, Load, load_once, round_for_row, scale_of, verdict

#: The recipe from which the headline's C1, C2, C3 and C5 are computed, and the chapters that show portraits.
PORTRAIT = "phase_portrait_mlp3_mse"
CHAPTER, OPTIMIZERS_CHAPTER = "02-phase-portrait", "08-optimizers"


def _depths(id: str, side: str, sentence: str) -> list[BoundarySource]:
    """The largest convergent η at the other depths, on 8×8 digits."""
    return [
        new_source(id, f"{side} L={L}", "eta_max", side, f"{sentence}, L = {L}", f"portrait_mlp{L}_mse", L)
        for L in (2, 4, 6)
    ]


def _networks(id: str, side: str, sentence: str) -> list[BoundarySource]:
    """The largest convergent η of other architectures: the CNN's L is 4; with norms there are two factors, whatever L is."""
    return [
        new_source(id, f"{side} {name}", "eta_max", side, f"{sentence}, {words}", f"portrait_{recipe}", factors)
        for name, words, recipe, factors in (
            ("CNN", "CNN of L = 4", "cnn4_mse", 4),
            ("CNN photos", "CNN of L = 4, colour", "cnn4_mse_photos", 4),
            ("ResNet photos", "ResNet with norms, colour", "resnet_mse_photos", 2),
            ("ViT photos", "ViT with norms, colour", "vit_mse_photos", 2),
        )
    ]


_LARGEST, _LEARNS = "largest convergent η", "smallest η that learns within T steps, rich side"
_ENTROPY = "portrait_mlp3_cross_entropy"

SOURCES: tuple[BoundarySource, ...] = (
    new_source("C1", "lazy", "eta_max", "lazy", f"{_LARGEST}, lazy side, MSE", PORTRAIT),
    *_depths("C1", "lazy", f"{_LARGEST}, lazy side, MSE"),
    new_source("C2", "rich", "eta_max", "rich", f"{_LARGEST}, rich side", PORTRAIT),
    *_depths("C2", "rich", f"{_LARGEST}, rich side, MSE"),
    new_source("C2", "rich cross_entropy", "eta_max", "rich", f"{_LARGEST}, rich side, cross-entropy", _ENTROPY),
    new_source("C2", "rich teacher", "eta_max", "rich", f"{_LARGEST}, rich side, linear teacher", "portrait_mlp3_mse_teacher"),
    new_source("C2", "rich momentum", "eta_max", "rich", f"{_LARGEST}, rich side, momentum", "portrait_mlp3_mse_momentum",
            chapter=OPTIMIZERS_CHAPTER),
    *_networks("C1", "lazy", f"{_LARGEST}, lazy side, MSE"),
    *_networks("C2", "rich", f"{_LARGEST}, rich side, MSE"),
    new_source("C3", "gamma", "eta_min", "rich", _LEARNS, PORTRAIT),
    new_source("C3", "gamma teacher", "eta_min", "rich", f"{_LEARNS}, linear teacher", "portrait_mlp3_mse_teacher"),
    new_source("C3", "T", "eta_min", "T", _LEARNS, PORTRAIT),
    new_source("C4", "onset", "eta_crit", "lazy", "cross-entropy, lazy side, onset of instability", _ENTROPY),
    new_source("C4", "largest", "eta_works", "lazy", "cross-entropy, lazy side, largest η that still classifies", _ENTROPY),
    new_source("C5", "lazy", "eta_star", "lazy", "best η, lazy side", PORTRAIT),
    new_source("C5", "rich", "eta_star", "rich", "best η, rich side", PORTRAIT),
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
    once = load_once(load)
    found = source_rows(asked, once)
    return found if chapter not in (None, TRIANGLE.chapter) else found + _triangle(once)


def _triangle(once: Callable[[str], xr.Dataset | str]) -> list[dict[str, Any]]:
    depths: dict[int, xr.Dataset] = {}
    for L in (2, 3, 4, 6):
        runs = once(f"portrait_mlp{L}_mse")
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
                "measured": round_for_row(np.exp(np.log(seen).mean())),
                "interval": [round_for_row(seen.min()), round_for_row(seen.max())],
                "reason": "",
            }
            if seen.size
            else {"reason": f"at T = {budget} something learned at every γ, or nothing at any"}
        )
    if not any("measured" in one for one in known):
        return [TRIANGLE.row(**one) for one in known]
    sentences = [f"{TRIANGLE.sentence}, T = {budget}" for budget in budgets]
    shared = {"scale": scale_of(depths[4]), "seeds": int(tips[4].sizes["seed"]), "verdict": verdict(holds)}
    return [TRIANGLE.row(**one, **shared, claim=words) for one, words in zip(known, sentences, strict=True)]


def _tip_or_beyond(runs: xr.Dataset) -> xr.DataArray:
    """The tip; infinite where something learned at the largest γ."""
    axis = "trial" if "trial" in runs.dims else "eta"
    beyond = boundaries.learned(runs).isel(gamma=-1).any(axis)
    return boundaries.tip(runs).where(~beyond, np.inf)
