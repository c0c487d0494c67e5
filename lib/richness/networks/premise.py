"""What centring rests on: a module is a function of its weights and inputs, so that two calls agree.

A random draw (dropout, stochastic depth, a randomised ReLU) or a state that changes from call to call makes two calls differ,
and their difference, divided by γ, is noise.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ROUNDING = 100  # times the dtype's epsilon: sums are not always taken in the same order


def map_tensors(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    """``function`` of every tensor in a nest of dicts, lists and tuples, with its twins in the others; the rest as it is."""
    if isinstance(first, Tensor):
        return function(first, *others)
    if isinstance(first, Mapping):
        made = copy.copy(first)  # keeps the type, such as a model's own output class
        for key in first:
            made[key] = map_tensors(function, first[key], *(other[key] for other in others))  # type: ignore[index]
        return made
    if isinstance(first, tuple | list):
        values = [map_tensors(function, *each) for each in zip(first, *others, strict=True)]
        return type(first)._make(values) if hasattr(first, "_make") else type(first)(values)  # type: ignore[attr-defined]
    return first


def refuse_dropout(module: nn.Module) -> None:
    """ValueError where a part drops out a share of its inputs, as can be seen without a call."""
    for name, part in module.named_modules():
        share = part.p if isinstance(part, nn.modules.dropout._DropoutNd) else getattr(part, "dropout", 0.0)
        if isinstance(share, Real) and not isinstance(share, bool) and share > 0:
            raise ValueError(
                f"{name or 'the module'} drops out a share {share:g}: the network and its frozen copy would draw different "
                "masks, and their difference, divided by γ, is noise; set it to 0"
            )


def check_repeatable(module: nn.Module, inputs: tuple, named: Mapping[str, Any]) -> None:
    """Call two copies of a module, which stays as it is, as do the generators of random numbers.

    Raises:
        ValueError: it draws random numbers, or the calls differ; the message names the part where it begins.
    """
    with _chance_kept(), torch.no_grad():
        calls = [_record(copy.deepcopy(module), inputs, named) for _ in range(2)]
    for (name, drew, one), (_, _, other) in zip(*calls, strict=False):
        if drew or not _alike(one, other):
            what = "draws random numbers" if drew else "answers two equal calls differently"
            raise ValueError(
                f"{name} {what}: the network and its frozen copy would differ before the first step, and their difference, "
                "divided by γ, is noise; set its rate to 0, or leave it out"
            )


def _record(module: nn.Module, inputs: tuple, named: Mapping[str, Any]) -> list[tuple[str, bool, Any]]:
    """One call: of every part in the order in which they end, its name, whether it drew random numbers, what it answered."""
    done: list[tuple[str, bool, Any]] = []
    begun: list[Any] = []
    names = {
        part: f"{name} ({type(part).__name__})" if name else type(part).__name__
        for name, part in module.named_modules()
    }

    def begin(part: nn.Module, _: Any) -> None:
        begun.append(_chance())

    def end(part: nn.Module, _: Any, out: Any) -> None:
        done.append((names[part], begun.pop() != _chance(), map_tensors(_digest, out)))

    for part in names:
        part.register_forward_pre_hook(begin)
        part.register_forward_hook(end)
    module(*map_tensors(torch.clone, inputs), **map_tensors(torch.clone, dict(named)))
    return done


def _digest(values: Tensor) -> tuple[float, float]:
    """A tensor's weighted sum, which a change anywhere changes, and the rounding of it: less to keep than the tensor itself."""
    rounding = ROUNDING * torch.finfo(values.dtype).eps if values.is_floating_point() else 0.0
    values = values.detach().flatten().double()
    ramp = torch.linspace(1, 2, len(values), dtype=torch.float64, device=values.device)
    return float(values @ ramp), rounding * float(values.abs().sum())


def _alike(one: Any, other: Any) -> bool:
    """Whether two nests of digests agree."""
    if isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], float):
        return abs(one[0] - other[0]) <= max(one[1], other[1]) or one[0] != one[0]
    if isinstance(one, Mapping):
        return all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return all(_alike(*both) for both in zip(one, other, strict=True))
    return True


def _chance() -> tuple[Any, ...]:
    """The state of every generator that a module may draw from."""
    device = [torch.cuda.get_rng_state(k).numpy().tobytes() for k in range(torch.cuda.device_count())]
    numpy = np.random.get_state(legacy=True)
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), numpy[1].tobytes(), numpy[2:], tuple(device)


@contextmanager
def _chance_kept() -> Iterator[None]:
    """What is drawn meanwhile is drawn again afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(python)
    np.random.set_state(numpy)
