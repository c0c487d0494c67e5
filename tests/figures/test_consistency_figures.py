"""Figures of super consistency: the numbers that are drawn are those of the findings, and the controls reach all of them."""

from __future__ import annotations

import numpy as np
import pytest
from specifications import controls

from consistent import STEPS, planted
from richness.studies.neighbours.consistency import analysis, figures, recipes

load = planted()


@pytest.fixture(scope="module")
def widths() -> dict:
    return {how.words: analysis.load_widths(load, key) for key, how in recipes.SCALINGS.items()}


def test_training_shows_every_width_at_every_common_base_step(widths):
    fig = figures.draw_training(widths)
    assert controls(fig) == {"scaling", "log_eta"}
    assert len(fig.table) == 3 * 6 * len(recipes.WIDTHS) * len(STEPS)
    row = fig.table[
        (fig.table.parameterisation == "NTK") & (fig.table.N == 16) & (fig.table["η₀"] == 6.0) & (fig.table.t == 400)
    ]
    product = widths["NTK"]["product"].sel(width=16, eta0=6.0, step=400)
    assert row["ηλ"].item() == pytest.approx(float(np.exp(np.log(product).mean())))
    apart = analysis.measure_distance(widths["NTK"]["product"])[0].sel(eta0=6.0, step=400).mean()
    assert row["distance of ηλ"].item() == pytest.approx(float(apart))
    assert fig.table[recipes.WIDTHS[-1] == fig.table.N]["distance of ηλ"].isna().all()


def test_spectra_hold_every_eigenvalue_of_three_matrices():
    fig = figures.draw_spectra({"µP": analysis.load_spectra(load, "mup"), "NTK": analysis.load_spectra(load, "ntk")})
    assert controls(fig) == {"scaling", "which"}
    assert len(fig.table) == 2 * 3 * len(recipes.WIDTHS) * len(STEPS)
    last = fig.table[(fig.table.N == 16) & (fig.table.t == 400) & (fig.table.matrix == "NTK")].iloc[0]
    assert last["k = 2"] == pytest.approx(last["k = 1"] / 2, rel=5e-3)


def test_the_plane_shows_both_cuts():
    fig = figures.draw_plane(analysis.load_plane(load))
    assert controls(fig) == {"what"} and len(fig.table) == 10 * len(recipes.WIDTHS)
    values = [d for d in fig.specification["datasets"].values()] if "datasets" in fig.specification else []
    text = str(fig.specification)
    assert all(f"'width': {n}, 'gamma': {float(f'{n**-0.5:.3g}')}" in text for n in recipes.WIDTHS), values
    assert "by a factor 2.00 to 2.00 along µP's row" in fig.summary


def test_architectures_stand_side_by_side_in_two_parameterisations():
    families = {how.words: analysis.load_architectures(load, a) for a, how in recipes.ARCHITECTURES.items()}
    fig = figures.draw_architectures(families)
    assert not controls(fig) and len(fig.specification["concat"]) == 2 * len(families)
    titles = [panel["title"] for panel in fig.specification["concat"]]
    assert titles[:2] == ["ResNet, µP: ηλ", "ResNet, NTK: ηλ"] and titles[-1] == "transformer, NTK: ηλ"
    assert len(fig.table) == 2 * len(STEPS) * sum(len(how.widths) for how in recipes.ARCHITECTURES.values())
    table = fig.table[(fig.table.network == "ViT") & (fig.table.parameterisation == "NTK") & (fig.table.N == 16)]
    grown = table[table.t == 400]["ηλ"].item() / table[table.t == 0]["ηλ"].item()
    assert grown == pytest.approx(np.exp(8 / 16))


def test_transfer_and_depth_show_all_base_steps(widths):
    fig = figures.draw_transfer(widths)
    assert controls(fig) == {"scaling", "log_t"} and len(fig.table) == (7 + 8 + 8) * len(recipes.WIDTHS)
    assert "µP: 12 at the smallest width, 12 at the largest" in fig.summary
    deep = {name: analysis.load_depths(load, name) for name in recipes.RESIDUAL}
    fig = figures.draw_depth(deep)
    assert controls(fig) == {"branch", "log_eta"}
    assert len(fig.table) == len(recipes.RESIDUAL_ETAS) * len(STEPS) * sum(map(len, recipes.RESIDUAL.values()))
