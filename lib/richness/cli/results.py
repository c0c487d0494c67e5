"""``richness adopt`` and ``richness cite``: result files taken in, and what to cite for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from richness.cli.boundaries import tabulate_boundaries
from richness.cli.options import Parser
from richness.cli.saving import count_outcomes

if TYPE_CHECKING:
    import xarray as xr

SETTING = ("network", "depth", "width", "activation", "loss", "task", "optimizer", "batch_size", "steps")


def adopt(words: Sequence[str]) -> int:
    parser = Parser("adopt", "Checks a result from another machine and puts it into precomputed/.")
    parser.add_argument("file", metavar="FILE", help="the .nc file that `richness precompute` wrote there")
    parser.add_argument(
        "--force", action="store_true", help="also where it contradicts what is stored, once you know why"
    )
    options = parser.read(words)

    from richness.site.adopting import adopt as adopt_result

    print(adopt_result(Path(options.file).expanduser(), force=options.force))
    return 0


def show(words: Sequence[str]) -> int:
    parser = Parser("show", "A result: what it is, what became of its runs, and its boundaries.")
    parser.add_argument("file", metavar="FILE", help="a result file (.nc), or the name of a stored result")
    parser.add_argument("--csv", action="store_true", help="instead, every run as a line of CSV")
    parser.add_argument("--natural", action="store_true", help="boundaries in units of the natural η")
    options = parser.read(words)

    from richness.runs.results import load, read

    path = Path(options.file).expanduser()
    runs = read(path, unsealed=True) if path.is_file() else load(options.file)
    if options.csv:
        print(_list_runs(runs), end="")
        return 0
    print(describe_result(runs))
    if "status" in runs:
        print(f"\n{tabulate_boundaries(runs, natural=options.natural)}")
    return 0


def describe_result(runs: xr.Dataset) -> str:
    """What it was made by and when, its axes and variables, and the outcomes of its runs."""
    from richness.runs.results import recipe_fields

    made = recipe_fields(runs)
    if "batch" in runs.dims:
        made["batch_size"] = ", ".join(map(str, runs.batch.values))
    axes = ", ".join(f"{dim} {size}" for dim, size in runs.sizes.items())
    setting = ", ".join(f"{key} {made[key]}" for key in SETTING if key in made)
    name = runs.attrs.get("recipe_name") or "a sweep of your own"
    lines = {
        "result": f"{name} (recipe {str(runs.attrs['recipe_hash'])[:12]}), {setting}",
        "axes": axes,
        "variables": ", ".join(map(str, runs.data_vars)),
        "made": f"{runs.attrs['date']} on {runs.attrs['device']}, {runs.attrs['wall_seconds']:.0f} s, "
        f"commit {str(runs.attrs['git_commit'])[:10]}",
        "outcomes": count_outcomes(runs),
    }
    return "\n".join(f"{key + ':':<11}{text}" for key, text in lines.items())


def _list_runs(runs: xr.Dataset) -> str:
    """Every run as a line of CSV: its γ, η and seed, and every variable that has one value a run."""
    whole = {"batch", "gamma", "seed", "trial" if "trial" in runs.dims else "eta"} & set(runs.dims)
    single = [name for name, array in runs.data_vars.items() if set(array.dims) == whole]
    table = runs[single].to_dataframe().reset_index()
    if "status" in table:
        names = dict(enumerate(str(runs.status.attrs["flag_meanings"]).split()))
        table = table.assign(status=table.status.map(names))[lambda all_: all_.status != "not_run"]
    return str(table.to_csv(index=False))


def cite(words: Sequence[str]) -> int:
    parser = Parser("cite", "The BibTeX of the paper, of this companion, and of what your results used.")
    parser.add_argument("files", metavar="FILE", nargs="*", help="result files (.nc); none means everything")
    files = parser.read(words).files

    from richness.site.citations import bibtex

    print(bibtex([Path(name).expanduser() for name in files]))
    return 0
