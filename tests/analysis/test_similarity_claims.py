"""C13 and C14 on planted results: likeness, groups, clocks and verdicts come out as they were put in."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from richness.runs.results import ResultError
from richness.studies.similarity import analysis as similarity
from richness.studies.similarity.analysis import (
    LAZY,
    RICH,
    compare_clocks,
    compare_groups,
    compare_pairs,
    match_clocks,
    mean_over_pairs,
    measure_outliers,
    pick_networks,
)
from similar import GAMMAS, planted


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    return planted()


def by_group(runs: xr.Dataset) -> dict[tuple[str, str], similarity.Comparison]:
    return {(one.measure, one.group): one for one in compare_groups(compare_pairs(pick_networks(runs)))}


def test_each_gamma_keeps_the_eta_that_was_run(runs):
    kept = pick_networks(runs)
    assert "eta" not in kept.dims
    assert np.isfinite(kept.outputs.isel(step=-1)).all()
    np.testing.assert_allclose(kept.eta, runs.eta.values[: len(GAMMAS)])


def test_likeness_is_that_of_what_was_planted(runs):
    table = compare_pairs(pick_networks(runs))
    assert list(table.measure.values) == ["R²", "CKA 1"]
    last = pick_networks(runs).isel(step=-1).outputs.transpose("gamma", "seed", "sample", "output").values.astype(float)
    f, g = last[0, 1], last[4, 2]
    wanted = 1 - ((f - g) ** 2).sum() / (((f**2).sum() + (g**2).sum()) / 2)
    assert float(table.sel(measure="R²")[0, 4, 1, 2]) == pytest.approx(wanted, abs=1e-6)
    assert table.sel(measure="CKA 1").values[2, 2, 1, 1] == pytest.approx(1)


def test_under_cross_entropy_it_is_the_probabilities_that_are_compared():
    kept = pick_networks(planted(loss="cross_entropy"))
    f = kept.isel(step=-1).outputs.transpose("gamma", "seed", "sample", "output").values.astype(float)
    p = np.exp(f) / np.exp(f).sum(-1, keepdims=True) - 1 / 3
    a, b = p[1, 0], p[5, 2]
    wanted = 1 - ((a - b) ** 2).sum() / (((a**2).sum() + (b**2).sum()) / 2)
    assert float(compare_pairs(kept).sel(measure="R²")[1, 5, 0, 2]) == pytest.approx(wanted, abs=1e-6)


def test_groups_are_told_apart_and_reach_their_seeds_ceiling(runs):
    found = by_group(runs)
    for group in ("rich", "lazy"):
        one = found["R²", group]
        assert one.holds and found["CKA 1", group].holds
        assert one.within.value == pytest.approx(one.ceiling.value, abs=0.02)
        # two seeds differ by their noise alone, 2σ² of 1 + σ²
        assert one.ceiling.value == pytest.approx(1 - 2 * 0.1**2 / (1 + 0.1**2), abs=0.01)
        assert one.against.value < 0
        assert one.gap.value == pytest.approx(one.within.value - one.against.value)
        assert one.gap.interval[0] <= one.gap.value <= one.gap.interval[1]
    assert found["R²", "rich"].gammas == (10.0, 1000.0)
    assert found["R²", "lazy"].gammas == (0.01, 0.1)


def test_groups_do_not_meet_and_where_there_are_none_none_holds(runs):
    assert LAZY[1] < 1 < RICH[0]
    table = compare_pairs(pick_networks(runs))
    even = table.copy(data=0.8 + 0.05 * np.random.default_rng(1).normal(size=table.shape))
    assert not any(one.holds for one in compare_groups(even))


def test_a_group_below_its_seeds_ceiling_does_not_hold():
    found = by_group(planted(spread=0.5))
    assert found["R²", "rich"].gap.interval[0] > 0
    assert found["R²", "rich"].ceiling.value > 0.95
    assert not found["R²", "rich"].holds


def test_pairs_of_a_seed_with_itself_never_count():
    by_seed = np.array([[9.0, 1.0, 2.0], [1.0, 9.0, 3.0], [2.0, 3.0, 9.0]])
    assert mean_over_pairs(by_seed) == pytest.approx(2.0)
    assert mean_over_pairs(by_seed, np.array([2.0, 1.0, 0.0])) == pytest.approx(1.0)
    assert np.isnan(mean_over_pairs(by_seed, np.array([3.0, 0.0, 0.0])))


def test_equal_tau_finds_one_function_where_equal_steps_do_not(runs):
    curves, found = compare_clocks(pick_networks(runs))
    r2 = curves.sel(measure="R²")
    assert (r2.tau > r2.t - 1e-6).all() and float((r2.tau - r2.t).max()) > 0.05
    assert float(abs(r2.tau - r2.ceiling).max()) < 0.02
    assert found[0].holds and found[0].group == "rich, equal τ"
    _, other = compare_clocks(pick_networks(planted(clock="t")))
    assert not other[0].holds


def test_clocks_name_recorded_steps_of_equal_tau(runs):
    kept = pick_networks(runs)
    when = match_clocks(kept)
    for time in when.time.values:
        there = when.tau.sel(time=time).values
        assert (there[np.array(GAMMAS) < 1] == -1).all()
        steps = kept.step.values[there[2:]]
        tau = steps * (kept.eta / kept.gamma).values[2:]
        assert steps[-1] == time
        if time >= 100:  # below, whole steps are coarse
            np.testing.assert_allclose(tau[1:], tau[-1], rtol=0.35)


def test_too_few_networks_are_an_error_that_says_so(runs):
    with pytest.raises(ValueError, match="two seeds"):
        compare_groups(compare_pairs(pick_networks(runs.isel(seed=[0]))))
    with pytest.raises(ValueError, match=r"1 lazy γ"):
        compare_groups(compare_pairs(pick_networks(runs)).isel(gamma=slice(1, None), other_gamma=slice(1, None)))


def verdicts(load):
    return {(row["id"], row["part"]): row["verdict"] for row in similarity.rows(load)}


def test_verdicts_of_three_settings(runs):
    assert set(verdicts(lambda name: runs).values()) == {"reproduced"}
    apart = planted(spread=0.5)
    assert set(verdicts(lambda name: apart if name.endswith("teacher") else runs).values()) == {"partly"}


def test_rows_are_the_ledgers_and_say_what_is_missing(runs):
    def load(name):
        if name.endswith("teacher"):
            raise ResultError("not there")
        return runs

    rows = similarity.rows(load)
    assert len(rows) == len(similarity.CLAIMS) * len(similarity.SETTINGS)
    for row in rows:
        assert (row["interval"] is None) == bool(row["reason"])
        assert row["chapter"] == "06-similarity"
    missing = [row for row in rows if row["reason"]]
    assert len(missing) == len(similarity.CLAIMS)
    assert all("richness precompute similarity_mlp3_mse_teacher" in row["reason"] for row in missing)
    assert {row["verdict"] for row in rows} == {"not-run"}, "two of three settings are no verdict on the three"


def test_outliers_count_what_leaves_the_spectrum_of_step_0():
    start = np.array([2.0, 1.5, 1.0, 0.5])
    end = np.array([[6.0, 3.0, 2.05, 0.5], [2.0, 1.5, 1.0, 0.5]])  # 2.05 is within 5 % of the edge
    values = np.stack([np.stack([start, start]), end], axis=1)[:, None, :, None, :]
    runs = xr.Dataset({"singular_values": (("gamma", "seed", "step", "layer", "index"), values)})
    found = measure_outliers(runs)
    assert found.above.values[:, 0, 0].tolist() == [2.0, 0.0]
    assert found.growth.values[0, 0, 0] == pytest.approx(3.0)
    assert found["first"].values[0, 0, 0] == pytest.approx(2.0)
