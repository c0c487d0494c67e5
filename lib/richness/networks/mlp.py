"""The multilayer perceptron as a function of stacked parameters: many networks of one shape, one input batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from richness import rng
from richness.networks.parameterization import hidden_scale, readout_scale

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "linear": lambda h: h,
}


@dataclass(frozen=True)
class MLP:
    """L weight layers without biases: inputs → N → … → N → outputs, scaled as in ``parameterization``.

    Attributes:
        inputs: D. outputs: K. width: N. depth: L ≥ 2, hidden layers and readout. activation: a key of ``ACTIVATIONS``.
    """

    inputs: int
    outputs: int
    width: int
    depth: int
    activation: str = "relu"

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(fan_out, fan_in) of every weight, first layer first."""
        sizes = [self.inputs] + [self.width] * (self.depth - 1) + [self.outputs]
        return [(out, into) for into, out in pairwise(sizes)]

    @property
    def scales(self) -> list[float]:
        """The forward multiplier of every layer."""
        return [hidden_scale(into) for _, into in self.shapes[:-1]] + [readout_scale(self.width)]

    def initialise(self, seed: int) -> list[Tensor]:
        """The weights at step 0, a function of the seed alone: N(0, 1), float64, each of shape (fan_out, fan_in)."""
        return [
            rng.normals(seed, f"mlp/weight{layer}", 0, out * into).reshape(out, into)
            for layer, (out, into) in enumerate(self.shapes)
        ]

    def hidden(self, weights: list[Tensor], x: Tensor) -> list[Tensor]:
        """Hidden pre-activations of a stack of networks.

        Args:
            weights: one tensor a layer, (cells, fan_out, fan_in).
            x: inputs (batch, D), shared by all cells.

        Returns:
            One tensor a hidden layer, (cells, N, batch), of order one at initialisation.
        """
        act = ACTIVATIONS[self.activation]
        cells = len(weights[0])
        # A product for each cell, not one for all: its bits must not depend on how many cells stand beside it.
        first = torch.bmm(weights[0], x.T.expand(cells, -1, -1))
        layers = [first * self.scales[0]]
        for weight, scale in zip(weights[1:-1], self.scales[1:-1], strict=True):
            layers.append(torch.bmm(weight, act(layers[-1])) * scale)
        return layers

    def forward(self, weights: list[Tensor], x: Tensor) -> Tensor:
        """f̃(x; θ) of a stack of networks, neither centred nor divided by γ: (cells, batch, K). Arguments as in `hidden`."""
        last = ACTIVATIONS[self.activation](self.hidden(weights, x)[-1])
        return (torch.bmm(weights[-1], last) * self.scales[-1]).mT
