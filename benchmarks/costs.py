"""What a sweep of ours costs: flat in cells and steps, little that is fixed, nothing for the dead, little memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from unittest import mock

import numpy as np

import richness
from benchmarks import contenders, workload
from benchmarks.contenders import Contender, Disagreement, Lap
from benchmarks.report import Row
from richness import Experiment
from richness.data import Task
from richness.runs import sweep as engine

WIDTH = 128


def flat(
    cells: Sequence[tuple[int, int]], cell_steps: int, steps: Sequence[int], step_grid: tuple[int, int], repeats: int,
    width: int = WIDTH,
) -> list[Row]:  # fmt: skip
    """The cost of a network's step against the number of networks, and against the number of steps."""
    by_cells = [workload.stable(*grid, width=width, steps=cell_steps) for grid in cells]
    by_steps = [workload.stable(*step_grid, width=width, steps=count) for count in steps]
    rows = []
    with Contender("benchmarks.ours") as us:
        for name, works, of in (("cells", by_cells, _cells), ("steps", by_steps, _steps)):
            us.result(works[0].model_dump_json())
            turns = [[us.lap(work.model_dump_json()) for work in works] for _ in range(repeats)]
            costs = np.array([
                [lap.cpu / (_cells(work) * work.steps) for work, lap in zip(works, turn, strict=True)] for turn in turns
            ])  # fmt: skip
            best = costs.min(axis=0)
            ratio, spread = contenders.spread(list(costs.max(axis=1) / costs.min(axis=1)))
            ends = f"{of(works[0]):,} to {of(works[-1]):,} {name}"
            fixed = f"{cell_steps} steps" if name == "cells" else f"{_cells(works[0])} cells"
            rows.append(Row(
                f"flat-{name}", f"sweep of MLPs, L = 3, N = {width}, digits8, batch 64, {fixed}",
                f"ours, the dearest against the cheapest of {ends}", "processor µs a cell·step",
                1e6 * best.max(), 1e6 * best.min(), ratio, spread, 1.25, "at most",
                workers={"ours": "1 × 1"},
                points=[{name: of(work), "cost": 1e6 * cost} for work, cost in zip(works, best, strict=True)],
                note="Everything that a sweep does is in it: stream, start, assembling the result.",
            ))  # fmt: skip
    return rows


def fixed(grid: tuple[int, int], steps: Sequence[int], repeats: int, width: int = WIDTH) -> list[Row]:
    """The share of a sweep's time that the stream takes, and that does not depend on the number of steps."""
    works = [workload.stable(*grid, width=width, steps=count) for count in steps]
    longest = works[-1]
    what = f"sweep of {_cells(longest)} MLPs, L = 3, N = {width}, digits8, batch 64, {longest.steps} steps, one process"
    with Contender("benchmarks.costs") as stream:
        shares, seconds = np.array([stream.result(longest.model_dump_json()) for _ in range(repeats)]).T
    with Contender("benchmarks.ours") as us:
        us.result(works[0].model_dump_json())
        turns = [[us.lap(work.model_dump_json()) for work in works] for _ in range(repeats)]
    lines = [np.polyfit(steps, [lap.cpu for lap in turn], 1) for turn in turns]
    starts = [max(0.0, float(line[1] / np.polyval(line, longest.steps))) for line in lines]
    stream_ratio, stream_spread = contenders.spread(list(shares))
    start_ratio, start_spread = contenders.spread(starts)
    return [
        Row("fixed-stream", what, "the whole sweep", "processor seconds", float(shares.min() * seconds.min()),
            float(seconds.min()), stream_ratio, stream_spread, 0.10, "at most", workers={"ours": "1 × 1"},
            note="Seconds within Task.batches, wherever the engine calls it."),
        Row("fixed-start", what, "the whole sweep", "processor seconds", max(0.0, float(lines[0][1])),
            turns[0][-1].cpu, start_ratio, start_spread, 0.10, "at most", workers={"ours": "1 × 1"},
            points=[{"steps": count, "seconds": min(turn[k].cpu for turn in turns)} for k, count in enumerate(steps)],
            note="Where the straight line through the times at several numbers of steps meets no steps at all."),
    ]  # fmt: skip


def prepare() -> Callable[[str], np.ndarray]:
    """The program of a contender: (share of the stream, seconds) of a sweep in this process."""

    def run(recipe: str) -> np.ndarray:
        spent, batches = [0.0], Task.batches

        def timed(*arguments, **named):
            started = time.thread_time()
            try:
                return batches(*arguments, **named)
            finally:
                spent[0] += time.thread_time() - started

        started = time.process_time()
        with mock.patch.object(Task, "batches", timed):
            richness.sweep(Experiment.model_validate_json(recipe))
        total = time.process_time() - started
        return np.array([spent[0] / total, total])

    return run


def dead(gammas: int, etas: int, steps: int, repeats: int, width: int = WIDTH) -> list[Row]:
    """A whole plane, of which many networks diverge, against as many that all live."""
    plane = workload.plane(gammas, etas, width=width, steps=steps)
    alive = workload.stable(gammas, etas, width=width, steps=steps)
    with Contender("benchmarks.ours") as us:
        losses, _ = us.result(plane.model_dump_json()), us.result(alive.model_dump_json())
        died = ~np.isfinite(losses[-1])
        difference = _survivors(us, plane, losses, died)
        turns = [(us.lap(plane.model_dump_json()), us.lap(alive.model_dump_json())) for _ in range(repeats)]
    ratio, spread = contenders.spread([mine.cpu / whole.cpu for mine, whole in turns])
    return [Row(
        "dead", f"a plane of {len(died)} MLPs, L = 3, N = {width}, digits8, batch 64, {steps} steps, of which "
        f"{died.mean():.0%} diverge",
        "as many that all live, which is what it would cost without early dropping", "processor seconds",
        min(mine.cpu for mine, _ in turns), min(whole.cpu for _, whole in turns), ratio, spread, 0.70, "at most",
        difference=difference, allowed=0.0, compared="losses of one γ's survivors, against a sweep of them alone",
        seconds={"ours": _laps([mine for mine, _ in turns]), "theirs": _laps([whole for _, whole in turns])},
        workers={"ours": "1 × 1"},
    )]  # fmt: skip


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
    """The peak above the idle interpreter, against what one chunk cannot do without."""
    work = workload.stable(*grid, width=width, steps=steps)
    tiny = workload.stable(2, 3, width=8, steps=20)
    with Contender("benchmarks.ours", "") as us:
        us.result(tiny.model_dump_json())
        before = us.record(np.empty(0))
        us.result(work.model_dump_json())
        after = us.record(np.empty(0))
    chunk = chunk_mb(work)
    above = after.peak_mb - before.peak_mb
    return [Row(
        "memory", f"sweep of {_cells(work)} MLPs, L = 3, N = {width}, digits8, batch 64, {steps} steps, one process",
        f"the arrays of one chunk of {engine.SHARD} cells", "MB", above, chunk, above / chunk, None, 1.2, "at most",
        memory={"ours": {"idle": before.peak_mb, "peak": after.peak_mb}}, workers={"ours": "1 × 1"},
        note="Idle: after the imports and a sweep of six networks of width 8. A chunk's arrays: weights, hidden layers "
        "forward and backward, outputs and errors, one block of batches; and every cell's losses.",
    )]  # fmt: skip


def chunk_mb(work: Experiment) -> float:
    """MB of the arrays that a chunk of cells cannot do without, float32, and of the losses of all cells, float64."""
    cells = min(engine.SHARD, _cells(work))
    shapes, batch = work.architecture.shapes, work.batch_size
    weights = sum(out * into for out, into in shapes)
    hidden = 2 * batch * sum(out for out, _ in shapes[:-1])
    outputs = 2 * batch * shapes[-1][0]
    stream = 16 * batch * shapes[0][1]
    return (4 * (cells * (weights + hidden + outputs) + stream) + 8 * cells * (work.steps + 1)) / 1e6


def _cells(work: Experiment) -> int:
    return len(work.cells())


def _steps(work: Experiment) -> int:
    return work.steps


def _laps(laps: Sequence[Lap]) -> dict[str, list[float]]:
    return {"wall": [lap.wall for lap in laps], "cpu": [lap.cpu for lap in laps]}
