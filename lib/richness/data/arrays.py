"""Arrays on disk, read by rows and never whole: NumPy's ``.npy``, alone or as a member of an ``.npz``; and, whole, those of the
package."""

from __future__ import annotations

import hashlib
import io
import math
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any

import numpy as np

from richness.data.fetch import CHUNK, SPARE, DataError, megabytes


def load_shipped(name: str, sha256: str) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` in this package's ``data`` folder.

    Raises:
        RuntimeError: the file is missing or is not the one this code was written for.
    """
    try:
        raw = resources.files("richness.data").joinpath(name).read_bytes()
    except FileNotFoundError:
        raise RuntimeError(f"richness/data/{name} is missing: reinstall the package") from None
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise RuntimeError(
            f"richness/data/{name} is damaged: expected SHA-256 {sha256[:12]}…, found {found[:12]}…; reinstall the package, or "
            "check the file out again"
        )
    with np.load(io.BytesIO(raw)) as file:
        return dict(file)


@dataclass(frozen=True)
class Rows:
    """An array in a file, C order, from ``offset`` on.

    Attributes:
        path: the file. offset: of its first byte in it. dtype, shape: of the array; the first axis is that of rows.
    """

    path: Path
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, first: int, count: int) -> np.ndarray:
        """Rows ``first`` to ``first + count``: (count, ...)."""
        with open(self.path, "rb") as file:
            return self._filled(file, first, np.empty((count, *self.shape[1:]), self.dtype))

    def take(self, index: np.ndarray) -> np.ndarray:
        """The rows of these numbers, one by one: (len(index), ...)."""
        out = np.empty((len(index), *self.shape[1:]), self.dtype)
        with open(self.path, "rb", buffering=0) as file:
            for place, row in enumerate(index.tolist()):
                self._filled(file, row, out[place : place + 1])
        return out

    def blocks(self, count: int) -> Iterator[np.ndarray]:
        """All rows, ``count`` at a time."""
        for first in range(0, len(self), count):
            yield self.read(first, min(count, len(self) - first))

    def _filled(self, file: Any, first: int, out: np.ndarray) -> np.ndarray:
        if not 0 <= first <= len(self) - len(out):
            raise IndexError(f"rows {first} to {first + len(out)} of {len(self)}")
        file.seek(self.offset + first * self.row_bytes)
        wanted = memoryview(out.reshape(-1).view(np.uint8).data)
        got = 0
        while got < len(wanted) and (n := file.readinto(wanted[got:])):
            got += n
        if got < len(wanted):
            raise DataError(f"{self.path} ends too early: it was cut off; delete it and fetch it again")
        return out


def in_npy(path: Path) -> Rows:
    """The array of an ``.npy`` file.

    Raises:
        DataError: not such a file, or one whose array is of objects, in Fortran order, or cut off.
    """
    with open(path, "rb") as file:
        return _described(path, file, 0)


def in_npz(path: Path, key: str) -> Rows:
    """An array of an ``.npz``, where it lies: stored as it is, it is read from inside the zip; deflated, where no row can be
    found without all before it, it is unpacked once, beside the zip, in pieces.

    Raises:
        DataError: not a zip, no such array, one that cannot be read by rows, damaged, or no room to unpack it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if key not in names:
                raise DataError(f"{path} holds no array {key!r}: expected it among {', '.join(names) or '(nothing)'}")
            member = archive.getinfo(f"{key}.npy")
            if member.compress_type != zipfile.ZIP_STORED:
                return in_npy(_unpacked(archive, member, path))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path} is not a whole .npz ({error}): delete it and fetch it again") from error
    with open(path, "rb") as file:
        file.seek(member.header_offset)
        header = file.read(30)  # the local header; the directory's copy has other lengths of its two last fields
        start = member.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
        file.seek(start)
        return _described(path, file, start)


def _described(path: Path, file: IO[bytes], start: int) -> Rows:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise DataError(f"{path} is not a NumPy array ({error})") from error
    if (fortran and len(shape) > 1) or dtype.hasobject or not shape:
        raise DataError(
            f"{path} holds {dtype} of shape {shape} in {'Fortran' if fortran else 'C'} order: expected numbers in C order"
        )
    rows = Rows(path, file.tell(), dtype, shape)
    if path.stat().st_size < rows.offset + len(rows) * rows.row_bytes:
        raise DataError(f"{path} ends too early: it was cut off; delete it and fetch it again")
    return rows


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Path:
    place = path.with_name(f"{path.stem}-{member.filename.removesuffix('.npy')}-{member.CRC:08x}.npy")
    if not place.exists():
        with open_for_writing(place, member.file_size) as file, archive.open(member) as packed:
            shutil.copyfileobj(packed, file, CHUNK)  # zipfile compares the checksum at the end
    return place


@contextmanager
def open_for_writing(place: Path, size: int) -> Iterator[IO[bytes]]:
    """A file to write that is there whole at the end or not at all.

    Args:
        size: bytes that it will take: they must be free.

    Raises:
        DataError: no room, or the folder cannot be written to.
    """
    temporary = place.with_name(f"{place.name}.{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(place.parent).free
        if free < size + SPARE:
            raise DataError(
                f"{place.name} needs {megabytes(size + SPARE)} of disk, and {place.parent} has {megabytes(free)} free: make "
                "room, or choose another folder with RICHNESS_DATA"
            )
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
    except OSError as error:
        raise DataError(
            f"cannot write {place} ({error.strerror or error}): choose another folder with RICHNESS_DATA"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def rows_written(place: Path, dtype: Any, shape: tuple[int, ...]) -> Iterator[IO[bytes]]:
    """An ``.npy`` of that dtype and shape, to be filled with rows, in order."""
    dtype = np.dtype(dtype)
    with open_for_writing(place, math.prod(shape) * dtype.itemsize) as file:
        described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, described)
        start = file.tell()
        yield file
        if file.tell() - start != math.prod(shape) * dtype.itemsize:
            raise DataError(f"{place}: {file.tell() - start} bytes were written where {shape} of {dtype} were promised")
