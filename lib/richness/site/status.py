"""When each chapter was last run from top to bottom: a record that reruns write and a page shows.

``richness rerun --log FILE`` writes a line a chapter. `record` takes from such logs, for every chapter, scale and kind of
machine, the last line that is green and was made from committed code; whatever was not run stands as not run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from richness.runs.places import SCALES, precomputed_folder
from richness.runs.results import write_whole

COLAB = "Colab's image"  # as the log's lines name it


class Line(BaseModel):
    """What is kept of a green line: text that fits a table's cell, a date in UTC, a time that can be told in minutes."""

    model_config = ConfigDict(strict=True, extra="forbid", str_max_length=200)

    chapter: str = Field(min_length=1)
    date: str
    seconds: float = Field(ge=0, allow_inf_nan=False)
    scale: Literal[SCALES]  # type: ignore[valid-type]
    machine: str
    device: str
    commit: str
    set: str

    @field_validator("date")
    @classmethod
    def _of_utc(cls, text: str) -> str:
        if datetime.fromisoformat(text).utcoffset() != timedelta(0):
            raise ValueError(f"expected a date in UTC such as 2026-11-02T04:00:00+00:00, got {text!r}")
        return text


KEPT = tuple(Line.model_fields)
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # of JSON that is something else


def record_path() -> Path:
    """Where the record lies, beside the results."""
    return precomputed_folder() / "status.json"


def read(path: Path | None = None) -> list[dict[str, Any]]:
    """The record's lines; none where there is no record yet.

    Raises:
        ValueError: it is not a list of lines.
    """
    path = path or record_path()
    if not path.exists():
        return []
    try:
        lines = json.loads(path.read_text(encoding="utf-8"))
        return [Line.model_validate(line).model_dump() for line in lines]
    except (OSError, *_UNREADABLE) as error:
        raise ValueError(
            f"{path} is no record of reruns ({_said(error)}): restore it with git, or delete it"
        ) from error


def record(logs: Iterable[Path], path: Path | None = None) -> list[dict[str, Any]]:
    """Takes what is green in the logs of reruns into the record, and returns the whole of it.

    Args:
        logs: files that ``richness rerun`` wrote.
        path: of the record.

    Raises:
        ValueError: a log that is no log, with its line; the record is left as it was.
    """
    path = path or record_path()
    last = {_kind(line): line for line in read(path)}
    for log in logs:
        for line in _green(log):
            if _kind(line) not in last or last[_kind(line)]["date"] <= line["date"]:
                last[_kind(line)] = line
    lines = [last[kind] for kind in sorted(last)]
    write_whole(path, (json.dumps(lines, indent=1, ensure_ascii=False) + "\n").encode())
    return lines


def _kind(line: dict[str, Any]) -> tuple[str, int, str]:
    return line["chapter"], SCALES.index(line["scale"]), line["machine"].partition(",")[0]


def _green(log: Path) -> list[dict[str, Any]]:
    """The lines of a log that are evidence: run to the end, from committed code, at a scale of the book."""
    try:
        texts = log.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the log {log}: {getattr(error, 'strerror', None) or error}") from error
    lines = [_parsed(text, f"{log}, line {number},") for number, text in enumerate(texts, start=1)]
    return [line for line in lines if line]


def _parsed(text: str, where: str) -> dict[str, Any]:
    """What of a log's line is kept; nothing of one that is no evidence."""
    try:
        line = json.loads(text)
        line["scale"] = line["parameters"].get("scale", "")
        green = line["outcome"] == "ok" and not line["dirty"] and line["scale"] in SCALES
        kept = {name: line[name] for name in KEPT}
        return Line.model_validate(kept).model_dump() if green else {}
    except _UNREADABLE as error:
        raise ValueError(f"{where} is not one that richness rerun wrote ({_said(error)})") from error


def _said(error: BaseException) -> str:
    """What is wrong, in a line: of several mistakes in a line of JSON, the first."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'a line'}: {first['msg']}, got {str(first['input'])[:60]!r}"
    return str(error) or type(error).__name__


@dataclass(frozen=True)
class Status:
    """The record as a table, a line a chapter; the last value of a page's cell."""

    lines: Sequence[dict[str, Any]]
    chapters: Sequence[str]

    def rows(self) -> list[dict[str, str]]:
        """For each chapter the last green run at every scale, and in Colab's image."""
        return [{"chapter": chapter, **self._cells(chapter)} for chapter in self.chapters]

    def _cells(self, chapter: str) -> dict[str, str]:
        own = [line for line in self.lines if line["chapter"] == chapter]
        found = {scale: [line for line in own if line["scale"] == scale] for scale in SCALES}
        found[COLAB] = [line for line in own if line["machine"].startswith(COLAB)]
        return {name: self._words(lines) for name, lines in found.items()}

    @staticmethod
    def _words(lines: list[dict[str, Any]]) -> str:
        if not lines:
            return "not yet"
        last = max(lines, key=lambda line: line["date"])
        return (
            f"{last['date'][:10]}, {last['seconds'] / 60:.1f} min, {last['device'] or 'no device named'}, "
            f"{last['machine']}, commit {last['commit'].removeprefix('version ')[:10]}"
        )

    def __repr__(self) -> str:
        return "\n".join(": ".join([row.pop("chapter"), "; ".join(map(" ".join, row.items()))]) for row in self.rows())

    def _repr_html_(self) -> str:
        from richness.plots.figure import scrolling_table  # and Altair with it: only where it is shown

        names = ["chapter", *SCALES, COLAB]
        body = "\n".join(
            f'<tr><th scope="row"><a href="{escape(row["chapter"])}.html">{escape(row["chapter"])}</a></th>'
            + "".join(f"<td>{escape(row[name])}</td>" for name in names[1:])
            + "</tr>"
            for row in self.rows()
        )
        return scrolling_table(names, body, "Last green runs, scrolls sideways", "richness-status")


def status(path: Path | None = None) -> Status:
    """The last green run of every chapter of the book, from the record."""
    from richness.site.address import chapters

    return Status(read(path), [chapter.stem for chapter in chapters()])
