"""One process at a time in a folder, where two would undo each other's work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from richness.runs.results import ResultError


@contextlib.contextmanager
def lock_folder(folder: Path, taken: str) -> Iterator[None]:
    """Alone at work in a folder, which is made; a killed process holds nothing back.

    Args:
        taken: what is said where another process has it: who that may be, and what to do.

    Raises:
        ResultError: another process is at work there, or the folder cannot be written.
    """
    lock = filelock.FileLock(folder / ".lock", blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise ResultError(taken) from error
    except OSError as error:
        raise ResultError(f"cannot write {folder} ({error.strerror or error}); choose another --out") from error
    try:
        yield
    finally:
        lock.release()
