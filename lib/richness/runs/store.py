"""The store: finished shards in a folder, one sealed file each, read back cell by cell.

A cell's bits do not depend on which others it was trained beside. So the store keeps cells, and a file is only what came in
together: a sweep that is cut another way (more workers, a wider grid, a boundary search) takes from it every cell that it
wants. A file's name is a function of its cells, and files are replaced whole: two sweeps on one store can at worst do the same
work, never damage it.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from richness.runs.engines import engine_for
from richness.runs.experiment import Experiment
from richness.runs.results import SCHEMA, ResultError, read_sealed, write_sealed
from richness.runs.shards import Arrays, Cell, Shard

GRID = {"gammas", "etas", "seeds", "band"}  # which cells are wanted, and nothing of what is in them


def folder_of(store: str | Path, experiment: Experiment) -> Path:
    """The folder of a store that holds the cells of such an experiment, whatever its grid.

    Its name is a hash of all that a cell's numbers depend on besides γ, η and the seed: so a wider grid of the same networks
    goes on from what is there. The kind of device and the engine are among it, with the compiler and the processor of one that
    was compiled here, since the last bits are their own: chaos makes percents of them.
    """
    fields = experiment.model_dump(mode="json", exclude=GRID)
    device, engine = experiment.device.partition(":")[0], engine_for(experiment)
    build = engine.build()
    fields |= {"device": device, "engine": engine.__name__, "build": build.identity if build else ""}
    fields |= {"schema": SCHEMA, "registered": experiment.registered}
    return Path(store).expanduser() / hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def write_shard(folder: Path, shard: Shard, arrays: Arrays) -> None:
    """Write a finished shard, whole or not at all.

    Raises:
        ResultError: the folder cannot be written or the disk is full; what was kept before stays.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **arrays | {"seed": np.array(shard.seed), "cells": np.array(shard.cells)})  # type: ignore[arg-type]
    write_sealed(folder / shard.name, buffer.getvalue())


def read_cells(folder: Path, wanted: dict[Cell, None]) -> Iterator[tuple[Shard, Arrays]]:
    """The wanted cells that the folder holds, each once; they are taken out of ``wanted``.

    A damaged file is named in a warning and removed: its cells are computed again.
    """
    for path in sorted(folder.glob("shard-*.npz")):
        try:
            with np.load(io.BytesIO(read_sealed(path))) as file:
                arrays = dict(file)
        except ResultError:
            if path.exists():  # else another sweep has just removed it
                warnings.warn(f"{path} is damaged: its cells will be computed again", stacklevel=3)
                path.unlink(missing_ok=True)
            continue
        seed, cells, seconds, device = (arrays.pop(key) for key in ("seed", "cells", "seconds", "device"))
        seed = int(seed)
        chosen = [k for k, (gamma, eta) in enumerate(cells.tolist()) if (seed, gamma, eta) in wanted]
        if not chosen:
            continue
        shard = Shard(seed, tuple((gamma, eta) for gamma, eta in cells[chosen].tolist()))
        for gamma, eta in shard.cells:
            del wanted[seed, gamma, eta]
        part = {key: values[..., chosen] for key, values in arrays.items()}
        yield shard, part | {"seconds": seconds * len(chosen) / len(cells), "device": device}
