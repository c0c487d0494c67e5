"""The losses, one value a network, with the constants that torch uses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def one_hot(targets: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
    """Labels (batch,) to one-hot rows (batch, outputs); real targets (batch, outputs) are returned in ``dtype``."""
    if targets.dtype == torch.int64:
        return torch.nn.functional.one_hot(targets, outputs).to(dtype)
    return targets.to(dtype)


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error, the mean over batch *and* outputs, without ½ (torch's convention).

    With K classes this is 2/K times ½·mean‖f − y‖², the other common convention: step sizes differ by that factor.

    Args:
        outputs: f, (cells, batch, K).
        targets: labels (batch,) int64, taken as one-hot, or real targets (batch, K).

    Returns:
        (cells,). A network that outputs 0 has 1/K on one-hot targets.
    """
    return ((outputs - one_hot(targets, outputs.shape[-1], outputs.dtype)) ** 2).mean(dim=(1, 2))


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross-entropy in nats, the mean over the batch.

    Args:
        outputs: logits f, (cells, batch, K).
        targets: labels (batch,) int64.

    Returns:
        (cells,). A network that outputs 0 has log K.
    """
    log_p = torch.log_softmax(outputs, dim=-1)
    picked = log_p.gather(2, targets.expand(len(outputs), -1)[:, :, None])
    return -picked.mean(dim=(1, 2))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "cross_entropy": cross_entropy}


def mse_residual(f: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`mse` and its derivative 2(f − y)/(B·K).

    Args:
        f: (cells, K, batch), samples along the last axis. target: one-hot or real, (K, batch).

    Returns:
        The loss (cells,), and its derivative by f, (cells, K, batch).
    """
    miss = f - target
    return miss.square().mean(dim=(1, 2)), miss.mul_(2.0 / target.numel())


def cross_entropy_residual(f: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`cross_entropy` and its derivative (softmax f − y)/B; shapes as in :func:`mse_residual`, one-hot targets."""
    log_p = torch.log_softmax(f, dim=1)
    loss = (log_p * target).sum(dim=1).mean(dim=1).neg_()
    return loss, log_p.exp_().sub_(target).div_(target.shape[-1])


# The same two losses with their derivatives written out, for engines that do without autograd.
RESIDUALS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "mse": mse_residual,
    "cross_entropy": cross_entropy_residual,
}
