"""The loss of a run on its way: smoothed, in units of its start, and when it passes a level.

A run's time is log-spaced throughout: its loss is kept at log-spaced steps, each on one fresh batch, and is smoothed over
`SMOOTHED` neighbouring records before a level is read off it. Times are steps t, levels are in units of the loss at step 0.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from richness.analysis import theory
from richness.analysis.boundaries import CONVERGED_BELOW
from richness.runs.results import STATUS

SMOOTHED = 5  # neighbouring records of the loss, log-spaced, whose geometric mean is taken

#: C8. The plateau ends when the loss falls below this share of the initial one: where a run counts as converged at all.
PLATEAU_LEVEL = CONVERGED_BELOW


def smooth_loss(loss: np.ndarray, records: int = SMOOTHED) -> np.ndarray:
    """Geometric running mean over so many records along the last axis, fewer at both ends; NaN from a divergence on."""
    half = records // 2
    logs = np.log(loss)
    padded = np.pad(logs, [(0, 0)] * (logs.ndim - 1) + [(half, half)], constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, records, axis=-1)
    known = np.isfinite(windows)
    means = np.where(known, windows, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    return np.where(np.isfinite(logs), np.exp(means), np.nan)


def relative_loss(runs: xr.Dataset) -> xr.DataArray:
    """The smoothed loss over the loss at step 0, (gamma, eta, seed, step); NaN where a run diverged or was not made."""
    curves = runs.loss.transpose("gamma", "eta", "seed", "step").where(runs.status == STATUS["ok"])
    return curves.copy(data=smooth_loss(curves.values.astype(np.float64))) / runs.initial_loss


def find_passage(curve: np.ndarray, steps: np.ndarray, level: float) -> float:
    """When a curve passes a level for good: the step, interpolated in log t and log loss; NaN if it never does.

    Args:
        curve, steps: (points,), ascending steps from 0. The last point is not asked for: a run that ends above has not passed.
    """
    above = np.flatnonzero(curve >= level)
    if above.size == 0 or above[-1] == curve.size - 1 or not np.isfinite(curve[above[-1] + 1]):
        return float("nan")
    i = above[-1]
    share = np.log(curve[i] / level) / np.log(curve[i] / curve[i + 1])
    start = max(float(steps[i]), 0.5)
    return float(start * (steps[i + 1] / start) ** share)


def plateau_length(runs: xr.Dataset, level: float = PLATEAU_LEVEL) -> xr.DataArray:
    """The length of the plateau in steps, (gamma, eta, seed): until the loss is below ``level`` × the initial one for good.

    NaN where it has not ended by the last step, or the run diverged.
    """
    return xr.apply_ufunc(
        lambda curve: find_passage(curve, runs.step.values, level),
        relative_loss(runs), input_core_dims=[["step"]], vectorize=True,
    ).rename("plateau")  # fmt: skip


def model_plateau(depth: int, gamma: np.ndarray) -> np.ndarray:
    """The solvable model's plateau under MSE, in η·t: its escape time, until its loss is `PLATEAU_LEVEL` of the initial one."""
    return theory.escape_time(depth, gamma, "mse", 1 - float(np.sqrt(PLATEAU_LEVEL)))


def largest_eta(runs: xr.Dataset) -> xr.DataArray:
    """At each γ the largest η at which every seed ran and stayed finite, (gamma,); NaN where there is none."""
    ok = (runs.status == STATUS["ok"]).all("seed")
    return runs.eta.where(ok).max("eta")


def stability_ratio(runs: xr.Dataset) -> xr.DataArray:
    """λ_max over its stability line 2/lr_raw (SGD), at the steps where it was measured."""
    ratio = runs.sharpness * runs.lr_raw / 2
    return ratio.isel(step=np.flatnonzero(np.isfinite(ratio).any(("gamma", "eta", "seed"))))
