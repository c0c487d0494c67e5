"""The machine's own limit: the best rate at which one core multiplies square float32 matrices.

``torch.mm`` is what the peak is measured by. On processors that the BLAS behind it was not made for (MKL on AMD, say) another
operation of torch may be faster (oneDNN, through ``mkldnn._linear_pointwise``), so the best of those is given as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

SIZES = (256, 512, 1024, 2048)


def prepare(seconds: float = 0.3, sizes: tuple[int, ...] = SIZES) -> Callable[[], np.ndarray]:
    """The program: GFLOP/s on this process's threads, (operations, sizes); torch.mm first, then oneDNN's where there is one."""

    def run() -> np.ndarray:
        return np.array([[_rate(operation, size, seconds) for size in sizes] for operation in operations()])

    return run


def operations() -> list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    found: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = [torch.mm]
    if torch.backends.mkldnn.is_available():
        found.append(lambda a, b: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    return found


def _rate(operation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], size: int, seconds: float) -> float:
    """2·size³ over the shortest of as many products as fit into the time."""
    a, b = torch.randn(2, size, size).unbind()
    operation(a, b)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        operation(a, b)
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best / 1e9
