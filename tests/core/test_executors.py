"""Any executor, the same bits; workers, schedulers and whole executors that are lost on the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from types import SimpleNamespace

import dask
import distributed
import numpy as np
import pytest
import torch
from alike import equal
from hypothesis import given, settings
from hypothesis import strategies as st

from richness import Experiment, sweep
from richness.runs import execution, results, shards
from richness.runs.results import ResultError


@pytest.fixture
def grid(small, monkeypatch):
    """Two dtypes, two seeds; twelve shards."""
    monkeypatch.setitem(shards.LIMITS, "cpu", shards.Limit(3, 1e18))
    return small(gammas=[1e-4, 0.1, 10.0], etas="1e-8:1e2:6", seeds=[0, 2], steps=60)


class Unlucky(Executor):
    """An executor with ``submit`` and no more, whose first so many answers for each shard are an error."""

    def __init__(self, error: BaseException, times: int):
        self.error, self.times = error, times
        self.asked: list[shards.Shard] = []

    def submit(self, fn, /, *arguments, **named):
        shard, future = arguments[1], Future()
        self.asked.append(shard)
        if self.asked.count(shard) <= self.times:
            future.set_exception(self.error)
        else:
            future.set_result(fn(*arguments, **named))
        return future


def test_threads_change_nothing(grid):
    with ThreadPoolExecutor(2) as executor:
        assert equal(sweep(grid), sweep(grid, executor))


@pytest.mark.slow
@pytest.mark.parametrize("error", [ConnectionResetError("gone"), EOFError("cut off"), TimeoutError("no answer")])
def test_a_lost_worker_is_replaced(grid, error):
    executor = Unlucky(error, times=execution.TRIES - 1)
    assert equal(sweep(grid), sweep(grid, executor))
    assert len(executor.asked) == execution.TRIES * len(set(executor.asked)) == execution.TRIES * 12


def test_a_worker_lost_too_often_ends_in_a_sentence(grid, tmp_path):
    executor = Unlucky(ConnectionResetError("gone"), times=execution.TRIES)
    with pytest.raises(ResultError, match=r"lost 4 times while training shard-\d.*memory.*run the same command again"):
        sweep(grid, executor, store=tmp_path)
    assert executor.asked.count(executor.asked[0]) == execution.TRIES


def test_answers_that_a_restarted_scheduler_forgot_are_asked_for_again(grid, monkeypatch):
    """As after ``client.restart()`` in the wrong moment: the scheduler has no task, and the futures wait for ever."""
    monkeypatch.setattr(execution, "PULSE", 0.01)

    class Forgetful(Unlucky):
        _client = SimpleNamespace(ncores=lambda: {"a": 1}, status="running", run_on_scheduler=lambda count: 0)

        def submit(self, fn, /, *arguments, **named):
            first = arguments[1] not in self.asked
            return (self.asked.append(arguments[1]) or Future()) if first else super().submit(fn, *arguments, **named)

    executor = Forgetful(EOFError("never"), times=0)
    assert equal(sweep(grid), sweep(grid, executor))
    assert len(executor.asked) == 2 * len(set(executor.asked))


def test_work_that_cannot_be_done_is_named_and_not_tried_again(grid, tmp_path):
    executor = Unlucky(ValueError("no such layer"), times=1)
    message = r"shard-\d-\w+\.npz \(seed \d, \d cells, γ from .*\) cannot be trained \(ValueError: no such layer\)"
    with pytest.raises(ResultError, match=message) as caught:
        sweep(grid, executor, store=tmp_path)
    assert isinstance(caught.value.__cause__, ValueError)
    assert len(executor.asked) == len(set(executor.asked)), "nothing is tried a second time"


def test_what_is_done_is_kept_before_the_end_is_told(grid, tmp_path):
    class HalfBroken(Unlucky):
        def submit(self, fn, /, *arguments, **named):
            future = super().submit(fn, *arguments, **named)
            if len(self.asked) % 2 == 0:
                future = Future()
                future.set_exception(BrokenExecutor("a process ended abruptly"))
            return future

    with pytest.raises(ResultError, match=r"a worker was lost, and the executor with it.*kept in .*same command again"):
        sweep(grid, HalfBroken(ValueError(), times=0), store=tmp_path)
    assert len(list(tmp_path.rglob("shard-*.npz"))) == 6
    assert equal(sweep(grid), sweep(grid, store=tmp_path))


def test_what_no_store_keeps_and_an_executor_that_was_shut_down_are_sentences(grid):
    with pytest.raises(ResultError, match="nothing is kept, since no store was named"):
        sweep(grid, Unlucky(ValueError("odd"), times=1))
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(ResultError, match="the executor takes no more work"):
        sweep(grid, executor)


def test_a_worker_holds_one_torch_thread(grid, monkeypatch):
    seen, run_shard = [], shards.run_shard

    def watched(*arguments):
        seen.append(torch.get_num_threads())
        return run_shard(*arguments)

    monkeypatch.setattr(shards, "run_shard", watched)
    torch.set_num_threads(2)
    with ThreadPoolExecutor(1) as executor:
        sweep(grid, executor)
    assert set(seen) == {1}


def test_the_number_of_workers_is_found():
    assert execution.workers_of(None) == 1
    assert execution.workers_of(Unlucky(ValueError(), 0)) == 8
    with ThreadPoolExecutor(3) as executor:
        assert execution.workers_of(executor) == 3


@pytest.mark.parametrize(
    ("gammas", "seeds", "workers", "sizes"),
    [(13, 1, 2, {85, 84}), (13, 3, 2, {85, 84}), (13, 1, 13, {13}), (13, 3, 64, {9, 8}), (1, 1, 2, {7, 6})],
)
def test_shards_are_even_and_the_workers_are_done_together(small, gammas, seeds, workers, sizes):
    experiment = small(gammas="1e-2:1e2:13" if gammas > 1 else [1.0], etas="1e-4:1e2:13", seeds=range(seeds), width=128)
    pieces = shards.cut_shards(experiment, shards.cells_of(experiment), workers)
    assert {len(shard.cells) for shard in pieces} == sizes
    assert len(pieces) % workers == 0 or len(pieces) < workers


def test_each_shard_is_a_fair_sample_of_the_plane(small):
    """Cells that diverge lie together at large η, and stop costing: no shard may have them all."""
    experiment = small(gammas="1e-2:1e2:13", etas="1e-4:1e2:13")
    for shard in shards.cut_shards(experiment, shards.cells_of(experiment), 4):
        large = sum(eta > 0.1 for _, eta in shard.cells) / len(shard.cells)
        assert abs(large - 6 / 13) < 0.1


def test_a_shard_of_heavy_cells_is_small(small):
    """Minutes, not hours, can be lost: the more a cell costs, the fewer train together."""
    sizes = []
    for steps in (100, 10_000, 1_000_000):
        experiment = small(width=256, batch_size=128, etas="1e-4:1e2:50", gammas="1e-2:1e2:4", steps=steps)
        pieces = shards.cut_shards(experiment, shards.cells_of(experiment))
        sizes.append(max(len(shard.cells) for shard in pieces))
        work = shards.operations(experiment) * sizes[-1]
        assert work <= shards.LIMITS["cpu"].operations or sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 60 and sizes[-1] == 1


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12), st.integers(2, 30), st.integers(1, 4), st.integers(1, 100_000), st.sampled_from((1, 2, 7)),
    st.integers(1, 512),
)  # fmt: skip
def test_a_kill_costs_a_tenth_or_ten_seconds(gammas, etas, seeds, steps, workers, width):
    """A sweep whose shards are kept, on workers that each lose the one that they train."""
    experiment = Experiment(
        gammas=np.geomspace(1e-5, 1e2, gammas),
        etas=np.geomspace(1e-4, 1, etas),
        seeds=range(seeds),
        steps=steps,
        width=width,
    )
    cells, limit = shards.cells_of(experiment), shards.LIMITS["cpu"]
    pieces = shards.cut_shards(experiment, cells, workers, kept=True)
    assert sorted((shard.seed, *cell) for shard in pieces for cell in shard.cells) == sorted(cells)
    largest = max(len(shard.cells) for shard in pieces)
    soon = limit.operations / 400 / shards.operations(experiment)
    assert largest <= max(1, len(cells) / 10 / workers, soon, 64 if workers > 1 else 1)


def test_what_eight_kills_cost(small, tmp_path, monkeypatch):
    """Killed in every shard at its very end, a sweep trains each tenth of its work twice, and ends in the same numbers."""
    experiment = small(etas="1e-4:10:12", seeds=[0, 1], steps=20)
    undisturbed = sweep(experiment)
    monkeypatch.setattr(shards, "SOON", 0.0)
    whole, trained, kills = shards.run_shard, [], iter([True, False] * 8)

    def killed(*arguments, **named):
        arrays = whole(*arguments, **named)
        trained.append(arrays["diverged_at"].size)
        if next(kills, False):
            raise KeyboardInterrupt
        return arrays

    monkeypatch.setattr(shards, "run_shard", killed)
    for _ in range(8):
        with pytest.raises(KeyboardInterrupt):
            sweep(experiment, store=tmp_path)
    resumed = sweep(experiment, store=tmp_path)
    cells = len(shards.cells_of(experiment))
    assert sum(trained) <= cells * (1 + 8 * 0.1)
    for name in undisturbed.data_vars:
        np.testing.assert_array_equal(undisturbed[name], resumed[name])


# Real processes ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_process_breaks_its_pool_and_a_new_one_goes_on(grid, tmp_path):
    undisturbed, struck = sweep(grid), []
    spawn = multiprocessing.get_context("spawn")

    def strike(_):
        if not struck:
            struck.append(multiprocessing.active_children()[0])
            struck[0].kill()

    with (
        ProcessPoolExecutor(2, spawn) as pool,
        pytest.raises(ResultError, match=r"the executor with it \(BrokenProcessPool"),
    ):
        sweep(grid, pool, tmp_path, strike)
    kept = date_shards(tmp_path)
    assert kept
    with ProcessPoolExecutor(2, spawn) as pool:
        assert equal(undisturbed, sweep(grid, pool, tmp_path))
    assert kept.items() <= date_shards(tmp_path).items()


def date_shards(folder) -> dict:
    """Every finished shard, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("shard-*.npz")}


@pytest.fixture(scope="module")
def client():
    """Two workers, each a process with a nanny that starts it anew; what a dead one did, Dask itself does not repeat."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def once_struck(strike):
    """A progress callback that does ``strike`` when the first shard is done, in the midst of the others."""
    struck = []

    def tell(state):
        if state.cells and not struck:
            struck.append(strike())

    return tell, struck


@pytest.mark.slow
def test_a_dask_worker_killed_in_the_midst_changes_nothing(grid, client, tmp_path, monkeypatch):
    def strike() -> int:
        busy = next(address for address, tasks in client.processing().items() if tasks)
        (victim,) = client.run(os.getpid, workers=[busy]).values()
        os.kill(victim, signal.SIGKILL)
        return victim

    tries: list[int] = []
    submit = distributed.cfexecutor.ClientExecutor.submit
    monkeypatch.setattr(
        distributed.cfexecutor.ClientExecutor, "submit", lambda *words: tries.append(words[-1]) or submit(*words)
    )
    tell, struck = once_struck(strike)
    assert execution.workers_of(client.get_executor()) == 2
    assert equal(sweep(grid), sweep(grid, client.get_executor(), tmp_path, tell))
    client.wait_for_workers(2, timeout=60)
    assert struck and struck[0] not in client.run(os.getpid).values()
    assert tries.count(1) == 12 and tries.count(2) >= 1, "a KilledWorker is answered with another try"


@pytest.mark.slow
def test_a_dask_cluster_restarted_in_the_midst_changes_nothing(grid, client, tmp_path):
    tell, struck = once_struck(client.restart)
    assert equal(sweep(grid), sweep(grid, client.get_executor(), tmp_path, tell))
    assert len(struck) == 1


@pytest.mark.slow
def test_a_result_is_saved_and_read_beside_a_cluster(grid, client, tmp_path):
    runs = sweep(grid)
    with client.as_current():
        assert results.read(results.save(runs, tmp_path / "a.nc")).identical(runs)


@pytest.mark.slow
def test_a_dask_error_comes_back_as_it_was(grid, client, tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "_on_one_thread", refuses)
    with pytest.raises(ResultError, match=r"cannot be trained \(ValueError: refused\)"):
        sweep(grid, client.get_executor(), tmp_path)


def refuses(*_):
    raise ValueError("refused")


@pytest.mark.slow
def test_a_scheduler_that_is_lost_ends_the_sweep_and_another_goes_on(grid, client, tmp_path):
    """Scheduler and worker are processes of their own here, and both are killed; the store is all that is left."""
    undisturbed = sweep(grid)
    with dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
        cluster = Processes(tmp_path / "scheduler.json")
        try:
            with distributed.Client(scheduler_file=str(cluster.file), set_as_default=False) as doomed:
                tell, struck = once_struck(cluster.kill)
                with pytest.raises(ResultError, match=r"scheduler was lost.*kept in .*run the same command again"):
                    sweep(grid, doomed.get_executor(), tmp_path / "store", tell)
        finally:
            cluster.kill()
    kept = date_shards(tmp_path)
    assert struck and 0 < len(kept) < 12
    assert equal(undisturbed, sweep(grid, client.get_executor(), tmp_path / "store"))
    assert kept.items() <= date_shards(tmp_path).items()


class Processes:
    """A scheduler and one worker, started as from a shell."""

    def __init__(self, file):
        self.file, where = file, ["--scheduler-file", str(file), "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        dask_command = [sys.executable, "-m", "dask"]
        self.running = [subprocess.Popen([*dask_command, "scheduler", "--port", "0", *where], **quiet)]
        self.running += [subprocess.Popen([*dask_command, "worker", "--no-nanny", "--nthreads", "1", *where], **quiet)]
        while not file.exists() and self.running[0].poll() is None:
            time.sleep(0.02)

    def kill(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
