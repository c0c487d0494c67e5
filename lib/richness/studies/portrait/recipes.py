"""The recipes of portraits: of perceptrons, of other architectures, of the laboratory, and of the paper's own data.

A band says where runs can be of interest, in units of the natural η (times its reach, upwards): from a little below the
smallest η that learns to a little above the largest that converges.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from richness.runs.description import canonical
from richness.runs.experiment import Experiment
from richness.runs.grids import DEPTHS, LOSSES, OPTIMIZERS, eta_axis, recipe_name

Make = Callable[[str], Experiment]


# -- perceptrons: the headline on 28×28 digits; depth × loss × optimiser on 8×8 digits ---------------------------------

#: At N = 64 and T of a thousand or two.
MLP_BANDS: dict[tuple[str, str], tuple[float, float]] = {
    ("mse", "sgd"): (0.06, 2000.0),
    ("cross_entropy", "sgd"): (0.02, 60.0),
    ("mse", "momentum"): (0.02, 700.0),
    ("cross_entropy", "momentum"): (0.003, 30.0),
    ("mse", "signsgd"): (0.0025, 30.0),
    ("cross_entropy", "signsgd"): (0.0025, 10.0),
    ("mse", "adam"): (0.0025, 30.0),
    ("cross_entropy", "adam"): (0.0025, 10.0),
}


def phase_portrait_mlp3_mse(scale: str) -> Experiment:
    """The headline portrait: MLP of depth 3 under MSE on 28×28 digits, with three budgets T."""
    shared: dict = {"depth": 3, "loss": "mse", "task": "digits", "probes": ("loss", "sharpness", "accuracy")}
    if scale == "smoke":
        return Experiment(
            **shared, width=16, batch_size=32, steps=80, budgets=(20, 40), seeds=(0, 1), probe_points=3, probe_samples=256,
            record_points=16, gammas="1e-3:1e3:13", etas=eta_axis(1e-8, 1e5, 2, at_least=4), band=(2.0, 700.0),
        )  # fmt: skip
    if scale == "laptop":
        return Experiment(
            **shared, width=64, batch_size=64, steps=2000, budgets=(500, 1000), seeds=(0, 1, 2), probe_points=8,
            gammas="1e-4:1e4:33", etas=eta_axis(1e-10, 1e6, 4), band=(0.025, 500.0),
        )  # fmt: skip
    return Experiment(
        **shared, width=1024, batch_size=128, steps=10_000, budgets=(1000, 3000), seeds=(0, 1, 2), probe_points=9,
        gammas="1e-5:1e5:41", etas=eta_axis(1e-12, 1e7, 4), band=(0.025, 500.0), device="cuda",
    )  # fmt: skip


def mlp_portrait(scale: str, depth: int = 3, loss: str = "mse", optimizer: str = "sgd", **changes: Any) -> Experiment:
    """A portrait on 8×8 digits with three budgets T; ``changes`` are fields that differ from the others'."""
    low, high = MLP_BANDS[loss, optimizer]
    shared: dict[str, Any] = {
        "depth": depth, "loss": loss, "optimizer": optimizer, "task": "digits8", "probes": ("loss", "accuracy"),
    }  # fmt: skip
    if scale == "smoke":
        shared |= {"width": 16, "batch_size": 32, "steps": 60, "budgets": (15, 30), "seeds": (0,), "probe_points": 2}
        shared |= {"record_points": 12, "gammas": "1e-3:1e3:7", "etas": eta_axis(1e-9, 1e5, 1, at_least=3)}
        low, high = max(low, high / 300), high
    elif scale == "laptop":
        steps = 2000 if optimizer == "sgd" else 1000
        shared |= {"width": 64, "batch_size": 64, "steps": steps, "budgets": (steps // 4, steps // 2)}
        shared |= {"seeds": (0, 1, 2)}
        shared |= {"probe_points": 5, "record_points": 32, "gammas": "1e-4:1e4:33", "etas": eta_axis(1e-12, 1e8, 4)}
    else:
        shared |= {"width": 1024, "batch_size": 128, "steps": 10_000, "budgets": (1000, 3000), "seeds": (0, 1, 2)}
        shared |= {"gammas": "1e-5:1e5:41", "etas": eta_axis(1e-14, 1e7, 4), "device": "cuda", "task": "digits"}
    return Experiment.model_validate(shared | {"band": (low, high)} | changes)


#: Portraits that differ from ``portrait_mlp3_mse`` in one thing each: the batch, the step's schedule, the stream. A
#: stream's band follows the size of its targets: the teacher learns from far smaller η on than digits do.
VARIATIONS: dict[str, dict[str, Any]] = {
    "teacher": {"task": "teacher", "probes": ("loss",), "band": (0.004, 200.0)},
    "signsgd_teacher": {"optimizer": "signsgd", "task": "teacher", "probes": ("loss",), "band": (0.0012, 60.0)},
    "adam_teacher": {"optimizer": "adam", "task": "teacher", "probes": ("loss",), "band": (0.0008, 150.0)},
    "steps1000": {"steps": 1000, "budgets": (250, 500)},  # as many as the other optimisers' portraits have
    "batch16": {"batch_size": 16, "gammas": "1e-3:1e3:25"},
    "batch256": {"batch_size": 256, "gammas": "1e-3:1e3:25", "band": (0.5, 700.0)},
    "cosine": {"schedule": "cosine", "gammas": "1e-3:1e3:25", "band": (0.2, 2000.0)},
    "warmup": {"gammas": "1e-3:1e3:25", "band": (0.2, 2000.0)},
}

#: Of all steps, the share over which the schedule ``warmup`` rises.
WARMUP_SHARE = 0.1


def vary_portrait(scale: str, name: str) -> Experiment:
    """One of `VARIATIONS`; at smoke scale its γ are the few of every smoke portrait."""
    changes = dict(VARIATIONS[name])
    if scale != "laptop":
        changes = {key: value for key, value in changes.items() if key not in ("gammas", "steps", "budgets")}
    if name == "warmup":
        changes["warmup"] = int(WARMUP_SHARE * mlp_portrait(scale).steps)
    return mlp_portrait(scale, **changes)


_MLPS: dict[str, Make] = {"phase_portrait_mlp3_mse": phase_portrait_mlp3_mse}
_MLPS |= {
    recipe_name("portrait", depth, loss, optimizer): partial(mlp_portrait, depth=depth, loss=loss, optimizer=optimizer)
    for optimizer in OPTIMIZERS
    for loss in LOSSES
    for depth in DEPTHS
}
_MLPS |= {f"portrait_mlp3_mse_{name}": partial(vary_portrait, name=name) for name in VARIATIONS}


# -- other architectures -----------------------------------------------------------------------------------------------

#: Found by a sweep of one seed and T = 300 with three η a decade, at γ = 10⁻³, 10⁻² … 10³. The natural η of the networks with
#: norms is γ²/(1 + γ).
NETWORK_BANDS: dict[tuple[str, str, str], tuple[float, float]] = {
    ("cnn", "mse", "digits8"): (1.5, 400.0),
    ("cnn", "cross_entropy", "digits8"): (1.0, 25.0),
    ("cnn", "mse", "photos16"): (1.0, 300.0),
    ("resnet", "mse", "photos16"): (0.03, 20.0),
    ("vit", "mse", "photos16"): (0.05, 25.0),
    ("transformer", "cross_entropy", "text"): (0.003, 8.0),
}

QUARTER_DECADES = canonical(10.0 ** (np.arange(-14, 15) / 4))  # of γ, 10^−3.5 … 10^3.5
HALF_DECADES = canonical(10.0 ** (np.arange(-8, 8) / 2))  # 10^−4 … 10^3.5: four of them in each lazy window

LAPTOP_SIZES: dict[str, dict[str, Any]] = {
    "cnn": {"depth": 4, "width": 16},  # two convolutions, one fully connected layer, the readout
    "resnet": {"depth": 6, "width": 8},  # two blocks
    "vit": {"depth": 6, "width": 16},  # one block
    "transformer": {"depth": 6, "width": 16},  # one block
}
PAPER_SIZES: dict[str, dict[str, Any]] = {
    "cnn": {"depth": 4, "width": 128},
    "resnet": {"depth": 18, "width": 64},  # ResNet-18: 11.17 million weights for ten classes
    "vit": {"depth": 50, "width": 192},  # the twelve blocks of ViT-Ti: 5.5 million
    "transformer": {"depth": 26, "width": 384},  # six blocks of 384, as nanoGPT's model of characters has
}
_PAPER_SHARED: dict[str, Any] = {
    "batch_size": 128, "steps": 10_000, "budgets": (1000, 3000), "seeds": (0, 1, 2), "probes": ("loss", "accuracy"),
    "probe_points": 9, "gammas": "1e-5:1e5:41", "etas": eta_axis(1e-14, 1e7, 4), "device": "cuda",
}  # fmt: skip


def network_portrait(scale: str, network: str, loss: str, task: str, **changes: Any) -> Experiment:
    """One architecture's portrait; ``changes`` are fields that differ at laptop scale."""
    shared: dict[str, Any] = {
        "network": network, "loss": loss, "task": task, "probes": ("loss", "accuracy"), "batch_size": 32,
        "band": NETWORK_BANDS[network, loss, task],
    }  # fmt: skip
    if scale == "smoke":
        low, high = NETWORK_BANDS[network, loss, task]
        shared |= LAPTOP_SIZES[network] | {"width": 4, "batch_size": 16, "steps": 30, "budgets": (10,), "seeds": (0,)}
        shared |= {"probe_points": 2, "record_points": 8, "band": (max(low, high / 30), high)}
        shared |= {"gammas": "1e-2:1e2:3", "etas": eta_axis(1e-7, 1e4, 1, at_least=3)}
    elif scale == "laptop":
        shared |= LAPTOP_SIZES[network] | {"seeds": (0, 1, 2), "record_points": 24} | changes
    else:
        shared |= _PAPER_SHARED | PAPER_SIZES[network]
        shared |= {"task": {"digits8": "digits", "photos16": "photos"}.get(task, task)}
    return Experiment.model_validate(shared)


#: The paper's CNN on 8×8 digits, with two budgets T; accuracy is probed every quarter decade, the budgets among them.
_FINE: dict[str, Any] = {
    "gammas": QUARTER_DECADES, "etas": eta_axis(1e-9, 1e5, 4), "steps": 562, "budgets": (178,), "probe_points": 12,
}  # fmt: skip

#: On streams that no setting was chosen on but these bands.
_COARSE: dict[str, Any] = {
    "gammas": HALF_DECADES, "etas": eta_axis(1e-10, 1e5, 2, at_least=4), "steps": 300, "budgets": (150,), "probe_points": 4,
}  # fmt: skip

_NETWORKS: dict[str, Make] = {
    f"portrait_{name}": partial(network_portrait, network=network, loss=loss, task=task, **grid)
    for name, network, loss, task, grid in (
        ("cnn4_mse", "cnn", "mse", "digits8", _FINE),
        ("cnn4_cross_entropy", "cnn", "cross_entropy", "digits8", _FINE),
        ("cnn4_mse_photos", "cnn", "mse", "photos16", _COARSE),
        ("resnet_mse_photos", "resnet", "mse", "photos16", _COARSE),
        ("vit_mse_photos", "vit", "mse", "photos16", _COARSE),
        ("transformer_cross_entropy_text", "transformer", "cross_entropy", "text", _COARSE),
    )
}


# -- the laboratory ----------------------------------------------------------------------------------------------------

LABORATORY_DEPTHS = (2, 3, 4)
#: Wider than a portrait's, since a slider goes everywhere.
LABORATORY_BANDS: dict[str, tuple[float, float]] = {"mse": (0.05, 700.0), "cross_entropy": (0.02, 60.0)}


def laboratory(scale: str, depth: int, loss: str) -> Experiment:
    """What the laboratory shows before it trains: loss, sharpness and accuracy over γ and η, 8×8 digits, one seed."""
    shared: dict = {"depth": depth, "loss": loss, "task": "digits8", "probes": ("loss", "sharpness", "accuracy")}
    low, high = LABORATORY_BANDS[loss]
    if scale == "smoke":
        return Experiment(
            **shared, width=16, batch_size=32, steps=80, seeds=(0,), probe_points=3, probe_samples=256, record_points=16,
            gammas="1e-2:1e2:5", etas=eta_axis(1e-6, 1e4, 1, at_least=3), band=(max(low, high / 350), high),
        )  # fmt: skip
    return Experiment(
        **shared, width=64, batch_size=64, steps=1000, seeds=(0,), probe_points=14,
        gammas="1e-3:1e3:25", etas=eta_axis(1e-8, 1e5, 4), band=(low, high),
    )  # fmt: skip


_LABORATORIES: dict[str, Make] = {
    recipe_name("laboratory", depth, loss): partial(laboratory, depth=depth, loss=loss)
    for depth in LABORATORY_DEPTHS
    for loss in LABORATORY_BANDS
}


# -- the paper's own data ----------------------------------------------------------------------------------------------

_PAPER_MLP: dict[str, Any] = {"network": "mlp", "depth": 3, "width": 1024}


def _paper_portrait(
    network: str, loss: str, task: str, band: tuple[float, float], **changes: Any
) -> Callable[[], Experiment]:
    sizes = _PAPER_MLP if network == "mlp" else {"network": network} | PAPER_SIZES[network]
    fields = _PAPER_SHARED | sizes | {"loss": loss, "task": task, "band": band} | changes
    return lambda: Experiment.model_validate(fields)


#: The paper's networks on the paper's own data, at scale ``paper`` alone: a million digits are seen once in 7,000 steps, five
#: million images in 39,000; TinyImageNet has no end. No such recipe has been run here: their bands in η are those found on
#: other streams (colour crops of photographs, digits).
PAPER_ONLY: dict[str, Callable[[], Experiment]] = {
    "portrait_mlp3_mse_mnist1m": _paper_portrait(
        "mlp", "mse", "mnist1m", (0.025, 500.0), steps=7000, budgets=(700, 2100)
    ),
    "portrait_cnn4_mse_cifar5m": _paper_portrait("cnn", "mse", "cifar5m", (1.0, 300.0)),
    "portrait_cnn4_cross_entropy_cifar5m": _paper_portrait("cnn", "cross_entropy", "cifar5m", (1.0, 25.0)),
    "portrait_resnet_mse_tinyimagenet": _paper_portrait("resnet", "mse", "tinyimagenet", (0.03, 20.0)),
    "portrait_vit_mse_tinyimagenet": _paper_portrait("vit", "mse", "tinyimagenet", (0.05, 25.0)),
}

RECIPES: dict[str, Make] = _MLPS | _LABORATORIES | _NETWORKS
