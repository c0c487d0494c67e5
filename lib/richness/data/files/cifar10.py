"""CIFAR-10, from the archive of its Python version: pickles, of which only arrays and numbers are read."""

from __future__ import annotations

import io
import pickle
import re
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from richness.data.fetch import DataError, Source
from richness.data.files.common import FileSet, Opened, check
from richness.data.order import Held, Samples


class _Arrays(pickle.Unpickler):
    """Reads dictionaries of numbers, text and NumPy arrays; whatever else a pickle may name is refused, not run."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("_reconstruct"): np.empty(0).__reduce__()[0],
            ("ndarray"): np.ndarray,
            ("dtype"): np.dtype,
        }  # fmt: skip
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray") and name in allowed:
            return allowed[name]
        if (module, name) == ("_codecs", "encode"):
            return lambda text, coding: text.encode("latin1" if coding == "latin1" else "ascii")
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no such file needs")


def _opened(paths: Sequence[Path]) -> Opened:
    (path,) = paths
    batches: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                file = archive.extractfile(member)
                if file is not None and re.fullmatch(r"data_batch_\d|test_batch", name):
                    batches[name] = _cifar10_batch(path, name, file.read())
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path} is not a whole .tar.gz ({error}): delete it and fetch it again") from error
    train = sorted(set(batches) - {"test_batch"})
    if "test_batch" not in batches or not train:
        raise DataError(f"{path} is not CIFAR-10's: expected data_batch_1 to 5 and test_batch, found {sorted(batches)}")
    images, labels = (np.concatenate([batches[name][k] for name in train]) for k in (0, 1))
    x, y = batches["test_batch"]
    return Samples("CIFAR-10", [Held(images)], [labels]), Samples("CIFAR-10's test batch", [Held(x)], [y])


def _cifar10_batch(path: Path, name: str, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        found = _Arrays(io.BytesIO(raw), encoding="bytes").load()
        x, y = np.asarray(found[b"data"]), np.asarray(found[b"labels"], dtype=np.int64)
        images = x.reshape(-1, 3, 32, 32)
    except (pickle.UnpicklingError, KeyError, TypeError, ValueError, AttributeError, IndexError, EOFError) as error:
        raise DataError(f"{path}: {name} is not a batch of CIFAR-10 ({type(error).__name__}: {error})") from error
    check("CIFAR-10", path, images, y, (3, 32, 32), 10)
    return images, y


CIFAR10 = FileSet(
    "cifar10", 3, 32, 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616),
    "CIFAR-10: 50,000 photographs of ten kinds, 32×32, each seen once a pass",
    "none stated; its page asks to cite A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    (Source(
        "cifar10/cifar-10-python.tar.gz", "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", 170_498_071,
        digest="md5:c58f30108f718f92721af3b95e74349a", task="cifar10",
    ),),
    _opened,
)  # fmt: skip
