"""The γ–η plane: the phase portrait and the triangle of optimizability."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis import boundaries as found
from richness.analysis.exponents import find_prediction
from richness.analysis.theory import predicted_exponent
from richness.plots import theme
from richness.plots.captions import LOSS_NAMES, OPTIMIZER_NAMES, last_step, natural, recipe, theory_depth
from richness.plots.parts import records, shape_legend

HEIGHT = 300
NAMES = {"eta_works": "η_works", "eta_max": "η_max", "eta_crit": "η_crit", "eta_star": "η*", "eta_min": "η_min"}
SHAPES = {
    "eta_works": "diamond", "eta_max": "triangle-up", "eta_crit": "square", "eta_star": "circle", "eta_min": "triangle-down",
}  # fmt: skip
VIEWS = ("raw", "straightened")
CELLS = alt.NamedData(name="cells")
STRAIGHTENED = "view == 'straightened'"


# -- boundaries as rows ------------------------------------------------------------------------------------------------


def measure_boundaries(runs: xr.Dataset, budget: int | None = None) -> xr.Dataset:
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
        claimed = find_prediction(name, side, made.get("loss", "mse"), made.get("optimizer", "sgd"))
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


def place_on_view(chart: Any, *fields: str) -> Any:
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
        place_on_view(alt.Chart(CELLS), "eta_low", "eta_high")
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
    return place_on_view(marked, "eta").mark_point(**mark, opacity=opacity).encode(x=plane.x, y=plane.y("eta_y"))


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
        theory = place_on_view(alt.Chart(alt.InlineData(values=records(lines))), "eta")
        halo = {
            "stroke": "#808080",
            "strokeWidth": 3.4,
            "opacity": 0.7,
        }  # so that dashes show on any cell, by day and night
        for style in (halo, {"stroke": theme.TEXT, "strokeWidth": 1.4, "strokeDash": [5, 3]}):
            layers.append(theory.mark_line(clip=True, **style).encode(x=plane.x, y=plane.y("eta_y"), detail="line:N"))
    if not points.empty:
        data = alt.InlineData(values=records(points))
        bars = place_on_view(alt.Chart(data), "low", "high").mark_rule(strokeWidth=1.2, color=theme.MEASURED, clip=True)
        layers.append(bars.encode(x=plane.x, y=plane.y("low_y"), y2="high_y:Q"))
        drawn = [name for name in NAMES if name in set(points.boundary)]
        shape = alt.Shape(
            "boundary:N",
            scale=alt.Scale(domain=[NAMES[n] for n in drawn], range=[SHAPES[n] for n in drawn]),
            legend=shape_legend(theme.MEASURED),
        )
        named = points.assign(boundary=points.boundary.map(NAMES))
        marks = place_on_view(alt.Chart(alt.InlineData(values=records(named))), "eta")
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


# -- boundaries as lines


def join_rows(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Those that are not empty, one below the other; an empty one where all are."""
    every = list(frames)
    return pd.concat([frame for frame in every if not frame.empty] or every)


def lines_panel(
    rows: pd.DataFrame,
    field: str,
    words: Mapping[str, str],
    drawn: Sequence[str],
    gammas: tuple[float, float],
    etas: tuple[float, float],
    symbols: Sequence[str],
    theory: pd.DataFrame,
) -> Any:
    """A line of points with bars against γ for each kind of ``field``; ``theory`` (line, gamma, eta, natural) dashed."""
    x = alt.X("gamma:Q", scale=theme.log_scale(*gammas), axis=theme.log_axis("γ, richness", *gammas))
    y_scale, axis = theme.log_scale(*etas), theme.log_axis(None, *etas)

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", scale=y_scale, axis=axis)

    layers: list[Any] = []
    if not theory.empty:
        dashed = alt.Chart(
            alt.InlineData(values=records(theory.assign(eta=theory.eta / theory.natural)[["line", "gamma", "eta"]]))
        )
        mark = dashed.mark_line(strokeDash=[5, 3], strokeWidth=1.4, stroke=theme.TEXT, clip=True)
        layers.append(mark.encode(x=x, y=y("eta"), detail="line:N"))
    shown = rows.assign(line=rows[field].map(words))
    columns = ["line", "gamma", "log_gamma", "eta"]
    wide = alt.InlineData(values=records(shown[shown.high > 1.001 * shown.low][["gamma", "low", "high"]], 3))
    layers.append(alt.Chart(wide).mark_rule(strokeWidth=1.2).encode(x=x, y=y("low"), y2="high:Q"))
    scale = alt.Scale(domain=[words[name] for name in drawn], range=list(symbols)[: len(drawn)])
    shape = alt.Shape("line:N", scale=scale, legend=shape_legend(theme.MIDDLE))
    fill = alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None)
    tooltip = [
        alt.Tooltip("line:N", title=" "),
        alt.Tooltip("gamma:Q", title="γ", format=".3~g"),
        alt.Tooltip("eta:Q", title="value", format=".3~g"),
    ]
    points = alt.Chart(alt.InlineData(values=records(shown[columns], 3)))
    points = points.mark_point(size=30, filled=False, stroke=theme.TEXT, strokeWidth=0.6)
    layers.append(points.encode(x=x, y=y("eta"), shape=shape, fill=fill, tooltip=tooltip))
    return alt.layer(*layers).properties(width=theme.PLANE, height=220)
