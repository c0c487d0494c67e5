"""λ_max to ten digits: products Hv by double backward in float64, and SciPy's eigsh at tolerance 1e-10."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from benchmarks.peer_eager import network
from benchmarks.problem import Fitted


def largest_eigenvalue(one: Fitted) -> float:
    """λ_max of the loss as ``Fitted`` has it."""
    model = network(one.weights, one.scales).double()
    parameters = list(model.parameters())
    x, y = torch.from_numpy(one.inputs).double(), torch.from_numpy(one.targets).double()
    gradient = torch.cat([
        part.flatten() for part in
        torch.autograd.grad(torch.nn.functional.mse_loss(model(x), y), parameters, create_graph=True)
    ])  # fmt: skip

    def product(vector: np.ndarray) -> np.ndarray:
        rows = torch.autograd.grad(gradient, parameters, torch.from_numpy(vector.ravel()), retain_graph=True)
        return torch.cat([row.flatten() for row in rows]).numpy()

    size = len(gradient)
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    return eigsh(operator, k=1, which="LA", tol=1e-10, v0=start, return_eigenvectors=False)[0]
