"""What is gained by searching the boundaries instead of filling the plane.

Two peers. The full grid is this package's own sweep at the same resolution: cells are counted, and its exponents must be
those of the search. The protocol is that of the paper: at every γ, η comes down from 1e12 until the first run that
converges, and then three decades more, one network after another in plain PyTorch, on one thread. It would take an hour,
so it is counted and not run: which of its runs diverge, and when, is known from the full grid; the time of one step is
measured. It is taken to stop at the first loss that is not finite, and its runs above the full grid, which diverge within
a few steps, to cost nothing. Its time is given at the paper's two η a decade, and at the search's resolution, which it
needs to give exponents as firmly. The search that is timed against it finds η_max and η_min by runs of all the steps and
η_crit, which shows in 60, by runs of those.

Run it by ``python benchmarks/boundary_search.py``.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from richness.analysis import boundaries
from richness.analysis.boundaries import LAZY_WINDOWS, RICH_WINDOWS, Fit
from richness.networks.parameterization import dtype_for, hidden_scale, readout_scale
from richness.runs.description import canonical
from richness.runs.experiment import PEAK_STEPS, Experiment
from richness.runs.search import search
from richness.runs.sweep import sweep

PER_DECADE = 12
BELOW = 3  # decades that it goes on for, once a run has converged
SAMPLED_STEPS = 100


def plane(width: int, steps: int, seeds: int) -> Experiment:
    """Both sides of γ = 1, where the exponents of η_max are read off: four γ a decade."""
    etas = canonical(10.0 ** np.arange(-10, 5, 1 / PER_DECADE))
    return Experiment(
        depth=3, width=width, task="digits8", batch_size=64, steps=steps, seeds=range(seeds), record_points=2,
        gammas=["1e-4:3.1622776602e-3:7", "1:100:9"], etas=etas, band=(0.025, 500.0),
    )  # fmt: skip


def protocol(full: xr.Dataset, steps: int, stride: int) -> dict[torch.dtype, int]:
    """Steps in all that the paper's protocol takes at every γ and seed, with every ``stride``-th η of the full grid."""
    dims = ("gamma", "seed", "eta")
    converged, run = (mask.transpose(*dims).values for mask in (boundaries.converged(full), full.status != 2))
    diverged_at = full.diverged_at.transpose(*dims).values
    taken = {torch.float32: 0, torch.float64: 0}
    for i, s in np.ndindex(converged.shape[:2]):
        down = [j for j in range(full.sizes["eta"] - 1, -1, -stride) if run[i, s, j]]
        first = next((n for n, j in enumerate(down) if converged[i, s, j]), len(down) - 1)
        visited = down[: first + 1 + BELOW * PER_DECADE // stride]
        lasted = [int(diverged_at[i, s, j]) if diverged_at[i, s, j] >= 0 else steps for j in visited]
        taken[dtype_for(float(full.gamma[i]))] += sum(lasted)
    return taken


class Scaled(nn.Module):
    """A linear layer without bias whose output is multiplied by a constant."""

    def __init__(self, weight: Tensor, scale: float):
        super().__init__()
        self.weight, self.scale = nn.Parameter(weight), scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x @ self.weight.T)


def step_seconds(experiment: Experiment, dtype: torch.dtype) -> float:
    """CPU seconds of one step of the protocol's program: a network as a module, the one at initialisation beside it."""
    weights = [weight.to(dtype) for weight in experiment.architecture.initialise(0)]
    scales = [hidden_scale(weight.shape[1]) for weight in weights[:-1]] + [readout_scale(experiment.width)]
    layers: list[nn.Module] = []
    for weight, scale in zip(weights, scales, strict=True):
        layers += [Scaled(weight, scale), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    start = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
    inputs, labels = experiment.source.batches(0, range(SAMPLED_STEPS), experiment.batch_size)
    inputs, targets = inputs.to(dtype), nn.functional.one_hot(labels, experiment.source.outputs).to(dtype)

    def train() -> None:
        for x, target in zip(inputs, targets, strict=True):
            optimiser.zero_grad()
            loss = nn.functional.mse_loss(network(x) - start(x), target)
            loss.backward()
            optimiser.step()
            loss.item()

    return float(min(seconds(train)[1][0] for _ in range(5))) / SAMPLED_STEPS


def exponents(runs: xr.Dataset) -> dict[str, Fit]:
    """Of η_max and η_crit on both sides, and of η_min where four γ have it."""
    found = {}
    for boundary in (boundaries.eta_max(runs), boundaries.eta_crit(runs), boundaries.eta_min(runs).isel(budget=-1)):
        for side, window in (("lazy", LAZY_WINDOWS[0]), ("rich", RICH_WINDOWS[0])):
            if int(boundary.sel(gamma=slice(window[0], window[1] * 1.001)).notnull().any("seed").sum()) >= 4:
                found[f"{boundary.name} {side}"] = boundaries.fit(boundary, window)
    return found


def seconds(work: Callable[[], Any]) -> tuple[Any, np.ndarray]:
    """A call's result, and its seconds: of the processor, all cores together, and on the wall."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, np.array([time.process_time() - cpu, time.perf_counter() - wall])


def measure(width: int = 128, steps: int = 1000, seeds: int = 3) -> list[dict[str, Any]]:
    """One row against the full grid, in cells; two against the protocol, in CPU seconds.

    The search may use every core, where the protocol's program gains nothing by a second: ``ratio_wall`` holds its CPU
    seconds against the search's seconds on the wall, which mean something on an idle machine only.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        experiment = plane(width, steps, seeds)
        found, whole = seconds(lambda: search(experiment, per_decade=PER_DECADE))
        short = experiment.model_copy(update={"steps": PEAK_STEPS})
        _, long_runs = seconds(lambda: search(experiment, ("eta_max", "eta_min"), PER_DECADE))
        _, short_runs = seconds(lambda: search(short, "eta_crit", PER_DECADE))
        full, filled = seconds(lambda: sweep(experiment))
        one_step = {dtype: step_seconds(experiment, dtype) for dtype in (torch.float32, torch.float64)}
    finally:
        torch.set_num_threads(before)
    mine, theirs = exponents(found), exponents(full)
    apart = {name: abs(mine[name].slope - theirs[name].slope) for name in theirs}
    outside = [name for name in theirs if not theirs[name].holds(mine[name].slope)]
    if outside:
        raise ValueError(f"search and full grid disagree on {', '.join(outside)}: {mine} against {theirs}")
    common = {
        "what": f"boundaries at {len(experiment.gammas)} γ, {seeds} seeds, {PER_DECADE} η a decade: MLP, L = 3, N = {width}, "
        f"digits8, T = {steps}",
        "difference": max(apart.values()),
        "exponents": {name: [round(x, 3) for x in (fit.slope, *fit.interval)] for name, fit in mine.items()},
        "exponents_full_grid": {
            name: [round(x, 3) for x in (fit.slope, *fit.interval)] for name, fit in theirs.items()
        },
        "torch": torch.__version__,
    }
    cells = int((full.status != 2).sum())
    rows = [
        common
        | {
            "peer_is": "the full grid",
            "unit": "cells",
            "ours": int(found.cells_run),
            "peer": cells,
            "ratio": round(cells / found.cells_run, 2),
            "cpu_seconds": [round(float(whole[0]), 1), round(float(filled[0]), 1)],
        }
    ]
    cpu, wall = (float(both) for both in long_runs + short_runs)
    for stride, says in ((PER_DECADE // 2, "two η a decade"), (1, f"{PER_DECADE} η a decade")):
        peer = sum(count * one_step[dtype] for dtype, count in protocol(full, steps, stride).items())
        rows.append(
            common
            | {
                "peer_is": f"the paper's protocol, one after another, {says}",
                "unit": "CPU seconds",
                "ours": round(cpu, 1),
                "peer": round(peer),
                "ratio": round(peer / cpu, 1),
                "ratio_wall": round(peer / wall, 1),
            }
        )
    return rows


if __name__ == "__main__":
    for row in measure():
        print(row)
