"""One plane for many portraits: depth, loss and optimiser are chosen by controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis import boundaries as found
from richness.plots import theme
from richness.plots.captions import LOSS_NAMES, OPTIMIZER_NAMES, conditions, natural, natural_words, setting
from richness.plots.cells import cells
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import records, shape_legend
from richness.plots.plane import (
    CELLS,
    HEIGHT,
    NAMES,
    SHAPES,
    Plane,
    boundary_rows,
    boundary_table,
    definitions,
    measure_boundaries,
    place_on_view,
    theory_lines,
    view_param,
)

#: Borders of the steps of late loss over initial loss that a gallery keeps; the thresholds of *learned* and *converged* are
#: among them. What is above the last is dead.
LEVELS = (
    *(0.0, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5),
    *(found.LEARNED_BELOW, found.CONVERGED_BELOW),
)
_DEAD, _DIVERGED = len(LEVELS) - 1, -1


@with_sources
def gallery(
    results: Sequence[xr.Dataset],
    *,
    view: str = "straightened",
    caption: str | None = None,
    label: str | None = None,
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
    settings = [setting(runs) for runs in results]
    choices = {key: list(dict.fromkeys(one[key] for one in settings)) for key in ("L", "loss", "optimizer")}
    if len({tuple(one.values()) for one in settings}) != len(settings) or len(settings) != np.prod(
        [len(values) for values in choices.values()]
    ):
        raise ValueError(
            f"a gallery needs each combination of {choices} once, got {len(settings)} portraits: "
            f"{', '.join(str(tuple(one.values())) for one in settings)}"
        )
    tables = [cells(runs) for runs in results]
    together = pd.concat(tables)
    points = [_points(runs, one) for runs, one in zip(results, settings, strict=True)]
    columns = [row for table, one in zip(tables, settings, strict=True) for row in _columns(table, one)]
    plane = Plane.of(together, columns)
    plane = replace(plane, zoom=_zoom(tables, settings, choices["loss"]))
    chosen = " && ".join(f"datum.{key} == {key}" for key, values in choices.items() if len(values) > 1) or "true"
    layers = [*_stretches(plane, chosen), *_marks(plane, pd.concat(points), chosen)]
    chart = alt.layer(*layers).properties(width=theme.PLANE, height=HEIGHT, title=plane.title)
    chart = chart.add_params(*_selects(choices), view_param(view)).properties(datasets=plane.data)
    marks = [mark for frame in points for mark in frame[frame.kind == "point"].boundary.unique()]
    note = (
        f"{(caption or 'A gallery of portraits.').rstrip()} Colour: mean over seeds of the late loss (last tenth of the steps) "
        f"over the initial loss, in {len(LEVELS) - 1} steps; dark = learned. Crosses: diverged; dots: finite, but not "
        f"converged (late loss at least {found.CONVERGED_BELOW} of the initial one); blank: not run. "
        f"{definitions(*dict.fromkeys(marks))} Points: geometric means over seeds; "
        "dashed: theory's slopes, at the measurement's height. "
        f"Straightened: η over natural η, {natural_words(*results)}. {conditions(*results)}"
    )
    table = pd.concat([boundary_table(frame) for frame in points], ignore_index=True)
    return figure(theme.finished(chart, wide=theme.WIDE), _gallery_summary(results), table, note, label)


def _zoom(
    tables: Sequence[pd.DataFrame], settings: Sequence[Mapping[str, Any]], losses: Sequence[str]
) -> tuple[str, str]:
    """The straightened plane's ends as expressions: each loss has its own, for cross-entropy reaches far higher."""
    ends: list[str] = []
    for smallest in (True, False):
        words = ""
        for loss in losses:
            mine = pd.concat([table for table, one in zip(tables, settings, strict=True) if one["loss"] == loss])
            end = (mine.eta_low / mine.natural).min() if smallest else (mine.eta_high / mine.natural).max()
            last = loss == losses[-1]
            words += f"{theme.significant(end)}" if last else f"loss == '{loss}' ? {theme.significant(end)} : "
        ends.append(f"({words})")
    return ends[0], ends[1]


def _selects(choices: Mapping[str, Sequence[Any]]) -> list[alt.Parameter]:
    """A control for each thing that differs; a fixed signal where nothing does would be no control."""
    words = {"L": "depth L", "loss": "loss", "optimizer": "optimiser"}
    names = {"loss": LOSS_NAMES, "optimizer": OPTIMIZER_NAMES}
    made = []
    for key, values in choices.items():
        if len(values) > 1:
            labels = [names.get(key, {}).get(value, str(value)) for value in values]
            bind = alt.binding_select(options=list(values), labels=labels, name=f"{words[key]} ")
            made.append(alt.param(name=key, value=values[0], bind=bind))
    return made


def _level(late: float, state: str) -> int:
    if state == "diverged":
        return _DIVERGED
    return int(np.searchsorted(LEVELS, late, side="right")) - 1


def _columns(table: pd.DataFrame, setting: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a γ: ``v`` the level of every stretch of cells, ``e`` the log10 of their borders in η, one more."""
    rows = []
    for _, column in table.groupby("gamma"):
        levels = [_level(late, state) for late, state in zip(column.late, column.state, strict=True)]
        gaps = np.diff(column.row.to_numpy()) != 1
        apart = [i + 1 for i in range(len(levels) - 1) if gaps[i] or levels[i + 1] != levels[i]]
        starts = [0, *apart]
        borders = [float(column.eta_low.iloc[i]) for i in starts] + [float(column.eta_high.iloc[-1])]
        first = column.iloc[0]
        rows.append(
            {
                **setting,
                "gamma": theme.significant(first.gamma),
                "gamma_low": theme.significant(first.gamma_low),
                "gamma_high": theme.significant(first.gamma_high),
                "natural": theme.significant(first.natural),
                "v": [levels[i] for i in starts],
                "e": [round(float(np.log10(border)), 2) for border in borders],
            }
        )
    return rows


def _stretches(plane: Plane, chosen: str) -> list[alt.Chart]:
    """The cells of the chosen portrait, and the marks on those that diverged or are dead, a quarter of a decade apart."""
    borders = [0.0, *LEVELS[1:], 1.0]
    colours = [(low + high) / 2 for low, high in pairwise(borders)]
    words = [f"{low:g} to {high:g} of the initial loss" for low, high in pairwise(LEVELS)]
    words.append(f"{LEVELS[-1]:g} or more: dead, or too slow")
    base = (
        alt.Chart(CELLS)
        .transform_filter(chosen)
        .transform_calculate(low="slice(datum.e, 0, -1)", high="slice(datum.e, 1)")
        .transform_flatten(["v", "low", "high"])
        .transform_calculate(
            eta_low="pow(10, datum.low)",
            eta_high="pow(10, datum.high)",
            late=f"datum.v < 0 ? null : {[round(colour, 3) for colour in colours]}[datum.v]",
            words=f"datum.v < 0 ? 'diverged' : {words}[datum.v]",
        )
    )
    legend = alt.Legend(
        title="late loss ÷ initial loss (dark = learned)", gradientLength=220, values=[0, 0.1, 0.3, 0.6, 1]
    )
    scale = theme.late_loss_scale()
    colour = alt.condition(
        "datum.v < 0", alt.value(theme.DIVERGED_FILL), alt.Color("late:Q", scale=scale, legend=legend)
    )
    tooltip = [
        alt.Tooltip("gamma:Q", title="γ", format=".3~g"),
        alt.Tooltip("eta_low:Q", title="η from", format=".2~g"),
        alt.Tooltip("eta_high:Q", title="η to", format=".2~g"),
        alt.Tooltip("words:N", title="late loss"),
    ]
    rect = (
        place_on_view(base, "eta_low", "eta_high")
        .mark_rect(strokeWidth=0, invalid=None)
        .encode(
            x=plane.x_cell,
            x2="gamma_high:Q",
            y=plane.y("eta_low_y"),
            y2="eta_high_y:Q",
            color=colour,
            fillOpacity=alt.condition("datum.v < 0", alt.value(0.25), alt.value(1)),
            tooltip=tooltip,
        )
    )
    cross = {"shape": "M-1,-1L1,1M1,-1L-1,1", "size": 10, "filled": False, "strokeWidth": 0.8, "stroke": theme.TEXT}
    dot = {"shape": "circle", "size": 5, "filled": True, "color": "#3a3a3a"}
    glyphs = []
    for level, mark in ((_DIVERGED, cross), (_DEAD, dot)):
        marked = base.transform_filter(f"datum.v == {level}").transform_calculate(
            at="sequence(datum.low + min(0.12, (datum.high - datum.low) / 2), datum.high, 0.25)"
        )
        marked = marked.transform_flatten(["at"]).transform_calculate(eta="pow(10, datum.at)")
        glyphs.append(
            place_on_view(marked, "eta").mark_point(**mark, opacity=0.7).encode(x=plane.x, y=plane.y("eta_y"))
        )
    return [rect, *glyphs]


def _points(runs: xr.Dataset, setting: Mapping[str, Any]) -> pd.DataFrame:
    """Boundaries (``kind`` point) and theory's lines (``kind`` line) of one portrait."""
    ds, scale = measure_boundaries(runs), natural(runs)
    rows = {str(name): boundary_rows(ds[name], scale, str(name)) for name in ds.data_vars if name in NAMES}
    lines = theory_lines(rows, runs, 7).rename(columns={"line": "boundary"}).assign(kind="line")
    frames = [*(frame.assign(kind="point") for frame in rows.values()), lines]
    frame = pd.concat([one for one in frames if not one.empty] or [lines])
    return frame.assign(**setting)


def _marks(plane: Plane, points: pd.DataFrame, chosen: str) -> list[alt.Chart]:
    keys = ["L", "loss", "optimizer", "boundary", "gamma", "eta", "natural"]
    lines = alt.Chart(alt.InlineData(values=records(points[points.kind == "line"][keys], 3))).transform_filter(chosen)
    halo = {"stroke": "#808080", "strokeWidth": 3.4, "opacity": 0.7}
    layers = []
    for style in (halo, {"stroke": theme.TEXT, "strokeWidth": 1.4, "strokeDash": [5, 3]}):
        line = place_on_view(lines, "eta").mark_line(clip=True, **style)
        layers.append(line.encode(x=plane.x, y=plane.y("eta_y"), detail="boundary:N"))
    dots = points[points.kind == "point"]
    drawn = [name for name in NAMES if name in set(dots.boundary)]
    data = alt.InlineData(values=records(dots[keys].assign(boundary=dots.boundary.map(NAMES)), 3))
    shape = alt.Shape(
        "boundary:N",
        scale=alt.Scale(domain=[NAMES[n] for n in drawn], range=[SHAPES[n] for n in drawn]),
        legend=shape_legend(theme.MEASURED),
    )
    marks = place_on_view(alt.Chart(data).transform_filter(chosen), "eta").mark_point(
        size=26, filled=False, strokeWidth=0.6, clip=True
    )
    tooltip = [
        alt.Tooltip("boundary:N", title="boundary"),
        alt.Tooltip("gamma:Q", title="γ", format=".3~g"),
        alt.Tooltip("eta:Q", title="η, mean over seeds", format=".3~g"),
    ]
    ink = {"fill": alt.value(theme.MEASURED), "stroke": alt.value("white")}
    layers.append(marks.encode(x=plane.x, y=plane.y("eta_y"), shape=shape, tooltip=tooltip, **ink))
    return layers


def _gallery_summary(results: Sequence[xr.Dataset]) -> str:
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
