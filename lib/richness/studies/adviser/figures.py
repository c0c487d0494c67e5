"""The adviser: its ranges against γ with a read-out, the same as a question in a notebook, and how it fared when judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from richness.networks.parameterization import natural_eta
from richness.plots import theme
from richness.plots.figure import Figure, figure, in_book, with_sources
from richness.plots.parts import records
from richness.plots.plane import STRAIGHTENED, view_param
from richness.studies.adviser import analysis as found

SAY = {"mse": "MSE", "cross_entropy": "cross-entropy"}
OPTIMIZERS = {"sgd": "SGD", "momentum": "momentum", "signsgd": "SignSGD", "adam": "Adam"}

#: What the figure holds: every depth measured, budgets, and γ at two a decade, which the slider steps through.
STEPS = (500, 1000, 2000)
LOG_GAMMAS = np.arange(-4, 4.01, 0.5)

_CONDITIONS = (
    "Ranges from portraits of ReLU MLPs, N = 64, B = 64, T up to 2,000 (SGD) or 1,000 steps, three seeds, on fresh samples "
    "of 8×8 digits; MSE is a mean over batch and classes. η is the width-free step size: lr_raw = N·η for SGD and momentum."
)


# -- ranges and read-out -----------------------------------------------------------------------------------------------


@with_sources
def advice(rules: Sequence[found.Rule], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The range of η advised against γ, for a loss, an optimiser, a depth and a budget chosen by menus, read out at one γ.

    Args:
        rules: of `richness.studies.adviser.analysis.rule`.

    Raises:
        ValueError: no rules.
    """
    if not rules:
        raise ValueError(
            "expected at least one rule, got none; they come from richness.studies.adviser.analysis.rule()."
        )
    table = _table(rules)
    rows = table.assign(
        log_gamma=np.log10(table.gamma).round(2),
        natural=[natural_eta(r.gamma, r.depth, r.optimizer) for r in table.itertuples()],
    )
    rows = rows.assign(loss=rows.loss.map(SAY), optimizer=rows.optimizer.map(OPTIMIZERS))
    chart = _advice_chart(rows)
    words = (caption or "Which η to use.").rstrip()
    note = (
        f"{words} Shaded: the range advised, a decade at most; line: where the best η is expected. Where the band "
        f"is missing, no η learned within the budget. Straightened: η over the natural η. {_CONDITIONS}"
    )
    shown = table.assign(**{end: table[end].map(lambda value: theme.significant(value, 3)) for end in found.ENDS})
    shown = shown[shown.steps == (1000 if (shown.steps == 1000).any() else shown.steps.max())].rename(
        columns={"gamma": "γ"}
    )
    return figure(theme.finished(chart, wide=theme.WIDE), _advice_summary(table), shown, note, label)


def _table(rules: Sequence[found.Rule]) -> pd.DataFrame:
    depths = sorted({round(float(10**d)) for known in rules for d in known.measured.log_depth.values})
    frames = []
    for known in rules:
        shortest, longest = 10 ** known.measured.log_budget.values[[0, -1]]
        steps = [t for t in STEPS if shortest / found.BEYOND <= t <= longest * found.BEYOND] or [round(longest)]
        limits = known.measured.log_gamma.values[[0, -1]]
        gammas = [float(10**g) for g in LOG_GAMMAS if limits[0] - 1e-6 <= g <= limits[1] + 1e-6]
        frames.append(found.tabulate([known], depths, gammas, steps))
    return pd.concat(frames, ignore_index=True)


def _advice_chart(rows: pd.DataFrame) -> Any:
    straight = theme.span([*(rows.low / rows.natural), *(rows.high / rows.natural)], 1.5)
    raw = theme.span([*rows.low, *rows.high], 1.5)
    low, high = (
        alt.ExprRef(f"{STRAIGHTENED} ? {theme.significant(s)} : {theme.significant(r)}")
        for s, r in zip(straight, raw, strict=True)
    )
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = theme.log_axis(None, min(straight[0], raw[0]), max(straight[1], raw[1]), every=1)
    gammas = theme.span(rows.gamma, 1.3)
    x = alt.X("gamma:Q", scale=theme.log_scale(*gammas), axis=theme.log_axis("γ, richness", *gammas))

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", scale=scale, axis=axis)

    menus = [_menu(rows, name, title) for name, title in (("loss", "loss "), ("optimizer", "optimiser "))]
    menus += [_menu(rows, name, title) for name, title in (("depth", "depth L "), ("steps", "steps T "))]
    chosen = " && ".join(f"datum.{name} == picked_{name}" for name in ("loss", "optimizer", "depth", "steps"))
    drawn = {f"{name}_y": f"{STRAIGHTENED} ? datum.{name} / datum.natural : datum.{name}" for name in found.ENDS}
    data = alt.Chart(alt.InlineData(values=records(rows, 3))).transform_filter(chosen).transform_calculate(**drawn)
    slider = alt.binding_range(
        min=float(rows.log_gamma.min()), max=float(rows.log_gamma.max()), step=0.5, name="log10 γ "
    )
    at = alt.param(name="at", value=1.0, bind=slider)
    here = data.transform_filter("abs(datum.log_gamma - at) < 0.01")
    low_said, high_said, best_said = (f"format(datum.{end}, '.3~g')" for end in ("low", "high", "best"))
    words = f"'η from ' + {low_said} + ' to ' + {high_said} + ', best near ' + {best_said}"
    read = here.transform_calculate(words=words).mark_text(align="left", baseline="top", fontSize=13, fontWeight="bold")
    return (
        alt.layer(
            data.mark_area(color=theme.MIDDLE, opacity=0.3, clip=True).encode(x=x, y=y("low_y"), y2="high_y:Q"),
            data.mark_line(stroke=theme.TEXT, strokeWidth=1.4, clip=True).encode(x=x, y=y("best_y")),
            here.mark_rule(strokeWidth=3).encode(x=x, y=y("low_y"), y2="high_y:Q", color=theme.gamma_colour()),
            read.encode(x=alt.value(4), y=alt.value(4), text="words:N"),
        )
        .properties(width=theme.PLANE, height=260, title="η advised")
        .add_params(*menus, at, view_param("straightened"))
    )


def _menu(rows: pd.DataFrame, name: str, title: str) -> alt.Parameter:
    options = [value.item() if isinstance(value, np.generic) else value for value in rows[name].drop_duplicates()]
    first = next((value for value in (3, 1000) if value in options), options[0])
    return alt.param(name=f"picked_{name}", value=first, bind=alt.binding_select(options=options, name=title))


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

    rules: tuple[found.Rule, ...]

    def answer(self, loss: str, optimizer: str, **setting: Any) -> str:
        """The advice for a setting, or why there is none."""
        known = {(known.loss, known.optimizer): known for known in self.rules}
        try:
            return str(found.advise(loss=loss, optimizer=optimizer, known=known[loss, optimizer], **setting))
        except KeyError:
            return f"No portraits of {optimizer} under {loss} are at hand."
        except ValueError as why:
            return str(why)

    def __repr__(self) -> str:
        first = self.rules[0]
        steps = round(float(10 ** first.measured.log_budget[-1]))
        said = self.answer(first.loss, first.optimizer, depth=3, gamma=10.0, width=64, batch_size=64, steps=steps)
        return f"L = 3, {SAY[first.loss]}, {OPTIMIZERS[first.optimizer]}, γ = 10, N = 64, B = 64, T = {steps}: {said}"

    def _ipython_display_(self) -> None:
        from IPython.display import Markdown, display

        if in_book():
            display(Markdown(repr(self)))
            return
        import ipywidgets

        def asked(log_gamma: float, **setting: Any) -> None:
            print(self.answer(gamma=10.0**log_gamma, **setting))

        ipywidgets.interact(
            asked,
            loss=list(dict.fromkeys(known.loss for known in self.rules)),
            optimizer=list(dict.fromkeys(known.optimizer for known in self.rules)),
            depth=ipywidgets.IntSlider(3, 2, 6, description="depth L"),
            log_gamma=ipywidgets.FloatSlider(1.0, min=-4, max=4, step=0.25, description="log₁₀ γ"),
            width=ipywidgets.BoundedIntText(64, 1, 65536, description="width N"),
            batch_size=ipywidgets.BoundedIntText(64, 16, 256, description="batch B"),
            steps=ipywidgets.BoundedIntText(1000, 1, 100_000, description="steps T"),
        )


def question(rules: Sequence[found.Rule]) -> Question:
    """Ask the adviser, by menus and sliders, for exactly one's own setting.

    Raises:
        ValueError: no rules.
    """
    if not rules:
        raise ValueError(
            "expected at least one rule, got none; they come from richness.studies.adviser.analysis.rule()."
        )
    return Question(tuple(rules))


# -- how it fared ------------------------------------------------------------------------------------------------------


@with_sources
def judged(table: pd.DataFrame, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Every setting that the advice was judged on, and every γ: the largest late loss in the range over the smallest found.

    Args:
        table: of `richness.studies.adviser.analysis.judge_all`.
    """
    named = table.assign(setting=[_setting(row) for row in table.itertuples()], log_gamma=np.log10(table.gamma))
    named = named.assign(
        gamma_name=[f"{gamma:g}" for gamma in named.gamma],
        shown=[_verdict(row) for row in named.itertuples()],
        ratio=np.where(np.isfinite(named.worst), named.worst, 9.0),
    )
    rows = named[["setting", "gamma_name", "shown", "ratio", "worked", "low", "high", "best", "cells", "good"]]
    names = list(dict.fromkeys(named.setting))
    x = alt.X(
        "gamma_name:N",
        sort=list(dict.fromkeys(named.gamma_name)),
        axis=alt.Axis(title="γ", labelAngle=0, labelOverlap=False, orient="top"),
    )
    y = alt.Y("setting:N", sort=names, axis=alt.Axis(title=None, labelLimit=180, labelFontSize=10))
    data = alt.Chart(alt.InlineData(values=records(rows, 3)))
    scale = alt.Scale(type="log", domain=[1, 3], range=list(theme.LATE_LOSS), clamp=True, interpolate="rgb")
    colour = alt.Color("ratio:Q", scale=scale, legend=None)
    edge = alt.condition("datum.worked", alt.value("transparent"), alt.value(theme.TEXT))
    ink = alt.condition("datum.ratio < 1.7", alt.value("white"), alt.value("black"))
    tooltip = [
        alt.Tooltip("low:Q", title="advised from", format=".3~g"),
        alt.Tooltip("high:Q", title="to", format=".3~g"),
        alt.Tooltip("best:Q", title="best found", format=".3~g"),
        alt.Tooltip("cells:Q", title="η in the range"),
        alt.Tooltip("good:Q", title="of them good"),
    ]
    chart = alt.layer(
        data.mark_rect(strokeWidth=2).encode(x=x, y=y, color=colour, stroke=edge, tooltip=tooltip),
        data.mark_text(fontSize=10).encode(x=x, y=y, text="shown:N", color=ink),
    ).properties(width={"step": 30}, height={"step": 20})
    total = found.share(table)
    widths = np.log10(table.high / table.low)
    words = (caption or "The advice, judged.").rstrip()
    note = (
        f"{words} Each cell: the largest late loss of the η inside the advised range over the smallest late loss found at any "
        f"η. Up to {found.WITHIN:g}, with no seed diverged, the advice worked; framed cells are where it did not (×: a seed "
        "diverged; –: none advised, and none learned). Rows: depth L, loss, optimiser, width N, batch B, steps T. ReLU MLPs "
        "on fresh samples of 8×8 digits where no other task or activation is named; two seeds."
    )
    spans = f"the ranges span {widths.median():.2f} decades in the median, {widths.max():.2f} at most"
    summary = f"The advice worked in {total}; {spans}."
    kept = ["setting", "gamma", "low", "high", "best", "cells", "good", "worst", "worked"]
    return figure(theme.finished(chart), summary, named[kept].rename(columns={"gamma": "γ"}), note, label)


def _setting(row: Any) -> str:
    task = "" if row.task == "digits8" else f" {row.task}"
    activation = "" if row.activation == "relu" else f" {row.activation}"
    loss = {"mse": "MSE", "cross_entropy": "CE"}[row.loss]
    return f"{row.depth} {loss} {OPTIMIZERS[row.optimizer]} {row.width} {row.batch_size} {row.steps}{task}{activation}"


def _verdict(row: Any) -> str:
    if np.isnan(row.low):
        return "–"
    return f"{row.worst:.1f}" if np.isfinite(row.worst) else "×"
