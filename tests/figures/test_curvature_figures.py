"""The figures of curvature as specifications, from smoke runs and from planted numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from specifications import check_figure

from richness.networks.parameterization import natural_eta
from richness.runs.probes import DENSITY_EDGES, EIGENVALUES
from richness.studies.curvature import analysis, figures
from richness.studies.curvature.figures.spectra import drawn_bins


def swept(loss: str = "mse", depth: int = 3) -> xr.Dataset:
    """λ_max that follows theory exactly, a third of a decade apart in η; all converged."""
    gammas, etas, steps = np.geomspace(1e-4, 1e4, 33), 10 ** np.arange(-10, 6, 0.31), np.array([0, 1, 30, 700, 4000])
    natural = natural_eta(gammas, depth)[:, None]
    shape = (33, etas.size, 2)
    status = np.where((etas / natural > 0.1) & (etas / natural < 40), 0, 2)[..., None] * np.ones(2, dtype=np.int8)
    lam = 1e-3 / natural[..., None, None] * np.array([1.0, 1.2])[:, None] * np.array([0.5, 0.5, 1, 1, 1])
    recipe = {
        "network": "mlp", "depth": depth, "width": 64, "activation": "relu", "loss": loss, "task": "digits8",
        "optimizer": "sgd", "batch_size": 64, "steps": 4000,
    }  # fmt: skip
    cell = ("gamma", "eta", "seed")
    return xr.Dataset(
        {
            "sharpness": ((*cell, "step"), np.where(status[..., None] == 0, lam + np.zeros((*shape, 5)), np.nan)),
            "status": (cell, status),
            "initial_loss": (cell, np.ones(shape)),
            "late_loss": (cell, np.where(status == 0, 0.3, np.nan)),
        },
        coords={"gamma": gammas, "eta": etas, "seed": [0, 1], "step": steps},
        attrs={"recipe": json.dumps(recipe), "scale": "laptop"},
    )


def spectra() -> xr.Dataset:
    """Three γ at one η each, four steps: the eigenvalues fall by a tenth from one to the next, faster when lazy."""
    gammas, etas, steps = map(np.array, ([0.01, 1.0, 100.0], [1e-3, 1.0, 30.0, 90.0], [0, 10, 300, 16_000]))
    top, density = np.full((3, 4, 2, 4, EIGENVALUES), np.nan), np.full((3, 4, 2, 4, len(DENSITY_EDGES) - 1), np.nan)
    status, trace = np.full((3, 4, 2), 2, dtype=np.int8), np.full((3, 4, 2, 4), np.nan)
    for g in range(3):
        top[g, g] = 100.0**-g * np.exp(-np.arange(EIGENVALUES) / (5, 20, 40)[g])
        status[g, g], trace[g, g] = 0, 100.0**-g * 20
        density[g, g] = np.exp(-0.5 * (np.arange(len(DENSITY_EDGES) - 1) - 60) ** 2 / 50) / (50 * 2 * np.pi) ** 0.5
    recipe = {
        "network": "mlp", "depth": 3, "width": 64, "activation": "relu", "loss": "mse", "task": "digits8",
        "optimizer": "sgd", "batch_size": 64, "steps": 16_000, "gammas": gammas.tolist(), "etas": etas.tolist(),
    }  # fmt: skip
    cell = ("gamma", "eta", "seed")
    return xr.Dataset(
        {
            "top_eigenvalues": ((*cell, "step", "eigenvalue"), top),
            "spectral_density": ((*cell, "step", "bin"), density),
            "trace": ((*cell, "step"), trace),
            "status": (cell, status),
        },
        coords={
            "gamma": gammas, "eta": etas, "seed": [0, 1], "step": steps, "eigenvalue": np.arange(1, EIGENVALUES + 1),
            "bin": np.arange(1, len(DENSITY_EDGES)),
        },
        attrs={"recipe": json.dumps(recipe), "scale": "laptop"},
    )  # fmt: skip


DRAWN = {
    "exponents": lambda: figures.sharpness_exponents(swept(depth=2), swept(), first=1),
    "along": lambda: figures.sharpness_along_training(swept(), swept("cross_entropy")),
    "spectrum": lambda: figures.spectrum(spectra(), gamma=100),
    "two": lambda: figures.two_spectra(spectra()),
    "large": lambda: figures.large_eigenvalues(spectra()),
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    return {name: draw() for name, draw in DRAWN.items()}


def values(spec: Any, *fields: str) -> list[dict[str, Any]]:
    """All rows of a specification's data that have these fields."""
    return [
        row for rows in spec["datasets"].values() for row in rows if isinstance(row, dict) and set(fields) <= set(row)
    ]


@pytest.mark.parametrize("name", DRAWN)
def test_it_is_a_picture_that_speaks(name: str, drawn: dict[str, Any]) -> None:
    check_figure(drawn[name], "MSE", "digits8", "L = ", "N = 64", "B = 64", "T = ", "2 seeds")


def test_the_exponents_drawn_are_those_measured(drawn: dict[str, Any]) -> None:
    spec = drawn["exponents"].chart.to_dict()
    points = values(spec, "lam", "reading")
    for row in points:
        L = row["L"]
        assert row["lam"] * float(natural_eta(row["gamma"], L)) == pytest.approx(1e-3 * 1.2**0.5, rel=2e-3)
        assert row["lam_s"] == pytest.approx(1e-3 * 1.2**0.5, rel=2e-3)
    assert {row["reading"] for row in points} == set(analysis.READINGS)
    assert {row["net"] for row in points} == {"L = 2, MSE, digits8", "L = 3, MSE, digits8"}
    red = {row["words"]: row["lam_s"] for row in values(spec, "words", "lam_s")}
    assert red["2/lr_raw, large step"] == pytest.approx(2 / (64 * 16), rel=1e-3)
    words = "\n".join(row["words"] for row in values(spec, "net", "words") if "lam_s" not in row)
    assert "lazy, small step: −2.00" in words and "rich, large step: −0.84" in words
    table = drawn["exponents"].table
    np.testing.assert_allclose(table["exponent"], table["theory, same γ"], atol=2e-3)


def test_nothing_to_fit_is_said_in_words() -> None:
    runs = swept()
    runs["late_loss"] = runs.initial_loss * 0.95
    figure = figures.sharpness_exponents(runs)
    assert "converge" in figure.summary and len(figure.table) == 1


def test_along_training_the_ratio_is_to_the_stability_line(drawn: dict[str, Any]) -> None:
    rows = values(drawn["along"].chart.to_dict(), "ratio", "size", "t")
    assert {row["size"] for row in rows} == {"small step", "large step"} and min(row["t"] for row in rows) == 1
    last = [row for row in rows if row["t"] == 4000 and row["size"] == "large step"]
    assert len(last) == 2 * 9
    for row in last:  # λ_max = 1e-3 / natural η, at the η next to 16 times natural η, or 3 times under cross-entropy
        share = 3 if "cross-entropy" in row["net"] else 16
        assert 0.69 < row["ratio"] / (1e-3 * 64 * share / 2) < 1.45


def test_the_spectrum_holds_every_eigenvalue_and_every_bin(drawn: dict[str, Any]) -> None:
    spec, runs = drawn["spectrum"].chart.to_dict(), spectra()
    top = [row for row in values(spec, "rank", "raw") if row["gamma"] == 100 and row["t"] == 300]
    assert [row["rank"] for row in top] == list(range(1, EIGENVALUES + 1))
    np.testing.assert_allclose([row["raw"] for row in top], runs.top_eigenvalues.values[2, 2, 0, 2], rtol=1e-3)
    bins = [row for row in values(spec, "place", "count") if row["gamma"] == 1 and row["t"] == 10]
    parameters = 64 * 64 + 64 * 64 + 64 * 10
    held = float(runs.spectral_density[1, 1, 0, 1].sum()) * parameters
    assert sum(row["count"] for row in bins) == pytest.approx(held, rel=1e-3)
    places = [row["place"] for row in bins]
    assert all(row["low"] < row["high"] for row in bins) and places == sorted(places)
    middle = [row for row in bins if row["low"] < 0 < row["high"]]
    assert len(middle) == 1 and middle[0]["high"] == pytest.approx(0.01)


def test_bins_are_drawn_where_they_lie() -> None:
    edges, to = drawn_bins()
    middles = (DENSITY_EDGES[1:] + DENSITY_EDGES[:-1]) / 2
    for middle, place in zip(middles, to, strict=True):
        assert edges[place] <= middle <= edges[place + 1] or (abs(middle) > edges[-1] and place in (0, len(edges) - 2))


def test_large_eigenvalues_are_counted(drawn: dict[str, Any]) -> None:
    rows = [row for row in values(drawn["large"].chart.to_dict(), "value", "low", "t") if row["t"] == 300]
    counts = {row["gamma"]: row["value"] for row in rows}
    # e^(−k/5) > 1/5 for k ≤ 8, and so on
    assert counts == {0.01: 9, 1.0: 33, 100.0: EIGENVALUES}


def test_another_seed_than_was_run_is_refused() -> None:
    for draw, runs in ((figures.spectrum, spectra()), (figures.sharpness_along_training, swept())):
        with pytest.raises(ValueError, match="one of the seeds that were run"):
            draw(runs, seed=9)
