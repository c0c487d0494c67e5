"""The stored portrait keeps what its chapter says of it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import richness
from richness.analysis import boundaries
from richness.runs.results import recipe_of


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    return richness.load("phase_portrait_mlp3_mse", "laptop")


def test_it_is_what_the_recipe_makes(runs):
    assert recipe_of(runs) == richness.recipe("phase_portrait_mlp3_mse", "laptop")
    assert not runs.attrs["git_dirty"] and len(runs.attrs["git_commit"]) == 40


def test_the_band_holds_the_boundary_with_room_on_both_sides(runs):
    """The largest convergent η is inside what was run, at every γ and seed: η above it failed, three decades below ran."""
    run = runs.status != 2
    highest, lowest = runs.eta.where(run).max("eta"), runs.eta.where(run).min("eta")
    largest = runs.eta.where(boundaries.converged(runs)).max("eta")
    assert float(np.log10(highest / largest).min()) > 0.2
    assert float(np.log10(largest / lowest).min()) > 2.9
    assert boundaries.eta_max(runs).notnull().all()


def test_every_cell_of_the_band_was_run_and_no_other(runs):
    experiment = recipe_of(runs)
    wanted = np.zeros(runs.status.shape[:2], dtype=bool)
    wanted[tuple(np.array(experiment.cells()).T)] = True
    assert ((runs.status.values != 2) == wanted[:, :, None]).all()


def test_sharpness_settles_at_the_stability_line(runs):
    """Along the upper edge λ_max · lr_raw / 2 ends of order one: an independent sign that both are in the same units."""
    edge = boundaries.eta_max(runs).mean("seed")
    ratios = []
    for gamma in runs.gamma.values[::4]:
        eta = runs.eta.sel(eta=float(edge.sel(gamma=gamma)) / 2, method="nearest")
        last = runs.sharpness.sel(gamma=gamma, eta=eta).isel(step=-1)
        ratios.append(float((last * runs.lr_raw.sel(eta=eta) / 2).median()))
    assert 0.2 < np.median(ratios) < 2, ratios
