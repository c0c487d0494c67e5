"""Portraits of other architectures, of a laptop's size: the paper's CNN on digits; CNN, ResNet and ViT on colour; a transformer
on text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from richness.runs.description import canonical
from richness.runs.experiment import Experiment
from richness.runs.grids import eta_axis

#: Where runs can be of interest, in units of the natural η (times its reach, upwards), found by a sweep of one seed and T = 300
#: with three η a decade, at γ = 10⁻³, 10⁻² … 10³. The natural η of the networks with norms is γ²/(1 + γ).
BANDS: dict[tuple[str, str, str], tuple[float, float]] = {
    ("cnn", "mse", "digits8"): (1.5, 400.0),
    ("cnn", "cross_entropy", "digits8"): (1.0, 25.0),
    ("cnn", "mse", "photos16"): (1.0, 300.0),
    ("resnet", "mse", "photos16"): (0.03, 20.0),
    ("vit", "mse", "photos16"): (0.05, 25.0),
    ("transformer", "cross_entropy", "text"): (0.003, 8.0),
}

QUARTER_DECADES = canonical(10.0 ** (np.arange(-14, 15) / 4))  # of γ, 10^−3.5 … 10^3.5
HALF_DECADES = canonical(10.0 ** (np.arange(-8, 8) / 2))  # 10^−4 … 10^3.5: four of them in each lazy window

LAPTOP: dict[str, dict[str, Any]] = {
    "cnn": {"depth": 4, "width": 16},  # two convolutions, one fully connected layer, the readout
    "resnet": {"depth": 6, "width": 8},  # two blocks
    "vit": {"depth": 6, "width": 16},  # one block
    "transformer": {"depth": 6, "width": 16},  # one block
}
PAPER: dict[str, dict[str, Any]] = {
    "cnn": {"depth": 4, "width": 128},
    "resnet": {"depth": 18, "width": 64},  # ResNet-18: 11.17 million weights for ten classes
    "vit": {"depth": 50, "width": 192},  # the twelve blocks of ViT-Ti: 5.5 million
    "transformer": {"depth": 26, "width": 384},  # six blocks of 384, as nanoGPT's model of characters has
}


def portrait(scale: str, network: str, loss: str, task: str, **changes: Any) -> Experiment:
    """One architecture's portrait; ``changes`` are fields that differ at laptop scale."""
    shared: dict[str, Any] = {
        "network": network, "loss": loss, "task": task, "probes": ("loss", "accuracy"), "batch_size": 32,
        "band": BANDS[network, loss, task],
    }  # fmt: skip
    if scale == "smoke":
        low, high = BANDS[network, loss, task]
        shared |= LAPTOP[network] | {"width": 4, "batch_size": 16, "steps": 30, "budgets": (10,), "seeds": (0,)}
        shared |= {
            "probe_points": 2,
            "record_points": 8,
            "gammas": "1e-2:1e2:3",
            "etas": eta_axis(1e-7, 1e4, 1, at_least=3),
        }
        shared |= {"band": (max(low, high / 30), high)}
    elif scale == "laptop":
        shared |= LAPTOP[network] | {"seeds": (0, 1, 2), "record_points": 24} | changes
    else:
        shared |= PAPER[network] | {"batch_size": 128, "steps": 10_000, "budgets": (1000, 3000), "seeds": (0, 1, 2)}
        shared |= {"probe_points": 9, "gammas": "1e-5:1e5:41", "etas": eta_axis(1e-14, 1e7, 4), "device": "cuda"}
        shared |= {"task": {"digits8": "digits", "photos16": "photos"}.get(task, task)}
    return Experiment.model_validate(shared)


def portrait_cnn4(scale: str, loss: str) -> Experiment:
    """The paper's CNN on 8×8 digits, with two budgets T; accuracy is probed every quarter decade, the budgets among them."""
    grid = {"gammas": QUARTER_DECADES, "etas": eta_axis(1e-9, 1e5, 4)}
    return portrait(scale, "cnn", loss, "digits8", steps=562, budgets=(178,), probe_points=12, **grid)


_COARSE: dict[str, Any] = {
    "gammas": HALF_DECADES, "etas": eta_axis(1e-10, 1e5, 2, at_least=4), "steps": 300, "budgets": (150,), "probe_points": 4,
}  # fmt: skip


def portrait_photos(scale: str, network: str) -> Experiment:
    """A coarse one on a stream of colour that no setting was chosen on but these bands."""
    return portrait(scale, network, "mse", "photos16", **_COARSE)


def portrait_text(scale: str) -> Experiment:
    """A coarse one of a character-level transformer."""
    return portrait(scale, "transformer", "cross_entropy", "text", **_COARSE)


RECIPES: dict[str, Callable[[str], Experiment]] = {
    "portrait_cnn4_mse": lambda scale: portrait_cnn4(scale, "mse"),
    "portrait_cnn4_cross_entropy": lambda scale: portrait_cnn4(scale, "cross_entropy"),
    "portrait_cnn4_mse_photos": lambda scale: portrait_photos(scale, "cnn"),
    "portrait_resnet_mse_photos": lambda scale: portrait_photos(scale, "resnet"),
    "portrait_vit_mse_photos": lambda scale: portrait_photos(scale, "vit"),
    "portrait_transformer_cross_entropy_text": portrait_text,
}
