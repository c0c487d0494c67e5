"""What a stack of networks has made of its layers: singular values of matrices, rank and drift of representations.

Where a network is not finite its result is NaN, and only its own.

References:
    M. Rudelson, R. Vershynin, *Sampling from large matrices*, JACM 2007 (stable rank).
    P. Gao et al., *A theory of multineuronal dimensionality, dynamics and measurement*, 2017 (participation ratio).
    O. Roy, M. Vetterli, *The effective rank*, EUSIPCO 2007.
"""

from __future__ import annotations

import torch
from torch import Tensor

RANKS = ("participation", "stable", "entropy")


def singular_values(matrices: list[Tensor], minus: list[Tensor] | None = None) -> list[Tensor]:
    """Singular values of every layer's matrix, descending.

    Args:
        matrices: each (cells, fan_out, fan_in), taken as they come: weights drawn from N(0, 1), or those multiplied by their
            forward scale (``MLP.operators``), which is how they act.
        minus: as many, each (cells or 1, fan_out, fan_in), to take away first. With the weights at step 0, what is left is
            the learned change W_t − W₀, whose few large values the bulk of W₀ would hide.

    Returns:
        One tensor a layer, (cells, min(fan_out, fan_in)).
    """
    if minus is not None:
        matrices = [matrix - other for matrix, other in zip(matrices, minus, strict=True)]
    found = []
    for matrix in matrices:
        finite = _finite(matrix)
        values = torch.linalg.svdvals(torch.where(finite[:, None, None], matrix, 0.0))
        found.append(torch.where(finite[:, None], values, torch.nan))
    return found


def feature_rank(features: Tensor, kind: str = "participation", centre: bool = True) -> Tensor:
    """The number of directions that a representation fills, from the eigenvalues λ of its covariance over the samples.

    Args:
        features: a hidden layer, (cells, features, batch).
        kind: ``participation``, (Σλ)²/Σλ²; ``stable``, Σλ/λ_max; ``entropy``, exp(−Σ p log p) with p = λ/Σλ, in nats. All
            three are n where n eigenvalues are equal and the others 0; else stable ≤ participation ≤ entropy (they are the
            exponentials of the Rényi entropies of p of order ∞, 2 and 1).
        centre: take each feature's mean over the batch away first. Without it the mean direction counts, and mostly rules.

    Returns:
        (cells,), from 1 to min(features, batch); NaN where the representation does not vary.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in RANKS:
        raise ValueError(f"kind must be one of {', '.join(RANKS)}, got {kind!r}")
    if centre:
        features = features - features.mean(dim=2, keepdim=True)
    if features.shape[1] > features.shape[2]:
        features = features.mT
    gram = torch.bmm(features, features.mT)
    gram = gram / gram.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
    if kind == "participation":
        return 1 / (gram**2).sum(dim=(1, 2))
    finite = _finite(gram)
    shares = torch.linalg.eigvalsh(torch.where(finite[:, None, None], gram, 0.0)).clamp_min(0.0)
    entropy = -torch.special.xlogy(shares, shares).sum(dim=1)
    return torch.where(finite, 1 / shares[:, -1] if kind == "stable" else torch.exp(entropy), torch.nan)


def drift(features: list[Tensor], features_at_start: list[Tensor]) -> list[Tensor]:
    """How far each layer's representation of the same samples has moved: ‖h_t − h₀‖ / ‖h₀‖, Frobenius norms.

    Args:
        features: one tensor a layer, (cells, features, batch). features_at_start: likewise, cells or 1.

    Returns:
        One tensor a layer, (cells,).
    """
    return [
        torch.linalg.matrix_norm(now - then) / torch.linalg.matrix_norm(then)
        for now, then in zip(features, features_at_start, strict=True)
    ]


def _finite(matrices: Tensor) -> Tensor:
    return torch.isfinite(matrices).all(dim=2).all(dim=1)
