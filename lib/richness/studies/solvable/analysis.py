"""The solvable model in the ledger: C17, run afresh whenever the ledger is made.

Three kinds of rows, all of runs without chance, so that none has an interval:

* a simulated quantity divided by its closed form; the ratio furthest from 1 is shown, and must stay within
  `RATIO_WITHIN` of it;
* an exponent of a simulated quantity in two windows of γ, which must be within `richness.analysis.ledger.WITHIN` of the
  predicted one, as everywhere in the ledger;
* for a prediction that depends on L or p, the slope less its prediction, the furthest from 0 shown, with that criterion.

The network on a Gaussian stream that comes nearest to the model, a deep linear one, is measured as any portrait is: its
rows carry intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import numpy as np
import xarray as xr

from richness.analysis import boundaries, theory
from richness.analysis.boundaries import Window
from richness.analysis.exponents import Exponent, exponent_rows, fit_exponent
from richness.analysis.ledger import WITHIN, Claim, Load, result_rows, round_for_row, scale_of, verdict
from richness.analysis.theory import catapult, sign_steps, single_index
from richness.runs import results

#: C17 holds at a γ if simulation divided by closed form is this close to 1.
RATIO_WITHIN = 0.02

#: The windows of γ in which an exponent of the model is taken: simulation is cheap, so they lie where it is asymptotic.
LAZY: tuple[Window, Window] = ((1e-4, 1e-3), (1e-4, 1e-2))
RICH: tuple[Window, Window] = ((1e2, 1e4), (1e3, 1e5))
CATAPULT: tuple[Window, Window] = ((1e-4, 1e-2), (1e-4, 1e-1))
LOGARITHM: tuple[Window, Window] = ((1e1, 1e3), (1e2, 1e4))

#: depth → the recipe of the deep linear network.
LINEAR = {depth: f"linear_mlp{depth}_teacher" for depth in (2, 3, 4)}

CHAPTER = "07-solvable-model"
DEPTHS = (2, 3, 4)
POWERS = (1, 2, 3)
_GAMMAS = np.geomspace(1e-3, 1e4, 8)
_KINDS = {
    "boundary": "simulated boundary over 2/λ*",
    "escape": "simulated escape time over the exact integral",
}
_SAY = {"mse": "MSE", "cross_entropy": "cross-entropy"}


_claim = partial(Claim, "C17", chapter=CHAPTER)
_RATIOS = tuple(
    _claim(f"{kind} {loss}", f"solvable model, {_SAY[loss]}: {sentence}", 1.0)
    for kind, sentence in _KINDS.items()
    for loss in theory.LOSSES
)
_LOG = _claim("logarithm", "solvable model, L = 2: slope of 4/γ times the simulated escape in log(1+γ)", 1.0)
_ONSET = _claim("cross_entropy onset", "solvable model, cross-entropy, lazy: slope of η_crit, furthest L", 2.0)
_LARGEST = _claim("cross_entropy largest", "solvable model, cross-entropy, lazy: slope of the largest bounded η", 1.0)
_LANDING = _claim("catapult", "two weights from (2, 0.1): topmost convergent η over min(4/λ₀, γ²/|u₀v₀+γ|)", 1.0)
_BALANCED = _claim("catapult balanced", "two weights from (1, 1): topmost convergent η over γ²/|u₀v₀+γ| < 2/λ₀", 1.0)
_PEAK = _claim("catapult peak", "two weights from (2, 0.1): slope of the loss's peak between 2/λ₀ and 4/λ₀", -2.0)
_SIGN = {
    part: _claim(f"signs {part}", f"one weight under SignSGD: {what}, slope less predicted, furthest L", 0.0)
    for part, what in (
        ("lazy", "η_max (∝ γ)"),
        ("rich", "η_max (∝ γ^{1/L})"),
        ("minimal", "η_min (∝ γ^{1/L}/T), rich side"),
    )
}
_INDEX = {
    part: _claim(f"single index {part}", f"target ⟨a, x⟩^p: {what}, slope less predicted, furthest p", 0.0)
    for part, what in (
        ("lazy", "η_max (∝ γ²)"),
        ("rich", "η_max (∝ γ^{2/(L−1+p)})"),
        ("escape", "escape time (∝ γ for L−1+p > 2)"),
    )
}
_LINEAR = {
    (depth, part): _claim(
        f"linear L={depth} {part}", f"deep linear network, L = {depth}, Gaussian teacher: {what}", slope
    )
    for depth in LINEAR
    for part, what, slope in (
        ("lazy", "slope of η_max, lazy side", 2.0),
        ("rich", "slope of η_max, rich side", 2 / depth),
        ("gamma", "slope of η_min in γ, rich side", 1.0),
        ("T", "slope of η_min in T", -1.0),
    )
    if (depth, part) != (2, "gamma")  # there the model has a logarithm, and no exponent
}

CLAIMS = (
    *_RATIOS, _LOG, _ONSET, _LARGEST, _LANDING, _BALANCED, _PEAK, *_SIGN.values(), *_INDEX.values(), *_LINEAR.values(),
)  # fmt: skip


def rows(load: Load = results.load) -> list[dict[str, Any]]:
    """C17: the model's own rows, made on the spot, and the deep linear networks' from their portraits."""
    return [
        *ratio_rows(),
        *_logarithm(),
        *_cross_entropy(),
        *_catapult(),
        *_signs(),
        *_single_index(),
        *_linear(load),
    ]


# -- ratios ------------------------------------------------------------------------------------------------------------


def ratio_rows() -> list[dict[str, Any]]:
    """The ratio furthest from 1, over three depths and eight γ, for each loss, boundary and escape."""
    return [_boundary_or_escape(claim, *claim.part.split()) for claim in _RATIOS]


def _boundary_or_escape(claim: Claim, kind: str, loss: str) -> dict[str, Any]:
    simulated, exact = (
        (theory.simulated_boundary, theory.critical_eta)
        if kind == "boundary"
        else (theory.simulated_escape_time, theory.escape_time)
    )
    ratios = np.concatenate([simulated(depth, _GAMMAS, loss) / exact(depth, _GAMMAS, loss) for depth in DEPTHS])
    worst, within = _furthest(ratios, 1.0), np.abs(ratios - 1) <= RATIO_WITHIN
    return claim.row(
        measured=worst,
        reason=f"deterministic, so no interval: the ratio furthest from 1 of {ratios.size} (L = 2, 3, 4; eight γ), "
        f"{int(within.sum())} of them within {RATIO_WITHIN:g} of 1",
        window=[float(_GAMMAS[0]), float(_GAMMAS[-1])],
        scale="live",
        # whole where every ratio holds, partly where at least half do
        verdict=verdict([bool(within.all()), bool(within.mean() >= 0.5)]),
    )


def _furthest(values: np.ndarray, target: float) -> float | None:
    """The value furthest from the target; ``None`` where one was not found, which counts against it."""
    away = np.where(np.isfinite(values), np.abs(values - target), np.inf)
    worst = values[np.argmax(away)]
    return round_for_row(worst) if np.isfinite(worst) else None


def _windows(
    claim: Claim, windows: Iterable[tuple[Window, np.ndarray]], within: float, what: str
) -> list[dict[str, Any]]:
    """A row a window: of several values the one furthest from the prediction, which all must be within ``within`` of."""
    target = float(claim.predicted)
    found = [(window, _furthest(values, target)) for window, values in windows]
    seen = all(worst is not None for _, worst in found)
    together = verdict(abs(worst - target) <= within for _, worst in found if worst is not None) if seen else "not-run"
    return [
        claim.row(
            measured=worst if seen else None,
            reason=f"deterministic, so no interval: {what}; it holds within {within:g} of {target:g}"
            if seen
            else f"not found at every γ: {what}",
            window=list(window),
            scale="live",
            verdict=together,
        )
        for window, worst in found
    ]


def _slopes(gammas: np.ndarray, curves: Iterable[np.ndarray], window: Window) -> np.ndarray:
    """The slope of each curve in log γ within a window; NaN where a value is missing."""
    inside = _inside(gammas, window)
    x = np.log10(gammas[inside])
    return np.array(
        [
            np.polyfit(x, np.log10(curve[inside]), 1)[0] if np.isfinite(curve[inside]).all() else np.nan
            for curve in curves
        ]
    )


def _inside(gammas: np.ndarray, window: Window) -> np.ndarray:
    return (gammas >= window[0] * 0.999) & (gammas <= window[1] * 1.001)


def _grid(windows: Iterable[Window], a_decade: int = 4) -> np.ndarray:
    """γ over both windows, so many a decade."""
    ends = np.log10(np.array(list(windows)))
    low, high = ends.min(), ends.max()
    return np.logspace(low, high, round((high - low) * a_decade) + 1)


# -- the model and its relatives ---------------------------------------------------------------------------------------


@cache
def _logarithm() -> list[dict[str, Any]]:
    gammas = _grid(LOGARITHM)
    scaled = 4 / gammas * theory.simulated_escape_time(2, gammas)

    def slope(window: Window) -> np.ndarray:
        inside = _inside(gammas, window)
        return np.polyfit(np.log1p(gammas[inside]), scaled[inside], 1)[:1]

    return _windows(_LOG, [(window, slope(window)) for window in LOGARITHM], WITHIN, "one slope")


@cache
def _cross_entropy() -> list[dict[str, Any]]:
    gammas, found = _grid(LAZY), []
    for claim, criterion in ((_ONSET, "converged"), (_LARGEST, "bounded")):
        curves = [
            theory.simulated_boundary(depth, gammas, "cross_entropy", steps=300, criterion=criterion)
            for depth in DEPTHS
        ]
        slopes = [(window, _slopes(gammas, curves, window)) for window in LAZY]
        found += _windows(claim, slopes, WITHIN, "the furthest of L = 2, 3, 4")
    return found


@cache
def _catapult() -> list[dict[str, Any]]:
    gammas, found = _grid(CATAPULT), []
    for claim, start in ((_LANDING, catapult.UNBALANCED), (_BALANCED, catapult.BALANCED)):
        threshold, top = catapult.window(start, gammas)
        ratio = catapult.convergent_eta(start, gammas) / np.minimum(top, catapult.stable_eta(start, gammas))
        ratios = [(window, ratio[_inside(gammas, window)]) for window in CATAPULT]
        found += _windows(claim, ratios, RATIO_WITHIN, "the furthest γ")
    threshold, _ = catapult.window(catapult.UNBALANCED, gammas)
    runs = catapult.simulate(catapult.UNBALANCED, gammas[:, None], threshold[:, None] * np.geomspace(1.1, 1.9, 25))
    peak = np.exp(np.log(runs.peak_loss).mean(axis=1))  # a single η's peak depends on where its swings fall
    slopes = [(window, _slopes(gammas, [peak], window)) for window in CATAPULT]
    return found + _windows(_PEAK, slopes, WITHIN, "the mean over η from 1.1 to 1.9 times 2/λ₀")


@cache
def _signs(steps: int = 300) -> list[dict[str, Any]]:
    found = []
    for part, windows, which, power in (
        ("lazy", LAZY, 1, lambda depth: 1.0),
        ("rich", RICH, 1, lambda depth: 1 / depth),
        ("minimal", ((1e3, 1e5), (1e4, 1e6)), 0, lambda depth: 1 / depth),
    ):
        gammas = _grid(windows, a_decade=2)
        curves = [sign_steps.simulated_band(depth, gammas, steps)[which] for depth in DEPTHS]
        predicted = np.array([power(depth) for depth in DEPTHS])
        slopes = [(window, _slopes(gammas, curves, window) - predicted) for window in windows]
        found += _windows(_SIGN[part], slopes, WITHIN, f"the furthest of L = 2, 3, 4, at T = {steps}")
    return found


@cache
def _single_index(depth: int = 2) -> list[dict[str, Any]]:
    found = []
    plans: tuple[tuple[str, tuple[Window, Window], Callable[..., np.ndarray], Callable[[int], float]], ...] = (
        ("lazy", LAZY, single_index.convergent_eta, lambda power: 2.0),
        ("rich", RICH, single_index.convergent_eta, lambda power: 2 / single_index.degree(depth, power)),
        ("escape", RICH, single_index.escape_time, lambda power: 1.0),
    )
    for part, windows, quantity, exponent_of in plans:
        powers = [power for power in POWERS if part != "escape" or single_index.degree(depth, power) > 2]
        gammas = _grid(windows, a_decade=2)
        curves = [quantity(depth, power, gammas) for power in powers]
        predicted = np.array([exponent_of(power) for power in powers])
        slopes = [(window, _slopes(gammas, curves, window) - predicted) for window in windows]
        what = f"the furthest of p = {', '.join(map(str, powers))}, at L = {depth}"
        found += _windows(_INDEX[part], slopes, WITHIN, what)
    return found


# -- the deep linear network -------------------------------------------------------------------------------------------


def fit_linear_exponents(runs: xr.Dataset, depth: int) -> dict[str, list[Exponent]]:
    """part → its exponents in two windows: C1, C2 and C3 of a deep linear network's portrait."""
    largest, smallest = boundaries.eta_max(runs), boundaries.eta_min(runs)
    level = 1 - float(np.sqrt(boundaries.LEARNED_BELOW))  # the f at which the model's MSE counts as learned
    critical, waiting = (
        lambda gamma: theory.critical_eta(depth, gamma),
        lambda gamma: theory.escape_time(depth, gamma, "mse", level),
    )
    plan = {
        "lazy": (largest, boundaries.LAZY_WINDOWS, critical, boundaries.fit),
        "rich": (largest, boundaries.RICH_WINDOWS, critical, boundaries.fit),
        "gamma": (smallest.isel(budget=-1), boundaries.RICH_WINDOWS_MIN, waiting, boundaries.fit),
        "T": (smallest, boundaries.RICH_WINDOWS_T, None, boundaries.fit_budget),
    }
    return {
        part: [
            fit_exponent("C17", claim.part, float(claim.predicted), boundary, window, model, fit) for window in windows
        ]
        for part, (boundary, windows, model, fit) in plan.items()
        for claim in (_LINEAR.get((depth, part)),)
        if claim
    }


def _linear(load: Load) -> list[dict[str, Any]]:
    made = []
    for depth, name in LINEAR.items():
        claims = [claim for (of, _), claim in _LINEAR.items() if of == depth]
        made += result_rows(load, [name], claims, partial(_linear_rows, depth))
    return made


def _linear_rows(depth: int, runs: xr.Dataset) -> list[dict[str, Any]]:
    parts = fit_linear_exponents(runs, depth)
    return [
        row for part, windows in parts.items() for row in exponent_rows(_LINEAR[depth, part], windows, scale_of(runs))
    ]
