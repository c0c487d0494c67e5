"""The Hessian's spectrum along training: its largest eigenvalues by rank, and the density of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import parts, theme
from richness.plots.captions import choose_seed, conditions, natural_words, recipe
from richness.plots.figure import Figure, figure, with_sources
from richness.runs.probes import DENSITY_EDGES
from richness.runs.results import recipe_of
from richness.studies.curvature import analysis

#: Of λ_max: nearer to 0 than this, a density of so few Lanczos steps resolves little, and one bar holds all.
_RESOLVED = 1e-2
_DRAWN = 10**0.25  # of λ_max: what lies beyond on either side is drawn in the last bin there
_FLOOR = 0.1  # of an eigenvalue a bin: below it nothing is drawn
_OVER_LARGEST = "unit == 'ratio'"
_LARGE = f"above {analysis.LARGE:g} of λ_max"


@with_sources
def spectrum(
    runs: xr.Dataset,
    *,
    gamma: float = 1.0,
    seed: int | None = None,
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """The Hessian's spectrum along training: the largest eigenvalues by rank, beside the density of all.

    Controls: γ, the time, and whether the eigenvalues are drawn over λ_max.

    Args:
        runs: one η a γ, with the probes ``top_eigenvalues`` and ``spectral_density``.
        gamma: shown at first. seed: whose; the first by default.

    Raises:
        ValueError: that seed was not run, or a γ was run at several η.
    """
    seed = choose_seed(runs, seed)
    one, classes = runs.sel(seed=[seed]), analysis.count_outputs(runs)
    top, density = _eigenvalue_rows(one), _bin_rows(one)
    chart = theme.beside(_rank_panel(top, classes), _density_panel(density)).add_params(*_controls(top, gamma))
    words = parts.first_words(caption, "The Hessian's spectrum along training.")
    note = (
        f"{words} Left: the {int(top['rank'].max())} largest eigenvalues by rank; dotted: after the C-th, with C = {classes} "
        f"outputs; red, over λ_max: {analysis.LARGE:g}, above which an eigenvalue counts as large. Right: how many eigenvalues "
        "lie in each bin of λ/λ_max, by stochastic Lanczos; the bins are logarithmic to both sides of 0 (grey: negative), the "
        f"middle one holds all within {_RESOLVED:g} of 0, which the method does not resolve. Hessian of the loss as trained, "
        f"raw weights, on {recipe(runs).get('probe_samples', '?')} fixed samples. One η a γ, at one share of natural η, "
        f"{natural_words(runs)}; seed {seed}; the slider takes the nearest step measured. {conditions(runs)}"
    )
    table = _table(runs)
    return figure(theme.finish(chart), _summary(table), table, note, label)


@with_sources
def two_spectra(runs: xr.Dataset, label: str | None = None) -> Figure:
    """The largest eigenvalues at the end of the laziest and of the richest run, over λ_max, side by side.

    Args:
        runs: as for `spectrum`; the first seed is drawn.
    """
    top = _eigenvalue_rows(runs.isel(seed=[0]))
    ends = [top[(top.gamma == g) & (top.t == top.t.max())] for g in (top.gamma.min(), top.gamma.max())]
    if any(end.empty for end in ends):
        raise ValueError(
            "expected positive eigenvalues at the last step of the smallest and the largest γ, found none."
        )
    x = alt.X("rank:Q", axis=alt.Axis(title="rank", tickCount=6))
    y = parts.log_y(theme.span(pd.concat(ends).ratio, 1.5), "λ_k ÷ λ_max")("ratio")
    panels = [_end_panel(end, x, y) for end in ends]
    lazy, rich = (int((end.ratio > analysis.LARGE).sum()) for end in ends)
    summary = f"Above {analysis.LARGE:g} of λ_max lie {lazy} eigenvalues in the lazy run and {rich} in the rich one."
    note = (
        f"The {int(top['rank'].max())} largest eigenvalues of the Hessian, by rank, over the largest, at the end of a lazy and "
        f"of a rich run; first seed. {conditions(runs)}"
    )
    table = pd.concat(ends)[["gamma", "rank", "raw", "ratio"]].reset_index(drop=True)
    return figure(theme.finish(theme.beside(*panels)), summary, table, note, label)


def _end_panel(end: pd.DataFrame, x: alt.X, y: alt.Y) -> Any:
    marks = parts.points(parts.chart_of(end[["rank", "ratio", "raw", "log_gamma"]]), x, y, size=26)
    title = f"γ = {theme.power_of_ten(float(end.gamma.iloc[0]))}"
    return marks.properties(width=theme.PLANE, height=200, title=title)


# -- rows --------------------------------------------------------------------------------------------------------------


def _probed(runs: xr.Dataset) -> Iterator[tuple[dict[str, Any], xr.Dataset]]:
    """Where and when a spectrum of the first seed was taken, and the spectrum; step 0 left out."""
    for gamma in runs.gamma.values.astype(float):
        here = analysis.select_gamma(runs, gamma).isel(seed=0)
        for t in here.step.values[here.step.values > 0]:
            where = {"gamma": gamma, "log_gamma": np.log10(gamma), "t": int(t), "log_t": np.log10(t)}
            yield where, here.sel(step=t)


def _eigenvalue_rows(runs: xr.Dataset) -> pd.DataFrame:
    """The largest eigenvalues, one row each."""
    rows = []
    for where, now in _probed(runs):
        values = now.top_eigenvalues.values
        for k in np.flatnonzero(values > 0):
            rows.append({**where, "rank": k + 1, "raw": values[k], "ratio": values[k] / values[0]})
    return pd.DataFrame(rows)


def _bin_rows(runs: xr.Dataset) -> pd.DataFrame:
    """The densities, one row a bin that holds something."""
    rows = []
    edges, to = drawn_bins()
    parameters = sum(weights.numel() for weights in recipe_of(runs).architecture.initialise(0))
    for where, now in _probed(runs):
        counts = np.bincount(to, now.spectral_density.fillna(0).values, len(edges) - 1) * parameters
        for place in np.flatnonzero(counts >= _FLOOR):
            bin_ = {"place": place, "count": counts[place], "low": edges[place], "high": edges[place + 1]}
            rows.append(where | bin_)
    return pd.DataFrame(rows)


def drawn_bins() -> tuple[np.ndarray, np.ndarray]:
    """Borders of the bins that are drawn, and in which of them each bin of the probe falls."""
    size = np.abs(DENSITY_EDGES)
    edges = DENSITY_EDGES[(size >= _RESOLVED * 0.999) & (size <= _DRAWN * 1.001)]
    middles = (DENSITY_EDGES[1:] + DENSITY_EDGES[:-1]) / 2
    return edges, np.clip(np.searchsorted(edges, middles) - 1, 0, len(edges) - 2)


# -- chart -------------------------------------------------------------------------------------------------------------


def _controls(top: pd.DataFrame, gamma: float) -> list[alt.Parameter]:
    gammas = [float(g) for g in sorted(top.gamma.unique())]
    start = min(gammas, key=lambda g: abs(np.log(g / gamma)))
    first, last = (round(float(end), 3) for end in np.log10([top.t.min(), top.t.max()]))
    return [
        parts.menu("richness", gammas, "γ", [theme.power_of_ten(g) for g in gammas], start),
        parts.slider("when", first, last, 0.05, "log10 step", last),
        parts.radio("unit", ["ratio", "raw"], "eigenvalues", ["λ/λ_max", "λ in 1/lr_raw"]),
    ]


def _now(rows: pd.DataFrame) -> alt.Chart:
    """The chosen γ, at the step nearest to the slider's."""
    chart = parts.chart_of(rows).transform_filter("datum.gamma == richness")
    return parts.nearest_rows(chart, "abs(datum.log_t - when) + (datum.log_t > when ? 1e-7 : 0)")


def _rank_panel(top: pd.DataFrame, classes: int) -> Any:
    ranks = alt.Scale(domain=[0.0, float(top["rank"].max()) + 1], nice=False)
    x = parts.x_on(ranks, alt.Axis(title="rank", tickCount=6))
    ratio, raw = theme.span(top.ratio, 1.5), theme.span(top.raw, 2)
    axis = theme.log_axis(None, min(ratio[0], raw[0]), max(ratio[1], raw[1]), every=1)
    y = parts.y_on(parts.switched_scale(_OVER_LARGEST, ratio, raw), axis)
    eigenvalues = _now(top).transform_calculate(y=f"{_OVER_LARGEST} ? datum.ratio : datum.raw")
    tooltip = parts.tooltip({"rank": ("rank", None), "raw": "λ", "ratio": ("λ/λ_max", ".2~g")})
    large = parts.chart_of([{"y": analysis.LARGE}]).transform_filter(_OVER_LARGEST)
    return parts.panel(
        parts.upright_rule(classes + 0.5, x, strokeDash=[1, 3], opacity=0.6),
        large.mark_rule(color=theme.STABILITY, strokeWidth=1.2, opacity=0.7).encode(y=y("y")),
        parts.points(eigenvalues, x("rank"), y("y"), size=26, tooltip=tooltip),
        _clock(top),
        title=alt.TitleParams(text=alt.ExprRef(f"{_OVER_LARGEST} ? 'λ_k ÷ λ_max' : 'λ_k, in 1/lr_raw'")),
    )


def _clock(rows: pd.DataFrame) -> alt.Chart:
    """Which step is shown, in the corner that a falling curve leaves free."""
    now = _now(rows[["gamma", "t", "log_t"]].drop_duplicates())
    text = now.transform_calculate(words="'step ' + format(datum.t, ',')")
    return parts.text_at(text, theme.PLANE - 4, 4, align="right", baseline="top", fontWeight="bold", fontSize=12)


def _density_panel(density: pd.DataFrame) -> Any:
    """Bars of equal width on the symmetric logarithm: the number of a bin is its place, labelled by its border's value."""
    y = parts.log_y((_FLOOR, float(density["count"].max()) * 2), every=1)("count")
    gray = alt.value(theme.DIVERGED_FILL)
    ink = alt.condition("datum.high <= 0", gray, alt.Color("log_gamma:Q", scale=theme.gamma_scale(), legend=None))
    tooltip = parts.tooltip({"low": ("λ/λ_max from", ".2~g"), "high": ("to", ".2~g"), "count": "eigenvalues"})
    bins = _now(density).transform_calculate(next="datum.place + 0.85", floor=str(_FLOOR))
    bars = bins.mark_rect(clip=True, opacity=0.85)
    bars = bars.encode(x=_place_axis(), x2="next:Q", y=y, y2="floor:Q", color=ink, tooltip=tooltip)
    return bars.properties(width=theme.PLANE, height=220, title="eigenvalues in each bin")


def _place_axis() -> alt.X:
    """A bin's place, labelled at the powers of ten among the borders."""
    edges, _ = drawn_bins()
    logs = np.log10(np.abs(edges))
    ticks = {int(k): edges[k] for k in np.flatnonzero(np.abs(logs - np.round(logs)) < 1e-6)}
    names = {k: ("−" if e < 0 else "") + theme.power_of_ten(abs(float(e))) for k, e in ticks.items()}
    label = " : ".join(f"datum.value == {k} ? '{name}'" for k, name in names.items()) + " : ''"
    axis = alt.Axis(title="λ/λ_max", values=list(ticks), labelExpr=label, labelOverlap=False)
    return parts.x_on(alt.Scale(domain=[0, len(edges) - 1], nice=False), axis)("place")


# -- words -------------------------------------------------------------------------------------------------------------


def _table(runs: xr.Dataset) -> pd.DataFrame:
    """The first and last step of every γ: means over seeds."""
    rows = []
    for gamma in runs.gamma.values.astype(float):
        here = analysis.select_gamma(runs, gamma)
        for now in (here.isel(step=0), here.isel(step=-1)):
            top, gap = now.top_eigenvalues, analysis.find_widest_gap(now.top_eigenvalues)
            largest = top.isel(eigenvalue=0)
            means = {
                "λ_max": np.exp(np.log(largest).mean()),
                "above the widest gap": gap["count"].mean(),
                "factor of the gap": gap["factor"].mean(),
                _LARGE: analysis.count_large(top).mean(),
                "trace ÷ λ_max": (now.trace / largest).mean(),
            }
            rows.append({"γ": gamma, "step": int(now.step)} | {name: float(mean) for name, mean in means.items()})
    return pd.DataFrame(rows)


def _summary(table: pd.DataFrame) -> str:
    ends = [table[table["γ"] == g].iloc[-1] for g in (table["γ"].min(), table["γ"].max())]
    said = "; ".join(
        f"at γ = {theme.power_of_ten(end['γ'])} the widest gap comes after {end['above the widest gap']:.3g} eigenvalues (a "
        f"factor {end['factor of the gap']:.2g}), and {end[_LARGE]:.3g} are {_LARGE}"
        for end in ends
    )
    return f"After {int(ends[0]['step'])} steps, mean over seeds: {said}."
