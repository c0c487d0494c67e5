"""The dynamics in numbers, C6 to C10: catapults, silent alignment, plateaus and steps, the edge of stability, the collapse.

Curves are read as `richness.studies.dynamics.curves` says. Where a claim has no exponent, its criterion stands in the ledger's
column *predicted* and is judged in two settings, which are the claim's two rows: *reproduced* where both hold, *partly* where
one does.

Intervals: for a mean over seeds Student's, at 95 %; for exponents the bootstrap over seeds and γ of
`richness.analysis.boundaries`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import xarray as xr
from scipy.signal import find_peaks

from richness.analysis.boundaries import CONVERGED_BELOW, STABLE_BELOW, Fit, Window
from richness.analysis.exponents import Exponent, exponent_rows, fit_exponent
from richness.analysis.ledger import (
    WITHIN,
    Claim,
    Held,
    Load,
    judge_range,
    mean_columns,
    result_rows,
    scale_of,
    verdict,
)
from richness.analysis.stats import Mean, mean_over_seeds, percentile_interval, resample_counts
from richness.runs.results import STATUS, recipe_fields
from richness.studies.dynamics import clocks
from richness.studies.dynamics.curves import (
    PLATEAU_LEVEL,
    SMOOTHED,
    find_passage,
    largest_eta,
    model_plateau,
    plateau_length,
    relative_loss,
    stability_ratio,
)

CHAPTER = "04-dynamics"

#: C6. About a factor 2: within a factor 1.5 of it.
CATAPULT_BAND = (4 / 3, 3.0)
CATAPULT_WINDOWS: tuple[Window, Window] = ((0.01, 0.05), (0.05, 0.2))

#: C7. The loss is flat while it has not lost this share of its initial value.
SILENT_LOSS = 0.05
#: … and the kernel has aligned in silence if this share of its rise was over by then. What the whole rise is decides the
#: share: over the run, or, as this book first had it, until the loss has halved, which leaves out whatever aligns later.
SILENT_SHARE = 0.5

#: A step is a peak of −d log L / d log t that stands out by this much from the saddles beside it …
STEP_PROMINENCE = 1.0
#: … of a loss cut off at this share of the initial one: a run that has come so far is done.
STEP_FLOOR = 1e-3

#: C9. At the edge of stability λ_max·lr_raw/2 lies within these … (On digits8 the recipe first had 14 times the natural η,
#: at which batches of 64 settled at 0.77, short of it, and batches of 512 at 1.04; at 17 times it both are there.)
EDGE = (0.8, 1.2)
#: … having started below this, so that it was carried there.
EDGE_START = 0.5

#: C10. The windows of γ, of C8's plateaus too.
RICH_WINDOWS: tuple[Window, Window] = ((1e2, 1e3), (1e3, 1e4))
#: Curves are compared from where the first has lost this share …
COLLAPSE_FROM = 0.05
#: … to where the last has come down to this share of the initial loss: past the first drop, and further.
COLLAPSE_LEVELS = {"first drop": PLATEAU_LEVEL, "further": 0.5}
#: The spread in τ over the spread in t·η: a collapse leaves less than this of it.
SCORE_BELOW = 0.25

#: A plateau in τ that grows by more than this share of itself an e-fold of γ is not constant, and one that grows by less is:
#: the growth is an exponent less 1, so this is the tolerance of the ledger's exponents. (It was 0.02 before the first
#: measurement, which gave −0.022 for L = 3 in one window: stricter than the rule for the same number in C8.)
LOG_GROWTH = WITHIN

STREAMS = {"digits8": "collapse_mlp3", "teacher": "collapse_mlp3_teacher"}
ALIGNMENT = {depth: f"silent_alignment_mlp{depth}" for depth in (2, 3, 4)}
STEPS = {"teacher": ("steps_teacher_mlp3", 4), "staircase": ("steps_staircase_mlp3", 3)}


# -- C6: catapults -----------------------------------------------------------------------------------------------------


def find_catapults(runs: xr.Dataset) -> xr.Dataset:
    """Which runs catapulted: η above 2/(N λ₀), a loss that first rose, a sharpness that fell, and convergence all the same.

    Returns:
        ``catapult`` (gamma, eta, seed), bool: finite throughout, peak loss above `STABLE_BELOW` × the initial, last
        sharpness below the first, late loss below `CONVERGED_BELOW` × the initial. ``critical`` (gamma, seed): 2/(N λ₀), as
        an η. ``first`` and ``last`` (gamma, seed): the smallest and largest η that catapulted, over ``critical``; NaN
        where none did, or (``last``) where the largest η that was run still does.
    """
    measured = np.isfinite(runs.sharpness).any(("gamma", "eta", "seed")).values
    sharpness = runs.sharpness.isel(step=np.flatnonzero(measured))
    start, end = sharpness.isel(step=0), sharpness.isel(step=-1)
    critical = (2 * runs.eta / runs.lr_raw / start).mean("eta")
    made = (
        (runs.status == STATUS["ok"])
        & (runs.eta > critical)
        & (runs.peak_loss > STABLE_BELOW * runs.initial_loss)
        & (end < start)
        & (runs.late_loss < CONVERGED_BELOW * runs.initial_loss)
    ).transpose("gamma", "eta", "seed")
    etas = runs.eta.where(made)
    top = runs.eta.where(runs.status != STATUS["not_run"]).max("eta")
    last = etas.max("eta")
    return xr.Dataset(
        {
            "catapult": made,
            "critical": critical,
            "first": etas.min("eta") / critical,
            "last": last.where(last < top) / critical,
        }
    ).drop_vars("step", errors="ignore")


# -- C7: silent alignment ----------------------------------------------------------------------------------------------


def alignment_rise(runs: xr.Dataset) -> xr.Dataset:
    """How much of the kernel's alignment is over before the loss moves, (gamma, eta, seed).

    The whole rise is from its value at step 0 to its largest along the run; the early one to its largest before the loss has
    halved.

    Returns:
        ``share``: of the whole rise, what was there when the loss had lost `SILENT_LOSS` of itself; ``early_share``: of the
        early one. ``rise``, ``fall``: the steps of the alignment's half-rise (of the early one) and of the loss's half-fall.
        ``start``, ``silent``, ``top``, ``end``: the alignment at step 0, its largest before the loss moves, before the loss
        halves, and of all. NaN where the loss never halves.
    """
    loss, align = xr.broadcast(relative_loss(runs), runs.ntk_alignment)
    names = ("share", "early_share", "rise", "fall", "start", "silent", "top", "end")
    found = xr.apply_ufunc(
        lambda curve, kernel: _rise(curve, kernel, runs.step.values.astype(np.float64)),
        loss, align, input_core_dims=[["step"], ["step"]], output_core_dims=[["what"]], vectorize=True,
    )  # fmt: skip
    return xr.Dataset({name: found.isel(what=i) for i, name in enumerate(names)})


def _rise(curve: np.ndarray, align: np.ndarray, steps: np.ndarray) -> np.ndarray:
    moved, fall = (find_passage(curve, steps, level) for level in (1 - SILENT_LOSS, 0.5))
    known = np.isfinite(align)
    if not (np.isfinite(moved) and np.isfinite(fall) and known.any()):
        return np.full(8, np.nan)
    times, values = steps[known], align[known]

    def largest_until(end: float) -> float:
        at_end = np.interp(np.log1p(end), np.log1p(times), values)
        return float(max(values[times <= end].max(), at_end))

    start, silent, top, end = values[0], largest_until(moved), largest_until(fall), values.max()
    half = np.flatnonzero(values >= (start + top) / 2)
    rise = times[half[0]] if half.size else np.nan
    share, early = ((silent - start) / (of - start) if of > start else 0.0 for of in (end, top))
    return np.array([share, early, rise, fall, start, silent, top, end])


# -- C8: plateaus and steps --------------------------------------------------------------------------------------------


def fit_eta_exponent(length: xr.DataArray, window: Window, resamples: int = 2000, random_state: int = 0) -> Fit:
    """The exponent of the plateau's length in η: at each γ and seed the slope of log t on log η, then their mean.

    Args:
        length: (gamma, eta, seed), as :func:`plateau_length` gives it; a γ and seed count where three η or more were seen.
        window: of γ, both ends included. resamples, random_state: of the bootstrap over seeds and γ.

    Raises:
        ValueError: fewer than 4 γ in the window have a slope.
    """
    inside = length.sel(gamma=slice(window[0] * (1 - 1e-6), window[1] * (1 + 1e-6))).transpose("gamma", "seed", "eta")
    x = np.log10(inside.eta.values)
    slopes = np.array([[_slope(x, np.log10(y)) for y in row] for row in inside.values]).reshape(inside.shape[:2])
    gammas = inside.gamma.values[np.isfinite(slopes).any(axis=1)]
    slopes = slopes[np.isfinite(slopes).any(axis=1)]
    if len(gammas) < 4:
        raise ValueError(
            f"a slope in η needs 4 γ or more at which three η ended their plateau, got {len(gammas)} in the window "
            f"[{window[0]:g}, {window[1]:g}]: run more steps, or more η."
        )
    draws = np.random.default_rng(random_state)
    rows = draws.integers(len(gammas), size=(resamples, len(gammas), 1))
    columns = draws.integers(slopes.shape[1], size=(resamples, 1, slopes.shape[1]))
    return Fit(
        slope=float(np.nanmean(slopes)),
        interval=percentile_interval(np.nanmean(slopes[rows, columns], axis=(1, 2))),
        intercept=float("nan"),
        window=(float(gammas[0]), float(gammas[-1])),
        gammas=tuple(gammas.tolist()),
        points=len(gammas),
        seeds=int(np.isfinite(slopes).any(axis=0).sum()),
        residual=float(np.nanstd(slopes)),
        method="Least squares of log10 t on log10 η at each γ and seed, then the mean; 95 % bootstrap over seeds and γ, "
        f"{resamples} resamples.",
    )


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    known = np.isfinite(y)
    return float(np.polyfit(x[known], y[known], 1)[0]) if known.sum() >= 3 else float("nan")


def find_steps(curve: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """When a loss curve takes its steps: the t of each peak of −d log L/d log t, (steps found,).

    The curve is smoothed as everywhere, read at equal distances of log t, and peaks count whose prominence is at least
    `STEP_PROMINENCE`: between two steps the loss must flatten by that much in exponent. The loss is cut off at `STEP_FLOOR`,
    so that an exponential approach to 0, ever steeper in log t, ends in one step.

    Args:
        curve: loss over the loss at step 0, (points,), smoothed. steps: (points,), ascending.
    """
    known = np.isfinite(curve) & (steps > 0)
    if known.sum() < SMOOTHED:
        return np.array([])
    t, log_loss = np.log(steps[known].astype(np.float64)), np.log(np.maximum(curve[known], STEP_FLOOR))
    grid = np.linspace(t[0], t[-1], 120)
    fall = -np.gradient(np.interp(grid, t, log_loss), grid)
    fall = np.convolve(np.pad(fall, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    peaks, _ = find_peaks(fall, prominence=STEP_PROMINENCE)
    return np.asarray(np.exp(grid[peaks]))


def step_times(runs: xr.Dataset) -> list[dict[str, Any]]:
    """The steps of every run: rows of γ, η, seed and the times t of its steps."""
    loss, found = relative_loss(runs), []
    for gamma in runs.gamma.values.tolist():
        for eta in runs.eta.values.tolist():
            for seed in runs.seed.values.tolist():
                cell = {"gamma": gamma, "eta": eta, "seed": seed}
                if int(runs.status.sel(cell)) == STATUS["ok"]:
                    found.append(cell | {"times": find_steps(loss.sel(cell).values, runs.step.values)})
    return found


# -- C9: the edge of stability -----------------------------------------------------------------------------------------


def measure_edge(runs: xr.Dataset) -> xr.Dataset:
    """λ_max·lr_raw/2 at the start and over the second half of a run, (gamma, eta, seed).

    Returns:
        ``start``: at step 0. ``settled``: the mean over the measurements at t ≥ T/2. ``turn``: the step at which it first
        passes half way, on the log scale, from ``start`` to ``settled``.
    """
    ratio = stability_ratio(runs).where(runs.status == STATUS["ok"])
    start, late = ratio.isel(step=0, drop=True), ratio.sel(step=slice(int(runs.step[-1]) // 2, None))
    settled = late.mean("step")
    passed = ratio >= np.sqrt(np.abs(start * settled))
    turn = ratio.step.where(passed).min("step")
    return xr.Dataset({"start": start, "settled": settled, "turn": turn})


# -- C10: the collapse -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Collapse:
    """How well curves of different γ lie on one another in the rescaled time t·η·γ^(−a), for each exponent a.

    The score is a spread of log10 loss over γ at equal rescaled time: its standard deviation over γ, root mean square over
    a window of log time from where the first curve has lost `COLLAPSE_FROM` of its initial loss to where the last has come
    down to ``floor``, the level asked for or the lowest that all of them reach; mean square over seeds. Where a curve has
    ended, the spread is that of the others (at least two), which flatters exponents that collapse nothing. 0.01 is 2.3 %.

    Attributes:
        exponents: (a,). scores: (a,), decades. best: the exponent of the lowest score, by a parabola through three.
        interval: 95 %, bootstrap over γ and seeds. floor: loss over initial loss.
        etas, gammas: (curves,): the η that stands for each γ. seeds: how many.
    """

    exponents: np.ndarray
    scores: np.ndarray
    best: float
    interval: tuple[float, float]
    floor: float
    gammas: tuple[float, ...]
    etas: tuple[float, ...]
    seeds: int

    def at(self, exponent: float) -> float:
        """The score at an exponent."""
        return float(np.interp(exponent, self.exponents, self.scores))

    @property
    def fit(self) -> Fit:
        """The best exponent as the ledger's rule takes it."""
        return Fit(
            self.best, self.interval, float("nan"), (self.gammas[0], self.gammas[-1]), self.gammas, len(self.gammas),
            self.seeds, self.at(self.best), "The exponent of the lowest spread; 95 % bootstrap over seeds and γ.",
        )  # fmt: skip


EXPONENTS = np.round(np.arange(0.0, 1.5001, 0.025), 3)


def fit_collapse(
    runs: xr.Dataset,
    window: Window = (0.0, np.inf),
    level: float = PLATEAU_LEVEL,
    resamples: int = 200,
    random_state: int = 0,
) -> Collapse:
    """Find the exponent of time that lays the curves of different γ over one another.

    Args:
        runs: a grid of γ and η; each γ is represented by its largest η (kept far enough below η_max by the recipe).
        window: of γ, both ends included. level: the loss over the initial one down to which curves are compared.
        resamples, random_state: of the bootstrap over γ and seeds.

    Raises:
        ValueError: fewer than three γ in the window have a curve that leaves its plateau.
    """
    loss, chosen = relative_loss(runs), largest_eta(runs)
    low, high = window
    gammas = [g for g in runs.gamma.values if low * (1 - 1e-6) <= g <= high * (1 + 1e-6)]
    gammas = [g for g in gammas if np.isfinite(chosen.sel(gamma=g))]
    etas = [float(chosen.sel(gamma=g)) for g in gammas]
    curves = [loss.sel(gamma=g, eta=e).transpose("seed", "step").values for g, e in zip(gammas, etas, strict=True)]
    floor = max(level, *(1.001 * float(np.nanmin(curve, axis=1).max()) for curve in curves))
    if len(curves) < 3 or not floor < 1 - COLLAPSE_FROM:
        raise ValueError(
            f"a collapse needs three γ or more whose loss leaves the plateau, got {len(curves)} γ in the window "
            f"[{low:g}, {high:g}], of which one still has {floor:.2f} of its initial loss: run more steps."
        )
    steps = np.maximum(runs.step.values.astype(np.float64), 0.5)
    spreads = _Curves(np.log10(curves), np.log(steps), np.log(etas), np.log(gammas), floor)
    squares = np.stack([spreads.values(a) for a in EXPONENTS])  # (a, seed, curve, x)
    scores = _scores(squares, np.ones((1, len(curves))), np.ones((1, squares.shape[1])))[0]
    draws = np.random.default_rng(random_state)
    of_gamma, of_seed = (resample_counts(draws, resamples, size) for size in (len(curves), squares.shape[1]))
    spread = (of_gamma > 0).sum(axis=1) > 1
    bests = [_lowest(EXPONENTS, score) for score in _scores(squares, of_gamma[spread], of_seed[spread])]
    return Collapse(
        EXPONENTS, scores, _lowest(EXPONENTS, scores), percentile_interval(np.array(bests)), floor,
        tuple(map(float, gammas)), tuple(etas), squares.shape[1],
    )  # fmt: skip


@dataclass(frozen=True)
class _Curves:
    """log10 loss (curve, seed, step), on log t (step,), with log η and log γ (curve,) and the floor of the comparison."""

    loss: np.ndarray
    log_t: np.ndarray
    log_eta: np.ndarray
    log_gamma: np.ndarray
    floor: float

    def values(self, exponent: float, points: int = 32) -> np.ndarray:
        """log10 loss at equal rescaled times, (seed, curve, points); NaN after a curve's end."""
        shift = self.log_eta - exponent * self.log_gamma
        found = np.empty((self.loss.shape[1], len(shift), points))
        for seed in range(self.loss.shape[1]):
            first = min(self._passes(c, seed, 1 - COLLAPSE_FROM) + shift[c] for c in range(len(shift)))
            last = max(self._passes(c, seed, self.floor) + shift[c] for c in range(len(shift)))
            x = np.linspace(first, last, points)
            for c, moved in enumerate(shift):
                found[seed, c] = np.interp(x, self.log_t + moved, self.loss[c, seed], left=0.0, right=np.nan)
        return found

    def _passes(self, curve: int, seed: int, level: float) -> float:
        """log t at which a curve passes a level for good."""
        values = 10.0 ** self.loss[curve, seed]
        at = find_passage(
            np.append(values, 0.0 * values[-1] + 1e-30), np.append(np.exp(self.log_t), np.exp(self.log_t[-1])), level
        )
        return float(np.log(at))


def _scores(values: np.ndarray, of_gamma: np.ndarray, of_seed: np.ndarray) -> np.ndarray:
    """Scores (resample, a) from values (a, seed, curve, x) with counts of γ (resample, curve) and seeds (resample, seed)."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)

    def over_gamma(counts: np.ndarray, of: np.ndarray) -> np.ndarray:
        return np.tensordot(counts, of, axes=(1, 2))  # (resample, a, seed, x)

    total = over_gamma(of_gamma, known)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, square = (over_gamma(of_gamma, part) / total for part in (filled, filled**2))
    seen = over_gamma((of_gamma > 0).astype(float), known) >= 2
    variance = np.where(seen, np.maximum(square - mean**2, 0.0), 0.0)
    per_seed = variance.sum(axis=-1) / np.maximum(seen.sum(axis=-1), 1)
    return np.asarray(np.sqrt(np.einsum("rs,ras->ra", of_seed, per_seed) / of_seed.sum(axis=1, keepdims=True)))


def _lowest(x: np.ndarray, y: np.ndarray) -> float:
    """Where y is lowest: the vertex of the parabola through the lowest point and its neighbours (x equally spaced)."""
    i = int(np.argmin(y))
    if not 0 < i < len(x) - 1:
        return float(x[i])
    left, middle, right = y[i - 1 : i + 2]
    bend = left - 2 * middle + right
    return float(x[i] + (x[1] - x[0]) * (0.5 * (left - right) / bend if bend > 0 else 0.0))


def log_growth(runs: xr.Dataset, window: Window, resamples: int = 500, random_state: int = 0) -> Fit:
    """How fast the plateau grows in τ = η·t/γ: d τ/d ln γ, over the mean τ in the window.

    A plateau ∝ γ gives 0; a logarithm τ ∝ A + ln γ gives 1/(A + ln γ).

    Args:
        runs: a grid; at each γ its largest η is taken. window: of γ. resamples, random_state: as elsewhere.

    Raises:
        ValueError: fewer than 4 γ in the window have ended their plateau.
    """
    tau = _plateau_tau(runs)
    tau = tau.sel(gamma=slice(window[0] * (1 - 1e-6), window[1] * (1 + 1e-6))).dropna("gamma", how="all")
    if tau.sizes["gamma"] < 4:
        raise ValueError(
            f"the growth of a plateau needs 4 γ or more in the window [{window[0]:g}, {window[1]:g}] at which it ended, got "
            f"{tau.sizes['gamma']}: run more steps."
        )
    x, y = np.log(tau.gamma.values), tau.transpose("gamma", "seed").values
    draws = np.random.default_rng(random_state)

    def growth(rows: np.ndarray, columns: np.ndarray) -> float:
        mean = np.nanmean(y[np.ix_(rows, columns)], axis=1)
        return float(np.polyfit(x[rows], mean, 1)[0] / mean.mean()) if np.unique(rows).size > 1 else float("nan")

    every = growth(np.arange(y.shape[0]), np.arange(y.shape[1]))
    drawn = [growth(*(draws.integers(n, size=(n,)) for n in y.shape)) for _ in range(resamples)]
    gammas = tau.gamma.values
    return Fit(
        every, percentile_interval(np.array(drawn)), float("nan"), (float(gammas[0]), float(gammas[-1])),
        tuple(gammas.tolist()), x.size, y.shape[1], float("nan"),
        "Slope of τ on ln γ over the mean τ; 95 % bootstrap over seeds and γ.",
    )  # fmt: skip


def _plateau_tau(runs: xr.Dataset) -> xr.DataArray:
    """The plateau's end as τ = η·t/γ at each γ's largest η, (gamma, seed)."""
    length, chosen = plateau_length(runs), largest_eta(runs)
    return (length.where(length.eta == chosen).max("eta") * chosen / length.gamma).rename("tau")


# -- the ledger --------------------------------------------------------------------------------------------------------


_claim = partial(Claim, chapter=CHAPTER)
_BAND = (
    f"95 % interval from {CATAPULT_BAND[0]:.2g} to {CATAPULT_BAND[1]:g} (2, within a factor 1.5), "
    "where at least half of the γ and seeds have one"
)
_ALIGNED = f"95 % interval above {SILENT_SHARE:g} at γ = 30 and at γ = 1000, below it in the control at γ = 1"
_COLLAPSED = f"95 % interval below {SCORE_BELOW:g}"
_LOGARITHM = f"95 % interval above {LOG_GROWTH:g}; at L = 3 the growth itself within ±{LOG_GROWTH:g}"
_AT_EDGE = f"95 % interval from {EDGE[0]:g} to {EDGE[1]:g}, every seed from below {EDGE_START:g} at the start"


def _name_part(name: str, stream: str) -> str:
    """A part's name; digits8, where the settings were chosen, goes without saying."""
    return name if stream == "digits8" else f"{name}, {stream}"


CLAIMS = (
    _claim("C6", "whole", "lazy side, MSE: the largest η that catapults and converges, over 2/(N λ₀); geometric mean over γ",
           _BAND),
    *(
        _claim(
            "C7", f"L = {depth}", f"share of the kernel's alignment that is over at 5 % of loss lost, L = {depth}: of its "
            "whole rise, then, for comparison and not judged, of that until the loss has halved", _ALIGNED
        )
        for depth in ALIGNMENT
    ),
    *(
        _claim("C8", _name_part(part, stream), f"plateau's length: exponent in {sign} ({stream})", value)
        for stream in STREAMS
        for part, sign, value in (("gamma", "γ", 1.0), ("eta", "η", -1.0))
    ),
    _claim("C8", "steps", "steps of the loss after the plateau (interval: fewest to most)",
           "in every seed as many as the target has parts: teacher 4, staircase 3"),
    _claim("C9", "digits8", "λ_max·lr_raw/2 over the second half of a rich run (batches of 64, then 512)", _AT_EDGE),
    _claim("C9", "staircase", "the same on the Boolean staircase (γ = 10, then 100)", _AT_EDGE),
    *(
        _claim(
            "C10", _name_part(level, stream),
            f"exponent a that lays γ's curves together in t·η·γ^(−a), {level} ({stream})", 1.0,
        )
        for stream in STREAMS
        for level in COLLAPSE_LEVELS
    ),
    _claim("C10", "score", "spread of log loss in τ over that in t·η (digits8, then teacher)", _COLLAPSED),
    _claim("C10", "L = 2", "growth of the plateau in τ an e-fold of γ, L = 2: a logarithm", _LOGARITHM),
    *clocks.CLAIMS,
)  # fmt: skip


def _of(id: str, part: str) -> Claim:
    return next(claim for claim in CLAIMS if (claim.id, claim.part) == (id, part))


def rows(load: Load, *ids: str) -> list[dict[str, Any]]:
    """The ledger's rows of C6 to C10 and K1 to K3, or of those claims that are named."""
    once = cache(load)
    found = [
        row
        for part in _parts()
        if not ids or part.claims[0].id in ids
        for row in result_rows(once, part.recipes, part.claims, part.measure, ("loss", *part.probes))
    ]
    return found + [row for row in clocks.rows(once) if not ids or row["id"] in ids]


@dataclass(frozen=True)
class _Part:
    """Claims of one id, the recipes whose results they rest on, and how these become rows."""

    claims: tuple[Claim, ...]
    recipes: tuple[str, ...]
    measure: Callable[..., list[dict[str, Any]]]
    probes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Case:
    """One of the two settings in which a criterion is judged: a mean over seeds, the γ it is of, and whether it holds.

    One that is not judged is only shown beside the others.
    """

    mean: Mean
    window: Window
    holds: Held
    lacking: str = "nothing to measure: no run got that far"
    judged: bool = True


def _parts() -> list[_Part]:
    """Everything that is measured for the ledger, in its order."""
    rich, richer = partial(_edge_cases, (10.0, 10.0)), partial(_edge_cases, (10.0, 100.0))
    edge = "edge_of_stability_mlp3"
    return [
        _judge("C6", "whole", ["catapult_mlp3_mse"], _catapult_cases, "sharpness"),
        *(_judge("C7", f"L = {depth}", [name], _alignment_cases, "ntk_alignment") for depth, name in ALIGNMENT.items()),
        *(_plateau_part(stream) for stream in STREAMS),
        _judge("C8", "steps", [name for name, _ in STEPS.values()], _step_cases),
        _judge("C9", "digits8", [edge, f"{edge}_large_batch"], rich, "sharpness"),
        _judge("C9", "staircase", [f"{edge}_staircase"] * 2, richer, "sharpness"),
        *(_collapse_part(stream) for stream in STREAMS),
        _judge("C10", "score", STREAMS.values(), _score_cases),
        _judge("C10", "L = 2", ["collapse_mlp2", STREAMS["digits8"]], _growth_cases),
    ]


def _judge(id: str, part: str, recipes: Iterable[str], measure: Callable[..., Iterable[_Case]], *probes: str) -> _Part:
    """A claim's part that has a criterion instead of an exponent: a row a case, all with the part's one verdict."""
    claim = _of(id, part)

    def make(*results: xr.Dataset) -> list[dict[str, Any]]:
        cases = list(measure(*results))
        together = (
            verdict(case.holds for case in cases if case.judged)
            if any(case.mean.seeds for case in cases)
            else "not-run"
        )
        shared = {"scale": scale_of(results[0]), "verdict": together}
        return [
            claim.row(**shared, window=list(case.window), **mean_columns(case.mean, case.lacking)) for case in cases
        ]

    return _Part((claim,), tuple(recipes), make, probes)


def _catapult_cases(runs: xr.Dataset) -> Iterable[_Case]:
    last = find_catapults(runs)["last"]
    for low, high in CATAPULT_WINDOWS:
        inside = last.sel(gamma=slice(low * (1 - 1e-6), high * (1 + 1e-6)))
        # geometric over the γ at which there is one; then over seeds
        logs = xr.DataArray(np.log(inside)).mean("gamma")
        mean = _exponential(mean_over_seeds(logs.values, lost="leave out"))
        seen = float(np.isfinite(inside).mean()) if inside.size else 0.0
        yield _Case(mean, (low, high), seen >= 0.5 and judge_range(mean.interval, *CATAPULT_BAND))


def _exponential(logs: Mean) -> Mean:
    """The geometric mean and its interval, from those of the logarithms."""
    low, high = logs.interval
    return Mean(float(np.exp(logs.value)), (float(np.exp(low)), float(np.exp(high))), logs.seeds)


def _alignment_cases(runs: xr.Dataset) -> Iterable[_Case]:
    rise = alignment_rise(runs).max("eta")  # a γ was run at one η
    control, *rich = sorted(float(g) for g in rise.gamma.values)
    means = {
        (share, g): mean_over_seeds(rise[share].sel(gamma=g).values, lost="leave out")
        for share in ("share", "early_share")
        for g in (control, *rich)
    }
    silent = judge_range(means["share", control].interval, high=SILENT_SHARE) is True
    for g in rich:
        yield _Case(means["share", g], (g, g), silent and judge_range(means["share", g].interval, SILENT_SHARE))
    for g in rich:
        yield _Case(means["early_share", g], (g, g), None, judged=False)


def _plateau_part(stream: str) -> _Part:
    claims = (_of("C8", _name_part("gamma", stream)), _of("C8", _name_part("eta", stream)))

    def make(runs: xr.Dataset) -> list[dict[str, Any]]:
        both = zip(claims, plateau_exponents(runs, stream), strict=True)
        return [row for claim, windows in both for row in exponent_rows(claim, windows, scale_of(runs))]

    return _Part(claims, (STREAMS[stream],), make)


def plateau_exponents(runs: xr.Dataset, stream: str = "digits8") -> tuple[list[Exponent], list[Exponent]]:
    """The exponents of the plateau's length in γ (of length × η, geometric mean over η) and in η, each in two windows.

    The first takes the second to be −1: the η that were run follow γ.

    Beside the first stands the solvable model's slope of its escape time over the same γ.
    """
    depth, length = int(recipe_fields(runs)["depth"]), plateau_length(runs)
    time = np.exp(np.log(length * length.eta).mean("eta"))
    model = partial(model_plateau, depth)
    in_gamma = [fit_exponent("C8", _name_part("gamma", stream), 1.0, time, window, model) for window in RICH_WINDOWS]
    in_eta = [
        fit_exponent("C8", _name_part("eta", stream), -1.0, length, window, None, fit_eta_exponent)
        for window in RICH_WINDOWS
    ]
    return in_gamma, in_eta


def _step_cases(*results: xr.Dataset) -> Iterable[_Case]:
    for runs, (_, parts) in zip(results, STEPS.values(), strict=True):
        seen = step_times(runs)
        richest, eta = max(((row["gamma"], row["eta"]) for row in seen), default=(np.nan, np.nan))
        counts = [len(row["times"]) for row in seen if (row["gamma"], row["eta"]) == (richest, eta)]
        mean = mean_over_seeds(counts)
        # A count has no Student's interval.
        every = (float(min(counts)), float(max(counts))) if counts else mean.interval
        yield _Case(Mean(mean.value, every, mean.seeds), (richest, richest), every == (parts, parts))


def _edge_cases(gammas: tuple[float, float], *results: xr.Dataset) -> Iterable[_Case]:
    for runs, gamma in zip(results, gammas, strict=True):
        reached, eta = measure_edge(runs).sel(gamma=gamma), largest_eta(runs).sel(gamma=gamma)
        reached = reached.sel(eta=float(eta)) if np.isfinite(eta) else reached.isel(eta=-1)
        mean = mean_over_seeds(reached.settled.values, lost="leave out")
        yield _Case(mean, (gamma, gamma), float(reached.start.max()) < EDGE_START and judge_range(mean.interval, *EDGE))


def _collapse_part(stream: str) -> _Part:
    claims = {_of("C10", _name_part(name, stream)): level for name, level in COLLAPSE_LEVELS.items()}

    def make(runs: xr.Dataset) -> list[dict[str, Any]]:
        made = []
        for claim, level in claims.items():
            fit = partial(_fit_best_exponent, level=level)
            windows = [fit_exponent("C10", claim.part, 1.0, runs, window, None, fit) for window in RICH_WINDOWS]
            made += exponent_rows(claim, windows, scale_of(runs))
        return made

    return _Part(tuple(claims), (STREAMS[stream],), make)


def _fit_best_exponent(runs: xr.Dataset, window: Window, level: float) -> Fit:
    return fit_collapse(runs, window, level).fit


def score_ratio(runs: xr.Dataset) -> float:
    """The collapse's score in τ (a = 1) over that without γ (a = 0); NaN where nothing can be compared."""
    try:
        found = fit_collapse(runs, resamples=1)
    except ValueError:
        return float("nan")
    without = found.at(0.0)
    return found.at(1.0) / without if without > 0 else float("nan")


def _score_cases(*results: xr.Dataset) -> Iterable[_Case]:
    for runs in results:
        one_by_one = (score_ratio(runs.isel(seed=[s])) for s in range(runs.sizes["seed"]))
        mean = mean_over_seeds(one_by_one, lost="leave out")
        yield _Case(mean, (float(runs.gamma[0]), float(runs.gamma[-1])), judge_range(mean.interval, high=SCORE_BELOW))


def _growth_cases(two: xr.Dataset, three: xr.Dataset) -> Iterable[_Case]:
    for window in RICH_WINDOWS:
        try:
            shallow, deep = log_growth(two, window), log_growth(three, window)
        except ValueError as why:
            yield _Case(mean_over_seeds([]), window, False, str(why))
            continue
        holds = shallow.interval[0] > LOG_GROWTH and abs(deep.slope) <= LOG_GROWTH
        yield _Case(Mean(shallow.slope, shallow.interval, shallow.seeds), shallow.window, holds)
