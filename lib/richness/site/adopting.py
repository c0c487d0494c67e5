"""Adopting what another machine computed: a result file is taken into ``precomputed/`` when it is whole, what the recipe
would have made, and does not contradict what is stored already.

What a recipe makes is in `richness.runs.layout`: variables, axes, types, and what follows from the statuses. Whether it
contradicts what is stored is asked of every variable, and of the boundaries, which are what the book says of a result: of the
same recipe they must agree at every γ within their intervals. At another scale the networks are others, so that boundaries may
move: where they do is told, and does not stand in the way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from richness.analysis import boundaries
from richness.runs import jobs, places, recipes, results
from richness.runs.description import Measurement
from richness.runs.layout import find_faults
from richness.runs.outcomes import APPROACHES
from richness.runs.places import SCALES
from richness.site.parameters import first_line

WIDE = 3.0  # standard errors of a boundary, besides the half cells that it is known to
TOUCH = 1e-6  # decades: neighbouring cells touch, up to rounding
FEW = 5  # γ from which on the mean shift of a boundary is looked at too: it shows what no γ shows alone
STILL = 0.02  # decades: a smaller mean shift is none
FLIPPED = 0.05  # share of the cells that may change their status between two machines
DRIFTED = 0.10  # of a variable's size, at the median place
ASTRAY = 0.30  # of it, at the median place of one row or column; two precisions on one machine differ by 1e-5 and less
SEVERAL = 10  # places that a row must have for that
SMALL = 0.1  # of a variable's median size: what is smaller is compared with this


class NotAdopted(ValueError):
    """The file is no result that ``precomputed/`` may hold; the message says why."""


def adopt(file: Path, force: bool = False) -> str:
    """Checks a result that another machine computed and copies it into ``precomputed/<scale>/``.

    Args:
        file: as ``richness precompute`` wrote it, or plain NetCDF of the same result.
        force: take it also where it contradicts the stored result of the same recipe. Nothing else is waived.

    Returns:
        What changed against the stored results, in a sentence or two.

    Raises:
        NotAdopted: not a whole result, not of a known recipe, at smoke scale, with variables, axes, attributes or values that
            its recipe does not make, or, without ``force``, other numbers or boundaries than the stored result of that recipe.
    """
    if not file.is_file():
        raise NotAdopted(
            f"expected a result file (.nc), got {file}, which is {'a folder' if file.is_dir() else 'not there'}."
        )
    try:
        offered = results.read(file, unsealed=True)
    except Exception as error:
        why = first_line(error).rstrip(".")
        raise NotAdopted(f"{file} is not a whole result: {why}. Copy it again from where it was made.") from error
    name, scale = str(offered.attrs.get("recipe_name", "")), str(offered.attrs.get("scale", ""))
    if name not in recipes.names("paper"):
        known = ", ".join(sorted(recipes.names("paper")))
        raise NotAdopted(f"{file} names the recipe {name or '(none)'}; expected one of {known}.")
    if scale not in SCALES[1:]:
        raise NotAdopted(f"{file} was made at scale {scale or '(none)'}; precomputed/ holds laptop and paper only.")
    expected = recipes.recipe(name, scale)
    _check_identity(file, offered, expected)
    faults = find_faults(offered, expected) or _unlike_a_measurement(name, offered, expected)
    if faults:
        raise NotAdopted(f"{file} is no result of its recipe: {_several(faults)}. Compute it again.")
    if places.checkout() is None:
        raise NotAdopted("precomputed/ is part of a clone of the repository; run this in one.")
    place = places.precomputed_path(name, scale)
    said = [_against_the_same(file, place, offered, force), *_against_other_scales(name, scale, offered)]
    if results.is_sealed(file):
        results.write_whole(place, file.read_bytes())
    else:  # as runs.to_netcdf wrote it: it gets its checksum here
        results.save(offered, place)
    return f"{place}: {' '.join(said)}"


def _check_identity(file: Path, offered: Any, expected: Any) -> None:
    stated = str(offered.attrs.get("recipe_hash", ""))
    try:
        described = type(expected).model_validate_json(offered.attrs["recipe"]).hash
    except (KeyError, ValueError) as error:
        raise NotAdopted(f"{file} carries no readable recipe ({first_line(error)}); compute it again.") from error
    if described != stated:
        raise NotAdopted(f"{file} says its recipe has hash {stated[:12]}, but it has {described[:12]}: it was altered.")
    if stated != expected.hash:
        raise NotAdopted(
            f"{file} was made by recipe {stated[:12]}; here that recipe is now {expected.hash[:12]}. "
            "Bring both machines to the same commit and run 'richness precompute' there again."
        )


def _unlike_a_measurement(name: str, offered: xr.Dataset, expected: Any) -> list[str]:
    """What a measurement's file holds that its recipe does not measure, or the other way round: the recipe itself says so, at
    smoke scale, in seconds."""
    if not isinstance(expected, Measurement):
        return []
    own = jobs.run(recipes.recipe(name, "smoke"))
    faults = _other_variables(own, offered)
    empty = [name for name in own.data_vars if name not in faults and not np.isfinite(offered[name].values).any()]
    return list(faults.values()) + [f"{name} holds no number" for name in empty if own[name].dtype.kind == "f"]


def _other_variables(wanted: xr.Dataset, found: xr.Dataset) -> dict[Any, str]:
    """name → in words, for each variable or coordinate that only one has, or that has other dims or another type."""
    said: dict[Any, str] = {name: f"{name} is missing" for name in wanted.variables if name not in found.variables}
    said |= {name: f"{name} is none of its recipe" for name in found.variables if name not in wanted.variables}
    for name in wanted.variables.keys() & found.variables.keys():
        one, two = wanted.variables[name], found.variables[name]
        if one.dims != two.dims or one.dtype.kind != two.dtype.kind:
            said[name] = f"{name} is {two.dtype} of dims {two.dims}, expected {one.dtype} of {one.dims}"
    return said


# What is stored already ----------------------------------------------------------------------------------------------


def _against_the_same(file: Path, place: Path, offered: xr.Dataset, force: bool) -> str:
    """What the file changes against the stored result of the same recipe; refused where they contradict each other."""
    stored = _stored(place)
    if stored is None:
        return "replaced a file that could not be read." if place.exists() else "new here."
    if stored.attrs.get("recipe_hash") != offered.attrs.get("recipe_hash"):
        return "replaced the result of another recipe."
    change, contradictions = _cells(stored, offered) if "status" in offered else (_same_or_not(stored, offered), [])
    contradictions += (disagreements(stored, offered) if "status" in offered else []) + drifts(stored, offered)
    if contradictions and not force:
        raise NotAdopted(
            f"{file} contradicts {place}, which the same recipe made: {_several(contradictions)}. Look for what differs "
            f"(device {offered.attrs['device']} against {stored.attrs['device']}, packages, a change that the recipe's hash "
            "does not see) and run 'richness precompute' on a third machine; 'richness adopt --force' takes this file all "
            "the same."
        )
    return f"same recipe; {change}" + (f" Taken although {_several(contradictions)}." if contradictions else "")


def _against_other_scales(name: str, scale: str, offered: xr.Dataset) -> list[str]:
    """A sentence for each other scale that is stored."""
    said = []
    for other in SCALES[1:]:
        stored = _stored(places.precomputed_path(name, other)) if other != scale else None
        if stored is not None and "status" in stored:
            moved = disagreements(stored, offered, ("eta_max", "eta_crit"))  # where no budget of steps enters
            how = f"these boundaries lie elsewhere: {_several(moved)}" if moved else "the upper boundaries are the same"
            said.append(f"Against scale {other}, {how}.")
    return said


def _stored(place: Path) -> xr.Dataset | None:
    try:
        return results.read(place)
    except results.ResultError:
        return None


def _cells(stored: xr.Dataset, offered: xr.Dataset) -> tuple[str, list[str]]:
    """How two results of one recipe differ cell by cell, in words, and what of it is too much."""
    before, after = stored.status.values, offered.status.values
    both = (before == 0) & (after == 0)
    flipped = int((before != after).sum())
    old, new = stored.late_loss.values[both], offered.late_loss.values[both]
    change = np.abs(new - old) / np.maximum(np.abs(old), 1e-12)
    words = f"{flipped} cells changed status, late losses by at most {change.max(initial=0):.2g} of their value."
    ran = max(int((before != 2).sum()), 1)
    return words, [f"{flipped} of {ran} cells have another status"] if flipped > FLIPPED * ran else []


def _same_or_not(stored: xr.Dataset, offered: xr.Dataset) -> str:
    return "the same numbers." if offered.equals(stored) else "other numbers."


def drifts(stored: xr.Dataset, offered: xr.Dataset) -> list[str]:
    """How the numbers of two results of one recipe differ by more than two machines can, in words, variable by variable.

    Axes must be equal. At the edge of stability training is chaotic, and late numbers of single cells go astray. So
    medians are compared: of all of a variable, within `DRIFTED` of its size, and at each place along each of its axes, within
    `ASTRAY`. Where a number is in one and not in the other counts too, unless statuses say why.
    """
    said = list(_other_variables(stored, offered).values())
    for name in stored.variables.keys() & offered.variables.keys():
        one, two = stored.variables[name], offered.variables[name]
        if one.shape != two.shape or (name in stored.coords and not _equal(one.values, two.values)):
            said.append(f"{name} is another axis")
        elif name not in ("status", *stored.coords):
            said += _drift(str(name), one, two, "status" in stored)
    return sorted(said)


def _equal(one: np.ndarray, two: np.ndarray) -> bool:
    if one.dtype.kind == two.dtype.kind == "f":
        return np.allclose(one, two, rtol=1e-9, atol=0, equal_nan=True)
    return bool((one == two).all())


def _drift(name: str, one: xr.Variable, two: xr.Variable, sweep: bool) -> list[str]:
    if one.dtype.kind not in "fiu":
        return [] if _equal(one.values, two.values) else [f"{name} is another"]
    before, after = one.values.astype(float), two.values.astype(float)
    if name == "diverged_at":
        before, after = (np.where(steps < 0, np.nan, steps) for steps in (before, after))
    finite = np.isfinite(before), np.isfinite(after)
    both, either = finite[0] & finite[1], finite[0] | finite[1]
    if not sweep and (finite[0] != finite[1]).sum() > FLIPPED * max(either.sum(), 1):
        return [f"{name} is a number in one of them alone at {(finite[0] != finite[1]).sum()} places"]
    if not both.any():
        return []
    least = max(
        SMALL * float(np.median(np.abs(before[both]))), np.finfo(float).tiny
    )  # what is all but zero has no size
    change = np.full(before.shape, np.nan)
    change[both] = np.abs(after[both] - before[both]) / np.maximum(np.abs(before[both]), least)
    median = np.median(change[both])
    if median > DRIFTED:
        return [f"{name} differs by {median:.0%} at the median place"]
    for axis, dim in enumerate(one.dims):
        for k, there in enumerate(np.moveaxis(change, axis, 0)):
            seen = there[np.isfinite(there)]
            if seen.size >= SEVERAL and np.median(seen) > ASTRAY:
                return [f"{name} differs by {np.median(seen):.0%} at the median place of {dim} {k + 1}"]
    return []


def disagreements(one: xr.Dataset, two: xr.Dataset, names: tuple[str, ...] = ()) -> list[str]:
    """Where two results of a plane have different boundaries, in words: which, at which γ, and by how much.

    At every γ that both have, their seeds are compared in pairs, in log10 η. Two boundaries agree if the mean over the pairs is
    within the half cells to which both are known and `WIDE` standard errors; the scatter between pairs is pooled over γ, since
    two or three say little of it. The mean over γ is compared too, and a boundary that only one of them sees is named.

    Args:
        one, two: results; those without a plane (fewer than two η) have no boundaries to compare.
        names: the boundaries; all that both can have if none is named.
    """
    if any("eta" not in runs.coords or runs.eta.size < 2 for runs in (one, two)):
        return []
    names = names or (*APPROACHES, *(("eta_works",) if "accuracy" in one and "accuracy" in two else ()))
    gammas, pairs = np.intersect1d(one.gamma.values, two.gamma.values), min(one.seed.size, two.seed.size)
    found = []
    for name in names:
        (a, half_a), (b, half_b) = (_positions(runs, name, gammas, pairs) for runs in (one, two))
        found += _different(name, gammas, a, b, half_a + half_b)
    return found


def _positions(runs: xr.Dataset, name: str, gammas: np.ndarray, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """log10 of a boundary, (gamma, seed), at those γ and the first seeds, and its half cells."""
    seen = getattr(boundaries, name)(runs).sel(gamma=gammas).isel(seed=slice(seeds))
    seen = (seen.isel(budget=-1) if "budget" in seen.dims else seen).transpose("gamma", "seed")
    return np.log10(seen.values), seen.half_cell.values


def _different(name: str, gammas: np.ndarray, a: np.ndarray, b: np.ndarray, cells: np.ndarray) -> list[str]:
    """What there is to say of one boundary, from log10 η in both results and the sum of their half cells, (gamma, seed)."""
    said = []
    shift = np.ma.masked_invalid(b - a)
    several = shift.count(axis=1) > 1
    scatter = np.sqrt(shift[several].var(axis=1, ddof=1).mean()) if several.any() else 0.0
    means, pairs = shift.mean(axis=1), np.maximum(shift.count(axis=1), 1)
    allowed = np.ma.masked_invalid(cells).mean(axis=1) + WIDE * scatter / np.sqrt(pairs)
    known = np.sqrt(
        scatter**2 / max(shift.count(), 1)
        + (cells[~np.ma.getmaskarray(shift)] ** 2).sum() / 6 / max(shift.count(), 1) ** 2
    )
    if means.count() >= FEW and abs(means.mean()) > max(WIDE * known, STILL):
        said.append(f"{name} lies {means.mean():+.2f} decades elsewhere on average over {means.count()} γ")
    for i, gamma in enumerate(gammas):
        old, new = np.ma.masked_invalid(a[i]), np.ma.masked_invalid(b[i])
        if bool(old.count()) != bool(new.count()):
            said.append(
                f"{name} at γ = {gamma:.3g} is seen in the {'stored' if old.count() else 'offered'} result only"
            )
        elif means[i] is not np.ma.masked and abs(means[i]) > allowed[i] + TOUCH:
            said.append(
                f"{name} at γ = {gamma:.3g} is {10 ** new.mean():.3g} and not {10 ** old.mean():.3g} "
                f"({means[i]:+.2f} decades, {abs(means[i]) - allowed[i]:.2f} beyond the intervals)"
            )
    return said


def _several(said: list[str], shown: int = 3) -> str:
    rest = len(said) - shown
    return "; ".join(said[:shown]) + (f"; and {rest} more" if rest > 0 else "")
