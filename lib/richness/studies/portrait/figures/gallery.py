"""One plane for many portraits: depth, loss and optimiser are chosen by controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.boundaries import CONVERGED_BELOW, LEARNED_BELOW
from richness.plots import parts, theme
from richness.plots.captions import LOSS_NAMES, OPTIMIZER_NAMES, conditions, natural, natural_words, setting
from richness.plots.cells import cells
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.plane import (
    CELLS,
    NAMES,
    Plane,
    boundary_shapes,
    boundary_table,
    definitions,
    draw_boundaries,
    draw_cells,
    draw_glyphs,
    draw_theory,
    join_rows,
    measure_boundaries,
    rows_by_boundary,
    theory_lines,
    view_param,
)

#: Borders of the steps of late loss over initial loss that a gallery keeps; the thresholds of *learned* and *converged* are
#: among them. What is above the last is dead.
LEVELS = (
    *(0.0, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5),
    *(LEARNED_BELOW, CONVERGED_BELOW),
)
_DEAD, _DIVERGED = len(LEVELS) - 1, -1
_CHOICES: dict[str, tuple[str, Mapping[Any, str]]] = {
    "L": ("depth L", {}), "loss": ("loss", LOSS_NAMES), "optimizer": ("optimiser", OPTIMIZER_NAMES),
}  # fmt: skip


@with_sources
def gallery(
    results: Sequence[xr.Dataset], *, view: str = "straightened", caption: str | None = None, label: str | None = None
) -> Figure:
    """One plane for many portraits: depth, loss and optimiser are chosen by controls, the first result is shown at first.

    Light enough for eight portraits and more: late losses are kept in `LEVELS`, and neighbouring cells of one γ and level are
    one mark.

    Args:
        results: portraits that differ in depth, loss or optimiser; one of each kind, and every combination of them.
        view: "raw" or "straightened", as in `portrait`.

    Raises:
        ValueError: a combination is missing or there twice.
    """
    choices = _find_choices(results)
    table = pd.concat([cells(runs).assign(**setting(runs)) for runs in results])
    measured = [_boundary_rows(runs) for runs in results]
    lines = pd.concat([theory_lines(rows, runs, 7).assign(**setting(runs)) for rows, runs in measured])
    rows = pd.concat([join_rows(rows.values()).assign(**setting(runs)) for rows, runs in measured])
    plane = replace(Plane.of(table, list(_columns(table))), zoom=_zoom(table))
    layers = [*_stretches(plane, choices), *_marks(plane, rows, lines, choices)]
    menus = [
        parts.menu(key, values, _CHOICES[key][0], [_CHOICES[key][1].get(value, str(value)) for value in values])
        for key, values in choices.items()
    ]
    chart = plane.with_rows(plane.draw(*layers), *menus, view_param(view))
    note = (
        f"{(caption or 'A gallery of portraits.').rstrip()} Colour: mean over seeds of the late loss (last tenth of the steps) "
        f"over the initial loss, in {len(LEVELS) - 1} steps; dark = learned. Crosses: diverged; dots: finite, but not "
        f"converged (late loss at least {CONVERGED_BELOW} of the initial one); blank: not run. "
        f"{definitions(*dict.fromkeys(rows.boundary))} Points: geometric means over seeds; "
        "dashed: theory's slopes, at the measurement's height. "
        f"Straightened: η over natural η, {natural_words(*results)}. {conditions(*results)}"
    )
    tables = [boundary_table(join_rows(rows.values()).assign(**setting(runs))) for rows, runs in measured]
    summary, shown = _summary(results), pd.concat(tables, ignore_index=True)
    return figure(theme.finish(chart, wide=theme.WIDE), summary, shown, note, label)


def _find_choices(results: Sequence[xr.Dataset]) -> dict[str, list[Any]]:
    """What differs between the portraits: key → values, in order.

    Raises:
        ValueError: a combination is missing or there twice.
    """
    settings = [setting(runs) for runs in results]
    choices = {key: list(dict.fromkeys(one[key] for one in settings)) for key in _CHOICES}
    combinations = int(np.prod([len(values) for values in choices.values()]))
    if not len({tuple(one.values()) for one in settings}) == len(settings) == combinations:
        raise ValueError(
            f"a gallery needs each combination of {choices} once, got {len(settings)} portraits: "
            f"{', '.join(str(tuple(one.values())) for one in settings)}"
        )
    return {key: values for key, values in choices.items() if len(values) > 1}


def _boundary_rows(runs: xr.Dataset) -> tuple[dict[str, pd.DataFrame], xr.Dataset]:
    measured = measure_boundaries(runs)
    return rows_by_boundary(measured, natural(runs), measured.data_vars), runs


def _zoom(table: pd.DataFrame) -> tuple[str, str]:
    """The straightened plane's ends as expressions: each loss has its own, for cross-entropy reaches far higher."""

    def by_loss(ends: pd.Series) -> str:
        *first, last = (theme.significant(end) for end in ends)
        tests = "".join(f"loss == '{loss}' ? {end} : " for loss, end in zip(ends.index, first, strict=False))
        return f"({tests}{last})"

    low = (table.eta_low / table.natural).groupby(table.loss, sort=False).min()
    return by_loss(low), by_loss((table.eta_high / table.natural).groupby(table.loss, sort=False).max())


# -- the cells, as stretches of one level ------------------------------------------------------------------------------


def _columns(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """One row a portrait and γ: ``v`` the level of every stretch of cells, ``e`` the log10 of their borders in η, one more."""
    for _, column in table.groupby([*_CHOICES, "gamma"], sort=False):
        levels = [_level(late, state) for late, state in zip(column.late, column.state, strict=True)]
        gaps = np.diff(column.row.to_numpy()) != 1
        apart = [i + 1 for i in range(len(levels) - 1) if gaps[i] or levels[i + 1] != levels[i]]
        starts = [0, *apart]
        borders = [*column.eta_low.iloc[starts], column.eta_high.iloc[-1]]
        first = column.iloc[0]
        yield {
            **{key: first[key] for key in _CHOICES},
            **{key: theme.significant(first[key]) for key in ("gamma", "gamma_low", "gamma_high", "natural")},
            "v": [levels[i] for i in starts],
            "e": [round(float(np.log10(border)), 2) for border in borders],
        }


def _level(late: float, state: str) -> int:
    return _DIVERGED if state == "diverged" else int(np.searchsorted(LEVELS, late, side="right")) - 1


def _stretches(plane: Plane, choices: Mapping[str, Any]) -> list[alt.Chart]:
    """The cells of the chosen portrait, and the marks on those that diverged or are dead, a quarter of a decade apart."""
    colours = [round((low + high) / 2, 3) for low, high in pairwise([*LEVELS, 1.0])]
    words = [f"{low:g} to {high:g} of the initial loss" for low, high in pairwise(LEVELS)]
    words.append(f"{LEVELS[-1]:g} or more: dead, or too slow")
    base = (
        parts.only_chosen(alt.Chart(CELLS), *choices)
        .transform_calculate(low="slice(datum.e, 0, -1)", high="slice(datum.e, 1)")
        .transform_flatten(["v", "low", "high"])
        .transform_calculate(
            eta_low="pow(10, datum.low)",
            eta_high="pow(10, datum.high)",
            late=f"datum.v < 0 ? null : {colours}[datum.v]",
            words=f"datum.v < 0 ? 'diverged' : {words}[datum.v]",
        )
    )
    told: dict[str, Any] = {
        "gamma": "γ",
        "eta_low": ("η from", ".2~g"),
        "eta_high": ("η to", ".2~g"),
        "words:N": "late loss",
    }
    glyphs = [
        draw_glyphs(plane, _spread_marks(base.transform_filter(f"datum.v == {level}")), state)
        for level, state in ((_DIVERGED, "diverged"), (_DEAD, "dead"))
    ]
    return [draw_cells(plane, base, "datum.v < 0", told), *glyphs]


def _spread_marks(stretches: alt.Chart) -> alt.Chart:
    at = "sequence(datum.low + min(0.12, (datum.high - datum.low) / 2), datum.high, 0.25)"
    return stretches.transform_calculate(at=at).transform_flatten(["at"]).transform_calculate(eta="pow(10, datum.at)")


def _marks(plane: Plane, rows: pd.DataFrame, lines: pd.DataFrame, choices: Mapping[str, Any]) -> list[alt.Chart]:
    """Measured boundaries and theory's lines of the chosen portrait."""
    keys = [*_CHOICES, "gamma", "eta", "natural"]
    named = rows[[*keys, "boundary"]].assign(boundary=rows.boundary.map(NAMES))
    data = parts.only_chosen(parts.chart_of(named, 3), *choices)
    theory = parts.only_chosen(parts.chart_of(lines[[*keys, "line"]], 3), *choices)
    return [*draw_theory(plane, theory), draw_boundaries(plane, data, boundary_shapes(rows, theme.MEASURED))]


# -- words -------------------------------------------------------------------------------------------------------------


def _summary(results: Sequence[xr.Dataset]) -> str:
    count = sum(int((runs.status != 2).sum()) for runs in results)
    lowest = sorted((float((runs.late_loss / runs.initial_loss).mean("seed").min()), _name(runs)) for runs in results)
    (least, best), (most, worst) = lowest[0], lowest[-1]
    return (
        f"{len(results)} portraits, {count:,} networks in all, one shown at a time. The lowest late loss over the initial "
        f"one lies between {least:.2g} ({best}) and {most:.2g} ({worst})."
    )


def _name(runs: xr.Dataset) -> str:
    one = setting(runs)
    return f"L = {one['L']}, {LOSS_NAMES[one['loss']]}, {OPTIMIZER_NAMES[one['optimizer']]}"
