"""How far a run has come: what a progress callback is told, how long the rest will take, and the bar."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm.auto import tqdm

PATIENCE = 1.0  # seconds before a bar that nobody asked for is drawn


@dataclass
class Progress:
    """What a progress callback is told, as a sweep goes on."""

    total: int  # cell·steps in all
    all_cells: int
    done: int = 0  # cell·steps finished
    kept: int = 0  # of these, found in the store
    cells: int = 0  # cells finished
    diverged: int = 0  # of these
    started: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> float:
        """cell·steps trained a second, from the start until now."""
        return (self.done - self.kept) / max(time.monotonic() - self.started, 1e-9)

    @property
    def left(self) -> float:
        """Seconds left at that rate; infinite until something was trained."""
        return (self.total - self.done) / self.rate if self.done > self.kept else math.inf

    def __str__(self) -> str:
        counted = f"{self.cells} of {self.all_cells} cells done, {self.diverged} diverged"
        if self.done == self.kept or self.done == self.total:
            return counted
        return f"{counted}, {self.rate:,.0f} cell·steps/s, {duration(self.left)} left"


def duration(seconds: float) -> str:
    """Two units at most, as a person would say it: 40 s, 7 min, 3 h 20 min."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return (
        f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min" if hours < 100 else f"{hours} h"
    )


class SeedsDone(Progress):
    """A measurement's progress: it is counted in seeds."""

    def __str__(self) -> str:
        return f"{self.done} of {self.total} seeds done"


def teller(progress: Callable[[Progress], None] | bool | None) -> Callable[[Progress], None] | None:
    """Who is told: the callback itself; a bar for True, and for None where someone is looking; nobody for False."""
    if callable(progress):
        return progress
    if progress is None:
        return progress_bar(delay=PATIENCE) if someone_looks() else None
    if not isinstance(progress, bool):
        raise TypeError(f"progress: expected a function of a Progress, True, False or None, got {progress!r}")
    return progress_bar() if progress else None


def someone_looks() -> bool:
    """Whether stderr is a terminal, or this runs in a notebook that a reader has open (no build, no rerun)."""
    if os.environ.get("RICHNESS_BOOK") == "1":
        return False
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel") or (sys.stderr is not None and sys.stderr.isatty())


def progress_bar(name: str = "", delay: float = 0.0) -> Callable[[Progress], None]:
    """A bar of cell·steps for a terminal or a notebook, to be given to :func:`sweep`; drawn after ``delay`` seconds."""
    bar = tqdm(desc=name or None, unit=" cell-steps", unit_scale=True, smoothing=0, delay=delay)

    def draw(state: Progress) -> None:
        bar.total, bar.initial = state.total, state.kept
        bar.set_postfix_str(f"{state.cells} of {state.all_cells} cells, {state.diverged} diverged", refresh=False)
        bar.update(state.done - bar.n)
        if state.done >= state.total:
            bar.close()

    return draw
