"""The sharpness of any torch module, as it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from richness.measure.curvature import sharpness


@sharpness.register
def sharpness_of_module(
    model: nn.Module,
    loss: Callable[[Any, Any], Tensor],
    batch: tuple[Any, Any],
    tolerance: float = 1e-4,
    iterations: int = 80,
) -> Tensor:
    """λ_max of the Hessian of a module's loss on one batch: what ``richness.sharpness(model, loss, batch)`` calls.

    Parameters that are frozen (``requires_grad`` False) are left out: the Hessian is in the others. The module is left as it
    is, its gradients and buffers too, and measured in the mode it is in: call ``model.eval()`` first where it has dropout,
    which would make every product another's.

    Args:
        model: what gives ``model(inputs)``, in operations that torch differentiates twice.
        loss: (outputs, targets) to one number: ``torch.nn.functional.mse_loss``, say. Its constants are the Hessian's.
        batch: (inputs, targets), as the two take them; several inputs as a tuple.
        tolerance, iterations: as in :func:`richness.sharpness`.

    Returns:
        λ_max, a tensor of one number in the parameters' dtype; NaN where it is not finite.

    Raises:
        ValueError: the batch is no pair, every parameter is frozen, or the loss gives more than one number.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
        >>> x, y = torch.randn(32, 8), torch.randint(3, (32,))
        >>> lambda_max = sharpness(model, torch.nn.functional.cross_entropy, (x, y))
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError(f"batch must be a pair (inputs, targets), got {type(batch).__name__}")
    inputs, targets = batch
    trained = {name: p.detach()[None] for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError("every parameter of the module is frozen: set requires_grad of those that the Hessian is in")

    def of_parameters(stack: list[Tensor]) -> Tensor:
        state = {name: buffer.clone() for name, buffer in model.named_buffers()}  # a norm in training writes to its own
        state |= {name: rows[0] for name, rows in zip(trained, stack, strict=True)}
        with sdpa_kernel(SDPBackend.MATH):  # the one attention that can be differentiated twice
            value = loss(functional_call(model, state, inputs), targets)
        if value.numel() != 1:
            raise ValueError(f"the loss must give one number, got shape {tuple(value.shape)}: take its mean or its sum")
        return value.reshape(1)

    found = sharpness.dispatch(object)(of_parameters, list(trained.values()), tolerance, iterations)
    return found[0]
