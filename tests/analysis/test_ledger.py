"""The ledger: every claim has its rows, verdicts follow the rule, and what is not there says how to make it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from richness.analysis import boundaries, exponents, theory
from richness.analysis import ledger as claims
from richness.analysis.exponents import Exponent
from richness.analysis.ledger import Load
from richness.runs import places, results
from richness.studies.portrait import analysis as portraits
from richness.studies.solvable import analysis as solvable

Planted = Callable[..., xr.Dataset]
EXPECTED = places.precomputed_folder() / "expected_verdicts.json"
MEASURED = {"C1 lazy", "C2 rich", "C3 gamma", "C3 T", "C5 lazy", "C5 rich"}


def headline(runs: xr.Dataset) -> Load:
    """A loader that has the headline portrait and nothing else."""

    def load(name: str) -> xr.Dataset:
        if name != portraits.PORTRAIT:
            raise results.ResultError(f"no precomputed result {name!r}")
        return runs

    return load


def verdicts(rows: list[dict[str, Any]]) -> dict[str, str]:
    found = claims.verdicts(rows)
    assert all(found[f"{row['id']} {row['part']}"] == row["verdict"] for row in rows), "one part, two verdicts"
    return found


@pytest.fixture(scope="module")
def rows(runs: xr.Dataset) -> list[dict[str, Any]]:
    return claims.ledger(load=headline(runs))


def test_every_claim_has_a_row_with_exactly_the_public_fields(rows: list[dict[str, Any]]) -> None:
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), key=claims.order)
    assert {(row["id"], row["part"]) for row in rows} == {(claim.id, claim.part) for claim in claims.claims()}
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    for row in rows:
        assert ",".join(row) == "id,part,claim,predicted,measured,interval,reason,window,seeds,scale,verdict,chapter"
        assert row["verdict"] in claims.VERDICTS
        assert bool(row["interval"]) != bool(row["reason"])  # a reason stands where there is no interval
        assert row["verdict"] == "not-tested" or (row["verdict"] == "not-run") == (row["measured"] is None)


def test_the_neighbours_come_after_the_paper() -> None:
    assert sorted(["S2.1", "C17", "S1.10", "C2", "S1.2"], key=claims.order) == ["C2", "C17", "S1.2", "S1.10", "S2.1"]


def test_planted_exponents_are_reproduced(planted: Planted) -> None:
    rows = claims.ledger(load=headline(planted(per_decade=19.3)))  # fine enough an η for every window to be decided
    found = verdicts(rows)
    reproduced = {key for key, value in found.items() if value == "reproduced" and "linear" not in key}
    live = {f"C17 {claim.part}" for claim in solvable.CLAIMS if "linear" not in claim.part} | {"S1.7 bridge"}
    assert reproduced == MEASURED | live
    for key in MEASURED:
        two = [row for row in rows if f"{row['id']} {row['part']}" == key]
        assert len(two) == 2 and two[0]["window"] != two[1]["window"]
        assert all(row["scale"] == "laptop" and row["seeds"] == 3 for row in two)
        assert all(row["interval"][0] <= row["measured"] <= row["interval"][1] for row in two)


def test_other_exponents_are_not(planted: Planted) -> None:
    runs = planted(lazy=1.5, rich=0.9, in_budget=-0.5, rich_min=0.9)
    found = verdicts(claims.ledger(load=headline(runs)))
    wrong = {key for key, value in found.items() if value == "not-reproduced" and "linear" not in key}
    assert wrong == {"C1 lazy", "C2 rich", "C3 gamma", "C3 T", "C5 lazy", "C5 rich"}


def test_one_window_of_two_is_partly(runs: xr.Dataset) -> None:
    bent = runs.copy()  # above γ = 100 nothing far up converges any more: the exponent holds in [1, 100] only
    ceiling = 40 * 100 ** (2 / 3) * (bent.gamma / 100) ** 0.2
    bent["late_loss"] = bent.late_loss.where((bent.gamma < 101) | (bent.eta < ceiling), bent.initial_loss)
    one, other = (e for e in exponents.fit_claimed_exponents(bent) if e.id == "C2")
    assert one.holds and not other.holds
    assert verdicts(claims.ledger(load=headline(bent)))["C2 rich"] == "partly"
    assert [claims.verdict(h) for h in ([True, True], [False, True], [False, False], [], [True, None])] == [
        "reproduced", "partly", "not-reproduced", "not-run", "not-run",
    ]  # fmt: skip


def test_a_wide_interval_is_no_evidence() -> None:
    def exponent(slope: float, low: float, high: float) -> Exponent:
        found = boundaries.Fit(slope, (low, high), 0.0, (1, 2), (1, 2), 2, 3, 0.0, "")
        return Exponent("C1", "lazy", 2.0, 2.0, (0, 1), found)

    assert exponent(2.04, 2.03, 2.05).holds  # all of it is close enough, though the interval misses
    assert exponent(2.06, 1.99, 2.13).holds  # the interval is narrow and holds the prediction
    assert exponent(2.06, 1.95, 2.17).judged == claims.OPEN  # it holds the prediction because it holds everything
    assert exponent(2.00, 1.70, 2.30).judged == claims.OPEN  # however close its middle
    assert exponent(2.04, 2.01, 2.07).judged is False  # the middle is close, and the prediction is left out
    assert exponent(2.06, 2.01, 2.11).judged is False


def test_what_is_open_neither_passes_nor_fails() -> None:
    cases = {
        (True, "open"): "partly",
        ("open", "open"): "larger-scale",
        (False, "open"): "not-reproduced",
        ("open", None): "not-run",
    }
    assert {held: claims.verdict(held) for held in cases} == cases
    held = [
        claims.judge_range(interval, 0.8, 1.2) for interval in ((0.9, 1.1), (0.7, 1.0), (1.3, 1.4), (np.nan, np.nan))
    ]
    assert held == [True, claims.OPEN, False, False]
    assert claims.judge_range((-np.inf, np.inf), 0.8, 1.2) == claims.judge_exponent((-np.inf, np.inf), 1) == claims.OPEN


def test_claims_are_counted_by_claim() -> None:
    given = {"C1": ["reproduced"] * 27, "C2": ["reproduced", "not-run"], "C3": ["larger-scale"], "C4": ["partly"]}
    rows = [
        {"id": id, "part": str(part), "verdict": verdict}
        for id, verdicts in given.items()
        for part, verdict in enumerate(verdicts)
        for _ in range(2)
    ]
    assert list(claims.count_claims(rows).values()) == [1, 2, 1]


def test_the_power_is_that_of_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    said = claims.describe_power()
    assert "L = 3 from L = 4; but not L = 4 from L = 5" in said and "L = 6 from L = 8" in said
    monkeypatch.setattr(claims, "NARROW", 0.05)
    assert "L = 6 from L = 8; but" in claims.describe_power((2, 3, 6, 8, 9))


def test_theory_over_the_same_points(runs: xr.Dataset) -> None:
    for one in exponents.fit_claimed_exponents(runs):
        assert one.fit is not None
        if one.id == "C2":
            same = theory.slope(lambda g: theory.critical_eta(3, g), one.fit.gammas)
            assert one.theory == same and one.theory > one.predicted
        if one.part == "T":
            assert one.theory == one.predicted == -1
    near, far = (e.theory for e in exponents.fit_claimed_exponents(runs) if e.id == "C2")
    assert abs(near - 2 / 3) > 0.1 > abs(far - 2 / 3)


def test_a_boundary_seen_too_seldom_is_not_run(planted: Planted) -> None:
    runs = planted(above=0.5)
    rows = claims.ledger(load=headline(runs))
    assert verdicts(rows)["C1 lazy"] == "not-run" and verdicts(rows)["C3 gamma"] == "reproduced"
    row = next(row for row in rows if row["id"] == "C1")
    assert "4 γ or more" in row["reason"] and row["chapter"] == "02-phase-portrait"


def test_a_portrait_of_one_budget_has_no_slope_in_the_budget(planted: Planted) -> None:
    runs = planted(budgets=()).drop_vars(["budget_loss", "budget"])
    rows = claims.ledger(load=headline(runs))
    assert verdicts(rows)["C3 T"] == "not-run" and verdicts(rows)["C3 gamma"] == "reproduced"
    assert "three budgets" in next(row for row in rows if row["part"] == "T")["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("error", [results.ResultError("no precomputed result"), FileNotFoundError("no such file")])
def test_a_missing_result_names_the_command(error: Exception) -> None:
    def load(name: str) -> xr.Dataset:
        raise error

    rows = claims.ledger(load=load)
    found = verdicts(rows)
    assert {found[key] for key in MEASURED} == {"not-run"}
    assert found["C17 boundary mse"] == "reproduced"  # what needs no file is there all the same
    for row in rows:
        if f"{row['id']} {row['part']}" in MEASURED:
            assert str(error) in row["reason"]
            assert row["reason"].count("richness precompute phase_portrait_mlp3_mse") == 1
            assert math.isfinite(row["predicted"])


def test_the_model_is_judged_not_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    def critical(depth: int, gamma: np.ndarray, loss: str) -> np.ndarray:
        return 2.2 / theory.minimum_sharpness(depth, gamma, loss)  # a tenth too large everywhere

    def escape(depth: int, gamma: np.ndarray, loss: str) -> np.ndarray:
        return np.where(gamma > 1e3, 0.5, 1.0)  # wrong at one γ of eight

    monkeypatch.setattr(theory, "critical_eta", critical)
    monkeypatch.setattr(theory, "escape_time", escape)
    monkeypatch.setattr(theory, "simulated_escape_time", lambda depth, gamma, loss: np.ones_like(gamma))
    found = verdicts(solvable.ratio_rows())
    assert found["C17 boundary mse"] == "not-reproduced" and found["C17 escape mse"] == "partly"


@pytest.mark.slow
def test_verdicts_are_the_expected_ones() -> None:
    """A verdict that changes is news: look at why, then write it into precomputed/expected_verdicts.json."""
    if not list(places.precomputed_folder().glob(f"*/{portraits.PORTRAIT}.nc")):
        pytest.skip(f"no portrait yet: richness precompute {portraits.PORTRAIT}")
    found = verdicts(claims.ledger())
    assert found == json.loads(EXPECTED.read_text()), (
        f"expected in {EXPECTED.name}; found {json.dumps(found, indent=2)}"
    )
