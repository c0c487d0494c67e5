"""What tests of networks and of sweeps share: stacks, the sizes of what a few steps move, and when results are equal."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from richness import Experiment
from richness.networks import MLP
from richness.runs.training import Trainer


def stack_networks(network: MLP, seeds: Iterable[int]) -> list[Tensor]:
    """Each layer's weights, (seeds, fan_out, fan_in)."""
    return [torch.stack(layer) for layer in zip(*map(network.initialise, seeds), strict=True)]


def measure_coordinates(
    experiment: Experiment, seed: int = 0, samples: int = 64
) -> tuple[np.ndarray, np.ndarray, float]:
    """Root mean squares of every hidden layer after all steps, of its change, and of f, on ``samples`` of the probe set."""
    trainer = Trainer(experiment, seed, [(experiment.gammas[0], experiment.etas[0])])
    x, start = trainer.task.probe(samples)[0].to(trainer.dtype), [w.clone() for w in trainer.stack.weights]
    for step in range(experiment.steps):
        trainer.update(step)
    before, after = (trainer.network.hidden(weights, x) for weights in (start, trainer.stack.weights))
    changes = [b - a for a, b in zip(before, after, strict=True)]
    f = trainer.outputs(trainer.stack, trainer.stack.weights, x)
    sizes = [[float(v.detach().pow(2).mean().sqrt()) for v in group] for group in (after, changes, [f])]
    return np.array(sizes[0]), np.array(sizes[1]), sizes[2][0]


def equal(a: xr.Dataset, b: xr.Dataset) -> bool:
    """The same but for their own attributes, of which the date is one."""
    return a.drop_attrs(deep=False).identical(b.drop_attrs(deep=False))
