"""S1 on planted results: distances, exponents and best steps come out as they were put in, and verdicts follow."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from consistent import planted
from richness.analysis.ledger import verdicts
from richness.runs.results import ResultError
from richness.studies.neighbours.consistency import analysis, recipes


def sized(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("width", "seed", "step"))


def test_a_distance_is_of_logarithms_seed_by_seed():
    values = sized(np.array([[[1.0, 2.0]], [[4.0, np.nan]], [[2.0, 1.0]]]))
    apart = analysis.measure_distance(values)[:, 0].values
    np.testing.assert_allclose(apart, [[np.log(2), np.log(2)], [np.log(2), np.nan]])


def test_widening_is_late_minus_early_and_knows_its_seeds():
    t = np.arange(6)
    late = 0.3 * (t >= 4)
    values = np.exp(np.stack([[late, late + 0.1 * (t >= 4), late - 0.1 * (t >= 4)], np.zeros((3, 6))]))
    found = analysis.measure_widening(sized(values))
    assert found.value == pytest.approx(0.3) and found.seeds == 3
    assert found.interval[1] - found.interval[0] == pytest.approx(2 * 4.3027 * 0.1 / np.sqrt(3), rel=1e-4)
    values[0, 0, -1] = np.nan
    assert analysis.measure_widening(sized(values)).seeds == 2, "a seed that diverged has no late distance"
    with pytest.raises(ValueError, match="two seeds or more"):
        analysis.measure_widening(sized(values[:, :2]))


def test_growth_and_best_steps_have_the_planted_exponents():
    load = planted()
    for scaling, exponent in (("mup", 0.0), ("ntk", -1.0)):
        found = analysis.fit_growth(analysis.load_widths(load, scaling), 6.0)
        assert found.value == pytest.approx(exponent, abs=1e-6)
    best = analysis.find_best_etas(analysis.load_widths(load, "mup"), 400)
    np.testing.assert_allclose(best, 12.0, rtol=1e-6)
    between = analysis.find_best_etas(analysis.load_widths(planted(best=9.0), "mup"), 400)
    np.testing.assert_allclose(between, 9.0, rtol=1e-6)
    assert analysis.fit_transfer(analysis.load_widths(load, "standard"), 400).value == pytest.approx(-1, abs=0.02)


def test_verdicts_follow_what_was_planted():
    rows = analysis.rows(planted())
    assert {(row["id"], row["part"]) for row in rows} == {(claim.id, claim.part) for claim in analysis.CLAIMS}
    assert verdicts(rows) == {f"{claim.id} {claim.part}": "reproduced" for claim in analysis.CLAIMS}
    for claim in analysis.CLAIMS:
        settings = [row for row in rows if (row["id"], row["part"]) == (claim.id, claim.part)]
        assert len(settings) == (1 if claim.id == "S1.8" else 2)


def test_architectures_are_judged_by_what_was_planted():
    rows = {row["part"]: row for row in analysis.rows(planted()) if row["id"] == "S1.8"}
    course = np.array([0, 1, 3, 10, 30, 100, 400]) / 400
    for how in recipes.ARCHITECTURES.values():
        apart = [(8 / n - 8 / how.widths[-1]) * (course[-2:].mean() - course[:2].mean()) for n in how.widths[:-1]]
        row = rows[f"{how.words} NTK"]
        assert row["claim"].endswith(f"N = {how.widths[0]} to {how.widths[-1]}, η₀ = {how.eta:g}")
        assert row["measured"] == pytest.approx(np.mean(apart), rel=2e-3) and row["seeds"] == 3
        assert rows[f"{how.words} µP"]["measured"] == pytest.approx(0, abs=1e-9)
        assert rows[f"{how.words} growth"]["measured"] == pytest.approx(np.exp(1 - 8 / how.widths[-1]), rel=1e-3)


def test_a_best_step_at_the_end_of_the_axis_is_not_known():
    load = planted(best=300.0)
    assert np.isnan(analysis.find_best_etas(analysis.load_widths(load, "mup"), 400)).all()
    row = next(row for row in analysis.rows(load) if (row["id"], row["part"]) == ("S1.5", "µP"))
    assert row["verdict"] == "not-tested" and "its place is not known" in row["reason"]


def test_what_is_not_there_is_not_run_and_says_how_to_make_it():
    def load(name: str) -> xr.Dataset:
        if "ntk" in name:
            raise ResultError(f"no precomputed result {name!r}")
        return planted()(name)

    rows = analysis.rows(load)
    found = verdicts(rows)
    assert found["S1.1 µP"] == "reproduced" and found["S1.2 NTK"] == found["S1.5 µP"] == "not-run"
    reason = next(row["reason"] for row in rows if row["id"] == "S1.2")
    assert f"richness precompute {recipes.scaling_name('ntk', recipes.WIDTHS[0])}" in reason


def test_the_bridge_is_exact_and_only_at_that_gamma(monkeypatch):
    assert analysis.compare_with_ntk(width=16, steps=8, samples=16) < 1e-12
    monkeypatch.setattr(analysis, "Experiment", lambda **fields: _Experiment(**fields | {"gammas": 0.2}))
    assert analysis.compare_with_ntk(width=16, steps=8, samples=16) > 1e-3


_Experiment = analysis.Experiment


def test_the_plane_joins_both_recipes():
    made = analysis.load_plane(planted())
    assert made.sizes == {"width": len(recipes.WIDTHS), "gamma": len(recipes.PLANE_GAMMAS) + 1, "seed": 3}
    np.testing.assert_allclose(made.growth, np.broadcast_to(1 + made.gamma.values[:, None] ** 2, made.growth.shape))
    assert float(made.gamma.max()) == 1.0
