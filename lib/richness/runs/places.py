"""Where results live: in a checkout's folders, or in those of an installed package."""

from __future__ import annotations

from functools import cache
from pathlib import Path

SCALES = ("smoke", "laptop", "paper")

_PACKAGE = Path(__file__).resolve().parents[1]


@cache
def checkout() -> Path | None:
    """The repository's root, where the package is used from a checkout; None from a wheel."""
    root = _PACKAGE.parents[1]
    return root if (root / "_config.yml").exists() or (root / "pyproject.toml").exists() else None


def precomputed_folder() -> Path:
    """Where measured results live: the checkout's ``precomputed/``, or the wheel's copy of it."""
    root = checkout()
    return root / "precomputed" if root else _PACKAGE / "precomputed"


def precomputed_path(name: str, scale: str) -> Path:
    return precomputed_folder() / scale / f"{name}.nc"


def bench_path() -> Path:
    """The stored report of ``richness bench``: the checkout's, or the wheel's copy of it."""
    root = checkout()
    return root / "benchmarks" / "results" / "bench.json" if root else _PACKAGE / "bench.json"


def runs_folder() -> Path:
    """Where reruns, stores and other things not kept in git go: ``runs/`` of the checkout, or of the working folder."""
    return (checkout() or Path.cwd()) / "runs"
