"""The losses, one value a network, with the constants that torch uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from richness.registry import Registry


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


@dataclass(frozen=True)
class Loss:
    """One way to score outputs, to be called like a function.

    Attributes:
        value: outputs (cells, batch, K) and labels (batch,) int64 or real targets (batch, K), to one value a cell, (cells,).
        classes: whether it is defined for labels alone.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    classes: bool = False

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.value(outputs, targets)


LOSSES: Registry[Loss] = Registry("loss", {"mse": Loss(mse), "cross_entropy": Loss(cross_entropy, classes=True)})


def register_loss(
    name: str, value: Callable[[Tensor, Tensor], Tensor], *, classes: bool = False, version: str | None = None
) -> None:
    """Add a loss of your own; ``Experiment(loss=name)`` then trains by it.

    Args:
        name: a new name, a Python identifier. The same function may be registered again, edited or not.
        value: a function (outputs, targets) -> losses: outputs f (cells, batch, K), labels (batch,) int64 or real targets
            (batch, K), and one loss a cell, (cells,), each of its own outputs alone. :func:`one_hot` makes rows of either.
            In operations that torch differentiates, twice where curvature is to be measured.
        classes: True where the loss is defined for labels alone: experiments on tasks with real targets then refuse it.
        version: stands for ``value``, and all that it reaches, in the hash of a recipe that names the loss; to be changed
            when that changes. Needed only where its value cannot be told, as of an open file.

    Raises:
        ValueError: the name is taken, or no identifier; or the loss fails on small examples: the message says how.
        TypeError: ``value`` is not a function.
    """
    if not callable(value):
        raise TypeError(f"register_loss takes a function (outputs, targets) -> losses, got {type(value).__name__}")
    labels = torch.tensor([4, 0, 2, 1])
    for targets in (labels, *(() if classes else (one_hot(labels, 5, torch.float64),))):
        _try_loss(name, value, targets)
    LOSSES.add(name, Loss(value, classes), value, version, *["of classes"] * classes)


def _try_loss(name: str, value: Callable[[Tensor, Tensor], Tensor], targets: Tensor) -> None:
    """ValueError unless three cells get a loss each, which has a gradient and does not depend on the others."""
    kind = "labels int64 (4,)" if targets.dtype == torch.int64 else "real targets (4, 5)"
    outputs = torch.linspace(-1, 2, 60, dtype=torch.float64).view(3, 4, 5).requires_grad_()
    try:
        found = value(outputs, targets)
    except Exception as error:
        raise ValueError(
            f"loss {name!r}: fails on outputs (3, 4, 5) and {kind}: {type(error).__name__}: {error}"
            + ("" if targets.dtype == torch.int64 else "; register it with classes=True if it is for labels alone")
        ) from error
    if not isinstance(found, Tensor) or found.shape != (3,):
        said = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"loss {name!r}: must return one loss a cell, (3,) for outputs (3, 4, 5) and {kind}, got {said}"
        )
    if found.grad_fn is None:
        raise ValueError(f"loss {name!r}: its value must be differentiable in the outputs, and has no gradient")
    if not torch.allclose(value(outputs[2:], targets), found[2:]):
        raise ValueError(
            f"loss {name!r}: a cell's loss must depend on its own outputs alone, not on the cells beside it"
        )


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
