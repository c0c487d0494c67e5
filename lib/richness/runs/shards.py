"""Shards, the unit of work: cells that train together, how a sweep is cut into them, and what is kept of each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from richness.networks.parameterization import dtype_for
from richness.runs.engines import name_machine
from richness.runs.experiment import PEAK_STEPS, Experiment, late_window
from richness.runs.loops import Loop, run_loops
from richness.runs.probes import PROBES
from richness.runs.snapshots import Snapshots, name_cells
from richness.runs.training import History, cores, train

Cell = tuple[int, float, float]  # (seed, γ, η): with the experiment's other fields, all that a run depends on
Arrays = dict[str, np.ndarray]


class Limit(NamedTuple):
    """The largest shard: cells bound its memory, operations (floating point) what a kill can lose, a few minutes."""

    cells: int
    operations: float


LIMITS = {"cpu": Limit(512, 2e13), "mps": Limit(256, 5e13), "cuda": Limit(1024, 5e14)}
SAMPLE_CELLS, SAMPLE_STEPS = 16, 40  # that are timed to tell what a sweep costs
LOST = 0.1  # at most so much of a sweep's work is in training at once where a store keeps what is finished,
SOON = 1 / 400  # or so much of a limit's operations, about ten seconds: smaller shards would gain nothing
STREAM = 16  # a shard costs as much as so many more cells: it draws its own stream of samples


@dataclass(frozen=True)
class Shard:
    """Cells of one seed and one dtype that train together.

    Attributes:
        seed: the seed itself. cells: (γ, η) of each, values and not places on a grid.
    """

    seed: int
    cells: tuple[tuple[float, float], ...]

    @property
    def name(self) -> str:
        """Of its file in a store."""
        return f"{name_cells(self.seed, self.cells)}.npz"

    def __str__(self) -> str:
        gammas = [gamma for gamma, _ in self.cells]
        return f"{self.name} (seed {self.seed}, {len(self.cells)} cells, γ from {min(gammas):.3g} to {max(gammas):.3g})"


def cells_of(experiment: Experiment) -> list[Cell]:
    """Every cell of an experiment's grid that is run.

    Raises:
        ValueError: none is, since the band leaves out every η of the grid.
    """
    if not experiment.cells():
        raise ValueError(experiment.explain_empty_band())
    grid = [(experiment.gammas[i], experiment.etas[j]) for i, j in experiment.cells()]
    return [(seed, gamma, eta) for seed in experiment.seeds for gamma, eta in grid]


def cut_shards(experiment: Experiment, cells: Iterable[Cell], workers: int = 1, kept: bool = False) -> list[Shard]:
    """Cells to shards, so that so many workers, each training one shard at a time, are done together and soon.

    Where finished shards are ``kept``, they are also small enough that a kill loses a tenth of the work, or about ten seconds,
    whichever is longer; with several workers no smaller than four times what a shard's stream costs.

    One size is chosen for all, within the device's limit. The cells of each seed and dtype are then dealt out like cards: so
    their shards differ by one cell at most, and each is a fair sample of the plane (a diverged cell stops costing, and the
    diverged lie together).
    """
    together: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for seed, gamma, eta in cells:
        together.setdefault((seed, str(dtype_for(gamma, experiment.dtype))), []).append((gamma, eta))
    limit = LIMITS.get(experiment.device.partition(":")[0], LIMITS["cpu"])
    largest = max(1, min(limit.cells, int(limit.operations / operations(experiment))))
    if kept:
        share = int(LOST * sum(map(len, together.values())) / workers)
        soon = int(SOON * limit.operations / operations(experiment))
        largest = max(1, min(largest, max(share, soon, 4 * STREAM if workers > 1 else 1)))

    def pieces(group: list, size: int) -> int:
        return math.ceil(len(group) / size)

    def duration(size: int) -> int:
        """In cells: the rounds that the workers make, times the cost of a shard."""
        rounds = math.ceil(sum(pieces(group, size) for group in together.values()) / workers)
        return rounds * (size + STREAM)

    size = min(range(1, largest + 1), key=duration)
    return [
        Shard(seed, tuple(group[first :: pieces(group, size)]))
        for (seed, _), group in together.items()
        for first in range(pieces(group, size))
    ]


def operations(experiment: Experiment) -> float:
    """Floating-point operations to train and probe one cell, about: a gradient is three forward passes, 2 a product."""
    samples = float(max(experiment.steps, 1) * experiment.batch_size)
    for probe in experiment.kept_probes:
        samples += PROBES[probe].work * experiment.probe_samples * len(experiment.probed_steps)
    return 6.0 * experiment.architecture.products * samples


def estimate_seconds(experiment: Experiment, cells: Sequence[Cell]) -> float:
    """How long cells would train in this process, about: a few of them are timed over a few steps, without probes."""
    if not cells:
        return 0.0
    short = Experiment.model_validate(
        experiment.model_dump()
        | {"steps": min(experiment.steps, SAMPLE_STEPS), "probes": (), "budgets": (), "warmup": 0}
    )
    seed, *some = cells[0][0], *((gamma, eta) for _, gamma, eta in cells[:: max(1, len(cells) // SAMPLE_CELLS)])
    alike = [cell for cell in some if dtype_for(cell[0], short.dtype) == dtype_for(some[0][0], short.dtype)]
    spent = math.inf
    for _ in range(2):  # the first time, the kernel is compiled
        begun = time.perf_counter()
        train(short, seed, alike, threads=cores())
        spent = min(spent, time.perf_counter() - begun)
    return spent * operations(experiment) / operations(short) * len(cells) / len(alike)


def run_shard(
    experiment: Experiment,
    shard: Shard,
    tick: Callable[[int], None] | None = None,
    threads: int = 1,
    snapshots: Snapshots | None = None,
) -> Arrays:
    """Train one shard; arguments as for :func:`~richness.runs.training.train`.

    Returns:
        What is kept, cells along the last axis; and of the shard as a whole ``seconds``, (wall, CPU), and ``device``, its name.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    if isinstance(experiment, Loop):
        arrays = run_loops(experiment, shard.seed, shard.cells)
    else:
        arrays = summary(
            experiment, train(experiment, shard.seed, shard.cells, tick, threads=threads, snapshots=snapshots)
        )
    seconds = np.array([time.perf_counter() - wall, time.process_time() - cpu])
    return arrays | {"seconds": seconds, "device": np.array(name_machine(experiment))}


def complete(experiment: Experiment, arrays: Arrays) -> Arrays:
    """What was kept of a shard, with what follows from it once a loop's number of steps is known."""
    if not isinstance(experiment, Loop) or not experiment.steps:
        return arrays
    whole = {key: arrays[key] for key in ("seconds", "device")}
    return summary(experiment, History(*experiment.lay_out(arrays["losses"], arrays["count"]), {})) | whole


def cost_of(probe: str) -> str:
    """The key under which a shard keeps what a probe cost, CPU seconds (cells,)."""
    return f"seconds of {probe}"


def summary(experiment: Experiment, history: History) -> Arrays:
    """The numbers that are kept of a shard's history; cells along the last axis."""
    loss, diverged = history.loss, history.diverged_at >= 0
    late = np.stack([loss[late_window(budget)].mean(axis=0) for budget in experiment.all_budgets])
    peak = np.where(np.isnan(loss[:PEAK_STEPS]).any(axis=0), np.nan, loss[:PEAK_STEPS].max(axis=0, initial=-np.inf))
    return {
        "loss": loss[experiment.recorded_steps],
        "diverged_at": history.diverged_at,
        "initial_loss": loss[0],
        "peak_loss": peak,
        "late_loss": np.where(diverged, np.nan, late[-1]),
        "budget_loss": late,
        **history.probes,
        **{cost_of(probe): values for probe, values in history.probe_seconds.items()},
    }
