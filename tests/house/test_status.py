"""The record of reruns: what counts as green, and that what was never run says so."""

from __future__ import annotations

import json

import pytest

from richness.site import status
from richness.site.address import chapters


def line(chapter: str, **other) -> dict:
    return {
        "chapter": chapter, "outcome": "ok", "seconds": 90.0, "date": "2026-11-02T04:00:00+00:00", "set": "smoke",
        "parameters": {"scale": "smoke"}, "commit": "a" * 40, "dirty": False, "machine": "GitHub, Python 3.11.9",
        "device": "cpu: x86_64 Linux", "problem": None, "notebook": "runs/x.ipynb",
    } | other  # fmt: skip


@pytest.fixture
def log(tmp_path):
    def write(*lines: dict):
        path = tmp_path / f"log-{len(list(tmp_path.glob('log*')))}.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
        return path

    return write


def test_only_what_is_green_and_committed_is_recorded_and_the_last_wins(log, tmp_path):
    path = tmp_path / "status.json"
    first = log(
        line("01-setting"),
        line("02-phase-portrait", outcome="failed", problem="cell [3]"),
        line("03-performance", dirty=True),
        line("04-dynamics", outcome="kept"),
    )
    assert [one["chapter"] for one in status.record([first], path)] == ["01-setting"]
    later = line("01-setting", date="2026-11-09T04:00:00+00:00", seconds=60.0)
    colab = line("01-setting", machine="Colab's image, Python 3.13.1", parameters={"scale": "laptop"})
    lines = status.record([log(later, colab), first], path)
    assert [(one["scale"], one["date"][:10]) for one in lines] == [("smoke", "2026-11-09"), ("laptop", "2026-11-02")]
    assert status.read(path) == lines
    row = status.Status(lines, ["01-setting"]).rows()[0]
    assert row["smoke"].startswith("2026-11-09, 1.0 min") and row["paper"] == "not yet"
    assert "Python 3.13.1" in row["Colab's image"] and "commit aaaaaaaaaa" in row["Colab's image"]


def test_what_was_never_run_says_so(tmp_path):
    shown = status.status(tmp_path / "absent.json")
    assert [row["chapter"] for row in shown.rows()] == [path.stem for path in chapters()]
    assert all(row[name] == "not yet" for row in shown.rows() for name in row if name != "chapter")
    assert shown._repr_html_().count("not yet") == 4 * len(chapters())


def test_a_log_that_is_none_leaves_the_record(log, tmp_path, richness, monkeypatch):
    path = tmp_path / "status.json"
    monkeypatch.setattr(status, "record_path", lambda: path)
    good = log(line("01-setting"))
    assert richness("status", good).code == 0
    before = path.read_bytes()
    bad = log(line("01-setting"), {"chapter": "02-phase-portrait"})
    answer = richness("status", bad)
    assert answer.code == 1 and "line 2" in answer.err and "Traceback" not in answer.err
    assert richness("status", tmp_path / "absent.jsonl").code == 1
    assert path.read_bytes() == before
    assert "2026-11-02" in richness("status").out


LIES = [
    {"seconds": "x"}, {"seconds": float("nan")}, {"seconds": -1}, {"seconds": None}, {"seconds": True}, {"date": 7},
    {"date": "yesterday"}, {"date": "2026-11-02T04:00:00"}, {"machine": None}, {"device": ["cpu"]}, {"commit": 1},
    {"chapter": ""}, {"chapter": ["01-setting"]}, {"machine": "x" * 10_000}, {"parameters": 1},
]  # fmt: skip


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_line_of_other_types_is_refused_before_anything_is_written(log, tmp_path, richness, monkeypatch, lie):
    """``"seconds": "x"`` used to be taken, and every later build of the page failed on it."""
    path = tmp_path / "status.json"
    monkeypatch.setattr(status, "record_path", lambda: path)
    assert richness("status", log(line("01-setting"))).code == 0
    before = path.read_bytes()
    answer = richness("status", log(line("02-phase-portrait") | lie))
    assert answer.code == 1 and "line 1" in answer.err and "Traceback" not in answer.err and len(answer.err) < 500
    assert path.read_bytes() == before
    path.write_text(json.dumps([line("01-setting"), lie]))
    answer = richness("status")
    assert answer.code == 1 and "is no record of reruns" in answer.err and "Traceback" not in answer.err


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"[" * 100_000, b"[]", b"7", b"null", b"{}"], ids=lambda b: str(b[:5])
)
def test_a_log_of_anything_else_is_a_sentence(tmp_path, richness, monkeypatch, content):
    monkeypatch.setattr(status, "record_path", lambda: tmp_path / "status.json")
    (tmp_path / "log.jsonl").write_bytes(content)
    answer = richness("status", tmp_path / "log.jsonl")
    assert answer.code == 1 and "log.jsonl" in answer.err and "Traceback" not in answer.err


def test_the_stored_record_is_of_this_books_chapters():
    """Empty as long as no scheduled rerun has written it."""
    assert {one["chapter"] for one in status.read()} <= {path.stem for path in chapters()}
