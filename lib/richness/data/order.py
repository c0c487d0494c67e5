"""The order in which a finite set is seen, once, when it is too large to be held: a function of the seed, in bounded memory.

Samples lie in blocks of ``BLOCK`` neighbours. A pass takes the blocks in an order of the seed's, ``WINDOW`` of them at a time,
and shuffles the samples within such a window. So every sample comes once in a pass, what is read from the disk comes in
pieces, and the samples of any batch are found by reading one window or two, without those before. It is less than a full
shuffle: samples of one block come within the same ``WINDOW``·``BLOCK`` samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch

from richness import rng

BLOCK = 256  # samples that lie, are read and are moved together
WINDOW = 64  # blocks that are shuffled into each other


class Readable(Protocol):
    """An array of samples, in memory or on disk."""

    def __len__(self) -> int: ...
    def read(self, first: int, count: int) -> np.ndarray:
        """Samples ``first`` to ``first + count``."""

    def take(self, index: np.ndarray) -> np.ndarray:
        """The samples of these numbers."""


@dataclass(frozen=True, eq=False)
class Held:
    """An array in memory, read like one on disk."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def read(self, first: int, count: int) -> np.ndarray:
        return self.values[first : first + count]

    def take(self, index: np.ndarray) -> np.ndarray:
        return self.values[index]


class Samples:
    """A finite set of labelled images, in one part or several, seen in an order that a seed makes.

    Args:
        name: for messages.
        images: a part each, (n, ...), uint8. labels: likewise, (n,), integers.
    """

    def __init__(self, name: str, images: Sequence[Readable], labels: Sequence[np.ndarray]):
        self.name, self.images, self.labels = name, tuple(images), tuple(labels)
        self.blocks = np.array(
            [
                (part, first, min(BLOCK, len(own) - first))
                for part, own in enumerate(self.images)
                for first in range(0, len(own), BLOCK)
            ],
            dtype=np.int64,
        )
        self.shape = self.images[0].read(0, 1).shape[1:]
        self._kept: dict[str, tuple[tuple, Any]] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return sum(len(own) for own in self.images)

    def batches(self, seed: int, steps: Iterable[int], batch_size: int, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The samples of some steps, each a function of (seed, name, step) alone: images (steps·B, ...) and labels (steps·B,).

        Step t has the samples t·B to (t + 1)·B of the order. Where that passes the last one, another pass begins, in another
        order; of a stream of training a warning then says that it is no longer online.
        """
        with self._lock:
            pieces = [piece for step in steps for piece in self._pieces(seed, name, step * batch_size, batch_size)]
        images, labels = zip(*pieces, strict=True)
        return np.concatenate(images), np.concatenate(labels)

    def take(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The samples of these numbers, of a set in one part: images and labels."""
        (images,), (labels,) = self.images, self.labels
        return images.take(index), labels[index].astype(np.int64)

    def _pieces(self, seed: int, name: str, first: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while count:
            lap, position = divmod(first, len(self))
            if lap and name.endswith("/train"):
                warnings.warn(
                    f"{self.name} has {len(self)} training samples, and all have been seen: from here on they are seen again, "
                    "in another order, and training is no longer online",
                    stacklevel=4,
                )
            _, starts = self._latest("pass", self._pass, seed, name, lap)
            window = int(np.searchsorted(starts, position, side="right")) - 1
            images, labels = self._latest("window", self._window, seed, name, lap, window)
            at = slice(position - int(starts[window]), position - int(starts[window]) + count)
            piece = images[at].copy(), labels[at].copy()
            del images, labels  # a view, too, would keep a window in memory beside the next
            yield piece
            first, count = first + len(piece[1]), count - len(piece[1])

    def _latest(self, what: str, make: Callable, *described: Any) -> Any:
        """The latest of each kind is kept: steps that follow each other need it again."""
        if self._kept.get(what, (None,))[0] != described:
            self._kept.pop(what, None)  # before the next is made: never two at a time
            self._kept[what] = (described, make(*described))
        return self._kept[what][1]

    def _pass(self, seed: int, name: str, lap: int) -> tuple[np.ndarray, np.ndarray]:
        """The blocks (part, first, count) of a pass in its order, and the position at which each window begins."""
        blocks = self.blocks[shuffle(seed, f"{name}/blocks", lap, len(self.blocks))]
        return blocks, np.concatenate(([0], np.cumsum(blocks[:, 2])))[:-1:WINDOW]

    def _window(self, seed: int, name: str, lap: int, window: int) -> tuple[np.ndarray, np.ndarray]:
        """The samples of a window, shuffled."""
        blocks = self._latest("pass", self._pass, seed, name, lap)[0][window * WINDOW : (window + 1) * WINDOW]
        places = shuffle(seed, f"{name}/within/{lap}", window, int(blocks[:, 2].sum()))
        images, labels = np.empty((len(places), *self.shape), np.uint8), np.empty(len(places), np.int64)
        done = 0
        for part, first, size in blocks.tolist():
            to = places[done : done + size]
            images[to] = self.images[part].read(first, size)
            labels[to] = self.labels[part][first : first + size]
            done += size
        return images, labels


def shuffle(seed: int, name: str, step: int, count: int) -> np.ndarray:
    """A permutation of ``range(count)``, a function of its arguments: the order of as many random words."""
    return torch.argsort(rng.bits(seed, name, step, count), stable=True).numpy()
