"""``kernel.cpp`` with its headers, built once by this machine's own C++ compiler and kept where only its user can write.

A library that somebody else put into the cache would run with the reader's rights: so the folder and the file must be the
user's own, closed to others, and no links. Where the cache is not that, or takes nothing, or nothing may be loaded from it, the
kernel is built anew for this process in a fresh private folder.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "kernel.cpp"
FLAGS = ("-O3", "-march=native", "-std=gnu++17", "-shared", "-fPIC")  # gnu++: a·b + c may be one instruction

_lock = threading.Lock()


class Missing(RuntimeError):
    """The kernel cannot be had here; the message says why."""


class Build(NamedTuple):
    """What a build depends on.

    Attributes:
        compiler: its path. version: the first line of what it says of itself.
        identity: a hash of both, its flags and the processor: kernels of one identity give the same bits.
    """

    compiler: str
    version: str
    identity: str


def library() -> ctypes.CDLL | None:
    """The built kernel, or None where it cannot be had: without a C++ compiler the engines in torch do the same, slower."""
    found = _load()
    return found if isinstance(found, ctypes.CDLL) else None


def reason() -> str:
    """Why there is no kernel here; empty where there is one."""
    found = _load()
    return "" if isinstance(found, ctypes.CDLL) else found


def build() -> Build | None:
    """What the kernel was built by; None where there is none. Its last bits are a compiler's and a processor's own."""
    return _describe_build() if library() else None


def source() -> str:
    """The kernel's whole text, headers first in the order of their names."""
    return "\n".join(path.read_text(encoding="utf-8") for path in [*sorted(FOLDER.glob("*.h")), SOURCE])


def _load() -> ctypes.CDLL | str:
    with _lock:  # two threads that ask at once get one build
        return _load_once()


@cache
def _load_once() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    try:
        made = _describe_build()
    except Missing as error:
        return str(error)
    failures = []
    for place in (_cache, _fresh_folder):
        try:
            with place() as folder:
                return ctypes.cdll.LoadLibrary(str(_find_or_build(folder, made)))
        except OSError as error:
            failures.append(" ".join(str(error).split()))
    return "; then: ".join(dict.fromkeys(failures))


@contextmanager
def _cache() -> Iterator[Path]:
    """The user's cache.

    Raises:
        OSError: it cannot be written, another user could write there, or the user has none.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(home):  # neither HOME nor an entry among the system's users
        raise FileNotFoundError("no home folder is known: set XDG_CACHE_HOME to a folder that can be written")
    folder = Path(home, "richness", "kernel")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise PermissionError(
            f"{folder} is not a folder of this user alone (mode 0700): remove it, or set XDG_CACHE_HOME"
        )
    yield folder


@contextmanager
def _fresh_folder() -> Iterator[Path]:
    """A new private folder, removed once the library is loaded: what is mapped stays."""
    with tempfile.TemporaryDirectory(prefix="richness-") as name:
        yield Path(name)


def _find_or_build(folder: Path, made: Build) -> Path:
    """The library's file, named by what it was built from and by its own checksum: half a library crashes its reader."""
    stem = f"kernel-{_short_hash(f'{made.identity} {source()}'.encode())}"
    for found in folder.glob(f"{stem}-*.so"):
        about = found.lstat()
        own = stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o022
        if own and found.stem.endswith(_short_hash(found.read_bytes())):
            return found
        found.unlink()
    part = folder / f".{stem}.{os.getpid()}"
    run = _run([made.compiler, *FLAGS, str(SOURCE), "-o", str(part)])
    if run.returncode:
        raise OSError(f"{made.compiler} could not build the kernel in {folder}: {run.stderr.strip()[-300:]}")
    part.chmod(0o700)
    whole = folder / f"{stem}-{_short_hash(part.read_bytes())}.so"
    os.replace(part, whole)  # two processes that build at once leave whole files
    return whole


@cache
def _describe_build() -> Build:
    compiler = _find_compiler()
    said = _run([compiler, "--version"]).stdout
    identity = _short_hash("\n".join([compiler, said, *FLAGS, _processor()]).encode())
    return Build(compiler, said.partition("\n")[0], identity)


def _find_compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        found = shutil.which(name) if name else None
        if found and platform.system() != "Windows":
            return found
    raise Missing("no C++ compiler is installed; on Debian and Ubuntu: sudo apt-get install g++")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """A command that speaks English, in whatever bytes."""
    environment = os.environ | {"LC_ALL": "C"}
    return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=environment)


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _processor() -> str:
    """What ``-march=native`` depends on: a cache may be shared between machines."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        lines = {line for line in text.splitlines() if line.startswith(("model name", "flags", "Features", "CPU part"))}
        return "\n".join(sorted(lines))
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
