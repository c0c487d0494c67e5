"""Planted boundaries come back; what was not seen is NaN; a dead cell is not converged; intervals cover."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from richness.analysis import boundaries as b
from richness.runs import outcomes
from richness.runs.grids import eta_axis

Planted = Callable[..., xr.Dataset]
HALF_CELL = 0.5 / 9.66


def test_masks_agree_with_their_definitions(runs: xr.Dataset) -> None:
    g, s = 20, 1
    top = float(b.eta_max(runs)[g, s])
    cell = runs.isel(gamma=g, seed=s).sel(eta=1.8 * top, method="nearest")
    assert int(cell.status) == 0 and float(cell.late_loss) == float(cell.initial_loss)  # finite, and dead
    at = {"gamma": g, "seed": s}
    assert not b.converged(runs).isel(at).sel(eta=cell.eta) and b.dead(runs).isel(at).sel(eta=cell.eta)
    assert b.converged(runs).isel(at).sel(eta=top / 4, method="nearest")
    assert not (b.converged(runs) & b.dead(runs)).any()
    assert not b.stable(runs).where(runs.status == 2, False).any()
    assert set(b.learned(runs).dims) == {"gamma", "eta", "seed", "budget"}


def test_every_boundary_is_where_it_was_planted(planted: Planted) -> None:
    runs = planted(scatter=0.0, noise=0.0)
    gamma = runs.gamma.values
    top = 40 * np.where(gamma < 1, gamma**2, gamma ** (2 / 3))
    for found, wanted in ((b.eta_max(runs), top), (b.eta_crit(runs), top / 2)):
        assert found.dims == ("gamma", "seed") and found.shape == (33, 3) and found.attrs["censored"] == 0
        assert np.abs(np.log10(found.values / wanted[:, None])).max() <= HALF_CELL + 1e-9
    star = b.eta_star(runs)
    assert np.abs(np.log10(star.values / (top / 4)[:, None])).max() < 0.01  # the parabola sees between the cells
    low = b.eta_min(runs)
    assert low.dims == ("gamma", "seed", "budget") and low.budget.values.tolist() == [250, 500, 1000]
    for budget in low.budget.values:
        wanted = 0.1 * np.where(gamma < 1, gamma**2, gamma) * 1000 / budget
        assert np.abs(np.log10(low.sel(budget=budget).values / wanted[:, None])).max() <= HALF_CELL + 1e-9
    np.testing.assert_allclose(b.eta_max(runs).half_cell, HALF_CELL, rtol=1e-9)


def test_trials_give_the_same_boundaries(runs: xr.Dataset, trials: Callable[[xr.Dataset], xr.Dataset]) -> None:
    searched = trials(runs)
    assert searched.eta.dims == ("gamma", "trial")
    for find in (b.eta_max, b.eta_min, b.eta_crit, b.eta_star):
        xr.testing.assert_allclose(find(searched), find(runs), rtol=1e-9)
        assert find(searched).attrs["censored"] == find(runs).attrs["censored"]


def test_a_boundary_lies_between_the_nearest_runs_of_its_own_seed(runs: xr.Dataset) -> None:
    """As after a search, where each seed has run other cells than its neighbours."""
    g, find = 12, b.eta_max(runs)
    cell = int(np.searchsorted(runs.eta, find[g, 1]))  # the first that does not converge, for seed 1
    gaps = runs.copy(deep=True)
    gaps["status"][g, cell : cell + 3, 1] = 2
    found = b.eta_max(gaps)
    etas = runs.eta.values[[cell - 1, cell + 3]]
    np.testing.assert_allclose(found[g, 1], np.sqrt(etas.prod()))
    np.testing.assert_allclose(found.half_cell[g, 1], np.log10(etas[1] / etas[0]) / 2)
    others = np.ones(find.shape, dtype=bool)
    others[g, 1] = False
    np.testing.assert_array_equal(found.values[others], find.values[others])


def test_dimension_order_does_not_matter(runs: xr.Dataset) -> None:
    turned = runs.transpose("seed", "budget", "eta", "gamma", "step")
    for find in (b.eta_max, b.eta_min, b.eta_crit, b.eta_star):
        xr.testing.assert_identical(find(turned), find(runs))


def test_a_boundary_at_the_edge_of_what_was_run_is_not_seen(planted: Planted) -> None:
    cut = planted(above=0.75)  # nothing above 0.75 η_max was run: η_crit = η_max/2 is still inside
    assert b.eta_max(cut).isnull().all() and b.eta_max(cut).attrs["censored"] == 99
    assert b.eta_max(cut).attrs["absent"] == 0
    assert b.eta_crit(cut).notnull().all() and b.eta_crit(planted(above=0.4)).isnull().all()
    assert b.eta_star(planted(above=0.2, noise=0.0)).attrs["censored"] == 99
    short = planted(below=0.9)  # the lowest η_min, of the longest budget, is below what was run
    found = b.eta_min(short)
    assert found.sel(budget=1000).isnull().all() and found.sel(budget=250).notnull().all()
    whole = planted()
    ends = whole.isel(eta=slice(None, int(np.searchsorted(whole.eta, 1.0))))  # the axis ends at η = 1
    wanted = b.eta_max(whole).where(b.eta_max(whole) < ends.eta.values[-1])
    np.testing.assert_array_equal(b.eta_max(ends).values, wanted.values)
    attrs = b.eta_max(ends).attrs
    assert attrs["censored"] > 0 and attrs["censored"] + attrs["absent"] == int(wanted.isnull().sum())


def test_nothing_converged_is_absent_not_censored(runs: xr.Dataset) -> None:
    flat = runs.copy()
    flat["late_loss"] = flat.late_loss.where(flat.gamma != flat.gamma[5], flat.initial_loss)
    found = b.eta_max(flat)
    assert found[5].isnull().all() and found.attrs["absent"] == 3 and found.attrs["censored"] == 0


def test_without_budgets_the_whole_run_is_the_budget(runs: xr.Dataset) -> None:
    plain = runs.drop_vars(["budget_loss", "budget"])
    found = b.eta_min(plain)
    assert found.budget.values.tolist() == [1000]
    np.testing.assert_array_equal(found.sel(budget=1000).values, b.eta_min(runs).sel(budget=1000).values)


def test_onset_is_found_from_below(runs: xr.Dataset) -> None:
    """Networks that die in one step show no overshoot: cells far above the boundary must not be taken for stable."""
    quiet = runs.copy()
    far = quiet.eta > 2 * b.eta_max(runs).max("seed")
    quiet["peak_loss"] = quiet.peak_loss.where(~far | (quiet.status == 2), quiet.initial_loss)
    xr.testing.assert_identical(b.eta_crit(quiet), b.eta_crit(runs))


MEASURES = {
    "eta_max": (b.eta_max, lambda runs, t: (runs.status == 0) & (runs.late_loss < t * runs.initial_loss)),
    "eta_min": (b.eta_min, lambda runs, t: runs.budget_loss < t * runs.initial_loss),
    "eta_crit": (b.eta_crit, lambda runs, t: (runs.status != 2) & ~(runs.peak_loss <= t * runs.initial_loss)),
}


@pytest.mark.slow
@given(name=st.sampled_from(sorted(MEASURES)), threshold=st.floats(0.05, 3.0))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_rule_that_is_printed_is_the_rule(runs: xr.Dataset, name: str, threshold: float) -> None:
    """Whatever the threshold: the boundary lies beside the outermost run that satisfies it, and says so."""
    measure, event = MEASURES[name]
    found = measure(runs, below=threshold)
    assert found.attrs["threshold"] == threshold and f"{threshold}" in found.attrs["definition"]
    met = event(runs, threshold).transpose("eta", "gamma", "seed", ...)
    eta = runs.eta.broadcast_like(met).where(met & (runs.status != 2))
    outer = eta.max("eta") if name == "eta_max" else eta.min("eta")
    beyond = found * 10 ** (found.half_cell if name != "eta_max" else -found.half_cell)
    both = np.isfinite(found).transpose(*outer.dims).values & np.isfinite(outer.values)
    np.testing.assert_allclose(beyond.transpose(*outer.dims).values[both], outer.values[both], rtol=1e-9)
    assert found.equals(b.boundaries(runs, {name: threshold})[name].assign_coords(half_cell=found.half_cell))


def test_constants_that_are_patched_move_neither_the_rule_nor_its_words(runs: xr.Dataset, monkeypatch) -> None:
    before = b.boundaries(runs)
    for module in (outcomes, sys.modules["richness.analysis.boundaries"]):
        for constant in ("CONVERGED_BELOW", "LEARNED_BELOW", "STABLE_BELOW"):
            monkeypatch.setattr(module, constant, 0.1)
    assert b.boundaries(runs).identical(before)
    with pytest.raises(ValueError, match="a threshold is a positive number, got -1"):
        b.eta_max(runs, below=-1)
    with pytest.raises(ValueError, match=r"thresholds are of eta_max, .*, got eta_mux"):
        b.boundaries(runs, {"eta_mux": 0.7})


def test_all_boundaries_in_one_dataset(runs: xr.Dataset) -> None:
    together = b.boundaries(runs)
    assert set(together.data_vars) == {"eta_max", "eta_min", "eta_crit", "eta_star"}
    np.testing.assert_array_equal(together.eta_star, b.eta_star(runs))


@pytest.mark.parametrize(("lazy", "rich", "rich_min"), [(2.0, 2 / 3, 1.0), (1.0, 0.8, 0.9)])
def test_planted_exponents_lie_in_their_intervals(planted: Planted, lazy: float, rich: float, rich_min: float) -> None:
    runs = planted(lazy=lazy, rich=rich, rich_min=rich_min)
    top, star, low = b.eta_max(runs), b.eta_star(runs), b.eta_min(runs)
    cases = [(top, w, lazy) for w in b.LAZY_WINDOWS] + [(top, w, rich) for w in b.RICH_WINDOWS]
    cases += [(star, w, rich) for w in b.RICH_WINDOWS] + [
        (low.sel(budget=1000), w, rich_min) for w in b.RICH_WINDOWS_MIN
    ]
    for boundary, window, exponent in cases:
        found = b.fit(boundary, window)
        assert found.holds(exponent) and abs(found.slope - exponent) < 0.04, (boundary.name, window, str(found))
        assert 0.005 < found.width < 0.2 and found.seeds == 3 and found.points >= 4


def test_the_interval_covers(planted: Planted) -> None:
    """Slopes not commensurate with the grid, each with its own: at least nine in ten intervals hold the planted one."""
    exponents = np.linspace(0.4, 0.9, 24)
    hits = 0
    for exponent in exponents:
        runs = planted(rich=float(exponent), budgets=(1000,))
        hits += b.fit(b.eta_max(runs), (1.0, 100.0), resamples=500).holds(float(exponent))
    assert hits >= 0.9 * len(exponents)


@pytest.mark.parametrize(
    ("slope", "window", "locked"),
    [
        (2.0, b.LAZY_WINDOWS[1], 1.9777),
        (1.0, b.RICH_WINDOWS[1], 0.9889),
        (2 / 3, b.RICH_WINDOWS[1], None),
        (0.5, b.RICH_WINDOWS[1], 0.4944),
    ],
)
def test_the_interval_carries_the_recipes_grid(slope: float, window: b.Window, locked: float | None) -> None:
    """Where all seeds share their cells, a slope comes back as the grid's own in most cases: the interval must know of it."""
    gamma = np.geomspace(1e-4, 1e4, 33)
    spacing = np.diff(np.log10(eta_axis(1e-3, 1e3, 4)))[0]
    draws, found = np.random.default_rng(0), []
    for _ in range(60):
        cell = np.floor((slope * np.log10(gamma) + draws.uniform(0, 1)) / spacing)
        place = np.repeat((cell + 0.5)[:, None] * spacing, 3, axis=1)
        coords = {"gamma": gamma, "half_cell": (("gamma", "seed"), np.full(place.shape, spacing / 2))}
        found.append(b.fit(xr.DataArray(10**place, coords, ("gamma", "seed")), window, resamples=300))
    assert np.mean([one.holds(slope) for one in found]) >= 0.85
    values, counts = np.unique([round(one.slope, 4) for one in found], return_counts=True)
    if locked:
        assert values[counts.argmax()] == locked and counts.max() > len(found) / 2
    assert np.mean([one.slope for one in found]) == pytest.approx(slope, abs=0.01)  # and yet there is no bias


@pytest.mark.parametrize("exponent", [-1.0, -0.6])
def test_the_slope_in_the_budget(planted: Planted, exponent: float) -> None:
    found = b.fit_budget(b.eta_min(planted(in_budget=exponent, below=8.0)), b.RICH_WINDOWS_MIN[0])
    assert found.holds(exponent) and abs(found.slope - exponent) < 0.06 and found.width < 0.2
    with pytest.raises(ValueError, match="three budgets"):
        b.fit_budget(b.eta_min(planted(budgets=(500,))), b.RICH_WINDOWS_MIN[0])


def test_fit_is_a_plain_least_squares(planted: Planted) -> None:
    boundary = b.eta_max(planted(scatter=0.1))
    found = b.fit(boundary, (1.0, 100.0))
    inside = boundary.where((boundary.gamma >= 0.999) & (boundary.gamma <= 100.1), drop=True)
    x, y = np.log10(inside.gamma.values), np.log10(inside.values).mean(axis=1)
    slope, intercept = np.polyfit(x, y, 1)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept))
    assert found.residual == pytest.approx(np.sqrt(np.mean((y - slope * x - intercept) ** 2)))
    assert found.points == 9 and found.gammas == tuple(inside.gamma.values) and found.window == pytest.approx((1, 100))
    assert found == b.fit(boundary, (1.0, 100.0)) != b.fit(boundary, (1.0, 100.0), random_state=1)


def test_seeds_that_disagree_widen_the_interval(planted: Planted) -> None:
    runs = b.eta_max(planted(scatter=0.0))
    tilted = runs * xr.DataArray([0.8, 1.0, 1.25], dims="seed") ** np.log10(runs.gamma)
    assert b.fit(tilted, (1.0, 100.0)).width > 1.5 * b.fit(runs, (1.0, 100.0)).width


def test_the_fit_passes_over_nan_and_refuses_too_few(runs: xr.Dataset) -> None:
    boundary = b.eta_max(runs)
    holed = boundary.copy()
    holed[20] = np.nan
    holed[22, 0] = np.nan
    found = b.fit(holed, (1.0, 100.0))
    assert found.points == 8 and found.seeds == 3 and found.holds(2 / 3)
    for refused, window, words in (
        (boundary, (1.0, 3.5), r"4 γ or more .* 3 γ of the grid"),
        (boundary.where(boundary.gamma > 50), (1.0, 100.0), "seen at 2"),
        (b.eta_min(runs), (1.0, 100.0), "pick one budget"),
        (boundary, (100.0, 1.0), "low < high"),
    ):
        with pytest.raises(ValueError, match=words):
            b.fit(refused, window)
    with pytest.raises(ValueError, match="coordinates gamma and eta"):
        b.eta_max(runs.drop_vars("gamma"))
