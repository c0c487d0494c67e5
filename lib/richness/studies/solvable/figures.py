"""The solvable model drawn: closed forms dashed, simulations as points, what parts them beneath; and both over a portrait.

Nothing here is read from a file but the portraits of `model_overlay`: the model is run while the page is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis import boundaries as found
from richness.analysis import theory
from richness.analysis.theory import catapult, sign_steps, single_index
from richness.networks.parameterization import natural_eta
from richness.plots import theme
from richness.plots.captions import conditions, depth, last_step, recipe
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import records, say_nothing_drawn, shape_legend
from richness.plots.plane import view_param
from richness.studies.solvable.overlay import BEND_WITHIN, fit_overlay

DEPTHS = (2, 3, 4, 6)
RULES = {"mse": "SGD, MSE", "cross_entropy": "SGD, cross-entropy", "signs": "SignSGD, either loss"}
_DASHED: dict[str, Any] = {"strokeDash": [5, 3], "strokeWidth": 1.4, "stroke": theme.TEXT, "clip": True}
_POINT: dict[str, Any] = {
    "size": 34,
    "filled": False,
    "fill": theme.MEASURED,
    "stroke": "white",
    "strokeWidth": 0.6,
    "clip": True,
}
_STABLE: dict[str, Any] = {"color": theme.STABILITY, "strokeWidth": 1.6}
_SHAPES = {"η_max": "triangle-up", "η_crit": "square", "η_min": "triangle-down"}
_MODEL = (
    "The solvable model: one example, one weight w shared by all L layers, f = (w^L − 1)/γ, target 1, full gradient, no "
    "seeds."
)
_STRAIGHT = "view == 'straightened'"


def _select(name: str, values: Sequence[Any], labels: Sequence[str], title: str) -> alt.Parameter:
    """A bound choice; `values` are what the rows hold."""
    bind = alt.binding_select(options=list(values), labels=list(labels), name=f"{title} ")
    return alt.param(name=name, value=values[0], bind=bind)


def _gamma_axis(low: float, high: float) -> alt.X:
    return alt.X("gamma:Q", scale=theme.log_scale(low, high), axis=theme.log_axis("γ, richness", low, high))


def _level(value: float, y: alt.Y, **mark: Any) -> alt.Chart:
    """A level line on the axis ``y``."""
    data = alt.InlineData(values=[{str(y.shorthand).removesuffix(":Q"): value}])
    return alt.Chart(data).mark_rule(**(mark or _DASHED)).encode(y=y)


# -- boundaries --------------------------------------------------------------------------------------------------------


@with_sources
def model_boundaries(depths: Sequence[int] = DEPTHS, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The model's boundaries against γ, simulated and in closed form, with their ratio; choose L, the rule and T.

    η_crit = 2/λ* against the largest η that converges; η_min = escape time/T against a simulated escape; under
    cross-entropy also the largest η that stays bounded, for which only a slope is predicted; SignSGD's two edges.
    """
    points = pd.concat([_boundary_points(L, rule) for L in depths for rule in RULES], ignore_index=True)
    lines = pd.concat([_boundary_lines(L, rule) for L in depths for rule in RULES], ignore_index=True)
    dots, dashes = alt.NamedData(name="points"), alt.NamedData(name="lines")
    budget = alt.param(name="log_T", value=3, bind=alt.binding_range(min=1, max=6, step=0.25, name="log10 T, steps "))
    controls = [
        _select("L", depths, [f"L = {L}" for L in depths], "depth"),
        _select("rule", list(RULES), list(RULES.values()), "rule"),
        budget,
        view_param("straightened"),
    ]
    low, high = float(points.gamma.min()), float(lines.gamma.max())
    x = _gamma_axis(low, high)

    def chosen(data: alt.NamedData) -> alt.Chart:
        steps = "datum.boundary == 'η_min' ? pow(10, log_T) : 1"
        placed = f"({_STRAIGHT} ? 1 / datum.natural : 1) / ({steps})"
        here = alt.Chart(data).transform_filter("datum.L == L && datum.rule == rule")
        return here.transform_calculate(eta=f"datum.value * {placed}")

    ends = [alt.ExprRef(f"{_STRAIGHT} ? {s} : {r}") for s, r in ((1e-7, 1e-13), (1e5, 1e5))]
    y = alt.Y(
        "eta:Q",
        scale=alt.Scale(type="log", domain=ends, nice=False),
        axis=theme.log_axis(None, 1e-13, 1e5, every=2),
    )
    shape = alt.Shape(
        "boundary:N",
        scale=alt.Scale(domain=list(_SHAPES), range=list(_SHAPES.values())),
        legend=shape_legend(theme.MEASURED),
    )
    tooltip = [
        alt.Tooltip("boundary:N", title="boundary"),
        alt.Tooltip("gamma:Q", title="γ", format=".3~g"),
        alt.Tooltip("ratio:Q", title="simulated ÷ closed form", format=".4~g"),
    ]
    title = alt.TitleParams(text=alt.ExprRef(f"{_STRAIGHT} ? 'η ÷ natural η(γ)' : 'η, learning rate'"))
    upper = alt.layer(
        chosen(dashes).mark_line(**_DASHED).encode(x=x, y=y, detail="boundary:N"),
        chosen(dots).mark_point(**_POINT).encode(x=x, y=y, shape=shape, tooltip=tooltip),
    ).properties(width=theme.PLANE, height=260, title=title)
    near = [alt.ExprRef(f"rule == 'signs' ? {s} : {r}") for s, r in ((0.9, 0.98), (1.25, 1.02))]
    ratio = alt.Y("ratio:Q", scale=alt.Scale(domain=near, nice=False), axis=alt.Axis(title=None, tickCount=5))
    known = chosen(dots).transform_filter("isValid(datum.ratio)")
    lower = alt.layer(
        _level(1, ratio),
        known.mark_point(**_POINT).encode(x=x, y=ratio, shape=shape, tooltip=tooltip),
    ).properties(width=theme.PLANE, height=260, title="simulated ÷ closed form")
    chart = theme.beside(upper, lower).add_params(*controls).resolve_scale(y="independent")
    chart = chart.properties(datasets={"points": records(points), "lines": records(lines)})
    sure = points.dropna(subset=["ratio"])
    sgd, signs = sure[sure.rule != "signs"].ratio, sure[sure.rule == "signs"].ratio
    summary = (
        f"Over {len(sure)} boundaries, depths {', '.join(map(str, depths))}, simulation divided by the closed form lies "
        f"between {sgd.min():.4f} and {sgd.max():.4f} for SGD, and between {signs.min():.3f} and {signs.max():.3f} for "
        "SignSGD, whose walk ends on a lattice."
    )
    words = (caption or "The boundaries of the solvable model.").rstrip()
    note = (
        f"{words} {_MODEL} Dashed: closed forms, η_crit = 2/λ* and η_min = escape time/T. Points: simulated; η_crit: the "
        f"end of the contiguous stretch of η with |f − 1| < {theory.CONVERGED_WITHIN:g} after 1,000 steps; η_min: a simulated "
        "escape to f = ½ by small steps, over T; η_max under cross-entropy: the largest η whose |f| stays below 10¹² for "
        "300 steps, for γ ≤ 0.1, beside the slope 1. SignSGD: both ends of the band within ½ of the target, simulated at "
        "T = 300, from 16 phases of the stride. Loss: MSE, ½(f − 1)², or cross-entropy in nats with its minimum at f = 1. With "
        "L separate weights η_crit and η_min are L times as large under SGD. Straightened: η over γ²(1+γ)^(2/L−2), or its root "
        "for SignSGD."
    )
    table = points[["L", "rule", "boundary", "gamma", "value", "closed", "ratio"]]
    table = table.rename(columns={"gamma": "γ", "value": "simulated (η_min: at T = 1)", "closed": "closed form"})
    return figure(theme.finished(chart), summary, table, note, label)


def _boundary_points(L: int, rule: str) -> pd.DataFrame:
    """Simulated boundaries of one depth and rule: boundary, gamma, value, closed, ratio, natural."""
    gammas = np.geomspace(1e-4, 1e5, 19)
    frames = []
    if rule == "signs":
        steps = 300
        low, high = sign_steps.simulated_band(L, gammas, steps)
        frames.append(_rows("η_max", gammas, high, sign_steps.largest_eta(L, gammas)))
        frames.append(_rows("η_min", gammas, low * steps, sign_steps.minimal_eta(L, gammas, 1)))
    else:
        largest = theory.simulated_boundary(L, gammas, rule)
        frames.append(_rows("η_crit", gammas, largest, theory.critical_eta(L, gammas, rule)))
        escape = theory.simulated_escape_time(L, gammas, rule)
        frames.append(_rows("η_min", gammas, escape, theory.escape_time(L, gammas, rule)))
    if rule == "cross_entropy":
        lazy = gammas[gammas < 0.11]
        bounded = theory.simulated_boundary(L, lazy, rule, steps=300, criterion="bounded")
        frames.append(_rows("η_max", lazy, bounded, np.full(lazy.shape, np.nan)))
    return _identified(pd.concat(frames), L, rule)


def _boundary_lines(L: int, rule: str) -> pd.DataFrame:
    """Closed forms of one depth and rule on a finer grid; for cross-entropy's η_max a line of slope 1."""
    gammas = np.geomspace(1e-4, 1e6, 41)
    if rule == "signs":
        curves = {"η_max": sign_steps.largest_eta(L, gammas), "η_min": sign_steps.minimal_eta(L, gammas, 1)}
    else:
        curves = {"η_crit": theory.critical_eta(L, gammas, rule), "η_min": theory.escape_time(L, gammas, rule)}
    frames = [_rows(name, gammas, values, values) for name, values in curves.items()]
    if rule == "cross_entropy":
        lazy = np.geomspace(1e-4, 0.1, 7)
        bounded = theory.simulated_boundary(L, lazy, rule, steps=300, criterion="bounded")
        line = lazy * np.exp(np.mean(np.log(bounded / lazy)))
        frames.append(_rows("η_max", lazy, line, line))
    return _identified(pd.concat(frames), L, rule).drop(columns=["closed", "ratio"])


def _rows(name: str, gammas: np.ndarray, value: np.ndarray, closed: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"boundary": name, "gamma": gammas, "value": value, "closed": closed, "ratio": value / closed})


def _identified(rows: pd.DataFrame, L: int, rule: str) -> pd.DataFrame:
    natural = natural_eta(rows.gamma.to_numpy(), L, "signsgd" if rule == "signs" else "sgd")
    return rows.assign(L=L, rule=rule, natural=natural)


# -- escape ------------------------------------------------------------------------------------------------------------


@with_sources
def model_escape(depths: Sequence[int] = DEPTHS, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The escape from the plateau: its time over γ, exact, simulated and asymptotic; and how slowly the last is reached."""
    lines = pd.concat([_escape_lines(L, loss) for L in depths for loss in theory.LOSSES], ignore_index=True)
    points = pd.concat([_escape_points(L, loss) for L in depths for loss in theory.LOSSES], ignore_index=True)
    labels = [RULES[loss].removeprefix("SGD, ") for loss in theory.LOSSES]
    controls = [
        _select("L", depths, [f"L = {L}" for L in depths], "depth"),
        _select("loss", theory.LOSSES, labels, "loss"),
    ]
    low, high = float(lines.gamma.min()), float(lines.gamma.max())
    x = _gamma_axis(low, high)

    def chosen(name: str) -> alt.Chart:
        return alt.Chart(alt.NamedData(name=name)).transform_filter("datum.L == L && datum.loss == loss")

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", axis=alt.Axis(title=None, tickCount=5), scale=alt.Scale(zero=True))

    left = alt.layer(
        chosen("lines").mark_line(stroke=theme.MIDDLE, strokeWidth=1.4).encode(x=x, y=y("asymptote")),
        chosen("lines").mark_line(**_DASHED).encode(x=x, y=y("exact")),
        chosen("points").mark_point(**_POINT).encode(x=x, y=y("simulated")),
    ).properties(width=theme.PLANE, height=220, title="η·t of the escape, over γ")
    gap = alt.Y("gap:Q", scale=theme.log_scale(1e-6, 2), axis=theme.log_axis(None, 1e-6, 2))
    slope = alt.Y("slope:Q", scale=theme.log_scale(1e-6, 2), axis=theme.log_axis(None, 1e-6, 2))
    right = alt.layer(
        chosen("lines").mark_line(stroke=theme.MIDDLE, strokeWidth=1.4, clip=True).encode(x=x, y=slope),
        chosen("lines").transform_filter("datum.gap > 0").mark_line(**_DASHED).encode(x=x, y=gap),
    ).properties(width=theme.PLANE, height=220, title="1 − exact ÷ asymptote")
    chart = theme.beside(left, right).add_params(*controls)
    chart = chart.properties(datasets={"lines": records(lines), "points": records(points)})
    ratio = points.simulated / points.exact
    hundred = 1 - float(theory.escape_time(3, 100.0) / theory.escape_time_asymptote(3, 100.0))
    two = lines[(lines.L == 2) & (lines.loss == "mse")].set_index("gamma").exact
    summary = (
        f"The simulated escape is within {np.abs(ratio - 1).max():.2%} of the exact integral at every depth, loss and γ. At "
        f"L = 2 and MSE the time over γ has not settled: it grows from {two.loc[1.0]:.2f} at γ = 1 to {two.iloc[-1]:.2f} at "
        f"γ = {theme.power_of_ten(high)}. At L = 3 it settles, and is still {hundred:.0%} short of its limit at γ = 100."
    )
    words = (caption or "The escape from the plateau.").rstrip()
    note = (
        f"{words} {_MODEL} The plateau counts as left at f = ½. Dashed: the exact integral; points: simulated in about 2,000 "
        "small steps; grey: the asymptote, γ/(L(L−2)) for L > 2 and (γ/4)·log(1+γ) for L = 2, divided by 0.231 under "
        "cross-entropy. Right: what it lacks, beside the predicted slope −(L−2)/L (L = 2: −1), in grey, through the last "
        "point. MSE is ½(f − 1)²; cross-entropy in nats. With L separate weights the escape takes L times as long."
    )
    table = points[["L", "loss", "gamma", "exact", "simulated", "asymptote"]]
    table = table.rename(
        columns={"gamma": "γ", "exact": "exact ÷ γ", "simulated": "simulated ÷ γ", "asymptote": "asymptote ÷ γ"}
    )
    return figure(theme.finished(chart), summary, table, note, label)


def _escape_lines(L: int, loss: str) -> pd.DataFrame:
    gammas = np.logspace(-2, 8, 41)
    exact, limit = theory.escape_time(L, gammas, loss), theory.escape_time_asymptote(L, gammas, loss)
    gap = 1 - exact / limit
    decay = (L - 2) / L if L > 2 else 1.0
    slope = np.abs(gap[-1]) * (gammas / gammas[-1]) ** -decay
    rows = {"gamma": gammas, "exact": exact / gammas, "asymptote": limit / gammas, "gap": gap, "slope": slope}
    return pd.DataFrame(rows).assign(L=L, loss=loss)


def _escape_points(L: int, loss: str) -> pd.DataFrame:
    gammas = np.logspace(-2, 8, 11)
    rows = {
        "gamma": gammas,
        "exact": theory.escape_time(L, gammas, loss) / gammas,
        "simulated": theory.simulated_escape_time(L, gammas, loss) / gammas,
        "asymptote": theory.escape_time_asymptote(L, gammas, loss) / gammas,
    }
    return pd.DataFrame(rows).assign(L=L, loss=loss)


# -- the catapult ------------------------------------------------------------------------------------------------------

_STARTS = {"(2, 0.1)": catapult.UNBALANCED, "(1, 1)": catapult.BALANCED}


@with_sources
def model_catapult(gamma: float = 0.01, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Two weights thrown beyond 2/λ₀: loss and sharpness of a run, for a chosen start and η, and where runs land at all."""
    factors = [0.5, 0.9, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.1]
    steps = 60
    curves = pd.concat([_catapult_curves(name, gamma, factors, steps) for name in _STARTS], ignore_index=True)
    landed = pd.concat([_landing(name) for name in _STARTS], ignore_index=True)
    controls = [
        _select("start", list(_STARTS), [f"(u₀, v₀) = {name}" for name in _STARTS], "start"),
        alt.param(
            name="place",
            value=factors.index(1.5),
            bind=alt.binding_select(
                options=list(range(len(factors))), labels=[f"{factor:g} × 2/λ₀" for factor in factors], name="η "
            ),
        ),
    ]
    mine = alt.Chart(alt.NamedData(name="curves")).transform_filter("datum.start == start && datum.place == place")
    x = alt.X("t:Q", scale=alt.Scale(domain=[0, steps]), axis=alt.Axis(title="steps t", tickCount=6))
    losses = alt.Y("loss:Q", scale=theme.log_scale(1e-8, 1e6), axis=theme.log_axis(None, 1e-8, 1e6, every=2))
    sharp = alt.Y("sharpness:Q", scale=alt.Scale(domain=[0, 4.5]), axis=alt.Axis(title=None, tickCount=5))
    curve = mine.mark_line(stroke=theme.LAZY, clip=True)
    loss = curve.transform_filter("datum.loss > 0").encode(x=x, y=losses)
    sharpness = alt.layer(_level(2, sharp, **_STABLE), curve.encode(x=x, y=sharp))
    size = {"width": theme.PLANE, "height": 150}
    run = alt.vconcat(
        loss.properties(**size, title="loss"), sharpness.properties(**size, title="η·λ (red: 2, the stability line)")
    )
    chart = theme.beside(run, _landing_panel(landed)).add_params(*controls)
    chart = chart.properties(datasets={"curves": records(curves)}).resolve_scale(x="independent", y="independent")
    words = (caption or "The catapult of two weights.").rstrip()
    note = (
        f"{words} f = (uv − u₀v₀)/γ, target 1, MSE ½(f − 1)², one example, two separate weights (L = 2), full gradient, no "
        f"seeds. Left, one run at γ = {gamma:g}; λ = (u² + v²)/γ². Right, the topmost η that converges (|f − 1| < 10⁻³ after "
        "1,000 steps), over 2/λ₀, as points; dashed: min(4/λ₀, γ²/|u₀v₀ + γ|) over 2/λ₀; red: 2/λ₀ itself."
    )
    table = landed.rename(columns={"gamma": "γ", "topmost": "topmost η ÷ (2/λ₀)"})
    thrown = curves[(curves.start == "(2, 0.1)") & (curves.place == factors.index(1.5))]
    return figure(theme.finished(chart), _catapult_summary(gamma, thrown, landed), table, note, label)


def _catapult_summary(gamma: float, thrown: pd.DataFrame, landed: pd.DataFrame) -> str:
    say, last = theme.power_of_ten, float(thrown.loss.iloc[-1])
    far = landed[landed.gamma < 0.11].groupby("start").topmost.agg(["min", "max"])
    parts = [
        f"from {start} up to {far.loc[start, 'min']:.2f} to {far.loc[start, 'max']:.2f} times" for start in _STARTS
    ]
    return (
        f"At γ = {say(gamma)} and η = 1.5 × 2/λ₀ from (2, 0.1), the loss rises from 0.5 to {say(thrown.loss.max())} and comes "
        f"down to {'less than 10⁻⁸' if last < 1e-8 else say(last)}; η·λ falls from {thrown.sharpness.iloc[0]:.1f} to "
        f"{thrown.sharpness.iloc[-1]:.2f}. For γ up to 0.1 runs converge {' and '.join(parts)} 2/λ₀."
    )


def _catapult_curves(name: str, gamma: float, factors: Sequence[float], steps: int) -> pd.DataFrame:
    start = _STARTS[name]
    threshold = 2 / catapult.initial_sharpness(start, gamma)
    etas = threshold * np.array(factors)
    run = catapult.simulate(start, gamma, etas, steps, record=True)
    assert run.loss_history is not None and run.sharpness_history is not None
    frames = [
        pd.DataFrame(
            {
                "start": name,
                "place": place,
                "t": np.arange(steps + 1),
                "loss": run.loss_history[:, place],
                "sharpness": etas[place] * run.sharpness_history[:, place],
            }
        ).dropna()
        for place in range(len(factors))
    ]
    return pd.concat(frames)


def _landing(name: str) -> pd.DataFrame:
    gammas = np.geomspace(1e-4, 1, 17)
    start = _STARTS[name]
    threshold, top = catapult.window(start, gammas)
    topmost = catapult.convergent_eta(start, gammas) / threshold
    predicted = np.minimum(top, catapult.stable_eta(start, gammas)) / threshold
    return pd.DataFrame({"start": name, "gamma": gammas, "topmost": topmost, "predicted": predicted})


def _landing_panel(landed: pd.DataFrame) -> Any:
    data = alt.InlineData(values=records(landed))
    x = _gamma_axis(1e-4, 1)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=alt.Scale(domain=[0, 2.2]), axis=alt.Axis(title=None, tickCount=5))

    shape = alt.Shape(
        "start:N",
        scale=alt.Scale(domain=list(_STARTS), range=["triangle-up", "circle"]),
        legend=shape_legend(theme.MEASURED),
    )
    height = alt.Y("y:Q", scale=alt.Scale(domain=[0, 2.2]), axis=alt.Axis(title=None, tickCount=5))
    return alt.layer(
        _level(1, height, **_STABLE),
        alt.Chart(data).mark_line(**_DASHED).encode(x=x, y=y("predicted"), detail="start:N"),
        alt.Chart(data).mark_point(**_POINT).encode(x=x, y=y("topmost"), shape=shape),
    ).properties(width=theme.PLANE, height=346, title="largest η that converges ÷ (2/λ₀)")


# -- a single-index target ---------------------------------------------------------------------------------------------

POWERS = (1, 2, 3)


@with_sources
def model_single_index(
    depths: Sequence[int] = (2, 3), *, caption: str | None = None, label: str | None = None
) -> Figure:
    """A target ⟨a, x⟩^p: largest convergent η, escape time and the loss that must stay, for p = 1, 2, 3; choose L."""
    rows = pd.concat([_index_rows(L, p) for L in depths for p in POWERS], ignore_index=True)
    names = [f"p = {p}" for p in POWERS]
    data = alt.NamedData(name="rows")
    low, high = float(rows.gamma.min()), float(rows.gamma.max())
    x = _gamma_axis(low, high)
    shape = alt.Shape(
        "power:N",
        scale=alt.Scale(domain=names, range=["circle", "square", "triangle-up"]),
        legend=shape_legend(theme.MEASURED),
    )

    def panel(title: str, point: str, line: str, ends: tuple[float, float], **axis: Any) -> Any:
        here = alt.Chart(data).transform_filter("datum.L == L")

        def y(field: str) -> alt.Y:
            return alt.Y(f"{field}:Q", scale=theme.log_scale(*ends), axis=theme.log_axis(None, *ends, **axis))

        return alt.layer(
            here.transform_filter(f"datum.{line} > 0").mark_line(**_DASHED).encode(x=x, y=y(line), detail="power:N"),
            here.transform_filter(f"datum.{point} > 0").mark_point(**_POINT).encode(x=x, y=y(point), shape=shape),
        ).properties(width=theme.PLANE, height=200, title=title)

    panels = [
        panel("largest convergent η", "eta", "critical", theme.span(rows.critical, 4), every=2),
        panel("η·t of the escape, over γ", "escape", "escape", theme.span(rows.escape, 3)),
        panel("loss that stays ÷ initial loss", "floor", "floor", (1e-9, 2)),
    ]
    control = _select("L", depths, [f"L = {L}" for L in depths], "depth")
    chart = theme.beside(*panels).add_params(control).properties(datasets={"rows": records(rows)})
    chart = chart.resolve_scale(y="independent")
    table = pd.DataFrame([_index_slopes(rows, L, p) for L in depths for p in POWERS])
    away = (table["η_max, rich slope"] - table["2/(L−1+p)"]).abs().max()
    lazy = rows[(rows.gamma < 2e-4) & (depths[0] == rows.L)].set_index("power").floor
    summary = (
        f"On the rich side the largest convergent η climbs with slope 2/(L−1+p), within {away:.3f} for every L and p shown, "
        f"and on the lazy side with slope 2, within {(table['η_max, lazy slope'] - 2).abs().max():.3f}. There a share of "
        f"{lazy['p = 2']:.2f} (p = 2) and {lazy['p = 3']:.2f} (p = 3) of the loss cannot go; for p = 1 none stays."
    )
    words = (caption or "A target that is a function of the input.").rstrip()
    note = (
        f"{words} f = (w^(L−1)⟨u, x⟩^p − ⟨u₀, x⟩^p)/γ against ⟨a, x⟩^p, standard normal x; population loss ½E(f − y)² in "
        "closed form (MSE), full gradient, no seeds; one weight w shared by L − 1 layers, u a layer of its own; ⟨u₀, a⟩ = "
        f"{single_index.OVERLAP}. Points: simulated; largest convergent η: end of the contiguous stretch that ends within 0.01 "
        "of the initial loss above gradient flow's, 2,000 steps; escape: gradient flow, until a quarter of the loss that can "
        "go is left. Dashed: 2/λ* at gradient flow's end, elsewhere a guide through the points. The floor of p = 1 is 0 and "
        "is not drawn."
    )
    return figure(theme.finished(chart), summary, table, note, label)


def _index_rows(L: int, p: int) -> pd.DataFrame:
    gammas = np.logspace(-4, 4, 17)
    floor = single_index.floor(L, p, gammas)
    rows = {
        "gamma": gammas,
        "eta": single_index.convergent_eta(L, p, gammas),
        "critical": single_index.critical_eta(L, p, gammas),
        "escape": single_index.escape_time(L, p, gammas) / gammas,
        "floor": np.where(floor > 1e-9, floor, np.nan),
    }
    return pd.DataFrame(rows).assign(L=L, power=f"p = {p}")


def _index_slopes(rows: pd.DataFrame, L: int, p: int) -> dict[str, Any]:
    mine = rows[(rows.L == L) & (rows.power == f"p = {p}")].set_index("gamma")
    lazy, rich = mine[mine.index < 1.1e-2], mine[mine.index > 0.99e2]

    def slope(here: pd.Series) -> float:
        return theory.slope(lambda gamma: here.to_numpy(), here.index.to_numpy())

    return {
        "L": L,
        "p": p,
        "η_max, lazy slope": slope(lazy.eta),
        "η_max, rich slope": slope(rich.eta),
        "2/(L−1+p)": 2 / single_index.degree(L, p),
        "escape, rich slope": slope(rich.escape * rich.index),
    }


# -- over a portrait ---------------------------------------------------------------------------------------------------

Curve = Callable[[np.ndarray], np.ndarray]


@with_sources
def model_overlay(portraits: Sequence[xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The model's η_crit and η_min laid over the measured η_max and η_min of portraits, shifted by one constant or by two.

    Where neither boundary was seen at four γ in any of them, the figure says so in words.

    Args:
        portraits: under MSE, each with its recipe in the attributes; the first is shown first.
    """
    rows, fits = [], []
    for runs in portraits:
        name = _network(runs)
        for boundary, (curve, window) in _overlaid(runs).items():
            measured = getattr(found, boundary.replace("η_", "eta_"))(runs)
            measured = measured.isel(budget=-1) if "budget" in measured.dims else measured
            if int((measured.notnull().any("seed") & (measured.gamma >= window[0])).sum()) < 4:
                continue
            for constants in (1, 2):
                laid = fit_overlay(measured, curve, window, bend=constants == 2)
                natural = natural_eta(laid.gamma.values, depth(runs))
                frame = laid.to_dataframe().reset_index().assign(natural=natural)
                rows.append(frame.assign(portrait=name, boundary=boundary, constants=constants))
                fits.append({"portrait": name, "boundary": boundary, "constants": constants, **laid.attrs})
    words = (caption or "The model's curves over measured portraits.").rstrip()
    if not rows:
        return say_nothing_drawn("Neither η_max nor η_min was seen at four γ.", portraits[0], words, label)
    table = pd.concat(rows, ignore_index=True)
    chart = _overlay_chart(table, list(dict.fromkeys(table.portrait)))
    fitted = pd.DataFrame(fits)
    note = (
        f"{words} Points: measured η_max and η_min (at the longest budget), geometric mean over seeds, bars from the lowest to "
        "the highest seed. Dashed: the model's 2/λ* and escape time (one shared weight; a constant factor such as L moves "
        "nothing here), raised by one constant C, or also moved sideways by a second, γ → γ/γ₀; fitted by least squares, η_max "
        "over all γ, η_min over γ ≥ 1, and drawn over all. Residual: log₁₀ of measured over model. "
        + " ".join([f"{_network(portraits[0])}: {conditions(portraits[0])}", *map(_differs, portraits[1:])])
    )
    numbers = fitted.rename(columns={"height": "C", "bend": "γ₀", "rms": "rms residual, decades"})
    return figure(theme.finished(chart), _overlay_summary(fitted), numbers, note, label)


def _network(runs: xr.Dataset) -> str:
    """A portrait's name in a few words."""
    made = recipe(runs)
    kind = "linear" if made.get("activation") == "linear" else str(made.get("activation", "")).replace("relu", "ReLU")
    return (
        f"{kind} {str(made.get('network', 'network')).upper()}, {made.get('task', 'unknown task')}, L = {depth(runs)}"
    )


def _differs(runs: xr.Dataset) -> str:
    """What a further portrait of a figure has of its own; all are under MSE and SGD."""
    made = recipe(runs)
    size = f"N = {made.get('width')}, B = {made.get('batch_size')}, T = {last_step(runs)}, {runs.sizes['seed']} seeds"
    return f"{_network(runs)}: {size}."


def _overlaid(runs: xr.Dataset) -> dict[str, tuple[Curve, tuple[float, float]]]:
    """The model's curve for each boundary of a portrait, and the γ over which it is fitted: all, or those of C3's claim.

    The escape ends where that portrait's runs count as learned.
    """
    L, level = depth(runs), 1 - float(np.sqrt(found.LEARNED_BELOW))
    return {
        "η_max": (lambda gamma: theory.critical_eta(L, gamma), (0.0, np.inf)),
        "η_min": (lambda gamma: theory.escape_time(L, gamma, "mse", level), (1.0, np.inf)),
    }


def _overlay_chart(table: pd.DataFrame, names: list[str]) -> Any:
    controls = [
        _select("portrait", names, names, "portrait"),
        alt.param(
            name="constants",
            value=1,
            bind=alt.binding_radio(options=[1, 2], labels=["height", "height and bend"], name="fitted "),
        ),
    ]
    here = alt.Chart(alt.NamedData(name="rows")).transform_filter(
        "datum.portrait == portrait && datum.constants == constants"
    )
    for field in ("measured", "low", "high", "model"):
        here = here.transform_calculate(**{f"{field}_y": f"datum.{field} / datum.natural"})
    low, high = theme.span(table.gamma, 1.3)
    x = _gamma_axis(low, high)
    ends = theme.span([*(table.low / table.natural), *(table.high / table.natural)], 2)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=theme.log_scale(*ends), axis=theme.log_axis(None, *ends))

    drawn = ["η_max", "η_min"]
    shape = alt.Shape(
        "boundary:N",
        scale=alt.Scale(domain=drawn, range=[_SHAPES[name] for name in drawn]),
        legend=shape_legend(theme.MEASURED),
    )
    upper = alt.layer(
        here.mark_line(**_DASHED).encode(x=x, y=y("model_y"), detail="boundary:N"),
        here.mark_rule(strokeWidth=1.2, color=theme.MEASURED).encode(x=x, y=y("low_y"), y2="high_y:Q"),
        here.mark_point(**_POINT).encode(x=x, y=y("measured_y"), shape=shape),
    ).properties(width=theme.PLANE, height=240, title="η ÷ natural η(γ)")
    far = float(np.ceil(table.residual.abs().max() * 5) / 5)
    residual = alt.Y("residual:Q", scale=alt.Scale(domain=[-far, far]), axis=alt.Axis(title=None, tickCount=6))
    lower = alt.layer(
        _level(0, residual),
        here.mark_point(**_POINT).encode(x=x, y=residual, shape=shape),
    ).properties(width=theme.PLANE, height=240, title="residual, decades")
    chart = theme.beside(upper, lower).add_params(*controls).resolve_scale(y="independent")
    return chart.properties(datasets={"rows": records(table)})


def _overlay_summary(fitted: pd.DataFrame) -> str:
    one, two = (fitted[fitted.constants == n] for n in (1, 2))
    ends = [f"{some.rms.min():.2f} to {some.rms.max():.2f} decades" for some in (one, two)]
    worst = two.loc[two.rms.idxmax()]
    return (
        f"Root mean square residual of the model's curve over {len(two)} boundaries: {ends[0]} with one constant, {ends[1]} "
        f"with two. With two it is farthest from {worst.boundary} of {worst.portrait}, its bend at γ₀ = "
        f"{theme.power_of_ten(worst.bend)}{_at_the_end(worst.bend)}."
    )


def _at_the_end(bend: float) -> str:
    return "" if 1.01 * BEND_WITHIN[0] < bend < BEND_WITHIN[1] / 1.01 else ", the end of its range"
