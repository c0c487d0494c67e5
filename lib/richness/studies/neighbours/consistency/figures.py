"""Networks of many widths and depths along training: ηλ and the distance to the largest, spectra, the γ–N plane, transfer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import theme
from richness.plots.captions import recipe
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import records
from richness.studies.neighbours.consistency import analysis as found

SIZES = (
    "#2aa198",
    "#2f86b5",
    "#6a6fc9",
    "#9a4fb8",
    "#b03a7f",
)  # small to large; none of γ's, the loss's or stability's
_EDGE = 2.0  # lr_raw·λ_max above which gradient descent on a quadratic diverges


_UNITS = "ηλ stands for lr_raw·λ_max; η₀ is the base step, in units that do not know the width."


def _conditions(made: xr.Dataset | xr.DataArray, network: str = "MLP of L = 3 weight layers") -> str:
    how = recipe(made)  # type: ignore[arg-type]
    return (
        f"MSE (mean over samples and classes); {network}, {how['activation']}; gradient descent on one fixed set of "
        f"{how['batch_size']} digits (8×8), full batches; {made.sizes['seed']} seeds. {_UNITS}"
    )


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Geometric, NaN where one of them is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(np.log(np.where(values > 0, values, np.nan)).mean(axis=axis))


def _radio(name: str, options: list[str], words: str) -> alt.Parameter:
    return alt.param(name=name, value=options[0], bind=alt.binding_radio(options=options, name=words))


def _eta_slider(etas: np.ndarray, start: float) -> alt.Parameter:
    logs = np.round(np.log10(etas), 3)
    bind = alt.binding_range(min=logs[0], max=logs[-1], step=round(float(np.log10(2)), 3), name="log10 η₀")
    return alt.param(name="log_eta", value=round(float(np.log10(start)), 3), bind=bind)


def _size_colour(sizes: list[int], title: str) -> alt.Color:
    places = np.linspace(0, len(SIZES) - 1, len(sizes)).round().astype(int)
    scale = alt.Scale(domain=sizes, range=[SIZES[k] for k in places])
    return alt.Color("size:O", scale=scale, legend=alt.Legend(title=title))


def _steps_axis(steps: np.ndarray) -> alt.X:
    low, high = 1.0, float(steps.max()) * 1.05
    return alt.X("t:Q", scale=theme.log_scale(low, high), axis=theme.log_axis("steps t", low, high))


def _panel(
    data: Any, field: str, title: str, ends: tuple[float, float], x: alt.X, colour: alt.Color, edge: bool
) -> Any:
    y = alt.Y(f"{field}:Q", scale=theme.log_scale(*ends), axis=theme.log_axis(None, *ends))
    line = data.transform_filter(f"isValid(datum.{field})").mark_line(clip=True, point={"size": 14})
    layers = [line.encode(x=x, y=y, color=colour, detail="size:O", order="t:Q")]
    if edge and ends[0] < _EDGE < ends[1]:
        rule = alt.Chart(alt.InlineData(values=[{"edge": _EDGE}])).mark_rule(strokeWidth=1.5, stroke=theme.STABILITY)
        layers.append(rule.encode(y=alt.Y("edge:Q", scale=theme.log_scale(*ends))))
    return alt.layer(*layers).properties(width=theme.PLANE, height=200, title=title)


# -- along training ----------------------------------------------------------------------------------------------------


def _along(made: xr.Dataset, size: str, group: str, etas: np.ndarray) -> pd.DataFrame:
    """One row for each base step, size and measured step after 0, geometric means over seeds; distances seed by seed."""
    made = made.sel(eta0=etas).transpose(size, "eta0", "seed", "step")
    apart = {key: found.distance(made[key]).mean("seed", skipna=False) for key in ("product", "loss")}
    means = {key: _mean(made[key].values, axis=2) for key in ("product", "loss")}
    rows = []
    for i, n in enumerate(made[size].values):
        for j, eta in enumerate(made.eta0.values):
            for k, t in enumerate(made.step.values):
                near = {f"{key}_apart": float(apart[key][i, j, k]) if i < len(apart[key]) else np.nan for key in apart}
                row = {"group": group, "size": int(n), "eta0": float(eta), "t": int(t)}
                rows.append(row | {key: float(means[key][i, j, k]) for key in means} | near)
    return pd.DataFrame(rows)


@with_sources
def consistency_training(
    families: Mapping[str, xr.Dataset], *, eta0: float = 6.0, caption: str | None = None, label: str | None = None
) -> Figure:
    """ηλ and the loss along training at every width, and below them how far each width is from the largest.

    Args:
        families: name of a parameterisation → its `analysis.over_widths`. eta0: shown at first.
    """
    etas = np.array(sorted(set.intersection(*(set(one.eta0.values.tolist()) for one in families.values()))))
    table = pd.concat([_along(one, "width", name, etas) for name, one in families.items()], ignore_index=True)
    table["log_eta"] = np.log10(table.eta0).round(3)
    fields = ["group", "size", "log_eta", "t", "product", "loss", "product_apart", "loss_apart"]
    shown = table[table.t > 0]
    data = alt.Chart(alt.InlineData(values=records(shown[fields], 3))).transform_filter(
        "datum.group == scaling && abs(datum.log_eta - log_eta) < 0.15"
    )
    largest = int(table["size"].max())
    x, colour = _steps_axis(shown.t.values), _size_colour(sorted(table["size"].unique().tolist()), "width N")
    ends = theme.span(table.loss[table.loss < 1], 1.1)
    panels = [
        _panel(data, "product", "ηλ, the red line is 2", (0.03, 12.0), x, colour, True),
        _panel(data, "loss", "loss", ends, x, colour, False),
        _panel(data, "product_apart", f"ηλ: distance to N = {largest}", (0.003, 3.0), x, colour, False),
        _panel(data, "loss_apart", f"loss: distance to N = {largest}", (0.003, 3.0), x, colour, False),
    ]
    names = list(families)
    chart = theme.beside(*panels).add_params(_radio("scaling", names, "parameterisation "), _eta_slider(etas, eta0))
    at_end = table[(table.t == table.t.max()) & np.isclose(table.eta0, eta0)]
    summary = f"η₀ = {eta0:g}, last step, N = {at_end['size'].min()} to {largest}: " + "; ".join(
        f"{name}: ηλ from {part['product'].min():.2f} to {part['product'].max():.2f}, loss from {part.loss.max():.3g} down to "
        f"{part.loss.min():.3g}"
        for name, part in at_end.groupby("group", sort=False)
    )
    first = next(iter(families.values()))
    note = (
        f"{caption or 'One network at many widths, along training.'} Distances: |log of the ratio to the largest width|, seed "
        f"by seed, then their mean; curves: geometric means over seeds, none where one diverged. {_conditions(first)}"
    )
    numbers = table.drop(columns="log_eta").rename(
        columns={"group": "parameterisation", "size": "N", "eta0": "η₀", "product": "ηλ", "product_apart": "distance of ηλ",
                 "loss_apart": "distance of the loss"}
    )  # fmt: skip
    return figure(theme.finished(chart), summary + ".", numbers, note, label)


# -- other architectures -----------------------------------------------------------------------------------------------


@with_sources
def consistency_architectures(
    families: Mapping[str, Mapping[str, xr.Dataset]], *, caption: str | None = None, label: str | None = None
) -> Figure:
    """ηλ along training at every width: a row an architecture, a column a parameterisation.

    Args:
        families: name of an architecture → its :func:`richness.studies.neighbours.consistency.analysis.over_architectures`.
    """
    table = pd.concat(
        [
            _along(made, "width", scaling, made.eta0.values).assign(network=network)
            for network, pair in families.items()
            for scaling, made in pair.items()
        ],
        ignore_index=True,
    )
    shown = table[table.t > 0]
    colour = _size_colour(sorted(table["size"].unique().tolist()), "width N")
    x, panels = _steps_axis(shown.t.values), []
    for (network, scaling), part in shown.groupby(["network", "group"], sort=False):
        ends = theme.span([*shown[shown.network == network]["product"], _EDGE], 1.2)  # both columns alike
        data = alt.Chart(alt.InlineData(values=records(part[["size", "t", "product"]], 3)))
        panels.append(
            _panel(data, "product", f"{network}, {scaling}: ηλ", ends, x, colour, True).properties(height=150)
        )
    end = table[table.t == table.t.max()]
    summary = "ηλ at the last step over the widths: " + "; ".join(
        f"{network}, {scaling}: {_range(part['product'].tolist())}"
        for (network, scaling), part in end.groupby(["network", "group"], sort=False)
    )
    firsts = {network: next(iter(pair.values())) for network, pair in families.items()}
    some = next(iter(firsts.values()))
    how = "; ".join(_setting(network, made) for network, made in firsts.items())
    note = (
        f"{caption or 'Three architectures at many widths, along training.'} The red line is 2. {how}. All of "
        f"L = {recipe(some)['depth']} weight layers, {recipe(some)['activation']}; gradient descent on one fixed set of "
        f"{recipe(some)['batch_size']} samples, full batches; geometric means over {some.sizes['seed']} seeds. {_UNITS}"
    )
    names = {"network": "network", "group": "parameterisation", "size": "N", "eta0": "η₀", "t": "t", "product": "ηλ",
             "loss": "loss", "product_apart": "distance of ηλ", "loss_apart": "distance of the loss"}  # fmt: skip
    return figure(
        theme.finished(theme.beside(*panels)), summary + ".", table[list(names)].rename(columns=names), note, label
    )


def _setting(network: str, made: xr.Dataset) -> str:
    how = recipe(made)
    loss = {"mse": "MSE (mean over samples and classes)", "cross_entropy": "cross-entropy (nats)"}[how["loss"]]
    data = {"digits8_fixed": "digits (8×8)", "text_fixed": "the next character of a text"}[how["task"]]
    return f"{network}: {data}, {loss}, η₀ = {float(made.eta0[0]):g}"


# -- spectra -----------------------------------------------------------------------------------------------------------


@with_sources
def consistency_spectra(
    families: Mapping[str, xr.DataArray], *, caption: str | None = None, label: str | None = None
) -> Figure:
    """The k-th eigenvalue of Hessian, Gauss–Newton matrix and kernel along training, at every width; k on a slider.

    Args:
        families: name of a parameterisation → its :func:`richness.studies.neighbours.consistency.analysis.spectra`.
    """
    rows: list[dict[str, Any]] = []
    for name, values in families.items():
        means = _mean(values.transpose("seed", ...).values, axis=0)  # (width, matrix, eigenvalue, step)
        for i, n in enumerate(values.width.values):
            for m, matrix in enumerate(values.matrix.values):
                for k, t in enumerate(values.step.values):
                    row: dict[str, Any] = {"group": name, "matrix": str(matrix), "size": int(n), "t": int(t)}
                    rows.append(row | {"v": [theme.significant(v, 3) for v in means[i, m, :, k]]})
    shown = [row for row in rows if row["t"] > 0]
    data = alt.Chart(alt.InlineData(values=shown)).transform_filter("datum.group == scaling")
    data = data.transform_calculate(value="datum.v[which - 1]")
    every = np.array([v for row in shown for v in row["v"] if v], float)
    ends = theme.span(every, 1.2)
    first = next(iter(families.values()))
    x, colour = _steps_axis(first.step.values), _size_colour([int(n) for n in first.width.values], "width N")
    panels = [
        _panel(data.transform_filter(f"datum.matrix == '{m}'"), "value", title, ends, x, colour, True)
        for m, title in zip(found.MATRICES, ("Hessian H", "Gauss–Newton G", "NTK, mean over outputs"), strict=True)
    ]
    count = first.sizes["eigenvalue"]
    slider = alt.param(name="which", value=1, bind=alt.binding_range(min=1, max=count, step=1, name="k-th largest"))
    chart = theme.beside(*panels).add_params(_radio("scaling", list(families), "parameterisation "), slider)
    end = pd.DataFrame([row for row in rows if row["t"] == max(r["t"] for r in rows)])
    summary = "The largest at the last step, times lr_raw, over the widths: " + "; ".join(
        f"{group}, {matrix}: {_range([v[0] for v in part.v])}"
        for (group, matrix), part in end.groupby(["group", "matrix"], sort=False)
    )
    note = (
        f"{caption or 'Three spectra along training.'} Eigenvalues times lr_raw, geometric means over seeds. H = G + R; under "
        "MSE the spectrum of G is that of the full kernel, and where all outputs have one kernel it is the third panel's, each "
        f"value {recipe_outputs(first)} times over. {_conditions(first)}"
    )
    table = pd.DataFrame(
        {"parameterisation": r["group"], "matrix": r["matrix"], "N": r["size"], "t": r["t"]}
        | {f"k = {k}": v for k, v in enumerate(r["v"], start=1)}
        for r in rows
    )
    return figure(theme.finished(chart), summary + ".", table, note, label)


def _range(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{min(known):.3g} to {max(known):.3g}" if known else "none"


def recipe_outputs(made: xr.DataArray) -> int:
    """K of the task behind a result."""
    from richness.data import TASKS

    return TASKS[recipe(made)["task"]].outputs  # type: ignore[arg-type]


# -- the plane ---------------------------------------------------------------------------------------------------------

_WHAT = {"growth": "growth of λ", "product": "ηλ at the end", "loss": "loss at the end"}


@with_sources
def consistency_plane(made: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The γ–N plane: µP is its upper row, NTK parameterisation its diagonal γ = N^(−1/2).

    Args:
        made: from :func:`richness.studies.neighbours.consistency.analysis.plane`.
    """
    means = {key: _mean(made[key].transpose("width", "gamma", "seed").values, axis=2) for key in _WHAT}
    rows = [
        {"width": int(n), "gamma": float(f"{g:.3g}")} | {key: float(means[key][i, j]) for key in _WHAT}
        for i, n in enumerate(made.width.values)
        for j, g in enumerate(made.gamma.values)
    ]
    table = pd.DataFrame(rows)
    order = sorted(table.gamma.unique().tolist(), reverse=True)
    widths = sorted(table.width.unique().tolist())
    x = alt.X("width:O", sort=widths, scale=alt.Scale(domain=widths), axis=alt.Axis(title="width N", labelAngle=0))
    y = alt.Y("gamma:O", sort=order, scale=alt.Scale(domain=order), axis=alt.Axis(title="γ"))
    data = alt.Chart(alt.InlineData(values=records(table, 3)))
    data = data.transform_calculate(value="datum[what]")
    data = data.transform_joinaggregate(low="min(value)", high="max(value)")
    data = data.transform_calculate(share="log(datum.value / datum.low) / log(datum.high / datum.low)")
    scale = alt.Scale(domain=[0, 1], range=["#efeaf5", "#cdb4e6", "#9a4fd1", "#4a1a78"], interpolate="rgb")
    cells = data.mark_rect(stroke=None).encode(x=x, y=y, color=alt.Color("share:Q", scale=scale, legend=None))
    ink = alt.condition("datum.share > 0.55", alt.value("#fff"), alt.value("#222"))
    words = data.mark_text(fontSize=10).encode(x=x, y=y, text=alt.Text("value:Q", format=".2~f"), color=ink)
    ways = [{"way": "µP", "width": n, "gamma": 1.0} for n in widths]
    ways += [
        {"way": "NTK", "width": n, "gamma": float(f"{n**-0.5:.3g}")} for n in widths if float(f"{n**-0.5:.3g}") in order
    ]
    colour = alt.Color(
        "way:N", scale=alt.Scale(domain=["µP", "NTK"], range=[theme.RICH, theme.LAZY]), legend=alt.Legend(title=None)
    )
    lines = alt.Chart(alt.InlineData(values=ways)).mark_line(
        strokeWidth=2, opacity=0.8, point={"size": 560, "filled": False, "strokeWidth": 2}
    )
    lines = lines.encode(x=x, y=y, color=colour, detail="way:N", order="width:Q")
    options, labels = list(_WHAT), list(_WHAT.values())
    choice = alt.param(
        name="what", value="growth", bind=alt.binding_radio(options=options, labels=labels, name="colour ")
    )
    layers = alt.layer(cells, lines, words).resolve_scale(color="independent").add_params(choice)
    chart = layers.properties(width=theme.PLANE, height=theme.PLANE + 40)
    mup = table[table.gamma == 1.0].growth
    ntk = pd.concat(
        [table[(table.width == way["width"]) & (table.gamma == way["gamma"])] for way in ways if way["way"] == "NTK"]
    )
    summary = (
        f"λ grows by a factor {mup.min():.2f} to {mup.max():.2f} along µP's row, N = {widths[0]} to {widths[-1]}; along the "
        f"diagonal of NTK parameterisation from {ntk.growth.iloc[0]:.2f} down to {ntk.growth.iloc[-1]:.2f}."
    )
    note = (
        f"{caption or 'The γ–N plane.'} Each cell: the network of width N and richness γ at η = {found.PLANE_ETA:g}·γ², after "
        f"{recipe(made)['steps']} steps; growth is λ_max at the end over λ_max at step 0; geometric means over seeds; shades "
        f"are logarithmic, from the smallest to the largest. {_conditions(made)}"
    )
    numbers = table.rename(columns={"width": "N", "gamma": "γ"} | _WHAT)
    return figure(theme.finished(chart, wide=theme.WIDE), summary, numbers, note, label)


# -- transfer of the step ----------------------------------------------------------------------------------------------


def _at_steps(made: xr.Dataset, size: str, group: str) -> list[dict[str, Any]]:
    """One row a size and base step: the loss at every measured step after 0, in an array."""
    means = _mean(made.loss.transpose("seed", size, "eta0", "step").values, axis=0)
    return [
        {"group": group, "size": int(n), "eta0": float(eta), "v": [theme.significant(v, 3) for v in means[i, j, 1:]]}
        for i, n in enumerate(made[size].values)
        for j, eta in enumerate(made.eta0.values)
    ]


def _place(best: np.ndarray) -> str:
    """Of the best η₀, one a seed."""
    return f"{_mean(best, 0):.3g}" if np.isfinite(best).all() else "at an end of the axis"


def _transfer_panel(rows: list[dict[str, Any]], choice: str, words: str, place: str) -> Any:
    sizes = sorted({row["size"] for row in rows})
    every = [v for row in rows for v in row["v"] if v and v < 0.2]
    ends, span = theme.span(every, 1.15), theme.span([row["eta0"] for row in rows], 1.1)
    data = alt.Chart(alt.InlineData(values=rows)).transform_filter(f"datum.group == {choice}")
    data = data.transform_calculate(value=f"datum.v[{place}]").transform_filter("isValid(datum.value)")
    x = alt.X("eta0:Q", scale=theme.log_scale(*span), axis=theme.log_axis("base step η₀", *span))
    y = alt.Y("value:Q", scale=theme.log_scale(*ends), axis=theme.log_axis("loss", *ends))
    colour = _size_colour(sizes, words)
    lines = data.mark_line(clip=True).encode(x=x, y=y, color=colour, detail="size:O")
    lowest = data.transform_joinaggregate(least="min(value)", groupby=["size"]).transform_filter(
        "datum.value == datum.least"
    )
    marks = lowest.mark_point(size=70, filled=True, clip=True).encode(x=x, y=y, color=colour)
    return alt.layer(lines, marks)


@with_sources
def consistency_transfer(
    families: Mapping[str, xr.Dataset], *, caption: str | None = None, label: str | None = None
) -> Figure:
    """The loss against the base step at every width, the best one marked; the number of steps on a slider.

    Args:
        families: name of a parameterisation → its `analysis.over_widths`.
    """
    rows = [row for name, made in families.items() for row in _at_steps(made, "width", name)]
    first = next(iter(families.values()))
    steps = first.step.values[1:]
    stops = [round(float(v), 3) for v in np.log10(steps)]
    nearest = "+".join(f"(log_t > {(a + b) / 2:.3f} ? 1 : 0)" for a, b in pairwise(stops))
    bind = alt.binding_range(min=stops[0], max=stops[-1], step=0.01, name="log10 t")
    slider = alt.param(name="log_t", value=stops[-1], bind=bind)
    chart = _transfer_panel(rows, "scaling", "width N", f"({nearest})").add_params(
        _radio("scaling", list(families), "parameterisation "), slider
    )
    bests = {name: found.best(made, int(steps[-1])).values for name, made in families.items()}
    said = "; ".join(
        f"{name}: {_place(b[0])} at the smallest width, {_place(b[-1])} at the largest" for name, b in bests.items()
    )
    note = (
        f"{caption or 'Does one step serve all widths?'} The loss at the measured step nearest to t, geometric mean over "
        "seeds; a curve ends where a seed diverged. In standard parameterisation η₀ is the step of all weights times "
        f"{1 / found.SCALINGS['standard'].eta(1.0, 1):g}. {_conditions(first)}"
    )
    names = [f"t = {t}" for t in steps]
    numbers = pd.DataFrame(
        {"parameterisation": row["group"], "N": row["size"], "η₀": row["eta0"]}
        | dict(zip(names, row["v"], strict=True))
        for row in rows
    )
    summary = f"Best η₀ after {steps[-1]} steps: {said}."
    drawn = chart.properties(width=theme.PLANE, height=220)
    return figure(theme.finished(drawn, wide=theme.WIDE), summary, numbers, note, label)


# -- depth -------------------------------------------------------------------------------------------------------------


@with_sources
def consistency_depth(
    families: Mapping[str, xr.Dataset], *, eta0: float = 3.0, caption: str | None = None, label: str | None = None
) -> Figure:
    """Residual networks: ηλ along training and the loss at the end against the base step, at every depth.

    Args:
        families: kind of branch → its `analysis.over_depths`. eta0: shown at first.
    """
    first = next(iter(families.values()))
    etas = first.eta0.values
    table = pd.concat([_along(one, "depth", name, etas) for name, one in families.items()], ignore_index=True)
    table["log_eta"] = np.log10(table.eta0).round(3)
    depths = sorted(table["size"].unique().tolist())
    shown = table[table.t > 0][["group", "size", "log_eta", "t", "product"]]
    data = alt.Chart(alt.InlineData(values=records(shown, 3))).transform_filter(
        "datum.group == branch && abs(datum.log_eta - log_eta) < 0.15"
    )
    along = _panel(
        data,
        "product",
        "ηλ, the red line is 2",
        (0.05, 100.0),
        _steps_axis(shown.t.values),
        _size_colour(depths, "L"),
        True,
    )
    rows = [row | {"v": row["v"][-1:]} for name, made in families.items() for row in _at_steps(made, "depth", name)]
    end = _transfer_panel(rows, "branch", "L", "0").properties(width=theme.PLANE, height=200, title="loss at the end")
    chart = theme.beside(along, end).add_params(_radio("branch", list(families), "branches "), _eta_slider(etas, eta0))
    here = table[np.isclose(table.eta0, eta0)]
    summary = f"η₀ = {eta0:g}: " + "; ".join(
        f"{name}: ηλ at step 0 from {_at(part, 0).min():.2f} to {_at(part, 0).max():.3g} over L = {part['size'].min()} to "
        f"{part['size'].max()}, at the end {_at(part, part.t.max()).min():.2f} to {_at(part, part.t.max()).max():.2f}"
        for name, part in here.groupby("group", sort=False)
    )
    note = (
        f"{caption or 'Residual networks of many depths.'} N = {recipe(first)['width']}, γ = 1; T = {recipe(first)['steps']} "
        f"steps; a curve ends where a seed diverged. {_conditions(first, 'residual network of L weight layers')}"
    )
    numbers = table.drop(columns=["log_eta", "product_apart", "loss_apart"])
    numbers = numbers.rename(columns={"group": "branches", "size": "L", "eta0": "η₀", "product": "ηλ"})
    return figure(theme.finished(chart), summary + ".", numbers, note, label)


def _at(part: pd.DataFrame, t: int) -> pd.Series:
    return part[part.t == t]["product"].dropna()
