"""Two clocks: how the time η·t to a level of the loss grows with γ, K1 to K3.

One mode of the solvable model starts at f = 0, where it has to wait: for L > 2 its plateau lasts η·t ∝ γ. Once γf ≫ 1 it falls
in η·t ∝ γ^(2/L), for λ_max is then ∝ γ^(−2/L). So the time *until* a level goes as γ as long as it is mostly plateau, and the
time *between* two levels further down as γ^(2/L), if what is left to be learned grows out of features that are large already.
Where it has to wait on plateaus of its own, as the modes of a linear teacher do, it goes as γ to the end.

The criteria were written when three seeds at L = 3 and one at each other depth had been seen; the ledger's rows rest on others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import xarray as xr

from richness.analysis import theory
from richness.analysis.boundaries import Window
from richness.analysis.exponents import Exponent, exponent_rows, fit_exponent
from richness.analysis.ledger import Claim, Load, judge_range, mean_columns, result_rows, scale_of, verdict
from richness.analysis.stats import Mean, mean_over_seeds
from richness.runs.results import recipe_fields
from richness.studies.dynamics.curves import plateau_length

CHAPTER = "04-dynamics"

#: Results by the name that readers see → the recipe.
RECIPES = {
    **{f"digits, L = {depth}": f"clocks_mlp{depth}" for depth in (2, 3, 4, 6)},
    "teacher, L = 3": "clocks_mlp3_teacher",
    "staircase, L = 3": "clocks_mlp3_staircase",
}
WINDOWS: tuple[Window, Window] = ((1e2, 1e3), (1e3, 1e4))

#: Levels of the loss, in units of its start, at which times are read.
LEVELS = (0.95, 0.9, 0.8, 0.7, 0.6, 0.52, 0.45, 0.38, 0.32)
#: K1: the early part is the time until this level …
EARLY = 0.95
#: … and K2: the late part the time between these two, as far down as a run of this length goes.
LATE = {"digits, L = 2": (0.6, 0.45), "teacher, L = 3": (0.6, 0.45)}
_LATE_DEEP = (0.45, 0.32)
#: K3: the spread of late times over γ on the clock γ^(2/L), over that on γ: below this.
SPREAD_BELOW = 0.25
_SPREAD_OF = ("digits, L = 3", "digits, L = 4")


def late_levels(name: str) -> tuple[float, float]:
    """The two levels between which the late part of a result lies."""
    return LATE.get(name, _LATE_DEEP)


def time_until(runs: xr.Dataset, level: float) -> xr.DataArray:
    """η·t until the loss is below ``level`` × the initial one for good, (gamma, seed); the geometric mean over η."""
    length = plateau_length(runs, level)
    return np.exp(np.log(length * length.eta).mean("eta")).rename("time")


def time_between(runs: xr.Dataset, high: float, low: float) -> xr.DataArray:
    """η·t from one level to another, (gamma, seed); NaN where a run does not reach the lower one."""
    taken = time_until(runs, low) - time_until(runs, high)
    return taken.where(taken > 0)


def model_time(depth: int, gamma: np.ndarray, high: float, low: float) -> np.ndarray:
    """The solvable model's η·t from one level of its loss (1 − f)² to another; from its start for ``high`` = 1."""
    until = partial(theory.escape_time, depth, gamma, "mse")
    end = until(1 - float(np.sqrt(low)))
    return end if high == 1 else end - until(1 - float(np.sqrt(high)))


def fit_between(runs: xr.Dataset, part: str, high: float, low: float, predicted: float, window: Window) -> Exponent:
    """The exponent in γ of the time between two levels; of the time until ``low``, for ``high`` = 1."""
    time = time_until(runs, low) if high == 1 else time_between(runs, high, low)
    model = partial(model_time, int(recipe_fields(runs)["depth"]), high=high, low=low)
    return fit_exponent("K1" if high == 1 else "K2", part, predicted, time, window, model)


def clock_spread(runs: xr.Dataset, exponent: float, name: str) -> np.ndarray:
    """How far late times, divided by γ^exponent, differ over γ, (seed,): standard deviation in decades, mean over levels."""
    high, low = late_levels(name)
    levels = np.geomspace(high, low, 5)[1:]
    times = xr.concat([time_between(runs, high, level) for level in levels], "level")
    scaled = np.log10(times) - exponent * np.log10(times.gamma)
    return scaled.std("gamma", skipna=False).mean("level").transpose("seed").values


# -- the ledger --------------------------------------------------------------------------------------------------------


def _late_exponent(name: str) -> float:
    """Large features are shared on digits; a linear teacher's modes each wait on a plateau of their own."""
    return 1.0 if name.startswith("teacher") else 2 / int(name[-1])


def _say_late(name: str) -> str:
    high, low = late_levels(name)
    return f"η·t from {high:g} to {low:g} of the loss, {name}: exponent in γ"


_claim = partial(Claim, chapter=CHAPTER)
EARLY_CLAIMS = {
    name: _claim("K1", name, f"η·t until 5 % of the loss is lost, {name}: exponent in γ", 1.0)
    for name in RECIPES
    if name.startswith("digits")
}
LATE_CLAIMS = {
    name: _claim(
        "K2",
        name,
        _say_late(name),
        _late_exponent(name),
    )
    for name in (*EARLY_CLAIMS, "teacher, L = 3")
}
SPREAD_CLAIM = _claim(
    "K3", "spread", "spread of late times over γ on the clock η·t·γ^(−2/L), over that on η·t/γ (L = 3, then 4)",
    f"95 % interval below {SPREAD_BELOW:g}",
)  # fmt: skip
CLAIMS = (*EARLY_CLAIMS.values(), *LATE_CLAIMS.values(), SPREAD_CLAIM)


def rows(load: Load) -> list[dict[str, Any]]:
    """The ledger's rows of K1 to K3."""
    return [row for made in _parts(cache(load)) for row in made]


def _parts(once: Load) -> Iterator[list[dict[str, Any]]]:
    for name, claim in EARLY_CLAIMS.items():
        yield result_rows(once, [RECIPES[name]], [claim], _judge(claim, 1, EARLY), ["loss"])
    for name, claim in LATE_CLAIMS.items():
        yield result_rows(once, [RECIPES[name]], [claim], _judge(claim, *late_levels(name)), ["loss"])
    yield result_rows(once, [RECIPES[name] for name in _SPREAD_OF], [SPREAD_CLAIM], _judge_spread, ["loss"])


def _judge(claim: Claim, high: float, low: float) -> Callable[[xr.Dataset], list[dict[str, Any]]]:
    def make(runs: xr.Dataset) -> list[dict[str, Any]]:
        predicted = float(claim.predicted)
        found = [fit_between(runs, claim.part, high, low, predicted, window) for window in WINDOWS]
        return exponent_rows(claim, found, scale_of(runs))

    return make


def _judge_spread(*results: xr.Dataset) -> list[dict[str, Any]]:
    means = [spread_ratio(runs, name) for runs, name in zip(results, _SPREAD_OF, strict=True)]
    seen = any(mean.seeds for mean in means)
    together = verdict(judge_range(mean.interval, high=SPREAD_BELOW) for mean in means) if seen else "not-run"
    window = [WINDOWS[0][0], WINDOWS[-1][-1]]
    lacking = "no run got that far at every γ"
    return [
        SPREAD_CLAIM.row(scale=scale_of(results[0]), verdict=together, window=window, **mean_columns(mean, lacking))
        for mean in means
    ]


def spread_ratio(runs: xr.Dataset, name: str) -> Mean:
    """The spread of late times on the clock γ^(2/L) over that on γ: the mean over seeds, lost ones left out."""
    depth = int(recipe_fields(runs)["depth"])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = clock_spread(runs, 2 / depth, name) / clock_spread(runs, 1.0, name)
    return mean_over_seeds(ratios, lost="leave out")
