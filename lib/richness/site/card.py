"""The picture that a link to the website shows elsewhere: the measured plane of γ and η, with the book's name."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import pandas as pd

from richness.plots import theme
from richness.plots.parts import log_x, log_y
from richness.runs.results import STATUS, load

WIDTH, HEIGHT = 1200, 630  # px: what Open Graph's readers show whole
STORED = "phase_portrait_mlp3_mse"
TITLE, SUBTITLE = (
    "The Optimization Landscape of SGD, to the touch",
    "Which learning rates η train a network, at which richness γ?",
)


def draw_card(path: Path) -> None:
    """Write the picture (PNG, 1200 × 630) from the stored portrait.

    Raises:
        ResultError: the portrait is not stored.
    """
    import vl_convert

    path.write_bytes(vl_convert.vegalite_to_png(card_chart().to_dict()))


def card_chart() -> alt.Chart:
    """The first seed's late loss over initial loss at every cell that was run: dark learned, grey diverged."""
    cells = plane_cells()
    edges: dict[str, pd.Series] = {}
    for name in ("gamma", "eta"):
        half = _half_step(cells[name])
        edges |= {f"{name}_low": cells[name] / half, f"{name}_high": cells[name] * half}
    x = log_x((edges["gamma_low"].min(), edges["gamma_high"].max()), "richness γ")
    y = log_y((edges["eta_low"].min(), edges["eta_high"].max()), "learning rate η")
    where = {"x": x("gamma_low"), "x2": "gamma_high", "y": y("eta_low"), "y2": "eta_high"}
    base = alt.Chart(cells.assign(**edges))
    shade = alt.Color("share:Q", scale=alt.Scale(domain=[0, 1], range=list(theme.LATE_LOSS), clamp=True), legend=None)
    diverged = base.transform_filter("!isValid(datum.share)").mark_rect(color=theme.DIVERGED_FILL).encode(**where)
    trained = base.transform_filter("isValid(datum.share)").mark_rect().encode(color=shade, **where)
    title = alt.Title(TITLE, subtitle=SUBTITLE, fontSize=46, subtitleFontSize=28, anchor="start", offset=18)
    fit = alt.AutoSizeParams(type="fit", contains="padding")
    chart = alt.layer(diverged, trained, title=title).properties(width=WIDTH, height=HEIGHT, autosize=fit, padding=32)
    chart = chart.configure(background="white", font="sans-serif").configure_view(stroke=None)
    return chart.configure_axis(grid=False, labelFontSize=22, titleFontSize=28, titleFontWeight="normal")


def plane_cells() -> pd.DataFrame:
    """gamma, eta and ``share`` (late loss over initial loss, missing where it diverged) of the cells that were run."""
    runs = load(STORED).isel(seed=0)
    table = runs[["late_loss", "initial_loss", "status"]].reset_coords(drop=True).to_dataframe().reset_index()
    table["share"] = table["late_loss"] / table["initial_loss"]
    return table.loc[table["status"] != STATUS["not_run"], ["gamma", "eta", "share"]]


def _half_step(values: pd.Series) -> float:
    """Half the step of an evenly spaced log grid, as a factor."""
    levels = sorted(values.unique())
    return float((levels[-1] / levels[0]) ** (0.5 / (len(levels) - 1)))
