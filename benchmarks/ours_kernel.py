"""Us: the tangent kernel through each layer's factors, Σ_l (a_l a_lᵀ) ∘ (δ_l δ_lᵀ)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.ours_sharpness import stacked
from benchmarks.problem import Fitted
from richness import Experiment
from richness.measure import ntk_from_factors


def prepare(recipe: str, fitted: Fitted) -> Callable[[], np.ndarray]:
    """The program: the kernel of f = (f̃ − f̃₀)/γ, (samples, samples)."""
    architecture = Experiment.model_validate_json(recipe).architecture
    weights, x = stacked(fitted.weights), torch.from_numpy(fitted.inputs)

    @torch.no_grad()
    def run() -> np.ndarray:
        return (ntk_from_factors(architecture.factors(weights, x))[0] / fitted.gamma**2).numpy()

    return run
