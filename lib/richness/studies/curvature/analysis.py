"""Curvature: the sharpness at the end of training against γ, C11, and how many eigenvalues stand out, C12.

λ_max is compared in three ways, each at one share of the natural η for all γ, read off between the two η next to it:

* at the end, at a *large step*: there rich networks are at the edge of stability, where λ_max is 2/lr_raw whatever they have
  learned, so that the exponent restates that of η;
* at the end, at a *small step*, below the edge; but for L > 2 the same steps are less time τ = η·t/γ the richer a network is;
* at *equal τ*, at the small step: the same age in the time in which rich networks of different γ collapse.

Eigenvalues are counted relative to the largest. What C12's words mean here was fixed on a pilot, of another seed than the
results: a *large* eigenvalue is above `LARGE` of λ_max, and a *gap* is a fall by `GAP` or more from one eigenvalue to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import xarray as xr

from richness.analysis import boundaries, theory
from richness.analysis.exponents import Exponent, exponent_rows, fit_exponent
from richness.analysis.ledger import Claim, Load, load_holding, mean_columns, result_rows, scale_of, verdict
from richness.analysis.stats import mean_over_seeds
from richness.data import TASKS
from richness.networks.parameterization import natural_eta
from richness.runs.results import STATUS, recipe_fields
from richness.studies.curvature.recipes import SHARES, final_sharpness_name, spectra_name

CHAPTER = "05-curvature"

#: An eigenvalue is *large* above this share of λ_max.
LARGE = 0.2

#: A *gap* is a fall by this factor or more from one eigenvalue to the next.
GAP = 2.0

#: The two ends between which C12 compares.
LAZY, RICH = 0.01, 100.0

#: In which ways λ_max is compared.
READINGS = ("small step", "large step", "equal τ")

#: Where rich networks are compared at equal τ: about as far as their loss curves collapse at the small step.
TAU = 200.0

_SIDES = {"lazy": boundaries.LAZY_WINDOWS, "rich": boundaries.RICH_WINDOWS}


# -- the sharpness at the end ------------------------------------------------------------------------------------------


def step_share(runs: xr.Dataset, reading: str) -> float:
    """The share of the natural η at which a result's sharpness is compared in one of `READINGS`."""
    made = recipe_fields(runs)
    small, large = SHARES["digits8" if made["task"] == "digits" else made["task"], made["loss"]]
    return large if reading == "large step" else small


def read_sharpness(runs: xr.Dataset, reading: str) -> xr.DataArray:
    """λ_max of the Hessian against γ in one of `READINGS`: (gamma, seed), in units of 1/lr_raw.

    Read off at one `step_share` of the natural η between the nearest η on either side, log λ_max linear in log η; at equal τ,
    which is for γ ≥ 1 alone, also between the nearest probed steps, linear in log t. NaN where one of the two runs has not
    converged (see `richness.analysis.boundaries.converged`: there training has not come to its end), or τ was not reached.

    Args:
        runs: with the probe ``sharpness``, dims (gamma, eta, seed, step).
        reading: ``"small step"`` or ``"large step"``: at the last step; ``"equal τ"``: at τ = `TAU`, at the small step.

    Raises:
        ValueError: another reading; or the result has no sharpness, or no common η axis.
    """
    if reading not in READINGS:
        raise ValueError(f"a reading is one of {', '.join(READINGS)}; got {reading!r}.")
    if "sharpness" not in runs or "eta" not in runs.dims:
        raise ValueError("expected a sweep over a common η axis with the probe 'sharpness'; run one with both.")
    gammas, depth = runs.gamma.values.astype(float), int(recipe_fields(runs)["depth"])
    etas = step_share(runs, reading) * natural_eta(gammas, depth)
    known = runs.sharpness.where(boundaries.converged(runs)).transpose("gamma", "eta", "seed", "step")
    with np.errstate(invalid="ignore", divide="ignore"):
        curves = _between(np.log10(runs.eta.values), np.log10(known.values), np.log10(etas))  # (gamma, seed, step)
    if reading == "equal τ":
        value = _at(runs.step.values, curves, np.where(gammas < 1 - 1e-9, np.nan, TAU * gammas / etas))
    else:
        value = curves[..., -1]
    coords = {"gamma": runs.gamma.values, "seed": runs.seed.values}
    attrs = {"long_name": f"λ_max, {reading}", "units": "1/lr_raw"}
    return xr.DataArray(10.0**value, coords, ("gamma", "seed"), "sharpness", attrs)


def _between(grid: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """``values`` (gamma, grid, ...) at one place of the grid for each γ, linear; NaN off the grid or beside a NaN."""
    below = np.clip(np.searchsorted(grid, wanted) - 1, 0, grid.size - 2)
    weight = (wanted - grid[below]) / (grid[below + 1] - grid[below])
    weight[(weight < 0) | (weight > 1)] = np.nan
    rows = np.arange(wanted.size)
    left, right = values[rows, below], values[rows, below + 1]
    return left + weight.reshape(-1, *[1] * (left.ndim - 1)) * (right - left)


def _at(steps: np.ndarray, curves: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """``curves`` (gamma, seed, step) at one step for each γ, linear in its logarithm over the steps at which there are any."""
    probed = np.flatnonzero(np.isfinite(curves).any(axis=(0, 1)) & (steps > 0))
    if probed.size < 2:
        return np.full(curves.shape[:2], np.nan)
    return _between(np.log10(steps[probed]), curves[..., probed].swapaxes(1, 2), np.log10(wanted))


def stability_ratio(runs: xr.Dataset, reading: str) -> xr.DataArray:
    """`read_sharpness` over the stability line 2/lr_raw of its step size: (gamma, seed)."""
    made = recipe_fields(runs)
    lr_raw = int(made["width"]) * step_share(runs, reading) * natural_eta(runs.gamma, int(made["depth"]))
    return read_sharpness(runs, reading) * lr_raw / 2


def fit_exponents(runs: xr.Dataset, reading: str, part: str = "{side}") -> list[Exponent]:
    """C11: the exponent of λ_max in γ, lazy and rich (rich alone at equal τ), each in two windows.

    Theory's slope over the same γ is that of the solvable model's λ* = L²(1+γ)^(2−2/L)/γ² at its minimum (L separate weights:
    1/L of it, the same slope).

    Args:
        runs, reading: as for `read_sharpness`. part: the name of the claim's part, with the side in its place.
    """
    made = recipe_fields(runs)
    depth, loss = int(made["depth"]), str(made["loss"])
    values = read_sharpness(runs, reading)
    model = partial(theory.minimum_sharpness, depth, loss=loss)
    predicted = {side: theory.predicted_exponent("C11", depth, side) for side in sides_of(reading)}
    return [
        fit_exponent("C11", part.format(side=side), slope, values, window, model)
        for side, slope in predicted.items()
        for window in _SIDES[side]
    ]


def sides_of(reading: str) -> tuple[str, ...]:
    """On which sides of γ = 1 a reading has a meaning."""
    return ("rich",) if reading == "equal τ" else tuple(_SIDES)


# -- how many stand out ------------------------------------------------------------------------------------------------


def count_outputs(runs: xr.Dataset) -> int:
    """C, the number of classes or target components of a result's task."""
    return TASKS[recipe_fields(runs)["task"]].outputs


def select_gamma(runs: xr.Dataset, gamma: float) -> xr.Dataset:
    """What was measured of the networks at that γ, the nearest there is, where each γ was run at one η: (seed, step, ...).

    Steps at which no spectrum was taken are left out.

    Raises:
        ValueError: more than one η was run at that γ.
    """
    here = runs.sel(gamma=gamma, method="nearest")
    run = np.flatnonzero((here.status != STATUS["not_run"]).any("seed").values)
    if run.size != 1:
        raise ValueError(f"expected one η at γ = {gamma:g}, got {run.size}; pick one with runs.sel(eta=...) first.")
    here = here.isel(eta=int(run[0]))
    return here.isel(step=np.flatnonzero(here.top_eigenvalues.notnull().any(["seed", "eigenvalue"]).values))


def count_above(top: xr.DataArray, share: float = LARGE) -> xr.DataArray:
    """How many of the eigenvalues are above ``share`` × λ_max; NaN where there is no λ_max.

    A lower bound where all that were kept are above.

    Args:
        top: with the dimension ``eigenvalue``, descending.
    """
    largest = top.isel(eigenvalue=0, drop=True)
    return (top > share * largest).sum("eigenvalue").where(largest > 0)


def count_large(top: xr.DataArray) -> xr.DataArray:
    """`count_above` at the share `LARGE`, by which C12 is judged."""
    return count_above(top, LARGE)


def find_widest_gap(top: xr.DataArray) -> xr.Dataset:
    """The widest gap among the eigenvalues: ``count`` stand above it, and the next is smaller by the factor ``factor``.

    Args:
        top: with the dimension ``eigenvalue``, descending. Only positive ones are looked at.
    """
    positive = top.where(top > 0)
    ratio = positive / positive.shift(eigenvalue=-1)
    known = ratio.notnull().any("eigenvalue")
    count = ratio.fillna(0.0).argmax("eigenvalue") + 1
    return xr.Dataset({"count": count.where(known), "factor": ratio.max("eigenvalue")})


# -- the ledger --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SharpnessFit:
    """Where a part of C11 comes from: one side of a recipe's result, in one reading."""

    claim: Claim
    recipe: str
    reading: str
    side: str


def _sources() -> Iterator[SharpnessFit]:
    settings: list[tuple[str, str, str, int, tuple[str, ...]]]
    settings = [(f"L={depth}", "", final_sharpness_name(depth), depth, READINGS) for depth in (2, 3, 4)]
    below = ("small step", "equal τ")
    settings.append(("digits", ", 28×28 digits", "phase_portrait_mlp3_mse", 3, below))
    settings.append(("teacher", ", Gaussian teacher", final_sharpness_name(task="teacher"), 3, below))
    for name, where, recipe, depth, readings in settings:
        for reading, side in [(one, side) for one in readings for side in sides_of(one)]:
            sentence = f"λ_max late in training, {side} side, {reading}, L = {depth}{where}: slope in γ"
            slope = theory.predicted_exponent("C11", depth, side)
            claim = Claim("C11", f"{side} {name} {reading}", sentence, slope, CHAPTER)
            yield SharpnessFit(claim, recipe, reading, side)


SOURCES: tuple[SharpnessFit, ...] = tuple(_sources())

_TASKS = {"digits8": "8×8 digits, C = 10", "teacher": "a teacher with C = 4 outputs"}
_C12 = {
    "lazy": Claim(
        "C12",
        "lazy",
        f"lazy (γ = {LAZY:g}): about C eigenvalues of the Hessian stand out",
        f"in every seed the widest gap, a factor of {GAP:g} or more, comes after C − 1 to C + 1 eigenvalues",
        CHAPTER,
    ),
    "rich": Claim(
        "C12",
        "rich",
        f"rich (γ = {RICH:g}): many eigenvalues of the Hessian become large",
        f"in every seed at least 2C eigenvalues, and twice as many as lazily, are above {LARGE:g} of λ_max",
        CHAPTER,
    ),
}

CLAIMS: tuple[Claim, ...] = (*(source.claim for source in SOURCES), *_C12.values())


def rows(load: Load) -> list[dict[str, Any]]:
    """The ledger's rows of C11 and C12."""
    once = cache(load)
    made = []
    for source in SOURCES:
        made += result_rows(once, [source.recipe], [source.claim], partial(_exponent_rows, source), ["sharpness"])
    return made + _outlier_rows({task: load_holding(once, spectra_name(task), ["top_eigenvalues"]) for task in _TASKS})


def _exponent_rows(source: SharpnessFit, runs: xr.Dataset) -> list[dict[str, Any]]:
    windows = fit_exponents(runs, source.reading, source.claim.part)
    here = [one for one in windows if one.asked in _SIDES[source.side]]
    return exponent_rows(source.claim, here, scale_of(runs))


def _outlier_rows(results: dict[str, xr.Dataset | str]) -> list[dict[str, Any]]:
    """C12's two parts, each judged on two streams: a row a stream, all with the part's one verdict."""
    judges = {"lazy": (LAZY, _count_apart), "rich": (RICH, _count_rich)}
    return [row for side, (gamma, judge) in judges.items() for row in _judged_rows(_C12[side], gamma, judge, results)]


def _judged_rows(
    claim: Claim,
    gamma: float,
    judge: Callable[[xr.Dataset], tuple[np.ndarray, np.ndarray]],
    results: dict[str, xr.Dataset | str],
) -> list[dict[str, Any]]:
    known = {task: judge(runs) for task, runs in results.items() if not isinstance(runs, str)}
    together = verdict(bool(known[task][1].all()) if task in known else None for task in results)
    made = []
    for task, runs in results.items():
        if isinstance(runs, str):
            made.append(claim.row(reason=f"{_TASKS[task]}: {runs}"))
            continue
        shared = {"claim": f"{claim.sentence}; {_TASKS[task]}", "window": [gamma, gamma], "verdict": together}
        counted = mean_columns(mean_over_seeds(known[task][0]), "one of the seeds diverged")
        made.append(claim.row(**shared, scale=scale_of(runs), **counted))
    return made


def _last(runs: xr.Dataset, gamma: float) -> xr.DataArray:
    return select_gamma(runs, gamma).top_eigenvalues.isel(step=-1)


def _count_apart(runs: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """How many eigenvalues stand above the widest gap at the lazy end, a seed each, and whether the criterion holds."""
    gap = find_widest_gap(_last(runs, LAZY))
    holds = (abs(gap["count"] - count_outputs(runs)) <= 1) & (gap["factor"] >= GAP)
    return gap["count"].values, holds.values


def _count_rich(runs: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """How many large eigenvalues there are at the rich end, a seed each, and whether the criterion holds."""
    rich, lazy = count_large(_last(runs, RICH)), count_large(_last(runs, LAZY))
    return rich.values, ((rich >= 2 * count_outputs(runs)) & (rich >= 2 * lazy)).values
