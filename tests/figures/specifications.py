"""What the tests of figures share: a walk through a chart's specification."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every object within a specification, its data left out."""
    if isinstance(node, dict):
        yield node
        for key, value in node.items():
            if key not in ("datasets", "values"):
                yield from parts(value)
    elif isinstance(node, list):
        for value in node:
            yield from parts(value)
