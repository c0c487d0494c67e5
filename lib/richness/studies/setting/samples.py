"""The data themselves, to be looked at."""

from __future__ import annotations

import base64
import struct
import zlib

import altair as alt
import numpy as np
import pandas as pd

from richness.data import digits, task
from richness.plots.figure import Figure, figure


def png(grey: np.ndarray) -> str:
    """A grey image, uint8 (height, width), as a PNG data address."""
    height, width = grey.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    lines = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(grey, dtype=np.uint8))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def digit_samples(count: int = 10, seed: int = 0, label: str = "samples") -> Figure:
    """The first samples of a stream beside what the network of the small task sees of them.

    Args:
        count: how many. seed: of the stream. label: of the figure.
    """
    rows = []
    for row, name in enumerate(("digits", "digits8")):
        x, labels = task(name).batch(seed, 0, count)
        side = round(task(name).inputs ** 0.5)
        grey = ((x * digits.STD + digits.MEAN).clamp(0, 1) * 255).round().numpy().astype(np.uint8)
        for place, (image, digit) in enumerate(zip(grey.reshape(count, side, side), labels.tolist(), strict=True)):
            # Enlarged to whole pixels, so that every renderer shows the same squares.
            large = np.kron(image, np.ones((224 // side, 224 // side), dtype=np.uint8))
            rows.append(
                {"task": f"{name}, {side}×{side}", "row": row, "sample": place, "label": digit, "image": png(large)}
            )
    frame = pd.DataFrame(rows)
    chart = (
        alt.Chart(frame)
        .mark_image(width=48, height=48)
        .encode(
            x=alt.X("sample:O", axis=None),
            y=alt.Y("task:N", title=None, axis=alt.Axis(ticks=False, domain=False)),
            url="image:N",
            tooltip=["task:N", "label:O"],
        )
        .properties(width=count * 52, height=2 * 56)
    )
    names = ", ".join(str(r["label"]) for r in rows[:count])
    return figure(
        chart,
        f"The first {count} samples of seed {seed}'s stream, at step 0; the labels are {names}.",
        frame.loc[frame.row == 0, ["sample", "label"]],
        "Fresh deformations of real MNIST digits, as the networks of this book see them: above, 28×28 (task `digits`); "
        "below, the same images averaged to 8×8 (task `digits8`).".replace("`", ""),
        label,
    )
