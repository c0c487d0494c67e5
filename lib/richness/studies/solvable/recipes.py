"""The solvable model's nearest measured relatives: deep linear networks of finite width on a Gaussian linear teacher."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from richness.runs.experiment import Experiment
from richness.runs.grids import eta_axis

DEPTHS = (2, 3, 4)


def linear_teacher(scale: str, depth: int = 3) -> Experiment:
    """A portrait of a linear MLP (no non-linearity, so only width, noise and four modes part it from the model)."""
    shared: dict[str, Any] = {"depth": depth, "activation": "linear", "loss": "mse", "task": "teacher"}
    if scale == "smoke":
        shared |= {"width": 16, "batch_size": 32, "steps": 60, "budgets": (15, 30), "seeds": (0,), "record_points": 12}
        shared |= {"gammas": "1e-3:1e3:7", "etas": eta_axis(1e-9, 1e5, 1, at_least=3), "band": (0.01, 100.0)}
    elif scale == "laptop":
        shared |= {"width": 32, "batch_size": 64, "steps": 1000, "budgets": (250, 500), "seeds": (0, 1, 2)}
        shared |= {"record_points": 16, "gammas": "1e-4:1e4:33", "etas": eta_axis(1e-12, 1e8, 4), "band": (2e-3, 100.0)}
    else:
        shared |= {"width": 1024, "batch_size": 128, "steps": 10_000, "budgets": (1000, 3000), "seeds": (0, 1, 2)}
        shared |= {"gammas": "1e-5:1e5:41", "etas": eta_axis(1e-14, 1e8, 4), "band": (2e-4, 100.0), "device": "cuda"}
    return Experiment.model_validate(shared)


RECIPES: dict[str, Callable[[str], Experiment]] = {
    f"linear_mlp{depth}_teacher": partial(linear_teacher, depth=depth) for depth in DEPTHS
}
