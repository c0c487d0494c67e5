"""S3 in the ledger: planted networks get the verdicts that they deserve, and what is missing is said."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from richness.analysis import cases
from richness.analysis.ledger import verdicts
from richness.runs.recipes import recipe
from richness.studies.neighbours.normalised import analysis, theory
from richness.studies.neighbours.normalised.measurement import Case

DEPTHS = np.array([2, 5, 10, 20, 50, 100, 200, 500, 1000])


def planted(name: str, explode: bool = False) -> xr.Dataset:
    """A recipe's cases with the numbers that theory predicts, four seeds a little apart; or with explosions everywhere."""
    cases = recipe(name, "laptop").cases
    layer = np.arange(0, 1001, 10)
    noise = 1 + 0.01 * np.arange(-2, 3)[:4, None]
    data: dict[str, list] = {"gap": [], "contraction": [], "first_gradient": [], "gradient_slope": []}
    for case in cases:
        slope = {"relu": theory.relu_slope(), "linear": 0.0}.get(case.activation, 0.0)
        if case.weights == "gaussian" and case.activation == "linear":
            slope = float(theory.gaussian_slope(case.samples, case.centred))
        if case.samples < case.width or case.inputs == "twins" or (case.inputs == "digits" and case.width == 64):
            slope = slope or 0.01
        curve = slope * DEPTHS
        if case.activation in ("tanh", "sin"):
            curve = np.array([theory_sum(case.power, depth) for depth in DEPTHS]) - case.power * np.log(DEPTHS)
        share = 1.2 if explode else theory.contraction(case.width)
        data["gap"].append(noise * 2.0 * np.exp(-layer / case.width ** (5 if explode else 2)))
        data["contraction"].append(np.full(4, share) * noise[:, 0] ** 0.01)
        data["first_gradient"].append(noise * (curve + (0.1 * DEPTHS if explode else 0)))
        data["gradient_slope"].append(noise[:, 0] * (slope + (0.5 if explode else 0)))
    axes = {"gap": ("layer",), "first_gradient": ("depth",)}
    own = {field: ("case", [getattr(case, field) for case in cases]) for field in Case.model_fields}
    variables = {key: (("case", "seed", *axes.get(key, ())), np.array(values)) for key, values in data.items()}
    return xr.Dataset(variables, own | {"layer": layer, "depth": DEPTHS, "seed": range(4)}, {"scale": "laptop"})


def theory_sum(power: float, depth: int) -> float:
    return 0.4 * float((np.arange(1.0, depth + 1) ** (-4 * power)).sum())


@pytest.fixture(scope="module")
def good() -> dict[str, xr.Dataset]:
    return {name: planted(name) for name in (analysis.ISOMETRY, analysis.EXPLOSION, analysis.TRAPS, analysis.SHAPING)}


def test_what_follows_theory_is_reproduced(good):
    rows = analysis.rows(good.__getitem__)
    assert {(row["id"], row["part"]) for row in rows} == {(claim.id, claim.part) for claim in analysis.CLAIMS}
    found = verdicts(rows)
    assert found.pop("S3.2 constant") == "not-tested"
    assert set(found.values()) == {"reproduced"}, found
    assert all(bool(row["interval"]) != bool(row["reason"]) for row in rows)
    assert all("in turn: " in row["claim"] and row["seeds"] == 4 for row in rows if row["interval"])


def test_what_explodes_is_not(good):
    bad = {name: planted(name, explode=True) for name in good}
    found = verdicts(analysis.rows(bad.__getitem__))
    for part in ("S3.1 bound", "S3.1 first order", "S3.2 orthogonal", "S3.3 gaussian", "S3.3 ReLU", "S3.5 shaped"):
        assert found[part] == "not-reproduced", part


def test_the_exponent_in_the_sum_is_measured(good):
    scale = analysis.fit_shaping_scale(good[analysis.SHAPING], "tanh")
    assert scale == pytest.approx(0.4, rel=0.02)
    steep = good[analysis.SHAPING].copy()
    steep["first_gradient"] = steep.first_gradient + (steep.power < 0.12) * 400 * (steep.depth > 100)
    assert verdicts(analysis.rows((good | {analysis.SHAPING: steep}).__getitem__))["S3.5 power"] == "not-reproduced"


def test_the_smallest_constant_touches_the_bound(good):
    one = cases.select_case(good[analysis.ISOMETRY], weights="orthogonal", inputs="gaussian", width=16)
    constant = analysis.find_bound_constant(one)
    for seed in range(4):
        gap = one.gap.isel(seed=seed).values
        under = theory.bound(gap[0], 16, one.layer.values, constant[seed])
        assert (gap <= under * (1 + 1e-9)).all() and np.isclose(gap[1:], under[1:]).any()


def test_what_is_missing_is_said(good, nothing_stored):
    rows = analysis.rows(nothing_stored)
    assert {row["verdict"] for row in rows} == {"not-run", "not-tested"}
    assert all("richness precompute normalised_" in row["reason"] for row in rows if row["verdict"] == "not-run")
    short = {name: runs.isel(depth=slice(0, 4)) for name, runs in good.items()}
    reasons = {row["part"]: row["reason"] for row in analysis.rows(short.__getitem__)}
    assert "1,000" in reasons["shaped"] and "500" in reasons["traps"]
    with pytest.raises(ValueError, match="no case"):
        cases.select_case(good[analysis.TRAPS], width=7)


def test_no_criterion_holds_of_fewer_than_two_seeds_or_where_one_is_lost():
    for values in ([], [1.0], [1.0, np.nan]):
        assert not cases.judge_seeds("", values, lambda mean: True).holds
    assert cases.judge_seeds("", [1.0, 1.2], lambda mean: True).holds
    one = {name: planted(name).isel(seed=[0]) for name in (analysis.ISOMETRY, analysis.TRAPS)}
    found = list(analysis._judge_bound(one[analysis.ISOMETRY])) + list(analysis._judge_traps(one[analysis.TRAPS]))
    assert found and not any(setting.holds for setting in found)
