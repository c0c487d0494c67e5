"""The driver: cells to finished shards, in this process or through any executor, kept as they come and resumable."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

from richness.runs import shards as work
from richness.runs import store as storage
from richness.runs.experiment import Experiment
from richness.runs.loops import Loop, read_recipe
from richness.runs.registered import pack_registered, unpack_registered
from richness.runs.results import ResultError
from richness.runs.shards import Arrays, Cell, Shard
from richness.runs.snapshots import Snapshots
from richness.runs.training import cores

TRIES = 4  # of a shard whose worker was lost
PULSE = 2.0  # seconds between two looks at whether the executor still lives, while nothing is finished
Tick = Callable[[int], None]


def run_cells(
    experiment: Experiment,
    cells: Iterable[Cell],
    executor: Executor | None = None,
    store: str | Path | None = None,
    tick: Tick | None = None,
    snapshots: Snapshots | None = None,
) -> Iterator[tuple[Shard, Arrays]]:
    """Train cells, on any grid or on none, and hand them over as they are done.

    What a store holds already comes first and is not trained again; what is trained is in the store before it is handed
    over. So a loop that is broken off, or killed, loses only what was in training, and goes on when it is begun again,
    whatever its executor and however its cells are cut then.

    Args:
        experiment: the networks, the task, the number of steps; its grids and seeds are not used.
        cells: (seed, γ, η) of each; twins count once.
        executor: any ``concurrent.futures.Executor``; this process if None. Each of its workers trains one shard at a time on
            one torch thread. A shard whose worker is lost is given out again, ``TRIES`` times in all.
        store: a folder where finished shards are kept; nothing is kept if None.
        tick: called with the number of cell·steps trained since its last call, which add up to all of them; an executor's
            come a whole shard at once, those of a store not at all.
        snapshots: where weights are kept on the way. Cells whose weights are not there are trained again, whatever a store
            has of them; shards that were broken off go on from their last snapshot.

    Yields:
        (shard, arrays) in no particular order, every cell in exactly one: ``shard.cells`` are its (γ, η), and each of
        ``arrays`` has them along its last axis: ``loss`` (recorded steps, cells), each probe (probed steps, cells),
        ``budget_loss`` (budgets, cells), ``initial_loss``, ``peak_loss``, ``late_loss``, ``diverged_at`` (cells,), all float64
        but the last. ``seconds``, (wall, CPU), and ``device`` are of the shard as a whole.

    Raises:
        ResultError: the store cannot be written, a worker was lost too often, the executor itself is lost, or a shard
            cannot be trained. What was finished stays in the store.
    """
    wanted = dict.fromkeys(cells)
    folder = storage.folder_of(store, experiment) if store is not None else None
    if folder is not None:
        whole = snapshots.find_kept() if snapshots else set(wanted)
        there = {cell: None for cell in wanted if cell in whole}
        for shard, arrays in storage.read_cells(folder, experiment, there):
            yield shard, work.complete(experiment, arrays)
        wanted = {cell: None for cell in wanted if cell in there or cell not in whole}
    begun = _take_begun(wanted, snapshots) if snapshots else []
    todo = begun + work.cut_shards(experiment, wanted, workers_of(executor), kept=folder is not None)
    if executor is None:
        trained = _here(experiment, todo, tick, snapshots)
    else:
        trained = _away(experiment, todo, executor, tick, snapshots)
    try:
        for shard, arrays in trained:
            if folder is not None:
                storage.write_shard(folder, shard, arrays)
            if snapshots:
                snapshots.drop_state(shard.seed, shard.cells)
            yield shard, work.complete(experiment, arrays)
    except _Stopped as stop:
        raise ResultError(f"{stop}; {_explain_kept(folder)}") from stop.__cause__
    except KeyboardInterrupt as stop:
        stop.add_note(f"Stopped by hand: {_explain_kept(folder)}.")
        raise


def _take_begun(wanted: dict[Cell, None], snapshots: Snapshots) -> list[Shard]:
    """The shards that were broken off after a snapshot; their cells are taken out of ``wanted``."""
    begun = []
    for seed, cells in snapshots.find_begun():
        if all((seed, gamma, eta) in wanted for gamma, eta in cells):
            begun.append(Shard(seed, cells))
            for gamma, eta in cells:
                del wanted[seed, gamma, eta]
    return begun


def _explain_kept(folder: Path | None) -> str:
    if folder is None:
        return "nothing is kept, since no store was named (store='runs/store' keeps what is finished)"
    return f"finished shards are kept in {folder}: run the same command again to go on from them"


def count_steps(loop: Loop, executor: Executor | None, store: str | Path | None) -> Loop:
    """A loop whose number of steps is known: it is run where η is smallest, and on until a run does not diverge.

    Raises:
        ValueError: every run diverged.
    """
    grid, known = [(eta, gamma) for eta in loop.etas for gamma in loop.gammas], {}
    for eta, gamma in sorted(grid, key=lambda place: not loop.in_band(*place[::-1])):
        cell = loop.seeds[0], gamma, eta
        ((_, arrays),) = run_cells(loop, [cell], executor, store)
        known[cell] = arrays["losses"][:, 0]
        if np.isfinite(known[cell]).all():
            return loop.with_steps(len(known[cell]) - 1, known)
    raise ValueError(f"{loop.loop}: every run diverged, so that their length is not known: give steps=")


def workers_of(executor: Executor | None) -> int:
    """How many shards an executor trains at once, as far as it can be told; 8 where it cannot."""
    if executor is None:
        return 1
    client = _client_of(executor)
    count = sum(client.ncores().values()) if client is not None else getattr(executor, "_max_workers", 0)
    return count or 8


class _Stopped(Exception):
    """Why no further shard will come, in words."""


def _here(
    experiment: Experiment, todo: list[Shard], tick: Tick | None, snapshots: Snapshots | None
) -> Iterator[tuple[Shard, Arrays]]:
    """The shards, trained in this process, one after another on all of its cores."""
    for shard in todo:
        told = 0

        def passed_on(cell_steps: int) -> None:
            nonlocal told
            told += cell_steps
            if tick:
                tick(cell_steps)

        try:
            arrays = work.run_shard(experiment, shard, passed_on, cores(), snapshots)
        except Exception as error:
            raise _Stopped(f"{shard} cannot be trained ({_words(error)})") from error
        passed_on(len(shard.cells) * experiment.steps - told)
        yield shard, arrays


def _away(
    experiment: Experiment, todo: list[Shard], executor: Executor, tick: Tick | None, snapshots: Snapshots | None
) -> Iterator[tuple[Shard, Arrays]]:
    """The shards, trained by an executor's workers; those of a lost worker are given out again."""
    recipe, parcel = experiment.model_dump_json(), pack_registered(experiment)
    waiting: dict[Future, Shard] = {}
    tries, silent = dict.fromkeys(todo, 0), 0

    def submit(shard: Shard) -> None:
        tries[shard] += 1
        try:
            # The number of the try is passed on because Dask takes equal calls for one, and would answer with the old loss.
            waiting[executor.submit(_on_one_thread, recipe, shard, parcel, snapshots, tries[shard])] = shard
        except Exception as error:
            raise _Stopped(f"the executor takes no more work ({_words(error)})") from error

    try:
        for shard in todo:
            submit(shard)
        while waiting:
            done, _ = wait(waiting, PULSE, FIRST_COMPLETED)
            if not done and _is_closed(executor):
                raise _Stopped("Dask's scheduler was lost")
            silent = silent + 1 if not done and _is_idle(executor) else 0
            if silent > 1:  # they are lost, and are given out again
                done = {future for future in waiting if future.cancel()}
            # What is finished goes first: it shall be kept before a lost neighbour ends the sweep.
            for future in sorted(done, key=lambda one: _error_of(one) is not None):
                shard, error = waiting.pop(future), _error_of(future)
                if error is None:
                    if tick:
                        tick(len(shard.cells) * experiment.steps)
                    yield shard, future.result()
                elif isinstance(error, BrokenExecutor):
                    raise _Stopped(f"a worker was lost, and the executor with it ({_words(error)})") from error
                elif not _is_loss(error):
                    raise _Stopped(f"{shard} cannot be trained ({_words(error)})") from error
                elif tries[shard] < TRIES:
                    submit(shard)
                else:
                    how = f"a worker was lost {TRIES} times while training {shard} ({_words(error)})"
                    raise _Stopped(f"{how}: see whether it ran out of memory") from error
    finally:
        if not _is_closed(executor):
            for future in waiting:
                future.cancel()


def _on_one_thread(recipe: str, shard: Shard, parcel: bytes, snapshots: Snapshots | None, _try: int) -> Arrays:
    """What a worker runs, given the experiment as JSON: a second thread would only take a core from its neighbour."""
    unpack_registered(parcel)
    torch.set_num_threads(1)
    return work.run_shard(read_recipe(recipe), shard, None, 1, snapshots)


def _error_of(future: Future) -> BaseException | None:
    return CancelledError("it was cancelled") if future.cancelled() else future.exception()


def _client_of(executor: Executor) -> Any:
    """Dask's client, where that is what stands behind an executor."""
    client = getattr(executor, "_client", None)
    return client if hasattr(client, "ncores") else None


def _is_closed(executor: Executor) -> bool:
    """Whether Dask's client has given up on its scheduler: then it leaves its futures waiting for ever."""
    client = _client_of(executor)
    return client is not None and client.status in ("closing", "closed")


def _is_idle(executor: Executor) -> bool:
    """Whether Dask's scheduler knows of no task: when it is restarted in the wrong moment, a future may never be told."""
    client = _client_of(executor)
    try:
        return client is not None and client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0
    except Exception:  # it cannot be asked now; if it is gone, the client will say so
        return False


def _is_loss(error: BaseException) -> bool:
    """Whether the worker is to blame, or the road to it, and not the work."""
    kinds: tuple[Any, ...] = (CancelledError, EOFError, ConnectionError, TimeoutError)
    if distributed := sys.modules.get("distributed"):  # its errors come only where it was imported
        kinds += (distributed.KilledWorker, distributed.comm.CommClosedError)
    return isinstance(error, kinds)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
