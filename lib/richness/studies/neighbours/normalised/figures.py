"""Normed networks in depth, drawn: the gap that decays, gradients that explode or do not, and activations that are shaped."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.cases import select_cases
from richness.analysis.stats import mean_over_seeds
from richness.plots import theme
from richness.plots.cells import records
from richness.plots.figure import Figure, figure, with_sources
from richness.studies.neighbours.normalised import analysis as found
from richness.studies.neighbours.normalised import theory

INPUTS = {
    "gaussian": "Gaussian",
    "correlated": "correlated (nine tenths in common)",
    "near": "nearly orthogonal",
    "digits": "digits8, turned",
}
_COLOURS = {"orthogonal": theme.MEASURED, "gaussian": theme.MIDDLE}
_DASHED: dict[str, Any] = {"strokeDash": [5, 3], "strokeWidth": 1.4, "stroke": theme.TEXT, "clip": True}
_DOTTED: dict[str, Any] = {"strokeDash": [1.5, 2.5], "strokeWidth": 1.8, "stroke": theme.TEXT, "clip": True}
_RULE: dict[str, Any] = {"strokeDash": [2, 3], "opacity": 0.6}
_SMALLEST = 1e-9
_NORM = "Batch norm divides each unit by its root mean square over the batch; no learned gain or bias."


def _select(name: str, values: Sequence[Any], labels: Sequence[str], title: str, start: Any = None) -> alt.Parameter:
    bind = alt.binding_select(options=list(values), labels=list(labels), name=f"{title} ")
    return alt.param(name=name, value=values[0] if start is None else start, bind=bind)


def _range(name: str, start: float, low: float, high: float, step: float, title: str) -> alt.Parameter:
    return alt.param(name=name, value=start, bind=alt.binding_range(min=low, max=high, step=step, name=f"{title} "))


def _by_weights(here: alt.Chart, x: alt.X, y: Callable[[str], alt.Y], point: bool = False) -> list[alt.Chart]:
    """Band and line of each kind of weights, in its colour."""
    layers = []
    for weights, colour in _COLOURS.items():
        own = here.transform_filter(f"datum.weights == '{weights}'")
        dots = {"fill": colour, "stroke": colour} if point else False
        layers += [
            own.mark_area(color=colour, opacity=0.25, clip=True).encode(x=x, y=y("low"), y2="high:Q"),
            own.mark_line(color=colour, clip=True, point=dots).encode(x=x, y=y("mean")),
        ]
    return layers


def _seeds(runs: xr.Dataset) -> str:
    seeds = json.loads(runs.attrs["seeds"])
    return f"{len(seeds)} seeds (each its own weights, inputs, labels and readout)"


def _spread(values: xr.DataArray, axis: str, **fixed: Any) -> pd.DataFrame:
    """Mean, lowest and highest over seeds, a row a place of the axis."""
    array = values.transpose("seed", axis).values.astype(float)
    columns = {axis: values[axis].values, "mean": array.mean(0), "low": array.min(0), "high": array.max(0)}
    return pd.DataFrame(columns).assign(**fixed)


# -- the isometry gap --------------------------------------------------------------------------------------------------


@with_sources
def isometry_decay(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The isometry gap layer by layer, orthogonal and Gaussian weights, beside the theorem and the first-order law."""
    gaps = pd.concat([_gap_rows(runs.isel(case=k)) for k in range(runs.sizes["case"])], ignore_index=True)
    near = select_cases(runs, weights="orthogonal", inputs="near")
    lost = pd.concat([_lost_rows(near.isel(case=k)) for k in range(near.sizes["case"])], ignore_index=True)
    widths, inputs = sorted(set(gaps.width)), [name for name in INPUTS if name in set(gaps.inputs)]
    controls = [
        _select("inputs", inputs, [INPUTS[name] for name in inputs], "inputs"),
        _select("width", widths, [f"d = n = {width}" for width in widths], "width", start=widths[-2:][0]),
        _range("log_C", 0.0, -3.0, 1.0, 0.25, "log10 C, theorem's constant"),
    ]
    deepest = int(gaps.layer.max())
    x = alt.X("layer:Q", scale=theme.log_scale(1, deepest), axis=theme.log_axis("layer ℓ", 1, deepest))
    y_scale, y_axis = theme.log_scale(_SMALLEST, 1e2), theme.log_axis(None, _SMALLEST, 1e2, every=2)
    here = alt.Chart(alt.NamedData(name="gaps")).transform_filter(
        "datum.inputs == inputs && datum.width == width && datum.layer > 0"
    )
    bound = here.transform_filter("datum.weights == 'orthogonal'").transform_calculate(
        bound="datum.first * exp(-datum.layer / (pow(10, log_C) * datum.unit))"
    )

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=y_scale, axis=y_axis)

    left = alt.layer(
        *_by_weights(here, x, y),
        bound.mark_line(**_DASHED).encode(x=x, y=y("bound")),
        here.transform_filter("isValid(datum.law)").mark_line(**_DOTTED).encode(x=x, y=y("law")),
    ).properties(width=theme.PLANE, height=240, title="isometry gap φ")
    low, high = theme.span(lost.width, 1.3)
    ends = theme.span([*lost["mean"], *lost.first_order, *lost.theorem], 2)
    across = alt.X("width:Q", scale=theme.log_scale(low, high), axis=theme.log_axis("width d", low, high))
    share_scale, share_axis = theme.log_scale(*ends), theme.log_axis(None, *ends)
    those = alt.Chart(alt.NamedData(name="lost")).transform_calculate(theorem_C="datum.theorem / pow(10, log_C)")

    def share(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=share_scale, axis=share_axis)

    right = alt.layer(
        those.mark_line(**_DOTTED).encode(x=across, y=share("first_order")),
        those.mark_line(**_DASHED).encode(x=across, y=share("theorem_C")),
        those.mark_rule(color=theme.MEASURED).encode(x=across, y=share("low"), y2="high:Q"),
        those.mark_point(fill=theme.MEASURED, stroke="white", size=40, filled=False).encode(x=across, y=share("mean")),
    ).properties(width=theme.PLANE, height=240, title="share of a small gap lost a layer")
    chart = theme.beside(left, right).add_params(*controls).resolve_scale(x="independent", y="independent")
    chart = chart.properties(datasets={"gaps": records(gaps), "lost": records(lost)})
    words = (caption or "The isometry gap in depth.").rstrip()
    note = (
        f"{words} X ← BN(WX), linear, n = d samples; {_NORM} Left: orthogonal weights in purple, Gaussian in grey, "
        "mean over seeds and the band from the lowest to the highest; "
        "a curve ends where a direction is lost in double precision. Dashed: the theorem's form φ₀·exp(−ℓ/k), k = C·d²(1 "
        "+ dφ₀), with the constant C that you choose (the paper's is not known to us). Dotted: (d/(d + "
        "2))^ℓ, derived here to first "
        "order, from where the mean gap falls below 0.01. Right: nearly orthogonal inputs, 1 − φ(ℓ+1)/φ(ℓ), mean over layers "
        f"with 10⁻⁹ < φ < 0.01, bars over seeds; dotted 2/(d + 2), dashed 1/k. {_seeds(runs)}; float64."
    )
    said = ", ".join(
        f"{row.mean:.3f} at d = {row.width} (predicted {row.first_order:.3f})" for row in lost.itertuples()
    )
    summary = (
        "With orthogonal weights the gap falls towards 0 at every width and from all inputs; with Gaussian weights it grows "
        f"until a direction is lost. Of a small gap, orthogonal weights and a norm remove a share a layer: {said}."
    )
    table = gaps[["weights", "inputs", "width", "layer", "mean", "low", "high", "law"]]
    return figure(theme.finished(chart), summary, table.rename(columns={"mean": "φ, mean"}), note, label)


def _gap_rows(one: xr.Dataset) -> pd.DataFrame:
    """One case's gap along the layers: mean, low, high, and where it is small and decays the first-order law."""
    width, weights = int(one.width), str(one.weights.values)
    frame = _spread(one.gap, "layer", weights=weights, inputs=str(one.inputs.values), width=width)
    first = float(frame["mean"].iloc[0])
    frame = frame.assign(first=first, unit=theory.layers_of_decay(first, width), law=np.nan)
    small = np.flatnonzero(frame["mean"] < found.SMALL)
    if weights == "orthogonal" and small.size:
        start = frame.iloc[small[0]]
        law = start["mean"] * theory.contraction(width) ** (frame.layer - start.layer)
        frame["law"] = law.where(frame.layer >= start.layer)
    drawn = np.isfinite(frame[["mean", "low", "high"]]).all(axis=1) & (frame["mean"] > _SMALLEST / 100)
    return frame[drawn].assign(low=frame.low.clip(lower=_SMALLEST / 100))


def _lost_rows(one: xr.Dataset) -> pd.DataFrame:
    """What share of a small gap a layer removes, at one width, and what is predicted."""
    width, gap = int(one.width), float(one.gap.sel(layer=0).mean())
    lost = 1 - one.contraction.values.astype(float)
    row = {
        "mean": lost.mean(),
        "low": lost.min(),
        "high": lost.max(),
        "theorem": 1 / theory.layers_of_decay(gap, width),
    }
    return pd.DataFrame([{"width": width, **row, "first_order": 1 - theory.contraction(width)}])


# -- gradients ---------------------------------------------------------------------------------------------------------


@with_sources
def gradients_in_depth(
    runs: xr.Dataset, wide: xr.Dataset, *, caption: str | None = None, label: str | None = None
) -> Figure:
    """The first layer's gradient against depth for both kinds of weights; and Gaussian slopes over theory's, as width grows.

    Args:
        runs: of recipe ``normalised_isometry``. wide: of ``normalised_explosion``.
    """
    curves = pd.concat([_gradient_rows(runs.isel(case=k)) for k in range(runs.sizes["case"])], ignore_index=True)
    ratios = pd.concat([_ratio_rows(wide.isel(case=k)) for k in range(wide.sizes["case"])], ignore_index=True)
    widths, inputs = sorted(set(curves.width)), [name for name in INPUTS if name in set(curves.inputs)]
    controls = [
        _select("inputs", inputs, [INPUTS[name] for name in inputs], "inputs"),
        _select("width", widths, [f"d = n = {width}" for width in widths], "width", start=widths[-2:][0]),
    ]
    here = alt.Chart(alt.NamedData(name="curves")).transform_filter("datum.inputs == inputs && datum.width == width")
    x = alt.X(
        "depth:Q", scale=alt.Scale(domain=[0, int(curves.depth.max())]), axis=alt.Axis(title="depth L", tickCount=5)
    )
    ends = [float(np.floor(curves.low.min())), float(np.ceil(curves.high.max()))]

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=alt.Scale(domain=ends), axis=alt.Axis(title=None, tickCount=6))

    left = alt.layer(
        here.transform_filter("datum.weights == 'gaussian'").mark_line(**_DASHED).encode(x=x, y=y("line")),
        *_by_weights(here, x, y, point=True),
    ).properties(width=theme.PLANE, height=240, title="ln ‖∂L/∂W₁‖")
    low, high = theme.span(ratios.width, 1.3)
    across = alt.X("width:Q", scale=theme.log_scale(low, high), axis=theme.log_axis("width d", low, high))
    near = alt.Scale(domain=[0.5, 1.3])
    ratio = alt.Y("mean:Q", scale=near, axis=alt.Axis(title=None, tickCount=5))
    kinds = list(dict.fromkeys(ratios.kind))
    shape = alt.Shape(
        "kind:N", scale=alt.Scale(domain=kinds), legend=alt.Legend(title=None, orient="bottom", columns=2)
    )
    those = alt.Chart(alt.NamedData(name="ratios"))
    right = alt.layer(
        alt.Chart(alt.InlineData(values=[{"mean": 1}])).mark_rule(**_DASHED).encode(y=ratio),
        those.mark_line(color=theme.MIDDLE, strokeWidth=1, opacity=0.6, clip=True).encode(
            x=across, y=ratio, detail="kind:N"
        ),
        those.mark_rule(color=theme.MIDDLE, opacity=0.7, clip=True).encode(
            x=across, y=alt.Y("low:Q", scale=near), y2="high:Q"
        ),
        those.mark_point(color=theme.MIDDLE, size=44, clip=True).encode(x=across, y=ratio, shape=shape),
    ).properties(width=theme.PLANE, height=240, title="slope a layer ÷ theory's (infinite width)")
    chart = theme.beside(left, right).add_params(*controls).resolve_scale(x="independent", y="independent")
    chart = chart.properties(datasets={"curves": records(curves), "ratios": records(ratios)})
    words = (caption or "Gradients in depth.").rstrip()
    note = (
        f"{words} Cross-entropy of random labels, ten classes, through a Gaussian readout; {_NORM} Left: gradient of the first "
        "layer's weights (Frobenius), linear, n = d; orthogonal in purple, Gaussian in grey, "
        "mean over seeds and the band from the lowest to the highest; "
        "dashed, through the middle of the Gaussian points: ½·ln((B − 1)/(B − 2)) a layer, B = n, for norms "
        "that subtract no mean "
        "(derived here, for d much larger than n, which it is not on the left). Right: slope over the layers "
        "of one network, over theory's, "
        f"95 % intervals, d much larger than B. {_seeds(runs)}; float64."
    )
    last = curves[curves.depth == curves.depth.max()]
    say = {kind: last[last.weights == kind]["mean"] for kind in _COLOURS}
    summary = (
        f"At depth {int(curves.depth.max()):,} the log gradient of the first layer lies between "
        f"{say['orthogonal'].min():.1f} and {say['orthogonal'].max():.1f} with orthogonal weights, over all "
        "widths and inputs, and between "
        f"{say['gaussian'].min():.1f} and {say['gaussian'].max():.1f} with Gaussian ones. At the largest width the slopes are "
        + ", ".join(f"{row.mean:.2f} ({row.kind})" for row in ratios[ratios.width == ratios.width.max()].itertuples())
        + " of theory's."
    )
    table = curves[["weights", "inputs", "width", "depth", "mean", "low", "high"]]
    return figure(theme.finished(chart), summary, table.rename(columns={"mean": "ln ‖∂L/∂W₁‖, mean"}), note, label)


def _gradient_rows(one: xr.Dataset) -> pd.DataFrame:
    """One case's first-layer gradient over depth, with theory's slope through the middle of it."""
    frame = _spread(
        one.first_gradient,
        "depth",
        weights=str(one.weights.values),
        inputs=str(one.inputs.values),
        width=int(one.width),
    )
    slope = float(theory.gaussian_slope(int(one.samples), centred=False))
    deep = frame.depth >= frame.depth.max() / 10
    return frame.assign(line=(frame["mean"] - slope * frame.depth)[deep].mean() + slope * frame.depth)


def _ratio_rows(one: xr.Dataset) -> pd.DataFrame:
    """One wide case's slope over theory's, with its interval; nothing where there is no interval."""
    samples, centred, relu = int(one.samples), bool(one.centred), str(one.activation.values) == "relu"
    predicted = theory.relu_slope() if relu else float(theory.gaussian_slope(samples, centred))
    ratio = mean_over_seeds(one.gradient_slope.values / predicted)
    kind = f"ReLU, {one.weights.values}" if relu else f"B = {samples}, {'centred' if centred else 'uncentred'}"
    rows = [] if ratio.seeds < 2 else [(int(one.width), kind, ratio.value, *ratio.interval)]
    return pd.DataFrame(rows, columns=["width", "kind", "mean", "low", "high"])


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


def _trap(one: xr.Dataset) -> str:
    width, samples, inputs = int(one.width), int(one.samples), str(one.inputs.values)
    if bool(one.centred):
        return "centred"
    if inputs == "digits":
        return "digits" if width < 64 else "pixels"
    if inputs == "twins":
        return "twins"
    return "sound" if samples == width else "more" if samples > width else "few" if samples > width / 2 else "half"


@with_sources
def gradient_traps(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Orthogonal weights where the theorem's conditions fail: the first layer's gradient in depth, one batch at a time."""
    frames = []
    for k in range(runs.sizes["case"]):
        one = runs.isel(case=k)
        sound = np.isfinite(one.gap.sel(layer=1)).all().item()
        frames.append(_spread(one.first_gradient, "depth", trap=_trap(one), full_rank="yes" if sound else "no"))
    curves = pd.concat(frames, ignore_index=True)
    control = _select("batch", list(TRAPS), list(TRAPS.values()), "batch", start="half")
    x = alt.X(
        "depth:Q", scale=alt.Scale(domain=[0, int(curves.depth.max())]), axis=alt.Axis(title="depth L", tickCount=5)
    )
    ends = [float(np.floor(curves.low.min())), float(np.ceil(curves.high.max()))]

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=alt.Scale(domain=ends), axis=alt.Axis(title="ln ‖∂L/∂W₁‖", tickCount=6))

    every = alt.Chart(alt.NamedData(name="curves"))
    chosen = every.transform_filter("datum.trap == batch")
    dash = alt.StrokeDash(
        "full_rank:N",
        scale=alt.Scale(domain=["yes", "no"], range=[[1, 0], [6, 3]]),
        legend=alt.Legend(title="full rank after the first layer", orient="top", symbolType="stroke"),
    )
    chart = alt.layer(
        every.mark_line(stroke=theme.MIDDLE, strokeWidth=1, opacity=0.7).encode(
            x=x, y=y("mean"), detail="trap:N", strokeDash=dash
        ),
        chosen.mark_area(color=theme.MEASURED, opacity=0.25).encode(x=x, y=y("low"), y2="high:Q"),
        chosen.mark_line(stroke=theme.MEASURED, strokeWidth=2.4).encode(x=x, y=y("mean"), strokeDash=dash),
    ).properties(width=theme.PLANE, height=260)
    chart = chart.add_params(control).properties(datasets={"curves": records(curves)})
    last = curves[curves.depth == curves.depth.max()].sort_values("mean")
    summary = (
        f"Log gradient of the first layer at depth {int(last.depth.iloc[0])}: "
        + ", ".join(f"{row.mean:.1f} ({TRAPS[row.trap]})" for row in last.itertuples())
        + "."
    )
    words = (caption or "Orthogonal weights on batches of every kind.").rstrip()
    note = (
        f"{words} Orthogonal weights, linear; {_NORM} Purple: the batch that you choose, mean over seeds and the band from the "
        "lowest to the highest; grey: all the others. Long dashes: a direction is lost, in double precision, after the first "
        f"layer. Cross-entropy of random labels through a Gaussian readout. {_seeds(runs)}; float64."
    )
    table = curves.assign(trap=curves.trap.map(TRAPS)).rename(
        columns={"trap": "batch", "mean": "ln ‖∂L/∂W₁‖, mean", "full_rank": "full rank"}
    )
    return figure(theme.finished(chart, theme.WIDE), summary, table, note, label)


# -- shaping -----------------------------------------------------------------------------------------------------------


@with_sources
def shaping(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Activations with the gain ℓ^(−p): the gradient in depth at a chosen p, and against p at a chosen depth."""
    curves = pd.concat([_shaped_rows(runs.isel(case=k)) for k in range(runs.sizes["case"])], ignore_index=True)
    activations, powers = list(dict.fromkeys(curves.activation)), sorted(set(curves.power))
    depths = sorted(set(curves.depth))
    deepest = int(max(depths))
    shallow = max(depth for depth in depths[:-1] if depth <= found.TALL[0])
    rise = _rises(runs, curves, shallow)
    controls = [
        _select("activation", activations, ["ReLU" if name == "relu" else name for name in activations], "activation"),
        _range("p", 0.2, 0, min(0.4, max(powers)), 0.05, "p"),
        _range(
            "log_L",
            float(np.log10(deepest)),
            round(np.log10(shallow), 1) + 0.1,
            float(np.log10(deepest)),
            0.1,
            "log10 depth",
        ),
    ]
    mine, deep = "abs(datum.power - p) < 0.01", "log_L >= datum.from && log_L < datum.to"
    here = alt.Chart(alt.NamedData(name="curves")).transform_filter("datum.activation == activation")
    x_scale = theme.log_scale(min(depths), deepest)
    x = alt.X("depth:Q", scale=x_scale, axis=theme.log_axis("depth L", min(depths), deepest))
    y = alt.Y("mean:Q", scale=alt.Scale(domain=[-1, 20]), axis=alt.Axis(title=None, tickCount=6))
    chosen = here.transform_filter(mine).mark_line(
        stroke=theme.MEASURED, strokeWidth=2.4, clip=True, point={"fill": theme.MEASURED}
    )
    rule = alt.Chart(alt.InlineData(values=[{}])).transform_calculate(depth="pow(10, log_L)")
    left = alt.layer(
        here.mark_line(stroke=theme.MIDDLE, strokeWidth=1, opacity=0.6, clip=True).encode(x=x, y=y, detail="power:N"),
        rule.mark_rule(**_RULE).encode(x=alt.X("depth:Q", scale=x_scale)),
        chosen.encode(x=x, y=y),
    ).properties(width=theme.PLANE, height=240, title="ln ‖∂L/∂W₁‖ + p·ln L")
    those = alt.Chart(alt.NamedData(name="rise")).transform_filter(f"datum.activation == activation && {deep}")
    points = those.transform_filter("datum.rise > 0.05")
    across = alt.X("power:Q", scale=alt.Scale(domain=[0, max(powers)]), axis=alt.Axis(title="p", tickCount=5))

    def grown(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=theme.log_scale(0.05, 300), axis=theme.log_axis(None, 0.05, 300))

    least = alt.Chart(alt.InlineData(values=[{"power": theory.LEAST_POWER}]))
    ring = points.transform_filter(mine).mark_point(stroke=theme.TEXT, filled=False, size=130)
    right = alt.layer(
        least.mark_rule(**_RULE).encode(x=across),
        those.transform_filter("isValid(datum.predicted)").mark_line(**_DASHED).encode(x=across, y=grown("predicted")),
        points.mark_point(fill=theme.MEASURED, stroke="white", filled=False, size=44).encode(x=across, y=grown("rise")),
        ring.encode(x=across, y=grown("rise")),
    ).properties(width=theme.PLANE, height=240, title=f"its growth from depth {shallow} to that depth")
    chart = theme.beside(left, right).add_params(*controls).resolve_scale(x="independent", y="independent")
    chart = chart.properties(datasets={"curves": records(curves), "rise": records(rise)})
    words = (caption or "Activations shaped in depth.").rstrip()
    note = (
        f"{words} x ← σ(ℓ^(−p)·BN(Wx)), orthogonal weights, d = n = {int(runs.width[0])}, Gaussian inputs; {_NORM} Left: "
        "gradient of the first layer's weights, with the factor L^(−p) of the last gain put back; mean over seeds, the "
        "chosen p in purple, all others in grey. Right: points above 0.05; dashed: c·Σℓ^(−4p) over the "
        "layers between, derived here, "
        "with one c an activation and depth, fitted; dotted: p = ¼, above which the sum over all layers is finite. "
        f"Cross-entropy of random labels. {_seeds(runs)}; float64."
    )
    table = curves.rename(columns={"power": "p", "mean": "ln ‖∂L/∂W₁‖ + p·ln L, mean"})
    return figure(theme.finished(chart), _shaping_summary(curves, powers, deepest), table, note, label)


def _shaping_summary(curves: pd.DataFrame, powers: list[float], deepest: int) -> str:
    last = curves[curves.depth == deepest].set_index(["activation", "power"])["mean"]
    nearest = min(powers, key=lambda p: abs(p - 0.4))
    parts = [
        f"{'ReLU' if name == 'relu' else name} from {last[name, powers[0]]:.1f} without gain to {last[name, nearest]:.1f} at "
        f"p = {nearest:g}"
        for name in dict.fromkeys(curves.activation)
    ]
    return f"At depth {deepest:,} the corrected log gradient goes, {'; '.join(parts)}."


def _shaped_rows(one: xr.Dataset) -> pd.DataFrame:
    return _spread(found.remove_last_gain(one), "depth", activation=str(one.activation.values), power=float(one.power))


def _rises(runs: xr.Dataset, curves: pd.DataFrame, shallow: int) -> pd.DataFrame:
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
        scales = {name: found.fit_shaping_scale(runs, name, span) for name in set(rise.activation) - {"relu"}}
        predicted = rise.activation.map(scales) * found.sum_fourth_powers(rise.power.values, span)
        frames.append(rise.assign(depth=depth, predicted=predicted, **{"from": low, "to": high}))
    return pd.concat(frames, ignore_index=True)
