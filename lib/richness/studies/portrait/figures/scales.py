"""Several portraits side by side: what another network, optimiser or scale moves, and what it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import xarray as xr

from richness.analysis.exponents import find_prediction, fit_exponents
from richness.plots import parts, theme
from richness.plots.captions import conditions, natural, natural_words, setting
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.plane import (
    NAMES,
    SPREAD,
    Lines,
    definitions,
    join_rows,
    measure_boundaries,
    over_natural,
    rows_by_boundary,
)

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-left", "triangle-right")
_ASKED = (("eta_max", "lazy"), ("eta_max", "rich"), ("eta_star", "rich"), ("eta_min", "rich"))


@with_sources
def compare_scales(results: Sequence[xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The boundaries of one portrait at several scales over natural η: a panel a boundary, a mark a scale.

    The table has the exponents at each scale, with their intervals, beside the predicted ones.

    Args:
        results: of one recipe, a scale each, as `richness.load` gives them.
    """
    return _compare({str(runs.attrs["scale"]): runs for runs in results}, "scale", "at {} scale", caption, label)


@with_sources
def compare(results: Mapping[str, xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The boundaries of several results over natural η: a panel a boundary, a mark a result.

    The table has the exponents of each that theory predicts, with their intervals, beside the predicted ones.

    Args:
        results: what each is called -> a sweep or a search; eight at most.

    Raises:
        ValueError: none, or more than eight.
    """
    if not isinstance(results, Mapping) or not 0 < len(results) <= len(SYMBOLS):
        raise ValueError(
            f"results: expected a mapping such as {{'ReLU': runs, 'tanh': others}} of 1 to {len(SYMBOLS)} results, got "
            f"{type(results).__name__} of {len(results)}"
        )
    return _compare(results, "result", "of {}", caption, label)


def _compare(
    results: Mapping[str, xr.Dataset], field: str, phrase: str, caption: str | None, label: str | None
) -> Figure:
    rows = over_natural(join_rows(_rows(runs).assign(**{field: name}) for name, runs in results.items()))
    title = (caption or f"The boundaries at each {field}.").rstrip()
    if rows.empty:
        return parts.say_nothing_drawn(
            f"No boundary was seen at any {field}.", next(iter(results.values())), title, label
        )
    names = {name: name for name in rows[field]}
    gammas, etas = theme.span(rows.gamma, 1.3), theme.span([*rows.low, *rows.high], 2)
    lines = Lines(field, names, SYMBOLS[: len(names)], gammas, etas)
    panels = [
        lines.draw(here, pd.DataFrame(), f"{NAMES[str(name)]} ÷ natural η")
        for name, here in rows.groupby("boundary", sort=False)
    ]
    table = pd.DataFrame([{field: name} | row for name, runs in results.items() for row in _exponents(runs)])
    note = (
        f"{title} {definitions(*dict.fromkeys(rows.boundary))} Over natural η, {natural_words(*results.values())}. {SPREAD} "
        f"{' '.join(conditions(runs) for runs in results.values())}"
    )
    return figure(theme.finish(theme.beside(*panels)), _summary(table, field, phrase), table, note, label)


def _rows(runs: xr.Dataset) -> pd.DataFrame:
    seen = rows_by_boundary(measure_boundaries(runs), natural(runs), ("eta_max", "eta_star", "eta_min"))
    return join_rows(seen.values())


def _exponents(runs: xr.Dataset) -> list[dict[str, Any]]:
    """A row for each exponent that is claimed, with its interval; the first window."""
    one, rows = setting(runs), []
    for name, side in _ASKED:
        if find_prediction(name, side, one["loss"], one["optimizer"]) is not None:
            exponent = fit_exponents(runs, name, side)[0]
            known = {"boundary": NAMES[name], "side": side}
            rows.append(known | {"predicted": exponent.predicted, **exponent.numbers, "why not": exponent.reason})
    return rows


def _summary(table: pd.DataFrame, field: str, phrase: str) -> str:
    if table.empty:
        return "The boundaries, of none of which theory predicts an exponent."
    clauses = []
    for (name, side), rows in table.groupby(["boundary", "side"], sort=False):
        seen = rows[rows.slope.notna()]
        said = ", ".join(
            f"{slope:.2f} {phrase.format(name)}" for slope, name in zip(seen.slope, seen[field], strict=True)
        )
        if said:
            clauses.append(f"{name}, {side} side: {said} (predicted {rows.predicted.iloc[0]:.2f})")
    return f"Exponents: {'; '.join(clauses) or 'none was seen'}."
