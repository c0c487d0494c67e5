"""What every parameter of a PyTorch module is in this book's parameterisation: its rule, its multiplier, and how it begins.

=================  ===================  ========  ===========  ==========================================================
rule               multiplier           fan_in    begins       which parameters have it without being told
=================  ===================  ========  ===========  ==========================================================
``hidden``         1/√fan_in            summands  N(0, 1)      weights of ``Linear``, ``Conv*``, ``ConvTranspose*`` and of
                                                               attention's projections
``readout``        1/fan_in             summands  N(0, 1)      the weight of the last ``Linear`` or ``Conv*``
``hidden_bias``    1                    1         0            biases of those layers
``readout_bias``   1/√N                 1         0            the last one's
``embedding``      1                    1         N(0, 1)      ``Embedding``
``offset``         1                    1         as it is     gains and biases of batch, layer, group, instance and RMS norms
``frozen``         not trained                    as it is     what takes no gradient
=================  ===================  ========  ===========  ==========================================================

A layer's fan_in is how many summands one of its units adds up: of a transposed convolution of stride s, where a kernel of k
reaches k/s places, channels·k/s. What has no rule (a bare ``nn.Parameter``, a weight computed from others) is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from richness.networks.parameterization import hidden_scale, readout_scale

RULES = ("hidden", "readout", "hidden_bias", "readout_bias", "embedding", "offset", "frozen")
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)
DRAWN = ("hidden", "readout", "embedding")  # anew, from N(0, 1)
ZERO = ("hidden_bias", "readout_bias")  # at first


@dataclass(frozen=True)
class Role:
    """One parameter of a module.

    Attributes:
        name: as in ``named_parameters``. tensor: itself. rule: one of ``RULES``. owner: the module that holds it.
        scale: forward multiplier. fan_in: summands that its layer adds up for one unit.
    """

    name: str
    tensor: Tensor
    rule: str
    owner: nn.Module
    scale: float
    fan_in: int


def assign_rules(module: nn.Module, rules: Mapping[str, str] | None = None, width: int | None = None) -> list[Role]:
    """Every parameter of a module with its rule, each tensor once.

    Args:
        module: its ``Linear`` and ``Conv*`` in the order in which they are registered; the last that is trained is the readout,
            unless ``rules`` names another.
        rules: name -> rule, for what has none, or another than it would have. width: N; the readout's fan_in where not given.

    Raises:
        ValueError: fewer than two layers, a parameter without a rule, a rule that cannot be, or one tensor in two places with
            two rules.
    """
    given = dict(rules or {})
    held = {
        f"{path}.{name}".lstrip("."): (part, name, tensor)
        for path, part in module.named_modules(remove_duplicate=False)
        for name, tensor in part.named_parameters(recurse=False, remove_duplicate=False)
    }
    _check_given(given, held)
    readout = _readout(module, given, held)
    found, unknown = {}, []
    for name, (part, own, tensor) in held.items():
        rule = given.get(name) or ("frozen" if not tensor.requires_grad else _rule(part, own, part is readout))
        found[name] = rule
        if rule is None:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"no rule covers {', '.join(unknown)}: give rules={{{unknown[0]!r}: ...}}, one of {', '.join(RULES)}; a weight "
            "that is computed from others (weight_norm, spectral_norm) has none"
        )
    fan = _fan_in(readout, readout.weight)
    n = width or fan
    roles = [
        Role(name, tensor, rule, part, *_scale(rule, _fan_in(part, tensor), n))
        for (name, (part, _, tensor)), rule in zip(held.items(), found.values(), strict=True)
        if rule is not None
    ]
    return _each_tensor_once(roles)


def _check_given(given: Mapping[str, str], held: Mapping[str, object]) -> None:
    for name, rule in given.items():
        if name not in held or rule not in RULES:
            raise ValueError(
                f"rules are name -> one of {', '.join(RULES)}, got {name!r} -> {rule!r}; the parameters are {', '.join(held)}"
            )


def _readout(module: nn.Module, given: Mapping[str, str], held: Mapping[str, tuple]) -> nn.Module:
    """The layer that is read out."""
    layers = [part for part in module.modules() if isinstance(part, nn.Linear | _ConvNd) and [*part.parameters()]]
    trained = [part for part in layers if "weight" in part._parameters and part.weight.requires_grad]
    named = [held[name][0] for name, rule in given.items() if rule == "readout"]
    if len(layers) < 2 or not trained:
        raise ValueError(
            f"expected two linear or convolutional layers or more, the last one trained, found {len(layers)}, of which "
            f"{len(trained)} are trained"
        )
    if any(isinstance(one, nn.parameter.UninitializedParameter) for one in module.parameters()):
        raise ValueError("a lazy layer does not know its size yet: call the module once, then hand it over")
    return named[-1] if named else trained[-1]


def _rule(part: nn.Module, own: str, is_readout: bool) -> str | None:
    """The rule of a parameter by the module that holds it and its name there; None where there is none."""
    if isinstance(part, nn.Linear | _ConvNd):
        kind = "readout" if is_readout else "hidden"
        return {"weight": kind, "bias": f"{kind}_bias"}.get(own)
    if isinstance(part, NORMS):
        return "offset"
    if isinstance(part, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    if isinstance(part, nn.MultiheadAttention):
        return "hidden" if own.endswith("weight") else "hidden_bias"
    return None


def _fan_in(part: nn.Module, tensor: Tensor) -> int:
    """Summands of one unit, of a weight (units, channels, *kernel); transposed, (channels, units a group, *kernel)."""
    if isinstance(part, _ConvTransposeNd) and tensor.ndim > 1:
        reached = math.prod(tensor.shape[2:]) / math.prod(part.stride)
        return max(1, round(len(tensor) / part.groups * reached))
    return math.prod(tensor.shape[1:])


def _scale(rule: str, fan_in: int, width: int) -> tuple[float, int]:
    """The forward multiplier and the fan_in of a parameter."""
    if rule == "hidden":
        return hidden_scale(fan_in), fan_in
    if rule == "readout":
        return readout_scale(fan_in), fan_in
    return hidden_scale(width) if rule == "readout_bias" else 1.0, 1


def _each_tensor_once(roles: list[Role]) -> list[Role]:
    """The roles without twins.

    Raises:
        ValueError: one tensor has two rules.
    """
    kept: dict[int, Role] = {}
    for role in roles:
        first = kept.setdefault(role.tensor.data_ptr() or id(role.tensor), role)
        if (first.rule, first.fan_in) != (role.rule, role.fan_in):
            raise ValueError(
                f"{first.name} and {role.name} are one tensor, which as {first.rule} ({first.fan_in} summands) and as "
                f"{role.rule} ({role.fan_in}) would need two scales: give each its own"
            )
    return list(kept.values())
