"""Figures of many portraits: the gallery holds every cell of each, exponents and ratios are the findings'."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import vl_convert
import xarray as xr

from richness.analysis import boundaries
from richness.analysis.exponents import fit_exponents
from richness.networks.parameterization import natural_eta
from richness.plots.captions import conditions
from richness.plots.cells import cells
from richness.studies.optimizers import figures as optimizers_figures
from richness.studies.portrait import figures as portrait_figures
from richness.studies.portrait.figures.gallery import LEVELS


def dressed(runs: xr.Dataset, **fields: Any) -> xr.Dataset:
    """The same runs as if they came from another recipe."""
    return runs.assign_attrs(recipe=json.dumps(json.loads(runs.attrs["recipe"]) | fields))


@pytest.fixture(scope="module")
def four(runs: xr.Dataset) -> list[xr.Dataset]:
    return [dressed(runs, depth=L, loss=loss) for L in (3, 2) for loss in ("mse", "cross_entropy")]


def test_the_gallery_holds_every_cell(runs: xr.Dataset, four: list[xr.Dataset]) -> None:
    """Every cell lies in one stretch, whose level holds its late loss; stretches meet and none overlaps."""
    columns = portrait_figures.gallery(four).chart.to_dict()["datasets"]["cells"]
    assert len(columns) == 4 * runs.sizes["gamma"]
    mine = [column for column in columns if (column["L"], column["loss"]) == (2, "cross_entropy")]
    for cell in cells(runs).iloc[::7].itertuples():
        (column,) = (c for c in mine if c["gamma"] == float(f"{cell.gamma:.4g}"))
        assert len(column["e"]) == len(column["v"]) + 1 and column["e"] == sorted(column["e"])
        level = column["v"][int(np.searchsorted(column["e"], cell.log_eta)) - 1]
        if cell.state == "diverged":
            assert level == -1
        else:
            upper = LEVELS[level + 1] if level + 1 < len(LEVELS) else np.inf
            assert LEVELS[level] <= cell.late < upper
            assert (level == len(LEVELS) - 1) == (cell.state == "dead")
    assert {boundaries.LEARNED_BELOW, boundaries.CONVERGED_BELOW} <= set(LEVELS)


def test_the_gallery_is_turned_by_its_controls(four: list[xr.Dataset]) -> None:
    spec = portrait_figures.gallery(four).chart.to_dict()
    controls = {one["name"]: one for one in spec["params"]}
    assert set(controls) == {"L", "loss", "view"}  # the optimiser is the same in all: no control
    assert controls["L"]["bind"]["options"] == [3, 2] and controls["L"]["value"] == 3
    drawn = []
    for L, loss in ((3, "mse"), (2, "mse"), (3, "cross_entropy")):
        controls["L"]["value"], controls["loss"]["value"] = L, loss
        drawn.append(vl_convert.vegalite_to_svg(spec))
    assert len(set(drawn)) == 3


def test_a_gallery_lacks_nothing(four: list[xr.Dataset]) -> None:
    for runs in (four[:3], [*four[:2], *four[:2]]):
        with pytest.raises(ValueError, match="each combination"):
            portrait_figures.gallery(runs)


def test_sign_steps_are_straightened_by_the_root(runs: xr.Dataset) -> None:
    signed = dressed(runs, depth=4, optimizer="signsgd")
    table = cells(signed)
    assert np.allclose(table.natural, natural_eta(table.gamma, 4) ** 0.5)
    caption = portrait_figures.gallery([signed]).caption
    assert "γ(1+γ)^(1/L−1)" in caption and "SignSGD" in caption and "lr_raw" not in caption
    drawn = portrait_figures.gallery([signed]).chart.to_dict()["datasets"].values()
    lines = {row["line"] for rows in drawn for row in rows if "line" in row}
    assert {"η_max lazy", "η_max rich", "η_min rich"} <= lines


def test_exponents_by_depth_are_the_findings(runs: xr.Dataset) -> None:
    results = [runs, dressed(runs, loss="cross_entropy"), dressed(runs, depth=2)]
    table = portrait_figures.exponents_by_depth(results, ("eta_max",)).table
    expected = fit_exponents(runs, "eta_max", "rich")
    mine = table[(table.L == 3) & (table.loss == "MSE") & (table.side == "rich")]
    assert mine.exponent.tolist() == [e.fit.slope for e in expected if e.fit]
    assert mine.predicted.tolist() == [2 / 3, 2 / 3] and set(table[table.L == 2].predicted) == {1.0, 2.0}
    assert "lazy" not in set(table[table.loss == "cross-entropy"].side)  # no exponent of η_max is predicted there


def test_nothing_to_draw_is_said(runs: xr.Dataset) -> None:
    dead = runs.assign(late_loss=runs.initial_loss + 0 * runs.late_loss, budget_loss=1 + 0 * runs.budget_loss)
    for fig in (
        portrait_figures.exponents_by_depth([dead]),
        portrait_figures.closing_triangle([dead]),
        optimizers_figures.ratios(dead, {"a": dead}),
    ):
        assert "not drawn" in fig.table.columns or fig.summary
        vl_convert.vegalite_to_svg(fig.chart.to_dict())
    assert "not drawn" in portrait_figures.closing_triangle([dead]).table.columns


def test_a_ratio_is_that_of_each_boundary(runs: xr.Dataset) -> None:
    """A portrait whose η are all doubled has boundaries twice as high, but for the rounding of the grid."""
    twice = runs.assign_coords(eta=2 * runs.eta)
    table = optimizers_figures.ratios(runs, {"twice": twice}, ("eta_max", "eta_min")).table
    assert set(table.portrait) == {"twice"}
    assert np.allclose(table[["η_max", "η_min"]].to_numpy(dtype=float)[:, 0], 2, rtol=0.05)
    with pytest.raises(ValueError, match="same T"):
        optimizers_figures.ratios(runs, {"shorter": runs.isel(step=slice(0, -1))})


def test_differences_are_told_in_the_caption(four: list[xr.Dataset]) -> None:
    words = conditions(*four)
    assert (
        "L = 3 weight layers or MLP of L = 2" in words and "MSE (mean over batch and classes) or cross-entropy" in words
    )
    assert words.count("T = 1000") == 1
    slowed = dressed(four[0], optimizer="momentum", momentum=0.9, schedule="cosine", warmup=200)
    assert "SGD with momentum (β = 0.9), linear warm-up over 200 steps, cosine decay to 0" in conditions(slowed)
