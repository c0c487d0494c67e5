"""Us: ``richness.sweep`` as a reader calls it, on all cores, batches drawn within the measured time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import richness
from richness import Experiment


def prepare(recipe: str = "") -> Callable[..., np.ndarray]:
    """The program: the losses of an experiment at its recorded steps, (steps, C), cells γ-major.

    Args:
        recipe: the experiment as JSON, unless the program is called with another.
    """

    def run(recipe: str = recipe) -> np.ndarray:
        runs = richness.sweep(Experiment.model_validate_json(recipe))
        return runs.loss.isel(seed=0).transpose("step", "gamma", "eta").values.reshape(runs.sizes["step"], -1)

    return run
