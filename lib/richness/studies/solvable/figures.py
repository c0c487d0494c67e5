"""The solvable model drawn: closed forms dashed, simulations as points, what parts them beneath; and both over a portrait.

Nothing here is read from a file but the portraits of `model_overlay`: the model is run while the page is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis import boundaries, theory
from richness.analysis.theory import catapult, sign_steps, single_index
from richness.networks.parameterization import natural_eta
from richness.plots import parts, theme
from richness.plots.captions import conditions, depth, last_step, recipe
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.plane import view_param
from richness.studies.solvable.overlay import BEND_WITHIN, fit_overlay

DEPTHS = (2, 3, 4, 6)
RULES = {"mse": "SGD, MSE", "cross_entropy": "SGD, cross-entropy", "signs": "SignSGD, either loss"}
_SHAPES = {"η_max": "triangle-up", "η_crit": "square", "η_min": "triangle-down"}
_MODEL = (
    "The solvable model: one example, one weight w shared by all L layers, f = (w^L − 1)/γ, target 1, full gradient, no "
    "seeds."
)
_STRAIGHT = "view == 'straightened'"


def _depth_menu(depths: Sequence[int]) -> alt.Parameter:
    return parts.menu("L", depths, "depth", [f"L = {L}" for L in depths])


def _boundary_shapes(names: Iterable[str]) -> alt.Shape:
    legend = parts.shape_legend(theme.MEASURED)
    return parts.shapes("boundary", list(names), legend, [_SHAPES[name] for name in names])


def _simulated_points(data: alt.Chart, x: alt.X, y: alt.Y, **channels: Any) -> alt.Chart:
    """What the model's runs gave: of no γ's colour, and outlined in white, so that the dashes show beneath."""
    mark = data.mark_point(size=34, filled=False, fill=theme.MEASURED, stroke="white", strokeWidth=0.6, clip=True)
    return mark.encode(x=x, y=y, **channels)


def _asymptote_line(data: alt.Chart, x: alt.X, y: alt.Y) -> alt.Chart:
    return data.mark_line(stroke=theme.MIDDLE, strokeWidth=1.4, clip=True).encode(x=x, y=y)


def _rows_of(make: Callable[..., pd.DataFrame], depths: Sequence[int], kinds: Sequence[Any]) -> pd.DataFrame:
    """The rows of every depth in every kind (a loss, a rule, a power)."""
    return pd.concat([make(L, kind) for L in depths for kind in kinds], ignore_index=True)


# -- boundaries --------------------------------------------------------------------------------------------------------

_BOUNDARY_NOTE = (
    f"{_MODEL} Dashed: closed forms, η_crit = 2/λ* and η_min = escape time/T. Points: simulated; η_crit: the "
    f"end of the contiguous stretch of η with |f − 1| < {theory.CONVERGED_WITHIN:g} after 1,000 steps; η_min: a simulated "
    "escape to f = ½ by small steps, over T; η_max under cross-entropy: the largest η whose |f| stays below 10¹² for "
    "300 steps, for γ ≤ 0.1, beside the slope 1. SignSGD: both ends of the band within ½ of the target, simulated at "
    "T = 300, from 16 phases of the stride. Loss: MSE, ½(f − 1)², or cross-entropy in nats with its minimum at f = 1. With "
    "L separate weights η_crit and η_min are L times as large under SGD. Straightened: η over γ²(1+γ)^(2/L−2), or its root "
    "for SignSGD."
)


@with_sources
def model_boundaries(depths: Sequence[int] = DEPTHS, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The model's boundaries against γ, simulated and in closed form, with their ratio; choose L, the rule and T.

    η_crit = 2/λ* against the largest η that converges; η_min = escape time/T against a simulated escape; under
    cross-entropy also the largest η that stays bounded, for which only a slope is predicted; SignSGD's two edges.
    """
    points, lines = (_rows_of(make, depths, list(RULES)) for make in (_boundary_points, _boundary_lines))
    x = parts.log_x((float(points.gamma.min()), float(lines.gamma.max())), "γ, richness")("gamma")
    tooltip = parts.tooltip({"boundary:N": "boundary", "gamma": "γ", "ratio": ("simulated ÷ closed form", ".4~g")})
    said = {"shape": _boundary_shapes(_SHAPES), "tooltip": tooltip}
    panels = [_boundary_panel(x, said), _ratio_panel(x, said)]
    chart = parts.join_panels(panels, _boundary_controls(depths), points=points, lines=lines)
    note = f"{parts.first_words(caption, 'The boundaries of the solvable model.')} {_BOUNDARY_NOTE}"
    table = points[["L", "rule", "boundary", "gamma", "value", "closed", "ratio"]]
    table = table.rename(columns={"gamma": "γ", "value": "simulated (η_min: at T = 1)", "closed": "closed form"})
    return figure(chart.resolve_scale(y="independent"), _boundary_summary(points, depths), table, note, label)


def _boundary_controls(depths: Sequence[int]) -> list[alt.Parameter]:
    return [
        _depth_menu(depths),
        parts.menu("rule", list(RULES), "rule", list(RULES.values())),
        parts.slider("log_T", 1, 6, 0.25, "log10 T, steps", 3),
        view_param("straightened"),
    ]


def _chosen_boundaries(name: str) -> alt.Chart:
    """Points or lines of the chosen depth and rule, with η as it is drawn."""
    steps = "datum.boundary == 'η_min' ? pow(10, log_T) : 1"
    here = parts.chart_named(name).transform_filter("datum.L == L && datum.rule == rule")
    return here.transform_calculate(eta=f"datum.value * ({_STRAIGHT} ? 1 / datum.natural : 1) / ({steps})")


def _boundary_panel(x: alt.X, said: dict[str, Any]) -> Any:
    scale = parts.switched_scale(_STRAIGHT, (1e-7, 1e5), (1e-13, 1e5))
    y = parts.y_on(scale, theme.log_axis(None, 1e-13, 1e5, every=2))("eta")
    return parts.panel(
        parts.theory_line(_chosen_boundaries("lines"), x, y, detail="boundary:N"),
        _simulated_points(_chosen_boundaries("points"), x, y, **said),
        title=alt.TitleParams(text=alt.ExprRef(f"{_STRAIGHT} ? 'η ÷ natural η(γ)' : 'η, learning rate'")),
        height=260,
    )


def _ratio_panel(x: alt.X, said: dict[str, Any]) -> Any:
    scale = parts.switched_scale("rule == 'signs'", (0.9, 1.25), (0.98, 1.02), "linear")
    y = parts.y_on(scale, alt.Axis(title=None, tickCount=5))
    known = _chosen_boundaries("points").transform_filter("isValid(datum.ratio)")
    marks = _simulated_points(known, x, y("ratio"), **said)
    return parts.panel(parts.level_rule(1, y, clip=True), marks, title="simulated ÷ closed form", height=260)


def _boundary_summary(points: pd.DataFrame, depths: Sequence[int]) -> str:
    sure = points.dropna(subset=["ratio"])
    sgd, signs = sure[sure.rule != "signs"].ratio, sure[sure.rule == "signs"].ratio
    return (
        f"Over {len(sure)} boundaries, depths {', '.join(map(str, depths))}, simulation divided by the closed form lies "
        f"between {sgd.min():.4f} and {sgd.max():.4f} for SGD, and between {signs.min():.3f} and {signs.max():.3f} for "
        "SignSGD, whose walk ends on a lattice."
    )


def _boundary_points(L: int, rule: str) -> pd.DataFrame:
    """Simulated boundaries of one depth and rule: boundary, gamma, value, closed, ratio, natural."""
    gammas, steps = np.geomspace(1e-4, 1e5, 19), 300
    if rule == "signs":
        low, high = sign_steps.simulated_band(L, gammas, steps)
        values = {"η_max": high, "η_min": low * steps}
    else:
        values = {
            "η_crit": theory.simulated_boundary(L, gammas, rule),
            "η_min": theory.simulated_escape_time(L, gammas, rule),
        }
    closed = _closed_forms(L, rule, gammas)
    frames = [_boundary_rows(name, gammas, value, closed[name]) for name, value in values.items()]
    if rule == "cross_entropy":
        lazy = gammas[gammas < 0.11]
        frames.append(_boundary_rows("η_max", lazy, _bounded_eta(L, lazy), np.full(lazy.shape, np.nan)))
    return _identified(pd.concat(frames), L, rule)


def _boundary_lines(L: int, rule: str) -> pd.DataFrame:
    """Closed forms of one depth and rule on a finer grid; for cross-entropy's η_max a line of slope 1."""
    gammas = np.geomspace(1e-4, 1e6, 41)
    frames = [_boundary_rows(name, gammas, value, value) for name, value in _closed_forms(L, rule, gammas).items()]
    if rule == "cross_entropy":
        lazy = np.geomspace(1e-4, 0.1, 7)
        line = lazy * np.exp(np.mean(np.log(_bounded_eta(L, lazy) / lazy)))
        frames.append(_boundary_rows("η_max", lazy, line, line))
    return _identified(pd.concat(frames), L, rule).drop(columns=["closed", "ratio"])


def _closed_forms(L: int, rule: str, gammas: np.ndarray) -> dict[str, np.ndarray]:
    """The boundaries that have one; η_min at T = 1."""
    if rule == "signs":
        return {"η_max": sign_steps.largest_eta(L, gammas), "η_min": sign_steps.minimal_eta(L, gammas, 1)}
    return {"η_crit": theory.critical_eta(L, gammas, rule), "η_min": theory.escape_time(L, gammas, rule)}


def _bounded_eta(L: int, gammas: np.ndarray) -> np.ndarray:
    """The largest η that stays bounded under cross-entropy."""
    return theory.simulated_boundary(L, gammas, "cross_entropy", steps=300, criterion="bounded")


def _boundary_rows(name: str, gammas: np.ndarray, value: np.ndarray, closed: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"boundary": name, "gamma": gammas, "value": value, "closed": closed, "ratio": value / closed})


def _identified(rows: pd.DataFrame, L: int, rule: str) -> pd.DataFrame:
    natural = natural_eta(rows.gamma.to_numpy(), L, "signsgd" if rule == "signs" else "sgd")
    return rows.assign(L=L, rule=rule, natural=natural)


# -- escape ------------------------------------------------------------------------------------------------------------

_ESCAPE_NOTE = (
    f"{_MODEL} The plateau counts as left at f = ½. Dashed: the exact integral; points: simulated in about 2,000 "
    "small steps; grey: the asymptote, γ/(L(L−2)) for L > 2 and (γ/4)·log(1+γ) for L = 2, divided by 0.231 under "
    "cross-entropy. Right: what it lacks, beside the predicted slope −(L−2)/L (L = 2: −1), in grey, through the last "
    "point. MSE is ½(f − 1)²; cross-entropy in nats. With L separate weights the escape takes L times as long."
)


@with_sources
def model_escape(depths: Sequence[int] = DEPTHS, *, caption: str | None = None, label: str | None = None) -> Figure:
    """The escape from the plateau: its time over γ, exact, simulated and asymptotic; and how slowly the last is reached."""
    lines, points = (_rows_of(make, depths, theory.LOSSES) for make in (_escape_lines, _escape_points))
    losses = parts.menu("loss", theory.LOSSES, "loss", [RULES[loss].removeprefix("SGD, ") for loss in theory.LOSSES])
    x = parts.log_x((float(lines.gamma.min()), float(lines.gamma.max())), "γ, richness")("gamma")
    chart = parts.join_panels(_escape_panels(x), [_depth_menu(depths), losses], lines=lines, points=points)
    table = points[["L", "loss", "gamma", "exact", "simulated", "asymptote"]]
    table = table.rename(
        columns={"gamma": "γ", "exact": "exact ÷ γ", "simulated": "simulated ÷ γ", "asymptote": "asymptote ÷ γ"}
    )
    note = f"{parts.first_words(caption, 'The escape from the plateau.')} {_ESCAPE_NOTE}"
    return figure(chart, _escape_summary(lines, points), table, note, label)


def _escape_panels(x: alt.X) -> list[Any]:
    lines, points = (
        parts.chart_named(name).transform_filter("datum.L == L && datum.loss == loss") for name in ("lines", "points")
    )
    y, gap = parts.y_on(alt.Scale(zero=True), alt.Axis(title=None, tickCount=5)), parts.log_y((1e-6, 2))
    left = parts.panel(
        _asymptote_line(lines, x, y("asymptote")),
        parts.theory_line(lines, x, y("exact")),
        _simulated_points(points, x, y("simulated")),
        title="η·t of the escape, over γ",
    )
    right = parts.panel(
        _asymptote_line(lines, x, gap("slope")),
        parts.theory_line(lines.transform_filter("datum.gap > 0"), x, gap("gap")),
        title="1 − exact ÷ asymptote",
    )
    return [left, right]


def _escape_summary(lines: pd.DataFrame, points: pd.DataFrame) -> str:
    ratio = points.simulated / points.exact
    hundred = 1 - float(theory.escape_time(3, 100.0) / theory.escape_time_asymptote(3, 100.0))
    two = lines[(lines.L == 2) & (lines.loss == "mse")].set_index("gamma").exact
    return (
        f"The simulated escape is within {np.abs(ratio - 1).max():.2%} of the exact integral at every depth, loss and γ. At "
        f"L = 2 and MSE the time over γ has not settled: it grows from {two.loc[1.0]:.2f} at γ = 1 to {two.iloc[-1]:.2f} at "
        f"γ = {theme.power_of_ten(two.index[-1])}. At L = 3 it settles, and is still {hundred:.0%} short of its limit at γ = "
        "100."
    )


def _escape_lines(L: int, loss: str) -> pd.DataFrame:
    gammas = np.logspace(-2, 8, 41)
    exact, limit = theory.escape_time(L, gammas, loss), theory.escape_time_asymptote(L, gammas, loss)
    gap, decay = 1 - exact / limit, (L - 2) / L if L > 2 else 1.0
    slope = np.abs(gap[-1]) * (gammas / gammas[-1]) ** -decay
    rows = {"gamma": gammas, "exact": exact / gammas, "asymptote": limit / gammas, "gap": gap, "slope": slope}
    return pd.DataFrame(rows).assign(L=L, loss=loss)


def _escape_points(L: int, loss: str) -> pd.DataFrame:
    gammas = np.logspace(-2, 8, 11)
    times: dict[str, Callable[..., Any]] = {
        "exact": theory.escape_time,
        "simulated": theory.simulated_escape_time,
        "asymptote": theory.escape_time_asymptote,
    }
    rows = {name: time(L, gammas, loss) / gammas for name, time in times.items()}
    return pd.DataFrame({"gamma": gammas, **rows}).assign(L=L, loss=loss)


# -- the catapult ------------------------------------------------------------------------------------------------------

_STARTS = {"(2, 0.1)": catapult.UNBALANCED, "(1, 1)": catapult.BALANCED}
_FACTORS = (0.5, 0.9, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.1)  # of 2/λ₀: the η that can be chosen
_THROWN = _FACTORS.index(1.5)  # the η shown at first
_STEPS = 60


@with_sources
def model_catapult(gamma: float = 0.01, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Two weights thrown beyond 2/λ₀: loss and sharpness of a run, for a chosen start and η, and where runs land at all."""
    curves = pd.concat([_catapult_curves(name, gamma) for name in _STARTS], ignore_index=True)
    landed = pd.concat([_landing(name) for name in _STARTS], ignore_index=True)
    controls = [
        parts.menu("start", list(_STARTS), "start", [f"(u₀, v₀) = {name}" for name in _STARTS]),
        parts.menu("place", range(len(_FACTORS)), "η", [f"{factor:g} × 2/λ₀" for factor in _FACTORS], _THROWN),
    ]
    chart = parts.join_panels([_run_panels(), _landing_panel(landed)], controls, curves=curves)
    chart = chart.resolve_scale(x="independent", y="independent")
    note = (
        f"{parts.first_words(caption, 'The catapult of two weights.')} f = (uv − u₀v₀)/γ, target 1, MSE ½(f − 1)², one "
        "example, two separate weights (L = 2), full gradient, no "
        f"seeds. Left, one run at γ = {gamma:g}; λ = (u² + v²)/γ². Right, the topmost η that converges (|f − 1| < 10⁻³ after "
        "1,000 steps), over 2/λ₀, as points; dashed: min(4/λ₀, γ²/|u₀v₀ + γ|) over 2/λ₀; red: 2/λ₀ itself."
    )
    table = landed.rename(columns={"gamma": "γ", "topmost": "topmost η ÷ (2/λ₀)"})
    return figure(chart, _catapult_summary(gamma, curves, landed), table, note, label)


def _catapult_summary(gamma: float, curves: pd.DataFrame, landed: pd.DataFrame) -> str:
    thrown = curves[(curves.start == "(2, 0.1)") & (curves.place == _THROWN)]
    say, last = theme.power_of_ten, float(thrown.loss.iloc[-1])
    far = landed[landed.gamma < 0.11].groupby("start").topmost.agg(["min", "max"])
    said = " and ".join(
        f"from {start} up to {far.loc[start, 'min']:.2f} to {far.loc[start, 'max']:.2f} times" for start in _STARTS
    )
    return (
        f"At γ = {say(gamma)} and η = 1.5 × 2/λ₀ from (2, 0.1), the loss rises from 0.5 to {say(thrown.loss.max())} and comes "
        f"down to {'less than 10⁻⁸' if last < 1e-8 else say(last)}; η·λ falls from {thrown.sharpness.iloc[0]:.1f} to "
        f"{thrown.sharpness.iloc[-1]:.2f}. For γ up to 0.1 runs converge {said} 2/λ₀."
    )


def _catapult_curves(name: str, gamma: float) -> pd.DataFrame:
    """Loss and sharpness × η of the runs from one start, a row a step."""
    start = _STARTS[name]
    etas = 2 / catapult.initial_sharpness(start, gamma) * np.array(_FACTORS)
    run = catapult.simulate(start, gamma, etas, _STEPS, record=True)
    assert run.loss_history is not None and run.sharpness_history is not None
    shape = run.loss_history.shape  # (step, η)
    steps, places = np.indices(shape)
    columns = {"place": places, "t": steps, "loss": run.loss_history, "sharpness": etas * run.sharpness_history}
    rows = pd.DataFrame({key: values.T.ravel() for key, values in columns.items()})
    return rows.assign(start=name)[["start", *columns]].dropna()


def _landing(name: str) -> pd.DataFrame:
    gammas, start = np.geomspace(1e-4, 1, 17), _STARTS[name]
    threshold, top = catapult.window(start, gammas)
    topmost = catapult.convergent_eta(start, gammas) / threshold
    predicted = np.minimum(top, catapult.stable_eta(start, gammas)) / threshold
    return pd.DataFrame({"start": name, "gamma": gammas, "topmost": topmost, "predicted": predicted})


def _run_panels() -> Any:
    """Loss and sharpness of the chosen run, one below the other."""
    mine = parts.chart_named("curves").transform_filter("datum.start == start && datum.place == place")
    curve = mine.mark_line(stroke=theme.LAZY, clip=True)
    x = parts.x_on(alt.Scale(domain=[0, _STEPS]), alt.Axis(title="steps t", tickCount=6))("t")
    loss, sharp = parts.log_y((1e-8, 1e6), every=2), parts.y_on(alt.Scale(domain=[0, 4.5]), _five_ticks())
    upper = curve.transform_filter("datum.loss > 0").encode(x=x, y=loss("loss"))
    lower = parts.panel(
        parts.stability_rule(2, sharp),
        curve.encode(x=x, y=sharp("sharpness")),
        title="η·λ (red: 2, the stability line)",
        height=150,
    )
    return alt.vconcat(upper.properties(width=theme.PLANE, height=150, title="loss"), lower)


def _five_ticks() -> alt.Axis:
    return alt.Axis(title=None, tickCount=5)


def _landing_panel(landed: pd.DataFrame) -> Any:
    data = parts.chart_of(landed)
    x, y = parts.gamma_x([1e-4, 1], 1), parts.y_on(alt.Scale(domain=[0, 2.2]), _five_ticks())
    shape = parts.shapes("start", list(_STARTS), parts.shape_legend(theme.MEASURED), ["triangle-up", "circle"])
    return parts.panel(
        parts.stability_rule(1, y),
        parts.theory_line(data, x, y("predicted"), detail="start:N"),
        _simulated_points(data, x, y("topmost"), shape=shape),
        title="largest η that converges ÷ (2/λ₀)",
        height=346,
    )


# -- a single-index target ---------------------------------------------------------------------------------------------

POWERS = (1, 2, 3)
_INDEX_NOTE = (
    "f = (w^(L−1)⟨u, x⟩^p − ⟨u₀, x⟩^p)/γ against ⟨a, x⟩^p, standard normal x; population loss ½E(f − y)² in "
    "closed form (MSE), full gradient, no seeds; one weight w shared by L − 1 layers, u a layer of its own; ⟨u₀, a⟩ = "
    f"{single_index.OVERLAP}. Points: simulated; largest convergent η: end of the contiguous stretch that ends within 0.01 "
    "of the initial loss above gradient flow's, 2,000 steps; escape: gradient flow, until a quarter of the loss that can "
    "go is left. Dashed: 2/λ* at gradient flow's end, elsewhere a guide through the points. The floor of p = 1 is 0 and "
    "is not drawn."
)


@with_sources
def model_single_index(
    depths: Sequence[int] = (2, 3), *, caption: str | None = None, label: str | None = None
) -> Figure:
    """A target ⟨a, x⟩^p: largest convergent η, escape time and the loss that must stay, for p = 1, 2, 3; choose L."""
    rows = _rows_of(_index_rows, depths, POWERS)
    x = parts.gamma_x(rows.gamma, 1)
    eta, escape = parts.log_y(theme.span(rows.critical, 4), every=2), parts.log_y(theme.span(rows.escape, 3))
    panels = [
        _index_panel("largest convergent η", x, eta("eta"), eta("critical")),
        _index_panel("η·t of the escape, over γ", x, escape("escape"), escape("escape")),
        _index_panel("loss that stays ÷ initial loss", x, *[parts.log_y((1e-9, 2))("floor")] * 2),
    ]
    chart = parts.join_panels(panels, [_depth_menu(depths)], rows=rows).resolve_scale(y="independent")
    table = pd.DataFrame([_index_slopes(rows, L, p) for L in depths for p in POWERS])
    note = f"{parts.first_words(caption, 'A target that is a function of the input.')} {_INDEX_NOTE}"
    summary = _index_summary(rows[depths[0] == rows.L], table)
    return figure(chart, summary, table, note, label)


def _index_panel(title: str, x: alt.X, points: alt.Y, line: alt.Y) -> Any:
    """Points and their line, of two fields of the rows on one axis."""
    here = parts.chart_named("rows").transform_filter("datum.L == L")
    drawn, dashed = (here.transform_filter(f"datum.{str(y.shorthand).removesuffix(':Q')} > 0") for y in (points, line))
    shape = parts.shapes("power", [f"p = {p}" for p in POWERS], parts.shape_legend(theme.MEASURED))
    return parts.panel(
        parts.theory_line(dashed, x, line, detail="power:N"),
        _simulated_points(drawn, x, points, shape=shape),
        title=title,
        height=200,
    )


def _index_summary(rows: pd.DataFrame, table: pd.DataFrame) -> str:
    """Args: rows: of the first depth."""
    away = (table["η_max, rich slope"] - table["2/(L−1+p)"]).abs().max()
    lazy = rows[rows.gamma < 2e-4].set_index("power").floor
    return (
        f"On the rich side the largest convergent η climbs with slope 2/(L−1+p), within {away:.3f} for every L and p shown, "
        f"and on the lazy side with slope 2, within {(table['η_max, lazy slope'] - 2).abs().max():.3f}. There a share of "
        f"{lazy['p = 2']:.2f} (p = 2) and {lazy['p = 3']:.2f} (p = 3) of the loss cannot go; for p = 1 none stays."
    )


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
    return {
        "L": L,
        "p": p,
        "η_max, lazy slope": _slope(lazy.eta),
        "η_max, rich slope": _slope(rich.eta),
        "2/(L−1+p)": 2 / single_index.degree(L, p),
        "escape, rich slope": _slope(rich.escape * rich.index),
    }


def _slope(curve: pd.Series) -> float:
    """Of a quantity in γ, its index, on logarithmic axes."""
    return theory.slope(lambda gamma: curve.to_numpy(), curve.index.to_numpy())


# -- over a portrait ---------------------------------------------------------------------------------------------------

_OVERLAY_NOTE = (
    "Points: measured η_max and η_min (at the longest budget), geometric mean over seeds, bars from the lowest to "
    "the highest seed. Dashed: the model's 2/λ* and escape time (one shared weight; a constant factor such as L moves "
    "nothing here), raised by one constant C, or also moved sideways by a second, γ → γ/γ₀; fitted by least squares, η_max "
    "over all γ, η_min over γ ≥ 1, and drawn over all. Residual: log₁₀ of measured over model."
)


class _Overlay(NamedTuple):
    """The model's curve over one boundary, fitted by one constant or by two."""

    portrait: str
    boundary: str
    constants: int
    natural: np.ndarray
    fit: xr.Dataset

    @property
    def where(self) -> dict[str, Any]:
        return {"portrait": self.portrait, "boundary": self.boundary, "constants": self.constants}


@with_sources
def model_overlay(portraits: Sequence[xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The model's η_crit and η_min laid over the measured η_max and η_min of portraits, shifted by one constant or by two.

    Where neither boundary was seen at four γ in any of them, the figure says so in words.

    Args:
        portraits: under MSE, each with its recipe in the attributes; the first is shown first.
    """
    overlays = [overlay for runs in portraits for overlay in _overlays(runs)]
    words = parts.first_words(caption, "The model's curves over measured portraits.")
    if not overlays:
        return parts.say_nothing_drawn("Neither η_max nor η_min was seen at four γ.", portraits[0], words, label)
    fits = pd.DataFrame([overlay.where | overlay.fit.attrs for overlay in overlays])
    told = [f"{_network(portraits[0])}: {conditions(portraits[0])}", *map(_differs, portraits[1:])]
    numbers = fits.rename(columns={"height": "C", "bend": "γ₀", "rms": "rms residual, decades"})
    note = f"{words} {_OVERLAY_NOTE} {' '.join(told)}"
    return figure(_overlay_chart(overlays), _overlay_summary(fits), numbers, note, label)


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


def _overlays(runs: xr.Dataset) -> list[_Overlay]:
    """Both boundaries of a portrait, where they were seen at four γ: η_max fitted over all γ, η_min over those of C3's claim.

    The model's escape ends where that portrait's runs count as learned.
    """
    L, level = depth(runs), 1 - float(np.sqrt(boundaries.LEARNED_BELOW))
    plan: dict[str, tuple[xr.DataArray, Callable[[np.ndarray], np.ndarray], tuple[float, float]]] = {
        "η_max": (boundaries.eta_max(runs), lambda gamma: theory.critical_eta(L, gamma), (0.0, np.inf)),
        "η_min": (boundaries.eta_min(runs), lambda gamma: theory.escape_time(L, gamma, "mse", level), (1.0, np.inf)),
    }
    made = []
    for name, (measured, curve, window) in plan.items():
        measured = measured.isel(budget=-1) if "budget" in measured.dims else measured
        if int((measured.notnull().any("seed") & (measured.gamma >= window[0])).sum()) >= 4:
            for constants in (1, 2):
                fit = fit_overlay(measured, curve, window, bend=constants == 2)
                made.append(_Overlay(_network(runs), name, constants, natural_eta(fit.gamma.values, L), fit))
    return made


def _overlay_chart(overlays: Sequence[_Overlay]) -> Any:
    frames = [one.fit.to_dataframe().reset_index().assign(natural=one.natural, **one.where) for one in overlays]
    rows = pd.concat(frames, ignore_index=True)
    controls = [
        parts.menu("portrait", list(dict.fromkeys(rows.portrait)), "portrait"),
        parts.radio("constants", [1, 2], "fitted", ["height", "height and bend"]),
    ]
    chosen = "datum.portrait == portrait && datum.constants == constants"
    here, x = parts.chart_named("rows").transform_filter(chosen), parts.gamma_x(rows.gamma)
    shape = _boundary_shapes(("η_max", "η_min"))
    panels = [_straight_panel(rows, here, x, shape), _residual_panel(rows, here, x, shape)]
    return parts.join_panels(panels, controls, rows=rows).resolve_scale(y="independent")


def _straight_panel(rows: pd.DataFrame, here: alt.Chart, x: alt.X, shape: alt.Shape) -> Any:
    for field in ("measured", "low", "high", "model"):
        here = here.transform_calculate(**{f"{field}_y": f"datum.{field} / datum.natural"})
    y = parts.log_y(theme.span([*(rows.low / rows.natural), *(rows.high / rows.natural)], 2))
    return parts.panel(
        parts.theory_line(here, x, y("model_y"), detail="boundary:N"),
        parts.intervals(here, x, y, "low_y", "high_y", color=alt.value(theme.MEASURED)),
        _simulated_points(here, x, y("measured_y"), shape=shape),
        title="η ÷ natural η(γ)",
        height=240,
    )


def _residual_panel(rows: pd.DataFrame, here: alt.Chart, x: alt.X, shape: alt.Shape) -> Any:
    far = float(np.ceil(rows.residual.abs().max() * 5) / 5)
    y = parts.y_on(alt.Scale(domain=[-far, far]), alt.Axis(title=None, tickCount=6))
    marks = _simulated_points(here, x, y("residual"), shape=shape)
    return parts.panel(parts.level_rule(0, y, clip=True), marks, title="residual, decades", height=240)


def _overlay_summary(fits: pd.DataFrame) -> str:
    one, two = (fits[fits.constants == n] for n in (1, 2))
    ends = [f"{some.rms.min():.2f} to {some.rms.max():.2f} decades" for some in (one, two)]
    worst = two.loc[two.rms.idxmax()]
    at_the_end = "" if 1.01 * BEND_WITHIN[0] < worst.bend < BEND_WITHIN[1] / 1.01 else ", the end of its range"
    return (
        f"Root mean square residual of the model's curve over {len(two)} boundaries: {ends[0]} with one constant, {ends[1]} "
        f"with two. With two it is farthest from {worst.boundary} of {worst.portrait}, its bend at γ₀ = "
        f"{theme.power_of_ten(worst.bend)}{at_the_end}."
    )
