"""Peer: all networks at once by ``torch.func.vmap`` over ``grad_and_value``, the way PyTorch's own tutorials ensemble models.

The network at initialisation, which all share, is evaluated once a step, outside the map. Batches are ready-made tensors; the
update is in place. All cores may be used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.problem import Problem


def prepare(problem: Problem) -> Callable[[], np.ndarray]:
    """The program: every network's loss before each step, (steps, C)."""
    scales, cells = problem.scales, len(problem.gamma)
    start = [torch.from_numpy(w) for w in problem.weights]
    gamma, lr = torch.from_numpy(problem.gamma), torch.from_numpy(problem.lr)[:, None, None]
    batches = list(zip(torch.from_numpy(problem.inputs), torch.from_numpy(problem.targets), strict=True))

    def raw(weights: list[Tensor], x: Tensor) -> Tensor:
        for weight, scale in zip(weights[:-1], scales[:-1], strict=True):
            x = torch.relu(scale * (x @ weight.T))
        return scales[-1] * (x @ weights[-1].T)

    def loss(weights: list[Tensor], gamma: Tensor, x: Tensor, at_start: Tensor, target: Tensor) -> Tensor:
        return torch.nn.functional.mse_loss((raw(weights, x) - at_start) / gamma, target)

    gradients = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(0, 0, None, None, None))

    @torch.no_grad()
    def run() -> np.ndarray:
        weights = [w.repeat(cells, 1, 1) for w in start]
        losses = torch.empty(len(batches), cells)
        for step, (x, target) in enumerate(batches):
            slopes, losses[step] = gradients(weights, gamma, x, raw(start, x), target)
            for weight, slope in zip(weights, slopes, strict=True):
                weight.sub_(slope.mul_(lr))
        return losses.numpy()

    return run
