"""Weights that a sweep keeps on its way, at some steps: to be measured afterwards, and to go on from.

One file a shard and step, ``step-100/shard-….safetensors``, which any reader of that format opens: ``weight.0``, ``weight.1``
and so on (cells, ...), raw, in the order of the network's own; ``gamma`` and ``eta`` (cells,); ``diverged`` (others, 2), γ
and η of those that had diverged by then; in the metadata the recipe, the seed and the step. While a shard is in training, a
file ``….state`` beside these folders holds what it needs to go on from its last snapshot with the same bits.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from richness.data.fetch import megabytes
from richness.networks import OPTIMIZERS
from richness.networks.parameterization import dtype_for
from richness.runs.experiment import Experiment
from richness.runs.loops import Loop
from richness.runs.probes import PROBES, Setting, Snapshot, take_probe
from richness.runs.results import ResultError, read_sealed, recipe_of, write_sealed, write_whole

Cells = Sequence[tuple[float, float]]  # (γ, η) of each
State = dict[str, Tensor]


def name_cells(seed: int, cells: Cells) -> str:
    """Of files on these cells: a function of them alone, so the same work always has the same name."""
    digest = hashlib.sha256(np.array(cells, dtype="<f8").tobytes()).hexdigest()
    return f"shard-{seed}-{digest[:16]}"


@dataclass(frozen=True)
class Snapshots:
    """Where and when weights are kept.

    Attributes:
        steps: ascending. folder: of one experiment's weights, whatever its grid.
    """

    steps: tuple[int, ...]
    folder: Path

    def path(self, step: int, seed: int, cells: Cells) -> Path:
        return self.folder / f"step-{step}" / f"{name_cells(seed, cells)}.safetensors"

    def keep(
        self, experiment: Experiment, step: int, seed: int, cells: Cells, column: np.ndarray, weights: list
    ) -> None:
        """Write the weights of those of the cells that stand at ``column``; the others have diverged.

        Raises:
            ResultError: they cannot be written.
        """
        every = torch.tensor(list(cells), dtype=torch.float64)
        gone = torch.ones(len(every), dtype=torch.bool).index_fill(0, torch.from_numpy(column), False)
        tensors = {f"weight.{k}": weight.detach().cpu().contiguous() for k, weight in enumerate(weights)}
        gamma, eta = every[~gone].T.contiguous()
        tensors |= {"gamma": gamma, "eta": eta.clone(), "diverged": every[gone]}
        said = {"recipe": experiment.model_dump_json(), "registered": json.dumps(experiment.registered)}
        content = save(tensors, said | {"seed": str(seed), "step": str(step)})
        write_whole(self.path(step, seed, cells), content)

    def find_kept(self) -> set[tuple[int, float, float]]:
        """The cells (seed, γ, η) of which every step is kept, or known to come after a divergence."""
        each = [{cell for path in _files(self.folder, step) for cell in _list_cells(path)} for step in self.steps]
        return set.intersection(*each)

    # To go on from.

    def _state(self, seed: int, cells: Cells) -> Path:
        return self.folder / f"{name_cells(seed, cells)}.state"

    def write_state(self, seed: int, cells: Cells, state: State) -> None:
        """Keep all that the later steps of these cells depend on, in the place of an earlier state."""
        whole = {"seed": torch.tensor(seed), "cells": torch.tensor(list(cells), dtype=torch.float64)} | state
        write_sealed(self._state(seed, cells), save({key: value.contiguous() for key, value in whole.items()}))

    def read_state(self, seed: int, cells: Cells) -> State | None:
        """What was written last; None where nothing was, or where a snapshot before it is not there."""
        try:
            state = load(read_sealed(self._state(seed, cells)))
        except (ResultError, SafetensorError):
            return None
        earlier = [step for step in self.steps if step < int(state["step"])]
        return state if all(self.path(step, seed, cells).exists() for step in earlier) else None

    def drop_state(self, seed: int, cells: Cells) -> None:
        self._state(seed, cells).unlink(missing_ok=True)

    def find_begun(self) -> Iterator[tuple[int, tuple[tuple[float, float], ...]]]:
        """Seed and cells of all that is kept to go on from."""
        for path in sorted(self.folder.glob("*.state")):
            try:
                state = load(read_sealed(path))
            except (ResultError, SafetensorError):  # its cells are begun again
                continue
            yield int(state["seed"]), tuple((gamma, eta) for gamma, eta in state["cells"].tolist())


def read_steps(experiment: Experiment, steps: Iterable[Any]) -> tuple[int, ...]:
    """Steps at which weights are to be kept, ascending, each once.

    Raises:
        ValueError: a loop, whose weights are its own; or steps that are none of the experiment's.
    """
    if isinstance(experiment, Loop):
        raise ValueError(
            f"snapshots: the loop {experiment.loop!r} gives its losses alone, and keeps its weights to itself: save them "
            "within it, or hand over its network with richness.register_module"
        )
    wanted: list[Any] = [steps] if isinstance(steps, str) or not isinstance(steps, Iterable) else list(steps)
    if odd := [step for step in wanted if isinstance(step, bool) or not isinstance(step, Integral)]:
        raise ValueError(f"snapshots: expected whole numbers of steps such as 0, 100, got {', '.join(map(repr, odd))}")
    if outside := [step for step in wanted if not 0 <= step <= experiment.steps]:
        raise ValueError(
            f"snapshots: expected steps from 0 to {experiment.steps}, the last, got {', '.join(map(str, outside))}"
        )
    return tuple(sorted({int(step) for step in wanted}))


def count_bytes(experiment: Experiment, steps: Sequence[int]) -> int:
    """What the snapshots of an experiment take on disk, about, with what lies beside them to go on from while it trains."""
    weights = sum(math.prod(shape) for shape in experiment.architecture.shapes)
    directions = int("sharpness" in experiment.probes)  # the sharpest, from which the next measurement begins
    times = len(steps) + 1 + OPTIMIZERS[experiment.optimizer].memories + directions
    sizes = [dtype_for(experiment.gammas[i], experiment.dtype).itemsize for i, _ in experiment.cells()]
    return len(experiment.seeds) * sum(weights * size * times + 8 * experiment.steps for size in sizes)


def check_space(folder: Path, needed: int) -> None:
    """Refuses what the disk cannot take, before anything is trained.

    Raises:
        ResultError: there is less space than is needed.
    """
    there = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    if (free := shutil.disk_usage(there).free) < needed:
        raise ResultError(
            f"snapshots take about {megabytes(needed)}, and {there} has {megabytes(free)} free: keep fewer steps or cells, or "
            "choose another place"
        )


# To be measured afterwards.


@dataclass(frozen=True)
class Weights(Snapshot):
    """Networks of one seed as they were at one step: a :class:`~richness.runs.probes.Snapshot`, which probes take.

    Attributes:
        eta: step size of each, float64 (cells,). seed, step: theirs.
    """

    eta: Tensor = field(default_factory=lambda: torch.empty(0))
    seed: int = 0
    step: int = 0

    def probe(self, name: str) -> Tensor:
        """A probe of each, float64 (cells, ...): one of the package's, or one that was registered since."""
        return take_probe(PROBES.known(name), self)


def load_weights(
    folder: str | Path, step: int, *, gamma: Any = None, eta: Any = None, seed: int | None = None, device: str = "cpu"
) -> Weights:
    """Networks as a sweep with ``snapshots=`` has kept them, to be measured.

    What :mod:`richness.measure` asks for is ``now.loss`` and ``now.weights``, as in ``sharpness(now.loss, now.weights)``;
    ``now.probe("sharpness")`` takes a probe, and ``now.outputs(now.weights, x)`` are the networks' outputs.

    Args:
        folder: the sweep's ``weights=``.
        step: one of its snapshots.
        gamma, eta: of the networks that are wanted, a number or several; all if None.
        seed: of the networks; the only one if None.
        device: where the tensors go.

    Returns:
        The networks in order of γ, then η: ``weights`` raw, one tensor (cells, ...) a layer, in the dtype that trained them,
        ``gamma`` and ``eta`` (cells,).

    Raises:
        ResultError: nothing of the kind is there, it had diverged by then, or it was made with what is not registered here.
        ValueError: several seeds, dtypes or experiments are there, which are no one stack.
    """
    paths = _files(Path(folder).expanduser(), step)
    if not paths:
        steps = sorted({int(place.name[5:]) for place in Path(folder).expanduser().rglob("step-*") if place.is_dir()})
        raise ResultError(
            f"no weights of step {step} in {folder}: it has {', '.join(map(str, steps)) or 'none at all'}"
        )
    if len({path.parent for path in paths}) > 1:
        within = ", ".join(sorted({str(path.parents[1]) for path in paths}))
        raise ValueError(f"{folder} holds the weights of several experiments: name the folder of one, of {within}")
    files = [file for file in map(_read, paths) if seed is None or file.seed == seed]
    chosen = [file.select(gamma, eta) for file in files]
    found = [file for file in chosen if len(file.cells)]
    if not found:
        why = "all of them had diverged by then" if any(len(file.diverged) for file in chosen) else _list_there(files)
        raise ResultError(f"no weights of step {step} with gamma={gamma}, eta={eta}, seed={seed} in {folder}: {why}")
    if len(seeds := sorted({file.seed for file in found})) > 1:
        raise ValueError(f"{folder} holds seeds {', '.join(map(str, seeds))}: choose one with seed=")
    if len({file.weights[0].dtype for file in found}) > 1:
        raise ValueError(f"{folder} holds networks in float32 and in float64 (γ < 1e-3): choose one kind with gamma=")
    return _stack(found, step, device)


def _stack(files: list[_File], step: int, device: str) -> Weights:
    """What several files hold of networks of one kind, as one stack in the order of their cells."""
    said, seed = files[0].said, files[0].seed
    experiment = recipe_of(xr.Dataset(attrs={key: said[key] for key in ("recipe", "registered")}))
    cells = torch.cat([file.cells for file in files])
    order = sorted(range(len(cells)), key=lambda k: tuple(cells[k].tolist()))
    layers = zip(*[file.weights for file in files], strict=True)
    weights = [torch.cat(layer)[order].to(device) for layer in layers]
    network, dtype = experiment.architecture, weights[0].dtype
    if [tuple(w.shape[1:]) for w in weights] != [tuple(shape) for shape in network.shapes]:
        raise ResultError(f"the weights are no {experiment.network}'s of their recipe: make them again")
    start = [w.to(device, dtype)[None] for w in network.initialise(seed)]
    setting = Setting(network, experiment.source, experiment.loss, start, experiment.probe_samples, device, dtype)
    gamma, eta = cells[order].T.contiguous()
    return Weights(setting, weights, gamma.to(start[0]), eta=eta.clone(), seed=seed, step=step)


def _list_there(files: list[_File]) -> str:
    cells = [tuple(cell) for file in files for cell in file.cells.tolist()]
    axes = [sorted(set(axis)) for axis in zip(*cells, strict=True)] or [[], []]
    gammas, etas = (", ".join(f"{value:.12g}" for value in axis) or "none" for axis in axes)
    return f"there are γ = {gammas} and η = {etas}"


@dataclass(frozen=True)
class _File:
    """One file: of its cells γ and η, (cells, 2), and their weights; γ and η of those that had diverged by then."""

    said: dict[str, str]
    cells: Tensor
    diverged: Tensor
    weights: list[Tensor]

    @property
    def seed(self) -> int:
        return int(self.said["seed"])

    def select(self, gamma: Any, eta: Any) -> _File:
        """Those of these γ and η."""
        alive, gone = (
            [k for k, cell in enumerate(cells.tolist()) if _among(cell[0], gamma) and _among(cell[1], eta)]
            for cells in (self.cells, self.diverged)
        )
        return _File(self.said, self.cells[alive], self.diverged[gone], [w[alive] for w in self.weights])


def _among(value: float, wanted: Any) -> bool:
    """Whether it is one of those wanted, to twelve digits."""
    return wanted is None or bool(np.isclose(value, np.asarray(wanted, dtype=float), rtol=1e-11, atol=0).any())


def _files(folder: Path, step: int) -> list[Path]:
    return sorted(folder.rglob(f"step-{step}/shard-*.safetensors"))


def _read(path: Path) -> _File:
    """A file of weights.

    Raises:
        ResultError: it is damaged, or is something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            said, names = dict(file.metadata()), list(file.keys())
            cells = torch.stack([file.get_tensor("gamma"), file.get_tensor("eta")], dim=1)
            weights = [file.get_tensor(f"weight.{k}") for k in range(len(names) - 3)]
            return _File(said, cells, file.get_tensor("diverged"), weights)
    except (OSError, SafetensorError, TypeError) as error:
        raise ResultError(f"{path} is no whole file of weights ({error}): delete it, and sweep again") from error


def _list_cells(path: Path) -> list[tuple[int, float, float]]:
    """The cells (seed, γ, η) that a file knows of, those that had diverged too; none of one that is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            alive = torch.stack([file.get_tensor("gamma"), file.get_tensor("eta")], dim=1)
            seed, cells = int(file.metadata()["seed"]), torch.cat([alive, file.get_tensor("diverged")])
    except (OSError, SafetensorError, TypeError, KeyError):
        return []
    return [(seed, gamma, eta) for gamma, eta in cells.tolist()]
