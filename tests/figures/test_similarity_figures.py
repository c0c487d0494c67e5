"""Figures of likeness: the numbers that are drawn are those of the findings, and the controls reach all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from specifications import controls

from richness.studies.similarity import analysis, figures
from similar import GAMMAS, planted


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    return planted()


@pytest.fixture(scope="module")
def pairs(runs: xr.Dataset) -> Any:
    return figures.likeness_map(runs)


def test_the_map_holds_every_pair_at_every_time_and_both_clocks(runs, pairs):
    fig = pairs
    kept = analysis.pick_networks(runs)
    times = analysis.match_clocks(kept).sizes["time"]
    assert len(fig.table) == 2 * times * len(GAMMAS) ** 2
    assert controls(fig) == {"what", "kin", "when"}
    end = fig.table[(fig.table.measure == "R²") & (fig.table["t of the richest"] == 1000)]
    row = end[(end["γ"] == 0.1) & (end["other γ"] == 100.0)].iloc[0]
    table = analysis.compare_pairs(kept).sel(measure="R²")[1, 4].values
    apart = ~np.eye(3, dtype=bool)
    assert row["equal t, different seeds"] == pytest.approx(table[apart].mean())
    assert row["equal t, same seed"] == pytest.approx(np.diag(table).mean())
    assert end[end["γ"] < 1]["equal τ, different seeds"].isna().all()
    assert end[(end["γ"] >= 1) & (end["other γ"] >= 1)]["equal τ, different seeds"].notna().all()


def test_groups_show_what_is_judged_for_each_setting(runs):
    fig = figures.likeness_groups({"first": runs, "second": planted(spread=0.5)})
    judged = {
        (one.measure, one.group): one
        for one in analysis.compare_groups(analysis.compare_pairs(analysis.pick_networks(runs)))
    }
    first = fig.table[(fig.table.setting == "first") & (fig.table.measure == "R² of outputs")].set_index("group")
    assert first.value["rich, different γ"] == pytest.approx(judged["R²", "rich"].within.value)
    assert first.value["rich, same γ"] == pytest.approx(judged["R²", "rich"].ceiling.value)
    assert first["95 % to"]["lazy with rich"] == pytest.approx(judged["R²", "lazy"].against.interval[1])
    assert set(fig.table.setting) == {"first", "second"}
    assert controls(fig) == {"setting"}


def test_time_shows_both_clocks_and_the_ceiling(runs):
    fig = figures.likeness_in_time({"first": runs})
    assert set(fig.table.curve) == {"equal τ", "equal steps t", "ceiling: same γ"}
    assert controls(fig) == {"what", "setting"}
    assert "at equal τ" in fig.summary


def test_a_scatter_names_the_r_squared_of_every_other_network(runs):
    fig = figures.outputs_scatter(runs)
    table = analysis.compare_pairs(analysis.pick_networks(runs)).sel(measure="R²")
    np.testing.assert_allclose(fig.table.iloc[:, 1], table.values[GAMMAS.index(10.0), :, 0, 1])
    assert controls(fig) == {"log_other"}


def test_weights_show_layers_against_gamma(runs):
    spectrum = np.linspace(2, 1, 10)
    layers, seeds = np.array([1.0, 0.5]), np.array([1.0, 1.1])
    growth = np.array([1.0, 1.0, 1.0, 2.0, 3.0, 4.0])  # of each γ
    start = spectrum * layers[:, None]
    values = np.stack(
        [np.broadcast_to(start, (6, 2, 2, 10)), growth[:, None, None, None] * start * seeds[:, None, None]], axis=2
    )
    thin = runs[["status"]].isel(seed=[0, 1])
    values = np.broadcast_to(values[:, None], (6, 7, *values.shape[1:]))
    weights = thin.assign(singular_values=(("gamma", "eta", "seed", "step", "layer", "index"), values))
    weights = weights.assign_coords(layer=[1, 2], index=np.arange(1, 11))
    fig = figures.weight_spectra(weights)
    assert len(fig.table) == 6 * 2 * 10
    assert controls(fig) == {"chosen"}
    last = fig.table[(fig.table["γ"] > 999) & (fig.table.layer == 2) & (fig.table["index"] == 1)].iloc[0]
    assert (last.start, last.end, last.high) == pytest.approx((1.0, 4.2, 4.4))
    fig = figures.weight_outliers(weights)
    assert fig.table.growth.to_numpy()[::2] == pytest.approx(growth * 1.05)
    assert fig.table[fig.table.gamma > 99].above.min() == 10


def test_a_figure_makes_its_page_and_says_its_conditions(pairs):
    html = pairs.html()
    assert "MSE (mean over batch and classes)" in pairs.caption and "3 seeds" in pairs.caption
    assert "<svg" in html and "NaN" not in html
