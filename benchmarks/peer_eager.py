"""Peer: one network after another in eager PyTorch, as most code for such sweeps is written.

An ``nn.Sequential`` a network, ``nn.functional.mse_loss``, ``torch.optim.SGD``, the network at initialisation evaluated
beside it at every step for the centring. It gets its batches ready-made, as tensors. One thread: two are slower at these
sizes. Each network's loop is independent of the others', so its cost is strictly linear in their number, and it may be timed
on a part of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.problem import Problem


class Scaled(nn.Module):
    """A linear layer without bias whose output is multiplied by a constant."""

    def __init__(self, weight: np.ndarray, scale: float):
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.from_numpy(weight).clone()), scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x @ self.weight.T)


def network(weights: Sequence[np.ndarray], scales: Sequence[float]) -> nn.Sequential:
    """An MLP with ReLU as an ordinary module."""
    layers: list[nn.Module] = []
    for weight, scale in zip(weights, scales, strict=True):
        layers += [Scaled(weight, scale), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def trained(problem: Problem, cell: int) -> tuple[nn.Sequential, list[float]]:
    """One network after all its steps, and its loss before each of them."""
    model = network(problem.weights, problem.scales)
    start = copy.deepcopy(model).requires_grad_(False)
    gamma = float(problem.gamma[cell])
    optimiser = torch.optim.SGD(model.parameters(), lr=float(problem.lr[cell]))
    losses = []
    for x, target in zip(torch.from_numpy(problem.inputs), torch.from_numpy(problem.targets), strict=True):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss((model(x) - start(x)) / gamma, target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return model, losses


def prepare(problem: Problem) -> Callable[[], np.ndarray]:
    """The program: every network's loss before each step, (steps, C)."""
    return lambda: np.array([trained(problem, cell)[1] for cell in range(len(problem.gamma))]).T
