"""The book's one visual language: colours, marks, axes and numbers, shared by every figure.

Lazy is blue and rich is orange on one diverging scale of log10 γ, centred at γ = 1. Theory is dashed, in the colour of
the text. The stability line is one red. Late loss is one sequential scale whose lightness falls steadily, so that it
reads without colour; dark means learned. Lines and letters take ``currentColor``: with Vega's SVG renderer a figure
follows the page into its dark theme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import altair as alt
import numpy as np

from richness.plots.figure import NARROW

TEXT = "currentColor"
LAZY, MIDDLE, RICH = "#1f77c8", "#8a8a8a", "#e07b00"
STABILITY = "#d0142c"
LATE_LOSS = ("#0d3b3e", "#1f6a66", "#4a9c85", "#8fc79c", "#cfe5b8", "#f5f0dc")  # dark = learned
MEASURED = "#9a4fd1"  # boundaries on the plane: no colour that late loss, γ or stability has
DIVERGED_FILL = "#9aa0a6"
GAMMA_LIMIT = 4.0  # the γ scale saturates at 10^±4, in every figure

# What the page is set in. Not "inherit": Vega measures words on a canvas, where that is no font at all.
FONT = '-apple-system, BlinkMacSystemFont, "Segoe UI", "Helvetica Neue", Arial, sans-serif'

PLANE = 250  # px: with its axis it fits a phone of 360, and two fit the page's column
WIDE = 520  # px: a lone panel, where the window has room for it

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

# Vega: label a power of ten as 10ⁿ, anything else not at all
_POWER = (
    "abs(log(datum.value) / LN10 - round(log(datum.value) / LN10)) > 1e-6 ? '' : '10' + "
    "(datum.value < 0.99 ? '⁻' : '') + "
    "(abs(log(datum.value) / LN10) > 9.5 ? '¹' : '') + "
    "'⁰¹²³⁴⁵⁶⁷⁸⁹'[abs(round(log(datum.value) / LN10)) % 10]"
)


_WORDS = {
    "labelColor": TEXT, "titleColor": TEXT, "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal",
}  # fmt: skip
_AXIS = {
    **_WORDS, "domainColor": TEXT, "domainOpacity": 0.4, "tickColor": TEXT, "tickOpacity": 0.4, "tickSize": 4,
    "gridColor": TEXT, "gridOpacity": 0.1, "labelOverlap": True, "titlePadding": 6,
}  # fmt: skip
_LEGEND = {**_WORDS, "orient": "bottom", "titleLimit": PLANE, "labelLimit": PLANE, "symbolStrokeColor": TEXT}
_TITLE = {
    "color": TEXT, "subtitleColor": TEXT, "fontSize": 12, "fontWeight": "normal", "anchor": "start", "frame": "bounds",
    "offset": 6,
}  # fmt: skip
_CONFIG: dict[str, Any] = {
    "aria": False,  # a figure speaks by its summary and table; a thousand labelled marks would drown them
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None, "continuousWidth": PLANE, "continuousHeight": 220},
    "axis": _AXIS,
    "legend": _LEGEND,
    "header": _WORDS,
    "title": _TITLE,
    "text": {"color": TEXT, "fontSize": 11},
    "rule": {"color": TEXT},
    "line": {"strokeWidth": 1.8, "strokeJoin": "round"},
    "point": {"size": 30, "filled": True, "opacity": 1},
    "concat": {"spacing": 24},
}


def theme() -> dict[str, Any]:
    """The book's Vega-Lite configuration, as Altair's themes hold it: ``{"config": {...}}``.

    Every figure of this package carries it. To draw your own in the same hand:
    ``alt.theme.register("richness", enable=True)(theme)``.
    """
    return {"config": _CONFIG}


class Responsive(alt.ConcatChart):
    """Panels side by side where the window is wide, one below the other where it is narrow.

    Vega's layout reads the number of columns from a signal; Vega-Lite hands it on but its schema knows only numbers, so
    it is written into the finished specification.
    """

    def to_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        spec = super().to_dict(*args, **kwargs)
        spec["columns"] = {"signal": f"windowSize()[0] < {NARROW} ? 1 : 2"}
        return spec


def beside(*panels: Any) -> Responsive:
    """Panels in up to two columns, aligned by their own sizes."""
    return Responsive(concat=list(panels), columns=2)


def finish(chart: Any, wide: int | None = None) -> Any:
    """A chart with the book's configuration, and the wish to be drawn as SVG; `wide`: a lone panel's width on a page."""
    room = {"wide": wide} if wide else {}
    return chart.properties(
        config=alt.Config.from_dict(theme()["config"]),
        usermeta={"embedOptions": {"renderer": "svg", "actions": False}, **room},
    )


def gamma_scale() -> alt.Scale:
    """Lazy blue to rich orange over log10 γ, centred at γ = 1: the same ends in every figure."""
    return alt.Scale(
        type="linear", domain=[-GAMMA_LIMIT, 0, GAMMA_LIMIT], range=[LAZY, MIDDLE, RICH], clamp=True, interpolate="rgb"
    )


def late_loss_scale() -> alt.Scale:
    """Late loss over initial loss, 0 to 1, by its square root so that the learned part keeps its shades."""
    return alt.Scale(type="sqrt", domain=[0, 1], range=list(LATE_LOSS), clamp=True, interpolate="rgb")


def gamma_colour(legend: bool = False, field: str = "log_gamma") -> alt.Color:
    """Encode a field of log10 γ in the diverging scale."""
    shown = alt.Legend(title="γ", labelExpr=_exponent_label(), values=[-4, -2, 0, 2, 4], gradientLength=160)
    return alt.Color(field, type="quantitative", scale=gamma_scale(), legend=shown if legend else None)


def _exponent_label() -> str:
    return "'10' + (datum.value < 0 ? '⁻' : '') + '⁰¹²³⁴⁵⁶⁷⁸⁹'[abs(round(datum.value))]"


def log_scale(low: float, high: float) -> alt.Scale:
    """A logarithmic scale from low to high, exactly."""
    if not 0 < low < high:
        raise ValueError(f"a log scale runs between two positive numbers, the lower first; got {low} and {high}")
    return alt.Scale(type="log", domain=[significant(low), significant(high)], nice=False)


def powers(low: float, high: float) -> list[float]:
    """The powers of ten in [low, high]."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [float(f"1e{n}") for n in range(first, last + 1)]


def log_axis(title: str | None, low: float, high: float, every: int | None = None) -> alt.Axis:
    """An axis of powers of ten, labelled 10⁻⁴ and so on, at most about nine of them (or every n-th)."""
    ticks = powers(low, high)
    every = every or math.ceil(len(ticks) / 9)
    kept = [tick for tick in ticks if round(math.log10(tick)) % every == 0]
    if len(kept) < 2:  # less than two decades: let Vega mark 2, 3, 5 ... as well
        return alt.Axis(title=title, tickCount=4, format="~g")
    return alt.Axis(title=title, values=kept, labelExpr=_POWER)


def span(values: Iterable[float], pad: float = 1.0) -> tuple[float, float]:
    """Smallest and largest of the positive finite values, a factor `pad` wider on each side."""
    array = np.asarray(list(values), dtype=float)
    array = array[np.isfinite(array) & (array > 0)]
    if array.size == 0:
        raise ValueError("nothing to draw: no positive finite value; did every run diverge, or was none made?")
    low, high = float(array.min()) / pad, float(array.max()) * pad
    return (low, high) if high > low else (low / 2, high * 2)


def significant(value: float, digits: int = 4) -> float | None:
    """The value rounded to significant digits, or None where it is no finite number (JSON has no NaN)."""
    number = float(value)
    return float(f"{number:.{digits}g}") if math.isfinite(number) else None


def two_decimals(value: float) -> str:
    """An exponent for a sentence, with a true minus sign."""
    return f"{value:.2f}".replace("-", "−")


def power_of_ten(value: float) -> str:
    """A number for a sentence: 10⁻⁴ where it is a power of ten, 3.2 where it is handy, 3.2·10⁻⁷ elsewhere."""
    if not math.isfinite(value):
        return "none"
    if value == 0 or (1e-2 <= abs(value) < 1e4 and not math.isclose(abs(value), 0.01)):
        return f"{float(f'{value:.3g}'):g}"
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    mantissa = value / 10.0**exponent
    tens = "10" + str(exponent).translate(_SUPERSCRIPTS)
    return tens if math.isclose(mantissa, 1, rel_tol=1e-3) else f"{mantissa:.2g}·{tens}"
