"""Randomness as a function: (seed, name, step) -> bits, uniforms, normals.

There is no generator state anywhere in this project. A draw is a pure function of who asks (``name``), for which run
(``seed``) and when (``step``), computed by the counter-based generator Threefry-2x32 with 20 rounds in plain integer
operations. So batch 731 of seed 2 can be made without making the 730 before it, and the same numbers come out on CPU, on
CUDA and, through the twin in ``kernel/stream.h``, in a web page: bits are equal everywhere; normals agree to 1e-6
(logarithm and cosine differ in the last place between libraries).

References:
    J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_PARITY = 0x1BD11BDA
_CACHED = 2**16  # pairs worked on together: three such tensors fit a core's cache
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def hash_name(name: str) -> int:
    """FNV-1a, 32 bits, of the UTF-8 bytes of ``name``: the second half of a Threefry key."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = ((value ^ byte) * 0x01000193) & _MASK
    return value


def threefry2x32(key: tuple[int, int], counter0: Tensor, counter1: Tensor) -> tuple[Tensor, Tensor]:
    """Threefry-2x32-20 of two counters under one key.

    Args:
        key: two integers in [0, 2^32).
        counter0, counter1: int64 tensors of one shape (*,), values in [0, 2^32).

    Returns:
        Two int64 tensors of the same shape, values in [0, 2^32).
    """
    x0, x1 = _threefry(key, _signed(counter0).to(torch.int32), _signed(counter1).to(torch.int32))
    return x0.to(torch.int64) & _MASK, x1.to(torch.int64) & _MASK


def _signed(word: Any) -> Any:
    """A 32-bit word, or a tensor of them, as the signed number of the same bits."""
    return (word + 0x80000000 & _MASK) - 0x80000000


def _threefry(key: tuple[int, int], x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor]:
    """The rounds, in place on int32 tensors: sums wrap as unsigned ones do, and only the shift down must lose its sign."""
    schedule = [_signed(word) for word in (key[0], key[1], key[0] ^ key[1] ^ _PARITY)]
    high = torch.empty_like(x1)
    x0 += schedule[0]
    x1 += schedule[1]
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            x0 += x1
            torch.bitwise_right_shift(x1, 32 - rotation, out=high)
            high &= (1 << rotation) - 1
            x1 <<= rotation
            x1 |= high
            x1 ^= x0
        x0 += schedule[(block + 1) % 3]
        x1 += _signed(schedule[(block + 2) % 3] + block + 1)
    return x0, x1


def bits(seed: int, name: str, steps: Sequence[int] | range | int, count: int, device: str = "cpu") -> Tensor:
    """Random 32-bit words, each an independent function of (seed, name, step, position).

    Args:
        seed: run's seed, in [0, 2^32).
        name: who asks, e.g. ``"digits/affine"``; different names give independent draws.
        steps: one step, or several to draw at once; each in [0, 2^32).
        count: words a step.

    Returns:
        int64 tensor (steps, count), or (count,) for a single step, values in [0, 2^32). Position 2i and 2i + 1 are the two
        words of counter (i, step).

    Raises:
        ValueError: a seed outside [0, 2^32).
    """
    if not (isinstance(seed, Integral) and 0 <= seed <= _MASK):
        raise ValueError(f"seed must be an integer from 0 to 2^32 - 1, got {seed!r}")
    wanted = [steps] if isinstance(steps, int) else list(steps)
    pairs = (count + 1) // 2
    position = torch.arange(pairs, dtype=torch.int32, device=device)
    out = torch.empty(len(wanted), pairs, 2, dtype=torch.int64, device=device)
    rows = max(1, _CACHED // pairs)
    for first in range(0, len(wanted), rows):
        part = wanted[first : first + rows]
        when = torch.tensor([_signed(step) for step in part], dtype=torch.int32, device=device)
        words = _threefry((seed, hash_name(name)), position.repeat(len(part), 1), when[:, None].repeat(1, pairs))
        for word, values in enumerate(words):
            out[first : first + rows, :, word] = values
    out = out.bitwise_and_(_MASK).reshape(len(wanted), 2 * pairs)[:, :count]
    return out[0] if isinstance(steps, int) else out


def uniforms(seed: int, name: str, steps: Sequence[int] | range | int, count: int, device: str = "cpu") -> Tensor:
    """Uniform draws in the open interval (0, 1): (word + 1/2) / 2^32. float64, shaped like :func:`bits`."""
    return (bits(seed, name, steps, count, device).to(torch.float64) + 0.5) / 2.0**32


def integers(
    seed: int, name: str, steps: Sequence[int] | range | int, count: int, high: int, device: str = "cpu"
) -> Tensor:
    """Integers in [0, high): floor(word · high / 2^32). int64, shaped like :func:`bits`; ``high`` at most 2^31."""
    return (bits(seed, name, steps, count, device) * high) >> 32


def normals(seed: int, name: str, steps: Sequence[int] | range | int, count: int, device: str = "cpu") -> Tensor:
    """Standard normal draws by Box–Muller from each pair of words. float64, shaped like :func:`bits`.

    Positions 2i and 2i + 1 are r·cos φ and r·sin φ with r = sqrt(−2 ln u₀), φ = 2π u₁. Computed in float64, so that a cast
    to float32 is the same number on every device but for the last place.
    """
    wanted = [steps] if isinstance(steps, int) else list(steps)
    even = count + count % 2
    out = torch.empty(len(wanted), even // 2, 2, dtype=torch.float64, device=device)
    rows = max(1, _CACHED // even)
    for first in range(0, len(wanted), rows):
        u = uniforms(seed, name, wanted[first : first + rows], even, device).unflatten(1, (even // 2, 2))
        radius = u[..., 0].log().mul_(-2.0).sqrt_()
        angle = u[..., 1].mul(2.0 * math.pi)
        out[first : first + rows, :, 0] = angle.cos().mul_(radius)
        out[first : first + rows, :, 1] = angle.sin_().mul_(radius)
    out = out.flatten(1)[:, :count]
    return out[0] if isinstance(steps, int) else out
