"""The adviser: its ranges against γ with a read-out, the same as a question in a notebook, and how it fared when judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from richness.networks.parameterization import natural_eta
from richness.plots import parts, theme
from richness.plots.captions import LOSS_NAMES
from richness.plots.figure import Figure, figure, in_book, with_sources
from richness.plots.plane import place_on_view, view_param, view_y
from richness.studies.adviser import analysis
from richness.studies.adviser.analysis import ENDS, Rule

OPTIMIZERS = {"sgd": "SGD", "momentum": "momentum", "signsgd": "SignSGD", "adam": "Adam"}

#: What the figure holds: every depth measured, budgets, and γ at two a decade, which the slider steps through.
STEPS = (500, 1000, 2000)
LOG_GAMMAS = np.arange(-4, 4.01, 0.5)

_CONDITIONS = (
    "Ranges from portraits of ReLU MLPs, N = 64, B = 64, T up to 2,000 (SGD) or 1,000 steps, three seeds, on fresh samples "
    "of 8×8 digits; MSE is a mean over batch and classes. η is the width-free step size: lr_raw = N·η for SGD and momentum."
)


def _check_rules(rules: Sequence[Rule]) -> None:
    if not rules:
        where = "richness.studies.adviser.analysis.make_rule()"
        raise ValueError(f"expected at least one rule, got none; they come from {where}.")


# -- ranges and read-out -----------------------------------------------------------------------------------------------


@with_sources
def advice(rules: Sequence[Rule], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The range of η advised against γ, for a loss, an optimiser, a depth and a budget chosen by menus, read out at one γ.

    Args:
        rules: of `richness.studies.adviser.analysis.make_rule`.

    Raises:
        ValueError: no rules.
    """
    _check_rules(rules)
    table = pd.concat([_tabulate(known) for known in rules], ignore_index=True)
    words = (caption or "Which η to use.").rstrip()
    note = (
        f"{words} Shaded: the range advised, a decade at most; line: where the best η is expected. Where the band "
        f"is missing, no η learned within the budget. Straightened: η over the natural η. {_CONDITIONS}"
    )
    shown = table.assign(**{end: table[end].map(lambda value: theme.significant(value, 3)) for end in ENDS})
    longest = 1000 if (shown.steps == 1000).any() else shown.steps.max()
    shown = shown[shown.steps == longest].rename(columns={"gamma": "γ"})
    chart = theme.finish(_advice_chart(_advice_rows(table)), wide=theme.WIDE)
    return figure(chart, _advice_summary(table), shown, note, label)


def _tabulate(known: Rule) -> pd.DataFrame:
    """What one rule advises at every depth measured, at the γ and the budgets that the figure holds."""
    depths = sorted({round(float(10**d)) for d in known.measured.log_depth.values})
    shortest, longest = 10 ** known.measured.log_budget.values[[0, -1]]
    steps = [t for t in STEPS if shortest / analysis.BEYOND <= t <= longest * analysis.BEYOND] or [round(longest)]
    low, high = known.measured.log_gamma.values[[0, -1]]
    gammas = [float(10**g) for g in LOG_GAMMAS if low - 1e-6 <= g <= high + 1e-6]
    return analysis.tabulate([known], depths, gammas, steps)


def _advice_rows(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(
        log_gamma=np.log10(table.gamma).round(2),
        natural=[natural_eta(row.gamma, row.depth, row.optimizer) for row in table.itertuples()],
        loss=table.loss.map(LOSS_NAMES),
        optimizer=table.optimizer.map(OPTIMIZERS),
    )


_MENUS = {"loss": "loss", "optimizer": "optimiser", "depth": "depth L", "steps": "steps T"}


def _advice_chart(rows: pd.DataFrame) -> Any:
    straight = theme.span([*(rows.low / rows.natural), *(rows.high / rows.natural)], 1.5)
    x, y = parts.gamma_x(rows.gamma), view_y(theme.span([*rows.low, *rows.high], 1.5), straight)
    chosen = " && ".join(f"datum.{name} == picked_{name}" for name in _MENUS)
    data = place_on_view(parts.chart_of(rows, 3).transform_filter(chosen), *ENDS)
    here = data.transform_filter("abs(datum.log_gamma - at) < 0.01")
    low, high, best = (f"format(datum.{end}, '.3~g')" for end in ("low", "high", "best"))
    read = here.transform_calculate(words=f"'η itself, from ' + {low} + ' to ' + {high} + ', best near ' + {best}")
    text = read.mark_text(align="left", baseline="top", fontSize=13, fontWeight="bold")
    chart = parts.panel(
        data.mark_area(color=theme.MIDDLE, opacity=0.3, clip=True).encode(x=x, y=y("low_y"), y2="high_y:Q"),
        data.mark_line(stroke=theme.TEXT, strokeWidth=1.4, clip=True).encode(x=x, y=y("best_y")),
        here.mark_rule(strokeWidth=3).encode(x=x, y=y("low_y"), y2="high_y:Q", color=theme.gamma_colour()),
        text.encode(x=alt.value(4), y=alt.value(4), text="words:N"),
        title="η advised",
        height=260,
    )
    return chart.add_params(*_advice_controls(rows), view_param("straightened"))


def _advice_controls(rows: pd.DataFrame) -> list[alt.Parameter]:
    """The menus, and the slider of the γ that is read out."""
    menus = []
    for name, title in _MENUS.items():
        options = rows[name].drop_duplicates().tolist()
        start = next((value for value in (3, 1000) if value in options), options[0])
        menus.append(parts.menu(f"picked_{name}", options, title, start=start))
    low, high = float(rows.log_gamma.min()), float(rows.log_gamma.max())
    return [*menus, parts.slider("at", low, high, 0.5, "log10 γ", 1.0)]


def _advice_summary(table: pd.DataFrame) -> str:
    decades = np.log10(table.high / table.low)
    return (
        f"{len(table)} settings; the ranges advised span {decades.min():.2f} to {decades.max():.2f} decades of η, "
        f"{decades.median():.2f} in the median."
    )


# -- a question in a notebook ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """In a notebook: menus and sliders that ask `richness.advise`. On a page: the answer to one question, in words."""

    rules: tuple[Rule, ...]

    def answer(self, loss: str, optimizer: str, **setting: Any) -> str:
        """The advice for a setting, or why there is none."""
        known = {(known.loss, known.optimizer): known for known in self.rules}
        try:
            return str(analysis.advise(loss=loss, optimizer=optimizer, known=known[loss, optimizer], **setting))
        except KeyError:
            return f"No portraits of {optimizer} under {loss} are at hand."
        except ValueError as why:
            return str(why)

    def __repr__(self) -> str:
        first = self.rules[0]
        steps = round(float(10 ** first.measured.log_budget[-1]))
        said = self.answer(first.loss, first.optimizer, depth=3, gamma=10.0, width=64, batch_size=64, steps=steps)
        names = f"{LOSS_NAMES[first.loss]}, {OPTIMIZERS[first.optimizer]}"
        return f"L = 3, {names}, γ = 10, N = 64, B = 64, T = {steps}: {said}"

    def _ipython_display_(self) -> None:
        from IPython.display import Markdown, display

        if in_book():
            display(Markdown(repr(self)))
            return
        import ipywidgets

        def print_answer(log_gamma: float, **setting: Any) -> None:
            print(self.answer(gamma=10.0**log_gamma, **setting))

        ipywidgets.interact(
            print_answer,
            loss=list(dict.fromkeys(known.loss for known in self.rules)),
            optimizer=list(dict.fromkeys(known.optimizer for known in self.rules)),
            depth=ipywidgets.IntSlider(3, 2, 6, description="depth L"),
            log_gamma=ipywidgets.FloatSlider(1.0, min=-4, max=4, step=0.25, description="log₁₀ γ"),
            width=ipywidgets.BoundedIntText(64, 1, 65536, description="width N"),
            batch_size=ipywidgets.BoundedIntText(64, 16, 256, description="batch B"),
            steps=ipywidgets.BoundedIntText(1000, 1, 100_000, description="steps T"),
        )


def question(rules: Sequence[Rule]) -> Question:
    """Ask the adviser, by menus and sliders, for exactly one's own setting.

    Raises:
        ValueError: no rules.
    """
    _check_rules(rules)
    return Question(tuple(rules))


# -- how it fared ------------------------------------------------------------------------------------------------------


@with_sources
def judged_advice(table: pd.DataFrame, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Every setting that the advice was judged on, and every γ: the largest late loss in the range over the smallest found.

    Args:
        table: of `richness.studies.adviser.analysis.judge_all`.
    """
    named = table.assign(setting=[_setting_words(row) for row in table.itertuples()])
    widths = np.log10(table.high / table.low)
    words = (caption or "The advice, judged.").rstrip()
    note = (
        f"{words} Each cell: the largest late loss of the η inside the advised range over the smallest late loss found at any "
        f"η. Up to {analysis.WITHIN:g}, with no seed diverged, the advice worked; framed cells are where it did not (×: a seed "
        "diverged; –: none advised, and none learned). Rows: depth L, loss, optimiser, width N, batch B, steps T. ReLU MLPs "
        "on fresh samples of 8×8 digits where no other task or activation is named; two seeds."
    )
    spans = f"the ranges span {widths.median():.2f} decades in the median, {widths.max():.2f} at most"
    summary = f"The advice worked in {analysis.count_worked(table)}; {spans}."
    shown = ["setting", "gamma", "low", "high", "best", "cells", "good", "worst", "worked"]
    chart = theme.finish(_judged_chart(named))
    return figure(chart, summary, named[shown].rename(columns={"gamma": "γ"}), note, label)


def _judged_chart(named: pd.DataFrame) -> Any:
    rows = named.assign(
        gamma_name=[f"{gamma:g}" for gamma in named.gamma],
        shown=[_ratio_words(row) for row in named.itertuples()],
        ratio=np.where(np.isfinite(named.worst), named.worst, 9.0),
    )[["setting", "gamma_name", "shown", "ratio", "worked", "low", "high", "best", "cells", "good"]]
    gammas, settings = (list(dict.fromkeys(rows[name])) for name in ("gamma_name", "setting"))
    axis = alt.Axis(title="γ", labelAngle=0, labelOverlap=False, orient="top")
    x = alt.X("gamma_name:N", sort=gammas, axis=axis)
    y = alt.Y("setting:N", sort=settings, axis=alt.Axis(title=None, labelLimit=180, labelFontSize=10))
    scale = alt.Scale(type="log", domain=[1, 3], range=list(theme.LATE_LOSS), clamp=True, interpolate="rgb")
    edge = alt.condition("datum.worked", alt.value("transparent"), alt.value(theme.TEXT))
    ink = alt.condition("datum.ratio < 1.7", alt.value("white"), alt.value("black"))
    told: dict[str, Any] = {"low": "advised from", "high": "to", "best": "best found"}
    told |= {"cells": ("η in the range", ""), "good": ("of them good", "")}
    data = parts.chart_of(rows, 3)
    rects = data.mark_rect(strokeWidth=2).encode(color=alt.Color("ratio:Q", scale=scale, legend=None), stroke=edge)
    words = data.mark_text(fontSize=10).encode(x=x, y=y, text="shown:N", color=ink)
    chart = alt.layer(rects.encode(x=x, y=y, tooltip=parts.tooltip(told)), words)
    return chart.properties(width={"step": 30}, height={"step": 20})


def _setting_words(row: Any) -> str:
    task = "" if row.task == "digits8" else f" {row.task}"
    activation = "" if row.activation == "relu" else f" {row.activation}"
    loss = {"mse": "MSE", "cross_entropy": "CE"}[row.loss]
    return f"{row.depth} {loss} {OPTIMIZERS[row.optimizer]} {row.width} {row.batch_size} {row.steps}{task}{activation}"


def _ratio_words(row: Any) -> str:
    if np.isnan(row.low):
        return "–"
    return f"{row.worst:.1f}" if np.isfinite(row.worst) else "×"
