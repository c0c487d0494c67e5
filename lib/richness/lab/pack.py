"""Measured runs made small: for the page (JSON, about 150 kB for the headline portrait) and for one curve (bytes)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from richness.analysis.boundaries import CONVERGED_BELOW, LEARNED_BELOW, eta_crit, eta_max, eta_min
from richness.runs.experiment import Experiment
from richness.runs.results import STATUS, recipe_of

LIMIT = 240_000  # bytes of JSON; the curves are thinned in time until they fit
_LAST = 65_535
_DIMS = ("gamma", "eta", "seed")


def network_key(made: Experiment) -> str:
    """Under which a network's runs and boundaries stand in a laboratory's setup: ``mlp<depth>_<loss>_<task>``."""
    return f"mlp{made.depth}_{made.loss}_{made.task}"


def pack_boundaries(runs: xr.Dataset) -> dict[str, Any]:
    """The measured η_max, η_crit and η_min (at the last budget) of a portrait, one η a γ: the median over seeds.

    Returns:
        depth, width, steps, ``about`` (a sentence), ``gamma`` and one list each for ``eta_max``, ``eta_crit``,
        ``eta_min``; None where no seed saw the boundary.
    """
    made = recipe_of(runs)
    measured = {"eta_max": eta_max(runs), "eta_crit": eta_crit(runs), "eta_min": eta_min(runs)}
    measured["eta_min"] = measured["eta_min"].isel(budget=-1)
    seeds = runs.sizes["seed"]
    return {
        "depth": made.depth,
        "width": made.width,
        "steps": int(runs["step"].values[-1]),
        "about": f"Boundaries measured at width {made.width}, batch {made.batch_size}, "
        f"{int(runs['step'].values[-1])} steps, {seeds} seed{'s' if seeds > 1 else ''}.",
        "gamma": [float(f"{g:.4g}") for g in runs["gamma"].values],
        **{name: _medians(array) for name, array in measured.items()},
    }


def _medians(boundary: xr.DataArray) -> list[float | None]:
    """Over seeds, in log10; None where no seed saw it."""
    logs = np.log10(boundary.transpose("gamma", "seed").values)
    seen = [row[np.isfinite(row)] for row in logs]
    return [float(f"{10 ** np.median(row):.3g}") if row.size else None for row in seen]


def curve(number: int, step: Sequence[float], loss: Sequence[float], sharpness: Sequence[float]) -> bytes:
    """One run as bytes for ``unpackCurve`` in lab.js.

    int32 ``number`` and n, then n little-endian float32 each of steps, losses and sharpnesses (NaN: not measured).
    """
    with np.errstate(over="ignore"):  # a diverging run may pass float32's largest number: it is drawn as infinite
        parts = np.array([step, loss, sharpness], dtype="<f4").reshape(3, -1)
    return np.array([number, parts.shape[1]], dtype="<i4").tobytes() + parts.tobytes()


def seed_index(runs: xr.Dataset, seed: int) -> int:
    """Where ``seed`` stands among the seeds that were run; the first if it does not."""
    found = np.flatnonzero(runs["seed"].values == seed)
    return int(found[0]) if found.size else 0


def nearest(runs: xr.Dataset, gamma: float, eta: float, seed: int) -> tuple[int, int]:
    """(γ index, η index) of the nearest measured cell: the nearest γ that was run at all, then the nearest η run there.

    Distances are in log10.

    Raises:
        ValueError: no cell of that seed was run.
    """
    ran = runs["status"].transpose(*_DIMS).values[:, :, seed_index(runs, seed)] != STATUS["not_run"]
    if not ran.any():
        raise ValueError("expected at least one cell that was run; every status is not_run")
    far_gamma = np.abs(np.log10(runs["gamma"].values / gamma))
    g = int(np.where(ran.any(axis=1), far_gamma, np.inf).argmin())
    far_eta = np.abs(np.log10(runs["eta"].values / eta))
    return g, int(np.where(ran[g], far_eta, np.inf).argmin())


def one_run(runs: xr.Dataset, g: int, e: int, seed: int) -> dict[str, Any]:
    """The curves of one cell as plain arrays: gamma, eta, lr, steps, step, loss, sharpness, status, died."""
    cell = runs.isel(gamma=g, eta=e, seed=seed_index(runs, seed))
    made, step = recipe_of(runs), runs["step"].values
    sharpness = cell["sharpness"].values if "sharpness" in cell else np.full(len(step), np.nan)
    return {
        "gamma": float(cell["gamma"]),
        "eta": float(cell["eta"]),
        "lr": float(cell["eta"]) * made.width,
        "steps": int(step[-1]),
        "step": step,
        "loss": cell["loss"].values,
        "sharpness": sharpness,
        "status": int(cell["status"]),
        "died": int(cell["diverged_at"]),
        "outcome": int(outcomes(runs, seed)[g, e]),
    }


def outcomes(runs: xr.Dataset, seed: int) -> np.ndarray:
    """int8 (gamma, eta): 0 learned, 1 converged, 2 dead, 3 diverged, 4 not run, by the book's thresholds."""
    cell = runs.isel(seed=seed_index(runs, seed))
    status = cell["status"].transpose("gamma", "eta").values
    share = (cell["late_loss"] / cell["initial_loss"]).transpose("gamma", "eta").values
    finite = np.select([share < LEARNED_BELOW, share < CONVERGED_BELOW], [0, 1], 2)
    return np.select([status == STATUS["ok"], status == STATUS["diverged"]], [finite, 3], 4).astype(np.int8)


def pack_runs(runs: xr.Dataset, seed: int = 0, limit: int = LIMIT) -> dict[str, Any]:
    """A result as JSON for the page: one seed, cells that were run only, numbers as 16 bits in log10, base64.

    0 stands for "not there"; 1 … 65535 spread over ``range`` (log10), so a value is right to about 1e-3 of itself.
    ``outcome`` is one digit a cell of the whole plane, γ-major; arrays hold the cells that are not 4, in that order.

    Args:
        runs: dims gamma, eta, seed, step.
        seed: the seed to show; the first there is if it was not run.
        limit: bytes; the loss is kept at fewer steps, the first and last among them, until the JSON fits.
    """
    made, at = recipe_of(runs), seed_index(runs, seed)
    outcome = outcomes(runs, seed)
    ran = np.nonzero(outcome != 4)
    steps = runs["step"].values

    def values(name: str) -> np.ndarray:
        array = runs[name].isel(seed=at)
        return array.transpose("gamma", "eta", ...).values[ran]

    probed = np.zeros(0, dtype=int)
    sharpness = np.zeros((len(ran[0]), 0))
    if "sharpness" in runs:
        sharpness = values("sharpness")
        probed = np.flatnonzero(np.isfinite(sharpness).any(axis=0))
        sharpness = sharpness[:, probed]
    cells = max(1, len(ran[0]))
    per_step = 4 / 3 * 2 * cells  # base64 of 16 bits
    room = limit - outcome.size - 12 * sum(runs["loss"].shape[:2]) - per_step * (len(probed) + 4) - 3000
    keep = _thin(len(steps), max(2, int(room / per_step)))

    packed: dict[str, Any] = {
        "version": 1,
        **{k: getattr(made, k) for k in ("network", "depth", "width", "loss", "task", "optimizer", "batch_size")},
        "steps": int(steps[-1]),
        "seed": int(runs["seed"].values[at]),
        "hash": runs.attrs.get("recipe_hash"),
        "gamma": [float(f"{g:.6g}") for g in runs["gamma"].values],
        "eta": [float(f"{e:.6g}") for e in runs["eta"].values],
        "step": [int(s) for s in steps[keep]],
        "probed": [int(s) for s in steps[probed]],
        "outcome": "".join(map(str, outcome.ravel())),
        "range": {},
    }
    for name, array in (("loss", values("loss")[:, keep]), ("sharpness", sharpness), ("late", values("late_loss"))):
        packed[name], packed["range"][name] = _quantise(array)
    packed["died"] = _encode(np.clip(values("diverged_at") + 1, 0, _LAST))
    if "accuracy" in runs:
        accuracy = values("accuracy")[:, -1]
        packed["accuracy"] = _encode(np.where(np.isfinite(accuracy), 1 + np.rint(accuracy * (_LAST - 1)), 0))
    return packed


def _thin(total: int, most: int) -> np.ndarray:
    """Indices of at most ``most`` of ``total`` steps, evenly spread, both ends included."""
    return np.unique(np.rint(np.linspace(0, total - 1, min(total, most))).astype(int))


def _quantise(values: np.ndarray) -> tuple[str, list[float]]:
    """(base64 of uint16, [low, high] in log10); what is not positive and finite becomes 0."""
    there = np.isfinite(values) & (values > 0)
    if not there.any():
        return _encode(np.zeros(values.shape)), [0.0, 1.0]
    logs = np.log10(np.where(there, values, 1.0).astype(float))
    low, high = float(logs[there].min()), float(logs[there].max())
    high = max(high, low + 1e-6)
    return _encode(np.where(there, 1 + np.rint((logs - low) / (high - low) * (_LAST - 1)), 0)), [low, high]


def _encode(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<u2").tobytes()).decode()
