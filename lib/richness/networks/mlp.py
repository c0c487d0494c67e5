"""The multilayer perceptron as a function of stacked parameters: many networks of one shape, one input batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torch.func import jvp

from richness import rng
from richness.networks.parameterization import hidden_scale, readout_scale
from richness.registry import Registry

Elementwise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """A non-linearity φ, to be called like a function.

    Attributes:
        value: φ. slope: φ′. bend: φ″; None where it is zero (almost) everywhere.
    """

    value: Elementwise
    slope: Elementwise
    bend: Elementwise | None = None

    def __call__(self, h: Tensor) -> Tensor:
        return self.value(h)


ACTIVATIONS: Registry[Activation] = Registry(
    "activation",
    {
        "relu": Activation(torch.relu, lambda h: (h > 0).to(h.dtype)),
        "tanh": Activation(
            torch.tanh, lambda h: 1 - torch.tanh(h) ** 2, lambda h: 2 * torch.tanh(h) * (torch.tanh(h) ** 2 - 1)
        ),
        "linear": Activation(lambda h: h, torch.ones_like),
    },
)


def register_activation(name: str, value: Elementwise, *, version: str | None = None) -> None:
    """Add a non-linearity of your own; ``Experiment(activation=name)`` then trains with it.

    Args:
        name: a new name, a Python identifier. The same function may be registered again, edited or not.
        value: φ, elementwise, a tensor to one of its shape and dtype, in operations that torch differentiates twice.
        version: stands for ``value``, and all that it reaches, in the hash of a recipe that names the activation; to be changed
            when that changes. Needed only where its value cannot be told, as of an open file.

    Raises:
        ValueError: the name is taken, or no identifier; or φ(h) has another shape or dtype than h.
        TypeError: ``value`` is not a function.
    """
    if not callable(value):
        raise TypeError(f"register_activation takes a function of a tensor, got {type(value).__name__}")
    slope = partial(_differentiate, value)
    h = torch.linspace(-2, 2, 6, dtype=torch.float64).view(2, 3)
    for what, function in (("φ", value), ("φ′", slope)):
        found = function(h)
        if not isinstance(found, Tensor) or found.shape != h.shape or found.dtype != h.dtype:
            said = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"activation {name!r}: {what} of a tensor {h.dtype} (2, 3) must be another, got {said}")
    ACTIVATIONS.add(name, Activation(value, slope, partial(_differentiate, slope)), value, version)


def _differentiate(function: Elementwise, h: Tensor) -> Tensor:
    """The derivative of an elementwise function at every entry of h."""
    return jvp(function, (h,), (torch.ones_like(h),))[1]


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
    def degree(self) -> int:
        """f̃ of relu or linear units is homogeneous of degree L in the weights."""
        return self.depth

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(fan_out, fan_in) of every weight, first layer first."""
        sizes = [self.inputs] + [self.width] * (self.depth - 1) + [self.outputs]
        return [(out, into) for into, out in pairwise(sizes)]

    @property
    def names(self) -> list[str]:
        """What the draws of every weight go by."""
        return [f"mlp/weight{layer}" for layer in range(self.depth)]

    @property
    def scales(self) -> list[float]:
        """The forward multiplier of every layer."""
        return [hidden_scale(into) for _, into in self.shapes[:-1]] + [readout_scale(self.width)]

    @property
    def fans(self) -> list[int]:
        """The fan_in of every layer."""
        return [into for _, into in self.shapes]

    @property
    def units(self) -> int:
        """Numbers that one network keeps of one sample: its hidden layers and outputs."""
        return self.width * (self.depth - 1) + self.outputs

    @property
    def products(self) -> int:
        """Multiplications of one forward pass of one sample: one for each weight."""
        return sum(out * into for out, into in self.shapes)

    def initialise(self, seed: int) -> list[Tensor]:
        """The weights at step 0, a function of the seed alone: N(0, 1), float64, each of shape (fan_out, fan_in)."""
        pairs = zip(self.names, self.shapes, strict=True)
        return [rng.normals(seed, name, 0, out * into).reshape(out, into) for name, (out, into) in pairs]

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

    def operators(self, weights: list[Tensor]) -> list[Tensor]:
        """The weights as they act, multiplied by their scales: each (cells, fan_out, fan_in)."""
        return [weight * scale for weight, scale in zip(weights, self.scales, strict=True)]

    def factors(self, weights: list[Tensor], x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The derivative of every output in every weight, in factors: ∂f̃_k(x_b)/∂W_l = δ_l[b, k] ⊗ a_l[b].

        Args:
            As in `hidden`.

        Returns:
            For each layer, first first, a (cells, batch, fan_in), its input, and δ (cells, batch, K, fan_out), the output's
            derivative in what the layer adds up, its scale included. Of f̃, not of f = (f̃ − f̃₀)/γ.
        """
        act = ACTIVATIONS[self.activation]
        hidden = self.hidden(weights, x)
        cells, batch = len(weights[0]), x.shape[0]
        inputs = [x.expand(cells, -1, -1)] + [act(h).mT for h in hidden]
        above = torch.eye(self.outputs, dtype=x.dtype, device=x.device).expand(cells, batch, -1, -1)
        factors = []
        for layer in reversed(range(self.depth)):
            delta = above * self.scales[layer]
            factors.append((inputs[layer], delta))
            if layer:
                below = torch.bmm(delta.reshape(cells, batch * self.outputs, -1), weights[layer])
                above = below.view(cells, batch, self.outputs, -1) * act.slope(hidden[layer - 1]).mT[:, :, None]
        return factors[::-1]

    def hessian_vector_product(
        self, weights: list[Tensor], x: Tensor, loss: Callable[[Tensor], Tensor]
    ) -> Callable[[Tensor], Tensor]:
        """The map v ↦ Hv of a loss of the outputs, written out layer by layer: the same as double backward's, sooner.

        Forward and backward pass are differentiated along v (the R-operator); what does not depend on v is kept from one
        call to the next. Only the loss is left to automatic differentiation, as a function of the outputs.

        Args:
            weights: each (cells, fan_out, fan_in). x: inputs (batch, D).
            loss: outputs f̃, (cells, batch, K), to one loss a network, (cells,).

        Returns:
            A function from (cells, P) to (cells, P), P parameters a network in the order of ``weights``.

        References:
            B. A. Pearlmutter, *Fast exact multiplication by the Hessian*, Neural Computation 1994.
        """
        act = ACTIVATIONS[self.activation]
        weights = [weight.detach() for weight in weights]
        cells, last, scales = len(weights[0]), self.depth - 1, self.scales
        hidden = self.hidden(weights, x)
        inputs = [x.T.expand(cells, -1, -1)] + [act(h) for h in hidden]
        slopes = [act.slope(h) for h in hidden]
        output = (torch.bmm(weights[-1], inputs[-1]) * scales[-1]).requires_grad_()
        with torch.enable_grad():
            (residual,) = torch.autograd.grad(loss(output.mT).sum(), output, create_graph=True)
        deltas: list[Tensor] = [residual.detach()]  # ∂loss/∂h, a layer
        bends: list[Tensor] = []  # ∂loss/∂a · φ″(h), a layer; none where φ″ is zero
        for layer in range(last, 0, -1):
            above = torch.bmm(weights[layer].mT, deltas[0]) * scales[layer]
            deltas.insert(0, above * slopes[layer - 1])
            if act.bend:
                bends.insert(0, above * act.bend(hidden[layer - 1]))
        sizes = [weight[0].numel() for weight in weights]

        def product(vector: Tensor) -> Tensor:
            v = [part.view(w.shape) for part, w in zip(vector.split(sizes, dim=1), weights, strict=True)]
            moved = torch.bmm(v[0], inputs[0]).mul_(scales[0])  # derivative along v of h, then of a
            moved_h, moved_a = [moved], [moved * slopes[0]]
            for layer in range(1, self.depth):
                scale = scales[layer]
                moved = torch.bmm(v[layer], inputs[layer]).baddbmm_(
                    weights[layer], moved_a[-1], beta=scale, alpha=scale
                )
                if layer < last:
                    moved_h.append(moved)
                    moved_a.append(moved * slopes[layer])
            (turned,) = torch.autograd.grad(residual, output, moved, retain_graph=True, materialize_grads=True)
            rows = []  # derivative along v of the gradient, last layer first
            for layer in range(last, 0, -1):
                scale, delta, below = scales[layer], deltas[layer], layer - 1
                row = torch.bmm(turned, inputs[layer].mT)
                rows.append(row.baddbmm_(delta, moved_a[below].mT, beta=scale, alpha=scale))
                turned = torch.bmm(v[layer].mT, delta).baddbmm_(weights[layer].mT, turned, beta=scale, alpha=scale)
                turned.mul_(slopes[below])
                if act.bend:
                    turned.addcmul_(bends[below], moved_h[below])
            rows.append(torch.bmm(turned, inputs[0].mT).mul_(scales[0]))
            return torch.cat([row.view(cells, -1) for row in rows[::-1]], dim=1)

        return product
