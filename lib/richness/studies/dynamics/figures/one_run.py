"""One run on one time axis: its probes in panels below one another, under a rule that a slider moves through all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import parts, theme
from richness.plots.figure import Figure, figure, with_sources
from richness.runs.results import STATUS
from richness.studies.dynamics.curves import stability_ratio

LOSS_POINTS = 40  # of each loss curve that is drawn
_LOSS_FLOOR = 3e-3  # of the initial loss: further down nothing is left to be seen of the others
_PROBES = ("sharpness", "ntk_alignment", "feature_rank", "kernel_change")
_TAU = "clock == 'tau'"
_CHOSEN = "datum.run == run"


@dataclass(frozen=True)
class _Panel:
    """A quantity in the rows' ``field``, over its panel in words, and in the table by its name."""

    field: str
    words: str
    height: int
    name: str
    logarithmic: bool = True

    @property
    def time(self) -> str:
        """The rows' field of the steps at which it is known."""
        return "t" if self.field == "loss" else "s"


_PANELS = (
    _Panel("loss", "training loss ÷ initial", 120, "loss ÷ initial"),
    _Panel("ratio", "λ_max ÷ (2/lr_raw), red: stability line", 110, "λ_max·lr_raw/2"),
    _Panel("align", "alignment of the kernel with the target", 66, "alignment", logarithmic=False),
    _Panel("rank", "rank of the last hidden features", 66, "rank"),
    _Panel("change", "change of the kernel, 1 − cos", 66, "kernel change", logarithmic=False),
)
_NOTE = (
    "Every curve is one run, of the first seed unless said, loss and all; the rule is moved by the slider, and "
    "above each panel stands the chosen run's value at the nearest measured step. λ_max: largest Hessian eigenvalue of "
    "the loss as trained, over its stability line 2/lr_raw. Alignment: centred, of the neural tangent kernel with the "
    "targets, from 0 to 1. Rank: participation ratio of the last hidden layer's pre-activations. The runs in the "
    "background are the others of the list; blue lazy, orange rich."
)


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
    every = [row for name, result in sources.items() for row in _run_rows(result, name, seed)]
    rows = [row | {"run": place} for place, row in enumerate(every)]
    words = parts.first_words(caption, "One run on one time axis.")
    if not rows:
        one = next(iter(sources.values()))
        return parts.say_nothing_drawn("No run stayed finite, so that there is none to look at.", one, words, label)
    table, note = _end_table(rows), f"{words} {_NOTE} {parts.conditions_by_name(sources)}"
    return figure(_chart(rows, _controls(rows, first, at, clock)), _summary(table), table, note, label)


# -- rows --------------------------------------------------------------------------------------------------------------


def _run_rows(runs: xr.Dataset, source: str, seed: int | None) -> list[dict[str, Any]]:
    """One row a run of one seed that stayed finite."""
    missing = [probe for probe in _PROBES if probe not in runs]
    if missing:
        raise ValueError(
            f"a scrubber needs the probes {', '.join(missing)} too: run the sweep with probes that hold them."
        )
    one = runs.isel(seed=0) if seed is None else runs.sel(seed=seed)
    ratios = stability_ratio(runs).sel(seed=one.seed)
    cells = [{"gamma": gamma, "eta": eta} for gamma, eta in product(one.gamma.values, one.eta.values)]
    finite = [cell for cell in cells if int(one.status.sel(cell)) == STATUS["ok"]]
    return [_run_row(one.sel(cell), ratios.sel(cell), source) for cell in finite]


def _run_row(run: xr.Dataset, ratio: xr.DataArray, source: str) -> dict[str, Any]:
    """A run's name, γ, η, and its curves as lists: the loss over ``t``, the probes over ``s``."""
    gamma, eta = float(run.gamma), float(run.eta)
    steps, drawn = run.step.values.astype(int), _drawn_places(run.step.values, ratio.step.values)
    probed = run.sel(step=ratio.step[ratio.step > 0])
    said = f"γ = {theme.power_of_ten(gamma)}, η = {theme.power_of_ten(eta)}"
    curves = {
        "loss": (run.loss / run.initial_loss).values[drawn],
        "ratio": ratio.sel(step=probed.step).values,
        "align": probed.ntk_alignment.values,
        "rank": probed.feature_rank.isel(hidden=-1).values,
        "change": probed.kernel_change.values,
    }
    return {
        "name": f"{source}, {said}" if source else said, "gamma": gamma, "eta": theme.significant(eta),
        "log_gamma": round(float(np.log10(gamma)), 3), "rate": theme.significant(eta / gamma, 6),
        "t": steps[drawn].tolist(), "s": probed.step.values.tolist(),
        **{name: [theme.significant(value) for value in values] for name, values in curves.items()},
    }  # fmt: skip


def _drawn_places(steps: np.ndarray, probed: np.ndarray) -> np.ndarray:
    """Where on the axis of steps the loss is drawn: at even distances, and wherever there was a probe; not at step 0."""
    even = np.linspace(1, steps.size - 1, LOSS_POINTS).astype(int)
    places = np.unique(np.concatenate([even, np.searchsorted(steps, probed)]))
    return places[steps[places] > 0]


def known_values(rows: list[dict[str, Any]], field: str) -> np.ndarray:
    """Every number in the rows' lists."""
    return np.array([value for row in rows for value in row[field] if value is not None], dtype=float)


# -- chart -------------------------------------------------------------------------------------------------------------


def _controls(rows: list[dict[str, Any]], first: int, at: float | None, clock: str) -> list[alt.Parameter]:
    last = max(row["t"][-1] for row in rows)
    start, end = (round(float(np.log10(step)), 2) for step in (at or last**0.5, last))
    runs = parts.menu("run", range(len(rows)), "run", [row["name"] for row in rows], min(first, len(rows) - 1))
    clocks = parts.radio("clock", ["t", "tau"], "clock", ["steps t", "τ = ηt/γ"], clock)
    return [runs, parts.slider("now", 0, end, 0.02, "log10 step", start), clocks]


def _chart(rows: list[dict[str, Any]], controls: list[alt.Parameter]) -> Any:
    x = _time_axis(rows)
    panels = [_panel(panel, rows, x) for panel in _PANELS]
    left, right = alt.vconcat(_headline(), *panels[:2], spacing=8), alt.vconcat(*panels[2:], spacing=8)
    chart = theme.beside(left, right).add_params(*controls).properties(datasets={"runs": rows})
    return theme.finish(chart.resolve_scale(color="independent", x="independent", y="independent"))


def _time_axis(rows: list[dict[str, Any]]) -> alt.X:
    last = float(max(row["t"][-1] for row in rows))
    tau = (min(row["rate"] for row in rows), max(row["rate"] * row["t"][-1] for row in rows))
    axis = theme.log_axis(None, min(tau[0], 1.0), max(tau[1], last), every=1)
    return parts.x_on(parts.switched_scale(_TAU, tau, (1.0, last)), axis)("x")


def _panel(panel: _Panel, rows: list[dict[str, Any]], x: alt.X) -> Any:
    y, colour = _value_axis(panel, known_values(rows, panel.field)), theme.gamma_colour()
    curves = _curves(panel)
    chosen = curves.transform_filter(_CHOSEN)
    here = parts.nearest_rows(chosen, f"abs(log(datum.{panel.time}) / LN10 - now)")
    others = curves.mark_line(clip=True, opacity=0.25, strokeWidth=1.1)
    bold = chosen.mark_line(clip=True, strokeWidth=2.4).encode(x=x, y=y(panel.field), color=colour)
    return parts.panel(
        _level(panel, y),
        others.encode(x=x, y=y(panel.field), color=colour, detail="run:N"),
        _rule(x),
        bold,
        parts.clip_marks(parts.points(here, x, y(panel.field), size=46)),
        parts.text_at(
            here, theme.PLANE, -5, f"{panel.field}:Q", ".3~g",
            align="right", baseline="bottom", fontWeight="bold", fontSize=12,
        ),
        title=alt.TitleParams(text=panel.words, fontSize=11, frame="group", offset=5),
        height=panel.height,
    )  # fmt: skip


def _curves(panel: _Panel) -> Any:
    """The curves of all runs, one row a step."""
    chart = parts.chart_named("runs").transform_flatten([panel.time, panel.field])
    chart = chart.transform_calculate(x=f"{_TAU} ? datum.{panel.time} * datum.rate : datum.{panel.time}")
    return chart.transform_filter(f"isValid(datum.{panel.field})")


def _value_axis(panel: _Panel, values: np.ndarray) -> parts.Channel:
    if not panel.logarithmic:
        top = float(values.max()) if values.size and values.max() > 0 else 1.0
        return parts.y_on(alt.Scale(domain=[0, theme.significant(1.08 * top, 2)]), alt.Axis(title=None, tickCount=3))
    low, high = theme.span(np.append(values, [0.5, 1.5] if panel.field == "ratio" else []), 1.15)
    return parts.log_y((max(low, _LOSS_FLOOR) if panel.field == "loss" else low, high))


def _level(panel: _Panel, y: parts.Channel) -> Any:
    """Where the loss began, and where stability ends."""
    if panel.field == "loss":
        return parts.level_rule(1, y, stroke=theme.TEXT, strokeDash=[1, 3], strokeWidth=1, opacity=0.45)
    return parts.stability_rule(1, y) if panel.field == "ratio" else None


def _rule(x: alt.X) -> Any:
    place = parts.chart_named("runs").transform_filter(_CHOSEN)
    place = place.transform_calculate(x=f"{_TAU} ? pow(10, now) * datum.rate : pow(10, now)")
    return place.mark_rule(strokeWidth=1.2, opacity=0.7, clip=True).encode(x=x)


def _headline() -> Any:
    """One line: the chosen run, and where the rule stands."""
    words = (
        "datum.name + ':  t = ' + format(pow(10, now), ',.0f') + ', τ = ' + format(pow(10, now) * datum.rate, '.3~g')"
    )
    chart = parts.chart_named("runs").transform_filter(_CHOSEN).transform_calculate(words=words)
    text = parts.text_at(chart, -30, 8, align="left", baseline="middle", fontWeight="bold", fontSize=12)
    return text.properties(width=theme.PLANE, height=16)


# -- words -------------------------------------------------------------------------------------------------------------


def _end_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Of each run, where it starts and ends."""
    return pd.DataFrame([_ends(row) for row in rows])


def _ends(row: dict[str, Any]) -> dict[str, Any]:
    ends: dict[str, Any] = {"run": row["name"]}
    for panel in _PANELS:
        seen = [value for value in row[panel.field] if value is not None] or [np.nan]
        start = (f"highest {panel.name}", max(seen)) if panel.field == "loss" else (f"{panel.name}, start", seen[0])
        ends |= dict([start, (f"{panel.name}, end", seen[-1])])
    return ends


def _summary(table: pd.DataFrame) -> str:
    say = theme.power_of_ten
    ends = {panel.name: table[f"{panel.name}, end"] for panel in _PANELS[:3]}
    spans = [f"{name} from {say(end.min())} to {say(end.max())}" for name, end in ends.items()]
    return (
        f"{len(table)} runs. At their ends: {', '.join(spans)}. On the way the loss reaches at most "
        f"{say(table['highest loss ÷ initial'].max())} of its initial value."
    )
