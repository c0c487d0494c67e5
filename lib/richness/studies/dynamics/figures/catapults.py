"""The catapults' band: where a run may overshoot and still converge."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.boundaries import CONVERGED_BELOW, STABLE_BELOW
from richness.plots import parts, theme
from richness.plots.captions import conditions
from richness.plots.figure import Figure, figure, with_sources
from richness.runs.results import STATUS
from richness.studies.dynamics import analysis

_FATES = {"catapulted and converged": "circle", "not": "stroke"}
_HIGHEST = 300.0  # times the initial loss: no higher peak is drawn
_NOTE = (
    "Left, the largest loss of the first 60 steps; right, the mean loss of the last tenth; both over the loss at "
    "step 0, medians over seeds. Red: 2/λ₀, the stability limit at the start, λ₀ measured. Dotted: the levels that a "
    f"peak must exceed ({STABLE_BELOW:g}) and a converged run stay below ({CONVERGED_BELOW:g}). Circles: more than "
    "half of the seeds catapulted (peak above, sharpness lower at the end than at the start) and converged."
)


@with_sources
def catapult_band(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Peak loss and late loss against η over 2/(N λ₀), a line for each γ: where a run may overshoot and still converge.

    Medians over seeds; late loss of runs that diverged is not drawn.
    """
    catapults = analysis.find_catapults(runs)
    rows, words = _rows(runs, catapults), parts.first_words(caption, "Catapults.")
    if rows.empty:
        return parts.say_nothing_drawn("No run near 2/(N λ₀) stayed finite.", runs, words, label)
    x = parts.log_x(theme.span(rows.x), "η ÷ (2/(N λ₀))")
    peak = _panel(rows, x, "peak", "peak loss ÷ initial", STABLE_BELOW)
    late = _panel(rows, x, "late", "late loss ÷ initial", CONVERGED_BELOW)
    table = _table(catapults)
    chart = theme.finish(theme.beside(peak, late))
    return figure(chart, _summary(table), table, f"{words} {_NOTE} {conditions(runs)}", label)


def _rows(runs: xr.Dataset, catapults: xr.Dataset) -> pd.DataFrame:
    """One row for every γ and η at which a seed stayed finite: medians over seeds."""
    ok = runs.status == STATUS["ok"]
    medians = {
        "x": runs.eta / catapults.critical,
        "peak": (runs.peak_loss / runs.initial_loss).where(ok),
        "late": (runs.late_loss / runs.initial_loss).where(ok),
    }
    wanted = xr.Dataset({name: values.median("seed") for name, values in medians.items()})
    wanted = wanted.assign(share=catapults.catapult.mean("seed"), finite=ok.sum("seed"))
    rows = wanted.to_dataframe().reset_index()
    rows = rows[(rows.finite > 0) & np.isfinite(rows.x) & np.isfinite(rows.peak)]
    flown, other = _FATES
    return rows.assign(log_gamma=np.log10(rows.gamma), fate=np.where(rows.share > 0.5, flown, other))


def _panel(rows: pd.DataFrame, x: parts.Channel, field: str, title: str, level: float) -> Any:
    low, high = theme.span(rows[field], 1.2)
    y = parts.log_y((low, min(high, _HIGHEST)))
    data = parts.chart_of(rows[["gamma", "log_gamma", "eta", "x", "peak", "late", "fate"]])
    tooltip = parts.tooltip({"gamma": "γ", "eta": "η", "peak": "peak ÷ initial", "late": "late ÷ initial"})
    legend = alt.Legend(title=None, values=list(_FATES)[:1])
    shape = parts.shapes("fate", list(_FATES), legend, list(_FATES.values()))
    line = data.mark_line(strokeWidth=1.2, opacity=0.6, clip=True)
    marks = data.mark_point(size=26, filled=True, clip=True)  # in the colour of γ, of which a stroke can have but one
    return parts.panel(
        parts.upright_rule(1, x, stroke=theme.STABILITY, strokeWidth=1.6),
        parts.level_rule(level, y, strokeDash=[1, 3], strokeWidth=1, opacity=0.6),
        line.encode(x=x("x"), y=y(field), color=theme.gamma_colour(legend=True), detail="gamma:N"),
        marks.encode(x=x("x"), y=y(field), color=theme.gamma_colour(), shape=shape, tooltip=tooltip),
        title=title,
        height=200,
    )


def _table(catapults: xr.Dataset) -> pd.DataFrame:
    medians = catapults[["critical", "first", "last"]].median("seed")
    return pd.DataFrame(
        {
            "γ": medians.gamma.values,
            "2/(N λ₀)": medians.critical.values,
            "smallest η that catapults ÷ that": medians["first"].values,
            "largest η that catapults ÷ that": medians["last"].values,
        }
    )


def _summary(table: pd.DataFrame) -> str:
    seen = table.dropna()
    if seen.empty:
        return "No run catapulted and converged."
    largest = seen["largest η that catapults ÷ that"]
    said = [f"{last:.1f} at γ = {theme.power_of_ten(gamma)}" for gamma, last in zip(seen["γ"], largest, strict=True)]
    return f"The largest η that catapults and converges, over 2/(N λ₀): {', '.join(said)}."
