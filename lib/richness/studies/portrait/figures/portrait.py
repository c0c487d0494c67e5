"""The phase portrait, and the triangle of optimizability."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis import boundaries as found
from richness.plots import theme
from richness.plots.captions import conditions, last_step, natural, natural_words, theory_depth
from richness.plots.cells import cells
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import records, say_nothing_drawn, shape_legend
from richness.plots.plane import (
    HEIGHT,
    NAMES,
    SHAPES,
    Plane,
    boundary_layers,
    boundary_rows,
    cell_layers,
    measure_boundaries,
    predicted_line,
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
    scale = natural(runs)
    marked = measure_boundaries(runs, budget) if boundaries is None else boundaries
    points = {str(name): boundary_rows(marked[name], scale, str(name)) for name in marked.data_vars if name in NAMES}
    lines = theory_lines(points, runs)
    plane = Plane.of(table, records(_shown(table)))
    base, glyphs = cell_layers(plane)
    drawn = [frame for frame in points.values() if not frame.empty]
    marks = boundary_layers(plane, pd.concat(drawn) if drawn else pd.DataFrame(), lines)
    chart = alt.layer(base, *glyphs, *marks).properties(width=theme.PLANE, height=HEIGHT, title=plane.title)
    chart = theme.finished(chart.add_params(view_param(view)).properties(datasets=plane.data), wide=theme.WIDE)
    words = caption or "The phase portrait. "
    return figure(chart, _portrait_summary(table, points), _portrait_table(points, table), _legend(words, runs), label)


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=["place"])


def _legend(words: str, runs: xr.Dataset) -> str:
    return (
        f"{words.rstrip()} Colour: mean over seeds of the late loss (last tenth of the steps) over the initial loss. "
        "×: diverged (more than half of the seeds); dot: finite, but not converged, "
        f"dead or too slow for T (late loss at least {found.CONVERGED_BELOW} of the initial one); "
        "blank: not run. Points: measured boundaries, geometric mean over "
        "seeds, with bars from the lowest to the highest seed; dashed: theory's slopes, at the measurement's height. "
        f"η_max: largest η that converges (late < {found.CONVERGED_BELOW} of initial loss). η_min: smallest η that has "
        f"learned (late < {found.LEARNED_BELOW}). η_crit: largest η whose loss stays within {found.STABLE_BELOW} of "
        "the initial one in the first 60 steps. η*: lowest late loss. "
        f"Straightened: η over natural η, {natural_words(runs)}. {conditions(runs)}"
    )


_IN_WORDS = {
    "learned": f"learned (late loss below {found.LEARNED_BELOW} of the initial one)",
    "converged": f"converged without that (below {found.CONVERGED_BELOW})",
    "dead": "stayed finite without converging",
    "diverged": "diverged",
}


def _portrait_summary(table: pd.DataFrame, points: Mapping[str, pd.DataFrame]) -> str:
    count = table.state.value_counts()
    say = theme.power_of_ten
    words = [
        f"{len(table)} cells were run, γ from {say(table.gamma.min())} to {say(table.gamma.max())} and η from "
        f"{say(table.eta.min())} to {say(table.eta.max())}: "
        + ", ".join(f"{int(count.get(state, 0))} {name}" for state, name in _IN_WORDS.items())
        + "."
    ]
    best = table.loc[table.late.idxmin()] if table.late.notna().any() else None
    if best is not None:
        words.append(
            f"The lowest late loss is {best.late:.2g} of the initial one, at γ = {say(best.gamma)}, "
            f"η = {say(best.eta)}."
        )
    top = points.get("eta_max")
    if top is not None and not top.empty:
        first, last = top.iloc[0], top.iloc[-1]
        words.append(
            f"The largest η that converges rises from {say(first.eta)} at γ = {say(first.gamma)} to {say(last.eta)} "
            f"at γ = {say(last.gamma)}."
        )
    return " ".join(words)


def _portrait_table(points: Mapping[str, pd.DataFrame], table: pd.DataFrame) -> pd.DataFrame:
    """The boundaries, one row a γ; where none was measured, the cells."""
    columns = {NAMES[name]: rows.set_index("gamma")["eta"] for name, rows in points.items() if not rows.empty}
    if not columns:
        return _shown(table)[["gamma", "eta", "late", "state", "seeds", "diverged"]]
    return pd.DataFrame(columns).rename_axis("γ").reset_index()


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
    points = {name: boundary_rows(marked[name], _rich_scale(L), name) for name in ("eta_max", "eta_min")}
    both = points["eta_max"].merge(points["eta_min"], on=["gamma", "natural"], suffixes=("_max", "_min"))
    both = both[both.gamma >= 0.999]
    if len(both) < 2:
        why = f"The triangle needs η_max and η_min at two γ ≥ 1 or more; here both were seen at {len(both)}."
        return say_nothing_drawn(why, runs, caption or "The triangle of optimizability.", label)
    tip, lines = _tip(points, L, float(both.gamma.max()))
    low, high = 1.0, max(float(both.gamma.max()), tip if np.isfinite(tip) else 0) * 1.5
    span = theme.span(
        [*(both.eta_min / both.natural), *(both.eta_max / both.natural), *(lines.eta / lines.natural)], 1.6
    )
    x = alt.X("gamma:Q", scale=theme.log_scale(low / 1.3, high), axis=theme.log_axis("γ, richness", low, high))
    scale = theme.log_scale(*span)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=scale, axis=theme.log_axis(None, *span, every=1))

    shaded = both.assign(top=both.eta_max / both.natural, bottom=both.eta_min / both.natural)
    area = alt.Chart(alt.InlineData(values=records(shaded[["gamma", "bottom", "top"]]))).mark_area(
        color=theme.RICH, opacity=0.18
    )
    layers: list[Any] = [area.encode(x=x, y=y("bottom"), y2="top:Q")]
    theory = alt.Chart(alt.InlineData(values=records(lines.assign(y=lines.eta / lines.natural))))
    layers.append(
        theory.mark_line(strokeDash=[5, 3], strokeWidth=1.4, stroke=theme.TEXT, clip=True).encode(
            x=x, y=y("y"), detail="line:N"
        )
    )
    layers += _interval_points(pd.concat([p[p.gamma >= 0.999] for p in points.values()]), x, y)
    chart = alt.layer(*layers).properties(width=theme.PLANE, height=240, title=f"η ÷ γ^(2/L), L = {L}")
    words = (caption or "The triangle of optimizability. ").rstrip()
    note = (
        f"{words} Shaded: between the smallest η that has learned after T = {steps} steps (η_min) and the largest that "
        "converges (η_max), both over γ^(2/L). Points: geometric mean over seeds, bars from the lowest to the highest "
        f"seed. Dashed: theory's slopes, 1 and 2/L, through the points. {conditions(runs)}"
    )
    table = both[["gamma", "eta_min", "eta_max"]].assign(width_decades=np.log10(both.eta_max / both.eta_min))
    return figure(theme.finished(chart, wide=theme.WIDE), _triangle_summary(table, tip), table, note, label)


def _rich_scale(L: int) -> Callable[[Any], Any]:
    """The asymptote of the largest convergent η, γ^(2/L), by which the triangle is straightened."""
    return lambda gamma: gamma ** (2 / L)


def _tip(points: Mapping[str, pd.DataFrame], L: int, seen: float) -> tuple[float, pd.DataFrame]:
    """The γ at which theory's two slopes, at the measurement's heights, meet (inf for L ≤ 2), and the lines."""
    rich, rich_min = found.RICH_WINDOWS[0], found.RICH_WINDOWS_MIN[0]
    slopes = (2 / L, 1.0)
    ends = [
        predicted_line(points[name], slope, window, (1.0, seen), _rich_scale(L), NAMES[name])
        for name, slope, window in zip(("eta_max", "eta_min"), slopes, (rich, rich_min), strict=True)
    ]
    if any(end.empty for end in ends):
        return float("nan"), pd.concat(ends)
    gap = np.log10(ends[0].eta.iloc[0] / ends[1].eta.iloc[0])  # decades between the lines at γ = 1
    closing = slopes[1] - slopes[0]
    tip = 10 ** (gap / closing) if closing > 1e-9 else float("inf")
    reach = (1.0, min(max(tip, 1.01), 1e12) if np.isfinite(tip) else seen)
    drawn = [
        predicted_line(points[name], slope, window, reach, _rich_scale(L), NAMES[name])
        for name, slope, window in zip(("eta_max", "eta_min"), slopes, (rich, rich_min), strict=True)
    ]
    return float(tip), pd.concat(drawn)


def _interval_points(rows: pd.DataFrame, x: alt.X, y: Any) -> list[alt.Chart]:
    """Boundary points over natural η, with bars over the seeds."""
    named = rows.assign(boundary=rows.boundary.map(NAMES), y=rows.eta / rows.natural)
    named = named.assign(y_low=rows.low / rows.natural, y_high=rows.high / rows.natural)
    data = alt.InlineData(values=records(named))
    drawn = [name for name in NAMES if name in set(rows.boundary)]
    shape = alt.Shape(
        "boundary:N",
        scale=alt.Scale(domain=[NAMES[n] for n in drawn], range=[SHAPES[n] for n in drawn]),
        legend=shape_legend(theme.RICH),
    )
    bars = alt.Chart(data).mark_rule(strokeWidth=1.2).encode(x=x, y=y("y_low"), y2="y_high:Q")
    points = alt.Chart(data).mark_point(size=34, filled=False, fill=theme.RICH, stroke=theme.TEXT, strokeWidth=0.6)
    return [bars, points.encode(x=x, y=y("y"), shape=shape)]


def _triangle_summary(table: pd.DataFrame, tip: float) -> str:
    first, last, say = table.iloc[0], table.iloc[-1], theme.power_of_ten
    words = (
        f"Between the smallest η that learns and the largest that converges lie {first.width_decades:.2f} decades at "
        f"γ = {say(first.gamma)} and {last.width_decades:.2f} at γ = {say(last.gamma)}."
    )
    if np.isfinite(tip):
        return f"{words} Theory's slopes, drawn through the points, meet at γ ≈ {say(tip)}."
    return f"{words} Theory's slopes do not meet."
