"""The empirical neural tangent kernel of f(x; θ) for a stack of networks, its alignment with the targets, and its change.

The kernel of outputs k and l at inputs b and c is Σ_θ ∂f_k(x_b)/∂θ · ∂f_l(x_c)/∂θ, over all parameters of a network, with no
factor before it. Two forms of it are in use: *summed*, Σ_k of the k = l entries, a (batch, batch) matrix (K times the mean over
outputs that others take); and *full*, all of it. Of a centred and rescaled f = (f̃ − f̃₀)/γ it is 1/γ² times that of f̃.

Where a network is not finite its result is NaN, and only its own.

References:
    A. Jacot, F. Gabriel, C. Hongler, *Neural tangent kernel*, NeurIPS 2018.
    C. Cortes, M. Mohri, A. Rostamizadeh, *Algorithms for learning kernels based on centered alignment*, JMLR 2012.
    S. Fort, G. K. Dziugaite, M. Paul, S. Kharaghani, D. M. Roy, S. Ganguli, *Deep learning versus kernel learning*, NeurIPS
    2020.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vmap

Outputs = Callable[[list[Tensor], Tensor], Tensor]
Factors = list[tuple[Tensor, Tensor]]


def ntk(outputs: Outputs, weights: list[Tensor], x: Tensor, full: bool = False) -> Tensor:
    """The empirical NTK of a black box, from the derivatives of each output at each input.

    Args:
        outputs: weights, each (cells, ...), and inputs (batch, ...) to f, (cells, batch, K), in operations that
            ``torch.func.vmap`` knows. A network's f may depend neither on another's weights nor, at one input, on the others:
            each input is given alone, as a batch of one.
        weights: where to take the kernel. x: inputs (batch, ...), shared by all cells.
        full: all pairs of outputs rather than the sum over k = l.

    Returns:
        Summed, (cells, batch, batch), holding batch × P derivatives a network in memory; full, (cells, batch·K, batch·K) with
        row b·K + k, holding K times as many.
    """
    cells, batch = len(weights[0]), len(x)
    with torch.no_grad():
        count = outputs(weights, x[:1]).shape[-1]

    def derivatives(k: int) -> Tensor:
        """∂f_k/∂θ, (cells, batch, P)."""
        rows = vmap(grad(lambda w, one: outputs(w, one[None])[:, 0, k].sum()), in_dims=(None, 0))(weights, x)
        return torch.cat([row.reshape(batch, cells, -1) for row in rows], dim=2).transpose(0, 1)

    if full:
        rows = torch.stack([derivatives(k) for k in range(count)], dim=2).reshape(cells, batch * count, -1)
        return torch.bmm(rows, rows.mT)
    kernel = weights[0].new_zeros(cells, batch, batch)
    for k in range(count):
        rows = derivatives(k)
        kernel.baddbmm_(rows, rows.mT)
    return kernel


def ntk_from_factors(factors: Factors, full: bool = False) -> Tensor:
    """The same kernel where each layer's derivative is an outer product: Σ_l (a_l a_lᵀ) ∘ (δ_l δ_lᵀ), without forming it.

    Args:
        factors: for each weight matrix, a (cells, batch, fan_in), its input, and δ (cells, batch, K, fan_out), the derivative
            of each output in what it puts out: ∂f_k(x_b)/∂W = δ[b, k] ⊗ a[b]. (A bias is a weight whose input is 1.)
        full: as in :func:`ntk`.

    Returns:
        As :func:`ntk`.
    """
    total: Tensor | None = None
    for a, delta in factors:
        inputs = torch.bmm(a, a.mT)
        cells, batch, count, _ = delta.shape
        if full:
            rows = delta.reshape(cells, batch * count, -1)
            term = torch.bmm(rows, rows.mT).view(cells, batch, count, batch, count)
            term = (term * inputs[:, :, None, :, None]).view(cells, batch * count, batch * count)
        else:
            rows = delta.reshape(cells, batch, -1)
            term = torch.bmm(rows, rows.mT).mul_(inputs)
        total = term if total is None else total.add_(term)
    if total is None:
        raise ValueError("factors are empty: one pair (a, δ) a layer is expected")
    return total


def alignment(kernel: Tensor, targets: Tensor) -> Tensor:
    """Centred kernel-target alignment ⟨K_c, T_c⟩ / (‖K_c‖ ‖T_c‖), T = YYᵀ, in the Frobenius product (Cortes et al. 2012).

    Args:
        kernel: (cells, batch, batch), symmetric.
        targets: labels (batch,) int64, taken as one-hot, or Y, (batch, K) or (batch,).

    Returns:
        (cells,), from 0 to 1 for positive semi-definite kernels; unmoved by the scale of either and by an offset of the
        targets. NaN where the centred kernel or target is 0: neither has a direction then.
    """
    rows = torch.nn.functional.one_hot(targets) if targets.dtype == torch.int64 else targets
    rows = rows.to(kernel.dtype).flatten(1) if rows.ndim > 1 else rows.to(kernel.dtype)[:, None]
    rows = rows - rows.mean(dim=0)
    centred = kernel - kernel.mean(dim=1, keepdim=True)
    centred = centred - centred.mean(dim=2, keepdim=True)
    wanted = rows @ rows.T
    return (centred * wanted).sum(dim=(1, 2)) / (torch.linalg.matrix_norm(centred) * torch.linalg.matrix_norm(wanted))


def kernel_change(kernel: Tensor, kernel_at_start: Tensor) -> Tensor:
    """How far a kernel has turned: 1 − ⟨K, K₀⟩ / (‖K‖ ‖K₀‖), the kernel distance of Fort et al. 2020, without centring.

    A kernel that only grows has not turned. Computed as ½‖K/‖K‖ − K₀/‖K₀‖‖², which keeps small changes that the difference
    from 1 would lose to rounding.

    Args:
        kernel: (cells, n, n). kernel_at_start: (cells or 1, n, n).

    Returns:
        (cells,), 0 where nothing has turned, to 1 for positive semi-definite kernels. NaN where either is 0.
    """
    now, then = (k / torch.linalg.matrix_norm(k, keepdim=True) for k in (kernel, kernel_at_start))
    return 0.5 * ((now - then) ** 2).sum(dim=(1, 2))
