"""Boundaries and their exponents: fits in their windows, the three budgets, and the best η beside the largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis import boundaries as found
from richness.analysis.exponents import Exponent, find_prediction, fit_columns, fit_exponents
from richness.plots import theme
from richness.plots.captions import conditions, last_step, natural, natural_words, setting
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import records, say_nothing_drawn, shape_legend
from richness.plots.plane import NAMES, boundary_rows

_INK = {"lazy": theme.LAZY, "rich": theme.RICH}
_SPREAD = "Bars run from the lowest to the highest seed; points are geometric means over seeds."


# -- fits --------------------------------------------------------------------------------------------------------------


@with_sources
def boundary_fits(
    runs: xr.Dataset,
    name: str = "eta_max",
    exponents: Sequence[Exponent] | None = None,
    *,
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """A measured boundary with its fitted exponents beside theory's: one panel lazy (γ ≤ 1), one rich (γ ≥ 1).

    Solid: the fit, over its window only. Dashed: the predicted exponent, through the centre of the first window's
    points. The table also holds theory's slope over the very same γ, since the exact formulas bend.

    Args:
        name: eta_max (C1 and C2), eta_star (C5), eta_min (C3; rich side only, at the longest budget), under cross-entropy
            eta_crit and eta_works (C4); of optimisers that step by the sign, all but the last (C16).
        exponents: from `richness.studies.portrait.analysis.slopes`; computed from `runs` where not given.

    Raises:
        ValueError: no exponent of that boundary is claimed. Where it was not seen, the figure says so in words.
    """
    one = setting(runs)
    keys = {side: find_prediction(name, side, one["loss"], one["optimizer"]) for side in ("lazy", "rich")}
    keys = {side: key for side, key in keys.items() if key is not None}
    if not keys:
        raise ValueError(f"no exponent is claimed for {name!r}; expected one of {', '.join(NAMES)}")
    rows = boundary_rows(_boundary(runs, name), natural(runs), name)
    words = (caption or f"The exponents of {NAMES[name]}.").rstrip()
    if rows.empty:
        return say_nothing_drawn(f"{NAMES[name]} was seen at no γ: its neighbours were not run.", runs, words, label)
    if exponents is None:
        asked = {side: fit_exponents(runs, name, side) for side in keys}
    else:
        asked = {side: [e for e in exponents if (e.id, e.part) == key] for side, key in keys.items()}
    panels = [_panel(rows, name, side, fits) for side, fits in asked.items() if len(_side(rows, side)) > 1]
    if not panels:
        return say_nothing_drawn(
            f"{NAMES[name]} was seen at fewer than two γ on the sides with a claim.", runs, words, label
        )
    note = (
        f"{words} {_definition(runs, name)} {_SPREAD} Solid: least squares in the window named, with its 95 % "
        "bootstrap interval over seeds, γ and the grid; dashed: the predicted exponent, at the measurement's height. "
        f"{conditions(runs)}"
    )
    shown = [e for fits in asked.values() for e in fits]
    chart = theme.beside(*panels) if len(panels) > 1 else panels[0]
    return figure(theme.finished(chart), _fit_summary(name, shown), _fit_table(shown), note, label)


def _boundary(runs: xr.Dataset, name: str) -> xr.DataArray:
    boundary = getattr(found, name)(runs)
    return boundary.isel(budget=-1) if "budget" in boundary.dims else boundary


def _definition(runs: xr.Dataset, name: str) -> str:
    """What the boundary is, as its own attributes say it."""
    definition = str(_boundary(runs, name).attrs.get("definition", ""))
    return f"{NAMES[name]}: {definition}." if definition else ""


def _side(rows: pd.DataFrame, side: str) -> pd.DataFrame:
    return rows[rows.gamma <= 1.001] if side == "lazy" else rows[rows.gamma >= 0.999]


def _panel(rows: pd.DataFrame, name: str, side: str, fits: Sequence[Exponent]) -> Any:
    here = _side(rows, side)
    gammas, etas = theme.span(here.gamma, 1.3), theme.span([*here.low, *here.high], 2.5)
    x = alt.X("gamma:Q", scale=theme.log_scale(*gammas), axis=theme.log_axis("γ, richness", *gammas))
    scale, axis = theme.log_scale(*etas), theme.log_axis(None, *etas)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=scale, axis=axis)

    layers: list[Any] = [_predicted(here, fits, gammas, x, y), *_fitted(fits, side, x, y)]
    data = alt.InlineData(values=records(here))
    layers.append(alt.Chart(data).mark_rule(strokeWidth=1.2).encode(x=x, y=y("low"), y2="high:Q"))
    points = alt.Chart(data).mark_point(size=26, filled=False, stroke=theme.TEXT, strokeWidth=0.6)
    layers.append(points.encode(x=x, y=y("eta"), fill=alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None)))
    layers += _labels(fits, side)
    title = f"{NAMES[name]}, {side} side"
    kept = [layer for layer in layers if layer is not None]
    return alt.layer(*kept).properties(width=theme.PLANE, height=220, title=title)


def _predicted(here: pd.DataFrame, fits: Sequence[Exponent], span: tuple[float, float], x: alt.X, y: Any) -> Any:
    """The predicted exponent as a dashed line, through the points of the first window that has a fit."""
    first = next((e for e in fits if e.fit is not None), None)
    if first is None or first.fit is None:
        return None
    low, high = first.fit.window
    inside = here[(here.gamma >= low * 0.999) & (here.gamma <= high * 1.001)]
    if inside.empty:
        return None
    ends = np.array(span)
    height = np.log10(inside.eta).mean() + first.predicted * (np.log10(ends) - inside.log_gamma.mean())
    line = pd.DataFrame({"gamma": ends, "eta": 10.0**height})
    mark = alt.Chart(alt.InlineData(values=records(line)))
    return mark.mark_line(strokeDash=[5, 3], strokeWidth=1.4, stroke=theme.TEXT, clip=True).encode(x=x, y=y("eta"))


def _fitted(fits: Sequence[Exponent], side: str, x: alt.X, y: Any) -> list[Any]:
    """The fits as solid lines, each over its own window."""
    lines = []
    for exponent in fits:
        if exponent.fit is None:
            continue
        ends = np.array(exponent.fit.window)
        etas = 10.0 ** (exponent.fit.intercept + exponent.fit.slope * np.log10(ends))
        data = alt.InlineData(values=records(pd.DataFrame({"gamma": ends, "eta": etas})))
        mark = alt.Chart(data).mark_line(stroke=_INK[side], strokeWidth=2.6, opacity=0.7, clip=True)
        lines.append(mark.encode(x=x, y=y("eta")))
    return lines


def _labels(fits: Sequence[Exponent], side: str) -> list[Any]:
    """The numbers, in the corner that a rising line leaves free."""
    words = [(_window_words(e) + f": {_number(e.fit.slope)} {_interval(e)}", e) for e in fits if e.fit is not None]
    lines = [*(text for text, _ in words), *([f"predicted: {_number(fits[0].predicted)}"] if fits else [])]
    return [
        alt.Chart(alt.InlineData(values=[{"words": text}]))
        .mark_text(align="left", baseline="top", fontSize=11)
        .encode(x=alt.value(6), y=alt.value(2 + 15 * i), text="words:N")
        for i, text in enumerate(lines)
    ]


def _window_words(exponent: Exponent) -> str:
    low, high = exponent.fit.window if exponent.fit else exponent.asked
    return f"γ {theme.power_of_ten(low)} to {theme.power_of_ten(high)}"


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _interval(exponent: Exponent) -> str:
    if exponent.fit is None:
        return "not seen"
    low, high = exponent.fit.interval
    return f"[{_number(low)}, {_number(high)}]"


def _fit_summary(name: str, exponents: Sequence[Exponent]) -> str:
    parts = [
        f"for {_window_words(e)} it is {_number(e.fit.slope)} {_interval(e)}, predicted {_number(e.predicted)}"
        for e in exponents
        if e.fit is not None
    ]
    missing = sum(e.fit is None for e in exponents)
    words = f"The exponent of {NAMES[name]} in γ: " + ("; ".join(parts) if parts else "not measured") + "."
    return words + (f" In {missing} of {len(exponents)} windows too few γ showed the boundary." if missing else "")


def _fit_table(exponents: Sequence[Exponent]) -> pd.DataFrame:
    rows = []
    for e in exponents:
        counts = {"number of γ": e.fit.points if e.fit else 0, "seeds": e.fit.seeds if e.fit else 0}
        rows.append({"claim": f"{e.id}, {e.part}"} | fit_columns(e) | counts)
    return pd.DataFrame(rows)


# -- budgets -----------------------------------------------------------------------------------------------------------


@with_sources
def budgets(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """η_min against γ on the rich side for every budget T, and collapsed as η_min·T.

    Raises:
        ValueError: fewer than two budgets. Where η_min was not seen at γ ≥ 1, the figure says so in words.
    """
    smallest = found.eta_min(runs)
    if "budget" not in smallest.dims or smallest.sizes["budget"] < 2:
        raise ValueError("expected a result with two budgets or more; run the sweep with budgets=(250, 500, 1000).")
    scale = natural(runs)
    frames = []
    for budget in smallest["budget"].values:
        rows = boundary_rows(smallest.sel(budget=budget, drop=True), scale, "eta_min")
        frames.append(rows.assign(T=int(budget), budget=f"T = {int(budget)}"))
    rows = pd.concat(frames)
    rows = rows[rows.gamma >= 0.999]
    if rows.empty:
        why = "η_min was seen at no γ ≥ 1: nothing learned there, or the cell below it was not run."
        return say_nothing_drawn(why, runs, caption or "The smallest η that learns, at several budgets.", label)
    for field in ("eta", "low", "high"):
        rows[f"{field}_T"] = rows[field] * rows["T"]
    names = [f"T = {int(b)}" for b in smallest["budget"].values]
    panels = [
        _budget_panel(rows, names, "", "η_min at three budgets" if len(names) == 3 else "η_min at each budget"),
        _budget_panel(rows, names, "_T", "η_min · T"),
    ]
    before, after = _scatter(rows, "eta"), _scatter(rows, "eta_T")
    summary = (
        f"At the same γ ≥ 1, η_min for {', '.join(names)} scatters by {before:.2f} decades (standard deviation "
        f"over T); η_min·T scatters by {after:.2f}."
    )
    words = (caption or "The smallest η that learns, at several budgets.").rstrip()
    note = (
        f"{words} {_definition(runs, 'eta_min')} Every budget is read off the same runs. {_SPREAD} Dashed: slope 1 "
        f"in γ, theory's, through the longest budget's points. {conditions(runs)}"
    )
    table = rows.pivot_table(index="gamma", columns="budget", values="eta")[names].rename_axis("γ").reset_index()
    table.columns = ["γ", *(f"η_min, {name}" for name in names)]
    return figure(theme.finished(theme.beside(*panels)), summary, table, note, label)


def _scatter(rows: pd.DataFrame, field: str) -> float:
    """Standard deviation over T of log10, root mean square over the γ where every budget was seen."""
    logs = np.log10(rows.pivot_table(index="gamma", columns="T", values=field)).dropna()
    return float(np.sqrt((logs.var(axis=1, ddof=0)).mean())) if len(logs) else float("nan")


def _budget_panel(rows: pd.DataFrame, names: list[str], suffix: str, title: str) -> Any:
    gammas, etas = theme.span(rows.gamma, 1.3), theme.span([*rows[f"low{suffix}"], *rows[f"high{suffix}"]], 1.6)
    x = alt.X("gamma:Q", scale=theme.log_scale(*gammas), axis=theme.log_axis("γ, richness", *gammas))
    scale, axis = theme.log_scale(*etas), theme.log_axis(None, *etas)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=scale, axis=axis)

    longest = rows[rows["T"] == rows["T"].max()]
    ends = np.array(gammas)
    height = np.log10(longest[f"eta{suffix}"]).mean() + np.log10(ends) - longest.log_gamma.mean()
    line = alt.Chart(alt.InlineData(values=records(pd.DataFrame({"gamma": ends, "eta": 10.0**height}))))
    dashed = line.mark_line(strokeDash=[5, 3], strokeWidth=1.4, stroke=theme.TEXT, clip=True).encode(x=x, y=y("eta"))
    data = alt.InlineData(values=records(rows))
    bars = alt.Chart(data).mark_rule(strokeWidth=1.2).encode(x=x, y=y(f"low{suffix}"), y2=f"high{suffix}:Q")
    shape = alt.Shape(
        "budget:N",
        scale=alt.Scale(domain=names, range=["circle", "square", "triangle-up", "diamond", "cross"][: len(names)]),
        legend=shape_legend(theme.RICH),
    )
    points = alt.Chart(data).mark_point(size=34, filled=False, stroke=theme.TEXT, strokeWidth=0.6)
    fill = alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None)
    marks = points.encode(x=x, y=y(f"eta{suffix}"), shape=shape, fill=fill)
    return alt.layer(dashed, bars, marks).properties(width=theme.PLANE, height=220, title=title)


# -- the best η --------------------------------------------------------------------------------------------------------


@with_sources
def best_eta(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The best η beside the largest that converges, straightened: η* and η_max are not the same boundary.

    Where they were not seen at the same γ, the figure says so in words.
    """
    natural_scale = natural(runs)
    points = {name: boundary_rows(_boundary(runs, name), natural_scale, name) for name in ("eta_max", "eta_star")}
    both = points["eta_max"].merge(points["eta_star"], on="gamma", suffixes=("_max", "_star"))
    if both.empty:
        why = "There is no γ at which both η_max and η* were seen."
        return say_nothing_drawn(why, runs, caption or "The best η beside the largest that converges.", label)
    rows = pd.concat(points.values())
    for field in ("eta", "low", "high"):
        rows[field] = rows[field] / rows["natural"]
    rows["boundary"] = rows["boundary"].map(NAMES)
    gammas, etas = theme.span(rows.gamma, 1.3), theme.span([*rows.low, *rows.high], 3)
    x = alt.X("gamma:Q", scale=theme.log_scale(*gammas), axis=theme.log_axis("γ, richness", *gammas))
    scale, axis = theme.log_scale(*etas), theme.log_axis(None, *etas)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=scale, axis=axis)

    data = alt.InlineData(values=records(rows))
    names = [NAMES["eta_max"], NAMES["eta_star"]]
    shape = alt.Shape(
        "boundary:N",
        scale=alt.Scale(domain=names, range=["triangle-up", "circle"]),
        legend=shape_legend(theme.MIDDLE),
    )
    line = alt.Chart(data).mark_line(strokeWidth=1, opacity=0.4, stroke=theme.TEXT)
    bars = alt.Chart(data).mark_rule(strokeWidth=1.2)
    marks = alt.Chart(data).mark_point(size=34, filled=False, stroke=theme.TEXT, strokeWidth=0.6)
    fill = alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None)
    chart = alt.layer(
        line.encode(x=x, y=y("eta"), detail="boundary:N"),
        bars.encode(x=x, y=y("low"), y2="high:Q"),
        marks.encode(x=x, y=y("eta"), shape=shape, fill=fill),
    ).properties(width=theme.PLANE, height=220, title="η ÷ natural η(γ)")
    ratio = both.eta_star / both.eta_max
    low, high = both.gamma[ratio.idxmin()], both.gamma[ratio.idxmax()]
    say = theme.power_of_ten
    summary = (
        f"Over the {len(both)} γ where both were seen, η* lies at {ratio.median():.2f} of η_max in the median, from "
        f"{ratio.min():.2f} at γ = {say(low)} to {ratio.max():.2f} at γ = {say(high)}."
    )
    words = (caption or "The best η beside the largest that converges.").rstrip()
    note = (
        f"{words} {_definition(runs, 'eta_max')} {_definition(runs, 'eta_star')} "
        f"Both over natural η, {natural_words(runs)}. {_SPREAD} T = {last_step(runs)}. {conditions(runs)}"
    )
    table = pd.DataFrame({"γ": both.gamma, "η_max": both.eta_max, "η*": both.eta_star, "η* ÷ η_max": ratio})
    return figure(theme.finished(chart, wide=theme.WIDE), summary, table, note, label)
