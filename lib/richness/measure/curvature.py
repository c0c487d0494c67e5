"""Curvature of a scalar loss at given parameters, for a stack of independent networks at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from richness import rng

Loss = Callable[[list[Tensor]], Tensor]


def hessian_vector_product(loss: Loss, weights: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """The map v ↦ Hv at fixed parameters, network by network.

    Args:
        loss: weights, each (cells, ...), to one loss a network, (cells,); no network's loss may depend on another's weights.
        weights: where to take the Hessian.

    Returns:
        A function from (cells, P) to (cells, P), P parameters a network in the order of ``weights``. The gradient's graph is
        built once and walked backwards at each call.
    """
    leaves = [w.detach().requires_grad_() for w in weights]
    cells = len(leaves[0])
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss(leaves).sum(), leaves, create_graph=True)
    sizes = [w[0].numel() for w in leaves]

    def product(vector: Tensor) -> Tensor:
        parts = [p.reshape(w.shape) for p, w in zip(vector.split(sizes, dim=1), leaves, strict=True)]
        rows = torch.autograd.grad(gradients, leaves, grad_outputs=parts, retain_graph=True, materialize_grads=True)
        return torch.cat([row.reshape(cells, -1) for row in rows], dim=1)

    return product


def sharpness(loss: Loss, weights: list[Tensor], tolerance: float = 1e-2, iterations: int = 80) -> Tensor:
    """λ_max, the largest (algebraic, not in modulus) eigenvalue of the Hessian, by Lanczos with full reorthogonalisation.

    Args:
        loss: as in :func:`hessian_vector_product`; whatever constants it has (mean or sum, ½ or not), the Hessian has.
        weights: each (cells, ...).
        tolerance: a network is done when its Ritz residual is below ``tolerance`` × |λ|. The eigenvalue's error is
            at most that, and usually quadratic in it: 1e-2 leaves 1e-4, or 1e-3 where the two largest lie close together.
        iterations: at most so many Hessian-vector products.

    Returns:
        (cells,), the dtype of the weights; NaN where the Hessian is not finite.
    """
    product = hessian_vector_product(loss, weights)
    cells, size = len(weights[0]), sum(w[0].numel() for w in weights)
    start = rng.normals(0, "lanczos/start", 0, size).to(weights[0])
    return lanczos_largest(product, (start / start.norm()).expand(cells, size), tolerance, iterations)


def lanczos_largest(product: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, iterations: int) -> Tensor:
    """Largest eigenvalue of each of a stack of symmetric operators.

    Args:
        product: (cells, P) -> (cells, P). start: unit vectors (cells, P). tolerance, iterations: as in :func:`sharpness`.

    Returns:
        (cells,). A network whose Krylov space is exhausted keeps the value it had then.
    """
    cells, size = start.shape
    iterations = min(iterations, size)
    basis = start.new_empty(cells, iterations, size)
    basis[:, 0] = start
    tridiagonal = start.new_zeros(cells, iterations, iterations, dtype=torch.float64)
    value = torch.full((cells,), torch.nan, dtype=torch.float64, device=start.device)
    done = torch.zeros(cells, dtype=torch.bool, device=start.device)
    epsilon = torch.finfo(start.dtype).eps
    for k in range(iterations):
        image = product(basis[:, k])
        done |= ~torch.isfinite(image).all(dim=1)
        alpha = (basis[:, k] * image).sum(dim=1)
        tridiagonal[:, k, k] = alpha.nan_to_num()
        # The three-term recurrence, then one pass against every earlier vector: together as good as twice all of them.
        image = image - alpha[:, None] * basis[:, k]
        if k:
            image = image - tridiagonal[:, k, k - 1, None].to(image) * basis[:, k - 1]
        known = basis[:, : k + 1]
        image = torch.baddbmm(image[:, None], torch.bmm(known, image[:, :, None]).mT, known, alpha=-1)[:, 0]
        beta = image.norm(dim=1).nan_to_num()
        ritz, vectors = torch.linalg.eigh(tridiagonal[:, : k + 1, : k + 1])
        top = ritz[:, -1]
        value = torch.where(done, value, top)
        scale = ritz.abs().amax(dim=1)
        residual = beta * vectors[:, -1, -1].abs()
        exhausted = beta <= 10 * epsilon * scale
        done |= exhausted | (residual <= tolerance * top.abs())
        if k + 1 == iterations or bool(done.all()):
            break
        tridiagonal[:, k, k + 1] = tridiagonal[:, k + 1, k] = beta
        basis[:, k + 1] = torch.where(
            exhausted[:, None], 0.0, image / beta.clamp_min(torch.finfo(start.dtype).tiny)[:, None]
        )
    return value.to(start.dtype)
