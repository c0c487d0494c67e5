"""Accuracy against γ: at several budgets, at a γ that is not tuned, and at an η that is not tuned anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import theme
from richness.plots.captions import conditions
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import records, say_nothing_drawn, shape_legend
from richness.studies.performance import analysis as found

_SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
_ROWS = alt.NamedData(name="tuned")
_CHOSEN = "datum.setting == setting"
_SEEDS = "Points are means over seeds, bars run from the lowest to the highest seed."
_CHOICE = "At every γ the η of the smallest late loss (geometric mean over seeds, fresh samples), one for all seeds."


def _span(rows: pd.DataFrame, field: str, pad: float = 1.3) -> tuple[float, float]:
    return theme.span([*rows[f"{field}_low"], *rows[f"{field}_high"]], pad)


def _gamma_x(gammas: tuple[float, float]) -> alt.X:
    return alt.X("gamma:Q", scale=theme.log_scale(*gammas), axis=theme.log_axis("γ, richness", *gammas))


def _fill() -> alt.Fill:
    return alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None)


def _menu(settings: list[str]) -> alt.Parameter:
    bind = alt.binding_select(options=settings, name="network, loss, data ")
    return alt.param(name="setting", value=settings[0], bind=bind)


def _shape(names: list[str]) -> alt.Shape:
    scale = alt.Scale(domain=names, range=list(_SHAPES[: len(names)]))
    return alt.Shape("budget:N", scale=scale, legend=shape_legend(theme.MIDDLE))


# -- accuracy and loss against γ ---------------------------------------------------------------------------------------


@with_sources
def accuracy(results: Mapping[str, xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """Error on held-out samples and late loss against γ, at the best η, one line a budget; a menu chooses the setting.

    Args:
        results: what the menu calls a setting → a sweep with the probe ``accuracy``.

    Raises:
        ValueError: no results.
    """
    if not results:
        raise ValueError("expected at least one result, got none.")
    rows = pd.concat([_tuned_rows(name, runs) for name, runs in results.items()], ignore_index=True)
    names = list(dict.fromkeys(rows.sort_values("T").budget))
    panels = [
        _panel(rows, "error", "error on held-out samples, 1 − accuracy", names),
        _panel(rows, "loss", "late loss ÷ initial loss", names),
    ]
    chart = theme.beside(*panels).add_params(_menu(list(results)))
    chart = theme.finished(chart.properties(datasets={"tuned": records(rows.drop(columns="T"))}))
    first = next(iter(results.values()))
    words = (caption or "Accuracy and loss against γ.").rstrip()
    edges = int(rows.edge.sum())
    note = (
        f"{words} {_CHOICE} {_SEEDS} Colour is γ, the shape of a point its budget T. Open points ({edges} of {len(rows)}): "
        f"the best η lies next to one that was not run. Of the first setting: {conditions(first)}"
    )
    table = rows.assign(accuracy=1 - rows.error)[["setting", "T", "gamma", "eta", "accuracy", "loss"]]
    table = table.rename(columns={"gamma": "γ", "eta": "best η", "loss": "late ÷ initial loss"})
    return figure(chart, _accuracy_summary(rows), table, note, label)


def _tuned_rows(setting: str, runs: xr.Dataset) -> pd.DataFrame:
    """One row for every γ and budget; at four γ a decade or more, every second."""
    best = found.tuned(runs)
    gammas = best.gamma.values
    if gammas.size > 20:
        best = best.isel(gamma=slice(None, None, 2))
    initial, frames = float(runs.initial_loss.mean()), []
    for budget in best.budget.values:
        here = best.sel(budget=budget).where(np.isfinite(best.sel(budget=budget).eta), drop=True)
        error = 1 - here.accuracy.transpose("gamma", "seed").values.astype(float)
        loss = here.late_loss.transpose("gamma", "seed").values.astype(float) / initial
        spread = {
            f"{name}{end}": getattr(values, how)(axis=1)
            for name, values in (("error", error), ("loss", loss))
            for end, how in (("", "mean"), ("_low", "min"), ("_high", "max"))
        }
        rows = {"setting": setting, "T": int(budget), "budget": f"T = {int(budget):,}", "gamma": here.gamma.values}
        frames.append(
            pd.DataFrame(rows | {"log_gamma": np.log10(here.gamma), "eta": here.eta, "edge": here.edge} | spread)
        )
    return pd.concat(frames)


def _panel(rows: pd.DataFrame, field: str, title: str, names: list[str]) -> Any:
    x, ends = _gamma_x(theme.span(rows.gamma, 1.3)), _span(rows, field)
    scale, axis = theme.log_scale(*ends), theme.log_axis(None, *ends)

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", scale=scale, axis=axis)

    chosen = alt.Chart(_ROWS).transform_filter(_CHOSEN)
    line = chosen.mark_line(strokeWidth=1, opacity=0.4, stroke=theme.TEXT)
    bars = chosen.mark_rule(strokeWidth=1.2)
    marks = chosen.mark_point(size=34, filled=False, stroke=theme.TEXT, strokeWidth=0.6)
    tooltip = [
        alt.Tooltip("budget:N", title="budget"),
        alt.Tooltip("gamma:Q", title="γ", format=".3~g"),
        alt.Tooltip("eta:Q", title="best η", format=".3~g"),
        alt.Tooltip("error:Q", title="error", format=".4~f"),
        alt.Tooltip("loss:Q", title="late ÷ initial loss", format=".3~g"),
    ]
    opacity = alt.condition("datum.edge", alt.value(0.15), alt.value(1))
    return alt.layer(
        line.encode(x=x, y=y(field), detail="budget:N"),
        bars.encode(x=x, y=y(f"{field}_low"), y2=f"{field}_high:Q"),
        marks.encode(x=x, y=y(field), shape=_shape(names), fill=_fill(), fillOpacity=opacity, tooltip=tooltip),
    ).properties(width=theme.PLANE, height=240, title=title)


def _accuracy_summary(rows: pd.DataFrame) -> str:
    said = []
    for setting, here in rows.groupby("setting", sort=False):
        longest, shortest = (here[here["T"] == end] for end in (here["T"].max(), here["T"].min()))
        top = longest.loc[longest.error.idxmin()]
        words = f"{setting}, T = {int(top['T']):,}: accuracy is highest, {1 - top.error:.3f}, at γ = {_say(top.gamma)}"
        if len(here["T"].unique()) > 1:
            low = shortest.loc[shortest.error.idxmin()]
            words += f"; at T = {int(low['T']):,} it is highest, {1 - low.error:.3f}, at γ = {_say(low.gamma)}"
        said.append(words + ".")
    return _first(said)


def _first(said: list[str]) -> str:
    """What is said of the setting that is shown first; the menu's others have their rows in the table."""
    return said[0] + (" The other settings are in the table." if len(said) > 1 else "")


def _say(value: float) -> str:
    return theme.power_of_ten(float(value))


# -- a γ that is not tuned ---------------------------------------------------------------------------------------------


@with_sources
def tuning_gamma(results: Mapping[str, xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The best γ against the budget T, and the accuracy lost where γ is held fixed instead; a menu chooses the setting.

    Args:
        results: what the menu calls a setting → a sweep with the probe ``accuracy`` at two budgets or more.

    Raises:
        ValueError: no results.
    """
    if not results:
        raise ValueError("expected at least one result, got none.")
    tuned = {name: found.tuned(runs) for name, runs in results.items()}
    best = pd.concat([_best_rows(name, runs) for name, runs in tuned.items()], ignore_index=True)
    lost = pd.concat([_lost_rows(name, runs) for name, runs in tuned.items()], ignore_index=True)
    if lost.empty:
        why = "None of the γ to be held fixed lies in the grid."
        return say_nothing_drawn(why, next(iter(results.values())), caption or "What it costs not to tune γ.", label)
    span = theme.span(best["T"], 1.3)
    x = alt.X("T:Q", scale=theme.log_scale(*span), axis=theme.log_axis("budget T, steps", *span))
    chart = theme.beside(_best_panel(best, x), _lost_panel(lost, x)).add_params(_menu(list(results)))
    words = (caption or "What it costs not to tune γ.").rstrip()
    note = (
        f"{words} Left: the γ of the smallest late loss, each γ at its best η; bars from the lowest to the highest that "
        "single seeds choose. Right: accuracy on held-out samples at a γ held fixed less that at the best γ of that "
        "budget, both at their best η; mean over seeds of paired differences with its 95 % interval (Student's t). "
        f"Of the first setting: {conditions(next(iter(results.values())))}"
    )
    table = lost[["setting", "T", "gamma", "lost", "low", "high"]]
    table = table.rename(columns={"gamma": "γ held", "lost": "accuracy less the best γ's"})
    return figure(theme.finished(chart), _tuning_summary(best, lost), table, note, label)


def _best_rows(setting: str, best: xr.Dataset) -> pd.DataFrame:
    chosen = found.best_gamma(best)
    frame = pd.DataFrame({name: chosen[name].values for name in ("gamma", "low", "high")})
    return frame.assign(setting=setting, T=best.budget.values, log_gamma=np.log10(frame.gamma))


def _lost_rows(setting: str, best: xr.Dataset) -> pd.DataFrame:
    rows = [
        {"setting": setting, "T": int(budget), "gamma": gamma, "log_gamma": np.log10(gamma), "held": f"γ = {gamma:g}"}
        | {"lost": gap.mean, "low": gap.interval[0], "high": gap.interval[1]}
        for gamma, gaps in found.untuned(best).items()
        for budget, gap in zip(best.budget.values, gaps, strict=True)
    ]
    return pd.DataFrame(rows)


def _best_panel(best: pd.DataFrame, x: alt.X) -> Any:
    span = theme.span([*best.low, *best.high], 2)
    scale, axis = theme.log_scale(*span), theme.log_axis(None, *span, every=1)
    data = alt.Chart(alt.InlineData(values=records(best))).transform_filter(_CHOSEN)

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", scale=scale, axis=axis)

    line = data.mark_line(strokeWidth=1, opacity=0.4, stroke=theme.TEXT).encode(x=x, y=y("gamma"))
    bars = data.mark_rule(strokeWidth=1.2).encode(x=x, y=y("low"), y2="high:Q")
    marks = data.mark_point(size=40, filled=False, stroke=theme.TEXT, strokeWidth=0.6)
    return alt.layer(line, bars, marks.encode(x=x, y=y("gamma"), fill=_fill())).properties(
        width=theme.PLANE, height=220, title="the best γ"
    )


def _lost_panel(lost: pd.DataFrame, x: alt.X) -> Any:
    known = lost[np.isfinite(lost.low)]
    ends = [min(0.0, lost.lost.min(), known.low.min()), max(0.0, lost.lost.max(), known.high.max())]
    scale = alt.Scale(domain=[theme.significant(end, 3) for end in ends], nice=True, clamp=True)
    names = list(dict.fromkeys(lost.held))
    data = alt.Chart(alt.InlineData(values=records(lost))).transform_filter(_CHOSEN)

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", scale=scale, axis=alt.Axis(title=None, format="+.2~f", tickCount=6))

    colour = theme.gamma_colour()
    shape = alt.Shape(
        "held:N", scale=alt.Scale(domain=names, range=list(_SHAPES[: len(names)])), legend=shape_legend(theme.MIDDLE)
    )
    line = data.mark_line(strokeWidth=1.4).encode(x=x, y=y("lost"), color=colour, detail="held:N")
    bars = (
        data.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1.2)
        .encode(x=x, y=y("low"), y2="high:Q", color=colour)
    )
    marks = data.mark_point(size=40, filled=False, stroke=theme.TEXT, strokeWidth=0.6)
    tooltip = [
        alt.Tooltip("held:N", title="held at"),
        alt.Tooltip("T:Q", title="T"),
        alt.Tooltip("lost:Q", title="accuracy less the best γ's", format="+.4f"),
    ]
    return alt.layer(line, bars, marks.encode(x=x, y=y("lost"), shape=shape, fill=_fill(), tooltip=tooltip)).properties(
        width=theme.PLANE, height=220, title="accuracy at a fixed γ less that at the best"
    )


def _tuning_summary(best: pd.DataFrame, lost: pd.DataFrame) -> str:
    said = []
    for setting, here in best.groupby("setting", sort=False):
        short, long = here.loc[here["T"].idxmin()], here.loc[here["T"].idxmax()]
        ends = [f"{_say(end.gamma)} at T = {int(end['T']):,}" for end in (short, long)]
        words = f"{setting}: the best γ is {' and '.join(ends)}"
        held = lost[(lost.setting == setting) & (lost["T"] == long["T"])]
        if not held.empty:
            worst = held.loc[held.lost.idxmin()]
            words += f"; there, a γ held fixed costs at most {max(0.0, -worst.lost):.3f} of accuracy, at {worst.held}"
        said.append(f"{words}.")
    return _first(said)


# -- an η that is left behind ------------------------------------------------------------------------------------------


@with_sources
def leaving_eta(results: Mapping[str, xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """Error against γ along three rules for η: tuned anew, moved along the natural scale from γ = 1, or left where it was.

    Args:
        results: what the menu calls a setting → a portrait with the probe ``accuracy``.

    Raises:
        ValueError: no results.
    """
    if not results:
        raise ValueError("expected at least one result, got none.")
    frames = []
    for name, runs in results.items():
        try:
            frames.append(_left_rows(name, runs))
        except ValueError as why:
            return say_nothing_drawn(str(why), runs, caption or "What it costs to leave η behind.", label)
    rows = pd.concat(frames, ignore_index=True)
    gammas, ends = theme.span(rows.gamma, 1.3), _span(rows, "error")
    x, scale, axis = _gamma_x(gammas), theme.log_scale(*ends), theme.log_axis(None, *ends)
    data = alt.Chart(alt.InlineData(values=records(rows))).transform_filter(_CHOSEN)

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", scale=scale, axis=axis)

    names = list(dict.fromkeys(rows.rule))
    shape = alt.Shape(
        "rule:N", scale=alt.Scale(domain=names, range=list(_SHAPES[: len(names)])), legend=shape_legend(theme.MIDDLE)
    )
    tooltip = [
        alt.Tooltip("rule:N", title="η"),
        alt.Tooltip("gamma:Q", title="γ", format=".3~g"),
        alt.Tooltip("eta:Q", title="η", format=".3~g"),
        alt.Tooltip("error:Q", title="error", format=".4~f"),
        alt.Tooltip("diverged:Q", title="seeds diverged"),
    ]
    lines = [  # a layer each: a dash as an encoding would take the shapes' legend with it
        data.transform_filter(f"datum.rule == '{name}'")
        .mark_line(strokeWidth=1.4, strokeDash=dash, stroke=theme.TEXT, opacity=0.7)
        .encode(x=x, y=y("error"))
        for name, dash in zip(names, ([1, 0], [5, 3], [1, 3]), strict=True)
    ]
    chart = alt.layer(
        *lines,
        data.mark_rule(strokeWidth=1.2).encode(x=x, y=y("error_low"), y2="error_high:Q"),
        data.mark_point(size=34, filled=False, stroke=theme.TEXT, strokeWidth=0.6).encode(
            x=x, y=y("error"), shape=shape, fill=_fill(), tooltip=tooltip
        ),
    ).properties(width=theme.PLANE, height=240, title="error on held-out samples, 1 − accuracy")
    chart = theme.finished(chart.add_params(_menu(list(results))), wide=theme.WIDE)
    words = (caption or "What it costs to leave η behind.").rstrip()
    note = (
        f"{words} η is tuned at γ = 1. Then, at every other γ: tuned anew; moved along the natural scale γ²(1+γ)^(2/L−2); or "
        "left as it is. Each at the nearest η that was run; where none was, no point. A run that diverged counts as "
        f"guessing. {_SEEDS} "
        f"Of the first setting: {conditions(next(iter(results.values())))}"
    )
    table = rows.pivot_table(index=["setting", "gamma"], columns="rule", values="error", sort=False)[
        names
    ].reset_index()
    table = table.rename(columns={"gamma": "γ"} | {name: f"error, η {name}" for name in names})
    return figure(chart, _left_summary(rows), table, note, label)


def _left_rows(setting: str, runs: xr.Dataset) -> pd.DataFrame:
    moved = found.left_behind(runs)
    if moved.sizes["gamma"] > 20:
        moved = moved.isel(gamma=slice(None, None, 2))
    frames = []
    for rule in moved.rule.values:
        here = moved.sel(rule=rule)
        error = 1 - here.accuracy.transpose("gamma", "seed").values.astype(float)
        frame = pd.DataFrame(
            {"setting": setting, "rule": str(rule), "gamma": here.gamma.values, "eta": here.eta.values}
        )
        frame = frame.assign(log_gamma=np.log10(frame.gamma), diverged=here.diverged.sum("seed").values)
        frame = frame.assign(error=error.mean(axis=1), error_low=error.min(axis=1), error_high=error.max(axis=1))
        frames.append(frame[np.isfinite(frame.error)])
    return pd.concat(frames)


def _left_summary(rows: pd.DataFrame) -> str:
    said = []
    for setting, here in rows.groupby("setting", sort=False):
        wide = here.pivot_table(index="gamma", columns="rule", values="error")
        if "left" not in wide or "tuned anew" not in wide:
            continue
        cost = (wide["left"] - wide["tuned anew"]).dropna()
        along = (wide["moved along"] - wide["tuned anew"]).dropna() if "moved along" in wide else cost * 0
        near = [g for g in cost.index if 0.05 < g < 20]
        worst = cost[near].idxmax()
        said.append(
            f"{setting}: an η tuned at γ = 1 and left there costs {cost[worst]:.3f} of accuracy at γ = {_say(worst)}; "
            f"moved along the natural scale it costs {along.max():.3f} at most, at γ = {_say(along.idxmax())}."
        )
    return " ".join(said) or "There is no γ at which an η left behind was run; 0 settings to compare."
