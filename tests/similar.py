"""A made-up result of networks to compare: what is rich, what is lazy and whose seed it is are planted."""

from __future__ import annotations

import numpy as np
import xarray as xr

from richness.networks.parameterization import natural_eta
from richness.runs.experiment import Experiment
from richness.runs.results import STATUS

GAMMAS = (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
SAMPLES, OUTPUTS, CLOCK = 24, 3, 5.0


def planted(
    noise: float = 0.1, seeds: int = 3, spread: float = 0.0, loss: str = "mse", clock: str = "tau"
) -> xr.Dataset:
    """f = rise · (the group's own function + ``noise`` · the seed's + ``spread`` · γ's), and features alike.

    The rise goes with τ = ηt/γ on the rich side, or with t where ``clock`` is ``"t"``, and is done at once on the lazy side.
    There are more η than γ; one of them was not run.
    """
    etas = np.sort(np.concatenate([natural_eta(np.array(GAMMAS), 3), [1e6]]))
    experiment = Experiment(
        depth=3, loss=loss, task="digits8", steps=1000, record_points=11, gammas=GAMMAS, etas=etas.tolist(),
        seeds=tuple(range(seeds)), probes=("loss", "outputs", "gram"), band=(0.99, 1.01),
    )  # fmt: skip
    step = np.array(experiment.recorded_steps)
    rng = np.random.default_rng(7)
    rich, lazy = rng.normal(size=(2, SAMPLES, OUTPUTS))
    own = rng.normal(size=(seeds, SAMPLES, OUTPUTS))
    apart = rng.normal(size=(len(GAMMAS), SAMPLES, OUTPUTS))
    grid = (len(GAMMAS), len(etas), seeds)
    outputs = np.full((*grid, len(step), SAMPLES, OUTPUTS), np.nan, dtype=np.float32)
    rows, columns = np.triu_indices(SAMPLES)
    gram = np.full((*grid, len(step), 1, len(rows)), np.nan, dtype=np.float32)
    status = np.full(grid, STATUS["not_run"], dtype=np.int8)
    for i, j in experiment.cells():
        status[i, j] = STATUS["ok"]
        group = rich if GAMMAS[i] >= 1 else lazy
        time = step * (etas[j] / GAMMAS[i] if clock == "tau" else 0.1)
        rise = (time / (time + CLOCK) if GAMMAS[i] >= 1 else np.minimum(step, 1.0))[:, None, None]
        for s in range(seeds):
            f = group + noise * own[s] + spread * apart[i]
            outputs[i, j, s] = rise * f
            h = f - f.mean(axis=0)
            gram[i, j, s, :, 0] = (h @ h.T)[rows, columns]
    dims = ("gamma", "eta", "seed")
    return xr.Dataset(
        {
            "outputs": ((*dims, "step", "sample", "output"), outputs),
            "gram": ((*dims, "step", "hidden", "pair"), gram),
            "status": (dims, status),
        },
        {"gamma": list(GAMMAS), "eta": etas, "seed": np.arange(seeds), "step": step},
        {"recipe": experiment.model_dump_json(), "scale": "laptop"},
    )
