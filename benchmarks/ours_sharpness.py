"""Us: ``richness.sharpness`` of one network at a time, with the kernel's gradient and product Hv, prepared within the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.problem import Fitted
from richness import Experiment, kernel, sharpness


def prepare(recipe: str, fitted: Sequence[Fitted], tolerance: float | None = None) -> Callable[[], np.ndarray]:
    """The program: λ_max of each network; ``tolerance``: another than the function's own."""
    experiment = Experiment.model_validate_json(recipe)
    network = experiment.architecture
    sizes = [network.inputs, *[out for out, _ in network.shapes]]
    asked = {} if tolerance is None else {"tolerance": tolerance}

    def largest(one: Fitted, x: Tensor, targets: Tensor, weights: list[Tensor], start: list[Tensor]) -> float:
        samples = kernel.Samples(sizes, network.scales, experiment.loss, network.activation, x, targets, start)
        at_weights = kernel.Curvature(samples, weights, torch.tensor([one.gamma]))
        # The loss itself is asked for where neither its product nor a start is given.
        return float(sharpness(None, weights, product=at_weights.multiply, start=at_weights.gradient, **asked))

    given = [
        (one, torch.from_numpy(one.inputs), torch.from_numpy(one.one_hot), stacked(one.weights), stacked(one.start))
        for one in fitted
    ]
    return lambda: np.array([largest(*arguments) for arguments in given])


def stacked(weights: Sequence[np.ndarray]) -> list[Tensor]:
    """One network's weights as a stack of one."""
    return [torch.from_numpy(w)[None].contiguous() for w in weights]
