"""Networks of many widths and depths along training: ηλ and the distance to the largest, spectra, the γ–N plane, transfer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.data import TASKS
from richness.plots import parts, theme
from richness.plots.captions import recipe
from richness.plots.figure import Figure, figure, with_sources
from richness.studies.neighbours.consistency import analysis
from richness.studies.neighbours.consistency.recipes import PLANE_ETA, SCALINGS

#: Small to large; none of γ's, the loss's or stability's.
SIZES = ("#2aa198", "#2f86b5", "#6a6fc9", "#9a4fb8", "#b03a7f")
_EDGE = 2.0  # lr_raw·λ_max above which gradient descent on a quadratic diverges
_UNITS = "ηλ stands for lr_raw·λ_max; η₀ is the base step, in units that do not know the width."
_SAME_ETA = "abs(log(datum.eta0) / LN10 - log_eta) < 0.15"


def _describe_conditions(made: Any, network: str = "MLP of L = 3 weight layers") -> str:
    how = recipe(made)
    return (
        f"MSE (mean over samples and classes); {network}, {how['activation']}; gradient descent on one fixed set of "
        f"{how['batch_size']} digits (8×8), full batches; {made.sizes['seed']} seeds. {_UNITS}"
    )


def _geometric_mean(values: Any) -> Any:
    """Over seeds; NaN where one of them is none."""
    return np.exp(np.log(values.where(values > 0)).mean("seed", skipna=False))


def _choose_eta(etas: np.ndarray, start: float) -> alt.Parameter:
    return parts.slider_over("log_eta", np.log10(etas), "log10 η₀", np.log10(start))


def _size_colour(sizes: Iterable[int], title: str) -> alt.Color:
    domain = sorted({int(size) for size in sizes})
    places = np.linspace(0, len(SIZES) - 1, len(domain)).round().astype(int)
    scale = alt.Scale(domain=domain, range=[SIZES[k] for k in places])
    return alt.Color("size:O", scale=scale, legend=alt.Legend(title=title))


def _steps_axis(steps: Any) -> alt.X:
    return parts.log_x((1.0, float(steps.max()) * 1.05), "steps t")("t")


def _curve_panel(
    data: alt.Chart,
    field: str,
    title: str,
    ends: tuple[float, float],
    *axes: Any,
    edge: bool = False,
    height: int = 200,
) -> alt.LayerChart:
    """Curves of one field, a colour a size; ``axes`` are the axis of steps and that colour."""
    (x, colour), y = axes, parts.log_y(ends)
    line = data.transform_filter(f"isValid(datum.{field})").mark_line(clip=True, point={"size": 14})
    rule = parts.stability_rule(_EDGE, y) if edge and ends[0] < _EDGE < ends[1] else None
    drawn = line.encode(x=x, y=y(field), color=colour, detail="size:O", order="t:Q")
    return parts.panel(drawn, rule, title=title, height=height)


def _say_range(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{min(known):.3g} to {max(known):.3g}" if known else "none"


# -- along training ----------------------------------------------------------------------------------------------------


def _tabulate_training(made: xr.Dataset, size: str, **named: str) -> pd.DataFrame:
    """A row a size, base step and measured step: geometric means over seeds; mean distances, taken seed by seed."""
    columns: dict[str, xr.DataArray] = {}
    for key in ("product", "loss"):
        apart = analysis.measure_distance(made[key].transpose(size, ...)).mean("seed", skipna=False)
        columns |= {key: _geometric_mean(made[key]), f"{key}_apart": apart.reindex({size: made[size]})}
    table = xr.Dataset(columns).to_dataframe(dim_order=[size, "eta0", "step"]).reset_index()
    table = table.rename(columns={size: "size", "step": "t"}).assign(**named)
    return table[[*named, "size", "eta0", "t", "product", "loss", "product_apart", "loss_apart"]]


@with_sources
def draw_training(
    families: Mapping[str, xr.Dataset], *, eta0: float = 6.0, caption: str | None = None, label: str | None = None
) -> Figure:
    """ηλ and the loss along training at every width, and below them how far each width is from the largest.

    Args:
        families: name of a parameterisation → its `analysis.load_widths`. eta0: shown at first.
    """
    etas = np.array(sorted(set.intersection(*(set(one.eta0.values.tolist()) for one in families.values()))))
    frames = [_tabulate_training(one.sel(eta0=etas), "width", scaling=name) for name, one in families.items()]
    table = pd.concat(frames, ignore_index=True)
    controls = [parts.radio("scaling", list(families), "parameterisation"), _choose_eta(etas, eta0)]
    chart = parts.join_panels(_training_panels(table), controls)
    at_end = table[(table.t == table.t.max()) & np.isclose(table.eta0, eta0)]
    summary = f"η₀ = {eta0:g}, last step, N = {at_end['size'].min()} to {at_end['size'].max()}: " + "; ".join(
        f"{name}: ηλ from {part['product'].min():.2f} to {part['product'].max():.2f}, loss from {part.loss.max():.3g} down to "
        f"{part.loss.min():.3g}"
        for name, part in at_end.groupby("scaling", sort=False)
    )
    note = (
        f"{caption or 'One network at many widths, along training.'} Distances: |log of the ratio to the largest width|, seed "
        "by seed, then their mean; curves: geometric means over seeds, none where one diverged. "
        f"{_describe_conditions(next(iter(families.values())))}"
    )
    return figure(chart, summary + ".", table.rename(columns=_TITLES), note, label)


_TITLES = {
    "scaling": "parameterisation",
    "size": "N",
    "eta0": "η₀",
    "product": "ηλ",
    "product_apart": "distance of ηλ",
    "loss_apart": "distance of the loss",
}


def _training_panels(table: pd.DataFrame) -> list[alt.LayerChart]:
    shown, largest = table[table.t > 0], int(table["size"].max())
    data = parts.only_chosen(parts.chart_of(shown, 3), "scaling").transform_filter(_SAME_ETA)
    axes = _steps_axis(shown.t), _size_colour(table["size"], "width N")
    return [
        _curve_panel(data, "product", "ηλ, the red line is 2", (0.03, 12.0), *axes, edge=True),
        _curve_panel(data, "loss", "loss", theme.span(table.loss[table.loss < 1], 1.1), *axes),
        _curve_panel(data, "product_apart", f"ηλ: distance to N = {largest}", (0.003, 3.0), *axes),
        _curve_panel(data, "loss_apart", f"loss: distance to N = {largest}", (0.003, 3.0), *axes),
    ]


# -- other architectures -----------------------------------------------------------------------------------------------


@with_sources
def draw_architectures(
    families: Mapping[str, Mapping[str, xr.Dataset]], *, caption: str | None = None, label: str | None = None
) -> Figure:
    """ηλ along training at every width: a row an architecture, a column a parameterisation.

    Args:
        families: name of an architecture → its `analysis.load_architectures`.
    """
    frames = [
        _tabulate_training(made, "width", network=network, scaling=scaling)
        for network, pair in families.items()
        for scaling, made in pair.items()
    ]
    table = pd.concat(frames, ignore_index=True)
    end = table[table.t == table.t.max()]
    summary = "ηλ at the last step over the widths: " + "; ".join(
        f"{network}, {scaling}: {_say_range(part['product'])}"
        for (network, scaling), part in end.groupby(["network", "scaling"], sort=False)
    )
    note = f"{caption or 'Three architectures at many widths, along training.'} {_describe_settings(families)}"
    chart = parts.join_panels(_architecture_panels(table), [])
    return figure(chart, summary + ".", table.rename(columns=_TITLES), note, label)


def _architecture_panels(table: pd.DataFrame) -> list[alt.LayerChart]:
    shown = table[table.t > 0]
    axes, panels = (_steps_axis(shown.t), _size_colour(table["size"], "width N")), []
    for (network, scaling), part in shown.groupby(["network", "scaling"], sort=False):
        ends = theme.span([*shown[shown.network == network]["product"], _EDGE], 1.2)  # both columns alike
        data, title = parts.chart_of(part[["size", "t", "product"]], 3), f"{network}, {scaling}: ηλ"
        panels.append(_curve_panel(data, "product", title, ends, *axes, edge=True, height=150))
    return panels


def _describe_settings(families: Mapping[str, Mapping[str, xr.Dataset]]) -> str:
    firsts = {network: next(iter(pair.values())) for network, pair in families.items()}
    some = next(iter(firsts.values()))
    how, each = recipe(some), "; ".join(_describe_setting(network, made) for network, made in firsts.items())
    return (
        f"The red line is 2. {each}. All of L = {how['depth']} weight layers, {how['activation']}; gradient descent on one "
        f"fixed set of {how['batch_size']} samples, full batches; geometric means over {some.sizes['seed']} seeds. {_UNITS}"
    )


def _describe_setting(network: str, made: xr.Dataset) -> str:
    how = recipe(made)
    loss = {"mse": "MSE (mean over samples and classes)", "cross_entropy": "cross-entropy (nats)"}[how["loss"]]
    data = {"digits8_fixed": "digits (8×8)", "text_fixed": "the next character of a text"}[how["task"]]
    return f"{network}: {data}, {loss}, η₀ = {float(made.eta0[0]):g}"


# -- spectra -----------------------------------------------------------------------------------------------------------


@with_sources
def draw_spectra(
    families: Mapping[str, xr.DataArray], *, caption: str | None = None, label: str | None = None
) -> Figure:
    """The k-th eigenvalue of Hessian, Gauss–Newton matrix and kernel along training, at every width; k on a slider.

    Args:
        families: name of a parameterisation → its `analysis.load_spectra`.
    """
    rows = [row for name, values in families.items() for row in _tabulate_spectra(values, name)]
    first = next(iter(families.values()))
    which = parts.slider_over("which", range(1, first.sizes["eigenvalue"] + 1), "k-th largest", start=1)
    chart = parts.join_panels(
        _spectra_panels(rows), [parts.radio("scaling", list(families), "parameterisation"), which]
    )
    note = (
        f"{caption or 'Three spectra along training.'} Eigenvalues times lr_raw, geometric means over seeds. H = G + R; under "
        "MSE the spectrum of G is that of the full kernel, and where all outputs have one kernel it is the third panel's, each "
        f"value {TASKS[recipe(first)['task']].outputs} times over. {_describe_conditions(first)}"  # type: ignore[arg-type]
    )
    table = pd.DataFrame(
        {"parameterisation": row["scaling"], "matrix": row["matrix"], "N": row["size"], "t": row["t"]}
        | {f"k = {k}": v for k, v in enumerate(row["v"], start=1)}
        for row in rows
    )
    return figure(chart, _summarise_spectra(rows), table, note, label)


def _summarise_spectra(rows: list[dict[str, Any]]) -> str:
    last = max(row["t"] for row in rows)
    end = pd.DataFrame([row for row in rows if row["t"] == last])
    return (
        "The largest at the last step, times lr_raw, over the widths: "
        + "; ".join(
            f"{scaling}, {matrix}: {_say_range([v[0] for v in part.v])}"
            for (scaling, matrix), part in end.groupby(["scaling", "matrix"], sort=False)
        )
        + "."
    )


def _tabulate_spectra(values: xr.DataArray, scaling: str) -> list[dict[str, Any]]:
    """A row a width, matrix and step: the eigenvalues, largest first, in an array."""
    means = _geometric_mean(values)
    return [
        {"scaling": scaling, "matrix": str(matrix), "size": int(n), "t": int(t)}
        | {"v": [theme.significant(v, 3) for v in means.sel(width=n, matrix=matrix, step=t).values]}
        for n in means.width.values
        for matrix in means.matrix.values
        for t in means.step.values
    ]


def _spectra_panels(rows: list[dict[str, Any]]) -> list[alt.LayerChart]:
    shown = [row for row in rows if row["t"] > 0]
    data = parts.only_chosen(parts.chart_of(shown), "scaling").transform_calculate(value="datum.v[which - 1]")
    ends = theme.span([v for row in shown for v in row["v"] if v], 1.2)
    axes = _steps_axis(np.array([row["t"] for row in rows])), _size_colour((row["size"] for row in rows), "width N")
    titles = zip(analysis.MATRICES, ("Hessian H", "Gauss–Newton G", "NTK, mean over outputs"), strict=True)
    return [
        _curve_panel(data.transform_filter(f"datum.matrix == '{m}'"), "value", title, ends, *axes, edge=True)
        for m, title in titles
    ]


# -- the plane ---------------------------------------------------------------------------------------------------------

_QUANTITIES = {"growth": "growth of λ", "product": "ηλ at the end", "loss": "loss at the end"}


@with_sources
def draw_plane(made: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The γ–N plane: µP is its upper row, NTK parameterisation its diagonal γ = N^(−1/2).

    Args:
        made: from `analysis.load_plane`.
    """
    means = _geometric_mean(made[list(_QUANTITIES)]).to_dataframe(dim_order=["width", "gamma"]).reset_index()
    table = means.assign(gamma=[_round_gamma(gamma) for gamma in means.gamma])
    ways = _trace_ways(table)
    x, y = (
        _grid_axis(alt.X, "width", sorted(set(table.width)), "width N", labelAngle=0),
        _grid_axis(alt.Y, "gamma", sorted(set(table.gamma), reverse=True), "γ"),
    )
    layers = alt.layer(*_draw_cells(table, x, y, _draw_ways(ways, x, y))).resolve_scale(color="independent")
    choice = parts.radio("what", list(_QUANTITIES), "colour", list(_QUANTITIES.values()))
    chart = parts.join_panels([layers.properties(width=theme.PLANE, height=theme.PLANE + 40)], [choice])
    grown = ways.merge(table, on=["width", "gamma"]).groupby("way").growth
    mup, ntk = grown.get_group("µP"), grown.get_group("NTK")
    summary = (
        f"λ grows by a factor {mup.min():.2f} to {mup.max():.2f} along µP's row, N = {table.width.min()} to "
        f"{table.width.max()}; along the diagonal of NTK parameterisation from {ntk.iloc[0]:.2f} down to {ntk.iloc[-1]:.2f}."
    )
    note = (
        f"{caption or 'The γ–N plane.'} Each cell: the network of width N and richness γ at η = {PLANE_ETA:g}·γ², after "
        f"{recipe(made)['steps']} steps; growth is λ_max at the end over λ_max at step 0; geometric means over seeds; shades "
        f"are logarithmic, from the smallest to the largest. {_describe_conditions(made)}"
    )
    return figure(chart, summary, table.rename(columns={"width": "N", "gamma": "γ"} | _QUANTITIES), note, label)


def _round_gamma(gamma: float) -> float:
    return float(f"{gamma:.3g}")


def _grid_axis(channel: Any, field: str, values: list[Any], title: str, **axis: Any) -> Any:
    scale = alt.Scale(domain=values)
    return channel(f"{field}:O", sort=values, scale=scale, axis=alt.Axis(title=title, **axis))


def _trace_ways(table: pd.DataFrame) -> pd.DataFrame:
    """The cells that each parameterisation passes through as networks grow wider."""
    widths, gammas = sorted(set(table.width)), set(table.gamma)
    ways = [{"way": "µP", "width": n, "gamma": 1.0} for n in widths]
    ways += [{"way": "NTK", "width": n, "gamma": g} for n in widths if (g := _round_gamma(n**-0.5)) in gammas]
    return pd.DataFrame(ways)


def _draw_ways(ways: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    scale = alt.Scale(domain=["µP", "NTK"], range=[theme.RICH, theme.LAZY])
    point = {"size": 560, "filled": False, "strokeWidth": 2}
    lines = parts.chart_of(ways.to_dict("records")).mark_line(strokeWidth=2, opacity=0.8, point=point)
    colour = alt.Color("way:N", scale=scale, legend=alt.Legend(title=None))
    return lines.encode(x=x, y=y, color=colour, detail="way:N", order="width:Q")


def _draw_cells(table: pd.DataFrame, x: alt.X, y: alt.Y, between: alt.Chart) -> list[alt.Chart]:
    """Cells shaded by the chosen quantity, and its numbers, with ``between`` between them."""
    data = parts.chart_of(table, 3).transform_calculate(value="datum[what]")
    data = data.transform_joinaggregate(low="min(value)", high="max(value)")
    data = data.transform_calculate(share="log(datum.value / datum.low) / log(datum.high / datum.low)")
    scale = alt.Scale(domain=[0, 1], range=["#efeaf5", "#cdb4e6", "#9a4fd1", "#4a1a78"], interpolate="rgb")
    cells = data.mark_rect(stroke=None).encode(x=x, y=y, color=alt.Color("share:Q", scale=scale, legend=None))
    ink = alt.condition("datum.share > 0.55", alt.value("#fff"), alt.value("#222"))
    words = data.mark_text(fontSize=10).encode(x=x, y=y, text=alt.Text("value:Q", format=".2~f"), color=ink)
    return [cells, between, words]


# -- transfer of the step ----------------------------------------------------------------------------------------------


def _tabulate_losses(made: xr.Dataset, size: str, **named: str) -> list[dict[str, Any]]:
    """One row a size and base step: the loss at every measured step after 0, in an array."""
    means = _geometric_mean(made.loss).transpose(size, "eta0", "step").values[..., 1:]
    return [
        {**named, "size": int(n), "eta0": float(eta), "v": [theme.significant(v, 3) for v in means[i, j]]}
        for i, n in enumerate(made[size].values)
        for j, eta in enumerate(made.eta0.values)
    ]


def _eta_panel(rows: list[dict[str, Any]], choice: str, words: str, place: str, **look: Any) -> Any:
    """The loss against the base step, a curve a size with its lowest point marked, at one place of the arrays."""
    ends = theme.span([v for row in rows for v in row["v"] if v and v < 0.2], 1.15)
    data = parts.only_chosen(parts.chart_of(rows), choice).transform_calculate(value=f"datum.v[{place}]")
    data = data.transform_filter("isValid(datum.value)")
    channels = {
        "x": parts.log_x(theme.span([row["eta0"] for row in rows], 1.1), "base step η₀")("eta0"),
        "y": parts.log_y(ends, "loss")("value"),
        "color": _size_colour((row["size"] for row in rows), words),
    }
    lowest = data.transform_joinaggregate(least="min(value)", groupby=["size"])
    marks = lowest.transform_filter("datum.value == datum.least").mark_point(size=70, filled=True, clip=True)
    lines = data.mark_line(clip=True).encode(**channels, detail="size:O")
    return alt.layer(lines, marks.encode(**channels)).properties(width=theme.PLANE, **look)


@with_sources
def draw_transfer(
    families: Mapping[str, xr.Dataset], *, caption: str | None = None, label: str | None = None
) -> Figure:
    """The loss against the base step at every width, the best one marked; the number of steps on a slider.

    Args:
        families: name of a parameterisation → its `analysis.load_widths`.
    """
    rows = [row for name, made in families.items() for row in _tabulate_losses(made, "width", scaling=name)]
    first = next(iter(families.values()))
    steps = first.step.values[1:]
    stops = [round(float(v), 3) for v in np.log10(steps)]
    nearest = "+".join(f"(log_t > {(a + b) / 2:.3f} ? 1 : 0)" for a, b in pairwise(stops))
    controls = [
        parts.radio("scaling", list(families), "parameterisation"),
        parts.slider("log_t", stops[0], stops[-1], 0.01, "log10 t"),
    ]
    chart = parts.join_panels([_eta_panel(rows, "scaling", "width N", f"({nearest})", height=220)], controls)
    said = [_say_best(name, analysis.find_best_etas(made, int(steps[-1])).values) for name, made in families.items()]
    note = (
        f"{caption or 'Does one step serve all widths?'} The loss at the measured step nearest to t, geometric mean over "
        "seeds; a curve ends where a seed diverged. In standard parameterisation η₀ is the step of all weights times "
        f"{1 / SCALINGS['standard'].eta(1.0, 1):g}. {_describe_conditions(first)}"
    )
    table = pd.DataFrame(
        {"parameterisation": row["scaling"], "N": row["size"], "η₀": row["eta0"]}
        | {f"t = {t}": v for t, v in zip(steps, row["v"], strict=True)}
        for row in rows
    )
    return figure(chart, f"Best η₀ after {steps[-1]} steps: {'; '.join(said)}.", table, note, label)


def _say_best(name: str, best: np.ndarray) -> str:
    """Of best η₀, (size, seed)."""
    ends = [
        f"{np.exp(np.log(one).mean()):.3g}" if np.isfinite(one).all() else "at an end of the axis"
        for one in (best[0], best[-1])
    ]
    return f"{name}: {ends[0]} at the smallest width, {ends[1]} at the largest"


# -- depth -------------------------------------------------------------------------------------------------------------


@with_sources
def draw_depth(
    families: Mapping[str, xr.Dataset], *, eta0: float = 3.0, caption: str | None = None, label: str | None = None
) -> Figure:
    """Residual networks: ηλ along training and the loss at the end against the base step, at every depth.

    Args:
        families: kind of branch → its `analysis.load_depths`. eta0: shown at first.
    """
    first = next(iter(families.values()))
    frames = [_tabulate_training(one, "depth", branch=name) for name, one in families.items()]
    table = pd.concat(frames, ignore_index=True).drop(columns=["product_apart", "loss_apart"])
    rows = [row for name, made in families.items() for row in _tabulate_losses(made, "depth", branch=name)]
    rows = [row | {"v": row["v"][-1:]} for row in rows]
    end = _eta_panel(rows, "branch", "L", "0", height=200, title="loss at the end")
    controls = [parts.radio("branch", list(families), "branches"), _choose_eta(first.eta0.values, eta0)]
    chart = parts.join_panels([_depth_panel(table), end], controls)
    here = table[np.isclose(table.eta0, eta0)]
    said = [_say_depth(str(name), part) for name, part in here.groupby("branch", sort=False)]
    note = (
        f"{caption or 'Residual networks of many depths.'} N = {recipe(first)['width']}, γ = 1; T = {recipe(first)['steps']} "
        f"steps; a curve ends where a seed diverged. {_describe_conditions(first, 'residual network of L weight layers')}"
    )
    numbers = table.rename(columns={"branch": "branches", "size": "L", "eta0": "η₀", "product": "ηλ"})
    return figure(chart, f"η₀ = {eta0:g}: {'; '.join(said)}.", numbers, note, label)


def _depth_panel(table: pd.DataFrame) -> alt.LayerChart:
    shown = table[table.t > 0]
    data = parts.chart_of(shown[["branch", "size", "eta0", "t", "product"]], 3)
    data, colour = parts.only_chosen(data, "branch").transform_filter(_SAME_ETA), _size_colour(table["size"], "L")
    return _curve_panel(
        data, "product", "ηλ, the red line is 2", (0.05, 100.0), _steps_axis(shown.t), colour, edge=True
    )


def _say_depth(name: str, part: pd.DataFrame) -> str:
    start, end = (part[part.t == t]["product"].dropna() for t in (0, part.t.max()))
    return (
        f"{name}: ηλ at step 0 from {start.min():.2f} to {start.max():.3g} over L = {part['size'].min()} to "
        f"{part['size'].max()}, at the end {end.min():.2f} to {end.max():.2f}"
    )
