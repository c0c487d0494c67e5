"""C11 and C12 from planted sharpness and planted spectra."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from richness.analysis import ledger as claims
from richness.analysis.ledger import verdicts
from richness.networks.parameterization import natural_eta
from richness.runs.results import ResultError
from richness.studies.curvature import analysis as curvature

OK, NOT_RUN = 0, 2
STEPS = np.array([0, 1, 4, 16, 64, 250, 1000, 4000])


def swept(sharpness, depth=3, task="digits8", late=0.5):
    """Runs whose λ_max is a given function of (γ, η, t, seed); one of ``late`` × the initial loss at the end."""
    gammas, etas, seeds = np.geomspace(1e-4, 1e4, 33), 10 ** np.arange(-10, 6, 0.247), np.arange(3)
    gamma, eta = gammas[:, None, None, None], etas[:, None, None]
    lam = sharpness(gamma, eta, STEPS, seeds[:, None]) * np.ones((33, etas.size, 3, STEPS.size))
    cell = ("gamma", "eta", "seed")
    ratio = etas / natural_eta(gammas, depth)[:, None]
    status = np.where((ratio > 0.03) & (ratio < 60), OK, NOT_RUN)[:, :, None] * np.ones(3, dtype=np.int8)
    initial = np.full(status.shape, 0.1)
    recipe = {"depth": depth, "loss": "mse", "width": 64, "task": task, "steps": 4000}
    return xr.Dataset(
        {
            "sharpness": ((*cell, "step"), lam),
            "status": (cell, status),
            "initial_loss": (cell, initial),
            "late_loss": (cell, np.where(status == OK, late * initial, np.nan)),
        },
        coords={"gamma": gammas, "eta": etas, "seed": seeds, "step": STEPS},
        attrs={"recipe": json.dumps(recipe), "scale": "laptop"},
    )


def power(gamma, eta, t, seed):
    """γ⁻² and γ^(−2/3) at a given share of natural η, falling with the share, the seeds apart by a tenth."""
    share = eta / natural_eta(gamma, 3)
    return 7 * np.where(gamma < 1, gamma**-2, gamma ** (-2 / 3)) * share**-0.3 * (1 + 0.1 * seed) * (1 + t) / 4001


def test_the_sharpness_is_read_off_at_its_share_of_the_natural_eta():
    runs = swept(power)
    for reading, share in (("small step", 2.0), ("large step", 16.0)):
        found = curvature.read_sharpness(runs, reading)
        assert found.dims == ("gamma", "seed") and curvature.step_share(runs, reading) == share
        wanted = power(found.gamma, share * natural_eta(found.gamma, 3), 4000, found.seed)
        np.testing.assert_allclose(found, wanted.transpose(*found.dims), rtol=1e-9)


@pytest.mark.parametrize("reading", ["small step", "large step"])
def test_planted_exponents_come_back(reading):
    lazy, lazy_too, rich, rich_too = curvature.fit_exponents(swept(power), reading, "{side} L=3")
    assert [one.part for one in (lazy, rich)] == ["lazy L=3", "rich L=3"]
    for one, slope in ((lazy, -2), (lazy_too, -2), (rich, -2 / 3), (rich_too, -2 / 3)):
        assert one.fit.slope == pytest.approx(slope, abs=1e-9) and one.holds
    assert lazy.theory == pytest.approx(-2, abs=0.01) and rich.theory == pytest.approx(-0.845, abs=0.01)


def test_at_equal_tau_unequal_ages_do_not_tilt_the_exponent():
    """λ_max that grows with τ = ηt/γ: at the last step the richest networks are the youngest, and the exponent is too steep."""

    def young(gamma, eta, t, seed):
        return np.minimum(gamma, 1) ** -2 * np.maximum(gamma, 1) ** (-2 / 3) * np.maximum(eta * t / gamma, 1e-12) ** 0.3

    runs = swept(young)
    (tilted,) = [one.fit.slope for one in curvature.fit_exponents(runs, "small step")[3:]]
    assert tilted < -2 / 3 - 0.08
    even = curvature.fit_exponents(runs, "equal τ")
    assert len(even) == 2 and all(one.part == "rich" for one in even)
    assert [one.fit.slope for one in even] == pytest.approx([-2 / 3] * 2, abs=1e-6)
    found = curvature.read_sharpness(runs, "equal τ")
    assert found.sel(gamma=slice(0, 0.9)).isnull().all()
    np.testing.assert_allclose(found.sel(gamma=10, method="nearest"), 10 ** (-2 / 3) * curvature.TAU**0.3, rtol=1e-6)


def test_runs_that_have_not_ended_are_left_out():
    runs = swept(power)
    runs["late_loss"] = runs.late_loss.where(runs.gamma < 500, 0.9 * runs.initial_loss)
    assert curvature.read_sharpness(runs, "small step").sel(gamma=slice(500, None)).isnull().all()
    runs["status"] = runs.status.where(runs.eta < 1, NOT_RUN)
    runs["late_loss"] = runs.late_loss.where(runs.eta < 1)
    found = curvature.read_sharpness(runs, "large step").notnull().all("seed")
    room = 16 * natural_eta(runs.gamma.values, 3)
    assert found.values[room < 0.5].all() and not found.values[room > 1].any()


def test_the_stability_line_is_one():
    runs = swept(lambda gamma, eta, t, seed: 2 / (64 * eta) + 0 * (gamma + t + seed))
    for reading in ("small step", "large step"):
        np.testing.assert_allclose(curvature.stability_ratio(runs, reading), 1, rtol=1e-9)


def test_what_cannot_be_read_is_refused():
    runs = swept(power)
    with pytest.raises(ValueError, match="a reading is one of small step"):
        curvature.read_sharpness(runs, "medium step")
    with pytest.raises(ValueError, match="probe 'sharpness'"):
        curvature.read_sharpness(runs.drop_vars("sharpness"), "small step")


# Spectra.


def spectra(lazy=10, rich=25, task="digits8", gap=3.0):
    """One η a γ; at the last step so many eigenvalues above half of λ_max, and a gap below them where lazy."""
    gammas, steps, ranks = np.array([0.01, 1.0, 100.0]), np.array([0, 500, 16_000]), np.arange(64)
    etas = np.array([1e-3, 1.0, 30.0, 90.0])
    top = np.full((3, 4, 2, 3, 64), np.nan)
    for g, count in enumerate((lazy, 12, rich)):
        first = np.linspace(1, 0.5, count)
        rest = np.linspace(0.5 / gap, 0.05, 64 - count) if g == 0 else np.linspace(0.19, 0.05, 64 - count)
        top[g, g] = 10.0**-g * np.concatenate([first, rest])
    status = np.full((3, 4, 2), NOT_RUN, dtype=np.int8)
    status[np.arange(3), np.arange(3)] = OK
    recipe = {"depth": 3, "loss": "mse", "width": 64, "task": task, "steps": 16_000}
    return xr.Dataset(
        {
            "top_eigenvalues": (("gamma", "eta", "seed", "step", "eigenvalue"), top),
            "status": (("gamma", "eta", "seed"), status),
        },
        coords={"gamma": gammas, "eta": etas, "seed": [0, 1], "step": steps, "eigenvalue": ranks + 1},
        attrs={"recipe": json.dumps(recipe), "scale": "laptop"},
    )


def test_what_counts_as_large_and_where_the_widest_gap_is():
    top = xr.DataArray(
        [[5.0, 4.0, 1.5, 1.0, 0.9, -1.0], [1.0, 0.9, 0.8, 0.7, 0.6, 0.01], [np.nan] * 6], dims=("cell", "eigenvalue")
    )
    assert curvature.count_above(top, 0.25).values.tolist() == pytest.approx([3, 5, np.nan], nan_ok=True)
    assert curvature.count_large(top).values.tolist() == pytest.approx([3, 5, np.nan], nan_ok=True)
    gap = curvature.find_widest_gap(top)
    assert gap["count"].values.tolist() == pytest.approx([2, 5, np.nan], nan_ok=True)
    assert gap["factor"].values.tolist() == pytest.approx([4 / 1.5, 60, np.nan], nan_ok=True)


def test_each_gamma_was_run_at_one_step_size():
    runs = spectra()
    assert curvature.select_gamma(runs, 90.0).eta == 30.0
    assert curvature.count_outputs(runs) == 10 and curvature.count_outputs(spectra(task="teacher")) == 4
    runs["status"] = runs.status * 0
    with pytest.raises(ValueError, match="expected one η at γ = 1, got 4"):
        curvature.select_gamma(runs, 1.0)


def loaded(**results):
    def load(name):
        if name not in results:
            raise ResultError("there is none")
        return results[name]

    return load


@pytest.mark.parametrize(
    ("digits", "teacher", "lazy", "rich"),
    [
        ({}, {"lazy": 4, "rich": 9}, "reproduced", "reproduced"),
        ({"lazy": 11}, {"lazy": 5, "rich": 9}, "reproduced", "partly"),  # fewer than twice the teacher's five
        ({"rich": 19}, {"lazy": 4, "rich": 9}, "reproduced", "partly"),
        ({"lazy": 13}, {"lazy": 4, "rich": 7}, "partly", "not-reproduced"),  # 25 are fewer than twice 13
        ({"gap": 1.9}, {"lazy": 4, "rich": 9}, "partly", "partly"),  # no gap, and many large eigenvalues lazily as well
    ],
)
def test_the_verdict_of_c12(digits, teacher, lazy, rich):
    load = loaded(spectra_mlp3_mse=spectra(**digits), spectra_mlp3_mse_teacher=spectra(**teacher, task="teacher"))
    rows = [row for row in curvature.rows(load) if row["id"] == "C12"]
    assert [row["part"] for row in rows] == ["lazy", "lazy", "rich", "rich"]
    assert verdicts(rows) == {"C12 lazy": lazy, "C12 rich": rich}
    measured = {(row["part"], row["window"][0]): row for row in rows[::2]}
    assert measured["lazy", 0.01]["measured"] == digits.get("lazy", 10)
    assert measured["rich", 100.0]["interval"] == [digits.get("rich", 25)] * 2


def test_a_missing_result_is_not_run_and_says_what_makes_it():
    rows = curvature.rows(loaded(final_sharpness_mlp3_mse=swept(power), spectra_mlp3_mse=spectra()))
    known = verdicts(rows)
    assert known["C11 rich L=3 small step"] == "reproduced" and known["C11 lazy L=2 large step"] == "not-run"
    assert known["C12 lazy"] == known["C12 rich"] == "not-run"
    reasons = [row["reason"] for row in rows if row["verdict"] == "not-run" and row["interval"] is None]
    assert all("richness precompute" in reason for reason in reasons)
    named = {(claim.id, claim.part) for claim in claims.claims()}
    assert {(row["id"], row["part"]) for row in rows} <= named
