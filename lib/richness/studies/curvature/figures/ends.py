"""The sharpness late in training against γ, in three readings, with fits and theory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis import boundaries
from richness.analysis.boundaries import Fit
from richness.analysis.exponents import Exponent, fit_columns
from richness.networks.parameterization import natural_eta
from richness.plots import parts, theme
from richness.plots.captions import LOSS_NAMES, conditions, depth, natural_words, recipe
from richness.plots.figure import Figure, figure, with_sources
from richness.studies.curvature import analysis

_SHAPES = {"small step": "triangle-down", "large step": "circle", "equal τ": "diamond"}
_INK = {"lazy": theme.LAZY, "rich": theme.RICH}
_FIRST_WINDOWS = (boundaries.LAZY_WINDOWS[0], boundaries.RICH_WINDOWS[0])
_NOTE = (
    f"Equal τ: at the small step, at τ = ηt/γ = {analysis.TAU:g}, γ ≥ 1. Points: geometric mean over seeds, bars from the "
    "lowest to the highest seed; no point where the runs had not converged or τ was not reached. Solid: least squares in the "
    "first window of each side, with its exponent. Dashed: the solvable model's λ* = L²(1+γ)^(2−2/L)/γ² at its minimum, at the "
    "height of the lazy points. Red: the stability line 2/lr_raw of each step size."
)


class _Fitted(NamedTuple):
    """One exponent of one choice of networks, in one reading, and its fit."""

    net: str
    reading: str
    side: str
    one: Exponent
    fit: Fit | None


@with_sources
def sharpness_exponents(
    *results: xr.Dataset, first: int = 0, caption: str | None = None, label: str | None = None
) -> Figure:
    """λ_max late in training against γ, in the three readings of `richness.studies.curvature.analysis`, with fits and theory.

    A control chooses among the results. Left, λ_max; right, times natural η, so that theory is level, with the stability line
    of each step size. Where no γ has a value (a smoke run, say), the figure says so in words.

    Args:
        results: as `richness.studies.curvature.analysis.read_sharpness` takes them. first: which is shown at first.
    """
    points = pd.concat([_point_rows(runs) for runs in results])
    words = parts.first_words(caption, "λ_max late in training.")
    if points.empty:
        why = "At no γ did the runs beside the compared step sizes converge: there is no end of training to compare."
        return parts.say_nothing_drawn(why, results[0], words, label)
    fits = [fit for runs in results for fit in _fits(runs)]
    names, start = list(dict.fromkeys(points.net)), name_networks(results[first])
    start = start if start in names else names[0]
    panels = theme.beside(_plain_panel(points, fits), _straight_panel(points, results))
    chart = panels.add_params(parts.menu("chosen", names, "networks", start=start))
    shown, table = [one for one in fits if one.net == start], _table(fits)
    return figure(theme.finish(chart), _summary(shown, start), table, f"{words} {_note(results)}", label)


# -- rows --------------------------------------------------------------------------------------------------------------


def name_networks(runs: xr.Dataset) -> str:
    """What tells results apart: depth, loss and task."""
    made = recipe(runs)
    return f"L = {depth(runs)}, {LOSS_NAMES.get(made['loss'], made['loss'])}, {made['task']}"


def _point_rows(runs: xr.Dataset) -> pd.DataFrame:
    """One row for every γ and reading that has a value: geometric mean over seeds, lowest and highest seed."""
    rows, L, width = [], depth(runs), int(recipe(runs)["width"])
    for reading in analysis.READINGS:
        values = analysis.read_sharpness(runs, reading)
        for gamma, here in zip(values.gamma.values.astype(float), values.values, strict=True):
            seen = here[np.isfinite(here)]
            if not seen.size:
                continue
            natural = float(natural_eta(gamma, L))
            ends = {"lam": np.exp(np.log(seen).mean()), "low": seen.min(), "high": seen.max()}
            rows.append(
                {"net": name_networks(runs), "L": L, "reading": reading, "gamma": gamma, "log_gamma": np.log10(gamma), **ends}
                | {f"{key}_s": value * natural for key, value in ends.items()}
                | {"edge": ends["lam"] * width * analysis.step_share(runs, reading) * natural / 2}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _fits(runs: xr.Dataset) -> list[_Fitted]:
    net = name_networks(runs)
    return [
        _Fitted(net, reading, "lazy" if one.asked[0] == 0 else "rich", one, one.fit)
        for reading in analysis.READINGS
        for one in analysis.fit_exponents(runs, reading)
    ]


def _first_windows(fits: Sequence[_Fitted]) -> list[tuple[_Fitted, Fit]]:
    """Those that have a fit in the first window of their side."""
    return [(one, one.fit) for one in fits if one.fit is not None and one.one.asked in _FIRST_WINDOWS]


def _heights(points: pd.DataFrame) -> list[tuple[str, int, float]]:
    """(networks, L, mean of λ_max × natural η over γ ≤ 0.01, or over all γ where none is so small)."""
    levels = []
    for net, here in points.groupby("net", sort=False):
        lazy = here[here.gamma <= 0.01]
        level = np.exp(np.log((lazy if len(lazy) else here).lam_s).mean())
        levels.append((str(net), int(here.L.iloc[0]), float(level)))
    return levels


# -- chart -------------------------------------------------------------------------------------------------------------


def _chart_of_chosen(rows: pd.DataFrame | list[dict[str, Any]]) -> alt.Chart:
    return parts.chart_of(pd.DataFrame(rows)).transform_filter("datum.net == chosen")


def _plain_panel(points: pd.DataFrame, fits: Sequence[_Fitted]) -> Any:
    x, y = parts.gamma_x(points.gamma), parts.log_y(theme.span([*points.low, *points.high], 2))
    along = np.geomspace(*theme.span(points.gamma, 1.3), 25)
    model = [
        {"net": net, "gamma": gamma, "lam": level / natural_eta(gamma, L)}
        for net, L, level in _heights(points)
        for gamma in along
    ]
    fitted = _first_windows(fits)
    return parts.panel(
        parts.theory_line(_chart_of_chosen(model), x, y("lam")),
        _fitted_lines(fitted, x, y) if fitted else None,
        *_points(points, x, y, ""),
        _slopes(fitted) if fitted else None,
        title="λ_max, in 1/lr_raw",
        height=230,
    )


def _fitted_lines(fitted: list[tuple[_Fitted, Fit]], x: alt.X, y: parts.Channel) -> alt.Chart:
    rows = [
        {"net": one.net, "fit": f"{one.reading} {one.side}", "side": one.side, "gamma": gamma,
         "lam": 10.0 ** (fit.intercept + fit.slope * np.log10(gamma))}
        for one, fit in fitted
        for gamma in fit.window
    ]  # fmt: skip
    ink = alt.Stroke("side:N", scale=alt.Scale(domain=list(_INK), range=list(_INK.values())), legend=None)
    line = _chart_of_chosen(rows).mark_line(strokeWidth=2.6, opacity=0.6, clip=True)
    return line.encode(x=x, y=y("lam"), detail="fit:N", stroke=ink)


def _slopes(fitted: list[tuple[_Fitted, Fit]]) -> alt.Chart:
    """The first windows' exponents, in the corner that a falling curve leaves free."""
    lines: dict[str, list[str]] = {}
    for one, fit in fitted:
        lines.setdefault(one.net, []).append(f"{one.side}, {one.reading}: {theme.two_decimals(fit.slope)}")
    rows = _chart_of_chosen([{"net": net, "words": "\n".join(words)} for net, words in lines.items()])
    return parts.text_at(rows, theme.PLANE - 2, 3, align="right", baseline="top", fontSize=11, lineBreak="\n")


def _points(points: pd.DataFrame, x: alt.X, y: parts.Channel, suffix: str) -> list[alt.Chart]:
    tooltip = parts.tooltip(
        {"reading:N": "reading", "gamma": "γ", "lam": "λ_max", "edge": ("λ_max ÷ (2/lr_raw)", ".2~g")}
    )
    shape = parts.shapes("reading", list(_SHAPES), parts.shape_legend(theme.RICH), list(_SHAPES.values()))
    fields = (f"{name}{suffix}" for name in ("lam", "low", "high"))
    return parts.points_with_intervals(_chart_of_chosen(points), x, y, *fields, shape=shape, tooltip=tooltip)


def _straight_panel(points: pd.DataFrame, results: Sequence[xr.Dataset]) -> Any:
    """Straightened: the model's level, and the stability lines."""
    spanned = [*points.low_s, *points.high_s, *(points.lam_s / points.edge)]
    x, y = parts.gamma_x(points.gamma), parts.log_y(theme.span(spanned, 1.6))
    model = _chart_of_chosen([{"net": net, "lam_s": height} for net, _, height in _heights(points)])
    edges = [
        {"net": name_networks(runs), "words": f"2/lr_raw, {step}", "lam_s": 2 / (recipe(runs)["width"] * share)}
        for runs in results
        for step, share in _shares(runs).items()
    ]
    red = _chart_of_chosen(edges)
    names = red.mark_text(color=theme.TEXT, align="left", baseline="bottom", dy=-2, fontSize=10, clip=True)
    return parts.panel(
        parts.level_rules(model, y("lam_s")),
        parts.stability_rules(red, y("lam_s")),
        names.encode(x=alt.value(4), y=y("lam_s"), text="words:N"),
        *_points(points, x, y, "_s"),
        title="λ_max × natural η",
        height=230,
    )


# -- words -------------------------------------------------------------------------------------------------------------


def _shares(runs: xr.Dataset) -> dict[str, float]:
    return {step: analysis.step_share(runs, step) for step in ("small step", "large step")}


def _note(results: Sequence[xr.Dataset]) -> str:
    compared = {(recipe(runs)["task"], recipe(runs)["loss"]): _shares(runs).values() for runs in results}
    sizes = "; ".join(
        f"{task} under {LOSS_NAMES.get(loss, loss)}: {small:g} and {large:g}"
        for (task, loss), (small, large) in compared.items()
    )
    return (
        "λ_max: the largest eigenvalue of the Hessian of the loss as trained, raw weights, on the fixed probe set. Small and "
        f"large step: after the last step, at two shares of natural η, {natural_words(*results)} ({sizes}). {_NOTE} "
        f"{conditions(*results)}"
    )


def _summary(fits: Sequence[_Fitted], name: str) -> str:
    sides: dict[str, list[str]] = {}
    for one, fit in _first_windows(fits):
        side = f"{one.side} (predicted {theme.two_decimals(one.one.predicted)})"
        sides.setdefault(side, []).append(f"{theme.two_decimals(fit.slope)} at {one.reading}")
    if not sides:
        return f"{name}: too few γ for an exponent of λ_max, in any of {len(fits)} windows."
    said = "; ".join(f"{side} {', '.join(slopes)}" for side, slopes in sides.items())
    return f"{name}. The exponent of λ_max in γ, first window of each side: {said}."


def _table(fits: Sequence[_Fitted]) -> pd.DataFrame:
    return pd.DataFrame(
        [{"networks": one.net, "reading": one.reading, "side": one.side} | fit_columns(one.one) for one in fits]
    )
