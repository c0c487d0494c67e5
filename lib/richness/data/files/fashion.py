"""Fashion-MNIST, in MNIST's own format (idx)."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from richness.data.fetch import DataError, Source
from richness.data.files.common import FileSet, Opened, check
from richness.data.order import Held, Samples

#: SHA-256 of the four files, unpacked: they are the same however a mirror has packed them (Debian packs them anew).
CONTENT = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}  # fmt: skip


def read_idx(path: Path, sha256: str = "") -> np.ndarray:
    """An array of bytes in the idx format of MNIST, packed with gzip or not.

    Args:
        sha256: of the unpacked file, if it is known.

    Raises:
        DataError: another format, another length than its header says, or another checksum.
    """
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole .gz ({error}): delete it and fetch it again") from error
    if raw[:3] != b"\x00\x00\x08" or len(raw) < 4 + 4 * raw[3]:
        raise DataError(f"{path} is not an idx file of bytes: it begins with {raw[:4].hex(' ')}, expected 00 00 08")
    shape = tuple(np.frombuffer(raw, ">i4", raw[3], 4).tolist())
    if len(raw) - 4 - 4 * raw[3] != math.prod(shape):
        raise DataError(
            f"{path} has {len(raw) - 4 - 4 * raw[3]} bytes after a header that says {shape}: it was cut off"
        )
    found = hashlib.sha256(raw).hexdigest()
    if sha256 and found != sha256:
        raise DataError(
            f"{path} holds other data than was published (expected SHA-256 {sha256[:12]}…, found {found[:12]}…)"
        )
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def _opened(paths: Sequence[Path]) -> Opened:
    x, y, x_test, y_test = (read_idx(path, CONTENT.get(path.name, "")) for path in paths)
    for path, images, labels in ((paths[0], x, y), (paths[2], x_test, y_test)):
        check("Fashion-MNIST", path, images, labels, (28, 28), 10)
    return (
        Samples("Fashion-MNIST", [Held(x[:, None])], [y]),
        Samples("Fashion-MNIST's test set", [Held(x_test[:, None])], [y_test]),
    )


ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

FASHION = FileSet(
    "fashion", 1, 28, 10, (0.2860,), (0.3530,),
    "Fashion-MNIST: 60,000 articles of clothing of ten kinds, 28×28, each seen once a pass",
    "MIT (Zalando SE)",
    tuple(
        Source(f"fashion/{name}", ADDRESS + name, size, digest=f"md5:{md5}", task="fashion")
        for name, size, md5 in (
            ("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            ("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
            ("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
            ("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        )
    ),
    _opened, folders=(Path("/usr/share/datasets/fashion-mnist"),),
)  # fmt: skip
