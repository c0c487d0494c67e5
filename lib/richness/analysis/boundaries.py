r"""From a portrait to its boundaries, and from a boundary to an exponent with an interval.

What counts as converged, learned or stable is decided in `richness.runs.outcomes`, and can be had from here. Every
threshold is an argument, ``eta_max(runs, below=0.7)``, and what comes out says in ``attrs["definition"]`` and
``attrs["threshold"]`` which was used.

Five boundaries, each an η at every γ and seed:

* `eta_max`: the largest η that converges;
* `eta_works`: the largest η at which the network still classifies, however its loss oscillates;
* `eta_min`: the smallest η that has learned when a budget of steps is spent;
* `eta_crit`: the onset of instability, where the early loss first overshoots;
* `eta_star`: the best η.

A boundary is known only to lie between two neighbouring η of those that were run: it is placed at their geometric
midpoint and carries half their distance (`half_cell`, in decades), which `fit` turns into part of the interval. Where
nothing was run on the far side, the boundary was not seen: NaN, and counted in ``attrs["censored"]``.

Results come with a common ``eta`` axis, or, from a boundary search, with a dimension ``trial`` and a coordinate
``eta(gamma, trial)`` in any order, NaN where a trial was not used. Both give the same boundaries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from richness.analysis.stats import percentile_interval, resample_counts
from richness.runs.outcomes import (
    APPROACHES,
    CONVERGED_BELOW,
    LEARNED_BELOW,
    STABLE_BELOW,
    WORKING,
    WORKS_ABOVE,
    Approach,
    converged,
    dead,
    learned,
    stable,
    works,
)
from richness.runs.results import STATUS

__all__ = [
    "CONVERGED_BELOW",
    "LAZY_WINDOWS",
    "LEARNED_BELOW",
    "RICH_WINDOWS",
    "RICH_WINDOWS_MIN",
    "RICH_WINDOWS_T",
    "STABLE_BELOW",
    "STAR_WITHIN",
    "WORKS_ABOVE",
    "Fit",
    "boundaries",
    "converged",
    "dead",
    "eta_crit",
    "eta_max",
    "eta_min",
    "eta_star",
    "eta_works",
    "fit",
    "fit_budget",
    "learned",
    "stable",
    "tip",
    "works",
]

Window = tuple[float, float]

#: Two windows of γ a side, both ends included: a slope is only as firm as its change from one to the other. On the lazy
#: side the catapult's band opens near γ ≈ 0.03, so both stop well before it.
LAZY_WINDOWS: tuple[Window, Window] = ((0.0, 10**-2.5), (0.0, 1e-2))

#: [1, 100] stays clear of the triangle's tip; [10, 1e4] is nearer to the asymptote.
RICH_WINDOWS: tuple[Window, Window] = ((1.0, 1e2), (10.0, 1e4))

#: For η_min: its correction falls only as γ^{−(L−2)/L}, so both windows start later (theory's slope for L = 3 is 1.18
#: and 1.06 there, against 1.48 on [1, 100]).
RICH_WINDOWS_MIN: tuple[Window, Window] = ((10.0, 1e3), (1e2, 1e4))

#: For η_min against T: nearer to γ = 1, for a quarter of the budget must still suffice to learn, and at large γ the
#: triangle has closed by then.
RICH_WINDOWS_T: tuple[Window, Window] = ((3.0, 1e2), (10.0, 1e3))

#: `eta_star` fits its parabola to the cells around the smallest late loss that are within this factor of it: about as
#: far as the bottom of the bowl reaches, so that noise of a few per cent cannot move its lowest point by much.
STAR_WITHIN = 1.25

_STAR_CELLS = 2  # and to at least this many either side, however steep the bowl

_SLACK = 1 + 1e-6  # window ends include grid points that rounding moved


# -- positions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Grid:
    """The cells that were run at every γ and seed, in the order in which η comes.

    ``log_eta`` is log10 η with shape (gamma, trial, seed); NaN, and last, where a cell was not run.
    """

    log_eta: np.ndarray
    order: np.ndarray
    axis: str

    @classmethod
    def of(cls, runs: xr.Dataset, coming: int = +1) -> _Grid:
        axis = "trial" if "trial" in runs.dims else "eta"
        if "eta" not in runs.coords or "gamma" not in runs.coords or axis not in runs.status.dims:
            raise ValueError(
                "boundaries need results with coordinates gamma and eta, either eta(eta) or eta(gamma, trial); "
                f"got dimensions {dict(runs.sizes)}."
            )
        eta = runs.eta.where((runs.status != STATUS["not_run"]) & (runs.eta > 0))
        log_eta = np.log10(eta.transpose("gamma", axis, "seed").values)
        order = np.argsort(coming * log_eta, axis=1, kind="stable")
        return cls(np.take_along_axis(log_eta, order, 1), order, axis)

    def sort(self, array: xr.DataArray) -> np.ndarray:
        """``array`` as numpy, (gamma, trial, seed, ...), in this order."""
        rest = [dim for dim in array.dims if dim not in ("gamma", self.axis, "seed")]
        values = array.transpose("gamma", self.axis, "seed", *rest).values
        return np.take_along_axis(values, self.order.reshape(self.order.shape + (1,) * (values.ndim - 3)), axis=1)


def _first(runs: xr.Dataset, name: str, definition: str, approach: Approach) -> xr.DataArray:
    """The boundary between the first run that shows the event, as η comes from its side, and the run before it."""
    grid = _Grid.of(runs, approach.coming)
    event = grid.sort(approach.event(runs))
    log_eta = np.broadcast_to(grid.log_eta.reshape(grid.log_eta.shape + (1,) * (event.ndim - 3)), event.shape)
    event = event & np.isfinite(log_eta)
    first, met = np.argmax(event, axis=1), event.any(axis=1)
    here, before = (np.take_along_axis(log_eta, at[:, None], 1)[:, 0] for at in (first, np.maximum(first - 1, 0)))
    seen = met & (first > 0)
    # an overshoot there always is, somewhere: where none was met, it lies beyond what was run
    somewhere = np.isfinite(log_eta).any(axis=1) if name == "eta_crit" else met
    position = np.where(seen, (here + before) / 2, np.nan)
    half_cell = np.where(seen, np.abs(here - before) / 2, np.nan)
    return _pack(runs, name, definition, approach.threshold, position, half_cell, somewhere & ~seen)


def _pack(
    runs: xr.Dataset,
    name: str,
    definition: str,
    threshold: float,
    position: np.ndarray,
    half_cell: np.ndarray,
    censored: np.ndarray,
) -> xr.DataArray:
    dims: tuple[str, ...] = ("gamma", "seed", "budget")[: position.ndim]
    coords: dict[str, Any] = {dim: _budgets(runs) if dim == "budget" else runs[dim].values for dim in dims}
    coords["half_cell"] = (dims, half_cell)
    attrs = {
        "long_name": name,
        "definition": definition,
        "threshold": threshold,
        "units": "1 (η; lr_raw is width times it)",
        "censored": int(censored.sum()),
        "censored_at": runs.gamma.values[censored.reshape(len(censored), -1).any(axis=1)].tolist(),
        "absent": int((np.isnan(position) & ~censored).sum()),
    }
    return xr.DataArray(10.0**position, coords=coords, dims=dims, name=name, attrs=attrs)


def _budgets(runs: xr.Dataset) -> np.ndarray:
    return runs.budget.values if "budget_loss" in runs else np.array([int(runs.step[-1])])


def eta_max(runs: xr.Dataset, below: float = CONVERGED_BELOW) -> xr.DataArray:
    """The largest η that converges, (gamma, seed): between the topmost converged cell and the next one above it.

    The topmost, as when η comes down from above until the first run that converges: catapults that land belong inside.

    Args:
        below: the share of the initial loss below which a late loss has converged.

    Returns:
        η, with the coordinate ``half_cell`` (decades of η) and attrs ``definition``, ``threshold``, ``censored`` (at how many γ
        and seeds nothing was run above it; ``censored_at`` lists the γ) and ``absent`` (nothing converged at all).

    Raises:
        ValueError: the threshold is not a positive number.
    """
    definition = f"largest η with status ok and late loss < {below} × initial loss"
    return _first(runs, "eta_max", definition, APPROACHES["eta_max"].at(below))


def eta_works(runs: xr.Dataset, above: float = WORKS_ABOVE) -> xr.DataArray:
    """The largest η that works, (gamma, seed): between the topmost cell that `works` and the next one above it.

    The paper's largest η under cross-entropy, slope 1 on the lazy side: gradients are bounded there, so that a run can
    oscillate far above `eta_crit` without diverging. Its loss may stay above the initial one; what it has learned is told
    by its accuracy. Returns as `eta_max` does.

    Raises:
        ValueError: the accuracy was not recorded.
    """
    definition = f"largest η with status ok and held-out accuracy at the last step > {above}"
    return _first(runs, "eta_works", definition, WORKING.at(above))


def eta_min(runs: xr.Dataset, below: float = LEARNED_BELOW) -> xr.DataArray:
    """The smallest η that has learned, (gamma, seed, budget): between the lowest learned cell and the one below it.

    ``budget`` is the number of steps T at which the run counts as stopped; see `learned`. Returns as `eta_max` does.
    """
    definition = f"smallest η with late loss at the budget < {below} × initial loss"
    return _first(runs, "eta_min", definition, APPROACHES["eta_min"].at(below))


def eta_crit(runs: xr.Dataset, below: float = STABLE_BELOW) -> xr.DataArray:
    """The onset of instability, (gamma, seed): coming up in η, where the early loss first overshoots.

    Between the last of the first stretch of `stable` runs and the next. Coming up, because far above the boundary
    a network can die in a single step, and its loss then never passes the line. Returns as `eta_max` does.
    """
    definition = f"largest η below the first whose loss passes {below} × initial loss within 60 steps"
    return _first(runs, "eta_crit", definition, APPROACHES["eta_crit"].at(below))


def eta_star(runs: xr.Dataset, below: float = CONVERGED_BELOW) -> xr.DataArray:
    """The best η, (gamma, seed): the smallest late loss among converged cells, refined so that noise moves it little.

    A parabola in log10 η is fitted to log10 late loss over the unbroken stretch of converged cells around the smallest
    that are within `STAR_WITHIN` of it (two either side at least); its lowest point is taken, where it opens upwards
    and that point lies within those cells, and the smallest cell itself otherwise. ``half_cell`` is half the spacing.
    Returns as `eta_max` does; censored where the smallest cell has a neighbour that was not run.
    """
    grid = _Grid.of(runs)
    good, late, run = grid.sort(converged(runs, below)), grid.sort(runs.late_loss), np.isfinite(grid.log_eta)
    gammas, trials, seeds = good.shape
    position, half_cell = np.full((2, gammas, seeds), np.nan)
    censored = np.zeros((gammas, seeds), dtype=bool)
    for g, s in zip(*np.nonzero(good.any(axis=1)), strict=True):
        best = int(np.nanargmin(np.where(good[g, :, s], late[g, :, s], np.nan)))
        if best in (0, trials - 1) or not (run[g, best - 1, s] and run[g, best + 1, s]):
            censored[g, s] = True
            continue
        position[g, s], half_cell[g, s] = _lowest_point(grid.log_eta[g, :, s], late[g, :, s], good[g, :, s], best)
    definition = f"η of the smallest late loss (parabola in log η over the cells within {STAR_WITHIN} × the smallest)"
    return _pack(runs, "eta_star", definition, below, position, half_cell, censored)


def _lowest_point(log_eta: np.ndarray, late: np.ndarray, good: np.ndarray, best: int) -> tuple[float, float]:
    """Position (log10 η) and half a cell (decades) of the smallest of ``late``, by a parabola around ``best``."""
    near = good & (late <= STAR_WITHIN * late[best])
    first, last = best, best
    while first > 0 and good[first - 1] and (near[first - 1] or best - first < _STAR_CELLS):
        first -= 1
    while last < late.size - 1 and good[last + 1] and (near[last + 1] or last - best < _STAR_CELLS):
        last += 1
    cells = np.arange(first, last + 1)
    cells = cells[late[cells] > 0]
    x = log_eta[cells] - log_eta[best]
    neighbours = log_eta[best + 1] - log_eta[best - 1]
    if cells.size >= 4:
        curvature, tilt, _ = np.polyfit(x, np.log10(late[cells]), 2)
        if curvature > 0 and x[0] <= -tilt / (2 * curvature) <= x[-1]:
            return float(log_eta[best] - tilt / (2 * curvature)), float(neighbours / 4)
    return float(log_eta[best]), float(neighbours / 4)


def tip(runs: xr.Dataset, below: float = LEARNED_BELOW) -> xr.DataArray:
    """Where the band closes: the γ from which on no η has learned within a budget, (seed, budget).

    Coming up in γ from 1 (or from the first γ at which something learned), between the last γ at which some η `learned`
    and the next. No line is drawn on: the tip is seen or it is not.

    Returns:
        γ, with the coordinate ``half_cell`` (decades of γ) and attrs ``definition`` and ``censored`` (something learned at
        the largest γ of all: the tip lies beyond); NaN there, and where nothing learned anywhere.
    """
    axis = "trial" if "trial" in runs.dims else "eta"
    some = learned(runs, below).any(axis).transpose("gamma", "seed", "budget").values
    log_gamma = np.log10(runs.gamma.values.astype(np.float64))
    position, half_cell = np.full((2, *some.shape[1:]), np.nan)
    censored = 0
    for place in np.ndindex(some.shape[1:]):
        here = some[(slice(None), *place)]
        first = np.flatnonzero(here & (log_gamma > -1e-6))[:1]
        closed = np.flatnonzero(~here & (np.arange(here.size) > first)) if first.size else first
        if closed.size:
            last, beyond = log_gamma[closed[0] - 1], log_gamma[closed[0]]
            position[place], half_cell[place] = (last + beyond) / 2, (beyond - last) / 2
        censored += int(first.size > closed.size)  # something learned up to the largest γ of all
    dims = ("seed", "budget")
    coords = {"seed": runs.seed.values, "budget": _budgets(runs), "half_cell": (dims, half_cell)}
    attrs = {
        "long_name": "tip",
        "definition": f"γ from 1 upwards beyond which no η has late loss at the budget < {below} × initial loss",
        "threshold": below,
        "units": "1",
        "censored": censored,
    }
    return xr.DataArray(10.0**position, coords=coords, dims=dims, name="tip", attrs=attrs)


def boundaries(runs: xr.Dataset, thresholds: Mapping[str, float] | None = None) -> xr.Dataset:
    """All boundaries in one Dataset: ``eta_max``, ``eta_crit``, ``eta_star`` over (gamma, seed), ``eta_min`` with
    ``budget`` besides, and ``eta_works`` where the accuracy was recorded. Of several batch sizes, with ``batch`` in front.

    ``half_cell`` is left out, since it differs between them.

    Args:
        thresholds: boundary -> its threshold, where it is to be another than its own: ``{"eta_max": 0.7}``.

    Raises:
        ValueError: no such boundary, or no positive number.
    """
    if "batch" in runs.dims:
        each = [boundaries(runs.sel(batch=size, drop=True), thresholds) for size in runs.batch.values]
        return xr.concat(each, runs.batch, combine_attrs="drop_conflicts")
    measures = (eta_max, eta_min, eta_crit, eta_star, *((eta_works,) if "accuracy" in runs else ()))
    own = {name: (value,) for name, value in (thresholds or {}).items()}
    if unknown := own.keys() - {measure.__name__ for measure in measures}:
        raise ValueError(f"thresholds are of {', '.join(one.__name__ for one in measures)}, got {', '.join(unknown)}")
    found = (measure(runs, *own.get(measure.__name__, ())) for measure in measures)
    return xr.Dataset({one.name: one.drop_vars("half_cell") for one in found})


# -- exponents ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """An exponent, and what it rests on.

    Attributes:
        slope: of log10 η against log10 γ (or against log10 T, from `fit_budget`).
        interval: 95 %, (low, high).
        intercept: log10 η at γ = 1 (from `fit_budget`: at T = 1, over the mean of log10 γ).
        window: the smallest and the largest γ used.
        gammas: the γ used; pass them to `richness.analysis.theory.slope` for theory's slope over the same points.
        points: how many γ.
        seeds: how many seeds.
        residual: root mean square of the residuals, in decades of η.
        method: one sentence.
    """

    slope: float
    interval: tuple[float, float]
    intercept: float
    window: Window
    gammas: tuple[float, ...]
    points: int
    seeds: int
    residual: float
    method: str

    @property
    def width(self) -> float:
        """The interval's width."""
        return self.interval[1] - self.interval[0]

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies in the interval."""
        return self.interval[0] <= value <= self.interval[1]

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.slope:.3f} [{low:.3f}, {high:.3f}] on γ in [{self.window[0]:.3g}, {self.window[1]:.3g}], "
            f"{self.points} γ, {self.seeds} seeds"
        )


def _select(boundary: xr.DataArray, window: Window, dims: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """γ, log10 η and half cell inside the window, without the γ at which no seed saw the boundary."""
    if set(boundary.dims) != set(dims):
        extra = " pick one budget first, as in boundary.sel(budget=1000)." if "budget" in boundary.dims else ""
        raise ValueError(f"the fit expects a boundary over {tuple(dims)}, got {boundary.dims}.{extra}")
    low, high = window
    if not low < high:
        raise ValueError(f"a window is (low, high) with low < high, got {window!r}.")
    boundary = boundary.transpose(*dims)
    gamma = boundary.gamma.values.astype(np.float64)
    inside = (gamma >= low / _SLACK) & (gamma <= high * _SLACK)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_eta = np.log10(boundary.values.astype(np.float64))
    half = boundary.half_cell.transpose(*dims).values if "half_cell" in boundary.coords else np.zeros(log_eta.shape)
    if "budget" in dims:  # a γ counts only where every budget was seen by that seed
        log_eta = np.where(np.isfinite(log_eta).all(axis=-1, keepdims=True), log_eta, np.nan)
    keep = inside & np.isfinite(log_eta).any(axis=tuple(range(1, log_eta.ndim)))
    if keep.sum() < 4:
        raise ValueError(
            f"a slope needs the boundary at 4 γ or more in the window [{low:g}, {high:g}]; "
            f"{int(inside.sum())} γ of the grid lie in it and the boundary was seen at {int(keep.sum())}. "
            "Widen the window, or run more γ or a wider band of η."
        )
    return gamma[keep], log_eta[keep], half[keep]


def _mean_over_seeds(y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over seeds of y (gamma, seed) with seed weights (resample, seed), NaN skipped: (resample, gamma)."""
    known = np.isfinite(y)
    with np.errstate(invalid="ignore"):
        return (weights @ np.where(known, y, 0).T) / (weights @ known.T)


def _weighted_slope(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Least-squares slopes of y (resample, gamma) on x (gamma) with weights (resample, gamma); NaN y gets weight 0."""
    weights = np.where(np.isfinite(y), weights, 0.0)
    y = np.where(np.isfinite(y), y, 0.0)
    total = weights.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        centred = x - (weights @ x)[:, None] / total
        spread = (weights * centred**2).sum(axis=1)
        return (weights * centred * y).sum(axis=1) / np.where(spread > 1e-12, spread, np.nan)


def fit(boundary: xr.DataArray, window: Window, resamples: int = 2000, random_state: int = 0) -> Fit:
    """The exponent of a boundary: least squares of log10 η (mean over seeds) on log10 γ.

    The interval is a 95 % percentile bootstrap that resamples seeds *and* γ, and draws where in its grid cell each
    boundary lies, uniformly, once per γ and shared by the seeds: on a common η axis the seeds mostly fall into the same
    cell, and three copies of one rounding are not three measurements. Seeds alone would understate the uncertainty;
    this errs on the wide side, for the scatter of the points about the line already holds some of the rounding.

    Args:
        boundary: η over (gamma, seed), as the functions above return it; NaN is ignored.
        window: (low, high) of γ, both ends included.
        resamples: number of bootstrap resamples.
        random_state: seed of the bootstrap; the same arguments always give the same interval.

    Raises:
        ValueError: for another shape (pick a budget first), an empty window, or fewer than 4 γ with a boundary.
    """
    gamma, y, half = _select(boundary, window, ("gamma", "seed"))
    x = np.log10(gamma)
    mean = np.nanmean(y, axis=1)
    slope, intercept = np.polyfit(x, mean, 1)
    draws = np.random.default_rng(random_state)
    seed_counts = resample_counts(draws, resamples, y.shape[1])
    placed = np.nanmean(half, axis=1) * draws.uniform(-1, 1, (resamples, x.size))
    weights = resample_counts(draws, resamples, x.size)
    slopes = _weighted_slope(x, _mean_over_seeds(y, seed_counts) + placed, weights)
    method = "Least squares of log10 η, mean over seeds, on log10 γ; 95 % bootstrap over seeds, γ and the place of "
    method += f"the boundary within its grid cell, {resamples} resamples."
    return _make_fit(slope, intercept, slopes, mean - slope * x - intercept, gamma, y, method)


def fit_budget(boundary: xr.DataArray, window: Window, resamples: int = 2000, random_state: int = 0) -> Fit:
    """The exponent of a boundary in the budget T: least squares of log10 η on log10 T, each γ with its own intercept.

    The interval is the bootstrap of `fit`: seeds and γ are resampled, the budgets are not, and each boundary is placed
    uniformly within its cell, once per γ and budget.

    Args:
        boundary: η over (gamma, seed, budget), as `eta_min` returns it; a seed counts at a γ where it saw all.
        window, resamples, random_state: as in `fit`.

    Raises:
        ValueError: for another shape, fewer than three budgets, or fewer than 4 γ with a boundary at every budget.
    """
    dims = ("gamma", "seed", "budget")
    if "budget" not in boundary.dims or boundary.sizes["budget"] < 3:
        raise ValueError(
            f"a slope in T needs a boundary over {dims} with three budgets or more, got {dict(boundary.sizes)}; "
            "run the sweep with budgets=(250, 500, 1000), for example."
        )
    gamma, y, half = _select(boundary, window, dims)
    x = np.log10(boundary.budget.values.astype(np.float64))
    centred = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    per_seed = y @ centred  # (gamma, seed); NaN where a budget was not seen
    slope = float(np.nanmean(np.nanmean(per_seed, axis=1)))
    draws = np.random.default_rng(random_state)
    seed_counts = resample_counts(draws, resamples, y.shape[1])
    placed = (np.nanmean(half, axis=1) * draws.uniform(-1, 1, (resamples, gamma.size, x.size))) @ centred
    slopes = _mean_over_seeds(per_seed, seed_counts) + placed
    weights = resample_counts(draws, resamples, gamma.size) * np.isfinite(slopes)
    with np.errstate(invalid="ignore"):
        resampled = (weights * np.where(np.isfinite(slopes), slopes, 0)).sum(axis=1) / weights.sum(axis=1)
    mean = np.nanmean(y, axis=1)
    residual = mean - mean.mean(axis=1, keepdims=True) - slope * (x - x.mean())
    budgets = ", ".join(str(int(b)) for b in boundary.budget.values)
    method = f"Least squares of log10 η on log10 T, T = {budgets}, one intercept per γ; 95 % bootstrap over seeds, γ and the "
    method += f"place of the boundary within its grid cell, {resamples} resamples."
    return _make_fit(slope, mean.mean() - slope * x.mean(), resampled, residual, gamma, per_seed, method)


def _make_fit(
    slope: float,
    intercept: float,
    resampled: np.ndarray,
    residuals: np.ndarray,
    gamma: np.ndarray,
    known: np.ndarray,
    method: str,
) -> Fit:
    """``known`` (gamma, seed): finite where a seed counted."""
    return Fit(
        slope=float(slope),
        interval=percentile_interval(resampled),
        intercept=float(intercept),
        window=(float(gamma[0]), float(gamma[-1])),
        gammas=tuple(gamma.tolist()),
        points=gamma.size,
        seeds=int(np.isfinite(known).any(axis=0).sum()),
        residual=float(np.sqrt(np.mean(residuals**2))),
        method=method,
    )
