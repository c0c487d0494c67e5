"""Accuracy against γ: at several budgets, at a γ that is not tuned, and at an η that is not tuned anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import parts, theme
from richness.plots.captions import conditions
from richness.plots.figure import Figure, figure, with_sources
from richness.studies.performance import analysis

Results = Mapping[str, xr.Dataset]
_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
_SEEDS = "Points are means over seeds, bars run from the lowest to the highest seed."
_CHOICE = "At every γ the η of the smallest late loss (geometric mean over seeds, fresh samples), one for all seeds."


def _first(results: Results) -> xr.Dataset:
    """The result that is shown at first.

    Raises:
        ValueError: no results.
    """
    if not results:
        raise ValueError("expected at least one result, got none.")
    return next(iter(results.values()))


def _menu(results: Results) -> alt.Parameter:
    return parts.menu("setting", list(results), "network, loss, data")


def _symbols(field: str, names: Iterable[str]) -> alt.Shape:
    return parts.shapes(field, list(dict.fromkeys(names)), parts.shape_legend(theme.MIDDLE), _SYMBOLS)


def _span(rows: pd.DataFrame, field: str) -> tuple[float, float]:
    return theme.span([*rows[f"{field}_low"], *rows[f"{field}_high"]], 1.3)


def _thin(runs: xr.Dataset) -> xr.Dataset:
    """Every second γ where there are four a decade."""
    return runs.isel(gamma=slice(None, None, 2)) if runs.sizes["gamma"] > 20 else runs


def _over_seeds(values: xr.DataArray) -> np.ndarray:
    return values.transpose("gamma", "seed").values.astype(float)


_say = theme.power_of_ten


def _say_first(said: list[str]) -> str:
    """What is said of the setting that is shown first; the menu's others have their rows in the table."""
    return said[0] + (" The other settings are in the table." if len(said) > 1 else "")


# -- accuracy and loss against γ ---------------------------------------------------------------------------------------


@with_sources
def accuracy(results: Results, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Error on held-out samples and late loss against γ, at the best η, one line a budget; a menu chooses the setting.

    Args:
        results: what the menu calls a setting → a sweep with the probe ``accuracy``.

    Raises:
        ValueError: no results.
    """
    first = _first(results)
    rows = pd.concat([row for name, runs in results.items() for row in _tuned_rows(name, runs)], ignore_index=True)
    panels = [
        _accuracy_panel(rows, "error", "error on held-out samples, 1 − accuracy"),
        _accuracy_panel(rows, "loss", "late loss ÷ initial loss"),
    ]
    chart = theme.beside(*panels).add_params(_menu(results))
    chart = theme.finish(chart.properties(datasets={"tuned": parts.records(rows.drop(columns="T"))}))
    words = (caption or "Accuracy and loss against γ.").rstrip()
    note = (
        f"{words} {_CHOICE} {_SEEDS} Colour is γ, the shape of a point its budget T. Open points ({int(rows.edge.sum())} of "
        f"{len(rows)}): the best η lies next to one that was not run. Of the first setting: {conditions(first)}"
    )
    table = rows.assign(accuracy=1 - rows.error)[["setting", "T", "gamma", "eta", "accuracy", "loss"]]
    table = table.rename(columns={"gamma": "γ", "eta": "best η", "loss": "late ÷ initial loss"})
    return figure(chart, _accuracy_summary(rows), table, note, label)


def _tuned_rows(setting: str, runs: xr.Dataset) -> Iterable[pd.DataFrame]:
    """One row for every γ and budget."""
    best, initial = _thin(analysis.tune_eta(runs)), float(runs.initial_loss.mean())
    for budget in best.budget.values:
        here = best.sel(budget=budget)
        here = here.where(np.isfinite(here.eta), drop=True)
        known = {"setting": setting, "T": int(budget), "budget": f"T = {int(budget):,}", "gamma": here.gamma.values}
        known |= {"log_gamma": np.log10(here.gamma), "eta": here.eta, "edge": here.edge}
        spread = parts.spread_of(1 - _over_seeds(here.accuracy), "error")
        yield pd.DataFrame(known | spread | parts.spread_of(_over_seeds(here.late_loss) / initial, "loss"))


def _accuracy_panel(rows: pd.DataFrame, field: str, title: str) -> Any:
    x, y = parts.gamma_x(rows.gamma), parts.log_y(_span(rows, field))
    data = parts.only_chosen(alt.Chart(alt.NamedData(name="tuned")), "setting")
    shape = _symbols("budget", rows.sort_values("T").budget)
    told = {
        "budget:N": "budget",
        "gamma": "γ",
        "eta": "best η",
        "error": ("error", ".4~f"),
        "loss": "late ÷ initial loss",
    }
    opacity = alt.condition("datum.edge", alt.value(0.15), alt.value(1))
    return parts.panel(
        parts.joining_line(data, x, y(field), detail="budget:N"),
        parts.intervals(data, x, y, f"{field}_low", f"{field}_high"),
        parts.points(data, x, y(field), shape=shape, fillOpacity=opacity, tooltip=parts.tooltip(told)),
        title=title,
        height=240,
    )


def _accuracy_summary(rows: pd.DataFrame) -> str:
    said = []
    for setting, here in rows.groupby("setting", sort=False):
        longest, shortest = (here[here["T"] == end] for end in (here["T"].max(), here["T"].min()))
        top, low = longest.loc[longest.error.idxmin()], shortest.loc[shortest.error.idxmin()]
        words = f"{setting}, T = {int(top['T']):,}: accuracy is highest, {1 - top.error:.3f}, at γ = {_say(top.gamma)}"
        if len(here["T"].unique()) > 1:
            words += f"; at T = {int(low['T']):,} it is highest, {1 - low.error:.3f}, at γ = {_say(low.gamma)}"
        said.append(words + ".")
    return _say_first(said)


# -- a γ that is not tuned ---------------------------------------------------------------------------------------------


@with_sources
def tuning_gamma(results: Results, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The best γ against the budget T, and the accuracy lost where γ is held fixed instead; a menu chooses the setting.

    Args:
        results: what the menu calls a setting → a sweep with the probe ``accuracy`` at two budgets or more.

    Raises:
        ValueError: no results.
    """
    first, words = _first(results), (caption or "What it costs not to tune γ.").rstrip()
    tuned = {name: analysis.tune_eta(runs) for name, runs in results.items()}
    best = pd.concat([_best_rows(name, runs) for name, runs in tuned.items()], ignore_index=True)
    lost = pd.concat([_lost_rows(name, runs) for name, runs in tuned.items()], ignore_index=True)
    if lost.empty:
        return parts.say_nothing_drawn("None of the γ to be held fixed lies in the grid.", first, words, label)
    x = parts.log_x(theme.span(best["T"], 1.3), "budget T, steps")("T")
    chart = theme.beside(_best_panel(best, x), _lost_panel(lost, x)).add_params(_menu(results))
    note = (
        f"{words} Left: the γ of the smallest late loss, each γ at its best η; bars from the lowest to the highest that "
        "single seeds choose. Right: accuracy on held-out samples at a γ held fixed less that at the best γ of that "
        "budget, both at their best η; mean over seeds of paired differences with its 95 % interval (Student's t). "
        f"Of the first setting: {conditions(first)}"
    )
    table = lost[["setting", "T", "gamma", "lost", "low", "high"]]
    table = table.rename(columns={"gamma": "γ held", "lost": "accuracy less the best γ's"})
    return figure(theme.finish(chart), _tuning_summary(best, lost), table, note, label)


def _best_rows(setting: str, best: xr.Dataset) -> pd.DataFrame:
    chosen = analysis.find_best_gamma(best)
    frame = pd.DataFrame({name: chosen[name].values for name in ("gamma", "low", "high")})
    return frame.assign(setting=setting, T=best.budget.values, log_gamma=np.log10(frame.gamma))


def _lost_rows(setting: str, best: xr.Dataset) -> pd.DataFrame:
    rows = [
        {"setting": setting, "T": int(budget), "gamma": gamma, "log_gamma": np.log10(gamma), "held": f"γ = {gamma:g}"}
        | {"lost": gap.value, "low": gap.interval[0], "high": gap.interval[1]}
        for gamma, gaps in analysis.compare_fixed_gammas(best).items()
        for budget, gap in zip(best.budget.values, gaps, strict=True)
    ]
    return pd.DataFrame(rows)


def _best_panel(best: pd.DataFrame, x: alt.X) -> Any:
    y, data = (
        parts.log_y(theme.span([*best.low, *best.high], 2), every=1),
        parts.only_chosen(parts.chart_of(best), "setting"),
    )
    marks = parts.points_with_intervals(data, x, y, "gamma", "low", "high", size=40)
    return parts.panel(parts.joining_line(data, x, y("gamma")), *marks, title="the best γ")


def _lost_panel(lost: pd.DataFrame, x: alt.X) -> Any:
    known = lost[np.isfinite(lost.low)]
    ends = [min(0.0, lost.lost.min(), known.low.min()), max(0.0, lost.lost.max(), known.high.max())]
    scale = alt.Scale(domain=[theme.significant(end, 3) for end in ends], nice=True, clamp=True)
    y = parts.y_on(scale, alt.Axis(title=None, format="+.2~f", tickCount=6))
    data, colour = parts.only_chosen(parts.chart_of(lost), "setting"), theme.gamma_colour()
    told = parts.tooltip({"held:N": "held at", "T": ("T", ""), "lost": ("accuracy less the best γ's", "+.4f")})
    return parts.panel(
        data.mark_line(strokeWidth=1.4).encode(x=x, y=y("lost"), color=colour, detail="held:N"),
        parts.intervals(data.transform_filter("isValid(datum.low)"), x, y, "low", "high", color=colour),
        parts.points(data, x, y("lost"), 40, shape=_symbols("held", lost.held), tooltip=told),
        title="accuracy at a fixed γ less that at the best",
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
    return _say_first(said)


# -- an η that is left behind ------------------------------------------------------------------------------------------


@with_sources
def leaving_eta(results: Results, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Error against γ along three rules for η: tuned anew, moved along the natural scale from γ = 1, or left where it was.

    Args:
        results: what the menu calls a setting → a portrait with the probe ``accuracy``.

    Raises:
        ValueError: no results.
    """
    first, words = _first(results), (caption or "What it costs to leave η behind.").rstrip()
    frames = []
    for name, runs in results.items():
        try:
            frames += _rule_rows(name, runs)
        except ValueError as why:
            return parts.say_nothing_drawn(str(why), runs, words, label)
    rows = pd.concat(frames, ignore_index=True)
    chart = theme.finish(_rules_panel(rows).add_params(_menu(results)), wide=theme.WIDE)
    note = (
        f"{words} η is tuned at γ = 1. Then, at every other γ: tuned anew; moved along the natural scale γ²(1+γ)^(2/L−2); or "
        "left as it is. Each at the nearest η that was run; where none was, no point. A run that diverged counts as "
        f"guessing. {_SEEDS} "
        f"Of the first setting: {conditions(first)}"
    )
    names = list(dict.fromkeys(rows.rule))
    wide = rows.pivot_table(index=["setting", "gamma"], columns="rule", values="error", sort=False)
    table = wide[names].reset_index().rename(columns={"gamma": "γ"} | {name: f"error, η {name}" for name in names})
    return figure(chart, _rules_summary(rows), table, note, label)


def _rule_rows(setting: str, runs: xr.Dataset) -> list[pd.DataFrame]:
    """One row for every rule and γ."""
    moved, frames = _thin(analysis.compare_eta_rules(runs)), []
    for rule in moved.rule.values:
        here = moved.sel(rule=rule)
        known = {"setting": setting, "rule": str(rule), "gamma": here.gamma.values, "eta": here.eta.values}
        known |= {"log_gamma": np.log10(here.gamma.values), "diverged": here.diverged.sum("seed").values}
        frame = pd.DataFrame(known | parts.spread_of(1 - _over_seeds(here.accuracy), "error"))
        frames.append(frame[np.isfinite(frame.error)])
    return frames


def _rules_panel(rows: pd.DataFrame) -> Any:
    x, y = parts.gamma_x(rows.gamma), parts.log_y(_span(rows, "error"))
    data = parts.only_chosen(parts.chart_of(rows), "setting")
    told: dict[str, Any] = {
        "rule:N": "η",
        "gamma": "γ",
        "eta": "η",
        "error": ("error", ".4~f"),
        "diverged": ("seeds diverged", ""),
    }
    lines = [  # a layer each: a dash as an encoding would take the shapes' legend with it
        data.transform_filter(f"datum.rule == '{name}'")
        .mark_line(strokeWidth=1.4, strokeDash=dash, stroke=theme.TEXT, opacity=0.7)
        .encode(x=x, y=y("error"))
        for name, dash in zip(dict.fromkeys(rows.rule), ([1, 0], [5, 3], [1, 3]), strict=True)
    ]
    channels = {"shape": _symbols("rule", rows.rule), "tooltip": parts.tooltip(told)}
    marks = parts.points_with_intervals(data, x, y, "error", "error_low", "error_high", **channels)
    return parts.panel(*lines, *marks, title="error on held-out samples, 1 − accuracy", height=240)


def _rules_summary(rows: pd.DataFrame) -> str:
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
