"""What the tests of figures share: a walk through a specification, its data and controls, and what every figure owes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import vl_convert


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


def controls(figure: Any) -> set[str]:
    """The signals that a reader can move."""
    return {signal["name"] for signal in figure.vega["signals"] if "bind" in signal}


def data(figure: Any, name: str) -> list[dict[str, Any]]:
    """The rows of one of a figure's data sets."""
    return figure.specification["datasets"][name]


def check_figure(figure: Any, *said: str, counts: bool = True) -> None:
    """Its drawing is one, in the text's colour; its numbers are numbers; its words are whole, and its caption says ``said``.

    ``counts``: whether its summary has a number in it.
    """
    json.dumps(figure.specification, allow_nan=False)
    svg = vl_convert.vegalite_to_svg(figure.chart.to_dict())
    assert svg.startswith("<svg") and "NaN" not in svg and "currentColor" in svg
    assert figure.summary.endswith(".") and "nan" not in figure.summary
    assert re.search(r"\d", figure.summary) or not counts
    assert len(figure.table) > 0
    assert [word for word in said if word not in figure.caption] == [], figure.caption
