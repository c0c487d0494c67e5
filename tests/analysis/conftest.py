"""A portrait with planted boundaries, in the documented layout: more η than γ, so that a transposition shows."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from richness.runs.results import ResultError

OK, DIVERGED, NOT_RUN = 0, 1, 2
BUDGETS = (250, 500, 1000)


def power_law(gamma: np.ndarray, prefactor: float, lazy: float, rich: float) -> np.ndarray:
    """prefactor × γ^lazy below γ = 1, prefactor × γ^rich above."""
    return prefactor * np.where(gamma < 1, gamma**lazy, gamma**rich)


def make_runs(
    lazy: float = 2.0,
    rich: float = 2 / 3,
    rich_min: float = 1.0,
    in_budget: float = -1.0,
    scatter: float = 0.01,
    noise: float = 0.005,
    above: float = 5.0,
    below: float = 5.0,
    per_decade: float = 9.66,
    depth: int = 3,
    budgets: tuple[int, ...] = BUDGETS,
) -> xr.Dataset:
    """The planted portrait: η_max = 40 γ^…, η_crit = η_max/2, η_star = η_max/4, η_min = 40 γ^… (T/1000)^… / 400.

    Between η_max and 3 η_max cells are finite and dead (late loss = initial loss), above they diverge. Cells beyond
    ``above`` × η_max or below 1/``below`` of the lowest η_min are not run. ``scatter`` (decades) moves each seed's
    boundaries, ``noise`` (decades) each late loss.
    """
    draws = np.random.default_rng(1)
    gamma = np.geomspace(1e-4, 1e4, 33)
    log_eta = np.arange(-11, 7, 1 / per_decade)
    eta, seeds, all_budgets = 10**log_eta, np.arange(3), np.array(sorted({*budgets, 1000}))
    moved = 10 ** (scatter * draws.standard_normal((gamma.size, 1, seeds.size)))
    top = power_law(gamma, 40, lazy, rich)[:, None, None] * moved
    star, crit = top / 4, top / 2
    low = power_law(gamma, 0.1, lazy, rich_min)[:, None, None, None] * moved[..., None]
    low = low * (all_budgets / 1000) ** in_budget
    e = eta[None, :, None]
    initial = np.full((gamma.size, eta.size, seeds.size), 0.1) * (1 + 0.02 * seeds)
    bowl = np.minimum(0.05 * 10 ** (0.2 * np.log10(e / star) ** 2), 0.5)
    bowl = bowl * 10 ** (noise * draws.standard_normal(initial.shape))
    status = np.where(e > 3 * top, DIVERGED, OK)
    status = np.where((e > above * top) | (e < low.min(axis=-1) / below), NOT_RUN, status)
    budget_loss = np.where((e[..., None] >= low) & (e <= top)[..., None], bowl[..., None], 0.95)
    budget_loss = np.where(((e > top) & (status == OK))[..., None], 1.0, budget_loss) * initial[..., None]
    budget_loss = np.where((status == OK)[..., None], budget_loss, np.nan).astype(np.float32)
    peak = np.where(status == DIVERGED, np.inf, np.where(e <= crit, 1.0, 3.0) * initial)
    cell = ("gamma", "eta", "seed")
    return xr.Dataset(
        {
            "status": (cell, status.astype(np.int8)),
            "initial_loss": (cell, np.where(status == NOT_RUN, np.nan, initial).astype(np.float32)),
            "late_loss": (cell, budget_loss[..., -1]),
            "peak_loss": (cell, np.where(status == NOT_RUN, np.nan, peak).astype(np.float32)),
            "budget_loss": ((*cell, "budget"), budget_loss),
        },
        coords={"gamma": gamma, "eta": eta, "seed": seeds, "budget": all_budgets, "step": [0, 10, 1000]},
        attrs={"recipe": json.dumps({"depth": depth, "loss": "mse", "steps": 1000}), "scale": "laptop"},
    )


def as_trials(runs: xr.Dataset) -> xr.Dataset:
    """The same portrait as a boundary search gives it: only the cells that were run, per γ, shuffled."""
    draws = np.random.default_rng(2)
    run = (runs.status != NOT_RUN).any("seed").values
    trials = int(run.sum(axis=1).max()) + 2  # two more than any γ needs: unused trials have no η
    pieces, etas = [], np.full((runs.sizes["gamma"], trials), np.nan)
    for g in range(runs.sizes["gamma"]):
        chosen = draws.permutation(np.flatnonzero(run[g]))
        etas[g, : chosen.size] = runs.eta.values[chosen]
        piece = (
            runs.isel(gamma=[g], eta=chosen)
            .drop_vars("eta")
            .rename(eta="trial")
            .pad(trial=(0, trials - chosen.size), constant_values={"status": NOT_RUN})
        )
        pieces.append(piece)
    joined = xr.concat(pieces, "gamma")
    return joined.assign_coords(eta=(("gamma", "trial"), etas)).assign_attrs(runs.attrs)


@pytest.fixture(scope="session")
def runs() -> xr.Dataset:
    return make_runs()


@pytest.fixture(scope="session")
def nothing_stored() -> Callable[[str], xr.Dataset]:
    """A loader that has no result."""

    def load(name: str) -> xr.Dataset:
        raise ResultError(f"no precomputed result {name!r}")

    return load


@pytest.fixture(scope="session")
def planted() -> Callable[..., xr.Dataset]:
    return make_runs


@pytest.fixture(scope="session")
def trials() -> Callable[[xr.Dataset], xr.Dataset]:
    return as_trials
