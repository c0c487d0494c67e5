"""Results that are no sweep over γ and η: a measurement of its own, described, hashed, stored and loaded as a sweep is.

A subclass of :class:`Measurement` is a recipe's description beside :class:`~richness.runs.experiment.Experiment`; it says in
``measure`` how one seed's numbers come to be. What the two kinds share (hash, provenance, files) is written once, elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Literal

import torch
import xarray as xr
from pydantic import Field, field_validator

from richness.runs.experiment import Description, Seeds, no_twins
from richness.runs.results import provenance
from richness.runs.sweep import Progress


class Measurement(Description):
    """What is measured at every one of some seeds. To be subclassed: add fields, a ``title``, and ``measure``.

    The class's name is part of the hash, and of a result's attributes as ``kind``.
    """

    seeds: Seeds = Field((0,), description="one measurement each")
    dtype: Literal["float32", "float64"] = Field("float64", description="of all arithmetic")
    device: str = Field("cpu", description="cpu, cuda or cuda:0")

    @field_validator("seeds")
    @classmethod
    def _no_twins(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        return no_twins(values)

    def measure(self, seed: int) -> xr.Dataset:
        """One seed's numbers, without a dim ``seed``: the same dims, coordinates and variables for each."""
        raise NotImplementedError(f"{type(self).__name__} must say in measure(seed) what it measures")

    @property
    def kind(self) -> str:
        return type(self).__name__

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {"kind": self.kind}


class SeedsDone(Progress):
    """A measurement's progress: it is counted in seeds."""

    def __str__(self) -> str:
        return f"{self.done} of {self.total} seeds done"


def measured(
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
    for one, wall, cpu in (executor.map if executor else map)(_timed, [description] * state.total, description.seeds):
        found.append(one)
        seconds = [seconds[0] + wall, seconds[1] + cpu]
        state.done += 1
        state.cells += 1
        if progress:
            progress(state)
    runs = xr.concat(found, xr.Variable("seed", list(description.seeds)), combine_attrs="override")
    return runs.assign_attrs(provenance(description, name, scale, *seconds), kind=description.kind)


def _timed(description: Measurement, seed: int) -> tuple[xr.Dataset, float, float]:
    """A seed's numbers, and the wall and CPU seconds that they took."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = description.measure(seed)
    return found, time.perf_counter() - wall, time.process_time() - cpu
