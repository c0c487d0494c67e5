"""S2 in the ledger: planted runs get the verdicts that they deserve, and what rests on a reconstruction gets none."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from richness.analysis.ledger import verdicts
from richness.measure.features import RANKS
from richness.runs.recipes import recipe
from richness.studies.neighbours.beyond import analysis

SEEDS = np.array([0, 1, 2])
UNTESTED = {"S2.3 explosions", "S2.3 training", "S2.4 features", "S2.4 soft rank", "S2.5 accuracy", "S2.5 soft rank"}


def planted(slope: float = -0.8, ratio: float = 1.05, fell: float = 0.9, lasts: float = 12.0) -> xr.Dataset:
    """Every case alike: losses fall up to η = 8 and explode beyond ``lasts``; balanced steps never explode."""
    described = recipe("beyond_the_edge", "laptop")
    etas, cases = np.array(described.etas), described.cases
    shape = (len(cases), len(SEEDS), len(etas))
    wobble = 1 + 0.01 * SEEDS[None, :, None]
    balanced = np.array([case.scaled for case in cases])[:, None, None]
    gone = (etas > lasts) & ~balanced & np.ones(shape, bool)
    end = np.where(etas <= 8, 1.0, 2.2) * wobble * np.ones(shape)
    held = np.stack([2.3 * np.ones(shape), np.where(gone, np.nan, end)], axis=-1)
    ends = {
        "sharpness": 2 * etas**slope * wobble * np.ones(shape),
        "accuracy": (0.5 + 0.02 * np.log2(etas)) * wobble * np.ones(shape),
    }
    case_axes = ("case", "seed", "eta")
    variables = {
        "peak": (case_axes, np.where(gone, np.inf, 1.5)),
        "beyond_fell": (case_axes, np.clip(fell * wobble, 0, 1) * np.ones(shape)),
        "late_ratio": (case_axes, ratio * wobble * np.ones(shape)),
        "test_loss": ((*case_axes, "moment"), held),
        "rank": ((*case_axes, "moment", "kind"), np.repeat(ends["accuracy"][..., None, None], 3, -1) * [[10], [20]]),
    } | {name: ((*case_axes, "moment"), np.stack([values, values], -1)) for name, values in ends.items()}
    own = {name: ("case", [getattr(case, name) for case in cases]) for name in ("power", "scaled", "linear", "loss")}
    axes = {"seed": SEEDS, "eta": etas, "moment": [0, 300], "kind": list(RANKS)}
    return xr.Dataset(variables, own | axes, {"scale": "laptop"})


def series(miss: float) -> xr.Dataset:
    shape = (2, len(SEEDS), 5, 6)
    values = miss * (1 + 0.1 * SEEDS[None, :, None, None]) * np.ones(shape)
    values[:, :, 0, 0] = np.nan  # a gate turned
    return xr.Dataset(
        {"miss": (("case", "seed", "eta", "taken"), values)}, {"scaled": ("case", [False, True])}, {"scale": "laptop"}
    )


def rows(edge: xr.Dataset, along: xr.Dataset) -> list[dict]:
    return analysis.rows({analysis.EDGE: edge, analysis.ALONG: along}.__getitem__)


def test_what_was_planted_is_reproduced():
    found = rows(planted(), series(1e-15))
    assert {(row["id"], row["part"]) for row in found} == {(claim.id, claim.part) for claim in analysis.CLAIMS}
    judged = verdicts(found)
    untested = {key for key, value in judged.items() if value == "not-tested"}
    assert untested == UNTESTED | {"S2.6 balanced"}
    assert {value for key, value in judged.items() if key not in untested} == {"reproduced"}, judged
    for row in found:
        assert bool(row["interval"]) != bool(row["reason"]) and row["seeds"] == 3
    assert next(row["measured"] for row in found if row["part"] == "explosions") == pytest.approx(
        np.log2(128 / 8 / 2**0.5)
    )


def test_other_numbers_are_not():
    judged = verdicts(rows(planted(slope=0.2, ratio=0.4, fell=0.3), series(1e-8)))
    for part in ("S2.1 coefficients", "S2.2 beyond", "S2.2 edge", "S2.6 plain"):
        assert judged[part] == "not-reproduced", part


def test_boundaries_of_a_planted_case():
    one = analysis.select_network(planted(), False)
    assert analysis.find_largest_eta(one, ~analysis.has_exploded(one)) == pytest.approx(8 * 2**0.5)
    assert one.eta[analysis.locate_best_eta(one)] <= 8
    assert (analysis.find_learning_eta(one) == 8).all()
    np.testing.assert_allclose(analysis.fit_sharpness_slope(one), -0.8)
    late = one.copy(deep=True)
    late.test_loss[:, :3, -1] = 2.3  # too slow to train in this time: no reason to stop there
    assert (analysis.find_learning_eta(late) == 8).all()


def test_what_is_missing_is_said(nothing_stored):
    found = analysis.rows(nothing_stored)
    assert {row["verdict"] for row in found} == {"not-run"}
    assert all("richness precompute" in row["reason"] for row in found)
    everywhere = planted(lasts=0.1)
    judged = {row["part"]: row for row in rows(everywhere, series(1e-15))}
    assert "at no measured step size" in judged["edge"]["reason"] and "exploded" in judged["features"]["reason"]
