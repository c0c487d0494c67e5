"""The (B, η) plane: where the largest η that converges lies at each batch size."""

from __future__ import annotations

from typing import Any

import pandas as pd
import xarray as xr

from richness.analysis import boundaries
from richness.plots import parts, theme
from richness.plots.captions import conditions, natural
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.plane import SPREAD, boundary_rows, definitions, join_rows


@with_sources
def compare_batches(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The largest η that converges against the batch size B, a line for each γ.

    The table has η_max, and over natural η, at every B and γ; the smallest and the largest seed besides.

    Args:
        runs: of several batch sizes, as :func:`richness.join_batches` gives them.

    Raises:
        ValueError: a result of one batch size.
    """
    if "batch" not in runs.dims:
        raise ValueError(
            f"expected a result with the dim batch, as richness.join_batches gives it, got {dict(runs.sizes)}"
        )
    words = parts.first_words(caption, "The largest η that converges at each batch size.")
    largest = boundaries.boundaries(runs).eta_max
    rows = join_rows(
        boundary_rows(largest.sel(batch=size), natural(runs)).assign(B=int(size)) for size in runs.batch.values
    )
    if rows.empty:
        return parts.say_nothing_drawn("η_max was seen at no batch size.", runs, words, label)
    note = f"{words} {definitions('eta_max')} Colour: γ. {SPREAD} {conditions(runs)}"
    return figure(theme.finish(_panel(rows)), _summary(rows), tabulate_batches(rows), note, label)


def tabulate_batches(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for every B and γ."""
    shown = rows.assign(ratio=rows.eta / rows.natural)[["B", "gamma", "eta", "low", "high", "seeds", "ratio"]]
    columns = {
        "gamma": "γ",
        "eta": "η_max",
        "low": "smallest seed",
        "high": "largest seed",
        "ratio": "η_max ÷ natural η",
    }
    return shown.rename(columns=columns).reset_index(drop=True)


def _panel(rows: pd.DataFrame) -> Any:
    data = parts.chart_of(rows[["B", "gamma", "log_gamma", "eta", "low", "high"]])
    x = parts.log_x(theme.span(rows.B, 1.3), "B, samples a step")("B")
    y = parts.log_y(theme.span([*rows.low, *rows.high], 2))
    line = parts.joining_line(data, x, y("eta"), detail="gamma:Q")
    told = parts.tooltip({"B": "B", "gamma": "γ", "eta": "η_max"})
    points = parts.points_with_intervals(data, x, y, "eta", "low", "high", tooltip=told)
    ends = parts.chart_of(rows.sort_values("B").groupby("gamma").tail(1)[["B", "gamma", "eta"]])
    names = ends.transform_calculate(words="'γ = ' + format(datum.gamma, '.3~g')").mark_text(align="right", dy=-12)
    return parts.panel(line, *points, names.encode(x=x, y=y("eta"), text="words:N"), title="η_max")


def _summary(rows: pd.DataFrame) -> str:
    """By which factor η_max grows from the smallest B to the largest, over the γ that show it at both."""
    small, large = (rows[size == rows.B].set_index("gamma").eta for size in (rows.B.min(), rows.B.max()))
    growth = (large / small).dropna()
    if len(growth) < 1 or rows.B.nunique() < 2:
        return "η_max was seen at one batch size alone."
    return (
        f"From B = {rows.B.min()} to {rows.B.max()}, η_max grows by a factor {growth.median():.2g} in the median over "
        f"{len(growth)} γ ({growth.min():.2g} to {growth.max():.2g})."
    )
