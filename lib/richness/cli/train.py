"""``richness sweep`` and ``richness search``: an experiment described on the command line, and run."""

from __future__ import annotations

import functools
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from richness.cli.boundaries import tabulate_boundaries
from richness.cli.errors import Usage
from richness.cli.experiments import add_experiment_options, read_experiment
from richness.cli.options import Parser, read_choice, read_output, read_whole
from richness.cli.saving import explain_plan, holds_recipe, run_job, save_result_of
from richness.cli.workers import add_worker_options, read_workers

if TYPE_CHECKING:
    from richness.runs.experiment import Experiment


def sweep(words: Sequence[str]) -> int:
    options = _sweep_options().read(words)
    experiment = read_experiment(options)
    workers = read_workers(options)
    path = read_output(options.out or f"runs/sweep-{experiment.hash[:12]}.nc")
    settings, plan, kept = _read_snapshots(options, experiment, path)
    if holds_recipe(path, experiment.hash) and kept:
        print(f"{path} holds this experiment already; nothing to do.")
        return 0
    if options.dry_run:
        print("\n".join(filter(None, [explain_plan(experiment, path), plan])))
        return 0
    print(plan, end="\n" if plan else "", file=sys.stderr)
    runs = run_job(experiment, path, workers, **settings)
    if len(experiment.etas) > 1:
        print(tabulate_boundaries(runs, natural=options.natural))
    return 0


def _read_snapshots(options: Namespace, experiment: Experiment, path: Path) -> tuple[dict[str, Any], str, bool]:
    """What a sweep is told of snapshots, what they take, and whether all that are asked for are there."""
    from richness.data.fetch import megabytes
    from richness.runs.shards import cells_of
    from richness.runs.snapshots import count_bytes
    from richness.runs.sweep import place_snapshots

    steps = [read_whole(step, "--snapshots") for step in options.snapshots]
    if not steps:
        return {}, "", True
    folder = path.with_suffix(".weights")
    try:
        snapshots = place_snapshots(experiment, steps, folder)
    except ValueError as error:
        raise Usage(f"--{error}.") from error
    assert snapshots is not None
    size = megabytes(count_bytes(experiment, snapshots.steps))
    said = f"weights: steps {', '.join(map(str, snapshots.steps))} in {folder}, about {size}"
    return {"snapshots": steps, "weights": folder}, said, snapshots.find_kept() >= set(cells_of(experiment))


def _sweep_options() -> Parser:
    parser = Parser(
        "sweep", "One sweep over the γ–η plane, resumable. Grids are numbers or start:stop:points, log-spaced."
    )
    add = parser.add_argument
    add("--out", metavar="FILE.nc", help="where the result goes (default: runs/sweep-<hash>.nc)")
    add("--snapshots", metavar="STEP", nargs="*", default=[],
        help="steps at which weights are kept, in FILE.weights beside the result; a killed sweep goes on there")  # fmt: skip
    add("--dry-run", action="store_true", help="only say how many cells there are, what they cost and where they go")
    add_worker_options(parser)
    add_experiment_options(parser)
    return parser


def search(words: Sequence[str]) -> int:
    from richness.runs.search import identity
    from richness.runs.search import search as search_plane

    options = _search_options().read(words)
    experiment = read_experiment(options)
    workers = read_workers(options)
    sought = _read_sought(options)
    recipe_hash = identity(experiment, **sought)
    path = read_output(options.out or f"runs/search-{recipe_hash[:12]}.nc")
    if holds_recipe(path, recipe_hash):
        print(f"{path} holds this search already; nothing to do.")
        return 0
    about = f"boundaries at {len(experiment.gammas)} γ × {len(experiment.seeds)} seeds, {experiment.steps} steps"
    runs = save_result_of(functools.partial(search_plane, **sought), experiment, about, path, workers)
    print(f"{runs.cells_run} of {runs.cells_full_grid} cells were run.")
    print(tabulate_boundaries(runs, sought["boundaries"], options.natural))
    return 0


def _search_options() -> Parser:
    parser = Parser(
        "search",
        "The boundaries of the γ–η plane between the smallest and the largest η, without the plane; resumable.",
    )
    add = parser.add_argument
    add("--boundaries", metavar="NAME", nargs="*", help="eta_max, eta_min, eta_crit (default: all)")
    add("--per-decade", metavar="N", default="12",
        help="points a decade of the grid of η that boundaries are placed on (default: %(default)s)")  # fmt: skip
    add("--guard", metavar="N", default="1",
        help="runs before a boundary that must show nothing (default: %(default)s)")  # fmt: skip
    add("--out", metavar="FILE.nc", help="where the cells that were run go (default: runs/search-<hash>.nc)")
    add_worker_options(parser)
    add_experiment_options(parser)
    return parser


def _read_sought(options: Namespace) -> dict[str, Any]:
    """Which boundaries, and how finely."""
    from richness.runs.outcomes import APPROACHES

    known = list(APPROACHES)
    return {
        "boundaries": [read_choice(name, "--boundaries", known) for name in options.boundaries or known],
        "per_decade": read_whole(options.per_decade, "--per-decade", least=1),
        "guard": read_whole(options.guard, "--guard"),
    }
