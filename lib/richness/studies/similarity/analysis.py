r"""Are networks of different γ the same function, and do they hold the same features? C13 and C14.

A seed stands for both the initial weights and the stream. Networks of one seed share them, and are alike for that reason
alone; so claims are judged by pairs of different seeds, and what two seeds of one and the same γ reach is the *ceiling*.

The criterion, the same for R² and CKA, in every setting: a group of γ *holds together* if its members of different γ are
more alike than networks of different groups, the difference's 95 % interval lying above 0, and at most `TOLERANCE` less
alike than its seeds. `TOLERANCE` is what the ledger's rule for exponents allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from richness import measure
from richness.analysis.ledger import WITHIN, Claim, Load, load_or_reason, round_for_row, scale_of, verdict
from richness.analysis.stats import percentile_interval
from richness.networks.parameterization import natural_eta
from richness.runs.results import STATUS, recipe_of

#: The groups of γ, both ends included.
LAZY, RICH = (0.0, 0.1), (10.0, np.inf)
#: Those whose curves fall together in τ at L = 3.
COLLAPSING = (100.0, np.inf)
#: How far below its seeds' likeness a group's may lie.
TOLERANCE = WITHIN
#: Recipes in which the claims are judged, and what to call them: the same strictness as two windows, and one more.
SETTINGS = {
    "similarity_mlp3_mse": "MSE, digits8",
    "similarity_mlp3_cross_entropy": "cross-entropy, digits8",
    "similarity_mlp3_mse_teacher": "MSE, Gaussian teacher",
}
CHAPTER = "06-similarity"
_RESAMPLES = 2000
_SLACK = 1 + 1e-6  # a γ on the border of a group belongs to it, whichever way it was rounded


# -- networks side by side ---------------------------------------------------------------------------------------------


def pick_networks(runs: xr.Dataset) -> xr.Dataset:
    """One network for each γ and seed, (gamma, seed, step, ...): that whose η is nearest to the middle of the recipe's band.

    ``eta`` becomes a coordinate of γ. Networks that diverged are NaN from then on.
    """
    experiment = recipe_of(runs)
    share = runs.eta / natural_eta(runs.gamma, experiment.depth)
    middle = np.sqrt(np.prod(experiment.band)) if experiment.band else 1.0
    run = (runs.status != STATUS["not_run"]).any("seed")
    nearest = np.abs(np.log(share / middle)).where(run, np.inf).argmin("eta")
    kept = runs.drop_vars(("lr_raw", "tau", "precision"), errors="ignore")
    return kept.isel(eta=nearest).reset_coords("eta").set_coords("eta")


def match_clocks(runs: xr.Dataset, steps: Sequence[int] | None = None) -> xr.Dataset:
    """Which recorded steps to compare: the same t for all, or those at which τ = ηt/γ is that of the richest network.

    Args:
        runs: from `pick_networks`.
        steps: of the richest network; those recorded that are at least a hundredth of T, if None.

    Returns:
        ``t`` and ``tau``: places on the axis ``step``, (time, gamma); in ``tau`` −1 where γ < 1, which has another clock,
        and where the network stopped before. ``time`` has the richest network's steps.
    """
    recorded = runs.step.values
    times = np.array([s for s in recorded if s >= recorded[-1] / 100] if steps is None else steps)
    rate = (runs.eta / runs.gamma).values
    wanted = times[:, None] * rate[-1] / rate
    logs = np.log(np.maximum(recorded, 0.5))
    tau = np.abs(np.log(wanted)[..., None] - logs).argmin(axis=-1)
    tau = np.where((runs.gamma.values * _SLACK < 1) | (wanted > recorded[-1] * 1.25), -1, tau)
    t = np.broadcast_to(np.searchsorted(recorded, times)[:, None], tau.shape)
    return xr.Dataset(
        {"t": (("time", "gamma"), t), "tau": (("time", "gamma"), tau)}, {"time": times, "gamma": runs.gamma}
    )


def compare_pairs(runs: xr.Dataset, places: xr.DataArray | None = None) -> xr.DataArray:
    """R² between outputs and CKA between the layers of all pairs of networks, at one time.

    Under cross-entropy the function is what is predicted: the classes' probabilities, softmax(f), less those at step 0, 1/K.

    Args:
        runs: from `pick_networks`. places: each γ's place on the axis ``step``, −1 for none; the last for all, if None.

    Returns:
        (measure, gamma, other_gamma, seed, other_seed): ``measure`` is ``R²``, ``CKA 1`` (the first hidden layer) and so on.
    """
    if places is None:
        places = xr.full_like(runs.gamma, runs.sizes["step"] - 1, dtype=int)
    now = runs[["outputs", "gram"]].isel(step=places).where(places >= 0)
    shape = (runs.sizes["gamma"], runs.sizes["seed"])
    outputs = torch.from_numpy(now.outputs.transpose("gamma", "seed", "sample", "output").values.astype(np.float64))
    if recipe_of(runs).loss == "cross_entropy":
        outputs = outputs.softmax(dim=-1) - 1 / outputs.shape[-1]
    grams = torch.from_numpy(now.gram.transpose("hidden", "gamma", "seed", "pair").values.astype(np.float64))
    found = [measure.r_squared(outputs.flatten(0, 1))]
    found += [measure.cka(measure.from_triangle(layer.flatten(0, 1))) for layer in grams]
    names = ["R²", *(f"CKA {layer}" for layer in range(1, len(found)))]
    table = torch.stack(found).reshape(-1, *shape, *shape).numpy()
    axes = ("measure", "gamma", "seed", "other_gamma", "other_seed")
    gammas, seeds = runs.gamma.values, runs.seed.values
    coords = {"measure": names, "gamma": gammas, "other_gamma": gammas, "seed": seeds, "other_seed": seeds}
    return xr.DataArray(table, coords, axes).transpose("measure", "gamma", "other_gamma", "seed", "other_seed")


# -- groups ------------------------------------------------------------------------------------------------------------


def _inside(gamma: xr.DataArray, group: tuple[float, float]) -> xr.DataArray:
    return (gamma >= group[0] / _SLACK) & (gamma <= group[1] * _SLACK)


def _by_seed(table: xr.DataArray, one: tuple[float, float], other: tuple[float, float], same_gamma: bool) -> np.ndarray:
    """Means over the γ of two groups, (..., seed, other_seed); of one group, γ = γ′ or γ ≠ γ′."""
    pairs = _inside(table.gamma, one) & _inside(table.other_gamma, other)
    if one == other:
        pairs = pairs & ((table.gamma == table.other_gamma) == same_gamma)
    means = table.where(pairs).mean(("gamma", "other_gamma"))
    return means.transpose(..., "seed", "other_seed").values


def mean_over_pairs(by_seed: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The mean over pairs of different seeds of (..., seed, other_seed), each seed counted ``weights`` times, (..., seed)."""
    seeds = by_seed.shape[-1]
    weights = np.ones(seeds) if weights is None else weights
    pairs = weights[..., :, None] * weights[..., None, :] * (1 - np.eye(seeds))
    total = pairs.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((np.where(pairs > 0, by_seed, 0) * pairs).sum(axis=(-2, -1)) / total)


class PairMean(NamedTuple):
    """Over pairs of different seeds, with its 95 % interval."""

    value: float
    interval: tuple[float, float]


def bootstrap_over_seeds(by_seed: np.ndarray) -> PairMean:
    """With an interval from drawing the seeds again with replacement; pairs of a seed with itself never count."""
    value, seeds = float(mean_over_pairs(by_seed)), by_seed.shape[-1]
    if not np.isfinite(value):
        return PairMean(value, (np.nan, np.nan))
    draws = np.random.default_rng(0).integers(seeds, size=(_RESAMPLES, seeds))
    weights = np.stack([(draws == s).sum(axis=1) for s in range(seeds)], axis=1).astype(float)
    return PairMean(value, percentile_interval(mean_over_pairs(by_seed, weights)))


@dataclass(frozen=True)
class Comparison:
    """Whether a group of γ holds together, by one measure.

    Attributes:
        measure: ``R²``, ``CKA 1``, ...  group: ``rich``, ``lazy``, or ``rich, equal τ``.
        within: networks of different γ in the group. ceiling: of the same γ. against: networks of different groups; for
            equal τ, the same networks at equal t.
        gap: within − against. gammas: smallest and largest. seeds: how many.
    """

    measure: str
    group: str
    within: PairMean
    ceiling: PairMean
    against: PairMean
    gap: PairMean
    gammas: tuple[float, float]
    seeds: int

    @property
    def holds(self) -> bool:
        """More alike than `against`, and nearly as alike as its seeds."""
        return self.gap.interval[0] > 0 and self.within.value >= self.ceiling.value - TOLERANCE


def _compare(
    name: str, group: str, within: np.ndarray, ceiling: np.ndarray, against: np.ndarray, gammas: np.ndarray
) -> Comparison:
    mean, top, across, gap = map(bootstrap_over_seeds, (within, ceiling, against, within - against))
    ends = (float(gammas.min()), float(gammas.max()))
    return Comparison(name, group, mean, top, across, gap, ends, within.shape[-1])


def compare_groups(table: xr.DataArray) -> list[Comparison]:
    """The rich and the lazy group by every measure, each against pairs across the two.

    Args:
        table: from `compare_pairs`.

    Raises:
        ValueError: fewer than two γ in a group, or fewer than two seeds: there are no pairs then.
    """
    groups = {"rich": RICH, "lazy": LAZY}
    inside = {name: table.gamma.values[_inside(table.gamma, group).values] for name, group in groups.items()}
    if min(map(len, inside.values())) < 2 or table.sizes["seed"] < 2:
        raise ValueError(
            f"two seeds and, on either side, two γ are needed to compare: got {table.sizes['seed']} seeds and "
            + ", ".join(f"{len(found)} {name} γ" for name, found in inside.items())
        )
    found = []
    for name, layer in ((str(m), table.sel(measure=m)) for m in table.measure.values):
        across = (_by_seed(layer, LAZY, RICH, False) + _by_seed(layer, RICH, LAZY, False)) / 2
        for side, group in groups.items():
            within, ceiling = (_by_seed(layer, group, group, same) for same in (False, True))
            found.append(_compare(name, side, within, ceiling, across, inside[side]))
    return found


def compare_clocks(runs: xr.Dataset) -> tuple[xr.Dataset, list[Comparison]]:
    """The rich group, γ ≥ 100, through time, before and after t is rescaled to τ = ηt/γ.

    Args:
        runs: from `pick_networks`.

    Raises:
        ValueError: fewer than two γ ≥ 100, or than two seeds.

    Returns:
        ``t``, ``tau`` and ``ceiling`` (time, measure): means over pairs of different seeds at equal t and equal τ, of
        different γ, and, at equal τ, of the same γ. And for every measure the comparison of equal τ with equal t, means over
        those times.
    """
    gammas = runs.gamma.values[_inside(runs.gamma, COLLAPSING).values]
    if len(gammas) < 2 or runs.sizes["seed"] < 2:
        raise ValueError(f"two seeds and two γ ≥ {COLLAPSING[0]:g} are needed to compare, got γ = {runs.gamma.values}")
    when = match_clocks(runs)
    tables = {
        clock: xr.concat([compare_pairs(runs, when[clock].sel(time=time)) for time in when.time], when.time)
        for clock in ("t", "tau")
    }
    within = {clock: _by_seed(table, COLLAPSING, COLLAPSING, False) for clock, table in tables.items()}
    ceiling = _by_seed(tables["tau"], COLLAPSING, COLLAPSING, True)
    curves = {"t": within["t"], "tau": within["tau"], "ceiling": ceiling}
    axes = {"time": when.time.values, "measure": tables["t"].measure.values}
    data = {name: (("time", "measure"), mean_over_pairs(values)) for name, values in curves.items()}
    means = {"tau": within["tau"].mean(axis=0), "ceiling": ceiling.mean(axis=0), "t": within["t"].mean(axis=0)}
    found = [
        _compare(str(name), "rich, equal τ", means["tau"][k], means["ceiling"][k], means["t"][k], gammas)
        for k, name in enumerate(axes["measure"])
    ]
    return xr.Dataset(data, axes), found


# -- weights -----------------------------------------------------------------------------------------------------------


def measure_outliers(runs: xr.Dataset) -> xr.Dataset:
    """What training has added to every layer's spectrum.

    Args:
        runs: from `pick_networks`, with ``singular_values`` at the first and the last recorded step.

    Returns:
        (gamma, seed, layer): ``above``, how many of the kept singular values exceed the largest of that matrix at step 0 by
        `WITHIN`, 5 %; ``growth``, the largest over the largest at step 0; ``first``, the largest over the second.
    """
    values = runs.singular_values
    start, end = values.isel(step=0), values.isel(step=-1)
    edge = start.isel(index=0)
    known = np.isfinite(end.isel(index=0))
    above = (end > (1 + WITHIN) * edge).sum("index").where(known)
    return xr.Dataset(
        {"above": above, "growth": end.isel(index=0) / edge, "first": end.isel(index=0) / end.isel(index=1)}
    )


# -- the ledger --------------------------------------------------------------------------------------------------------

_CRITERION = f"95 % interval of the difference above 0, and within ≥ ceiling − {TOLERANCE:g}"


def _claim(id: str, part: str, sentence: str, difference: str) -> Claim:
    return Claim(
        id, part, f"{sentence} (in turn: {'; '.join(SETTINGS.values())})", f"{difference}: {_CRITERION}", CHAPTER
    )


CLAIMS = (
    _claim("C13", "rich", "rich networks of different γ end as nearly the same function", "R² within rich − across"),
    _claim("C13", "lazy", "lazy networks of different γ are a group of their own", "R² within lazy − across"),
    _claim("C13", "equal τ", "rich networks of different γ are the same function at equal τ", "R² at equal τ − at equal t"),
    _claim("C14", "rich", "rich networks of different γ have the same features, every layer", "CKA within rich − across"),
    _claim("C14", "lazy", "lazy networks of different γ have the same features, every layer", "CKA within lazy − across"),
)  # fmt: skip


def rows(load: Load) -> list[dict[str, Any]]:
    """The ledger's rows of C13 and C14, one for every part and setting; of several layers, the one with the smallest gap."""
    settings = [_judge_setting(load_or_reason(load, name)) for name in SETTINGS]
    return [row for claim in CLAIMS for row in _claim_rows(claim, settings)]


def _judge_setting(runs: xr.Dataset | str) -> tuple[str, list[Comparison]] | str:
    """The scale and all comparisons of one setting, or why there are none."""
    if isinstance(runs, str):
        return runs
    networks = pick_networks(runs)
    try:
        return scale_of(runs), [*compare_groups(compare_pairs(networks)), *compare_clocks(networks)[1]]
    except ValueError as why:
        return str(why)


def _claim_rows(claim: Claim, settings: Sequence[tuple[str, list[Comparison]] | str]) -> list[dict[str, Any]]:
    worst = [one if isinstance(one, str) else (one[0], _worst_layer(claim, one[1])) for one in settings]
    together = verdict(None if isinstance(one, str) else one[1].holds for one in worst)
    return [
        claim.row(verdict=together, **({"reason": one} if isinstance(one, str) else _columns(*one))) for one in worst
    ]


def _worst_layer(claim: Claim, comparisons: Sequence[Comparison]) -> Comparison:
    """Of the comparisons that a claim speaks of, one that does not hold, if any, and of these the one with the smallest gap."""
    group = "rich, equal τ" if claim.part == "equal τ" else claim.part
    spoken_of = [one for one in comparisons if one.group == group and (one.measure == "R²") == (claim.id == "C13")]
    return min(spoken_of, key=lambda one: (one.holds, one.gap.value))


def _columns(scale: str, one: Comparison) -> dict[str, Any]:
    return {
        "measured": round_for_row(one.gap.value),
        "interval": [round_for_row(end) for end in one.gap.interval],
        "reason": "",
        "window": [float(f"{end:.4g}") for end in one.gammas],
        "seeds": one.seeds,
        "scale": scale,
    }
