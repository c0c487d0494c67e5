"""Files too large for the package: where they lie on this machine, and how they are brought there.

A file is downloaded beside its place, under the name ``*.part``, and moved there whole once it is complete and its checksum is
right: whoever finds it, finds all of it. A download that breaks off goes on from where it stopped, now or when it is asked for
again. Beside each file lies a record, ``*.json``, with its SHA-256: where no checksum is published, the one of the first
download is what later looks are held to.

Nothing here runs unless it is asked for by name: drawing a batch never starts a download, it says what is missing.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import filelock

CHUNK = 2**20  # bytes hashed, or unpacked, at a time
RECEIVED = 2**16  # bytes received at a time: what a breaking connection may lose
TRIES = 5  # in a row that bring nothing, before a download is given up
WORTH = 2**20  # bytes that make a try one that has brought something
PATIENCE = (10.0, 30.0)  # seconds to wait for a connection, and for the next byte
SLOWEST = 1_000  # bytes a second, below which a connection is given up,
LULL = 60.0  # seconds over which that is counted
PAUSE = 1.0  # seconds before the second try; then twice as long each time, up to a minute
SPARE = 2**26  # bytes of disk to leave free

Progress = Callable[[int, int | None], None]  # bytes there, bytes in all or None where the server does not say


class DataError(RuntimeError):
    """A file that is missing, damaged or not to be had; the message says which and what to do."""


@dataclass(frozen=True)
class Source:
    """A file that someone else publishes.

    Attributes:
        name: its place under the cache folder, such as ``cifar5m/part0.npz``.
        url: where it is published.
        size: in bytes.
        exact: whether the size is published to the byte; else it may be half off, no more.
        digest: the published checksum, ``md5:…`` or ``sha256:…``; empty where there is none.
        task: the task that needs it.
    """

    name: str
    url: str
    size: int
    exact: bool = True
    digest: str = ""
    task: str = ""

    @property
    def most(self) -> int:
        """Bytes that the file cannot exceed."""
        return self.size if self.exact else int(1.5 * self.size)

    @property
    def path(self) -> Path:
        """Where it belongs on this machine."""
        return cache_folder() / self.name

    @property
    def said_size(self) -> str:
        """Its size in words."""
        return megabytes(self.size) if self.exact else f"about {megabytes(self.size)}"

    def fits(self, size: int) -> bool:
        """Whether the file can have that many bytes."""
        return size == self.size if self.exact else 0.5 * self.size < size <= self.most


def cache_folder() -> Path:
    """Where downloaded data lie: ``RICHNESS_DATA``, or ``richness/data`` in the platform's cache folder."""
    import platformdirs

    chosen = os.environ.get("RICHNESS_DATA")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("richness")) / "data"


def megabytes(count: float) -> str:
    """Bytes in words: ``248 MB``, ``3.07 GB``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"


def missing(source: Source, why: str = "is not on this machine") -> DataError:
    """The error that tells all a reader needs to bring the file here by other means."""
    return DataError(
        f"{source.path.name} {why}. It has {source.said_size} and comes from {source.url}: with a network, "
        f"'richness fetch {source.task}' brings it; without one, copy it to {source.path} (RICHNESS_DATA names another folder)"
    )


def locate(source: Source) -> Path:
    """The file in the cache, looked at again if it has changed since it was last; never downloads.

    Raises:
        DataError: it is not there, or is not the file that was published or first downloaded.
    """
    path = source.path
    if not path.is_file():
        raise missing(source)
    wrong = _wrong(source, path)
    if wrong:
        raise missing(source, f"in the cache is damaged or another file ({wrong})")
    return path


def fetch(source: Source, progress: Progress | None = None, verify: bool = False) -> Path:
    """The file in the cache, downloaded if it is not there; one process at a time downloads, others wait for it.

    Args:
        progress: called with the bytes there and the bytes in all; a bar on a terminal if None.
        verify: compute the checksum again even if neither size nor time of the file have changed.

    Raises:
        DataError: no network, no such file there, another file than was published, or no room on the disk. What is downloaded
            so far is kept, and the next call goes on from it.
    """
    path = source.path
    with lock(path):
        if path.is_file():
            wrong = _wrong(source, path, verify)
            if not wrong:
                return path
            print(f"{path} is damaged or another file ({wrong}): downloading it again", file=sys.stderr)
        with _shown(path.name, progress) as tell:
            _download(source, path, tell)
    return path


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Alone with a file; the lock of a killed process is free again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(f"{path}.lock")
        lock.acquire()
    except OSError as error:
        raise DataError(
            f"cannot write {path.parent} ({error.strerror or error}): choose another folder for data with RICHNESS_DATA"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _shown(name: str, progress: Progress | None) -> Iterator[Progress]:
    if progress is not None:
        yield progress
        return
    from tqdm import tqdm

    with tqdm(desc=name, unit="B", unit_scale=True, disable=None, file=sys.stderr) as bar:

        def tell(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell


# Is it the file? -----------------------------------------------------------------------------------------------------


def digests(path: Path) -> dict[str, str]:
    """``md5`` and ``sha256`` of a file, in hex, read in pieces."""
    found = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    with open(path, "rb") as file:
        while piece := file.read(CHUNK):
            for one in found.values():
                one.update(piece)
    return {name: one.hexdigest() for name, one in found.items()}


def _record(path: Path) -> dict[str, Any]:
    """What is known of a file: sha256, size, mtime_ns, url, date; empty where nothing is, or nothing that can be read."""
    try:
        found = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
        return found if isinstance(found["sha256"], str) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _keep_record(source: Source, path: Path, sha256: str, first: str | None) -> None:
    stat = path.stat()
    record = {
        "url": source.url,
        "sha256": sha256,
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "first_seen": first or datetime.now(UTC).isoformat(timespec="seconds"),
    }
    temporary = Path(f"{path}.json.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, f"{path}.json")
    except OSError:  # a cache that may only be read serves as well: the file is then hashed at every first use
        temporary.unlink(missing_ok=True)


def _wrong(source: Source, path: Path, verify: bool = False) -> str:
    """What is wrong with a file in the cache; empty where nothing is."""
    stat, record = path.stat(), _record(path)
    if not source.fits(stat.st_size):
        return f"expected {source.said_size}, found {stat.st_size} bytes"
    if not verify and (record.get("size"), record.get("mtime_ns")) == (stat.st_size, stat.st_mtime_ns):
        return ""
    found = digests(path)
    wrong = _mismatch(source, found)
    if not wrong and record.get("sha256", found["sha256"]) != found["sha256"]:
        wrong = f"at first it had SHA-256 {record['sha256'][:12]}…, now {found['sha256'][:12]}…"
    if not wrong:
        _keep_record(source, path, found["sha256"], record.get("first_seen"))
    return wrong


def _mismatch(source: Source, found: dict[str, str]) -> str:
    kind, _, expected = source.digest.partition(":")
    if expected and found[kind] != expected:
        return f"expected {kind} {expected[:12]}…, found {found[kind][:12]}…"
    return ""


# The download --------------------------------------------------------------------------------------------------------


class _Interrupted(Exception):
    """This try has failed, the next may not."""


def _download(source: Source, path: Path, tell: Progress) -> None:
    part = Path(f"{path}.part")
    for last in (False, True):
        _persist(source, part, tell)
        found = digests(part)
        wrong = _mismatch(source, found) or _not_whole(source, part)
        if not wrong:
            break
        _discard(part)  # perhaps put together from two versions: once more, from the beginning
        if last:
            raise DataError(
                f"{source.url} does not serve the file that was published ({wrong}): it may have been changed, or a proxy "
                f"stands between; get it elsewhere and copy it to {path}"
            )
    try:
        os.replace(part, path)
        _tag(part).unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    _keep_record(source, path, found["sha256"], None)


def _not_whole(source: Source, part: Path) -> str:
    """Why this cannot be all of the file; empty where it can: its size, and where no checksum is published, the zip's own."""
    if not source.fits(_size(part)):
        return f"expected {source.said_size}, got {_size(part)} bytes"
    if source.digest or part.with_suffix("").suffix not in (".npz", ".zip"):
        return ""
    try:
        with zipfile.ZipFile(part) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        return f"it is not a whole zip: {error}"
    return f"{broken} in the zip is damaged" if broken else ""


def _persist(source: Source, part: Path, tell: Progress) -> None:
    """Try again and again until ``part`` is complete, as long as tries bring it further than any before."""
    failed, furthest = 0, _size(part)
    while not (source.exact and _size(part) == source.size):
        try:
            return _continue(source, part, tell)
        except _Interrupted as error:
            failed = 1 if _size(part) - furthest >= WORTH else failed + 1
            furthest = max(furthest, _size(part))
            if failed >= TRIES:
                kept = f"; the first {megabytes(_size(part))} are kept, and the next try goes on from there"
                raise missing(source, f"could not be downloaded ({error}{kept if _size(part) else ''})") from error
            time.sleep(min(60.0, PAUSE * 2 ** (failed - 1)))


def _continue(source: Source, part: Path, tell: Progress) -> None:
    """One try: ask for what is missing, and append it.

    Raises:
        _Interrupted: the connection broke, stalled, or the server is out of order for now.
        DataError: another try would not help.
    """
    import requests
    import urllib3

    have, tag = _size(part), _tag(part)
    headers = {"Accept-Encoding": "identity"}  # else sizes and ranges would be of something packed
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.exists():
            headers["If-Range"] = tag.read_text(encoding="utf-8")
    try:
        with requests.get(source.url, headers=headers, stream=True, timeout=PATIENCE) as answer:
            start, total = _understood(source, part, answer, have)
            if start == total:
                return
            _room(source, part, (total or source.size) - start)
            if not start:
                strong = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
                _discard(part)
                if strong and not strong.startswith("W/"):
                    tag.write_text(strong, encoding="utf-8")
            # Raw: a server that calls a .gz file an encoding of another would have it unpacked on the way.
            _append(source, part, _pieces(answer.raw), start, total, tell)
    except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
        raise _Interrupted(_words(error)) from error
    except OSError as error:  # of files: those of the connection are among the above
        raise _unwritable(part, error) from error
    if _size(part) != total if total is not None else not source.fits(_size(part)):
        whole = f"{total} bytes" if total is not None else source.said_size
        raise _Interrupted(f"the connection ended after {_size(part)} bytes of {whole}")


def _understood(source: Source, part: Path, answer: Any, have: int) -> tuple[int, int | None]:
    """Where in the file the answer begins, and how long the file is."""
    status = answer.status_code
    total: int | None = None
    if status == 206:
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if not said or int(said[1]) != have:
            _discard(part)
            raise _Interrupted("the server answered with another part of the file than was asked for")
        start, total = have, None if said[2] == "*" else int(said[2])
    elif status == 200:  # it does not know ranges, or the file has changed: all of it comes
        length = answer.headers.get("Content-Length", "")
        start, total = 0, int(length) if length.isdigit() else None
    elif status == 416 and have:  # there is nothing after what is here: complete, or too much
        said = re.fullmatch(r"bytes \*/(\d+)", answer.headers.get("Content-Range", ""))
        if said and int(said[1]) == have:
            return have, have
        _discard(part)
        raise _Interrupted("what was downloaded before is longer than the file")
    elif status in (408, 425, 429) or status >= 500:
        raise _Interrupted(f"the server answered {status} {answer.reason}")
    else:
        raise missing(source, f"could not be downloaded (the server answered {status} {answer.reason})")
    if total is not None and not source.fits(total):
        raise missing(source, f"is another file there now, or none (the server has one of {total} bytes)")
    return start, total


def _room(source: Source, part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed + SPARE:
        raise DataError(
            f"{source.path.name} needs {megabytes(needed + SPARE)} of disk, and {part.parent} has {megabytes(free)} free: make "
            "room, or choose another folder with RICHNESS_DATA"
        )


def _pieces(raw: Any) -> Iterator[bytes]:
    """An answer's body as it comes, at most `RECEIVED` bytes at a time.

    Raises:
        _Interrupted: it comes too slowly to ever be there.
    """
    # A read of so many bytes waits for all of them, however slowly they come; read1, of urllib3 from 2.2 on, does not.
    read = getattr(raw, "read1", raw.read)
    since, came = time.monotonic(), 0
    while piece := read(RECEIVED, decode_content=False):
        yield piece
        came += len(piece)
        if (waited := time.monotonic() - since) >= LULL:
            if came < SLOWEST * waited:
                raise _Interrupted(f"only {came} bytes came in {waited:.0f} s")
            since, came = time.monotonic(), 0


def _append(source: Source, part: Path, pieces: Iterator[bytes], start: int, total: int | None, tell: Progress) -> None:
    done, most = start, total if total is not None else source.most
    tell(done, total)
    with _writable(part) as file:
        for piece in pieces:
            if done + len(piece) > most:
                _discard(part)
                raise missing(
                    source, f"could not be downloaded (the server sends more than the {most} bytes it can have)"
                )
            try:
                file.write(piece)
                file.flush()
            except OSError as error:
                raise _unwritable(part, error) from error
            done += len(piece)
            tell(done, total)


@contextmanager
def _writable(part: Path) -> Iterator[IO[bytes]]:
    try:
        file = open(part, "ab")  # noqa: SIM115 (closed below, and what is left in it by then may not fit either)
    except OSError as error:
        raise _unwritable(part, error) from error
    try:
        yield file
    finally:
        with suppress(OSError):
            file.close()


def _unwritable(part: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write {part} ({error.strerror or error}): what is there is kept; make room, or choose another folder with "
        "RICHNESS_DATA, and ask again"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tag(part: Path) -> Path:
    """Where the server's name for this version of the file is kept, while it is downloaded."""
    return Path(f"{part}.etag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)


def _words(error: BaseException) -> str:
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:200]
