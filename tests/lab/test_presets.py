"""Each preset shows what it says, measured; and asks for nothing that the page cannot train."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from richness.lab.presets import PRESETS, preset_of
from richness.lab.settings import experiment_of
from richness.runs.live import Live
from richness.runs.training import History, train


def trained(ask: dict[str, Any], *probes: str, points: int = 16) -> tuple[History, np.ndarray]:
    """An ask's history, and the steps at which it was probed."""
    asked = experiment_of(ask)
    experiment = type(asked)(**{**asked.model_dump(), "probes": ("loss", *probes), "probe_points": points})
    return train(experiment, ask["seed"], [(ask["gamma"], ask["eta"])]), np.array(experiment.probed_steps)


def smooth(loss: np.ndarray, width: int = 20) -> np.ndarray:
    return np.convolve(loss[:, 0], np.ones(width) / width, "valid")


def first_below(loss: np.ndarray, share: float) -> int:
    """The first step whose smoothed loss is below a share of the first."""
    below = smooth(loss) < share * loss[0, 0]
    assert below.any()
    return int(below.argmax())


def relative_sharpness(ask: dict[str, Any], history: History) -> np.ndarray:
    return history.probes["sharpness"][:, 0] * ask["width"] * ask["eta"] / 2


def test_they_train_on_the_page_too():
    assert [preset["name"] for preset in PRESETS] == [
        "catapult", "silent_alignment", "steps", "edge_of_stability", "collapse",
    ]  # fmt: skip
    for preset in PRESETS:
        assert set(preset) == {"name", "title", "about", "ask", "axis", "scale", "also"}
        assert preset["axis"] in ("t", "tau") and preset["scale"] in ("log", "linear")
        assert (preset["name"] + preset["title"] + re.sub("[γητ]", "", preset["about"])).isascii()
        for ask in (preset["ask"], *preset["also"]):
            experiment_of(ask)
            assert ask["depth"] in (2, 3, 4) and ask["width"] == 64 and ask["optimizer"] == "sgd"
            assert ask["task"] in ("digits8", "teacher", "staircase", "halfspace")
            assert ask["batch_size"] <= 512 and ask["steps"] <= 3000


def test_an_unknown_preset_is_named():
    with pytest.raises(ValueError, match="unknown preset 'catapults': choose one of catapult, silent_alignment"):
        preset_of("catapults")


@pytest.mark.slow
def test_the_catapult_leaps_and_learns():
    preset = preset_of("catapult")
    history, _ = trained(preset["ask"], "sharpness")
    loss, sharpness = history.loss[:, 0], relative_sharpness(preset["ask"], history)
    assert history.diverged_at[0] == -1
    assert loss.max() >= 2 * loss[0] and loss.argmax() <= 10
    assert loss[-30:].mean() < 0.8 * loss[0]
    assert sharpness[0] > 2 and 0.7 < sharpness[-1] < 1.3
    calm, _ = trained(preset["also"][0], "sharpness")
    assert calm.loss.max() < 1.3 * calm.loss[0, 0] and relative_sharpness(preset["also"][0], calm)[0] < 1.1


@pytest.mark.slow
def test_the_kernel_aligns_silently_when_rich_only():
    rich, control = preset_of("silent_alignment")["ask"], preset_of("silent_alignment")["also"][0]

    def rise(ask: dict[str, Any]) -> float:
        """Of the alignment, while the loss is above 0.97 of its start."""
        history, probed = trained(ask, "ntk_alignment", points=30)
        alignment = history.probes["ntk_alignment"][:, 0]
        return float(alignment[probed < first_below(history.loss, 0.97)].max() - alignment[0])

    assert rise(rich) >= 0.05 and rise(control) < 0.02


@pytest.mark.slow
def test_the_teachers_outputs_are_learned_one_after_another():
    ask = preset_of("steps")["ask"]
    run = Live(experiment_of(ask))
    x, y = run.experiment.source.probe(1024)
    half = torch.full((4,), torch.nan)
    while not run.ended:
        run.advance(10)
        stack = run.moment().stack
        with torch.no_grad():
            f = run._trainer.outputs(stack, stack.weights, x)[0]
        learned = ((f - y) ** 2).mean(dim=0) < 0.5 * (y**2).mean(dim=0)
        half = torch.where(learned & half.isnan(), float(run.step), half)
    assert not half.isnan().any()
    assert (half[1:] / half[:-1] > 1.3).all(), half


@pytest.mark.slow
def test_the_sharpness_stays_at_the_edge():
    preset = preset_of("edge_of_stability")
    for ask in (preset["ask"], *preset["also"]):
        history, probed = trained(ask, "sharpness", points=60)
        late = relative_sharpness(ask, history)[probed >= ask["steps"] * 2 // 3]
        assert len(late) >= 2 and ((late > 0.8) & (late < 1.3)).all(), late


@pytest.mark.slow
def test_the_first_drops_fall_on_one_another_in_tau():
    preset = preset_of("collapse")
    asks = [preset["ask"], *preset["also"]]
    drops = np.array([[first_below(trained(ask)[0].loss, share) for share in (0.97, 0.95)] for ask in asks])
    tau = drops * np.array([[ask["eta"] / ask["gamma"]] for ask in asks])
    assert (drops.max(axis=0) / drops.min(axis=0) >= 5).all(), drops
    assert (tau.max(axis=0) / tau.min(axis=0) <= 1.1).all(), tau
