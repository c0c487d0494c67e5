"""Boundaries of a result as a terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from richness.cli.tables import format_table

if TYPE_CHECKING:
    import xarray as xr

#: What was not run where a boundary is censored.
BEYOND = {"eta_min": "below", "eta_star": "beside"}


def tabulate_boundaries(runs: xr.Dataset, names: Sequence[str] = (), natural: bool = False) -> str:
    """The boundaries at every γ, geometric mean over the seeds that saw them, η_min for the whole run; then those that lie
    beyond what was run.

    Args:
        names: all if none is named. natural: in units of the natural η.
    """
    import numpy as np

    from richness.analysis.boundaries import boundaries
    from richness.runs.results import recipe_of

    if "batch" in runs.dims:
        each = ((size, runs.sel(batch=size, drop=True)) for size in runs.batch.values)
        return "\n\n".join(f"B = {size}\n{tabulate_boundaries(one, names, natural)}" for size, one in each)
    runs = runs.expand_dims([dim for dim in ("gamma", "eta", "seed") if dim in runs.coords and not runs[dim].dims])
    seen = boundaries(runs)
    seen = seen[list(names or seen.data_vars)]
    seen = seen.sel(budget=runs.step.values[-1]) if "budget" in seen.dims else seen
    means = 10 ** seen.map(np.log10, keep_attrs=True).mean("seed", keep_attrs=True)
    if natural:
        means = means / recipe_of(runs).natural_eta(runs.gamma)
    columns = {str(name): f"{name} / natural" if natural else str(name) for name in means}
    rows: list[dict[str, Any]] = [
        {"gamma": float(gamma)}
        | {column: _say(means[name].sel(gamma=gamma).item()) for name, column in columns.items()}
        for gamma in runs.gamma
    ]
    table = format_table(rows, ("gamma", *columns.values()))
    return "\n".join([table, *filter(None, map(_say_censored, seen.values()))])


def _say(value: float) -> float | str:
    return value if value == value else "-"


def _say_censored(boundary: xr.DataArray) -> str:
    """Where a boundary lies beyond the η that were run, or "" if nowhere."""
    at = boundary.attrs["censored_at"]
    if not at:
        return ""
    where = BEYOND.get(str(boundary.name), "above")
    gammas = "every gamma" if len(at) == boundary.gamma.size else "gamma = " + ", ".join(f"{gamma:.3g}" for gamma in at)
    return f"{boundary.name} is censored at {gammas}: it lies {where} the η that were run there."
