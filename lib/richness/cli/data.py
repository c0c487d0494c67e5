"""``richness fetch``: the data of tasks that are read from files."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from richness.cli.errors import Usage, suggest
from richness.cli.options import Parser
from richness.cli.tables import format_table


def fetch(words: Sequence[str]) -> int:
    options = _fetch_options().read(words)
    if not options.tasks:
        print(_tabulate_files())
        return 0

    from richness.data import task

    _check_tasks(options)
    for name in options.tasks:
        told: dict[str, Any] = {"verify": options.verify}
        if options.folder is not None:
            told["folder"] = options.folder
        if not sys.stderr.isatty():
            told["progress"] = _tell_tenths(name)
        fetched = task(name, **told)
        print(f"{fetched.name}: {fetched.about}")
    return 0


def _fetch_options() -> Parser:
    parser = Parser(
        "fetch",
        "Brings the files of tasks into the cache (RICHNESS_DATA, or the platform's), resumable. With no name, lists them.",
    )
    add = parser.add_argument
    add("tasks", metavar="TASK", nargs="*",
        help="such as cifar10, tinyimagenet, cifar5m, cifar5m_0 (one of its parts), fashion")  # fmt: skip
    add("--folder", metavar="DIR", help="where the chunks of mnist1m lie, which is imported")
    add("--verify", action="store_true", help="compute checksums again")
    return parser


def _tabulate_files() -> str:
    from richness.data.fetch import megabytes
    from richness.data.files import FILE_SETS

    rows = [
        {"task": name, "size": megabytes(sum(source.size for source in files.sources)) if files.sources else "",
         "here": f"{sum(source.path.exists() for source in files.sources)} of {len(files.sources)} files",
         "terms": files.licence} for name, files in FILE_SETS.items()
    ]  # fmt: skip
    return format_table(rows, ("task", "size", "here", "terms"), widest=80)


def _check_tasks(options: Namespace) -> None:
    from richness.data import TASKS
    from richness.data.files import FILE_SETS, file_set

    for name in options.tasks:
        if name not in TASKS or file_set(name) is None:
            raise Usage(f"TASK: expected one of {', '.join(FILE_SETS)}; got {name!r}.{suggest(name, FILE_SETS)}")
    if options.folder is not None and options.tasks != ["mnist1m"]:
        raise Usage("--folder: only mnist1m is imported from a folder; fetch it alone.")


def _tell_tenths(name: str) -> Callable[[int, int | None], None]:
    """A download in a log: a line every tenth."""
    told = -1

    def tell(done: int, total: int | None) -> None:
        nonlocal told
        tenth = 10 * done // total if total else 0
        if tenth != told:
            told = tenth
            print(f"{name}: {10 * tenth} %, {done / 1e6:.0f} MB", file=sys.stderr, flush=True)

    return tell
