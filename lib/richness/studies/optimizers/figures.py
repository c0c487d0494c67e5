"""Portraits of other optimisers, batches and schedules over one another: all boundaries, and their ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import parts, theme
from richness.plots.captions import LOSS_NAMES, OPTIMIZER_NAMES, conditions, last_step, natural, natural_words, setting
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.plane import (
    NAMES,
    SHAPES,
    SPREAD,
    Lines,
    boundary_rows,
    boundary_table,
    definitions,
    join_rows,
    measure_boundaries,
    over_natural,
    rows_by_boundary,
    theory_lines,
)

# -- the boundaries apart ----------------------------------------------------------------------------------------------


@with_sources
def all_boundaries(results: Sequence[xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """Every boundary over natural η against γ, a panel a result: η*, η_max, η_crit, η_min, under cross-entropy η_works."""
    seen = [rows_by_boundary(measure_boundaries(runs), natural(runs)) for runs in results]
    frames = [join_rows(rows.values()).assign(**setting(runs)) for rows, runs in zip(seen, results, strict=True)]
    every = over_natural(pd.concat(frames))
    title = (caption or "The boundaries, apart.").rstrip()
    if every.empty:
        why = "No boundary was seen: nothing converged, or its neighbours were not run."
        return parts.say_nothing_drawn(why, results[0], title, label)
    drawn = {name: words for name, words in NAMES.items() if name in set(every.boundary)}
    gammas, etas = theme.span(every.gamma, 1.3), theme.span([*every.low, *every.high], 2)
    lines = Lines("boundary", drawn, [SHAPES[name] for name in drawn], gammas, etas)
    panels = [
        lines.draw(over_natural(frame), theory_lines(rows, runs, 9), _panel_title(setting(runs)))
        for frame, rows, runs in zip(frames, seen, results, strict=True)
    ]
    note = (
        f"{title} {definitions(*drawn)} All over natural η, {natural_words(*results)}. {SPREAD} "
        f"Dashed: theory's slopes, at the measurement's height. {conditions(*results)}"
    )
    table = pd.concat([boundary_table(frame) for frame in frames if not frame.empty], ignore_index=True)
    summary = " ".join(_boundary_words(runs) for runs in results)
    return figure(theme.finish(theme.beside(*panels)), summary, table, note, label)


def _panel_title(one: Mapping[str, Any]) -> str:
    return f"{LOSS_NAMES[one['loss']]}, L = {one['L']}, {OPTIMIZER_NAMES[one['optimizer']]}: η ÷ natural η"


def _boundary_words(runs: xr.Dataset) -> str:
    ds = measure_boundaries(runs)
    names = [name for name in ("eta_works", "eta_crit", "eta_star", "eta_min") if name in ds]
    shares = {name: float((ds[name] / ds["eta_max"]).median()) for name in names}
    said = ", ".join(f"{NAMES[name]} {share:.2g}" for name, share in shares.items() if np.isfinite(share)) or "nothing"
    return f"{LOSS_NAMES[setting(runs)['loss']]}, in units of η_max at the same γ, in the median: {said}."


# -- portraits compared with one ---------------------------------------------------------------------------------------


@with_sources
def ratios(
    base: xr.Dataset,
    others: Mapping[str, xr.Dataset],
    names: Sequence[str] = ("eta_max", "eta_star", "eta_min"),
    *,
    expected: Mapping[str, Sequence[float]] | None = None,
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """Boundaries of other portraits over those of one, at the same γ: a panel a boundary.

    Args:
        base: the portrait to compare with. others: in words → portrait of the same γ.
        expected: boundary → ratios that theory expects, dashed.

    Raises:
        ValueError: the portraits differ in T: every boundary but η_crit moves with it.
    """
    _check_steps({"base": base, **others})
    rows = _all_ratios(base, others, names)
    title = (caption or "Boundaries compared.").rstrip()
    if rows.empty:
        return parts.say_nothing_drawn("The portraits have no γ at which both saw a boundary.", base, title, label)
    levels = {name: [1.0, *(expected or {}).get(name, ())] for name in names}
    gammas = theme.span(rows.gamma, 1.3)
    etas = theme.span([*rows.low, *rows.high, *(level for some in levels.values() for level in some)], 1.5)
    lines = Lines("run", {words: words for words in others}, parts.SYMBOLS, gammas, etas)
    panels = [
        lines.draw(here, _levels(levels[name], gammas), f"{NAMES[name]} ÷ that of the base")
        for name in names
        if len(here := rows[rows.boundary == name])
    ]
    note = (
        f"{title} {definitions(*names)} Each over that of the base portrait at the same γ; {SPREAD[0].lower()}{SPREAD[1:]} "
        f"Dashed: {'1, and the ratio that theory expects' if expected else 'no change'}. Base: {conditions(base)}"
    )
    table = rows.pivot_table(index=["run", "gamma"], columns="boundary", values="eta").reset_index()
    table = table.rename(columns={**NAMES, "gamma": "γ", "run": "portrait"})
    return figure(theme.finish(theme.beside(*panels)), _ratio_summary(rows), table, note, label)


def _check_steps(portraits: Mapping[str, xr.Dataset]) -> None:
    lengths = {words: last_step(runs) for words, runs in portraits.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"boundaries move with T, so that only portraits of the same T can be compared; got {lengths}."
        )


def _all_ratios(base: xr.Dataset, others: Mapping[str, xr.Dataset], names: Sequence[str]) -> pd.DataFrame:
    mine = measure_boundaries(base)
    measured = {words: measure_boundaries(runs) for words, runs in others.items()}
    return join_rows(
        _ratio_rows(ds[name], mine[name]).assign(boundary=name, run=words)
        for words, ds in measured.items()
        for name in names
    )


def _ratio_rows(one: xr.DataArray, base: xr.DataArray) -> pd.DataFrame:
    """Ratio at every γ that both have: of each seed to the base's geometric mean."""
    middle = 10.0 ** xr.apply_ufunc(np.log10, base).mean("seed")
    gammas = [g for g in one.gamma.values if np.isclose(base.gamma.values, g, rtol=1e-6).any()]
    near = middle.sel(gamma=gammas, method="nearest") if gammas else middle.isel(gamma=[])
    ratio = one.sel(gamma=gammas) / near.assign_coords(gamma=gammas)
    return boundary_rows(ratio, lambda gamma: 1.0, "ratio")


def _levels(levels: Sequence[float], gammas: tuple[float, float]) -> pd.DataFrame:
    """Horizontal lines, as `Lines` takes theory's."""
    rows = [{"line": str(level), "gamma": gamma, "eta": level, "natural": 1.0} for level in levels for gamma in gammas]
    return pd.DataFrame(rows)


def _ratio_summary(rows: pd.DataFrame) -> str:
    medians = rows.groupby(["run", "boundary"], sort=False).eta.median()
    told = "; ".join(f"{run}: {NAMES[str(name)]} {value:.2g}" for (run, name), value in medians.items())
    return f"Medians over γ of the ratio to the base: {told}."
