"""Across depths: exponents against L, and the triangle that closes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis import boundaries as found
from richness.analysis.exponents import Exponent, find_prediction, fit_exponents
from richness.plots import theme
from richness.plots.captions import LOSS_NAMES, OPTIMIZER_NAMES, conditions, depth, setting
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import records, say_nothing_drawn, shape_legend
from richness.plots.plane import NAMES, boundary_rows, definitions

_SPREAD = "Points: geometric means over seeds, bars from the lowest to the highest seed."
_SYMBOLS = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]


# -- exponents against depth -------------------------------------------------------------------------------------------


@with_sources
def exponents_by_depth(
    results: Sequence[xr.Dataset],
    names: Sequence[str] = ("eta_max", "eta_star"),
    *,
    apart: str = "loss",
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """Rich-side exponents of boundaries against the depth L, with intervals, beside the predicted 2/L (1/L by the sign).

    The table holds the lazy side too, and both windows of each.

    Args:
        results: portraits of several depths. names: the boundaries, a panel each.
        apart: what tells the marks apart, "loss" or "optimizer".
    """
    rows = _exponent_rows(results, names)
    rich = rows[(rows.side == "rich") & np.isfinite(rows.slope)]
    title = (caption or "Rich-side exponents against depth.").rstrip()
    if rich.empty:
        return say_nothing_drawn("No boundary was seen at four γ or more on the rich side.", results[0], title, label)
    words = {"loss": LOSS_NAMES, "optimizer": OPTIMIZER_NAMES}[apart]
    kinds = [words[kind] for kind in dict.fromkeys(rows[apart])]
    span = theme.span([*rich.low, *rich.high, *rich.predicted], 1.1)
    panels = [_depth_panel(rich[rich.boundary == name], name, apart, words, kinds, span) for name in names]
    near = (abs(rich.slope - rich.predicted) <= 0.05).sum()
    summary = (
        f"{len(rich)} exponents of {' and '.join(NAMES[name] for name in names)} on the rich side, for L = "
        f"{', '.join(str(L) for L in sorted(set(rich.L)))}: {near} of them lie within 0.05 of the predicted one. "
        f"The largest distance is {abs(rich.slope - rich.predicted).max():.2f}."
    )
    cut = " An interval that reaches zero stops at the panel's edge." if (rich.low <= 0).any() else ""
    note = (
        f"{title} {definitions(*names)} Points: least-squares slopes of log η against log γ with 95 % bootstrap intervals; "
        f"filled: nearer window, hollow: farther one (both in the table); dashed: the predicted exponent.{cut} "
        f"{conditions(*results)}"
    )
    return figure(theme.finished(theme.beside(*panels)), summary, _exponent_table(rows), note, label)


def _exponent_rows(results: Sequence[xr.Dataset], names: Sequence[str]) -> pd.DataFrame:
    """One row a portrait, boundary, side and window; only where an exponent is predicted."""
    rows = []
    for runs in results:
        one = setting(runs)
        for name in names:
            for side in ("lazy", "rich"):
                if find_prediction(name, side, one["loss"], one["optimizer"]) is None:
                    continue
                for window, exponent in enumerate(fit_exponents(runs, name, side)):
                    rows.append({**one, "boundary": name, "side": side, "window": window, **_numbers(exponent)})
    return pd.DataFrame(rows)


def _numbers(one: Exponent) -> dict[str, float]:
    low, high = one.fit.interval if one.fit else (np.nan, np.nan)
    start, stop = one.fit.window if one.fit else one.asked
    measured_slope = one.fit.slope if one.fit else np.nan
    return {
        "slope": measured_slope, "low": low, "high": high, "predicted": one.predicted, "model": one.theory,
        "start": start, "stop": stop, "points": one.fit.points if one.fit else 0,
    }  # fmt: skip


def _depth_panel(
    rows: pd.DataFrame, name: str, apart: str, words: Mapping[str, str], kinds: list[str], span: tuple[float, float]
) -> Any:
    depths = sorted(set(rows.L)) or [2, 3]
    ends = (min(depths) / 1.15, max(depths) * 1.15)
    axis = alt.Axis(title="depth L", values=depths, format="d", grid=False)
    x_scale, y_scale = theme.log_scale(*ends), theme.log_scale(*span)
    x = alt.X("x:Q", scale=x_scale, axis=axis)
    ticks = [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5, 2]

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=y_scale, axis=alt.Axis(title=None, values=ticks, format="~g"))

    layers: list[Any] = []
    for power in sorted(set(np.round(rows.predicted * rows.L, 6))):  # 2/L, or 1/L by the sign
        line = pd.DataFrame({"x": ends, "slope": [power / end for end in ends]})
        mark = alt.Chart(alt.InlineData(values=records(line))).mark_line(strokeDash=[5, 3], strokeWidth=1.4)
        layers.append(mark.encode(x=x, y=y("slope"), stroke=alt.value(theme.TEXT)))
    if not rows.empty:
        order = {kind: place for place, kind in enumerate(kinds)}
        shown = rows.assign(kind=rows[apart].map(words))
        away = shown.kind.map(order) - (len(kinds) - 1) / 2 + 0.4 * (shown.window - 0.5)
        # On a logarithmic axis an interval that reaches zero has no end: it stops at the panel's edge.
        shown = shown.assign(x=shown.L * 1.05**away, far=shown.window == 1, low=shown.low.clip(lower=span[0]))
        shown["words"] = [
            f"γ {theme.power_of_ten(a)} to {theme.power_of_ten(b)}"
            for a, b in zip(shown.start, shown.stop, strict=True)
        ]
        columns = ["x", "L", "kind", "slope", "low", "high", "predicted", "far", "words"]
        data = alt.InlineData(values=records(shown[columns]))
        bars = alt.Chart(data).mark_rule(strokeWidth=1.2, clip=True).encode(x=x, y=y("low"), y2="high:Q")
        shape = alt.Shape(
            "kind:N", scale=alt.Scale(domain=kinds, range=_SYMBOLS[: len(kinds)]), legend=shape_legend(theme.RICH)
        )
        fill = alt.condition("datum.far", alt.value("#fff"), alt.value(theme.RICH))
        tooltip = [
            alt.Tooltip("kind:N", title=apart.replace("optimizer", "optimiser")),
            alt.Tooltip("L:Q", title="depth L"),
            alt.Tooltip("words:N", title="window"),
            alt.Tooltip("slope:Q", title="exponent", format=".3f"),
            alt.Tooltip("predicted:Q", format=".3f"),
        ]
        points = alt.Chart(data).mark_point(size=44, filled=False, stroke=theme.TEXT, strokeWidth=0.8)
        layers += [bars, points.encode(x=x, y=y("slope"), shape=shape, fill=fill, tooltip=tooltip)]
    return alt.layer(*layers).properties(width=theme.PLANE, height=220, title=f"exponent of {NAMES[name]}, rich side")


def _exponent_table(rows: pd.DataFrame) -> pd.DataFrame:
    shown = rows.assign(
        boundary=rows.boundary.map(NAMES), loss=rows.loss.map(LOSS_NAMES), optimizer=rows.optimizer.map(OPTIMIZER_NAMES)
    )
    names = {
        "optimizer": "optimiser", "start": "γ from", "stop": "γ to", "slope": "exponent", "low": "95 % from",
        "high": "95 % to", "model": "theory, same γ", "points": "number of γ",
    }  # fmt: skip
    columns = [
        "L",
        "loss",
        "optimizer",
        "boundary",
        "side",
        "start",
        "stop",
        "slope",
        "low",
        "high",
        "predicted",
        "model",
        "points",
    ]
    return shown[columns].rename(columns=names)


# -- the triangle closes -----------------------------------------------------------------------------------------------


@with_sources
def closing_triangle(results: Sequence[xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The triangle at several depths and budgets: the band above γ = 1 at left, the γ at which it closes at right.

    Left, η_max and η_min(T) over γ^(2/L), the depth chosen by a control; right, the tip, seen and not drawn on, against T.
    Where nothing was seen at γ ≥ 1, the figure says so in words.
    """
    bands = pd.concat([_band(runs) for runs in results])
    title = (caption or "The triangle closes with depth and time.").rstrip()
    if bands.empty:
        return say_nothing_drawn("Neither η_max nor η_min was seen at γ ≥ 1.", results[0], title, label)
    tips = pd.concat([_tips(runs) for runs in results])
    panels = [_band_panel(bands)]
    if tips.tip.notna().any():
        panels.append(_tip_panel(tips))
    note = (
        f"{title} Left: η_max and, for every budget T, η_min, both over γ^(2/L), for the depth chosen. "
        f"{definitions('eta_max', 'eta_min')} {_SPREAD} Right: the tip, the γ beyond which no η learns within T steps, between "
        "the last γ of the grid at which one did and the next; dashed: the predicted growth T^(L/(L−2)), through the points. "
        f"A tip beyond the largest γ run has no point. {conditions(*results)}"
    )
    names = {
        "tip": "tip γ",
        "low": "lowest seed",
        "high": "highest seed",
        "last": "largest γ run",
        "seeds": "seeds that saw it",
    }
    table = tips[["L", "T", *names]].rename(columns=names)
    chart = theme.beside(*panels) if len(panels) > 1 else panels[0]
    return figure(theme.finished(chart), _closing_summary(tips), table, note, label)


def _band(runs: xr.Dataset) -> pd.DataFrame:
    """η_max, and η_min for every budget, over γ^(2/L), for γ ≥ 1."""
    L = depth(runs)

    def scale(gamma: Any) -> Any:
        return gamma ** (2 / L)

    frames = [boundary_rows(found.eta_max(runs), scale, "eta_max").assign(line="η_max", budget=0)]
    smallest = found.eta_min(runs)
    for budget in smallest.budget.values:
        rows = boundary_rows(smallest.sel(budget=budget, drop=True), scale, "eta_min")
        frames.append(rows.assign(line=f"η_min, T = {int(budget)}", budget=int(budget)))
    rows = pd.concat(frames)
    rows = rows[rows.gamma >= 0.999].assign(L=L)
    for field in ("eta", "low", "high"):
        rows[field] = rows[field] / rows.natural
    return rows


def _band_panel(rows: pd.DataFrame) -> Any:
    gammas, etas = theme.span(rows.gamma, 1.3), theme.span([*rows.low, *rows.high], 1.5)
    x = alt.X("gamma:Q", scale=theme.log_scale(*gammas), axis=theme.log_axis("γ, richness", *gammas))
    y_scale, axis = theme.log_scale(*etas), theme.log_axis(None, *etas, every=1)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=y_scale, axis=axis)

    depths = [int(L) for L in dict.fromkeys(rows.L)]
    start = 3 if 3 in depths else depths[0]
    names = list(dict.fromkeys(rows.sort_values(["boundary", "budget"]).line))
    columns = ["L", "line", "gamma", "log_gamma", "eta", "low", "high"]
    base = alt.Chart(alt.InlineData(values=records(rows[columns], 3))).transform_filter("datum.L == L")
    symbols = ["triangle-up", "circle", "square", "diamond", "cross"][: len(names)]
    shape = alt.Shape("line:N", scale=alt.Scale(domain=names, range=symbols), legend=shape_legend(theme.RICH))
    fill = alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None)
    points = base.mark_point(size=34, filled=False, stroke=theme.TEXT, strokeWidth=0.6)
    layers = [
        base.mark_line(strokeWidth=1, opacity=0.4, stroke=theme.TEXT).encode(x=x, y=y("eta"), detail="line:N"),
        base.mark_rule(strokeWidth=1.2).encode(x=x, y=y("low"), y2="high:Q"),
        points.encode(x=x, y=y("eta"), shape=shape, fill=fill),
    ]
    chart = alt.layer(*layers).properties(width=theme.PLANE, height=240, title="η ÷ γ^(2/L)")
    if len(depths) > 1:
        bind = alt.binding_select(options=depths, labels=[str(L) for L in depths], name="depth L ")
        return chart.add_params(alt.param(name="L", value=start, bind=bind))
    return chart.add_params(alt.param(name="L", value=start))


def _tips(runs: xr.Dataset) -> pd.DataFrame:
    """One row a budget: the tip's geometric mean over the seeds that saw it, and its range."""
    tip, last = found.tip(runs), float(runs.gamma.max())
    rows = []
    for budget in tip.budget.values:
        seen = tip.sel(budget=budget).values
        seen = seen[np.isfinite(seen)]
        known = seen.size > 0
        rows.append(
            {
                "L": depth(runs),
                "T": int(budget),
                "tip": float(np.exp(np.log(seen).mean())) if known else np.nan,
                "low": float(seen.min()) if known else np.nan,
                "high": float(seen.max()) if known else np.nan,
                "last": last,
                "seeds": int(seen.size),
            }
        )
    return pd.DataFrame(rows)


def _tip_panel(tips: pd.DataFrame) -> Any:
    seen = tips[tips.tip.notna()]
    gammas, steps = theme.span([*seen.low, *seen.high], 3), theme.span(tips["T"], 1.5)
    x = alt.X(
        "T:Q",
        scale=theme.log_scale(*steps),
        axis=alt.Axis(title="budget T, steps", values=sorted(set(tips["T"])), format="d"),
    )
    y_scale, axis = theme.log_scale(*gammas), theme.log_axis(None, *gammas)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=y_scale, axis=axis)

    layers: list[Any] = []
    for L, rows in seen.groupby("L"):
        if L <= 2:
            continue
        ends = np.array(steps)
        height = np.log10(rows.tip).mean() + L / (L - 2) * (np.log10(ends) - np.log10(rows["T"]).mean())
        line = alt.Chart(alt.InlineData(values=records(pd.DataFrame({"T": ends, "tip": 10.0**height}))))
        layers.append(
            line.mark_line(strokeDash=[5, 3], strokeWidth=1.4, stroke=theme.TEXT, clip=True).encode(x=x, y=y("tip"))
        )
    names = [f"L = {L}" for L in sorted(set(seen.L))]
    shown = seen.assign(line=[f"L = {L}" for L in seen.L], log_gamma=np.log10(seen.tip))
    data = alt.InlineData(values=records(shown[["line", "T", "tip", "low", "high", "log_gamma", "seeds"]]))
    inside = alt.Legend(title=None, orient="bottom-right", symbolFillColor=theme.RICH, symbolStrokeColor="#222")
    shape = alt.Shape("line:N", scale=alt.Scale(domain=names, range=_SYMBOLS[: len(names)]), legend=inside)
    fill = alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None)
    bars = alt.Chart(data).mark_rule(strokeWidth=1.2).encode(x=x, y=y("low"), y2="high:Q")
    points = alt.Chart(data).mark_point(size=44, filled=False, stroke=theme.TEXT, strokeWidth=0.6)
    layers += [bars, points.encode(x=x, y=y("tip"), shape=shape, fill=fill)]
    return alt.layer(*layers).properties(width=theme.PLANE, height=240, title="the tip: γ where the band closes")


def _closing_summary(tips: pd.DataFrame) -> str:
    say = theme.power_of_ten
    parts = []
    for L, rows in tips.groupby("L"):
        seen = ", ".join(
            f"γ ≈ {say(tip)} at T = {T}" for T, tip in zip(rows["T"], rows.tip, strict=True) if np.isfinite(tip)
        )
        parts.append(f"for L = {L} at {seen}" if seen else f"for L = {L} nowhere up to γ = {say(rows['last'].iloc[0])}")
    return f"The band closes {'; '.join(parts)}."
