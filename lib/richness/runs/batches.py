"""Planes of several batch sizes as one result, with B as an axis."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import xarray as xr

from richness.runs.results import recipe_fields

OWN = {"batch_size", "loop", "device"}  # of a recipe, what may differ between them


def join_batches(results: Mapping[int, xr.Dataset]) -> xr.Dataset:
    """Results that differ in their batch size alone, joined along ``batch``.

    Args:
        results: B -> a sweep, or a plane of a loop of your own, all on the same γ, η and seeds.

    Returns:
        Their variables with the dim ``batch`` in front, B ascending. The recipe among its attributes is that of the smallest B,
        and ``batch_sizes`` lists them all. :func:`richness.boundaries` takes it, and :func:`richness.compare_batches`.

    Raises:
        TypeError: no mapping of results. ValueError: no batch size, another recipe, or other axes; the message says which.
    """
    if not isinstance(results, Mapping) or not results:
        raise TypeError(f"results: expected a mapping such as {{16: runs, 64: others}}, got {type(results).__name__}")
    if odd := [
        size for size in results if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1
    ]:
        raise ValueError(f"results: expected batch sizes such as 16 as their names, got {', '.join(map(repr, odd))}")
    sizes = sorted(results)
    first, *others = (results[size] for size in sizes)
    for size, runs in zip(sizes[1:], others, strict=True):
        _check_alike(first, runs, size)
    joined = xr.concat(
        [first, *others], xr.DataArray(sizes, dims="batch", name="batch", attrs={"long_name": "fresh samples a step"}),
        data_vars="all", coords="minimal", compat="override", join="exact", combine_attrs="override",
    )  # fmt: skip
    hashes = json.dumps([results[size].attrs["recipe_hash"] for size in sizes])
    seconds = {key: sum(results[size].attrs[key] for size in sizes) for key in ("wall_seconds", "cpu_seconds")}
    return joined.assign_attrs(
        first.attrs | seconds, recipe_hash=hashlib.sha256(hashes.encode()).hexdigest(), batch_sizes=json.dumps(sizes)
    )


def _check_alike(first: xr.Dataset, runs: xr.Dataset, size: int) -> None:
    """Refuses what differs in more than its batch size."""
    one, other = recipe_fields(first), recipe_fields(runs)
    differ = [key for key in one.keys() | other.keys() if key not in OWN and one.get(key) != other.get(key)]
    if differ:
        said = ", ".join(f"{key} ({one.get(key)} and {other.get(key)})" for key in sorted(differ))
        raise ValueError(f"results: that of B = {size} differs from the first in more than its batch size: {said}")
