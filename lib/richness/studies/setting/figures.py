"""How failure looks: a few loss curves a panel, one panel a way to fail; and the data themselves, to be looked at."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from richness.data import digits, task
from richness.plots import parts, theme
from richness.plots.figure import Figure, figure, with_sources
from richness.runs.description import log_steps

Curves = Mapping[str, np.ndarray]

DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])  # curves of a panel are told apart by dash, and by name in the legend
SHOWN = 40  # steps a curve, log-spaced


# -- loss curves -------------------------------------------------------------------------------------------------------


@with_sources
def loss_panels(
    panels: Mapping[str, Curves], caption: str, label: str, limits: tuple[float, float] = (2e-2, 2.0)
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
    return figure(theme.finish(chart), told + ".", table, caption, label)


def _fate(title: str, name: str, loss: np.ndarray, ceiling: float) -> dict[str, object]:
    values = _until_gone(loss, ceiling)
    first, last = values[0], values[-1]
    fate = "no change" if last > 0.95 * first else f"fell to {last / first:.2g} of its start"
    if len(values) < len(loss):
        fate = f"left the panel after step {len(values) - 1}"
    return {"panel": title, "curve": name, "first loss": first, "last loss": last, "fate": fate}


def _until_gone(loss: np.ndarray, ceiling: float) -> np.ndarray:
    """Losses up to the last before the curve is gone for good: not finite, or above the ceiling to its end."""
    bad = ~np.isfinite(loss) | (loss > ceiling)
    return loss[: len(loss) if not bad[-1] else int(np.nonzero(~bad)[0].max(initial=0)) + 1]


def _smooth(values: np.ndarray, whole: int) -> list[tuple[int, float]]:
    """Means over log-spaced stretches of steps, each at its last step: batches are small, so single losses are noisy."""
    ends = [t for t in log_steps(whole - 1, SHOWN) if t < len(values)]
    starts = [0, *(end + 1 for end in ends[:-1])]
    return [(end, float(np.mean(values[start : end + 1]))) for start, end in zip(starts, ends, strict=True)]


def _panel(title: str, curves: Curves, limits: tuple[float, float]) -> Any:
    rows, ends = [], []
    for name, loss in curves.items():
        values = _until_gone(np.asarray(loss, dtype=float), limits[1])
        rows += [{"t": t + 1, "loss": mean, "run": name} for t, mean in _smooth(values, len(loss))]
        if len(values) < len(loss):
            ends.append({"t": len(values), "loss": values[-1], "run": name})
    frame, names = pd.DataFrame(rows), list(curves)
    x, y = parts.log_x(theme.span(frame.t), "step t + 1")("t"), parts.log_y(limits, "training loss")("loss")
    scale = alt.Scale(domain=names, range=list(DASHES[: len(names)]))
    lines = parts.chart_of(frame).mark_line(clip=True, color=theme.TEXT, strokeWidth=2)
    cross: dict[str, Any] = {"shape": "cross", "angle": 45, "size": 110, "color": theme.STABILITY, "filled": True}
    return parts.panel(
        lines.encode(x=x, y=y, strokeDash=alt.StrokeDash("run:N", sort=names, scale=scale, title=None)),
        parts.chart_of(pd.DataFrame(ends)).mark_point(**cross).encode(x=x, y=y) if ends else None,
        title=title,
        height=180,
    )


# -- samples -----------------------------------------------------------------------------------------------------------


def digit_samples(count: int = 10, seed: int = 0, label: str = "samples") -> Figure:
    """The first samples of a stream beside what the network of the small task sees of them.

    Args:
        count: how many. seed: of the stream. label: of the figure.
    """
    frame = pd.concat([_sample_rows(name, count, seed) for name in ("digits", "digits8")], ignore_index=True)
    axis = alt.Axis(ticks=False, domain=False)
    images = alt.Chart(frame).mark_image(width=48, height=48)
    chart = images.encode(
        x=alt.X("sample:O", axis=None),
        y=alt.Y("task:N", title=None, axis=axis),
        url="image:N",
        tooltip=["task:N", "label:O"],
    ).properties(width=count * 52, height=2 * 56)
    return figure(
        chart,
        f"The first {count} samples of seed {seed}'s stream, at step 0; the labels are "
        f"{', '.join(map(str, frame.label[:count]))}.",
        frame.loc[: count - 1, ["sample", "label"]],
        "Fresh deformations of real MNIST digits, as the networks of this book see them: above, 28×28 (task digits); "
        "below, the same images averaged to 8×8 (task digits8).",
        label,
    )


def _sample_rows(name: str, count: int, seed: int) -> pd.DataFrame:
    """One row a sample; images enlarged to whole pixels, so that every renderer shows the same squares."""
    x, labels = task(name).batch(seed, 0, count)
    side = round(task(name).inputs ** 0.5)
    grey = ((x * digits.STD + digits.MEAN).clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    pixel = np.ones((224 // side, 224 // side), dtype=np.uint8)
    images = [encode_png(np.kron(image, pixel)) for image in grey.reshape(count, side, side)]
    words = f"{name}, {side}×{side}"
    return pd.DataFrame({"task": words, "sample": range(count), "label": labels.tolist(), "image": images})


def encode_png(grey: np.ndarray) -> str:
    """A grey image, uint8 (height, width), as a PNG data address."""
    height, width = grey.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    lines = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(grey, dtype=np.uint8))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()
