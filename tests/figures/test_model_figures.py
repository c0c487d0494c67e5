"""The solvable model's figures: what is drawn is what theory and the portraits say, and every one speaks and fits."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import pytest
import xarray as xr
from specifications import check_figure, data

from richness.analysis import boundaries, theory
from richness.analysis.theory import catapult, single_index
from richness.studies.solvable import figures

DRAWN = {
    "boundaries": lambda runs: figures.model_boundaries((2, 3)),
    "escape": lambda runs: figures.model_escape((2, 3)),
    "catapult": lambda runs: figures.model_catapult(),
    "index": lambda runs: figures.model_single_index((2,)),
    "overlay": lambda runs: figures.model_overlay([runs]),
}


@pytest.fixture(scope="module")
def drawn(runs: xr.Dataset) -> dict[str, Any]:
    return {name: draw(runs) for name, draw in DRAWN.items()}


@pytest.mark.parametrize("name", DRAWN)
def test_it_speaks_and_becomes_a_picture(name: str, drawn: dict[str, Any]) -> None:
    check_figure(drawn[name], "MSE", "seeds", "weight")  # one shared or several: each caption says which
    html = drawn[name].html()
    assert len(gzip.compress(html.encode())) < 60_000
    assert 'class="richness-controls"' in html


def test_the_boundaries_are_theorys(drawn: dict[str, Any]) -> None:
    lines = data(drawn["boundaries"], "lines")
    upper = [row for row in lines if row["boundary"] == "η_crit"]
    exact = [float(theory.critical_eta(row["L"], row["gamma"], row["rule"])) for row in upper]
    assert [row["value"] for row in upper] == pytest.approx(exact, rel=2e-3)
    assert {(row["L"], row["rule"]) for row in lines} == {(L, rule) for L in (2, 3) for rule in figures.RULES}
    points = [row for row in data(drawn["boundaries"], "points") if row["ratio"] is not None]
    sgd = [row["ratio"] for row in points if row["rule"] != "signs"]
    assert max(abs(ratio - 1) for ratio in sgd) < 0.02
    bounded = [
        row for row in data(drawn["boundaries"], "points") if row["boundary"] == "η_max" and row["ratio"] is None
    ]
    assert {row["rule"] for row in bounded} == {"cross_entropy"}  # of which no closed form is known


def test_the_escape_shows_a_logarithm_at_depth_two_and_a_limit_at_three(drawn: dict[str, Any]) -> None:
    lines = [row for row in data(drawn["escape"], "lines") if row["loss"] == "mse"]
    two, three = ([row["exact"] for row in lines if row["L"] == L and row["gamma"] > 1e3] for L in (2, 3))
    steps = np.diff(two)
    np.testing.assert_allclose(steps, np.log(10) / 4 / 4, rtol=0.01)  # a quarter of a decade each
    assert three[-1] == pytest.approx(1 / 3, rel=0.01)


def test_the_catapults_curves_are_its_runs(drawn: dict[str, Any]) -> None:
    curves = data(drawn["catapult"], "curves")
    mine = [row for row in curves if row["start"] == "(2, 0.1)" and row["place"] == 6]  # 1.5 × 2/λ₀
    eta = 1.5 * 2 / float(catapult.initial_sharpness((2.0, 0.1), 0.01))
    run = catapult.simulate((2.0, 0.1), 0.01, eta, 60, record=True)
    assert run.loss_history is not None
    assert [row["loss"] for row in mine] == pytest.approx(run.loss_history.tolist(), rel=1e-3)
    assert mine[0]["sharpness"] == pytest.approx(3, rel=1e-3)


def test_single_index_slopes_are_in_the_table(drawn: dict[str, Any]) -> None:
    table = drawn["index"].table
    assert list(table["p"]) == [1, 2, 3]
    assert list(table["2/(L−1+p)"]) == [2 / single_index.degree(2, p) for p in (1, 2, 3)]
    assert np.all(np.abs(table["η_max, rich slope"] - table["2/(L−1+p)"]) < 0.01)
    assert np.all(np.abs(table["η_max, lazy slope"] - 2) < 0.05)


def test_the_overlay_holds_the_measurement_and_the_fit(runs: xr.Dataset, drawn: dict[str, Any]) -> None:
    shown = [row for row in data(drawn["overlay"], "rows") if row["boundary"] == "η_max" and row["constants"] == 1]
    measured = boundaries.eta_max(runs)
    seen = measured.isel(gamma=measured.notnull().any("seed").values)
    assert [row["gamma"] for row in shown] == pytest.approx(seen.gamma.values, rel=1e-3)
    centre = np.exp(np.log(seen).mean("seed")).values
    assert [row["measured"] for row in shown] == pytest.approx(centre, rel=1e-3)
    curve = np.log10(theory.critical_eta(3, seen.gamma.values))
    shift = np.mean(np.log10(centre) - curve)
    assert [row["residual"] for row in shown] == pytest.approx(np.log10(centre) - curve - shift, abs=2e-3)
    table = drawn["overlay"].table
    assert np.all(
        table[table.constants == 2]["rms residual, decades"]
        <= table[table.constants == 1]["rms residual, decades"].values + 1e-9
    )


def test_where_nothing_was_seen_it_says_so(runs: xr.Dataset) -> None:
    fig = figures.model_overlay([runs.isel(gamma=slice(0, 3))])
    assert "four γ" in fig.summary
