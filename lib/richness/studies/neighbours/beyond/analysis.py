"""Steps beyond the edge of stability in homogeneous perceptrons: S2 in the ledger.

Every seed is one draw of weights and of the stream; a number is a mean over seeds with Student's 95 % interval. Of the paper
we know the abstract and the make of its networks, not the formulas of its scaling of gradients and of its soft rank. What
rests on these is *not tested* here: its rows hold what our reconstruction gave. What needs neither gets a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from richness.analysis.boundaries import CONVERGED_BELOW
from richness.analysis.cases import Setting, case_rows, judge_seeds, select_case
from richness.analysis.ledger import Claim, Load, judge_range, load_or_reason
from richness.measure.features import RANKS
from richness.studies.neighbours.beyond.recipes import RELU

EDGE, ALONG = "beyond_the_edge", "along_a_step"
CHAPTER = "12-beyond-the-edge"
EXPLODED = 1e4  # a minibatch loss so many times the first counts as an explosion
EXACT = -12.0  # log10 of the relative distance that counts as none
NEAR_EDGE = 0.2  # a gauge so close to 1 is at the edge
SLOPED = 1.0, 16.0  # step sizes over which the sharpness is fitted

#: words → the fields that tell a kind of network.
ABSOLUTE = {"loss": "cross_entropy", "linear": 0.0}
NETWORKS: dict[str, dict[str, Any]] = {
    "|·|, cross-entropy": ABSOLUTE,
    "|·|, MSE": {"loss": "mse", "linear": 0.0},
    "√2·relu, cross-entropy": {"loss": "cross_entropy", "linear": RELU},
}

# -- quantities --------------------------------------------------------------------------------------------------------


def select_network(
    runs: xr.Dataset, scaled: bool, power: float = 2.0, network: dict[str, Any] = ABSOLUTE
) -> xr.Dataset:
    """The one case of that network, pattern of widths and kind of steps."""
    return select_case(runs, scaled=scaled, power=float(power), **network)


def has_exploded(one: xr.Dataset) -> xr.DataArray:
    """Whether the minibatch loss ever passed ``EXPLODED`` times the first, or was no number: (seed, eta)."""
    return (~(one.peak < EXPLODED)).transpose("seed", "eta")


def has_learned(one: xr.Dataset) -> xr.DataArray:
    """Whether the held-out loss ends below ``CONVERGED_BELOW`` times that at the start: (seed, eta)."""
    held = one.test_loss.transpose("seed", "eta", "moment")
    return held.isel(moment=-1) < CONVERGED_BELOW * held.isel(moment=0)


def find_largest_eta(one: xr.Dataset, good: xr.DataArray) -> np.ndarray:
    """The largest measured η up to which all are good, (seed,); NaN where none is."""
    run = np.logical_and.accumulate(good.transpose("seed", "eta").values, axis=1).sum(1)
    return np.where(run > 0, one.eta.values[run - 1], np.nan)


def find_lasting_eta(one: xr.Dataset) -> np.ndarray:
    """The largest η before the first that explodes, (seed,)."""
    return find_largest_eta(one, ~has_exploded(one))


def find_learning_eta(one: xr.Dataset) -> np.ndarray:
    """The largest η up to which all train, from the smallest one that trains on, (seed,); NaN where none does."""
    good = has_learned(one)
    begun = np.logical_or.accumulate(good.values, axis=1)  # what is too slow to train in this time does not count
    return np.where(begun[:, -1], find_largest_eta(one, good | ~begun), np.nan)


def locate_best_eta(one: xr.Dataset) -> int:
    """The place of the η with the lowest mean held-out loss at the end, where no seed exploded.

    Raises:
        ValueError: every η exploded.
    """
    end = one.test_loss.isel(moment=-1).transpose("seed", "eta").astype(float).mean("seed", skipna=False)
    end = end.where(~has_exploded(one).any("seed"))
    if not np.isfinite(end).any():
        raise ValueError("every step size exploded")
    return int(np.nanargmin(end.values))


def fit_sharpness_slope(one: xr.Dataset) -> np.ndarray:
    """d ln λ_max / d ln η at the end of training, least squares over ``SLOPED`` where no seed exploded, (seed,)."""
    here = (one.eta >= SLOPED[0] * 0.99) & (one.eta <= SLOPED[1] * 1.01) & ~has_exploded(one).any("seed")
    values = one.sharpness.isel(moment=-1).transpose("seed", "eta").values[:, here.values].astype(float)
    if values.shape[1] < 3 or not (values > 0).all():
        raise ValueError(f"fewer than three step sizes from {SLOPED[0]:g} to {SLOPED[1]:g} with a positive sharpness")
    return np.polyfit(np.log(one.eta.values[here.values]), np.log(values).T, 1)[0]


def correlate_rank(one: xr.Dataset, rank: str) -> np.ndarray:
    """Spearman's correlation, over the step sizes that do not explode, of a soft rank with held-out accuracy, (seed,)."""
    ranks = one["rank"].sel(kind=rank).isel(moment=-1).transpose("seed", "eta").values
    accuracy = one.accuracy.isel(moment=-1).transpose("seed", "eta").values
    correlations = []
    for row, right, gone in zip(ranks, accuracy, has_exploded(one).values, strict=True):
        here = ~gone & np.isfinite(row)
        correlations.append(spearmanr(row[here], right[here]).statistic if here.sum() > 3 else np.nan)
    return np.array(correlations)


def _measure_end(one: xr.Dataset, name: str) -> np.ndarray:
    """A quantity at the end of training, at the best η, (seed,)."""
    return one[name].isel(moment=-1, eta=locate_best_eta(one)).values.astype(float)


# -- the ledger --------------------------------------------------------------------------------------------------------


def _above(words: str, values: np.ndarray, bound: float = 0.0) -> Setting:
    return judge_seeds(words, values, lambda mean: judge_range(mean.interval, bound))


def _below(words: str, values: np.ndarray) -> Setting:
    return judge_seeds(words, values, lambda mean: judge_range(mean.interval, high=0))


def _judge_series(runs: xr.Dataset) -> Iterable[Setting]:
    for words, scaled in (("plain steps", False), ("balanced steps", True)):
        worst = select_case(runs, scaled=scaled).miss.max(["eta", "taken"]).values.astype(float)
        logs = np.log10(np.maximum(worst, np.finfo(float).tiny))
        yield judge_seeds(words, logs, lambda mean: judge_range(mean.interval, high=EXACT))


def _find_common_eta(one: xr.Dataset) -> float:
    """The largest η up to which every seed trains.

    Raises:
        ValueError: there is none.
    """
    eta = float(find_learning_eta(one).min())
    if not np.isfinite(eta):
        raise ValueError("at no measured step size every seed trains")
    return eta


def _at_common_eta(runs: xr.Dataset, name: str) -> Iterable[tuple[str, np.ndarray]]:
    """A quantity of plain steps at that η, (seed,), of every network."""
    for words, network in NETWORKS.items():
        one = select_network(runs, False, network=network)
        eta = _find_common_eta(one)
        yield f"{words}, η = {eta:.3g}", one[name].sel(eta=eta).values


def _judge_fall(runs: xr.Dataset) -> Iterable[Setting]:
    return (_above(words, values, 0.5) for words, values in _at_common_eta(runs, "beyond_fell"))


def _judge_edge(runs: xr.Dataset) -> Iterable[Setting]:
    for words, values in _at_common_eta(runs, "late_ratio"):
        yield judge_seeds(words, values, lambda mean: judge_range(mean.interval, 1 - NEAR_EDGE, 1 + NEAR_EDGE))


def _judge_gain(quantity: Callable[[xr.Dataset], np.ndarray]) -> Callable[[xr.Dataset], Iterable[Setting]]:
    """Of a quantity at balanced over plain steps."""

    def measure(runs: xr.Dataset) -> Iterable[Setting]:
        for words, network in NETWORKS.items():
            plain, balanced = (quantity(select_network(runs, scaled, network=network)) for scaled in (False, True))
            yield _above(words, balanced - plain)

    return measure


def _judge_correlations(runs: xr.Dataset) -> Iterable[Setting]:
    for scaled, rank in ((s, r) for s in (False, True) for r in RANKS):
        yield _above(f"{rank}, {'balanced' if scaled else 'plain'}", correlate_rank(select_network(runs, scaled), rank))


def _judge_widths(runs: xr.Dataset) -> Iterable[Setting]:
    equal, quadratic = (_measure_end(select_network(runs, True, power), "accuracy") for power in (0, 2))
    yield _above("|·|, cross-entropy", quadratic - equal)


def _judge_width_ranks(runs: xr.Dataset) -> Iterable[Setting]:
    equal, quadratic = (_measure_end(select_network(runs, True, power), "rank") for power in (0, 2))
    for place, rank in enumerate(RANKS):
        yield _above(rank, np.log(quadratic[:, place] / equal[:, place]))


def _judge_plain_slope(runs: xr.Dataset) -> Iterable[Setting]:
    for power in (0, 2):
        yield _below(f"|·|, cross-entropy, widths k^{power}", fit_sharpness_slope(select_network(runs, False, power)))


def _judge_balanced_slope(runs: xr.Dataset) -> Iterable[Setting]:
    yield _below("|·|, cross-entropy", fit_sharpness_slope(select_network(runs, True)))


def _claim(part: str, sentence: str, predicted: str) -> Claim:
    id, name = part.split(maxsplit=1)
    return Claim(id, name, sentence, predicted, CHAPTER)


_POSITIVE, _NEGATIVE = "95 % interval above 0", "95 % interval below 0"

OURS = "the paper's scaling of gradients is not known to us: this is our reconstruction's number"
OUR_RANK = "neither the paper's soft rank nor its scaling of gradients is known to us: these are ours"

_SERIES = _claim(
    "S2.1 coefficients",
    "c₁, c₂, c₃ of a minibatch's loss along a step (derived here): log₁₀ of the largest relative distance of loss and cubic at "
    "10⁻⁴ of a step, before a gate turns",
    f"at most {EXACT:g}",
)

#: Claims on training over step sizes: claim, what measures it, and why it cannot be put to the test.
_TRAINING: tuple[tuple[Claim, Callable[[xr.Dataset], Iterable[Setting]], str], ...] = (
    (_claim(
        "S2.2 beyond",
        "plain steps, largest η that trains, those with c₂ > |c₁|: share on which the minibatch's loss falls all the same",
        "95 % interval above ½",
    ), _judge_fall, ""),
    (_claim(
        "S2.2 edge",
        "plain steps, largest η that trains: Σc₂/Σ|c₁| over the second half of training (another paper's: batch sharpness)",
        f"1 within {NEAR_EDGE:.0%}",
    ), _judge_edge, ""),
    (_claim("S2.3 explosions", "log₂ of the largest η that lasts, balanced over plain steps, quadratic widths", _POSITIVE),
     _judge_gain(lambda one: np.log2(find_lasting_eta(one))), OURS),
    (_claim("S2.3 training", "log₂ of the largest η that trains, balanced over plain steps, quadratic widths", _POSITIVE),
     _judge_gain(lambda one: np.log2(find_learning_eta(one))), OURS),
    (_claim("S2.4 features", "held-out accuracy at the best η, balanced less plain steps, quadratic widths", _POSITIVE),
     _judge_gain(lambda one: _measure_end(one, "accuracy")), OURS),
    (_claim(
        "S2.4 soft rank", "Spearman's correlation over η of a soft rank with held-out accuracy, quadratic widths", _POSITIVE
    ), _judge_correlations, OUR_RANK),
    (_claim("S2.5 accuracy", "balanced steps, held-out accuracy at the best η: quadratic less equal widths", _POSITIVE),
     _judge_widths, OURS),
    (_claim("S2.5 soft rank", "balanced steps, ln of the soft rank at the best η: quadratic less equal widths", _POSITIVE),
     _judge_width_ranks, OUR_RANK),
    (_claim(
        "S2.6 plain", f"slope of ln λ_max in ln η at the end, plain steps, η from {SLOPED[0]:g} to {SLOPED[1]:g}", _NEGATIVE
    ), _judge_plain_slope, ""),
    (_claim("S2.6 balanced", "the same, balanced steps, quadratic widths", _NEGATIVE), _judge_balanced_slope, OURS),
)  # fmt: skip

CLAIMS = (_SERIES, *(claim for claim, *_ in _TRAINING))


def rows(load: Load) -> list[dict[str, Any]]:
    """S2.1 to S2.6."""
    edge = load_or_reason(load, EDGE)
    made = case_rows(_SERIES, load_or_reason(load, ALONG), _judge_series)
    for claim, measure, untested in _TRAINING:
        made += case_rows(claim, edge, measure, untested)
    return made
