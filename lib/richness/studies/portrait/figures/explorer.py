"""The linked figure: touch a cell of the plane, or move γ and η, and see that run's loss and sharpness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import parts, theme
from richness.plots.captions import choose_seed, conditions, last_step, natural_words, recipe
from richness.plots.cells import cells
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.plane import CELLS, Plane, cell_layers, place_on_view, view_param
from richness.runs.results import STATUS
from richness.studies.portrait.figures.portrait import fates_in_words

_ON_A_CELL = "event.item && event.item.datum && isValid(event.item.datum.log_eta)"  # axes and curves have none
_TAU = "clock == 'tau'"


@with_sources
def explorer(
    runs: xr.Dataset,
    *,
    seed: int | None = None,
    gamma: float = 1.0,
    eta: float | None = None,
    view: str = "straightened",
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """The portrait, linked to the loss and sharpness curves of one cell.

    Four controls choose the cell: the pointer over the plane, a click (which stays), and the sliders "gamma" and "eta",
    which a click moves too. Sliders hold log10; the nearest γ that was run is taken first, then the nearest η
    run there.
    The curves are those of a single seed, an actual run: a mean over seeds would blur catapults and steps. The cells'
    colours are means over all seeds.

    Args:
        runs: a portrait, dims (gamma, eta, seed, step), with its recipe in the attributes; `sharpness` is optional.
        seed: whose curves to show; the first of the result by default.
        gamma, eta: the cell shown at first; η defaults to the best one at that γ.
        view: "raw" or "straightened", as in `portrait`.

    Raises:
        ValueError: that seed was not run, no cell was run, or there is no recipe.
    """
    chosen = choose_seed(runs, seed)
    table, one = cells(runs), runs.sel(seed=chosen)
    shown, steps, lam_steps = _with_curves(table, one)
    plane = Plane.of(table, _plain_rows(shown))
    start, ranges = _start(shown, gamma, eta), _Ranges.of(one, shown, int(recipe(runs).get("width", 1)))
    panels = [_readout(), _loss_panel(steps, ranges)]
    if lam_steps.size:
        panels.append(_sharpness_panel(lam_steps, ranges))
    chart = theme.beside(_plane_panel(plane, shown, start), alt.vconcat(*panels, spacing=10))
    clock = parts.radio("clock", ["t", "tau"], "clock", ["steps t", "τ = ηt/γ"])
    chart = plane.with_rows(chart, view_param(view), clock)
    chart = chart.resolve_scale(color="independent", x="independent", y="independent")
    note = _note(caption or "Touch the plane. ", runs, chosen)
    return figure(theme.finish(chart), _summary(shown, start, steps), _table(shown), note, label)


def _plane_panel(plane: Plane, shown: pd.DataFrame, start: pd.Series) -> Any:
    """The cells, to be touched, with a ring around the chosen one."""
    base, *glyphs = cell_layers(plane, told=False)
    ring = place_on_view(_chosen(alt.Chart(CELLS)), "eta")
    rings = [
        ring.mark_point(shape="square", size=130, filled=False, **ink).encode(x=plane.x(), y=plane.y("eta_y"))
        for ink in ({"stroke": "#fff", "strokeWidth": 3.4}, {"stroke": "#111", "strokeWidth": 1.6})
    ]
    return plane.draw(base.add_params(_touch(), _sliders(shown, start)), *glyphs, *rings)


# -- rows --------------------------------------------------------------------------------------------------------------


def _with_curves(table: pd.DataFrame, one: xr.Dataset) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The cells of one seed with its curves as lists; the steps of the loss and those of the sharpness."""
    axis = "eta" if "eta" in one.dims else "trial"
    step = one["step"].values.astype(int)
    loss = one["loss"].transpose("gamma", axis, "step").values
    lam = one["sharpness"].transpose("gamma", axis, "step").values if "sharpness" in one else np.full_like(loss, np.nan)
    probed = np.isfinite(lam).any(axis=(0, 1))
    died = one["diverged_at"].transpose("gamma", axis).values if "diverged_at" in one else np.full(loss.shape[:2], -1)
    rows = table.assign(
        loss=[_curve(loss[place]) for place in table.place],
        lam=[_curve(lam[place][probed]) for place in table.place],
        died=[int(died[place]) for place in table.place],
    )
    return rows, step, step[probed]


def _curve(values: np.ndarray) -> list[float | None]:
    """A curve cut after its last finite value; holes within it, and what is not positive, become None."""
    good = np.isfinite(values) & (values > 0)
    end = int(np.nonzero(good)[0][-1]) + 1 if good.any() else 0
    return [theme.significant(v) if ok else None for v, ok in zip(values[:end], good[:end], strict=True)]


def _plain_rows(shown: pd.DataFrame) -> list[dict[str, Any]]:
    """JSON rows; the places in log10, which the controls hold, to four decimals."""
    drawn = shown.drop(columns=["place"])
    rows = parts.records(drawn)
    for row, log_gamma, log_eta in zip(rows, drawn.log_gamma, drawn.log_eta, strict=True):
        row["log_gamma"], row["log_eta"] = round(float(log_gamma), 4), round(float(log_eta), 4)
    return rows


def _start(shown: pd.DataFrame, gamma: float, eta: float | None) -> pd.Series:
    """The cell nearest to γ, then to η; without η, the one of lowest late loss."""
    column = shown[np.isclose(shown.log_gamma, _nearest(shown.log_gamma, np.log10(gamma)))]
    if eta is not None:
        return column[column.log_eta == _nearest(column.log_eta, np.log10(eta))].iloc[0]
    return column.loc[column.late.idxmin()] if column.late.notna().any() else column.iloc[0]


def _nearest(values: pd.Series, target: float) -> float:
    return float(values.iloc[int(np.argmin(np.abs(values.to_numpy() - target)))])


# -- controls ----------------------------------------------------------------------------------------------------------


def _touch() -> alt.Parameter:
    """The cell under the pointer."""
    return alt.selection_point(
        name="hover", fields=["log_gamma", "log_eta"], on=f"pointerover[{_ON_A_CELL}]", clear="pointerout", empty=False
    )


def _sliders(shown: pd.DataFrame, start: pd.Series) -> alt.Parameter:
    """One selection behind both sliders and the click: a click writes the sliders."""
    ranges: Any = {
        name: alt.binding_range(
            min=round(float(values.min()), 3), max=round(float(values.max()), 3), step=_grid_step(values), name=words
        )
        for name, values, words in (
            ("log_gamma", shown.log_gamma, "log10 gamma"),
            ("log_eta", shown.log_eta, "log10 eta"),
        )
    }
    return alt.selection_point(
        name="cell",
        fields=["log_eta", "log_gamma"],  # Vega puts the last one's slider first
        bind=ranges,
        on=f"click[{_ON_A_CELL}]",
        clear=False,
        value=[{"log_gamma": round(float(start.log_gamma), 4), "log_eta": round(float(start.log_eta), 4)}],
        empty=False,
    )


def _grid_step(values: pd.Series) -> float:
    """A slider's step: the spacing of the grid, to two digits."""
    spacing = np.diff(np.unique(values.to_numpy(dtype=float)))
    spacing = spacing[spacing > 1e-6]
    return float(f"{np.median(spacing):.2g}") if spacing.size else 0.1


_WANTED = {
    name: f"isValid(hover.{name}) ? hover.{name}[0] : isValid(cell.{name}) ? cell.{name}[0] : 0"
    for name in ("log_gamma", "log_eta")
}


def _chosen(chart: Any) -> Any:
    """Only the chosen cell: nearest γ first, then nearest η run there (a hair is added on one side, against ties)."""
    away = {name: f"abs(datum.{name} - ({want}))" for name, want in _WANTED.items()}
    hair = " + ".join(f"(datum.{name} > ({want}) ? 1e-7 : 0)" for name, want in _WANTED.items())
    return parts.nearest_rows(chart, f"1000 * {away['log_gamma']} + {away['log_eta']} + {hair}")


# -- curves ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ranges:
    """The fixed ranges of the curves' axes, so that nothing but the curve moves while the reader drags."""

    width: int
    steps: tuple[float, float]
    tau: tuple[float, float]
    initial: float
    loss: tuple[float, float]
    ratio: tuple[float, float] = (1e-3, 10.0)

    @classmethod
    def of(cls, one: xr.Dataset, shown: pd.DataFrame, width: int) -> _Ranges:
        last, rate = float(last_step(one)), shown.eta / shown.gamma
        losses = one["loss"].where(one["status"] == STATUS["ok"]).values
        initial = float(np.nanmean(one["initial_loss"].values))
        low = np.nanquantile(losses[losses > 0], 0.002) if np.any(losses > 0) else initial / 10
        loss = (min(float(low), initial / 9) / 1.5, initial * 10)
        return cls(width, (1.0, last), (float(rate.min()), float(rate.max()) * last), initial, loss)

    @property
    def x(self) -> alt.X:
        axis = theme.log_axis(None, min(self.tau[0], 1), max(self.tau[1], self.steps[1]), every=1)
        return parts.x_on(parts.switched_scale(_TAU, self.tau, self.steps), axis)("x")


def _flattened(curve: str, steps: np.ndarray) -> Any:
    """The chosen cell's curve, one row a step: filtered first, so that only one cell is ever flattened."""
    chart = _chosen(alt.Chart(CELLS))
    chart = chart.transform_calculate(t=str([int(s) for s in steps])).transform_flatten(["t", curve])
    chart = chart.transform_calculate(x=f"{_TAU} ? datum.t * datum.eta / datum.gamma : datum.t")
    return chart.transform_filter(f"isValid(datum.{curve}) && datum.t > 0")


_READOUT = (
    "'γ = ' + format(datum.gamma, '.3~g') + ',  η = ' + format(datum.eta, '.3~g') + ':  ' + "
    "(datum.died >= 0 ? 'diverged at step ' + datum.died : "
    "datum.state + (isValid(datum.late) ? ', late loss ' + format(datum.late, '.2~g') + ' of initial' : ''))"
)


def _readout() -> Any:
    """One line above the curves: which run this is and what became of it."""
    chart = _chosen(alt.Chart(CELLS)).transform_calculate(words=_READOUT)
    text = chart.mark_text(align="left", baseline="middle", fontWeight="bold", fontSize=12)
    return text.encode(x=alt.value(-30), y=alt.value(8), text="words:N").properties(width=theme.PLANE, height=16)


def _loss_panel(steps: np.ndarray, ranges: _Ranges) -> Any:
    y = parts.log_y(ranges.loss, every=1)
    line = _flattened("loss", steps).mark_line(clip=True, strokeWidth=2.2)
    level = alt.YDatum(theme.significant(ranges.initial), type="quantitative")
    return parts.panel(
        parts.chart_of([{}]).mark_rule(opacity=0.45, strokeDash=[1, 3]).encode(y=level),
        line.encode(x=ranges.x, y=y("loss"), color=theme.gamma_colour(), order="t:Q"),
        title="training loss (dotted: at step 0)",
        height=150,
    )


def _sharpness_panel(steps: np.ndarray, ranges: _Ranges) -> Any:
    y, nothing = parts.log_y(ranges.ratio, every=1), parts.chart_of([{}])
    curve = _flattened("lam", steps).transform_calculate(ratio=f"datum.lam * {ranges.width} * datum.eta / 2")
    line = curve.mark_line(clip=True, strokeWidth=2.2, point={"size": 22})
    name = nothing.mark_text(text="red: stability line", color=theme.TEXT, align="right", baseline="bottom")
    axis = alt.value(alt.ExprRef(f"{_TAU} ? 'τ = ηt/γ' : 'steps t'"))
    return parts.panel(
        parts.stability_rule(1, y),
        name.encode(x=alt.value(theme.PLANE), y=alt.value(-6)),
        line.encode(x=ranges.x, y=y("ratio"), color=theme.gamma_colour(), order="t:Q"),
        nothing.mark_text(align="right", baseline="top").encode(x=alt.value(theme.PLANE), y=alt.value(130), text=axis),
        title="λ_max ÷ (2/lr_raw)",
        height=100,
    )


# -- words -------------------------------------------------------------------------------------------------------------


def _note(words: str, runs: xr.Dataset, seed: int) -> str:
    return (
        f"{words.rstrip()} Left, the plane: colour is the late loss over the initial loss, mean over seeds; "
        f"{fates_in_words()} Straightened: η over natural η, {natural_words(runs)}. "
        "Right: the run under the pointer, else the one clicked or set by the sliders, which take the "
        f"nearest run; the curves are of seed {seed} alone, an actual run, from step 1 on; λ_max is the largest "
        "eigenvalue of the Hessian of the loss as trained, in raw parameters, over its stability line 2/lr_raw (red). "
        f"Orange is rich (γ > 1), blue lazy. {conditions(runs)}"
    )


def _summary(shown: pd.DataFrame, start: pd.Series, steps: np.ndarray) -> str:
    say = theme.power_of_ten
    fate = f"diverged at step {int(start.died)}" if start.died >= 0 else f"{start.state}"
    values = [v for v in start["loss"] if v is not None]
    ends = f" Its loss goes from {say(values[0])} to {say(values[-1])}." if len(values) > 1 else ""
    return (
        f"{len(shown)} runs can be called up, γ from {say(shown.gamma.min())} to {say(shown.gamma.max())}, each with "
        f"its loss at {len(steps)} recorded steps. Shown first: γ = {say(start.gamma)}, η = {say(start.eta)}, "
        f"{fate}.{ends}"
    )


def _table(shown: pd.DataFrame) -> pd.DataFrame:
    """The best cell at every γ, with its last loss and last sharpness."""
    alive = shown[shown.late.notna()]
    best = alive.loc[alive.groupby("gamma").late.idxmin()]
    table = pd.DataFrame({"γ": best.gamma, "best η run": best.eta, "late ÷ initial loss": best.late})
    table["last loss"] = [_last(curve) for curve in best["loss"]]
    if any(best["lam"].map(len)):
        table["last λ_max"] = [_last(curve) for curve in best["lam"]]
    return table.reset_index(drop=True)


def _last(curve: list[float | None]) -> float:
    return next((value for value in reversed(curve) if value is not None), np.nan)
