"""A measurement that is no sweep: described, hashed, computed, stored, loaded and adopted as a sweep is."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from pydantic import Field, ValidationError

import richness
from richness.cli import main
from richness.plots.provenance import Provenance
from richness.runs import jobs, places, recipes, results
from richness.runs.description import Measurement
from richness.runs.jobs import measure_seeds
from richness.site.adopting import adopt


class Coin(Measurement):
    title = "Heads among fair tosses"

    tosses: int = Field(8, ge=1, description="of one coin")

    def measure(self, seed: int) -> xr.Dataset:
        heads = np.cumsum(np.random.default_rng(seed).integers(0, 2, self.tosses))
        return xr.Dataset({"heads": ("toss", heads, {"units": "1"})}, {"toss": np.arange(1, self.tosses + 1)})


class Die(Coin):
    title = "Another kind with the same fields"


@pytest.fixture
def coin(monkeypatch, tmp_path):
    monkeypatch.setitem(
        recipes.all_recipes(), "coin", lambda scale: Coin(tosses=5 if scale == "smoke" else 9, seeds=[0, 1, 2])
    )
    monkeypatch.setattr(places, "precomputed_folder", lambda: tmp_path / "precomputed")
    monkeypatch.setattr(places, "runs_folder", lambda: tmp_path / "runs")
    return tmp_path


def test_it_is_frozen_checked_and_hashed_with_its_kind():
    assert Coin().hash == Coin(device="cuda").hash == Coin(tosses=8).hash
    assert len({Coin().hash, Coin(tosses=9).hash, Coin(seeds=[1]).hash, Coin(dtype="float32").hash, Die().hash}) == 5
    with pytest.raises(ValidationError, match="more than once"):
        Coin(seeds=[1, 1])
    with pytest.raises(ValidationError):
        Coin(flips=3)
    with pytest.raises(NotImplementedError, match="Measurement must say"):
        Measurement().measure(0)


def test_seeds_are_joined_and_each_is_told(coin):
    told = []
    runs = measure_seeds(
        Coin(seeds=[3, 5]), progress=lambda state: told.append(str(state)), name="coin", scale="laptop"
    )
    assert runs.heads.dims == ("seed", "toss") and runs.seed.values.tolist() == [3, 5]
    assert (runs.heads.sel(seed=5) == Coin().measure(5).heads).all() and runs.heads.attrs == {"units": "1"}
    assert told == ["1 of 2 seeds done", "2 of 2 seeds done"]
    assert runs.attrs["kind"] == "Coin" and json.loads(runs.attrs["recipe"])["tosses"] == 8
    with ThreadPoolExecutor(2) as pool:
        xr.testing.assert_equal(measure_seeds(Coin(seeds=[3, 5]), pool), runs)


def test_it_is_obtained_stored_and_moved_by_the_seed(coin, monkeypatch):
    computed = richness.load_or_run("coin", "laptop")
    monkeypatch.setattr(jobs, "_time_seed", None)  # nothing is computed twice
    assert len(list((coin / "runs" / "laptop").iterdir())) == 1
    xr.testing.assert_identical(richness.load_or_run("coin", "laptop"), computed)
    monkeypatch.undo()
    assert "precompute coin" in repr(Provenance(computed))
    with pytest.raises(results.ResultError, match="not a sweep"):
        results.recipe_of(computed)


def test_smoke_is_computed_each_time_and_the_seed_moves(coin):
    moved = richness.load_or_run("coin", "smoke", seed=7)
    assert "richness precompute coin --scale smoke" in repr(Provenance(moved))
    assert moved.seed.values.tolist() == [7, 8, 9] and moved.sizes["toss"] == 5 and not list(coin.rglob("*.nc"))


def test_the_commands_know_it(coin, capsys):
    assert main(["precompute", "coin"]) == 0
    path = places.precomputed_path("coin", "laptop")
    assert "3 seeds" in capsys.readouterr().out
    assert main(["precompute", "coin", "--dry-run"]) == 0 and "up to date" in capsys.readouterr().out
    xr.testing.assert_equal(richness.load("coin", "laptop"), measure_seeds(richness.recipe("coin", "laptop")))
    offered = coin / "elsewhere.nc"
    offered.write_bytes(path.read_bytes())
    assert "the same numbers" in adopt(offered)
    altered = results.read(offered)
    altered["heads"].values[0] += 1
    results.save(altered, offered)
    assert "other numbers" in adopt(offered)
