"""Contenders: programs in processes of their own, compared first, then timed in turns."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

Program = Callable[..., np.ndarray]


class Disagreement(ValueError):
    """Two contenders gave different results, so their times cannot be compared."""


@dataclass(frozen=True)
class Lap:
    """One timed call: seconds on the clock, and seconds of processor, those of the contender's own workers included."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Record:
    """What is known of one contender after a race."""

    result: np.ndarray
    laps: list[Lap]
    prepared: float  # seconds on the clock to import, convert and compile
    processes: int  # that worked
    threads: int  # of torch in each
    idle_mb: float  # resident before the program first ran, of all its processes together
    peak_mb: float  # the same at its peak

    @property
    def wall(self) -> float:
        """The shortest time: what disturbs a measurement only ever lengthens it."""
        return min(lap.wall for lap in self.laps)

    @property
    def cpu(self) -> float:
        return min(lap.cpu for lap in self.laps)


class Contender:
    """A program in a fresh process.

    Args:
        module: whose ``prepare(*arguments)`` returns the program; what that does (imports, conversions, compilation) is not
            part of any lap.
        threads: for torch's operations in that process. (JAX takes what it likes.)

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
        workers, peak = self._do(_processes), self._do(_peak_mb)
        return Record(result, laps, self.prepared, workers, self.threads, self.idle_mb, peak)

    def close(self) -> None:
        """Ends the process and its workers."""
        with contextlib.suppress(BrokenProcessPool):
            self._do(_end)
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


def spread(ratios: list[float]) -> tuple[float, tuple[float, float]]:
    """Median, and the smallest and largest, of one ratio a turn."""
    return statistics.median(ratios), (min(ratios), max(ratios))


# In the contender's process. ------------------------------------------------------------------------------------------

_program: Program | None = None


def _prepare(module: str, arguments: tuple[Any, ...], threads: int) -> float:
    global _program
    code = importlib.import_module(module)
    if "torch" in vars(code):
        code.torch.set_num_threads(threads)
    _program = code.prepare(*arguments)
    for process in _family():
        # Linux: the high-water mark starts anew from what is resident now.
        reset = Path(f"/proc/{process.pid}/clear_refs")
        if os.access(reset, os.W_OK):
            reset.write_text("5")
    return sum(process.memory_info().rss for process in _family()) / 1e6


def _result(arguments: tuple[Any, ...]) -> np.ndarray:
    assert _program is not None
    return _program(*arguments)


def _lap(arguments: tuple[Any, ...], calls: int) -> Lap:
    assert _program is not None
    wall, cpu = time.perf_counter(), _cpu_seconds()
    for _ in range(calls):
        _program(*arguments)
    return Lap((time.perf_counter() - wall) / calls, (_cpu_seconds() - cpu) / calls)


def _end() -> None:
    """Closes a program that has workers: a process whose own are still there would wait for them."""
    getattr(_program, "close", lambda: None)()


def _workers() -> list[psutil.Process]:
    return [psutil.Process(child.pid) for child in multiprocessing.active_children()]


def _family() -> list[psutil.Process]:
    return [psutil.Process(), *_workers()]


def _processes() -> int:
    return len(_workers()) or 1


def _cpu_seconds() -> float:
    return time.process_time() + sum(sum(worker.cpu_times()[:2]) for worker in _workers())


def _peak_mb() -> float:
    return sum(map(_peak, _family())) / 1e6


def _peak(process: psutil.Process) -> float:
    """The most that was ever resident, in bytes; where the system does not say, what is now."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024.0 * float(line.split()[1])
    return float(process.memory_info().rss)
