"""Which measured runs a laboratory shows: those that were named, else the book's own of the same network."""

from __future__ import annotations

from functools import cache
from typing import Any

import xarray as xr

from richness.runs.experiment import Experiment
from richness.runs.results import ResultError, load, recipe_of


def find_measured(precomputed: Any, wanted: Experiment, on_page: bool) -> tuple[xr.Dataset | None, str]:
    """The measured runs, or None and a sentence that says what is missing.

    Raises:
        ValueError: runs that were named are of another network.
        ResultError: a name that was never measured; a page only says so.
    """
    if precomputed is None:
        return _find_house_runs(wanted, on_page)
    try:
        runs = load_once(precomputed) if isinstance(precomputed, str) else precomputed
    except ResultError as error:
        if not on_page:
            raise
        return None, f"The measured runs are missing here: {error}."
    asked, found = _other_network(runs, wanted)
    if asked:
        raise ValueError(
            f"expected measured runs with {asked}, as this Lab trains; got {found}. Choose other runs or arguments."
        )
    return runs, ""


def _find_house_runs(wanted: Experiment, on_page: bool) -> tuple[xr.Dataset | None, str]:
    """The book's own runs of this network, its task first; beside a live run only those of the same recipe."""
    missing = ""
    for name in _house_names(wanted):
        try:
            runs = load_once(name)
        except ResultError as error:
            missing = missing or f"The measured runs are missing here: {error}."
            continue
        asked, found = _other_network(runs, wanted)
        if asked:
            missing = missing or f"No runs have been measured for {asked} (those at hand have {found})."
        elif on_page or _same_recipe(runs, wanted):
            return runs, ""
    return None, missing


def _house_names(wanted: Experiment) -> list[str]:
    """Names of the book's own runs of a network, those of its task first."""
    tasks = {f"laboratory_mlp{wanted.depth}_{wanted.loss}": "digits8", "phase_portrait_mlp3_mse": "digits"}
    return sorted(tasks, key=lambda name: tasks[name] != wanted.task)


def _other_network(runs: xr.Dataset, wanted: Experiment) -> tuple[str, str]:
    """(what was asked for, what the measured runs have) where they are of another network; two empty strings if not."""
    made = recipe_of(runs)
    other = [k for k in ("network", "depth", "loss", "activation") if getattr(made, k) != getattr(wanted, k)]
    return tuple(", ".join(f"{k} {getattr(one, k)!r}" for k in other) for one in (wanted, made))  # type: ignore[return-value]


@cache
def load_once(name: str) -> xr.Dataset:
    """``richness.load`` once a name; a chapter may hold several laboratories."""
    return load(name)


def _same_recipe(runs: xr.Dataset, wanted: Experiment) -> bool:
    """Whether the measured runs are of the task, width, batch size and steps of the live one."""
    made = recipe_of(runs)
    return all(getattr(made, k) == getattr(wanted, k) for k in ("task", "width", "batch_size", "steps"))
