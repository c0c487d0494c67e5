"""Accuracy at the best η, with planted accuracies: what is chosen, what is compared, and C15's verdicts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from scipy.stats import ttest_rel

from richness import Experiment
from richness.analysis.ledger import Load, ledger
from richness.networks.parameterization import natural_eta
from richness.studies.performance import analysis as performance

OK, DIVERGED, NOT_RUN = 0, 1, 2
STEPS = [0, 10, 100, 1000]
Planted = Callable[[np.ndarray, int], np.ndarray]


def late_starter(gamma: np.ndarray, budget: int) -> np.ndarray:
    """.8 at γ ≤ .1 at every budget; above, .95 once T ≥ 10 γ, and .3 before."""
    return np.where(gamma <= 0.1, 0.8, np.where(budget >= 10 * gamma**0.5, 0.95, 0.3))


def planted(
    accuracy: Planted = late_starter, seeds: int = 4, loss: str = "mse", best: float = 4.0, jitter: float = 0.002
) -> xr.Dataset:
    """A sweep of which the best η is ``best`` times the natural one, and the only one with the planted accuracy.

    Cells further than a decade from it were not run, those above three times it diverged. Seeds move together at all γ.
    """
    made = Experiment(
        depth=3, loss=loss, steps=1000, budgets=(10, 100), gammas="1e-2:1e3:6", etas="1e-6:1e6:97", seeds=range(seeds),
        probes=("loss", "accuracy"), record_points=5, probe_points=5,
    )  # fmt: skip
    gamma, eta = np.array(made.gammas), np.array(made.etas)
    away = np.log10(eta[None, :] / (best * natural_eta(gamma, 3))[:, None])[..., None] * np.ones(seeds)
    status = np.where(np.abs(away) > 1, NOT_RUN, np.where(away > 0.5, DIVERGED, OK)).astype(np.int8)
    draws = np.random.default_rng(0)
    moved, own = jitter * draws.standard_normal(seeds), jitter / 10 * draws.standard_normal((len(STEPS), *status.shape))
    budget_loss = np.stack([0.01 * (1 + np.abs(away)) / (1 + accuracy(gamma, b))[:, None, None] for b in STEPS[1:]], -1)
    right = np.stack([np.maximum(accuracy(gamma, b)[:, None, None] - 0.02 * np.abs(away), 0.1) for b in STEPS])
    right = np.where(np.array(STEPS)[:, None, None, None] == 0, 0.1, right + moved + own)
    cell, alive = ("gamma", "eta", "seed"), status == OK
    return xr.Dataset(
        {
            "status": (cell, status),
            "initial_loss": (cell, np.full(status.shape, 0.1)),
            "late_loss": (cell, np.where(alive, budget_loss[..., -1], np.nan)),
            "budget_loss": ((*cell, "budget"), np.where(alive[..., None], budget_loss, np.nan)),
            "accuracy": (("step", *cell), np.where(alive, right, np.nan)),
        },
        coords={"gamma": gamma, "eta": eta, "seed": range(seeds), "step": STEPS, "budget": STEPS[1:]},
        attrs={"recipe": made.model_dump_json(), "scale": "laptop"},
    ).transpose("gamma", "eta", "seed", "step", "budget")


def test_the_best_eta_is_the_planted_one_at_every_gamma_and_budget() -> None:
    best = performance.tune_eta(planted())
    assert dict(best.sizes) == {"gamma": 6, "budget": 3, "seed": 4} and not best.edge.any()
    off = np.log10(best.eta / (4 * natural_eta(best.gamma, 3)))
    assert float(np.abs(off).max()) <= 0.0626  # half a cell
    expected = np.stack([late_starter(best.gamma.values, b) for b in STEPS[1:]], axis=1)
    assert best.accuracy.mean("seed").values == pytest.approx(expected, abs=0.025)


def test_an_eta_that_lost_a_seed_is_not_chosen_and_an_edge_is_told() -> None:
    runs = planted()
    at = int(performance.tune_eta(runs).eta.sel(gamma=1, budget=10).values == runs.eta.values.max())
    chosen = performance.tune_eta(runs).eta.sel(gamma=1, budget=10)
    runs.budget_loss.loc[{"gamma": 1, "eta": float(chosen), "seed": 2}] = np.nan
    again = performance.tune_eta(runs).sel(gamma=1, budget=10)
    assert at == 0 and float(again.eta) != float(chosen) and not bool(again.edge)
    above = float(runs.eta.values[np.searchsorted(runs.eta.values, float(again.eta)) + 1])
    runs.status.loc[{"gamma": 1, "eta": above}] = NOT_RUN
    assert bool(performance.tune_eta(runs).sel(gamma=1, budget=10).edge)


def test_only_budgets_whose_last_step_was_probed_are_told() -> None:
    runs = planted()
    runs.accuracy.loc[{"step": 100}] = np.nan
    assert performance.budgets_probed(runs) == [10, 1000]
    with pytest.raises(ValueError, match="probes="):
        performance.budgets_probed(runs, "unseen_accuracy")


def test_a_difference_is_the_paired_t_test() -> None:
    draws = np.random.default_rng(3)
    first, second = draws.normal(0.9, 0.02, 5), draws.normal(0.9, 0.02, 5)
    known = ttest_rel(first, second).confidence_interval(0.95)
    gap = performance.mean_difference(xr.DataArray(first, dims="seed"), xr.DataArray(second, dims="seed"))
    assert gap.value == pytest.approx(np.mean(first - second)) and gap.seeds == 5
    assert gap.interval == pytest.approx((known.low, known.high))
    with pytest.raises(ValueError, match="no seed"):
        performance.mean_difference(xr.DataArray([np.nan], dims="seed"), xr.DataArray([1.0], dims="seed"))


def test_the_best_gamma_grows_with_the_budget_and_holding_it_costs() -> None:
    best = performance.tune_eta(planted(lambda gamma, b: 0.9 - 0.1 * np.abs(np.log10(gamma * 10 / max(b, 1)))))
    chosen = performance.find_best_gamma(best)
    assert chosen.gamma.values.tolist() == [1, 10, 100] and (chosen.low == chosen.high).all()
    held = performance.compare_fixed_gammas(best)
    assert sorted(held) == [0.01, 1, 100]
    assert [gap.value for gap in held[1.0]] == pytest.approx([0, -0.1, -0.2], abs=0.02)
    assert [gap.value for gap in held[100.0]] == pytest.approx([-0.2, -0.1, 0], abs=0.02)


def test_an_eta_left_behind_diverges_on_one_side_and_is_not_run_on_the_other() -> None:
    moved = performance.compare_eta_rules(planted(lambda gamma, b: np.full(gamma.shape, 0.9)))
    left, along = moved.sel(rule="left"), moved.sel(rule="moved along")
    assert along.accuracy.mean("seed").values == pytest.approx(np.full(6, 0.9), abs=0.03)
    assert (left.eta == left.eta.sel(gamma=1)).all() and not left.diverged.sel(gamma=1).any()
    assert np.isnan(left.accuracy.sel(gamma=[0.01, 1000])).all()  # beyond what was run
    wide = planted(lambda gamma, b: np.full(gamma.shape, 0.9))
    wide["status"] = xr.where((wide.status == NOT_RUN) & (wide.eta > natural_eta(wide.gamma, 3)), DIVERGED, wide.status)
    lost = performance.compare_eta_rules(wide).sel(rule="left", gamma=0.1)
    assert lost.diverged.all() and (lost.accuracy == 0.1).all()


@pytest.mark.parametrize(
    ("accuracy", "many", "few"),
    [
        (late_starter, "reproduced", "reproduced"),
        (lambda gamma, b: np.full(gamma.shape, 0.9), "reproduced", "not-reproduced"),
        (lambda gamma, b: np.where(gamma >= 1000, 0.5, 0.9), "partly", "partly"),
        (lambda gamma, b: np.where(gamma >= 100, 0.88, 0.9), "not-reproduced", "reproduced"),
    ],
)
def test_c15_holds_where_it_was_planted(accuracy: Planted, many: str, few: str) -> None:
    rows = performance.rows(lambda name: planted(accuracy))
    assert len(rows) == 8 and {row["chapter"] for row in rows} == {"03-performance"}
    for row in rows:
        assert row["verdict"] == (many if row["part"].startswith("many") else few)
        assert row["interval"][0] <= row["measured"] <= row["interval"][1] and row["reason"] == "" and row["seeds"] == 4
        assert row["window"] in ([1.0, 100.0], [1.0, 1000.0])
        assert ("T = 1,000" in row["claim"]) == row["part"].startswith("many")


@pytest.mark.slow
def test_c15_says_why_where_it_cannot_be_measured(nothing_stored: Load) -> None:
    rows = performance.rows(lambda name: planted(seeds=1))
    assert all(row["interval"] is None and row["reason"] == "one seed only" for row in rows)
    rows = [row for row in ledger(nothing_stored) if row["id"] == "C15"]
    assert len(rows) == 4 and {row["verdict"] for row in rows} == {"not-run"}
    assert all("richness precompute performance_mlp3_" in row["reason"] for row in rows)


@pytest.mark.parametrize("largest", [10, 100])
def test_c15_is_not_run_where_one_of_its_two_windows_is_missing(largest: float) -> None:
    narrow = planted()
    narrow = narrow.sel(gamma=narrow.gamma <= largest)
    assert {row["verdict"] for row in performance.rows(lambda name: narrow)} == {"not-run"}


def test_both_measures_of_accuracy_stand_side_by_side() -> None:
    runs = planted()
    table = performance.compare_with_reference(runs.assign(unseen_accuracy=runs.accuracy - 0.05))
    assert (
        table.probe.tolist() == ["accuracy"] * 3 + ["unseen_accuracy"] * 3
        and table["T"].tolist() == [10, 100, 1000] * 2
    )
    assert table.accuracy.to_numpy()[3:] == pytest.approx(table.accuracy.to_numpy()[:3] - 0.05)
    assert table.difference.to_numpy() == pytest.approx([-0.65, 0, 0] * 2, abs=0.01)
