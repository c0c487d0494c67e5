"""One network in training that can be looked at and steered on its way: what the laboratory runs."""

from __future__ import annotations

import json
import math
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from richness.runs.engines import Stack, name_machine
from richness.runs.experiment import Experiment
from richness.runs.probes import PROBES
from richness.runs.shards import Shard, summary
from richness.runs.sweep import assemble
from richness.runs.training import History, Trainer


class Moment(NamedTuple):
    """A network as it was after ``step`` updates, to be measured whenever there is time."""

    step: int
    stack: Stack


class Samples(NamedTuple):
    """Some of a batch, as the network sees them before it learns from them.

    Inputs are float32 (n, D), normalised; labels and guesses classes, int64 (n,), or, where targets are real, the first
    component of target and output, float32 (n,).
    """

    inputs: np.ndarray
    labels: np.ndarray
    guesses: np.ndarray


@dataclass
class Record:
    """What is known of a live run.

    Attributes:
        losses: of row t, the loss at θ_t on the fresh batch t; finite ones only.
        etas: the η of each row's update. died: the step whose loss was not finite, or −1.
        gauges: step -> probe -> its values. cost: probe -> CPU seconds. seconds: (wall, CPU) of it all.
    """

    losses: list[float] = field(default_factory=list)
    etas: list[float] = field(default_factory=list)
    died: int = -1
    gauges: dict[int, dict[str, Any]] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    seconds: tuple[float, float] = (0.0, 0.0)


class Live:
    """The first cell of an experiment, trained a few steps at a time.

    Args:
        experiment: its first γ, η and seed are trained; its probes are the gauges.
        engine: as for :class:`~richness.runs.training.Trainer`.
    """

    def __init__(self, experiment: Experiment, engine: str = "auto"):
        self.experiment, self.eta, self.record = experiment, experiment.etas[0], Record()
        self._trainer = Trainer(experiment, experiment.seeds[0], [(experiment.gammas[0], self.eta)], engine)
        self._drawn: tuple[range, Tensor, Tensor] | None = None
        self._left: dict[str, Tensor] = {}  # by the last measurement for the next
        self._probed = experiment.probed_steps

    @property
    def step(self) -> int:
        """Updates done."""
        return min(len(self.record.losses), self.experiment.steps)

    @property
    def ended(self) -> bool:
        """Whether the loss after the last update is known, or the run has diverged."""
        return self.record.died >= 0 or len(self.record.losses) > self.experiment.steps

    def change(self, eta: float) -> None:
        """Another η from the next step on.

        Raises:
            ValueError: η is not positive and finite.
        """
        if not (0 < eta < math.inf):
            raise ValueError(f"eta must be positive and finite, got {eta}")
        self.eta = float(eta)
        self._trainer.change(self.eta)

    def advance(self, most: int) -> int:
        """Take up to ``most`` steps, no further than to the next one at which something is to be measured.

        The loss after the last update counts as a step.

        Returns:
            The number of losses that were added to the record.
        """
        if self.ended or most < 1:
            return 0
        begun = _clocks()
        first = len(self.record.losses)
        drawn, x, y = self._draw(first)
        later = bisect_right(self._probed, first)
        stops = [first + most, drawn.stop, self.experiment.steps + 1, *self._probed[later : later + 1]]
        steps = range(first, min(stops))
        part = slice(first - drawn.start, steps.stop - drawn.start)
        losses = self._trainer.advance(*self._trainer.block(steps, x[part], y[part]))[:, 0].tolist()
        dead = next((k for k, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if dead is not None:
            self.record.died = first + dead
        self.record.etas += [self.eta] * len(losses[:dead])
        self.record.losses += losses[:dead]
        self._spent(begun)
        return len(losses[:dead])

    def _draw(self, step: int) -> tuple[range, Tensor, Tensor]:
        """The batches around a step. Always in the same blocks, so that those who remember batches find them again."""
        if self._drawn is None or step not in self._drawn[0]:
            trainer, size = self._trainer, self._trainer.block_steps
            steps = range(step // size * size, (step // size + 1) * size)
            batches = trainer.task.batches(trainer.seed, steps, self.experiment.batch_size, trainer.device)
            self._drawn = (steps, *batches)
        return self._drawn

    def moment(self) -> Moment:
        """The network as it is now; later steps leave it as it was."""
        stack = self._trainer.stack
        return Moment(self.step, Stack([w.clone() for w in stack.weights], stack.gamma.clone()))

    def measure(self, moment: Moment, names: Sequence[str] | None = None) -> dict[str, Any]:
        """The experiment's probes, or those named: probe -> a number, or nested lists of them. Kept in the record."""
        begun, names = _clocks(), self.experiment.kept_probes if names is None else names
        found = self._trainer.measure(moment.stack, names, self._left)
        self._left |= found.left
        values = {name: found.values[name][0].tolist() for name in names}
        for name in names:
            self.record.cost[name] = self.record.cost.get(name, 0.0) + float(found.cost[name])
        self.record.gauges.setdefault(moment.step, {}).update(values)
        self._spent(begun)
        return values

    def _spent(self, begun: tuple[float, float]) -> None:
        now, before = _clocks(), self.record.seconds
        self.record.seconds = (before[0] + now[0] - begun[0], before[1] + now[1] - begun[1])

    def samples(self, count: int) -> Samples:
        """The first samples of the batch that comes next, and what the network makes of them now."""
        step = min(len(self.record.losses), self.experiment.steps)
        drawn, inputs, targets = self._draw(step)
        x, y = inputs[step - drawn.start, :count], targets[step - drawn.start, :count]
        stack = self._trainer.stack
        with torch.no_grad():
            f = self._trainer.outputs(stack, stack.weights, x.to(self._trainer.dtype))[0]
        classes = y.dtype == torch.int64
        labels, guesses = (y, f.argmax(dim=-1)) if classes else (y[:, 0].float(), f[:, 0].float())
        return Samples(*(part.cpu().numpy() for part in (x.float(), labels, guesses)))

    def dataset(self) -> xr.Dataset:
        """The run as :func:`richness.sweep` gives it.

        Where η was changed on the way the recipe does not describe the run: the attribute ``eta_changes``, JSON of
        [[step, η], …], says so.

        Raises:
            RuntimeError: the run has not ended.
        """
        record, experiment = self.record, self.experiment
        if not self.ended:
            raise RuntimeError(f"the run stands at step {self.step} of {experiment.steps}: wait until it has finished")
        loss = np.full((experiment.steps + 1, 1), np.nan)
        loss[: len(record.losses), 0] = record.losses
        probes = {name: self._measured(name) for name in experiment.kept_probes if record.gauges}
        cost = {name: np.array([record.cost.get(name, 0.0)]) for name in experiment.kept_probes}
        arrays = summary(experiment, History(loss, np.array([record.died]), probes, cost))
        arrays |= {"seconds": np.array(record.seconds), "device": np.array(name_machine(experiment))}
        runs = assemble(
            experiment, [(Shard(experiment.seeds[0], ((experiment.gammas[0], experiment.etas[0]),)), arrays)]
        )
        changes = eta_changes([experiment.etas[0], *record.etas])
        return runs.assign_attrs(eta_changes=json.dumps(changes)) if changes else runs

    def _measured(self, name: str) -> np.ndarray:
        """One probe at the probed steps, (probed steps, ..., 1), NaN where it was not measured."""
        gauges = self.record.gauges
        known = [np.array(gauges[step][name]) for step in self._probed if step in gauges]
        blank = np.full(known[0].shape, np.nan)
        rows = [np.array(gauges[step][name]) if step in gauges else blank for step in self._probed]
        return np.stack(rows)[..., None]


def _clocks() -> tuple[float, float]:
    """Wall and this thread's CPU seconds: a notebook may be busy in another."""
    return time.perf_counter(), time.thread_time()


def eta_changes(etas: Sequence[float]) -> list[tuple[int, float]]:
    """(step, η) of every step whose η is another than the one before; of η as it was asked for, then at every step."""
    return [(step, after) for step, (before, after) in enumerate(pairwise(etas)) if after != before]


def live(experiment: Experiment, stop: threading.Event | None = None) -> Iterator[dict]:
    """Train the first cell of an experiment and report as it goes.

    Args:
        experiment: its first γ, η and seed are trained.
        stop: set it to end the run early.

    Yields:
        At every recorded step ``{"step", "loss", "sharpness", "accuracy", "diverged"}`` and the other probes that were asked
        for and give one number; None where a probe was not taken. At a divergence one last item with ``diverged`` True.
    """
    run, recorded, probed = Live(experiment), set(experiment.recorded_steps), set(experiment.probed_steps)
    names = [name for name in experiment.kept_probes if not PROBES[name].dims]
    blank: dict[str, Any] = dict.fromkeys(("sharpness", "accuracy", *names))
    while not run.ended:
        first = len(run.record.losses)
        measured = run.measure(run.moment(), names) if first in probed else {}
        count = run.advance(experiment.steps + 1)
        for step in range(first, first + count):
            if stop is not None and stop.is_set():
                return
            if step in recorded:
                here = measured if step == first else {}
                yield {"step": step, "loss": run.record.losses[step], **blank, **here, "diverged": False}
    if run.record.died >= 0:
        yield {"step": run.record.died, "loss": math.nan, **blank, "diverged": True}
