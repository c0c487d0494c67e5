"""Normed networks in depth, drawn: the gap that decays, gradients that explode or do not, and activations that are shaped."""

from __future__ import annotations

import json
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.cases import split_cases
from richness.analysis.stats import mean_over_seeds
from richness.plots import parts, theme
from richness.plots.figure import Figure, figure, with_sources
from richness.studies.neighbours.normalised import analysis, theory

INPUTS = {
    "gaussian": "Gaussian",
    "correlated": "correlated (nine tenths in common)",
    "near": "nearly orthogonal",
    "digits": "digits8, turned",
}
_SMALLEST = 1e-9
_NORM = "Batch norm divides each unit by its root mean square over the batch; no learned gain or bias."
_PURPLE = alt.value(theme.MEASURED)
_BY_WEIGHTS = alt.Color(
    "weights:N", scale=alt.Scale(domain=["orthogonal", "gaussian"], range=[theme.MEASURED, theme.MIDDLE]), legend=None
)


def _choose_batch(rows: pd.DataFrame) -> list[alt.Parameter]:
    """Choices of inputs and of one of the rows' widths."""
    widths, inputs = sorted(set(rows.width)), [name for name in INPUTS if name in set(rows.inputs)]
    return [
        parts.menu("inputs", inputs, "inputs", [INPUTS[name] for name in inputs]),
        parts.menu("width", widths, "width", [f"d = n = {width}" for width in widths], start=widths[-2:][0]),
    ]


def _draw_bands(data: alt.Chart, x: alt.X, y: parts.Channel, point: bool = False) -> list[alt.Chart]:
    """Mean over seeds and the band between the extremes, each kind of weights in its colour."""
    band = data.mark_area(opacity=0.25, clip=True).encode(x=x, y=y("mean_low"), y2="mean_high:Q", color=_BY_WEIGHTS)
    return [
        band,
        data.mark_line(clip=True, point={"size": 50} if point else False).encode(x=x, y=y("mean"), color=_BY_WEIGHTS),
    ]


def _count_seeds(runs: xr.Dataset) -> str:
    return f"{len(json.loads(runs.attrs['seeds']))} seeds (each its own weights, inputs, labels and readout)"


def _spread(values: xr.DataArray, axis: str, **fixed: Any) -> pd.DataFrame:
    """Mean, lowest and highest over seeds along an axis."""
    array = values.transpose("seed", axis).values.astype(float)
    return pd.DataFrame({axis: values[axis].values, **parts.spread_of(array, "mean", 0)}).assign(**fixed)


def _title_columns(table: pd.DataFrame, **titles: str) -> pd.DataFrame:
    return table.rename(columns={"mean_low": "low", "mean_high": "high", **titles})


# -- the isometry gap --------------------------------------------------------------------------------------------------


@with_sources
def draw_isometry_gap(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The isometry gap layer by layer, orthogonal and Gaussian weights, beside the theorem and the first-order law."""
    gaps = pd.concat(map(_tabulate_gap, split_cases(runs)), ignore_index=True)
    lost = pd.DataFrame(map(_measure_loss, split_cases(runs, weights="orthogonal", inputs="near")))
    controls = [*_choose_batch(gaps), parts.slider("log_C", -3.0, 1.0, 0.25, "log10 C, theorem's constant", start=0.0)]
    chart = parts.join_panels([_gap_panel(int(gaps.layer.max())), _loss_panel(lost)], controls, gaps=gaps, lost=lost)
    said = ", ".join(
        f"{row.mean:.3f} at d = {row.width} (predicted {row.first_order:.3f})" for row in lost.itertuples()
    )
    summary = (
        "With orthogonal weights the gap falls towards 0 at every width and from all inputs; with Gaussian weights it grows "
        f"until a direction is lost. Of a small gap, orthogonal weights and a norm remove a share a layer: {said}."
    )
    table = gaps[["weights", "inputs", "width", "layer", "mean", "mean_low", "mean_high", "law"]]
    note = f"{(caption or 'The isometry gap in depth.').rstrip()} {_GAP_NOTE} {_count_seeds(runs)}; float64."
    return figure(chart, summary, _title_columns(table, mean="φ, mean"), note, label)


_GAP_NOTE = (
    f"X ← BN(WX), linear, n = d samples; {_NORM} Left: orthogonal weights in purple, Gaussian in grey, mean over seeds and "
    "the band from the lowest to the highest; a curve ends where a direction is lost in double precision. Dashed: the "
    "theorem's form φ₀·exp(−ℓ/k), k = C·d²(1 + dφ₀), with the constant C that you choose (the paper's is not known to us). "
    "Dotted: (d/(d + 2))^ℓ, derived here to first order, from where the mean gap falls below 0.01. Right: nearly orthogonal "
    "inputs, 1 − φ(ℓ+1)/φ(ℓ), mean over layers with 10⁻⁹ < φ < 0.01, bars over seeds; dotted 2/(d + 2), dashed 1/k."
)


def _gap_panel(deepest: int) -> alt.LayerChart:
    x, y = parts.log_x((1, deepest), "layer ℓ")("layer"), parts.log_y((_SMALLEST, 1e2), every=2)
    here = parts.only_chosen(parts.chart_named("gaps"), "inputs", "width").transform_filter("datum.layer > 0")
    bound = here.transform_filter("datum.weights == 'orthogonal'").transform_calculate(
        bound="datum.first * exp(-datum.layer / (pow(10, log_C) * datum.unit))"
    )
    law = parts.dotted_line(here.transform_filter("isValid(datum.law)"), x, y("law"))
    layers = [*_draw_bands(here, x, y), parts.theory_line(bound, x, y("bound")), law]
    return parts.panel(*layers, title="isometry gap φ", height=240)


def _loss_panel(lost: pd.DataFrame) -> alt.LayerChart:
    x = parts.log_x(theme.span(lost.width, 1.3), "width d")("width")
    y = parts.log_y(theme.span([*lost["mean"], *lost.first_order, *lost.theorem], 2))
    data = parts.chart_named("lost").transform_calculate(theorem_C="datum.theorem / pow(10, log_C)")
    return parts.panel(
        parts.dotted_line(data, x, y("first_order")),
        parts.theory_line(data, x, y("theorem_C")),
        parts.intervals(data, x, y, "mean_low", "mean_high", color=_PURPLE),
        parts.points(data, x, y("mean"), fill=_PURPLE),
        title="share of a small gap lost a layer",
        height=240,
    )


def _tabulate_gap(one: xr.Dataset) -> pd.DataFrame:
    """One case's gap along the layers: mean, low, high, and where it is small and decays the first-order law."""
    width, weights = int(one.width), str(one.weights.values)
    frame = _spread(one.gap, "layer", weights=weights, inputs=str(one.inputs.values), width=width)
    first = float(frame["mean"].iloc[0])
    frame = frame.assign(first=first, unit=theory.layers_of_decay(first, width), law=np.nan)
    small = np.flatnonzero(frame["mean"] < analysis.SMALL)
    if weights == "orthogonal" and small.size:
        start = frame.iloc[small[0]]
        law = start["mean"] * theory.contraction(width) ** (frame.layer - start.layer)
        frame["law"] = law.where(frame.layer >= start.layer)
    drawn = np.isfinite(frame[["mean", "mean_low", "mean_high"]]).all(axis=1) & (frame["mean"] > _SMALLEST / 100)
    return frame[drawn].assign(mean_low=frame.mean_low.clip(lower=_SMALLEST / 100))


def _measure_loss(one: xr.Dataset) -> dict[str, float]:
    """What share of a small gap a layer removes, at one width, and what is predicted."""
    width, gap = int(one.width), float(one.gap.sel(layer=0).mean())
    predicted = {"theorem": 1 / theory.layers_of_decay(gap, width), "first_order": 1 - theory.contraction(width)}
    return {"width": width, **parts.spread_of(1 - one.contraction.values.astype(float), "mean"), **predicted}


# -- gradients ---------------------------------------------------------------------------------------------------------


@with_sources
def draw_gradients(
    runs: xr.Dataset, wide: xr.Dataset, *, caption: str | None = None, label: str | None = None
) -> Figure:
    """The first layer's gradient against depth for both kinds of weights; and Gaussian slopes over theory's, as width grows.

    Args:
        runs: of recipe ``normalised_isometry``. wide: of ``normalised_explosion``.
    """
    curves = pd.concat(map(_tabulate_gradient, split_cases(runs)), ignore_index=True)
    ratios = pd.concat(map(_tabulate_ratio, split_cases(wide)), ignore_index=True)
    panels = [_gradient_panel(curves), _ratio_panel(ratios)]
    chart = parts.join_panels(panels, _choose_batch(curves), curves=curves, ratios=ratios)
    table = curves[["weights", "inputs", "width", "depth", "mean", "mean_low", "mean_high"]]
    note = f"{(caption or 'Gradients in depth.').rstrip()} {_GRADIENT_NOTE} {_count_seeds(runs)}; float64."
    titled = _title_columns(table, mean="ln ‖∂L/∂W₁‖, mean")
    return figure(chart, _summarise_gradients(curves, ratios), titled, note, label)


_GRADIENT_NOTE = (
    f"Cross-entropy of random labels, ten classes, through a Gaussian readout; {_NORM} Left: gradient of the first layer's "
    "weights (Frobenius), linear, n = d; orthogonal in purple, Gaussian in grey, mean over seeds and the band from the lowest "
    "to the highest; dashed, through the middle of the Gaussian points: ½·ln((B − 1)/(B − 2)) a layer, B = n, for norms that "
    "subtract no mean (derived here, for d much larger than n, which it is not on the left). Right: slope over the layers of "
    "one network, over theory's, 95 % intervals, d much larger than B."
)


def _summarise_gradients(curves: pd.DataFrame, ratios: pd.DataFrame) -> str:
    last = curves[curves.depth == curves.depth.max()]
    ends = {kind: f"{rows.min():.1f} and {rows.max():.1f}" for kind, rows in last.groupby("weights")["mean"]}
    widest = ratios[ratios.width == ratios.width.max()]
    return (
        f"At depth {int(curves.depth.max()):,} the log gradient of the first layer lies between {ends['orthogonal']} with "
        f"orthogonal weights, over all widths and inputs, and between {ends['gaussian']} with Gaussian ones. At the largest "
        f"width the slopes are {', '.join(f'{row.mean:.2f} ({row.kind})' for row in widest.itertuples())} of theory's."
    )


def _depth_axes(curves: pd.DataFrame, title: str | None = None) -> tuple[alt.X, parts.Channel]:
    """Linear axes of depth and of a log gradient, its ends whole numbers."""
    ends = float(np.floor(curves.mean_low.min())), float(np.ceil(curves.mean_high.max()))
    x = parts.linear_x((0, int(curves.depth.max())), "depth L", tickCount=5)("depth")
    return x, parts.linear_y(ends, title, tickCount=6)


def _gradient_panel(curves: pd.DataFrame) -> alt.LayerChart:
    x, y = _depth_axes(curves)
    here = parts.only_chosen(parts.chart_named("curves"), "inputs", "width")
    line = parts.theory_line(here.transform_filter("datum.weights == 'gaussian'"), x, y("line"))
    return parts.panel(line, *_draw_bands(here, x, y, point=True), title="ln ‖∂L/∂W₁‖", height=240)


def _ratio_panel(ratios: pd.DataFrame) -> alt.LayerChart:
    x = parts.log_x(theme.span(ratios.width, 1.3), "width d")("width")
    y = parts.linear_y((ratios.mean_low.clip(upper=0.5).min(), ratios.mean_high.clip(lower=1.3).max()), tickCount=5)
    legend = alt.Legend(title=None, orient="bottom", columns=2)
    shape = parts.shapes(
        "kind", list(dict.fromkeys(ratios.kind)), legend, (*parts.SYMBOLS, "triangle-right", "triangle-left")
    )
    grey, data = alt.value(theme.MIDDLE), parts.chart_named("ratios")
    return parts.panel(
        parts.level_rule(1, y),
        parts.joining_line(data, x, y("mean"), detail="kind:N"),
        parts.intervals(data, x, y, "mean_low", "mean_high", color=grey),
        parts.points(data, x, y("mean"), size=44, fill=grey, shape=shape),
        title="slope a layer ÷ theory's (infinite width)",
        height=240,
    )


def _tabulate_gradient(one: xr.Dataset) -> pd.DataFrame:
    """One case's first-layer gradient over depth, with theory's slope through the middle of it."""
    own = {"weights": str(one.weights.values), "inputs": str(one.inputs.values), "width": int(one.width)}
    frame = _spread(one.first_gradient, "depth", **own)
    slope = float(theory.gaussian_slope(int(one.samples), centred=False))
    deep = frame.depth >= frame.depth.max() / 10
    return frame.assign(line=(frame["mean"] - slope * frame.depth)[deep].mean() + slope * frame.depth)


def _tabulate_ratio(one: xr.Dataset) -> pd.DataFrame:
    """One wide case's slope over theory's, with its interval; nothing where there is no interval."""
    samples, centred, relu = int(one.samples), bool(one.centred), str(one.activation.values) == "relu"
    predicted = theory.relu_slope() if relu else float(theory.gaussian_slope(samples, centred))
    ratio = mean_over_seeds(one.gradient_slope.values / predicted)
    kind = f"ReLU, {one.weights.values}" if relu else f"B = {samples}, {'centred' if centred else 'uncentred'}"
    rows = [(int(one.width), kind, ratio.value, *ratio.interval)] if ratio.seeds > 1 else []
    return pd.DataFrame(rows, columns=["width", "kind", "mean", "mean_low", "mean_high"])


# -- traps -------------------------------------------------------------------------------------------------------------

TRAPS = {
    "sound": "32 samples for 32 units",
    "more": "48 samples for 32 units",
    "digits": "32 digits, turned to 32 units",
    "few": "24 samples for 32 units",
    "half": "16 samples for 32 units",
    "twins": "32 samples, 4 of them twice",
    "pixels": "64 digits of 64 pixels",
    "centred": "16 for 16, mean subtracted",
}


def _name_trap(one: xr.Dataset) -> str:
    width, samples, inputs = int(one.width), int(one.samples), str(one.inputs.values)
    if bool(one.centred):
        return "centred"
    if inputs == "digits":
        return "digits" if width < 64 else "pixels"
    if inputs == "twins":
        return "twins"
    return "sound" if samples == width else "more" if samples > width else "few" if samples > width / 2 else "half"


@with_sources
def draw_traps(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Orthogonal weights where the theorem's conditions fail: the first layer's gradient in depth, one batch at a time."""
    curves = pd.concat(map(_tabulate_trap, split_cases(runs)), ignore_index=True)
    control = parts.menu("batch", list(TRAPS), "batch", list(TRAPS.values()), start="half")
    chart = parts.join_panels([_trap_panel(curves)], [control], curves=curves)
    last = curves[curves.depth == curves.depth.max()].sort_values("mean")
    said = ", ".join(f"{row.mean:.1f} ({TRAPS[row.trap]})" for row in last.itertuples())
    summary = f"Log gradient of the first layer at depth {int(last.depth.iloc[0])}: {said}."
    note = f"{(caption or 'Orthogonal weights on batches of every kind.').rstrip()} {_TRAP_NOTE} {_count_seeds(runs)}; float64."
    titles = {"trap": "batch", "mean": "ln ‖∂L/∂W₁‖, mean", "full_rank": "full rank"}
    return figure(chart, summary, _title_columns(curves.assign(trap=curves.trap.map(TRAPS)), **titles), note, label)


_TRAP_NOTE = (
    f"Orthogonal weights, linear; {_NORM} Purple: the batch that you choose, mean over seeds and the band from the lowest to "
    "the highest; grey: all the others. Long dashes: a direction is lost, in double precision, after the first layer. "
    "Cross-entropy of random labels through a Gaussian readout."
)


def _tabulate_trap(one: xr.Dataset) -> pd.DataFrame:
    sound = np.isfinite(one.gap.sel(layer=1)).all().item()
    return _spread(one.first_gradient, "depth", trap=_name_trap(one), full_rank="yes" if sound else "no")


def _trap_panel(curves: pd.DataFrame) -> Any:
    x, y = _depth_axes(curves, "ln ‖∂L/∂W₁‖")
    every = parts.chart_named("curves")
    chosen = every.transform_filter("datum.trap == batch")
    dash = alt.StrokeDash(
        "full_rank:N",
        scale=alt.Scale(domain=["yes", "no"], range=[[1, 0], [6, 3]]),
        legend=alt.Legend(title="full rank after the first layer", orient="top", symbolType="stroke"),
    )
    grey = every.mark_line(stroke=theme.MIDDLE, strokeWidth=1, opacity=0.7)
    return alt.layer(
        grey.encode(x=x, y=y("mean"), detail="trap:N", strokeDash=dash),
        chosen.mark_area(color=theme.MEASURED, opacity=0.25).encode(x=x, y=y("mean_low"), y2="mean_high:Q"),
        chosen.mark_line(stroke=theme.MEASURED, strokeWidth=2.4).encode(x=x, y=y("mean"), strokeDash=dash),
    ).properties(width=theme.PLANE, height=260)


# -- shaping -----------------------------------------------------------------------------------------------------------


@with_sources
def draw_shaping(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Activations with the gain ℓ^(−p): the gradient in depth at a chosen p, and against p at a chosen depth."""
    curves = pd.concat(map(_tabulate_shaped, split_cases(runs)), ignore_index=True)
    depths = sorted(set(curves.depth))
    shallow = max(depth for depth in depths[:-1] if depth <= analysis.TALL[0])
    panels = [_shaped_panel(depths), _rise_panel(curves.power.max(), shallow)]
    controls = _choose_shape(curves, shallow)
    chart = parts.join_panels(panels, controls, curves=curves, rise=_tabulate_rises(runs, curves, shallow))
    note = (
        f"{(caption or 'Activations shaped in depth.').rstrip()} x ← σ(ℓ^(−p)·BN(Wx)), orthogonal weights, d = n = "
        f"{int(runs.width[0])}, {_SHAPING_NOTE} {_count_seeds(runs)}; float64."
    )
    table = _title_columns(curves, power="p", mean="ln ‖∂L/∂W₁‖ + p·ln L, mean")
    return figure(chart, _summarise_shaping(curves), table, note, label)


_SHAPING_NOTE = (
    f"Gaussian inputs; {_NORM} Left: gradient of the first layer's weights, with the factor L^(−p) of the last gain put back; "
    "mean over seeds, the chosen p in purple, all others in grey. Right: points above 0.05; dashed: c·Σℓ^(−4p) over the "
    "layers between, derived here, with one c an activation and depth, fitted; dotted: p = ¼, above which the sum over all "
    "layers is finite. Cross-entropy of random labels."
)
_CHOSEN_POWER = "abs(datum.power - p) < 0.01"


def _name_activation(name: str) -> str:
    return "ReLU" if name == "relu" else name


def _summarise_shaping(curves: pd.DataFrame) -> str:
    deepest, powers = int(curves.depth.max()), sorted(set(curves.power))
    last = curves[curves.depth == deepest].set_index(["activation", "power"])["mean"]
    nearest = min(powers, key=lambda p: abs(p - 0.4))
    clauses = [
        f"{_name_activation(name)} from {last[name, powers[0]]:.1f} without gain to {last[name, nearest]:.1f} at "
        f"p = {nearest:g}"
        for name in dict.fromkeys(curves.activation)
    ]
    return f"At depth {deepest:,} the corrected log gradient goes, {'; '.join(clauses)}."


def _choose_shape(curves: pd.DataFrame, shallow: int) -> list[alt.Parameter]:
    activations, deepest = list(dict.fromkeys(curves.activation)), float(np.log10(curves.depth.max()))
    return [
        parts.menu("activation", activations, "activation", list(map(_name_activation, activations))),
        parts.slider("p", 0, min(0.4, curves.power.max()), 0.05, "p", start=0.2),
        parts.slider("log_L", round(np.log10(shallow), 1) + 0.1, deepest, 0.1, "log10 depth"),
    ]


def _mark_place(data: alt.Chart, x: alt.X) -> alt.Chart:
    return data.mark_rule(strokeDash=[2, 3], opacity=0.6).encode(x=x)


def _shaped_panel(depths: list[int]) -> alt.LayerChart:
    x = parts.log_x((min(depths), max(depths)), "depth L")("depth")
    y = parts.linear_y((-1, 20), tickCount=6)("mean")
    here = parts.only_chosen(parts.chart_named("curves"), "activation")
    others = here.mark_line(stroke=theme.MIDDLE, strokeWidth=1, opacity=0.6, clip=True)
    chosen = here.transform_filter(_CHOSEN_POWER).mark_line(
        stroke=theme.MEASURED, strokeWidth=2.4, clip=True, point={"fill": theme.MEASURED}
    )
    depth = parts.chart_of([{}]).transform_calculate(depth="pow(10, log_L)")
    layers = [others.encode(x=x, y=y, detail="power:N"), _mark_place(depth, x), chosen.encode(x=x, y=y)]
    return parts.panel(*layers, title="ln ‖∂L/∂W₁‖ + p·ln L", height=240)


def _rise_panel(largest: float, shallow: int) -> alt.LayerChart:
    x, y = parts.linear_x((0, largest), "p", tickCount=5)("power"), parts.log_y((0.05, 300))
    at_depth = parts.only_chosen(parts.chart_named("rise"), "activation").transform_filter(
        "log_L >= datum.from && log_L < datum.to"
    )
    risen = at_depth.transform_filter("datum.rise > 0.05")
    ring = risen.transform_filter(_CHOSEN_POWER).mark_point(stroke=theme.TEXT, filled=False, size=130)
    return parts.panel(
        _mark_place(parts.chart_of([{"power": theory.LEAST_POWER}]), x),
        parts.theory_line(at_depth.transform_filter("isValid(datum.predicted)"), x, y("predicted")),
        parts.points(risen, x, y("rise"), size=44, fill=_PURPLE),
        ring.encode(x=x, y=y("rise")),
        title=f"its growth from depth {shallow} to that depth",
        height=240,
    )


def _tabulate_shaped(one: xr.Dataset) -> pd.DataFrame:
    own = {"activation": str(one.activation.values), "power": float(one.power)}
    return _spread(analysis.remove_last_gain(one), "depth", **own)


def _tabulate_rises(runs: xr.Dataset, curves: pd.DataFrame, shallow: int) -> pd.DataFrame:
    """Growth from a shallow depth to each deeper one, with c·Σℓ^(−4p) beside it; none of that for ReLU, which knows no gain.

    ``from`` and ``to`` are the log10 of the depths for which a slider takes this one.
    """
    at = curves.pivot(index=["activation", "power"], columns="depth", values="mean")
    deeper = [int(depth) for depth in at.columns if depth > shallow]
    middles = (np.log10(deeper[:-1]) + np.log10(deeper[1:])) / 2
    frames = []
    for depth, low, high in zip(deeper, [0, *middles], [*middles, 9], strict=True):
        span = (shallow, depth)
        rise = (at[depth] - at[shallow]).rename("rise").reset_index()
        scales = {name: analysis.fit_shaping_scale(runs, name, span) for name in set(rise.activation) - {"relu"}}
        predicted = rise.activation.map(scales) * analysis.sum_fourth_powers(rise.power.values, span)
        frames.append(rise.assign(depth=depth, predicted=predicted, **{"from": low, "to": high}))
    return pd.concat(frames, ignore_index=True)
