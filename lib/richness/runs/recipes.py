"""The named sweeps and measurements that the book is made of, each at three scales.

``smoke`` takes seconds on two cores and proves that everything runs; ``laptop`` is what ``precomputed/`` holds;
``paper`` has the paper's own sizes and wants a GPU. The studies fill the table. A recipe is a function of the scale to its
:class:`~richness.runs.experiment.Experiment`, or, for what is no sweep over γ and η, to its
:class:`~richness.runs.description.Measurement`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import xarray as xr
from pydantic import validate_call

from richness.registry import join_studies
from richness.runs import jobs, places
from richness.runs.description import Measurement, Seed
from richness.runs.experiment import Experiment
from richness.runs.places import SCALES
from richness.runs.progress import Progress
from richness.runs.results import device_here, read, save

Make = Callable[[str], Experiment | Measurement]


@cache
def all_recipes() -> dict[str, Make]:
    """name → recipe, of all studies; found when first asked for."""
    return {name: make for name, (table, make) in _named_recipes().items() if table == "RECIPES"}


@cache
def paper_recipes() -> dict[str, Callable[[], Experiment]]:
    """name → recipe at scale ``paper`` alone, of data that no smaller scale has."""
    return {name: make for name, (table, make) in _named_recipes().items() if table == "PAPER_ONLY"}


@cache
def _named_recipes() -> dict[str, tuple[str, Callable[..., Any]]]:
    """name → in which table of its study it stands, and the recipe.

    Raises:
        ValueError: two have one name.
    """
    return join_studies(
        "recipes",
        lambda part: [
            (name, (table, make))
            for table in ("RECIPES", "PAPER_ONLY")
            for name, make in getattr(part, table, {}).items()
        ],
    )


def names(scale: str) -> list[str]:
    """The recipes that there are at a scale."""
    return [*all_recipes(), *(paper_recipes() if scale == "paper" else ())]


def recipe(name: str, scale: str) -> Experiment | Measurement:
    """The description of that name at that scale.

    Raises:
        ValueError: no such recipe or scale; the message lists those there are.
    """
    if name in paper_recipes():
        if scale != "paper":
            raise ValueError(
                f"the recipe {name!r} has the paper's own data and sizes, and no scale but 'paper', got {scale!r}"
            )
        return paper_recipes()[name]()
    if name not in all_recipes():
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(names('paper'))}")
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}: choose one of {', '.join(SCALES)}")
    return all_recipes()[name](scale)


@validate_call  # Papermill's -r gives the seed as a string
def load_or_run(
    name: str,
    scale: str = "laptop",
    seed: Seed = 0,
    progress: Callable[[Progress], None] | bool | None = None,
    device: str | None = None,
    **changes: Any,
) -> xr.Dataset:
    """A recipe's result, loaded where it is stored and computed where it is not; downstream there is no difference.

    Args:
        name, scale: of the recipe.
        seed: added to the recipe's seeds; 0 is the recipe as it stands, which is what ``precomputed/`` holds.
        progress: as for :func:`richness.sweep`.
        device: of what must be computed; ``auto`` is a GPU where torch has one, None the recipe's own.
        changes: fields of the recipe that are to be others, such as ``depth=4``. A changed recipe has a result of its own.
            Budgets and warm-up keep their share of the ``steps``, where they are not given.

    Returns:
        As :func:`richness.load`. A computed result is also kept in ``runs/<scale>/``, to be adopted or read again; at smoke
        scale it is computed every time, since it is there to show that the code runs.

    Raises:
        ValueError: no such recipe, scale, device or field, or a seed out of range. ResultError: a damaged file, or no place
            to write.
    """
    described = recipe(name, scale)
    if device is not None:
        changes["device"] = device_here(device)
    if seed:
        changes["seeds"] = [seed + s for s in described.seeds]
    if changes:
        shares = _share_steps(described, changes.get("steps"))
        described = type(described).model_validate(described.model_dump() | shares | changes)
    kept = places.runs_folder() / scale / f"{name}-{described.hash[:8]}.nc"
    for path in (places.precomputed_path(name, scale), kept):
        if scale != "smoke" and path.exists():
            runs = read(path)
            if runs.attrs["recipe_hash"] == described.hash:
                return runs
    if scale == "smoke":
        return jobs.run(described, progress=progress, name=name, scale=scale)
    runs = jobs.run(described, store=places.runs_folder() / "store", progress=progress, name=name, scale=scale)
    save(runs, kept)
    return runs


def _share_steps(described: Experiment | Measurement, steps: Any) -> dict[str, Any]:
    """The fields that are counted in steps, in proportion to other steps; whether these can be is for the recipe to say."""
    if not isinstance(described, Experiment) or not isinstance(steps, int) or steps < 1:
        return {}
    share = steps / described.steps
    budgets = dict.fromkeys(max(1, round(budget * share)) for budget in described.budgets)
    return {"budgets": tuple(budgets), "warmup": round(described.warmup * share)}


def pick_given(**parameters: Any) -> dict[str, Any]:
    """Of a chapter's parameters those that were given: what is 0 or empty stays as the recipe has it."""
    return {name: value for name, value in parameters.items() if value}
