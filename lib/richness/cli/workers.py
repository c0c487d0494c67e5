"""Who shares the work: this process, processes of this machine, or a Dask cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import threading
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from richness.cli.errors import Failure, Usage
from richness.cli.options import Parser, read_whole

SCHEDULER_PATIENCE = 60  # seconds until a Dask scheduler must have answered: it may have to be started first


@dataclass(frozen=True)
class Workers:
    """So many processes, or the Dask cluster of the scheduler at that address."""

    processes: int
    scheduler: str | None


def add_worker_options(parser: Parser) -> None:
    parser.add_argument(
        "--workers", metavar="N", default="1",
        help="processes to share the work; with 1, this process takes every core (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster to do the work, such as tcp://host:8786"
    )


def read_workers(options: Namespace) -> Workers:
    """Checks --workers, and --scheduler, which makes it superfluous."""
    processes, scheduler = read_whole(options.workers, "--workers", least=1), options.scheduler
    if scheduler is None:
        return Workers(processes, None)
    if not re.fullmatch(r"((tcp|tls|ws|wss|ucx)://)?(\[[\da-fA-F:]+\]|[\w.-]+):\d{1,5}", scheduler):
        raise Usage(f"--scheduler: expected an address such as tcp://host:8786, got {scheduler!r}.")
    if processes > 1:
        raise Usage("--scheduler: the cluster there has its own workers; leave --workers out.")
    return Workers(processes, scheduler)


@contextlib.contextmanager
def open_executor(workers: Workers) -> Iterator[Executor | None]:
    """A Dask cluster where a scheduler is named; else None for one worker (in this process), or that many processes."""
    if workers.scheduler is not None:
        with _connect(workers.scheduler) as client:
            yield client.get_executor()
    elif workers.processes == 1:
        yield None
    else:
        with _start_processes(workers.processes) as pool:
            yield pool


@contextlib.contextmanager
def _start_processes(count: int) -> Iterator[Executor]:
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _begin_worker)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    pool.shutdown()


def _begin_worker() -> None:
    """Ctrl-C reaches the whole group: a worker leaves the answer to its parent, and ends when that is gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def _connect(scheduler: str) -> Iterator[Any]:
    """A client of the Dask scheduler at that address; the cluster itself is left as it is."""
    try:
        import distributed
    except ImportError as error:
        from richness.extras import install_command

        raise Failure(f"--scheduler needs Dask, which is not installed: {install_command('cluster')}.") from error
    try:
        client = distributed.Client(scheduler, timeout=SCHEDULER_PATIENCE, set_as_default=False)
    except OSError as error:
        raise Failure(
            f"--scheduler: nothing answers at {scheduler} within {SCHEDULER_PATIENCE} s; see that 'dask scheduler' runs "
            "there and that this machine can reach it."
        ) from error
    with client:
        yield client
