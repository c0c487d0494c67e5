"""The Hessian: its largest eigenvalue at the end and along training, its spectrum, and how many eigenvalues stand out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.exponents import Exponent
from richness.networks.parameterization import natural_eta
from richness.plots import theme
from richness.plots.cells import LOSS_NAMES, conditions, depth, natural_words, recipe, records
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import say_nothing_drawn, shape_legend
from richness.runs.probes import DENSITY_EDGES
from richness.runs.results import STATUS, recipe_of
from richness.studies.curvature import analysis as found
from richness.studies.portrait.figures.exponents import fit_columns

_SHAPES = {"small step": "triangle-down", "large step": "circle", "equal τ": "diamond"}
_INK = {"lazy": theme.LAZY, "rich": theme.RICH}


def _name(runs: xr.Dataset) -> str:
    made = recipe(runs)
    return f"L = {depth(runs)}, {LOSS_NAMES.get(made['loss'], made['loss'])}, {made['task']}"


# -- the sharpness at the end ------------------------------------------------------------------------------------------


@with_sources
def sharpness_exponents(
    *results: xr.Dataset, first: int = 0, caption: str | None = None, label: str | None = None
) -> Figure:
    """λ_max late in training against γ, in the three readings of `richness.studies.curvature.analysis`, with fits and theory.

    A control chooses among the results. Left, λ_max; right, times natural η, so that theory is level, with the stability line
    of each step size.

    Args:
        results: as `richness.studies.curvature.analysis.sharpness` takes them. first: which is shown at first.

    Where no γ has a value (a smoke run, say), the figure says so in words.
    """
    points = pd.concat([_late(runs) for runs in results])
    words = (caption or "λ_max late in training.").rstrip()
    if points.empty:
        why = "At no γ did the runs beside the compared step sizes converge: there is no end of training to compare."
        return say_nothing_drawn(why, results[0], words, label)
    fits = {_name(runs): {r: found.fit_exponents(runs, r) for r in found.READINGS} for runs in results}
    names = [name for name in fits if name in set(points.net)]
    start = _name(results[first]) if _name(results[first]) in names else names[0]
    chosen = alt.param(name="chosen", value=start, bind=alt.binding_select(options=names, name="networks "))
    axes = _Axes(points)
    left = [_model(points, axes), *_fitted(fits, axes), *_marks(points, axes, ""), _slopes(fits)]
    right = [*_levels(points, results, axes), *_marks(points, axes, "_s")]
    panels = [
        alt.layer(*[layer for layer in layers if layer is not None]).properties(
            width=theme.PLANE, height=230, title=title
        )
        for layers, title in ((left, "λ_max, in 1/lr_raw"), (right, "λ_max × natural η"))
    ]
    chart = theme.beside(*panels).add_params(chosen)
    sizes = "; ".join(
        f"{task} under {LOSS_NAMES.get(loss, loss)}: {small:g} and {large:g}"
        for (task, loss), (small, large) in _shares(results).items()
    )
    note = (
        f"{words} λ_max: the largest eigenvalue of the Hessian of the loss as trained, raw weights, on the fixed probe set. "
        f"Small and large step: after the last step, at two shares of natural η, {natural_words(*results)} ({sizes}). Equal "
        f"τ: at the small step, at τ = ηt/γ = {found.TAU:g}, γ ≥ 1. Points: geometric mean over seeds, bars from the lowest to "
        "the highest seed; no point where the runs had not converged or τ was not reached. Solid: least squares in the first "
        "window of each side, with its exponent. Dashed: the solvable model's λ* = L²(1+γ)^(2−2/L)/γ² at its minimum, at the "
        f"height of the lazy points. Red: the stability line 2/lr_raw of each step size. {conditions(*results)}"
    )
    return figure(theme.finished(chart), _late_summary(fits[start], start), _fit_table(fits), note, label)


def _shares(results: Sequence[xr.Dataset]) -> dict[tuple[str, str], tuple[float, float]]:
    return {
        (recipe(runs)["task"], recipe(runs)["loss"]): (
            found.step_share(runs, "small step"),
            found.step_share(runs, "large step"),
        )
        for runs in results
    }


def _late(runs: xr.Dataset) -> pd.DataFrame:
    """One row for every γ and reading that has a value: geometric mean over seeds, lowest and highest seed."""
    rows, L, width = [], depth(runs), int(recipe(runs)["width"])
    for reading in found.READINGS:
        values = found.read_sharpness(runs, reading)
        for gamma, here in zip(values.gamma.values.astype(float), values.values, strict=True):
            seen = here[np.isfinite(here)]
            if not seen.size:
                continue
            natural = float(natural_eta(gamma, L))
            ends = {"lam": np.exp(np.log(seen).mean()), "low": seen.min(), "high": seen.max()}
            rows.append(
                {"net": _name(runs), "L": L, "reading": reading, "gamma": gamma, "log_gamma": np.log10(gamma), **ends}
                | {f"{key}_s": value * natural for key, value in ends.items()}
                | {"edge": ends["lam"] * width * found.step_share(runs, reading) * natural / 2}
            )
    return pd.DataFrame(rows)


def _side(one: Exponent) -> str:
    return "lazy" if one.asked[0] == 0 else "rich"


def _of_chosen(rows: pd.DataFrame) -> Any:
    return alt.Chart(alt.InlineData(values=records(rows))).transform_filter("datum.net == chosen")


class _Axes:
    """The axes that all results share, so that nothing but the points moves when another is chosen."""

    def __init__(self, points: pd.DataFrame) -> None:
        self.gammas = theme.span(points.gamma, 1.3)
        self.lams = theme.span([*points.low, *points.high], 2)
        self.straight = theme.span([*points.low_s, *points.high_s, *(points.lam_s / points.edge)], 1.6)

    @property
    def x(self) -> alt.X:
        return alt.X("gamma:Q", scale=theme.log_scale(*self.gammas), axis=theme.log_axis("γ, richness", *self.gammas))

    def y(self, field: str) -> alt.Y:
        """Fields that end in ``_s`` are straightened."""
        span = self.straight if field.endswith("_s") else self.lams
        return alt.Y(f"{field}:Q", scale=theme.log_scale(*span), axis=theme.log_axis(None, *span))


def _model(points: pd.DataFrame, axes: _Axes) -> Any:
    """The solvable model's λ*, at the height of the lazy points."""
    along, rows = np.geomspace(*axes.gammas, 25), []
    for net, L, level in _heights(points):
        rows += [{"net": net, "gamma": g, "lam": level / natural_eta(g, L)} for g in along]
    line = _of_chosen(pd.DataFrame(rows)).mark_line(strokeDash=[5, 3], strokeWidth=1.4, stroke=theme.TEXT, clip=True)
    return line.encode(x=axes.x, y=axes.y("lam"))


def _heights(points: pd.DataFrame) -> list[tuple[str, int, float]]:
    """(networks, L, mean of λ_max × natural η over γ ≤ 0.01, or over all γ where none is so small)."""
    levels = []
    for net, here in points.groupby("net", sort=False):
        lazy = here[here.gamma <= 0.01]
        level = np.exp(np.log((lazy if len(lazy) else here).lam_s).mean())
        levels.append((str(net), int(here.L.iloc[0]), float(level)))
    return levels


def _first_windows(fits: dict[str, dict[str, list[Exponent]]]) -> list[tuple[str, str, str, Exponent]]:
    """(networks, reading, side, exponent) of the first window of each side that has a fit."""
    return [
        (net, reading, _side(one), one)
        for net, readings in fits.items()
        for reading, both in readings.items()
        for one in both[::2]
        if one.fit is not None
    ]


def _fitted(fits: dict[str, dict[str, list[Exponent]]], axes: _Axes) -> list[Any]:
    rows = []
    for net, reading, side, one in _first_windows(fits):
        assert one.fit is not None
        ends = np.array(one.fit.window)
        heights = 10.0 ** (one.fit.intercept + one.fit.slope * np.log10(ends))
        shared = {"net": net, "fit": f"{reading} {side}", "side": side}
        rows += [{**shared, "gamma": g, "lam": h} for g, h in zip(ends, heights, strict=True)]
    if not rows:
        return []
    ink = alt.Stroke("side:N", scale=alt.Scale(domain=list(_INK), range=list(_INK.values())), legend=None)
    mark = _of_chosen(pd.DataFrame(rows)).mark_line(strokeWidth=2.6, opacity=0.6, clip=True)
    return [mark.encode(x=axes.x, y=axes.y("lam"), detail="fit:N", stroke=ink)]


def _slopes(fits: dict[str, dict[str, list[Exponent]]]) -> Any:
    """The first windows' exponents, in the corner that a falling curve leaves free."""
    lines: dict[str, list[str]] = {}
    for net, reading, side, one in _first_windows(fits):
        assert one.fit is not None
        lines.setdefault(net, []).append(f"{side}, {reading}: {_number(one.fit.slope)}")
    rows = [{"net": net, "words": "\n".join(words)} for net, words in lines.items()]
    if not rows:
        return None
    text = _of_chosen(pd.DataFrame(rows)).mark_text(align="right", baseline="top", fontSize=11, lineBreak="\n")
    return text.encode(x=alt.value(theme.PLANE - 2), y=alt.value(3), text="words:N")


def _marks(points: pd.DataFrame, axes: _Axes, suffix: str) -> list[Any]:
    shape = alt.Shape(
        "reading:N",
        scale=alt.Scale(domain=list(_SHAPES), range=list(_SHAPES.values())),
        legend=shape_legend(theme.RICH),
    )
    rows = _of_chosen(points)
    tooltip = [
        alt.Tooltip("reading:N", title="reading"),
        alt.Tooltip("gamma:Q", title="γ", format=".3~g"),
        alt.Tooltip("lam:Q", title="λ_max", format=".3~g"),
        alt.Tooltip("edge:Q", title="λ_max ÷ (2/lr_raw)", format=".2~g"),
    ]
    bars = rows.mark_rule(strokeWidth=1.2).encode(x=axes.x, y=axes.y(f"low{suffix}"), y2=f"high{suffix}:Q")
    dots = rows.mark_point(size=30, filled=False, stroke=theme.TEXT, strokeWidth=0.6)
    fill = alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None)
    return [bars, dots.encode(x=axes.x, y=axes.y(f"lam{suffix}"), shape=shape, fill=fill, tooltip=tooltip)]


def _levels(points: pd.DataFrame, results: Sequence[xr.Dataset], axes: _Axes) -> list[Any]:
    """Straightened: the model's level, and the stability lines."""
    level = pd.DataFrame([{"net": net, "lam_s": height} for net, _, height in _heights(points)])
    red = pd.DataFrame(
        [
            {
                "net": _name(runs),
                "words": f"2/lr_raw, {step}",
                "lam_s": 2 / (int(recipe(runs)["width"]) * found.step_share(runs, step)),
            }
            for runs in results
            for step in ("small step", "large step")
        ]
    )
    y = axes.y("lam_s")
    names = _of_chosen(red).mark_text(color=theme.TEXT, align="left", baseline="bottom", dy=-2, fontSize=10, clip=True)
    return [
        _of_chosen(level).mark_rule(strokeDash=[5, 3], strokeWidth=1.4, stroke=theme.TEXT, clip=True).encode(y=y),
        _of_chosen(red).mark_rule(color=theme.STABILITY, strokeWidth=1.4, clip=True).encode(y=y),
        names.encode(x=alt.value(4), y=y, text="words:N"),
    ]


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _late_summary(fits: dict[str, list[Exponent]], name: str) -> str:
    sides: dict[str, list[str]] = {}
    for _, reading, side, one in _first_windows({name: fits}):
        assert one.fit is not None
        sides.setdefault(f"{side} (predicted {_number(one.predicted)})", []).append(
            f"{_number(one.fit.slope)} at {reading}"
        )
    if not sides:
        return f"{name}: too few γ for an exponent of λ_max, in any of {sum(map(len, fits.values()))} windows."
    said = "; ".join(f"{side} {', '.join(slopes)}" for side, slopes in sides.items())
    return f"{name}. The exponent of λ_max in γ, first window of each side: {said}."


def _fit_table(fits: dict[str, dict[str, list[Exponent]]]) -> pd.DataFrame:
    rows = []
    for net, readings in fits.items():
        for reading, both in readings.items():
            for one in both:
                rows.append({"networks": net, "reading": reading, "side": _side(one)} | fit_columns(one))
    return pd.DataFrame(rows)


# -- the sharpness along training --------------------------------------------------------------------------------------


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
    seeds = [int(s) for s in results[0]["seed"].values]
    one_seed = seeds[0] if seed is None else int(seed)
    if one_seed not in seeds:
        raise ValueError(f"expected one of the seeds that were run, {seeds}; got {seed}")
    rows = pd.concat([_along(runs.sel(seed=one_seed)) for runs in results])
    steps, ratios = theme.span(rows.t), theme.span(rows.ratio.clip(lower=1e-3), 1.5)
    bind = alt.binding_radio(options=["small step", "large step"], name="η ")
    chosen = alt.param(name="size", value="large step", bind=bind)
    panels = [_along_panel(here, str(net), steps, ratios) for net, here in rows.groupby("net", sort=False)]
    chart = (theme.beside(*panels) if len(panels) > 1 else panels[0]).add_params(chosen)
    words = (caption or "The sharpness along training.").rstrip()
    note = (
        f"{words} λ_max over its stability line 2/lr_raw (red), from step 1 on; one run a decade of γ, of seed {one_seed}, at "
        "the η next to the small or the large share of natural η. Blue lazy, orange rich. "
        f"{conditions(*results)}"
    )
    last = rows[rows["size"] == "large step"].groupby(["net", "gamma"], sort=False).last().reset_index()
    table = rows.pivot_table(index=["net", "size", "gamma"], columns="t", values="ratio").reset_index()
    table = table.rename(columns={"net": "networks", "size": "step", "gamma": "γ"})
    table.columns = [
        f"λ_max ÷ (2/lr_raw) at t = {c}" if isinstance(c, int | np.integer) else str(c) for c in table.columns
    ]
    ends = "; ".join(
        f"{net}: from {theme.power_of_ten(here.ratio.min())} to {theme.power_of_ten(here.ratio.max())}"
        for net, here in last.groupby("net", sort=False)
    )
    summary = f"λ_max over its stability line when training ends, at the large step, across γ. {ends}."
    return figure(theme.finished(chart), summary, table, note, label)


def _along(one: xr.Dataset) -> pd.DataFrame:
    """One row for every probed step of the runs next to each share, a decade of γ."""
    rows, L, width = [], depth(one), int(recipe(one)["width"])
    for gamma in one.gamma.values.astype(float):
        if abs(np.log10(gamma) - round(np.log10(gamma))) > 1e-6:
            continue
        here = one.sel(gamma=gamma)
        run = np.flatnonzero(here.status.values != STATUS["not_run"])
        for size in ("small step", "large step"):
            away = np.abs(np.log(here.eta.values[run] / (found.step_share(one, size) * natural_eta(gamma, L))))
            cell = here.isel(eta=int(run[away.argmin()]))
            ratio = cell.sharpness.values * width * float(cell.eta) / 2
            known = np.isfinite(ratio) & (ratio > 0) & (cell.step.values > 0)
            shared = {"net": _name(one), "size": size, "gamma": gamma, "log_gamma": np.log10(gamma)}
            rows += [
                {**shared, "t": int(t), "ratio": float(r)}
                for t, r in zip(cell.step.values[known], ratio[known], strict=True)
            ]
    return pd.DataFrame(rows)


def _along_panel(rows: pd.DataFrame, title: str, steps: tuple[float, float], ratios: tuple[float, float]) -> Any:
    x = alt.X("t:Q", scale=theme.log_scale(*steps), axis=theme.log_axis("steps t", *steps, every=1))
    y = alt.Y("ratio:Q", scale=theme.log_scale(*ratios), axis=theme.log_axis(None, *ratios, every=1))
    curves = alt.Chart(alt.InlineData(values=records(rows))).transform_filter("datum.size == size")
    tooltip = [
        alt.Tooltip("gamma:Q", title="γ", format=".3~g"),
        alt.Tooltip("t:Q", title="step"),
        alt.Tooltip("ratio:Q", title="λ_max ÷ (2/lr_raw)", format=".2~g"),
    ]
    line = curves.mark_line(clip=True, point={"size": 18}).encode(
        x=x, y=y, detail="gamma:N", color=theme.gamma_colour(legend=True), order="t:Q", tooltip=tooltip
    )
    stability = alt.Chart(alt.InlineData(values=[{"ratio": 1}])).mark_rule(color=theme.STABILITY, strokeWidth=1.6)
    return alt.layer(stability.encode(y=y), line).properties(
        width=theme.PLANE, height=220, title=["λ_max ÷ (2/lr_raw)", title]
    )


# -- the spectrum ------------------------------------------------------------------------------------------------------

_RESOLVED = (
    1e-2  # of λ_max: nearer to 0 than this, a density of so few Lanczos steps resolves little, and one bar holds all
)
_DRAWN = 10**0.25  # of λ_max: what lies beyond on either side is drawn in the last bin there
_FLOOR = 0.1  # of an eigenvalue a bin: below it nothing is drawn


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
    seeds = [int(s) for s in runs["seed"].values]
    one_seed = seeds[0] if seed is None else int(seed)
    if one_seed not in seeds:
        raise ValueError(f"expected one of the seeds that were run, {seeds}; got {seed}")
    top, density = _spectra(runs.sel(seed=[one_seed]))
    words = (caption or "The Hessian's spectrum along training.").rstrip()
    gammas = sorted(top.gamma.unique())
    steps = sorted(top.t.unique())
    start = min(gammas, key=lambda g: abs(np.log(g / gamma)))
    which = alt.param(
        name="richness",
        value=float(start),
        bind=alt.binding_select(
            options=[float(g) for g in gammas], labels=[theme.power_of_ten(g) for g in gammas], name="γ "
        ),
    )
    ends = np.log10([steps[0], steps[-1]])
    slider: Any = alt.binding_range(min=round(ends[0], 3), max=round(ends[1], 3), step=0.05, name="log10 step")
    when = alt.param(name="when", value=round(float(ends[1]), 3), bind=slider)
    unit = alt.param(
        name="unit",
        value="ratio",
        bind=alt.binding_radio(options=["ratio", "raw"], labels=["λ/λ_max", "λ in 1/lr_raw"], name="eigenvalues "),
    )
    chart = theme.beside(_rank_panel(top, found.count_outputs(runs)), _density_panel(density)).add_params(
        which, when, unit
    )
    kept, classes = int(top["rank"].max()), found.count_outputs(runs)
    note = (
        f"{words} Left: the {kept} largest eigenvalues by rank; dotted: after the C-th, with C = {classes} outputs; red, over "
        f"λ_max: {found.LARGE:g}, above which an eigenvalue counts as large. Right: how many eigenvalues lie in each bin of "
        "λ/λ_max, by stochastic Lanczos; the bins are logarithmic to both sides of 0 (grey: negative), the middle one holds "
        f"all within {_RESOLVED:g} of 0, which the method does not resolve. Hessian of the loss as trained, raw weights, on "
        f"{recipe(runs).get('probe_samples', '?')} fixed samples. One η a γ, at one share of natural η, {natural_words(runs)}; "
        f"seed {one_seed}; the slider takes the nearest step measured. {conditions(runs)}"
    )
    table = _spectrum_table(runs)
    return figure(theme.finished(chart), _spectrum_summary(table), table, note, label)


@with_sources
def two_spectra(runs: xr.Dataset, label: str | None = None) -> Figure:
    """The largest eigenvalues at the end of the laziest and of the richest run, over λ_max, side by side.

    Args:
        runs: as for `spectrum`; the first seed is drawn.
    """
    top, _ = _spectra(runs.isel(seed=[0]))
    ends = [top[(top.gamma == g) & (top.t == top.t.max())] for g in (top.gamma.min(), top.gamma.max())]
    if any(end.empty for end in ends):
        raise ValueError(
            "expected positive eigenvalues at the last step of the smallest and the largest γ, found none."
        )
    heights = theme.span(pd.concat(ends).ratio, 1.5)
    ranks = alt.X("rank:Q", axis=alt.Axis(title="rank", tickCount=6))
    y = alt.Y("ratio:Q", scale=theme.log_scale(*heights), axis=theme.log_axis("λ_k ÷ λ_max", *heights))
    panels = [
        alt.Chart(alt.InlineData(values=records(end[["rank", "ratio", "raw", "log_gamma"]])))
        .mark_point(size=26, stroke=theme.TEXT, strokeWidth=0.5)
        .encode(x=ranks, y=y, fill=alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None))
        .properties(width=theme.PLANE, height=200, title=f"γ = {theme.power_of_ten(float(end.gamma.iloc[0]))}")
        for end in ends
    ]
    large = [int((end.ratio > found.LARGE).sum()) for end in ends]
    summary = (
        f"Above {found.LARGE:g} of λ_max lie {large[0]} eigenvalues in the lazy run and {large[1]} in the rich one."
    )
    table = pd.concat(ends)[["gamma", "rank", "raw", "ratio"]]
    note = (
        f"The {int(top['rank'].max())} largest eigenvalues of the Hessian, by rank, over the largest, at the end of a lazy and "
        f"of a rich run; first seed. {conditions(runs)}"
    )
    return figure(theme.finished(theme.beside(*panels)), summary, table.reset_index(drop=True), note, label)


def _spectra(runs: xr.Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The largest eigenvalues, one row each, and the densities, one row a bin that holds something; step 0 left out."""
    tops, bins = [], []
    edges, to = _drawn_bins()
    network = recipe_of(runs).architecture
    parameters = sum(w.numel() for w in network.initialise(0))
    for gamma in runs.gamma.values.astype(float):
        here = found.select_gamma(runs, gamma).isel(seed=0)
        for t in here.step.values[here.step.values > 0]:
            now = here.sel(step=t)
            values = now.top_eigenvalues.values
            where = {"gamma": gamma, "log_gamma": np.log10(gamma), "t": int(t), "log_t": np.log10(t)}
            tops += [
                {**where, "rank": k + 1, "raw": values[k], "ratio": values[k] / values[0]}
                for k in np.flatnonzero(values > 0)
            ]
            counts = np.bincount(to, now.spectral_density.fillna(0).values, len(edges) - 1) * parameters
            bins += [
                {**where, "place": place, "count": counts[place], "low": edges[place], "high": edges[place + 1]}
                for place in np.flatnonzero(counts >= _FLOOR)
            ]
    return pd.DataFrame(tops), pd.DataFrame(bins)


def _drawn_bins() -> tuple[np.ndarray, np.ndarray]:
    """Borders of the bins that are drawn, and in which of them each bin of the probe falls."""
    size = np.abs(DENSITY_EDGES)
    edges = DENSITY_EDGES[(size >= _RESOLVED * 0.999) & (size <= _DRAWN * 1.001)]
    middles = (DENSITY_EDGES[1:] + DENSITY_EDGES[:-1]) / 2
    return edges, np.clip(np.searchsorted(edges, middles) - 1, 0, len(edges) - 2)


def _now(rows: pd.DataFrame) -> Any:
    """The chosen γ, at the step nearest to the slider's."""
    chart = alt.Chart(alt.InlineData(values=records(rows))).transform_filter("datum.gamma == richness")
    chart = chart.transform_calculate(away="abs(datum.log_t - when) + (datum.log_t > when ? 1e-7 : 0)")
    return chart.transform_joinaggregate(nearest="min(away)").transform_filter("datum.away == datum.nearest")


def _rank_panel(top: pd.DataFrame, classes: int) -> Any:
    ranks = (0.0, float(top["rank"].max()) + 1)
    spans = {"ratio": theme.span(top.ratio, 1.5), "raw": theme.span(top.raw, 2)}
    low, high = (
        alt.ExprRef(f"unit == 'ratio' ? {theme.significant(r)} : {theme.significant(a)}")
        for r, a in zip(spans["ratio"], spans["raw"], strict=True)
    )
    every = theme.log_axis(
        None, min(spans["ratio"][0], spans["raw"][0]), max(spans["ratio"][1], spans["raw"][1]), every=1
    )
    y = alt.Y("y:Q", scale=alt.Scale(type="log", domain=[low, high], nice=False), axis=every)
    x = alt.X("rank:Q", scale=alt.Scale(domain=list(ranks), nice=False), axis=alt.Axis(title="rank", tickCount=6))
    points = (
        _now(top)
        .transform_calculate(y="unit == 'ratio' ? datum.ratio : datum.raw")
        .mark_point(size=26, filled=False, stroke=theme.TEXT, strokeWidth=0.5)
    )
    fill = alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None)
    tooltip = [
        alt.Tooltip("rank:Q", title="rank"),
        alt.Tooltip("raw:Q", title="λ", format=".3~g"),
        alt.Tooltip("ratio:Q", title="λ/λ_max", format=".2~g"),
    ]
    dotted = alt.Chart(alt.InlineData(values=[{"rank": classes + 0.5}])).mark_rule(strokeDash=[1, 3], opacity=0.6)
    line = alt.Chart(alt.InlineData(values=[{"y": found.LARGE}])).transform_filter("unit == 'ratio'")
    line = line.mark_rule(color=theme.STABILITY, strokeWidth=1.2, opacity=0.7)
    title = alt.TitleParams(text=alt.ExprRef("unit == 'ratio' ? 'λ_k ÷ λ_max' : 'λ_k, in 1/lr_raw'"))
    layers = [dotted.encode(x=x), line.encode(y=y), points.encode(x=x, y=y, fill=fill, tooltip=tooltip), _clock(top)]
    return alt.layer(*layers).properties(width=theme.PLANE, height=220, title=title)


def _clock(rows: pd.DataFrame) -> Any:
    """Which step is shown, in the corner that a falling curve leaves free."""
    times = rows[["gamma", "t", "log_t"]].drop_duplicates()
    text = _now(times).transform_calculate(words="'step ' + format(datum.t, ',')")
    mark = text.mark_text(align="right", baseline="top", fontWeight="bold", fontSize=12)
    return mark.encode(x=alt.value(theme.PLANE - 4), y=alt.value(4), text="words:N")


def _density_panel(density: pd.DataFrame) -> Any:
    """Bars of equal width on the symmetric logarithm: the number of a bin is its place, labelled by its border's value."""
    edges, _ = _drawn_bins()
    counts = (_FLOOR, float(density["count"].max()) * 2)
    y = alt.Y("count:Q", scale=theme.log_scale(*counts), axis=theme.log_axis(None, *counts, every=1))
    ticks = {k: e for k, e in enumerate(edges) if abs(np.log10(abs(e)) - round(np.log10(abs(e)))) < 1e-6}
    names = {k: ("−" if e < 0 else "") + theme.power_of_ten(abs(float(e))) for k, e in ticks.items()}
    label = " : ".join(f"datum.value == {k} ? '{name}'" for k, name in names.items()) + " : ''"
    axis = alt.Axis(title="λ/λ_max", values=list(ticks), labelExpr=label, labelOverlap=False)
    x = alt.X("place:Q", scale=alt.Scale(domain=[0, len(edges) - 1], nice=False), axis=axis)
    ink = alt.condition(
        "datum.high <= 0",
        alt.value(theme.DIVERGED_FILL),
        alt.Color("log_gamma:Q", scale=theme.gamma_scale(), legend=None),
    )
    tooltip = [
        alt.Tooltip("low:Q", title="λ/λ_max from", format=".2~g"),
        alt.Tooltip("high:Q", title="to", format=".2~g"),
        alt.Tooltip("count:Q", title="eigenvalues", format=".3~g"),
    ]
    bars = (
        _now(density)
        .transform_calculate(next="datum.place + 0.85", floor=str(_FLOOR))
        .mark_rect(clip=True, opacity=0.85)
    )
    bars = bars.encode(x=x, x2="next:Q", y=y, y2="floor:Q", color=ink, tooltip=tooltip)
    return bars.properties(width=theme.PLANE, height=220, title="eigenvalues in each bin")


def _spectrum_table(runs: xr.Dataset) -> pd.DataFrame:
    """The first and last step of every γ: means over seeds."""
    rows = []
    for gamma in runs.gamma.values.astype(float):
        here = found.select_gamma(runs, gamma)
        for t in (here.step.values[0], here.step.values[-1]):
            top = here.top_eigenvalues.sel(step=t)
            gap = found.find_widest_gap(top)
            rows.append(
                {
                    "γ": gamma,
                    "step": int(t),
                    "λ_max": float(np.exp(np.log(top.isel(eigenvalue=0)).mean())),
                    "above the widest gap": float(gap["count"].mean()),
                    "factor of the gap": float(gap["factor"].mean()),
                    f"above {found.LARGE:g} of λ_max": float(found.count_large(top).mean()),
                    "trace ÷ λ_max": float((here.trace.sel(step=t) / top.isel(eigenvalue=0)).mean()),
                }
            )
    return pd.DataFrame(rows)


def _spectrum_summary(table: pd.DataFrame) -> str:
    ends = [table[table["γ"] == g].iloc[-1] for g in (table["γ"].min(), table["γ"].max())]
    parts = []
    for end in ends:
        gap, factor, large = (
            end["above the widest gap"],
            end["factor of the gap"],
            end[f"above {found.LARGE:g} of λ_max"],
        )
        parts.append(
            f"at γ = {theme.power_of_ten(end['γ'])} the widest gap comes after {gap:.3g} eigenvalues (a factor {factor:.2g}), "
            f"and {large:.3g} are above {found.LARGE:g} of λ_max"
        )
    return f"After {int(ends[0]['step'])} steps, mean over seeds: {'; '.join(parts)}."


# -- how many are large ------------------------------------------------------------------------------------------------


@with_sources
def large_eigenvalues(*results: xr.Dataset, caption: str | None = None, label: str | None = None) -> Figure:
    """How many eigenvalues are above `richness.studies.curvature.analysis.LARGE` of λ_max along training, lazy to rich.

    Args:
        results: as for `spectrum`; a panel each.
    """
    rows = pd.concat([_counted(runs) for runs in results])
    counts = (1.0, float(rows.high.max()) * 1.3)
    steps = theme.span(rows.t)
    panels = [
        _count_panel(_counted(runs), f"task {recipe(runs)['task']}", found.count_outputs(runs), steps, counts)
        for runs in results
    ]
    chart = theme.beside(*panels) if len(panels) > 1 else panels[0]
    kept = int(results[0].sizes["eigenvalue"])
    words = (caption or "How many eigenvalues are large.").rstrip()
    note = (
        f"{words} Eigenvalues above {found.LARGE:g} of λ_max, mean over seeds, bars from the lowest to the highest seed, from "
        f"step 1 on; at most {kept} were kept. Dashed: C and 2C, with C the number of outputs. {conditions(*results)}"
    )
    last = rows[rows.t == rows.t.max()]
    said = "; ".join(
        f"{net}: {', '.join(f'{row.value:.3g} at γ = {theme.power_of_ten(row.gamma)}' for row in here.itertuples())}"
        for net, here in last.groupby("net", sort=False)
    )
    table = rows.pivot_table(index=["net", "gamma"], columns="t", values="value").reset_index()
    table.columns = [
        f"at t = {c}" if isinstance(c, int | np.integer) else {"net": "networks", "gamma": "γ"}[str(c)]
        for c in table.columns
    ]
    summary = f"Eigenvalues above {found.LARGE:g} of λ_max after {int(rows.t.max())} steps. {said}."
    return figure(theme.finished(chart), summary, table, note, label)


def _counted(runs: xr.Dataset) -> pd.DataFrame:
    rows = []
    for gamma in runs.gamma.values.astype(float):
        here = found.select_gamma(runs, gamma)
        count = found.count_large(here.top_eigenvalues)
        for t in here.step.values[here.step.values > 0]:
            now = count.sel(step=t).values
            if not np.isfinite(now).any():
                continue
            rows.append(
                {
                    "net": _name(runs), "gamma": gamma, "log_gamma": np.log10(gamma), "t": int(t), "value": np.nanmean(now),
                    "low": np.nanmin(now), "high": np.nanmax(now),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _count_panel(
    rows: pd.DataFrame, title: str, classes: int, steps: tuple[float, float], counts: tuple[float, float]
) -> Any:
    x = alt.X("t:Q", scale=theme.log_scale(*steps), axis=theme.log_axis("steps t", *steps, every=1))
    scale = theme.log_scale(*counts)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=scale, axis=alt.Axis(title=None, values=[1, 2, 5, 10, 20, 50], format="~g"))

    data = alt.InlineData(values=records(rows))
    levels = alt.Chart(alt.InlineData(values=[{"value": classes}, {"value": 2 * classes}]))
    dashed = levels.mark_rule(strokeDash=[5, 3], strokeWidth=1.2, stroke=theme.TEXT, opacity=0.7)
    tooltip = [
        alt.Tooltip("gamma:Q", title="γ", format=".3~g"),
        alt.Tooltip("t:Q", title="step"),
        alt.Tooltip("value:Q", title="large eigenvalues", format=".3~g"),
    ]
    bars = alt.Chart(data).mark_rule(strokeWidth=1.2).encode(x=x, y=y("low"), y2="high:Q")
    line = (
        alt.Chart(data)
        .mark_line(clip=True, point={"size": 24})
        .encode(
            x=x, y=y("value"), detail="gamma:N", color=theme.gamma_colour(legend=True), order="t:Q", tooltip=tooltip
        )
    )
    return alt.layer(dashed.encode(y=y("value")), bars, line).properties(
        width=theme.PLANE, height=220, title=[f"eigenvalues above {found.LARGE:g} of λ_max", title]
    )
