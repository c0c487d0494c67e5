"""What the adviser needs besides the portraits: other batch sizes to correct by, and settings to be judged on.

All of these settings differ from the portraits in everything that the adviser is asked for: depth, width, batch size,
budget, γ between the portraits' γ, and always other seeds. There are two lists. The first, `HELD_OUT`, was written down
before the adviser's first rule was judged; what it taught has gone into the rule since. The second, `FINAL`, was written
down then, with other settings again, and the rule was not touched after the first look at it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from richness.runs.experiment import Experiment
from richness.runs.grids import LOSSES, OPTIMIZERS, eta_axis, recipe_name

#: A decade and more below the best η to above the largest that converges, in units of the natural η (see `Experiment.band`).
BANDS: dict[tuple[str, str], tuple[float, float]] = {
    ("mse", "sgd"): (0.5, 500.0),
    ("cross_entropy", "sgd"): (0.1, 20.0),
    ("mse", "momentum"): (0.05, 80.0),
    ("cross_entropy", "momentum"): (0.01, 5.0),
    ("mse", "signsgd"): (0.008, 5.0),
    ("cross_entropy", "signsgd"): (0.008, 3.0),
    ("mse", "adam"): (0.01, 8.0),
    ("cross_entropy", "adam"): (0.02, 8.0),
}

#: Of the portraits' other batch size, 64, a quarter and four times as much.
BATCH_SIZES = (16, 256)

#: Depth, loss, optimiser, width, batch size, steps: the digits that the portraits were made from, nothing else as there.
SETTINGS: tuple[dict[str, Any], ...] = (
    {"depth": 3, "width": 128, "batch_size": 16, "steps": 1000},
    {"depth": 3, "width": 32, "batch_size": 256, "steps": 500},
    {"depth": 5, "width": 96, "batch_size": 48, "steps": 1500},
    {"depth": 2, "width": 256, "batch_size": 32, "steps": 700},
    {"depth": 4, "width": 128, "batch_size": 128, "steps": 1000},
    {"depth": 3, "width": 48, "batch_size": 96, "steps": 4000},
    {"depth": 3, "loss": "cross_entropy", "width": 128, "batch_size": 16, "steps": 1000},
    {"depth": 5, "loss": "cross_entropy", "width": 96, "batch_size": 48, "steps": 1500},
    {"depth": 2, "loss": "cross_entropy", "width": 256, "batch_size": 128, "steps": 500},
    {"depth": 4, "loss": "cross_entropy", "width": 32, "batch_size": 256, "steps": 700},
    {"depth": 3, "optimizer": "momentum", "width": 128, "batch_size": 32, "steps": 700},
    {"depth": 5, "loss": "cross_entropy", "optimizer": "momentum", "width": 48, "batch_size": 96, "steps": 1000},
    {"depth": 4, "optimizer": "signsgd", "width": 128, "batch_size": 32, "steps": 700},
    {"depth": 3, "loss": "cross_entropy", "optimizer": "signsgd", "width": 32, "batch_size": 128, "steps": 1500},
    {"depth": 5, "optimizer": "adam", "width": 32, "batch_size": 128, "steps": 1500},
    {"depth": 3, "loss": "cross_entropy", "optimizer": "adam", "width": 128, "batch_size": 32, "steps": 700},
)

#: The second list, otherwise alike.
FINAL_SETTINGS: tuple[dict[str, Any], ...] = (
    {"depth": 2, "width": 40, "batch_size": 24, "steps": 900},
    {"depth": 3, "width": 192, "batch_size": 80, "steps": 600},
    {"depth": 4, "width": 48, "batch_size": 160, "steps": 800},
    {"depth": 5, "width": 128, "batch_size": 20, "steps": 600},
    {"depth": 6, "width": 80, "batch_size": 40, "steps": 1800},
    {"depth": 2, "loss": "cross_entropy", "width": 128, "batch_size": 40, "steps": 1200},
    {"depth": 3, "loss": "cross_entropy", "width": 192, "batch_size": 100, "steps": 600},
    {"depth": 4, "loss": "cross_entropy", "width": 80, "batch_size": 24, "steps": 1600},
    {"depth": 5, "loss": "cross_entropy", "width": 40, "batch_size": 120, "steps": 900},
    {"depth": 4, "optimizer": "momentum", "width": 96, "batch_size": 48, "steps": 900},
    {"depth": 2, "loss": "cross_entropy", "optimizer": "momentum", "width": 160, "batch_size": 24, "steps": 500},
    {"depth": 2, "optimizer": "signsgd", "width": 96, "batch_size": 96, "steps": 900},
    {"depth": 5, "loss": "cross_entropy", "optimizer": "signsgd", "width": 80, "batch_size": 48, "steps": 800},
    {"depth": 3, "optimizer": "adam", "width": 96, "batch_size": 24, "steps": 900},
    {"depth": 4, "loss": "cross_entropy", "optimizer": "adam", "width": 48, "batch_size": 100, "steps": 500},
)

#: Further from home: the same digits at 28×28, other data, another activation.
ELSEWHERE: tuple[dict[str, Any], ...] = (
    {"depth": 4, "width": 64, "batch_size": 64, "steps": 1000, "task": "digits"},
    {"depth": 3, "loss": "cross_entropy", "width": 64, "batch_size": 64, "steps": 700, "task": "digits"},
    {"depth": 3, "width": 96, "batch_size": 48, "steps": 1000, "activation": "tanh"},
    {"depth": 3, "width": 96, "batch_size": 48, "steps": 1000, "task": "halfspace"},
    {"depth": 4, "width": 96, "batch_size": 48, "steps": 1000, "task": "teacher"},
)


def judge_setting(scale: str, **setting: Any) -> Experiment:
    """One setting at six γ, two seeds: at every γ the adviser is right or wrong."""
    gammas = "2e-2:2e2:5" if scale == "smoke" else "2e-2:2e3:6"
    return _experiment(scale, gammas=gammas, seeds=(10, 11), **setting)


def judge_final_setting(scale: str, **setting: Any) -> Experiment:
    """One setting of the second list, at six γ and two seeds that the first does not have."""
    gammas = "5e-2:5e2:5" if scale == "smoke" else "5e-3:5e2:6"
    return _experiment(scale, gammas=gammas, seeds=(20, 21), **setting)


def other_batch(scale: str, **setting: Any) -> Experiment:
    """The portrait of depth 3 again, in part, at another batch size."""
    return _experiment(scale, gammas="1e-2:1e3:6", seeds=(0, 1), depth=3, width=64, steps=1000, **setting)


def _experiment(scale: str, loss: str = "mse", optimizer: str = "sgd", **fields: Any) -> Experiment:
    shared: dict[str, Any] = {"loss": loss, "optimizer": optimizer, "task": "digits8", "band": BANDS[loss, optimizer]}
    shared |= {"etas": eta_axis(1e-6, 1e6, 1)} | fields | {"record_points": 8, "probe_points": 2}
    if scale == "smoke":
        shared |= {"width": 16, "batch_size": 16, "steps": 50, "etas": eta_axis(1e-6, 1e6, 1, at_least=2)}
    elif scale == "paper":
        shared |= {"width": 8 * shared["width"], "device": "cuda"}
    return Experiment.model_validate(shared)


def judged_name(
    depth: int,
    width: int,
    batch_size: int,
    steps: int,
    loss: str = "mse",
    optimizer: str = "sgd",
    task: str = "",
    activation: str = "",
    prefix: str = "held_out",
) -> str:
    """The recipe's name: ``held_out_mlp5_mse_n96_b48_t1500``; what is not as everywhere stands in it too."""
    return recipe_name(prefix, depth, loss, optimizer, task, activation, f"n{width}", f"b{batch_size}", f"t{steps}")


def batches_name(loss: str, optimizer: str, batch_size: int) -> str:
    """The recipe's name: ``batch_mlp3_mse_b16``, ``batch_mlp3_cross_entropy_adam_b256``."""
    return recipe_name("batch", 3, loss, optimizer, f"b{batch_size}")


HELD_OUT = {judged_name(**setting): partial(judge_setting, **setting) for setting in SETTINGS}
FINAL = {judged_name(**setting, prefix="final"): partial(judge_final_setting, **setting) for setting in FINAL_SETTINGS}
HELD_OUT_ELSEWHERE = {judged_name(**setting): partial(judge_setting, **setting) for setting in ELSEWHERE}
RECIPES: dict[str, Callable[[str], Experiment]] = {
    batches_name(loss, optimizer, size): partial(other_batch, loss=loss, optimizer=optimizer, batch_size=size)
    for optimizer in OPTIMIZERS
    for loss in LOSSES
    for size in BATCH_SIZES
}
RECIPES |= HELD_OUT | FINAL | HELD_OUT_ELSEWHERE
