"""What carries out a description, whichever kind it is: an experiment is swept, a measurement measured seed by seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import xarray as xr

from richness.runs.description import Measurement
from richness.runs.experiment import Experiment
from richness.runs.progress import Progress, SeedsDone
from richness.runs.results import provenance
from richness.runs.sweep import sweep


def run(
    description: Experiment | Measurement,
    executor: Executor | None = None,
    store: str | Path | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    *,
    name: str = "",
    scale: str = "",
    **settings: Any,
) -> xr.Dataset:
    """A sweep or a measurement done, whichever is described; only a sweep keeps in the store what it has finished.

    Args:
        settings: others of :func:`richness.sweep`.
    """
    if isinstance(description, Measurement):
        told = progress if callable(progress) else None
        return measure_seeds(description, executor, told, name=name, scale=scale, **settings)
    return sweep(description, executor, store, progress, name=name, scale=scale, **settings)


def measure_seeds(
    description: Measurement,
    executor: Executor | None = None,
    progress: Callable[[Progress], None] | None = None,
    *,
    name: str = "",
    scale: str = "",
) -> xr.Dataset:
    """Every seed measured, one after another or through an executor, and joined along ``seed``.

    Args:
        progress: called after each seed.
        name, scale: of the recipe, for the provenance.

    Returns:
        What ``description.measure`` gives, with the dim ``seed`` in front, and the provenance in its attributes.
    """
    state = SeedsDone(total=len(description.seeds), all_cells=len(description.seeds))
    found, seconds = [], [0.0, 0.0]
    for one, wall, cpu in (executor.map if executor else map)(
        _time_seed, [description] * state.total, description.seeds
    ):
        found.append(one)
        seconds = [seconds[0] + wall, seconds[1] + cpu]
        state.done += 1
        state.cells += 1
        if progress:
            progress(state)
    runs = xr.concat(found, xr.Variable("seed", list(description.seeds)), combine_attrs="override")
    return runs.assign_attrs(provenance(description, name, scale, *seconds), kind=description.kind)


def _time_seed(description: Measurement, seed: int) -> tuple[xr.Dataset, float, float]:
    """A seed's numbers, and the wall and CPU seconds that they took."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = description.measure(seed)
    return found, time.perf_counter() - wall, time.process_time() - cpu
