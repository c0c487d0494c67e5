"""Which η to use: a range for depth, loss, optimiser, γ, batch size and budget, read off the measured portraits.

An η is *good* in a setting if every seed stayed finite, the mean late loss (geometric, over seeds) is below
`CONVERGED_BELOW` of the initial one, and it is at most `WITHIN` times that of the best η. The adviser knows where the
good stretch around the best η lay in every portrait, in units of the natural η, and carries it over in five steps:

1. *γ and T*: linear interpolation in log γ and log T between what was measured; up to `BEYOND` outside the budgets measured,
   by the last two budgets.
2. *depth*: linear in log L between the two neighbouring depths.
3. *batch size*: each end moves by its measured slope in log B (depth 3, batches of 16, 64 and 256).
4. *caution*: each end moves inwards by as much as would have kept it good in 19 cases of 20 (both ends, then, in nine of
   ten), when a depth is left out and predicted from its neighbours, or in a first list of settings of other widths, batch
   sizes, depths and budgets, whichever asks for more.
5. *a decade at most*: what is wider is cut to the decade around the best η.

Width enters only through ``lr_raw``: under the maximal-update parameterisation the upper end hardly depends on it.

A first version knew no list of settings, and was cautious by the left-out depths alone; `make_rule` still makes it. Judged on
that list it failed at the lower end: a wider network or a larger batch learns more at its best η, so that slow ones fall
behind sooner. So the list became part of the rule, and a second one, written afterwards, judges it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import binomtest

from richness.analysis.ledger import Load
from richness.networks import OPTIMIZERS
from richness.networks.parameterization import natural_eta
from richness.runs import results
from richness.runs.experiment import Experiment
from richness.runs.grids import DEPTHS, LOSSES, recipe_name
from richness.runs.outcomes import CONVERGED_BELOW
from richness.runs.recipes import recipe
from richness.studies.adviser.recipes import BATCH_SIZES, HELD_OUT, batches_name

#: A good η's late loss is at most this many times the best one's.
WITHIN = 1.5

#: How far outside the budgets measured the adviser goes, as a factor.
BEYOND = 4.0

#: The widest range advised, in decades.
WIDEST = 1.0

#: The share of cases in which caution keeps an end good.
KEPT = 0.95

#: The narrowest: where caution leaves less, this much around the middle, in decades.
NARROWEST = 0.2

ENDS = ("low", "best", "high")
_DESCRIBED = ("loss", "optimizer", "depth", "width", "batch_size", "steps", "task", "activation")
_BATCH = 64  # of the portraits
_BATCH_DEPTH = 3


# -- what was measured -------------------------------------------------------------------------------------------------


def _late(runs: xr.Dataset, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """(late loss, geometric mean over seeds, NaN unless all are finite; whether converged), both (gamma, eta)."""
    late = runs.budget_loss.sel(budget=budget) if "budget_loss" in runs else runs.late_loss
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.exp(np.log(late.transpose("gamma", "eta", "seed").values.astype(float)).mean(axis=2))
    initial = runs.initial_loss.transpose("gamma", "eta", "seed").values.astype(float).mean(axis=2)
    return mean, mean < CONVERGED_BELOW * initial


def mark_good(runs: xr.Dataset, budget: int) -> np.ndarray:
    """Which η are good at which γ, boolean (gamma, eta)."""
    late, converged = _late(runs, budget)
    best = np.nanmin(np.where(converged, late, np.inf), axis=1, keepdims=True)
    return converged & (late <= WITHIN * best)


def measure_good_range(runs: xr.Dataset) -> xr.Dataset:
    """The unbroken stretch of good η around the best, at every γ and budget: log10 of η over the natural η.

    Returns:
        ``low``, ``best`` and ``high`` (gamma, budget), each at a cell of the grid; NaN where no η converged.
    """
    budgets = runs.budget.values if "budget_loss" in runs else np.array([int(runs.step[-1])])
    made = results.recipe_of(runs)
    straight = np.log10(runs.eta.values)[None, :] - np.log10(made.natural_eta(runs.gamma.values))[:, None]
    ends = np.full((3, runs.sizes["gamma"], budgets.size), np.nan)
    for k, budget in enumerate(budgets):
        late, fine = _late(runs, int(budget))[0], mark_good(runs, int(budget))
        for g in np.flatnonzero(fine.any(axis=1)):
            best = int(np.argmin(np.where(fine[g], late[g], np.inf)))
            low, high = _stretch_around(fine[g], best)
            ends[:, g, k] = straight[g, [low, best, high]]
    coords = {"log_gamma": np.log10(runs.gamma.values), "log_budget": np.log10(budgets)}
    return xr.Dataset({end: (("log_gamma", "log_budget"), ends[i]) for i, end in enumerate(ENDS)}, coords=coords)


def _stretch_around(fine: np.ndarray, best: int) -> tuple[int, int]:
    """First and last of the unbroken stretch of true around ``best``."""
    below, above = np.flatnonzero(~fine[:best]), np.flatnonzero(~fine[best:])
    return (int(below[-1]) + 1 if below.size else 0), (best + int(above[0]) if above.size else fine.size) - 1


# -- the rule ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """What the adviser knows of one loss and one optimiser.

    Attributes:
        loss, optimizer: which.
        measured: ``low``, ``best`` and ``high`` (log_depth, log_gamma, log_budget), log10 of η over natural η.
        by_batch: slope of each in log10 B.
        caution: decades by which ``low`` and ``high`` move inwards.
    """

    loss: str
    optimizer: str
    measured: xr.Dataset
    by_batch: dict[str, float]
    caution: dict[str, float]

    def place(self, depth: float, gamma: float, steps: float, batch_size: float = _BATCH) -> dict[str, float]:
        """Steps 1 to 3: log10 of η over natural η of the good stretch's ends and of the best; NaN where none is known."""
        measured = _along_budget(_along(self.measured, "log_gamma", np.log10(gamma)), np.log10(steps))
        here = _along(measured, "log_depth", np.log10(depth))
        more = np.log10(batch_size / _BATCH)
        return {end: float(here[end]) + self.by_batch[end] * more for end in ENDS}

    def advised(self, depth: float, gamma: float, steps: float, batch_size: float = _BATCH) -> dict[str, float]:
        """Steps 1 to 5: ``low``, ``best`` and ``high`` of the range advised, log10 of η over natural η; NaN where none is."""
        where = self.place(depth, gamma, steps, batch_size)
        low, high = where["low"] + self.caution["low"], where["high"] - self.caution["high"]
        if high - low < NARROWEST:
            middle = np.clip((low + high) / 2, where["low"], where["high"])
            low, high = middle - NARROWEST / 2, middle + NARROWEST / 2
        if high - low > WIDEST:
            low = np.clip(where["best"] - WIDEST / 2, low, high - WIDEST)
            high = low + WIDEST
        return {"low": float(low), "best": float(np.clip(where["best"], low, high)), "high": float(high)}


def _along(measured: xr.Dataset, dim: str, at: float) -> xr.Dataset:
    """Linear between the two neighbours along a coordinate, and beyond its ends by the last two; a neighbour without weight
    does not matter, even where nothing is known there."""
    grid = measured[dim].values
    if grid.size == 1:
        return measured.isel({dim: 0}, drop=True)
    after = int(np.clip(np.searchsorted(grid, at), 1, grid.size - 1))
    share = (at - grid[after - 1]) / (grid[after] - grid[after - 1])
    first, second = (measured.isel({dim: k}, drop=True) for k in (after - 1, after))
    if abs(share) < 1e-6:
        return first
    return second if abs(share - 1) < 1e-6 else (1 - share) * first + share * second


def _along_budget(measured: xr.Dataset, at: float) -> xr.Dataset:
    """As `_along`; beyond the longest budget its own value where nothing had learned by the one before."""
    found = _along(measured, "log_budget", at)
    longest = measured.isel(log_budget=-1, drop=True)
    return found.fillna(longest) if at > float(measured.log_budget[-1]) else found


def make_rule(loss: str, optimizer: str = "sgd", load: Load | None = None, first_version: bool = False) -> Rule:
    """Make the rule of one loss and one optimiser from the portraits, the runs at other batch sizes and the first list.

    Args:
        load: name of a recipe → its result; `richness.load` when left out.
        first_version: without the first list; see above.

    Raises:
        ValueError: no such loss or optimiser. ResultError: a result is missing; the message says how to make it.
    """
    if loss not in LOSSES or optimizer not in OPTIMIZERS:
        raise ValueError(
            f"the adviser knows the losses {', '.join(LOSSES)} and the optimisers {', '.join(OPTIMIZERS)}; "
            f"got {loss!r} and {optimizer!r}."
        )
    read = load or results.load
    ranges = [measure_good_range(read(recipe_name("portrait", depth, loss, optimizer))) for depth in DEPTHS]
    measured = xr.concat(ranges, xr.DataArray(np.log10(DEPTHS), dims="log_depth", name="log_depth"))
    others = {size: measure_good_range(read(batches_name(loss, optimizer, size))) for size in BATCH_SIZES}
    made = Rule(loss, optimizer, measured, _slopes_in_batch(measured, others), _by_left_out_depths(measured))
    if first_version:
        return made
    asked = [made.caution, _by_first_list(made, [read(name) for name in select_recipes(HELD_OUT, loss, optimizer)])]
    return replace(made, caution={end: max(caution[end] for caution in asked) for end in made.caution})


def select_recipes(names: Iterable[str], loss: str, optimizer: str) -> list[str]:
    """Those recipes that train with that loss and optimiser."""
    known = {name: recipe(name, "laptop") for name in names}
    sweeps = {name: made for name, made in known.items() if isinstance(made, Experiment)}
    return [name for name, made in sweeps.items() if (made.loss, made.optimizer) == (loss, optimizer)]


def make_rules(
    load: Load | None = None,
    losses: Iterable[str] = LOSSES,
    optimizers: Iterable[str] = tuple(OPTIMIZERS),
    first_version: bool = False,
) -> list[Rule]:
    """The rules of all those losses and optimisers whose results are at hand; others are left out.

    Raises:
        ResultError: no rule can be made; the message is the first one's.
    """
    found, missing = [], []
    for loss, optimizer in product(losses, optimizers):
        try:
            found.append(make_rule(loss, optimizer, load, first_version))
        except (results.ResultError, FileNotFoundError) as why:
            missing.append(why)
    if not found:
        raise missing[0]
    return found


def _slopes_in_batch(measured: xr.Dataset, others: dict[int, xr.Dataset]) -> dict[str, float]:
    """Slope of each end in log10 B: least squares through the three batch sizes at every γ, the median over γ; 0 if unknown."""
    portrait = _along(measured, "log_depth", np.log10(_BATCH_DEPTH))
    slopes: dict[str, list[float]] = {end: [] for end in ENDS}
    known = {size: runs.isel(log_budget=-1) for size, runs in others.items()}
    for log_gamma in next(iter(known.values())).log_gamma.values:
        at_64 = _along_budget(_along(portrait, "log_gamma", log_gamma), float(next(iter(known.values())).log_budget))
        for end in ENDS:
            places = {size: float(runs[end].sel(log_gamma=log_gamma)) for size, runs in known.items()}
            places[_BATCH] = float(at_64[end])
            seen = {size: place for size, place in places.items() if np.isfinite(place)}
            if len(seen) == len(places):
                slopes[end].append(float(np.polyfit(np.log10(list(seen)), list(seen.values()), 1)[0]))
    return {end: float(np.median(found)) if found else 0.0 for end, found in slopes.items()}


def _inwards(missed: dict[str, list[np.ndarray]]) -> dict[str, float]:
    """The shift that would have kept each end good in 19 cases of 20; 0 where nothing is known."""
    joined = {end: np.concatenate([np.ravel(part) for part in found]) for end, found in missed.items() if found}
    return {end: 0.0 for end in missed} | {
        end: max(0.0, float(np.nanquantile(found, KEPT))) for end, found in joined.items() if np.isfinite(found).any()
    }


def _by_left_out_depths(measured: xr.Dataset) -> dict[str, float]:
    """Caution from every γ and budget of a depth predicted from its neighbours."""
    missed: dict[str, list[np.ndarray]] = {"low": [], "high": []}
    grid = measured.log_depth.values
    for k in range(1, grid.size - 1):
        predicted = _along(measured.isel(log_depth=[k - 1, k + 1]), "log_depth", grid[k])
        actual = measured.isel(log_depth=k)
        missed["low"].append((actual.low - predicted.low).values)
        missed["high"].append((predicted.high - actual.high).values)
    return _inwards(missed)


def _by_first_list(made: Rule, judged: Iterable[xr.Dataset]) -> dict[str, float]:
    """Caution from settings of other widths, batch sizes, depths and budgets, at every γ."""
    missed: dict[str, list[np.ndarray]] = {"low": [], "high": []}
    for runs in judged:
        setting = results.recipe_of(runs)
        actual = measure_good_range(runs).isel(log_budget=-1)
        places = [made.place(setting.depth, gamma, setting.steps, setting.batch_size) for gamma in runs.gamma.values]
        missed["low"].append(actual.low.values - [place["low"] for place in places])
        missed["high"].append([place["high"] for place in places] - actual.high.values)
    return _inwards(missed)


# -- advice ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Advice:
    """A range of η to search in, and where the best η is expected.

    Attributes:
        low, best, high: η; NaN where no η is known to learn.
        lr_raw: the same three as raw steps: N·η for SGD and momentum; for sign steps and Adam the readout's, η, to which the
            other layers' are η/√fan_in.
        uncertainty: decades by which the lower and the upper end were moved inwards, out of caution.
        remarks: what to know about this advice, each a sentence.
    """

    low: float
    best: float
    high: float
    lr_raw: tuple[float, float, float]
    uncertainty: tuple[float, float]
    remarks: tuple[str, ...] = ()

    @property
    def learns(self) -> bool:
        """Whether any η is known to learn there."""
        return bool(np.isfinite(self.low))

    def __str__(self) -> str:
        if not self.learns:
            return " ".join(("No η is known to learn there.", *self.remarks))
        low, best, high = self.lr_raw
        return " ".join(
            (
                f"η between {self.low:.3g} and {self.high:.3g}, best near {self.best:.3g} (lr_raw {low:.3g} to {high:.3g}, "
                f"{best:.3g}).",
                *self.remarks,
            )
        )


@cache
def _known(loss: str, optimizer: str) -> Rule:
    return make_rule(loss, optimizer)


def advise(
    depth: int = 3,
    loss: str = "mse",
    gamma: float = 1.0,
    *,
    width: int = 64,
    batch_size: int = 64,
    steps: int = 1000,
    optimizer: str = "sgd",
    outputs: int = 10,
    known: Rule | None = None,
) -> Advice:
    """A range of η of at most one decade, from what was measured on MLPs of ReLUs trained on digits.

    Args:
        depth: L, weight layers, 2 to 6. loss: mse or cross_entropy. gamma: richness, 1e-4 to 1e4.
        width: N; the good η does not depend on it, lr_raw does. batch_size: B, 16 to 256.
        steps: T. optimizer: sgd, momentum (β = 0.9), signsgd or adam.
        outputs: K. The MSE is a mean over outputs, so that its gradients fall as 1/K and η grows as K under SGD and
            momentum; measured at 10.
        known: of `make_rule`; made from the stored portraits when left out.

    Raises:
        ValueError: outside what was measured; the message says where the limits are; or what no network could have.
        ResultError: a portrait is missing.
    """
    asked = Experiment(
        depth=depth,
        loss=loss,
        gammas=gamma,
        width=width,
        batch_size=batch_size,
        steps=steps,
        optimizer=optimizer,
        etas=1.0,
    )  # type: ignore[arg-type]  # a grid of one value; checked and read there, as everywhere
    depth, gamma, width, batch_size, steps = asked.depth, asked.gammas[0], asked.width, asked.batch_size, asked.steps
    if not isinstance(outputs, int) or outputs < 1:
        raise ValueError(f"outputs: expected a whole number of at least 1, got {outputs!r}")
    known = known or _known(loss, optimizer)
    shortest, longest = _check_measured(known, steps, depth=depth, gamma=gamma, batch_size=batch_size)
    straight = known.advised(depth, gamma, steps, batch_size)
    by_sign = OPTIMIZERS[optimizer].by_sign
    scale = float(natural_eta(gamma, depth, optimizer)) * (outputs / 10 if loss == "mse" and not by_sign else 1)
    low, best, high = (10 ** straight[end] * scale for end in ENDS)
    factor = OPTIMIZERS[optimizer].factor(width, 1 / width, width)
    remarks = []
    if not np.isfinite(low):
        remarks.append(f"At γ = {gamma:g} nothing learned within {steps} steps: train for longer, or lower γ.")
    if not shortest <= steps <= longest:
        remarks.append(f"Extrapolated: budgets were measured from T = {shortest:.0f} to {longest:.0f}.")
    if by_sign:
        remarks.append("lr_raw is the readout's; hidden layers take η/√fan_in.")
    caution = (known.caution["low"], known.caution["high"])
    return Advice(low, best, high, (low * factor, best * factor, high * factor), caution, tuple(remarks))


def _check_measured(known: Rule, steps: int, **setting: float) -> tuple[float, float]:
    """The shortest and the longest budget measured, if the setting lies within what was.

    Raises:
        ValueError: it does not; the message says where the limits are.
    """
    measured = {"depth": 10**known.measured.log_depth.values, "gamma": 10**known.measured.log_gamma.values}
    for name, limits in {**measured, "batch_size": BATCH_SIZES}.items():
        if not 0.999 * min(limits) <= setting[name] <= 1.001 * max(limits):
            raise ValueError(f"{name} was measured from {min(limits):g} to {max(limits):g}; got {setting[name]:g}.")
    shortest, longest = 10 ** known.measured.log_budget.values[[0, -1]]
    if not shortest / BEYOND <= steps <= longest * BEYOND:
        raise ValueError(
            f"steps were measured from {shortest:g} to {longest:g}, and the adviser goes {BEYOND:g} times beyond; got {steps}."
        )
    return shortest, longest


def tabulate(
    rules: Iterable[Rule],
    depths: Iterable[int],
    gammas: Iterable[float],
    steps: Iterable[int],
    batch_size: int = _BATCH,
) -> pd.DataFrame:
    """The advice on a grid: columns ``loss, optimizer, depth, steps, gamma, low, best, high``; no row where there is none."""
    rows = []
    for known, depth, budget, gamma in product(rules, depths, steps, gammas):
        setting: dict[str, Any] = {
            "loss": known.loss,
            "optimizer": known.optimizer,
            "depth": depth,
            "steps": budget,
            "gamma": gamma,
        }
        advice = advise(**setting, batch_size=batch_size, known=known)
        rows.append(setting | {"low": advice.low, "best": advice.best, "high": advice.high})
    return pd.DataFrame(rows).dropna()


# -- was the advice good? ----------------------------------------------------------------------------------------------


def judge(runs: xr.Dataset, known: Rule) -> pd.DataFrame:
    """Hold the advice against a sweep it was not made from, one row a γ.

    The advice *worked* if every η of the grid inside the range (the one nearest to its middle, if the range holds none) is
    good by the same measure: finite in all seeds, converged, and within `WITHIN` times the late loss of the best η run.

    Returns:
        Columns ``gamma``, ``low, high`` (advised), ``best`` (the η of smallest late loss), ``cells, good`` (η of the grid
        in the range, and how many of them are good), ``learned`` (whether any η converged), ``worst`` (the largest late
        loss in the range over the smallest of all; infinite where a seed diverged), ``searched`` (the smallest late loss
        in the range over the smallest of all: what a search of the range would find) and ``worked``. Where nothing was
        advised, ``worked`` is whether indeed nothing converged.
    """
    made = results.recipe_of(runs)
    late, fine = _late(runs, made.steps)[0], mark_good(runs, made.steps)
    setting: dict[str, Any] = {"depth": made.depth, "loss": made.loss, "optimizer": made.optimizer, "width": made.width}
    setting |= {"batch_size": made.batch_size, "steps": made.steps, "outputs": made.source.outputs}
    rows = []
    for g, gamma in enumerate(runs.gamma.values):
        advice = advise(gamma=float(gamma), known=known, **setting)
        rows.append({"gamma": float(gamma)} | _judge_one(advice, runs.eta.values, late[g], fine[g]))
    return pd.DataFrame(rows)


def _judge_one(advice: Advice, etas: np.ndarray, late: np.ndarray, fine: np.ndarray) -> dict[str, Any]:
    """The row of `judge` at one γ; ``late`` and ``fine``: late loss, and whether it is good, of each η."""
    inside = (etas >= advice.low) & (etas <= advice.high)
    if advice.learns and not inside.any():
        inside[np.abs(np.log(etas / np.sqrt(advice.low * advice.high))).argmin()] = True
    learned, smallest = bool(fine.any()), np.nanmin(late, initial=np.inf)
    here = np.nan_to_num(late[inside], nan=np.inf) / smallest if advice.learns else np.array([np.nan])
    return {
        "low": advice.low,
        "high": advice.high,
        "best": float(etas[np.argmin(np.where(fine, late, np.inf))]) if learned else np.nan,
        "cells": int(inside.sum()),
        "good": int(fine[inside].sum()),
        "learned": learned,
        "worst": float(here.max()),
        "searched": float(here.min()),
        "worked": bool(fine[inside].all() if advice.learns else not learned),
    }


@dataclass(frozen=True)
class SuccessRate:
    """How often the advice worked: a share with its 95 % Wilson interval."""

    worked: int
    of: int
    interval: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.worked} of {self.of} settings, {self.worked / self.of:.0%} [{low:.0%}, {high:.0%}]"


def count_worked(judged: pd.DataFrame) -> SuccessRate:
    """How many rows of `judge` worked.

    Raises:
        ValueError: no rows.
    """
    if judged.empty:
        raise ValueError("expected rows of `judge`, got none.")
    worked, of = int(judged.worked.sum()), len(judged)
    interval = binomtest(worked, of).proportion_ci(0.95, method="wilson")
    return SuccessRate(worked, of, (float(interval.low), float(interval.high)))


def judge_all(names: Iterable[str], rules: Iterable[Rule], load: Load | None = None) -> pd.DataFrame:
    """`judge` over those recipes whose loss and optimiser one of the rules knows.

    Returns:
        The rows of `judge`, and what each was run with: ``recipe, loss, optimizer, depth, width, batch_size, steps, task,
        activation``.

    Raises:
        ValueError: none of them is known. ResultError: a result is missing.
    """
    known = {(one.loss, one.optimizer): one for one in rules}
    frames = []
    for name in names:
        made = recipe(name, "laptop")
        if isinstance(made, Experiment) and (made.loss, made.optimizer) in known:
            runs = (load or results.load)(name)
            setting = results.recipe_of(runs)
            described = {key: getattr(setting, key) for key in _DESCRIBED}
            frames.append(judge(runs, known[made.loss, made.optimizer]).assign(recipe=name, **described))
    if not frames:
        raise ValueError("none of these recipes has a loss and an optimiser that the rules know.")
    return pd.concat(frames, ignore_index=True)
