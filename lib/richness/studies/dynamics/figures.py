"""The dynamics as figures: one run on one time axis under a movable rule, the catapult's band, plateaus, the collapse in τ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis import theory
from richness.analysis.boundaries import CONVERGED_BELOW
from richness.plots import theme
from richness.plots.cells import conditions, records
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import say_nothing_drawn
from richness.runs.results import STATUS
from richness.studies.dynamics import analysis as found

__all__ = ["catapult_band", "collapse_figure", "plateaus", "scrubber"]

RUNS = alt.NamedData(name="runs")
_LOSS_POINTS = 40  # of each loss curve that is drawn
_LOSS_FLOOR = 3e-3  # of the initial loss: further down nothing is left to be seen of the others
_TAU = "clock == 'tau'"

#: The panels under one time axis: field, title, height, log scale?
_PANELS = (
    ("loss", "training loss ÷ initial", 120, True),
    ("ratio", "λ_max ÷ (2/lr_raw), red: stability line", 110, True),
    ("align", "alignment of the kernel with the target", 66, False),
    ("rank", "rank of the last hidden features", 66, True),
    ("change", "change of the kernel, 1 − cos", 66, False),
)


# -- one run under a rule ----------------------------------------------------------------------------------------------


@with_sources
def scrubber(
    runs: xr.Dataset | Mapping[str, xr.Dataset],
    *,
    seed: int | None = None,
    first: int = 0,
    at: float | None = None,
    clock: str = "t",
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """Loss, λ_max, alignment, feature rank and kernel change of a run, on one time axis with a rule that a slider moves.

    Above each panel stands its value under the rule. The run is chosen from a list; the others stay in the background,
    in the colour of their γ.

    Args:
        runs: results with the probes sharpness, ntk_alignment, feature_rank and kernel_change; several under their names.
            Every γ, η that stayed finite is in the list.
        seed: whose runs; the first of each result by default. An actual run, no mean.
        first: the place in the list of the run shown first. at: the step at which the rule stands first; √T if None.
        clock: the time axis at first, "t" or "tau".

    Raises:
        ValueError: a probe is missing.
    """
    sources = {"": runs} if isinstance(runs, xr.Dataset) else dict(runs)
    rows = [row for name, result in sources.items() for row in _runs_of(result, name, seed)]
    one = next(iter(sources.values()))
    words = (caption or "One run on one time axis.").rstrip()
    if not rows:
        return say_nothing_drawn("No run stayed finite, so that there is none to look at.", one, words, label)
    for place, row in enumerate(rows):
        row["run"] = place
    last = max(row["t"][-1] for row in rows)
    rule = np.log10(at or last**0.5)
    params = [
        alt.param(
            name="run", value=min(first, len(rows) - 1),
            bind=alt.binding_select(options=[row["run"] for row in rows], labels=[row["name"] for row in rows], name="run"),
        ),
        alt.param(
            name="now", value=round(float(rule), 2),
            bind=alt.binding_range(min=0, max=round(float(np.log10(last)), 2), step=0.02, name="log10 step"),
        ),
        alt.param(
            name="clock", value=clock,
            bind=alt.binding_radio(options=["t", "tau"], labels=["steps t", "τ = ηt/γ"], name="clock"),
        ),
    ]  # fmt: skip
    x = _time_axis(rows)
    panels = [_panel(rows, x, *panel) for panel in _PANELS]
    left, right = alt.vconcat(_headline(), *panels[:2], spacing=8), alt.vconcat(*panels[2:], spacing=8)
    chart = theme.beside(left, right).add_params(*params).properties(datasets={"runs": rows})
    chart = chart.resolve_scale(color="independent", x="independent", y="independent")
    told = "; ".join(
        f"{name}: {conditions(result)}" if name else conditions(result) for name, result in sources.items()
    )
    note = (
        f"{words} Every curve is one run, of the first seed unless said, loss and all; the rule is moved by the slider, and "
        "above each panel stands the chosen run's value at the nearest measured step. λ_max: largest Hessian eigenvalue of "
        "the loss as trained, over its stability line 2/lr_raw. Alignment: centred, of the neural tangent kernel with the "
        "targets, from 0 to 1. Rank: participation ratio of the last hidden layer's pre-activations. The runs in the "
        f"background are the others of the list; blue lazy, orange rich. {told}"
    )
    return figure(theme.finished(chart), _scrubber_summary(rows), _scrubber_table(rows), note, label)


def _runs_of(runs: xr.Dataset, name: str, seed: int | None) -> list[dict[str, Any]]:
    """One row a run of one seed: its name, γ, η, and its curves as lists."""
    missing = [probe for probe in ("sharpness", "ntk_alignment", "feature_rank", "kernel_change") if probe not in runs]
    if missing:
        raise ValueError(
            f"a scrubber needs the probes {', '.join(missing)} too: run the sweep with probes that hold them."
        )
    one = runs.isel(seed=0) if seed is None else runs.sel(seed=seed)
    ratio = found.stability_ratio(runs).sel(seed=one.seed)
    steps, probed = one.step.values.astype(int), ratio.step.values.astype(int)
    kept = np.unique(
        np.concatenate([np.linspace(1, steps.size - 1, _LOSS_POINTS).astype(int), np.searchsorted(steps, probed)])
    )
    kept = kept[steps[kept] > 0]
    rows = []
    for gamma in one.gamma.values:
        for eta in one.eta.values:
            run = one.sel(gamma=gamma, eta=eta)
            if int(run.status) != STATUS["ok"]:
                continue
            at = run.sel(step=probed[probed > 0])
            said = f"γ = {theme.power_of_ten(gamma)}, η = {theme.power_of_ten(eta)}"
            curves = {
                "loss": (run.loss / run.initial_loss).values[kept],
                "ratio": ratio.sel(gamma=gamma, eta=eta, step=at.step).values,
                "align": at.ntk_alignment.values,
                "rank": at.feature_rank.isel(hidden=-1).values,
                "change": at.kernel_change.values,
            }
            rows.append(
                {"name": f"{name}, {said}" if name else said, "gamma": float(gamma), "eta": theme.significant(eta),
                 "log_gamma": round(float(np.log10(gamma)), 3), "rate": theme.significant(eta / gamma, 6),
                 "t": steps[kept].tolist(), "s": at.step.values.tolist()}
                | {key: [theme.significant(v) for v in values] for key, values in curves.items()}
            )  # fmt: skip
    return rows


def _time_axis(rows: list[dict[str, Any]]) -> alt.X:
    last = float(max(row["t"][-1] for row in rows))
    tau = (min(row["rate"] for row in rows), max(row["rate"] * row["t"][-1] for row in rows))
    ends = [alt.ExprRef(f"{_TAU} ? {a} : {b}") for a, b in zip(map(theme.significant, tau), (1.0, last), strict=True)]
    axis = theme.log_axis(None, min(tau[0], 1.0), max(tau[1], last), every=1)
    return alt.X("x:Q", scale=alt.Scale(type="log", domain=ends, nice=False), axis=axis)


def _values(rows: list[dict[str, Any]], field: str) -> np.ndarray:
    return np.array([v for row in rows for v in row[field] if v is not None], dtype=float)


def _curves(field: str) -> Any:
    """The curves of all runs, one row a step."""
    time = "t" if field == "loss" else "s"
    chart = alt.Chart(RUNS).transform_flatten([time, field])
    return chart.transform_calculate(
        x=f"{_TAU} ? datum.{time} * datum.rate : datum.{time}", away=f"abs(log(datum.{time}) / LN10 - now)"
    ).transform_filter(f"isValid(datum.{field})")


def _panel(rows: list[dict[str, Any]], x: alt.X, field: str, title: str, height: int, log: bool) -> Any:
    values = _values(rows, field)
    if log:
        ends = theme.span(np.append(values, [0.5, 1.5] if field == "ratio" else []), 1.15)
        ends = (max(ends[0], _LOSS_FLOOR), ends[1]) if field == "loss" else ends
        scale, axis = theme.log_scale(*ends), theme.log_axis(None, *ends)
    else:
        top = float(values.max()) if values.size and values.max() > 0 else 1.0
        scale, axis = alt.Scale(domain=[0, theme.significant(1.08 * top, 2)]), alt.Axis(title=None, tickCount=3)
    y = alt.Y(f"{field}:Q", scale=scale, axis=axis)
    drawn = _curves(field).mark_line(clip=True).encode(x=x, y=y, color=theme.gamma_colour(), detail="run:N")
    chosen = _curves(field).transform_filter("datum.run == run")
    bold = chosen.mark_line(clip=True, strokeWidth=2.4).encode(x=x, y=y, color=theme.gamma_colour())
    here = chosen.transform_joinaggregate(nearest="min(away)").transform_filter("datum.away == datum.nearest")
    dot = here.mark_point(size=46, clip=True, stroke=theme.TEXT, strokeWidth=0.8).encode(
        x=x, y=y, fill=alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None)
    )
    value = here.mark_text(align="right", baseline="bottom", fontWeight="bold", fontSize=12).encode(
        x=alt.value(theme.PLANE), y=alt.value(-5), text=alt.Text(f"{field}:Q", format=".3~g")
    )
    place = alt.Chart(RUNS).transform_filter("datum.run == run")
    place = place.transform_calculate(x=f"{_TAU} ? pow(10, now) * datum.rate : pow(10, now)")
    rule = place.mark_rule(strokeWidth=1.2, opacity=0.7, clip=True).encode(x=x)
    level = alt.Chart(alt.InlineData(values=[{}]))
    layers = [drawn.encode(opacity=alt.value(0.25), strokeWidth=alt.value(1.1)), rule, bold, dot, value]
    if field == "ratio":
        layers.insert(
            0, level.mark_rule(color=theme.STABILITY, strokeWidth=1.6).encode(y=alt.YDatum(1, type="quantitative"))
        )
    if field == "loss":
        layers.insert(0, level.mark_rule(opacity=0.45, strokeDash=[1, 3]).encode(y=alt.YDatum(1, type="quantitative")))
    return alt.layer(*layers).properties(
        width=theme.PLANE, height=height, title=alt.TitleParams(text=title, fontSize=11, frame="group", offset=5)
    )


def _headline() -> Any:
    """One line: the chosen run, and where the rule stands."""
    words = (
        "datum.name + ':  t = ' + format(pow(10, now), ',.0f') + ', τ = ' + format(pow(10, now) * datum.rate, '.3~g')"
    )
    chart = alt.Chart(RUNS).transform_filter("datum.run == run").transform_calculate(words=words)
    text = chart.mark_text(align="left", baseline="middle", fontWeight="bold", fontSize=12)
    return text.encode(x=alt.value(-30), y=alt.value(8), text="words:N").properties(width=theme.PLANE, height=16)


def _scrubber_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Of each run, where it starts and ends."""
    made = []
    for row in rows:
        ends: dict[str, Any] = {"run": row["name"]}
        names = {
            "loss": "loss ÷ initial",
            "ratio": "λ_max·lr_raw/2",
            "align": "alignment",
            "rank": "rank",
            "change": "kernel change",
        }
        for field, name in names.items():
            seen = [v for v in row[field] if v is not None] or [np.nan]
            if field != "loss":
                ends[f"{name}, start"] = seen[0]
            else:
                ends["highest loss ÷ initial"] = max(seen)
            ends[f"{name}, end"] = seen[-1]
        made.append(ends)
    return pd.DataFrame(made)


def _scrubber_summary(rows: list[dict[str, Any]]) -> str:
    table, say = _scrubber_table(rows), theme.power_of_ten
    ends = {
        "loss ÷ initial": table["loss ÷ initial, end"],
        "λ_max·lr_raw/2": table["λ_max·lr_raw/2, end"],
        "alignment": table["alignment, end"],
    }
    spans = [f"{name} from {say(end.min())} to {say(end.max())}" for name, end in ends.items()]
    return (
        f"{len(rows)} runs. At their ends: {', '.join(spans)}. On the way the loss reaches at most "
        f"{say(table['highest loss ÷ initial'].max())} of its initial value."
    )


# -- the catapult's band -----------------------------------------------------------------------------------------------


@with_sources
def catapult_band(runs: xr.Dataset, *, caption: str | None = None, label: str | None = None) -> Figure:
    """Peak loss and late loss against η over 2/(N λ₀), a line for each γ: where a run may overshoot and still converge.

    Medians over seeds; late loss of runs that diverged is not drawn.
    """
    made = found.find_catapults(runs)
    ok = runs.status == STATUS["ok"]
    wanted = xr.Dataset(
        {
            "x": (runs.eta / made.critical).median("seed"),
            "peak": (runs.peak_loss / runs.initial_loss).where(ok).median("seed"),
            "late": (runs.late_loss / runs.initial_loss).where(ok).median("seed"),
            "share": made.catapult.mean("seed"),
            "made": ok.sum("seed"),
        }
    )
    rows = wanted.to_dataframe().reset_index()
    rows = rows[(rows.made > 0) & np.isfinite(rows.x) & np.isfinite(rows.peak)]
    words = (caption or "Catapults.").rstrip()
    if rows.empty:
        return say_nothing_drawn("No run near 2/(N λ₀) stayed finite.", runs, words, label)
    rows["log_gamma"] = np.log10(rows.gamma)
    rows["fate"] = np.where(rows.share > 0.5, "catapulted and converged", "not")
    data = alt.InlineData(values=records(rows[["gamma", "log_gamma", "eta", "x", "peak", "late", "fate"]]))
    ends = theme.span(rows.x)
    x = alt.X("x:Q", scale=theme.log_scale(*ends), axis=theme.log_axis("η ÷ (2/(N λ₀))", *ends))

    def panel(field: str, title: str, level: float) -> Any:
        span = theme.span(rows[field], 1.2)
        span = (span[0], min(span[1], 300.0))
        y = alt.Y(f"{field}:Q", scale=theme.log_scale(*span), axis=theme.log_axis(None, *span))
        base = alt.Chart(data)
        line = base.mark_line(strokeWidth=1.2, opacity=0.6, clip=True)
        line = line.encode(x=x, y=y, color=theme.gamma_colour(legend=True), detail="gamma:N")
        shape = alt.Shape(
            "fate:N",
            scale=alt.Scale(domain=["catapulted and converged", "not"], range=["circle", "stroke"]),
            legend=alt.Legend(title=None, values=["catapulted and converged"]),
        )
        tooltip = [
            alt.Tooltip(f"{name}:Q", title=said, format=".3~g")
            for name, said in (("gamma", "γ"), ("eta", "η"), ("peak", "peak ÷ initial"), ("late", "late ÷ initial"))
        ]
        marks = base.mark_point(size=26, filled=True, clip=True)
        marks = marks.encode(x=x, y=y, color=theme.gamma_colour(), shape=shape, tooltip=tooltip)
        one = alt.Chart(alt.InlineData(values=[{}]))
        edge = one.mark_rule(color=theme.STABILITY, strokeWidth=1.6).encode(x=alt.XDatum(1, type="quantitative"))
        dotted = one.mark_rule(opacity=0.6, strokeDash=[1, 3]).encode(y=alt.YDatum(level, type="quantitative"))
        return alt.layer(edge, dotted, line, marks).properties(width=theme.PLANE, height=200, title=title)

    chart = theme.beside(
        panel("peak", "peak loss ÷ initial", found.STABLE_BELOW), panel("late", "late loss ÷ initial", CONVERGED_BELOW)
    )
    median = made[["first", "last"]].median("seed").to_dataframe().reset_index()
    table = pd.DataFrame(
        {
            "γ": median.gamma,
            "2/(N λ₀)": made.critical.median("seed").values,
            "smallest η that catapults ÷ that": median["first"],
            "largest η that catapults ÷ that": median["last"],
        }
    )
    seen = table.dropna()
    say = theme.power_of_ten
    summary = (
        "No run catapulted and converged."
        if seen.empty
        else "The largest η that catapults and converges, over 2/(N λ₀): "
        + ", ".join(f"{r.iloc[3]:.1f} at γ = {say(r.iloc[0])}" for _, r in seen.iterrows())
        + "."
    )
    note = (
        f"{words} Left, the largest loss of the first 60 steps; right, the mean loss of the last tenth; both over the loss at "
        f"step 0, medians over seeds. Red: 2/λ₀, the stability limit at the start, λ₀ measured. Dotted: the levels that a "
        f"peak must exceed ({found.STABLE_BELOW:g}) and a converged run stay below ({CONVERGED_BELOW:g}). Circles: more than "
        f"half of the seeds catapulted (peak above, sharpness lower at the end than at the start) and converged. "
        f"{conditions(runs)}"
    )
    return figure(theme.finished(chart), summary, table, note, label)


# -- plateaus ----------------------------------------------------------------------------------------------------------


@with_sources
def plateaus(runs: Mapping[int, xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The plateau's length against γ/η, and in τ against γ, by depth: a constant for L > 2, a logarithm for L = 2.

    Args:
        runs: depth → a grid of γ and η.
    """
    frames = []
    for depth, result in runs.items():
        length, seeds = found.plateau_length(result), result.sizes["seed"]
        rows = length.to_dataframe().reset_index().dropna()
        if rows.empty:
            continue
        grouped = rows.groupby(["gamma", "eta"]).plateau.agg(["mean", "min", "max", "size"]).reset_index()
        top = found.largest_eta(result).to_series()
        grouped["largest"] = np.isclose(grouped.eta, grouped.gamma.map(top))
        frames.append(grouped[grouped["size"] == seeds].assign(L=f"L = {depth}", depth=depth))
    one = next(iter(runs.values()))
    words = (caption or "How long the plateau lasts.").rstrip()
    rows = pd.concat(frames) if frames else pd.DataFrame()
    if rows.empty:
        return say_nothing_drawn("No run left its plateau in every seed.", one, words, label)
    rows["slow"], rows["log_gamma"] = rows.gamma / rows.eta, np.log10(rows.gamma)
    for field in ("mean", "min", "max"):
        rows[f"tau_{field}"] = rows[field] / rows.slow
    tops = rows[rows.largest]
    lines = pd.concat([_model_line(group, depth) for depth, group in tops.groupby("depth")])
    left = _plateau_panel(rows, "slow", "mean", "γ/η", "plateau in steps t", _proportional(rows))
    right = _plateau_panel(tops, "gamma", "tau_mean", "γ, richness", "plateau in τ = ηt/γ", lines)
    table = tops[["L", "gamma", "eta", "mean", "tau_mean"]].set_axis(
        ["depth", "γ", "η", "plateau, steps", "plateau, τ"], axis=1
    )
    growth = ", ".join(
        f"{name} from {theme.power_of_ten(group.tau_mean.iloc[0])} to {theme.power_of_ten(group.tau_mean.iloc[-1])}"
        for name, group in tops.groupby("L")
    )
    summary = f"The plateau in τ, from the smallest to the largest γ: {growth}."
    told = "; ".join(f"L = {depth}: {conditions(result)}" for depth, result in runs.items())
    note = (
        f"{words} The plateau ends when the smoothed loss is below {found.PLATEAU_LEVEL:g} of the initial one for good. Left, "
        "every γ and η, means over seeds; dashed: proportional to γ/η. Right, the largest η at each γ; dashed: the solvable "
        "model's escape time at the same depth and level, moved to the points' height. Bars: smallest and largest seed. "
        f"Colour is γ. {told}"
    )
    return figure(theme.finished(theme.beside(left, right)), summary, table.reset_index(drop=True), note, label)


def _proportional(rows: pd.DataFrame) -> pd.DataFrame:
    """t ∝ γ/η for each depth, through the points."""
    made = []
    for name, group in rows.groupby("L"):
        ends = np.array(theme.span(group.slow))
        height = float(np.exp(np.log(group["mean"] / group.slow).mean()))
        made.append(pd.DataFrame({"x": ends, "y": height * ends, "L": name}))
    return pd.concat(made)


def _model_line(group: pd.DataFrame, depth: int) -> pd.DataFrame:
    gammas = np.geomspace(group.gamma.min(), group.gamma.max(), 24)
    level = 1 - float(np.sqrt(found.PLATEAU_LEVEL))

    def model(gamma: np.ndarray) -> np.ndarray:
        return theory.escape_time(depth, gamma, "mse", level) / gamma

    height = np.exp(np.mean(np.log(group.tau_mean.to_numpy() / model(group.gamma.to_numpy()))))
    return pd.DataFrame({"x": gammas, "y": height * model(gammas), "L": f"L = {depth}"})


def _plateau_panel(rows: pd.DataFrame, across: str, up: str, name: str, title: str, lines: pd.DataFrame) -> Any:
    low, high = up.replace("mean", "min"), up.replace("mean", "max")
    ends, span = theme.span(rows[across], 1.2), theme.span([*rows[low], *rows[high]], 1.3)
    scale, axis = theme.log_scale(*span), theme.log_axis(None, *span)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=theme.log_scale(*ends), axis=theme.log_axis(name, *ends))

    drawn = alt.Chart(alt.InlineData(values=records(lines))).mark_line(
        strokeDash=[5, 3], strokeWidth=1.3, stroke=theme.TEXT, clip=True
    )
    drawn = drawn.encode(x=x("x"), y=alt.Y("y:Q", scale=scale, axis=axis), detail="L:N")
    fields = list(dict.fromkeys(["gamma", "eta", "L", "log_gamma", across, up, low, high]))
    data = alt.InlineData(values=records(rows[fields]))
    bars = alt.Chart(data).mark_rule(strokeWidth=1.1).encode(
        x=x(across), y=alt.Y(f"{low}:Q", scale=scale, axis=axis), y2=f"{high}:Q"
    )  # fmt: skip
    depths = list(dict.fromkeys(rows.L))
    shape = alt.Shape(
        "L:N",
        scale=alt.Scale(domain=depths, range=["circle", "square", "triangle-up"][: len(depths)]),
        legend=alt.Legend(title=None),
    )
    marks = alt.Chart(data).mark_point(size=34, stroke=theme.TEXT, strokeWidth=0.6).encode(
        x=x(across), y=alt.Y(f"{up}:Q", scale=scale, axis=axis), shape=shape,
        fill=alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None),
    )  # fmt: skip
    return alt.layer(drawn, bars, marks).properties(width=theme.PLANE, height=210, title=title)


# -- the collapse ------------------------------------------------------------------------------------------------------


@with_sources
def collapse_figure(
    runs: xr.Dataset | Mapping[str, xr.Dataset],
    *,
    exponent: float = 1.0,
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """Loss curves of different γ in the rescaled time t·η·γ^(−a), with a slider for a; beside it the spread against a.

    Args:
        runs: grids of γ and η; several under their names, to be chosen from. The largest η at each γ is drawn, first seed.
        exponent: where the slider stands at first.
    """
    sources = {"": runs} if isinstance(runs, xr.Dataset) else dict(runs)
    one, words = next(iter(sources.values())), (caption or "The collapse.").rstrip()
    try:
        known = {name: _scored(result) for name, result in sources.items()}
    except ValueError as why:
        return say_nothing_drawn(str(why), one, words, label)
    rows = [
        row for place, name in enumerate(sources) for row in _collapse_rows(sources[name], known[name][0][1], place)
    ]
    centre = theme.power_of_ten(_centre(next(iter(known.values()))[0][1].gammas))
    shown, params = "true", [_exponent_slider(exponent)]
    if len(sources) > 1:
        bind = alt.binding_radio(options=list(range(len(sources))), labels=list(sources), name="stream")
        shown, params = "datum.stream == stream", [*params, alt.param(name="stream", value=0, bind=bind)]
    chart = theme.beside(_collapse_panel(rows, shown), _score_panel(known, shown)).add_params(*params)
    chart = chart.resolve_scale(color="independent", x="independent", y="independent")
    told = "; ".join(f"{name}: {conditions(r)}" if name else conditions(r) for name, r in sources.items())
    note = (
        f"{words} Left, the smoothed loss over the initial one, first seed, at each γ the largest η that was run, a quarter "
        f"of η_max or less, in t·η·γ^(−a), in units in which it is τ = ηt/γ at γ = {centre} for every a. Right, the spread of "
        "log10 loss over γ at equal rescaled time: its standard deviation over γ, root mean square over time and seeds, from "
        "where the first curve has lost 5 % to where the last is down to the level named. Dashed: its minimum, with the 95 % "
        f"interval from resampling seeds and γ. Colour is γ. {told}"
    )
    return figure(theme.finished(chart), _collapse_summary(known), _collapse_table(known), note, label)


Scored = list[tuple[str, found.Collapse]]


def _scored(runs: xr.Dataset) -> Scored:
    """The collapse down to each level: (how the level is called, what was found)."""
    return [(f"to {level:g} of it", found.fit_collapse(runs, level=level)) for level in found.COLLAPSE_LEVELS.values()]


def _exponent_slider(exponent: float) -> alt.Parameter:
    low, high = float(found.EXPONENTS[0]), float(found.EXPONENTS[-1])
    bind = alt.binding_range(min=low, max=high, step=0.025, name="a, the exponent of γ")
    return alt.param(name="exponent", value=exponent, bind=bind)


def _collapse_summary(known: Mapping[str, Scored]) -> str:
    parts = [
        f"{name + ': ' if name else ''}the spread over γ is "
        + ", ".join(f"least at a = {one.best:.2f} for the loss down {level}" for level, one in scored)
        for name, scored in known.items()
    ]
    return "; ".join(parts) + "."


def _collapse_table(known: Mapping[str, Scored]) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"stream": name, "loss down": level, "a": one.exponents, "spread, decades": one.scores})
        for name, scored in known.items()
        for level, one in scored
    ]
    return pd.concat(frames, ignore_index=True)


def _centre(gammas: tuple[float, ...]) -> float:
    return float(np.exp(np.mean(np.log(gammas))))


def _collapse_rows(runs: xr.Dataset, known: found.Collapse, place: int) -> list[dict[str, Any]]:
    """One row a γ: its curve as lists, its pace η/centre, and γ over the centre of the γ."""
    curves, steps = found.relative_loss(runs).isel(seed=0), runs.step.values.astype(int)
    kept = np.unique(np.linspace(1, steps.size - 1, _LOSS_POINTS).astype(int))
    centre = _centre(known.gammas)
    return [
        {
            "stream": place,
            "gamma": theme.significant(gamma),
            "log_gamma": round(float(np.log10(gamma)), 3),
            "rate": theme.significant(eta / centre, 6),
            "away": theme.significant(gamma / centre, 6),
            "t": steps[kept].tolist(),
            "loss": [theme.significant(v) for v in curves.sel(gamma=gamma, eta=eta).values[kept]],
        }
        for gamma, eta in zip(known.gammas, known.etas, strict=True)
    ]


def _collapse_panel(rows: list[dict[str, Any]], shown: str) -> Any:
    # one frame a stream, wide enough for most a: it stays still while the reader drags
    frames = [
        _frame([row for row in rows if row["stream"] == stream]) for stream in sorted({r["stream"] for r in rows})
    ]
    lowest, highest = np.min(frames, axis=0), np.max(frames, axis=0)
    axis = theme.log_axis("t·η·γ⁻ᵃ, rescaled time", lowest[0], highest[1], every=1)
    x = alt.X("x:Q", scale=_of_stream(frames, 0), axis=axis)
    y = alt.Y("loss:Q", scale=_of_stream(frames, 2), axis=theme.log_axis(None, lowest[2], highest[3], every=1))
    chart = alt.Chart(alt.InlineData(values=rows)).transform_filter(shown).transform_flatten(["t", "loss"])
    chart = chart.transform_calculate(x="datum.t * datum.rate * pow(datum.away, -exponent)")
    line = chart.transform_filter("isValid(datum.loss)").mark_line(strokeWidth=1.9, clip=True)
    line = line.encode(x=x, y=y, color=theme.gamma_colour(legend=True), detail="gamma:N", order="t:Q")
    return line.properties(width=theme.PLANE, height=220, title="training loss ÷ initial")


def _frame(rows: list[dict[str, Any]]) -> tuple[float, float, float, float]:
    """The smallest and largest rescaled time and loss to be shown of a stream's curves."""
    low, high = theme.span(_values(rows, "loss"), 1.1)
    paces = [row["rate"] / row["away"] for row in rows]
    start = max(paces) * max(row["t"][0] for row in rows)
    return start, max(pace * row["t"][-1] for pace, row in zip(paces, rows, strict=True)) * 2, max(low, 1e-3), high


def _of_stream(frames: list[tuple[float, float, float, float]], at: int) -> alt.Scale:
    """A log scale whose ends are those of the stream that is shown."""
    if len(frames) == 1:
        return theme.log_scale(*frames[0][at : at + 2])
    ends = [alt.ExprRef(f"{[theme.significant(frame[at + k]) for frame in frames]}[stream]") for k in (0, 1)]
    return alt.Scale(type="log", domain=ends, nice=False)


def _score_panel(known: Mapping[str, Scored], shown: str) -> Any:
    names, levels = list(known), [level for level, _ in next(iter(known.values()))]
    scores = [
        {"stream": names.index(name), "level": level, "a": float(a), "score": theme.significant(s)}
        for name, scored in known.items()
        for level, one in scored
        for a, s in zip(one.exponents, one.scores, strict=True)
    ]
    least = [
        {"stream": names.index(name), "level": level, "a": one.best, "low": one.interval[0], "high": one.interval[1]}
        for name, scored in known.items()
        for level, one in scored
    ]
    base = alt.Chart(alt.InlineData(values=scores)).transform_filter(shown)
    scale = alt.Scale(domain=[0, float(found.EXPONENTS[-1])], nice=False)
    x = alt.X("a:Q", scale=scale, axis=alt.Axis(title="a, the exponent of γ", tickCount=6))
    y = alt.Y("score:Q", scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(title=None, tickCount=4))
    width = alt.StrokeWidth(
        "level:N", scale=alt.Scale(domain=levels, range=[2.2, 0.9][: len(levels)]), legend=alt.Legend(title="loss down")
    )
    line = base.mark_line(stroke=theme.TEXT).encode(x=x, y=y, strokeWidth=width)
    minimum = alt.Chart(alt.InlineData(values=records(pd.DataFrame(least)))).transform_filter(shown)
    band = minimum.mark_rect(opacity=0.25, color=theme.MEASURED).encode(x=alt.X("low:Q"), x2="high:Q")
    dashed = minimum.mark_rule(strokeDash=[5, 3], color=theme.MEASURED).encode(x="a:Q", strokeWidth=width)
    here = base.transform_filter(f"datum.level == '{levels[0]}' && abs(datum.a - exponent) < 0.0125")
    dot = here.mark_point(size=70, stroke=theme.TEXT, strokeWidth=0.8, fill=theme.RICH).encode(x=x, y=y)
    value = here.mark_text(align="right", baseline="bottom", fontWeight="bold").encode(
        x=alt.value(theme.PLANE), y=alt.value(-5), text=alt.Text("score:Q", format=".3f")
    )
    title = alt.TitleParams(text="spread over γ, decades of loss", frame="group", offset=5)
    return alt.layer(band, dashed, line, dot, value).properties(width=theme.PLANE, height=220, title=title)
