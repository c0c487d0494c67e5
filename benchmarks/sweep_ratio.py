"""How much is gained by training a sweep's networks together instead of one after another.

Peer: plain PyTorch, as most code for such sweeps is written: a ``torch.nn.Sequential`` a cell, ``torch.optim.SGD``, the
network at initialisation evaluated beside it at every step for the centring. It is handed its batches ready-made, where
ours draws them inside the measured time. Both get one thread and float32. Their losses are compared at every step, and
only then are they timed, in turns; the median of the repeats counts. Times are CPU seconds, which a busy machine
changes less than the clock on the wall.

Run it by ``richness bench``, or ``python benchmarks/sweep_ratio.py``.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from richness.networks.parameterization import hidden_scale, natural_eta, readout_scale
from richness.runs.experiment import Experiment
from richness.runs.training import train

STEPS = 60
REPEATS = 3
Cells = list[tuple[float, float]]


class Scaled(nn.Module):
    """A linear layer without bias whose output is multiplied by a constant."""

    def __init__(self, weight: Tensor, scale: float):
        super().__init__()
        self.weight, self.scale = nn.Parameter(weight.float().clone()), scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x @ self.weight.T)


def peer_network(experiment: Experiment, seed: int) -> nn.Module:
    """The experiment's network as an ordinary module, from the same initial weights."""
    weights = experiment.architecture.initialise(seed)
    scales = [hidden_scale(w.shape[1]) for w in weights[:-1]] + [readout_scale(experiment.width)]
    layers: list[nn.Module] = []
    for weight, scale in zip(weights, scales, strict=True):
        layers += [Scaled(weight, scale), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def one_after_another(experiment: Experiment, cells: Cells, batches: list[tuple[Tensor, Tensor]]) -> np.ndarray:
    """Every cell's loss before each step, shape (steps, cells)."""
    columns = []
    for gamma, eta in cells:
        network = peer_network(experiment, seed=0)
        start = copy.deepcopy(network).requires_grad_(False)
        optimiser = torch.optim.SGD(network.parameters(), lr=float(experiment.lr_raw(eta)))
        losses = []
        for x, target in batches:
            optimiser.zero_grad()
            loss = nn.functional.mse_loss((network(x) - start(x)) / gamma, target)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        columns.append(losses)
    return np.array(columns).T


def together(experiment: Experiment, cells: Cells) -> np.ndarray:
    """The same by this package, shape (steps, cells)."""
    return train(experiment, 0, cells).loss[:-1]


def grid(width: int) -> tuple[Experiment, Cells]:
    """24 cells in the stable part of the plane, 4 γ and 6 η each; both trainers do all the steps of all of them."""
    gammas = [0.1, 1.0, 10.0, 100.0]
    cells = [(g, float(share * natural_eta(g, 3))) for g in gammas for share in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)]
    etas = sorted({eta for _, eta in cells})
    described = Experiment(depth=3, width=width, task="digits8", batch_size=64, steps=STEPS, gammas=gammas, etas=etas,
                           dtype="float32", record_points=2)  # fmt: skip
    return described, cells


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def ratio(width: int) -> dict[str, Any]:
    """One row: cells × steps a second of both, their ratio, and the largest relative difference of their losses."""
    experiment, cells = grid(width)
    inputs, labels = experiment.source.batches(0, range(STEPS), experiment.batch_size)
    targets = nn.functional.one_hot(labels, experiment.source.outputs).float()
    batches = list(zip(inputs.float(), targets, strict=True))
    ours, theirs = together(experiment, cells), one_after_another(experiment, cells, batches)
    difference = float(np.max(np.abs(ours - theirs) / np.abs(theirs)))
    if not difference < 1e-3:
        raise ValueError(
            f"the two trainers disagree by {difference:.2g} of the loss, so their times cannot be compared"
        )
    turns = [
        (seconds(lambda: together(experiment, cells)), seconds(lambda: one_after_another(experiment, cells, batches)))
        for _ in range(REPEATS)
    ]
    mine, peer = (statistics.median(column) for column in zip(*turns, strict=True))
    work = len(cells) * STEPS
    return {
        "what": f"sweep of {len(cells)} MLPs, L = 3, N = {width}, digits8, batch 64",
        "peer_is": "one after another, eager PyTorch, batches ready-made",
        "unit": "cells·steps per CPU second",
        "ours": round(work / mine),
        "peer": round(work / peer),
        "ratio": round(peer / mine, 2),
        "spread": [round(min(b / a for a, b in turns), 2), round(max(b / a for a, b in turns), 2)],
        "difference": difference,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def measure(widths: tuple[int, ...] = (64, 128)) -> list[dict[str, Any]]:
    """Every ratio, measured now on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [ratio(width) for width in widths]
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    for row in measure():
        print(row)
