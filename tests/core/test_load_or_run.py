from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import richness
from richness.plots.provenance import Provenance, command, sweep_command
from richness.runs import jobs, places, recipes, results
from richness.runs.results import recipe_of
from richness.studies.setting.figures import digit_samples


@pytest.fixture
def tiny(monkeypatch, tmp_path, small):
    """A recipe that takes no time, and empty folders to keep it in."""
    monkeypatch.setitem(
        recipes.all_recipes(), "tiny", lambda scale: small(steps=5 if scale == "smoke" else 6, seeds=[0, 1])
    )
    monkeypatch.setattr(places, "precomputed_folder", lambda: tmp_path / "precomputed")
    monkeypatch.setattr(places, "runs_folder", lambda: tmp_path / "runs")
    return tmp_path


def test_what_is_stored_is_loaded_and_what_is_not_is_computed(tiny, monkeypatch):
    computed = richness.load_or_run("tiny", "laptop")
    (kept,) = (tiny / "runs" / "laptop").iterdir()
    monkeypatch.setattr(jobs, "sweep", None)  # nothing is computed twice
    xr.testing.assert_identical(richness.load_or_run("tiny", "laptop"), computed)
    stored = places.precomputed_path("tiny", "laptop")
    stored.parent.mkdir(parents=True)
    kept.replace(stored)
    xr.testing.assert_identical(richness.load_or_run("tiny", "laptop"), computed)
    assert computed.attrs["recipe_name"] == "tiny" and computed.attrs["scale"] == "laptop"


def test_a_stored_result_of_another_recipe_is_not_taken(tiny, small):
    results.save(richness.sweep(small(steps=7)), places.precomputed_path("tiny", "laptop"))
    assert richness.load_or_run("tiny", "laptop").step.values[-1] == 6


def test_the_seed_moves_every_seed_of_the_recipe_and_smoke_writes_nothing(tiny):
    moved, plain = (richness.load_or_run("tiny", "smoke", **seed) for seed in ({"seed": 7}, {}))
    assert moved.seed.values.tolist() == [7, 8] and list(tiny.rglob("*.nc")) == []
    assert not np.array_equal(moved.loss.values, plain.loss.values)


def test_budgets_and_warm_up_keep_their_share_of_other_steps(tiny, monkeypatch, small):
    shares = small(steps=40, budgets=(10, 20), warmup=4, schedule="cosine")
    monkeypatch.setitem(recipes.all_recipes(), "shares", lambda scale: shares)
    made = recipe_of(richness.load_or_run("shares", "smoke", steps=20))
    assert (made.steps, made.budgets, made.warmup) == (20, (5, 10), 2)
    assert recipe_of(richness.load_or_run("shares", "smoke", steps=20, budgets=(7,))).budgets == (7,)
    with pytest.raises(ValueError, match="steps"):
        richness.load_or_run("shares", "smoke", steps=-5)


@pytest.mark.parametrize(
    ("name", "scale", "words"), [("tyni", "smoke", "unknown recipe"), ("tiny", "huge", "unknown scale")]
)
def test_unknown_names_are_sentences(tiny, name, scale, words):
    with pytest.raises(ValueError, match=words):
        richness.load_or_run(name, scale)


def test_the_commands_make_the_same_recipe_again(tiny, monkeypatch, small, tmp_path):
    runs = richness.load_or_run("tiny", "laptop")
    assert command(runs) == "richness precompute tiny --scale laptop"
    from richness.cli import main

    odd = richness.sweep(small(band=(1e-3, 1e3), budgets=(20,), probe_points=2, probes=("accuracy",), record_points=7))
    monkeypatch.chdir(tmp_path)
    assert main(sweep_command(odd, "again.nc").split()[1:]) == 0
    again = results.read(tmp_path / "again.nc")
    assert again.attrs["recipe_hash"] == odd.attrs["recipe_hash"]
    xr.testing.assert_equal(again, odd)


def test_provenance_tells_recipe_commit_and_command(tiny):
    page = Provenance(richness.load_or_run("tiny", "laptop"))._repr_html_()
    for word in ("recipe&#x27;s hash", "commit", "torch", "richness precompute tiny", "<details"):
        assert word in page


def test_the_picture_of_the_digits_tells_their_labels():
    figure = digit_samples(3, seed=1)
    labels = richness.task("digits").batch(1, 0, 3)[1].tolist()
    assert figure.table.label.tolist() == labels
    assert figure.chart.to_dict()["mark"]["type"] == "image"
