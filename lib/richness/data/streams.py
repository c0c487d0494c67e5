"""The tasks: named streams of fresh samples, random-access in (seed, step), on any device.

A stream's inputs are made in float32 and cast afterwards, so that a float32 and a float64 network see the same data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from richness import rng
from richness.data import digits, files, photos, text
from richness.registry import Registry

Draw = Callable[[int, range, int, str, str], tuple[Tensor, Tensor]]
TEST_SAMPLES = 2048  # fresh ones on which accuracy is measured where a task holds no real ones back
UNSEEN_SAMPLES = 8_192  # fresh ones on which it is measured more closely


@dataclass(frozen=True)
class Task:
    """A source of labelled samples without end.

    Attributes:
        name: as in ``Experiment(task=...)``.
        inputs: number of input features, D.
        outputs: number of outputs, K (classes or target components).
        classification: True: labels are int64 classes; False: float32 targets of shape (*, K).
        draw: (seed, steps, batch size, stream name, device) -> inputs (steps, B, D) and labels (steps, B) or targets
            (steps, B, K).
        held_out: real samples that never enter the stream: inputs (M, D), labels (M,); None where fresh samples serve.
        about: one sentence for captions.
        draw_unseen: as ``draw``, from originals that never enter the stream, where it is made of originals.
        bring: fetches the files that it is read from, and says where they lie; None where there are none.
        fixed: every batch is the same samples, whatever the seed and step, and so is the probe set: training on it is gradient
            descent on one loss, and that loss is the one whose curvature is measured.
        epoch: how many samples there are, where all of them come again every epoch; None of a stream without end.
    """

    name: str
    inputs: int
    outputs: int
    classification: bool
    draw: Draw
    held_out: Callable[[], tuple[Tensor, Tensor]] | None
    about: str
    draw_unseen: Draw | None = None
    bring: Callable[..., list[Path]] | None = None
    fixed: bool = False
    epoch: int | None = None

    def stream(self, part: str) -> str:
        """The name that the draws of a part go by: ``train``, ``probe``, ``test`` or ``unseen``."""
        return f"{self.name}/{part}"

    def batches(self, seed: int, steps: range, batch_size: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """Training batches of several steps at once: inputs (steps, B, D), labels (steps, B) or targets (steps, B, K)."""

        def drawn() -> tuple[Tensor, Tensor]:
            return self.draw(seed, steps, batch_size, self.stream("train"), device)

        memory = _memory.get()
        return memory.recall((seed, self.name), (steps, batch_size, device), drawn) if memory else drawn()

    def batch(self, seed: int, step: int, batch_size: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """The training batch of one step: inputs (B, D), labels (B,) or targets (B, K)."""
        inputs, targets = self.batches(seed, range(step, step + 1), batch_size, device)
        return inputs[0], targets[0]

    def probe(self, samples: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """The fixed probe set on which curvature is measured: fresh samples, the same for every cell and every seed."""
        inputs, targets = self.draw(0, range(1), samples, self.stream("probe"), device)
        return inputs[0], targets[0]

    def test(self, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """Samples that no training batch holds: the held-out real ones, or ``TEST_SAMPLES`` fresh ones where there are none."""
        if self.held_out is not None:
            inputs, targets = self.held_out()
            return inputs.to(device), targets.to(device)
        inputs, targets = self.draw(0, range(1), TEST_SAMPLES, self.stream("test"), device)
        return inputs[0], targets[0]

    def unseen(self, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """``UNSEEN_SAMPLES`` fresh ones like the stream's, from originals that it never sees: many, where `test` is few."""
        draw = self.draw_unseen or self.draw
        inputs, targets = draw(0, range(1), UNSEEN_SAMPLES, self.stream("unseen"), device)
        return inputs[0], targets[0]


class _Memory:
    """Batches by stream and by steps, up to so many bytes; the batches of other streams are the first to go."""

    def __init__(self, limit: int):
        self.limit, self.bytes, self.lock = limit, 0, Lock()
        self.kept: dict[Hashable, dict[Hashable, tuple[Tensor, Tensor]]] = {}

    def recall(
        self, stream: Hashable, key: Hashable, draw: Callable[[], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        known = self.kept.get(stream, {}).get(key)
        if known is not None:
            return known
        batches = draw()
        with self.lock:
            self._keep(stream, key, batches)
        return batches

    def _keep(self, stream: Hashable, key: Hashable, batches: tuple[Tensor, Tensor]) -> None:
        size = sum(part.nbytes for part in batches)
        own = self.kept.setdefault(stream, {})
        while self.bytes + size > self.limit and len(self.kept) > 1:
            other = next(name for name in self.kept if name != stream)
            self.bytes -= sum(part.nbytes for pair in self.kept.pop(other).values() for part in pair)
        if self.bytes + size <= self.limit and key not in own:
            own[key] = batches
            self.bytes += size


# Each thread has its own: what one remembers for its work must not end, or go on, with another's.
_memory: ContextVar[_Memory | None] = ContextVar("batches", default=None)


@contextmanager
def remember_batches(limit: int = 2**28) -> Iterator[None]:
    """While it lasts, batches once drawn are kept, ``limit`` bytes of them at most: for work that trains on the same
    stream again and again. It changes no number."""
    before = _memory.set(_Memory(limit))
    try:
        yield
    finally:
        _memory.reset(before)


def _digits(
    small: bool, held_out: bool, seed: int, steps: range, batch_size: int, name: str, device: str
) -> tuple[Tensor, Tensor]:
    return digits.stream(seed, steps, batch_size, digits_stream(name), small, device, held_out)


def digits_stream(name: str) -> str:
    """Both digit tasks see the same deformed images: the name of their draws leaves the size out."""
    return name.replace("digits8", "digits")


def _digits_fixed(seed: int, steps: range, batch_size: int, name: str, device: str) -> tuple[Tensor, Tensor]:
    inputs, labels = (part[:batch_size].to(device) for part in digits.training(small=True))
    if len(labels) < batch_size:
        raise ValueError(f"digits8_fixed has {len(labels):,} samples, and {batch_size:,} were asked for: take fewer")
    return inputs.expand(len(steps), -1, -1), labels.expand(len(steps), -1)


def _text_fixed(seed: int, steps: range, batch_size: int, name: str, device: str) -> tuple[Tensor, Tensor]:
    inputs, labels = text.stream(False, 0, range(1), batch_size, "text_fixed", device)
    return inputs.expand(len(steps), -1, -1), labels.expand(len(steps), -1)


def _photos(small: bool, seed: int, steps: range, batch_size: int, name: str, device: str) -> tuple[Tensor, Tensor]:
    return photos.stream(seed, steps, batch_size, name.replace("photos16", "photos"), small, device)


TEACHER_INPUTS = 32
TEACHER_STRENGTHS = (4.0, 2.0, 1.0, 0.5)


@cache
def _teacher_directions() -> Tensor:
    """Four orthonormal directions (4, 32): rows 1, 2, 4 and 8 of the 32 × 32 Hadamard matrix over √32."""
    rows, columns = torch.tensor([1, 2, 4, 8])[:, None], torch.arange(TEACHER_INPUTS)
    common = rows & columns
    parity = torch.stack([(common >> bit) & 1 for bit in range(5)]).sum(dim=0) % 2
    return (1.0 - 2.0 * parity) / math.sqrt(TEACHER_INPUTS)


@dataclass(frozen=True)
class Analytic:
    """A stream whose samples are a function of random numbers, each sample of its own: a ``Draw``.

    Attributes:
        kind: of the numbers, a function of :mod:`richness.rng`. inputs: D, and so many numbers a sample.
        samples: numbers (*, D) to inputs, float32 (*, D), and targets, float32 (*, K).
    """

    kind: str
    inputs: int
    samples: Callable[[Tensor], tuple[Tensor, Tensor]]

    def __call__(self, seed: int, steps: range, batch_size: int, name: str, device: str) -> tuple[Tensor, Tensor]:
        numbers = getattr(rng, self.kind)(seed, name, steps, batch_size * self.inputs, device)
        return self.samples(numbers.reshape(len(steps), batch_size, self.inputs))


@cache
def _teacher_strengths() -> Tensor:
    return torch.tensor(TEACHER_STRENGTHS)


def _teacher(normals: Tensor) -> tuple[Tensor, Tensor]:
    x = normals.to(torch.float32)
    return x, _teacher_strengths().to(x.device) * (x @ _teacher_directions().T.to(x.device))


def _halfspace(normals: Tensor) -> tuple[Tensor, Tensor]:
    x = normals.to(torch.float32)
    return x, torch.where(x @ _teacher_directions()[:1].T.to(x.device) > 0, 1.0, -1.0)


STAIRCASE_INPUTS = 32


def _staircase(words: Tensor) -> tuple[Tensor, Tensor]:
    x = torch.where(words >= 2**31, -1.0, 1.0)
    one, two, three = x[..., :3].split(1, dim=-1)
    return x, one + one * two + one * two * three


_SHIPPED = (
    Task(
        "digits",
        digits.SIDE**2,
        10,
        True,
        partial(_digits, False, False),
        partial(digits.held_out, False),
        "fresh deformations of 8,000 real MNIST digits, 28×28",
        partial(_digits, False, True),
    ),
    Task(
        "digits8",
        64,
        10,
        True,
        partial(_digits, True, False),
        partial(digits.held_out, True),
        "fresh deformations of 8,000 real MNIST digits, averaged to 8×8",
        partial(_digits, True, True),
    ),
    Task(
        "digits8_fixed",
        64,
        10,
        True,
        _digits_fixed,
        partial(digits.held_out, True),
        "the first B of 8,000 real MNIST digits, averaged to 8×8, the same ones at every step",
        fixed=True,
    ),
    Task(
        "photos",
        3 * photos.SIDE**2,
        len(photos.PHOTOS),
        True,
        partial(_photos, False),
        partial(photos.held_out, False),
        "fresh 32×32 colour crops of ten photographs, told apart by photograph",
    ),
    Task(
        "photos16",
        3 * photos.SMALL**2,
        len(photos.PHOTOS),
        True,
        partial(_photos, True),
        partial(photos.held_out, True),
        "fresh 32×32 colour crops of ten photographs, averaged to 16×16, told apart by photograph",
    ),
    Task(
        "text",
        text.WINDOW * len(text.ALPHABET),
        len(text.ALPHABET),
        True,
        partial(text.stream, False),
        text.held_out,
        f"the next character after {text.WINDOW} of Alice's Adventures in Wonderland, 27 characters, one-hot",
        partial(text.stream, True),
    ),
    Task(
        "text_fixed",
        text.WINDOW * len(text.ALPHABET),
        len(text.ALPHABET),
        True,
        _text_fixed,
        text.held_out,
        f"the next character after B windows of {text.WINDOW} of Alice's Adventures in Wonderland, the same ones at every step",
        fixed=True,
    ),
    Task(
        "teacher",
        TEACHER_INPUTS,
        len(TEACHER_STRENGTHS),
        False,
        Analytic("normals", TEACHER_INPUTS, _teacher),
        None,
        "linear teacher on Gaussian inputs, 32 dimensions, four outputs of strengths 4, 2, 1 and ½",
    ),
    Task(
        "halfspace",
        TEACHER_INPUTS,
        1,
        False,
        Analytic("normals", TEACHER_INPUTS, _halfspace),
        None,
        "±1 by the side of a hyperplane, Gaussian inputs, 32 dimensions",
    ),
    Task(
        "staircase",
        STAIRCASE_INPUTS,
        1,
        False,
        Analytic("bits", STAIRCASE_INPUTS, _staircase),
        None,
        "Boolean staircase x₁ + x₁x₂ + x₁x₂x₃ on 32 random signs",
    ),
)


def _of_files(made: files.FileSet) -> Task:
    about = made.about
    return Task(made.name, made.inputs, made.classes, True, made.draw, made.held_out, about, bring=made.bring)


class Tasks(Registry[Task]):
    """The table of tasks; some parts of CIFAR-5M alone, such as ``cifar5m_0``, need no line in it."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and files.file_set(name) is not None)

    def __missing__(self, name: str) -> Task:
        made = files.file_set(name)
        if made is None:
            raise KeyError(name)
        return _of_files(made)


TASKS = Tasks("task", {task.name: task for task in (*_SHIPPED, *map(_of_files, files.FILE_SETS.values()))})


def register_task(
    name: str,
    draw: Draw,
    *,
    inputs: int,
    outputs: int,
    classification: bool,
    held_out: Callable[[], tuple[Tensor, Tensor]] | None = None,
    about: str = "",
    version: str | None = None,
) -> None:
    """Add a task of your own; ``Experiment(task=name)`` then trains on it like any other.

    Args:
        name: a new name, a Python identifier. The same function may be registered again, edited or not.
        draw: a function (seed, steps, batch size, stream name, device) to the batches of those steps: inputs, float32 (steps,
            B, D), and labels, int64 (steps, B), or targets, float32 (steps, B, K). It must be a function of its arguments
            alone: the batch of a step is the same whenever and with whatever others it is drawn. :mod:`richness.rng` makes
            such draws from (seed, stream name, step).
        inputs, outputs: D and K. classification: labels of K classes, or real targets.
        held_out: real samples that never enter the stream, inputs (M, D) and labels (M,); fresh ones serve where there are
            none.
        about: one sentence for captions.
        version: stands for ``draw``, and all that it reaches, in the hash of a recipe that names the task; to be changed
            when that changes. Needed only where its value cannot be told, as of an open file.

    Raises:
        ValueError: the name is taken, or samples of another shape, not finite, or different at a second draw.
        TypeError: ``draw`` is not a function.
    """
    if not callable(draw):
        raise TypeError(f"register_task takes a function that draws batches, got {type(draw).__name__}")
    made = Task(name, inputs, outputs, classification, draw, held_out, about or name)
    check_task(made)
    TASKS.add(name, made, draw, version, *[held_out] * (held_out is not None))


def check_task(made: Task) -> None:
    """Try a task of a reader's.

    Raises:
        ValueError: samples of another shape or kind, not finite, or different at a second draw.
    """
    try:
        _check(made)
    except ValueError as error:
        raise ValueError(f"task {made.name!r}: {error}") from error


def _check(made: Task) -> None:
    """A few small draws: shapes, kinds, and the same batch however it is asked for."""
    both = made.batches(0, range(2), 3)
    _check_samples(made, *both, (2, 3), "draw")
    again, second = made.batches(0, range(2), 3), made.batches(0, range(1, 2), 3)
    for whole, twin, part in zip(both, again, second, strict=True):
        if not torch.equal(whole, twin):
            raise ValueError(
                "the same batch came out different at a second draw: draw with richness.rng, not torch.rand"
            )
        if not torch.equal(whole[1:], part):
            raise ValueError(
                "the batch of step 1 is another when steps 0 and 1 are drawn together: draw each from its own step, "
                "as richness.rng does when it is handed `steps`"
            )
    if made.held_out is not None:
        x, y = made.held_out()
        _check_samples(made, x, y, (len(x),), "held_out")


def _check_samples(made: Task, x: Tensor, y: Tensor, shape: tuple[int, ...], of: str) -> None:
    wanted = [("inputs", x, torch.float32, (*shape, made.inputs))]
    if made.classification:
        wanted.append(("labels", y, torch.int64, shape))
    else:
        wanted.append(("targets", y, torch.float32, (*shape, made.outputs)))
    for what, values, dtype, size in wanted:
        if not isinstance(values, Tensor) or values.dtype != dtype or tuple(values.shape) != size:
            got = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"{of} must give {what} {dtype} {size} for {shape} samples, got {got}")
        if not torch.isfinite(values).all():
            raise ValueError(f"{of} gave {what} that are not finite")
    if made.classification and not bool(((y >= 0) & (y < made.outputs)).all()):
        raise ValueError(f"labels must be from 0 to {made.outputs - 1}, got {int(y.min())} to {int(y.max())}")


def task(name: str, **how: Any) -> Task:
    """The task of that name. One that is read from files has them fetched now, unless they are here already.

    Args:
        name: such as ``"digits"`` or ``"cifar10"``.
        how: of tasks with files alone. ``parts=[0]``, of ``cifar5m``: which of its five files to train on; the task's name is
            then ``cifar5m_0``, which an experiment may name too. ``folder=...``, of ``mnist1m``: from where to import it.
            ``progress``, a function of the bytes there and the bytes in all; ``verify=True``, compute checksums again.

    Raises:
        ValueError: no such task; the message lists those there are. DataError: a file cannot be had; the message says where it
            is to be got and put.
        TypeError: what the task does not know in ``how``.
    """
    if "parts" in how and name == "cifar5m":
        name = files.cifar5m.of_parts(how.pop("parts")).name
    found = TASKS[TASKS.known(name)]
    if found.bring is not None:
        found.bring(**how)
    elif how:
        raise TypeError(f"task {name!r} takes no {', '.join(how)}: it is made of no files")
    return found
