"""How far a batch of representations is from an isometry: a number that is 0 where all directions are equally long."""

from __future__ import annotations

import torch
from torch import Tensor


def isometry_gap(x: Tensor) -> Tensor:
    """φ(X) = log mean(λ) − mean(log λ), over the eigenvalues λ of XXᵀ: arithmetic against geometric mean.

    It is ≥ 0, and 0 only where XXᵀ is a multiple of the identity; a factor on X changes nothing. Where X has not full rank
    in working precision (a singular value below units·ε times the largest), a direction is lost, and the gap infinite.

    Args:
        x: (*, units, batch).

    Returns:
        (*,).
    """
    units, batch = x.shape[-2:]
    if batch < units:
        return x.new_full(x.shape[:-2], torch.inf)
    values = torch.linalg.svdvals(x)
    eigenvalues = (values / values[..., :1]).square()
    gap = eigenvalues.mean(-1).log() - eigenvalues.log().mean(-1)
    lost = values[..., -1] < units * torch.finfo(x.dtype).eps * values[..., 0]
    return torch.where(lost, torch.inf, gap)
