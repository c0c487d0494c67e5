"""How failure looks: a few loss curves a panel, one panel a way to fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from richness.plots import theme
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.parts import records
from richness.runs.description import log_steps

DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])  # curves of a panel are told apart by dash, and by name in the legend
SHOWN = 40  # steps a curve, log-spaced


@with_sources
def loss_panels(
    panels: Mapping[str, Mapping[str, np.ndarray]], caption: str, label: str, limits: tuple[float, float] = (2e-2, 2.0)
) -> Figure:
    """Loss against step, one panel a title; a curve that ends in a cross became infinite or left the panel there.

    Args:
        panels: title → name of the curve → losses from step 0 on, one a step; NaN after divergence.
        caption: what was run, with its conventions. label: of the figure.
        limits: of the loss axis, the same in every panel.

    Raises:
        ValueError: no panel, or a panel without a curve.
    """
    if not panels or not all(panels.values()):
        raise ValueError("expected at least one panel with at least one curve, each an array of losses; got none.")
    drawn = [_panel(title, curves, limits) for title, curves in panels.items()]
    table = pd.DataFrame(
        [_fate(title, name, loss, limits[1]) for title, curves in panels.items() for name, loss in curves.items()]
    )
    told = ". ".join(
        f"{title}: " + ", ".join(f"{row.curve} {row.fate}" for row in here.itertuples())
        for title, here in table.groupby("panel", sort=False)
    )
    chart = theme.beside(*drawn).resolve_scale(strokeDash="independent")
    return figure(theme.finished(chart), told + ".", table, caption, label)


def _fate(title: str, name: str, loss: np.ndarray, ceiling: float) -> dict[str, object]:
    steps, values = _within(loss, ceiling)
    gone = len(values) < len(loss)
    fate = (
        f"left the panel after step {steps[-1]}"
        if gone
        else "no change"
        if values[-1] > 0.95 * values[0]
        else f"fell to {values[-1] / values[0]:.2g} of its start"
    )
    return {"panel": title, "curve": name, "first loss": values[0], "last loss": values[-1], "fate": fate}


def _within(loss: np.ndarray, ceiling: float) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses up to the last before the curve is gone for good: not finite, or above the ceiling to its end."""
    bad = ~np.isfinite(loss) | (loss > ceiling)
    end = len(loss) if not bad[-1] else int(np.nonzero(~bad)[0].max(initial=0)) + 1
    return np.arange(end), loss[:end]


def _smooth(values: np.ndarray, whole: int) -> list[tuple[int, float]]:
    """Means over log-spaced stretches of steps, each at its last step: batches are small, so single losses are noisy."""
    ends = [t for t in log_steps(whole - 1, SHOWN) if t < len(values)]
    starts = [0, *(end + 1 for end in ends[:-1])]
    return [(end, float(np.mean(values[start : end + 1]))) for start, end in zip(starts, ends, strict=True)]


def _panel(title: str, curves: Mapping[str, np.ndarray], limits: tuple[float, float]) -> Any:
    rows, ends = [], []
    for name, loss in curves.items():
        steps, values = _within(np.asarray(loss, dtype=float), limits[1])
        rows += [{"t": t + 1, "loss": mean, "run": name} for t, mean in _smooth(values, len(loss))]
        if len(values) < len(loss):
            ends.append({"t": int(steps[-1]) + 1, "loss": values[-1], "run": name})
    frame = pd.DataFrame(rows)
    span = theme.span(frame.t)
    x = alt.X("t:Q", scale=theme.log_scale(*span), axis=theme.log_axis("step t + 1", *span))
    y = alt.Y("loss:Q", scale=theme.log_scale(*limits), axis=theme.log_axis("training loss", *limits))
    names = list(curves)
    dash = alt.StrokeDash(
        "run:N", sort=names, scale=alt.Scale(domain=names, range=list(DASHES[: len(names)])), title=None
    )
    lines = alt.Chart(alt.InlineData(values=records(frame))).mark_line(clip=True, color=theme.TEXT, strokeWidth=2)
    layers = [lines.encode(x=x, y=y, strokeDash=dash)]
    if ends:
        crosses = alt.Chart(alt.InlineData(values=records(pd.DataFrame(ends))))
        layers.append(
            crosses.mark_point(shape="cross", angle=45, size=110, color=theme.STABILITY, filled=True).encode(x=x, y=y)
        )
    return alt.layer(*layers).properties(width=theme.PLANE, height=180, title=title)
