"""The figures of the dynamics as specifications: controls, one visual language, the numbers of the result."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from specifications import check_figure, parts

from richness.plots import theme
from richness.studies.dynamics import analysis, figures

STEPS = np.unique(np.concatenate([[0], np.geomspace(1, 2000, 60).astype(int)]))


def made(gammas: list[float], etas: list[float], pace: float = 1.0) -> xr.Dataset:
    """Runs that leave their plateau at τ = 30, with every probe at every third step; the second run is sharp at first."""
    t, gamma = STEPS[None, None, None, :].astype(float), np.array(gammas)[:, None, None, None]
    eta, seed = np.array(etas)[None, :, None, None], np.arange(2)[None, None, :, None]
    gone = 1 / (1 + (30 * pace * gamma / (eta * np.maximum(t, 0.3))) ** 3)
    loss = (1 - 0.98 * gone) * (1 + 0.02 * seed)
    probed = np.where(np.isin(STEPS, STEPS[::3]), 1.0, np.nan)
    full, cell = ("gamma", "eta", "seed", "step"), ("gamma", "eta", "seed")
    status = np.zeros(loss.shape[:3], dtype=np.int8)
    status[0, -1] = 1  # one cell diverged
    recipe = {
        "network": "mlp", "depth": 3, "width": 16, "activation": "relu", "loss": "mse", "task": "teacher", "optimizer": "sgd",
        "batch_size": 32, "steps": 2000,
    }  # fmt: skip
    return xr.Dataset(
        {
            "loss": (full, loss),
            "sharpness": (full, probed * (0.1 + gone) * 2 / (16 * eta) + 0 * loss),
            "ntk_alignment": (full, probed * (0.1 + 0.4 * gone) + 0 * loss),
            "kernel_change": (full, probed * gone + 0 * loss),
            "feature_rank": ((*full, "hidden"), ((10 - 8 * gone) * probed + 0 * loss)[..., None] * [1.0, 2.0]),
            "initial_loss": (cell, loss[..., 0]),
            "late_loss": (cell, loss[..., -1]),
            "peak_loss": (cell, 2 * loss[..., 0]),
            "status": (cell, status),
        },
        coords={
            "gamma": gammas, "eta": etas, "seed": [0, 1], "step": STEPS, "hidden": [1, 2],
            "lr_raw": ("eta", 16 * np.array(etas)),
        },
        attrs={"recipe": json.dumps(recipe), "scale": "smoke"},
    )  # fmt: skip


GRID = made([100.0, 300.0, 1000.0, 3000.0], [30.0, 60.0, 120.0, 240.0, 480.0])
DRAWN = {
    "scrubber": lambda: figures.scrubber(
        {"one": GRID.isel(gamma=[0, 1], eta=[0, 4]), "two": GRID.isel(gamma=[2], eta=[0])}, label="s"
    ),
    "catapult_band": lambda: figures.catapult_band(made([0.1, 0.3, 1.0], [0.5, 1.0, 2.0, 4.0]), label="b"),
    "plateaus": lambda: figures.plateaus({2: made([100.0, 300.0, 1000.0], [60.0, 120.0, 240.0, 480.0], 2.0), 3: GRID}),
    "collapse": lambda: figures.collapse({"one": GRID, "two": GRID}),
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    return {name: draw() for name, draw in DRAWN.items()}


@pytest.fixture(scope="module")
def specs(drawn: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: fig.chart.to_dict() for name, fig in drawn.items()}


@pytest.mark.parametrize("name", DRAWN)
def test_it_becomes_a_picture_that_speaks(name: str, drawn: dict[str, Any], specs: dict[str, Any]) -> None:
    words = ("MSE", "teacher", "L = 3", "N = 16", "B = 32", "T = 2000", "2 seeds (0, 1)", "lr_raw = N·η")
    check_figure(drawn[name], *words, counts=name != "catapult_band")  # no run catapults here
    assert all(part["width"] <= 290 for part in parts(specs[name]) if isinstance(part.get("width"), int))
    for part in parts(specs[name]):
        for channel in ("color", "fill"):
            coded = part.get(channel)
            if isinstance(coded, dict) and coded.get("field") == "log_gamma":
                assert coded["scale"]["range"] == [theme.LAZY, theme.MIDDLE, theme.RICH]


def params(spec: dict[str, Any]) -> dict[str, Any]:
    return {param["name"]: param for param in spec["params"] if "bind" in param}


def test_the_scrubber_has_a_list_a_rule_and_a_clock(specs: dict[str, Any]) -> None:
    spec = specs["scrubber"]
    controls = params(spec)
    assert set(controls) == {"run", "now", "clock"}
    names = controls["run"]["bind"]["labels"]
    assert len(names) == 4 and names[0].startswith("one, γ = 100") and names[-1].startswith("two, γ = 1000")
    assert controls["now"]["bind"]["name"].strip() == "log10 step" and controls["now"]["bind"]["max"] == round(
        np.log10(2000), 2
    )
    assert len(spec["datasets"]["runs"]) == 4 and all(len(row["s"]) <= 40 for row in spec["datasets"]["runs"])
    reds = [
        part for part in parts(spec) if part.get("mark", {}) != {} and theme.STABILITY in json.dumps(part.get("mark"))
    ]
    assert len(reds) == 1  # the stability line, once


def test_the_scrubber_shows_the_run_itself(specs: dict[str, Any]) -> None:
    row = specs["scrubber"]["datasets"]["runs"][0]
    run = GRID.isel(gamma=0, eta=0, seed=0)
    at = dict(zip(row["t"], row["loss"], strict=True))
    step = row["t"][20]
    assert at[step] == pytest.approx(float((run.loss / run.initial_loss).sel(step=step)), rel=1e-3)
    ratio = float(run.sharpness.sel(step=row["s"][5]) * run.lr_raw / 2)
    assert row["ratio"][5] == pytest.approx(ratio, rel=1e-3)
    assert row["rank"][5] == pytest.approx(
        float(run.feature_rank.sel(step=row["s"][5])[-1]), rel=1e-3
    )  # the last layer


def test_a_scrubber_without_its_probes_says_which() -> None:
    with pytest.raises(ValueError, match="ntk_alignment"):
        figures.scrubber(GRID.drop_vars("ntk_alignment"))


def test_the_collapse_has_a_slider_for_the_exponent(drawn: dict[str, Any], specs: dict[str, Any]) -> None:
    fig, controls = drawn["collapse"], params(specs["collapse"])
    assert set(controls) == {"exponent", "stream"}
    bind = controls["exponent"]["bind"]
    assert bind["min"] == 0 and bind["max"] == 1.5 and controls["exponent"]["value"] == 1
    best = analysis.fit_collapse(GRID).best
    assert best == pytest.approx(1, abs=0.02) and f"least at a = {best:.2f}" in fig.summary
    assert set(fig.table["stream"]) == {"one", "two"} and fig.table["a"].max() == 1.5


def test_the_plateaus_table_is_in_steps_and_in_tau(drawn: dict[str, Any]) -> None:
    table = drawn["plateaus"].table
    deep = table[table.depth == "L = 3"]
    assert np.allclose(deep["plateau, τ"], deep["plateau, steps"] * deep["η"] / deep["γ"])
    assert np.allclose(deep["plateau, τ"], 30 / (0.98 / 0.2 - 1) ** (1 / 3), rtol=0.1)


def test_what_cannot_be_drawn_is_said_in_words() -> None:
    still = GRID.assign(loss=0 * GRID.loss + 1)
    assert "run more steps" in figures.collapse(still).summary
    assert "left its plateau" in figures.plateaus({3: still}).summary
    gone = GRID.assign(status=GRID.status * 0 + 1)
    assert "stayed finite" in figures.scrubber(gone).summary and "stayed finite" in figures.catapult_band(gone).summary
