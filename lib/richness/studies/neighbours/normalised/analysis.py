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

from richness.analysis.cases import Setting, case_rows, judge_seeds, select_case, split_cases
from richness.analysis.ledger import Claim, Held, Load, judge_exponent, judge_range, load_or_reason
from richness.analysis.stats import Mean
from richness.studies.neighbours.normalised import theory

ISOMETRY, EXPLOSION, TRAPS, SHAPING = (f"normalised_{name}" for name in ("isometry", "explosion", "traps", "shaping"))
CHAPTER = "13-without-explosion"
RATIO_WITHIN = 0.2  # of theory's slope, at a finite width
FREE = 1.0  # a log gradient that changes by less from the shallow to the deep network does not depend on depth
SPAN = 10, 1000  # the depths between which it is asked
TALL = 100, 1000  # the same for shaped activations, whose gain falls most in the first layers
FLOOR = 1e-9  # gaps below are rounding
SMALL = 0.01  # gaps below are small: the first-order law is drawn from there


# -- quantities --------------------------------------------------------------------------------------------------------


def find_bound_constant(one: xr.Dataset) -> np.ndarray:
    """The smallest C with which a case's gap lies under the theorem's bound at every layer, (seed,); rounding left out."""
    constants = []
    for gap in one.gap.transpose("seed", "layer").values.astype(float):
        layer, first = one.layer.values[1:], gap[0]
        seen = gap[1:] > FLOOR
        fall = np.log(first / gap[1:][seen])
        unit = theory.layers_of_decay(first, int(one.width))
        constants.append(np.max(np.where(fall > 0, layer[seen] / unit / np.where(fall > 0, fall, 1), np.inf)))
    return np.array(constants)


def measure_decay(one: xr.Dataset) -> np.ndarray:
    """Measured over predicted rate of a case's decay near isometry: ln of its contraction over ln(d/(d + 2)), (seed,)."""
    return np.log(one.contraction.values.astype(float)) / np.log(theory.contraction(int(one.width)))


def remove_last_gain(one: xr.Dataset) -> xr.DataArray:
    """ln‖∂L/∂W₁‖ + p·ln L, (seed, depth): without the factor L^(−p) that the last gain puts before the readout."""
    return one.first_gradient + float(one.power) * np.log(one.depth)


def measure_growth(curve: xr.DataArray, span: tuple[int, int] = SPAN) -> np.ndarray:
    """By how much a log gradient grows between two depths, (seed,).

    Raises:
        ValueError: it was not measured at one of them.
    """
    if not set(span) <= set(curve.depth.values.tolist()):
        raise ValueError(f"depths {span[0]} and {span[1]:,} are asked for, of {curve.depth.values.tolist()}")
    return (curve.sel(depth=span[1]) - curve.sel(depth=span[0])).values.astype(float)


def sum_fourth_powers(power: Any, span: tuple[int, int] = TALL) -> np.ndarray:
    """Σ ℓ^(−4p) over the layers beyond the first depth and up to the second; power: any shape."""
    layer = np.arange(span[0] + 1, span[1] + 1, dtype=float)
    return (layer ** (-4 * np.asarray(power, float)[..., None])).sum(-1)


def fit_shaping_scale(runs: xr.Dataset, activation: str, span: tuple[int, int] = TALL) -> float:
    """c of growth ≈ c·Σ ℓ^(−4p): least squares of the logarithm over all p > 0 whose growth is positive; NaN without any."""
    power, grown = measure_growth_by_power(runs, activation, span)
    use = (power > 0) & (grown > 0.2)
    return (
        float(np.exp(np.mean(np.log(grown[use] / sum_fourth_powers(power[use], span))))) if use.any() else float("nan")
    )


def measure_growth_by_power(runs: xr.Dataset, activation: str, span: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The powers p of an activation and its mean growth between two depths at each."""
    cases = split_cases(runs, activation=activation)
    grown = [measure_growth(remove_last_gain(one), span).mean() for one in cases]
    return np.array([float(one.power) for one in cases]), np.array(grown)


# -- the ledger --------------------------------------------------------------------------------------------------------


INPUTS = {"gaussian": "Gaussian inputs", "correlated": "correlated inputs", "digits": "digits"}
#: Powers between which growth is compared with the sum: below there is chaos in the cells, above there is no growth.
POWERS = (0.1, 0.3)


def _select_widest(runs: xr.Dataset, **fields: Any) -> list[xr.Dataset]:
    cases = split_cases(runs, **fields)
    return [one for one in cases if int(one.width) == max(int(case.width) for case in cases)]


def _find_furthest(cases: list[xr.Dataset], quantity: Callable[[xr.Dataset], np.ndarray]) -> tuple[int, np.ndarray]:
    """The width whose mean over seeds is largest in modulus, or has none, and its values."""
    values = [(int(one.width), quantity(one)) for one in cases]
    return max(values, key=lambda pair: np.nan_to_num(abs(np.mean(pair[1])), nan=np.inf))


def _near(predicted: float, within: float) -> Callable[[Mean], Held]:
    return lambda mean: judge_range(mean.interval, predicted - within, predicted + within)


def _above(bound: float) -> Callable[[Mean], Held]:
    return lambda mean: judge_range(mean.interval, bound)


def _judge_bound(runs: xr.Dataset) -> Iterable[Setting]:
    for inputs, words in INPUTS.items():
        width, values = _find_furthest(split_cases(runs, weights="orthogonal", inputs=inputs), find_bound_constant)
        yield judge_seeds(f"{words}, d = {width}", values, lambda mean: judge_range(mean.interval, high=1))


def _judge_decay(runs: xr.Dataset) -> Iterable[Setting]:
    for one in split_cases(runs, weights="orthogonal", inputs="near"):
        yield judge_seeds(f"d = {int(one.width)}", measure_decay(one), lambda mean: judge_exponent(mean.interval, 1))


def _judge_depth(runs: xr.Dataset) -> Iterable[Setting]:
    for inputs, words in INPUTS.items():
        cases = split_cases(runs, weights="orthogonal", inputs=inputs)
        width, values = _find_furthest(cases, lambda one: measure_growth(one.first_gradient))
        yield judge_seeds(f"{words}, d = {width}", values, _near(0, FREE))


def _judge_gaussian(centred: bool) -> Callable[[xr.Dataset], Iterable[Setting]]:
    def measure(runs: xr.Dataset) -> Iterable[Setting]:
        for one in _select_widest(runs, weights="gaussian", activation="linear", centred=centred):
            ratios = one.gradient_slope.values / theory.gaussian_slope(int(one.samples), centred)
            yield judge_seeds(f"B = {int(one.samples)}, d = {int(one.width)}", ratios, _near(1, RATIO_WITHIN))

    return measure


def _judge_relu(runs: xr.Dataset) -> Iterable[Setting]:
    for one in _select_widest(runs, activation="relu"):
        words = f"{one.weights.item()} weights, B = {int(one.samples)}, d = {int(one.width)}"
        yield judge_seeds(words, one.gradient_slope.values / theory.relu_slope(), _near(1, RATIO_WITHIN))


def _judge_traps(runs: xr.Dataset) -> Iterable[Setting]:
    for words, fields in (
        ("24 samples for 32 units", {"samples": 24}),
        ("16 samples for 32 units", {"samples": 16, "width": 32}),
        ("twins", {"inputs": "twins"}),
        ("64 digits of 64 pixels", {"inputs": "digits", "width": 64}),
    ):
        yield judge_seeds(words, measure_growth(select_case(runs, **fields).first_gradient, (50, 500)), _above(0))


def _judge_unshaped(runs: xr.Dataset) -> Iterable[Setting]:
    for activation in ("tanh", "sin"):
        one = select_case(runs, activation=activation, power=0.0)
        yield judge_seeds(activation, measure_growth(one.first_gradient, TALL), _above(10 * FREE))


def _judge_shaped(runs: xr.Dataset) -> Iterable[Setting]:
    for activation in ("tanh", "sin"):
        one = select_case(runs, activation=activation, power=0.4)
        yield judge_seeds(activation, measure_growth(remove_last_gain(one), TALL), _near(0, FREE))


def _judge_powers(runs: xr.Dataset) -> Iterable[Setting]:
    for activation in ("tanh", "sin"):
        cases = split_cases(runs, activation=activation)
        cases = [one for one in cases if POWERS[0] - 1e-6 < float(one.power) < POWERS[1] + 1e-6]
        if len(cases) < 3 or int(runs.depth[-1]) < TALL[1]:
            raise ValueError(f"fewer than three p from {POWERS[0]} to {POWERS[1]}, or no depth of {TALL[1]:,}")
        grown = np.array([measure_growth(remove_last_gain(one), TALL) for one in cases])
        sums = np.log(sum_fourth_powers([float(one.power) for one in cases]))
        yield judge_seeds(activation, _jackknife_slope(sums, grown), _near(1, RATIO_WITHIN))


def _jackknife_slope(x: np.ndarray, grown: np.ndarray) -> np.ndarray:
    """Pseudo-values, one a seed, of the slope in x of the log of growth, (powers, seeds).

    A single network's growth is a random walk, which may end below 0: slopes are those of means that leave one out.
    """
    left = np.array([np.polyfit(x, np.log(np.delete(grown, k, 1).mean(1)), 1)[0] for k in range(grown.shape[1])])
    return len(left) * np.polyfit(x, np.log(grown.mean(1)), 1)[0] - (len(left) - 1) * left


def _claim(part: str, sentence: str, predicted: float | str) -> Claim:
    id, name = part.split(maxsplit=1)
    return Claim(id, name, sentence, predicted, CHAPTER)


_NEAR_ONE, _TALL = f"1 within {RATIO_WITHIN:.0%}", f"from depth {TALL[0]} to {TALL[1]:,}"

#: Recipe → its claims and what measures them.
_MEASURED: dict[str, tuple[tuple[Claim, Callable[[xr.Dataset], Iterable[Setting]]], ...]] = {
    ISOMETRY: (
        (_claim("S3.1 bound", "isometry gap under φ₀·exp(−ℓ/k), k = C·d²(1 + dφ₀): smallest C that does",
                "C ≤ 1 at every width"), _judge_bound),
        (_claim("S3.1 first order", "rate of decay near isometry over that of (d/(d + 2))^ℓ (derived here)", 1.0),
         _judge_decay),
        (_claim("S3.2 orthogonal", f"orthogonal weights: ln‖∂L/∂W₁‖ at depth {SPAN[1]:,} less at {SPAN[0]}",
                f"within ±{FREE:g}"), _judge_depth),
    ),
    EXPLOSION: (
        (_claim("S3.3 gaussian", "Gaussian weights: growth of ln‖∂L/∂W‖ a layer over ½·ln((B−2)/(B−3))", _NEAR_ONE),
         _judge_gaussian(True)),
        (_claim("S3.3 gaussian uncentred", "no mean subtracted: the same over ½·ln((B−1)/(B−2)) (derived here)", _NEAR_ONE),
         _judge_gaussian(False)),
        (_claim("S3.3 ReLU", "ReLU: growth of ln‖∂L/∂W‖ a layer over ½·ln(π/(π−1))", _NEAR_ONE), _judge_relu),
    ),
    TRAPS: (
        (_claim("S3.4 traps", "orthogonal weights, dependent inputs: growth of ln‖∂L/∂W₁‖ from depth 50 to 500",
                "95 % interval above 0"), _judge_traps),
    ),
    SHAPING: (
        (_claim("S3.5 unshaped", f"no gain: growth of ln‖∂L/∂W₁‖ {_TALL}", f"95 % interval above {10 * FREE:g}"),
         _judge_unshaped),
        (_claim("S3.5 shaped", f"gain ℓ^(−0.4): growth of ln‖∂L/∂W₁‖ + p·ln L {_TALL}", f"within ±{FREE:g}"), _judge_shaped),
        (_claim("S3.5 power", f"slope of ln growth, {_TALL}, in ln Σℓ^(−4p) (derived here; finite for p > ¼)", _NEAR_ONE),
         _judge_powers),
    ),
}  # fmt: skip
_RATE = _claim("S3.2 constant", "E log‖∂L/∂W‖ = O(d⁵): its constant and its power of d", "an upper bound in d⁵")

CLAIMS = (*(claim for claims in _MEASURED.values() for claim, _ in claims), _RATE)


def rows(load: Load) -> list[dict[str, Any]]:
    """S3.1 to S3.5."""
    reason = "the bound has no constant that we know, and our gradients do not grow with d: nothing to hold against it"
    made = [_RATE.row(verdict="not-tested", reason=reason)]
    for name, claims in _MEASURED.items():
        runs = load_or_reason(load, name)
        for claim, measure in claims:
            made += case_rows(claim, runs, measure)
    return made
