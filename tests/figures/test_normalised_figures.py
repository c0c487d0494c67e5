"""Figures of normed networks: what is drawn is what was measured, beside the predictions that the caption names."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from specifications import controls, data

from richness.analysis import cases
from richness.runs.jobs import measure_seeds
from richness.runs.recipes import recipe
from richness.studies.neighbours.normalised import analysis, figures, theory


@pytest.fixture(scope="module")
def runs() -> dict[str, xr.Dataset]:
    return {
        name: measure_seeds(recipe(f"normalised_{name}", "smoke"))
        for name in ("isometry", "explosion", "traps", "shaping")
    }


def test_the_gap_stands_beside_bound_and_law(runs):
    fig = figures.draw_isometry_gap(runs["isometry"])
    assert controls(fig) == {"inputs", "width", "log_C"}
    one = cases.select_case(runs["isometry"], weights="orthogonal", inputs="near", width=16)
    rows = [
        row for row in data(fig, "gaps") if (row["weights"], row["inputs"], row["width"]) == ("orthogonal", "near", 16)
    ]
    start = float(one.gap.sel(layer=0).mean())
    for row in rows:
        assert row["mean"] == pytest.approx(float(one.gap.sel(layer=row["layer"]).mean()), rel=1e-3)
        assert row["law"] == pytest.approx(start * (16 / 18) ** row["layer"], rel=1e-3)
        assert row["unit"] == pytest.approx(theory.layers_of_decay(start, 16), rel=1e-3)
    lost = {row["width"]: row for row in data(fig, "lost")}
    assert lost[16]["mean"] == pytest.approx(1 - float(one.contraction.mean()), rel=1e-3)
    assert lost[8]["first_order"] == pytest.approx(0.2)


def test_gradients_are_means_over_seeds(runs):
    fig = figures.draw_gradients(runs["isometry"], runs["explosion"])
    one = cases.select_case(runs["isometry"], weights="gaussian", inputs="gaussian", width=8)
    rows = [
        row
        for row in data(fig, "curves")
        if (row["weights"], row["inputs"], row["width"]) == ("gaussian", "gaussian", 8)
    ]
    np.testing.assert_allclose([row["mean"] for row in rows], one.first_gradient.mean("seed"), rtol=1e-3, atol=1e-4)
    steps = np.diff([row["line"] for row in rows]) / np.diff([row["depth"] for row in rows])
    np.testing.assert_allclose(steps, theory.gaussian_slope(8, centred=False), rtol=0.01)
    assert controls(fig) == {"inputs", "width"} and len(data(fig, "ratios")) == runs["explosion"].sizes["case"]


def test_every_trap_has_a_name_and_only_some_have_full_rank(runs):
    fig = figures.draw_traps(runs["traps"])
    kinds = {row["trap"]: row["full_rank"] for row in data(fig, "curves")}
    assert len(kinds) == runs["traps"].sizes["case"]
    assert {kind for kind, full in kinds.items() if full == "yes"} == {"sound", "more", "digits"}
    assert controls(fig) == {"batch"}


def test_shaping_puts_the_last_gain_back_and_draws_the_sum(runs):
    fig = figures.draw_shaping(runs["shaping"])
    assert controls(fig) == {"activation", "p", "log_L"}
    one = cases.select_case(runs["shaping"], activation="tanh", power=0.4)
    rows = [row for row in data(fig, "curves") if (row["activation"], row["power"]) == ("tanh", 0.4)]
    expected = one.first_gradient.mean("seed") + 0.4 * np.log(one.depth)
    np.testing.assert_allclose([row["mean"] for row in rows], expected, rtol=1e-3, atol=1e-4)
    rise = [row for row in data(fig, "rise") if row["activation"] == "sin"]
    sums = analysis.sum_fourth_powers(np.array([row["power"] for row in rise]), (10, 20))
    assert np.ptp([row["predicted"] for row in rise] / sums) < 0.01 * rise[0]["predicted"] / sums[0]
    assert all(row["predicted"] is None for row in data(fig, "rise") if row["activation"] == "relu")
