"""All of the bench: its jobs by name, and the report of those that were run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from benchmarks import boundaries, costs, curvature, report, sweeps
from benchmarks.report import Row

Job = Callable[[], list[Row]]

JOBS: dict[str, Job] = {
    "sweep-64": lambda: sweeps.against_peers(64, steps=200, repeats=5),
    "sweep-128": lambda: sweeps.against_peers(128, steps=200, repeats=5),
    "sweep-256": lambda: sweeps.against_peers(256, steps=60, repeats=5),
    "peak": lambda: sweeps.against_peak(steps=200, repeats=5),
    "flat-cells": lambda: costs.flat_in_cells([(4, 4), (8, 8), (13, 13), (16, 16), (32, 32)], steps=100, repeats=3),
    "flat-steps": lambda: costs.flat_in_steps((8, 8), steps=(250, 1000, 4000), repeats=2),
    "fixed": lambda: costs.fixed((13, 13), (125, 250, 500, 1000), repeats=2),
    "dead": lambda: costs.dead(13, 13, steps=300, repeats=5),
    "memory": lambda: costs.memory((13, 13), steps=200),
    "sharpness": lambda: curvature.sharpness(128, steps=200, samples=256, repeats=7, calls=5),
    "ntk": lambda: curvature.kernel(128, steps=200, samples=256, repeats=5, calls=10),
    "boundary": boundaries.against_grid_and_protocol,
}

# The same in little: to see that every peer gives our results. Its times mean nothing. (The boundary search has no little:
# at tiny sizes there are no exponents to agree on.)
TINY: dict[str, Any] = {"repeats": 1, "width": 16}
QUICK: dict[str, Job] = {
    "sweep-16": lambda: sweeps.against_peers(steps=20, grid=(3, 5), **TINY),
    "peak": lambda: sweeps.against_peak(steps=20, grid=(3, 5), seconds=0.02, sizes=(64, 128), **TINY),
    "flat-cells": lambda: costs.flat_in_cells([(2, 3), (3, 5)], steps=20, **TINY),
    "flat-steps": lambda: costs.flat_in_steps((2, 3), steps=(20, 40), **TINY),
    "fixed": lambda: costs.fixed((2, 3), (10, 20), **TINY),
    "dead": lambda: costs.dead(3, 5, steps=100, **TINY),
    "memory": lambda: costs.memory((3, 5), steps=20, width=16),
    "sharpness": lambda: curvature.sharpness(steps=20, samples=32, calls=1, **TINY),
    "ntk": lambda: curvature.kernel(steps=20, samples=32, calls=1, **TINY),
}


def measure(names: Sequence[str] = (), quick: bool = False, tell: Callable[[str], Any] = lambda line: None) -> dict:
    """Runs jobs and returns the report: ``{"schema", "provenance", "rows"}``, see :class:`benchmarks.report.Row`.

    A job that cannot be carried out (two contenders disagree, a peer breaks) leaves a row that says so, and the others go on.

    Args:
        names: of jobs; all, if none is named.
        quick: tiny sizes, whose times mean nothing.
        tell: called with a line before and after each job.

    Raises:
        ValueError: no such job.
    """
    jobs = QUICK if quick else JOBS
    unknown = [name for name in names if name not in jobs]
    if unknown:
        raise ValueError(f"unknown job {', '.join(unknown)}: choose from {', '.join(jobs)}")
    about, began, rows = report.provenance(), time.perf_counter(), []
    for name in names or jobs:
        tell(f"{name} ...")
        started = time.perf_counter()
        try:
            rows += jobs[name]()
        except Exception as error:
            rows.append(Row(name, name, f"the job {name}", "", failed=f"{type(error).__name__}: {error}"))
        tell(f"{name}: {time.perf_counter() - started:.0f} s")
    if quick:  # what is aimed at means nothing at these sizes
        rows = [replace(row, target=None) for row in rows]
    ended = {"quick": quick, "seconds": time.perf_counter() - began, "load_after": report.load()}
    return report.as_data(rows, about | ended)
