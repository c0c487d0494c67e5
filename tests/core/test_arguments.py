"""Arguments of every kind that a reader may hand over: read where they make sense, and refused by name where not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import richness
from richness.runs.shards import cells_of

GOOD = {"gammas": [0.1, 1.0, 10.0], "etas": [1e-3, 1e-2, 1e-1, 1.0]}
GAMMA = xr.DataArray([0.1, 1.0, 10.0], dims="gamma")


@pytest.mark.parametrize(
    ("given_", "read"),
    [
        (GAMMA, (0.1, 1.0, 10.0)),
        (GAMMA[2], (10.0,)),
        ([GAMMA[2], 1], (1.0, 10.0)),
        (np.array(3.0), (3.0,)),
        (np.float32(0.5), (0.5,)),
        (torch.tensor([1.0, 2.0]), (1.0, 2.0)),
        (torch.tensor(2), (2.0,)),
        (range(1, 3), (1.0, 2.0)),
        ("1:100:3", (1.0, 10.0, 100.0)),
        (["1e-3", np.float64(1)], (1e-3, 1.0)),
    ],
)
def test_a_grid_may_be_any_array_or_one_number(given_, read):
    assert richness.Experiment(**GOOD | {"gammas": given_}).gammas == pytest.approx(read)


def test_a_table_of_two_axes_is_no_grid():
    with pytest.raises(ValueError, match="gammas"):
        richness.Experiment(**GOOD | {"gammas": np.ones((2, 2))})


WRONG = st.one_of(
    st.integers(max_value=0), st.floats(max_value=-1e-9), st.just(float("nan")), st.just(float("inf")), st.none(),
    st.text(alphabet="xyz", min_size=1), st.just({}), st.just(object()), st.just([]),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["gammas", "etas", "width", "depth", "steps", "batch_size", "optimizer", "loss", "task"]), WRONG)
def test_a_wrong_field_of_an_experiment_is_named(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        richness.Experiment(**GOOD | {field: value})


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["depth", "gamma", "width", "batch_size", "steps", "optimizer", "loss", "outputs"]), WRONG)
def test_a_wrong_question_to_the_adviser_is_named(name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        richness.advise(**{"depth": 3, name: value})


@settings(max_examples=30, deadline=None)
@given(WRONG.filter(lambda value: value != 0))
def test_a_wrong_seed_is_named(seed):
    experiment = richness.Experiment(**GOOD, width=4, batch_size=2, steps=1)
    for call in (
        lambda: richness.load_or_run("phase_portrait_mlp3_mse", "smoke", seed=seed),
        lambda: richness.train(experiment, seed, [(1.0, 0.1)]),
        lambda: richness.task("digits8").batch(seed, 0, 2),
        lambda: richness.Lab(seed=seed),
    ):
        with pytest.raises((ValueError, TypeError), match="seed"):
            call()


@pytest.mark.parametrize("cell", [(-1.0, 0.1), (1.0, 0.0), (float("nan"), 1.0)])
def test_a_cell_is_a_positive_pair(cell):
    with pytest.raises(ValueError, match=r"cells: expected pairs of a positive γ"):
        richness.train(richness.Experiment(**GOOD, width=4, batch_size=2, steps=1), 0, [cell])


@pytest.mark.parametrize("wrong", [{"per_decade": "12"}, {"per_decade": 0}, {"per_decade": 1.5}, {"guard": None}])
def test_a_wrong_search_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        richness.search(richness.Experiment(**GOOD), **wrong)


def test_a_seed_of_papermill_is_a_string(monkeypatch):
    from richness.runs import recipes

    monkeypatch.setattr(recipes.jobs, "run", lambda described, **_: described)
    assert richness.load_or_run("phase_portrait_mlp3_mse", "smoke", seed="2").seeds == (2, 3)


def test_a_search_needs_the_two_ends_of_eta_alone():
    """Between them its band may leave out both."""
    ends = richness.Experiment(
        gammas=[1.0], etas=[1e-4, 1e5], band=(0.1, 100), width=8, batch_size=8, steps=60, record_points=4
    )
    found = richness.search(ends, boundaries="eta_crit", per_decade=3)
    eta = found.eta.values[np.isfinite(found.eta.values)]
    assert eta.size and (eta / ends.natural_eta(1.0)).min() >= 0.1 and (eta / ends.natural_eta(1.0)).max() <= 100


def test_an_empty_band_says_where_it_lies():
    with pytest.raises(ValueError, match=r"at γ = 1 it is η from .* and etas go from 0\.0001 to 0\.001.* band=None"):
        richness.Experiment(gammas=[1.0], etas=[1e-4, 1e-3], band=(0.1, 100))
    with pytest.raises(ValueError, match="band=None"):
        richness.sweep(richness.Experiment(gammas=[1.0], etas=[1e-4, 1e5], band=(0.1, 100)))
    with pytest.raises(ValueError, match="band=None"):
        richness.load_or_run("collapse_mlp3", "smoke", gammas=[0.03])
    assert cells_of(richness.Experiment(gammas=[1.0], etas=[1e-4, 1e5]))
