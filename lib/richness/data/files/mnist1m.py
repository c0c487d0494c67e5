"""MNIST-1M: ten chunks that a reader brings, imported into the cache."""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from richness.data import arrays
from richness.data.fetch import DataError, Progress, cache_folder, digests, lock
from richness.data.files.common import FileSet, Opened, check, opened_once, stamp
from richness.data.order import Samples

CHUNKS = 10  # that it comes in; the last is held out
TOGETHER = 1024  # images converted at a time


class Imported(FileSet):
    """A million digits from a class-conditional diffusion model, brought here by hand: nobody publishes them at an address."""

    def bring(
        self, progress: Progress | None = None, verify: bool = False, folder: str | Path | None = None
    ) -> list[Path]:
        """Import ten chunks of images and labels from a folder into the cache.

        Args:
            folder: where the chunks lie, in the order of the numbers in their names: ten ``.npz``, each with ``images`` and
                ``labels`` (or ``X``, ``Y``; ``x``, ``y``), or ten ``.npy`` of images and ten of labels, the latter with
                "label" in their names. Images are 28×28 in any of the usual layouts, bytes or grey levels in [0, 1].
        """
        if folder is not None:
            with lock(record_path()):
                _import(Path(folder).expanduser(), progress)
        self.opened()
        return [record_path()]

    def opened(self) -> Opened:
        record = record_path()
        if not record.is_file():
            raise DataError(
                f"MNIST-1M is not on this machine, and has no address to be fetched from. With its {CHUNKS} chunks of images "
                'and labels (about 800 MB) in a folder, richness.task("mnist1m", folder=...) or "richness fetch mnist1m '
                f'--folder ..." imports them into {record.parent}; without them, task "digits" is a stream of the same kind'
            )
        return opened_once(self.name, self.opened_by, (record,), stamp(record))


def record_path() -> Path:
    return cache_folder() / "mnist1m" / "imported.json"


def _opened(paths: Sequence[Path]) -> Opened:
    record = json.loads(paths[0].read_text(encoding="utf-8"))
    images, labels = (arrays.in_npy(paths[0].with_name(record[kind])) for kind in ("images", "labels"))
    y = labels.read(0, len(labels))
    check("MNIST-1M", images.path, images, y, (1, 28, 28), 10)
    if len(images) != sum(record["chunks"]):
        raise DataError(
            f"{images.path} has {len(images)} images, expected {sum(record['chunks'])}: import MNIST-1M again"
        )
    last = len(images) - record["chunks"][-1]
    row = images.row_bytes
    train = arrays.Rows(images.path, images.offset, images.dtype, (last, *images.shape[1:]))
    held = arrays.Rows(images.path, images.offset + last * row, images.dtype, (len(images) - last, *images.shape[1:]))
    return Samples("MNIST-1M", [train], [y[:last]]), Samples("MNIST-1M's last chunk", [held], [y[last:]])


def _import(folder: Path, progress: Progress | None) -> None:
    chunks = _chunks(folder)
    counts = [len(images) for images, _ in chunks]
    name = "-".join(map(str, (sum(counts), os.getpid())))
    record = record_path()
    images_path, labels_path = (record.with_name(f"{kind}-{name}.npy") for kind in ("images", "labels"))
    labels = np.concatenate([_class_numbers(folder, labels) for _, labels in chunks])
    with arrays.rows_written(images_path, np.uint8, (sum(counts), 1, 28, 28)) as file:
        done = 0
        for images, _ in chunks:
            for block in images.blocks(TOGETHER):
                file.write(_as_bytes(images.path, block).tobytes())
                done += len(block)
            if progress:
                progress(784 * done, 784 * sum(counts))
    with arrays.rows_written(labels_path, np.uint8, labels.shape) as file:
        file.write(labels.tobytes())
    described = {
        "images": images_path.name,
        "labels": labels_path.name,
        "chunks": counts,
        "sha256": digests(images_path)["sha256"],
    }
    with arrays.open_for_writing(record, 4096) as file:
        file.write(json.dumps(described, indent=1).encode() + b"\n")
    for old in record.parent.glob("*.npy"):  # of an import before this one
        if old.name not in (images_path.name, labels_path.name):
            old.unlink(missing_ok=True)


def _chunks(folder: Path) -> list[tuple[arrays.Rows, arrays.Rows]]:
    """Images and labels of each chunk, in order."""

    def ordered(paths: list[Path]) -> list[Path]:
        return sorted(paths, key=lambda path: [int(n) for n in re.findall(r"\d+", path.stem)[-1:]] or [0])

    if not folder.is_dir():
        raise DataError(f"expected a folder with MNIST-1M's {CHUNKS} chunks, got {folder}, which is not one")
    packed = ordered(list(folder.glob("*.npz")))
    loose = list(folder.glob("*.npy"))
    labels = ordered([path for path in loose if "label" in path.stem.lower()])
    images = ordered([path for path in loose if "label" not in path.stem.lower()])
    if len(packed) == CHUNKS and not loose:
        return [_pair(path) for path in packed]
    if len(images) == len(labels) == CHUNKS and not packed:
        return [(arrays.in_npy(x), arrays.in_npy(y)) for x, y in zip(images, labels, strict=True)]
    raise DataError(
        f"expected in {folder} either {CHUNKS} .npz, or {CHUNKS} .npy of images and {CHUNKS} of labels, found {len(packed)} "
        f".npz, {len(images)} .npy of images and {len(labels)} of labels"
    )


def _pair(path: Path) -> tuple[arrays.Rows, arrays.Rows]:
    with zipfile.ZipFile(path) as archive:
        keys = {name.removesuffix(".npy") for name in archive.namelist()}
    for x, y in (("images", "labels"), ("X", "Y"), ("x", "y"), ("X", "y")):
        if {x, y} <= keys:
            return arrays.in_npz(path, x), arrays.in_npz(path, y)
    raise DataError(f"{path} holds {', '.join(sorted(keys))}: expected images and labels, or X and Y")


def _class_numbers(folder: Path, labels: arrays.Rows) -> np.ndarray:
    y = labels.read(0, len(labels)).reshape(len(labels), -1)
    if y.shape[1] != 1 or not np.isin(y, range(10)).all():
        raise DataError(f"{labels.path} holds labels of shape {labels.shape}: expected (n,), whole numbers from 0 to 9")
    return y[:, 0].astype(np.uint8)


def _as_bytes(path: Path, block: np.ndarray) -> np.ndarray:
    if math.prod(block.shape[1:]) != 784:
        raise DataError(f"{path} holds images of shape {block.shape[1:]}: expected 28×28")
    if block.dtype == np.uint8:
        return block
    if block.dtype.kind != "f" or not (np.isfinite(block).all() and block.min() >= 0 and block.max() <= 1):
        raise DataError(
            f"{path} holds {block.dtype} from {block.min():g} to {block.max():g}: expected bytes, or grey levels in [0, 1]"
        )
    return np.rint(block * 255).astype(np.uint8)


MNIST1M = Imported(
    "mnist1m", 1, 28, 10, (0.1307,), (0.3081,),
    "MNIST-1M: digits from a class-conditional diffusion model, 28×28, each seen once",
    "that of whoever gave you the chunks",
    (), _opened,
)  # fmt: skip
