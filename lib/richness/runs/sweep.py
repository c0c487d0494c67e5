"""From an experiment to a result: its cells trained, kept as they are done, and laid out on the plane."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import xarray as xr

from richness.data.streams import remember_batches
from richness.runs.engines import engine_for, passed_over
from richness.runs.execution import count_steps, run_cells
from richness.runs.experiment import Experiment
from richness.runs.loops import Loop
from richness.runs.probes import PROBES
from richness.runs.progress import Progress, teller
from richness.runs.results import STATUS, narrow_to_float32, provenance, round_mantissa, with_coordinates
from richness.runs.shards import Arrays, Shard, cells_of, cost_of
from richness.runs.snapshots import Snapshots, check_space, count_bytes, read_steps
from richness.runs.store import folder_of


def sweep(
    experiment: Experiment,
    executor: Executor | None = None,
    store: str | Path | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    *,
    snapshots: Sequence[int] = (),
    weights: str | Path | None = None,
    name: str = "",
    scale: str = "",
) -> xr.Dataset:
    """Train every cell of an experiment.

    Args:
        experiment: what to run; a reader's :class:`~richness.runs.loops.Loop` too.
        executor: any ``concurrent.futures.Executor``; in this process if None. See :func:`~richness.runs.execution.run_cells`.
        store: a folder where finished cells are kept; running the same experiment again, or one whose grid shares cells
            with it, goes on from them.
        progress: called with a :class:`Progress` as cells advance; True draws a bar, None does on a terminal and in a
            notebook, False never.
        snapshots: steps at which every network's weights are kept, for :func:`richness.load_weights`. A sweep that was killed
            goes on from the last of them when it is run again, with the same bits. They are no part of the recipe.
        weights: the folder where they go; processes and machines that share the work must reach it.
        name, scale: of the recipe, for the provenance.

    Returns:
        Dataset with dims gamma, eta, seed, step: see :func:`assemble`.

    Raises:
        TypeError: no experiment, or a progress that cannot be told.
        ValueError: snapshots at steps that are none of the experiment's, without a folder, or of a loop.
        ResultError: the store cannot be written, the disk has no room for the snapshots, or the executor or its workers were
            lost; finished cells are kept.
    """
    kept = place_snapshots(experiment, snapshots, weights)
    if isinstance(experiment, Loop) and not experiment.steps:
        experiment = count_steps(experiment, executor, store)
    tell = teller(progress)
    cells = cells_of(experiment)
    state = Progress(total=len(cells) * experiment.steps, all_cells=len(cells))

    def tick(cell_steps: int) -> None:
        state.done += cell_steps
        if tell and state.done < state.total:  # the last word is said when its cells are counted
            tell(state)

    done = []
    # Where finished shards are kept they are small, and several train on one seed's stream.
    with remember_batches() if store is not None and executor is None else nullcontext():
        for shard, arrays in run_cells(experiment, cells, executor, store, tick, kept):
            done.append((shard, arrays))
            state.cells += len(shard.cells)
            state.diverged += int((arrays["diverged_at"] >= 0).sum())
            state.kept += max(0, state.cells * experiment.steps - state.done)  # what no tick has told was in the store
            state.done = max(state.done, state.cells * experiment.steps)
            if tell:
                tell(state)
    return assemble(experiment, done, name=name, scale=scale)


def place_snapshots(experiment: Experiment, steps: Sequence[int], weights: str | Path | None) -> Snapshots | None:
    """Where a sweep keeps weights, once it is seen that it can; None where it was not asked to.

    Raises:
        ValueError, ResultError: as :func:`sweep`.
    """
    read = read_steps(experiment, steps) if np.size(steps) or weights is not None else ()
    if bool(read) != (weights is not None):
        missing = 'where they go, such as weights="runs/mine.weights"' if read else "at which steps, such as [0, 100]"
        raise ValueError(f"snapshots: expected {missing}, beside {'snapshots=' if read else 'weights='}")
    if weights is None:
        return None
    kept = Snapshots(read, folder_of(Path(weights).expanduser().resolve(), experiment))
    check_space(kept.folder, count_bytes(experiment, read))
    return kept


def assemble(
    experiment: Experiment, finished: Iterable[tuple[Shard, Arrays]], *, name: str = "", scale: str = ""
) -> xr.Dataset:
    """Finished shards to one Dataset.

    Returns:
        Variables ``loss`` (gamma, eta, seed, step), each probe that was asked for likewise, with the dims of its own after
        ``step`` (NaN at recorded steps that are not probed, and where diverged), ``late_loss``, ``peak_loss``,
        ``initial_loss`` (gamma, eta, seed), ``budget_loss`` (gamma, eta, seed, budget) where there are budgets,
        ``status`` (0 ok, 1 diverged, 2 not_run) and ``diverged_at`` (−1: never).
        Coordinates ``lr_raw``, ``tau`` and ``precision`` (gamma), the dtype that trained. float32, curves rounded
        to 14 bits; an experiment that asks for float64 keeps all its digits. Attributes hold the provenance, among it
        ``probe_seconds``, JSON of probe -> CPU seconds a cell and measurement, and ``probe_share``, of all CPU seconds.
    """
    exact = experiment.dtype == "float64"
    grid = (len(experiment.gammas), len(experiment.etas), len(experiment.seeds))
    recorded, probed = experiment.recorded_steps, experiment.probed_steps
    dims = ("gamma", "eta", "seed")
    planes = {key: np.full(grid, np.nan) for key in ("late_loss", "peak_loss", "initial_loss")}
    curves: dict[str, np.ndarray] = {}
    cost, measurements = np.zeros(len(experiment.kept_probes)), 0
    budget = np.full((*grid, len(experiment.all_budgets)), np.nan)
    diverged_at = np.full(grid, -1, dtype=np.int32)
    status = np.full(grid, STATUS["not_run"], dtype=np.int8)
    probe_rows = [recorded.index(step) for step in probed]
    seconds, devices = np.zeros(2), set()
    row, column = ({value: k for k, value in enumerate(axis)} for axis in (experiment.gammas, experiment.etas))
    for shard, arrays in finished:
        count = len(shard.cells)
        where = (
            [row[gamma] for gamma, _ in shard.cells],
            [column[eta] for _, eta in shard.cells],
            [experiment.seeds.index(shard.seed)] * count,
        )
        for key, plane in planes.items():
            plane[where] = arrays[key]
        for key in ("loss", *experiment.kept_probes):
            own = arrays[key].shape[1:-1]
            curve = curves.setdefault(key, np.full((*grid, len(recorded), *own), np.nan))
            block = np.full((count, len(recorded), *own), np.nan)
            block[:, slice(None) if key == "loss" else probe_rows] = np.moveaxis(arrays[key], -1, 0)
            curve[where] = block
        died = arrays["diverged_at"]
        measurements += int(((died < 0) | (np.array(probed)[:, None] <= died)).sum())
        cost += [arrays[cost_of(probe)].sum() for probe in experiment.kept_probes]
        budget[where] = arrays["budget_loss"].T
        diverged_at[where] = arrays["diverged_at"]
        status[where] = np.where(arrays["diverged_at"] >= 0, STATUS["diverged"], STATUS["ok"])
        seconds += arrays["seconds"]
        devices.add(str(arrays["device"]))

    def kept(key: str, values: np.ndarray) -> np.ndarray:
        if exact:
            return values
        return round_mantissa(values) if key in curves else narrow_to_float32(values)

    own_dims, sizes = _own_dims(curves)
    data: dict = {
        key: ((*dims, "step", *own_dims[key]), kept(key, values), _label(key)) for key, values in curves.items()
    }
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
    coordinates |= {dim: (dim, np.arange(1, size + 1)) for dim, size in sizes.items()}
    runs = xr.Dataset(data, coordinates, provenance(experiment, name, scale, *seconds))
    runs.attrs["device"] = "; ".join(sorted(devices))  # the workers', which this process need not have
    of_loop = isinstance(experiment, Loop)
    runs.attrs["engine"] = "loop" if of_loop else engine_for(experiment).__name__.lower()
    if reason := "" if of_loop else passed_over(experiment):
        runs.attrs["engine_reason"] = reason
    if experiment.kept_probes:
        each, share = cost / max(measurements, 1), cost / max(seconds[1], 1e-9)
        for key, values in (("probe_seconds", each), ("probe_share", share)):
            runs.attrs[key] = json.dumps(dict(zip(experiment.kept_probes, values.round(9).tolist(), strict=True)))
    return with_coordinates(runs)


def _own_dims(curves: dict[str, np.ndarray]) -> tuple[dict[str, tuple[str, ...]], dict[str, int]]:
    """The names of each curve's axes after ``step``, and every such name's size.

    Where two probes mean different sizes by one name, the later one's axis is called ``probe_name``.
    """
    named: dict[str, tuple[str, ...]] = {}
    sizes: dict[str, int] = {}
    for key, values in curves.items():
        own = dict(zip(PROBES[key].dims if key != "loss" else (), values.shape[4:], strict=True))
        own = {dim if sizes.get(dim, size) == size else f"{key}_{dim}": size for dim, size in own.items()}
        named[key], sizes = tuple(own), sizes | own
    return named, sizes


def _label(key: str) -> dict[str, str]:
    if key in _LABELS:
        return _LABELS[key]
    return {"long_name": PROBES[key].about, "units": PROBES[key].units}


_LABELS = {
    "loss": {"long_name": "training loss on the fresh batch of that step"},
    "late_loss": {"long_name": "mean loss over every step of the last tenth"},
    "peak_loss": {"long_name": "largest loss of the first 60 steps"},
    "initial_loss": {"long_name": "loss at step 0"},
    "budget_loss": {"long_name": "mean loss over every step of the last tenth before the budget"},
}
