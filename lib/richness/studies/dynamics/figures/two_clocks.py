"""The exponent in γ of the time to a level of the loss, and of the time between two levels, against the level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import parts, theme
from richness.plots.figure import Figure, figure, with_sources
from richness.runs.results import recipe_fields
from richness.studies.dynamics import clocks

_KINDS = {"until": "from the start until this level", "between": "from the level before to this one"}
_NOTE = (
    "The exponent in γ, over two decades, of the time η·t that the loss takes: circles, from the start until this level; "
    "squares, from the level before to this one. Dashed: 1, the clock of a plateau, and 2/L, that of large features. Bars: "
    "95 % bootstrap over seeds and γ. Time runs from left to right, as the loss falls."
)
_COLUMNS = {
    "name": "runs", "level": "loss ÷ initial", "kind": "time", "slope": "exponent", "low": "95 % from", "high": "95 % to",
    "points": "γ",
}  # fmt: skip
_X = parts.linear_x((1.0, 0.28), "loss ÷ initial loss", values=[1, 0.8, 0.6, 0.4])
_Y = parts.linear_y((0.0, 1.45), values=[0, 0.5, 1])


@with_sources
def clock_exponents(runs: Mapping[str, xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """How the time to a level of the loss grows with γ: one clock at first, another further down.

    Args:
        runs: name → a grid of γ, one η each.
    """
    rows = pd.concat([_rows(name, result) for name, result in runs.items()])
    words = parts.first_words(caption, "Two clocks.")
    if rows.empty:
        one = next(iter(runs.values()))
        return parts.say_nothing_drawn("Too few γ came far enough for an exponent.", one, words, label)
    depths = {name: int(recipe_fields(result)["depth"]) for name, result in runs.items()}
    panels = [_panel(group, name, depths[name]) for name, group in rows.groupby("name", sort=False)]
    table = rows[list(_COLUMNS)].rename(columns=_COLUMNS).reset_index(drop=True)
    chart = theme.finish(parts.side_by_side(panels))
    return figure(chart, _summary(rows), table, f"{words} {_NOTE} {parts.conditions_by_name(runs)}", label)


def _rows(name: str, runs: xr.Dataset) -> pd.DataFrame:
    """The exponents of one result at every level that four γ reached."""
    pairs = [(1.0, level, "until") for level in clocks.LEVELS]
    pairs += [(high, low, "between") for high, low in zip(clocks.LEVELS, clocks.LEVELS[1:], strict=False)]
    rows = []
    for high, low, kind in pairs:
        window = (float(runs.gamma[0]), float(runs.gamma[-1]))
        found = clocks.fit_between(runs, name, high, low, 1.0, window)
        if found.fit:
            rows.append({"name": name, "level": low, "kind": _KINDS[kind], "points": found.points, **found.numbers})
    return pd.DataFrame(rows)


def _panel(rows: pd.DataFrame, name: str, depth: int) -> Any:
    data = parts.chart_of(rows)
    legend = alt.Legend(title=None, orient="bottom", labelLimit=260)
    shape = parts.shapes("kind", list(_KINDS.values()), legend, ("circle", "square"))
    fill = alt.Fill(
        "kind:N", scale=alt.Scale(range=["transparent", theme.MEASURED]), sort=list(_KINDS.values()), legend=None
    )
    levels = [parts.level_rule(value, _Y) for value in dict.fromkeys((1.0, 2 / depth))]
    marks = parts.points_with_intervals(data, _X("level"), _Y, "slope", "low", "high", shape=shape, fill=fill)
    return parts.panel(*levels, *marks, title=f"{name}: exponent of time in γ", height=175)


def _summary(rows: pd.DataFrame) -> str:
    last = rows[rows.kind == _KINDS["between"]].groupby("name", sort=False).last()
    said = [f"{row.Index} {row.slope:.2f} at {row.level:g}" for row in last.itertuples()]
    first = rows[np.isclose(rows.level, clocks.EARLY)].slope
    opening = (
        f"Until 5 % of the loss is lost the exponents lie between {first.min():.2f} and {first.max():.2f}"
        if len(first)
        else ""
    )
    return f"{opening}; between the last two levels that were reached: {', '.join(said)}."
