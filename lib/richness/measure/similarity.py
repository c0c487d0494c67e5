"""How alike networks are: R² between their outputs, CKA between their representations of the same samples.

Both compare a stack of networks pair by pair and give a square matrix. A network that is not finite has NaN in its row and
column, and only there.

References:
    S. Kornblith, M. Norouzi, H. Lee, G. Hinton, *Similarity of neural network representations revisited*, ICML 2019 (CKA).
    L. Song, A. Smola, A. Gretton, J. Bedo, K. Borgwardt, *Feature selection via dependence maximization*, JMLR 2012 (the
    unbiased estimate of HSIC). T. Nguyen, M. Raghu, S. Kornblith, *Do wide and deep networks learn the same things?*, ICLR
    2021 (CKA with it).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def r_squared(outputs: Tensor) -> Tensor:
    """R²[i, j] = 1 − Σ(f_i − f_j)² / ½(Σf_i² + Σf_j²): how nearly two networks are the same function.

    Sums run over samples and outputs. It is taken about 0, the centred network at step 0, and so about what has been learned;
    about their means, networks that have learned one and the same constant so far would be judged by their noise. Neither
    network is the other's reference: 1 − R² is the harmonic mean of the two one-sided Σ(f_i − f_j)²/Σf_j². And nothing is
    fitted: a network that is right up to a factor is not the same network. 0 where two networks differ by as much as either
    is large; −1 where they are orthogonal, or one of them is 0.

    Args:
        outputs: (networks, samples, K).

    Returns:
        (networks, networks), symmetric, from −3 to 1, 1 on the diagonal. NaN where both networks are 0, as at step 0.

    Raises:
        ValueError: another number of axes.
    """
    if outputs.ndim != 3:
        raise ValueError(f"outputs must be (networks, samples, K), got {tuple(outputs.shape)}")
    rows = outputs.flatten(1)
    apart = torch.stack([((rows - one) ** 2).sum(dim=1) for one in rows])
    size = (rows**2).sum(dim=1)
    both = (size[:, None] + size) / 2
    return 1 - apart / torch.where(both > 0, both, torch.nan)


def gram(features: Tensor) -> Tensor:
    """The centred Gram matrix of a representation, H(hᵀh)H/units with H = 1 − 11ᵀ/n: each unit's mean over samples is removed.

    Args:
        features: (cells, units, samples), pre-activations or activations.

    Returns:
        (cells, samples, samples), whatever the width.
    """
    features = features - features.mean(dim=2, keepdim=True)
    return torch.bmm(features.mT, features) / features.shape[1]


def from_triangle(pairs: Tensor) -> Tensor:
    """Symmetric matrices from their upper triangles, diagonal included, row by row: (..., n(n+1)/2) to (..., n, n).

    Raises:
        ValueError: a number of pairs that no n has.
    """
    count = pairs.shape[-1]
    n = (math.isqrt(8 * count + 1) - 1) // 2
    if n * (n + 1) // 2 != count:
        raise ValueError(f"a triangle of n × n numbers has n(n+1)/2 of them, got {count}")
    rows, columns = torch.triu_indices(n, n, device=pairs.device)
    square = pairs.new_empty(*pairs.shape[:-1], n, n)
    square[..., rows, columns] = square[..., columns, rows] = pairs
    return square


def cka(grams: Tensor, debiased: bool = True) -> Tensor:
    """Centred kernel alignment of linear kernels, pair by pair: ⟨K_i, K_j⟩ / (‖K_i‖ ‖K_j‖) of centred Gram matrices.

    It does not change when a representation is rotated, shifted or multiplied by a number.

    Args:
        grams: (networks, n, n), one layer of each network on the same n samples, centred or not.
        debiased: U-centred rather than centred (Song et al. 2012), so that ⟨K_i, K_j⟩/(n(n−3)) is an unbiased estimate of
            HSIC over the samples, and its diagonal is left out. Without it, two random representations with about as many
            units as samples look alike: their CKA is near units/(units + n) where it should be 0, and results keep no
            more samples than units. Small negative values are then possible.

    Returns:
        (networks, networks), symmetric, 1 on the diagonal. NaN where a representation does not vary.

    Raises:
        ValueError: no square matrices, or fewer than four samples.
    """
    if grams.ndim != 3 or grams.shape[1] != grams.shape[2] or grams.shape[1] < 4:
        raise ValueError(f"grams must be (networks, n, n) with four samples or more, got {tuple(grams.shape)}")
    rows = (_u_centred(grams) if debiased else _centred(grams)).flatten(1)
    size = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    rows = rows / torch.where(size > 0, size, torch.nan)
    return rows @ rows.T


def _centred(grams: Tensor) -> Tensor:
    grams = grams - grams.mean(dim=1, keepdim=True)
    return grams - grams.mean(dim=2, keepdim=True)


def _u_centred(grams: Tensor) -> Tensor:
    """Without the diagonal, and with every row and column summing to 0 all the same."""
    n = grams.shape[1]
    off = 1 - torch.eye(n, dtype=grams.dtype, device=grams.device)
    grams = grams * off
    sums = grams.sum(dim=2)
    total = sums.sum(dim=1) / ((n - 1) * (n - 2))
    return (grams - (sums[:, :, None] + sums[:, None, :]) / (n - 2) + total[:, None, None]) * off
