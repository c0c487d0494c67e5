"""Steps beyond the edge of stability, drawn: along one step, along training, and over step sizes."""

from __future__ import annotations

import json
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.cases import select_case, select_cases, split_cases
from richness.measure import overshoot
from richness.measure.features import RANKS
from richness.plots import parts, theme
from richness.plots.captions import recipe
from richness.plots.figure import Figure, figure, with_sources
from richness.studies.neighbours.beyond import analysis

KINDS = {False: "plain", True: "balanced"}
_COLOUR = alt.Color(
    "steps:N", scale=alt.Scale(domain=list(KINDS.values()), range=[theme.MIDDLE, theme.MEASURED]), legend=None
)
_SHAPE = parts.shapes("steps", list(KINDS.values()))
_SAME_ETA, _SAME_POWER = "abs(datum.log_eta - log_eta) < 0.2", "abs(datum.r - r) < 0.2"
_TOP = 1e4  # of the axis of losses: what exploded stands above it
_BALANCED = (
    "Balanced: each layer's gradient times ξ, our reconstruction of a scaling by depth, not the paper's formula."
)


def _describe_conditions(runs: xr.Dataset) -> str:
    how, seeds = recipe(runs), json.loads(runs.attrs["seeds"])
    return (
        f"Homogeneous perceptrons of L = {how.get('depth', 6)} weight layers, about {how.get('weights', 60_000):,} weights; "
        f"8×8 digits, deformed anew in each batch of {how.get('batch_size', 64)}; T = {how.get('steps', 300)} steps of SGD, "
        f"η the raw step size; {len(seeds)} seeds (weights and stream); float64."
    )


def _write_note(caption: str | None, usual: str, words: str, runs: xr.Dataset) -> str:
    return f"{(caption or usual).rstrip()} {words} {_BALANCED} {_describe_conditions(runs)}"


def _log2(eta: float) -> float:
    return round(float(np.log2(eta)), 3)


def _choose_eta(runs: xr.Dataset, start: float) -> alt.Parameter:
    """Of step sizes that are powers of 2 or of its root: the slider holds their binary logarithm."""
    return parts.slider_over("log_eta", np.log2(runs.eta.values), "log2 η", np.log2(start))


def _choose_power(runs: xr.Dataset) -> alt.Parameter:
    return parts.slider_over("r", sorted(set(runs.power.values.tolist())), "power r of the widths", 2)


def _time_axis(runs: xr.Dataset) -> parts.Channel:
    return parts.log_x((1, float(recipe(runs).get("steps", 300))), "step + 1")


def _eta_axis(table: pd.DataFrame) -> alt.X:
    low, high = theme.span(table.eta, 1.15)
    ticks = [2.0**k for k in range(-10, 20, 2) if low <= 2.0**k <= high]
    return alt.X("eta:Q", scale=theme.log_scale(low, high), axis=alt.Axis(title="η", values=ticks, format="~g"))


def _draw_lines(data: alt.Chart, x: alt.X, y: parts.Channel, field: str, point: bool = True) -> alt.Chart:
    """A line of each kind of steps, in its colour; its points in its shape."""
    own = data.transform_filter(f"isValid(datum.{field})")
    marks = own.mark_line(clip=True, point={"filled": True, "size": 46} if point else False)
    return marks.encode(x=x, y=y(field), color=_COLOUR, **({"shape": _SHAPE} if point else {}))


def _draw_means(data: alt.Chart, x: alt.X, y: parts.Channel, field: str) -> list[alt.Chart]:
    """Such lines, and bars from the lowest to the highest over seeds."""
    own = data.transform_filter(f"isValid(datum.{field})")
    bars = parts.intervals(own, x, y, f"{field}_low", f"{field}_high", color=_COLOUR, opacity=alt.value(0.6))
    return [bars, _draw_lines(data, x, y, field)]


def _shorten(table: pd.DataFrame) -> pd.DataFrame:
    """Curves to three digits, as they are drawn: a table of thousands of numbers travels with its page."""
    return pd.DataFrame(parts.records(table, 3))


def _unpack(rows: list[dict[str, Any]], *fields: str) -> pd.DataFrame:
    """Rows that hold arrays as a long table."""
    return pd.DataFrame(rows).explode(list(fields), ignore_index=True).astype(dict.fromkeys(fields, float))


# -- along one step ----------------------------------------------------------------------------------------------------


@with_sources
def draw_step(runs: xr.Dataset, *, eta: float = 8.0, caption: str | None = None, label: str | None = None) -> Figure:
    """The minibatch's loss on the way through one step, with its first three polynomials and the same with fixed gates.

    Args:
        runs: of recipe ``along_a_step``. eta: shown at first.
    """
    ways, gauges = _tabulate_ways(runs), _tabulate_gauges(runs)
    moments = runs.taken.values.tolist()
    place = parts.slider_over(
        "place", range(len(moments)), f"moment ({', '.join(map(str, moments))})", max(len(moments) - 2, 0)
    )
    controls = [parts.radio("steps", list(KINDS.values()), "steps"), _choose_eta(runs, eta), place]
    here = parts.chart_named("way").transform_filter(f"datum.steps == steps && {_SAME_ETA} && datum.place == place")
    here = here.transform_flatten(["t", "loss", "frozen"])
    panels = [_way_panel(here), _gauge_panel(here, _time_axis(runs))]
    chart = parts.join_panels(
        panels, controls, way=parts.records(pd.DataFrame(ways), 3), gauges=parts.records(gauges, 3)
    )
    table = _unpack(ways, "t", "loss", "frozen")
    table["η"] = 2.0**table.log_eta
    shown = table[["steps", "η", "moment", "t", "loss", "frozen", "c1", "c2", "c3"]]
    note = _write_note(caption, "One step looked along.", _STEP_NOTE, runs)
    return figure(chart, _summarise_step(table, runs), _shorten(shown), note, label)


_STEP_NOTE = (
    "Purple: the loss of the very minibatch whose step this is, at W + tV; grey: the same while every gate stays as it was; "
    "dotted, short and long dashes: the first, second and third order. A point above the red line is beyond the edge: the "
    "parabola along the whole step ends higher than it began. One run, seed 0; quadratic widths, |·|, cross-entropy."
)
#: Order of the polynomial → its dashes, and its terms on top of the order below.
_ORDERS: dict[str, tuple[list[float], str]] = {
    "first": ([1.5, 3], "1 + datum.c1 * datum.t"),
    "second": ([4, 3], "datum.first + datum.c2 * pow(datum.t, 2)"),
    "third": ([9, 3], "datum.second + datum.c3 * pow(datum.t, 3)"),
}


def _way_panel(here: alt.Chart) -> alt.LayerChart:
    x, y = parts.linear_x((0, 1.5), "share t of the step", tickCount=6)("t"), parts.linear_y((0.4, 1.8), tickCount=5)
    polynomials = here
    for name, (_, terms) in _ORDERS.items():
        polynomials = polynomials.transform_calculate(**{name: terms})
    lines = [
        polynomials.mark_line(stroke=theme.TEXT, strokeWidth=1.4, strokeDash=dash, clip=True).encode(x=x, y=y(name))
        for name, (dash, _) in _ORDERS.items()
    ]
    frozen = here.mark_line(color=theme.MIDDLE, clip=True).encode(x=x, y=y("frozen"))
    loss = here.mark_line(color=theme.MEASURED, strokeWidth=2.6, clip=True).encode(x=x, y=y("loss"))
    return parts.panel(*lines, frozen, loss, title="loss of the minibatch ÷ before the step", height=230)


def _gauge_panel(here: alt.Chart, x: parts.Channel) -> alt.LayerChart:
    y = parts.log_y((1e-4, 1e2))
    data = parts.chart_named("gauges").transform_filter(f"datum.steps == steps && {_SAME_ETA}")
    data = data.transform_flatten(["at", "gauge"]).transform_filter("datum.gauge > 0")
    line = data.mark_line(color=theme.MEASURED, clip=True, point={"size": 16, "fill": theme.MEASURED})
    now = here.transform_filter("datum.t == 0").transform_calculate(now="datum.moment + 1")
    now = now.mark_rule(stroke=theme.TEXT, opacity=0.6).encode(x=x("now"))
    layers = [parts.stability_rule(1, y), now, line.encode(x=x("at"), y=y("gauge"))]
    return parts.panel(*layers, title="c₂/|c₁| of the step, red: 1", height=230)


def _take_apart(runs: xr.Dataset) -> list[tuple[dict[str, Any], xr.Dataset]]:
    """The first seed's runs, one by one, with what tells them apart."""
    return [
        ({"steps": KINDS[bool(one.scaled)], "log_eta": _log2(size)}, one.isel(seed=0).sel(eta=size))
        for one in split_cases(runs)
        for size in one.eta.values
    ]


def _tabulate_ways(runs: xr.Dataset) -> list[dict[str, Any]]:
    """A row a step that was looked along: the losses on the way and the series, over the loss before the step."""
    rows = []
    for own, run in _take_apart(runs):
        for place, moment in enumerate(run.taken.values.tolist()):
            step = run.isel(taken=place)
            series, loss, frozen = (
                step[name].values / float(step.along[0]) for name in ("taken_series", "along", "frozen")
            )
            known = (
                own | {"place": place, "moment": moment} | dict(zip(("c1", "c2", "c3"), series.tolist(), strict=True))
            )
            rows.append(known | {"t": step.fraction.values, "loss": loss, "frozen": frozen})
    return rows


def _tabulate_gauges(runs: xr.Dataset) -> pd.DataFrame:
    return pd.DataFrame(
        own | {"at": run.step.values + 1, "gauge": overshoot(run.series.transpose("step", "order").values)}
        for own, run in _take_apart(runs)
    )


def _summarise_step(table: pd.DataFrame, runs: xr.Dataset) -> str:
    turned = select_case(runs, scaled=False).turned.mean("seed")
    whole = table[np.isclose(table.t, 1.0) & (table.steps == "plain")]
    miss = (whole.loss - (1 + whole.c1 + whole.c2 + whole.c3)).abs()
    far = whole[whole.log_eta == whole.log_eta.max()].loss
    return (
        f"Plain steps of η = {runs.eta.values[0]:g} to {runs.eta.values[-1]:g} turn {float(turned.min()):.1%} to "
        f"{float(turned.max()):.1%} of all gates. At the end of the step the cubic is off by {miss.min():.2g} to "
        f"{miss.max():.2g} of the loss; at the largest η the step leaves between {far.min():.2f} and {far.max():.2f} of it."
    )


# -- along training ----------------------------------------------------------------------------------------------------


@with_sources
def draw_training(
    runs: xr.Dataset, *, eta: float = 16.0, caption: str | None = None, label: str | None = None
) -> Figure:
    """Loss, c₂/|c₁| and sharpness along training, plain and balanced, for a step size and a power of the widths on sliders.

    Args:
        runs: of recipe ``beyond_the_edge``. eta: shown at first.
    """
    runs = select_cases(runs, **analysis.ABSOLUTE)
    runs = runs.isel(eta=np.isclose(np.log2(runs.eta.values) % 1, 0))  # every other one: the page's weight
    packs = [row for one in split_cases(runs) for row in _tabulate_curves(one)]
    looks = pd.concat(map(_tabulate_sharpness, split_cases(runs)), ignore_index=True)
    units = [row for one in split_cases(runs, scaled=False) for row in _tabulate_units(one)]
    controls, curves = [_choose_power(runs), _choose_eta(runs, eta)], parts.records(pd.DataFrame(packs), 3)
    chart = parts.join_panels(_training_panels(_time_axis(runs)), controls, curves=curves, looks=looks, units=units)
    table = _unpack(packs, "at", "loss", "gauge")
    said = [
        _say_end(table, kind, size) for kind in KINDS.values() for size in runs.eta.values[[len(runs.eta) // 2, -1]]
    ]
    table["η"] = 2.0**table.log_eta
    shown = table[["steps", "r", "η", "at", "loss", "gauge"]].rename(
        columns={"at": "step + 1", "loss": "loss ÷ first", "gauge": "c₂/|c₁|"}
    )
    note = _write_note(caption, "Training at and beyond the edge.", _TRAINING_NOTE, runs)
    return figure(
        chart, f"Quadratic widths, the last step that is kept: {'; '.join(said)}.", _shorten(shown), note, label
    )


_TRAINING_NOTE = (
    "Grey: plain SGD; purple, squares: balanced. Loss: geometric mean over seeds, until one is no number any more; c₂/|c₁|: "
    "median. The sharpness is that of a fixed set of fresh samples. All patterns of widths have about as many weights. |·|, "
    "cross-entropy."
)


def _training_panels(time: parts.Channel) -> list[alt.LayerChart]:
    x, loss, gauge, sharpness = time("at"), parts.log_y((0.2, 1e3)), parts.log_y((1e-3, 1e2)), parts.log_y((1e-2, 1e2))
    data = parts.chart_named("curves").transform_filter(f"{_SAME_POWER} && {_SAME_ETA}")
    data = data.transform_flatten(["at", "loss", "gauge"])
    looks = parts.chart_named("looks").transform_filter(f"{_SAME_POWER} && {_SAME_ETA}")
    positive = data.transform_filter("datum.gauge > 0")
    bars = parts.chart_named("units").transform_filter(_SAME_POWER).mark_bar(color=theme.MIDDLE, opacity=0.8)
    layer = alt.X("layer:O", axis=alt.Axis(title="hidden layer k", labelAngle=0))
    layers = {
        "minibatch loss ÷ first": [_draw_lines(data, x, loss, "loss", point=False)],
        "c₂/|c₁|, red: 1": [parts.stability_rule(1, gauge), _draw_lines(positive, x, gauge, "gauge", point=False)],
        "λ_max of the Hessian": [_draw_lines(looks, x, sharpness, "lambda")],
        "units, m·k^r": [bars.encode(x=layer, y=parts.linear_y((0, 310), tickCount=5)("units"))],
    }
    return [parts.panel(*drawn, title=title, height=190) for title, drawn in layers.items()]


def _say_end(curves: pd.DataFrame, kind: str, eta: float) -> str:
    own = curves[(curves.steps == kind) & np.isclose(curves.r, 2) & np.isclose(curves.log_eta, np.log2(eta))]
    loss, gauge = own.iloc[-1][["loss", "gauge"]]
    if not np.isfinite(loss):
        return f"{kind}, η = {eta:g}: gone"
    return f"{kind}, η = {eta:g}: loss {theme.power_of_ten(loss)} of the first, c₂/|c₁| {theme.power_of_ten(gauge)}"


def _name_case(one: xr.Dataset) -> dict[str, Any]:
    return {"steps": KINDS[bool(one.scaled)], "r": float(one.power)}


def _tabulate_units(one: xr.Dataset) -> list[dict[str, Any]]:
    """Units of the hidden layers; the same for every seed."""
    widths = one.width.isel(seed=0) if "seed" in one.width.dims else one.width
    return [{"r": float(one.power), "layer": k, "units": int(n)} for k, n in enumerate(widths.values, start=1)]


def _tabulate_curves(one: xr.Dataset) -> list[dict[str, Any]]:
    """A row a step size: loss and gauge along the kept steps, as arrays."""
    losses = one.batch_loss.transpose("eta", "seed", "step").values.astype(float)
    series = one.series.transpose("eta", "seed", "step", "order").values.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = np.exp(np.log(losses / losses[..., :1]).mean(1))
        gauge = np.median(overshoot(series), axis=1)
    return [
        _name_case(one) | {"log_eta": _log2(eta), "at": one.step.values + 1, "loss": row, "gauge": over}
        for eta, row, over in zip(one.eta.values, loss, gauge, strict=True)
    ]


def _tabulate_sharpness(one: xr.Dataset) -> pd.DataFrame:
    """A row a step size and moment: the geometric mean over seeds, none where one of them is not positive."""
    values = one.sharpness.transpose("eta", "moment", "seed").astype(float)
    means = np.exp(np.log(values.where(values > 0)).mean("seed", skipna=False)).values
    at = np.maximum(one.moment.values, 1)
    frames = [
        pd.DataFrame({"log_eta": _log2(eta), "at": at, "lambda": row}).assign(**_name_case(one))
        for eta, row in zip(one.eta.values, means, strict=True)
    ]
    return pd.concat(frames, ignore_index=True)


# -- over step sizes ---------------------------------------------------------------------------------------------------


@with_sources
def draw_step_sizes(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Peak loss, share of steps beyond the edge, held-out loss and sharpness over step sizes; the power of the widths slides.

    Args:
        runs: of recipe ``beyond_the_edge``.
    """
    runs = select_cases(runs, **analysis.ABSOLUTE)
    table = pd.concat(map(_tabulate_ends, split_cases(runs)), ignore_index=True)
    data = parts.chart_named("rows").transform_filter(_SAME_POWER)
    chart = parts.join_panels(_end_panels(data, table), [_choose_power(runs)], rows=table)
    clauses = [_say_step_sizes(words, analysis.select_network(runs, scaled)) for scaled, words in KINDS.items()]
    note = _write_note(caption, "Step sizes from small to absurd.", f"{_END_NOTE} |·|, cross-entropy.", runs)
    return figure(chart, f"Quadratic widths: {'; '.join(clauses)}.", _title_ends(table), note, label)


@with_sources
def draw_other_networks(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The same panels for other losses and activations, with quadratic widths.

    Args:
        runs: of recipe ``beyond_the_edge``.
    """
    names = list(analysis.NETWORKS)
    frames = [
        _tabulate_ends(one).assign(network=words)
        for words, network in analysis.NETWORKS.items()
        for one in split_cases(runs, power=2.0, **network)
    ]
    table = pd.concat(frames, ignore_index=True)
    data = parts.only_chosen(parts.chart_named("rows"), "network")
    chart = parts.join_panels(
        _end_panels(data, table), [parts.menu("network", names, "network", start=names[1])], rows=table
    )
    clauses = []
    for name, network in analysis.NETWORKS.items():
        plain, balanced = (analysis.select_network(runs, scaled, network=network) for scaled in KINDS)
        clauses.append(f"{name}: plain to η = {_say_lasting(plain)}, balanced to {_say_lasting(balanced)}")
    note = _write_note(caption, "Another loss, another activation.", f"{_END_NOTE} Quadratic widths.", runs)
    return figure(chart, f"The loss does not explode, {'; '.join(clauses)}.", _title_ends(table), note, label)


_END_NOTE = (
    "Grey circles: plain SGD; purple squares: balanced. Points: means over seeds (of the peak and of λ_max geometric), bars "
    f"from the lowest to the highest. A triangle at the top stands for a run that exploded: a minibatch loss {_TOP:,.0f} times "
    "the first, or none at all. Losses are held-out, at the end of training."
)


def _say_smallest(etas: np.ndarray) -> str:
    """The smallest over seeds of each one's largest step size; "none" where a seed has none."""
    return f"{etas.min():.3g}" if np.isfinite(etas).all() else "none"


def _say_lasting(one: xr.Dataset) -> str:
    return _say_smallest(analysis.find_lasting_eta(one))


def _say_step_sizes(words: str, one: xr.Dataset) -> str:
    place = analysis.locate_best_eta(one)
    return (
        f"{words} steps last to η = {_say_lasting(one)}, train to {_say_smallest(analysis.find_learning_eta(one))}, and do "
        f"best at {one.eta.values[place]:.3g} (held-out accuracy {float(one.accuracy.isel(moment=-1, eta=place).mean()):.2f})"
    )


def _end_panels(data: alt.Chart, table: pd.DataFrame) -> list[alt.LayerChart]:
    x = _eta_axis(table)
    peak = parts.log_y((0.8, 2 * _TOP))
    axes: dict[str, tuple[str, parts.Channel]] = {
        "peak": ("largest minibatch loss ÷ first", peak),
        "beyond": ("share of steps with c₂ > |c₁|", parts.linear_y((0, 1), tickCount=5)),
        "held": ("held-out loss ÷ at the start", parts.linear_y((0, 1.3), tickCount=6)),
        "lambda": ("λ_max at the end", parts.log_y((1e-2, 1e2))),
    }
    layers = {field: _draw_means(data, x, y, field) for field, (_, y) in axes.items()}
    # One kind stands a little above the other, so that both are seen.
    gone = data.transform_filter("datum.gone > 0").transform_calculate(
        top=f"{1.3 * _TOP} * (datum.steps == 'balanced' ? 1.17 : 0.85)"
    )
    triangles = gone.mark_point(shape="triangle-up", size=100, filled=True).encode(x=x, y=peak("top"), color=_COLOUR)
    layers["peak"].append(triangles)
    return [parts.panel(*layers[field], title=title, height=190) for field, (title, _) in axes.items()]


def _tabulate_ends(one: xr.Dataset) -> pd.DataFrame:
    """One case over step sizes; what exploded has no numbers, and how many seeds did is in ``gone``."""
    one = one.astype(float)
    gone, end = analysis.has_exploded(one), one.isel(moment=-1)
    quantities = {
        "peak": np.log(one.peak.where(~gone)),
        "beyond": one.beyond,
        "held": end.test_loss / one.test_loss.isel(moment=0),
        "lambda": np.log(end.sharpness.clip(1e-12)),
        "accuracy": end.accuracy,
    }
    columns: dict[str, Any] = {"eta": one.eta.values, "gone": gone.sum("seed").values}
    for name, values in quantities.items():
        spread = parts.spread_of(values.where(~gone.any("seed")).transpose("seed", "eta").values, name, 0)
        columns |= {key: np.exp(row) for key, row in spread.items()} if name in ("peak", "lambda") else spread
    return pd.DataFrame(columns).assign(**_name_case(one))


def _title_ends(table: pd.DataFrame) -> pd.DataFrame:
    titles = {"network": "network", "steps": "steps", "r": "r", "eta": "η", "gone": "seeds exploded",
              "peak": "peak loss ÷ first", "beyond": "share beyond", "held": "held-out loss ÷ start", "lambda": "λ_max",
              "accuracy": "held-out accuracy"}  # fmt: skip
    return table[[name for name in titles if name in table]].rename(columns=titles)


# -- soft ranks --------------------------------------------------------------------------------------------------------


@with_sources
def draw_ranks(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Three soft ranks of the last hidden layer over step sizes, and held-out accuracy against them.

    Args:
        runs: of recipe ``beyond_the_edge``.
    """
    runs = select_cases(runs, **analysis.ABSOLUTE)
    frames = [_tabulate_ranks(one, rank) for one in split_cases(runs) for rank in RANKS]
    table = pd.concat(frames, ignore_index=True)
    controls = [_choose_power(runs), parts.radio("kind", list(RANKS), "soft rank")]
    chart = parts.join_panels(_rank_panels(table), controls, ranks=table)
    clauses = []
    for scaled, words in KINDS.items():
        one = analysis.select_network(runs, scaled)
        values = [f"{np.mean(analysis.correlate_rank(one, rank)):.2f} ({rank})" for rank in RANKS]
        clauses.append(f"{words} {', '.join(values)}")
    summary = f"Quadratic widths, Spearman's correlation of rank and accuracy over step sizes: {'; '.join(clauses)}."
    shown = table[["steps", "r", "kind", "eta", "rank", "rank_low", "rank_high", "accuracy"]]
    note = _write_note(caption, "How many directions the last layer fills.", _RANK_NOTE, runs)
    return figure(chart, summary, shown.rename(columns={"eta": "η"}), note, label)


_RANK_NOTE = (
    "Eigenvalues λ of the covariance of the last hidden layer over fresh samples: participation (Σλ)²/Σλ², stable Σλ/λ_max, "
    "entropy exp(−Σ p ln p) with p = λ/Σλ. Grey circles: plain; purple squares: balanced; on the right each point is a step "
    "size, the larger the darker. Means over seeds, bars from the lowest to the highest; none where one exploded. |·|, "
    "cross-entropy."
)


def _rank_panels(table: pd.DataFrame) -> list[alt.LayerChart]:
    data = parts.only_chosen(parts.chart_named("ranks"), "kind").transform_filter(
        f"{_SAME_POWER} && isValid(datum.rank)"
    )
    scale, ticks = theme.log_scale(0.9, theme.span(table["rank_high"], 1.1)[1]), [1, 2, 5, 10, 20, 50, 100]
    ranks = parts.y_on(scale, alt.Axis(title=None, values=ticks, format="~g"))
    left = _draw_means(data, _eta_axis(table), ranks, "rank")
    right = data.mark_point(size=74, filled=True).encode(
        x=alt.X("rank:Q", scale=scale, axis=alt.Axis(title="soft rank", values=ticks, format="~g")),
        y=parts.linear_y((0, 1), tickCount=5)("accuracy"),
        color=_COLOUR,
        shape=_SHAPE,
        opacity=alt.Opacity("log_eta:Q", scale=alt.Scale(range=[0.25, 1]), legend=None),
    )
    return [
        parts.panel(*left, title="soft rank, last hidden layer"),
        parts.panel(right, title="held-out accuracy against it"),
    ]


def _tabulate_ranks(one: xr.Dataset, rank: str) -> pd.DataFrame:
    gone = analysis.has_exploded(one).any("seed").values
    values = one["rank"].sel(kind=rank).isel(moment=-1).transpose("seed", "eta").values.astype(float)
    accuracy = one.accuracy.isel(moment=-1).transpose("seed", "eta").values.mean(0)
    columns = {"eta": one.eta.values, "log_eta": np.log2(one.eta.values).round(3), "accuracy": accuracy}
    columns |= parts.spread_of(np.where(gone, np.nan, values), "rank", 0)
    return pd.DataFrame(columns).assign(kind=rank, **_name_case(one))
