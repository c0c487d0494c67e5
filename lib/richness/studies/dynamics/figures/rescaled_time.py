"""The collapse: loss curves of different γ in a rescaled time, and how far apart they lie there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import parts, theme
from richness.plots.figure import Figure, figure, with_sources
from richness.studies.dynamics import analysis
from richness.studies.dynamics.curves import relative_loss
from richness.studies.dynamics.figures.one_run import LOSS_POINTS, known_values

Scored = list[tuple[str, analysis.Collapse]]  # how a level is called, and the collapse down to it
Frame = tuple[float, float, float, float]  # the smallest and largest rescaled time and loss that are shown

_EXPONENTS = (float(analysis.EXPONENTS[0]), float(analysis.EXPONENTS[-1]))
_LOWEST = 1e-3  # of the initial loss: nothing below is shown


@with_sources
def collapse(
    runs: xr.Dataset | Mapping[str, xr.Dataset],
    *,
    exponent: float = 1.0,
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """Loss curves of different γ in the rescaled time t·η·γ^(−a), with a slider for a; beside it the spread against a.

    Args:
        runs: grids of γ and η; several under their names, to be chosen from. The largest η at each γ is drawn, first seed.
        exponent: where the slider stands at first.
    """
    sources = {"": runs} if isinstance(runs, xr.Dataset) else dict(runs)
    words = parts.first_words(caption, "The collapse.")
    try:
        known = {name: _score(result) for name, result in sources.items()}
    except ValueError as why:
        return parts.say_nothing_drawn(str(why), next(iter(sources.values())), words, label)
    chart = _chart(sources, known, exponent)
    note = f"{words} {_note(next(iter(known.values()))[0][1])} {parts.conditions_by_name(sources)}"
    return figure(theme.finish(chart), _summary(known), _table(known), note, label)


# -- rows --------------------------------------------------------------------------------------------------------------


def _score(runs: xr.Dataset) -> Scored:
    levels = analysis.COLLAPSE_LEVELS.values()
    return [(f"to {level:g} of it", analysis.fit_collapse(runs, level=level)) for level in levels]


def _centre(known: analysis.Collapse) -> float:
    return float(np.exp(np.mean(np.log(known.gammas))))


def _curve_rows(runs: xr.Dataset, known: analysis.Collapse, stream: int) -> list[dict[str, Any]]:
    """One row a γ: its curve as lists, its pace η/centre, and γ over the centre of the γ."""
    curves, steps, centre = relative_loss(runs).isel(seed=0), runs.step.values.astype(int), _centre(known)
    drawn = np.unique(np.linspace(1, steps.size - 1, LOSS_POINTS).astype(int))
    return [
        {
            "stream": stream,
            "gamma": theme.significant(gamma),
            "log_gamma": round(float(np.log10(gamma)), 3),
            "rate": theme.significant(eta / centre, 6),
            "away": theme.significant(gamma / centre, 6),
            "t": steps[drawn].tolist(),
            "loss": [theme.significant(v) for v in curves.sel(gamma=gamma, eta=eta).values[drawn]],
        }
        for gamma, eta in zip(known.gammas, known.etas, strict=True)
    ]


def _score_rows(known: Mapping[str, Scored]) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """The spread at each exponent, a row each, and the minima."""
    scores, minima = [], []
    for stream, scored in enumerate(known.values()):
        for level, one in scored:
            where = {"stream": stream, "level": level}
            pairs = zip(one.exponents, one.scores, strict=True)
            scores += [where | {"a": float(a), "score": theme.significant(score)} for a, score in pairs]
            minima.append(where | {"a": one.best, "low": one.interval[0], "high": one.interval[1]})
    return scores, pd.DataFrame(minima)


# -- chart -------------------------------------------------------------------------------------------------------------


def _chart(sources: Mapping[str, xr.Dataset], known: Mapping[str, Scored], exponent: float) -> Any:
    rows = [_curve_rows(runs, known[name][0][1], place) for place, (name, runs) in enumerate(sources.items())]
    controls = [parts.slider("exponent", *_EXPONENTS, 0.025, "a, the exponent of γ", exponent)]
    shown = "true"
    if len(sources) > 1:
        controls.append(parts.radio("stream", range(len(sources)), "stream", list(sources)))
        shown = "datum.stream == stream"
    chart = theme.beside(_curve_panel(rows, shown), _score_panel(known, shown)).add_params(*controls)
    return chart.resolve_scale(color="independent", x="independent", y="independent")


def _curve_panel(streams: list[list[dict[str, Any]]], shown: str) -> Any:
    # one frame a stream, wide enough for most a: it stays still while the reader drags
    frames = [_frame(rows) for rows in streams]
    lowest, highest = np.min(frames, axis=0), np.max(frames, axis=0)
    axis = theme.log_axis("t·η·γ⁻ᵃ, rescaled time", lowest[0], highest[1], every=1)
    x = parts.x_on(_scale_of_stream(frames, 0), axis)
    y = parts.y_on(_scale_of_stream(frames, 2), theme.log_axis(None, lowest[2], highest[3], every=1))
    chart = parts.chart_of([row for rows in streams for row in rows]).transform_filter(shown)
    chart = chart.transform_flatten(["t", "loss"])
    chart = chart.transform_calculate(x="datum.t * datum.rate * pow(datum.away, -exponent)")
    line = chart.transform_filter("isValid(datum.loss)").mark_line(strokeWidth=1.9, clip=True)
    line = line.encode(x=x("x"), y=y("loss"), color=theme.gamma_colour(legend=True), detail="gamma:N", order="t:Q")
    return line.properties(width=theme.PLANE, height=220, title="training loss ÷ initial")


def _frame(rows: list[dict[str, Any]]) -> Frame:
    low, high = theme.span(known_values(rows, "loss"), 1.1)
    paces = [row["rate"] / row["away"] for row in rows]
    start = max(paces) * max(row["t"][0] for row in rows)
    end = max(pace * row["t"][-1] for pace, row in zip(paces, rows, strict=True)) * 2
    return start, end, max(low, _LOWEST), high


def _scale_of_stream(frames: list[Frame], at: int) -> alt.Scale:
    """A log scale whose ends are those of the stream that is shown."""
    if len(frames) == 1:
        return theme.log_scale(*frames[0][at : at + 2])
    ends = [alt.ExprRef(f"{[theme.significant(frame[at + k]) for frame in frames]}[stream]") for k in (0, 1)]
    return alt.Scale(type="log", domain=ends, nice=False)


def _score_panel(known: Mapping[str, Scored], shown: str) -> Any:
    scores, minima = _score_rows(known)
    levels = list(dict.fromkeys(minima.level))
    x = parts.x_on(
        alt.Scale(domain=[0, _EXPONENTS[1]], nice=False), alt.Axis(title="a, the exponent of γ", tickCount=6)
    )
    y = parts.y_on(alt.Scale(zero=True, nice=True), alt.Axis(title=None, tickCount=4))
    widths = alt.Scale(domain=levels, range=[2.2, 0.9][: len(levels)])
    width = alt.StrokeWidth("level:N", scale=widths, legend=alt.Legend(title="loss down"))
    base = parts.chart_of(scores).transform_filter(shown)
    here = base.transform_filter(f"datum.level == '{levels[0]}' && abs(datum.a - exponent) < 0.0125")
    return parts.panel(
        *_minimum_marks(parts.chart_of(minima).transform_filter(shown), width),
        base.mark_line(stroke=theme.TEXT).encode(x=x("a"), y=y("score"), strokeWidth=width),
        parts.points(here, x("a"), y("score"), size=70, fill=alt.value(theme.RICH)),
        parts.text_at(here, theme.PLANE, -5, "score:Q", ".3f", align="right", baseline="bottom", fontWeight="bold"),
        title=alt.TitleParams(text="spread over γ, decades of loss", frame="group", offset=5),
    )


def _minimum_marks(minima: alt.Chart, width: alt.StrokeWidth) -> list[alt.Chart]:
    """Where the spread is least: upright and dashed, in its interval."""
    band = minima.mark_rect(opacity=0.25, color=theme.MEASURED).encode(x="low:Q", x2="high:Q")
    dashed = minima.mark_rule(strokeDash=parts.DASHES, color=theme.MEASURED)
    return [band, dashed.encode(x="a:Q", strokeWidth=width)]


# -- words -------------------------------------------------------------------------------------------------------------


def _note(known: analysis.Collapse) -> str:
    return (
        "Left, the smoothed loss over the initial one, first seed, at each γ the largest η that was run, a quarter "
        f"of η_max or less, in t·η·γ^(−a), in units in which it is τ = ηt/γ at γ = {theme.power_of_ten(_centre(known))} for "
        "every a. Right, the spread of "
        "log10 loss over γ at equal rescaled time: its standard deviation over γ, root mean square over time and seeds, from "
        "where the first curve has lost 5 % to where the last is down to the level named. Dashed: its minimum, with the 95 % "
        "interval from resampling seeds and γ. Colour is γ."
    )


def _summary(known: Mapping[str, Scored]) -> str:
    said = [
        f"{name + ': ' if name else ''}the spread over γ is "
        + ", ".join(f"least at a = {one.best:.2f} for the loss down {level}" for level, one in scored)
        for name, scored in known.items()
    ]
    return "; ".join(said) + "."


def _table(known: Mapping[str, Scored]) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"stream": name, "loss down": level, "a": one.exponents, "spread, decades": one.scores})
        for name, scored in known.items()
        for level, one in scored
    ]
    return pd.concat(frames, ignore_index=True)
