"""What the laboratory shows at once, before it trains."""

from __future__ import annotations

from richness.runs.experiment import Experiment
from richness.runs.recipes.grids import eta_axis


def laboratory_mlp3_mse(scale: str) -> Experiment:
    """What the laboratory shows at once when a slider moves: MLP of depth 3 under MSE on 8×8 digits, one seed."""
    shared: dict = {"depth": 3, "loss": "mse", "task": "digits8", "probes": ("loss", "sharpness", "accuracy")}
    if scale == "smoke":
        return Experiment(
            **shared, width=16, batch_size=32, steps=80, seeds=(0,), probe_points=3, probe_samples=256, record_points=16,
            gammas="1e-2:1e2:5", etas=eta_axis(1e-6, 1e4, 1, at_least=3), band=(2.0, 700.0),
        )  # fmt: skip
    return Experiment(
        **shared, width=64, batch_size=64, steps=1000, seeds=(0,), probe_points=14,
        gammas="1e-3:1e3:25", etas=eta_axis(1e-8, 1e5, 4), band=(0.05, 700.0),
    )  # fmt: skip


RECIPES = {"laboratory_mlp3_mse": laboratory_mlp3_mse}
