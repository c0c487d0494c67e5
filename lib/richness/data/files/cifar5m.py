"""CIFAR-5M: six million images from a diffusion model trained on CIFAR-10, in six files that are read where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from richness.data import arrays
from richness.data.fetch import Source
from richness.data.files.common import FileSet, Opened, check
from richness.data.order import Samples

PARTS = 6  # files that it comes in; the last is held out
PART_BYTES = 3_081_400_000  # 1,000,448 images of 32×32×3 bytes, and their labels
ADDRESS = "https://storage.googleapis.com/gresearch/cifar5m/"


def _opened(paths: Sequence[Path]) -> Opened:
    images, labels = [], []
    for path in paths:
        x, y = arrays.in_npz(path, "X"), arrays.in_npz(path, "Y")
        y_all = y.read(0, len(y))
        check("CIFAR-5M", path, x, y_all, (32, 32, 3), 10)
        images.append(x)
        labels.append(y_all.astype(np.uint8))
    return Samples("CIFAR-5M", images[:-1], labels[:-1]), Samples("CIFAR-5M's last part", images[-1:], labels[-1:])


def of_parts(parts: Sequence[int] = tuple(range(PARTS - 1))) -> FileSet:
    """CIFAR-5M: six million images from a diffusion model trained on CIFAR-10, labelled by a classifier.

    Args:
        parts: of 0 to 4, which of the files to train on, about a million samples each; the last one is held out.

    Raises:
        ValueError: no such parts.
    """
    if not parts or set(parts) - set(range(PARTS - 1)) or len(set(parts)) < len(parts):
        raise ValueError(
            f"CIFAR-5M's parts to train on are numbers from 0 to {PARTS - 2}, each once (part {PARTS - 1} is held out), got "
            f"{list(parts)}"
        )
    chosen = sorted(parts)
    name = "cifar5m" if len(chosen) == PARTS - 1 else "cifar5m_" + "".join(map(str, chosen))
    sources = tuple(
        Source(f"cifar5m/part{part}.npz", f"{ADDRESS}part{part}.npz", PART_BYTES, exact=False, task=name)
        for part in (*chosen, PARTS - 1)
    )
    return FileSet(
        name, 3, 32, 10, (121.4 / 255, 119.3 / 255, 109.83 / 255), (63.1 / 255, 62.1 / 255, 66.6 / 255),
        "CIFAR-5M: images from a diffusion model trained on CIFAR-10, 32×32 in colour, each seen once",
        "published for research by P. Nakkiran, B. Neyshabur and H. Sedghi (the Deep Bootstrap paper); see "
        "https://github.com/preetum/cifar5m",
        sources, _opened, channels_last=True,
    )  # fmt: skip
