"""The Hessian of a scalar loss at given parameters, for a stack of independent networks at once.

Everything here sees L(θ) alone, through products Hv. They come from double backward (:func:`hessian_vector_product`) unless
the caller hands in a faster ``product``. H has the constants of the loss: a mean or a sum, ½ or not, as the loss has them.

Where a network's weights, loss, gradient or Hessian are not finite its result is NaN, and only its own: no network's result
depends on those beside it. All draws are fixed, so that a result is a function of the weights. Weights in half precision are
measured with vectors in float32: only the loss's own passes are in halves.

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, singledispatch
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from richness import rng

# A residual so many times the error asked for is small enough for what it might hide.
HIDDEN = 30
# What the draws of the fixed random directions go by.
DIRECTION = "lanczos/start"

Loss = Callable[[list[Tensor]], Tensor]
Outputs = Callable[[list[Tensor]], Tensor]
Product = Callable[[Tensor], Tensor]


class Eigenpair(NamedTuple):
    """An eigenvalue (cells,) and its unit eigenvector (cells, P)."""

    value: Tensor
    vector: Tensor


def hessian_vector_product(loss: Loss, weights: list[Tensor]) -> Product:
    """The map v ↦ Hv at fixed parameters, network by network.

    Args:
        loss: weights, each (cells, ...), to one loss a network, (cells,); no network's loss may depend on another's weights.
        weights: where to take the Hessian.

    Returns:
        A function from (cells, P) to (cells, P), P parameters a network in the order of ``weights``. The gradient's graph is
        built once and walked backwards at each call.

    Raises:
        ValueError: ``weights`` are no stack, or the loss is not (cells,).
    """
    leaves = [w.detach().requires_grad_() for w in weights]
    with torch.enable_grad():
        gradients = _derive([_losses(loss, leaves).sum()], leaves, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        return _join(_derive(gradients, leaves, _split(vector, leaves), retain_graph=True))

    return product


def gauss_newton_vector_product(outputs: Outputs, loss: Callable[[Tensor], Tensor], weights: list[Tensor]) -> Product:
    """The map v ↦ Gv of the Gauss–Newton matrix G = Jᵀ (∂²loss/∂f²) J, J = ∂f/∂θ, at fixed parameters.

    It is the Hessian of the loss of the network *linearised* at these weights; the Hessian is H = G + R, where R weighs the
    curvature of f by the residuals. Under this book's MSE ∂²loss/∂f² is 2/(B·K) times the identity, and what is not 0 of G's
    spectrum is that of the full neural tangent kernel of f, times 2/(B·K).

    Args:
        outputs: weights, each (cells, ...), to f, (cells, B, K). loss: f to one loss a network, (cells,).
        weights: where to take G.

    Returns:
        A function from (cells, P) to (cells, P), P parameters a network in the order of ``weights``.

    References:
        N. N. Schraudolph, *Fast curvature matrix-vector products for second-order gradient descent*, Neural Computation 2002.
    """
    leaves = [w.detach().requires_grad_() for w in weights]
    with torch.enable_grad():
        f = outputs(leaves)
        above = torch.zeros_like(f, requires_grad=True)
        pulled = _derive([f], leaves, [above], create_graph=True)  # Jᵀ·above: its derivative along above is J
        seen = f.detach().requires_grad_()
        slope = _derive([loss(seen).sum()], [seen], create_graph=True)

    def product(vector: Tensor) -> Tensor:
        moved = _derive(pulled, [above], _split(vector, leaves), retain_graph=True)
        turned = _derive(slope, [seen], moved, retain_graph=True)
        return _join(_derive([f], leaves, turned, retain_graph=True))

    return product


@singledispatch
def sharpness(
    loss: Loss,
    weights: list[Tensor],
    tolerance: float = 1e-4,
    iterations: int = 80,
    product: Product | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """λ_max, the largest (algebraic, not in modulus) eigenvalue of the Hessian, by Lanczos with full reorthogonalisation.

    Of a torch module on a batch it is ``sharpness(model, loss, batch)``:
    :func:`richness.measure.modules.sharpness_of_module`.

    Args:
        As in :func:`sharpest_direction`.

    Returns:
        (cells,), the dtype of the weights; NaN where the Hessian is not finite.
    """
    return sharpest_direction(loss, weights, tolerance, iterations, product, start).value


def sharpest_direction(
    loss: Loss,
    weights: list[Tensor],
    tolerance: float = 1e-4,
    iterations: int = 80,
    product: Product | None = None,
    start: Tensor | None = None,
) -> Eigenpair:
    """The sharpness with its eigenvector, from which a later measurement can start.

    Args:
        loss: as in :func:`hessian_vector_product`.
        weights: each (cells, ...).
        tolerance: relative error of λ_max at which a network is done, as :func:`largest_eigenpair` estimates it.
        iterations: at most so many Hessian-vector products; what they have reached is the result. A stack waits for its
            slowest network.
        product: v ↦ Hv of this loss at these weights, (cells, P) to (cells, P), where there is a faster one than double
            backward.
        start: guess of the eigenvector, (cells, P), of any length: the one found at an earlier step, say. Without it, the
            gradient, which mostly lies along the sharpest directions. Either is mixed with a fixed random direction of the
            same length, so that no eigenvector is out of sight.

    Returns:
        ``Eigenpair`` in the dtype of the weights; NaN where the Hessian is not finite.
    """
    guess = gradient(loss, weights) if start is None else start
    pair = largest_eigenpair(_product(loss, weights, product), _mixed(guess), tolerance, iterations)
    return Eigenpair(*(part.to(weights[0].dtype) for part in pair))


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
            among them, which is looked at after k products and then each time that there are an eighth more.
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
    value, done = np.full((len(start), k), np.nan), np.zeros(len(start), dtype=bool)
    last, due = (
        min(max(iterations, k), size),
        k,
    )  # many Ritz values cost more than a few products: not looked at each time
    for space in lanczos(_product(loss, weights, product), start, last):
        done |= space.broken
        known = space.beta.shape[1]
        if known < min(due, last):
            continue
        due = known + max(1, known // 8)
        ritz, vectors = np.linalg.eigh(space.tridiagonal)
        value[~done] = ritz[~done, : -k - 1 : -1]
        done |= _converged(space, ritz, vectors[:, -1], k, tolerance)
        if done.all():
            break
    return torch.from_numpy(value).to(weights[0])


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
    signs = (2 * (signs & 1) - 1).to(_working(weights[0].dtype))

    def images(vectors: Tensor) -> Tensor:  # (cells, n, P) to (cells, n, P)
        return torch.stack([apply(v) for v in vectors.unbind(1)], dim=1)

    sketch = images(signs[:third].expand(cells, -1, -1))
    finite = torch.isfinite(sketch).all(dim=2).all(dim=1)
    basis = torch.linalg.qr(sketch.nan_to_num(0.0, 0.0, 0.0).mT).Q.mT
    within = (basis * images(basis)).sum(dim=(1, 2))
    rest = signs[third:].expand(cells, -1, -1)
    rest = rest - (rest @ basis.mT) @ basis
    beyond = (rest * images(rest)).sum(dim=(1, 2)) / third
    return torch.where(finite, within + beyond, torch.nan).to(weights[0].dtype)


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
        direction = rng.normals(seed, "density/direction", probe, size).to(
            weights[0].device, _working(weights[0].dtype)
        )
        for space in lanczos(apply, direction.expand(len(weights[0]), size), steps):
            last = space
        ritz, vectors = np.linalg.eigh(last.tridiagonal)
        nodes.append(np.where(last.broken[:, None], np.nan, ritz))
        masses.append(np.where(last.broken[:, None], np.nan, vectors[:, 0] ** 2 / probes))
    return Density(*(torch.from_numpy(np.concatenate(part, axis=1)).to(weights[0]) for part in (nodes, masses)))


def smooth_density(density: Density, grid: Tensor, width: float) -> Tensor:
    """A density of points on a grid, each point spread to a Gaussian.

    Args:
        density: ``Density`` of n points. grid: (G,) values of λ. width: standard deviation, in the units of λ.

    Returns:
        (cells, G), per unit of λ: its integral over a grid that covers the nodes by some widths is 1.
    """
    distance = (grid[:, None] - density.nodes[:, None, :]) / width
    bump = torch.exp(-0.5 * distance**2) / (width * math.sqrt(2 * math.pi))
    return (bump * density.weights[:, None, :]).sum(dim=2)


def symmetric_log_edges(smallest: float, largest: float, a_decade: int) -> np.ndarray:
    """Borders of bins that are log-spaced on both sides of 0: −largest … −smallest, smallest … largest, float64.

    Args:
        smallest, largest: where the logarithmic parts begin and end; the bin from −smallest to smallest holds 0.
        a_decade: bins a decade. Powers of ten among the borders are exact.
    """
    points = round(a_decade * math.log10(largest / smallest)) + 1
    side = np.array([float(f"{edge:.12g}") for edge in np.geomspace(smallest, largest, points)])
    return np.concatenate([-side[::-1], side])


def bin_density(density: Density, edges: np.ndarray) -> Tensor:
    """The weight of a density's points between neighbouring edges; points beyond the outermost count in the last bin there.

    Args:
        density: ``Density`` of n points. edges: (B + 1,), ascending, the same for all networks; a bin holds its upper one.

    Returns:
        (cells, B): the shares of all eigenvalues, which sum to 1; NaN where the density is.
    """
    inner = torch.as_tensor(edges[1:-1]).to(density.nodes)
    place = torch.bucketize(density.nodes.contiguous(), inner)
    bins = density.weights.new_zeros(len(place), len(inner) + 1).scatter_add_(1, place, density.weights)
    return torch.where(torch.isnan(density.nodes).any(dim=1, keepdim=True), torch.nan, bins)


def gradient(loss: Loss, weights: list[Tensor]) -> Tensor:
    """The gradient of each network's loss, (cells, P). Arguments and errors as in :func:`hessian_vector_product`."""
    leaves = [w.detach().requires_grad_() for w in weights]
    with torch.enable_grad():
        return _join(_derive([_losses(loss, leaves).sum()], leaves))


def along_gradient(
    loss: Loss, weights: list[Tensor], product: Product | None = None, direction: Tensor | None = None
) -> Tensor:
    """The curvature of the loss along its own gradient, gᵀHg/‖g‖², which is at most λ_max.

    A step of SGD against this gradient is beyond the edge, its parabola ending higher than it began, where this exceeds
    2/lr_raw (see :func:`richness.measure.step.overshoot`).

    Args:
        loss, weights: as in :func:`hessian_vector_product`. product: as in :func:`sharpness`.
        direction: the gradient, (cells, P), where it is known already.

    Returns:
        (cells,), NaN where the gradient is 0 or anything not finite.
    """
    direction = gradient(loss, weights) if direction is None else direction
    direction = (direction / _length(direction)[:, None]).to(_working(direction.dtype))
    return (direction * _product(loss, weights, product)(direction)).sum(dim=1).to(weights[0].dtype)


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
    iterations = min(iterations, start.shape[1])
    value, done = np.full(len(start), np.nan), np.zeros(len(start), dtype=bool)
    mixture = np.zeros((len(start), iterations))
    for space in lanczos(product, start, iterations):
        done |= space.broken
        ritz, vectors = np.linalg.eigh(space.tridiagonal)
        known = ritz.shape[1]
        value[~done], mixture[~done, :known] = ritz[~done, -1], vectors[~done, :, -1]
        done |= space.exhausted | _converged(space, ritz, vectors[:, -1], 1, tolerance)
        if done.all():
            break
    mixture[np.isnan(value)] = np.nan
    # Term by term: a product's blocks would depend on how long the slowest network took, and so would the last bits.
    vector, parts = torch.zeros_like(start), torch.from_numpy(mixture).to(start)
    for k in range(known):
        row = space.basis[:, k]
        vector += parts[:, k, None] * torch.where(parts[:, k, None] == 0, 0.0, row)  # 0 · NaN, where another broke
    return Eigenpair(torch.from_numpy(value).to(start), vector)


class Krylov(NamedTuple):
    """Lanczos after k products: basis · H · basisᵀ = tridiagonal, and what has happened to each operator.

    Attributes:
        tridiagonal: float64 array (cells, k, k). beta: float64 array (cells, k), the couplings to the next vector, the last
            one not yet in the tridiagonal. basis: (cells, k, P), orthonormal rows. exhausted: bool array (cells,), the space
            is invariant. broken: bool array (cells,), a product was not finite; all of it is 0 then.
    """

    tridiagonal: np.ndarray
    beta: np.ndarray
    basis: Tensor
    exhausted: np.ndarray
    broken: np.ndarray


def lanczos(product: Product, start: Tensor, steps: int) -> Iterator[Krylov]:
    """The Lanczos process with full reorthogonalisation, for each of a stack of symmetric operators.

    Args:
        product: (cells, P) to (cells, P). start: (cells, P), of any length above 0. steps: products, cut at P.

    Yields:
        ``Krylov`` after each product: views of arrays that the next step goes on to fill. An exhausted space is begun anew in
        a random direction orthogonal to it, with beta 0 between: its eigenvalues stay as they are.
    """
    cells, size = start.shape
    steps = min(steps, size)
    epsilon = torch.finfo(start.dtype).eps
    basis = start.new_empty(cells, steps, size)
    basis[:, 0] = start / _length(start)[:, None]
    tridiagonal, betas = np.zeros((cells, steps, steps)), np.zeros((cells, steps))
    scale, broken = np.zeros(cells), np.zeros(cells, dtype=bool)
    beta = start.new_zeros(cells)
    for k in range(steps):
        newest, known = basis[:, k], basis[:, : k + 1]
        image = product(newest)
        if image.shape != newest.shape:
            raise ValueError(
                f"a product must give Hv of the vectors' shape {tuple(newest.shape)}, got {tuple(image.shape)}"
            )
        alpha = torch.linalg.vecdot(newest, image)
        # The three-term recurrence, then one pass against every earlier vector: together as good as twice all of them.
        recurrence = torch.stack((beta, alpha), dim=1) if k else alpha[:, None]
        image = torch.baddbmm(image[:, None], recurrence[:, None], known[:, -2:], alpha=-1)[:, 0]
        image = _orthogonal(image, known)
        beta = _length(image).to(start)
        a, b = torch.stack((alpha, beta)).double().cpu().numpy()
        broken |= ~np.isfinite(a + b)
        a[broken] = b[broken] = tridiagonal[broken] = betas[broken] = 0.0
        scale = np.maximum(scale, np.abs(a) + b)
        exhausted = b <= 10 * epsilon * scale
        tridiagonal[:, k, k], betas[:, k] = a, b
        yield Krylov(tridiagonal[:, : k + 1, : k + 1], betas[:, : k + 1], known, exhausted, broken)
        if k + 1 == steps:
            return
        length = beta
        if exhausted.any():
            anew = torch.from_numpy(exhausted).to(start.device)
            fresh = _direction(k + 1, size, start.dtype, start.device).expand_as(start)
            image = torch.where(anew[:, None], _orthogonal(_orthogonal(fresh, known), known), image)
            b, beta, length = np.where(exhausted, 0.0, b), torch.where(anew, 0.0, beta), _length(image).to(start)
        tridiagonal[:, k, k + 1] = tridiagonal[:, k + 1, k] = b
        torch.div(image, length[:, None], out=basis[:, k + 1])


def _orthogonal(vectors: Tensor, basis: Tensor) -> Tensor:
    """(cells, P) less its components along the rows of (cells, k, P)."""
    rows = vectors[:, None]  # a row times a matrix: the other way round, a batched product is many times slower
    return torch.baddbmm(rows, torch.bmm(rows, basis.mT), basis, alpha=-1)[:, 0]


def _converged(space: Krylov, ritz: np.ndarray, last: np.ndarray, k: int, tolerance: float) -> np.ndarray:
    """Whether the k largest Ritz values are good, relative to the largest modulus of them or to rounding: bool (cells,).

    Args:
        ritz: all Ritz values (cells, n), ascending. last: the last components of their vectors (cells, n).
    """
    residual = space.beta[:, -1:] * np.abs(last[:, -k:])
    top, size = ritz[:, -k - 1 :], np.abs(ritz)
    between = top[:, 1:] - top[:, :-1]
    gap = between.copy()
    gap[:, :-1] = np.minimum(between[:, :-1], between[:, 1:])
    if ritz.shape[1] > k:
        floor = np.maximum(residual, np.finfo(float).tiny)
        residual = residual * np.maximum(floor / np.maximum(gap, floor), 1 / HIDDEN)
    rounding = torch.finfo(space.basis.dtype).eps * size.max(axis=1)
    return residual.max(axis=1) <= np.maximum(tolerance * size[:, -k:].max(axis=1), rounding)


def _product(loss: Loss, weights: list[Tensor], product: Product | None) -> Product:
    """v ↦ Hv of vectors that are never in half precision; NaN for networks whose weights are not finite."""
    _check_stack(weights)
    apply = hessian_vector_product(loss, weights) if product is None else product
    finite = torch.stack([torch.isfinite(w).flatten(1).all(dim=1) for w in weights]).all(dim=0)
    dtype = weights[0].dtype
    if _working(dtype) == dtype and finite.all():
        return apply
    return lambda vector: torch.where(finite[:, None], apply(vector.to(dtype)).to(vector.dtype), torch.nan)


def _working(dtype: torch.dtype) -> torch.dtype:
    """What vectors beside weights of a dtype are kept in: halves have no digits to be orthogonal with."""
    return torch.float32 if dtype.itemsize < 4 else dtype


def _check_stack(weights: Sequence[Tensor]) -> None:
    shapes = [tuple(w.shape) for w in weights]
    if not shapes or any(not shape or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError(
            f"weights must be a stack of networks, each tensor (cells, ...), got shapes {shapes}: give one network's "
            "parameters a leading axis of one, or call sharpness(model, loss, batch) for a torch module"
        )


def _losses(loss: Loss, leaves: list[Tensor]) -> Tensor:
    """One loss a network.

    Raises:
        ValueError: the parameters are no stack, or the loss gives something else.
    """
    _check_stack(leaves)
    values, cells = loss(leaves), len(leaves[0])
    if values.shape != (cells,):
        raise ValueError(
            f"the loss must give one value a network, shape ({cells},), got {tuple(values.shape)}: weights are a stack, each "
            "tensor (cells, ...); for a torch module call sharpness(model, loss, batch)"
        )
    return values


def _derive(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], along: Sequence[Tensor] | None = None, **how: bool
) -> Sequence[Tensor]:
    """Derivatives of outputs along directions in the inputs; 0 where nothing depends on an input, as of a linear loss."""
    pairs: Iterable[tuple[Tensor, Tensor | None]] = zip(outputs, along or repeat(None), strict=False)
    depending = [(output, direction) for output, direction in pairs if output.requires_grad]
    if not depending:
        return [torch.zeros_like(x) for x in inputs]
    kept, directions = zip(*depending, strict=True)
    return torch.autograd.grad(kept, inputs, directions, materialize_grads=True, **how)


def _split(vector: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Rows of parameters (cells, P) in the shapes and dtypes of the weights."""
    parts = vector.split([w[0].numel() for w in weights], dim=1)
    return [part.reshape(w.shape).to(w) for part, w in zip(parts, weights, strict=True)]


def _join(parts: Sequence[Tensor]) -> Tensor:
    """Parameters, each (cells, ...), as rows (cells, P)."""
    return torch.cat([part.reshape(len(part), -1) for part in parts], dim=1)


def _size(weights: list[Tensor]) -> int:
    _check_stack(weights)
    return sum(w[0].numel() for w in weights)


def _length(vectors: Tensor) -> Tensor:
    """‖v‖ of each row, float64 (cells,): no square under- or overflows."""
    length = torch.linalg.vector_norm(vectors, dim=1, dtype=torch.float64)
    if vectors.dtype != torch.float64:
        return length
    largest = torch.linalg.vector_norm(vectors, math.inf, dim=1)
    scaled = torch.linalg.vector_norm(vectors / largest[:, None], dim=1) * largest
    return torch.where((length > 1e-150) & (length < 1e150) | (largest == 0), length, scaled)


def _mixed(guess: Tensor) -> Tensor:
    """A guess (cells, P) and the fixed random direction, in equal parts; the direction alone where there is no guess.

    Where the two all but cancel, as in one dimension, the direction is turned about.
    """
    guess = guess.to(_working(guess.dtype)).nan_to_num(0.0, 0.0, 0.0)
    length = _length(guess)[:, None]
    unit = torch.where(length > 0, guess / length, 0.0).to(guess.dtype)
    direction = _direction(0, guess.shape[1], guess.dtype, guess.device)
    against = torch.mv(unit, direction) < -0.9
    return unit + torch.where(against[:, None], -direction, direction)


@lru_cache(maxsize=8)
def _direction(number: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A fixed random unit vector (size,)."""
    normals = rng.normals(0, DIRECTION, number, size)
    return (normals / normals.norm()).to(device, dtype)
