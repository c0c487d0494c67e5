"""The phase portrait, and the triangle of optimizability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.boundaries import CONVERGED_BELOW, LEARNED_BELOW, RICH_WINDOWS, RICH_WINDOWS_MIN, STABLE_BELOW
from richness.plots import parts, theme
from richness.plots.captions import conditions, last_step, natural, natural_words, theory_depth
from richness.plots.cells import cells
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.plane import (
    NAMES,
    Plane,
    boundary_layers,
    boundary_shapes,
    cell_layers,
    join_rows,
    measure_boundaries,
    over_natural,
    predicted_line,
    rows_by_boundary,
    theory_lines,
    view_param,
)


@with_sources
def portrait(
    runs: xr.Dataset,
    boundaries: xr.Dataset | None = None,
    *,
    view: str = "raw",
    budget: int | None = None,
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """The phase portrait: what becomes of a run at every γ (across) and η (up), with the measured boundaries.

    Args:
        runs: a portrait, dims (gamma, eta, seed, step), with its recipe in the attributes.
        boundaries: what to mark: variables out of eta_max, eta_crit, eta_star, eta_min, each (gamma, seed). Measured
            from `runs` where not given.
        view: the plane at first sight, "raw" (log η) or "straightened" (η over natural_eta(γ, L)); a control turns it.
        budget: the steps T at which η_min is taken; default all of them.
        caption: put before the conditions of measurement, which are always there.
        label: the figure's name for references.

    Raises:
        ValueError: no cell was run, or the attributes carry no recipe.
    """
    table = cells(runs)
    marked = measure_boundaries(runs, budget) if boundaries is None else boundaries
    rows = rows_by_boundary(marked, natural(runs), marked.data_vars)
    plane = Plane.of(table, parts.records(table.drop(columns=["place"])))
    marks = boundary_layers(plane, join_rows(rows.values()), theory_lines(rows, runs))
    chart = plane.with_rows(plane.draw(*cell_layers(plane), *marks), view_param(view))
    note = _legend(caption or "The phase portrait. ", runs)
    finished = theme.finish(chart, wide=theme.WIDE)
    return figure(finished, _portrait_summary(table, rows), _portrait_table(rows, table), note, label)


def fates_in_words() -> str:
    """What the marks on cells mean, for a caption."""
    return (
        "×: diverged (more than half of the seeds); dot: finite, but not converged, "
        f"dead or too slow for T (late loss at least {CONVERGED_BELOW} of the initial one); "
        "blank: not run."
    )


def _legend(words: str, runs: xr.Dataset) -> str:
    return (
        f"{words.rstrip()} Colour: mean over seeds of the late loss (last tenth of the steps) over the initial loss. "
        f"{fates_in_words()} Points: measured boundaries, geometric mean over "
        "seeds, with bars from the lowest to the highest seed; dashed: theory's slopes, at the measurement's height. "
        f"η_max: largest η that converges (late < {CONVERGED_BELOW} of initial loss). η_min: smallest η that has "
        f"learned (late < {LEARNED_BELOW}). η_crit: largest η whose loss stays within {STABLE_BELOW} of "
        "the initial one in the first 60 steps. η*: lowest late loss. "
        f"Straightened: η over natural η, {natural_words(runs)}. {conditions(runs)}"
    )


_IN_WORDS = {
    "learned": f"learned (late loss below {LEARNED_BELOW} of the initial one)",
    "converged": f"converged without that (below {CONVERGED_BELOW})",
    "dead": "stayed finite without converging",
    "diverged": "diverged",
}


def _portrait_summary(table: pd.DataFrame, rows: Mapping[str, pd.DataFrame]) -> str:
    say, count = theme.power_of_ten, table.state.value_counts()
    fates = ", ".join(f"{int(count.get(state, 0))} {name}" for state, name in _IN_WORDS.items())
    words = (
        f"{len(table)} cells were run, γ from {say(table.gamma.min())} to {say(table.gamma.max())} and η from "
        f"{say(table.eta.min())} to {say(table.eta.max())}: {fates}."
    )
    if table.late.notna().any():
        best = table.loc[table.late.idxmin()]
        words += f" The lowest late loss is {best.late:.2g} of the initial one, at γ = {say(best.gamma)}, "
        words += f"η = {say(best.eta)}."
    top = rows.get("eta_max")
    if top is not None and not top.empty:
        first, last = top.iloc[0], top.iloc[-1]
        words += (
            f" The largest η that converges rises from {say(first.eta)} at γ = {say(first.gamma)} to {say(last.eta)} "
        )
        words += f"at γ = {say(last.gamma)}."
    return words


def _portrait_table(rows: Mapping[str, pd.DataFrame], table: pd.DataFrame) -> pd.DataFrame:
    """The boundaries, one row a γ; where none was measured, the cells."""
    columns = {NAMES[name]: one.set_index("gamma")["eta"] for name, one in rows.items() if not one.empty}
    if not columns:
        return table[["gamma", "eta", "late", "state", "seeds", "diverged"]]
    return pd.DataFrame(columns).rename_axis("γ").reset_index()


# -- the triangle ------------------------------------------------------------------------------------------------------


@with_sources
def triangle(
    runs: xr.Dataset,
    boundaries: xr.Dataset | None = None,
    *,
    budget: int | None = None,
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """The triangle of optimizability: for γ ≥ 1, between η_min(T) below and η_max above, both over γ^(2/L).

    Shaded between the two measured boundaries where both were seen; dashed, theory's slopes 1 and 2/L through them,
    drawn on to where they meet.

    Where both boundaries were seen at fewer than two γ ≥ 1 (a smoke run, say), the figure says so in words.
    """
    L, steps = theory_depth(runs), budget or last_step(runs)
    marked = measure_boundaries(runs, budget) if boundaries is None else boundaries
    rows = rows_by_boundary(marked, lambda gamma: gamma ** (2 / L), ("eta_max", "eta_min"))
    both = rows["eta_max"].merge(rows["eta_min"], on=["gamma", "natural"], suffixes=("_max", "_min"))
    both = both[both.gamma >= 0.999]
    words = (caption or "The triangle of optimizability.").rstrip()
    if len(both) < 2:
        why = f"The triangle needs η_max and η_min at two γ ≥ 1 or more; here both were seen at {len(both)}."
        return parts.say_nothing_drawn(why, runs, words, label)
    tip, lines = _meet(rows, L, float(both.gamma.max()))
    chart = _triangle_panel(rows, both, lines, tip, L)
    note = (
        f"{words} Shaded: between the smallest η that has learned after T = {steps} steps (η_min) and the largest that "
        "converges (η_max), both over γ^(2/L). Points: geometric mean over seeds, bars from the lowest to the highest "
        f"seed. Dashed: theory's slopes, 1 and 2/L, through the points. {conditions(runs)}"
    )
    table = both[["gamma", "eta_min", "eta_max"]].assign(width_decades=np.log10(both.eta_max / both.eta_min))
    return figure(theme.finish(chart, wide=theme.WIDE), _triangle_summary(table, tip), table, note, label)


def _meet(rows: Mapping[str, pd.DataFrame], L: int, seen: float) -> tuple[float, pd.DataFrame]:
    """The γ at which theory's two slopes, at the measurement's heights, meet (inf for L ≤ 2), and the lines."""

    def lines(reach: float) -> list[pd.DataFrame]:
        return [
            predicted_line(rows[name], slope, window, (1.0, reach), lambda gamma: gamma ** (2 / L), NAMES[name])
            for name, slope, window in (("eta_max", 2 / L, RICH_WINDOWS[0]), ("eta_min", 1.0, RICH_WINDOWS_MIN[0]))
        ]

    upper, lower = lines(seen)
    if upper.empty or lower.empty:
        return float("nan"), pd.concat([upper, lower])
    gap = np.log10(upper.eta.iloc[0] / lower.eta.iloc[0])  # decades between the lines at γ = 1
    tip = 10 ** (gap / (1 - 2 / L)) if L > 2 else float("inf")
    return float(tip), pd.concat(lines(min(max(tip, 1.01), 1e12) if np.isfinite(tip) else seen))


def _triangle_panel(
    rows: Mapping[str, pd.DataFrame], both: pd.DataFrame, lines: pd.DataFrame, tip: float, L: int
) -> Any:
    shaded = both.assign(top=both.eta_max / both.natural, bottom=both.eta_min / both.natural)
    straight = lines.assign(y=lines.eta / lines.natural)
    high = max(float(both.gamma.max()), tip if np.isfinite(tip) else 0) * 1.5
    axis = theme.log_axis("γ, richness", 1.0, high)
    x = alt.X("gamma:Q", scale=theme.log_scale(1 / 1.3, high), axis=axis)
    y = parts.log_y(theme.span([*shaded.bottom, *shaded.top, *straight.y], 1.6), every=1)
    area = parts.chart_of(shaded[["gamma", "bottom", "top"]]).mark_area(color=theme.RICH, opacity=0.18)
    rich = over_natural(join_rows(one[one.gamma >= 0.999] for one in rows.values()))
    named = parts.chart_of(rich.assign(boundary=rich.boundary.map(NAMES)))
    shape = boundary_shapes(rich, theme.RICH)
    return parts.panel(
        area.encode(x=x, y=y("bottom"), y2="top:Q"),
        parts.theory_line(parts.chart_of(straight), x, y("y"), detail="line:N"),
        *parts.points_with_intervals(named, x, y, "eta", "low", "high", shape=shape, fill=alt.value(theme.RICH)),
        title=f"η ÷ γ^(2/L), L = {L}",
        height=240,
    )


def _triangle_summary(table: pd.DataFrame, tip: float) -> str:
    first, last, say = table.iloc[0], table.iloc[-1], theme.power_of_ten
    words = (
        f"Between the smallest η that learns and the largest that converges lie {first.width_decades:.2f} decades at "
        f"γ = {say(first.gamma)} and {last.width_decades:.2f} at γ = {say(last.gamma)}."
    )
    if np.isfinite(tip):
        return f"{words} Theory's slopes, drawn through the points, meet at γ ≈ {say(tip)}."
    return f"{words} Theory's slopes do not meet."
