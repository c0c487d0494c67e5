"""One thread that trains what was asked for last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from richness.runs.experiment import Experiment
from richness.runs.training import live

FRAME = 1 / 15  # seconds between two messages to the reader's screen, at least

Live = Callable[[Experiment, threading.Event], Iterator[dict]]


@dataclass
class Run:
    """One training: its recipe, what was recorded so far, and how it stands.

    ``state`` is starting, training, finished, diverged, stopped or error; ``message`` is the error's sentence.
    """

    number: int
    experiment: Experiment
    stop: threading.Event = field(default_factory=threading.Event)
    step: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    state: str = "starting"
    message: str = ""
    died: int = -1

    @property
    def gamma(self) -> float:
        return self.experiment.gammas[0]

    @property
    def eta(self) -> float:
        return self.experiment.etas[0]

    def record(self, row: dict) -> None:
        """Take one item of ``live``."""
        if row["diverged"]:
            self.state, self.died = "diverged", int(row["step"])
            return
        self.state = "training"
        self.step.append(row["step"])
        self.loss.append(row["loss"])
        self.sharpness.append(float("nan") if row["sharpness"] is None else row["sharpness"])


class Trainer:
    """Trains in the background; a new request ends the old run at its next step, and only the latest is ever shown.

    Args:
        show: called from the thread with the run, at most once a ``FRAME`` and always at its end.
        live: trains one cell and yields what it records (see :func:`richness.runs.training.live`).
        frame: least seconds between two calls of ``show`` in one run.
    """

    def __init__(self, show: Callable[[Run], None], live: Live = live, frame: float = FRAME):
        self._show, self._live, self._frame = show, live, frame
        self._wake = threading.Condition()
        self._next: Run | None = None
        self._latest: Run | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self, experiment: Experiment) -> Run:
        """Ask for a run; whatever was asked for before is stopped or dropped.

        Raises:
            RuntimeError: the trainer was closed.
        """
        with self._wake:
            if self._closed:
                raise RuntimeError("this laboratory is closed: make a new one with richness.Lab(...)")
            number = self._latest.number + 1 if self._latest else 1
            if self._latest:
                self._latest.stop.set()
            self._latest = self._next = Run(number, experiment)
            # A thread that only sleeps between runs: rapid moves of a slider never pile threads up.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="richness-lab", daemon=True)
                self._thread.start()
            self._wake.notify()
            return self._latest

    def close(self, timeout: float = 5.0) -> None:
        """Stop the run and the thread; wait for it up to ``timeout`` seconds."""
        with self._wake:
            self._closed = True
            if self._latest:
                self._latest.stop.set()
            self._wake.notify()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._next is not None)
                if self._closed:
                    return
                run, self._next = self._next, None
            if run is not None:
                self._train(run)

    def _train(self, run: Run) -> None:
        shown = 0.0
        try:
            for row in self._live(run.experiment, run.stop):
                if run.stop.is_set():
                    break
                run.record(row)
                if time.monotonic() - shown >= self._frame:
                    shown = time.monotonic()
                    self._show(run)
            if run.state != "diverged":
                run.state = "stopped" if run.stop.is_set() else "finished"
        except Exception as error:  # whatever went wrong is the reader's to know, not the thread's to swallow
            run.state, run.message = "error", f"{type(error).__name__}: {error}"
        if not run.stop.is_set():
            self._show(run)
