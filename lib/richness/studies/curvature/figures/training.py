"""Curves along training, one a γ: the sharpness over its stability line, and how many eigenvalues are large."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.networks.parameterization import natural_eta
from richness.plots import parts, theme
from richness.plots.captions import choose_seed, conditions, depth, recipe
from richness.plots.figure import Figure, figure, with_sources
from richness.runs.results import STATUS
from richness.studies.curvature import analysis
from richness.studies.curvature.figures.ends import name_networks

_SIZES = ("small step", "large step")


def _curves(data: alt.Chart, x: alt.X, y: alt.Y, size: int, said: dict[str, Any]) -> alt.Chart:
    """A line of points for each γ."""
    tooltip = parts.tooltip({"gamma": "γ", "t": ("step", None), **said})
    line = data.mark_line(clip=True, point={"size": size})
    return line.encode(x=x, y=y, detail="gamma:N", color=theme.gamma_colour(legend=True), order="t:Q", tooltip=tooltip)


def _time_table(rows: pd.DataFrame, value: str, prefix: str, **names: str) -> pd.DataFrame:
    """A row a curve, with a column a step; ``names`` are the columns that tell curves apart, and how they are called."""
    table = rows.pivot_table(index=list(names), columns="t", values=value).reset_index()
    table.columns = [names.get(str(column), f"{prefix}at t = {column}") for column in table.columns]
    return table


# -- the sharpness -----------------------------------------------------------------------------------------------------


@with_sources
def sharpness_along_training(
    *results: xr.Dataset, seed: int | None = None, caption: str | None = None, label: str | None = None
) -> Figure:
    """λ_max over its stability line along training, a curve a decade of γ, a panel a result; a control chooses the step.

    Args:
        results: as for `sharpness_exponents`, two at most side by side. seed: whose runs; the first by default.

    Raises:
        ValueError: that seed was not run.
    """
    seed = choose_seed(results[0], seed)
    rows = pd.concat([_sharpness_rows(runs.sel(seed=seed)) for runs in results])
    x, y = parts.log_x(theme.span(rows.t), "steps t"), parts.log_y(_ratio_span(rows), every=1)
    panels = [_sharpness_panel(here, str(net), x("t"), y) for net, here in rows.groupby("net", sort=False)]
    chosen = parts.radio("size", _SIZES, "η", start="large step")
    words = parts.first_words(caption, "The sharpness along training.")
    note = (
        f"{words} λ_max over its stability line 2/lr_raw (red), from step 1 on; one run a decade of γ, of seed {seed}, at "
        "the η next to the small or the large share of natural η. Blue lazy, orange rich. "
        f"{conditions(*results)}"
    )
    table = _time_table(rows, "ratio", "λ_max ÷ (2/lr_raw) ", net="networks", size="step", gamma="γ")
    chart = theme.finish(parts.side_by_side(panels).add_params(chosen))
    return figure(chart, _sharpness_summary(rows), table, note, label)


def _sharpness_rows(runs: xr.Dataset) -> pd.DataFrame:
    """One row for every probed step of the runs next to each share, a decade of γ."""
    rows, width = [], int(recipe(runs)["width"])
    for gamma in runs.gamma.values.astype(float):
        if abs(np.log10(gamma) - round(np.log10(gamma))) > 1e-6:
            continue
        for size in _SIZES:
            run = _nearest_run(runs.sel(gamma=gamma), analysis.step_share(runs, size) * natural_eta(gamma, depth(runs)))
            ratio = run.sharpness.values * width * float(run.eta) / 2
            known = np.isfinite(ratio) & (ratio > 0) & (run.step.values > 0)
            shared = {"net": name_networks(runs), "size": size, "gamma": gamma, "log_gamma": np.log10(gamma)}
            at = zip(run.step.values[known], ratio[known], strict=True)
            rows += [{**shared, "t": int(t), "ratio": float(r)} for t, r in at]
    return pd.DataFrame(rows)


def _nearest_run(runs: xr.Dataset, eta: float) -> xr.Dataset:
    """Of the η that were run at one γ, the nearest."""
    run = np.flatnonzero(runs.status.values != STATUS["not_run"])
    return runs.isel(eta=int(run[np.abs(np.log(runs.eta.values[run] / eta)).argmin()]))


def _ratio_span(rows: pd.DataFrame) -> tuple[float, float]:
    return theme.span(rows.ratio.clip(lower=1e-3), 1.5)


def _sharpness_panel(rows: pd.DataFrame, net: str, x: alt.X, y: parts.Channel) -> Any:
    curves = parts.chart_of(rows).transform_filter("datum.size == size")
    lines = _curves(curves, x, y("ratio"), 18, {"ratio": ("λ_max ÷ (2/lr_raw)", ".2~g")})
    return parts.panel(parts.stability_rule(1, y), lines, title=["λ_max ÷ (2/lr_raw)", net])


def _sharpness_summary(rows: pd.DataFrame) -> str:
    last = rows[rows["size"] == "large step"].groupby(["net", "gamma"], sort=False).last().reset_index()
    ends = "; ".join(
        f"{net}: from {theme.power_of_ten(here.ratio.min())} to {theme.power_of_ten(here.ratio.max())}"
        for net, here in last.groupby("net", sort=False)
    )
    return f"λ_max over its stability line when training ends, at the large step, across γ. {ends}."


# -- how many are large ------------------------------------------------------------------------------------------------


@with_sources
def large_eigenvalues(*results: xr.Dataset, caption: str | None = None, label: str | None = None) -> Figure:
    """How many eigenvalues are above `richness.studies.curvature.analysis.LARGE` of λ_max along training, lazy to rich.

    Args:
        results: as for `spectrum`; a panel each.
    """
    counted = [_count_rows(runs) for runs in results]
    rows = pd.concat(counted)
    x = parts.log_x(theme.span(rows.t), "steps t")("t")
    axis = alt.Axis(title=None, values=[1, 2, 5, 10, 20, 50], format="~g")
    y = parts.y_on(theme.log_scale(1.0, float(rows.high.max()) * 1.3), axis)
    panels = [_count_panel(here, runs, x, y) for here, runs in zip(counted, results, strict=True)]
    words = parts.first_words(caption, "How many eigenvalues are large.")
    note = (
        f"{words} Eigenvalues above {analysis.LARGE:g} of λ_max, mean over seeds, bars from the lowest to the highest seed, "
        f"from step 1 on; at most {int(results[0].sizes['eigenvalue'])} were kept. Dashed: C and 2C, with C the number of "
        f"outputs. {conditions(*results)}"
    )
    table = _time_table(rows, "value", "", net="networks", gamma="γ")
    return figure(theme.finish(parts.side_by_side(panels)), _count_summary(rows), table, note, label)


def _count_rows(runs: xr.Dataset) -> pd.DataFrame:
    rows = []
    for gamma in runs.gamma.values.astype(float):
        count = analysis.count_large(analysis.select_gamma(runs, gamma).top_eigenvalues)
        where = {"net": name_networks(runs), "gamma": gamma, "log_gamma": np.log10(gamma)}
        for t in count.step.values[count.step.values > 0]:
            now = count.sel(step=t).values
            if np.isfinite(now).any():
                rows.append(
                    where | {"t": int(t), "value": np.nanmean(now), "low": np.nanmin(now), "high": np.nanmax(now)}
                )
    return pd.DataFrame(rows)


def _count_panel(rows: pd.DataFrame, runs: xr.Dataset, x: alt.X, y: parts.Channel) -> Any:
    classes, data = analysis.count_outputs(runs), parts.chart_of(rows)
    levels = parts.chart_of([{"value": classes}, {"value": 2 * classes}])
    return parts.panel(
        parts.level_rules(levels, y("value"), opacity=0.7),
        parts.intervals(data, x, y, "low", "high"),
        _curves(data, x, y("value"), 24, {"value": "large eigenvalues"}),
        title=[f"eigenvalues above {analysis.LARGE:g} of λ_max", f"task {recipe(runs)['task']}"],
    )


def _count_summary(rows: pd.DataFrame) -> str:
    said = "; ".join(
        f"{net}: {', '.join(f'{row.value:.3g} at γ = {theme.power_of_ten(row.gamma)}' for row in here.itertuples())}"
        for net, here in rows[rows.t == rows.t.max()].groupby("net", sort=False)
    )
    return f"Eigenvalues above {analysis.LARGE:g} of λ_max after {int(rows.t.max())} steps. {said}."
