"""The adviser against portraits in which the good stretch of η was planted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import richness
from richness import Experiment
from richness.runs.grids import DEPTHS, recipe_name
from richness.runs.results import STATUS, ResultError
from richness.studies.adviser import analysis as adviser
from richness.studies.adviser.recipes import BATCH_SIZES, HELD_OUT, SETTINGS, batches_name, judged_name

#: Planted: half the good stretch, in decades, and how its centre moves with log10 of B/64, of T/1000 and of L/3.
HALF, BY_BATCH, BY_STEPS, BY_DEPTH = 0.5, 0.25, -0.2, -0.4
CELL = 0.0618 * 2  # of the η axis, in decades

Load = Callable[[str], xr.Dataset]


def centre(depth: float, batch_size: float, steps: float) -> float:
    """log10 of η over natural η in the middle of the planted stretch."""
    return 1 + BY_BATCH * np.log10(batch_size / 64) + BY_STEPS * np.log10(steps / 1000) + BY_DEPTH * np.log10(depth / 3)


def planted(shift: float = 0.0, silent_above: float = np.inf, **fields: Any) -> xr.Dataset:
    """A sweep whose late loss is 1.5 times the best at `HALF` decades from its centre, and whose runs diverge above.

    Nothing learns at γ above ``silent_above``. ``shift`` moves the centre, in decades.
    """
    plane = {"gammas": "1e-2:1e3:11", "etas": f"1e-6:1e6:{round(12 / CELL)}", "seeds": (0, 1)}
    made = Experiment.model_validate({"depth": 3, "steps": 1000} | plane | fields)
    gamma, eta = np.array(made.gammas), np.array(made.etas)
    straight = (np.log10(eta)[None, :] - np.log10(made.natural_eta(gamma))[:, None])[..., None]
    middle = np.array([centre(made.depth, made.batch_size, b) + shift for b in made.all_budgets])
    late = 0.01 * 1.5 ** (((straight - middle) / HALF) ** 2)
    late = np.where((straight > middle + HALF) | (late > 0.1), np.nan, late)
    late = np.where((gamma > silent_above)[:, None, None], 0.099, late)[:, :, None, :] * np.ones((1, 1, 2, 1))
    cell = ("gamma", "eta", "seed")
    diverged = np.isnan(late[..., -1])
    return xr.Dataset(
        {
            "status": (cell, np.where(diverged, STATUS["diverged"], STATUS["ok"]).astype(np.int8)),
            "initial_loss": (cell, np.full(late.shape[:3], 0.1)),
            "late_loss": (cell, late[..., -1]),
            "budget_loss": ((*cell, "budget"), late),
        },
        coords={"gamma": gamma, "eta": eta, "seed": [0, 1], "budget": list(made.all_budgets), "step": [0, made.steps]},
        attrs={"recipe": made.model_dump_json()},
    )


def loader(**changes: Any) -> Load:
    """What the rule of MSE and SGD is made from, planted."""
    made = {recipe_name("portrait", d): planted(depth=d, steps=2000, budgets=(500, 1000), **changes) for d in DEPTHS}
    made |= {batches_name("mse", "sgd", size): planted(batch_size=size, **changes) for size in BATCH_SIZES}
    first = [setting for setting in SETTINGS if {"loss", "optimizer"}.isdisjoint(setting)]
    made |= {judged_name(**setting): planted(gammas="2e-2:2e2:3", **setting, **changes) for setting in first}

    def load(name: str) -> xr.Dataset:
        if name not in made:
            raise ResultError(f"no {name}")
        return made[name]

    return load


@pytest.fixture(scope="module")
def known() -> adviser.Rule:
    return adviser.make_rule("mse", "sgd", loader())


def test_the_good_stretch_is_the_planted_one() -> None:
    found = adviser.measure_good_range(planted(steps=2000, budgets=(500,)))
    for k, steps in enumerate((500, 2000)):
        middle = centre(3, 64, steps)
        assert np.abs(found.best.values[:, k] - middle).max() <= CELL / 2 + 1e-9
        assert (
            (found.low.values[:, k] - (middle - HALF) >= 0) & (found.low.values[:, k] - (middle - HALF) < CELL)
        ).all()
        assert ((middle + HALF - found.high.values[:, k] >= 0) & (middle + HALF - found.high.values[:, k] < CELL)).all()


def test_a_seed_that_diverges_ends_the_stretch() -> None:
    runs = planted()
    at = float(runs.eta[np.abs(np.log(runs.eta.values)).argmin()])
    runs.budget_loss.loc[{"gamma": 1, "eta": at, "seed": 1}] = np.nan
    found = adviser.measure_good_range(runs).sel(log_gamma=0).isel(log_budget=0)
    assert not adviser.mark_good(runs, 1000)[4, runs.eta.values.tolist().index(at)]
    assert float(found.low) > np.log10(at / Experiment.model_validate_json(runs.attrs["recipe"]).natural_eta(1.0))


def test_the_rule_finds_how_the_stretch_moves(known: adviser.Rule) -> None:
    assert known.by_batch["best"] == pytest.approx(BY_BATCH, abs=CELL)
    assert known.caution["low"] <= 2 * CELL and known.caution["high"] <= 2 * CELL  # only the grid is in the way
    for depth, gamma, steps, batch_size in [(5, 0.02, 700, 128), (3, 7.0, 1500, 32), (6, 300.0, 6000, 16)]:
        place = known.place(depth, gamma, steps, batch_size)
        middle = centre(depth, batch_size, steps)
        assert place["best"] == pytest.approx(middle, abs=1.5 * CELL)
        assert place["low"] == pytest.approx(middle - HALF, abs=2 * CELL)
        assert place["high"] == pytest.approx(middle + HALF, abs=2 * CELL)


def test_a_range_is_a_decade_at_most_and_holds_the_best(known: adviser.Rule) -> None:
    wide = adviser.Rule("mse", "sgd", known.measured.assign(low=known.measured.low - 2), known.by_batch, known.caution)
    for rule in (known, wide):
        for depth in (2, 3, 5):
            advised = rule.advised(depth, 3.0, 1000)
            assert advised["low"] <= advised["best"] <= advised["high"] <= advised["low"] + adviser.WIDEST + 1e-9
    short = adviser.Rule("mse", "sgd", known.measured, known.by_batch, {"low": 2.0, "high": 2.0})
    advised, place = short.advised(3, 3.0, 1000), short.place(3, 3.0, 1000)
    assert advised["high"] - advised["low"] == pytest.approx(adviser.NARROWEST)
    assert place["low"] - 0.1 - 1e-9 <= advised["low"] and advised["high"] <= place["high"] + 0.1 + 1e-9


def test_caution_is_what_leaving_a_depth_out_teaches() -> None:
    """The stretch of depth 4 lies .3 decades below where its neighbours say: the upper end must come down by that much."""
    load = loader()
    moved = {recipe_name("portrait", 4): planted(depth=4, steps=2000, budgets=(500, 1000), shift=-0.3)}
    rule = adviser.make_rule("mse", "sgd", lambda name: moved[name] if name in moved else load(name))
    assert rule.caution["high"] == pytest.approx(0.3, abs=1.5 * CELL) and rule.caution["low"] <= 0.3


def test_caution_is_what_the_first_list_teaches() -> None:
    """Its stretches lie .4 decades above the portraits': the lower end must rise by that much."""
    load = loader()
    moved = {
        judged_name(**setting): planted(gammas="2e-2:2e2:3", shift=0.4, **setting)
        for setting in SETTINGS
        if {"loss", "optimizer"}.isdisjoint(setting)
    }
    assert set(moved) == set(adviser.select_recipes(HELD_OUT, "mse", "sgd")) and len(moved) == 6
    both = [
        adviser.make_rule("mse", "sgd", lambda name: moved[name] if name in moved else load(name), first)
        for first in (True, False)
    ]
    assert both[0].caution["low"] <= CELL + 1e-9 < both[1].caution["low"] - 0.1
    assert (
        both[1].caution["low"] == pytest.approx(0.4, abs=2.5 * CELL)
        and both[1].caution["high"] <= both[0].caution["high"] + 1e-9
    )


def test_advice_is_in_eta_and_in_raw_steps(known: adviser.Rule) -> None:
    narrow, wide = (richness.advise(3, "mse", 10.0, width=n, known=known) for n in (64, 256))
    assert narrow.learns and (narrow.low, narrow.best, narrow.high) == (wide.low, wide.best, wide.high)
    assert wide.lr_raw == pytest.approx([256 * wide.low, 256 * wide.best, 256 * wide.high])
    single = richness.advise(3, "mse", 10.0, outputs=1, known=known)
    assert single.high == pytest.approx(narrow.high / 10)
    assert f"η between {narrow.low:.3g} and {narrow.high:.3g}" in str(narrow) and narrow.remarks == ()
    assert "Extrapolated" in str(richness.advise(3, "mse", 10.0, steps=6000, known=known))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"depth": 7}, r"depth was measured from 2 to 6; got 7"),
        ({"gamma": 1e5}, r"gamma was measured from 0.01 to 1000"),
        ({"batch_size": 8}, r"batch_size was measured from 16 to 256"),
        ({"steps": 100}, r"steps were measured from 500 to 2000"),
    ],
)
def test_outside_what_was_measured_there_is_no_advice(setting: dict[str, Any], said: str, known: adviser.Rule) -> None:
    with pytest.raises(ValueError, match=said):
        richness.advise(known=known, **setting)


def test_where_nothing_learns_it_says_so() -> None:
    known = adviser.make_rule("mse", "sgd", loader(silent_above=20.0))
    silent = richness.advise(3, "mse", 100.0, known=known)
    assert not silent.learns and "No η is known to learn" in str(silent) and "lower γ" in str(silent)
    assert richness.advise(3, "mse", 10.0, known=known).learns
    table = adviser.tabulate([known], [3], [1.0, 10.0, 100.0], [1000])
    assert table.gamma.tolist() == [1.0, 10.0]
    judged = adviser.judge(planted(gammas=[2.0, 200.0], silent_above=20.0), known)
    assert judged.worked.tolist() == [True, True] and judged.learned.tolist() == [True, False]
    assert adviser.judge(planted(gammas=[2.0, 200.0]), known).worked.tolist() == [True, False]


def test_it_is_right_where_the_stretch_is_as_planted_and_wrong_where_it_moved(known: adviser.Rule) -> None:
    fields = {"depth": 5, "width": 32, "batch_size": 32, "steps": 700, "gammas": "2e-2:2e2:5"}
    right = adviser.judge(planted(**fields), known)
    assert right.worked.all() and (right.cells == right.good).all() and (right.worst <= adviser.WITHIN).all()
    assert (right.searched == 1).all() and (right.searched <= right.worst).all()
    below, above = (adviser.judge(planted(shift=shift, **fields), known) for shift in (0.8, -0.8))
    assert not below.worked.any() and np.isfinite(below.worst).all() and (below.worst > adviser.WITHIN).all()
    assert not above.worked.any() and np.isinf(above.worst).all()
    ends, counts = {"gamma", "low", "high", "best"}, {"cells", "good", "learned", "worst", "searched", "worked"}
    assert set(right.columns) == ends | counts


def test_a_share_has_wilsons_interval() -> None:
    right = adviser.judge(planted(gammas="2e-2:2e2:5"), adviser.make_rule("mse", "sgd", loader()))
    right.loc[0, "worked"] = False
    share = adviser.count_worked(right)
    n, p, z = 5, 4 / 5, 1.959964
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (share.worked, share.of) == (4, 5) and share.interval == pytest.approx(
        (middle - half, middle + half), abs=1e-5
    )
    assert str(share).startswith("4 of 5 settings, 80%")
    with pytest.raises(ValueError, match="got none"):
        adviser.count_worked(right[:0])


def test_rules_are_made_of_what_is_at_hand() -> None:
    assert [(rule.loss, rule.optimizer) for rule in adviser.make_rules(loader())] == [("mse", "sgd")]
    with pytest.raises(ResultError, match="portrait_mlp2_mse_adam"):
        adviser.make_rules(loader(), optimizers=["adam"])
    with pytest.raises(ValueError, match="mse, cross_entropy"):
        adviser.make_rule("readers_hinge", "sgd", loader())
    with pytest.raises(ValueError, match="none of these recipes"):
        adviser.judge_all(["held_out_mlp5_mse_adam_n32_b128_t1500"], [adviser.make_rule("mse", "sgd", loader())])
