"""Training: many networks of one shape on one stream, at once.

Every cell of a shard shares its seed, hence its initial weights and its batches; cells differ in γ and η alone. What is done
to one cell never depends on which others stand beside it, so that chunks, order and early dropping leave every bit as it was.
(Bit for bit where width × batch size is a multiple of 16, so that every cell's block in memory is aligned alike; else to the
last place.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from richness.measure import sharpness
from richness.networks import LOSSES
from richness.networks.parameterization import centred, dtype_for
from richness.runs.experiment import Experiment

BLOCK = 16  # steps whose batches are drawn together
LOOK = 20  # steps between two looks at which cells have diverged
PROBE_CELLS = (
    8  # cells whose sharpness is measured together: more no longer fit the processor's cache, and take twice as long
)


@dataclass
class Stack:
    """Networks in training: those still finite, with the columns of the results they belong to."""

    weights: list[Tensor]  # each (cells, fan_out, fan_in)
    gamma: Tensor  # (cells,)
    lr_raw: Tensor  # (cells,)
    column: Tensor  # (cells,) int64

    def keep(self, index: Tensor) -> Stack:
        return Stack([w[index] for w in self.weights], self.gamma[index], self.lr_raw[index], self.column[index])


@dataclass(frozen=True)
class History:
    """What training leaves behind, for C cells.

    Attributes:
        loss: float64 (steps + 1, C): row t is the loss at θ_t on the fresh batch t, after t updates. Rows after a divergence
            are NaN.
        diverged_at: int64 (C,): the first step whose loss was not finite, −1 where there is none.
        probes: name -> float64 (probed steps, C), NaN where diverged.
    """

    loss: np.ndarray
    diverged_at: np.ndarray
    probes: dict[str, np.ndarray]


class Trainer:
    """Online SGD on a stack of cells of one seed.

    Args:
        experiment: the shape, task, loss and number of steps; its grids are not used.
        seed: of the initial weights and the stream.
        cells: (γ, η) pairs, all of one dtype.
    """

    def __init__(self, experiment: Experiment, seed: int, cells: Sequence[tuple[float, float]]):
        dtypes = {dtype_for(gamma, experiment.dtype) for gamma, _ in cells}
        if len(dtypes) != 1:
            raise ValueError("cells of one shard must share a dtype: split them by parameterization.dtype_for")
        (self.dtype,) = dtypes
        self.experiment, self.seed, self.device = experiment, seed, experiment.device
        self.network, self.task, self.loss = experiment.architecture, experiment.source, LOSSES[experiment.loss]
        self.start = [w.to(self.device, self.dtype)[None] for w in self.network.initialise(seed)]
        count = len(cells)
        gamma, eta = torch.tensor(cells, dtype=torch.float64).T
        self.stack = Stack(
            weights=[w.repeat(count, 1, 1) for w in self.start],
            gamma=gamma.to(self.device, self.dtype),
            lr_raw=experiment.lr_raw(eta).to(self.device, self.dtype),
            column=torch.arange(count, device=self.device),
        )
        self._block: tuple[int, Tensor, Tensor] | None = None

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs (B, D) in the trainer's dtype, and labels or targets, of one step."""
        first = step - step % BLOCK
        if self._block is None or self._block[0] != first:
            x, y = self.task.batches(self.seed, range(first, first + BLOCK), self.experiment.batch_size, self.device)
            self._block = (first, x.to(self.dtype), y)
        return self._block[1][step - first], self._block[2][step - first]

    def outputs(self, stack: Stack, weights: list[Tensor], x: Tensor) -> Tensor:
        """The centred networks' outputs, (cells, batch, K)."""
        with torch.no_grad():
            at_start = self.network.forward(self.start, x)
        return centred(self.network.forward(weights, x), at_start, stack.gamma)

    def losses(self, stack: Stack, weights: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        """One loss a cell, (cells,)."""
        return self.loss(self.outputs(stack, weights, x), y)

    def update(self, step: int) -> Tensor:
        """One step of SGD for the whole stack; returns the losses before it, (cells,)."""
        stack, (x, y) = self.stack, self.batch(step)
        leaves = [w.requires_grad_() for w in stack.weights]
        losses = self.losses(stack, leaves, x, y)
        gradients = torch.autograd.grad(losses.sum(), leaves)
        with torch.no_grad():
            for weight, gradient in zip(stack.weights, gradients, strict=True):
                weight.requires_grad_(False).sub_(gradient.mul_(stack.lr_raw[:, None, None]))
        return losses.detach()

    def evaluate(self, step: int) -> Tensor:
        """The losses on a step's batch, without an update, (cells,)."""
        with torch.no_grad():
            return self.losses(self.stack, self.stack.weights, *self.batch(step))

    # Probes: each maps the stack to one number a cell.

    def probe(self, name: str) -> Tensor:
        return {"sharpness": self._sharpness, "accuracy": self._accuracy}[name]()

    def _sharpness(self) -> Tensor:
        """λ_max of the loss as trained, on the fixed probe set, in raw weights."""
        x, y = self.task.probe(self.experiment.probe_samples, self.device)
        x = x.to(self.dtype)
        index = torch.arange(len(self.stack.column), device=self.device)

        def measured(part: Tensor) -> Tensor:
            # A lone cell gets a twin: a batched product of one takes another path, whose last bits differ.
            stack = self.stack.keep(part if len(part) > 1 else part.repeat(2))
            return sharpness(lambda weights: self.losses(stack, weights, x, y), stack.weights)[: len(part)]

        return torch.cat([measured(part) for part in index.split(PROBE_CELLS)])

    def _accuracy(self) -> Tensor:
        """Share of the real held-out samples that the largest output names."""
        assert self.task.held_out is not None
        x, labels = self.task.held_out()
        x, labels = x.to(self.device, self.dtype), labels.to(self.device)
        with torch.no_grad():
            guesses = self.outputs(self.stack, self.stack.weights, x).argmax(dim=-1)
        return (guesses == labels).to(torch.float64).mean(dim=1)


def train(
    experiment: Experiment,
    seed: int,
    cells: Sequence[tuple[float, float]],
    tick: Callable[[int], None] | None = None,
) -> History:
    """Train cells of one seed and one dtype for ``experiment.steps`` updates.

    Args:
        cells: (γ, η) pairs.
        tick: called now and then with the number of cell·steps done since the last call.
    """
    trainer = Trainer(experiment, seed, cells)
    total, count = experiment.steps, len(cells)
    loss = torch.full((total + 1, count), torch.nan, dtype=torch.float64, device=trainer.device)
    finite = torch.ones(count, dtype=torch.bool, device=trainer.device)
    probed = {step: row for row, step in enumerate(experiment.probed_steps)}
    probes = {name: np.full((len(probed), count), np.nan) for name in experiment.kept_probes}

    for step in range(total + 1):
        if step in probed and len(trainer.stack.column):
            where = trainer.stack.column.cpu().numpy()
            for name, values in probes.items():
                values[probed[step], where] = trainer.probe(name).double().cpu().numpy()
        now = trainer.update(step) if step < total else trainer.evaluate(step)
        column = trainer.stack.column
        finite[column] &= torch.isfinite(now)
        loss[step, column] = torch.where(finite[column], now.double(), torch.nan)
        if (step + 1) % LOOK == 0:
            alive = finite[column]
            if not bool(alive.all()):
                trainer.stack = trainer.stack.keep(alive.nonzero()[:, 0])
            if tick:
                tick(LOOK * count)
            if not len(trainer.stack.column):
                break
    history = loss.cpu().numpy()
    steps = np.isfinite(history).sum(axis=0)
    diverged_at = np.where(steps <= total, steps, -1)
    for step, row in probed.items():
        gone = (diverged_at >= 0) & (diverged_at <= step)
        for values in probes.values():
            values[row, gone] = np.nan
    return History(history, diverged_at, probes)


def live(experiment: Experiment, stop: threading.Event | None = None) -> Iterator[dict]:
    """Train the first cell of an experiment and report as it goes.

    Args:
        experiment: its first γ, η and seed are trained.
        stop: set it to end the run early.

    Yields:
        At every recorded step ``{"step", "loss", "sharpness", "accuracy", "diverged"}``; a probe that was not asked for is
        None. At a divergence one last item with ``diverged`` True.
    """
    trainer = Trainer(experiment, experiment.seeds[0], [(experiment.gammas[0], experiment.etas[0])])
    recorded, probed = set(experiment.recorded_steps), set(experiment.probed_steps)
    for step in range(experiment.steps + 1):
        if stop is not None and stop.is_set():
            return
        report: dict = dict.fromkeys(("sharpness", "accuracy"))
        if step in probed:
            report |= {name: float(trainer.probe(name)) for name in experiment.kept_probes}
        loss = float(trainer.update(step) if step < experiment.steps else trainer.evaluate(step))
        diverged = not np.isfinite(loss)
        if step in recorded or diverged:
            yield {"step": step, "loss": loss, **report, "diverged": diverged}
        if diverged:
            return
