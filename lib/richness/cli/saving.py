"""Runs that leave a result file: finished parts are kept beside it until the whole is written."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from richness.cli.errors import Failure, Usage, join_lines
from richness.cli.workers import Workers, open_executor

if TYPE_CHECKING:
    import xarray as xr

    from richness.runs.description import Measurement
    from richness.runs.experiment import Experiment


def holds_recipe(path: Path, recipe_hash: str) -> bool:
    """Whether ``path`` holds that recipe's result already; an unreadable file or another recipe's is a failure."""
    from richness.runs.results import ResultError, read

    if not path.exists():
        return False
    try:
        stored = str(read(path).attrs.get("recipe_hash"))
    except ResultError as error:
        problem = f"{path} exists and is not a whole result ({join_lines(error)})."
        raise Failure(f"{problem} Move it away or choose another --out.") from error
    if stored != recipe_hash:
        problem = f"{path} holds another experiment (recipe {stored[:12]}, not {recipe_hash[:12]})."
        raise Failure(f"{problem} Move it away or choose another --out.")
    return True


def run_job(
    described: Experiment | Measurement, path: Path, workers: Workers, name: str = "", scale: str = "", **settings: Any
) -> xr.Dataset:
    """Runs every cell of a sweep, with what other settings it has, or every seed of a measurement, and writes the result."""
    from richness.runs import jobs
    from richness.runs.experiment import Experiment

    about = f"{described.title}, {len(described.seeds)} seeds"
    if isinstance(described, Experiment):
        about = _count_cells(described)
    run = functools.partial(jobs.run, name=name, scale=scale, **settings)
    return save_result_of(run, described, about, path, workers)


def _count_cells(experiment: Experiment) -> str:
    return f"{len(experiment.cells())} cells × {len(experiment.seeds)} seeds × {experiment.steps} steps"


def explain_plan(experiment: Experiment, path: Path) -> str:
    """What a sweep would do: cells, cost, where its result goes, and what of it is there."""
    from richness.runs.progress import duration
    from richness.runs.shards import cells_of, estimate_seconds
    from richness.runs.store import folder_of, read_cells

    cells = cells_of(experiment)
    store, wanted = path.with_suffix(".parts"), dict.fromkeys(cells)
    for _ in read_cells(folder_of(store, experiment), experiment, wanted):
        pass
    seconds = estimate_seconds(experiment, list(wanted))
    return "\n".join(
        [
            f"{path.stem}: {_count_cells(experiment)}",
            f"cost: about {duration(seconds)} in this process, less what diverges, timed on a few of its steps",
            f"result: {path}",
            f"kept: {len(cells) - len(wanted)} of {len(cells)} cells in {store}",
        ]
    )


def save_result_of(
    run: Callable[..., xr.Dataset], described: Experiment | Measurement, about: str, path: Path, workers: Workers
) -> xr.Dataset:
    """Calls ``run`` with finished shards kept beside ``path``, writes ``path`` whole, then drops the shards."""
    from richness.runs.results import save

    if workers.scheduler is None:  # else the device is one of the workers'
        _check_device(described.device)
    store = path.with_suffix(".parts")
    with open_executor(workers) as executor, lock_result(store, path), _open_progress(path.stem) as progress:
        print(f"{path.stem}: {about}", file=sys.stderr, flush=True)
        try:
            runs = run(described, executor=executor, store=store, progress=progress)
            save(runs, path)
        except KeyboardInterrupt as stop:
            stop.__notes__ = [f"What is finished is kept in {store}; to go on:"]
            raise
        shutil.rmtree(store, ignore_errors=True)
    print("\n".join([f"{path}: {count_outcomes(runs)}", *_list_costs(runs)]))
    return runs


def _check_device(device: str) -> None:
    """Refuses a device that torch does not see, before any work is begun."""
    from richness.runs.results import device_here

    try:
        device_here(device)
    except ValueError as error:
        raise Usage(f"--device: {error}.") from error


def lock_result(store: Path, path: Path) -> AbstractContextManager[None]:
    """Refuses a second command that would write ``path`` while a first one does; a killed one holds nothing back."""
    from richness.runs.locks import lock_folder

    return lock_folder(store, f"another command is at work on {path}; let it finish, or choose another --out")


@contextlib.contextmanager
def _open_progress(name: str) -> Iterator[Callable[[Any], None]]:
    """A bar where someone is looking; in a log, a line every tenth."""
    if sys.stderr.isatty():
        from richness.runs.progress import progress_bar

        yield progress_bar(name)
        return
    told = 0

    def tell(state: Any) -> None:
        nonlocal told
        if state.done * 10 // state.total > told:
            told = state.done * 10 // state.total
            print(f"{name}: {10 * told} %, {state}", file=sys.stderr, flush=True)

    yield tell


def count_outcomes(runs: xr.Dataset) -> str:
    if "status" not in runs:
        return f"{runs.sizes['seed']} seeds"
    names = str(runs.status.attrs["flag_meanings"]).split()
    return ", ".join(f"{int((runs.status.values == flag).sum())} {name}" for flag, name in enumerate(names))


def _list_costs(runs: xr.Dataset) -> list[str]:
    """What each probe of a sweep has cost, the dearest first."""
    seconds, share = (json.loads(runs.attrs.get(key, "{}")) for key in ("probe_seconds", "probe_share"))
    dearest = sorted(seconds, key=seconds.__getitem__, reverse=True)
    return [f"{name} {1e3 * seconds[name]:.3g} ms a cell and step, {share[name]:.0%} of the time" for name in dearest]
