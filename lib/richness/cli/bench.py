"""``richness bench``: runs the clone's ``python -m benchmarks`` and shows its report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from richness.cli.errors import Failure
from richness.cli.options import Parser, read_output
from richness.cli.tables import format_table
from richness.cli.terminal import print_json


def bench(words: Sequence[str]) -> int:
    options = _bench_options().read(words)
    clone = _find_clone()
    place = read_output(options.out, ".json") if options.out else None
    measured = _run_benchmarks(clone, options)
    if measured.returncode:  # it has said why
        return 1
    report = json.loads(measured.stdout)
    if place:
        from richness.runs.results import write_whole

        write_whole(place, (json.dumps(report, ensure_ascii=False, indent=1) + "\n").encode())
    print_json(report, indent=1) if options.json else print(_tabulate_rows(report["rows"]))
    broken = [f"{row['name']}: {row['failed']}" for row in report["rows"] if row["failed"]]
    if broken:
        raise Failure(f"not everything could be measured. {'; '.join(broken)}.")
    return 0


def _bench_options() -> Parser:
    parser = Parser(
        "bench",
        "Ratios against the peers, measured now: first that all give the same numbers, then their times, in turns.",
    )
    add = parser.add_argument
    add("--json", action="store_true", help="the report for a machine")
    add("--quick", action="store_true", help="tiny sizes, to see that all agree; its times mean nothing")
    add("--only", metavar="NAME", nargs="*", default=[], help="these jobs (default: all)")
    add("--out", metavar="FILE.json", help="write the report there as well")
    return parser


def _find_clone() -> Path:
    from richness.runs.places import checkout

    root = checkout()
    if root is None or not (root / "benchmarks").is_dir():
        raise Failure("the benchmarks are not part of the installed package; run this in a clone.")
    return root


def _run_benchmarks(clone: Path, options: Namespace) -> subprocess.CompletedProcess[str]:
    """The report is what the program prints; what it tells of each job, and why it cannot, goes on to stderr."""
    command = [sys.executable, "-m", "benchmarks", *options.only, *(["--quick"] if options.quick else [])]
    speaking = os.environ | {"PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, cwd=clone, env=speaking, stdout=subprocess.PIPE, encoding="utf-8") as program:
        report, _ = program.communicate()  # `run` would kill it at Ctrl-C, before it can end its own processes
    return subprocess.CompletedProcess(command, program.returncode, report)


def _tabulate_rows(rows: Sequence[dict[str, Any]]) -> str:
    """One line a comparison, and beneath it what could not be measured."""
    columns = ("name", "peer", "ours", "theirs", "unit", "ratio", "spread", "target", "reached", "difference")
    table = format_table([_describe_row(row) for row in rows if row["ratio"] is not None], columns)
    rest = [f"{row['name']}: {row['missing'] or row['failed']}" for row in rows if row["missing"] or row["failed"]]
    return "\n".join([table, *rest])


def _describe_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its spread and target in words."""
    spread = "{:.3g} to {:.3g}".format(*row["spread"]) if row["spread"] else ""
    goal = "" if row["target"] is None else f"{'≥' if row['sense'] == 'at least' else '≤'} {row['target']:g}"
    return row | {"spread": spread, "target": goal, "reached": {True: "yes", False: "no", None: ""}[row["reached"]]}
