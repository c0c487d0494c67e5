"""The ledger as a table of words: every claim, what was measured, and a verdict that reads without colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from richness.book.charts.theme import power_of_ten

_WORDS = {
    "reproduced": "reproduced",
    "partly": "partly reproduced",
    "larger-scale": "needs a larger scale",
    "not-reproduced": "not reproduced",
    "not-run": "not run",
}
_HEADINGS = ("claim", "verdict", "predicted", "measured", "95 % interval", "γ used", "seeds")


@dataclass(frozen=True)
class LedgerTable:
    """The ledger, shown as HTML in a notebook or on a page; `table` is the same as a DataFrame."""

    rows: tuple[Mapping[str, Any], ...]

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame([dict(row) for row in self.rows])

    @property
    def summary(self) -> str:
        """How many rows have which verdict, in a sentence."""
        counts = pd.Series([row["verdict"] for row in self.rows]).value_counts()
        parts = [f"{counts[name]} {words}" for name, words in _WORDS.items() if name in counts]
        return f"{len(self.rows)} rows for {len({row['id'] for row in self.rows})} claims: {', '.join(parts)}."

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{name}</th>' for name in _HEADINGS)
        body = "\n".join(_row(row) for row in self.rows)
        return (
            '<div class="richness-table richness-ledger" tabindex="0" role="group" '
            'aria-label="The ledger, scrolls sideways">'
            f"<table><caption>{escape(self.summary)}</caption><thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{body}\n</tbody></table></div>"
        )

    def __repr__(self) -> str:
        return self.summary


def ledger_table(rows: Iterable[Mapping[str, Any]]) -> LedgerTable:
    """Rows of `richness.findings.claims.ledger` (its documented keys) as a table.

    Verdicts stand in words, in an element of class ``verdict verdict-<name>``; a claim links to the chapter that shows
    it; where there is no interval, the row's reason stands in its place.

    Raises:
        ValueError: no rows, a row without a verdict, or a verdict that is none of the five.
    """
    kept = tuple(rows)
    if not kept:
        raise ValueError("expected the ledger's rows, got none; they come from richness.findings.claims.ledger().")
    for row in kept:
        if row.get("verdict") not in _WORDS:
            raise ValueError(
                f"row {row.get('id')!r}: the verdict is one of {', '.join(_WORDS)}; got {row.get('verdict')!r}"
            )
    return LedgerTable(kept)


def badge(verdict: str) -> str:
    """A verdict as HTML: a word first, a class for its border and colour."""
    names = f"richness-badge verdict verdict-{verdict}"
    return f'<span class="{names}" data-verdict="{verdict}">{escape(_WORDS[verdict])}</span>'


@dataclass(frozen=True)
class Reading:
    """Measured exponents in sentences, each part of a claim with its badge; the last value of a chapter's cell."""

    rows: tuple[Mapping[str, Any], ...]

    def _lines(self) -> list[tuple[str, str, str]]:
        """(heading, sentence, verdict) of each part of a claim."""
        lines = []
        for part in dict.fromkeys((row["id"], row["part"]) for row in self.rows):
            both = [row for row in self.rows if (row["id"], row["part"]) == part]
            measured = "; ".join(_measured_words(row) for row in both)
            sentence = f"{both[0]['claim']}: predicted {_value(both[0]['predicted'])}; measured {measured}."
            lines.append((part[0], sentence, str(both[0]["verdict"])))
        return lines

    def __repr__(self) -> str:
        return "\n".join(f"{name}, {sentence} {_WORDS[verdict]}" for name, sentence, verdict in self._lines())

    def _repr_html_(self) -> str:
        return "\n".join(
            f'<p class="richness-reading"><strong>{name}</strong>, {escape(sentence)} {badge(verdict)}</p>'
            for name, sentence, verdict in self._lines()
        )


def reading(rows: Iterable[Mapping[str, Any]], *names: str) -> Reading:
    """The ledger's rows of some claims, as sentences.

    Args:
        rows: of `richness.findings.claims.ledger`.
        names: claims by id, such as ``"C1"``; all, if none is named.
    """
    return Reading(tuple(row for row in rows if not names or row["id"] in names))


def _measured_words(row: Mapping[str, Any]) -> str:
    if row.get("interval") is None:
        return f"nothing ({row.get('reason') or 'no reason given'})"
    low, high = row["interval"]
    window = row.get("window")
    over = f" over γ = {power_of_ten(float(window[0]))} to {power_of_ten(float(window[1]))}" if window else ""
    return f"{_value(row['measured'])} [{_value(low)}, {_value(high)}]{over}"


def _row(row: Mapping[str, Any]) -> str:
    name = f"{row['id']}, {row['part']}" if row.get("part") and row["part"] != "whole" else str(row["id"])
    link = escape(name)
    if row.get("chapter"):
        link = f'<a href="{escape(str(row["chapter"]), quote=True)}.html">{link}</a>'
    interval = row.get("interval")
    evidence = (
        f"<td>{_value(interval[0])} to {_value(interval[1])}</td>"
        if interval
        else f'<td class="richness-reason">{escape(str(row.get("reason") or "–"))}</td>'
    )
    window = row.get("window")
    used = f"{power_of_ten(float(window[0]))} to {power_of_ten(float(window[1]))}" if window else "–"
    return (
        f'<tr><th scope="row">{link}<br><small>{escape(str(row.get("claim") or ""))}</small></th>'
        f"<td>{badge(str(row['verdict']))}</td>"
        f"<td>{_value(row.get('predicted'))}</td><td>{_value(row.get('measured'))}</td>{evidence}"
        f"<td>{used}</td><td>{row.get('seeds') or '–'}</td></tr>"
    )


def _value(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.3g}".replace("-", "−")
    return escape(str(value)) if value not in (None, "") else "–"
