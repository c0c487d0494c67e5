"""One portrait at several scales, side by side: what a larger network and a longer run move, and what they leave."""

from __future__ import annotations

from collections.abc import Sequence
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

_ASKED = (("eta_max", "lazy"), ("eta_max", "rich"), ("eta_star", "rich"), ("eta_min", "rich"))


@with_sources
def compare_scales(results: Sequence[xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The boundaries of one portrait at several scales over natural η: a panel a boundary, a mark a scale.

    The table has the exponents at each scale, with their intervals, beside the predicted ones.

    Args:
        results: of one recipe, a scale each, as `richness.load` gives them.
    """
    rows = over_natural(join_rows(_rows(runs) for runs in results))
    title = (caption or "The boundaries at each scale.").rstrip()
    if rows.empty:
        return parts.say_nothing_drawn("No boundary was seen at any scale.", results[0], title, label)
    scales = {scale: scale for scale in rows.scale}
    gammas, etas = theme.span(rows.gamma, 1.3), theme.span([*rows.low, *rows.high], 2)
    lines = Lines("scale", scales, ("circle", "square", "diamond"), gammas, etas)
    panels = [
        lines.draw(here, pd.DataFrame(), f"{NAMES[str(name)]} ÷ natural η")
        for name, here in rows.groupby("boundary", sort=False)
    ]
    table = pd.DataFrame([row for runs in results for row in _exponents(runs)])
    note = (
        f"{title} {definitions(*dict.fromkeys(rows.boundary))} Over natural η, {natural_words(*results)}. {SPREAD} "
        f"{' '.join(conditions(runs) for runs in results)}"
    )
    return figure(theme.finish(theme.beside(*panels)), _summary(table, list(scales)), table, note, label)


def _rows(runs: xr.Dataset) -> pd.DataFrame:
    seen = rows_by_boundary(measure_boundaries(runs), natural(runs), ("eta_max", "eta_star", "eta_min"))
    return join_rows(seen.values()).assign(scale=str(runs.attrs["scale"]))


def _exponents(runs: xr.Dataset) -> list[dict[str, Any]]:
    """A row for each exponent that is claimed, with its interval; the first window."""
    one, rows = setting(runs), []
    for name, side in _ASKED:
        if find_prediction(name, side, one["loss"], one["optimizer"]) is not None:
            exponent = fit_exponents(runs, name, side)[0]
            known = {"boundary": NAMES[name], "side": side, "scale": str(runs.attrs["scale"])}
            rows.append(known | {"predicted": exponent.predicted, **exponent.numbers, "why not": exponent.reason})
    return rows


def _summary(table: pd.DataFrame, scales: Sequence[str]) -> str:
    if table.empty:
        return f"The boundaries at {' and '.join(scales)} scale."
    clauses = []
    for (name, side), rows in table.groupby(["boundary", "side"], sort=False):
        said = ", ".join(f"{row.slope:.2f} at {row.scale} scale" for row in rows.itertuples() if row.slope == row.slope)
        if said:
            clauses.append(f"{name}, {side} side: {said} (predicted {rows.predicted.iloc[0]:.2f})")
    return f"Exponents: {'; '.join(clauses) or 'none was seen'}."
