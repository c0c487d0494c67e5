"""The (B, η) plane: sweeps of several batch sizes as one result, its boundaries, its figure and table, and its file."""

from __future__ import annotations

import json

import numpy as np
import pytest

import richness
from richness.runs.results import read, save


@pytest.fixture(scope="module")
def planes():
    """Two batch sizes, small; two γ, more η than γ."""
    fields = {"width": 16, "steps": 150, "gammas": [1.0, 10.0], "etas": "0.1:1e4:11", "seeds": [0, 1]}
    return {size: richness.sweep(richness.Experiment(batch_size=size, **fields)) for size in (16, 64)}


@pytest.fixture(scope="module")
def joined(planes):
    return richness.join_batches({64: planes[64], 16: planes[16]})


def test_batch_is_an_axis_and_every_number_stays(planes, joined):
    assert joined.loss.dims == ("batch", "gamma", "eta", "seed", "step") and joined.batch.values.tolist() == [16, 64]
    for size, runs in planes.items():
        part = joined.sel(batch=size)
        for name, values in runs.data_vars.items():
            np.testing.assert_array_equal(part[name].values, values.values)
            assert part[name].dtype == values.dtype
    assert json.loads(joined.attrs["batch_sizes"]) == [16, 64]
    assert joined.attrs["recipe_hash"] not in {runs.attrs["recipe_hash"] for runs in planes.values()}


def test_boundaries_are_those_of_each_batch_size(planes, joined):
    found = richness.boundaries(joined)
    assert found.eta_max.dims == ("batch", "gamma", "seed")
    for size, runs in planes.items():
        np.testing.assert_array_equal(found.eta_max.sel(batch=size), richness.boundaries(runs).eta_max)
    assert np.isfinite(found.eta_max).any()


def test_the_figure_draws_every_boundary_at_its_batch_size(joined):
    drawn = richness.compare_batches(joined)
    largest = richness.boundaries(joined).eta_max
    seen = np.exp(np.log(largest).mean("seed")).to_series().dropna()
    assert len(drawn.table) == len(seen)
    for (size, gamma), eta in seen.items():
        row = drawn.table[(size == drawn.table.B) & np.isclose(drawn.table["γ"], gamma)]
        assert float(row["η_max"].iloc[0]) == pytest.approx(eta)
    spec = drawn.chart.to_dict()
    data = [row for rows in spec["datasets"].values() for row in rows if "B" in row]
    assert {row["B"] for row in data} == {16, 64}
    assert "B = 16, 64" in drawn.caption and "factor" in drawn.summary


def test_it_is_kept_and_read_back(joined, tmp_path):
    path = save(joined, tmp_path / "batches.nc")
    again = read(path)
    assert again.identical(joined.assign_attrs(again.attrs)) and again.attrs["batch_sizes"] == "[16, 64]"


def test_what_differs_in_more_than_its_batch_size_is_refused(planes):
    other = richness.sweep(richness.Experiment(batch_size=64, width=16, steps=40, gammas=[1, 10], etas="0.1:1e4:11"))
    for results, error, words in [
        ({16: planes[16], 64: other}, ValueError, r"B = 64 differs .*: seeds .*, steps \(150 and 40\)"),
        ({"16": planes[16]}, ValueError, "batch sizes such as 16 as their names, got '16'"),
        ([planes[16]], TypeError, "a mapping such as"),
        ({}, TypeError, "a mapping such as"),
    ]:
        with pytest.raises(error, match=words):
            richness.join_batches(results)
    with pytest.raises(ValueError, match="the dim batch"):
        richness.compare_batches(planes[16])


def test_planes_of_a_loop_are_joined_too():
    def noisy(size):
        return lambda gamma, eta, seed: [1.0, 0.5 if eta < size else float("inf")]

    runs = richness.join_batches(
        {size: richness.plane(noisy(size), [1.0], [1, 4, 16, 64], name="noisy", version=str(size)) for size in (2, 32)}
    )
    assert richness.boundaries(runs).eta_max.values.ravel() == pytest.approx([2, 32])
