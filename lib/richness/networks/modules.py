"""Any ``torch.nn.Module`` as a network of the plane: its parameters by their rules, and its forward pass as it is written.

The module's own initial values are not used, but for norms and what takes no gradient: weights are drawn anew from N(0, 1), as
everywhere in this book, a function of the seed and the parameter's name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, replace_all_batch_norm_modules_
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from richness.networks.general import Network, Parameter, Weights
from richness.networks.premise import check_repeatable, refuse_dropout
from richness.networks.rules import ZERO, Role, assign_rules

SIZES = ("inputs", "outputs", "width", "depth", "activation")


@dataclass(frozen=True, eq=False)
class FromModule:
    """A function of a network's sizes, made of one that makes a module.

    Attributes:
        make: a function of any of ``SIZES``, by name, to a module. rules: see :mod:`richness.networks.rules`.
        factors: see :class:`~richness.networks.general.Network`.
    """

    make: Callable[..., nn.Module]
    rules: Mapping[str, str] | None = None
    factors: int | None = None

    def __call__(self, inputs: int, outputs: int, width: int, depth: int, activation: str) -> Network:
        """The module of these sizes as a network.

        Raises:
            ValueError: a function that asks for something else, no module, dropout, or a parameter without a rule.
        """
        module = self._made(dict(zip(SIZES, (inputs, outputs, width, depth, activation), strict=True)))
        with suppress(RuntimeError, TypeError):  # what does not fit is told when the network is tried
            check_repeatable(module, (torch.linspace(-1, 1, 3 * inputs).view(3, inputs),), {})
        roles = assign_rules(module, self.rules, width)
        parameters = tuple(_parameter(role) for role in roles if role.rule != "frozen")
        apply = _apply(module, {role.name: role.tensor.detach() for role in roles if role.rule in ("offset", "frozen")})
        by_batch = any(isinstance(part, _BatchNorm) for part in module.modules())
        return Network(inputs, outputs, width, depth, parameters, apply, factors=self.factors, by_batch=by_batch)

    def _made(self, sizes: dict[str, Any]) -> nn.Module:
        asked = inspect.signature(self.make).parameters.values()
        if not any(one.kind is one.VAR_KEYWORD for one in asked):
            unknown = [one.name for one in asked if one.name not in sizes and one.default is one.empty]
            if unknown:
                raise ValueError(
                    f"a module's function may ask for {', '.join(SIZES)}, and asks for {', '.join(unknown)}"
                )
            sizes = {name: value for name, value in sizes.items() if name in {one.name for one in asked}}
        with torch.random.fork_rng():  # what it keeps of its own draws is the same in every process
            torch.manual_seed(0)
            module = self.make(**sizes)
        if not isinstance(module, nn.Module):
            raise ValueError(f"its function must return a torch.nn.Module, got {type(module).__name__}")
        refuse_dropout(module)
        return replace_all_batch_norm_modules_(module.train())  # which then go by the batch, and keep no statistics


def _parameter(role: Role) -> Parameter:
    if getattr(role.owner, "padding_idx", None) is not None:
        raise ValueError(
            f"{role.name}: an embedding's row of padding stays 0, and here every row is drawn: leave it out"
        )
    zero = role.rule in (*ZERO, "offset")
    return Parameter(role.name, tuple(role.tensor.shape), role.scale, role.fan_in, zero, rule=role.rule)


def _apply(module: nn.Module, kept: dict[str, Tensor]) -> Callable[[Weights, Tensor], Tensor]:
    """The module's forward pass, of weights by name; ``kept`` are added to them, or stand alone where there are none."""
    kept |= {name: buffer.detach() for name, buffer in module.named_buffers()}

    def apply(w: Weights, x: Tensor) -> Tensor:
        own = {name: value.to(x) if value.is_floating_point() else value.to(x.device) for name, value in kept.items()}
        values = own | {name: own[name] + value if name in own else value for name, value in w.items()}
        with sdpa_kernel(SDPBackend.MATH):  # the one that can be mapped, and differentiated twice
            return functional_call(module, values, (x.clone(),))  # it may change its inputs in place

    return apply
