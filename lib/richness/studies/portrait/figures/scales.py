"""One portrait at several scales, side by side: what a larger network and a longer run move, and what they leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import xarray as xr

from richness.analysis.exponents import find_prediction, fit_exponents
from richness.plots import theme
from richness.plots.captions import conditions, natural, natural_words, setting
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import say_nothing_drawn
from richness.plots.plane import NAMES, boundary_rows, definitions, lines_panel, measure_boundaries

_SYMBOLS = ("circle", "square", "diamond")
_ASKED = (("eta_max", "lazy"), ("eta_max", "rich"), ("eta_star", "rich"), ("eta_min", "rich"))


@with_sources
def compare_scales(results: Sequence[xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The boundaries of one portrait at several scales over natural η: a panel a boundary, a mark a scale.

    The table has the exponents at each scale, with their intervals, beside the predicted ones.

    Args:
        results: of one recipe, a scale each, as `richness.load` gives them.
    """
    frames: list[pd.DataFrame] = []
    for runs in results:
        ds = measure_boundaries(runs)
        kept = {
            name: boundary_rows(ds[name], natural(runs), name)
            for name in ("eta_max", "eta_star", "eta_min")
            if name in ds
        }
        frames += [frame.assign(scale=str(runs.attrs["scale"])) for frame in kept.values() if not frame.empty]
    title = (caption or "The boundaries at each scale.").rstrip()
    if not frames:
        return say_nothing_drawn("No boundary was seen at any scale.", results[0], title, label)
    rows = pd.concat(frames, ignore_index=True)
    for field in ("eta", "low", "high"):
        rows[field] = rows[field] / rows.natural
    scales = list(dict.fromkeys(rows.scale))
    gammas, etas = theme.span(rows.gamma, 1.3), theme.span([*rows.low, *rows.high], 2)
    words = {scale: scale for scale in scales}
    panels = []
    for name in dict.fromkeys(rows.boundary):
        here = rows[rows.boundary == name]
        panel = lines_panel(here, "scale", words, scales, gammas, etas, _SYMBOLS, pd.DataFrame())
        panels.append(panel.properties(title=f"{NAMES[name]} ÷ natural η"))
    table = pd.DataFrame([row for runs in results for row in _exponents(runs)])
    note = (
        f"{title} {definitions(*dict.fromkeys(rows.boundary))} Over natural η, {natural_words(*results)}. Points: geometric "
        f"means over seeds, bars from the lowest to the highest seed. {' '.join(conditions(runs) for runs in results)}"
    )
    return figure(theme.finished(theme.beside(*panels)), _summary(table, scales), table, note, label)


def _exponents(runs: xr.Dataset) -> list[dict[str, Any]]:
    """A row for each exponent that is claimed, with its interval; the first window."""
    one = setting(runs)
    rows = []
    for name, side in _ASKED:
        if find_prediction(name, side, one["loss"], one["optimizer"]) is not None:
            found = fit_exponents(runs, name, side)[0]
            low, high = found.fit.interval if found.fit else (float("nan"), float("nan"))
            rows.append(
                {
                    "boundary": NAMES[name],
                    "side": side,
                    "scale": str(runs.attrs["scale"]),
                    "predicted": found.predicted,
                    "slope": found.fit.slope if found.fit else float("nan"),
                    "low": low,
                    "high": high,
                    "why not": found.reason,
                }
            )
    return rows


def _summary(table: pd.DataFrame, scales: Sequence[str]) -> str:
    if table.empty:
        return f"The boundaries at {' and '.join(scales)} scale."
    parts = []
    for (name, side), rows in table.groupby(["boundary", "side"], sort=False):
        said = ", ".join(f"{row.slope:.2f} at {row.scale} scale" for row in rows.itertuples() if row.slope == row.slope)
        if said:
            parts.append(f"{name}, {side} side: {said} (predicted {rows.predicted.iloc[0]:.2f})")
    return f"Exponents: {'; '.join(parts) or 'none was seen'}."
