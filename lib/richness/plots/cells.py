"""From a result to rows: what the charts of the plane draw, one row a cell of (γ, η).

The thresholds are those of `richness.analysis.boundaries`: a cell is *converged* if it stayed finite and its late loss
is below 0.8 of its initial loss, *learned* if below 0.6, and *dead* if it stayed finite without converging.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.boundaries import CONVERGED_BELOW, LEARNED_BELOW
from richness.data import TASKS
from richness.networks.optimizers import OPTIMIZERS
from richness.networks.parameterization import FLOAT64_BELOW, natural_eta
from richness.plots.theme import significant
from richness.runs.experiment import degree
from richness.runs.results import STATUS
from richness.runs.results import recipe_fields as recipe

_LOSSES = {"mse": "MSE (mean over batch and classes)", "cross_entropy": "cross-entropy (mean over the batch)"}
LOSS_NAMES = {"mse": "MSE", "cross_entropy": "cross-entropy"}
OPTIMIZER_NAMES = {"sgd": "SGD", "momentum": "SGD with momentum", "signsgd": "SignSGD", "adam": "Adam"}


def conditions(*results: xr.Dataset) -> str:
    """Under what results were measured, for a caption: loss, task, network, N, B, T, seeds and conventions.

    Of several results, what differs between them is listed with "or".
    """
    every = [_conditions(runs) for runs in results]
    parts = [" or ".join(dict.fromkeys(filter(None, alternatives))) for alternatives in zip(*every, strict=True)]
    return "; ".join(filter(None, parts)) + "."


def _conditions(runs: xr.Dataset) -> list[str]:
    made, seeds = recipe(runs), [int(s) for s in np.atleast_1d(runs.seed.values)]
    optimizer = str(made.get("optimizer", "optimizer?"))
    by_sign = optimizer in OPTIMIZERS and OPTIMIZERS[optimizer].by_sign
    raw = "the readout's raw step is η, the other layers' η/√fan_in" if by_sign else "lr_raw = N·η"
    factors = degree(made) if "depth" in made else None
    normed = f" (norms: L = {factors} in theory's formulas)" if factors not in (None, made["depth"]) else ""
    return [
        _LOSSES.get(str(made.get("loss")), str(made.get("loss", "loss not recorded"))),
        f"task {made.get('task', 'not recorded')}, {_samples(made)} every step",
        f"{str(made.get('network', 'network')).upper()} of L = {made.get('depth', '?')} weight layers{normed}",
        f"width N = {made.get('width', '?')}, {made.get('activation', 'activation not recorded')}",
        OPTIMIZER_NAMES.get(optimizer, optimizer) + _schedule(made),
        f"B = {made.get('batch_size', '?')}",
        f"T = {last_step(runs)} steps",
        f"{len(seeds)} seed{'s' if len(seeds) != 1 else ''} ({', '.join(map(str, seeds))})",
        *(_precision(runs) or [""]),
        f"η is the width-free step size, {raw}",
    ]


def _samples(made: dict[str, Any]) -> str:
    return "the same samples" if made.get("task") in TASKS and TASKS[made["task"]].fixed else "fresh samples"


def _schedule(made: dict[str, Any]) -> str:
    """What the optimiser's name leaves unsaid: β, and the schedule of the step size."""
    said = f" (β = {made['momentum']:g})" if made.get("optimizer") == "momentum" and "momentum" in made else ""
    if made.get("warmup"):
        said += f", linear warm-up over {made['warmup']} steps"
    if made.get("schedule", "constant") != "constant":
        said += f", {made['schedule']} decay to 0"
    return said


def natural(runs: xr.Dataset) -> Callable[[Any], Any]:
    """The natural scale of η as a function of γ, for the depth and optimiser of a result."""
    L, optimizer = theory_depth(runs), str(recipe(runs).get("optimizer", "sgd"))
    return lambda gamma: natural_eta(gamma, L, optimizer)


def natural_words(*results: xr.Dataset) -> str:
    """That scale as a formula, for a caption."""
    kinds = {OPTIMIZERS[str(recipe(runs).get("optimizer", "sgd"))].by_sign for runs in results}
    formulas = {False: "γ²(1+γ)^(2/L−2)", True: "γ(1+γ)^(1/L−1) where steps go by the sign"}
    return " and ".join(formulas[kind] for kind in sorted(kinds))


def _precision(runs: xr.Dataset) -> list[str]:
    """In which dtype it was trained, and why where there are two; nothing where the result does not say."""
    kinds = {str(kind) for kind in runs["precision"].values} if "precision" in runs.coords else set()
    return (
        [f"float64 where γ < {FLOAT64_BELOW:g}, which float32 cannot hold, else float32"]
        if len(kinds) > 1
        else [*kinds]
    )


def last_step(runs: xr.Dataset) -> int:
    """The number of steps T of the runs."""
    return int(runs["step"].values[-1])


def depth(runs: xr.Dataset) -> int:
    """L, the number of weight layers, from the recipe.

    Raises:
        ValueError: the result carries no recipe, so that theory's lines cannot be placed.
    """
    made = recipe(runs)
    if "depth" not in made:
        raise ValueError(
            "expected the recipe in the result's attributes, to know the depth L; found none. "
            "Use a Dataset from richness.sweep or richness.load, unchanged in its attrs."
        )
    return int(made["depth"])


def theory_depth(runs: xr.Dataset) -> int:
    """The L of theory's formulas: the depth, or where norms undo the size of some weights, the number of those that are left.

    Raises:
        ValueError: as :func:`depth`.
    """
    depth(runs)
    return degree(recipe(runs))


def setting(runs: xr.Dataset) -> dict[str, Any]:
    """What tells one portrait from another: ``L``, ``loss`` and ``optimizer``."""
    made = recipe(runs)
    return {"L": depth(runs), "loss": made.get("loss", "mse"), "optimizer": made.get("optimizer", "sgd")}


def edges(centres: np.ndarray) -> np.ndarray:
    """Borders of log-spaced cells, shape (n + 1,): geometric means of neighbours, mirrored at both ends."""
    logs = np.log10(centres)
    if logs.size == 1:
        return np.asarray(centres[0] * 10.0 ** np.array([-0.125, 0.125]))
    middles = (logs[1:] + logs[:-1]) / 2
    return np.asarray(10.0 ** np.concatenate([[2 * logs[0] - middles[0]], middles, [2 * logs[-1] - middles[-1]]]))


def cells(runs: xr.Dataset) -> pd.DataFrame:
    """One row for every cell that was run, ascending in γ, then η.

    Columns: ``gamma, eta, log_gamma, log_eta`` (log10), the cell's borders ``gamma_low, gamma_high, eta_low,
    eta_high``, ``natural`` (`natural` at that γ), ``row`` (the η's place on its axis), ``late`` (late loss
    over initial loss, mean over the seeds that stayed finite; NaN if none did), ``state`` (learned, converged, dead or
    diverged), the counts ``seeds, diverged``, ``place`` (indices into the result) and ``hatch`` (1 for
    every third of a stretch of cells of one fate). A cell is *diverged* where more
    than half of its seeds did. Cells that were not run have no row.
    """
    late = (runs["late_loss"] / runs["initial_loss"]).where(runs["status"] == STATUS["ok"])
    axis = "eta" if "eta" in runs.dims else "trial"
    counts = xr.Dataset(
        {
            "late": late.mean("seed", skipna=True),
            "seeds": (runs["status"] != STATUS["not_run"]).sum("seed"),
            "diverged": (runs["status"] == STATUS["diverged"]).sum("seed"),
        }
    ).transpose("gamma", axis)
    rows = []
    gammas = runs["gamma"].values.astype(float)
    gamma_edges = edges(gammas)
    scale = natural(runs)
    for i, gamma in enumerate(gammas):
        here = counts.isel(gamma=i)
        etas = np.asarray(here["eta"].values, dtype=float)
        order = np.argsort(etas)[: np.isfinite(etas).sum()]  # a trial that this γ did not need has no η
        eta_edges = edges(etas[order])
        for row, j in enumerate(order):
            seeds = int(here["seeds"].values[j])
            if seeds == 0:
                continue
            rows.append(
                {
                    "gamma": gamma,
                    "eta": etas[j],
                    "log_gamma": np.log10(gamma),
                    "log_eta": np.log10(etas[j]),
                    "gamma_low": gamma_edges[i],
                    "gamma_high": gamma_edges[i + 1],
                    "eta_low": eta_edges[row],
                    "eta_high": eta_edges[row + 1],
                    "natural": float(scale(gamma)),
                    "row": row,
                    "late": float(here["late"].values[j]),
                    "seeds": seeds,
                    "diverged": int(here["diverged"].values[j]),
                    "place": (i, int(j)),
                }
            )
    if not rows:
        raise ValueError(
            "expected at least one cell that was run; every status is not_run. Widen the band of the recipe."
        )
    table = pd.DataFrame(rows)
    table["state"] = [
        _state(late, n, bad) for late, n, bad in zip(table.late, table.seeds, table.diverged, strict=True)
    ]
    table.loc[table.state == "diverged", "late"] = np.nan
    # where cells are thin, every third of a stretch of equal fates carries the hatch, and a lone one always
    stretch = (table.state != table.state.shift()) | (table.gamma != table.gamma.shift())
    grouped = table.groupby(stretch.cumsum()).state
    table["hatch"] = (grouped.cumcount() % 3 == np.minimum(grouped.transform("size") - 1, 1)).astype(int)
    return table


def _state(late: float, seeds: int, diverged: int) -> str:
    if 2 * diverged > seeds or not np.isfinite(late):
        return "diverged"
    if late < LEARNED_BELOW:
        return "learned"
    return "converged" if late < CONVERGED_BELOW else "dead"


def records(table: pd.DataFrame, digits: int = 4) -> list[dict[str, Any]]:
    """Rows as plain JSON: floats to significant digits, what is no number as null."""
    return [{key: _plain(value, digits) for key, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any, digits: int) -> Any:
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item, digits) for item in value]
    return significant(value, digits)
