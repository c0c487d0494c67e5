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
    counts = xr.Dataset(
        {
            "late": late.mean("seed", skipna=True),
            "seeds": (runs["status"] != STATUS["not_run"]).sum("seed"),
            "diverged": (runs["status"] == STATUS["diverged"]).sum("seed"),
        }
    ).transpose("gamma", "eta" if "eta" in runs.dims else "trial")
    gammas, scale = runs["gamma"].values.astype(float), natural(runs)
    borders = edges(gammas)
    frames = [
        _column(counts.isel(gamma=i), i).assign(
            gamma_low=borders[i], gamma_high=borders[i + 1], natural=float(scale(gamma))
        )
        for i, gamma in enumerate(gammas)
    ]
    table = pd.concat(frames, ignore_index=True)
    table = table[table.seeds > 0].reset_index(drop=True)
    if table.empty:
        raise ValueError(
            "expected at least one cell that was run; every status is not_run. Widen the band of the recipe."
        )
    table["state"] = _state(table)
    table.loc[table.state == "diverged", "late"] = np.nan
    # where cells are thin, every third of a stretch of equal fates carries the hatch, and a lone one always
    stretch = (table.state != table.state.shift()) | (table.gamma != table.gamma.shift())
    grouped = table.groupby(stretch.cumsum()).state
    table["hatch"] = (grouped.cumcount() % 3 == np.minimum(grouped.transform("size") - 1, 1)).astype(int)
    return table


def _column(here: xr.Dataset, place: int) -> pd.DataFrame:
    """The cells of one γ, the ``place``-th of the result, ascending in η."""
    etas = np.asarray(here["eta"].values, dtype=float)
    order = np.argsort(etas)[: np.isfinite(etas).sum()]  # a trial that this γ did not need has no η
    etas, gamma, borders = etas[order], float(here["gamma"]), edges(etas[order])
    return pd.DataFrame(
        {
            "gamma": gamma,
            "eta": etas,
            "log_gamma": np.log10(gamma),
            "log_eta": np.log10(etas),
            "eta_low": borders[:-1],
            "eta_high": borders[1:],
            "row": np.arange(order.size),
            "late": here["late"].values[order].astype(float),
            **{name: here[name].values[order] for name in ("seeds", "diverged")},
            "place": [(place, int(j)) for j in order],
        }
    )


def _state(table: pd.DataFrame) -> np.ndarray:
    diverged = (2 * table.diverged > table.seeds) | ~np.isfinite(table.late)
    fates = [diverged, table.late < LEARNED_BELOW, table.late < CONVERGED_BELOW]
    return np.select(fates, ["diverged", "learned", "converged"], "dead")
