"""The γ–η plane: boundaries as rows, the cells and marks that portraits are drawn with, and boundaries as lines against γ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis import boundaries
from richness.analysis.exponents import find_prediction
from richness.analysis.theory import predicted_exponent
from richness.plots import parts, theme
from richness.plots.captions import LOSS_NAMES, OPTIMIZER_NAMES, last_step, natural, recipe, theory_depth

HEIGHT = 300
NAMES = {"eta_works": "η_works", "eta_max": "η_max", "eta_crit": "η_crit", "eta_star": "η*", "eta_min": "η_min"}
SHAPES = {
    "eta_works": "diamond", "eta_max": "triangle-up", "eta_crit": "square", "eta_star": "circle", "eta_min": "triangle-down",
}  # fmt: skip
SPREAD = "Points: geometric means over seeds, bars from the lowest to the highest seed."
VIEWS = ("raw", "straightened")
CELLS = alt.NamedData(name="cells")
STRAIGHTENED = "view == 'straightened'"


# -- boundaries as rows ------------------------------------------------------------------------------------------------


def measure_boundaries(runs: xr.Dataset, budget: int | None = None) -> xr.Dataset:
    """The boundaries of a result, (gamma, seed); η_min at one budget (default: the whole run).

    η_works under cross-entropy only: under MSE it hardly differs from η_max.
    """
    ds = boundaries.boundaries(runs)
    if recipe(runs).get("loss", "mse") == "mse":
        ds = ds.drop_vars("eta_works", errors="ignore")
    return ds.sel(budget=budget or last_step(runs)) if "budget" in ds.dims else ds


def boundary_rows(boundary: xr.DataArray, scale: Callable[[Any], Any], name: str | None = None) -> pd.DataFrame:
    """One row for every γ at which a boundary was seen.

    Columns: ``boundary, gamma, log_gamma, eta`` (geometric mean over seeds), ``low, high`` (smallest and largest seed),
    ``seeds`` (how many saw it) and ``natural`` (`scale` at that γ).
    """
    values = np.asarray(boundary.transpose("gamma", "seed").values, dtype=float)
    name = name or str(boundary.name)
    rows = []
    for gamma, here in zip(boundary["gamma"].values.astype(float), values, strict=True):
        seen = here[np.isfinite(here)]
        if seen.size:
            numbers = [float(np.exp(np.mean(np.log(seen)))), float(seen.min()), float(seen.max()), int(seen.size)]
            rows.append([name, gamma, np.log10(gamma), *numbers, float(scale(gamma))])
    columns = ["boundary", "gamma", "log_gamma", "eta", "low", "high", "seeds", "natural"]
    return pd.DataFrame(rows, columns=columns)


def rows_by_boundary(
    ds: xr.Dataset, scale: Callable[[Any], Any], names: Iterable[Any] = tuple(NAMES)
) -> dict[str, pd.DataFrame]:
    """`boundary_rows` of each of those boundaries that the Dataset holds."""
    return {str(name): boundary_rows(ds[name], scale, str(name)) for name in names if name in NAMES and name in ds}


def rows_by_budget(smallest: xr.DataArray, scale: Callable[[Any], Any]) -> pd.DataFrame:
    """`boundary_rows` of η_min for every budget, with the columns ``T`` and ``budget`` (in words) besides."""
    frames = [
        boundary_rows(smallest.sel(budget=T, drop=True), scale, "eta_min").assign(T=int(T), budget=f"T = {int(T)}")
        for T in smallest["budget"].values
    ]
    return pd.concat(frames)


def over_natural(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with ``eta, low, high`` in units of ``natural``."""
    return rows.assign(**{field: rows[field] / rows.natural for field in ("eta", "low", "high")})


def join_rows(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Those that are not empty, one below the other; an empty one where all are."""
    every = list(frames)
    return pd.concat([frame for frame in every if not frame.empty] or every)


def within(rows: pd.DataFrame, window: tuple[float, float]) -> pd.DataFrame:
    """The rows whose γ lies in a window, its ends included."""
    return rows[(rows.gamma >= window[0] * 0.999) & (rows.gamma <= window[1] * 1.001)]


def slope_through(rows: pd.DataFrame, slope: float, gammas: np.ndarray) -> np.ndarray:
    """η at those γ on the line of that slope through the rows' centre, in log η and log γ."""
    return np.asarray(10 ** (np.log10(rows.eta).mean() + slope * (np.log10(gammas) - rows.log_gamma.mean())))


def predicted_line(
    rows: pd.DataFrame,
    slope: float,
    window: tuple[float, float],
    over: tuple[float, float],
    scale: Callable[[Any], Any],
    name: str,
    count: int = 13,
) -> pd.DataFrame:
    """A line of a predicted slope, through the measured points' centre in `window`, drawn `over` a range of γ.

    Theory gives the slope; the height is the measurement's. Empty where no point lies in the window.
    """
    inside, gammas = within(rows, window), np.geomspace(*over, count)
    if inside.empty:
        return pd.DataFrame(columns=["line", "gamma", "eta", "natural"])
    etas = slope_through(inside, slope, gammas)
    return pd.DataFrame({"line": name, "gamma": gammas, "eta": etas, "natural": scale(gammas)})


_DRAWN_LINES = (("eta_max", "lazy"), ("eta_works", "lazy"), ("eta_max", "rich"), ("eta_min", "rich"))


def theory_lines(measured: Mapping[str, pd.DataFrame], runs: xr.Dataset, count: int = 13) -> pd.DataFrame:
    """Theory's slopes for the measured boundaries: η_max lazy and rich, η_min rich, under cross-entropy η_works lazy."""
    made, L, scale = recipe(runs), theory_depth(runs), natural(runs)
    low, high = float(runs["gamma"].min()), float(runs["gamma"].max())
    ends = {"lazy": (low, min(0.1, high)), "rich": (max(1.0, low), high)}
    windows = {"lazy": (low, boundaries.LAZY_WINDOWS[0][1]), "rich": boundaries.RICH_WINDOWS[0]}
    lines = [pd.DataFrame(columns=["line", "gamma", "eta", "natural"])]
    for name, side in _DRAWN_LINES:
        claimed = find_prediction(name, side, made.get("loss", "mse"), made.get("optimizer", "sgd"))
        if claimed is None or name not in measured or ends[side][0] >= ends[side][1]:
            continue
        slope = predicted_exponent(claimed[0], L, claimed[1])
        window = boundaries.RICH_WINDOWS_MIN[0] if name == "eta_min" else windows[side]
        lines.append(predicted_line(measured[name], slope, window, ends[side], scale, f"{NAMES[name]} {side}", count))
    return join_rows(lines)


# -- boundaries in words -----------------------------------------------------------------------------------------------


def definitions(*names: str) -> str:
    """What boundaries are, for a caption."""
    words = {
        "eta_max": f"η_max: largest η that converges (late loss < {boundaries.CONVERGED_BELOW} of the initial one).",
        "eta_works": f"η_works: largest η that is finite and right on more than {boundaries.WORKS_ABOVE:.0%} of held-out "
        "samples.",
        "eta_min": f"η_min: smallest η that has learned (late loss < {boundaries.LEARNED_BELOW}).",
        "eta_crit": f"η_crit: largest η whose loss stays within {boundaries.STABLE_BELOW} of the initial one for 60 steps.",
        "eta_star": "η*: lowest late loss.",
    }
    return " ".join(words[name] for name in names)


def boundary_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The boundaries of one portrait, one row a γ; ``rows`` hold its setting besides."""
    wide = rows.pivot_table(index=["L", "loss", "optimizer", "gamma"], columns="boundary", values="eta").reset_index()
    wide = wide.assign(loss=wide.loss.map(LOSS_NAMES), optimizer=wide.optimizer.map(OPTIMIZER_NAMES))
    return wide.rename(columns={**NAMES, "gamma": "γ", "optimizer": "optimiser"})


# -- the plane ---------------------------------------------------------------------------------------------------------


def view_param(view: str) -> alt.Parameter:
    """The control that turns the plane between raw log η and straightened."""
    if view not in VIEWS:
        raise ValueError(f"view is one of {', '.join(VIEWS)}; got {view!r}")
    return parts.radio("view", VIEWS, "plane", ["raw log η", "straightened"], start=view)


def view_y(
    raw: tuple[float, float], straight: tuple[float, float], zoom: tuple[str, str] | None = None
) -> parts.Channel:
    """The axis of η or of η over natural η, as the control ``view`` says: a function of the field.

    Args:
        zoom: Vega's expressions for the ends of the straightened view, in place of ``straight``.
    """
    ends = zip(zoom or map(theme.significant, straight), raw, strict=True)
    # both ends given: a domain read from data would redraw every cell whenever the chosen one changes
    domain = [alt.ExprRef(f"{STRAIGHTENED} ? {s} : {theme.significant(r)}") for s, r in ends]
    scale = alt.Scale(type="log", domain=domain, nice=False)
    axis = theme.log_axis(None, min(straight[0], raw[0]), max(straight[1], raw[1]), every=1)
    return parts.y_on(scale, axis)


def place_on_view(chart: Any, *fields: str) -> Any:
    """Fields of η as drawn: `field_y`, raw or divided by natural η."""
    return chart.transform_calculate(
        **{f"{field}_y": f"{STRAIGHTENED} ? datum.{field} / datum.natural : datum.{field}" for field in fields}
    )


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

    def x(self, field: str = "gamma") -> alt.X:
        return parts.log_x(self.gamma, "γ, richness")(field)

    def y(self, field: str) -> alt.Y:
        return view_y(self.eta, self.straight, self.zoom)(field)

    def draw(self, *layers: Any) -> alt.LayerChart:
        """The layers as one panel with the plane's title; its rows are held once, under the name that `CELLS` refers to."""
        words = f"{STRAIGHTENED} ? 'η ÷ natural η(γ), learning rate straightened' : 'η, learning rate'"
        return parts.panel(*layers, title=alt.TitleParams(text=alt.ExprRef(words)), height=HEIGHT)

    def with_rows(self, chart: Any, *controls: Any) -> Any:
        """The whole chart, with its controls and the rows of its plane."""
        return chart.add_params(*controls).properties(datasets={"cells": self.rows})


def draw_cells(plane: Plane, data: alt.Chart, diverged: str, told: Mapping[str, Any] | None = None) -> alt.Chart:
    """The cells, coloured by late loss: ``data`` has ``gamma_low`` to ``eta_high`` and ``late``.

    Args:
        diverged: the test, in Vega's words, of those that did. told: what `tooltip` tells.
    """
    title = "late loss ÷ initial loss (dark = learned)"
    legend = alt.Legend(title=title, gradientLength=220, values=[0, 0.1, 0.3, 0.6, 1])
    late = alt.Color("late:Q", scale=theme.late_loss_scale(), legend=legend)
    rects = place_on_view(data, "eta_low", "eta_high").mark_rect(strokeWidth=0, invalid=None)
    return rects.encode(
        x=plane.x("gamma_low"),
        x2="gamma_high:Q",
        y=plane.y("eta_low_y"),
        y2="eta_high_y:Q",
        color=alt.condition(diverged, alt.value(theme.DIVERGED_FILL), late),
        fillOpacity=alt.condition(diverged, alt.value(0.25), alt.value(1)),
        **({"tooltip": parts.tooltip(told)} if told else {}),
    )


_GLYPHS: dict[str, dict[str, Any]] = {
    "diverged": {
        "shape": "M-1,-1L1,1M1,-1L-1,1", "size": 12, "filled": False, "strokeWidth": 0.9, "stroke": theme.TEXT, "opacity": 0.6,
    },
    "dead": {"shape": "circle", "size": 6, "filled": True, "color": "#3a3a3a", "opacity": 0.8},
}  # fmt: skip


def draw_glyphs(plane: Plane, data: alt.Chart, state: str) -> alt.Chart:
    """The mark on cells that are ``"diverged"`` (×) or ``"dead"`` (a dot), at ``eta``."""
    return place_on_view(data, "eta").mark_point(**_GLYPHS[state]).encode(x=plane.x(), y=plane.y("eta_y"))


_CELL_TOLD: dict[str, Any] = {
    "gamma": "γ", "eta": "η", "state:N": "the cell", "late": "late ÷ initial loss",
    "diverged": ("seeds diverged", ""), "seeds": ("seeds run", ""),
}  # fmt: skip


def cell_layers(plane: Plane, told: bool = True) -> list[alt.Chart]:
    """One rectangle a cell, and the marks on them, which in the raw view's thin cells stand on every third of a stretch."""
    fates = [
        draw_glyphs(
            plane,
            alt.Chart(CELLS).transform_filter(f"datum.state == '{state}' && ({STRAIGHTENED} || datum.hatch)"),
            state,
        )
        for state in _GLYPHS
    ]
    return [draw_cells(plane, alt.Chart(CELLS), "datum.state == 'diverged'", _CELL_TOLD if told else None), *fates]


def draw_theory(plane: Plane, data: alt.Chart) -> list[alt.Chart]:
    """Theory's lines, dashed, on a halo that shows them on any cell, by day and night."""
    halo = {"stroke": "#808080", "strokeWidth": 3.4, "opacity": 0.7}
    dashed = {"stroke": theme.TEXT, "strokeWidth": 1.4, "strokeDash": parts.DASHES}
    lines = place_on_view(data, "eta")
    return [
        lines.mark_line(clip=True, **style).encode(x=plane.x(), y=plane.y("eta_y"), detail="line:N")
        for style in (halo, dashed)
    ]


def boundary_shapes(rows: pd.DataFrame, fill: str) -> alt.Shape:
    """The symbols of the boundaries that there are, by their names in words."""
    drawn = [name for name in NAMES if name in set(rows.boundary)]
    return parts.shapes("boundary", [NAMES[n] for n in drawn], parts.shape_legend(fill), [SHAPES[n] for n in drawn])


_BOUNDARY_TOLD = {"boundary:N": "boundary", "gamma": "γ", "eta": "η, mean over seeds"}


def draw_boundaries(
    plane: Plane, data: alt.Chart, shape: alt.Shape, told: Mapping[str, str] | None = None
) -> alt.Chart:
    """Measured boundaries as points at ``eta``, in the one colour that no cell has."""
    marks = place_on_view(data, "eta").mark_point(size=32, filled=False, strokeWidth=0.7, clip=True)
    ink = {"fill": alt.value(theme.MEASURED), "stroke": alt.value("white")}
    said = parts.tooltip(_BOUNDARY_TOLD | dict(told or {}))
    return marks.encode(x=plane.x(), y=plane.y("eta_y"), shape=shape, tooltip=said, **ink)


def boundary_layers(plane: Plane, rows: pd.DataFrame, lines: pd.DataFrame) -> list[alt.Chart]:
    """Measured boundaries as points with intervals over seeds, theory's slopes dashed."""
    layers = [] if lines.empty else draw_theory(plane, parts.chart_of(lines))
    if rows.empty:
        return layers
    bars = place_on_view(parts.chart_of(rows), "low", "high").mark_rule(
        strokeWidth=1.2, color=theme.MEASURED, clip=True
    )
    named = parts.chart_of(rows.assign(boundary=rows.boundary.map(NAMES)))
    seeds = {"low": "lowest seed", "high": "highest seed"}
    return [
        *layers,
        bars.encode(x=plane.x(), y=plane.y("low_y"), y2="high_y:Q"),
        draw_boundaries(plane, named, boundary_shapes(rows, theme.MEASURED), seeds),
    ]


# -- boundaries as lines against γ -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lines:
    """What panels of points against γ share: the field that tells lines apart, its values in words, symbols and ranges."""

    field: str
    words: Mapping[str, str]
    symbols: Sequence[str]
    gammas: tuple[float, float]
    etas: tuple[float, float]

    def draw(self, rows: pd.DataFrame, theory: pd.DataFrame, title: str) -> alt.LayerChart:
        """A point with its bar for each row of ``rows``; ``theory`` (line, gamma, eta, natural) dashed."""
        x, y = parts.gamma_x(self.gammas, 1.0), parts.log_y(self.etas)
        shown = rows.assign(line=rows[self.field].map(self.words))
        straight = theory.assign(eta=theory.eta / theory.natural)[["line", "gamma", "eta"]] if len(theory) else theory
        bars = shown[shown.high > 1.001 * shown.low][["gamma", "low", "high"]]
        shape = parts.shapes("line", list(self.words.values()), parts.shape_legend(theme.MIDDLE), self.symbols)
        told = parts.tooltip({"line:N": " ", "gamma": "γ", "eta": "value"})
        marks = parts.chart_of(shown[["line", "gamma", "log_gamma", "eta"]], 3)
        return parts.panel(
            None if theory.empty else parts.theory_line(parts.chart_of(straight), x, y("eta"), detail="line:N"),
            parts.intervals(parts.chart_of(bars, 3), x, y, "low", "high"),
            parts.points(marks, x, y("eta"), 30, shape=shape, tooltip=told),
            title=title,
        )
