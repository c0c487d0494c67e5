"""The linked figure: touch a cell of the plane, or move γ and η, and see that run's loss and sharpness."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis import boundaries as found
from richness.plots import theme
from richness.plots.captions import conditions, last_step, natural_words, recipe
from richness.plots.cells import OK, cells
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import records
from richness.plots.plane import CELLS, HEIGHT, Plane, cell_layers, view_param

_CURVES = 250  # px, as wide as the plane, so that both stack on a phone
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
    seeds = [int(s) for s in runs["seed"].values]
    chosen = seeds[0] if seed is None else int(seed)
    if chosen not in seeds:
        raise ValueError(f"expected one of the seeds that were run, {seeds}; got {seed}")
    table = cells(runs)
    one = runs.sel(seed=chosen)
    shown, steps, lam_steps = _with_curves(table, one)
    plane = Plane.of(table, _plain_rows(shown))
    start = _start(shown, gamma, eta)
    touch, sliders = _touch(), _sliders(shown, start)
    ranges = _Ranges(one, shown, int(recipe(runs).get("width", 1)))

    base, glyphs = cell_layers(plane, tooltip=False)
    ring = _chosen(alt.Chart(CELLS))
    ring = ring.transform_calculate(
        eta_y="view == 'straightened' ? datum.eta / datum.natural : datum.eta",
    ).mark_point(shape="square", size=130, filled=False, stroke="#fff", strokeWidth=3.4)
    outline = ring.mark_point(shape="square", size=130, filled=False, stroke="#111", strokeWidth=1.6)
    at = {"x": plane.x, "y": plane.y("eta_y")}
    left = alt.layer(base.add_params(touch, sliders), *glyphs, ring.encode(**at), outline.encode(**at))
    left = left.properties(width=theme.PLANE, height=HEIGHT, title=plane.title)

    panels = [_readout(), _loss_panel(steps, ranges)]
    if lam_steps.size:
        panels.append(_sharpness_panel(lam_steps, ranges))
    right = alt.vconcat(*panels, spacing=10)
    clock = alt.param(
        name="clock",
        value="t",
        bind=alt.binding_radio(options=["t", "tau"], labels=["steps t", "τ = ηt/γ"], name="clock "),
    )
    chart = theme.beside(left, right).add_params(view_param(view), clock).properties(datasets=plane.data)
    chart = chart.resolve_scale(color="independent", x="independent", y="independent")
    note = _note(caption or "Touch the plane. ", runs, chosen)
    return figure(theme.finished(chart), _summary(shown, start, steps), _table(shown, one), note, label)


# -- rows --------------------------------------------------------------------------------------------------------------


def _with_curves(table: pd.DataFrame, one: xr.Dataset) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The cells of one seed with its curves as lists; the steps of the loss and those of the sharpness."""
    axis = "eta" if "eta" in one.dims else "trial"
    step = one["step"].values.astype(int)
    loss = one["loss"].transpose("gamma", axis, "step").values
    lam = one["sharpness"].transpose("gamma", axis, "step").values if "sharpness" in one else np.full_like(loss, np.nan)
    kept = np.isfinite(lam).any(axis=(0, 1))
    died = one["diverged_at"].transpose("gamma", axis).values if "diverged_at" in one else np.full(loss.shape[:2], -1)
    rows = table.copy()
    rows["loss"] = [_curve(loss[place]) for place in table.place]
    rows["lam"] = [_curve(lam[place][kept]) for place in table.place]
    rows["died"] = [int(died[place]) for place in table.place]
    run = one["status"].transpose("gamma", axis).values
    rows["seen"] = [int(run[place] in (0, 1)) for place in table.place]
    return rows, step, step[kept]


def _curve(values: np.ndarray) -> list[float | None]:
    """A curve cut after its last finite value; holes within it, and what is not positive, become None."""
    good = np.isfinite(values) & (values > 0)
    end = int(np.nonzero(good)[0][-1]) + 1 if good.any() else 0
    return [theme.significant(v) if ok else None for v, ok in zip(values[:end], good[:end], strict=True)]


def _plain_rows(shown: pd.DataFrame) -> list[dict[str, Any]]:
    """JSON rows; the places in log10, which the controls hold, to four decimals."""
    drawn = shown.drop(columns=["place", "seen"])
    rows = records(drawn)
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
        name="hover",
        fields=["log_gamma", "log_eta"],
        on=f"pointerover[{_ON_A_CELL}]",
        clear="pointerout",
        empty=False,
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
    return (
        chart.transform_calculate(away=f"1000 * {away['log_gamma']} + {away['log_eta']} + {hair}")
        .transform_joinaggregate(nearest="min(away)")
        .transform_filter("datum.away == datum.nearest")
    )


# -- curves ------------------------------------------------------------------------------------------------------------


class _Ranges:
    """The fixed ranges of the curves' axes, so that nothing but the curve moves while the reader drags."""

    def __init__(self, one: xr.Dataset, shown: pd.DataFrame, width: int) -> None:
        self.width = width
        self.steps = (1.0, float(last_step(one)))
        rate = shown.eta / shown.gamma
        self.tau = (float(rate.min()), float(rate.max()) * last_step(one))
        losses = one["loss"].where(one["status"] == OK).values
        self.initial = float(np.nanmean(one["initial_loss"].values))
        low = np.nanquantile(losses[losses > 0], 0.002) if np.any(losses > 0) else self.initial / 10
        self.loss = (min(float(low), self.initial / 9) / 1.5, self.initial * 10)
        self.ratio = (1e-3, 10.0)

    @property
    def x(self) -> alt.X:
        low, high = (
            alt.ExprRef(f"{_TAU} ? {theme.significant(tau)} : {theme.significant(t)}")
            for tau, t in zip(self.tau, self.steps, strict=True)
        )
        scale = alt.Scale(type="log", domain=[low, high], nice=False)
        axis = theme.log_axis(None, min(self.tau[0], 1), max(self.tau[1], self.steps[1]), every=1)
        return alt.X("x:Q", scale=scale, axis=axis)


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
    return text.encode(x=alt.value(-30), y=alt.value(8), text="words:N").properties(width=_CURVES, height=16)


def _loss_panel(steps: np.ndarray, ranges: _Ranges) -> Any:
    scale = theme.log_scale(*ranges.loss)
    y = alt.Y("loss:Q", scale=scale, axis=theme.log_axis(None, *ranges.loss, every=1))
    curve = _flattened("loss", steps)
    line = curve.mark_line(clip=True, strokeWidth=2.2).encode(x=ranges.x, y=y, color=theme.gamma_colour(), order="t:Q")
    level = alt.YDatum(theme.significant(ranges.initial), type="quantitative")
    initial = alt.Chart(alt.InlineData(values=[{}])).mark_rule(opacity=0.45, strokeDash=[1, 3])
    title = alt.TitleParams(text="training loss (dotted: at step 0)")
    return alt.layer(initial.encode(y=level), line).properties(width=_CURVES, height=150, title=title)


def _sharpness_panel(steps: np.ndarray, ranges: _Ranges) -> Any:
    y = alt.Y("ratio:Q", scale=theme.log_scale(*ranges.ratio), axis=theme.log_axis(None, *ranges.ratio, every=1))
    curve = _flattened("lam", steps)
    curve = curve.transform_calculate(ratio=f"datum.lam * {ranges.width} * datum.eta / 2")
    colour = theme.gamma_colour()
    line = curve.mark_line(clip=True, strokeWidth=2.2, point={"size": 22}).encode(
        x=ranges.x, y=y, color=colour, order="t:Q"
    )
    stability = alt.Chart(alt.InlineData(values=[{"ratio": 1}])).mark_rule(color=theme.STABILITY, strokeWidth=1.6)
    name = alt.Chart(alt.InlineData(values=[{}])).mark_text(
        text="red: stability line", color=theme.TEXT, align="right", baseline="bottom"
    )
    title = alt.TitleParams(text="λ_max ÷ (2/lr_raw)")
    axis_name = (
        alt.Chart(alt.InlineData(values=[{}]))
        .mark_text(align="right", baseline="top")
        .encode(x=alt.value(_CURVES), y=alt.value(130), text=alt.value(alt.ExprRef(f"{_TAU} ? 'τ = ηt/γ' : 'steps t'")))
    )
    return alt.layer(
        stability.encode(y=y), name.encode(x=alt.value(_CURVES), y=alt.value(-6)), line, axis_name
    ).properties(width=_CURVES, height=100, title=title)


# -- words -------------------------------------------------------------------------------------------------------------


def _note(words: str, runs: xr.Dataset, seed: int) -> str:
    return (
        f"{words.rstrip()} Left, the plane: colour is the late loss over the initial loss, mean over seeds; "
        "×: diverged (more than half of the seeds); dot: finite, but not converged, "
        f"dead or too slow for T (late loss at least {found.CONVERGED_BELOW} of the initial one); "
        f"blank: not run. Straightened: η over natural η, {natural_words(runs)}. "
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


def _table(shown: pd.DataFrame, one: xr.Dataset) -> pd.DataFrame:
    """The best cell at every γ, with its last loss and last sharpness."""
    alive = shown[shown.late.notna()]
    best = alive.loc[alive.groupby("gamma").late.idxmin()]
    last = [next((v for v in reversed(curve) if v is not None), np.nan) for curve in best["loss"]]
    table = pd.DataFrame({"γ": best.gamma, "best η run": best.eta, "late ÷ initial loss": best.late, "last loss": last})
    if any(best["lam"].map(len)):
        table["last λ_max"] = [next((v for v in reversed(c) if v is not None), np.nan) for c in best["lam"]]
    return table.reset_index(drop=True)
