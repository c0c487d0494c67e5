"""What the result of a description must look like: its variables, axes and statuses, and what no honest run could hold.

Everything follows from the description, so that a file from another machine can be judged where nothing else is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from richness.runs.description import Measurement
from richness.runs.experiment import PEAK_STEPS, Experiment, late_window
from richness.runs.results import CURVE_BITS, STATUS
from richness.runs.sweep import assemble

PLANE = ("gamma", "eta", "seed")
ROUNDED = 2.0**-CURVE_BITS  # relative error of a rounded curve
NEAR = 2.0  # factor within which a late loss is the mean of the few losses that are recorded in its window


def find_faults(runs: xr.Dataset, described: Experiment | Measurement) -> list[str]:
    """Why a dataset cannot be the result of a description, in words; empty where it can.

    Of a sweep its variables, their axes and types, its coordinates, its statuses and what follows from these are looked at; of
    a measurement, which alone knows what it measures, its kind, its seeds and whether it is one number all over.
    """
    if isinstance(described, Measurement):
        return list(_of_measurement(runs, described))
    form = list(_of_form(runs, described))
    return form or list(_of_values(runs, described))


def _of_measurement(runs: xr.Dataset, described: Measurement) -> Iterator[str]:
    if runs.attrs.get("kind") != described.kind:
        yield f"its kind is {runs.attrs.get('kind') or 'none'}, and not {described.kind}"
    if "seed" not in runs.coords or runs.seed.values.tolist() != list(described.seeds):
        yield "it has another seed axis than its recipe"
    yield from _constants(runs)


def _constants(runs: xr.Dataset) -> Iterator[str]:
    """Measured numbers that are one and the same all over: nobody measured them."""
    for name, array in runs.data_vars.items():
        finite = array.values[np.isfinite(array.values)] if array.dtype.kind == "f" else np.empty(0)
        if finite.size > 20 and finite.min() == finite.max() and finite[0] not in (0.0, 1.0):
            yield f"every {name} is {finite[0]:.6g}"


def _of_form(runs: xr.Dataset, experiment: Experiment) -> Iterator[str]:
    empty = assemble(experiment, [])  # no cell is done yet: it has the axes, and every variable but curves
    if "kind" in runs.attrs:
        yield f"it calls itself a measurement ({runs.attrs['kind']}), and its recipe is a sweep"
        return
    curves = {"loss", *experiment.kept_probes}
    wanted = curves | set(map(str, empty.data_vars))
    for name in sorted(wanted ^ set(map(str, runs.data_vars))):
        yield f"the variable {name} is {'missing' if name in wanted else 'none of its recipe'}"
    for name, array in runs.data_vars.items():
        dims = (*PLANE, "step") if name in curves else empty[name].dims if name in empty else array.dims
        kind = empty["late_loss" if name in curves else name].dtype if str(name) in wanted else array.dtype
        if array.dims[: len(dims)] != dims or (array.ndim > len(dims) and name not in curves - {"loss"}):
            yield f"{name} has the dims ({', '.join(map(str, array.dims))}), expected ({', '.join(map(str, dims))})"
        if array.dtype != kind:
            yield f"{name} is {array.dtype}, expected {kind}"
    for name in sorted(empty.coords, key=lambda name: (empty[name].ndim, str(name))):
        if (
            name not in runs.coords
            or runs[name].dims != empty[name].dims
            or not _same(runs[name].values, empty[name].values)
        ):
            yield f"it has another {name} axis than its recipe"
    own = {dim for name in curves & set(runs.data_vars) for dim in runs[name].dims[4:]}
    for name in sorted(set(map(str, runs.coords)) - set(empty.coords) - own):
        yield f"the coordinate {name} is none of its recipe"


def _same(found: Any, wanted: Any) -> bool:
    if found.shape != wanted.shape or found.dtype.kind != wanted.dtype.kind:
        return False
    return np.allclose(found, wanted, rtol=1e-9, atol=0) if found.dtype.kind == "f" else bool((found == wanted).all())


def _of_values(runs: xr.Dataset, experiment: Experiment) -> Iterator[str]:
    status, late, loss = (runs[name].values for name in ("status", "late_loss", "loss"))
    ok, diverged, not_run = (status == STATUS[name] for name in STATUS)
    if not (ok | diverged | not_run).all():
        yield "it has statuses other than ok, diverged and not_run"
        return
    if not ok.any():
        yield "it has no cell that came to its end"
    inside = np.zeros(status.shape[:2], dtype=bool)
    inside[tuple(np.transpose(experiment.cells()))] = True
    if (not_run != ~inside[..., None]).any():
        yield "other cells were run than its recipe's band holds"
    if not np.isfinite(loss[ok]).all() or not np.isfinite(late[ok]).all():
        yield "it has cells called ok whose loss is not finite"
    if np.isfinite(late[~ok]).any():
        yield "it has a late loss where a cell diverged or did not run"
    died, steps = runs.diverged_at.values, runs.step.values
    if ((died >= 0) != diverged).any() or (died > experiment.steps).any():
        yield "its diverged_at contradicts its statuses"
    elif (np.isfinite(loss[diverged]) != (steps < died[diverged][:, None])).any():
        yield "it has losses after a cell diverged, or none before"
    if np.isfinite(loss[not_run]).any() or np.isfinite(runs.initial_loss.values[not_run]).any():
        yield "it has losses where no cell was run"
    yield from _of_losses(runs, experiment, ok)
    yield from _of_probes(runs, experiment, ok)


def _of_losses(runs: xr.Dataset, experiment: Experiment, ok: np.ndarray) -> Iterator[str]:
    """Whether the losses of the cells that came to their end fit each other."""
    loss, initial, late, peak = (runs[name].values[ok] for name in ("loss", "initial_loss", "late_loss", "peak_loss"))
    steps = runs.step.values
    if not np.allclose(loss[:, 0], initial, rtol=2 * ROUNDED, atol=1e-30):
        yield "its initial_loss is not the loss at step 0"
    if (peak < loss[:, steps < PEAK_STEPS].max(axis=1) * (1 - 2 * ROUNDED)).any():
        yield "its peak_loss is smaller than losses that are recorded"
    window = late_window(experiment.steps)
    seen = loss[:, (steps >= window.start) & (steps < window.stop)].mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.median(late[seen > 0] / seen[seen > 0]) if (seen > 0).any() else 1.0
    if not 1 / NEAR <= ratio <= NEAR:
        yield f"its late_loss is {ratio:.3g} times the mean of the last losses, at the median cell"
    if "budget_loss" in runs and not np.allclose(
        runs.budget_loss.values[ok][:, -1], late, rtol=2 * ROUNDED, atol=1e-30
    ):
        yield "its last budget_loss is not its late_loss"


def _of_probes(runs: xr.Dataset, experiment: Experiment, ok: np.ndarray) -> Iterator[str]:
    probed = np.isin(runs.step.values, experiment.probed_steps)
    for name in experiment.kept_probes:
        values = runs[name].values
        if np.isfinite(values[:, :, :, ~probed]).any():
            yield f"it has {name} at steps where it is not taken"
        if not np.isfinite(values[ok][:, probed]).any():
            yield f"it has no {name}"
        if name == "accuracy" and (np.nanmin(values) < 0 or np.nanmax(values) > 1):
            yield "its accuracy is no share"
    yield from _constants(runs[[name for name in experiment.kept_probes]])
