"""A figure of the book: a picture that needs nothing, its text summary, its table, and the chart that it can become."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from html import escape
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

ROWS_SHOWN = 60
NARROW = 760  # px of window below which panels stand one below the other, and a lone panel is as wide as a phone
_LOGARITHM = re.compile(r"^\s*log(?:10|₁₀)\s*\(?\s*(.+?)\s*\)?\s*$")


def figure(chart: Any, summary: str, table: Any, caption: str, label: str | None = None) -> Figure:
    """Join a chart, what it shows in words, and its numbers into one figure.

    In the built book (and where a chapter is rerun without a reader: the environment variable ``RICHNESS_BOOK`` is 1)
    it is a static picture that becomes alive when seen; in JupyterLab and on Colab it is Altair's own chart, with the
    summary and the table beneath.

    Args:
        chart: an ``alt.Chart`` of any kind.
        summary: what the figure shows, in a sentence or two, for readers who do not see it.
        table: the numbers: a ``pandas.DataFrame``, a list of records, or a mapping of columns.
        caption: what is drawn, with units and conventions (η or lr_raw, loss, task, L, N, seeds).
        label: a short name, unique on its page (``[a-z0-9-]``); links reach it at ``#fig-<label>``. Default: a hash.

    Raises:
        ValueError: if `summary` or `caption` is empty, or `label` holds anything but ``[a-z0-9-]``.
    """
    for name, text in (("summary", summary), ("caption", caption)):
        if not str(text).strip():
            raise ValueError(f"a figure needs a {name}, got an empty one: say in a sentence what it shows.")
    if label is not None and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", label):
        raise ValueError(f"a figure's label holds a-z, 0-9 and hyphens, got {label!r}: try {_slug(label)!r}.")
    return Figure(chart, str(summary).strip(), _frame(table), str(caption).strip(), label)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "figure"


def _frame(table: Any) -> pd.DataFrame:
    frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(table)
    return frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()


@dataclass(frozen=True)
class Figure:
    """A chart with its summary, table and caption; made by :func:`figure`, shown by being a cell's last value."""

    chart: Any
    summary: str
    table: pd.DataFrame
    caption: str
    label: str | None = None
    sources: tuple[Any, ...] = field(default=(), compare=False, repr=False)

    def drawn_from(self, *given: Any) -> Figure:
        """The same figure, knowing which of what was given to its maker are results: they are named beneath it."""
        return replace(self, sources=tuple({id(runs): runs for runs in _results(given)}.values()))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook stores: HTML in the book, Altair's own representation elsewhere."""
        if in_book():
            return {"text/html": self.html(), "text/plain": self.summary}
        bundle = self.chart._repr_mimebundle_(include, exclude)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        return {**data, "text/plain": self.summary}

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        if in_book():
            display(self._repr_mimebundle_(), raw=True)
            return
        display(self.chart)
        display(HTML(f"<div class='richness-beneath'>{self._words()}</div>"))

    @cached_property
    def specification(self) -> dict[str, Any]:
        """The chart as a Vega-Lite specification, transparent, in the colour of the text around it."""
        with alt.data_transformers.enable("default", max_rows=None):
            spec = self.chart.to_dict() if hasattr(self.chart, "to_dict") else dict(self.chart)
        spec["config"] = merged(TEXT_COLOURS, spec.get("config", {}))
        return spec

    @cached_property
    def vega(self) -> dict[str, Any]:
        """The specification compiled to Vega, so that no page need carry the compiler."""
        import vl_convert

        version = ".".join(alt.VEGALITE_VERSION.split(".")[:2])
        known = vl_convert.get_vegalite_versions()
        spec = vl_convert.vegalite_to_vega(self.specification, vl_version=version if version in known else known[-1])
        silence(spec)
        if self._wide and isinstance(spec.get("width"), int | float):
            # A start value and an expression: a width that is only an expression is drawn once as no number at all.
            room = f"windowSize()[0] < {NARROW} ? {spec['width']} : {self._wide}"
            spec["signals"] = [*spec.get("signals", []), {"name": "width", "init": room}]
        return spec

    @property
    def _wide(self) -> float | None:
        """The width that a lone panel takes where the window has room, if the chart names one."""
        return self.specification.get("usermeta", {}).get("wide")

    @property
    def identity(self) -> str:
        """The figure's name: its label, or else a hash of its chart and caption."""
        if self.label:
            return self.label
        content = json.dumps([self.specification, self.caption], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    def html(self) -> str:
        """The figure as HTML that needs no script: picture, controls (asleep), caption, summary, table, Vega's JSON."""
        controls, spec = split_controls(self.vega, self.identity)
        data = json.dumps(spec, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
        return (
            f'<figure class="richness-figure" id="fig-{self.identity}" data-state="static">\n'
            f'<div class="richness-picture" tabindex="0" role="group" aria-label="Picture">'
            f"{self._pictures(spec)}</div>\n"
            f"{controls}"
            f'<p class="richness-message" role="status" hidden></p>\n'
            f"<figcaption>{escape(self.caption)}</figcaption>\n"
            f"{self._words()}\n"
            f'<script type="application/json" class="richness-spec">{data}</script>\n'
            f"</figure>"
        )

    def _pictures(self, spec: dict[str, Any]) -> str:
        """The static picture; for a chart that answers to the window's width, one for each kind of window."""
        import vl_convert

        layout = spec.get("layout", {})
        if not isinstance(layout.get("columns"), dict) and not self._wide:
            return picture(vl_convert.vega_to_svg(spec), self.identity, self.summary)
        pictures = []
        for kind, columns in (("wide", 2), ("narrow", 1)):
            still = {**spec, "signals": [s for s in spec.get("signals", []) if s["name"] != "width"]}
            if layout:
                still["layout"] = {**layout, "columns": columns}
            if self._wide and kind == "wide":
                still["width"] = self._wide
            drawn = vl_convert.vega_to_svg(still)
            pictures.append(picture(drawn, f"{self.identity}-{kind}", self.summary, f"richness-{kind}"))
        return f'<div class="richness-still">{"".join(pictures)}</div>'

    def _words(self) -> str:
        from richness.plots.provenance import drawer

        return f'<p class="richness-summary">{escape(self.summary)}</p>\n{self._table()}\n{drawer(self.sources)}'

    def _table(self) -> str:
        frame = self.table
        shown = frame.head(ROWS_SHOWN)
        rows = "\n".join(_row(values) for values in shown.itertuples(index=False))
        csv = base64.b64encode(frame.to_csv(index=False).encode()).decode()
        rest = f"The first {len(shown):,} of {len(frame):,} rows; all of them: " if len(frame) > len(shown) else ""
        link = f'<a download="{self.identity}.csv" href="data:text/csv;charset=utf-8;base64,{csv}">CSV file</a>'
        return (
            '<details class="richness-numbers"><summary>The numbers as a table</summary>\n'
            f"{scrolling_table(frame.columns, rows, 'Table of the numbers')}\n<p>{rest}{link}</p></details>"
        )


def with_sources(make: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorates a maker of figures: its figure names the results among the arguments beneath it."""

    @wraps(make)
    def make_with_sources(*given: Any, **named: Any) -> Figure:
        return make(*given, **named).drawn_from(given, named)

    return make_with_sources


def _results(given: Any) -> Iterator[xr.Dataset]:
    """The results with a provenance among arguments, wherever they stand in lists and mappings."""
    if isinstance(given, xr.Dataset):
        if "recipe_hash" in given.attrs and "git_commit" in given.attrs:
            yield given
    elif isinstance(given, Mapping):
        for value in given.values():
            yield from _results(value)
    elif isinstance(given, list | tuple):
        for value in given:
            yield from _results(value)


def in_book() -> bool:
    """Whether figures are made for a page (``RICHNESS_BOOK=1``) and not for a reader at a notebook."""
    return os.environ.get("RICHNESS_BOOK") == "1"


def scrolling_table(headings: Iterable[Any], rows: str, label: str, kind: str = "", caption: str = "") -> str:
    """An HTML table that scrolls sideways, by the keyboard too: ``rows`` are its ``<tr>``, ``kind`` a class of its own."""
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in headings)
    return (
        f'<div class="{f"richness-table {kind}".strip()}" tabindex="0" role="group" aria-label="{escape(label)}">'
        f"<table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _row(values: Any) -> str:
    first, *others = values
    cells = "".join(f"<td>{escape(_cell(value))}</td>" for value in others)
    return f'<tr><th scope="row">{escape(_cell(first))}</th>{cells}</tr>'


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}" if np.isfinite(value) else ("–" if np.isnan(value) else "∞" if value > 0 else "−∞")
    return "–" if value is None or value is pd.NaT else str(value)


def silence(spec: dict[str, Any]) -> None:
    """Hide every mark of a Vega specification from screen readers (in place): Vega-Lite's own setting misses some."""
    for mark in spec.get("marks", []):
        mark["aria"] = False
        silence(mark)


# The page's own text colour and no marks for screen readers inside the drawing: the summary and the table speak for it,
# and thousands of labelled marks would drown both.
_WORDS = {"labelColor": "currentColor", "titleColor": "currentColor"}
TEXT_COLOURS: dict[str, Any] = {
    "aria": False,
    "background": "transparent",
    "axis": {**_WORDS, "domainColor": "currentColor", "tickColor": "currentColor", "gridColor": "#80808040"},
    "legend": _WORDS,
    "header": _WORDS,
    "title": {"color": "currentColor", "subtitleColor": "currentColor"},
    "text": {"color": "currentColor"},
    "view": {"stroke": "#80808060"},
}


def merged(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`own`, with what it leaves unsaid from `defaults`, key by key."""
    result = {**defaults, **own}
    for key, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(own.get(key), Mapping):
            result[key] = merged(value, own[key])
    return result


def picture(svg: str, identity: str, summary: str, kind: str = "") -> str:
    """An SVG made fit for the inside of a page: unique ids, one accessible name, no needless digits."""
    start = svg.index("<svg")
    end = svg.index(">", start)
    opening, body = svg[start:end], svg[end + 1 :]
    body = re.sub(r' (?:role|aria-[a-z]+|class|stroke-miterlimit|pointer-events)="[^"]*"', "", body)
    for name in set(re.findall(r'\bid="([^"]+)"', body)):
        body = body.replace(f'id="{name}"', f'id="{identity}-{name}"').replace(f"#{name})", f"#{identity}-{name})")
        body = body.replace(f'href="#{name}"', f'href="#{identity}-{name}"')
    body = re.sub(r"<[^>]*>", lambda tag: _LONG_NUMBER.sub(_rounded, tag[0]), body)
    opening = re.sub(r' (?:class|role|aria-[a-z]+)="[^"]*"', "", opening)
    names = f' class="{kind}"' if kind else ""
    return f'{opening}{names} role="img" aria-label="{escape(summary)}">{body}'


_LONG_NUMBER = re.compile(r"(?<![\d.#])-?\d+\.\d{3,}(?:e-?\d+)?")


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def split_controls(vega: dict[str, Any], identity: str) -> tuple[str, dict[str, Any]]:
    """(HTML of the chart's bound inputs, the Vega specification without their bindings).

    The inputs stand on the page from the start, disabled until the chart is alive, so that nothing jumps; each has a
    proper label. A range named ``log10 x`` or ``log₁₀ x`` is labelled x and shows the number that it stands for.
    """
    signals: list[dict[str, Any]] = []
    controls: list[str] = []
    for signal in vega.get("signals", []):
        if "bind" in signal and "input" in signal["bind"]:
            controls.append(_control(signal, f"{identity}-{_slug(signal['name'])}-{len(controls)}"))
            signal = {key: value for key, value in signal.items() if key != "bind"}
        signals.append(signal)
    html = f'<div class="richness-controls">{"".join(controls)}</div>\n' if controls else ""
    return html, {**vega, "signals": signals}


def _control(signal: dict[str, Any], identity: str) -> str:
    bind, value = signal["bind"], _start(signal)
    name = str(bind.get("name") or signal["name"]).strip().rstrip(":").strip()
    logarithm = _LOGARITHM.match(name)
    shared = f'data-signal="{escape(signal["name"])}" disabled'
    if bind["input"] == "range":
        low, high = bind.get("min", 0), bind.get("max", 100)
        ends = {"min": low, "max": high, "step": bind.get("step", "any"), "value": low if value is None else value}
        numbers = " ".join(f'{key}="{escape(str(end))}"' for key, end in ends.items())
        log = ' data-log="10"' if logarithm else ""
        field = f'<input type="range" id="{identity}" {numbers} {shared}{log}><output for="{identity}"></output>'
    elif bind["input"] == "checkbox":
        field = f'<input type="checkbox" id="{identity}" {"checked " if value else ""}{shared}>'
    elif bind["input"] in ("select", "radio"):
        field = _choices(bind, value, identity, shared)
        if bind["input"] == "radio":
            return f'<fieldset class="richness-control"><legend>{escape(name)}</legend>{field}</fieldset>'
    else:
        raise ValueError(f"a figure's control is a range, select, radio or checkbox, got {bind['input']!r}.")
    text = escape(logarithm[1] if logarithm else name)
    return f'<span class="richness-control"><label for="{identity}">{text}</label>{field}</span>'


def _start(signal: dict[str, Any]) -> Any:
    """Where a bound signal stands at first: its value, or the literal that initialises it; None if neither."""
    if "value" in signal or "init" not in signal:
        return signal.get("value")
    try:
        return json.loads(signal["init"])
    except (TypeError, ValueError):
        return None


def _choices(bind: dict[str, Any], value: Any, identity: str, shared: str) -> str:
    options = bind.get("options", [])
    labels = bind.get("labels") or [str(option) if option is not None else "all" for option in options]
    parts = []
    for i, (option, text) in enumerate(zip(options, labels, strict=False)):
        data = escape(json.dumps(option))
        if bind["input"] == "select":
            chosen = " selected" if option == value else ""
            parts.append(f'<option value="{data}"{chosen}>{escape(str(text))}</option>')
        else:
            chosen = " checked" if option == value else ""
            field = f'<input type="radio" name="{identity}" id="{identity}-{i}" value="{data}"{chosen} {shared}>'
            parts.append(f'<span>{field}<label for="{identity}-{i}">{escape(str(text))}</label></span>')
    return (
        f'<select id="{identity}" {shared}>{"".join(parts)}</select>' if bind["input"] == "select" else "".join(parts)
    )
