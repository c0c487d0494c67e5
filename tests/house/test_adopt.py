"""Adopting a result: what is refused, what is told, and that nothing is half-copied."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest
import xarray as xr

from richness.runs import jobs, places, recipes, results
from richness.runs.description import Measurement
from richness.runs.experiment import Experiment
from richness.runs.sweep import sweep
from richness.site.adopting import disagreements

PORTRAIT = Experiment(
    gammas="1e-1:1e2:7", etas="1e-3:1e3:25", width=16, steps=400, batch_size=16, seeds=(0, 1),
    probes=("loss", "sharpness", "accuracy"), probe_points=4, probe_samples=64,
)  # fmt: skip


@pytest.fixture(scope="module")
def runs():
    """A small portrait, with all three boundaries at most γ."""
    return sweep(PORTRAIT, name="small", scale="laptop")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where the recipe `small` belongs: nothing is there yet."""
    monkeypatch.setattr(recipes, "all_recipes", lambda: {"small": lambda scale: PORTRAIT})
    monkeypatch.setattr(places, "precomputed_folder", lambda: tmp_path / "precomputed")
    return tmp_path / "precomputed" / "laptop" / "small.nc"


@pytest.fixture
def offer(richness, tmp_path):
    """Saves a result and offers it."""

    def offered(runs, *options: str):
        return richness("adopt", results.save(runs, tmp_path / "offered.nc"), *options)

    return offered


def test_what_is_new_or_the_same_is_taken(place, offer, runs, tmp_path):
    assert "new here" in offer(runs).out
    assert place.read_bytes() == (tmp_path / "offered.nc").read_bytes()
    rng = np.random.default_rng(0)
    other = runs.assign(late_loss=runs.late_loss * (1 + 1e-3 * rng.standard_normal(runs.late_loss.shape).astype("f4")))
    answer = offer(other.assign_attrs(device="cuda: another"))
    assert answer.code == 0 and "0 cells changed status" in answer.out, answer.err
    assert results.load("small").attrs["device"] == "cuda: another"


@pytest.mark.slow
def test_what_no_sweep_makes_is_refused_even_by_force(place, offer, runs):
    offer(runs)
    before = place.read_bytes()
    broken = {
        "loss is not finite": runs.assign(loss=runs.loss * np.float32("nan")),
        "it was altered": runs.assign_attrs(recipe_hash="0" * 64),
        "statuses other than": runs.assign(status=runs.status + np.int8(7)),
        "another eta axis": runs.assign_coords(eta=runs.eta * 8),  # lr_raw for η
        "another gamma axis": runs.assign_coords(gamma=1 / runs.gamma),  # α for γ
        "another seed axis": runs.isel(seed=[0]),
    }
    for words, wrong in broken.items():
        for options in ([], ["--force"]):
            refused = offer(wrong, *options)
            assert refused.code == 1 and words in refused.err and "Traceback" not in refused.err
    assert place.read_bytes() == before and [path.name for path in place.parent.iterdir()] == ["small.nc"]


def with_attr(**attrs):
    return lambda runs: runs.assign_attrs(attrs)


def setting(name, value):
    """One variable's every value replaced; its dims, type and attributes stay."""
    return lambda runs: runs.assign({name: xr.full_like(runs[name], value)})


LIES = {
    "no status": ("status is missing", lambda runs: runs.drop_vars("status")),
    "no status, late loss 7": ("missing", lambda runs: setting("late_loss", 7.0)(runs).drop_vars("status")),
    "late loss 7": ("late_loss", setting("late_loss", 7.0)),
    "sharpness 42": ("every sharpness is 42", lambda runs: runs.assign(sharpness=runs.sharpness * 0 + np.float32(42))),
    "step reversed": ("another step axis", lambda runs: runs.assign_coords(step=runs.step[::-1].values)),
    "turned round": ("another step axis", lambda runs: runs.isel(step=slice(None, None, -1))),
    "turned gamma": ("another gamma axis", lambda runs: runs.isel(gamma=slice(None, None, -1))),
    "kind": ("calls itself a measurement", with_attr(kind="Explosion")),
    "seeds": ("seeds", with_attr(seeds="0 and 1")),
    "seeds of HTML": ("seeds", with_attr(seeds=json.dumps(["<img src=x onerror=alert(1)>"]))),
    "packages": ("packages", with_attr(packages="torch")),
    "wall seconds": ("wall_seconds", with_attr(wall_seconds="soon")),
    "transposed": ("dims", lambda runs: runs.transpose("eta", "gamma", ...)),
    "another variable": ("none of its recipe", lambda runs: runs.assign(mine=runs.late_loss)),
    "another coordinate": ("none of its recipe", lambda runs: runs.assign_coords(mine=("gamma", runs.gamma.values))),
    "float64": ("expected float32", lambda runs: runs.assign(loss=runs.loss.astype("f8"))),
    "status of floats": ("expected int8", lambda runs: runs.assign(status=runs.status.astype("f4"))),
    "late loss where diverged": ("late loss where", lambda runs: runs.assign(late_loss=runs.late_loss.fillna(1.0))),
    "diverged_at": ("diverged_at contradicts", setting("diverged_at", -1)),
    "initial loss": ("initial_loss", lambda runs: runs.assign(initial_loss=runs.initial_loss * np.float32(1.5))),
    "peak loss": ("peak_loss", lambda runs: runs.assign(peak_loss=runs.peak_loss * np.float32(0.01))),
    "accuracy": ("no share", lambda runs: runs.assign(accuracy=runs.accuracy + np.float32(2))),
    "loss after divergence": ("after a cell diverged", lambda runs: runs.assign(loss=runs.loss.fillna(1.0))),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_what_no_recipe_makes_is_refused_with_and_without_a_stored_result(place, offer, runs, lie):
    """A whole, sealed file that says the right recipe: each of the first ten used to be taken, without --force."""
    words, make = LIES[lie]
    for options in ([], ["--force"]):
        refused = offer(make(runs), *options)
        assert refused.code == 1 and words in refused.err and "Traceback" not in refused.err, refused.err
        assert not place.exists()


@pytest.mark.parametrize("name", ["sharpness", "accuracy", "loss", "peak_loss"])
@pytest.mark.parametrize("where", [{}, {"gamma": [2]}])
def test_every_variable_is_compared_with_what_is_stored(place, offer, runs, name, where):
    """Random numbers of the right size, in all of a variable or at one γ."""
    offer(runs)
    before = place.read_bytes()
    rng = np.random.default_rng(0)
    values = runs[name].copy(deep=True)
    there = values[where] if where else values
    there.values[:] = there.values * rng.uniform(0.2, 5, there.shape).astype("f4")
    if name == "accuracy":
        there.values[:] = np.where(np.isfinite(there.values), rng.uniform(0, 1, there.shape), np.nan)
    if where:
        values[where] = there
    answer = offer(runs.assign({name: values}))
    assert answer.code == 1 and name in answer.err and place.read_bytes() == before, answer.err


class Noise(Measurement):
    """A measurement that takes no time: what is made of a seed, and where."""

    title: ClassVar[str] = "noise"
    cases: int = 8

    def measure(self, seed: int) -> xr.Dataset:
        rng = np.random.default_rng(seed)
        values = 1 + 0.1 * rng.standard_normal((self.cases, 5)).astype("f4")
        return xr.Dataset(
            {"gap": (("case", "layer"), values)}, {"layer": np.arange(5), "power": ("case", np.arange(8.0))}
        )


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("gap differs by", lambda runs: runs.assign(gap=runs.gap * np.float32(3))),
        ("gap differs by", lambda runs: runs.assign(gap=runs.gap * (runs.gap > 1))),
        ("every gap is 42", lambda runs: runs.assign(gap=runs.gap * 0 + np.float32(42))),
        ("gap is missing", lambda runs: runs.drop_vars("gap")),
        ("its kind is", lambda runs: runs.assign_attrs(kind="Other")),
        ("another seed axis", lambda runs: runs.isel(seed=[1, 0, 2])),
        ("layer is another axis", lambda runs: runs.isel(layer=slice(None, None, -1))),
        ("power is another axis", lambda runs: runs.assign_coords(power=runs.power + 1)),
        ("holds no number", lambda runs: runs.assign(gap=runs.gap * np.float32("nan"))),
        ("dims", lambda runs: runs.transpose("case", "seed", "layer")),
    ],
)  # fmt: skip
def test_a_measurement_is_held_to_its_recipe_and_to_what_is_stored(place, offer, monkeypatch, words, make):
    made = Noise(seeds=(0, 1, 2))
    monkeypatch.setattr(recipes, "all_recipes", lambda: {"small": lambda scale: made})
    measured = jobs.run(made, name="small", scale="laptop")
    assert offer(measured).code == 0 and offer(measured).code == 0
    before = place.read_bytes()
    answer = offer(make(measured))
    assert answer.code == 1 and words in answer.err and place.read_bytes() == before, answer.err


def altered(runs, kind: str):
    """A whole, well-formed file of the same recipe whose numbers are others."""
    if kind == "loss":  # a sum where a mean belongs
        losses = ("loss", "late_loss", "initial_loss", "peak_loss")
        return runs.assign({name: xr.where(runs[name] < 1e30, runs[name] * 2, runs[name]) for name in losses})
    if kind == "diverged":  # at γ = 10 everything from the third largest η that converged
        wrong = runs.copy(deep=True)
        converged = (wrong.late_loss[4] < 0.8 * wrong.initial_loss[4]).all("seed").values
        from_here = np.flatnonzero(converged)[-3]
        wrong.late_loss[4, from_here:], wrong.status[4, from_here:] = np.nan, 1
        wrong.diverged_at[4, from_here:], wrong.loss[4, from_here:, :, 1:] = 1, np.nan
        return wrong
    return runs.roll(eta=2, roll_coords=False)  # each column is another η's


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("loss", ["late_loss differs by 100%"]),
        ("diverged", ["eta_max at γ = 10 is", "decades", "beyond the intervals"]),
        ("moved", ["eta_max lies", "decades elsewhere on average"]),
    ],
)
def test_what_contradicts_the_stored_result_is_refused_and_says_where(place, offer, runs, kind, words):
    offer(runs)
    before = place.read_bytes()
    answer = offer(altered(runs, kind))
    assert answer.code == 1 and "contradicts" in answer.err and "--force" in answer.err
    assert [word for word in words if word not in answer.err] == [], answer.err
    assert place.read_bytes() == before
    forced = offer(altered(runs, kind), "--force")
    assert forced.code == 0 and "Taken although" in forced.out and place.read_bytes() != before


def test_another_scale_is_compared_and_does_not_stand_in_the_way(place, offer, runs):
    offer(runs)
    paper = runs.assign_attrs(scale="paper")
    assert "Against scale laptop, the upper boundaries are the same." in offer(paper).out
    answer = offer(altered(runs, "moved").assign_attrs(scale="paper"), "--force")
    assert answer.code == 0 and "Against scale laptop, these boundaries lie elsewhere: eta_max" in answer.out


def test_other_seeds_of_the_same_plane_agree(runs):
    """The intervals are no tighter than the scatter between seeds."""
    other = sweep(PORTRAIT.model_copy(update={"seeds": (2, 3)}))
    found = disagreements(runs, other)
    assert len(found) <= 2, found
    assert len(disagreements(runs, altered(other, "moved"))) >= 3
