"""``kernel.cpp``, built once by this machine's own C++ compiler and kept in the user's cache."""

from __future__ import annotations

import ctypes
import getpass
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("kernel.cpp")
FLAGS = ("-O3", "-march=native", "-std=gnu++17", "-shared", "-fPIC")  # gnu++: a·b + c may be one instruction


class Missing(RuntimeError):
    """The kernel cannot be had here; the message says why."""


def library() -> ctypes.CDLL | None:
    """The built kernel, or None where it cannot be had: without a C++ compiler the engines in torch do the same, slower."""
    found = _load()
    return found if isinstance(found, ctypes.CDLL) else None


def reason() -> str:
    """Why there is no kernel here; empty where there is one."""
    found = _load()
    return "" if isinstance(found, ctypes.CDLL) else found


@cache
def _load() -> ctypes.CDLL | str:
    try:
        return ctypes.CDLL(str(_kept()))
    except (Missing, OSError) as error:
        return " ".join(str(error).split())


def _kept() -> Path:
    """The built kernel's file, named by what it was built from and by its own checksum: half a library crashes its reader."""
    compiler = _compiler()
    version = subprocess.run([compiler, "--version"], capture_output=True, encoding="utf-8").stdout
    identity = _short_hash("\n".join([SOURCE.read_text(encoding="utf-8"), version, *FLAGS, _processor()]).encode())
    for folder in (_cache(), Path(tempfile.gettempdir()) / f"richness-{getpass.getuser()}"):
        try:
            for found in folder.glob(f"kernel-{identity}-*.so"):
                if found.stem.endswith(_short_hash(found.read_bytes())):
                    return found
                found.unlink()
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = folder / f".kernel-{identity}.{os.getpid()}"
            run = subprocess.run(
                [compiler, *FLAGS, str(SOURCE), "-o", str(part)], capture_output=True, encoding="utf-8"
            )
            if run.returncode:
                raise Missing(f"{compiler} could not build the kernel: {run.stderr.strip()[-300:]}")
            whole = folder / f"kernel-{identity}-{_short_hash(part.read_bytes())}.so"
            os.replace(part, whole)  # two processes that build at once leave whole files
            return whole
        except OSError:
            continue  # a folder that cannot be written
    raise Missing("there is no folder to keep the built kernel in: set XDG_CACHE_HOME to one that can be written")


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        found = shutil.which(name) if name else None
        if found and platform.system() != "Windows":
            return found
    raise Missing("no C++ compiler is installed; on Debian and Ubuntu: sudo apt-get install g++")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "richness"


def _processor() -> str:
    """What ``-march=native`` depends on: a cache may be shared between machines."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        lines = {line for line in text.splitlines() if line.startswith(("model name", "flags", "Features", "CPU part"))}
        return "\n".join(sorted(lines))
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
