"""Accuracy against γ at the best η, for several budgets T: what tuning γ gains, what leaving η behind costs; C15.

η is chosen by the late loss, which is measured on fresh samples of the training stream, and accuracy is then read off on
samples held out: choosing and judging by the same numbers would flatter. One η serves all seeds, as it would in practice.
A budget shorter than the run is the same run, stopped earlier, since η is constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.ledger import Claim, Held, Load, judge_range, load_or_reason, mean_columns, scale_of, verdict
from richness.analysis.stats import Mean, mean_over_seeds
from richness.runs.results import STATUS, recipe_of

#: Accuracies closer than this count as equal: with 2,000 held-out digits one of .97 is known to ± .004.
MARGIN = 0.005

#: The γ against which others are held.
REFERENCE = 1.0

CHAPTER = "03-performance"
_SAY = {"mse": "MSE", "cross_entropy": "cross-entropy"}

#: Loss → the recipe from which C15 is computed.
RECIPES = {loss: f"performance_mlp3_{loss}" for loss in _SAY}


# -- the best η at every γ ---------------------------------------------------------------------------------------------


def budgets_probed(runs: xr.Dataset, probe: str = "accuracy") -> list[int]:
    """The budgets T at whose last step the probe was taken, ascending.

    Raises:
        ValueError: the result has no such probe.
    """
    if probe not in runs:
        raise ValueError(f"expected a result with the probe {probe!r}; run the sweep with probes=({probe!r},).")
    known = np.isfinite(runs[probe].transpose("step", ...).values).reshape(runs.sizes["step"], -1).any(axis=1)
    taken = set(runs.step.values[known])
    steps = runs.budget.values if "budget" in runs.coords else [runs.step.values[-1]]
    return [int(step) for step in steps if step in taken]


def _loss_at(runs: xr.Dataset, budget: int) -> xr.DataArray:
    """Late loss at a budget, (gamma, eta, seed); NaN where the run had diverged or was not run."""
    return runs.budget_loss.sel(budget=budget, drop=True) if "budget_loss" in runs else runs.late_loss


def tune_eta(runs: xr.Dataset, probe: str = "accuracy") -> xr.Dataset:
    """Every γ at its best η, for every budget at which the probe was taken.

    The best η has the smallest late loss, geometric mean over seeds, among those that stayed finite in all seeds.

    Returns:
        ``eta`` (gamma, budget), NaN where every η diverged in some seed; ``edge`` (gamma, budget), true where a neighbour
        of the best η was not run, so that the best may lie outside; ``accuracy`` and ``late_loss`` (gamma, budget, seed).

    Raises:
        ValueError: no such probe, or a result without a common η axis.
    """
    if "eta" not in runs.dims:
        raise ValueError(f"expected a sweep over a common η axis, got dimensions {dict(runs.sizes)}.")
    budgets = budgets_probed(runs, probe)
    joined = xr.concat(
        [_tune_at(runs, budget, probe) for budget in budgets], xr.DataArray(budgets, dims="budget", name="budget")
    )
    return joined.transpose("gamma", "budget", "seed").assign_attrs(runs.attrs)


def _tune_at(runs: xr.Dataset, budget: int, probe: str) -> xr.Dataset:
    """`tune_eta` at one budget."""
    late = _loss_at(runs, budget).transpose("gamma", "eta", "seed")
    with np.errstate(divide="ignore"):
        mean = np.log(late.values).mean(axis=2)
    known = np.isfinite(mean)
    best, some = np.argmin(np.where(known, mean, np.inf), axis=1), known.any(axis=1)
    run = (runs.status != STATUS["not_run"]).all("seed").transpose("gamma", "eta").values
    padded, rows = np.pad(run, ((0, 0), (1, 1))), np.arange(best.size)
    at, seen = xr.DataArray(best, dims="gamma"), xr.DataArray(some, coords={"gamma": runs.gamma}, dims="gamma")

    def pick(values: xr.DataArray) -> xr.DataArray:
        return values.isel(eta=at).drop_vars("eta").where(seen)

    numbers = {
        "eta": ("gamma", np.where(some, runs.eta.values[best], np.nan)),
        "edge": ("gamma", some & ~(padded[rows, best] & padded[rows, best + 2])),
        "accuracy": pick(runs[probe].sel(step=budget, drop=True)),
        "late_loss": pick(late),
    }
    return xr.Dataset(numbers, coords={"gamma": runs.gamma.values}).reset_coords(drop=True)


# -- differences -------------------------------------------------------------------------------------------------------


def mean_difference(first: xr.DataArray, second: xr.DataArray) -> Mean:
    """The mean of ``first − second``, both over (seed,), over the seeds in which both are known.

    The interval is over seeds (initial weights and stream); all seeds are judged by the same held-out samples, whose choice it
    does not cover.

    Raises:
        ValueError: no seed in which both are known.
    """
    gap = mean_over_seeds((first - second).values, lost="leave out")
    if gap.seeds == 0:
        raise ValueError("there is no seed in which both accuracies are known.")
    return gap


def _at(best: xr.Dataset, gamma: float) -> xr.Dataset:
    """The γ of the grid nearest to ``gamma``.

    Raises:
        ValueError: none within a tenth of a decade.
    """
    near = int(np.abs(np.log(best.gamma.values / gamma)).argmin())
    if abs(np.log10(best.gamma.values[near] / gamma)) > 0.1:
        raise ValueError(f"no γ near {gamma:g} was run; there are {', '.join(f'{g:g}' for g in best.gamma.values)}.")
    return best.isel(gamma=near)


def find_best_gamma(best: xr.Dataset) -> xr.Dataset:
    """The γ of the smallest late loss at its best η, for every budget.

    Args:
        best: of `tune_eta`.

    Returns:
        ``gamma`` (budget), by the geometric mean over seeds; ``low`` and ``high`` (budget), the smallest and the largest
        that single seeds would choose.
    """
    late = np.log(best.late_loss)
    gamma, each = (values.fillna(np.inf).idxmin("gamma") for values in (late.mean("seed"), late))
    return xr.Dataset({"gamma": gamma, "low": each.min("seed"), "high": each.max("seed")})


def compare_fixed_gammas(
    best: xr.Dataset, gammas: tuple[float, ...] = (0.01, REFERENCE, 100.0)
) -> dict[float, list[Mean]]:
    """What it costs not to tune γ: accuracy at a γ held fixed less that at the budget's best γ, both at their best η.

    Args:
        best: of `tune_eta`.

    Returns:
        For each of ``gammas`` within the grid, a difference for each budget, in order. Negative is a loss; the best γ is the
        one of smallest late loss, so that a difference may also be positive.
    """
    low, high = best.gamma.values[[0, -1]]
    chosen = [best.accuracy.sel(gamma=float(g), budget=g.budget) for g in find_best_gamma(best).gamma]
    return {
        gamma: [mean_difference(_at(best, gamma).accuracy.sel(budget=one.budget), one) for one in chosen]
        for gamma in gammas
        if 0.9 * low <= gamma <= 1.1 * high
    }


def compare_with_reference(runs: xr.Dataset, gamma: float = 100.0, reference: float = REFERENCE) -> pd.DataFrame:
    """Accuracy at ``gamma`` less that at the reference, each at its best η, by every measure of accuracy that the result holds.

    Returns:
        One row for every probe and budget: ``probe, T``, ``accuracy`` and ``reference`` (means over seeds at the two γ),
        ``difference, low, high`` (paired over seeds, 95 %).
    """
    rows = []
    for probe in (name for name in ("accuracy", "unseen_accuracy") if name in runs):
        best = tune_eta(runs, probe)
        for budget in best.budget.values:
            first, second = (_at(best, g).accuracy.sel(budget=budget) for g in (gamma, reference))
            gap = mean_difference(first, second)
            row = {"probe": probe, "T": int(budget), "accuracy": float(first.mean()), "reference": float(second.mean())}
            rows.append(row | {"difference": gap.value, "low": gap.interval[0], "high": gap.interval[1]})
    return pd.DataFrame(rows)


# -- an η that is left behind ------------------------------------------------------------------------------------------


def compare_eta_rules(runs: xr.Dataset, reference: float = REFERENCE, probe: str = "accuracy") -> xr.Dataset:
    """What it costs not to tune η anew when γ moves: accuracy along three rules, at the longest budget probed.

    Args:
        runs: a portrait, its band of η wide.
        reference: the γ at which η was tuned.

    Returns:
        ``accuracy`` and ``diverged`` (rule, gamma, seed), and ``eta`` (rule, gamma), for three rules: ``"tuned anew"``, the
        best η at every γ; ``"moved along"``, the reference's best η times the ratio of the natural scales; ``"left"``, the
        reference's best η as it is. Each at the nearest η of the grid; NaN where that cell was not run. A diverged run
        names classes at random: its accuracy is one over their number.

    Raises:
        ValueError: nothing at the reference stayed finite, or no probe.
    """
    best = tune_eta(runs, probe).isel(budget=-1)
    made = recipe_of(runs)
    start = _at(best, reference)
    if not np.isfinite(float(start.eta)):
        raise ValueError(f"no run at γ = {reference:g} stayed finite in all seeds.")
    scale = made.natural_eta(runs.gamma) / float(made.natural_eta(start.gamma))
    left = xr.full_like(scale, float(start.eta))
    rules = {"tuned anew": best.eta, "moved along": left * scale, "left": left}
    accuracy, chance = runs[probe].sel(step=int(best.budget)), 1 / made.source.outputs
    pieces = [_follow(eta, accuracy, runs.status, chance) for eta in rules.values()]
    joined = xr.concat(pieces, xr.DataArray(list(rules), dims="rule", name="rule"), coords="minimal", compat="override")
    return joined.transpose("rule", "gamma", "seed").assign_attrs(runs.attrs)


def _follow(eta: xr.DataArray, accuracy: xr.DataArray, status: xr.DataArray, chance: float) -> xr.Dataset:
    """Accuracy at the η of the grid nearest to ``eta`` (gamma), NaN beyond its ends and ``chance`` where the run diverged."""
    axis = np.log(accuracy.eta.values)
    wanted = np.nan_to_num(np.log(eta.values), nan=axis[0])
    at = xr.DataArray(np.abs(axis[None, :] - wanted[:, None]).argmin(axis=1), dims="gamma")
    inside = xr.DataArray((wanted >= axis[0]) & (wanted <= axis[-1]), dims="gamma")
    diverged = (status.isel(eta=at).drop_vars("eta") == STATUS["diverged"]) & inside
    here = accuracy.isel(eta=at).drop_vars("eta").where(inside)
    return xr.Dataset({"accuracy": here.where(~diverged, chance), "diverged": diverged, "eta": eta})


# -- C15 ---------------------------------------------------------------------------------------------------------------

#: C15 is judged in two windows, from the reference to each of these γ.
_LARGE = (100.0, 1000.0)
_KINDS = {
    "many steps": ("as good as at γ = 1", f"95 % interval not below −{MARGIN:g}"),
    "few steps": ("worse than at γ = 1", f"95 % interval below −{MARGIN:g}"),
}

CLAIMS = tuple(
    Claim(
        "C15",
        f"{kind}, {_SAY[loss]}",
        f"accuracy at the best η at large γ is {is_what}: difference at the {budget} budget",
        predicted,
        CHAPTER,
    )
    for (kind, (is_what, predicted)), budget in zip(_KINDS.items(), ("longest", "shortest"), strict=True)
    for loss in _SAY
)


def rows(load: Load) -> list[dict[str, Any]]:
    """C15: for each loss, large γ against γ = 1 at the longest and at the shortest budget."""
    results = {loss: load_or_reason(load, name) for loss, name in RECIPES.items()}
    best = {loss: runs if isinstance(runs, str) else tune_eta(runs) for loss, runs in results.items()}
    return [row for claim in CLAIMS for row in _rows(claim, best[_loss(claim)])]


def _loss(claim: Claim) -> str:
    return next(loss for loss, said in _SAY.items() if claim.part.endswith(f", {said}"))


def _rows(claim: Claim, best: xr.Dataset | str) -> list[dict[str, Any]]:
    if isinstance(best, str):
        return [claim.row(reason=best)]
    many = claim.part.startswith("many")
    here = best.isel(budget=-1 if many else 0)
    gaps = {gamma: _compare_or_reason(here, gamma) for gamma in _LARGE}
    within = (-MARGIN, np.inf) if many else (-np.inf, -MARGIN)
    judged: list[Held] = [
        judge_range(gap.interval, *within) if isinstance(gap, Mean) else None for gap in gaps.values()
    ]
    known = {
        "claim": f"{claim.sentence} (T = {int(here.budget):,})",
        "verdict": verdict(judged),
        "scale": scale_of(best),
    }
    return [claim.row(window=[REFERENCE, gamma], **known, **_columns(gap)) for gamma, gap in gaps.items()]


def _compare_or_reason(here: xr.Dataset, gamma: float) -> Mean | str:
    try:
        return mean_difference(_at(here, gamma).accuracy, _at(here, REFERENCE).accuracy)
    except ValueError as why:
        return str(why)


def _columns(gap: Mean | str) -> dict[str, Any]:
    return {"reason": gap} if isinstance(gap, str) else mean_columns(gap, "", "one seed only")
