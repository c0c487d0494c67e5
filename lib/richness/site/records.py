"""What executed chapters have measured, a row each: collected from the notebooks of many variants."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from richness.plots.records import RECORD
from richness.site.parameters import BadParameter

__all__ = ["collect"]


def collect(paths: Iterable[Path]) -> tuple[list[dict[str, Any]], set[str]]:
    """A row an executed notebook: ``notebook``, ``chapter``, ``outcome``, its parameters, and what it recorded.

    Args:
        paths: executed notebooks, and folders of them.

    Returns:
        The rows, in the order of their chapters and parameters, and the names of what was recorded.

    Raises:
        BadParameter: a path that is neither, or none that was executed by ``richness rerun`` or Papermill.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise BadParameter(f"expected executed notebooks or a folder of them, got {path}, which is not there.")
        found += sorted(path.glob("[!.]*.ipynb")) if path.is_dir() else [path]
    rows = [row for path in found if (row := _row_of(path))]
    rows.sort(key=lambda row: (row.made["chapter"], [_in_order(value) for value in row.parameters.values()]))
    if not rows:
        raise BadParameter(f"no executed notebook in {', '.join(map(str, paths))}: 'richness rerun CHAPTER' makes one.")
    every = [row.made | row.parameters | row.recorded for row in rows]
    return every, {name for row in rows for name in row.recorded}


class _Row(NamedTuple):
    made: dict[str, str]
    parameters: dict[str, Any]
    recorded: dict[str, Any]


def _in_order(value: Any) -> tuple[bool, float, str]:
    """Numbers by their size, and before words."""
    number = isinstance(value, int | float)
    return not number, float(value) if number else 0.0, str(value)


def _read_number(value: Any) -> Any:
    """JSON has no NaN nor infinity: kernels write them as words."""
    return float(value) if value in ("nan", "inf", "-inf") else value


def _row_of(path: Path) -> _Row | None:
    """Of one notebook; None of one that was not executed."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        metadata, cells = notebook["metadata"], notebook["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadParameter(f"{path} is not a readable notebook ({error}).") from error
    made = metadata.get("richness") or metadata.get("papermill")
    if made is None:
        return None
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    recorded = {name: _read_number(value) for data in outputs for name, value in data.get(RECORD, {}).items()}
    outcome = "ok" if "richness" in metadata else "failed"
    chapter = Path(metadata.get("papermill", {}).get("input_path") or path).stem
    return _Row({"notebook": path.name, "chapter": chapter, "outcome": outcome}, made["parameters"], recorded)
