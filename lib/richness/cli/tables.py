"""Plain tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def format_table(rows: Sequence[dict[str, Any]], columns: Sequence[str], widest: int = 48) -> str:
    """The columns aligned, numbers to three digits, long cells cut with an ellipsis."""
    body = [[_format_cell(row.get(column), widest) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *body, strict=True)]
    lines = [columns, ["-" * width for width in widths], *body]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _format_cell(value: Any, widest: int) -> str:
    text = "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= widest else text[: widest - 1] + "…"
