"""What a result says of itself, in words for a caption and as the numbers that formulas need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from richness.data import TASKS
from richness.networks.optimizers import OPTIMIZERS
from richness.networks.parameterization import FLOAT64_BELOW, natural_eta
from richness.runs.experiment import degree
from richness.runs.results import recipe_fields as recipe

_LOSSES = {"mse": "MSE (mean over batch and classes)", "cross_entropy": "cross-entropy (mean over the batch)"}
LOSS_NAMES = {"mse": "MSE", "cross_entropy": "cross-entropy"}
OPTIMIZER_NAMES = {"sgd": "SGD", "momentum": "SGD with momentum", "signsgd": "SignSGD", "adam": "Adam"}


def conditions(*results: xr.Dataset) -> str:
    """Under what results were measured, for a caption: loss, task, network, N, B, T, seeds and conventions.

    Of several results, what differs between them is listed with "or".
    """
    every = [_conditions(runs) for runs in results]
    parts = [" or ".join(dict.fromkeys(filter(None, alternatives))) for alternatives in zip(*every, strict=True)]
    return "; ".join(filter(None, parts)) + "."


def _conditions(runs: xr.Dataset) -> list[str]:
    made, seeds = recipe(runs), [int(s) for s in np.atleast_1d(runs.seed.values)]
    steps, counted = f"T = {last_step(runs)} steps", f"{len(seeds)} seed{'s' if len(seeds) != 1 else ''}"
    if "loop" in made:  # known by what its reader says of it
        words = f"a loop of the reader's own, {made['loop']}", f"lr_raw = {made['width']}·η"
        said = [
            str(made["loss"]),
            f"task {made['task']}",
            f"network {made['network']}",
            words[0],
            str(made["optimizer"]),
        ]
        return [*said, "", steps, f"{counted} ({', '.join(map(str, seeds))})", "", words[1]]
    optimizer = str(made.get("optimizer", "optimizer?"))
    by_sign = optimizer in OPTIMIZERS and OPTIMIZERS[optimizer].by_sign
    raw = "the readout's raw step is η, the other layers' η/√fan_in" if by_sign else "lr_raw = N·η"
    factors = degree(made) if "depth" in made else None
    normed = f" (norms: L = {factors} in theory's formulas)" if factors not in (None, made["depth"]) else ""
    return [
        _LOSSES.get(str(made.get("loss")), str(made.get("loss", "loss not recorded"))),
        f"task {made.get('task', 'not recorded')}, {_samples(made)} every step",
        f"{str(made.get('network', 'network')).upper()} of L = {made.get('depth', '?')} weight layers{normed}",
        f"width N = {made.get('width', '?')}, {made.get('activation', 'activation not recorded')}",
        OPTIMIZER_NAMES.get(optimizer, optimizer) + _schedule(made),
        f"B = {', '.join(map(str, runs.batch.values)) if 'batch' in runs.dims else made.get('batch_size', '?')}",
        steps,
        f"{counted} ({', '.join(map(str, seeds))})",
        *(_precision(runs) or [""]),
        f"η is the width-free step size, {raw}",
    ]


def _samples(made: dict[str, Any]) -> str:
    known = TASKS[made["task"]] if made.get("task") in TASKS else None
    if known is not None and known.epoch:
        return f"samples of {known.epoch:,}, in epochs,"
    return "the same samples" if known is not None and known.fixed else "fresh samples"


def _schedule(made: dict[str, Any]) -> str:
    """What the optimiser's name leaves unsaid: β, and the schedule of the step size."""
    said = f" (β = {made['momentum']:g})" if made.get("optimizer") == "momentum" and "momentum" in made else ""
    if made.get("warmup"):
        said += f", linear warm-up over {made['warmup']} steps"
    if made.get("schedule", "constant") != "constant":
        said += f", {made['schedule']} decay to 0"
    return said


def natural(runs: xr.Dataset) -> Callable[[Any], Any]:
    """The natural scale of η as a function of γ, for the depth and optimiser of a result."""
    L, optimizer = theory_depth(runs), str(recipe(runs).get("optimizer", "sgd"))
    return lambda gamma: natural_eta(gamma, L, optimizer)


def natural_words(*results: xr.Dataset) -> str:
    """That scale as a formula, for a caption."""
    kinds = {OPTIMIZERS[str(recipe(runs).get("optimizer", "sgd"))].by_sign for runs in results}
    formulas = {False: "γ²(1+γ)^(2/L−2)", True: "γ(1+γ)^(1/L−1) where steps go by the sign"}
    return " and ".join(formulas[kind] for kind in sorted(kinds))


def _precision(runs: xr.Dataset) -> list[str]:
    """In which dtype it was trained, and why where there are two; nothing where the result does not say."""
    kinds = {str(kind) for kind in runs["precision"].values} if "precision" in runs.coords else set()
    return (
        [f"float64 where γ < {FLOAT64_BELOW:g}, which float32 cannot hold, else float32"]
        if len(kinds) > 1
        else [*kinds]
    )


def last_step(runs: xr.Dataset) -> int:
    """The number of steps T of the runs."""
    return int(runs["step"].values[-1])


def choose_seed(runs: xr.Dataset, seed: int | None) -> int:
    """That seed, or the first.

    Raises:
        ValueError: it was not run.
    """
    seeds = [int(s) for s in runs["seed"].values]
    if seed is not None and seed not in seeds:
        raise ValueError(f"expected one of the seeds that were run, {seeds}; got {seed}")
    return seeds[0] if seed is None else int(seed)


def depth(runs: xr.Dataset) -> int:
    """L, the number of weight layers, from the recipe.

    Raises:
        ValueError: the result carries no recipe, so that theory's lines cannot be placed.
    """
    made = recipe(runs)
    if "depth" not in made:
        raise ValueError(
            "expected the recipe in the result's attributes, to know the depth L; found none. "
            "Use a Dataset from richness.sweep or richness.load, unchanged in its attrs."
        )
    return int(made["depth"])


def theory_depth(runs: xr.Dataset) -> int:
    """The L of theory's formulas: the depth, or where norms undo the size of some weights, the number of those that are left.

    Raises:
        ValueError: as :func:`depth`.
    """
    depth(runs)
    return degree(recipe(runs))


def setting(runs: xr.Dataset) -> dict[str, Any]:
    """What tells one portrait from another: ``L``, ``loss`` and ``optimizer``."""
    made = recipe(runs)
    return {"L": depth(runs), "loss": made.get("loss", "mse"), "optimizer": made.get("optimizer", "sgd")}
