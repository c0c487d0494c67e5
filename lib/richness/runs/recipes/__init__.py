"""The named sweeps that the book is made of, each at three scales.

``smoke`` takes seconds on two cores and proves that everything runs; ``laptop`` is what ``precomputed/`` holds; ``paper`` has
the paper's own sizes and wants a GPU. A module a topic; each recipe is a function of the scale to its :class:`Experiment`.
"""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr

from richness.runs.experiment import Experiment
from richness.runs.recipes import (
    architectures,
    consistency,
    curvature,
    dynamics,
    held_out,
    laboratory,
    model,
    performance,
    portraits,
    similarity,
)
from richness.runs.results import SCALES, precomputed_path, read, runs_folder, save
from richness.runs.sweep import Progress, sweep

#: name → recipe, of all topics.
RECIPES: dict[str, Callable[[str], Experiment]] = {
    **portraits.RECIPES,
    **laboratory.RECIPES,
    **dynamics.RECIPES,
    **performance.RECIPES,
    **held_out.RECIPES,
    **curvature.RECIPES,
    **model.RECIPES,
    **similarity.RECIPES,
    **architectures.RECIPES,
    **consistency.RECIPES,
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
