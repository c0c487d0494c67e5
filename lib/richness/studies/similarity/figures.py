"""How alike networks of different γ are: their outputs side by side, R² and CKA of all pairs, and their weights' spectra."""

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
from richness.plots.parts import records
from richness.studies.similarity import analysis as found

ALIKE = ("#efeaf5", "#cdb4e6", "#9a4fd1", "#4a1a78")  # 0 to 1; no colour that γ, late loss or stability has
_PAIRS = 40  # held-out samples of which a scatter plot shows every output
_SHARE = "Each γ has one η, the same share of its natural η. "
_SEEDS = "A seed stands for the initial weights and the stream. "
_DEFINED = (
    "R² = 1 − Σ(f − g)² / ½(Σf² + Σg²) over held-out samples and outputs, about the function at step 0; CKA: linear, "
    "debiased, of each hidden layer's pre-activations. "
)


def _words(caption: str | None, default: str) -> str:
    return (caption or default).rstrip() + " "


def _say(measure: str) -> str:
    return "R² of outputs" if measure == "R²" else f"CKA, hidden layer {measure.split()[1]}"


def _chosen_time(chart: Any) -> Any:
    """Only the rows whose time is nearest to the slider's."""
    chart = chart.transform_calculate(away="abs(datum.log_time - when)")
    return chart.transform_joinaggregate(nearest="min(away)").transform_filter("datum.away == datum.nearest")


def _measures(names: list[str]) -> alt.Parameter:
    labels = [_say(name) for name in names]
    return alt.param(name="what", value=names[0], bind=alt.binding_radio(options=names, labels=labels, name="compare "))


# -- outputs side by side ----------------------------------------------------------------------------------------------


@with_sources
def outputs_scatter(
    runs: xr.Dataset, *, gamma: float = 10.0, caption: str | None = None, label: str | None = None
) -> Figure:
    """One network's held-out outputs at the last step against another's: γ of the second on a slider, its seed the next.

    Args:
        runs: a result with ``outputs``. gamma: of the first network; the nearest that was run.
    """
    kept = found.pick_networks(runs).isel(step=-1)
    f = kept.outputs.transpose("gamma", "seed", "sample", "output").values.astype(float)
    gammas = kept.gamma.values
    one, other = int(np.abs(np.log(gammas / gamma)).argmin()), min(1, kept.sizes["seed"] - 1)
    table = found.compare_pairs(found.pick_networks(runs)).sel(measure="R²").values[one, :, 0, other]
    shown = f[:, :, :_PAIRS].reshape(len(gammas), kept.sizes["seed"], -1)
    rows = [
        {"x": theme.significant(x, 3), "y": [theme.significant(y, 3) for y in column]}
        for x, column in zip(shown[one, 0], shown[:, other].T, strict=True)
    ]
    logs = [round(float(v), 3) for v in np.log10(gammas)]
    step = round(float(np.median(np.diff(logs))), 3)
    bind = alt.binding_range(min=logs[0], max=logs[-1], step=step, name="log10 γ of the other")
    slider = alt.param(name="log_other", value=logs[0], bind=bind)
    place = f"round((log_other - ({logs[0]})) / {step})"
    data = alt.Chart(alt.InlineData(values=rows)).transform_calculate(
        f_other=f"datum.y[{place}]", log_gamma="log_other"
    )
    ends = np.quantile(np.concatenate([shown[one, 0], shown[:, other].ravel()]), [0.001, 0.999])
    scale = alt.Scale(domain=[float(f"{e:.3g}") for e in ends + np.array([-0.05, 0.05]) * np.ptp(ends)], nice=False)
    say = theme.power_of_ten
    x = alt.X("x:Q", scale=scale, axis=alt.Axis(title=f"f, γ = {say(gammas[one])}, seed {int(kept.seed[0])}"))
    y = alt.Y("f_other:Q", scale=scale, axis=alt.Axis(title=f"f, the other γ, seed {int(kept.seed[other])}"))
    points = data.mark_circle(size=14, opacity=0.5, clip=True).encode(x=x, y=y, color=theme.gamma_colour())
    line = alt.Chart(alt.InlineData(values=[{"v": scale.domain[0]}, {"v": scale.domain[1]}]))
    line = line.mark_line(strokeWidth=1, opacity=0.5, stroke=theme.TEXT)
    same = line.encode(x=alt.X("v:Q", scale=scale), y=alt.Y("v:Q", scale=scale))
    r2 = [theme.significant(v, 3) for v in table]
    number = alt.Chart(alt.InlineData(values=[{"r2": r2}])).transform_calculate(
        words=f"'γ = ' + format(pow(10, log_other), '.3~g') + ':  R² = ' + format(datum.r2[{place}], '.2f')"
    )
    text = number.mark_text(align="left", baseline="top", fontSize=12).encode(
        x=alt.value(8), y=alt.value(6), text="words:N"
    )
    chart = alt.layer(same, points, text).add_params(slider).properties(width=theme.PLANE, height=theme.PLANE)
    summary = f"Against γ = {say(gammas[one])}, another seed: R² is " + ", ".join(
        f"{v:.2f} at γ = {say(g)}" for g, v in zip(gammas, table, strict=True)
    )
    note = (
        f"{_words(caption, 'Two networks, output by output.')}The outputs of {_PAIRS} held-out samples at the last step; the "
        f"thin line is equality, R² is over all {f.shape[2]} samples. {_SHARE}{_SEEDS}{conditions(runs)}"
    )
    numbers = pd.DataFrame({"γ": gammas, "R² with the first network": table})
    return figure(theme.finished(chart, wide=theme.WIDE), summary + ".", numbers, note, label)


# -- all pairs ---------------------------------------------------------------------------------------------------------


@with_sources
def likeness_map(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """R² and CKA of all pairs of γ, on the left at equal t, on the right at equal τ = ηt/γ; a slider for the time."""
    kept = found.pick_networks(runs)
    when = found.match_clocks(kept)
    rows = []
    for time in when.time.values:
        t, tau = (_means(found.compare_pairs(kept, when[clock].sel(time=time))) for clock in ("t", "tau"))
        rows += _map_rows(t, tau, kept.gamma.values, int(time))
    table = pd.DataFrame(rows)
    data = alt.InlineData(values=records(table, 3), name="pairs")
    names = list(dict.fromkeys(table.what))
    times = np.log10(when.time.values.astype(float))
    bind = alt.binding_range(min=round(times[0], 3), max=round(times[-1], 3), step=0.01, name="log10 t of the richest")
    kin = alt.binding_radio(options=["other", "same"], labels=["different", "the same"], name="seeds ")
    params = [
        _measures(names),
        alt.param(name="kin", value="other", bind=kin),
        alt.param(name="when", value=round(float(times[-1]), 3), bind=bind),
    ]
    panels = [_map_panel(data, table, "t", "at equal steps t"), _map_panel(data, table, "u", "at equal τ = ηt/γ")]
    chart = theme.beside(*panels).add_params(*params)
    end = table[(table.what == names[0]) & (table.time == table.time.max()) & (table.gamma != table.other)]
    lazy, rich = (end[(end.gamma <= 0.11) & (end.other <= 0.11)], end[(end.gamma >= 9.9) & (end.other >= 9.9)])
    across = end[(end.gamma <= 0.11) & (end.other >= 9.9)]
    summary = "R² at the last step, different seeds and different γ: " + "; ".join(
        f"{name} {part.t_other.min():.2f} to {part.t_other.max():.2f}"
        for name, part in (("within rich", rich), ("within lazy", lazy), ("across", across))
        if len(part)
    )
    note = (
        f"{_words(caption, 'How alike any two networks are.')}{_DEFINED}Rows and columns are γ; means over pairs of seeds, "
        "different ones or one and the same. Left: all at the step on the slider. Right: the richest network at that step, "
        "the others at the recorded step of equal τ; blank where γ < 1, which has another clock. "
        f"{_SHARE}{_SEEDS}{conditions(runs)}"
    )
    numbers = table.rename(columns=_MAP_COLUMNS)
    return figure(theme.finished(chart), summary + ".", numbers.drop(columns="log_time"), note, label)


_MAP_COLUMNS = {
    "what": "measure",
    "time": "t of the richest",
    "gamma": "γ",
    "other": "other γ",
    "t_other": "equal t, different seeds",
    "t_same": "equal t, same seed",
    "u_other": "equal τ, different seeds",
    "u_same": "equal τ, same seed",
}


def _means(table: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Means over pairs of different seeds and over the same seed, (measure, gamma, other_gamma)."""
    kin = table.seed == table.other_seed
    return table.where(~kin).mean(("seed", "other_seed")), table.where(kin).mean(("seed", "other_seed"))


def _map_rows(t: Any, tau: Any, gammas: np.ndarray, time: int) -> list[dict[str, Any]]:
    return [
        {
            "what": str(name),
            "time": time,
            "log_time": round(float(np.log10(time)), 3),
            "gamma": float(gamma),
            "other": float(other),
            "t_other": float(t[0][m, i, j]),
            "t_same": float(t[1][m, i, j]),
            "u_other": float(tau[0][m, i, j]),
            "u_same": float(tau[1][m, i, j]),
        }
        for m, name in enumerate(t[0].measure.values)
        for i, gamma in enumerate(gammas)
        for j, other in enumerate(gammas)
    ]


def _map_panel(data: Any, table: pd.DataFrame, clock: str, title: str) -> Any:
    order = [float(f"{g:.3g}") for g in sorted(table.gamma.unique())]
    ten = (
        "datum.value >= 0.99 && datum.value < 9 ? '1' : '10' + (datum.value < 0.99 ? '⁻' : '') + "
        "'⁰¹²³⁴⁵⁶⁷⁸⁹'[abs(round(log(datum.value) / LN10))]"
    )
    axis: dict[str, Any] = {"labelExpr": ten, "labelAngle": 0}
    chart = _chosen_time(alt.Chart(data).transform_filter("datum.what == what")).transform_calculate(
        value=f"kin == 'other' ? datum.{clock}_other : datum.{clock}_same"
    )
    chart = chart.transform_filter("isValid(datum.value)").encode(
        x=alt.X("other:O", sort=order, scale=alt.Scale(domain=order), axis=alt.Axis(title="γ", **axis)),
        y=alt.Y("gamma:O", sort=order[::-1], scale=alt.Scale(domain=order[::-1]), axis=alt.Axis(title="γ", **axis)),
    )
    scale = alt.Scale(domain=[0, 1], range=list(ALIKE), clamp=True, interpolate="rgb")
    legend = alt.Legend(title="R² or CKA", gradientLength=160) if clock == "t" else None
    cells = chart.mark_rect(stroke=None).encode(color=alt.Color("value:Q", scale=scale, legend=legend))
    ink = alt.condition("datum.value > 0.55", alt.value("#fff"), alt.value("#222"))
    words = chart.mark_text(fontSize=9).encode(text=alt.Text("value:Q", format=".2f"), color=ink)
    return alt.layer(cells, words).properties(width=theme.PLANE, height=theme.PLANE, title=title)


# -- groups ------------------------------------------------------------------------------------------------------------

_GROUPS = {
    "rich, different γ": ("rich", "within", theme.RICH),
    "rich, same γ": ("rich", "ceiling", theme.RICH),
    "lazy, different γ": ("lazy", "within", theme.LAZY),
    "lazy, same γ": ("lazy", "ceiling", theme.LAZY),
    "lazy with rich": ("rich", "against", theme.MIDDLE),
}


@with_sources
def likeness_groups(
    results: Mapping[str, xr.Dataset], *, caption: str | None = None, label: str | None = None
) -> Figure:
    """Within rich, within lazy, and across, layer by layer, with intervals; one setting at a time.

    Args:
        results: what to call a setting → its result.
    """
    rows = []
    for setting, runs in results.items():
        for one in found.compare_groups(found.compare_pairs(found.pick_networks(runs))):
            for name, (group, part, _) in _GROUPS.items():
                if one.group == group:
                    value, (low, high) = getattr(one, part)
                    where = {"setting": setting, "what": _say(one.measure), "group": name}
                    rows.append(where | {"value": value, "low": low, "high": high})
    table = pd.DataFrame(rows)
    names = list(results)
    choice = alt.param(name="setting", value=names[0], bind=alt.binding_select(options=names, name="setting "))
    chart = alt.Chart(alt.InlineData(values=records(table, 3))).transform_filter("datum.setting == setting")
    whats = list(dict.fromkeys(table.what))
    y = alt.Y("what:N", sort=whats, scale=alt.Scale(domain=whats), axis=alt.Axis(title=None, labelLimit=140))
    offset = alt.YOffset("group:N", sort=list(_GROUPS), scale=alt.Scale(domain=list(_GROUPS)))
    low = min(0.0, float(np.floor(10 * np.nanmin(table.low)) / 10))
    scale = alt.Scale(domain=[max(low, -0.5), 1.0], clamp=True)
    colours = alt.Scale(domain=list(_GROUPS), range=[colour for *_, colour in _GROUPS.values()])
    shapes = alt.Scale(domain=list(_GROUPS), range=["circle", "diamond", "circle", "diamond", "square"])
    legend = alt.Legend(title=None, columns=2)
    colour = alt.Color("group:N", scale=colours, legend=legend)
    bars = chart.mark_rule(strokeWidth=1.4).encode(
        x=alt.X("low:Q", scale=scale, axis=alt.Axis(title="R² or CKA")), x2="high:Q", y=y, yOffset=offset, color=colour
    )
    marks = chart.mark_point(size=44, filled=True).encode(
        x=alt.X("value:Q", scale=scale),
        y=y,
        yOffset=offset,
        color=colour,
        shape=alt.Shape("group:N", scale=shapes, legend=legend),
    )
    drawn = alt.layer(bars, marks).add_params(choice).properties(width=theme.PLANE, height=55 * len(whats))
    first = table[table.setting == names[0]]
    what = first.what.iloc[0]
    said = ", ".join(f"{row.group} {row.value:.2f}" for row in first[first.what == what].itertuples())
    summary = f"{names[0]}, {what}: {said}; the hidden layers are in the table"
    note = (
        f"{_words(caption, 'Who is like whom at the last step.')}Rich: γ ≥ {found.RICH[0]:g}; lazy: γ ≤ "
        f"{found.LAZY[1]:g}. Means over pairs of different seeds, with 95 % intervals from drawing the seeds again. Same γ: "
        "what two seeds reach, the ceiling. "
        f"{_DEFINED}{_SHARE}First setting: {conditions(results[names[0]])}"
    )
    numbers = table.rename(columns={"what": "measure", "low": "95 % from", "high": "95 % to"})
    return figure(theme.finished(drawn, wide=theme.WIDE), summary + ".", numbers, note, label)


# -- time --------------------------------------------------------------------------------------------------------------

_CURVES = {
    "equal τ": ("tau", theme.RICH),
    "equal steps t": ("t", theme.MIDDLE),
    "ceiling: same γ": ("ceiling", theme.TEXT),
}


@with_sources
def likeness_in_time(
    results: Mapping[str, xr.Dataset], *, caption: str | None = None, label: str | None = None
) -> Figure:
    """The likeness of rich networks of different γ through training, at equal t and at equal τ, with the seeds' ceiling.

    Args:
        results: what to call a setting → its result.
    """
    rows = []
    for setting, runs in results.items():
        curves, _ = found.compare_clocks(found.pick_networks(runs))
        for name, (key, _) in _CURVES.items():
            for m in curves.measure.values:
                for time in curves.time.values:
                    value = float(curves[key].sel(measure=m, time=time))
                    rows.append({"setting": setting, "what": str(m), "curve": name, "t": int(time), "value": value})
    table = pd.DataFrame(rows)
    names, whats = list(results), list(dict.fromkeys(table.what))
    choice = alt.param(name="setting", value=names[0], bind=alt.binding_select(options=names, name="setting "))
    ends = theme.span(table.t, 1.1)
    x = alt.X("t:Q", scale=theme.log_scale(*ends), axis=theme.log_axis("step t of the richest network", *ends, every=1))
    y = alt.Y("value:Q", scale=alt.Scale(domain=[-1, 1], clamp=True), axis=alt.Axis(title="R² or CKA"))
    colours = alt.Scale(domain=list(_CURVES), range=[colour for _, colour in _CURVES.values()])
    colour = alt.Color("curve:N", scale=colours, legend=alt.Legend(title=None))
    chart = alt.Chart(alt.InlineData(values=records(table, 3)))
    chart = chart.transform_filter("datum.what == what && datum.setting == setting && isValid(datum.value)")
    dashes = alt.Scale(domain=list(_CURVES), range=[[1, 0], [1, 0], [1, 3]])
    dash = alt.StrokeDash("curve:N", scale=dashes, legend=None)
    line = chart.mark_line(point={"size": 30}).encode(x=x, y=y, color=colour, strokeDash=dash)
    drawn = line.add_params(_measures(whats), choice).properties(width=theme.PLANE, height=220)
    first = table[(table.setting == names[0]) & (table.what == whats[0])].pivot_table(
        index="t", columns="curve", values="value"
    )
    at = (first["equal τ"] - first["equal steps t"]).abs().idxmax() if len(first) else None
    summary = f"{names[0]}, R², mean over pairs of different γ ≥ {found.COLLAPSING[0]:g} and different seeds: " + (
        f"when the richest network is at step {at}, {first['equal steps t'][at]:.2f} at equal t, {first['equal τ'][at]:.2f} "
        f"at equal τ, and {first['ceiling: same γ'][at]:.2f} between seeds of the same γ."
        if at is not None
        else "no time at which networks can be compared."
    )
    note = (
        f"{_words(caption, 'Before and after time is rescaled.')}Networks of γ ≥ {found.COLLAPSING[0]:g}, pairs of different "
        "seeds, means. Equal τ: each at the recorded step at which ηt/γ is that of the richest one. Dotted: different seeds of "
        f"the same γ, at that τ. {_DEFINED}{_SHARE}First setting: {conditions(results[names[0]])}"
    )
    numbers = table.rename(columns={"what": "measure", "t": "t of the richest"})
    return figure(theme.finished(drawn, wide=theme.WIDE), summary, numbers, note, label)


# -- weights -----------------------------------------------------------------------------------------------------------


@with_sources
def weight_spectra(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The largest singular values of every layer's weights at the end, beside those at step 0; a slider for γ."""
    kept = found.pick_networks(runs)
    layers = kept.layer.values
    ends = kept.singular_values.isel(step=[0, -1])
    mean, low, high = ends.mean("seed"), ends.min("seed"), ends.max("seed")
    rows = [
        {
            "log_gamma": round(float(np.log10(gamma)), 3),
            "layer": int(layer),
            "index": int(index),
            "start": float(mean[g, 0, m, i]),
            "end": float(mean[g, 1, m, i]),
            "low": float(low[g, 1, m, i]),
            "high": float(high[g, 1, m, i]),
        }
        for g, gamma in enumerate(kept.gamma.values)
        for m, layer in enumerate(layers)
        for i, index in enumerate(kept.index.values)
    ]
    table = pd.DataFrame(rows).dropna()
    data = alt.InlineData(values=records(table, 3), name="spectra")
    logs = np.unique(table.log_gamma)
    bind = alt.binding_range(min=logs[0], max=logs[-1], step=round(float(np.median(np.diff(logs))), 2), name="log10 γ")
    slider = alt.param(name="chosen", value=float(logs[np.abs(logs - 1).argmin()]), bind=bind)
    values = theme.span([*table.start, *table.low, *table.high], 1.2)
    panels = [_spectrum_panel(data, int(layer), len(layers), values) for layer in layers]
    chart = theme.beside(*panels).add_params(slider)
    many = found.measure_outliers(kept).above.mean("seed")
    summary = "Singular values above the largest at step 0, mean over layers and seeds: " + ", ".join(
        f"{float(many.sel(gamma=g).mean()):.1f} at γ = {theme.power_of_ten(g)}" for g in kept.gamma.values[::2]
    )
    note = (
        f"{_words(caption, 'What training adds to each layer.')}The ten largest singular values of each weight matrix as it "
        "acts (multiplied by its scale), in order; points: at the last step, mean over seeds, with the range of the seeds; "
        f"grey line: at step 0. {_SHARE}{conditions(runs)}"
    )
    numbers = table.assign(γ=10.0**table.log_gamma).drop(columns="log_gamma")
    return figure(theme.finished(chart), summary + ".", numbers, note, label)


def _spectrum_panel(data: Any, layer: int, layers: int, values: tuple[float, float]) -> Any:
    chart = alt.Chart(data).transform_filter(f"datum.layer == {layer} && abs(datum.log_gamma - chosen) < 0.2")
    x = alt.X(
        "index:Q", scale=alt.Scale(domain=[0.5, 10.5]), axis=alt.Axis(title=None, values=list(range(1, 11)), format="d")
    )
    axis, scale = theme.log_axis(None, *values), theme.log_scale(*values)
    grey = chart.mark_line(stroke=theme.MIDDLE, strokeWidth=1.4).encode(x=x, y=alt.Y("start:Q", scale=scale, axis=axis))
    bars = chart.mark_rule(strokeWidth=1.2).encode(x=x, y=alt.Y("low:Q", scale=scale, axis=axis), y2="high:Q")
    marks = chart.mark_point(size=40, filled=False, stroke=theme.TEXT, strokeWidth=0.6).encode(
        x=x,
        y=alt.Y("end:Q", scale=scale, axis=axis),
        fill=alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None),
    )
    name = "readout" if layer == layers else f"layer {layer}"
    return alt.layer(grey, bars, marks).properties(width=theme.PLANE, height=130, title=f"singular values, {name}")


@with_sources
def weight_outliers(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """For every layer against γ: how far the largest singular value has grown, and how many stand above the start's."""
    kept = found.pick_networks(runs)
    many = found.measure_outliers(kept)
    rank = kept.feature_rank.isel(step=-1) if "feature_rank" in kept else None
    rows = [
        {
            "gamma": float(gamma),
            "layer": f"layer {layer}" if layer < kept.layer.values[-1] else "readout",
            "growth": float(many.growth.mean("seed")[g, m]),
            "above": float(many.above.mean("seed")[g, m]),
            "rank": float(rank.mean("seed")[g, m]) if rank is not None and m < kept.sizes["hidden"] else np.nan,
        }
        for g, gamma in enumerate(kept.gamma.values)
        for m, layer in enumerate(kept.layer.values)
    ]
    table = pd.DataFrame(rows)
    table["log_gamma"] = np.log10(table.gamma)
    panels = [
        _outlier_panel(table, "growth", "largest singular value ÷ that at step 0", True),
        _outlier_panel(table, "above", f"of {kept.sizes['index']} kept, above the start's largest", False),
    ]
    if table["rank"].notna().any():
        panels.append(_outlier_panel(table.dropna(), "rank", "participation ratio of the features", False))
    lazy, rich = table[table.gamma <= 0.11], table[(table.gamma >= 9.9) & (table.gamma <= 1.1e3)]
    summary = (
        f"Lazy (γ ≤ 0.1): at most {lazy.above.max():.1f} singular values of any layer leave the start's range, and the largest "
        f"grows at most {lazy.growth.max():.2f}-fold. Rich (γ from 10 to 1,000): {rich.above.min():.1f} to "
        f"{rich.above.max():.1f} leave it, and the largest grows {rich.growth.min():.1f}- to {rich.growth.max():.1f}-fold."
    )
    note = (
        f"{_words(caption, 'Weights from lazy to rich.')}Of each weight matrix as it acts, at the last step, means over seeds. "
        f"Above: more than {100 * found.WITHIN:.0f} % above the largest of that matrix at step 0; only ten are kept, so that "
        "ten means ten or more. Participation ratio: the directions that a hidden layer's pre-activations fill. "
        f"{_SHARE}{conditions(runs)}"
    )
    return figure(theme.finished(theme.beside(*panels)), summary, table.drop(columns="log_gamma"), note, label)


def _outlier_panel(table: pd.DataFrame, field: str, title: str, logarithmic: bool) -> Any:
    gammas = theme.span(table.gamma, 1.3)
    x = alt.X("gamma:Q", scale=theme.log_scale(*gammas), axis=theme.log_axis("γ, richness", *gammas))
    if logarithmic:
        ends = theme.span(table[field], 1.2)
        y = alt.Y(f"{field}:Q", scale=theme.log_scale(*ends), axis=alt.Axis(title=None, tickCount=4, format="~g"))
    else:
        y = alt.Y(f"{field}:Q", scale=alt.Scale(zero=True), axis=alt.Axis(title=None))
    layers = list(dict.fromkeys(table.layer))
    shapes = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]
    shape = alt.Shape(
        "layer:N", scale=alt.Scale(domain=layers, range=shapes[: len(layers)]), legend=alt.Legend(title=None)
    )
    chart = alt.Chart(alt.InlineData(values=records(table[["gamma", "log_gamma", "layer", field]], 3)))
    line = chart.mark_line(strokeWidth=1, opacity=0.4, stroke=theme.TEXT).encode(x=x, y=y, detail="layer:N")
    fill = alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None)
    marks = chart.mark_point(size=34, filled=False, stroke=theme.TEXT, strokeWidth=0.6).encode(
        x=x, y=y, shape=shape, fill=fill
    )
    return alt.layer(line, marks).properties(width=theme.PLANE, height=200, title=title)
