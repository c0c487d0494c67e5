"""Multilayer perceptrons through ``kernel.cpp``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from richness.networks import MLP
from richness.networks.optimizers import ADAM_BETA2
from richness.runs.engines.compiler import library, reason
from richness.runs.engines.stack import Block, Engine, Stack, adam_epsilon, layer_factors, not_among
from richness.runs.experiment import Experiment

_REAL = {torch.float32: "float", torch.float64: "double"}

# What kernel.cpp knows, and the numbers that its enums give them.
LOSS_CODES = {"mse": 0, "cross_entropy": 1}
ACTIVATION_CODES = {"relu": 0, "linear": 1}
OPTIMIZER_CODES = {"sgd": 0, "momentum": 1, "signsgd": 2, "adam": 3}


class _Plan(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_long) for name in ("layers", "batch", "columns", "loss", "activation", "optimizer")],
        *[(name, ctypes.c_double) for name in ("beta", "beta2")],
        *[(name, ctypes.c_void_p) for name in ("sizes", "leading", "scale", "step_factor")],
    ]


class _Data(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("x", "x_transposed", "target", "at_start", "factor")],
        *[(name, ctypes.c_long) for name in ("steps", "updates", "number")],
    ]


def whole_vectors(count: int, dtype: torch.dtype) -> int:
    """``count`` rounded up to whole vectors of 64 bytes."""
    lanes = 64 // dtype.itemsize
    return -(-count // lanes) * lanes


def pad_rows(rows: Tensor) -> Tensor:
    """Rows filled up with zeros to whole vectors, each on a vector's boundary; as they are, where they are so already."""
    width = whole_vectors(rows.shape[-1], rows.dtype)
    if width == rows.shape[-1] and rows.is_contiguous() and rows.data_ptr() % 64 == 0:
        return rows
    out = rows.new_zeros(*rows.shape[:-1], width)
    out[..., : rows.shape[-1]] = rows
    return out


class _Shape:
    """The kernel's view of an experiment, with the memory that it points to."""

    def __init__(self, experiment: Experiment, dtype: torch.dtype):
        network = experiment.architecture
        assert isinstance(network, MLP)
        sizes = [network.inputs, *[out for out, _ in network.shapes]]
        self.sizes = torch.tensor(sizes, dtype=torch.int64)
        self.leading = torch.tensor([whole_vectors(n, dtype) for n in sizes], dtype=torch.int64)
        self.scale = torch.tensor(network.scales, dtype=torch.float64)
        self.factor = torch.tensor(layer_factors(experiment), dtype=torch.float64)
        self.plan = _Plan(
            network.depth,
            experiment.batch_size,
            whole_vectors(experiment.batch_size, dtype),
            LOSS_CODES[experiment.loss],
            ACTIVATION_CODES[network.activation],
            OPTIMIZER_CODES[experiment.optimizer],
            experiment.momentum,
            ADAM_BETA2,
            *[t.data_ptr() for t in (self.sizes, self.leading, self.scale, self.factor)],
        )


@dataclass(frozen=True)
class _Prepared:
    data: _Data
    kept: tuple[Tensor, ...]  # what ``data`` points to


def _pointers(tensors: Sequence[Tensor]) -> ctypes.Array:
    return (ctypes.c_void_p * max(len(tensors), 1))(*[t.data_ptr() for t in tensors])


def _call(name: str, dtype: torch.dtype, *arguments: object) -> None:
    kernel = library()
    assert kernel is not None
    if getattr(kernel, f"{name}_{_REAL[dtype]}")(*arguments):
        raise MemoryError("no memory for the activations: use a smaller batch_size or width")


class Compiled(Engine):
    """The fused step as one compiled loop; a call frees Python's lock, so that threads share the cores.

    A network's arithmetic is its own: no bit of it depends on the others in the stack. One that diverges costs nothing from
    then on, without being moved.
    """

    TOGETHER = 8  # it takes them one by one: as few as keep both cores busy to the end
    network: MLP

    def __init__(self, experiment: Experiment, start: Sequence[Tensor], gamma: Tensor, eta: Tensor):
        super().__init__(experiment, start, gamma, eta)
        self._shape = _Shape(experiment, start[0].dtype)
        self.weights = [pad_rows(w) for w in self.weights]  # rows filled up, and the diverged stay where they are
        self.memory = [[torch.zeros_like(w) for w in self.weights] for _ in range(self.optimizer.memories)]
        self._alive = torch.arange(len(gamma))
        self._all = (gamma.contiguous(), eta.contiguous(), adam_epsilon(experiment, gamma).contiguous())

    @classmethod
    def refuses(cls, experiment: Experiment) -> str | None:
        network = experiment.architecture
        if type(network) is not MLP:  # what a subclass does it cannot know
            return f"knows MLPs only, not {experiment.network!r}"
        if torch.device(experiment.device).type != "cpu":
            return f"runs on a CPU only, not on {experiment.device!r}"
        return (
            not_among(ACTIVATION_CODES, "activation", network.activation)
            or not_among(LOSS_CODES, "loss", experiment.loss)
            or not_among(OPTIMIZER_CODES, "optimizer", experiment.optimizer)
            or (None if library() else f"cannot be built here ({reason()})")
        )

    @property
    def stack(self) -> Stack:
        ins = [into for _, into in self.network.shapes]
        index: Tensor | slice = slice(None) if len(self._alive) == len(self._all[0]) else self._alive
        return Stack([w[index, :, :into] for w, into in zip(self.weights, ins, strict=True)], self._gamma)

    @staticmethod
    def prepare(experiment: Experiment, start: Sequence[Tensor], block: Block) -> _Prepared:
        shape = _Shape(experiment, block.x.dtype)
        x, transposed, target = pad_rows(block.columns), pad_rows(block.x), pad_rows(block.targets)
        at_start, rows = torch.empty_like(target), [pad_rows(w) for w in start]
        arguments = (_pointers(rows), ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(at_start.data_ptr()))
        _call("outputs", block.x.dtype, ctypes.byref(shape.plan), ctypes.c_long(len(block)), *arguments)
        kept = (x, transposed, target, at_start, block.factor)
        data = _Data(*[t.data_ptr() for t in kept], len(block), block.updates, block.number)
        return _Prepared(data, kept)

    def advance(self, block: Block, prepared: object) -> Tensor:
        assert isinstance(prepared, _Prepared)
        count = len(self._alive)
        loss = torch.empty(len(block), count, dtype=torch.float64)
        gamma, eta, epsilon = (ctypes.c_void_p(t.data_ptr()) for t in self._all)
        memory = [m for one in self.memory for m in one]
        _call(
            "train", self.weights[0].dtype, ctypes.byref(self._shape.plan), ctypes.byref(prepared.data), ctypes.c_long(count),
            ctypes.c_void_p(self._alive.data_ptr()), _pointers(self.weights), _pointers(memory), gamma, eta, epsilon,
            ctypes.c_void_p(loss.data_ptr()),
        )  # fmt: skip
        return loss

    def keep(self, index: Tensor) -> None:
        self._alive, self._gamma = self._alive[index], self._gamma[index]
