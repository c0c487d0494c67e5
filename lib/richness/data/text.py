"""Alice's Adventures in Wonderland as 27 characters: windows of it, and the character that comes next.

The text is kept as Mahoney's text8 is: letters in lower case, and one space for everything between them. The last tenth is
held out. A sample is a window of `WINDOW` characters, one-hot and flat; its label is the character after the window, one a
sample. That is the usual task of next-character prediction with the loss at the last position alone.

References:
    L. Carroll, *Alice's Adventures in Wonderland*, 1865. M. Mahoney, *About the test data*, 2011 (text8).
"""

from __future__ import annotations

import hashlib
import io
import re
import string
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from richness import rng
from richness.data.arrays import load_shipped

SHA256 = "b9c5cbdfd6afa102974eefaa257c53a29fc0f2d37431e099de5d6c9c1fa0dc57"
ALPHABET = " " + string.ascii_lowercase
WINDOW = 16
HELD_OUT = 0.1  # the share of the text, its end, that no training window reaches into
TESTED = 2_048  # windows of it on which accuracy is measured, spread evenly


@cache
def load() -> Tensor:
    """The text as places in `ALPHABET`, int64 (characters,).

    Raises:
        RuntimeError: the file in the package is missing or is not the one this code was written for.
    """
    return torch.from_numpy(load_shipped("alice.npz", SHA256)["characters"].astype(np.int64))


def part(held_out: bool) -> Tensor:
    """The characters to train on, or those of the end: int64 (characters,)."""
    text = load()
    split = round(len(text) * (1 - HELD_OUT))
    return text[split:] if held_out else text[:split]


def windows(text: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Windows that begin at some places, and what follows each.

    Args:
        text: characters, int64. first: places (*,), at most len(text) − WINDOW − 1.

    Returns:
        One-hot, float32 (*, WINDOW·27), character by character; labels int64 (*,).
    """
    cut = text[first[..., None] + torch.arange(WINDOW + 1, device=first.device)]
    return one_hot(cut[..., :-1], len(ALPHABET)).flatten(-2).to(torch.float32), cut[..., -1]


@cache
def held_out() -> tuple[Tensor, Tensor]:
    """Windows of the end: float32 (2048, WINDOW·27), labels int64 (2048,)."""
    text = part(held_out=True)
    return windows(text, torch.linspace(0, len(text) - WINDOW - 1, TESTED).long())


def stream(
    held_out: bool, seed: int, steps: range, batch_size: int, name: str, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Batches of windows drawn with replacement, each a function of (seed, step) alone.

    Args:
        held_out: draw from the end instead: for tests, never for training.

    Returns:
        Inputs float32 (steps, batch_size, WINDOW·27); labels int64 (steps, batch_size).
    """
    text = part(held_out).to(device)
    return windows(text, rng.integers(seed, f"{name}/first", steps, batch_size, len(text) - WINDOW, device))


def pack(path: Path) -> bytes:
    """The bytes of ``alice.npz``, from the Canterbury corpus's ``alice29.txt``."""
    letters = re.sub("[^a-z]+", " ", path.read_text(encoding="ascii").lower()).strip()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, characters=np.array([ALPHABET.index(letter) for letter in letters], dtype=np.uint8))
    return buffer.getvalue()


if __name__ == "__main__":
    target = Path(__file__).with_name("alice.npz")
    target.write_bytes(pack(Path(sys.argv[1])))
    print(target, hashlib.sha256(target.read_bytes()).hexdigest())
