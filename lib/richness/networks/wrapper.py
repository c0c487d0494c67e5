"""Any PyTorch module on the dial of richness: centred, divided by γ, and, if wanted, in the maximal-update parameterisation."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from richness.networks.optimizers import OPTIMIZERS
from richness.networks.premise import ROUNDING, check_repeatable, map_tensors, refuse_dropout
from richness.networks.rules import DRAWN, ZERO, assign_rules


class Centred(nn.Module):
    """f(x) = [module(x; θ) − module(x; θ₀)] / γ, exactly 0 until the first step.

    θ₀ is kept as buffers of a frozen copy, ``start``: it moves between devices, is saved in ``state_dict``, follows
    ``train()`` and ``eval()``, takes no gradient and is none of ``parameters()``. Every forward pass runs both, which costs
    a third more in training.

    What γ means depends on how ``module`` is parameterised. After :func:`maximal_update_` it is this book's richness at every
    width. Left as PyTorch initialises it, with weights of order 1/√fan_in also in the readout, a module of width N outputs
    √N times as much, and the same divisor makes it √N times lazier: Centred(module, γ√N) is then about as rich as γ
    here, and this book's step sizes do not carry over.

    Inputs are passed on as they come, by place or by name. Where the module answers with a dict, a list or a tuple, as models
    of Hugging Face do, every tensor of real numbers in it is centred and divided. A loss that it has computed from its own,
    uncentred outputs is refused: leave its labels out, and take the loss of what comes out here.

    Batch normalisation works: module and copy see the same batches and keep each its own statistics. Whatever makes two calls
    differ, such as dropout or stochastic depth, is refused: by looking at the module, and, at the first call in training and
    the first in evaluation, by calling copies of it twice.

    Args:
        module: at its initial weights; it is trained in place. gamma: richness, positive.

    Raises:
        ValueError: γ is not positive, or the module is no function of its weights and inputs; the message names the part.

    References:
        L. Chizat, E. Oyallon, F. Bach, *On Lazy Training in Differentiable Programming*, NeurIPS 2019.
    """

    def __init__(self, module: nn.Module, gamma: float):
        super().__init__()
        if not gamma > 0:
            raise ValueError(f"the richness gamma must be positive, got {gamma}")
        refuse_dropout(module)
        self.module, self.gamma, self.start = module, gamma, _frozen(module)
        self._checked: set[bool] = set()  # in training, in evaluation

    def forward(self, *inputs: Any, **named: Any) -> Any:
        check = self.training not in self._checked and _is_plain(inputs, named)
        if check:
            check_repeatable(self.start, inputs, named)
        with torch.no_grad():  # of copies: a module may change its inputs in place
            at_start = self.start(*map_tensors(torch.clone, inputs), **map_tensors(torch.clone, named))
        out = self.module(*inputs, **named)
        if not isinstance(out, Tensor | Mapping | tuple | list):
            raise ValueError(
                f"the module must answer with a tensor, or a dict, list or tuple of some, got {type(out).__name__}"
            )
        if check and self._is_at_start():
            map_tensors(_check_zero, out, at_start)
        self._checked |= {self.training} if check else set()
        return map_tensors(self._centre, out, at_start)

    def _centre(self, now: Tensor, before: Tensor) -> Tensor:
        if not now.is_floating_point():
            return now
        if not now.ndim:
            raise ValueError(
                "the module answers with a single number, as a loss that it computes from its uncentred outputs: leave its "
                "labels out, and take the loss of the centred outputs"
            )
        return (now - before) / self.gamma

    def _is_at_start(self) -> bool:
        """Whether no step was taken yet."""
        before = dict(self.start.named_buffers())
        return all(torch.equal(p, before[name]) for name, p in self.module.named_parameters())

    def restart(self) -> None:
        """Take the module's present weights for those at the start."""
        self.start = _frozen(self.module)
        self._checked.clear()

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


def _is_plain(*inputs: Any) -> bool:
    """Whether values can be looked at: not while torch compiles, nor inside one of its function transforms."""
    wrapped: list[bool] = []
    map_tensors(lambda x: wrapped.append(torch._C._functorch.is_functorch_wrapped_tensor(x)), inputs)
    return not (torch.compiler.is_compiling() or any(wrapped))


def _check_zero(now: Tensor, before: Tensor) -> None:
    """ValueError unless what a module and its frozen copy say at the same weights is the same."""
    if now.is_floating_point() and now.numel():
        apart, size = float((now - before).detach().abs().max()), float(before.abs().max())
        if apart > ROUNDING * torch.finfo(now.dtype).eps * size:
            raise ValueError(
                f"the module and its frozen copy differ by {apart:.2g} at the same weights, before the first step: it keeps "
                "something between calls besides its parameters and buffers"
            )


def maximal_update_(
    module: nn.Module,
    eta: float,
    width: int | None = None,
    optimizer: str = "sgd",
    rules: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Put a module into this book's parameterisation, in place, and give each of its parameters its step.

    Every parameter has a rule (:mod:`richness.networks.rules`). Weights are drawn anew: N(0, 1/fan_in), the readout's
    N(0, 1/fan_in²), embeddings N(0, 1); biases are 0; norms keep their gains and biases; what takes no gradient keeps its
    values. (In this book the weights are N(0, 1) and multiplied going forward; here the multiplier is part of the weight, so
    that a layer's step is ``lr_raw`` times its square.) Steps for SGD and momentum: N·η/fan_in, the readout's N·η/fan_in²; for
    SignSGD and Adam: η/fan_in. Hidden biases, gains and embeddings take N·η, the readout's bias η; by sign all take η. Adam's
    ε must be far below the gradients, which are of order 1/γ. Weight decay and gradient clipping are not covered.

    Before or after :class:`Centred`, which takes the new weights for those at the start.

    Args:
        module: its ``nn.Linear``, ``nn.Conv*d`` and ``nn.ConvTranspose*d`` in the order in which they are registered; the last
            that is trained is the readout.
        eta: η, as on every axis of this book. width: N; the readout's fan_in where not given.
        optimizer: a key of ``OPTIMIZERS``.
        rules: name of a parameter -> its rule, where it has none or is to have another.

    Returns:
        Parameter groups for ``torch.optim.SGD(groups, lr=eta)`` and the like, each with its ``lr``, and the ``name`` and
        ``rule`` of its parameter.

    Raises:
        ValueError: fewer than two such layers, parameters that no rule covers, or one that two layers share in two roles.
    """
    roles = assign_rules(module, rules, width)
    readout = next(role for role in roles if role.rule == "readout")
    n, rule = width or readout.fan_in, OPTIMIZERS[OPTIMIZERS.known(optimizer)]
    groups = []
    for role in roles:
        if role.rule in DRAWN:
            nn.init.normal_(role.tensor, std=role.scale)
        elif role.rule in ZERO:
            nn.init.zeros_(role.tensor)
        if (padding := getattr(role.owner, "padding_idx", None)) is not None and role.rule == "embedding":
            role.tensor.data[padding] = 0
        if role.rule != "frozen":
            lr = eta * _step(rule, n, role.scale, role.fan_in)
            groups.append({"params": [role.tensor], "lr": lr, "name": role.name, "rule": role.rule})
    for part in module.modules():
        if isinstance(part, Centred):
            part.restart()
    return groups


def _step(rule: Any, width: int, scale: float, fan_in: int) -> float:
    """A layer's step over η when the multiplier is part of the weight: lr_raw by its square, by sign once."""
    return rule.factor(width, scale, fan_in) * (scale if rule.by_sign else scale**2)
