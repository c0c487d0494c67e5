"""Peer: the empirical neural tangent kernel as in PyTorch's tutorial: ``vmap(jacrev)`` over the samples, then one contraction.

K(x, x') = Σ_k ⟨∂f_k(x)/∂θ, ∂f_k(x')/∂θ⟩, the trace over outputs, which the tutorial calls so too: the Jacobians of all
samples are formed, and contracted layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.func import functional_call, jacrev, vmap

from benchmarks.peer_eager import network
from benchmarks.problem import Fitted


def prepare(fitted: Fitted) -> Callable[[], np.ndarray]:
    """The program: the kernel of one network, (samples, samples)."""
    model = network(fitted.weights, fitted.scales)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    x = torch.from_numpy(fitted.inputs)

    def single(parameters: dict[str, torch.Tensor], sample: torch.Tensor) -> torch.Tensor:
        return functional_call(model, parameters, (sample[None],))[0]

    def run() -> np.ndarray:
        jacobians = vmap(jacrev(single), (None, 0))(parameters, x).values()  # each (samples, K, fan_out, fan_in)
        rows = [jacobian.flatten(1) for jacobian in jacobians]
        return sum(row @ row.T for row in rows).numpy()

    return run
