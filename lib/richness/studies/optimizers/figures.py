"""Portraits of other optimisers, batches and schedules over one another: all boundaries, and their ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import theme
from richness.plots.captions import LOSS_NAMES, OPTIMIZER_NAMES, conditions, last_step, natural, natural_words, setting
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import say_nothing_drawn
from richness.plots.plane import (
    NAMES,
    SHAPES,
    boundary_rows,
    boundary_table,
    definitions,
    join_rows,
    lines_panel,
    measure_boundaries,
    theory_lines,
)

_SPREAD = "Points: geometric means over seeds, bars from the lowest to the highest seed."
_SYMBOLS = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]


# -- the boundaries apart ----------------------------------------------------------------------------------------------


@with_sources
def all_boundaries(results: Sequence[xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """Every boundary over natural η against γ, a panel a result: η*, η_max, η_crit, η_min, under cross-entropy η_works."""
    frames, lines = [], []
    for runs in results:
        ds, scale = measure_boundaries(runs), natural(runs)
        kept = {name: boundary_rows(ds[name], scale, name) for name in NAMES if name in ds}
        frames.append(join_rows(kept.values()).assign(**setting(runs)))
        lines.append(theory_lines(kept, runs, 9))
    rows = pd.concat(frames)
    title = (caption or "The boundaries, apart.").rstrip()
    if rows.empty:
        return say_nothing_drawn(
            "No boundary was seen: nothing converged, or its neighbours were not run.", results[0], title, label
        )
    for field in ("eta", "low", "high"):
        rows[field] = rows[field] / rows.natural
    drawn = [name for name in NAMES if name in set(rows.boundary)]
    gammas, etas = theme.span(rows.gamma, 1.3), theme.span([*rows.low, *rows.high], 2)
    panels = []
    for runs, line in zip(results, lines, strict=True):
        one = setting(runs)
        here = rows[(rows["L"] == one["L"]) & (rows.loss == one["loss"]) & (rows.optimizer == one["optimizer"])]
        title_of = f"{LOSS_NAMES[one['loss']]}, L = {one['L']}, {OPTIMIZER_NAMES[one['optimizer']]}: η ÷ natural η"
        panel = lines_panel(here, "boundary", NAMES, drawn, gammas, etas, [SHAPES[n] for n in drawn], line)
        panels.append(panel.properties(title=title_of))
    summary = " ".join(_boundary_words(runs) for runs in results)
    note = (
        f"{title} {definitions(*drawn)} All over natural η, {natural_words(*results)}. {_SPREAD} "
        f"Dashed: theory's slopes, at the measurement's height. {conditions(*results)}"
    )
    tables = [boundary_table(frame.assign(kind="point")) for frame in frames if not frame.empty]
    table = pd.concat(tables, ignore_index=True)
    return figure(theme.finished(theme.beside(*panels)), summary, table, note, label)


def _boundary_words(runs: xr.Dataset) -> str:
    ds = measure_boundaries(runs)
    one = setting(runs)
    parts = []
    for name in ("eta_works", "eta_crit", "eta_star", "eta_min"):
        if name in ds:
            share = (ds[name] / ds["eta_max"]).median()
            if np.isfinite(share):
                parts.append(f"{NAMES[name]} {float(share):.2g}")
    said = ", ".join(parts) or "nothing"
    return f"{LOSS_NAMES[one['loss']]}, in units of η_max at the same γ, in the median: {said}."


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
    lengths = {words: last_step(runs) for words, runs in {"base": base, **others}.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"boundaries move with T, so that only portraits of the same T can be compared; got {lengths}."
        )
    mine = measure_boundaries(base)
    frames = [
        _ratio_rows(measure_boundaries(runs)[name], mine[name]).assign(boundary=name, run=words)
        for words, runs in others.items()
        for name in names
    ]
    rows = join_rows(frames)
    title = (caption or "Boundaries compared.").rstrip()
    if rows.empty:
        return say_nothing_drawn("The portraits have no γ at which both saw a boundary.", base, title, label)
    gammas = theme.span(rows.gamma, 1.3)
    levels = {name: [1.0, *(expected or {}).get(name, ())] for name in names}
    etas = theme.span([*rows.low, *rows.high, *(level for each in levels.values() for level in each)], 1.5)
    kinds = {words: words for words in others}
    panels = []
    for name in names:
        here = rows[rows.boundary == name]
        if not here.empty:
            panel = lines_panel(here, "run", kinds, list(kinds), gammas, etas, _SYMBOLS, _levels(levels[name], gammas))
            panels.append(panel.properties(title=f"{NAMES[name]} ÷ that of the base"))
    medians = rows.groupby(["run", "boundary"], sort=False).eta.median()
    told = "; ".join(f"{run}: {NAMES[str(name)]} {value:.2g}" for (run, name), value in medians.items())
    note = (
        f"{title} {definitions(*names)} Each over that of the base portrait at the same γ; {_SPREAD[0].lower()}{_SPREAD[1:]} "
        f"Dashed: {'1, and the ratio that theory expects' if expected else 'no change'}. Base: {conditions(base)}"
    )
    table = rows.pivot_table(index=["run", "gamma"], columns="boundary", values="eta").reset_index()
    table = table.rename(columns={**NAMES, "gamma": "γ", "run": "portrait"})
    summary = f"Medians over γ of the ratio to the base: {told}."
    return figure(theme.finished(theme.beside(*panels)), summary, table, note, label)


def _levels(levels: Sequence[float], gammas: tuple[float, float]) -> pd.DataFrame:
    """Horizontal lines, as `lines_panel` takes theory's."""
    rows = [{"line": str(level), "gamma": gamma, "eta": level, "natural": 1.0} for level in levels for gamma in gammas]
    return pd.DataFrame(rows)


def _ratio_rows(one: xr.DataArray, base: xr.DataArray) -> pd.DataFrame:
    """Ratio at every γ that both have: of each seed to the base's geometric mean."""
    middle = 10.0 ** xr.apply_ufunc(np.log10, base).mean("seed")
    gammas = [g for g in one.gamma.values if np.isclose(base.gamma.values, g, rtol=1e-6).any()]
    near = middle.sel(gamma=gammas, method="nearest") if gammas else middle.isel(gamma=[])
    ratio = one.sel(gamma=gammas) / near.assign_coords(gamma=gammas)
    return boundary_rows(ratio, lambda gamma: 1.0, "ratio")
