"""The named sweeps that the book is made of, each at three scales.

``smoke`` takes seconds on two cores and proves that everything runs; ``laptop`` is what ``precomputed/`` holds; ``paper`` has
the paper's own sizes and wants a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from richness.runs.experiment import Experiment, canonical
from richness.runs.results import SCALES, precomputed_path, read, runs_folder, save
from richness.runs.sweep import Progress, sweep


def eta_axis(low: float, high: float, gammas_a_decade: int, at_least: float = 8.0) -> tuple[float, ...]:
    """A log-spaced η axis whose spacing is incommensurate with γ's, so that no slope is quantised into place.

    The spacing in decades is γ's times 2(√5 − 1)/5 = 0.494…, divided by the smallest whole number that gives ``at_least``
    points a decade: the golden ratio's fractions repeat least.
    """
    spacing = 0.4 * (math.sqrt(5.0) - 1.0) / gammas_a_decade
    spacing /= math.ceil(at_least * spacing)
    points = int(math.floor((math.log10(high) - math.log10(low)) / spacing)) + 1
    return canonical(low * 10.0 ** (spacing * np.arange(points)))


def phase_portrait_mlp3_mse(scale: str) -> Experiment:
    """The headline portrait: MLP of depth 3 under MSE on 28×28 digits, with three budgets T."""
    shared: dict = {"depth": 3, "loss": "mse", "task": "digits", "probes": ("loss", "sharpness", "accuracy")}
    if scale == "smoke":
        return Experiment(
            **shared, width=16, batch_size=32, steps=80, budgets=(20, 40), seeds=(0, 1), probe_points=3, probe_samples=256,
            record_points=16, gammas="1e-3:1e3:13", etas=eta_axis(1e-8, 1e5, 2, at_least=4), band=(2.0, 700.0),
        )  # fmt: skip
    if scale == "laptop":
        return Experiment(
            **shared, width=64, batch_size=64, steps=2000, budgets=(500, 1000), seeds=(0, 1, 2), probe_points=8,
            gammas="1e-4:1e4:33", etas=eta_axis(1e-10, 1e6, 4), band=(0.025, 500.0),
        )  # fmt: skip
    return Experiment(
        **shared, width=1024, batch_size=128, steps=10_000, budgets=(1000, 3000), seeds=(0, 1, 2), probe_points=9,
        gammas="1e-5:1e5:41", etas=eta_axis(1e-12, 1e7, 4), band=(0.025, 500.0), device="cuda",
    )  # fmt: skip


def laboratory_mlp3_mse(scale: str) -> Experiment:
    """What the laboratory shows at once when a slider moves: MLP of depth 3 under MSE on 8×8 digits, one seed."""
    shared: dict = {"depth": 3, "loss": "mse", "task": "digits8", "probes": ("loss", "sharpness", "accuracy")}
    if scale == "smoke":
        return Experiment(
            **shared, width=16, batch_size=32, steps=80, seeds=(0,), probe_points=3, probe_samples=256, record_points=16,
            gammas="1e-2:1e2:5", etas=eta_axis(1e-6, 1e4, 1, at_least=3), band=(2.0, 700.0),
        )  # fmt: skip
    return Experiment(
        **shared, width=64, batch_size=64, steps=1000, seeds=(0,), probe_points=14,
        gammas="1e-3:1e3:25", etas=eta_axis(1e-8, 1e5, 4), band=(0.05, 700.0),
    )  # fmt: skip


RECIPES: dict[str, Callable[[str], Experiment]] = {
    recipe.__name__: recipe for recipe in (phase_portrait_mlp3_mse, laboratory_mlp3_mse)
}


def recipe(name: str, scale: str) -> Experiment:
    """The experiment of that name at that scale.

    Raises:
        ValueError: no such recipe or scale; the message lists those there are.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}: choose one of {', '.join(SCALES)}")
    return RECIPES[name](scale)


def obtain(
    name: str, scale: str = "laptop", seed: int = 0, progress: Callable[[Progress], None] | None = None
) -> xr.Dataset:
    """A recipe's result, loaded where it is stored and computed where it is not; downstream there is no difference.

    Args:
        name, scale: of the recipe.
        seed: added to the recipe's seeds; 0 is the recipe as it stands, which is what ``precomputed/`` holds.
        progress: as for :func:`richness.sweep`.

    Returns:
        As :func:`richness.load`. A computed result is also kept in ``runs/<scale>/``, to be adopted or read again; at smoke
        scale it is computed every time, since it is there to show that the code runs.

    Raises:
        ValueError: no such recipe or scale, or a seed out of range. ResultError: a damaged file, or no place to write.
    """
    experiment = recipe(name, scale)
    if seed:
        fields = experiment.model_dump() | {"seeds": [seed + s for s in experiment.seeds]}
        experiment = Experiment.model_validate(fields)
    kept = runs_folder() / scale / f"{name}-{experiment.hash[:8]}.nc"
    for path in (precomputed_path(name, scale), kept):
        if scale != "smoke" and path.exists():
            runs = read(path)
            if runs.attrs["recipe_hash"] == experiment.hash:
                return runs
    if scale == "smoke":
        return sweep(experiment, progress=progress, name=name, scale=scale)
    runs = sweep(experiment, store=runs_folder() / "store", progress=progress, name=name, scale=scale)
    save(runs, kept)
    return runs
