"""What the laboratory shows at once, before it trains: every network that a page can train, on 8×8 digits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from richness.runs.experiment import Experiment
from richness.runs.grids import eta_axis

DEPTHS = (2, 3, 4)
#: Where runs can be of interest, in units of the natural η (times its reach, upwards): wider than a portrait's, since a
#: slider goes everywhere.
BANDS: dict[str, tuple[float, float]] = {"mse": (0.05, 700.0), "cross_entropy": (0.02, 60.0)}


def laboratory(scale: str, depth: int, loss: str) -> Experiment:
    """Loss, sharpness and accuracy over the plane of γ and η, one seed."""
    shared: dict = {"depth": depth, "loss": loss, "task": "digits8", "probes": ("loss", "sharpness", "accuracy")}
    low, high = BANDS[loss]
    if scale == "smoke":
        return Experiment(
            **shared, width=16, batch_size=32, steps=80, seeds=(0,), probe_points=3, probe_samples=256, record_points=16,
            gammas="1e-2:1e2:5", etas=eta_axis(1e-6, 1e4, 1, at_least=3), band=(max(low, high / 350), high),
        )  # fmt: skip
    return Experiment(
        **shared, width=64, batch_size=64, steps=1000, seeds=(0,), probe_points=14,
        gammas="1e-3:1e3:25", etas=eta_axis(1e-8, 1e5, 4), band=(low, high),
    )  # fmt: skip


RECIPES: dict[str, Callable[[str], Experiment]] = {
    f"laboratory_mlp{depth}_{loss}": partial(laboratory, depth=depth, loss=loss) for depth in DEPTHS for loss in BANDS
}
