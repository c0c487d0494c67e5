"""The γ–η plane of any training loop: the same result as a sweep's, from a function of γ, η and a seed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import xarray as xr

from richness.runs.loops import Loop, Run
from richness.runs.progress import Progress
from richness.runs.sweep import sweep


def plane(
    run: Run,
    gammas: Any,
    etas: Any,
    seeds: Any = (0,),
    *,
    executor: Executor | None = None,
    store: str | Path | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    name: str | None = None,
    version: str | None = None,
    **described: Any,
) -> xr.Dataset:
    """Run any loop at every γ, η and seed.

    Args:
        run: a function (gamma, eta, seed) -> losses, in any framework: a sequence, or a generator, which is not asked further
            once a loss is not finite. The loss at place t is that after t updates; all runs give as many, and one that diverges
            ends with a loss that is nan or infinite. It must be a function of its arguments alone.
        gammas, etas, seeds: as of :class:`richness.Experiment`.
        executor, store, progress: as for :func:`richness.sweep`; a store keeps every finished run.
        name, version: of the function; see :meth:`~richness.runs.loops.Loop.of`.
        described: what else is known of the loop, fields of :class:`richness.Loop`: ``budgets=(100,)``, ``depth=18``,
            ``loss="cross_entropy"``, ``optimizer="adam"``, ``network="resnet18"``.

    Returns:
        What :func:`richness.sweep` returns, for searches, boundaries, charts and files alike.

    Raises:
        TypeError, ValueError: what is no loop; the message says what was expected.
        ResultError: as for :func:`richness.sweep`; what a loop raises stands behind it.
    """
    loop = Loop.of(run, gammas, etas, seeds, name=name, version=version, **described)
    return sweep(loop, executor, store, progress, name=name or "")
