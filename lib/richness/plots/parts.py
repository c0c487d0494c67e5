"""The parts that charts are made of: rows as data, axes, marks that mean the same everywhere, choices, and panels.

A maker of a figure says what is drawn; how a point with its interval, theory's line or a choice looks is said here, once.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import theme
from richness.plots.captions import conditions
from richness.plots.figure import Figure, figure

DASHES = [5, 3]  # theory, everywhere
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

Channel = Callable[[str], Any]  # a field's name → the channel that draws it on a shared axis


# -- data --------------------------------------------------------------------------------------------------------------


def records(table: pd.DataFrame, digits: int = 4) -> list[dict[str, Any]]:
    """Rows as plain JSON: floats to significant digits, what is no number as null."""
    return [{key: _plain(value, digits) for key, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any, digits: int) -> Any:
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item, digits) for item in value]
    return theme.significant(value, digits)


def chart_of(table: pd.DataFrame | Sequence[dict[str, Any]], digits: int = 4) -> alt.Chart:
    """A chart that holds a table's rows itself, rounded to so many digits."""
    rows = records(table, digits) if isinstance(table, pd.DataFrame) else list(table)
    return alt.Chart(alt.InlineData(values=rows))


def chart_named(name: str) -> alt.Chart:
    """A chart of rows that the figure holds once, under a name: see `join_panels`."""
    return alt.Chart(alt.NamedData(name=name))


def only_chosen(data: alt.Chart, *names: str) -> alt.Chart:
    """The rows whose fields are what the choices of the same names say; all rows where none is named."""
    test = " && ".join(f"datum.{name} == {name}" for name in names)
    return data.transform_filter(test) if test else data


def nearest_rows(chart: alt.Chart, away: str) -> alt.Chart:
    """Only the rows that lie nearest to where a control stands; ``away`` is the expression of their distance from it."""
    chart = chart.transform_calculate(away=away)
    return chart.transform_joinaggregate(nearest="min(away)").transform_filter("datum.away == datum.nearest")


def spread_of(values: np.ndarray, name: str, axis: int = -1) -> dict[str, np.ndarray]:
    """Mean, smallest and largest over seeds as the columns ``name``, ``name_low`` and ``name_high``."""
    return {name: values.mean(axis), f"{name}_low": values.min(axis), f"{name}_high": values.max(axis)}


# -- axes --------------------------------------------------------------------------------------------------------------


def log_x(ends: tuple[float, float], title: str | None) -> Channel:
    """The horizontal logarithmic axis from one end to the other: a function of the field."""
    return x_on(theme.log_scale(*ends), theme.log_axis(title, *ends))


def log_y(ends: tuple[float, float], title: str | None = None, every: int | None = None) -> Channel:
    """The vertical logarithmic axis, which a panel's title names: a function of the field."""
    return y_on(theme.log_scale(*ends), theme.log_axis(title, *ends, every=every))


def linear_x(ends: tuple[float, float], title: str | None, **axis: Any) -> Channel:
    """The horizontal linear axis, exactly from one end to the other: a function of the field."""
    return x_on(alt.Scale(domain=list(ends), nice=False, zero=False), alt.Axis(title=title, **axis))


def linear_y(ends: tuple[float, float], title: str | None = None, **axis: Any) -> Channel:
    """The vertical linear axis, exactly from one end to the other: a function of the field."""
    return y_on(alt.Scale(domain=list(ends), nice=False, zero=False), alt.Axis(title=title, **axis))


def x_on(scale: alt.Scale, axis: alt.Axis) -> Channel:
    """A horizontal axis of one's own: a function of the field."""
    return lambda field: alt.X(f"{field}:Q", scale=scale, axis=axis)


def y_on(scale: alt.Scale, axis: alt.Axis) -> Channel:
    """A vertical axis of one's own: a function of the field."""
    return lambda field: alt.Y(f"{field}:Q", scale=scale, axis=axis)


def switched_scale(when: str, then: Sequence[Any], otherwise: Sequence[Any], kind: Any = "log") -> alt.Scale:
    """A scale with one pair of ends where a condition on the controls holds, and another elsewhere."""
    ends = [
        alt.ExprRef(f"{when} ? {theme.significant(a)} : {theme.significant(b)}")
        for a, b in zip(then, otherwise, strict=True)
    ]
    return alt.Scale(type=kind, domain=ends, nice=False)


def gamma_x(gammas: Any, pad: float = 1.3) -> alt.X:
    """The axis of γ over these values."""
    return log_x(theme.span(gammas, pad), "γ, richness")("gamma")


def gamma_fill() -> alt.Fill:
    """A point's colour: its γ, from ``log_gamma``."""
    return alt.Fill("log_gamma:Q", scale=theme.gamma_scale(), legend=None)


# -- marks -------------------------------------------------------------------------------------------------------------


def points(data: alt.Chart, x: Any, y: Any, size: int = 34, **channels: Any) -> alt.Chart:
    """Measured points, with a thin outline in the text's colour; filled by γ unless ``fill`` says otherwise."""
    marks = data.mark_point(size=size, filled=False, stroke=theme.TEXT, strokeWidth=0.6)
    return marks.encode(x=x, y=y, **{"fill": gamma_fill(), **channels})


def intervals(data: alt.Chart, x: Any, y: Channel, low: str, high: str, **channels: Any) -> alt.Chart:
    """Upright bars between two fields, cut off at the panel's edge."""
    return data.mark_rule(strokeWidth=1.2, clip=True).encode(x=x, y=y(low), y2=f"{high}:Q", **channels)


def points_with_intervals(
    data: alt.Chart, x: Any, y: Channel, field: str, low: str, high: str, **channels: Any
) -> list[alt.Chart]:
    """Measured points on their bars; ``channels`` are the points'."""
    return [intervals(data, x, y, low, high), points(data, x, y(field), **channels)]


def joining_line(data: alt.Chart, x: Any, y: Any, **channels: Any) -> alt.Chart:
    """A faint line that joins measured points, for the eye alone."""
    return data.mark_line(strokeWidth=1, opacity=0.4, stroke=theme.TEXT).encode(x=x, y=y, **channels)


def theory_line(data: alt.Chart, x: Any, y: Any, **channels: Any) -> alt.Chart:
    """Theory: dashed, in the text's colour."""
    line = data.mark_line(strokeDash=DASHES, strokeWidth=1.4, stroke=theme.TEXT, clip=True)
    return line.encode(x=x, y=y, **channels)


def dotted_line(data: alt.Chart, x: Any, y: Any, **channels: Any) -> alt.Chart:
    """A second line of theory beside the dashed one."""
    line = data.mark_line(strokeDash=[1.5, 2.5], strokeWidth=1.8, stroke=theme.TEXT, clip=True)
    return line.encode(x=x, y=y, **channels)


def level_rule(value: float, y: Channel, **mark: Any) -> alt.Chart:
    """A level of theory across a panel; ``mark`` may change its look."""
    style = {"strokeDash": DASHES, "strokeWidth": 1.4, "stroke": theme.TEXT, **mark}
    return chart_of([{"level": value}]).mark_rule(**style).encode(y=y("level"))


def level_rules(data: alt.Chart, y: Any, **mark: Any) -> alt.Chart:
    """Levels of theory, one a row; ``mark`` may change their look."""
    return data.mark_rule(
        **{"strokeDash": DASHES, "strokeWidth": 1.4, "stroke": theme.TEXT, "clip": True, **mark}
    ).encode(y=y)


def stability_rule(value: float, y: Channel) -> alt.Chart:
    """The line of stability: the one red, unbroken."""
    return level_rule(value, y, stroke=theme.STABILITY, strokeDash=[1, 0], strokeWidth=1.6)


def stability_rules(data: alt.Chart, y: Any) -> alt.Chart:
    """Lines of stability, one a row."""
    return level_rules(data, y, stroke=theme.STABILITY, strokeDash=[1, 0])


def upright_rule(value: float, x: Channel, **mark: Any) -> alt.Chart:
    """An upright line at a place of the horizontal axis."""
    return chart_of([{"level": value}]).mark_rule(**mark).encode(x=x("level"))


def clip_marks(marks: alt.Chart) -> alt.Chart:
    """The same marks, cut off at the panel's edge."""
    marks = marks.copy()
    marks.mark.clip = True
    return marks


def shapes(
    field: str, names: Sequence[str], legend: alt.Legend | None = None, symbols: Sequence[str] = SYMBOLS
) -> alt.Shape:
    """A symbol for each name, in their order."""
    scale = alt.Scale(domain=list(names), range=list(symbols)[: len(names)])
    return alt.Shape(f"{field}:N", scale=scale, legend=legend)


def shape_legend(fill: str) -> alt.Legend:
    """A legend of symbols above a panel, in one fill."""
    return alt.Legend(
        title=None,
        orient="top",
        columns=4,
        symbolFillColor=fill,
        symbolStrokeColor="#222",
        symbolStrokeWidth=1,
        symbolSize=36,
    )


# -- words -------------------------------------------------------------------------------------------------------------


def tooltip(fields: Mapping[str, Any]) -> list[alt.Tooltip]:
    """What the pointer is told: field → title, or (title, format); names as ``"field:N"``, numbers to three digits."""
    told = []
    for field, title in fields.items():
        words, form = (title, ".3~g") if isinstance(title, str) else title
        shown: dict[str, Any] = {"format": form} if form and ":" not in field else {}
        told.append(alt.Tooltip(field if ":" in field else f"{field}:Q", title=words, **shown))
    return told


def text_at(
    data: alt.Chart, x: float, y: float, field: str = "words:N", form: str | None = None, **mark: Any
) -> alt.Chart:
    """A row's text at a place of the panel, in pixels from its upper left corner."""
    text = alt.Text(field, format=form) if form else alt.Text(field)
    return data.mark_text(**mark).encode(x=alt.value(x), y=alt.value(y), text=text)


def words_at(lines: Sequence[str], x: float, y: float, **mark: Any) -> list[alt.Chart]:
    """Lines of words on a panel, one below the other from a place in pixels on."""
    style = {"align": "left", "baseline": "top", "fontSize": 11, **mark}
    return [
        chart_of([{"words": line}]).mark_text(**style).encode(x=alt.value(x), y=alt.value(y + 15 * i), text="words:N")
        for i, line in enumerate(lines)
    ]


def first_words(caption: str | None, otherwise: str) -> str:
    """How a caption begins: as the chapter wants it, or as the figure would."""
    return (caption or otherwise).rstrip()


def conditions_by_name(results: Mapping[str, xr.Dataset]) -> str:
    """Under what each of several results was measured, for a caption; a result without a name is the only one."""
    return "; ".join(f"{name}: {conditions(runs)}" if name else conditions(runs) for name, runs in results.items())


# -- choices -----------------------------------------------------------------------------------------------------------


def menu(name: str, values: Sequence[Any], title: str, labels: Sequence[str] | None = None, start: Any = None) -> Any:
    """A choice from a menu: the parameter ``name`` is one of the values, the first unless ``start`` says which."""
    bind = alt.binding_select(options=list(values), labels=list(labels or map(str, values)), name=f"{title} ")
    return alt.param(name=name, value=values[0] if start is None else start, bind=bind)


def radio(
    name: str, values: Sequence[Any], title: str, labels: Sequence[str] | None = None, start: Any = None
) -> alt.Parameter:
    """A choice among a few that all stand there; the first unless ``start`` says which."""
    bind = alt.binding_radio(options=list(values), labels=list(labels or map(str, values)), name=f"{title} ")
    return alt.param(name=name, value=values[0] if start is None else start, bind=bind)


def slider(name: str, low: float, high: float, step: float, title: str, start: float | None = None) -> alt.Parameter:
    """A number between two ends, the upper one unless ``start`` says otherwise; a title ``log10 x`` is read as x."""
    bind = alt.binding_range(min=low, max=high, step=step, name=f"{title} ")
    return alt.param(name=name, value=high if start is None else start, bind=bind)


def slider_over(name: str, values: Sequence[float], title: str, start: float | None = None) -> alt.Parameter:
    """A slider over evenly spaced values, ascending: at the last one, or at the one nearest to ``start``."""
    stops = np.round(np.asarray(values), 3)
    step = np.round(np.diff(stops).min(), 3).item() if len(stops) > 1 else 1.0
    at = stops[-1] if start is None else stops[np.abs(stops - start).argmin()]
    return slider(name, stops[0].item(), stops[-1].item(), step, title, at.item())


# -- panels ------------------------------------------------------------------------------------------------------------


def panel(*layers: Any, title: Any, height: int = 220, width: int = theme.PLANE) -> Any:
    """Layers as one panel; what is None is left out."""
    drawn = [layer for layer in layers if layer is not None]
    return alt.layer(*drawn).properties(width=width, height=height, title=title)


def side_by_side(panels: Sequence[Any]) -> Any:
    """Panels in up to two columns; a lone one as it is."""
    return theme.beside(*panels) if len(panels) > 1 else panels[0]


def join_panels(
    panels: Sequence[Any], controls: Sequence[alt.Parameter], **datasets: pd.DataFrame | Sequence[dict[str, Any]]
) -> Any:
    """Panels under shared controls, a lone one as wide as there is room; each set of rows that they read travels once."""
    rows = {name: records(table) if isinstance(table, pd.DataFrame) else table for name, table in datasets.items()}
    chart = side_by_side(panels).add_params(*controls)
    return theme.finish(chart.properties(datasets=rows) if rows else chart, theme.WIDE if len(panels) == 1 else None)


def say_nothing_drawn(why: str, runs: xr.Dataset, caption: str, label: str | None) -> Figure:
    """A figure that says in words why there is nothing to draw: a small run shows that too, and a chapter goes on."""
    text = alt.Chart(alt.InlineData(values=textwrap.wrap(why, 44))).transform_window(line="row_number()")
    marks = text.mark_text(align="left", baseline="top").encode(
        x=alt.value(0), y=alt.Y("line:O", axis=None), text="data:N"
    )
    drawn = theme.finish(marks.properties(width=theme.PLANE, height={"step": 18}))
    table = pd.DataFrame({"not drawn": [why]})
    return figure(drawn, why, table, f"{caption.rstrip()} {conditions(runs)}", label)
