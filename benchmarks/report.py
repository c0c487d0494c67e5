"""The rows of the bench, and where and when they were measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.contenders import Record
from richness.runs.results import processor_name
from richness.runs.training import cores

SCHEMA = 1
ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("richness", "torch", "numpy", "scipy", "jax", "jaxlib", "curvlinops-for-pytorch", "pyhessian")
INSTALL = "pip install -c constraints.txt -e '.[bench]'"


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: unique; its first word is the job that makes it. label: a few words for a figure.
        what: the work. peer: the other way to do it, or what is compared with.
        unit: of ``ours`` and ``theirs``.
        ratio: the number that the target is for, of the shortest times; ``spread``: the smallest and largest of
            one turn; ``by_processor``: the same ratio of processor seconds, which other work on the machine disturbs less, and
            which leaves out how many cores each could use; None where the ratio is of those already.
        target, sense: what the ratio should reach, ``at least`` or ``at most``; None where nothing was set.
        difference: largest difference of the results, found before anything was timed, and what is ``allowed``;
            ``compared`` says of what.
        seconds: of each lap, ``{"ours": {"wall": [...], "cpu": [...]}, "theirs": ...}``.
        workers: threads given to each, and cores kept busy (processor seconds a second).
        memory: MB resident of each: before the program ran, and at its peak.
        note: what else a reader must know. points: numbers of a curve.
        missing: which package the peer needs, and how to install it; failed: why nothing was timed. Then nothing else is known.
    """

    name: str
    label: str
    what: str
    peer: str
    unit: str = ""
    ours: float | None = None
    theirs: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    by_processor: float | None = None
    target: float | None = None
    sense: Literal["at least", "at most"] = "at least"
    difference: float | None = None
    allowed: float | None = None
    compared: str = ""
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    workers: dict[str, str] = field(default_factory=dict)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)
    note: str = ""
    points: list[dict[str, float]] = field(default_factory=list)
    missing: str = ""
    failed: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the ratio is where it should be, with results that agree; None without a target or a ratio."""
        if self.target is None or self.ratio is None:
            return None
        if self.difference is not None and self.allowed is not None and self.difference > self.allowed:
            return False
        return self.ratio >= self.target if self.sense == "at least" else self.ratio <= self.target


def of_records(**records: Record | None) -> dict[str, Any]:
    """The fields of a row that only say what each side used: seconds, workers, memory."""
    known = {side: record for side, record in records.items() if record is not None}
    return {
        "seconds": {side: {"wall": record.walls, "cpu": record.cpus} for side, record in known.items()},
        "workers": {side: _workers(record) for side, record in known.items()},
        "memory": {side: {"idle": record.idle_mb, "peak": record.peak_mb} for side, record in known.items()},
    }


def _workers(record: Record) -> str:
    busy = sum(record.cpus) / sum(record.walls)
    return f"{record.threads} thread{'s' if record.threads > 1 else ''}, {busy:.2f} cores busy"


def how_to_install(error: ModuleNotFoundError) -> str:
    """What a row says whose peer's package is not installed."""
    return f"{error.name} is not installed: {INSTALL}"


def provenance() -> dict[str, Any]:
    """The machine, the code and the moment."""
    commit, dirty = _git()
    return {
        "commit": commit,
        "dirty": dirty,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor_name(),
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "blas": "MKL" if torch.backends.mkl.is_available() else "not MKL",
        "onednn": torch.backends.mkldnn.is_available(),
        "load": load(),
    }


def load() -> float | None:
    """Mean number of busy processes over the last minute: the machine was quiet if it is near 0 at the start."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _git() -> tuple[str, bool]:
    """The commit, and whether what is measured differs from it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, encoding="utf-8", check=True
        ).stdout.strip()

    try:
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", "lib", "benchmarks", ":!benchmarks/results"
        )
        return git("rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return "unknown", True


def as_data(rows: Iterable[Row], about: dict[str, Any]) -> dict[str, Any]:
    """The whole report as JSON's types; numbers to four digits."""
    listed = [_short(asdict(row) | {"reached": row.reached}) for row in rows]
    return {"schema": SCHEMA, "provenance": about, "rows": listed}


def _short(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, float | dict | list | tuple):
        return value
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else [_short(one) for one in value]
