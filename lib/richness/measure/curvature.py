"""The Hessian of a scalar loss at given parameters, for a stack of independent networks at once.

Everything here sees L(θ) alone, through products Hv. They come from double backward (:func:`hessian_vector_product`) unless
the caller hands in a faster ``product``. H has the constants of the loss: a mean or a sum, ½ or not, as the loss has them.

Where a network's loss, gradient or Hessian is not finite its result is NaN, and only its own: no network's result depends on
those beside it. All draws are fixed, so that a result is a function of the weights.

References:
    B. A. Pearlmutter, *Fast exact multiplication by the Hessian*, Neural Computation 1994.
    B. N. Parlett, *The Symmetric Eigenvalue Problem*, SIAM 1998, chapters 11 and 13 (error bounds, Lanczos).
    G. Gur-Ari, D. A. Roberts, E. Dyer, *Gradient descent happens in a tiny subspace*, 2018 (why to start at the gradient).
    B. Ghorbani, S. Krishnan, Y. Xiao, *An investigation into neural net optimization via Hessian eigenvalue density*, ICML
    2019. Z. Yao, A. Gholami, K. Keutzer, M. W. Mahoney, *PyHessian*, IEEE Big Data 2020.
    R. A. Meyer, C. Musco, C. Musco, D. P. Woodruff, *Hutch++: optimal stochastic trace estimation*, SOSA 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from richness import rng

# A residual so many times the error asked for is small enough for what it might hide.
_HIDDEN = 30

Loss = Callable[[list[Tensor]], Tensor]
Product = Callable[[Tensor], Tensor]


def hessian_vector_product(loss: Loss, weights: list[Tensor]) -> Product:
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


def sharpness(
    loss: Loss,
    weights: list[Tensor],
    tolerance: float = 1e-4,
    iterations: int = 80,
    product: Product | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """λ_max, the largest (algebraic, not in modulus) eigenvalue of the Hessian, by Lanczos with full reorthogonalisation.

    Args:
        loss: as in :func:`hessian_vector_product`.
        weights: each (cells, ...).
        tolerance: relative error of λ_max at which a network is done, as :func:`largest_eigenpair` estimates it.
        iterations: at most so many Hessian-vector products.
        product: v ↦ Hv of this loss at these weights, (cells, P) to (cells, P), where there is a faster one than double
            backward.
        start: guess of the eigenvector, (cells, P), of any length: the one found at an earlier step, say. Without it, the
            gradient, which mostly lies along the sharpest directions. Either is mixed with a fixed random direction of the
            same length, so that no eigenvector is out of sight.

    Returns:
        (cells,), the dtype of the weights; NaN where the Hessian is not finite. A stack waits for its slowest network.
    """
    guess = gradient(loss, weights) if start is None else start
    return largest_eigenpair(_product(loss, weights, product), _mixed(guess), tolerance, iterations).value


def top_eigenvalues(
    loss: Loss,
    weights: list[Tensor],
    k: int,
    tolerance: float = 1e-4,
    iterations: int = 200,
    product: Product | None = None,
) -> Tensor:
    """The k largest (algebraic) eigenvalues of the Hessian, by Lanczos with full reorthogonalisation.

    Args:
        loss, weights, product: as in :func:`sharpness`.
        k: how many, from 1 to the number of parameters P.
        tolerance: a network is done when the estimated error of each of the k is below ``tolerance`` × the largest modulus
            among them.
        iterations: at most so many products; at least k are done.

    Returns:
        (cells, k), descending. One Krylov space holds an eigenvalue once: of exactly equal ones a copy may be missing until
        the space is exhausted and begun anew.

    Raises:
        ValueError: k outside 1..P.
    """
    size = _size(weights)
    if not 1 <= k <= size:
        raise ValueError(f"k must be from 1 to the {size} parameters of a network, got {k}")
    start = _mixed(gradient(loss, weights))
    value = start.new_full((len(start), k), torch.nan, dtype=torch.float64)
    done = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    for space in lanczos(_product(loss, weights, product), start, max(iterations, k)):
        done |= space.broken
        if space.tridiagonal.shape[-1] < k:
            continue
        ritz, vectors = torch.linalg.eigh(space.tridiagonal)
        value = torch.where(done[:, None], value, ritz[:, -k:].flip(1))
        error = _error(ritz, space.beta[:, None] * vectors[:, -1].abs())[:, -k:].amax(dim=1)
        done |= error <= _goal(ritz[:, -k:], ritz, tolerance, start.dtype)
        if bool(done.all()):
            break
    return value.to(start.dtype)


def trace(
    loss: Loss, weights: list[Tensor], products: int = 30, seed: int = 0, product: Product | None = None
) -> Tensor:
    """The trace of the Hessian, the sum of its eigenvalues, by Hutch++ (Meyer et al. 2021).

    A third of the products finds a basis Q of the dominant directions, a third takes the trace within them exactly, and a
    third estimates the rest with random signs (Hutchinson's estimator).

    Args:
        loss, weights: as in :func:`hessian_vector_product`. product: as in :func:`sharpness`.
        products: how many Hessian-vector products, a multiple of 3.
        seed: of the random signs, which are the same for all networks.

    Returns:
        (cells,). Unbiased, with the standard error √(2(‖R‖_F² − Σᵢ Rᵢᵢ²) / (products/3)), where R = (1 − QQᵀ)H(1 − QQᵀ) is
        what the dominant directions leave: far smaller than Hutchinson's own where few eigenvalues stand out. Exact once
        products/3 ≥ the number of parameters.

    Raises:
        ValueError: products is not a positive multiple of 3.
    """
    if products < 3 or products % 3:
        raise ValueError(f"products must be a positive multiple of 3, got {products}: a third for each part of Hutch++")
    apply = _product(loss, weights, product)
    third, cells, size = products // 3, len(weights[0]), _size(weights)
    signs = rng.bits(seed, "trace/signs", range(2 * third), size, str(weights[0].device))
    signs = (2 * (signs & 1) - 1).to(weights[0].dtype)

    def images(vectors: Tensor) -> Tensor:  # (cells, n, P) to (cells, n, P)
        return torch.stack([apply(v) for v in vectors.unbind(1)], dim=1)

    sketch = images(signs[:third].expand(cells, -1, -1))
    finite = torch.isfinite(sketch).all(dim=2).all(dim=1)
    basis = torch.linalg.qr(sketch.nan_to_num(0.0, 0.0, 0.0).mT).Q.mT
    within = (basis * images(basis)).sum(dim=(1, 2))
    rest = signs[third:].expand(cells, -1, -1)
    rest = rest - (rest @ basis.mT) @ basis
    beyond = (rest * images(rest)).sum(dim=(1, 2)) / third
    return torch.where(finite, within + beyond, torch.nan)


class Density(NamedTuple):
    """A spectral density as a sum of points, Σᵢ weightsᵢ δ(λ − nodesᵢ): both (cells, n); weights are ≥ 0 and sum to 1."""

    nodes: Tensor
    weights: Tensor


def spectral_density(
    loss: Loss,
    weights: list[Tensor],
    steps: int = 60,
    probes: int = 4,
    seed: int = 0,
    product: Product | None = None,
) -> Density:
    """The density of the Hessian's eigenvalues, (1/P) Σᵢ δ(λ − λᵢ), by stochastic Lanczos quadrature (Ghorbani et al. 2019).

    Each random direction v gives a Gauss quadrature of the density that v sees: exact in its first 2·steps − 1 moments
    vᵀHᵐv. The mean over directions is unbiased in each moment; outlying eigenvalues stand at their places, with weight 1/P
    up to the chance overlap of v.

    Args:
        loss, weights: as in :func:`hessian_vector_product`. product: as in :func:`sharpness`.
        steps: Lanczos steps a direction, cut at the number of parameters P. probes: directions. Products: steps × probes.
        seed: of the directions, which are the same for all networks.

    Returns:
        ``Density`` with n = steps × probes points a network.
    """
    apply = _product(loss, weights, product)
    size = _size(weights)
    nodes, masses = [], []
    for probe in range(probes):
        direction = rng.normals(seed, "density/direction", probe, size).to(weights[0])
        for space in lanczos(apply, direction.expand(len(weights[0]), size), steps):
            last = space
        ritz, vectors = torch.linalg.eigh(last.tridiagonal)
        nodes.append(torch.where(last.broken[:, None], torch.nan, ritz))
        masses.append(torch.where(last.broken[:, None], torch.nan, vectors[:, 0] ** 2 / probes))
    return Density(torch.cat(nodes, dim=1).to(weights[0]), torch.cat(masses, dim=1).to(weights[0]))


def smoothed(density: Density, grid: Tensor, width: float) -> Tensor:
    """A density of points on a grid, each point spread to a Gaussian.

    Args:
        density: ``Density`` of n points. grid: (G,) values of λ. width: standard deviation, in the units of λ.

    Returns:
        (cells, G), per unit of λ: its integral over a grid that covers the nodes by some widths is 1.
    """
    distance = (grid[:, None] - density.nodes[:, None, :]) / width
    bump = torch.exp(-0.5 * distance**2) / (width * math.sqrt(2 * math.pi))
    return (bump * density.weights[:, None, :]).sum(dim=2)


def gradient(loss: Loss, weights: list[Tensor]) -> Tensor:
    """The gradient of each network's loss, (cells, P). Arguments as in :func:`hessian_vector_product`."""
    leaves = [w.detach().requires_grad_() for w in weights]
    with torch.enable_grad():
        rows = torch.autograd.grad(loss(leaves).sum(), leaves, materialize_grads=True)
    return torch.cat([row.reshape(len(row), -1) for row in rows], dim=1)


class Eigenpair(NamedTuple):
    """An eigenvalue (cells,) and its unit eigenvector (cells, P)."""

    value: Tensor
    vector: Tensor


def largest_eigenpair(product: Product, start: Tensor, tolerance: float = 1e-4, iterations: int = 80) -> Eigenpair:
    """Largest (algebraic) eigenvalue and its eigenvector, for each of a stack of symmetric operators.

    With the Ritz residual r = ‖Hu − θu‖ and the distance g from θ to the next Ritz value, θ is off by about r²/g, and by no
    more than r from *an* eigenvalue. An operator is done when the smaller of the two is below ``tolerance`` × |θ| and r below
    30 × as much: r bounds what a second eigenvalue, too close to have shown itself as a Ritz value, can hide. Two eigenvalues
    closer than r may be taken for one between them.

    Args:
        product: (cells, P) to (cells, P). start: (cells, P), of any length above 0.
        tolerance: relative error asked for; what the dtype rounds to is enough.
        iterations: at most so many products.

    Returns:
        ``Eigenpair`` in the dtype of ``start``, NaN where a product was not finite. The vector's error is about r/g: the
        square root of the value's. An operator whose Krylov space is exhausted keeps the value it had then.
    """
    cells, size = start.shape
    iterations = min(iterations, size)
    value = torch.full((cells,), torch.nan, dtype=torch.float64, device=start.device)
    mixture = torch.zeros(cells, iterations, dtype=torch.float64, device=start.device)
    done = torch.zeros(cells, dtype=torch.bool, device=start.device)
    for space in lanczos(product, start, iterations):
        done |= space.broken
        ritz, vectors = torch.linalg.eigh(space.tridiagonal)
        known = ritz.shape[1]
        value = torch.where(done, value, ritz[:, -1])
        mixture[:, :known] = torch.where(done[:, None], mixture[:, :known], vectors[:, :, -1])
        error = _error(ritz, space.beta[:, None] * vectors[:, -1].abs())[:, -1]
        done |= space.exhausted | (error <= _goal(ritz[:, -1:], ritz, tolerance, start.dtype))
        if bool(done.all()):
            break
    vector = torch.bmm(mixture[:, None, :known].to(start.dtype), space.basis)[:, 0]
    return Eigenpair(value.to(start.dtype), torch.where(torch.isnan(value)[:, None], torch.nan, vector))


class Krylov(NamedTuple):
    """Lanczos after k products: H ≈ basisᵀ · tridiagonal · basis, and what has happened to each operator.

    Attributes:
        tridiagonal: float64 (cells, k, k). beta: float64 (cells,), the coupling to the next vector. basis: (cells, k, P),
            orthonormal rows. exhausted: bool (cells,), the space is invariant (since this step). broken: bool (cells,), a
            product was not finite; tridiagonal is then 0.
    """

    tridiagonal: Tensor
    beta: Tensor
    basis: Tensor
    exhausted: Tensor
    broken: Tensor


def lanczos(product: Product, start: Tensor, steps: int) -> Iterator[Krylov]:
    """The Lanczos process with full reorthogonalisation, for each of a stack of symmetric operators.

    Args:
        product: (cells, P) to (cells, P). start: (cells, P), of any length above 0. steps: products, cut at P.

    Yields:
        ``Krylov`` after each product: views of tensors that the next step goes on to fill. An exhausted space is begun anew
        in a random direction orthogonal to it, with beta 0 between: its eigenvalues stay as they are.
    """
    cells, size = start.shape
    steps = min(steps, size)
    epsilon, tiny = torch.finfo(start.dtype).eps, torch.finfo(start.dtype).tiny
    basis = start.new_empty(cells, steps, size)
    basis[:, 0] = start / start.norm(dim=1, keepdim=True)
    tridiagonal = start.new_zeros(cells, steps, steps, dtype=torch.float64)
    broken = torch.zeros(cells, dtype=torch.bool, device=start.device)
    beta = scale = start.new_zeros(cells)
    for k in range(steps):
        known = basis[:, : k + 1]
        image = product(basis[:, k])
        alpha = torch.linalg.vecdot(basis[:, k], image)
        # The three-term recurrence, then one pass against every earlier vector: together as good as twice all of them.
        image = torch.addcmul(image, alpha[:, None], basis[:, k], value=-1)
        if k:
            image.addcmul_(beta[:, None], basis[:, k - 1], value=-1)
        image = _orthogonal(image, known)
        beta = image.norm(dim=1)
        broken = broken | ~torch.isfinite(alpha + beta)
        scale = torch.maximum(scale, alpha.abs() + beta)
        exhausted = beta <= 10 * epsilon * scale
        alpha, beta = (torch.where(broken, 0.0, number) for number in (alpha, beta))
        tridiagonal[:, k, k] = alpha.double()
        tridiagonal[broken] = 0.0
        yield Krylov(tridiagonal[:, : k + 1, : k + 1], beta.double(), known, exhausted, broken)
        if k + 1 == steps:
            return
        length = beta
        if bool(exhausted.any()):
            fresh = _direction(k + 1, size, start.dtype, start.device).expand_as(start)
            fresh = _orthogonal(_orthogonal(fresh, known), known)
            image = torch.where(exhausted[:, None], fresh, image)
            beta, length = torch.where(exhausted, 0.0, beta), image.norm(dim=1)
        tridiagonal[:, k, k + 1] = tridiagonal[:, k + 1, k] = beta.double()
        basis[:, k + 1] = torch.where(broken[:, None], 0.0, image / length.clamp_min(tiny)[:, None])


def _orthogonal(vectors: Tensor, basis: Tensor) -> Tensor:
    """(cells, P) less its components along the rows of (cells, k, P)."""
    components = torch.bmm(basis, vectors[:, :, None]).mT
    return torch.baddbmm(vectors[:, None], components, basis, alpha=-1)[:, 0]


def _error(ritz: Tensor, residual: Tensor) -> Tensor:
    """Error of each Ritz value (cells, k), ascending: residual² over the gap, but from 1/30 of the residual to all of it."""
    if ritz.shape[1] == 1:
        return residual
    between = torch.nn.functional.pad(ritz.diff(dim=1), (1, 1), value=torch.inf)
    gap = torch.minimum(between[:, 1:], between[:, :-1]).clamp_min(torch.finfo(ritz.dtype).tiny)
    return torch.clamp(residual**2 / gap, min=residual / _HIDDEN, max=residual)


def _goal(values: Tensor, ritz: Tensor, tolerance: float, dtype: torch.dtype) -> Tensor:
    """Error at which the values (cells, k) are good: relative to the largest of them, but not beyond rounding. (cells,)."""
    return torch.maximum(tolerance * values.abs().amax(dim=1), torch.finfo(dtype).eps * ritz.abs().amax(dim=1))


def _product(loss: Loss, weights: list[Tensor], product: Product | None) -> Product:
    return hessian_vector_product(loss, weights) if product is None else product


def _size(weights: list[Tensor]) -> int:
    return sum(w[0].numel() for w in weights)


def _mixed(guess: Tensor) -> Tensor:
    """A guess (cells, P) and the fixed random direction, in equal parts; the direction alone where the guess is 0."""
    length = guess.norm(dim=1, keepdim=True)
    unit = guess / length.clamp_min(torch.finfo(guess.dtype).tiny)
    return unit + _direction(0, guess.shape[1], guess.dtype, guess.device)


@lru_cache(maxsize=8)
def _direction(number: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A fixed random unit vector (size,)."""
    normals = rng.normals(0, "lanczos/start", number, size)
    return (normals / normals.norm()).to(device, dtype)
