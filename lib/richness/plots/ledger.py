"""The ledger as a table of words: every claim, what was measured, and a verdict that reads without colour."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Any

import pandas as pd

from richness.analysis.ledger import count_claims
from richness.plots.figure import scrolling_table
from richness.plots.theme import power_of_ten

_WORDS = {
    "reproduced": "reproduced",
    "partly": "partly reproduced",
    "larger-scale": "needs a larger scale",
    "not-reproduced": "not reproduced",
    "not-tested": "not tested",
    "not-run": "not run",
}
_HEADINGS = ("claim", "verdict", "predicted", "measured", "95 % interval", "γ used", "seeds", "scale")


@dataclass(frozen=True)
class LedgerTable:
    """The ledger, shown as HTML in a notebook or on a page; `table` is the same as a DataFrame."""

    rows: tuple[Mapping[str, Any], ...]

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame([dict(row) for row in self.rows])

    @property
    def summary(self) -> str:
        """How many claims hold, in a sentence; by claim, since some have many rows."""
        counts = count_claims(self.rows)
        said = ", ".join(f"{count} {words}" for words, count in counts.items())
        return f"{len(self.rows)} rows for {sum(counts.values())} claims: {said}."

    def _repr_html_(self) -> str:
        first = {row["id"]: place for place, row in reversed(list(enumerate(self.rows)))}
        body = "\n".join(_row(row, first[row["id"]] == place) for place, row in enumerate(self.rows))
        caption = f"<caption>{escape(self.summary)}</caption>"
        return scrolling_table(_HEADINGS, body, "The ledger", "richness-ledger", caption)

    def __repr__(self) -> str:
        return self.summary


def ledger_table(rows: Iterable[Mapping[str, Any]]) -> LedgerTable:
    """Rows of `richness.analysis.ledger.ledger` (its documented keys) as a table.

    Verdicts stand in words, in an element of class ``verdict verdict-<name>``; a claim links to the chapter that shows
    it; where there is no interval, the row's reason stands in its place.

    Raises:
        ValueError: no rows, a row without a verdict, or a verdict that is none of the known.
    """
    kept = tuple(rows)
    if not kept:
        raise ValueError("expected the ledger's rows, got none; they come from richness.analysis.ledger.ledger().")
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
class Verdicts:
    """Measured exponents in sentences, each part of a claim with its badge; the last value of a chapter's cell."""

    rows: tuple[Mapping[str, Any], ...]

    def _parts(self) -> list[tuple[Mapping[str, Any], str]]:
        """(first row, sentence) of each part of a claim."""
        parts = []
        for part in dict.fromkeys((row["id"], row["part"]) for row in self.rows):
            both = [row for row in self.rows if (row["id"], row["part"]) == part]
            reasons = {row.get("reason") for row in both}
            shared = reasons.pop() if len(both) > 1 and len(reasons) == 1 else None
            measured = "; ".join(_measured_words(row, bool(shared)) for row in both)
            if shared:  # the same of all: said once
                measured += f" ({shared})"
            parts.append(
                (both[0], f"{both[0]['claim']}: predicted {_value(both[0]['predicted'])}; measured {measured}.")
            )
        return parts

    def __repr__(self) -> str:
        return "\n".join(f"{name(row)}: {sentence} {_WORDS[row['verdict']]}" for row, sentence in self._parts())

    def _repr_html_(self) -> str:
        return "\n".join(
            f'<p class="richness-reading" id="{anchor(row)}"><strong>{escape(name(row))}</strong>: {escape(sentence)} '
            f"{badge(row['verdict'])}</p>"
            for row, sentence in self._parts()
        )


def verdicts_of(rows: Iterable[Mapping[str, Any]], *names: str) -> Verdicts:
    """The ledger's rows of some claims, as sentences, each with its badge; the ledger links to them.

    Args:
        rows: of `richness.analysis.ledger.ledger`, or of one topic.
        names: claims by id, such as ``"C1"``, or by id and part, such as ``"C1 lazy"``; all, if none is named.
    """
    wanted = set(names)
    return Verdicts(tuple(row for row in rows if not wanted or {row["id"], f"{row['id']} {row['part']}"} & wanted))


def name(row: Mapping[str, Any]) -> str:
    """A row's name in words: the claim, and which part of it."""
    return f"{row['id']}, {row['part']}" if row.get("part") and row["part"] != "whole" else str(row["id"])


def anchor(row: Mapping[str, Any]) -> str:
    """Where a chapter's verdict on that part stands on its page."""
    return re.sub(r"[^a-z0-9]+", "-", f"claim {row['id']} {row['part']}".lower()).strip("-")


def _window(row: Mapping[str, Any]) -> str:
    """The γ used: both ends, or the one there is; empty where none is given."""
    if not row.get("window"):
        return ""
    low, high = (power_of_ten(float(end)) for end in row["window"])
    return low if low == high else f"{low} to {high}"


def _measured_words(row: Mapping[str, Any], bare: bool = False) -> str:
    """What was measured, with its interval, or with the reason why there is none unless ``bare``."""
    used = _window(row)
    over = f" over γ = {used}" if used else ""
    if row.get("interval") is None:
        seen = "nothing" if row.get("measured") is None else f"{_value(row['measured'])}{over}"
        return seen if bare else f"{seen} ({row.get('reason') or 'no reason given'})"
    measured, low, high = _measured(row)
    return f"{measured} [{low}, {high}]{over}"


def _measured(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """What was measured and its interval's ends, with no more digits than the interval carries.

    As the Particle Data Group rounds: by half the interval's width, to two of its digits if they are below 36, else to one.
    """
    numbers = (row["measured"], *row["interval"])
    half = (numbers[2] - numbers[1]) / 2 if all(isinstance(number, int | float) for number in numbers) else 0.0
    if not 0 < half < 10:
        measured, low, high = (_value(number) for number in numbers)
        return measured, low, high
    order = floor(log10(half))
    places = max(0, -order + (half / 10.0**order < 3.55))
    measured, low, high = (_value(round(number, places)) for number in numbers)
    return measured, low, high


def _row(row: Mapping[str, Any], first: bool) -> str:
    here = f' id="{escape(str(row["id"]).lower())}"' if first else ""  # the overview leads to a claim's first row
    link = escape(name(row))
    if row.get("chapter"):
        link = f'<a href="{escape(str(row["chapter"]), quote=True)}.html#{anchor(row)}">{link}</a>'
    interval = row.get("interval")
    measured, *ends = _measured(row) if interval else (_value(row.get("measured")),)
    evidence = (
        f"<td>{escape(' to '.join(ends))}</td>"
        if interval
        else f'<td class="richness-reason">{escape(str(row.get("reason") or "–"))}</td>'
    )
    used = _window(row) or "–"
    return (
        f'<tr{here}><th scope="row">{link}<br><small>{escape(str(row.get("claim") or ""))}</small></th>'
        f"<td>{badge(str(row['verdict']))}</td>"
        f"<td>{escape(_value(row.get('predicted')))}</td><td>{escape(measured)}</td>{evidence}"
        f"<td>{used}</td><td>{escape(str(row.get('seeds') or '–'))}</td><td>{escape(str(row.get('scale') or '–'))}</td></tr>"
    )


def _value(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.3g}".replace("-", "−")
    return str(value) if value not in (None, "") else "–"


# -- the overview -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Overview:
    """One line a claim: how many of its parts have which verdict."""

    rows: tuple[Mapping[str, Any], ...]

    def _counts(self) -> dict[str, dict[str, int]]:
        parts = {(row["id"], row["part"]): row["verdict"] for row in self.rows}
        return {
            claim: {word: n for word in _WORDS if (n := sum(v == word for k, v in parts.items() if k[0] == claim))}
            for claim in dict.fromkeys(row["id"] for row in self.rows)
        }

    def __repr__(self) -> str:
        said = [
            f"{claim}: " + ", ".join(f"{n} {_WORDS[word]}" for word, n in counts.items())
            for claim, counts in self._counts().items()
        ]
        return "\n".join(said)

    def _repr_html_(self) -> str:
        lines = "\n".join(
            f'<tr><th scope="row"><a href="#{escape(claim.lower())}">{escape(claim)}</a></th><td>'
            + " ".join(f"{n}&nbsp;×&nbsp;{badge(word)}" for word, n in counts.items())
            + "</td></tr>"
            for claim, counts in self._counts().items()
        )
        return scrolling_table(("claim", "parts by verdict"), lines, "Verdicts by claim", "richness-glance")


def overview(rows: Iterable[Mapping[str, Any]]) -> Overview:
    """The whole ledger in one line a claim."""
    return Overview(tuple(rows))
