"""Boundaries and their exponents: fits in their windows, the three budgets, and the best η beside the largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis import boundaries
from richness.analysis.exponents import Exponent, find_prediction, fit_columns, fit_exponents
from richness.plots import parts, theme
from richness.plots.captions import conditions, last_step, natural, natural_words, setting
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.plane import NAMES, SHAPES, boundary_rows, over_natural, rows_by_budget, slope_through, within

_INK = {"lazy": theme.LAZY, "rich": theme.RICH}
_SPREAD = "Bars run from the lowest to the highest seed; points are geometric means over seeds."


# -- fits --------------------------------------------------------------------------------------------------------------


@with_sources
def boundary_fits(
    runs: xr.Dataset,
    name: str = "eta_max",
    exponents: Sequence[Exponent] | None = None,
    *,
    threshold: float | None = None,
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """A measured boundary with its fitted exponents beside theory's: one panel lazy (γ ≤ 1), one rich (γ ≥ 1).

    Solid: the fit, over its window only. Dashed: the predicted exponent, through the centre of the first window's
    points. The table also holds theory's slope over the very same γ, since the exact formulas bend.

    Args:
        name: eta_max (C1 and C2), eta_star (C5), eta_min (C3; rich side only, at the longest budget), under cross-entropy
            eta_crit and eta_works (C4); of optimisers that step by the sign, all but the last (C16).
        exponents: from `richness.analysis.exponents.fit_exponents`; computed from `runs` where not given.
        threshold: the boundary's, where it is to be another than its own.

    Raises:
        ValueError: no exponent of that boundary is claimed, or the threshold is not positive. Where it was not seen, the figure
            says so in words.
    """
    fits, boundary = _fits(runs, name, exponents, threshold), _boundary(runs, name, threshold)
    if not fits:
        raise ValueError(f"no exponent is claimed for {name!r}; expected one of {', '.join(NAMES)}")
    rows = boundary_rows(boundary, natural(runs), name)
    words = (caption or f"The exponents of {NAMES[name]}.").rstrip()
    if rows.empty:
        why = f"{NAMES[name]} was seen at no γ: its neighbours were not run."
        return parts.say_nothing_drawn(why, runs, words, label)
    seen = {side: here for side in fits if len(here := _of_side(rows, side)) >= 2}
    panels = [_fit_panel(here, name, side, fits[side]) for side, here in seen.items()]
    if not panels:
        why = f"{NAMES[name]} was seen at fewer than two γ on the sides with a claim."
        return parts.say_nothing_drawn(why, runs, words, label)
    note = (
        f"{words} {_definition(boundary)} {_SPREAD} Solid: least squares in the window named, with its 95 % "
        "bootstrap interval over seeds, γ and the grid; dashed: the predicted exponent, at the measurement's height. "
        f"{conditions(runs)}"
    )
    shown = [one for some in fits.values() for one in some]
    return figure(theme.finish(parts.side_by_side(panels)), _fit_summary(name, shown), _fit_table(shown), note, label)


def _fits(
    runs: xr.Dataset, name: str, known: Sequence[Exponent] | None, threshold: float | None
) -> dict[str, list[Exponent]]:
    """The exponents of each side on which one is claimed."""
    one = setting(runs)
    claimed = {side: find_prediction(name, side, one["loss"], one["optimizer"]) for side in ("lazy", "rich")}
    return {
        side: fit_exponents(runs, name, side, threshold)
        if known is None
        else [e for e in known if (e.id, e.part) == key]
        for side, key in claimed.items()
        if key is not None
    }


def _boundary(runs: xr.Dataset, name: str, threshold: float | None = None) -> xr.DataArray:
    boundary = getattr(boundaries, name)(runs, *(() if threshold is None else (threshold,)))
    return boundary.isel(budget=-1) if "budget" in boundary.dims else boundary


def _definition(boundary: xr.DataArray) -> str:
    """What the boundary is, as its own attributes say it."""
    definition = str(boundary.attrs.get("definition", ""))
    return f"{NAMES[str(boundary.name)]}: {definition}." if definition else ""


def _of_side(rows: pd.DataFrame, side: str) -> pd.DataFrame:
    return rows[rows.gamma <= 1.001] if side == "lazy" else rows[rows.gamma >= 0.999]


def _fit_panel(rows: pd.DataFrame, name: str, side: str, fits: Sequence[Exponent]) -> Any:
    """One side's points with its fits."""
    x, y = parts.gamma_x(rows.gamma), parts.log_y(theme.span([*rows.low, *rows.high], 2.5))
    words = [f"{_window_words(e)}: {theme.two_decimals(e.fit.slope)} {_interval(e)}" for e in fits if e.fit is not None]
    return parts.panel(
        _predicted_line(rows, fits, x, y),
        *_fitted_lines(fits, _INK[side], x, y),
        *parts.points_with_intervals(parts.chart_of(rows), x, y, "eta", "low", "high", size=26),
        *parts.words_at([*words, *(f"predicted: {theme.two_decimals(e.predicted)}" for e in fits[:1])], 6, 2),
        title=f"{NAMES[name]}, {side} side",
    )


def _predicted_line(rows: pd.DataFrame, fits: Sequence[Exponent], x: alt.X, y: parts.Channel) -> alt.Chart | None:
    """The predicted exponent as a dashed line, through the points of the first window that has a fit."""
    first = next((e for e in fits if e.fit is not None), None)
    inside = within(rows, first.window) if first else rows[:0]
    if first is None or inside.empty:
        return None
    ends = np.array(theme.span(rows.gamma, 1.3))
    line = pd.DataFrame({"gamma": ends, "eta": slope_through(inside, first.predicted, ends)})
    return parts.theory_line(parts.chart_of(line), x, y("eta"))


def _fitted_lines(fits: Sequence[Exponent], ink: str, x: alt.X, y: parts.Channel) -> list[alt.Chart]:
    """The fits as solid lines, each over its own window."""
    lines = []
    for fit in (one.fit for one in fits if one.fit is not None):
        ends = np.array(fit.window)
        line = pd.DataFrame({"gamma": ends, "eta": 10.0 ** (fit.intercept + fit.slope * np.log10(ends))})
        mark = parts.chart_of(line).mark_line(stroke=ink, strokeWidth=2.6, opacity=0.7, clip=True)
        lines.append(mark.encode(x=x, y=y("eta")))
    return lines


def _window_words(exponent: Exponent) -> str:
    low, high = exponent.window
    return f"γ {theme.power_of_ten(low)} to {theme.power_of_ten(high)}"


def _interval(exponent: Exponent) -> str:
    numbers = exponent.numbers
    return f"[{theme.two_decimals(numbers['low'])}, {theme.two_decimals(numbers['high'])}]"


def _fit_summary(name: str, exponents: Sequence[Exponent]) -> str:
    say = theme.two_decimals
    clauses = [
        f"for {_window_words(e)} it is {say(e.fit.slope)} {_interval(e)}, predicted {say(e.predicted)}"
        for e in exponents
        if e.fit is not None
    ]
    missing = len(exponents) - len(clauses)
    words = f"The exponent of {NAMES[name]} in γ: {'; '.join(clauses) or 'not measured'}."
    return words + (f" In {missing} of {len(exponents)} windows too few γ showed the boundary." if missing else "")


def _fit_table(exponents: Sequence[Exponent]) -> pd.DataFrame:
    return pd.DataFrame(
        {"claim": f"{e.id}, {e.part}"}
        | fit_columns(e)
        | {"number of γ": e.points, "seeds": e.fit.seeds if e.fit else 0}
        for e in exponents
    )


# -- budgets -----------------------------------------------------------------------------------------------------------


@with_sources
def budgets(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """η_min against γ on the rich side for every budget T, and collapsed as η_min·T.

    Raises:
        ValueError: fewer than two budgets. Where η_min was not seen at γ ≥ 1, the figure says so in words.
    """
    smallest = boundaries.eta_min(runs)
    if "budget" not in smallest.dims or smallest.sizes["budget"] < 2:
        raise ValueError("expected a result with two budgets or more; run the sweep with budgets=(250, 500, 1000).")
    rows = rows_by_budget(smallest, natural(runs))
    rows = rows[rows.gamma >= 0.999]
    words = (caption or "The smallest η that learns, at several budgets.").rstrip()
    if rows.empty:
        why = "η_min was seen at no γ ≥ 1: nothing learned there, or the cell below it was not run."
        return parts.say_nothing_drawn(why, runs, words, label)
    names = [f"T = {int(b)}" for b in smallest["budget"].values]
    times = rows.assign(**{field: rows[field] * rows["T"] for field in ("eta", "low", "high")})
    each = "η_min at three budgets" if len(names) == 3 else "η_min at each budget"
    panels = [_budget_panel(rows, names, each), _budget_panel(times, names, "η_min · T")]
    summary = (
        f"At the same γ ≥ 1, η_min for {', '.join(names)} scatters by {_scatter(rows):.2f} decades (standard deviation "
        f"over T); η_min·T scatters by {_scatter(times):.2f}."
    )
    note = (
        f"{words} {_definition(_boundary(runs, 'eta_min'))} Every budget is read off the same runs. {_SPREAD} Dashed: slope 1 "
        f"in γ, theory's, through the longest budget's points. {conditions(runs)}"
    )
    table = rows.pivot_table(index="gamma", columns="budget", values="eta")[names].rename_axis("γ").reset_index()
    table.columns = ["γ", *(f"η_min, {name}" for name in names)]
    return figure(theme.finish(theme.beside(*panels)), summary, table, note, label)


def _scatter(rows: pd.DataFrame) -> float:
    """Standard deviation over T of log10 η, root mean square over the γ where every budget was seen."""
    logs = np.log10(rows.pivot_table(index="gamma", columns="T", values="eta")).dropna()
    return float(np.sqrt((logs.var(axis=1, ddof=0)).mean())) if len(logs) else float("nan")


def _budget_panel(rows: pd.DataFrame, names: list[str], title: str) -> Any:
    x, y = parts.gamma_x(rows.gamma), parts.log_y(theme.span([*rows.low, *rows.high], 1.6))
    ends, longest = np.array(theme.span(rows.gamma, 1.3)), rows[rows["T"] == rows["T"].max()]
    line = pd.DataFrame({"gamma": ends, "eta": slope_through(longest, 1.0, ends)})
    shape = parts.shapes("budget", names, parts.shape_legend(theme.RICH))
    return parts.panel(
        parts.theory_line(parts.chart_of(line), x, y("eta")),
        *parts.points_with_intervals(parts.chart_of(rows), x, y, "eta", "low", "high", shape=shape),
        title=title,
    )


# -- the best η --------------------------------------------------------------------------------------------------------


@with_sources
def best_eta(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The best η beside the largest that converges, straightened: η* and η_max are not the same boundary.

    Where they were not seen at the same γ, the figure says so in words.
    """
    largest, best = (boundary_rows(_boundary(runs, name), natural(runs), name) for name in ("eta_max", "eta_star"))
    both = largest.merge(best, on="gamma", suffixes=("_max", "_star"))
    words = (caption or "The best η beside the largest that converges.").rstrip()
    if both.empty:
        return parts.say_nothing_drawn("There is no γ at which both η_max and η* were seen.", runs, words, label)
    chart = _best_panel(over_natural(pd.concat([largest, best])))
    ratio = both.eta_star / both.eta_max
    low, high = (theme.power_of_ten(both.gamma[at]) for at in (ratio.idxmin(), ratio.idxmax()))
    summary = (
        f"Over the {len(both)} γ where both were seen, η* lies at {ratio.median():.2f} of η_max in the median, from "
        f"{ratio.min():.2f} at γ = {low} to {ratio.max():.2f} at γ = {high}."
    )
    note = (
        f"{words} {_definition(_boundary(runs, 'eta_max'))} {_definition(_boundary(runs, 'eta_star'))} "
        f"Both over natural η, {natural_words(runs)}. {_SPREAD} T = {last_step(runs)}. {conditions(runs)}"
    )
    table = pd.DataFrame({"γ": both.gamma, "η_max": both.eta_max, "η*": both.eta_star, "η* ÷ η_max": ratio})
    return figure(theme.finish(chart, wide=theme.WIDE), summary, table, note, label)


def _best_panel(rows: pd.DataFrame) -> Any:
    x, y = parts.gamma_x(rows.gamma), parts.log_y(theme.span([*rows.low, *rows.high], 3))
    data, drawn = parts.chart_of(rows.assign(boundary=rows.boundary.map(NAMES))), ("eta_max", "eta_star")
    legend, symbols = parts.shape_legend(theme.MIDDLE), [SHAPES[name] for name in drawn]
    shape = parts.shapes("boundary", [NAMES[name] for name in drawn], legend, symbols)
    return parts.panel(
        parts.joining_line(data, x, y("eta"), detail="boundary:N"),
        *parts.points_with_intervals(data, x, y, "eta", "low", "high", shape=shape),
        title="η ÷ natural η(γ)",
    )
