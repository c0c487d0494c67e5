"""Us: ``richness.sweep`` as a reader calls it, batches drawn within the measured time, workers already started."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch

import richness
from richness import Experiment


class Sweep:
    """The program: the losses of an experiment at its recorded steps, (steps, C), cells γ-major.

    Args:
        recipe: the experiment as JSON, unless the program is called with another.
        processes: as ``richness sweep --workers``; one is this process.
    """

    def __init__(self, recipe: str, processes: int):
        self.recipe, self.pool = recipe, None
        if processes > 1:
            self.pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start)
            list(self.pool.map(_nothing, range(processes)))

    def __call__(self, recipe: str = "") -> np.ndarray:
        experiment = Experiment.model_validate_json(recipe or self.recipe)
        runs = richness.sweep(experiment, executor=self.pool)
        return runs.loss.isel(seed=0).transpose("step", "gamma", "eta").values.reshape(runs.sizes["step"], -1)

    def close(self) -> None:
        if self.pool:
            self.pool.shutdown()


def prepare(recipe: str = "", processes: int = 1) -> Sweep:
    return Sweep(recipe, processes)


def _start() -> None:
    """Imports what a worker needs before its first shard."""
    torch.set_num_threads(1)
    assert callable(richness.sweep)


def _nothing(_: int) -> None:
    """A task, so that a worker is started for it."""
