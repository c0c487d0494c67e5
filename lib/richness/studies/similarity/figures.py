"""How alike networks of different γ are: their outputs side by side, R² and CKA of all pairs, and their weights' spectra."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.ledger import WITHIN
from richness.plots import parts, theme
from richness.plots.captions import conditions
from richness.plots.figure import Figure, figure, with_sources
from richness.studies.similarity import analysis

SHADES = ("#efeaf5", "#cdb4e6", "#9a4fd1", "#4a1a78")  # 0 to 1; no colour that γ, late loss or stability has
_SHOWN = 40  # held-out samples of which a scatter plot shows every output
_SHARE = "Each γ has one η, the same share of its natural η. "
_SEEDS = "A seed stands for the initial weights and the stream. "
_DEFINED = (
    "R² = 1 − Σ(f − g)² / ½(Σf² + Σg²) over held-out samples and outputs, about the function at step 0; CKA: linear, "
    "debiased, of each hidden layer's pre-activations. "
)


def _name_measure(measure: str) -> str:
    return "R² of outputs" if measure == "R²" else f"CKA, hidden layer {measure.split()[1]}"


def _chart_of(rows: pd.DataFrame) -> alt.Chart:
    """Of so many likenesses three digits are enough."""
    return parts.chart_of(rows, 3)


def _measure_choice(names: list[str]) -> alt.Parameter:
    return parts.radio("what", names, "compare", [_name_measure(name) for name in names])


def _setting_choice(results: Mapping[str, xr.Dataset]) -> alt.Parameter:
    return parts.menu("setting", list(results), "setting")


# -- outputs side by side ----------------------------------------------------------------------------------------------


@with_sources
def outputs_scatter(
    runs: xr.Dataset, *, gamma: float = 10.0, caption: str | None = None, label: str | None = None
) -> Figure:
    """One network's held-out outputs at the last step against another's: γ of the second on a slider, its seed the next.

    Args:
        runs: a result with ``outputs``. gamma: of the first network; the nearest that was run.
    """
    networks = analysis.pick_networks(runs)
    gammas, other = networks.gamma.values, min(1, networks.sizes["seed"] - 1)
    one = int(np.abs(np.log(gammas / gamma)).argmin())
    r2 = analysis.compare_pairs(networks).sel(measure="R²").values[one, :, 0, other]
    chart = _scatter_chart(networks.isel(step=-1), one, other, r2)
    said = ", ".join(f"{v:.2f} at γ = {theme.power_of_ten(g)}" for g, v in zip(gammas, r2, strict=True))
    summary = f"Against γ = {theme.power_of_ten(gammas[one])}, another seed: R² is {said}."
    note = (
        f"{parts.first_words(caption, 'Two networks, output by output.')} The outputs of {_SHOWN} held-out samples at the last "
        f"step; the thin line is equality, R² is over all {networks.sizes['sample']} samples. "
        f"{_SHARE}{_SEEDS}{conditions(runs)}"
    )
    numbers = pd.DataFrame({"γ": gammas, "R² with the first network": r2})
    return figure(theme.finished(chart, wide=theme.WIDE), summary, numbers, note, label)


def _scatter_chart(last: xr.Dataset, one: int, other: int, r2: np.ndarray) -> Any:
    shown = last.outputs.transpose("gamma", "seed", "sample", "output").values.astype(float)[:, :, :_SHOWN]
    first, others = shown[one, 0].ravel(), shown[:, other].reshape(len(last.gamma), -1)
    logs = [round(float(v), 3) for v in np.log10(last.gamma.values)]
    step = round(float(np.median(np.diff(logs))), 3)
    place = f"round((log_other - ({logs[0]})) / {step})"
    scale = _output_scale(np.concatenate([first, others.ravel()]))
    said = f"f, γ = {theme.power_of_ten(last.gamma.values[one])}, seed {int(last.seed[0])}"
    x = parts.x_on(scale, alt.Axis(title=said))
    y = parts.y_on(scale, alt.Axis(title=f"f, the other γ, seed {int(last.seed[other])}"))
    chart = alt.layer(
        _equality(scale, x, y),
        _outputs(first, others, place).encode(x=x("x"), y=y("f_other"), color=theme.gamma_colour()),
        _r2_text(r2, place),
    ).properties(width=theme.PLANE, height=theme.PLANE)
    return chart.add_params(parts.slider("log_other", logs[0], logs[-1], step, "log10 γ of the other", logs[0]))


def _output_scale(outputs: np.ndarray) -> alt.Scale:
    ends = np.quantile(outputs, [0.001, 0.999])
    return alt.Scale(domain=[float(f"{e:.3g}") for e in ends + np.array([-0.05, 0.05]) * np.ptp(ends)], nice=False)


def _outputs(first: np.ndarray, others: np.ndarray, place: str) -> alt.Chart:
    rows = [
        {"x": theme.significant(x, 3), "y": [theme.significant(y, 3) for y in column]}
        for x, column in zip(first, others.T, strict=True)
    ]
    data = parts.chart_of(rows).transform_calculate(f_other=f"datum.y[{place}]", log_gamma="log_other")
    return data.mark_circle(size=14, opacity=0.5, clip=True)


def _equality(scale: alt.Scale, x: parts.Channel, y: parts.Channel) -> alt.Chart:
    ends = parts.chart_of([{"x": end, "f_other": end} for end in scale.domain])
    return ends.mark_line(strokeWidth=1, opacity=0.5, stroke=theme.TEXT).encode(x=x("x"), y=y("f_other"))


def _r2_text(r2: np.ndarray, place: str) -> alt.Chart:
    number = parts.chart_of([{"r2": [theme.significant(v, 3) for v in r2]}]).transform_calculate(
        words=f"'γ = ' + format(pow(10, log_other), '.3~g') + ':  R² = ' + format(datum.r2[{place}], '.2f')"
    )
    return parts.text_at(number, 8, 6, align="left", baseline="top", fontSize=12)


# -- all pairs ---------------------------------------------------------------------------------------------------------

_PAIR_COLUMNS = {
    "what": "measure",
    "time": "t of the richest",
    "gamma": "γ",
    "other": "other γ",
    "t_other": "equal t, different seeds",
    "t_same": "equal t, same seed",
    "u_other": "equal τ, different seeds",
    "u_same": "equal τ, same seed",
}


@with_sources
def likeness_map(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """R² and CKA of all pairs of γ, on the left at equal t, on the right at equal τ = ηt/γ; a slider for the time."""
    rows = _pair_rows(analysis.pick_networks(runs))
    panels = [_map_panel(rows, "t", "at equal steps t"), _map_panel(rows, "u", "at equal τ = ηt/γ")]
    end = float(rows.log_time.max())
    controls = [
        _measure_choice(list(dict.fromkeys(rows.what))),
        parts.radio("kin", ["other", "same"], "seeds", ["different", "the same"]),
        parts.slider("when", float(rows.log_time.min()), end, 0.01, "log10 t of the richest", end),
    ]
    chart = theme.finished(theme.beside(*panels).add_params(*controls))
    note = (
        f"{parts.first_words(caption, 'How alike any two networks are.')} {_DEFINED}Rows and columns are γ; means over pairs "
        "of seeds, different ones or one and the same. Left: all at the step on the slider. Right: the richest network at that "
        "step, the others at the recorded step of equal τ; blank where γ < 1, which has another clock. "
        f"{_SHARE}{_SEEDS}{conditions(runs)}"
    )
    numbers = rows.rename(columns=_PAIR_COLUMNS).drop(columns="log_time")
    return figure(chart, _map_summary(rows), numbers, note, label)


def _pair_rows(networks: xr.Dataset) -> pd.DataFrame:
    """One row for every measure, time and pair of γ."""
    clocks, rows = analysis.match_clocks(networks), []
    for time in clocks.time.values:
        means: dict[str, xr.DataArray] = {}
        for name, clock in (("t", "t"), ("u", "tau")):
            table = analysis.compare_pairs(networks, clocks[clock].sel(time=time))
            kin = table.seed == table.other_seed
            means |= {f"{name}_{key}": table.where(which) for key, which in (("other", ~kin), ("same", kin))}
        frame = xr.Dataset({key: table.mean(("seed", "other_seed")) for key, table in means.items()}).to_dataframe()
        frame = frame.reset_index().rename(columns={"measure": "what", "other_gamma": "other"})
        rows.append(frame.assign(time=int(time), log_time=round(float(np.log10(time)), 3)))
    return pd.concat(rows, ignore_index=True)[[*_PAIR_COLUMNS, "log_time"]]


def _map_panel(rows: pd.DataFrame, clock: str, title: str) -> Any:
    chart = parts.nearest_rows(_chart_of(rows).transform_filter("datum.what == what"), "abs(datum.log_time - when)")
    chart = chart.transform_calculate(value=f"kin == 'other' ? datum.{clock}_other : datum.{clock}_same")
    order = [float(f"{g:.3g}") for g in sorted(rows.gamma.unique())]
    chart = chart.transform_filter("isValid(datum.value)").encode(
        x=alt.X("other:O", sort=order, scale=alt.Scale(domain=order), axis=_gamma_axis()),
        y=alt.Y("gamma:O", sort=order[::-1], scale=alt.Scale(domain=order[::-1]), axis=_gamma_axis()),
    )
    scale = alt.Scale(domain=[0, 1], range=list(SHADES), clamp=True, interpolate="rgb")
    legend = alt.Legend(title="R² or CKA", gradientLength=160) if clock == "t" else None
    cells = chart.mark_rect(stroke=None).encode(color=alt.Color("value:Q", scale=scale, legend=legend))
    ink = alt.condition("datum.value > 0.55", alt.value("#fff"), alt.value("#222"))
    words = chart.mark_text(fontSize=9).encode(text=alt.Text("value:Q", format=".2f"), color=ink)
    return parts.panel(cells, words, title=title, height=theme.PLANE)


def _gamma_axis() -> alt.Axis:
    """Of single γ, each named by its power of ten."""
    ten = (
        "datum.value >= 0.99 && datum.value < 9 ? '1' : '10' + (datum.value < 0.99 ? '⁻' : '') + "
        "'⁰¹²³⁴⁵⁶⁷⁸⁹'[abs(round(log(datum.value) / LN10))]"
    )
    return alt.Axis(title="γ", labelExpr=ten, labelAngle=0)


def _map_summary(rows: pd.DataFrame) -> str:
    end = rows[(rows.what == rows.what.iloc[0]) & (rows.time == rows.time.max()) & (rows.gamma != rows.other)]
    lazy, other_lazy, rich, other_rich = end.gamma <= 0.11, end.other <= 0.11, end.gamma >= 9.9, end.other >= 9.9
    groups = {"within rich": rich & other_rich, "within lazy": lazy & other_lazy, "across": lazy & other_rich}
    said = "; ".join(
        f"{name} {end.t_other[here].min():.2f} to {end.t_other[here].max():.2f}"
        for name, here in groups.items()
        if here.any()
    )
    return f"R² at the last step, different seeds and different γ: {said}."


# -- groups ------------------------------------------------------------------------------------------------------------

#: What is drawn → the group, the part of its comparison, colour and symbol.
_GROUPS = {
    "rich, different γ": ("rich", "within", theme.RICH, "circle"),
    "rich, same γ": ("rich", "ceiling", theme.RICH, "diamond"),
    "lazy, different γ": ("lazy", "within", theme.LAZY, "circle"),
    "lazy, same γ": ("lazy", "ceiling", theme.LAZY, "diamond"),
    "lazy with rich": ("rich", "against", theme.MIDDLE, "square"),
}


@with_sources
def likeness_groups(
    results: Mapping[str, xr.Dataset], *, caption: str | None = None, label: str | None = None
) -> Figure:
    """Within rich, within lazy, and across, layer by layer, with intervals; one setting at a time.

    Args:
        results: what to call a setting → its result.
    """
    rows = pd.DataFrame([row for setting, runs in results.items() for row in _group_rows(setting, runs)])
    chart = _group_chart(rows).add_params(_setting_choice(results))
    setting, runs = next(iter(results.items()))
    note = (
        f"{parts.first_words(caption, 'Who is like whom at the last step.')} Rich: γ ≥ {analysis.RICH[0]:g}; lazy: γ ≤ "
        f"{analysis.LAZY[1]:g}. Means over pairs of different seeds, with 95 % intervals from drawing the seeds again. Same γ: "
        f"what two seeds reach, the ceiling. {_DEFINED}{_SHARE}First setting: {conditions(runs)}"
    )
    first = rows[(rows.setting == setting) & (rows.what == rows.what.iloc[0])]
    said = ", ".join(f"{row.group} {row.value:.2f}" for row in first.itertuples())
    summary = f"{setting}, {rows.what.iloc[0]}: {said}; the hidden layers are in the table."
    numbers = rows.rename(columns={"what": "measure", "low": "95 % from", "high": "95 % to"})
    return figure(theme.finished(chart, wide=theme.WIDE), summary, numbers, note, label)


def _group_rows(setting: str, runs: xr.Dataset) -> list[dict[str, Any]]:
    rows = []
    compared = analysis.compare_groups(analysis.compare_pairs(analysis.pick_networks(runs)))
    for one, (name, (group, part, *_)) in product(compared, _GROUPS.items()):
        if one.group == group:
            value, (low, high) = getattr(one, part)
            where = {"setting": setting, "what": _name_measure(one.measure), "group": name}
            rows.append(where | {"value": value, "low": low, "high": high})
    return rows


def _group_chart(rows: pd.DataFrame) -> Any:
    names, whats = list(_GROUPS), list(dict.fromkeys(rows.what))
    lowest = min(0.0, float(np.floor(10 * np.nanmin(rows.low)) / 10))
    x = parts.x_on(alt.Scale(domain=[max(lowest, -0.5), 1.0], clamp=True), alt.Axis(title="R² or CKA"))
    legend = alt.Legend(title=None, columns=2)
    colours = alt.Scale(domain=names, range=[colour for *_, colour, _ in _GROUPS.values()])
    shape = parts.shapes("group", names, legend, [symbol for *_, symbol in _GROUPS.values()])
    chart = _chart_of(rows).transform_filter("datum.setting == setting").encode(
        y=alt.Y("what:N", sort=whats, scale=alt.Scale(domain=whats), axis=alt.Axis(title=None, labelLimit=140)),
        yOffset=alt.YOffset("group:N", sort=names, scale=alt.Scale(domain=names)),
        color=alt.Color("group:N", scale=colours, legend=legend),
    )  # fmt: skip
    bars = chart.mark_rule(strokeWidth=1.4).encode(x=x("low"), x2="high:Q")
    marks = chart.mark_point(size=44, filled=True).encode(x=x("value"), shape=shape)
    return alt.layer(bars, marks).properties(width=theme.PLANE, height=55 * len(whats))


# -- time --------------------------------------------------------------------------------------------------------------

#: What is drawn → the variable of `analysis.compare_clocks`, colour and dashes.
_CURVES = {
    "equal τ": ("tau", theme.RICH, [1, 0]),
    "equal steps t": ("t", theme.MIDDLE, [1, 0]),
    "ceiling: same γ": ("ceiling", theme.TEXT, [1, 3]),
}


@with_sources
def likeness_in_time(
    results: Mapping[str, xr.Dataset], *, caption: str | None = None, label: str | None = None
) -> Figure:
    """The likeness of rich networks of different γ through training, at equal t and at equal τ, with the seeds' ceiling.

    Args:
        results: what to call a setting → its result.
    """
    rows = pd.concat([_time_rows(setting, runs) for setting, runs in results.items()], ignore_index=True)
    chart = _time_chart(rows).add_params(_measure_choice(list(dict.fromkeys(rows.what))), _setting_choice(results))
    note = (
        f"{parts.first_words(caption, 'Before and after time is rescaled.')} Networks of γ ≥ {analysis.COLLAPSING[0]:g}, pairs "
        "of different seeds, means. Equal τ: each at the recorded step at which ηt/γ is that of the richest one. Dotted: "
        f"different seeds of the same γ, at that τ. {_DEFINED}{_SHARE}First setting: "
        f"{conditions(next(iter(results.values())))}"
    )
    numbers = rows.rename(columns={"what": "measure", "t": "t of the richest"})
    return figure(theme.finished(chart, wide=theme.WIDE), _time_summary(rows), numbers, note, label)


def _time_rows(setting: str, runs: xr.Dataset) -> pd.DataFrame:
    curves, _ = analysis.compare_clocks(analysis.pick_networks(runs))
    frames = [
        curves[key].transpose("measure", "time").to_series().rename("value").reset_index().assign(curve=name)
        for name, (key, *_) in _CURVES.items()
    ]
    rows = pd.concat(frames).rename(columns={"measure": "what", "time": "t"})
    return rows.assign(setting=setting)[["setting", "what", "curve", "t", "value"]]


def _time_chart(rows: pd.DataFrame) -> Any:
    x = parts.log_x(theme.span(rows.t, 1.1), "step t of the richest network")("t")
    y = parts.y_on(alt.Scale(domain=[-1, 1], clamp=True), alt.Axis(title="R² or CKA"))("value")
    names, colours, dashes = list(_CURVES), *([look[k] for look in _CURVES.values()] for k in (1, 2))
    colour = alt.Color("curve:N", scale=alt.Scale(domain=names, range=colours), legend=alt.Legend(title=None))
    dash = alt.StrokeDash("curve:N", scale=alt.Scale(domain=names, range=dashes), legend=None)
    chart = _chart_of(rows)
    chart = chart.transform_filter("datum.what == what && datum.setting == setting && isValid(datum.value)")
    line = chart.mark_line(point={"size": 30}).encode(x=x, y=y, color=colour, strokeDash=dash)
    return line.properties(width=theme.PLANE, height=220)


def _time_summary(rows: pd.DataFrame) -> str:
    setting, what = rows.setting.iloc[0], rows.what.iloc[0]
    first = rows[(rows.setting == setting) & (rows.what == what)].pivot_table(
        index="t", columns="curve", values="value"
    )
    said = "no time at which networks can be compared."
    if len(first):
        at = (first["equal τ"] - first["equal steps t"]).abs().idxmax()
        said = (
            f"when the richest network is at step {at}, {first['equal steps t'][at]:.2f} at equal t, "
            f"{first['equal τ'][at]:.2f} at "
            f"equal τ, and {first['ceiling: same γ'][at]:.2f} between seeds of the same γ."
        )
    pairs = f"mean over pairs of different γ ≥ {analysis.COLLAPSING[0]:g} and different seeds"
    return f"{setting}, R², {pairs}: {said}"


# -- weights -----------------------------------------------------------------------------------------------------------


def _name_layer(layer: int, last: int) -> str:
    return "readout" if layer == last else f"layer {layer}"


@with_sources
def weight_spectra(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The largest singular values of every layer's weights at the end, beside those at step 0; a slider for γ."""
    networks = analysis.pick_networks(runs)
    rows, last = _spectrum_rows(networks), int(networks.layer.values[-1])
    y = parts.log_y(theme.span([*rows.start, *rows.low, *rows.high], 1.2))
    panels = [_spectrum_panel(rows, int(layer), last, y) for layer in networks.layer.values]
    logs = np.unique(rows.log_gamma)
    step, start = round(float(np.median(np.diff(logs))), 2), float(logs[np.abs(logs - 1).argmin()])
    chart = theme.beside(*panels).add_params(parts.slider("chosen", logs[0], logs[-1], step, "log10 γ", start))
    above = analysis.measure_outliers(networks).above.mean(("seed", "layer"))
    said = ", ".join(f"{float(n):.1f} at γ = {theme.power_of_ten(float(n.gamma))}" for n in above[::2])
    summary = f"Singular values above the largest at step 0, mean over layers and seeds: {said}."
    note = (
        f"{parts.first_words(caption, 'What training adds to each layer.')} The ten largest singular values of each weight "
        "matrix as it acts (multiplied by its scale), in order; points: at the last step, mean over seeds, with the range of "
        f"the seeds; grey line: at step 0. {_SHARE}{conditions(runs)}"
    )
    numbers = rows.assign(γ=10.0**rows.log_gamma).drop(columns="log_gamma")
    return figure(theme.finished(chart), summary, numbers, note, label)


def _spectrum_rows(networks: xr.Dataset) -> pd.DataFrame:
    """One row for every γ, layer and singular value: mean at step 0; mean, lowest and highest seed at the end."""
    values = networks.singular_values.transpose("gamma", "layer", "index", "seed", "step")
    start, end = values.isel(step=0, drop=True), values.isel(step=-1, drop=True)
    columns = {"start": start.mean("seed"), "end": end.mean("seed"), "low": end.min("seed"), "high": end.max("seed")}
    rows = xr.Dataset(columns).drop_vars("eta", errors="ignore").to_dataframe().reset_index().dropna()
    log_gamma = np.log10(rows.gamma).round(3)
    return rows.assign(log_gamma=log_gamma)[["log_gamma", "layer", "index", *columns]]


def _spectrum_panel(rows: pd.DataFrame, layer: int, last: int, y: parts.Channel) -> Any:
    chart = _chart_of(rows).transform_filter(f"datum.layer == {layer} && abs(datum.log_gamma - chosen) < 0.2")
    axis = alt.Axis(title=None, values=list(range(1, 11)), format="d")
    x = parts.x_on(alt.Scale(domain=[0.5, 10.5]), axis)("index")
    return parts.panel(
        chart.mark_line(stroke=theme.MIDDLE, strokeWidth=1.4).encode(x=x, y=y("start")),
        *parts.points_with_intervals(chart, x, y, "end", "low", "high"),
        title=f"singular values, {_name_layer(layer, last)}",
        height=130,
    )


@with_sources
def weight_outliers(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """For every layer against γ: how far the largest singular value has grown, and how many stand above the start's."""
    networks = analysis.pick_networks(runs)
    rows = _outlier_rows(networks)
    growth = parts.log_y(theme.span(rows.growth, 1.2))("growth")
    growth.axis = alt.Axis(title=None, tickCount=4, format="~g")
    panels = [
        _outlier_panel(rows, growth, "growth", "largest singular value ÷ that at step 0"),
        _outlier_panel(rows, _count_axis("above"), "above", f"of {networks.sizes['index']} kept, above the start's largest"),
    ]  # fmt: skip
    if rows["rank"].notna().any():
        rank = _outlier_panel(rows.dropna(), _count_axis("rank"), "rank", "participation ratio of the features")
        panels.append(rank)
    note = (
        f"{parts.first_words(caption, 'Weights from lazy to rich.')} Of each weight matrix as it acts, at the last step, means "
        f"over seeds. Above: more than {100 * WITHIN:.0f} % above the largest of that matrix at step 0; only ten are kept, so "
        "that ten means ten or more. Participation ratio: the directions that a hidden layer's pre-activations fill. "
        f"{_SHARE}{conditions(runs)}"
    )
    chart, numbers = theme.finished(theme.beside(*panels)), rows.drop(columns="log_gamma")
    return figure(chart, _outlier_summary(rows), numbers, note, label)


def _outlier_rows(networks: xr.Dataset) -> pd.DataFrame:
    """One row for every γ and layer, means over seeds; a layer without features has no rank."""
    outliers = analysis.measure_outliers(networks).mean("seed").drop_vars(("first", "eta", "step"), errors="ignore")
    rows = outliers.to_dataframe().reset_index()
    rows["rank"] = np.nan
    if "feature_rank" in networks:
        ranks = networks.feature_rank.isel(step=-1).mean("seed").transpose("gamma", "hidden").values
        rows.loc[rows.layer <= ranks.shape[1], "rank"] = ranks.ravel()
    last = int(networks.layer.values[-1])
    rows["layer"] = [_name_layer(layer, last) for layer in rows.layer]
    return rows.assign(log_gamma=np.log10(rows.gamma))[["gamma", "layer", "growth", "above", "rank", "log_gamma"]]


def _count_axis(field: str) -> alt.Y:
    return parts.y_on(alt.Scale(zero=True), alt.Axis(title=None))(field)


def _outlier_panel(rows: pd.DataFrame, y: alt.Y, field: str, title: str) -> Any:
    x = parts.gamma_x(rows.gamma)
    shape = parts.shapes("layer", list(dict.fromkeys(rows.layer)), alt.Legend(title=None))
    chart = _chart_of(rows[["gamma", "log_gamma", "layer", field]])
    return parts.panel(
        parts.joining_line(chart, x, y, detail="layer:N"),
        parts.points(chart, x, y, shape=shape),
        title=title,
        height=200,
    )


def _outlier_summary(rows: pd.DataFrame) -> str:
    lazy, rich = rows[rows.gamma <= 0.11], rows[(rows.gamma >= 9.9) & (rows.gamma <= 1.1e3)]
    return (
        f"Lazy (γ ≤ 0.1): at most {lazy.above.max():.1f} singular values of any layer leave the start's range, and the largest "
        f"grows at most {lazy.growth.max():.2f}-fold. Rich (γ from 10 to 1,000): {rich.above.min():.1f} to "
        f"{rich.above.max():.1f} leave it, and the largest grows {rich.growth.min():.1f}- to {rich.growth.max():.1f}-fold."
    )
