"""The sweeps that are timed: as an experiment for us, as a problem of plain arrays for the peers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.problem import Problem
from richness import Experiment
from richness.runs.description import log_grid


def stable(gammas: int, etas: int, **fields: Any) -> Experiment:
    """A product grid within the stable part of the plane: no network diverges, so that all contenders do all the work.

    γ from 1 to 100, η from 0.01 to 3: the largest is about a tenth of the limit at γ = 1.
    """
    return experiment(log_grid(f"1:100:{gammas}"), log_grid(f"0.01:3:{etas}"), **fields)


def experiment(gammas: tuple[float, ...], etas: tuple[float, ...], **fields: Any) -> Experiment:
    """An MLP with L = 3 under MSE, batch 64, float32, one seed."""
    shared = {"depth": 3, "loss": "mse", "task": "digits8", "batch_size": 64, "dtype": "float32", "seeds": (0,)}
    return Experiment(gammas=gammas, etas=etas, **(shared | fields))


def problem(experiment: Experiment) -> Problem:
    """The same networks and batches as arrays, cells in the order γ-major."""
    inputs, labels = experiment.source.batches(0, range(experiment.steps), experiment.batch_size)
    targets = torch.nn.functional.one_hot(labels, experiment.source.outputs)
    cells = np.array([(experiment.gammas[i], experiment.lr_raw(experiment.etas[j])) for i, j in experiment.cells()])
    return Problem(
        weights=tuple(w.float().numpy() for w in experiment.architecture.initialise(0)),
        inputs=inputs.float().numpy(),
        targets=targets.float().numpy(),
        gamma=cells[:, 0].astype(np.float32),
        lr=cells[:, 1].astype(np.float32),
    )


def plane(gammas: int, etas: int, **fields: Any) -> Experiment:
    """A whole plane as one would sweep it without knowing where anything lies, of which some two fifths diverge."""
    return experiment(log_grid(f"1e-2:1e2:{gammas}"), log_grid(f"1e-5:1e6:{etas}"), **fields)


def words(experiment: Experiment) -> str:
    """What is swept, for a row."""
    return (
        f"sweep of {len(experiment.cells())} MLPs, L = {experiment.depth}, N = {experiment.width}, {experiment.task}, "
        f"batch {experiment.batch_size}, {experiment.steps} steps"
    )
