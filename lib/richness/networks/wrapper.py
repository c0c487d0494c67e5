"""Any PyTorch module on the dial of richness: centred, divided by γ, and, if wanted, in the maximal-update parameterisation."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from richness.networks.optimizers import OPTIMIZERS
from richness.networks.parameterization import hidden_scale, readout_scale


class Centred(nn.Module):
    """f(x) = [module(x; θ) − module(x; θ₀)] / γ, exactly 0 until the first step.

    θ₀ is kept as buffers of a frozen copy, ``start``: it moves between devices, is saved in ``state_dict``, follows
    ``train()`` and ``eval()``, takes no gradient and is none of ``parameters()``. Every forward pass runs both, which costs
    a third more in training.

    What γ means depends on how ``module`` is parameterised. After :func:`maximal_update_` it is this book's richness at every
    width. Left as PyTorch initialises it, with weights of order 1/√fan_in also in the readout, a module of width N outputs
    √N times as much, and the same divisor makes it √N times lazier: Centred(module, γ√N) is then about as rich as γ
    here, and this book's step sizes do not carry over.

    Batch normalisation works: module and copy see the same batches and keep each its own statistics. Dropout would draw two
    different masks, whose difference γ → 0 blows up, and is refused.

    Args:
        module: at its initial weights; it is trained in place. gamma: richness, positive.

    Raises:
        ValueError: γ is not positive, or the module has dropout.

    References:
        L. Chizat, E. Oyallon, F. Bach, *On Lazy Training in Differentiable Programming*, NeurIPS 2019.
    """

    def __init__(self, module: nn.Module, gamma: float):
        super().__init__()
        if not gamma > 0:
            raise ValueError(f"the richness gamma must be positive, got {gamma}")
        _refuse_dropout(module)
        self.module, self.gamma, self.start = module, gamma, _frozen(module)

    def forward(self, *inputs: Any) -> Tensor:
        with torch.no_grad():
            at_start = self.start(*inputs)
        return (self.module(*inputs) - at_start) / self.gamma

    def extra_repr(self) -> str:
        return f"gamma={self.gamma:g}"


def _frozen(module: nn.Module) -> nn.Module:
    """A copy whose parameters are buffers."""
    twin = copy.deepcopy(module)
    for part in twin.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())
    return twin


def _refuse_dropout(module: nn.Module) -> None:
    for name, part in module.named_modules():
        share = part.p if isinstance(part, nn.modules.dropout._DropoutNd) else getattr(part, "dropout", 0.0)
        if isinstance(share, float) and share > 0:
            raise ValueError(
                f"{name or 'the module'} drops out a share {share:g}: the network and its frozen copy would draw different "
                "masks, and their difference, divided by γ, is noise; set it to 0"
            )


def maximal_update_(
    module: nn.Module, eta: float, width: int | None = None, optimizer: str = "sgd"
) -> list[dict[str, Any]]:
    """Put linear and convolutional layers into this book's parameterisation, in place, and give each its step.

    The weights are drawn anew: N(0, 1/fan_in), the readout's N(0, 1/fan_in²), biases 0. (In this book the weights are
    N(0, 1) and multiplied going forward; here the multiplier is part of the weight, so that a layer's step is ``lr_raw``
    times its square.) Steps for SGD and momentum: N·η/fan_in, the readout's N·η/fan_in²; for SignSGD and Adam: η/fan_in.
    Hidden biases take N·η, the readout's η; by sign both take η. Adam's ε must be far below the gradients, which are of
    order 1/γ. Weight decay and gradient clipping are not covered.

    Args:
        module: its ``nn.Linear`` and ``nn.Conv*d`` in the order in which they are registered; the last is the readout.
        eta: η, as on every axis of this book. width: N; the readout's fan_in where not given.
        optimizer: a key of ``OPTIMIZERS``.

    Returns:
        Parameter groups for ``torch.optim.SGD(groups, lr=eta)`` and the like, each with its own ``lr``.

    Raises:
        ValueError: fewer than two such layers, or parameters in layers of other kinds.
    """
    layers = [part for part in module.modules() if isinstance(part, nn.Linear | nn.modules.conv._ConvNd)]
    if len(layers) < 2:
        raise ValueError(f"expected two linear or convolutional layers or more, found {len(layers)}")
    covered = {id(p) for layer in layers for p in layer.parameters()}
    others = [name for name, p in module.named_parameters() if id(p) not in covered]
    if others:
        raise ValueError(f"this rule covers linear and convolutional layers only; it does not know {', '.join(others)}")
    n, rule = width or layers[-1].weight[0].numel(), OPTIMIZERS[optimizer]
    groups = []
    for layer in layers:
        fan_in, last = layer.weight[0].numel(), layer is layers[-1]
        scale = readout_scale(fan_in) if last else hidden_scale(fan_in)
        nn.init.normal_(layer.weight, std=scale)
        groups.append({"params": [layer.weight], "lr": eta * _step(rule, n, scale, fan_in)})
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
            groups.append({"params": [layer.bias], "lr": eta * _step(rule, n, hidden_scale(n) if last else 1.0, 1)})
    return groups


def _step(rule: Any, width: int, scale: float, fan_in: int) -> float:
    """A layer's step over η when the multiplier is part of the weight: lr_raw by its square, by sign once."""
    return rule.factor(width, scale, fan_in) * (scale if rule.by_sign else scale**2)
