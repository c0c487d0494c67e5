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
from itertools import count
from pathlib import Path

import numpy as np

from richness.runs.engines import engine_for
from richness.runs.experiment import Experiment
from richness.runs.loops import Loop
from richness.runs.results import SCHEMA, ResultError, read_sealed, write_sealed
from richness.runs.shards import Arrays, Cell, Shard, cost_of

GRID = {"gammas", "etas", "seeds", "band"}  # which cells are wanted, and nothing of what is in them


def folder_of(store: str | Path, experiment: Experiment) -> Path:
    """The folder of a store that holds the cells of such an experiment, whatever its grid.

    Its name is a hash of all that a cell's numbers depend on besides γ, η and the seed: so a wider grid of the same networks
    goes on from what is there. The kind of device and the engine are among it, with the compiler and the processor of one that
    was compiled here, since the last bits are their own: chaos makes percents of them.
    """
    of_loop = {"loop"} if isinstance(experiment, Loop) else None  # the rest says what its reader knows of it
    fields = experiment.model_dump(mode="json", include=of_loop, exclude=GRID)
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


def read_cells(folder: Path, experiment: Experiment, wanted: dict[Cell, None]) -> Iterator[tuple[Shard, Arrays]]:
    """The wanted cells that the folder holds, each once; they are taken out of ``wanted``.

    What is no whole shard is named in a warning and set aside: its cells are computed again.
    """
    for path in sorted(folder.glob("shard-*.npz")):
        try:
            arrays = _read_shard(path, experiment)
        except ResultError as error:
            _set_aside(path, error)
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


def _read_shard(path: Path, experiment: Experiment) -> Arrays:
    """What was written by `write_shard`.

    Raises:
        ResultError: it is damaged, or is something else, whoever sealed it.
    """
    content = read_sealed(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        cells = len(arrays["cells"])
        wrong = [
            name
            for name, (kind, shape) in _expected_arrays(experiment, cells).items()
            if arrays[name].dtype.kind not in kind or arrays[name].shape != shape
        ]
        wrong += [
            name
            for name, length in _expected_lengths(experiment).items()
            if arrays[name].dtype.kind != "f"
            or arrays[name].shape[-1] != cells
            or length not in (None, len(arrays[name]))
        ]
    except Exception as error:  # what a stranger's bytes make of numpy's readers
        raise ResultError(f"{path} is not a shard ({type(error).__name__}: {error})") from error
    if wrong:
        raise ResultError(f"{path} is not a shard of this experiment: {', '.join(wrong)} should be other arrays")
    return arrays


def _expected_lengths(experiment: Experiment) -> dict[str, int | None]:
    """name → length of the first axis, where it is known, of what has axes of its own between that and the cells."""
    if isinstance(experiment, Loop):
        return {"losses": None}
    return dict.fromkeys(experiment.kept_probes, len(experiment.probed_steps))


def _expected_arrays(experiment: Experiment, cells: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """name → (kinds of dtype, shape) of what a shard of so many cells holds besides."""
    whole = {"seed": ("iu", ()), "cells": ("f", (cells, 2)), "seconds": ("f", (2,)), "device": ("U", ())}
    if isinstance(experiment, Loop):
        return whole | {"count": ("iu", (cells,))}
    planes = ("initial_loss", "peak_loss", "late_loss", *map(cost_of, experiment.kept_probes))
    return (
        whole
        | dict.fromkeys(planes, ("f", (cells,)))
        | {
            "diverged_at": ("i", (cells,)),
            "loss": ("f", (len(experiment.recorded_steps), cells)),
            "budget_loss": ("f", (len(experiment.all_budgets), cells)),
        }
    )


def _set_aside(path: Path, problem: ResultError) -> None:
    """Rename what stands in a shard's place, a folder too, so that its cells can be written there again.

    Raises:
        ResultError: it cannot be renamed.
    """
    aside = next(place for n in count() if not (place := path.with_name(f"{path.name}.damaged-{n}")).exists())
    try:
        path.rename(aside)
    except FileNotFoundError:  # another sweep has just done so
        return
    except OSError as error:
        raise ResultError(
            f"{path} stands in a shard's way and cannot be renamed ({error.strerror}): delete it"
        ) from error
    warnings.warn(f"{problem}. It is set aside as {aside.name}, and its cells will be computed again", stacklevel=4)
