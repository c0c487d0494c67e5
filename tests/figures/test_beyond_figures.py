"""Figures of steps beyond the edge: what is drawn is what was measured."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from specifications import controls, data

from richness.analysis.cases import select_case
from richness.runs.jobs import measure_seeds
from richness.runs.recipes import recipe
from richness.studies.neighbours.beyond import analysis, figures


@pytest.fixture(scope="module")
def edge() -> xr.Dataset:
    return measure_seeds(recipe("beyond_the_edge", "smoke"))


def test_a_step_is_drawn_as_it_was_taken():
    runs = measure_seeds(recipe("along_a_step", "smoke"))
    fig = figures.draw_step(runs)
    assert controls(fig) == {"steps", "log_eta", "place"}
    (way,) = [row for row in data(fig, "way") if (row["steps"], row["log_eta"], row["moment"]) == ("balanced", 3.0, 3)]
    one = select_case(runs, scaled=True).sel(eta=8.0, taken=3).isel(seed=0)
    start = float(one.along[0])
    np.testing.assert_allclose(way["loss"], one.along / start, rtol=1e-2)
    np.testing.assert_allclose(way["frozen"], one.frozen / start, rtol=1e-2)
    assert way["c2"] == pytest.approx(float(one.taken_series.sel(order=2)) / start, rel=1e-2)


def test_training_is_means_over_seeds(edge):
    fig = figures.draw_training(edge)
    assert controls(fig) == {"r", "log_eta"}
    (row,) = [row for row in data(fig, "curves") if (row["steps"], row["r"], row["log_eta"]) == ("plain", 0.0, 2.0)]
    one = analysis.select_network(edge, False, 0).sel(eta=4.0)
    losses = one.batch_loss.transpose("seed", "step").values
    np.testing.assert_allclose(row["loss"], np.exp(np.log(losses / losses[:, :1]).mean(0)), rtol=1e-2)
    over = (one.series.sel(order=2) / abs(one.series.sel(order=1))).transpose("seed", "step").values
    np.testing.assert_allclose(row["gauge"], np.median(over, axis=0), rtol=1e-2)
    units = {row["layer"]: row["units"] for row in data(fig, "units") if row["r"] == 2.0}
    assert units == dict(enumerate(analysis.select_network(edge, False).width.isel(seed=0).values.tolist(), start=1))


@pytest.mark.slow
def test_over_step_sizes_what_exploded_has_no_numbers(edge):
    edge = edge.copy(deep=True)
    edge["peak"].loc[{"eta": 64.0, "seed": 1}] = np.inf
    for fig in (figures.draw_step_sizes(edge), figures.draw_other_networks(edge)):
        drawn = data(fig, "rows")
        assert all((row["peak"] is None) == (row["gone"] > 0) == (row["eta"] == 64.0) for row in drawn)
    one = analysis.select_network(edge, True, 0).sel(eta=1.0)
    (row,) = [
        row
        for row in data(figures.draw_step_sizes(edge), "rows")
        if (row["steps"], row["r"], row["eta"]) == ("balanced", 0.0, 1.0)
    ]
    held = one.test_loss.isel(moment=-1) / one.test_loss.isel(moment=0)
    assert row["held"] == pytest.approx(float(held.mean()), rel=1e-3)
    assert row["lambda_low"] == pytest.approx(float(one.sharpness.isel(moment=-1).min()), rel=1e-3)


def test_ranks_stand_beside_accuracy(edge):
    fig = figures.draw_ranks(edge)
    assert controls(fig) == {"r", "kind"}
    one = analysis.select_network(edge, False).sel(eta=1.0).isel(moment=-1)
    (row,) = [
        row
        for row in data(fig, "ranks")
        if (row["steps"], row["r"], row["eta"], row["kind"]) == ("plain", 2.0, 1.0, "stable")
    ]
    assert row["rank"] == pytest.approx(float(one["rank"].sel(kind="stable").mean()), rel=1e-3)
    assert row["accuracy"] == pytest.approx(float(one.accuracy.mean()), rel=1e-3)
