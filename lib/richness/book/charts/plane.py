"""The γ–η plane: the phase portrait and the triangle of optimizability."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.book.charts import theme
from richness.book.charts.cells import (
    LOSS_NAMES,
    OPTIMIZER_NAMES,
    cells,
    conditions,
    last_step,
    natural,
    natural_words,
    recipe,
    records,
    theory_depth,
)
from richness.book.figure import Figure, figure
from richness.findings import boundaries as found
from richness.findings.portraits import predicted
from richness.findings.theory import predicted_exponent

HEIGHT = 300
NAMES = {"eta_works": "η_works", "eta_max": "η_max", "eta_crit": "η_crit", "eta_star": "η*", "eta_min": "η_min"}
SHAPES = {
    "eta_works": "diamond", "eta_max": "triangle-up", "eta_crit": "square", "eta_star": "circle", "eta_min": "triangle-down",
}  # fmt: skip
VIEWS = ("raw", "straightened")
CELLS = alt.NamedData(name="cells")
STRAIGHTENED = "view == 'straightened'"


# -- boundaries as rows ------------------------------------------------------------------------------------------------


def measured(runs: xr.Dataset, budget: int | None = None) -> xr.Dataset:
    """The boundaries of a result, (gamma, seed); η_min at one budget (default: the whole run).

    η_works under cross-entropy only: under MSE it hardly differs from η_max.
    """
    ds = found.boundaries(runs)
    if recipe(runs).get("loss", "mse") == "mse":
        ds = ds.drop_vars("eta_works", errors="ignore")
    return ds.sel(budget=budget or last_step(runs)) if "budget" in ds.dims else ds


def boundary_rows(boundary: xr.DataArray, scale: Callable[[Any], Any], name: str | None = None) -> pd.DataFrame:
    """One row for every γ at which a boundary was seen.

    Columns: ``boundary, gamma, log_gamma, eta`` (geometric mean over seeds), ``low, high`` (smallest and largest seed),
    ``seeds`` (how many saw it) and ``natural`` (`scale` at that γ).
    """
    values = np.asarray(boundary.transpose("gamma", "seed").values, dtype=float)
    rows = []
    for gamma, here in zip(boundary["gamma"].values.astype(float), values, strict=True):
        seen = here[np.isfinite(here)]
        if seen.size:
            rows.append(
                {
                    "boundary": name or str(boundary.name),
                    "gamma": gamma,
                    "log_gamma": np.log10(gamma),
                    "eta": float(np.exp(np.mean(np.log(seen)))),
                    "low": float(seen.min()),
                    "high": float(seen.max()),
                    "seeds": int(seen.size),
                    "natural": float(scale(gamma)),
                }
            )
    columns = ["boundary", "gamma", "log_gamma", "eta", "low", "high", "seeds", "natural"]
    return pd.DataFrame(rows, columns=columns)


def predicted_line(
    rows: pd.DataFrame,
    slope: float,
    window: tuple[float, float],
    over: tuple[float, float],
    scale: Callable[[Any], Any],
    name: str,
    points: int = 13,
) -> pd.DataFrame:
    """A line of a predicted slope, through the measured points' centre in `window`, drawn `over` a range of γ.

    Theory gives the slope; the height is the measurement's. Empty where no point lies in the window.
    """
    inside = rows[(rows.gamma >= window[0] * 0.999) & (rows.gamma <= window[1] * 1.001)]
    if inside.empty:
        return pd.DataFrame(columns=["line", "gamma", "eta", "natural"])
    centre, height = inside.log_gamma.mean(), np.log10(inside.eta).mean()
    gammas = np.geomspace(*over, points)
    etas = 10 ** (height + slope * (np.log10(gammas) - centre))
    return pd.DataFrame({"line": name, "gamma": gammas, "eta": etas, "natural": scale(gammas)})


def definitions(*names: str) -> str:
    """What boundaries are, for a caption."""
    words = {
        "eta_max": f"η_max: largest η that converges (late loss < {found.CONVERGED_BELOW} of the initial one).",
        "eta_works": f"η_works: largest η that is finite and right on more than {found.WORKS_ABOVE:.0%} of held-out samples.",
        "eta_min": f"η_min: smallest η that has learned (late loss < {found.LEARNED_BELOW}).",
        "eta_crit": f"η_crit: largest η whose loss stays within {found.STABLE_BELOW} of the initial one for 60 steps.",
        "eta_star": "η*: lowest late loss.",
    }
    return " ".join(words[name] for name in names)


def boundary_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The boundaries of one portrait, one row a γ."""
    dots = frame[frame.kind == "point"]
    wide = dots.pivot_table(index=["L", "loss", "optimizer", "gamma"], columns="boundary", values="eta").reset_index()
    wide = wide.assign(loss=wide.loss.map(LOSS_NAMES), optimizer=wide.optimizer.map(OPTIMIZER_NAMES))
    return wide.rename(columns={**NAMES, "gamma": "γ", "optimizer": "optimiser"})


_DRAWN_LINES = (("eta_max", "lazy"), ("eta_works", "lazy"), ("eta_max", "rich"), ("eta_min", "rich"))


def theory_lines(points: Mapping[str, pd.DataFrame], runs: xr.Dataset, count: int = 13) -> pd.DataFrame:
    """Theory's slopes for the measured boundaries: η_max lazy and rich, η_min rich, under cross-entropy η_works lazy."""
    made, L, scale = recipe(runs), theory_depth(runs), natural(runs)
    low, high = float(runs["gamma"].min()), float(runs["gamma"].max())
    ends = {"lazy": (low, min(0.1, high)), "rich": (max(1.0, low), high)}
    windows = {"lazy": (low, found.LAZY_WINDOWS[0][1]), "rich": found.RICH_WINDOWS[0]}
    lines = []
    for name, side in _DRAWN_LINES:
        claimed = predicted(name, side, made.get("loss", "mse"), made.get("optimizer", "sgd"))
        if claimed is None or name not in points or ends[side][0] >= ends[side][1]:
            continue
        slope = predicted_exponent(claimed[0], L, claimed[1])
        window = found.RICH_WINDOWS_MIN[0] if name == "eta_min" else windows[side]
        lines.append(predicted_line(points[name], slope, window, ends[side], scale, f"{NAMES[name]} {side}", count))
    kept = [line for line in lines if not line.empty]
    return pd.concat(kept) if kept else pd.DataFrame(columns=["line", "gamma", "eta", "natural"])


# -- layers ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plane:
    """What the layers of one plane share: its rows, and the ranges of γ, η and η over natural η that they span.

    ``zoom``, where given, holds Vega's expressions for the ends of the straightened view.
    """

    rows: list[dict[str, Any]]
    gamma: tuple[float, float]
    eta: tuple[float, float]
    straight: tuple[float, float]
    zoom: tuple[str, str] | None = None

    @classmethod
    def of(cls, table: pd.DataFrame, rows: list[dict[str, Any]]) -> Plane:
        return cls(
            rows,
            (table.gamma_low.min(), table.gamma_high.max()),
            (table.eta_low.min(), table.eta_high.max()),
            ((table.eta_low / table.natural).min(), (table.eta_high / table.natural).max()),
        )

    @property
    def data(self) -> dict[str, list[dict[str, Any]]]:
        """The rows, held once at the top of the specification under the name that `CELLS` refers to."""
        return {"cells": self.rows}

    @property
    def x(self) -> alt.X:
        axis = theme.log_axis("γ, richness", *self.gamma)
        return alt.X("gamma:Q", scale=theme.log_scale(*self.gamma), axis=axis)

    @property
    def x_cell(self) -> alt.X:
        axis = theme.log_axis("γ, richness", *self.gamma)
        return alt.X("gamma_low:Q", scale=theme.log_scale(*self.gamma), axis=axis)

    def y(self, field: str) -> alt.Y:
        """η or η over natural η: the domain and the field follow the control ``view``."""
        ends = zip(self.zoom or map(theme.significant, self.straight), self.eta, strict=True)
        low, high = (alt.ExprRef(f"{STRAIGHTENED} ? {s} : {theme.significant(r)}") for s, r in ends)
        # both ends given: a domain read from data would redraw every cell whenever the chosen one changes
        scale = alt.Scale(type="log", domain=[low, high], nice=False)
        span = (min(self.straight[0], self.eta[0]), max(self.straight[1], self.eta[1]))
        return alt.Y(f"{field}:Q", scale=scale, axis=theme.log_axis(None, *span, every=1))

    @property
    def title(self) -> alt.TitleParams:
        words = f"{STRAIGHTENED} ? 'η ÷ natural η(γ), learning rate straightened' : 'η, learning rate'"
        return alt.TitleParams(text=alt.ExprRef(words))


def view_param(view: str) -> alt.Parameter:
    """The control that turns the plane between raw log η and straightened."""
    if view not in VIEWS:
        raise ValueError(f"view is one of {', '.join(VIEWS)}; got {view!r}")
    bind = alt.binding_radio(options=list(VIEWS), labels=["raw log η", "straightened"], name="plane ")
    return alt.param(name="view", value=view, bind=bind)


def placed(chart: Any, *fields: str) -> Any:
    """Fields of η as drawn: `field_y`, raw or divided by natural η."""
    return chart.transform_calculate(
        **{f"{field}_y": f"{STRAIGHTENED} ? datum.{field} / datum.natural : datum.{field}" for field in fields}
    )


def cell_layers(plane: Plane, tooltip: bool = True) -> tuple[alt.Chart, list[alt.Chart]]:
    """The cells, coloured by late loss, and the marks on them: × for diverged, a dot for dead."""
    legend = alt.Legend(
        title="late loss ÷ initial loss (dark = learned)", gradientLength=220, values=[0, 0.1, 0.3, 0.6, 1]
    )
    diverged = alt.condition(
        "datum.state == 'diverged'",
        alt.value(theme.DIVERGED_FILL),
        alt.Color("late:Q", scale=theme.late_loss_scale(), legend=legend),
    )
    cells_layer = (
        placed(alt.Chart(CELLS), "eta_low", "eta_high")
        .mark_rect(strokeWidth=0, invalid=None)
        .encode(
            x=plane.x_cell,
            x2="gamma_high:Q",
            y=plane.y("eta_low_y"),
            y2="eta_high_y:Q",
            color=diverged,
            fillOpacity=alt.condition("datum.state == 'diverged'", alt.value(0.25), alt.value(1)),
        )
    )
    if tooltip:
        cells_layer = cells_layer.encode(tooltip=_cell_tooltip())
    return cells_layer, [_glyphs(plane, "diverged"), _glyphs(plane, "dead")]


def _glyphs(plane: Plane, state: str) -> alt.Chart:
    """One mark a cell; in the raw view, whose cells are thin, on every third of a stretch, which reads as a hatch."""
    cross = {"shape": "M-1,-1L1,1M1,-1L-1,1", "size": 12, "filled": False, "strokeWidth": 0.9, "stroke": theme.TEXT}
    dot = {"shape": "circle", "size": 6, "filled": True, "color": "#3a3a3a"}
    marked = alt.Chart(CELLS).transform_filter(f"datum.state == '{state}' && ({STRAIGHTENED} || datum.hatch)")
    mark: dict[str, Any] = cross if state == "diverged" else dot
    opacity = 0.6 if state == "diverged" else 0.8
    return placed(marked, "eta").mark_point(**mark, opacity=opacity).encode(x=plane.x, y=plane.y("eta_y"))


def _cell_tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("gamma:Q", title="γ", format=".3~g"),
        alt.Tooltip("eta:Q", title="η", format=".3~g"),
        alt.Tooltip("state:N", title="the cell"),
        alt.Tooltip("late:Q", title="late ÷ initial loss", format=".3~g"),
        alt.Tooltip("diverged:Q", title="seeds diverged"),
        alt.Tooltip("seeds:Q", title="seeds run"),
    ]


def boundary_layers(plane: Plane, points: pd.DataFrame, lines: pd.DataFrame) -> list[alt.Chart]:
    """Measured boundaries as points with intervals over seeds, theory's slopes dashed."""
    layers: list[alt.Chart] = []
    if not lines.empty:
        theory = placed(alt.Chart(alt.InlineData(values=records(lines))), "eta")
        halo = {
            "stroke": "#808080",
            "strokeWidth": 3.4,
            "opacity": 0.7,
        }  # so that dashes show on any cell, by day and night
        for style in (halo, {"stroke": theme.TEXT, "strokeWidth": 1.4, "strokeDash": [5, 3]}):
            layers.append(theory.mark_line(clip=True, **style).encode(x=plane.x, y=plane.y("eta_y"), detail="line:N"))
    if not points.empty:
        data = alt.InlineData(values=records(points))
        bars = placed(alt.Chart(data), "low", "high").mark_rule(strokeWidth=1.2, color=theme.MEASURED, clip=True)
        layers.append(bars.encode(x=plane.x, y=plane.y("low_y"), y2="high_y:Q"))
        drawn = [name for name in NAMES if name in set(points.boundary)]
        shape = alt.Shape(
            "boundary:N",
            scale=alt.Scale(domain=[NAMES[n] for n in drawn], range=[SHAPES[n] for n in drawn]),
            legend=shape_legend(theme.MEASURED),
        )
        named = points.assign(boundary=points.boundary.map(NAMES))
        marks = placed(alt.Chart(alt.InlineData(values=records(named))), "eta")
        marks = marks.mark_point(size=32, filled=False, strokeWidth=0.7, clip=True)
        tooltip = [
            alt.Tooltip("boundary:N", title="boundary"),
            alt.Tooltip("gamma:Q", title="γ", format=".3~g"),
            alt.Tooltip("eta:Q", title="η, mean over seeds", format=".3~g"),
            alt.Tooltip("low:Q", title="lowest seed", format=".3~g"),
            alt.Tooltip("high:Q", title="highest seed", format=".3~g"),
        ]
        ink = {"fill": alt.value(theme.MEASURED), "stroke": alt.value("white")}
        layers.append(marks.encode(x=plane.x, y=plane.y("eta_y"), shape=shape, tooltip=tooltip, **ink))
    return layers


# -- the figures -------------------------------------------------------------------------------------------------------


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
    marked = measured(runs, budget) if boundaries is None else boundaries
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
    marked = measured(runs, budget) if boundaries is None else boundaries
    points = {name: boundary_rows(marked[name], _rich_scale(L), name) for name in ("eta_max", "eta_min")}
    both = points["eta_max"].merge(points["eta_min"], on=["gamma", "natural"], suffixes=("_max", "_min"))
    both = both[both.gamma >= 0.999]
    if len(both) < 2:
        why = f"The triangle needs η_max and η_min at two γ ≥ 1 or more; here both were seen at {len(both)}."
        return nothing(why, runs, caption or "The triangle of optimizability.", label)
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


def nothing(why: str, runs: xr.Dataset, words: str, label: str | None) -> Figure:
    """A figure that says in words why there is nothing to draw: a small run shows that too, and a chapter goes on."""
    text = alt.Chart(alt.InlineData(values=textwrap.wrap(why, 44))).transform_window(line="row_number()")
    marks = text.mark_text(align="left", baseline="top").encode(
        x=alt.value(0), y=alt.Y("line:O", axis=None), text="data:N"
    )
    chart = theme.finished(marks.properties(width=theme.PLANE, height={"step": 18}))
    return figure(chart, why, pd.DataFrame({"not drawn": [why]}), f"{words.rstrip()} {conditions(runs)}", label)


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


def shape_legend(fill: str) -> alt.Legend:
    return alt.Legend(
        title=None,
        orient="top",
        columns=4,
        symbolFillColor=fill,
        symbolStrokeColor="#222",
        symbolStrokeWidth=1,
        symbolSize=36,
    )


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
