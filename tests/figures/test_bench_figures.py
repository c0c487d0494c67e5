"""The bench's figures: what the stored report says is what is drawn, told and tabled."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from specifications import check_figure

from richness.runs import places, results
from richness.studies.bench import figures

DRAWN = {"ratios": figures.bench_ratios, "shares": figures.bench_shares, "costs": figures.bench_costs}


@pytest.fixture(scope="module")
def report() -> Any:
    return figures.load_bench()


def drawn(specification: dict[str, Any]) -> list[dict[str, Any]]:
    """All rows of all data sets of a chart."""
    return [row for rows in specification["datasets"].values() for row in rows]


def test_the_stored_report_is_whole(report, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from benchmarks.bench import JOBS
    from benchmarks.report import SCHEMA

    assert report["schema"] == SCHEMA and not report["provenance"]["quick"]
    for row in report["rows"]:
        assert row["ratio"] is not None and not row["missing"] and not row["failed"], row["name"]
    for job in JOBS:
        assert any(row["name"].startswith(job) for row in report["rows"]), f"no row of {job}: run richness bench again"


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_a_picture_with_words_and_numbers(name, report):
    figure = DRAWN[name](report, label=name)
    check_figure(figure)
    assert f'id="fig-{name}"' in figure.html()


def test_every_ratio_is_drawn_once_with_its_spread_and_aim(report):
    shown = [*drawn(figures.bench_ratios(report).chart.to_dict()), *drawn(figures.bench_shares(report).chart.to_dict())]
    rows = {row["label"]: row for row in report["rows"] if not row["name"].startswith(("flat", "memory"))}
    assert sorted(mark["label"] for mark in shown) == sorted(rows)
    for mark in shown:
        row = rows[mark["label"]]
        low, high = row["spread"] or (row["ratio"], row["ratio"])
        assert [mark[key] for key in ("low", "ratio", "high", "target")] == [low, row["ratio"], high, row["target"]]
        assert mark["low"] <= mark["ratio"] <= mark["high"]


def test_what_could_not_be_measured_is_not_drawn_as_anything(report):
    less = copy.deepcopy(report)
    gone = next(row for row in less["rows"] if row["name"].endswith("-jax"))
    gone |= {"ratio": None, "spread": None, "missing": "jax is not installed"}
    figure = figures.bench_ratios(less)
    assert gone["label"] not in [mark["label"] for mark in drawn(figure.chart.to_dict())]
    assert len(figure.table) == len(figures.bench_ratios(report).table) - 1


def test_provenance_says_machine_commit_and_how_to_run_it(report):
    told = figures.BenchProvenance(report)
    about = report["provenance"]
    html = told._repr_html_()
    assert about["commit"] in html and about["processor"].split(" (")[0] in html and "richness bench --out" in html
    assert "richness-provenance" in html and "uncommitted" in repr(figures.BenchProvenance(report | {
        "provenance": about | {"dirty": True}
    }))  # fmt: skip


def test_a_missing_report_says_how_to_make_one(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "bench_path", lambda: tmp_path / "bench.json")
    with pytest.raises(results.ResultError, match="richness bench --out"):
        figures.load_bench()
