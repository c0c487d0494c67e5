"""What ``precomputed/`` holds: every recipe at laptop scale, of today's hash, from a clean commit, dense and small enough."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from richness.runs import places
from richness.runs.recipes import all_recipes, paper_recipes, recipe

pytestmark = pytest.mark.slow  # all of them together; `make check` has two minutes

LAPTOP = places.precomputed_folder() / "laptop"
COARSE = ("_photos", "_text")  # on other streams: an independent look, as coarse as its cost asks for
PORTRAITS = sorted(name for name in all_recipes() if "portrait" in name and not name.endswith(COARSE))


@pytest.fixture(scope="module")
def attributes() -> dict[str, dict]:
    """name → attributes of every stored result, without its numbers."""
    found = {}
    for path in sorted(LAPTOP.glob("*.nc")):
        with xr.open_dataset(path, engine="h5netcdf") as stored:
            found[path.stem] = dict(stored.attrs)
    return found


def test_every_recipe_is_stored_and_nothing_else_and_none_on_downloaded_data(attributes: dict[str, dict]) -> None:
    assert not set(attributes) - set(all_recipes())
    assert not set(all_recipes()) - set(attributes)
    assert not set(paper_recipes()) & (set(all_recipes()) | set(attributes))


def test_none_is_stale_and_each_comes_from_a_clean_commit(attributes: dict[str, dict]) -> None:
    stale = [name for name, attrs in attributes.items() if attrs["recipe_hash"] != recipe(name, "laptop").hash]
    assert not stale, f"run: richness precompute {' '.join(stale)}"
    assert not [name for name, attrs in attributes.items() if attrs["git_dirty"] or not attrs["git_commit"]]


def test_a_clone_stays_small() -> None:
    sizes = {path.stem: path.stat().st_size / 1e6 for path in LAPTOP.glob("*.nc")}
    assert max(sizes.values()) < 5 and sum(sizes.values()) < 60, sizes


def test_two_cores_make_them_all_in_four_hours(attributes: dict[str, dict]) -> None:
    """The CPU seconds that are on record, not a clock of today."""
    assert sum(float(attrs["cpu_seconds"]) for attrs in attributes.values()) < 2 * 4 * 3600


@pytest.mark.parametrize("name", PORTRAITS)
def test_portraits_are_dense(name: str) -> None:
    """≥ 4 γ and ≥ 8 η a decade, incommensurate; three seeds."""
    experiment = recipe(name, "laptop")
    gamma, eta = (np.diff(np.log10(values)) for values in (experiment.gammas, experiment.etas))
    assert (gamma < 0.2501).all() and (eta < 0.1251).all() and len(experiment.seeds) >= 3
    assert abs(gamma[0] / eta[0] - round(gamma[0] / eta[0])) > 0.01


def test_recipes_travel_with_their_results(attributes: dict[str, dict]) -> None:
    for name, attrs in attributes.items():
        kept = type(recipe(name, "laptop")).model_validate_json(attrs["recipe"])
        assert kept.hash == attrs["recipe_hash"] and attrs["scale"] == "laptop"
