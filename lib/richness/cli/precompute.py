"""``richness precompute``: recipes carried out, and their results put where the book reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from richness.cli.errors import Failure, Usage, join_lines
from richness.cli.options import Parser, read_choice
from richness.cli.saving import run_job
from richness.cli.workers import add_worker_options, read_workers


def precompute(words: Sequence[str]) -> int:
    options = _precompute_options().read(words)
    from richness.cli.experiments import move_to_device
    from richness.runs.places import SCALES
    from richness.runs.recipes import all_recipes, recipe

    scale = read_choice(options.scale, "--scale", SCALES)
    workers = read_workers(options)
    for name in options.recipes:
        _check_recipe(name, scale)
    stale = 0
    for name in options.recipes or sorted(all_recipes()):
        described = move_to_device(recipe(name, scale), options.device)
        path = _find_place(name, scale)
        reason = _explain_staleness(path, described.hash)
        if reason is None:
            print(f"{name} at {scale}: up to date ({path})")
            continue
        stale += 1
        print(f"{name} at {scale}: {reason}{'' if options.dry_run else '; computing'}", flush=True)
        if not options.dry_run:
            run_job(described, path, workers, name, scale)
    print(f"{stale} stale" if options.dry_run else f"{stale} computed")
    return 0


def _precompute_options() -> Parser:
    parser = Parser(
        "precompute",
        "Fills precomputed/ with the named recipes; with no name, with all that are stale but those on downloaded data.",
    )
    add = parser.add_argument
    add("recipes", metavar="RECIPE", nargs="*", help="names of recipes")
    add("--scale", default="laptop", help="smoke (goes to runs/), laptop or paper (default: %(default)s)")
    add_worker_options(parser)
    add("--device", help="auto, cpu, cuda or cuda:0 (default: the recipe's own)")
    add("--dry-run", action="store_true", help="only say what is stale")
    return parser


def _check_recipe(name: str, scale: str) -> None:
    from richness.runs.recipes import all_recipes, paper_recipes

    if name in paper_recipes() and scale != "paper":
        raise Usage(f"RECIPE: {name} has the paper's own data and sizes: it is a recipe at --scale paper alone.")
    read_choice(name, "RECIPE", sorted({*all_recipes(), *paper_recipes()}))


def _find_place(name: str, scale: str) -> Path:
    """Where a recipe's result belongs: smoke never goes under precomputed/."""
    from richness.runs.places import checkout, precomputed_path, runs_folder

    if scale == "smoke":
        return runs_folder() / "smoke" / f"{name}.nc"
    if checkout() is None:
        raise Failure("precomputed/ is part of a clone of the repository; run this in one, or use 'richness sweep'.")
    return precomputed_path(name, scale)


def _explain_staleness(path: Path, recipe_hash: str) -> str | None:
    """Why the stored result must be made anew, or None if it need not."""
    from richness.runs.results import ResultError, read

    if not path.exists():
        return "not there yet"
    try:
        stored = read(path)
    except ResultError as error:
        return f"not readable ({join_lines(error)})"
    return None if stored.attrs.get("recipe_hash") == recipe_hash else "made by another recipe"
