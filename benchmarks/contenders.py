"""Contenders: programs in processes of their own, compared first, then timed in turns."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Program = Callable[..., np.ndarray]


class Disagreement(ValueError):
    """Two contenders gave different results, so their times cannot be compared."""


@dataclass(frozen=True)
class Lap:
    """One timed call: seconds on the clock, and seconds of processor of all its threads."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Record:
    """What is known of one contender after a race."""

    result: np.ndarray
    laps: list[Lap]
    prepared: float  # seconds on the clock to start the process, import, convert and compile
    threads: int  # that it was given
    idle_mb: float  # resident before the program first ran
    peak_mb: float  # the most that was resident since

    @property
    def walls(self) -> list[float]:
        return [lap.wall for lap in self.laps]

    @property
    def cpus(self) -> list[float]:
        return [lap.cpu for lap in self.laps]


class Contender:
    """A program in a fresh process.

    Args:
        module: whose ``prepare(*arguments)`` returns the program; what that does (imports, conversions, compilation) is not
            part of any lap.
        threads: for torch's operations in that process. (JAX takes what it likes, and so do we.)

    Raises:
        ModuleNotFoundError: a package that the module needs is not installed.
    """

    def __init__(self, module: str, *arguments: Any, threads: int = 1):
        self.threads = threads
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        started = time.perf_counter()
        try:
            self.idle_mb = self._do(_prepare, module, arguments, threads)
        except BaseException:
            self.close()
            raise
        self.prepared = time.perf_counter() - started

    def _do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._pool.submit(function, *arguments).result()

    def result(self, *arguments: Any) -> np.ndarray:
        """What the program returns, not timed; the first call also warms it up."""
        return self._do(_result, arguments)

    def lap(self, *arguments: Any, calls: int = 1) -> Lap:
        """One lap of so many calls; the times are of one of them."""
        return self._do(_lap, arguments, calls)

    def record(self, result: np.ndarray, laps: list[Lap]) -> Record:
        """What is known by now, with the laps that are to go with it."""
        return Record(result, laps, self.prepared, self.threads, self.idle_mb, self._do(_peak_mb))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def race(
    contenders: Mapping[str, Contender],
    agree: Callable[[dict[str, np.ndarray]], None],
    repeats: int,
    calls: Mapping[str, int] | None = None,
) -> dict[str, Record]:
    """Runs every contender once and compares, then times them in turns, so that a disturbance meets all alike.

    Args:
        agree: given the results by name; raises :class:`Disagreement`.
        calls: of each program in a lap, for short ones.
    """
    results = {name: contender.result() for name, contender in contenders.items()}
    agree(results)
    laps: dict[str, list[Lap]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            laps[name].append(contender.lap(calls=(calls or {}).get(name, 1)))
    return {name: contender.record(results[name], laps[name]) for name, contender in contenders.items()}


def best_ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    """The ratio of the smallest of two lists of times, and the smallest and largest ratio of one turn.

    What disturbs a measurement only ever lengthens it, so the shortest time is the truest. The first always lies between
    the other two.
    """
    turns = [a / b for a, b in zip(above, below, strict=True)]
    return {"ratio": min(above) / min(below), "spread": (min(turns), max(turns))}


# In the contender's process. ------------------------------------------------------------------------------------------

_program: Program | None = None


def _prepare(module: str, arguments: tuple[Any, ...], threads: int) -> float:
    global _program
    code = importlib.import_module(module)
    if "torch" in vars(code):
        code.torch.set_num_threads(threads)
    _program = code.prepare(*arguments)
    reset = Path("/proc/self/clear_refs")  # Linux: from here on the high-water mark counts anew
    if os.access(reset, os.W_OK):
        reset.write_text("5", encoding="utf-8")
    return _peak_mb()


def _result(arguments: tuple[Any, ...]) -> np.ndarray:
    assert _program is not None
    return _program(*arguments)


def _lap(arguments: tuple[Any, ...], calls: int) -> Lap:
    assert _program is not None
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        _program(*arguments)
    return Lap((time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls)


def _peak_mb() -> float:
    """The most that was resident, since it was last counted anew where the system can do that."""
    status = Path("/proc/self/status")
    if status.exists():
        said = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":" in line)
        return 1024 * float(said["VmHWM"].split()[0]) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
