"""What all sets of files share: where they are, how they are opened, how a batch is drawn and normalised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from richness.data.fetch import DataError, Progress, Source, fetch, locate
from richness.data.order import Samples

HELD_OUT = 2_000  # samples on which accuracy is measured, of those that no training batch holds
Opened = tuple[Samples, Samples]  # for training, and held out


@dataclass(frozen=True)
class FileSet:
    """Labelled square images in files.

    Attributes:
        name: of the task. channels, side, classes: of its images and labels.
        mean, std: of each channel, of grey levels in [0, 1], by which inputs are normalised.
        about: one sentence for captions. licence: its terms, as far as they are published.
        sources: its files. opened_by: their paths to the samples for training and those held out.
        channels_last: as the images lie on disk, (n, height, width, channels).
        folders: of the system, where a package may have put the same files.
    """

    name: str
    channels: int
    side: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    about: str
    licence: str
    sources: tuple[Source, ...]
    opened_by: Callable[[Sequence[Path]], Opened]
    channels_last: bool = False
    folders: tuple[Path, ...] = ()

    @property
    def inputs(self) -> int:
        return self.channels * self.side**2

    def bring(self, progress: Progress | None = None, verify: bool = False) -> list[Path]:
        """Fetch what is not here, and open it: what is wrong with a file is said now.

        Raises:
            DataError: as :func:`richness.data.fetch.fetch`, or files of another format than they should have.
        """
        paths = [self._elsewhere(source) or fetch(source, progress, verify) for source in self.sources]
        self.opened()
        return paths

    def opened(self) -> Opened:
        """The samples for training and those held out.

        Raises:
            DataError: a file is not here, or is not what it should be.
        """
        paths = [self._elsewhere(source) or locate(source) for source in self.sources]
        return opened_once(self.name, self.opened_by, tuple(paths), tuple(stamp(path) for path in paths))

    def _elsewhere(self, source: Source) -> Path | None:
        if source.path.exists():
            return None
        return next(
            (folder / source.path.name for folder in self.folders if (folder / source.path.name).exists()), None
        )

    def draw(self, seed: int, steps: range, batch_size: int, name: str, device: str) -> tuple[Tensor, Tensor]:
        """Batches of samples, each a function of (seed, step): those of the stream ``…/train`` from the samples for training,
        all others from those held out.

        Returns:
            Inputs float32 (steps, batch_size, D), normalised, channel first; labels int64 (steps, batch_size).
        """
        samples = self.opened()[0 if name.endswith("/train") else 1]
        pixels, labels = samples.batches(seed, steps, batch_size, name)
        x = self.normalised(torch.from_numpy(pixels).to(device))
        shape = len(steps), batch_size
        return x.reshape(*shape, -1), torch.from_numpy(labels).to(device).reshape(shape)

    def held_out(self) -> tuple[Tensor, Tensor]:
        """Samples that never enter the stream, always the same: ``HELD_OUT`` of them, or all there are. Shapes (M, D), (M,)."""
        count = min(HELD_OUT, len(self.opened()[1]))
        x, labels = self.draw(0, range(1), count, f"{self.name}/held_out", "cpu")
        return x[0], labels[0]

    def normalised(self, pixels: Tensor) -> Tensor:
        """uint8 as on disk to float32 (n, channels, height, width) of zero mean and unit variance a channel."""
        if self.channels_last:
            pixels = pixels.permute(0, 3, 1, 2)
        x = pixels.contiguous().to(torch.float32)  # bytes are moved sooner than floats
        mean, std = (255.0 * torch.tensor(values, device=x.device)[:, None, None] for values in (self.mean, self.std))
        return x.sub_(mean).div_(std)


def stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=16)
def opened_once(name: str, by: Callable[[Sequence[Path]], Opened], paths: tuple[Path, ...], _stamps: Any) -> Opened:
    return by(paths)


def check(name: str, path: Path, images: Any, labels: np.ndarray, shape: tuple[int, ...], classes: int) -> None:
    """Whether a file holds what its readers count on."""
    if tuple(images.shape[1:]) != shape or images.dtype != np.uint8:
        expected, found = (", ".join(map(str, sizes)) for sizes in (shape, images.shape[1:]))
        raise DataError(
            f"{path} is not {name}'s: expected images uint8 (n, {expected}), found {images.dtype} (n, {found})"
        )
    if labels.shape != (len(images),):
        raise DataError(f"{path} is not {name}'s: {len(images)} images, but labels of shape {labels.shape}")
    if not len(labels) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        said = f"{labels.dtype} from {labels.min()} to {labels.max()}" if len(labels) else "none"
        raise DataError(f"{path} is not {name}'s: expected labels from 0 to {classes - 1}, found {said}")
