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
