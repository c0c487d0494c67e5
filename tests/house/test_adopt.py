"""Adopting a result: what is refused, what is told, and that nothing is half-copied."""

from __future__ import annotations

import numpy as np
import pytest

from richness.runs import places, recipes, results
from richness.runs.experiment import Experiment
from richness.runs.sweep import sweep
from richness.site.adopting import disagreements

PORTRAIT = Experiment(gammas="1e-1:1e2:7", etas="1e-3:1e3:25", width=16, steps=400, batch_size=16, seeds=(0, 1))


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
    other = runs.assign(late_loss=runs.late_loss * (1 + 1e-3 * rng.standard_normal(runs.late_loss.shape)))
    answer = offer(other.assign_attrs(device="cuda: another"))
    assert answer.code == 0 and "0 cells changed status" in answer.out, answer.err
    assert results.load("small").attrs["device"] == "cuda: another"


@pytest.mark.slow
def test_what_no_sweep_makes_is_refused_even_by_force(place, offer, runs):
    offer(runs)
    before = place.read_bytes()
    broken = {
        "loss is not finite": runs.assign(loss=runs.loss * float("nan")),
        "it was altered": runs.assign_attrs(recipe_hash="0" * 64),
        "statuses other than": runs.assign(status=runs.status + 7),
        "another eta axis": runs.assign_coords(eta=runs.eta * 8),  # lr_raw for η
        "another gamma axis": runs.assign_coords(gamma=1 / runs.gamma),  # α for γ
        "another seed axis": runs.isel(seed=[0]),
    }
    for words, wrong in broken.items():
        for options in ([], ["--force"]):
            refused = offer(wrong, *options)
            assert refused.code == 1 and words in refused.err and "Traceback" not in refused.err
    assert place.read_bytes() == before and [path.name for path in place.parent.iterdir()] == ["small.nc"]


def altered(runs, kind: str):
    """A whole, well-formed file of the same recipe whose numbers are others."""
    if kind == "loss":  # a sum where a mean belongs
        return runs.assign({name: runs[name] * 2 for name in ("loss", "late_loss", "initial_loss", "peak_loss")})
    if kind == "diverged":  # at γ = 10 everything from the third largest η that converged
        late, status = runs.late_loss.copy(deep=True), runs.status.copy(deep=True)
        converged = (late[4] < 0.8 * runs.initial_loss[4]).all("seed").values
        late[4, np.flatnonzero(converged)[-3] :], status[4, np.flatnonzero(converged)[-3] :] = np.nan, 1
        return runs.assign(late_loss=late, status=status)
    late, peak, status = (np.roll(runs[name].values, 2, axis=1) for name in ("late_loss", "peak_loss", "status"))
    moved = runs.assign(late_loss=(runs.late_loss.dims, late), peak_loss=(runs.peak_loss.dims, peak))
    loss = (runs.loss.dims, np.roll(runs.loss.values, 2, axis=1))
    return moved.assign(loss=loss, status=(runs.status.dims, status, runs.status.attrs))  # each column is another η's


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("loss", ["late losses differ by 100%"]),
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
