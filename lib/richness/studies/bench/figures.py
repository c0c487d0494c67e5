"""The bench as figures: how many times as fast, what share of the machine, and what a network's step costs.

They are drawn from one report of ``richness bench``, which is kept with the book: ratios of one run on one machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from richness.plots import parts, theme
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.provenance import Provenance
from richness.runs import places, results

Report = Mapping[str, Any]
_ROW = 34  # px: a line of words above a line of marks


def load_bench() -> Report:
    """The report that the book shows: ``benchmarks/results/bench.json`` of the clone, or the wheel's copy of it.

    Raises:
        ResultError: there is none.
    """
    path = places.bench_path()
    if not path.is_file():
        raise results.ResultError(f"there is no {path}: make it with `richness bench --out {path}` in a clone")
    return json.loads(path.read_text(encoding="utf-8"))


def select_rows(report: Report, *starts: str) -> list[Mapping[str, Any]]:
    """The rows whose name begins with one of ``starts`` and that have a ratio."""
    return [row for row in report["rows"] if row["ratio"] is not None and row["name"].startswith(starts)]


@with_sources
def bench_ratios(report: Report, label: str | None = None) -> Figure:
    """Every peer's time over ours, with the targets."""
    rows = select_rows(report, "sweep", "sharpness", "ntk", "boundary")
    chart = _ratios(rows, "times as fast as the peer", log=True)
    words = (
        "How many times as long the peer takes for the same work (logarithmic). A point is the ratio of the shortest times, "
        "its bar the smallest and largest of one turn; the dashed stroke is what was aimed at, where something was."
    )
    return figure(theme.finish(chart, theme.WIDE), _summary(rows, "times as fast"), _table(rows), words, label)


@with_sources
def bench_shares(report: Report, label: str | None = None) -> Figure:
    """The share of the peak (to be large), and of what a sweep need not cost (to be small)."""
    rows = select_rows(report, "peak", "fixed", "dead")
    chart = _ratios(rows, "share", log=False)
    words = (
        "Shares. Of the rate at which this machine multiplies matrices: more is better, and the dashed stroke is the least "
        "aimed at. Of the whole sweep, for the stream, for the start, and for a plane with diverged networks beside one "
        "without: less is better, and the stroke is the most."
    )
    return figure(theme.finish(chart, theme.WIDE), _summary(rows, ""), _table(rows), words, label)


@with_sources
def bench_costs(report: Report, label: str | None = None) -> Figure:
    """Processor time of one network's step, against the number of networks and against the number of steps."""
    rows = [row for row in select_rows(report, "flat") if row["points"]]
    points = [point for row in rows for point in row["points"]]
    highest = 1.15 * max((point["cost"] for point in points), default=1.0)
    told = [
        f"between {row['points'][0][_over(row)]:,.0f} and {row['points'][-1][_over(row)]:,.0f} {_over(row)} the dearest step "
        f"costs {row['ratio']:.2f} times the cheapest"
        for row in rows
    ]
    words = (
        f"Processor time of one network's step, everything included. {rows[0]['what']}."
        if rows
        else "Nothing measured."
    )
    table = pd.DataFrame(points).rename(columns={"cost": "processor µs a cell·step"})
    chart = theme.finish(theme.beside(*(_cost_panel(row, highest) for row in rows)))
    return figure(chart, f"Cost is flat if: {'; '.join(told)}.", table, words, label)


class BenchProvenance(Provenance):
    """A folded table of the machine, the commit, the packages and the moment of a report."""

    def __init__(self, report: Report):
        self.report = report

    @property
    def title(self) -> str:
        return "richness bench"

    def rows(self) -> dict[str, str]:
        about = self.report["provenance"]
        return {
            "processor": f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, {about['system']}",
            "load": f"{about['load']} at the start, {about['load_after']} at the end (processes busy, mean of a minute)",
            "commit": about["commit"] + (" with uncommitted changes" if about["dirty"] else ""),
            "packages": ", ".join(f"{name} {version}" for name, version in about["packages"].items()),
            "made": f"{about['date']}, {about['seconds']:.0f} s",
            "make it again": "richness bench --out benchmarks/results/bench.json",
        }


def _ratios(rows: Sequence[Mapping[str, Any]], title: str, log: bool) -> Any:
    frame = pd.DataFrame([_mark(row) for row in rows])
    low, high = theme.span([*frame["low"], *frame["high"], *frame["target"].dropna()], 1.3)
    scale = theme.log_scale(min(low, 0.8), high) if log else alt.Scale(domain=[0, max(1.0, high)], nice=False)
    across = parts.x_on(scale, alt.Axis(title=title, format="~g", tickCount=5))
    ink: dict[str, Any] = {"color": theme.MEASURED, "yOffset": 8}
    base = alt.Chart(frame).encode(y=alt.Y("label:N", sort=None, axis=None, scale=alt.Scale(paddingInner=0.1)))
    aim = base.mark_tick(color=theme.TEXT, strokeDash=[3, 2], thickness=1.5, size=16, yOffset=8)
    return alt.layer(
        base.mark_text(align="left", dx=2, dy=-8).encode(x=alt.value(0), text="label:N"),
        base.mark_rule(strokeWidth=2, **ink).encode(x=across("low"), x2="high"),
        base.mark_point(**ink).encode(
            x=across("ratio"), tooltip=parts.tooltip({"label:N": "work", "peer:N": "peer", "ratio": (title, "")})
        ),
        aim.encode(x=across("target")),
    ).properties(width=theme.PLANE, height=alt.Step(_ROW))


def _mark(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = row["spread"] or (row["ratio"], row["ratio"])
    return {"low": low, "high": high} | {key: row[key] for key in ("label", "peer", "ratio", "target")}


def _cost_panel(row: Mapping[str, Any], highest: float) -> alt.Chart:
    over = _over(row)
    ends = theme.span([point[over] for point in row["points"]], 1.2)
    y = alt.Y("cost:Q", scale=alt.Scale(domain=[0, highest], nice=False), title="processor µs a cell·step")
    line = alt.Chart(pd.DataFrame(row["points"])).mark_line(color=theme.MEASURED, point={"color": theme.MEASURED})
    return line.encode(x=parts.log_x(ends, over)(over), y=y).properties(width=theme.PLANE, height=180)


def _over(row: Mapping[str, Any]) -> str:
    return next(name for name in row["points"][0] if name != "cost")


def _summary(rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    """How many ratios there are, the smallest and the largest, and how many of the aims are reached."""
    if not rows:
        return "Nothing measured."
    ends = [pick(rows, key=lambda row: row["ratio"]) for pick in (min, max)]
    least, most = (f"{row['ratio']:.3g} {unit}".rstrip() + f" ({row['label']})" for row in ends)
    aims = [row["reached"] for row in rows if row["target"] is not None]
    return f"{len(rows)} ratios, from {least} to {most}. Of {len(aims)} aims {sum(map(bool, aims))} are reached."


def _table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([
        {
            "work": row["what"], "against": row["peer"], "ours": row["ours"], "theirs": row["theirs"], "unit": row["unit"],
            "ratio": row["ratio"], "smallest": (row["spread"] or [None])[0], "largest": (row["spread"] or [None])[-1],
            "aim": None if row["target"] is None else f"{row['sense']} {row['target']:g}",
            "reached": {True: "yes", False: "no", None: None}[row["reached"]], "difference": row["difference"],
            "ours ran on": row["workers"].get("ours"), "theirs ran on": row["workers"].get("theirs"), "note": row["note"],
        }
        for row in rows
    ])  # fmt: skip
