"""From an experiment to a result: cells into shards, shards through an executor, finished shards kept, all of it resumable."""

from __future__ import annotations

import io
import os
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from richness.networks.parameterization import dtype_for
from richness.runs.experiment import PEAK_STEPS, Experiment, late_window
from richness.runs.results import (
    CURVES,
    STATUS,
    ResultError,
    narrowed,
    provenance,
    read_sealed,
    rounded,
    with_coordinates,
    write_sealed,
)
from richness.runs.training import History, train

SHARD = 64  # cells trained together
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Shard:
    """Cells of one seed and one dtype that train together.

    Attributes:
        seed: the seed itself. cells: (γ index, η index) of each. name: of its file in a store.
    """

    seed: int
    cells: tuple[tuple[int, int], ...]
    name: str


@dataclass
class Progress:
    """What a progress callback is told, as a sweep goes on."""

    done: int  # cell·steps finished
    total: int  # cell·steps in all
    cells: int  # cells finished
    diverged: int  # of these


def shards(experiment: Experiment) -> list[Shard]:
    """The experiment's cells in pieces of at most ``SHARD``; the same pieces at every call."""
    by_dtype: dict[str, list[tuple[int, int]]] = {}
    for i, j in experiment.cells():
        by_dtype.setdefault(str(dtype_for(experiment.gammas[i], experiment.dtype)), []).append((i, j))
    pieces = [cells[k : k + SHARD] for cells in by_dtype.values() for k in range(0, len(cells), SHARD)]
    return [
        Shard(seed, tuple(piece), f"shard-{SHARD}-{seed}-{number:04d}.npz")
        for seed in experiment.seeds
        for number, piece in enumerate(pieces)
    ]


def run_shard(recipe: str, shard: Shard, tick: Callable[[int], None] | None = None) -> Arrays:
    """Train one shard; what an executor's worker calls. ``recipe`` is the experiment as JSON."""
    experiment = Experiment.model_validate_json(recipe)
    wall, cpu = time.perf_counter(), time.process_time()
    values = [(experiment.gammas[i], experiment.etas[j]) for i, j in shard.cells]
    arrays = _summarise(experiment, train(experiment, shard.seed, values, tick))
    arrays["cells"] = np.array(shard.cells, dtype=np.int32)
    arrays["seconds"] = np.array([time.perf_counter() - wall, time.process_time() - cpu])
    return arrays


def _summarise(experiment: Experiment, history: History) -> Arrays:
    """The numbers that are kept of a shard's history; cells along the last axis."""
    loss, diverged = history.loss, history.diverged_at >= 0
    late = np.stack([loss[late_window(budget)].mean(axis=0) for budget in experiment.all_budgets])
    peak = np.where(np.isnan(loss[:PEAK_STEPS]).any(axis=0), np.nan, loss[:PEAK_STEPS].max(axis=0, initial=-np.inf))
    return {
        "loss": loss[experiment.recorded_steps],
        "diverged_at": history.diverged_at,
        "initial_loss": loss[0],
        "peak_loss": peak,
        "late_loss": np.where(diverged, np.nan, late[-1]),
        "budget_loss": late,
        **history.probes,
    }


def sweep(
    experiment: Experiment,
    executor: Executor | None = None,
    store: str | Path | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    *,
    name: str = "",
    scale: str = "",
) -> xr.Dataset:
    """Train every cell of an experiment.

    Args:
        experiment: what to run.
        executor: any ``concurrent.futures.Executor``; in this process if None.
        store: a folder where finished shards are kept; running the same experiment again goes on from them.
        progress: called with a :class:`Progress` as shards advance; True draws a bar.
        name, scale: of the recipe, for the provenance.

    Returns:
        Dataset with dims gamma, eta, seed, step: see :func:`assemble`.

    Raises:
        ResultError: the store cannot be written, or a worker was lost; finished shards are kept.
    """
    tell = progress_bar() if progress is True else progress or None
    folder = None if store is None else Path(store) / experiment.hash[:16]
    recipe, todo, finished = experiment.model_dump_json(), [], {}
    for shard in shards(experiment):
        kept = _kept(folder, shard)
        if kept is None:
            todo.append(shard)
        else:
            finished[shard.name] = (shard, kept)
    state = Progress(0, len(experiment.cells()) * len(experiment.seeds) * experiment.steps, 0, 0)

    def count(arrays: Arrays) -> None:
        state.cells += len(arrays["cells"])
        state.diverged += int((arrays["diverged_at"] >= 0).sum())
        state.done = state.cells * experiment.steps
        if tell:
            tell(state)

    def tick(cell_steps: int) -> None:
        state.done += cell_steps
        if tell:
            tell(state)

    for _, arrays in finished.values():
        count(arrays)
    for shard, arrays in _run(recipe, todo, executor, tick if tell else None):
        if folder is not None:
            write_sealed(folder / shard.name, _pack(arrays))
        finished[shard.name] = (shard, arrays)
        count(arrays)
    return assemble(experiment, finished.values(), name=name, scale=scale)


def progress_bar(name: str = "") -> Callable[[Progress], None]:
    """A bar of cell·steps for a terminal or a notebook, to be given to :func:`sweep`."""
    bar = tqdm(desc=name or None, unit=" cell·steps", unit_scale=True)

    def draw(state: Progress) -> None:
        bar.total = state.total
        bar.set_postfix(diverged=state.diverged, refresh=False)
        bar.update(state.done - bar.n)
        if state.done >= state.total:
            bar.close()

    return draw


def _run(
    recipe: str, todo: list[Shard], executor: Executor | None, tick: Callable[[int], None] | None
) -> Iterable[tuple[Shard, Arrays]]:
    """Finished shards, in whatever order they finish."""
    if executor is None:
        for shard in todo:
            yield shard, run_shard(recipe, shard, tick)
        return
    waiting: dict[Future, Shard] = {executor.submit(run_shard, recipe, shard): shard for shard in todo}
    try:
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                shard = waiting.pop(future)
                try:
                    arrays = future.result()
                except (EOFError, OSError, RuntimeError) as error:
                    raise ResultError(
                        f"a worker was lost while training {shard.name} ({type(error).__name__}: {error}); "
                        "finished shards are kept in the store: run the same command again to go on"
                    ) from error
                yield shard, arrays
    finally:
        for future in waiting:
            future.cancel()


def _kept(folder: Path | None, shard: Shard) -> Arrays | None:
    """A shard finished earlier; a damaged file is removed, named, and made again."""
    path = folder / shard.name if folder else None
    if path is None or not path.exists():
        return None
    try:
        with np.load(io.BytesIO(read_sealed(path))) as file:
            return dict(file)
    except ResultError:
        warnings.warn(f"{path} is damaged and will be computed again", stacklevel=3)
        os.unlink(path)
        return None


def _pack(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def assemble(
    experiment: Experiment, finished: Iterable[tuple[Shard, Arrays]], *, name: str = "", scale: str = ""
) -> xr.Dataset:
    """Finished shards to one Dataset.

    Returns:
        Variables ``loss`` (gamma, eta, seed, step), ``sharpness`` and ``accuracy`` likewise where asked for (NaN at recorded
        steps that are not probed), ``late_loss``, ``peak_loss``, ``initial_loss`` (gamma, eta, seed), ``budget_loss``
        (gamma, eta, seed, budget) where there are budgets, ``status`` (0 ok, 1 diverged, 2 not_run) and ``diverged_at``
        (−1: never). Coordinates ``lr_raw`` and ``tau``. float32, curves rounded to 14 bits; an experiment that asks for
        float64 keeps all its digits. Attributes hold the provenance.
    """
    exact = experiment.dtype == "float64"
    grid = (len(experiment.gammas), len(experiment.etas), len(experiment.seeds))
    recorded, probed = experiment.recorded_steps, experiment.probed_steps
    dims = ("gamma", "eta", "seed")
    planes = {key: np.full(grid, np.nan) for key in ("late_loss", "peak_loss", "initial_loss")}
    curves = {key: np.full((*grid, len(recorded)), np.nan) for key in ("loss", *experiment.kept_probes)}
    budget = np.full((*grid, len(experiment.all_budgets)), np.nan)
    diverged_at = np.full(grid, -1, dtype=np.int32)
    status = np.full(grid, STATUS["not_run"], dtype=np.int8)
    rows = [recorded.index(step) for step in probed]
    seconds = np.zeros(2)
    for shard, arrays in finished:
        where = (*arrays["cells"].T, np.full(len(arrays["cells"]), experiment.seeds.index(shard.seed)))
        for key, plane in planes.items():
            plane[where] = arrays[key]
        for key, curve in curves.items():
            block = np.full((len(arrays["cells"]), len(recorded)), np.nan)
            block[:, slice(None) if key == "loss" else rows] = arrays[key].T
            curve[where] = block
        budget[where] = arrays["budget_loss"].T
        diverged_at[where] = arrays["diverged_at"]
        status[where] = np.where(arrays["diverged_at"] >= 0, STATUS["diverged"], STATUS["ok"])
        seconds += arrays["seconds"]

    def kept(key: str, values: np.ndarray) -> np.ndarray:
        if exact:
            return values
        return rounded(values) if key in CURVES else narrowed(values)

    data: dict = {key: ((*dims, "step"), kept(key, values), _LABELS[key]) for key, values in curves.items()}
    data |= {key: (dims, kept(key, values), _LABELS[key]) for key, values in planes.items()}
    if experiment.budgets:
        data["budget_loss"] = ((*dims, "budget"), kept("budget_loss", budget), _LABELS["budget_loss"])
    flags = {"flag_values": np.array(list(STATUS.values()), dtype=np.int8), "flag_meanings": " ".join(STATUS)}
    data["status"] = (dims, status, {"long_name": "outcome", **flags})
    data["diverged_at"] = (dims, diverged_at, {"long_name": "first step whose loss was not finite; -1: none"})
    coordinates: dict = {
        "gamma": ("gamma", np.array(experiment.gammas), {"long_name": "richness"}),
        "eta": ("eta", np.array(experiment.etas), {"long_name": "step size; the raw weights move by width times it"}),
        "seed": ("seed", np.array(experiment.seeds, dtype=np.int64)),
        "step": ("step", np.array(recorded, dtype=np.int64), {"long_name": "updates done"}),
    }
    if experiment.budgets:
        coordinates["budget"] = ("budget", np.array(experiment.all_budgets, dtype=np.int64))
    runs = xr.Dataset(data, coordinates, provenance(experiment, name, scale, *seconds))
    return with_coordinates(runs)


_LABELS = {
    "loss": {"long_name": "training loss on the fresh batch of that step"},
    "sharpness": {"long_name": "largest Hessian eigenvalue of the loss as trained, raw weights, fixed probe set"},
    "accuracy": {"long_name": "share of held-out real samples named rightly"},
    "late_loss": {"long_name": "mean loss over every step of the last tenth"},
    "peak_loss": {"long_name": "largest loss of the first 60 steps"},
    "initial_loss": {"long_name": "loss at step 0"},
    "budget_loss": {"long_name": "mean loss over every step of the last tenth before the budget"},
}
