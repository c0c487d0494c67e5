"""A loss along one step, as a power series of how much of the step is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def taylor(outputs: list[Tensor], loss: Callable[[Tensor], Tensor], order: int = 3) -> Tensor:
    """The coefficients c₀ … c_order of loss(Σ_p t^p f_p) = Σ_p c_p t^p, exactly.

    In words of derivatives of the loss in the outputs: c₁ = ⟨∇ℓ, f₁⟩, c₂ = ⟨∇ℓ, f₂⟩ + ½ f₁ᵀ∇²ℓ f₁, c₃ = ⟨∇ℓ, f₃⟩ + f₁ᵀ∇²ℓ f₂
    + ⅙ ∇³ℓ[f₁, f₁, f₁].

    Args:
        outputs: f₀, f₁, …, each (cells, …); those beyond ``order`` change nothing.
        loss: outputs to one loss a network, (cells,), differentiable so often.

    Returns:
        (cells, order + 1).
    """
    t = torch.zeros(len(outputs[0]), dtype=outputs[0].dtype, device=outputs[0].device, requires_grad=True)
    with torch.enable_grad():
        share = t.view(-1, *[1] * (outputs[0].ndim - 1))
        value = loss(sum(term * share**power for power, term in enumerate(outputs)))  # type: ignore[arg-type]
        found, factorial = [value.detach()], 1.0
        for power in range(1, order + 1):
            (value,) = torch.autograd.grad(value.sum(), t, create_graph=True, materialize_grads=True)
            factorial *= power
            found.append(value.detach() / factorial)
    return torch.stack(found, dim=1)


def overshoot(series: Any) -> Any:
    """c₂/|c₁| of a step downhill: beyond 1 the loss's parabola along the whole step ends higher than it began.

    For a step −ηg against the gradient it is ½·η·gᵀHg/‖g‖²: the curvature along the gradient in units of 2/η, the edge of
    stability.

    Args:
        series: c₁, c₂, … along the last axis, (*, ≥ 2), a tensor or an array: what :func:`taylor` gives, without c₀.

    Returns:
        (*,).
    """
    return series[..., 1] / abs(series[..., 0])
