"""Steps beyond the edge of stability, drawn: along one step, along training, and over step sizes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.cases import select_case, select_cases
from richness.measure import overshoot
from richness.measure.features import RANKS
from richness.plots import theme
from richness.plots.cells import recipe, records
from richness.plots.figure import Figure, figure, with_sources
from richness.studies.neighbours.beyond import analysis as found

KINDS = {False: "plain", True: "balanced"}
_COLOURS = {"plain": theme.MIDDLE, "balanced": theme.MEASURED}
_SHAPES = {"plain": "circle", "balanced": "square"}
_EDGE: dict[str, Any] = {"strokeWidth": 1.5, "stroke": theme.STABILITY}
_GAUGE = 1e-2, 1e2  # the ends of the axis of c₂/|c₁|
_TOP = 1e4  # of the axis of losses: what exploded stands above it
_BALANCED = (
    "Balanced: each layer's gradient times ξ, our reconstruction of a scaling by depth, not the paper's formula."
)


def _conditions(runs: xr.Dataset) -> str:
    how, seeds = recipe(runs), json.loads(runs.attrs["seeds"])
    return (
        f"Homogeneous perceptrons of L = {how.get('depth', 6)} weight layers, about {how.get('weights', 60_000):,} weights; "
        f"8×8 digits, deformed anew in each batch of {how.get('batch_size', 64)}; T = {how.get('steps', 300)} steps of SGD, "
        f"η the raw step size; {len(seeds)} seeds (weights and stream); float64."
    )


def _log_slider(name: str, etas: Sequence[float], start: float, words: str = "log2 η") -> alt.Parameter:
    """Of step sizes that are powers of 2 or of its root: the slider holds their binary logarithm."""
    logs = np.log2(etas)
    step = float(np.round(np.diff(logs).min(), 3)) if len(logs) > 1 else 1.0
    nearest = float(logs[np.argmin(np.abs(logs - np.log2(start)))])
    bind = alt.binding_range(min=round(float(logs[0]), 3), max=round(float(logs[-1]), 3), step=step, name=words)
    return alt.param(name=name, value=round(nearest, 3), bind=bind)


def _power_slider(runs: xr.Dataset) -> alt.Parameter:
    powers = sorted(set(select_cases(runs, **found.ABSOLUTE).power.values.tolist()))
    step = float(np.diff(powers).min()) if len(powers) > 1 else 1.0
    return alt.param(
        name="r", value=min(powers, key=lambda p: abs(p - 2)),
        bind=alt.binding_range(min=powers[0], max=powers[-1], step=step, name="power r of the widths"),
    )  # fmt: skip


def _steps_radio() -> alt.Parameter:
    return alt.param(name="steps", value="plain", bind=alt.binding_radio(options=list(_COLOURS), name="steps "))


def _by_kind(data: alt.Chart, draw: Any) -> list[Any]:
    """What ``draw`` makes of the rows of each kind of steps, its colour and its shape."""
    return [
        draw(data.transform_filter(f"datum.steps == '{kind}'"), colour, _SHAPES[kind])
        for kind, colour in _COLOURS.items()
    ]


def _lines(data: alt.Chart, x: alt.X, field: str, scale: alt.Scale, axis: alt.Axis, bars: bool = False) -> list[Any]:
    """Points and a line of each kind of steps; with ``bars``, from ``<field>_low`` to ``<field>_high`` besides."""
    y = alt.Y(f"{field}:Q", scale=scale, axis=axis)

    def draw(own: alt.Chart, colour: str, shape: str) -> Any:
        mark = {"filled": True, "shape": shape, "size": 26, "fill": colour, "stroke": colour}
        line = own.mark_line(color=colour, clip=True, point=mark).encode(x=x, y=y)
        if not bars:
            return line
        rule = own.mark_rule(color=colour, clip=True, opacity=0.6)
        return alt.layer(rule.encode(x=x, y=alt.Y(f"{field}_low:Q", scale=scale), y2=f"{field}_high:Q"), line)

    return _by_kind(data, draw)


def _level(value: float, scale: alt.Scale) -> Any:
    return (
        alt.Chart(alt.InlineData(values=[{"level": value}])).mark_rule(**_EDGE).encode(y=alt.Y("level:Q", scale=scale))
    )


def _short(table: pd.DataFrame) -> pd.DataFrame:
    """Curves to three digits, as they are drawn: a table of thousands of numbers travels with its page."""
    return pd.DataFrame(records(table, 3))


# -- along one step ----------------------------------------------------------------------------------------------------


@with_sources
def along_a_step(runs: xr.Dataset, *, eta: float = 8.0, caption: str | None = None, label: str | None = None) -> Figure:
    """The minibatch's loss on the way through one step, with its first three polynomials and the same with fixed gates.

    Args:
        runs: of recipe ``along_a_step``. eta: shown at first.
    """
    one = runs.isel(seed=0).transpose("case", "eta", "taken", "fraction", "step", "order", ...)
    moments, ways, gauges = one.taken.values.tolist(), [], []
    for k, scaled in enumerate(one.scaled.values.tolist()):
        for e, size in enumerate(one.eta.values.tolist()):
            here = {"steps": KINDS[scaled], "log_eta": round(float(np.log2(size)), 3)}
            for m, moment in enumerate(moments):
                way = {name: one[name][k, e, m].values / float(one.along[k, e, m, 0]) for name in ("along", "frozen")}
                series = one.taken_series[k, e, m].values / float(one.along[k, e, m, 0])
                known = {"place": m, "moment": moment} | dict(zip(("c1", "c2", "c3"), series.tolist(), strict=True))
                ways.append(here | known | {"t": one.fraction.values, "loss": way["along"], "frozen": way["frozen"]})
            over = overshoot(one.series[k, e].values)
            gauges.append(here | {"at": one.step.values + 1, "gauge": over})
    long = ["t", "loss", "frozen"]
    table = pd.DataFrame(ways).explode(long, ignore_index=True).astype(dict.fromkeys(long, float))
    moment_bind = alt.binding_range(
        min=0, max=len(moments) - 1, step=1, name=f"moment ({', '.join(map(str, moments))})"
    )
    controls = [
        _steps_radio(),
        _log_slider("log_eta", one.eta.values.tolist(), eta),
        alt.param(name="place", value=max(len(moments) - 2, 0), bind=moment_bind),
    ]
    same = "datum.steps == steps && abs(datum.log_eta - log_eta) < 0.2"
    here_data = alt.Chart(alt.NamedData(name="way")).transform_filter(f"{same} && datum.place == place")
    here_data = here_data.transform_flatten(["t", "loss", "frozen"]).transform_calculate(
        first="1 + datum.c1 * datum.t",
        second="1 + datum.c1 * datum.t + datum.c2 * pow(datum.t, 2)",
        third="1 + datum.c1 * datum.t + datum.c2 * pow(datum.t, 2) + datum.c3 * pow(datum.t, 3)",
    )
    x = alt.X("t:Q", scale=alt.Scale(domain=[0, 1.5]), axis=alt.Axis(title="share t of the step", tickCount=6))
    scale = alt.Scale(domain=[0.4, 1.8])

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=scale, axis=alt.Axis(title=None, tickCount=5))

    dashes: dict[str, list[float]] = {"first": [1.5, 3], "second": [4, 3], "third": [9, 3]}
    left = alt.layer(
        *[
            here_data.mark_line(stroke=theme.TEXT, strokeWidth=1.4, strokeDash=dash, clip=True).encode(x=x, y=y(name))
            for name, dash in dashes.items()
        ],
        here_data.mark_line(color=theme.MIDDLE, clip=True).encode(x=x, y=y("frozen")),
        here_data.mark_line(color=theme.MEASURED, strokeWidth=2.6, clip=True).encode(x=x, y=y("loss")),
    ).properties(width=theme.PLANE, height=230, title="loss of the minibatch ÷ before the step")
    last = float(recipe(runs).get("steps", 300))
    time = theme.log_scale(1, last)
    across = alt.X("at:Q", scale=time, axis=theme.log_axis("step + 1", 1, last))
    gauge_scale = theme.log_scale(1e-4, _GAUGE[1])
    line = alt.Chart(alt.NamedData(name="gauges")).transform_filter(same).transform_flatten(["at", "gauge"])
    line = line.transform_filter("datum.gauge > 0")
    rule = here_data.transform_filter("datum.t == 0").transform_calculate(now="datum.moment + 1")
    right = alt.layer(
        _level(1, gauge_scale),
        rule.mark_rule(stroke=theme.TEXT, opacity=0.6).encode(x=alt.X("now:Q", scale=time)),
        line.mark_line(color=theme.MEASURED, clip=True, point={"size": 16, "fill": theme.MEASURED}).encode(
            x=across,
            y=alt.Y("gauge:Q", scale=gauge_scale, axis=theme.log_axis(None, 1e-4, _GAUGE[1])),
        ),
    ).properties(width=theme.PLANE, height=230, title="c₂/|c₁| of the step, red: 1")
    chart = theme.beside(left, right).add_params(*controls).resolve_scale(x="independent", y="independent")
    chart = chart.properties(
        datasets={"way": records(pd.DataFrame(ways), 3), "gauges": records(pd.DataFrame(gauges), 3)}
    )
    turned = select_case(runs, scaled=False).turned.mean("seed").transpose("eta", "taken")
    words = (caption or "One step looked along.").rstrip()
    note = (
        f"{words} Purple: the loss of the very minibatch whose step this is, at W + tV; grey: the same while every gate stays "
        "as it was; dotted, short and long dashes: the first, second and third order. A point above the red line is beyond "
        f"the edge: the parabola along the whole step ends higher than it began. One run, seed 0; quadratic widths, |·|, "
        f"cross-entropy. {_BALANCED} {_conditions(runs)}"
    )
    whole = table[np.isclose(table.t, 1.0) & (table.steps == "plain")]
    miss = (whole.loss - (1 + whole.c1 + whole.c2 + whole.c3)).abs()
    far = whole[whole.log_eta == whole.log_eta.max()].loss
    summary = (
        f"Plain steps of η = {one.eta.values[0]:g} to {one.eta.values[-1]:g} turn {float(turned.min()):.1%} to "
        f"{float(turned.max()):.1%} of all gates. At the end of the step the cubic is off by {miss.min():.2g} to "
        f"{miss.max():.2g} of the loss; at the largest η the step leaves between {far.min():.2f} and {far.max():.2f} of it."
    )
    shown = table.assign(eta=2.0**table.log_eta)[["steps", "eta", "moment", "t", "loss", "frozen", "c1", "c2", "c3"]]
    return figure(theme.finished(chart), summary, _short(shown.rename(columns={"eta": "η"})), note, label)


# -- along training ----------------------------------------------------------------------------------------------------


@with_sources
def beyond_training(
    runs: xr.Dataset, *, eta: float = 16.0, caption: str | None = None, label: str | None = None
) -> Figure:
    """Loss, c₂/|c₁| and sharpness along training, plain and balanced, for a step size and a power of the widths on sliders.

    Args:
        runs: of recipe ``beyond_the_edge``. eta: shown at first.
    """
    runs = select_cases(runs, **found.ABSOLUTE)
    powers_of_two = np.isclose(np.log2(runs.eta.values) % 1, 0)  # every other one: the page's weight
    runs = runs.isel(eta=np.flatnonzero(powers_of_two))
    packs = [row for k in range(runs.sizes["case"]) for row in _curves(runs.isel(case=k))]
    long = ["at", "loss", "gauge"]
    curves = pd.DataFrame(packs).explode(long, ignore_index=True).astype(dict.fromkeys(long, float))
    looks = pd.concat([_look_rows(runs.isel(case=k)) for k in range(runs.sizes["case"])], ignore_index=True)
    units = [
        {"r": float(power), "layer": k, "units": int(n)}
        for power in sorted(set(runs.power.values.tolist()))
        for k, n in enumerate(_width(select_case(runs, scaled=False, power=power)), start=1)
    ]
    controls = [_power_slider(runs), _log_slider("log_eta", runs.eta.values.tolist(), eta)]
    same = "abs(datum.r - r) < 0.2 && abs(datum.log_eta - log_eta) < 0.2"
    last = float(recipe(runs).get("steps", 300))
    x = alt.X("at:Q", scale=theme.log_scale(1, last), axis=theme.log_axis("step + 1", 1, last))
    data = alt.Chart(alt.NamedData(name="curves")).transform_filter(same).transform_flatten(["at", "loss", "gauge"])
    loss = alt.Y("loss:Q", scale=theme.log_scale(0.2, 1e3), axis=theme.log_axis(None, 0.2, 1e3))
    gauge_scale = theme.log_scale(1e-3, _GAUGE[1])
    gauge = alt.Y("gauge:Q", scale=gauge_scale, axis=theme.log_axis(None, 1e-3, _GAUGE[1]))
    sharp_ends = 1e-2, 1e2
    sharp = "lambda", theme.log_scale(*sharp_ends), theme.log_axis(None, *sharp_ends)

    def plain_lines(source: alt.Chart, y: alt.Y) -> list[Any]:
        return _by_kind(source, lambda own, colour, shape: own.mark_line(color=colour, clip=True).encode(x=x, y=y))

    looked = alt.Chart(alt.NamedData(name="looks")).transform_filter(f"{same} && isValid(datum.lambda)")
    bars = alt.Chart(alt.NamedData(name="units")).transform_filter("abs(datum.r - r) < 0.2")
    panels = [
        alt.layer(*plain_lines(data.transform_filter("isValid(datum.loss)"), loss)).properties(
            width=theme.PLANE, height=190, title="minibatch loss ÷ first"
        ),
        alt.layer(_level(1, gauge_scale), *plain_lines(data.transform_filter("datum.gauge > 0"), gauge)).properties(
            width=theme.PLANE, height=190, title="c₂/|c₁|, red: 1"
        ),
        alt.layer(*_lines(looked, x, *sharp)).properties(width=theme.PLANE, height=190, title="λ_max of the Hessian"),
        bars.mark_bar(color=theme.MIDDLE, opacity=0.8)
        .encode(
            x=alt.X("layer:O", axis=alt.Axis(title="hidden layer k", labelAngle=0)),
            y=alt.Y("units:Q", axis=alt.Axis(title=None, tickCount=5), scale=alt.Scale(domain=[0, 310])),
        )
        .properties(width=theme.PLANE, height=190, title="units, m·k^r"),
    ]
    chart = theme.beside(*panels).add_params(*controls).resolve_scale(x="independent", y="independent")
    chart = chart.properties(
        datasets={"curves": records(pd.DataFrame(packs), 3), "looks": records(looks), "units": units}
    )
    words = (caption or "Training at and beyond the edge.").rstrip()
    note = (
        f"{words} Grey: plain SGD; purple, squares: balanced. Loss: geometric mean over seeds, until one is no number any "
        "more; c₂/|c₁|: median. The sharpness is that of a fixed set of fresh samples. All patterns of widths have about "
        f"as many weights. |·|, cross-entropy. {_BALANCED} {_conditions(runs)}"
    )
    summary = "Quadratic widths, the last step that is kept: " + "; ".join(
        _said(curves, kind, size)
        for kind in _COLOURS
        for size in (runs.eta.values[len(runs.eta) // 2], runs.eta.values[-1])
    )
    table = curves.assign(eta=2.0**curves.log_eta)[["steps", "r", "eta", "at", "loss", "gauge"]].rename(
        columns={"eta": "η", "at": "step + 1", "loss": "loss ÷ first", "gauge": "c₂/|c₁|"}
    )
    return figure(theme.finished(chart), summary + ".", _short(table), note, label)


def _said(curves: pd.DataFrame, kind: str, eta: float) -> str:
    own = curves[(curves.steps == kind) & np.isclose(curves.r, 2) & np.isclose(curves.log_eta, np.log2(eta))]
    end = own.iloc[-1]
    if not np.isfinite(end.loss):
        return f"{kind}, η = {eta:g}: gone"
    return f"{kind}, η = {eta:g}: loss {theme.power_of_ten(end.loss)} of the first, c₂/|c₁| {theme.power_of_ten(end.gauge)}"


def _width(one: xr.Dataset) -> np.ndarray:
    """Units of the hidden layers; the same for every seed."""
    values = one.width.transpose(..., "layer").values
    return values[0] if values.ndim > 1 else values


def _named(one: xr.Dataset) -> dict[str, Any]:
    return {"steps": KINDS[bool(one.scaled)], "r": float(one.power)}


def _curves(one: xr.Dataset) -> list[dict[str, Any]]:
    """A row a step size: loss and gauge along the kept steps, as arrays."""
    losses = one.batch_loss.transpose("eta", "seed", "step").values.astype(float)
    series = one.series.transpose("eta", "seed", "step", "order").values.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = np.exp(np.log(losses / losses[..., :1]).mean(1))
        gauge = np.median(overshoot(series), axis=1)
    return [
        _named(one) | {"log_eta": round(float(np.log2(eta)), 3), "at": one.step.values + 1, "loss": row, "gauge": over}
        for eta, row, over in zip(one.eta.values, loss, gauge, strict=True)
    ]


def _look_rows(one: xr.Dataset) -> pd.DataFrame:
    values = one.sharpness.transpose("eta", "moment", "seed").values.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = np.exp(np.log(np.where(values > 0, values, np.nan)).mean(-1))
    frames = [
        pd.DataFrame({"log_eta": round(float(np.log2(eta)), 3), "at": np.maximum(one.moment.values, 1), "lambda": row})
        for eta, row in zip(one.eta.values, middle, strict=True)
    ]
    return pd.concat(frames, ignore_index=True).assign(**_named(one))


# -- over step sizes ---------------------------------------------------------------------------------------------------


@with_sources
def beyond_over_eta(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Peak loss, share of steps beyond the edge, held-out loss and sharpness over step sizes; the power of the widths slides.

    Args:
        runs: of recipe ``beyond_the_edge``.
    """
    runs = select_cases(runs, **found.ABSOLUTE)
    table = pd.concat([_eta_rows(runs.isel(case=k)) for k in range(runs.sizes["case"])], ignore_index=True)
    data = alt.Chart(alt.NamedData(name="rows")).transform_filter("abs(datum.r - r) < 0.2")
    chart = theme.beside(*_eta_panels(data, table)).add_params(_power_slider(runs))
    chart = chart.resolve_scale(x="independent", y="independent").properties(datasets={"rows": records(table)})
    words = (caption or "Step sizes from small to absurd.").rstrip()
    note = f"{words} {_ETA_NOTE} |·|, cross-entropy. {_BALANCED} {_conditions(runs)}"
    parts = []
    for kind, scaled in (("plain", False), ("balanced", True)):
        one = found.select_network(runs, scaled)
        place = found.locate_best_eta(one)
        parts.append(
            f"{kind} steps last to η = {_last(found.find_lasting_eta(one))}, train to "
            f"{_last(found.find_learning_eta(one))}, and do best at {one.eta.values[place]:.3g} (held-out accuracy "
            f"{float(one.accuracy.isel(moment=-1, eta=place).mean()):.2f})"
        )
    return figure(theme.finished(chart), f"Quadratic widths: {'; '.join(parts)}.", _eta_table(table), note, label)


@with_sources
def beyond_elsewhere(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The same panels for other losses and activations, with quadratic widths.

    Args:
        runs: of recipe ``beyond_the_edge``.
    """
    runs = select_cases(runs, power=2.0)
    frames = []
    for words, network in found.NETWORKS.items():
        own = select_cases(runs, **network)
        frames += [_eta_rows(own.isel(case=k)).assign(network=words) for k in range(own.sizes["case"])]
    table = pd.concat(frames, ignore_index=True)
    names = list(found.NETWORKS)
    choice = alt.param(name="network", value=names[1], bind=alt.binding_select(options=names, name="network "))
    data = alt.Chart(alt.NamedData(name="rows")).transform_filter("datum.network == network")
    chart = theme.beside(*_eta_panels(data, table)).add_params(choice)
    chart = chart.resolve_scale(x="independent", y="independent").properties(datasets={"rows": records(table)})
    words = (caption or "Another loss, another activation.").rstrip()
    note = f"{words} {_ETA_NOTE} Quadratic widths. {_BALANCED} {_conditions(runs)}"
    parts = []
    for name, network in found.NETWORKS.items():
        plain, balanced = (
            _last(found.find_lasting_eta(found.select_network(runs, scaled, network=network)))
            for scaled in (False, True)
        )
        parts.append(f"{name}: plain to η = {plain}, balanced to {balanced}")
    return figure(
        theme.finished(chart), f"The loss does not explode, {'; '.join(parts)}.", _eta_table(table), note, label
    )


_ETA_NOTE = (
    "Grey circles: plain SGD; purple squares: balanced. Points: means over seeds (of the peak and of λ_max geometric), bars "
    f"from the lowest to the highest. A triangle at the top stands for a run that exploded: a minibatch loss {_TOP:,.0f} times "
    "the first, or none at all. Losses are held-out, at the end of training."
)


def _eta_panels(data: alt.Chart, table: pd.DataFrame) -> list[Any]:
    ends = theme.span(table.eta, 1.15)
    x = alt.X("eta:Q", scale=theme.log_scale(*ends), axis=alt.Axis(title="η", values=_binary(ends), format="~g"))
    fields: dict[str, tuple[str, alt.Scale, alt.Axis]] = {
        "peak": ("largest minibatch loss ÷ first", theme.log_scale(0.8, 2 * _TOP), theme.log_axis(None, 1, _TOP)),
        "beyond": ("share of steps with c₂ > |c₁|", alt.Scale(domain=[0, 1]), alt.Axis(title=None, tickCount=5)),
        "held": ("held-out loss ÷ at the start", alt.Scale(domain=[0, 1.3]), alt.Axis(title=None, tickCount=6)),
        "lambda": ("λ_max at the end", theme.log_scale(1e-2, 1e2), theme.log_axis(None, 1e-2, 1e2)),
    }
    panels = []
    for field, (title, scale, axis) in fields.items():
        shown = data.transform_filter(f"isValid(datum.{field})")
        layers = _lines(shown, x, field, scale, axis, bars=True)
        if field == "peak":
            gone = data.transform_filter("datum.gone > 0").transform_calculate(top=str(1.3 * _TOP))
            layers += _by_kind(
                gone,
                lambda own, colour, shape: own.mark_point(
                    shape="triangle-up", fill=colour, stroke=colour, size=60, yOffset=-3 if shape == "square" else 3
                ).encode(x=x, y=alt.Y("top:Q", scale=theme.log_scale(0.8, 2 * _TOP))),
            )
        panels.append(alt.layer(*layers).properties(width=theme.PLANE, height=190, title=title))
    return panels


def _binary(ends: tuple[float, float]) -> list[float]:
    return [2.0**k for k in range(-10, 20, 2) if ends[0] <= 2.0**k <= ends[1]]


def _eta_rows(one: xr.Dataset) -> pd.DataFrame:
    """One case over step sizes; what exploded has no numbers, and how many seeds did is in ``gone``."""
    gone = found.has_exploded(one).values
    held = one.test_loss.transpose("seed", "eta", "moment").values.astype(float)
    values = {
        "peak": np.log(np.where(gone, np.nan, one.peak.transpose("seed", "eta").values.astype(float))),
        "beyond": one.beyond.transpose("seed", "eta").values.astype(float),
        "held": held[..., -1] / held[..., 0],
        "lambda": np.log(one.sharpness.isel(moment=-1).transpose("seed", "eta").values.astype(float).clip(1e-12)),
        "accuracy": one.accuracy.isel(moment=-1).transpose("seed", "eta").values.astype(float),
    }
    frame: dict[str, Any] = {"eta": one.eta.values, "gone": gone.sum(0)}
    for name, rows in values.items():
        rows = np.where(gone.any(0), np.nan, rows)
        back = np.exp if name in ("peak", "lambda") else (lambda v: v)
        frame |= {name: back(rows.mean(0)), f"{name}_low": back(rows.min(0)), f"{name}_high": back(rows.max(0))}
    return pd.DataFrame(frame).assign(**_named(one))


def _last(etas: np.ndarray) -> str:
    """The smallest over seeds of each one's largest step size; "none" where a seed has none."""
    return f"{etas.min():.3g}" if np.isfinite(etas).all() else "none"


def _eta_table(table: pd.DataFrame) -> pd.DataFrame:
    columns = [
        name for name in ("network", "steps", "r", "eta", "gone", "peak", "beyond", "held", "lambda", "accuracy")
    ]
    words = {"eta": "η", "gone": "seeds exploded", "peak": "peak loss ÷ first", "beyond": "share beyond"}
    words |= {"held": "held-out loss ÷ start", "lambda": "λ_max", "accuracy": "held-out accuracy"}
    return table[[name for name in columns if name in table]].rename(columns=words)


# -- soft ranks --------------------------------------------------------------------------------------------------------


@with_sources
def soft_ranks(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Three soft ranks of the last hidden layer over step sizes, and held-out accuracy against them.

    Args:
        runs: of recipe ``beyond_the_edge``.
    """
    runs = select_cases(runs, **found.ABSOLUTE)
    frames = [_rank_rows(runs.isel(case=k), rank) for k in range(runs.sizes["case"]) for rank in RANKS]
    table = pd.concat(frames, ignore_index=True)
    choice = alt.param(
        name="kind", value="participation", bind=alt.binding_radio(options=list(RANKS), name="soft rank ")
    )
    data = alt.Chart(alt.NamedData(name="ranks")).transform_filter(
        "abs(datum.r - r) < 0.2 && datum.kind == kind && isValid(datum.rank)"
    )
    ends = theme.span(table.eta, 1.15)
    high = theme.span(table["rank_high"], 1.1)[1]
    x = alt.X("eta:Q", scale=theme.log_scale(*ends), axis=alt.Axis(title="η", values=_binary(ends), format="~g"))
    scale = theme.log_scale(0.9, high)
    ticks = [1, 2, 5, 10, 20, 50, 100]
    axis = alt.Axis(title=None, values=ticks, format="~g")
    left = alt.layer(*_lines(data, x, "rank", scale, axis, bars=True))
    across = alt.X("rank:Q", scale=scale, axis=alt.Axis(title="soft rank", values=ticks, format="~g"))
    right = alt.layer(
        *_by_kind(
            data,
            lambda own, colour, shape: own.mark_point(shape=shape, fill=colour, stroke=colour, size=44).encode(
                x=across,
                y=alt.Y("accuracy:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title=None, tickCount=5)),
                opacity=alt.Opacity("log_eta:Q", scale=alt.Scale(range=[0.25, 1]), legend=None),
            ),
        )
    )
    chart = theme.beside(
        left.properties(width=theme.PLANE, height=220, title="soft rank, last hidden layer"),
        right.properties(width=theme.PLANE, height=220, title="held-out accuracy against it"),
    )
    chart = chart.add_params(_power_slider(runs), choice).resolve_scale(x="independent", y="independent")
    chart = chart.properties(datasets={"ranks": records(table)})
    words = (caption or "How many directions the last layer fills.").rstrip()
    note = (
        f"{words} Eigenvalues λ of the covariance of the last hidden layer over fresh samples: participation (Σλ)²/Σλ², "
        "stable Σλ/λ_max, entropy exp(−Σ p ln p) with p = λ/Σλ. Grey circles: plain; purple squares: balanced; on the right "
        "each point is a step size, the larger the darker. Means over seeds, bars from the lowest to the highest; none where "
        f"one exploded. |·|, cross-entropy. {_BALANCED} {_conditions(runs)}"
    )
    parts = []
    for scaled in (False, True):
        one = found.select_network(runs, scaled)
        values = [f"{np.mean(found.correlate_rank(one, rank)):.2f} ({rank})" for rank in RANKS]
        parts.append(f"{KINDS[scaled]} {', '.join(values)}")
    summary = f"Quadratic widths, Spearman's correlation of rank and accuracy over step sizes: {'; '.join(parts)}."
    shown = table[["steps", "r", "kind", "eta", "rank", "rank_low", "rank_high", "accuracy"]].rename(
        columns={"eta": "η"}
    )
    return figure(theme.finished(chart), summary, shown, note, label)


def _rank_rows(one: xr.Dataset, rank: str) -> pd.DataFrame:
    gone = found.has_exploded(one).any("seed").values
    values = one["rank"].sel(kind=rank).isel(moment=-1).transpose("seed", "eta").values.astype(float)
    values = np.where(gone, np.nan, values)
    accuracy = one.accuracy.isel(moment=-1).transpose("seed", "eta").values.mean(0)
    columns = {"eta": one.eta.values, "log_eta": np.log2(one.eta.values).round(3), "accuracy": accuracy}
    columns |= {"rank": values.mean(0), "rank_low": values.min(0), "rank_high": values.max(0)}
    return pd.DataFrame(columns).assign(kind=rank, **_named(one))
