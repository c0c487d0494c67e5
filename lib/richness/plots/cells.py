"""From a result to rows: what the charts of the plane draw, one row a cell of (γ, η).

The thresholds are those of `richness.analysis.boundaries`: a cell is *converged* if it stayed finite and its late loss
is below 0.8 of its initial loss, *learned* if below 0.6, and *dead* if it stayed finite without converging.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.boundaries import CONVERGED_BELOW, LEARNED_BELOW
from richness.plots.captions import natural
from richness.runs.results import STATUS


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
