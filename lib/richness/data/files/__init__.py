"""The paper's own data, and two small sets beside them, read from files; a module a set.

Each is a :class:`FileSet`: where its files come from, how they are opened, how pixels are normalised. Files are fetched when
they are asked for by name (``richness.task("cifar10")``, ``richness fetch cifar10``), never by drawing a batch.

Sets of samples that are *finite* are seen once, in an order of the seed's (:mod:`richness.data.order`); after the last one
another pass begins, and a warning says so. TinyImageNet is a stream without end: images drawn with replacement, each bent and
tinted afresh (:func:`richness.data.files.tinyimagenet.augment`). Where no file is at hand, the task ``digits`` stands in for
MNIST-1M: endless deformations of 8,000 real digits, of the same size and kind.
"""

from __future__ import annotations

import re

from richness.data.files import cifar5m
from richness.data.files.cifar10 import CIFAR10
from richness.data.files.common import FileSet
from richness.data.files.fashion import FASHION
from richness.data.files.mnist1m import MNIST1M
from richness.data.files.tinyimagenet import TINYIMAGENET

FILE_SETS: dict[str, FileSet] = {
    made.name: made for made in (cifar5m.of_parts(), TINYIMAGENET, CIFAR10, MNIST1M, FASHION)
}


def file_set(name: str) -> FileSet | None:
    """The set of a task's name, ``cifar5m_02`` for parts 0 and 2 of CIFAR-5M among them; None where it is no set of files."""
    if name in FILE_SETS:
        return FILE_SETS[name]
    parts = re.fullmatch(r"cifar5m_([0-4]{1,4})", name)
    if not parts or sorted(set(parts[1])) != list(parts[1]):
        return None
    return cifar5m.of_parts([int(digit) for digit in parts[1]])


__all__ = ["FILE_SETS", "FileSet", "file_set"]
