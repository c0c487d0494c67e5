"""Any architecture, from one function that is written for a single network.

A :class:`Network` names its parameters and says how they are used; stacking them over cells, the multipliers of the
maximal-update parameterisation, the raw step of every layer and the initial weights follow. See :mod:`parameterization` for
the conventions: every weight is drawn from N(0, 1), biases start at 0, and ``apply`` is handed weights already multiplied by
their forward multiplier, so that it reads like the textbook.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from threading import RLock
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils.flop_counter import FlopCounterMode

from richness import rng
from richness.fingerprint import reaches
from richness.networks.parameterization import hidden_scale, readout_scale

LARGE = 2**22  # parameters of a network beyond which it is tried as shapes alone

_LOCK = RLock()  # held while a reader's module runs

Weights = Mapping[str, Tensor]  # of one network, by name, multiplied by their scales


class Architecture(Protocol):
    """What training and measuring ask of a network; all tensors are stacked over cells."""

    @property
    def inputs(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def degree(self) -> int:
        """The power of the weights' common size with which f̃ grows: L without norms."""

    @property
    def shapes(self) -> Sequence[tuple[int, ...]]:
        """Of every weight of one network."""

    @property
    def scales(self) -> list[float]:
        """The forward multiplier of every weight."""

    @property
    def fans(self) -> list[int]:
        """Summands that every weight's layer adds up for one unit: its fan_in."""

    @property
    def units(self) -> int:
        """Numbers that one network keeps of one sample, about: its hidden layers and outputs."""

    @property
    def products(self) -> int:
        """Multiplications of one forward pass of one sample."""

    def initialise(self, seed: int) -> list[Tensor]:
        """The weights at step 0, a function of the seed alone, float64."""

    def forward(self, weights: list[Tensor], x: Tensor) -> Tensor:
        """f̃(x; θ), neither centred nor divided by γ: weights (cells, ...) and inputs (batch, D) to (cells, batch, K)."""

    def hidden(self, weights: list[Tensor], x: Tensor) -> list[Tensor]:
        """Hidden pre-activations, one tensor a layer, (cells, units, batch)."""


def at_start(network: Architecture, start: Sequence[Tensor], x: Tensor) -> Tensor:
    """f̃(x; θ₀), (1, batch, K), to the last bit as it comes out in a stack of many: so that f is exactly 0 at step 0."""
    with torch.no_grad():
        return network.forward([torch.cat([w, w]) for w in start], x)[:1]


@dataclass(frozen=True)
class Parameter:
    """One tensor of a network's weights, drawn from N(0, std²).

    Attributes:
        name: its key in ``apply``, and what its initial values are a function of, with the seed.
        shape: of one network's tensor, as ``apply`` sees it.
        scale: forward multiplier; ``apply`` sees scale × raw weight.
        fan_in: summands that its layer adds up for one unit.
        zero: starts at 0 instead, as biases do.
        rule: what it is, in a word; see :mod:`richness.networks.rules`.
        std: standard deviation of the draw, 1 in this book's parameterisation. Others put a multiplier here instead of into
            ``scale``, and so change what a step of SGD does.
    """

    name: str
    shape: tuple[int, ...]
    scale: float
    fan_in: int
    zero: bool = False
    std: float = 1.0
    rule: str = ""


def hidden_weight(name: str, *shape: int) -> Parameter:
    """Of an input or hidden layer, (units, fan_in) or, for a convolution, (channels, channels below, *kernel): 1/√fan_in."""
    fan_in = math.prod(shape[1:])
    return Parameter(name, shape, hidden_scale(fan_in), fan_in, rule="hidden")


def readout_weight(name: str, outputs: int, fan_in: int) -> Parameter:
    """Of the readout, (outputs, fan_in): 1/fan_in."""
    return Parameter(name, (outputs, fan_in), readout_scale(fan_in), fan_in, rule="readout")


def hidden_bias(name: str, units: int) -> Parameter:
    """Of an input or hidden layer, (units,), 0 at first. Its step N·η meets a gradient of order 1/N: it moves by order η."""
    return Parameter(name, (units,), 1.0, 1, zero=True, rule="hidden_bias")


def readout_bias(name: str, outputs: int, width: int) -> Parameter:
    """Of the readout, (outputs,), 0 at first; 1/√N, so that the step N·η moves it by order η too."""
    return Parameter(name, (outputs,), hidden_scale(width), 1, zero=True, rule="readout_bias")


def embedding(name: str, places: int, units: int) -> Parameter:
    """One vector for each place or symbol, (places, units), of order one: a table that is looked up, a fan_in of 1.

    One entry meets a gradient of order 1/N, as a bias does: its step N·η moves it by order η.
    """
    return Parameter(name, (places, units), 1.0, 1, rule="embedding")


@dataclass(frozen=True)
class Network:
    """An architecture: its parameters, and what one network does with them.

    Attributes:
        inputs: D. outputs: K. width: N, by which SGD's raw step N·η is scaled. depth: L, weight layers on the longest path.
        parameters: in the order in which weights are stacked everywhere else.
        apply: weights by name, each multiplied by its scale, and inputs (batch, D), to f̃, (batch, K). It is written for one
            network and mapped over cells by ``torch.func.vmap``: no branches on values, nothing changed in place.
        layers: the same, to a list of hidden pre-activations, each (batch, ...), for probes of features; None where there
            are none to look at.
        factors: how many of the weights on one path make f̃ large when they grow; None for all L of them. Weights before a norm
            do not: the norm undoes their size.
        by_batch: whether what it says of a sample depends on those beside it, as with batch norms.
    """

    inputs: int
    outputs: int
    width: int
    depth: int
    parameters: tuple[Parameter, ...]
    apply: Callable[[Weights, Tensor], Tensor]
    layers: Callable[[Weights, Tensor], Sequence[Tensor]] | None = None
    factors: int | None = None
    by_batch: bool = False

    @property
    def degree(self) -> int:
        """The power of the weights' common size with which f̃ grows. With large γ, f of order one asks for f̃ of order γ; so
        2/degree is what the exponent of the largest η on the rich side is to be compared with."""
        return self.depth if self.factors is None else self.factors

    def __str__(self) -> str:
        """A table of its parameters."""
        rows = [("parameter", "shape", "rule", "multiplier", "fan_in", "begins")]
        for p in self.parameters:
            begins = ("as it is" if p.rule == "offset" else "0") if p.zero else f"N(0, {p.std**2:g})"
            rows.append((p.name, "×".join(map(str, p.shape)), p.rule, f"{p.scale:.4g}", str(p.fan_in), begins))
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, wide)).rstrip() for row in rows)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [p.shape for p in self.parameters]

    @property
    def scales(self) -> list[float]:
        return [p.scale for p in self.parameters]

    @property
    def fans(self) -> list[int]:
        return [p.fan_in for p in self.parameters]

    def initialise(self, seed: int) -> list[Tensor]:
        """The weights at step 0, float64, a function of the seed and each parameter's name alone."""
        return [
            torch.zeros(p.shape, dtype=torch.float64)
            if p.zero
            else p.std * rng.normals(seed, p.name, 0, math.prod(p.shape)).reshape(p.shape)
            for p in self.parameters
        ]

    def forward(self, weights: list[Tensor], x: Tensor) -> Tensor:
        """f̃(x; θ) of a stack of networks, (cells, batch, K), from weights (cells, ...) and shared inputs (batch, D)."""
        return self._mapped(self.apply, weights, x)

    def hidden(self, weights: list[Tensor], x: Tensor) -> list[Tensor]:
        """Hidden pre-activations of a stack of networks, one tensor a layer, (cells, units, batch).

        A convolution's places are units of their own.

        Raises:
            ValueError: the network does not say what its hidden layers are.
        """
        if self.layers is None:
            raise ValueError("this network has no `layers`: give Network(layers=...) to look at its features")
        return [h.flatten(2).mT for h in self._mapped(self.layers, weights, x)]

    def _mapped(self, function: Callable, weights: list[Tensor], x: Tensor) -> Any:
        lone = len(weights[0]) == 1
        # A lone network gets a twin: a product or convolution of one takes another path, whose last bits differ.
        stacked = {
            p.name: (torch.cat([w, w]) if lone else w) * p.scale for p, w in zip(self.parameters, weights, strict=True)
        }
        with _LOCK if self.one_at_a_time else nullcontext():
            out = vmap(function, in_dims=(0, None))(stacked, x)
        if not lone:
            return out
        return out[:1] if isinstance(out, Tensor) else [h[:1] for h in out]

    @cached_property
    def one_at_a_time(self) -> bool:
        """Whether `apply` holds a torch module: ``functional_call`` swaps its weights, and threads would tear it."""
        return reaches((self.apply, self.layers), torch.nn.Module)

    @cached_property
    def units(self) -> int:
        """Numbers that one network keeps of one sample, about: its hidden layers and outputs."""
        if self.layers is None:
            return self.width * (self.depth - 1) + self.outputs
        return sum(h[0].numel() for h in self.hidden(*self._blank(cells=1, batch=2))) // 2 + self.outputs

    @cached_property
    def products(self) -> int:
        """Multiplications of one forward pass of one sample, as torch counts them."""
        with FlopCounterMode(display=False) as counter:
            self.forward(*self._blank(cells=2, batch=2))  # batch norms take no lone sample
        return counter.get_total_flops() // 8

    def _blank(self, cells: int, batch: int) -> tuple[list[Tensor], Tensor]:
        """Weights and inputs of these shapes; large ones are shapes alone, on torch's ``meta`` device."""
        large = sum(math.prod(p.shape) for p in self.parameters) > LARGE
        with torch.device("meta" if large else "cpu"):
            return [torch.zeros(cells, *p.shape) for p in self.parameters], torch.zeros(batch, self.inputs)

    def check(self) -> None:
        """Try the network: two cells on three samples.

        Raises:
            ValueError: twins among the parameters; an ``apply`` that fails on these inputs, under ``vmap``, or answers in
                another shape; ``layers`` likewise.
        """
        names = [p.name for p in self.parameters]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"a network's parameters need names of their own, at least one, got {names}")
        out = self._tried("apply", self.forward)
        if tuple(out.shape) != (2, 3, self.outputs):
            raise ValueError(
                f"its apply must answer inputs (batch, {self.inputs}) with outputs (batch, {self.outputs}); "
                f"for a batch of 3 it gave {tuple(out.shape[1:])}"
            )
        if self.layers is not None and any(h.shape[-1] != 3 for h in self._tried("layers", self.hidden)):
            raise ValueError("its layers must give a list of pre-activations, each (batch, ...)")

    def _tried(self, name: str, function: Callable) -> Any:
        try:
            with torch.no_grad():
                return function(*self._blank(cells=2, batch=3))
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise ValueError(f"its {name} fails on inputs of shape (batch, {self.inputs}): {said}") from error
