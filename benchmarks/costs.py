"""What a sweep of ours costs: flat in cells and steps, little that is fixed, nothing for the dead, little memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np

import richness
from benchmarks import workload
from benchmarks.contenders import Contender, Disagreement, Lap, best_ratio
from benchmarks.report import Row
from richness import Experiment
from richness.data import Task
from richness.runs.shards import LIMITS
from richness.runs.training import BLOCK_BYTES, BLOCK_STEPS, cores

WIDTH = 128
ALONE: dict[str, Any] = {"unit": "processor seconds", "workers": {"ours": f"{cores()} threads"}, "sense": "at most"}


def flat_in_cells(grids: Sequence[tuple[int, int]], steps: int, repeats: int, width: int = WIDTH) -> list[Row]:
    """The cost of a network's step against the number of networks."""
    works = [workload.stable(*grid, width=width, steps=steps) for grid in grids]
    return [_flat("cells", works, [len(work.cells()) for work in works], repeats)]


def flat_in_steps(grid: tuple[int, int], steps: Sequence[int], repeats: int, width: int = WIDTH) -> list[Row]:
    """The cost of a network's step against the number of steps."""
    works = [workload.stable(*grid, width=width, steps=count) for count in steps]
    return [_flat("steps", works, list(steps), repeats)]


def _flat(over: str, works: list[Experiment], sizes: list[int], repeats: int) -> Row:
    with Contender("benchmarks.ours", threads=cores()) as us:
        turns = _turns(us, works, repeats)
    amounts = np.array([len(work.cells()) * work.steps for work in works])
    costs = np.array([[lap.cpu for lap in turn] for turn in turns]) / amounts
    best = 1e6 * costs.min(axis=0)
    turns_apart = costs.max(axis=1) / costs.min(axis=1)
    return Row(
        name=f"flat-{over}",
        label=f"cost of a step, {sizes[0]:,} to {sizes[-1]:,} {over}",
        what=f"{workload.words(works[0])}; up to {sizes[-1]:,} {over}",
        peer="the cheapest step against the dearest, both ours",
        ours=best.max(),
        theirs=best.min(),
        **_beside(best.max() / best.min(), turns_apart),
        target=1.25,
        points=[{over: size, "cost": cost} for size, cost in zip(sizes, best, strict=True)],
        note="Everything that a sweep does is in it: the stream, the start, the result. Few networks share the stream among "
        "few.",
        **(ALONE | {"unit": "processor µs a cell·step"}),
    )


def fixed(grid: tuple[int, int], steps: Sequence[int], repeats: int, width: int = WIDTH) -> list[Row]:
    """The share of a sweep's time that the stream takes, and the share that does not depend on the number of steps."""
    works = [workload.stable(*grid, width=width, steps=count) for count in steps]
    longest = works[-1]
    with Contender("benchmarks.costs") as watched:
        measured = np.array([watched.result(longest.model_dump_json()) for _ in range(repeats)])
    with Contender("benchmarks.ours", threads=cores()) as us:
        turns = _turns(us, works, repeats)
    times = np.array([[lap.cpu for lap in turn] for turn in turns])
    starts = [_at_no_steps(steps, turn) for turn in times]
    start = _at_no_steps(steps, times.min(axis=0))
    whole: dict[str, Any] = {"what": workload.words(longest), "peer": "the whole sweep", "target": 0.10}
    return [
        Row(
            name="fixed-stream",
            label="the stream, of the whole sweep",
            ours=measured[:, 0].min(),
            theirs=measured[:, 1].min(),
            **best_ratio(list(measured[:, 0]), list(measured[:, 1])),
            note="Seconds within Task.batches, wherever the engine calls it.",
            **whole,
            **ALONE,
        ),
        Row(
            name="fixed-start",
            label="the start, of the whole sweep",
            ours=start,
            theirs=times[:, -1].min(),
            **_beside(start / times[:, -1].min(), starts / times[:, -1]),
            points=[{"steps": count, "seconds": least} for count, least in zip(steps, times.min(axis=0), strict=True)],
            note="Where a straight line through the times at several numbers of steps meets no steps at all (below 0: noise). "
            f"To start Python and import torch and this package takes {us.prepared:.1f} s on the clock, which is not in it.",
            **whole,
            **ALONE,
        ),
    ]


def _at_no_steps(steps: Sequence[int], seconds: np.ndarray) -> float:
    """Where the straight line through times at several numbers of steps meets no steps at all."""
    return float(np.polyfit(steps, seconds, 1)[1])


def _beside(ratio: float, turns: np.ndarray) -> dict[str, Any]:
    """A ratio of the shortest times, and the smallest and largest of it and those of single turns."""
    return {"ratio": ratio, "spread": (min(ratio, *turns), max(ratio, *turns))}


def prepare() -> Callable[[str], np.ndarray]:
    """The program of a contender: processor seconds of a sweep's stream, and of all of it, in this process."""

    def run(recipe: str) -> np.ndarray:
        spent, batches = [], Task.batches

        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.thread_time()
            try:
                return batches(*arguments, **named)
            finally:
                spent.append(time.thread_time() - started)

        started = time.process_time()
        with mock.patch.object(Task, "batches", timed):
            richness.sweep(Experiment.model_validate_json(recipe))
        return np.array([sum(spent), time.process_time() - started])

    return run


def dead(gammas: int, etas: int, steps: int, repeats: int, width: int = WIDTH) -> list[Row]:
    """A whole plane, of which many networks diverge, against as many networks that all live."""
    plane = workload.plane(gammas, etas, width=width, steps=steps)
    alive = workload.stable(gammas, etas, width=width, steps=steps)
    with Contender("benchmarks.ours", threads=cores()) as us:
        losses = us.result(plane.model_dump_json())
        died = ~np.isfinite(losses[-1])
        difference = _survivors(us, plane, losses, died)
        turns = _turns(us, [plane, alive], repeats)
    mine, whole = ([lap.cpu for lap in laps] for laps in zip(*turns, strict=True))
    return [
        Row(
            name="dead",
            label=f"a plane of which {died.mean():.0%} diverge, of one that lives",
            what=f"{workload.words(plane)}, of which {died.mean():.0%} diverge",
            peer="as many that all live: what it would cost without early dropping",
            ours=min(mine),
            theirs=min(whole),
            **best_ratio(mine, whole),
            target=0.70,
            difference=difference,
            allowed=0.0,
            compared="losses of one γ's survivors, against a sweep of them alone",
            **ALONE,
        )
    ]


def _survivors(us: Contender, plane: Experiment, losses: np.ndarray, died: np.ndarray) -> float:
    """How much the survivors of the middle γ change when they are trained without any other network.

    Raises:
        Disagreement: at all.
    """
    middle = len(plane.gammas) // 2
    row = slice(middle * len(plane.etas), (middle + 1) * len(plane.etas))
    kept = ~died[row]
    fields = {"gammas": (plane.gammas[middle],), "etas": tuple(np.array(plane.etas)[kept])}
    alone = us.result(Experiment.model_validate(plane.model_dump() | fields).model_dump_json())
    difference = float(np.max(np.abs(alone / losses[:, row][:, kept] - 1)))
    if difference != 0.0:
        raise Disagreement(f"the survivors' losses change by {difference:.2g} with what stands beside them")
    return difference


def memory(grid: tuple[int, int], steps: int, width: int = WIDTH) -> list[Row]:
    """The peak above the idle interpreter, against the arrays that a sweep cannot do without."""
    work = workload.stable(*grid, width=width, steps=steps)
    tiny = workload.stable(2, 3, width=8, steps=20)
    with Contender("benchmarks.ours", threads=cores()) as us:
        before = us.record(us.result(tiny.model_dump_json()), [])
        after = us.record(us.result(work.model_dump_json()), [])
    above, arrays = after.peak_mb - before.peak_mb, arrays_mb(work)
    return [
        Row(
            name="memory",
            label="memory above the idle interpreter, of a shard's arrays",
            what=workload.words(work),
            peer="the arrays of one shard",
            ours=above,
            theirs=arrays,
            ratio=above / arrays,
            target=1.2,
            memory={"ours": {"idle": before.peak_mb, "peak": after.peak_mb}},
            note="Idle: after the imports and a sweep of six networks of width 8. Arrays: float32 weights and "
            "float64 losses of every network, and a block of the stream in two layouts.",
            **(ALONE | {"unit": "MB"}),
        )
    ]


def arrays_mb(work: Experiment) -> float:
    """MB that one shard's networks and their losses fill, and a block of the stream, which is kept in two layouts."""
    cells = min(LIMITS["cpu"].cells, len(work.cells()))
    weights = sum(out * into for out, into in work.architecture.shapes)
    a_step = 4 * work.batch_size * work.architecture.inputs
    block = a_step * max(1, min(BLOCK_STEPS, BLOCK_BYTES // a_step))
    return (cells * (4 * weights + 8 * (work.steps + 1)) + 2 * block) / 1e6


def _turns(us: Contender, works: Sequence[Experiment], repeats: int) -> list[list[Lap]]:
    """Laps of each work, in turns, after one that is not counted."""
    us.result(works[0].model_dump_json())
    return [[us.lap(work.model_dump_json()) for work in works] for _ in range(repeats)]
