"""Networks to be compared with one another: f and the layers' Gram matrices on held-out samples, from lazy to rich, over seeds.

Each γ has a single η, the same share of its natural η, well below the largest that converges: similarity is to differ by γ,
not by how near each run is to its edge. Steps are kept three a decade, T among them: at natural η a rich network's clock
τ = ηt/γ runs by γ^(2/L − 1) a step, so that at L = 3 one decade of γ is one step of that grid, and networks of equal τ are
found at recorded steps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from richness.networks.parameterization import natural_eta
from richness.runs.description import canonical, log_grid
from richness.runs.experiment import Experiment

#: η over natural η: a fifth or less of the largest that converges.
SHARES = {
    ("mlp", "mse", "digits8"): 6.0,
    ("mlp", "cross_entropy", "digits8"): 2.0,
    ("mlp", "mse", "teacher"): 1.0,
    ("cnn", "mse", "digits8"): 60.0,
}


def compared(
    scale: str,
    network: str = "mlp",
    depth: int = 3,
    loss: str = "mse",
    task: str = "digits8",
    probes: tuple[str, ...] = ("loss", "outputs", "gram"),
    **laptop: Any,
) -> Experiment:
    """One η for each γ, the same share of its natural η; ``laptop`` are fields that differ from the others' at that scale."""
    sized: dict[str, Any]
    if scale == "smoke":
        sized = {"width": 16, "batch_size": 32, "steps": 46, "record_points": 4, "gammas": "1e-2:1e3:6"}
        sized |= {"seeds": (0, 1)}
    elif scale == "laptop":
        sized = {"width": 64, "batch_size": 64, "steps": 10_000, "record_points": 14, "gammas": "1e-3:1e4:8"}
        sized |= {"seeds": (0, 1, 2, 3)} | laptop
    else:
        sized = {"width": 1024, "batch_size": 128, "steps": 21_544, "record_points": 15, "gammas": "1e-4:1e5:10"}
        sized |= {"seeds": (0, 1, 2, 3), "device": "cuda"}
    share = SHARES[network, loss, task]
    etas = canonical(share * natural_eta(np.array(log_grid(sized["gammas"])), depth))
    return Experiment(
        network=network, depth=depth, loss=loss, task=task, probes=probes,
        etas=etas, band=(0.99 * share, 1.01 * share), **sized,
    )  # fmt: skip


RECIPES: dict[str, Callable[[str], Experiment]] = {
    "similarity_mlp3_mse": compared,
    "similarity_mlp3_cross_entropy": partial(compared, loss="cross_entropy", gammas="1e-2:1e4:7"),
    "similarity_mlp3_mse_teacher": partial(compared, task="teacher"),
    "similarity_mlp3_mse_wide": partial(compared, width=256, gammas="1e-2:1e4:7", seeds=(0, 1, 2), record_points=5),
    "similarity_cnn4_mse": partial(
        compared, network="cnn", depth=4, width=16, gammas="1e-2:1e3:6", seeds=(0, 1, 2), record_points=4, steps=2154
    ),
    "singular_values_mlp4_mse": partial(
        compared, depth=4, gammas="1e-3:1e4:15", seeds=(0, 1, 2), probes=("loss", "singular_values", "feature_rank")
    ),
}
