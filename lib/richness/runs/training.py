"""Training: many networks of one shape on one stream, at once.

Every cell of a shard shares its seed, hence its initial weights and its batches; cells differ in γ and η alone. Time goes in
blocks of steps: a block's batches are drawn once, then each piece of the cells takes all of its steps while its weights lie in
cache. What is done to one cell never depends on which others stand beside it, so that chunks, order and early dropping leave
every bit as it was. (With the compiled engine always; with those in torch where width × batch size is a multiple of 16, so that
every cell's block in memory is aligned alike, and else to the last place.)
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from richness.networks import OPTIMIZERS
from richness.networks.optimizers import schedule
from richness.networks.parameterization import centre_output, dtype_for
from richness.runs.engines import Block, Engine, Stack, engine_for
from richness.runs.experiment import Experiment
from richness.runs.probes import PROBES, Setting, Snapshot, take_probe
from richness.runs.snapshots import Snapshots, State

BLOCK_BYTES = 2**21  # of inputs drawn together: they must stay in cache beside the weights
BLOCK_STEPS = 32  # and at most so many steps: what a block needs is memory beside the networks
DEVICE_BLOCK_BYTES, DEVICE_BLOCK_STEPS = 2**28, 256  # an accelerator's: there each draw costs launches, not cache
DEVICE_SHARE = 0.6  # of an accelerator's free memory that one piece may take
PROBE_CELLS = 4  # cells measured together: a stack waits for the one of them that converges last
DEVICE_PROBE_CELLS = 64  # on an accelerator, which four would starve
PROBE_BYTES = 2**30  # that they may take, about


@dataclass(frozen=True)
class History:
    """What training leaves behind, for C cells.

    Attributes:
        loss: float64 (steps + 1, C): row t is the loss at θ_t on the fresh batch t, after t updates. Rows after a divergence
            are NaN.
        diverged_at: int64 (C,): the first step whose loss was not finite, −1 where there is none.
        probes: name -> float64 (probed steps, ..., C), NaN where diverged; between them the axes of the probe's ``dims``.
        probe_seconds: name -> float64 (C,): what the probe cost, in CPU seconds of each cell.
    """

    loss: np.ndarray
    diverged_at: np.ndarray
    probes: dict[str, np.ndarray]
    probe_seconds: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Piece:
    """Networks that step together, and the columns of the results that they belong to."""

    engine: Engine
    column: np.ndarray  # (cells,) int64
    left: dict[str, Tensor] = field(default_factory=dict)  # by probes for those at a later step, (cells, ...) each

    def keep(self, alive: np.ndarray) -> None:
        index = torch.from_numpy(alive.nonzero()[0]).to(self.engine.weights[0].device)
        self.engine.keep(index)
        self.column = self.column[alive]
        self.left = {name: values[index] for name, values in self.left.items()}


class Measured(NamedTuple):
    """Probes of a few networks at one moment, by name: their ``values``, float64 (cells, ...), their ``cost``, CPU seconds
    (cells,), and what is ``left`` for probes at a later moment, (cells, ...)."""

    values: dict[str, Tensor]
    cost: dict[str, Tensor]
    left: dict[str, Tensor]

    def keep(self, index: Tensor | slice) -> Measured:
        """Of the networks at ``index`` only."""
        return Measured(*({name: one[index] for name, one in part.items()} for part in self))


class Trainer:
    """Online training of a stack of cells of one seed.

    Args:
        experiment: the shape, task, loss, optimiser and number of steps; its grids are not used.
        seed: of the initial weights and the stream.
        cells: (γ, η) pairs, all of one dtype.
        engine: a key of ``ENGINES``, or ``auto`` for the fastest that knows the network.
        pool: where pieces are stepped at the same time; in this thread if None.

    Raises:
        ValueError: cells of two dtypes, or with a γ or η that is not positive, or an engine that does not know the network.
    """

    def __init__(
        self,
        experiment: Experiment,
        seed: int,
        cells: Sequence[tuple[float, float]],
        engine: str = "auto",
        pool: Executor | None = None,
    ):
        if not all(0 < value < math.inf for cell in cells for value in cell):
            raise ValueError(f"cells: expected pairs of a positive γ and a positive η, got {list(cells)}")
        dtypes = {dtype_for(gamma, experiment.dtype) for gamma, _ in cells}
        if len(dtypes) != 1:
            raise ValueError("cells of one shard must share a dtype: split them by parameterization.dtype_for")
        (self.dtype,) = dtypes
        self.experiment, self.seed, self.device = experiment, seed, experiment.device
        self.network, self.task = experiment.architecture, experiment.source
        if self.device.startswith("cuda"):  # else convolutions keep 10 of float32's 23 bits: f̃ − f̃₀ has none to lose
            torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
        self.start = [w.to(self.device, self.dtype)[None] for w in self.network.initialise(seed)]
        self.setting = Setting(
            self.network, self.task, experiment.loss, self.start, experiment.probe_samples, self.device, self.dtype
        )
        self.factor = schedule(experiment.schedule, experiment.warmup, experiment.steps)
        self._kind, self._map = engine_for(experiment, engine), pool.map if pool else map
        gamma, eta = torch.tensor(cells, dtype=torch.float64).T.contiguous()
        threads = getattr(pool, "_max_workers", 1)
        bounds = _bounds(len(cells), self._largest_piece(), threads)
        self.pieces = [
            Piece(self._kind(experiment, self.start, gamma[a:b].clone(), eta[a:b].clone()), np.arange(a, b))
            for a, b in pairwise(bounds)
        ]

    def _largest_piece(self) -> int:
        if not self.device.startswith("cuda"):
            return self._kind.TOGETHER
        free, _ = torch.cuda.mem_get_info(self.device)
        return max(2, int(DEVICE_SHARE * free / cell_bytes(self.experiment, self.dtype)))

    @property
    def column(self) -> np.ndarray:
        """The columns of the cells still in training."""
        return np.concatenate([piece.column for piece in self.pieces])

    @property
    def stack(self) -> Stack:
        """All networks still in training, as they are now."""
        stacks = [piece.engine.stack for piece in self.pieces]
        if len(stacks) == 1:
            return stacks[0]
        layers = zip(*[s.weights for s in stacks], strict=True)
        return Stack([torch.cat(layer) for layer in layers], torch.cat([s.gamma for s in stacks]))

    def blocks(self, first: int = 0, stops: Sequence[int] = ()) -> list[range]:
        """The steps from the first to T in blocks, cut before every step at which something is measured, and at these stops."""
        steps, each = self.experiment.steps, self.block_steps
        cuts = {*range(0, steps + 1, each), steps + 1, first, *stops}
        if self.experiment.kept_probes:
            cuts |= set(self.experiment.probed_steps)
        return [range(a, b) for a, b in pairwise(sorted(cuts)) if a >= first]

    @property
    def block_steps(self) -> int:
        """How many steps' batches are drawn together."""
        bytes_a_step = self.experiment.batch_size * self.network.inputs * self.dtype.itemsize
        on_cpu = self.device == "cpu"
        most, room = (BLOCK_STEPS, BLOCK_BYTES) if on_cpu else (DEVICE_BLOCK_STEPS, DEVICE_BLOCK_BYTES)
        return max(1, min(most, room // bytes_a_step))

    def draw(self, steps: range) -> tuple[Block, Any]:
        """The data of some steps, and what the engine needs of them."""
        return self.block(steps, *self.task.batches(self.seed, steps, self.experiment.batch_size, self.device))

    def block(self, steps: range, x: Tensor, y: Tensor) -> tuple[Block, Any]:
        """What the engine needs of batches, inputs (steps, B, D) and labels or targets, that were drawn for some steps."""
        last = min(steps.stop, self.experiment.steps)
        factor = self.factor[steps.start : last]
        block = Block(x.to(self.dtype), y, factor, steps.start, len(factor), self.network.outputs)
        return block, self._kind.prepare(self.experiment, self.start, block)

    def start_on(self, block: Block, prepared: Any) -> Iterator[Tensor]:
        """Set the pieces going on a block's steps: each one's losses, float64 (steps, its cells), in order."""
        return iter(self._map(lambda piece: piece.engine.advance(block, prepared), self.pieces))

    def advance(self, block: Block, prepared: Any) -> Tensor:
        """Take a block's steps; the losses before each, float64 (steps, cells in training)."""
        return torch.cat(list(self.start_on(block, prepared)), dim=1)

    def change(self, eta: float) -> None:
        """Another η for every cell, from the next step on."""
        for piece in self.pieces:
            piece.engine.eta.fill_(eta)

    @property
    def state(self) -> State:
        """All that later steps of the cells in training depend on, one tensor (cells, ...) each, and their ``column``."""
        each = [
            {
                f"{part} {layer}": one
                for part, layers in enumerate(piece.engine.layers)
                for layer, one in enumerate(layers)
            }
            | {f"left {name}": values for name, values in piece.left.items()}
            | {"column": torch.from_numpy(piece.column)}
            for piece in self.pieces
        ]
        return {key: torch.cat([one[key] for one in each]).detach().cpu() for key in each[0]}

    def restore(self, state: State) -> None:
        """Go on from a state of the same cells, before any step is taken."""
        left = {key.removeprefix("left "): values for key, values in state.items() if key.startswith("left ")}
        for piece in self.pieces:
            rows = piece.column
            for part, layers in enumerate(piece.engine.layers):
                for layer, one in enumerate(layers):
                    one.copy_(state[f"{part} {layer}"][rows])
            piece.left = {name: values[rows].to(self.device) for name, values in left.items()}
            piece.column = state["column"].numpy()[rows]

    def keep(self, alive: np.ndarray) -> None:
        """Drop the cells, of those in training, that are not ``alive``."""
        parts = np.split(alive, np.cumsum([len(piece.column) for piece in self.pieces])[:-1])
        for piece, part in zip(self.pieces, parts, strict=True):
            if not part.all():
                piece.keep(part)
        self.pieces = [piece for piece in self.pieces if len(piece.column)]

    # One step at a time, for those who want to look in between.

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs (B, D) in the trainer's dtype, and labels or targets, of one step."""
        x, y = self.task.batch(self.seed, step, self.experiment.batch_size, self.device)
        return x.to(self.dtype), y

    def update(self, step: int) -> Tensor:
        """One step for the whole stack; returns the losses before it, float64 (cells,)."""
        return self.advance(*self.draw(range(step, step + 1)))[0]

    def outputs(self, stack: Stack, weights: list[Tensor], x: Tensor) -> Tensor:
        """The centred networks' outputs, (cells, batch, K)."""
        return centre_output(self.network.forward(weights, x), self.setting.raw_at_start(x), stack.gamma)

    def probe(self, name: str) -> Tensor:
        """A measurement of every cell in training, float64 (cells, ...)."""
        return self.probe_all([name]).values[name]

    def probe_all(self, names: Sequence[str], at_start: bool = False) -> Measured:
        """Measurements of every cell in training.

        What two probes share, such as the kernel, is on the bill of the first.

        Args:
            at_start: no step has been taken: cells of one γ are one network, which is measured once.
        """
        if at_start:
            gamma, same = torch.cat([piece.engine.stack.gamma for piece in self.pieces]).unique(return_inverse=True)
            start = Stack([w.expand(len(gamma), *w.shape[1:]) for w in self.start], gamma)
            found = self._measure_all([(start, {})], names).keep(same)
            shared = {name: cost / same.bincount()[same] for name, cost in found.cost.items()}
            found = found._replace(cost=shared)
        else:
            found = self._measure_all([(piece.engine.stack, piece.left) for piece in self.pieces], names)
        ends = np.cumsum([len(piece.column) for piece in self.pieces])
        for piece, end in zip(self.pieces, ends.tolist(), strict=True):
            piece.left = found.keep(slice(end - len(piece.column), end)).left
        return found

    def _measure_all(self, stacks: Sequence[tuple[Stack, dict[str, Tensor]]], names: Sequence[str]) -> Measured:
        """Stacks with what earlier probes left of them, measured in parts, side by side where there are threads."""
        bytes_a_cell = 4 * self.network.units * self.experiment.probe_samples * self.dtype.itemsize
        most = PROBE_CELLS if self.device == "cpu" else DEVICE_PROBE_CELLS
        together = max(1, min(most, PROBE_BYTES // bytes_a_cell))
        parts = [
            (stack.keep(cut), {name: values[cut] for name, values in left.items()})
            for stack, left in stacks
            for cut in _cuts(len(stack), together)
        ]
        measured = list(self._map(lambda part: self.measure(part[0], names, part[1]), parts))
        fields = zip(*measured, strict=True)
        return Measured(*({name: torch.cat([one[name] for one in parts]) for name in parts[0]} for parts in fields))

    def measure(self, part: Stack, names: Sequence[str], earlier: dict[str, Tensor] | None = None) -> Measured:
        """Measurements of a few networks at one moment; ``earlier``: what those of the same at an earlier one left."""
        now = Snapshot(self.setting, part.weights, part.gamma, earlier or {})
        # A lone cell gets a twin: a batched product of one takes another path, whose last bits differ.
        twins = now if len(part) > 1 else now.keep(torch.zeros(2, dtype=torch.int64, device=self.device))
        found = Measured({}, {}, {})
        clock = time.thread_time if self.device == "cpu" else time.perf_counter
        for name in names:
            begun = clock()
            seen = now if PROBES[name].apart and self.setting.compiled else twins
            found.values[name] = take_probe(name, seen)[: len(part)]
            found.cost[name] = torch.full((len(part),), (clock() - begun) / len(part), dtype=torch.float64)
        found.left.update({name: values[: len(part)] for name, values in (twins.left | now.left).items()})
        return found


def cell_bytes(experiment: Experiment, dtype: torch.dtype) -> int:
    """Memory that one network takes while it trains: weights, the optimiser's memory, a gradient, activations and their δ."""
    network = experiment.architecture
    weights = sum(math.prod(shape) for shape in network.shapes)
    activations = experiment.batch_size * network.units
    memories = OPTIMIZERS[experiment.optimizer].memories
    return dtype.itemsize * (weights * (2 + memories) + 3 * activations)


def _bounds(count: int, largest: int, threads: int = 1) -> list[int]:
    """Where to cut ``count`` cells into equal pieces of at most so many, as many for each thread."""
    rounds = max(1, -(-count // (largest * threads)))
    pieces = min(count, rounds * threads)
    return [round(k * count / pieces) for k in range(pieces + 1)]


def _cuts(count: int, largest: int) -> list[slice]:
    return [slice(a, b) for a, b in pairwise(_bounds(count, largest)) if b > a]


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _pool(threads: int) -> Iterator[Executor | None]:
    """Threads that step pieces side by side, each with one thread of torch's own; None where one is enough."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if threads == 1:
            yield None
            return
        with ThreadPoolExecutor(threads, thread_name_prefix="richness-train") as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def train(
    experiment: Experiment,
    seed: int,
    cells: Sequence[tuple[float, float]],
    tick: Callable[[int], None] | None = None,
    *,
    threads: int = 1,
    engine: str = "auto",
    snapshots: Snapshots | None = None,
) -> History:
    """Train cells of one seed and one dtype for ``experiment.steps`` updates.

    Args:
        cells: (γ, η) pairs.
        tick: called now and then with the number of cell·steps done since the last call.
        threads: cores to use; the results do not depend on it.
        engine: see :mod:`richness.runs.engines`.
        snapshots: where weights are kept, from the last of which these cells go on if they were broken off.
    """
    state = snapshots.read_state(seed, cells) if snapshots else None
    going = cells if state is None else [cells[k] for k in state["column"].tolist()]
    with _pool(threads) as pool:
        return _train(Trainer(experiment, seed, going, engine, pool), cells, tick, snapshots, state)


def _train(
    trainer: Trainer,
    cells: Sequence[tuple[float, float]],
    tick: Callable[[int], None] | None,
    snapshots: Snapshots | None,
    state: State | None,
) -> History:
    experiment, count = trainer.experiment, len(cells)
    probed, names = {step: row for row, step in enumerate(experiment.probed_steps)}, experiment.kept_probes
    known, first, stops = _Known.none(experiment, count), 0, snapshots.steps if snapshots else ()
    if state is not None:
        trainer.restore(state)
        first = known.restore(state)
        if tick:
            tick(first * count)
    blocks = trainer.blocks(first, stops)

    ahead: tuple[Block, Any] | None = None
    for steps, following in zip(blocks, [*blocks[1:], None], strict=True):
        block, prepared = ahead or trainer.draw(steps)
        if snapshots and steps.start in stops:
            snapshots.keep(experiment, steps.start, trainer.seed, cells, trainer.column, trainer.stack.weights)
            snapshots.write_state(trainer.seed, cells, trainer.state | known.state(steps.start))
        if steps.start in probed:
            found = trainer.probe_all(names, at_start=steps.start == 0)
            for name in names:
                values, cost = found.values[name].numpy(), found.cost[name].numpy()
                _enter(known.probes, name, values, probed[steps.start], trainer.column, (len(probed), count))
                known.seconds[name][trainer.column] += cost
        going = trainer.start_on(block, prepared)
        # Drawn here while the pool's threads step: what they allocate for good is then only what steps need.
        ahead = trainer.draw(following) if following else None
        now = torch.cat(list(going), dim=1).cpu().numpy()
        finite = np.logical_and.accumulate(np.isfinite(now), axis=0)
        known.loss[steps.start : steps.stop, trainer.column] = np.where(finite, now, np.nan)
        if tick:
            tick(block.updates * count)
        if not finite[-1].all():
            trainer.keep(finite[-1])
        if not trainer.pieces:
            break
    if snapshots:  # those that no network has lived to see say so
        nothing, none = np.empty(0, dtype=np.int64), [w[:0] for w in trainer.start]
        for step in [step for step in stops if step >= steps.stop]:
            snapshots.keep(experiment, step, trainer.seed, cells, nothing, none)
    finite_steps = np.isfinite(known.loss).sum(axis=0)
    diverged_at = np.where(finite_steps <= experiment.steps, finite_steps, -1)
    return History(known.loss, diverged_at, known.probes, known.seconds)


@dataclass
class _Known:
    """What is known of the cells so far, as in :class:`History`."""

    loss: np.ndarray
    probes: dict[str, np.ndarray]
    seconds: dict[str, np.ndarray]

    @classmethod
    def none(cls, experiment: Experiment, count: int) -> _Known:
        loss = np.full((experiment.steps + 1, count), np.nan)
        return cls(loss, {}, {name: np.zeros(count) for name in experiment.kept_probes})

    def state(self, step: int) -> State:
        """To be kept before a step is taken."""
        arrays = {"step": np.array(step), "loss": self.loss[:step]}
        arrays |= {f"probe {name}": values for name, values in self.probes.items()}
        arrays |= {f"seconds {name}": values for name, values in self.seconds.items()}
        return {key: torch.from_numpy(values) for key, values in arrays.items()}

    def restore(self, state: State) -> int:
        """What was known before a step, which is returned."""
        step = int(state["step"])
        self.loss[:step] = state["loss"].numpy()
        for key, values in state.items():
            kind, _, name = key.partition(" ")
            if kind in ("probe", "seconds"):
                {"probe": self.probes, "seconds": self.seconds}[kind][name] = values.numpy().copy()
        return step


def _enter(
    probes: dict[str, np.ndarray], name: str, values: np.ndarray, row: int, column: np.ndarray, shape: tuple[int, int]
) -> None:
    """Values (cells, ...) of one probed step into the probe's array (probed steps, ..., all cells)."""
    steps, cells = shape
    whole = probes.setdefault(name, np.full((steps, *values.shape[1:], cells), np.nan))
    if whole.shape[1:-1] != values.shape[1:]:
        raise ValueError(
            f"probe {name!r} returned {values.shape[1:]} values a network after {whole.shape[1:-1]} at step 0: "
            "their number must not change in training"
        )
    whole[row][..., column] = np.moveaxis(values, 0, -1)
