"""Peer: curvlinops' Hessian as a SciPy operator, and SciPy's eigsh (ARPACK) at tolerance 1e-3.

The two as their documentation puts them together: one batch, MSE, the largest algebraic eigenvalue. The check that the data
loader is deterministic, which costs two more passes, is off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from curvlinops import HessianLinearOperator
from scipy.sparse.linalg import eigsh

from benchmarks.peer_eager import network
from benchmarks.problem import Fitted


def prepare(fitted: Sequence[Fitted], tolerance: float = 1e-3) -> Callable[[], np.ndarray]:
    """The program: λ_max of each network, one at a time."""
    models = [network(one.weights, one.scales) for one in fitted]
    data = [[(torch.from_numpy(one.inputs), torch.from_numpy(one.targets))] for one in fitted]

    def largest(model: torch.nn.Module, batches: list) -> float:
        hessian = HessianLinearOperator(
            model, torch.nn.MSELoss(), list(model.parameters()), batches, check_deterministic=False
        )
        return eigsh(hessian.to_scipy(), k=1, which="LA", tol=tolerance, return_eigenvectors=False)[0]

    return lambda: np.array([largest(model, batches) for model, batches in zip(models, data, strict=True)])
