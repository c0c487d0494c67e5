"""Us: ``richness.sharpness`` of one network at a time, with the MLP's own product Hv, prepared within the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.problem import Fitted
from richness import Experiment, sharpness
from richness.networks import LOSSES
from richness.networks.parameterization import centre_output


def prepare(recipe: str, fitted: Sequence[Fitted], tolerance: float | None = None) -> Callable[[], np.ndarray]:
    """The program: λ_max of each network; ``tolerance``: another than the function's own."""
    experiment = Experiment.model_validate_json(recipe)
    architecture, loss = experiment.architecture, LOSSES[experiment.loss]
    asked = {} if tolerance is None else {"tolerance": tolerance}

    def largest(one: Fitted, x: Tensor, labels: Tensor, weights: list[Tensor], start: list[Tensor]) -> float:
        gamma = torch.tensor([one.gamma])
        at_start = architecture.forward(start, x)

        def of_outputs(outputs: Tensor) -> Tensor:
            return loss(centre_output(outputs, at_start, gamma), labels)

        product = architecture.hessian_vector_product(weights, x, of_outputs)
        return float(sharpness(lambda w: of_outputs(architecture.forward(w, x)), weights, product=product, **asked))

    given = [
        (one, torch.from_numpy(one.inputs), torch.from_numpy(one.one_hot).argmax(dim=1), stacked(one.weights),
         stacked(one.start)) for one in fitted
    ]  # fmt: skip
    return lambda: np.array([largest(*arguments) for arguments in given])


def stacked(weights: Sequence[np.ndarray]) -> list[Tensor]:
    """One network's weights as a stack of one."""
    return [torch.from_numpy(w)[None].contiguous() for w in weights]
