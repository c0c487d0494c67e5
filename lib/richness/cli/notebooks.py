"""``richness rerun`` and ``richness status``: chapters executed, and when each last was."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from richness.cli.errors import Failure, Usage, explain_validation
from richness.cli.options import Parser, read_choice, read_whole
from richness.cli.tables import format_table

if TYPE_CHECKING:
    from richness.site.notebooks import Report


def rerun(words: Sequence[str]) -> int:
    reports = _rerun_chapters(_rerun_options().read(words))
    rows = [
        {"chapter": one.chapter, "seconds": round(one.seconds), "result": one.outcome, "notebook": str(one.output)}
        for one in reports
    ]
    print("\n" + format_table(rows, ("chapter", "seconds", "result", "notebook"), widest=80))
    failed = [f"{one.chapter} failed: {one.problem}" for one in reports if one.problem]
    if failed:
        raise Failure("; ".join(failed) + ".")
    return 0


def _rerun_options() -> Parser:
    parser = Parser(
        "rerun", "Executes chapters with Papermill, their parameters checked first. No name means all chapters."
    )
    add = parser.add_argument
    add("chapters", metavar="CHAPTER", nargs="*", help="paths or stems, such as 02-phase-portrait")
    add("--scale", help="smoke (seconds), laptop (what precomputed/ holds), paper (a GPU); default: each chapter's own")
    add("--device", help="auto, cpu, cuda, cuda:1, mps")
    add("--parameter", "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="sets one parameter of the chapter (repeatable)")  # fmt: skip
    add("--parameters", metavar="SET",
        help="a YAML file of parameters, or one of chapters/parameters/: smoke, laptop, t4, paper")  # fmt: skip
    add(
        "-y",
        dest="values",
        metavar="FILE",
        help="a YAML file of the chapter's parameters, a line each, such as 'depth: 4'",
    )
    add("--grid", metavar="NAME=VALUES", nargs="*", default=[],
        help="runs every combination, each a notebook of its own: depth=2,4 seed=0:5 gamma=0.1:100:4")  # fmt: skip
    add("--workers", metavar="N", help="notebooks at a time (default: half the cores with --grid, else 1)")
    add("--out", metavar="DIR", default="runs", help="where the executed notebooks go (default: %(default)s)")
    add("--log", metavar="FILE", help="gets a line of JSON a chapter (default: log.jsonl in DIR)")
    add("--again", action="store_true", help="also what was executed before with the same parameters and commit")
    return parser


def _rerun_chapters(options: Namespace) -> list[Report]:
    from pydantic import ValidationError

    from richness.runs.places import SCALES
    from richness.runs.training import cores
    from richness.site.notebooks import rerun as rerun_notebooks
    from richness.site.parameters import FIELDS, BadParameter, read_values

    if options.scale is not None:
        read_choice(options.scale, "--scale", SCALES)
    workers = max(1, cores() // 2) if options.grid else 1
    if options.workers is not None:
        workers = read_whole(options.workers, "--workers", least=1)
    typed: list[tuple[str, str]] = []
    try:
        typed += [*(read_values(Path(options.values)) if options.values else []), *map(tuple, options.parameter)]
        return rerun_notebooks(
            options.chapters, scale=options.scale, device=options.device, parameters=typed, grid=options.grid, workers=workers,
            parameter_set=options.parameters, out=Path(options.out), log=Path(options.log) if options.log else None,
            again=options.again,
        )  # fmt: skip
    except BadParameter as error:
        raise Usage(str(error)) from error
    except ValidationError as error:
        given = {*dict(typed), *(text.partition("=")[0] for text in options.grid)}
        single = {field: name for name, field in FIELDS.items() if field not in given}
        raise Usage(explain_validation(error, lambda field: f"-p {single.get(field, field)}")) from error


def table(words: Sequence[str]) -> int:
    parser = Parser("table", "One row an executed notebook: the parameters that differ, and what it recorded.")
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", help="executed notebooks, or folders of them (default: runs)"
    )
    parser.add_argument("--csv", action="store_true", help="every parameter and record, as CSV")
    options = parser.read(words)

    import pandas as pd

    from richness.site.parameters import BadParameter
    from richness.site.records import collect

    try:
        collected, recorded = collect([Path(path).expanduser() for path in options.paths or ["runs"]])
    except BadParameter as error:
        raise Usage(str(error)) from error
    rows = pd.DataFrame(collected)
    if options.csv:
        print(rows.to_csv(index=False), end="")
        return 0
    kept = {"notebook", *recorded, *(rows if len(rows) == 1 else ())}
    told = [name for name in rows if name in kept or rows[name].astype(str).nunique() > 1]
    print(format_table(rows[told].astype(object).where(rows[told].notna(), None).to_dict("records"), told))
    return 0


def status(words: Sequence[str]) -> int:
    parser = Parser(
        "status", "When each chapter last ran from top to bottom; logs of reruns are taken into that record first."
    )
    parser.add_argument("logs", metavar="LOG", nargs="*", help="files that `richness rerun` wrote (log.jsonl)")
    logs = parser.read(words).logs

    from richness.runs.places import SCALES
    from richness.site.status import COLAB, record
    from richness.site.status import status as read_status

    if logs:
        record(Path(log).expanduser() for log in logs)
    print(format_table(read_status().rows(), ("chapter", *SCALES, COLAB), widest=80))
    return 0
