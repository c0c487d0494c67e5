"""Peer: PyHessian's power iteration, at the relative tolerance 1e-5 between two iterations.

One batch, whose gradient graph it builds once and keeps. It finds the eigenvalue that is largest in modulus, which is the
largest one here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from pyhessian import hessian

from benchmarks.peer_eager import network
from benchmarks.problem import Fitted


def prepare(fitted: Sequence[Fitted], tolerance: float = 1e-5) -> Callable[[], np.ndarray]:
    """The program: λ_max of each network, one at a time."""
    # PyHessian calls backward(create_graph=True), of which torch warns; the gradients are cleared below.
    warnings.filterwarnings("ignore", message=r"Using backward\(\) with create_graph=True")
    models = [network(one.weights, one.scales) for one in fitted]
    data = [(torch.from_numpy(one.inputs), torch.from_numpy(one.targets)) for one in fitted]

    def largest(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> float:
        values, _ = hessian(model, torch.nn.MSELoss(), data=batch, cuda=False).eigenvalues(maxIter=1000, tol=tolerance)
        model.zero_grad()
        return values[0]

    return lambda: np.array([largest(model, batch) for model, batch in zip(models, data, strict=True)])
