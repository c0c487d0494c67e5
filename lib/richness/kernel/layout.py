"""What Python and the kernel agree on: codes, structures, rows filled up to whole vectors. Mirrors ``network.h``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from richness.kernel.compiler import library

VECTOR_BYTES = 64  # that of tiles.h, natively
REALS = {torch.float32: "float", torch.float64: "double"}

# What the kernel knows, and the numbers that its enums give them.
LOSS_CODES = {"mse": 0, "cross_entropy": 1}
ACTIVATION_CODES = {"relu": 0, "linear": 1, "tanh": 2}
OPTIMIZER_CODES = {"sgd": 0, "momentum": 1, "signsgd": 2, "adam": 3}
TASK_CODES = {"digits": 0, "digits8": 1, "teacher": 2, "halfspace": 3, "staircase": 4}


class Plan(ctypes.Structure):
    """A network's shape, its loss and its optimiser."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("layers", "batch", "columns", "loss", "activation", "optimizer")],
        *[(name, ctypes.c_double) for name in ("beta", "beta2")],
        *[(name, ctypes.c_void_p) for name in ("sizes", "leading", "scale", "step_factor")],
    ]


class Data(ctypes.Structure):
    """The batches of a block of steps."""

    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("x", "x_transposed", "target", "at_start", "factor")],
        *[(name, ctypes.c_int64) for name in ("steps", "updates", "number")],
    ]


class Shape:
    """A :class:`Plan` with the memory that it points to.

    Args:
        sizes: features of every layer, D, N, …, N, K. scales: the forward multipliers. batch: samples of a step.
        dtype: of the weights. loss, activation, optimizer: keys of the codes.
        step_factors: every layer's raw step over η. beta, beta2: the optimiser's.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        scales: Sequence[float],
        batch: int,
        dtype: torch.dtype,
        loss: str,
        activation: str,
        optimizer: str = "sgd",
        step_factors: Sequence[float] = (),
        beta: float = 0.0,
        beta2: float = 0.0,
    ):
        self._sizes = torch.tensor(sizes, dtype=torch.int64)
        self._leading = torch.tensor([whole_vectors(n, dtype) for n in sizes], dtype=torch.int64)
        self._scales = torch.tensor(scales, dtype=torch.float64)
        self._factors = torch.tensor(step_factors, dtype=torch.float64)
        self.plan = Plan(
            len(scales),
            batch,
            whole_vectors(batch, dtype),
            LOSS_CODES[loss],
            ACTIVATION_CODES[activation],
            OPTIMIZER_CODES[optimizer],
            beta,
            beta2,
            *[t.data_ptr() for t in (self._sizes, self._leading, self._scales, self._factors)],
        )


def whole_vectors(count: int, dtype: torch.dtype) -> int:
    """``count`` rounded up to whole vectors."""
    lanes = VECTOR_BYTES // dtype.itemsize
    return -(-count // lanes) * lanes


def pad_rows(rows: Tensor) -> Tensor:
    """Rows filled up with zeros to whole vectors, each on a vector's boundary; as they are, where they are so already."""
    width = whole_vectors(rows.shape[-1], rows.dtype)
    if width == rows.shape[-1] and rows.is_contiguous() and rows.data_ptr() % VECTOR_BYTES == 0:
        return rows
    out = rows.new_zeros(*rows.shape[:-1], width)
    out[..., : rows.shape[-1]] = rows
    return out


def pointers(tensors: Sequence[Tensor]) -> ctypes.Array:
    """The tensors' first elements, as the kernel's ``real *const *``."""
    return (ctypes.c_void_p * max(len(tensors), 1))(*[t.data_ptr() for t in tensors])


def call(name: str, dtype: torch.dtype, *arguments: object) -> None:
    """The door ``name`` for a dtype. A tensor stands for its first element, an integer is one of 64 bits.

    Raises:
        MemoryError: the kernel could not have its workspace.
    """
    kernel = library()
    assert kernel is not None
    if getattr(kernel, f"{name}_{REALS[dtype]}")(*[_passed(argument) for argument in arguments]):
        raise MemoryError("no memory for the activations: use a smaller batch_size or width")


def _passed(argument: object) -> object:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, int):
        return ctypes.c_int64(argument)
    return ctypes.byref(argument) if isinstance(argument, ctypes.Structure) else argument
