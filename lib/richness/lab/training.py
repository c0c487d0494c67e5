"""One training of the laboratory: what was asked for, how far it is, and what is still to be measured."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass, field

import xarray as xr

from richness.runs.experiment import Experiment
from richness.runs.live import Live, Moment

UNDER_WAY = ("loading", "training", "paused")  # states of a training that can still be steered


@dataclass
class Training:
    """One training, and what was told of it.

    Attributes:
        eta: from the next step on. allowance: updates that may be taken before it pauses.
        state: loading (not yet begun), training, paused, finished, diverged, stopped or error, with a sentence in
            ``message``.
        told: losses reported so far. pending: moments still to be measured. done: set when there is nothing left to do.
    """

    number: int
    experiment: Experiment
    eta: float
    allowance: float = math.inf
    state: str = "loading"
    message: str = ""
    live: Live | None = None
    told: int = 0
    pending: deque[Moment] = field(default_factory=deque)
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def under_way(self) -> bool:
        """Whether it can still be steered."""
        return self.state in UNDER_WAY

    @property
    def step(self) -> int:
        """Updates done; the step at which it diverged, where it did."""
        if self.live is None:
            return 0
        return self.live.record.died if self.live.record.died >= 0 else self.live.step

    def allow(self, most: int) -> int:
        """How many updates may be taken now, ``most`` at most; they are taken off the allowance."""
        assert self.live is not None
        count = 0 if self.live.ended else int(min(self.allowance, most))
        self.allowance -= count  # infinite stays infinite
        return count

    def advance(self, count: int) -> None:
        """So many updates; the loss after the last of a run belongs to it. Moments to be measured are put aside."""
        live, last = self.live, self.experiment.steps
        assert live is not None
        until = min(live.step + count, last)
        probed = set(self.experiment.probed_steps)
        while not live.ended and (live.step < until or until == last):
            if live.step in probed:
                self.put_aside()
            live.advance(max(1, until - live.step))

    def put_aside(self) -> None:
        """The network as it is now, to be measured, unless it was."""
        live = self.live
        assert live is not None
        if live.step not in live.record.gauges and all(moment.step != live.step for moment in self.pending):
            self.pending.append(live.moment())

    def forget_after_divergence(self) -> None:
        """Where it has diverged there is nothing to measure."""
        assert self.live is not None
        died = self.live.record.died
        self.pending = deque(moment for moment in self.pending if died < 0 or moment.step < died)

    def result(self) -> xr.Dataset:
        """A training that ended, as :func:`richness.sweep` gives it; waits for its last measurements.

        Raises:
            RuntimeError: it has not ended.
        """
        if self.live is None or not self.live.ended:
            raise RuntimeError(f"the run is {self.state} at step {self.step}: wait until it has finished")
        self.done.wait()
        while self.pending:  # another run came before they were made
            self.live.measure(self.pending.popleft())
        return self.live.dataset()
