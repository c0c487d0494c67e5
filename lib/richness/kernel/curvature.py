"""Gradient and Hessian of a stack of MLPs on fixed samples, by the kernel's R-operator (``curvature.h``)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from richness.kernel.compiler import library
from richness.kernel.layout import VECTOR_BYTES, Shape, call, pad_rows, pointers, whole_vectors

BLOCK = 64  # samples that are carried through a network together: their parts stay in cache


class _Samples(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("x", "x_transposed", "target", "at_start")],
        *[(name, ctypes.c_int64) for name in ("blocks", "count")],
    ]


class Samples:
    """Inputs, targets and the outputs at step 0, laid out in blocks for networks of one shape; any number of stacks share them.

    Args:
        sizes: features of every layer, D, N, …, N, K. scales: the forward multipliers.
        loss, activation: that the kernel knows.
        x: inputs (n, D), float32 or float64: the networks' dtype. targets: (n, K).
        start: weights at step 0, (1, out, in) a layer: f = (f̃ − f̃₀)/γ is centred by them.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        scales: Sequence[float],
        loss: str,
        activation: str,
        x: Tensor,
        targets: Tensor,
        start: Sequence[Tensor],
    ):
        self.dtype, self.sizes = x.dtype, list(sizes)
        block = min(BLOCK, len(x))
        self.shape = Shape(sizes, scales, block, x.dtype, loss, activation)
        blocks = -(-len(x) // block)
        rows, wanted = (_blocks(part.to(x.dtype), blocks, block) for part in (x, targets))
        kept = [pad_rows(rows.mT.contiguous()), pad_rows(rows), pad_rows(wanted.mT.contiguous())]
        at_start, weights = torch.empty_like(kept[2]), [pad_rows(w) for w in start]
        call("outputs", x.dtype, self.shape.plan, blocks, pointers(weights), kept[0], at_start)
        self._kept = (*kept, at_start)
        self.structure = _Samples(*[part.data_ptr() for part in self._kept], blocks, len(x))

    @cached_property
    def state_size(self) -> int:
        """Numbers that a network's products keep."""
        kernel = library()
        assert kernel is not None
        kernel.curvature_size.restype = ctypes.c_int64
        return kernel.curvature_size(ctypes.byref(self.shape.plan)) * self.structure.blocks


class Curvature:
    """The loss, the gradient and the map v ↦ Hv of every network of a stack, at its weights, on the samples.

    P parameters a network stand in the order of ``weights``. Constants are the loss's own: MSE a mean over samples and outputs.

    Args:
        samples: what the loss is a mean over.
        weights: (cells, out, in) a layer, in the samples' dtype. gamma: (cells,).

    Attributes:
        loss: float64 (cells,). gradient: (cells, P), NaN where the loss is not finite.

    Raises:
        MemoryError: no memory for what is kept: about four times the activations.
    """

    def __init__(self, samples: Samples, weights: Sequence[Tensor], gamma: Tensor):
        self.samples, cells = samples, len(gamma)
        self._gamma = gamma.to(torch.float64).contiguous()
        self._weights = self._fill(torch.cat([w.detach().flatten(1) for w in weights], dim=1))
        self._state = self._weights.new_zeros(cells, samples.state_size)
        self.loss, gradient = torch.empty(cells, dtype=torch.float64), torch.zeros_like(self._weights)
        self._call("prepare_curvature", self._state, gradient, self.loss)
        self.gradient = torch.where(torch.isfinite(self.loss)[:, None], self._strip(gradient), torch.nan)

    def multiply(self, vector: Tensor) -> Tensor:
        """Hv of vectors (cells, P), (cells, P); NaN where the loss is not finite."""
        rows, product = self._fill(vector), torch.empty_like(self._weights)
        self._call("multiply_by_hessian", self._state, self.loss, rows, rows.stride(0), product)
        return self._strip(product)

    def _call(self, door: str, *more: object) -> None:
        shared = self.samples.shape.plan, self.samples.structure, len(self._gamma), self._weights, self._gamma
        call(door, self.samples.dtype, *shared, *more)

    def _layers(self, rows: Tensor, filled: bool) -> list[Tensor]:
        """Views (cells, out, in or leading) of parameters in rows."""
        sizes, dtype = self.samples.sizes, self.samples.dtype
        shapes = [(out, whole_vectors(into, dtype) if filled else into) for into, out in pairwise(sizes)]
        parts = rows.split([out * into for out, into in shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]

    def _fill(self, rows: Tensor) -> Tensor:
        """Parameters with every row of a layer filled up to whole vectors; as they are, where they are so already."""
        if self._whole and rows.stride(1) == 1 and not any(n % VECTOR_BYTES for n in _bytes(rows)):
            return rows
        count = sum(out * whole_vectors(into, rows.dtype) for into, out in pairwise(self.samples.sizes))
        filled = rows.new_zeros(len(rows), count)
        for to, part in zip(self._layers(filled, True), self._layers(rows, False), strict=True):
            to[..., : part.shape[2]] = part
        return filled

    def _strip(self, rows: Tensor) -> Tensor:
        if self._whole:
            return rows
        ends = self.samples.sizes[:-1]
        parts = [part[..., :into].flatten(1) for part, into in zip(self._layers(rows, True), ends, strict=True)]
        return torch.cat(parts, dim=1)

    @property
    def _whole(self) -> bool:
        return all(whole_vectors(into, self.samples.dtype) == into for into in self.samples.sizes[:-1])


def _bytes(rows: Tensor) -> tuple[int, int]:
    """Where rows begin, and how far they are apart."""
    return rows.data_ptr(), rows.stride(0) * rows.itemsize if len(rows) > 1 else 0


def _blocks(rows: Tensor, blocks: int, block: int) -> Tensor:
    """(n, width) as (blocks, block, width), filled up with zeros."""
    return torch.nn.functional.pad(rows, (0, 0, 0, blocks * block - len(rows))).unflatten(0, (blocks, block))
