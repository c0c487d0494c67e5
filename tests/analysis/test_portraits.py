"""Portraits of any depth, loss and optimiser: what is predicted for each, and planted exponents found again."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from richness.analysis import boundaries as b
from richness.analysis import exponents, ledger, theory
from richness.runs import recipes, results
from richness.studies.portrait import analysis as portraits

Planted = Callable[..., xr.Dataset]


def dressed(runs: xr.Dataset, **fields: object) -> xr.Dataset:
    """The same runs as if they came from another recipe."""
    return runs.assign_attrs(recipe=json.dumps(json.loads(runs.attrs["recipe"]) | fields))


def with_accuracy(runs: xr.Dataset, lazy: float, rich: float) -> xr.Dataset:
    """Cross-entropy as it is: finite, and right on held-out samples, up to 60 γ^lazy and 60 γ^rich, whatever the loss."""
    edge = 60 * xr.where(runs.gamma < 1, runs.gamma**lazy, runs.gamma**rich)
    right = xr.where(runs.eta < edge, 0.8, 0.1).transpose("gamma", "eta")
    accuracy = right.expand_dims(seed=runs.seed, step=[0, 1000]).transpose("gamma", "eta", "seed", "step")
    made = runs.sel(step=[0, 1000]).assign(accuracy=accuracy.astype(np.float32))
    made["accuracy"][..., 0] = 0.1  # at step 0 nothing is known yet
    finite = (made.status == 1) & (made.eta < 3 * edge)
    made["status"] = made.status.where(~finite, 0)
    late = made.late_loss.where(~finite, 2 * made.initial_loss)
    return dressed(made.assign(late_loss=late), loss="cross_entropy")


@pytest.fixture(scope="module")
def entropy(planted: Planted) -> xr.Dataset:
    """Under cross-entropy: onset like γ², the largest η that works like γ and γ^(2/3)."""
    return with_accuracy(planted(above=1e6), 1.0, 2 / 3)


# -- the largest η that works ------------------------------------------------------------------------------------------


def test_working_is_told_by_accuracy_and_not_by_the_loss(entropy: xr.Dataset) -> None:
    for window, slope in [*((w, 1.0) for w in b.LAZY_WINDOWS), *((w, 2 / 3) for w in b.RICH_WINDOWS)]:
        found = b.fit(b.eta_works(entropy), window)
        assert abs(found.slope - slope) < 0.04 and found.holds(slope), (window, str(found))
    far = (b.eta_works(entropy) / b.eta_max(entropy)).sel(gamma=1e-4, method="nearest")
    assert (far > 1e3).all()  # the loss gives up decades before the accuracy does


def test_a_diverged_run_does_not_work(entropy: xr.Dataset) -> None:
    broken = entropy.assign(status=entropy.status.where(entropy.status != 0, 1))
    assert b.eta_works(broken).isnull().all() and not b.works(broken).any()


def test_without_accuracy_there_is_a_word_and_no_boundary(runs: xr.Dataset) -> None:
    assert "eta_works" not in b.boundaries(runs)
    with pytest.raises(ValueError, match=r'probes=\("loss", "accuracy"\)'):
        b.eta_works(runs)


def test_the_onset_and_the_largest_have_their_own_slopes(entropy: xr.Dataset) -> None:
    onset, largest = (exponents.fit_exponents(entropy, name, "lazy") for name in ("eta_crit", "eta_works"))
    assert [(e.id, e.part, e.predicted) for e in (onset[0], largest[0])] == [
        ("C4", "onset", 2.0),
        ("C4", "largest", 1.0),
    ]
    # a decade and a half of γ at nine η a decade is too little for an interval of 0.15: true as it is, it is left open
    assert [e.judged for e in (*onset, *largest)] == [ledger.OPEN, True] * 2
    assert all(abs(e.theory - 1) < 0.05 for e in largest)  # the model, run, has it too


# -- predictions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("boundary", "side", "loss", "optimizer", "expected"),
    [
        ("eta_max", "lazy", "mse", "sgd", ("C1", "lazy")),
        ("eta_max", "lazy", "cross_entropy", "sgd", None),
        ("eta_max", "rich", "cross_entropy", "momentum", ("C2", "rich")),
        ("eta_works", "lazy", "mse", "sgd", None),
        ("eta_crit", "lazy", "mse", "sgd", None),
        ("eta_works", "lazy", "cross_entropy", "momentum", ("C4", "largest")),
        ("eta_min", "rich", "mse", "sgd", ("C3", "gamma")),
        ("eta_min", "rich", "mse", "signsgd", ("C16", "rich")),
        ("eta_min", "T", "mse", "adam", ("C3", "T")),
        ("eta_works", "rich", "cross_entropy", "adam", None),
    ],
)
def test_what_is_predicted(boundary: str, side: str, loss: str, optimizer: str, expected: object) -> None:
    assert exponents.find_prediction(boundary, side, loss, optimizer) == expected


def test_the_prediction_follows_depth_and_optimiser(planted: Planted) -> None:
    runs = planted(lazy=1.0, rich=1 / 4, rich_min=1 / 4)
    signed = dressed(runs, depth=4, optimizer="signsgd")
    for boundary in ("eta_max", "eta_star", "eta_min"):
        for one in exponents.fit_exponents(signed, boundary, "rich"):
            assert one.predicted == 0.25 and one.holds, boundary
    assert all(one.predicted == 1 for one in exponents.fit_exponents(signed, "eta_max", "lazy"))
    assert [one.judged for one in exponents.fit_exponents(signed, "eta_max", "lazy")] == [ledger.OPEN, True]
    assert not any(
        one.holds for one in exponents.fit_exponents(dressed(runs, depth=4), "eta_max", "rich")
    )  # 2/4 is predicted
    with pytest.raises(ValueError, match="no exponent is predicted for eta_works, lazy side, under mse"):
        exponents.fit_exponents(runs, "eta_works", "lazy")


# -- the tip -----------------------------------------------------------------------------------------------------------


def test_the_tip_is_where_nothing_learns_any_more(planted: Planted) -> None:
    """η_max = 40 γ^(2/3) and η_min = 0.1 γ^1.4 (T/1000)^−1.5 meet where planted."""
    tip = b.tip(planted(scatter=0, noise=0, in_budget=-1.5, rich_min=1.4, budgets=(60, 120)))
    for budget in (60, 120, 1000):
        meet = (400 * (budget / 1000) ** 1.5) ** (1 / (1.4 - 2 / 3))
        here = tip.sel(budget=budget)
        # a γ learns at last where one cell of η still lies between the two, a tenth of a decade wide
        assert (abs(np.log10(here / meet)) <= here.half_cell + 0.15).all(), (budget, meet, here.values)
    assert tip.dims == ("seed", "budget") and tip.attrs["censored"] == 0


def test_a_tip_beyond_the_grid_is_no_tip(runs: xr.Dataset) -> None:
    tip = b.tip(runs)
    assert tip.isnull().all() and tip.attrs["censored"] == tip.size
    at_ten = abs(runs.gamma - 10) < 0.1  # a hole there ends the stretch
    holed = runs.assign(budget_loss=runs.budget_loss.where(~at_ten))
    before = float(runs.gamma[runs.gamma < 9.9].max())
    assert np.allclose(b.tip(holed), np.sqrt(before * 10))


# -- the ledger --------------------------------------------------------------------------------------------------------


def test_every_source_names_a_recipe_that_bears_it_out() -> None:
    for source in portraits.SOURCES:
        made = recipes.recipe(source.recipe, "laptop")
        claimed = exponents.find_prediction(source.boundary, source.side, made.loss, made.optimizer)
        assert claimed == (source.claim.id, source.claim.part.split()[0]), source
        degree = made.architecture.degree
        assert source.claim.predicted == theory.predicted_exponent(claimed[0], degree, claimed[1]), source
        assert source.boundary != "eta_works" or "accuracy" in made.probes
    parts = [(claim.id, claim.part) for claim in portraits.CLAIMS]
    assert len(set(parts)) == len(parts)


def test_rows_of_one_chapter_ask_for_its_recipes_only(entropy: xr.Dataset) -> None:
    asked = []

    def load(name: str) -> xr.Dataset:
        asked.append(name)
        if name == "portrait_mlp3_cross_entropy":
            return entropy
        raise results.ResultError(f"no precomputed result {name!r}")

    rows = portraits.rows(load, "02-phase-portrait")
    assert {row["chapter"] for row in rows} == {"02-phase-portrait"} and len(asked) == len(set(asked))
    assert not any("signsgd" in name or "momentum" in name for name in asked)
    found = ledger.verdicts(rows)
    assert found["C4 onset"] == found["C4 largest"] == "partly" and found["C1 lazy L=4"] == "not-run"
    assert found["C2 rich cross_entropy"] == "reproduced"


def test_the_triangle_is_judged_by_the_order_of_its_tips(planted: Planted) -> None:
    def portrait(rich_min: float) -> xr.Dataset:  # the steeper η_min, the sooner the band closes
        return planted(scatter=0, noise=0, in_budget=-1.5, rich_min=rich_min, budgets=(60, 120))

    open_band, late, sooner, soonest = (portrait(slope) for slope in (2 / 3, 1.2, 1.4, 2.0))
    rows = portraits.triangle_rows({2: open_band, 3: late, 4: sooner, 6: soonest})
    assert [row["verdict"] for row in rows] == ["reproduced"] * 2 and rows[0]["measured"] < rows[1]["measured"]
    assert all(row["interval"][0] <= row["measured"] <= row["interval"][1] and not row["reason"] for row in rows)
    wrong = portraits.triangle_rows({2: open_band, 3: late, 4: soonest, 6: sooner})
    closed = portraits.triangle_rows({2: late, 3: late, 4: sooner, 6: soonest})
    assert {row["verdict"] for row in (*wrong, *closed)} == {"not-reproduced"}
    nowhere = portraits.triangle_rows({L: open_band for L in (2, 3, 4, 6)})
    assert {row["verdict"] for row in nowhere} == {"not-run"} and all(row["reason"] for row in nowhere)
