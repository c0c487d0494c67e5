"""The figures of accuracy and of the adviser: the numbers of the result, and what a menu chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from specifications import check_figure

import richness
from richness.studies.adviser import analysis as adviser
from richness.studies.adviser import figures as adviser_figures
from richness.studies.performance import analysis as performance
from richness.studies.performance import figures as performance_figures

GAMMAS = (0.1, 1.0, 10.0, 100.0)


@pytest.fixture(scope="module")
def swept() -> xr.Dataset:
    experiment = richness.Experiment(
        depth=3, width=8, batch_size=8, steps=32, budgets=(10,), gammas=GAMMAS, etas="1e-3:1e4:22", band=(1.0, 100.0),
        seeds=(0, 1), probes=("loss", "accuracy"), record_points=7, probe_points=7,
    )  # fmt: skip
    return richness.sweep(experiment)


@pytest.fixture(scope="module")
def known() -> adviser.Rule:
    """A stretch of 1.2 decades at γ ≤ 100, and none above."""
    log_gamma = np.arange(-4, 4.01, 0.5)
    high = np.where(log_gamma <= 2, 1.5, np.nan)[None, :, None] * np.ones((2, 1, 2))
    dims = ("log_depth", "log_gamma", "log_budget")
    coords = {"log_depth": np.log10([2, 6]), "log_gamma": log_gamma, "log_budget": [2.699, 3.301]}
    measured = xr.Dataset(
        {end: (dims, high - down) for end, down in (("low", 1.2), ("best", 0.3), ("high", 0.0))}, coords
    )
    return adviser.Rule("mse", "sgd", measured, {"low": 0.2, "best": 0.2, "high": 0.1}, {"low": 0.1, "high": 0.1})


@pytest.fixture(scope="module")
def judged() -> pd.DataFrame:
    row = {
        "depth": 4,
        "loss": "mse",
        "optimizer": "adam",
        "width": 32,
        "batch_size": 16,
        "steps": 500,
        "task": "digits8",
    }
    row |= {"activation": "relu", "recipe": "one", "low": 1.0, "high": 10.0, "best": 3.0, "cells": 8, "good": 8}
    row |= {"learned": True, "worst": 1.2, "searched": 1.0, "worked": True, "gamma": 0.2}
    lost = row | {"gamma": 2.0, "worst": np.inf, "worked": False, "good": 6}
    none = row | {"gamma": 20.0, "low": np.nan, "high": np.nan, "best": np.nan, "cells": 0, "good": 0, "worst": np.nan}
    return pd.DataFrame([row, lost, none])


@pytest.fixture(scope="module")
def figures(swept: xr.Dataset, known: adviser.Rule, judged: pd.DataFrame) -> dict[str, Any]:
    both = {"first": swept, "second": swept}
    return {
        "accuracy": performance_figures.accuracy(both, label="accuracy"),
        "tuning": performance_figures.tuning_gamma(both, label="tuning"),
        "leaving": performance_figures.leaving_eta(both, label="leaving"),
        "advice": adviser_figures.advice([known], label="advice"),
        "judged": adviser_figures.judged_advice(judged, label="judged"),
    }


@pytest.mark.parametrize("name", ["accuracy", "tuning", "leaving", "advice", "judged"])
def test_it_becomes_a_picture_that_speaks(name: str, figures: dict[str, Any]) -> None:
    fig = figures[name]
    check_figure(fig)
    assert "MSE" in fig.caption + fig.summary + str(fig.table)
    assert 'data-signal="' in fig.html() or name == "judged"


def test_accuracy_is_that_of_the_best_eta(swept: xr.Dataset, figures: dict[str, Any]) -> None:
    best, table = performance.tune_eta(swept), figures["accuracy"].table
    row = table[(table.setting == "second") & (table["T"] == 32) & (table["γ"] == 10)].iloc[0]
    here = best.sel(gamma=10, budget=32)
    assert row["best η"] == pytest.approx(float(here.eta)) and row.accuracy == pytest.approx(
        float(here.accuracy.mean())
    )
    assert {param["name"] for param in figures["accuracy"].specification["params"]} == {"setting"}


def test_shapes_have_a_legend_where_they_carry_meaning(figures: dict[str, Any]) -> None:
    for name in ("accuracy", "tuning", "leaving"):
        assert any("shape" in legend for legend in all_legends(figures[name].vega)), name


def all_legends(part: Any) -> list[dict[str, Any]]:
    if isinstance(part, list):
        return [legend for item in part for legend in all_legends(item)]
    if not isinstance(part, dict):
        return []
    return part.get("legends", []) + all_legends(part.get("marks", []))


def test_the_read_out_is_the_advice(known: adviser.Rule, figures: dict[str, Any]) -> None:
    table = figures["advice"].table
    row = table[(table.depth == 2) & (table["γ"] == 10)].iloc[0]
    told = richness.advise(2, "mse", 10.0, steps=1000, known=known)
    assert (row.low, row.best, row.high) == pytest.approx((told.low, told.best, told.high), rel=0.01)
    assert table["γ"].max() == 100  # above, nothing learned
    names = {param["name"] for param in figures["advice"].specification["params"]}
    assert {"picked_loss", "picked_optimizer", "picked_depth", "picked_steps", "at", "view"} <= names


def test_a_question_is_answered_or_told_why_not(known: adviser.Rule) -> None:
    asked = adviser_figures.question([known])
    assert "η between" in repr(asked) and "T = 2000" in repr(asked)
    assert "depth was measured from 2 to 6" in asked.answer("mse", "sgd", depth=9, gamma=1.0)
    assert "No portraits of adam" in asked.answer("mse", "adam", depth=3, gamma=1.0)


def test_failures_are_framed_and_named(figures: dict[str, Any]) -> None:
    spec = figures["judged"].specification
    values = next(data for data in (*spec.get("datasets", {}).values(), spec.get("data", {}).get("values")) if data)
    assert [(row["shown"], row["worked"]) for row in values] == [("1.2", True), ("×", False), ("–", True)]
    assert figures["judged"].summary.startswith("The advice worked in 2 of 3 settings")


@pytest.mark.parametrize("name", ["accuracy", "tuning_gamma", "leaving_eta", "advice", "question"])
def test_nothing_to_draw_is_said(name: str) -> None:
    study = adviser_figures if name in ("advice", "question") else performance_figures
    with pytest.raises(ValueError, match="got none"):
        getattr(study, name)({})
