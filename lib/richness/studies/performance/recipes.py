"""Accuracy on digits never seen, against γ and at several budgets T: MLP of depth 3, 28×28 digits, both losses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from richness.runs.experiment import Experiment
from richness.runs.grids import eta_axis

#: Around the best η at every budget, in units of the natural η: wide enough that the best lies inside.
BANDS = {"mse": (4.0, 120.0), "cross_entropy": (0.5, 7.0)}

#: Half decades up to T. Ten probed steps of 10⁴ are 0, 1, 3, 10 … 3162, 10⁴: accuracy is taken at each budget's last step.
BUDGETS = (100, 316, 1000, 3162)


def performance(scale: str, loss: str) -> Experiment:
    """One loss; a constant η, so that a shorter budget is the same run, stopped earlier."""
    shared: dict[str, Any] = {
        "depth": 3, "loss": loss, "task": "digits", "band": BANDS[loss], "probes": ("loss", "accuracy", "unseen_accuracy"),
    }  # fmt: skip
    if scale == "smoke":
        shared |= {"width": 16, "batch_size": 16, "steps": 100, "budgets": (10, 32), "probe_points": 6, "seeds": (0, 1)}
        shared |= {"record_points": 6, "gammas": "1e-1:1e3:5", "etas": eta_axis(1e-3, 1e4, 1, at_least=4)}
    elif scale == "laptop":
        shared |= {"width": 64, "batch_size": 64, "steps": 10_000, "budgets": BUDGETS, "seeds": (0, 1, 2, 3)}
        shared |= {"probe_points": 10, "record_points": 34}
        shared |= {"gammas": "1e-2:1e4:13", "etas": eta_axis(1e-5, 1e5, 2, at_least=6)}
    else:
        shared |= {"width": 1024, "batch_size": 128, "steps": 100_000, "budgets": (*BUDGETS, 10_000, 31_623)}
        shared |= {"probe_points": 12, "record_points": 42, "gammas": "1e-3:1e5:33", "etas": eta_axis(1e-7, 1e6, 4)}
        shared |= {"seeds": (0, 1, 2, 3), "device": "cuda"}
    return Experiment.model_validate(shared)


RECIPES: dict[str, Callable[[str], Experiment]] = {
    f"performance_mlp3_{loss}": partial(performance, loss=loss) for loss in BANDS
}
