"""Normed networks without gradient explosion: S3 in the ledger.

Every seed is one draw of inputs, weights and readout; a number is a mean over seeds with Student's 95 % interval. A part is
asked in several settings (inputs, batch sizes or activations: the row says which), and of several widths in one setting the
one that is furthest from the criterion is shown. Where a formula was derived here and is not the paper's, the row says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import xarray as xr

from richness.analysis.cases import Setting, case_rows, select_case, select_cases
from richness.analysis.ledger import NARROW, WITHIN, Claim, Load, load_or_reason
from richness.analysis.stats import Mean, mean_over_seeds
from richness.studies.neighbours.normalised import theory

__all__ = [
    "CLAIMS",
    "bound_constant",
    "corrected",
    "fourth_powers",
    "growth",
    "rows",
    "shaping_scale",
]

ISOMETRY, EXPLOSION, TRAPS, SHAPING = (f"normalised_{name}" for name in ("isometry", "explosion", "traps", "shaping"))
CHAPTER = "13-without-explosion"
RATIO_WITHIN = 0.2  # of theory's slope, at a finite width
FREE = 1.0  # a log gradient that changes by less from the shallow to the deep network does not depend on depth
SPAN = 10, 1000  # the depths between which it is asked
TALL = 100, 1000  # the same for shaped activations, whose gain falls most in the first layers
FLOOR = 1e-9  # gaps below are rounding
SMALL = 0.01  # gaps below are small: the first-order law is drawn from there


# -- quantities --------------------------------------------------------------------------------------------------------


def bound_constant(one: xr.Dataset) -> np.ndarray:
    """The smallest C with which a case's gap lies under the theorem's bound at every layer, (seed,); rounding left out."""
    found = []
    for gap in one.gap.transpose("seed", "layer").values.astype(float):
        layer, first = one.layer.values[1:], gap[0]
        seen = gap[1:] > FLOOR
        fall = np.log(first / gap[1:][seen])
        unit = theory.layers_of_decay(first, int(one.width))
        found.append(np.max(np.where(fall > 0, layer[seen] / unit / np.where(fall > 0, fall, 1), np.inf)))
    return np.array(found)


def decay(one: xr.Dataset) -> np.ndarray:
    """Measured over predicted rate of a case's decay near isometry: ln of its contraction over ln(d/(d + 2)), (seed,)."""
    return np.log(one.contraction.values.astype(float)) / np.log(theory.contraction(int(one.width)))


def corrected(one: xr.Dataset) -> xr.DataArray:
    """ln‖∂L/∂W₁‖ + p·ln L, (seed, depth): without the factor L^(−p) that the last gain puts before the readout."""
    return one.first_gradient + float(one.power) * np.log(one.depth)


def growth(curve: xr.DataArray, span: tuple[int, int] = SPAN) -> np.ndarray:
    """By how much a log gradient grows between two depths, (seed,).

    Raises:
        ValueError: it was not measured at one of them.
    """
    if not set(span) <= set(curve.depth.values.tolist()):
        raise ValueError(f"depths {span[0]} and {span[1]:,} are asked for, of {curve.depth.values.tolist()}")
    return (curve.sel(depth=span[1]) - curve.sel(depth=span[0])).values.astype(float)


def fourth_powers(power: Any, span: tuple[int, int] = TALL) -> np.ndarray:
    """Σ ℓ^(−4p) over the layers beyond the first depth and up to the second; power: any shape."""
    layer = np.arange(span[0] + 1, span[1] + 1, dtype=float)
    return (layer ** (-4 * np.asarray(power, float)[..., None])).sum(-1)


def shaping_scale(runs: xr.Dataset, activation: str, span: tuple[int, int] = TALL) -> float:
    """c of growth ≈ c·Σ ℓ^(−4p): least squares of the logarithm over all p > 0 whose growth is positive; NaN without any."""
    power, grown = grown_by_power(runs, activation, span)
    use = (power > 0) & (grown > 0.2)
    return float(np.exp(np.mean(np.log(grown[use] / fourth_powers(power[use], span))))) if use.any() else float("nan")


def grown_by_power(runs: xr.Dataset, activation: str, span: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The powers p of an activation and its mean growth between two depths at each."""
    cases = select_cases(runs, activation=activation)
    grown = [growth(corrected(cases.isel(case=k)), span).mean() for k in range(cases.sizes["case"])]
    return cases.power.values, np.array(grown)


# -- the ledger --------------------------------------------------------------------------------------------------------


def _claim(id: str, part: str, sentence: str, predicted: float | str) -> Claim:
    return Claim(id, part, sentence, predicted, CHAPTER)


INPUTS = {"gaussian": "Gaussian inputs", "correlated": "correlated inputs", "digits": "digits"}
_BOUND = _claim(
    "S3.1", "bound", "isometry gap under φ₀·exp(−ℓ/k), k = C·d²(1 + dφ₀): smallest C that does", "C ≤ 1 at every width"
)
_DECAY = _claim("S3.1", "first order", "rate of decay near isometry over that of (d/(d + 2))^ℓ (derived here)", 1.0)
_FREE = _claim(
    "S3.2",
    "orthogonal",
    f"orthogonal weights: ln‖∂L/∂W₁‖ at depth {SPAN[1]:,} less at {SPAN[0]}",
    f"within ±{FREE:g}",
)
_RATE = _claim("S3.2", "constant", "E log‖∂L/∂W‖ = O(d⁵): its constant and its power of d", "an upper bound in d⁵")
_THEORY = f"1 within {RATIO_WITHIN:.0%}"
_GAUSSIAN = _claim("S3.3", "gaussian", "Gaussian weights: growth of ln‖∂L/∂W‖ a layer over ½·ln((B−2)/(B−3))", _THEORY)
_UNCENTRED = _claim(
    "S3.3", "gaussian uncentred", "no mean subtracted: the same over ½·ln((B−1)/(B−2)) (derived here)", _THEORY
)
_RELU = _claim("S3.3", "ReLU", "ReLU: growth of ln‖∂L/∂W‖ a layer over ½·ln(π/(π−1))", _THEORY)
_TRAPS = _claim(
    "S3.4",
    "traps",
    "orthogonal weights, dependent inputs: growth of ln‖∂L/∂W₁‖ from depth 50 to 500",
    "95 % interval above 0",
)
_TALL = f"from depth {TALL[0]} to {TALL[1]:,}"
_UNSHAPED = _claim("S3.5", "unshaped", f"no gain: growth of ln‖∂L/∂W₁‖ {_TALL}", f"more than {10 * FREE:g}")
_SHAPED = _claim("S3.5", "shaped", f"gain ℓ^(−0.4): growth of ln‖∂L/∂W₁‖ + p·ln L {_TALL}", f"within ±{FREE:g}")
_POWER = _claim(
    "S3.5", "power", f"slope of ln growth, {_TALL}, in ln Σℓ^(−4p) (derived here; finite for p > ¼)", _THEORY
)

CLAIMS = (_BOUND, _DECAY, _FREE, _RATE, _GAUSSIAN, _UNCENTRED, _RELU, _TRAPS, _UNSHAPED, _SHAPED, _POWER)

#: Powers between which growth is compared with the sum: below there is chaos in the cells, above there is no growth.
POWERS = (0.1, 0.3)


def rows(load: Load) -> list[dict[str, Any]]:
    """S3.1 to S3.5."""
    found: list[dict[str, Any]] = []
    for name, measures in (
        (ISOMETRY, {_BOUND: _bounds, _DECAY: _decays, _FREE: _free}),
        (EXPLOSION, {_GAUSSIAN: _gaussians(True), _UNCENTRED: _gaussians(False), _RELU: _relus}),
        (TRAPS, {_TRAPS: _traps}),
        (SHAPING, {_UNSHAPED: _unshaped, _SHAPED: _shaped, _POWER: _powers}),
    ):
        runs = load_or_reason(load, name)
        for claim, measure in measures.items():
            found += case_rows(claim, runs, measure)
    reason = "the bound has no constant that we know, and our gradients do not grow with d: nothing to hold against it"
    return [*found, _RATE.row(verdict="not-tested", reason=reason)]


def _widths(runs: xr.Dataset, **fields: Any) -> list[xr.Dataset]:
    cases = select_cases(runs, **fields)
    return [cases.isel(case=k) for k in range(cases.sizes["case"])]


def _furthest(cases: Iterable[xr.Dataset], quantity: Callable[[xr.Dataset], np.ndarray]) -> tuple[int, Mean | None]:
    """The width whose mean is largest in modulus, and that mean."""
    means = [(int(one.width), mean_over_seeds(quantity(one))) for one in cases]
    return max(means, key=lambda pair: abs(pair[1].value) if pair[1] else np.inf)


def _bounds(runs: xr.Dataset) -> Iterable[Setting]:
    for inputs, words in INPUTS.items():
        width, found = _furthest(_widths(runs, weights="orthogonal", inputs=inputs), bound_constant)
        yield Setting(f"{words}, d = {width}", found, bool(found and found.value <= 1))


def _decays(runs: xr.Dataset) -> Iterable[Setting]:
    for one in _widths(runs, weights="orthogonal", inputs="near"):
        found = mean_over_seeds(decay(one))
        yield Setting(f"d = {int(one.width)}", found, bool(found and _holds(found, 1.0)))


def _holds(found: Mean, predicted: float) -> bool:
    """The ledger's rule for exponents: near the prediction, or an interval around it that is narrow enough."""
    low, high = found.interval
    return _near(found, predicted, WITHIN) or (low <= predicted <= high and high - low <= NARROW)


def _near(found: Mean, predicted: float, within: float) -> bool:
    return abs(found.value - predicted) <= within


def _free(runs: xr.Dataset) -> Iterable[Setting]:
    for inputs, words in INPUTS.items():
        cases = _widths(runs, weights="orthogonal", inputs=inputs)
        width, found = _furthest(cases, lambda one: growth(one.first_gradient))
        yield Setting(f"{words}, d = {width}", found, bool(found and _near(found, 0.0, FREE)))


def _widest(runs: xr.Dataset, **fields: Any) -> list[xr.Dataset]:
    cases = _widths(runs, **fields)
    return [one for one in cases if int(one.width) == max(int(case.width) for case in cases)]


def _gaussians(centred: bool) -> Callable[[xr.Dataset], Iterable[Setting]]:
    def measure(runs: xr.Dataset) -> Iterable[Setting]:
        for one in _widest(runs, weights="gaussian", activation="linear", centred=centred):
            found = mean_over_seeds(one.gradient_slope.values / theory.gaussian_slope(int(one.samples), centred))
            words = f"B = {int(one.samples)}, d = {int(one.width)}"
            yield Setting(words, found, bool(found and _near(found, 1.0, RATIO_WITHIN)))

    return measure


def _relus(runs: xr.Dataset) -> Iterable[Setting]:
    for one in _widest(runs, activation="relu"):
        found = mean_over_seeds(one.gradient_slope.values / theory.relu_slope())
        words = f"{one.weights.item()} weights, B = {int(one.samples)}, d = {int(one.width)}"
        yield Setting(words, found, bool(found and _near(found, 1.0, RATIO_WITHIN)))


def _traps(runs: xr.Dataset) -> Iterable[Setting]:
    for words, fields in (
        ("24 samples for 32 units", {"samples": 24}),
        ("16 samples for 32 units", {"samples": 16, "width": 32}),
        ("twins", {"inputs": "twins"}),
        ("64 digits of 64 pixels", {"inputs": "digits", "width": 64}),
    ):
        found = mean_over_seeds(growth(select_case(runs, **fields).first_gradient, (50, 500)))
        yield Setting(words, found, bool(found and found.interval[0] > 0))


def _unshaped(runs: xr.Dataset) -> Iterable[Setting]:
    for activation in ("tanh", "sin"):
        found = mean_over_seeds(growth(select_case(runs, activation=activation, power=0.0).first_gradient, TALL))
        yield Setting(activation, found, bool(found and found.interval[0] > 10 * FREE))


def _shaped(runs: xr.Dataset) -> Iterable[Setting]:
    for activation in ("tanh", "sin"):
        found = mean_over_seeds(growth(corrected(select_case(runs, activation=activation, power=0.4)), TALL))
        yield Setting(activation, found, bool(found and _near(found, 0.0, FREE)))


def _powers(runs: xr.Dataset) -> Iterable[Setting]:
    for activation in ("tanh", "sin"):
        cases = select_cases(runs, activation=activation)
        cases = cases.isel(case=np.flatnonzero((cases.power > POWERS[0] - 1e-6) & (cases.power < POWERS[1] + 1e-6)))
        grown = np.array([growth(corrected(cases.isel(case=k)), TALL) for k in range(cases.sizes["case"])])
        if len(grown) < 3 or int(cases.depth[-1]) < TALL[1]:
            raise ValueError(f"fewer than three p from {POWERS[0]} to {POWERS[1]}, or no depth of {TALL[1]:,}")
        sums = np.log(fourth_powers(cases.power.values))
        # A single network's growth is a random walk, which may end below 0: slopes are those of means that leave one out.
        left = np.array([np.polyfit(sums, np.log(np.delete(grown, k, 1).mean(1)), 1)[0] for k in range(grown.shape[1])])
        full = np.polyfit(sums, np.log(grown.mean(1)), 1)[0]
        pseudo = len(left) * full - (len(left) - 1) * left
        found = mean_over_seeds(pseudo)
        yield Setting(activation, found, bool(found and _near(found, 1.0, RATIO_WITHIN)))
