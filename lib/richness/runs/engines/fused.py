"""Multilayer perceptrons with the backward pass written out: stacked products and steps straight into the weights.

With activations laid out (cells, features, batch), and s the layer's forward multiplier, one step of every network is

    a₀ = x,   a_l = φ(s_l W_l a_{l−1}),   f̃ = s_L W_L a_{L−1},   f = (f̃ − f̃₀)/γ
    δ_L = ∂loss/∂f / γ,   δ_l = φ′(a_l) ⊙ s_{l+1} W_{l+1}ᵀ δ_{l+1},   ∂loss/∂W_l = s_l δ_l a_{l−1}ᵀ.

φ′ is read off φ's own value, the multipliers ride in the products, f̃₀ is computed once for all networks of a seed, and SGD
never forms a gradient: −lr enters δ_L once, and each W_l takes its product as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from richness.networks import MLP
from richness.networks.losses import RESIDUALS
from richness.networks.optimizers import OPTIMIZERS, Step
from richness.networks.parameterization import centre_output
from richness.runs.engines.stack import Block, Engine, not_among
from richness.runs.experiment import Experiment

_threshold = torch.ops.aten.threshold_backward.grad_input

# φ, and δ times φ′ as a function of φ's value; both in place.
PHI: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "relu": (torch.relu_, lambda delta, a: _threshold(delta, a, 0, grad_input=delta)),
    "tanh": (torch.tanh_, lambda delta, a: torch.ops.aten.tanh_backward.grad_input(delta, a, grad_input=delta)),
    "linear": (lambda h: h, lambda delta, a: delta),
}


class Fused(Engine):
    """The hand-written step in torch, on any device; nothing in it waits for the device."""

    network: MLP

    @classmethod
    def refuses(cls, experiment: Experiment) -> str | None:
        network = experiment.architecture
        if not isinstance(network, MLP):
            return f"knows MLPs only, not {experiment.network!r}"
        return not_among(PHI, "activation", network.activation) or not_among(RESIDUALS, "loss", experiment.loss)

    @staticmethod
    def prepare(experiment: Experiment, start: Sequence[Tensor], block: Block) -> Tensor:
        network = experiment.architecture
        assert isinstance(network, MLP)
        # Two twins: a stacked product of one takes another path, whose last bits differ, and f must be 0 at step 0.
        twins = [w.repeat(2, 1, 1) for w in start]
        return torch.stack([_activations(network, twins, x)[-1][0] for x in block.columns])

    def advance(self, block: Block, prepared: object) -> Tensor:
        assert isinstance(prepared, Tensor)
        rows, steps = [], self.steps(block)
        for k, (x, target, at_start) in enumerate(zip(block.columns, block.targets, prepared, strict=True)):
            a = _activations(self.network, self.weights, x)
            f = centre_output(a[-1], at_start, self._gamma)
            loss, delta = RESIDUALS[self.experiment.loss](f, target)
            rows.append(loss.double())
            if k < block.updates:
                self._backward(a, delta.div_(self._gamma[:, None, None]), steps[k])
        return torch.stack(rows)

    def _backward(self, a: list[Tensor], delta: Tensor, step: Step) -> None:
        scales = self.network.scales
        plain = self.experiment.optimizer == "sgd" and OPTIMIZERS.is_shipped(
            "sgd"
        )  # every layer's raw step is the same
        if plain:
            delta = delta.mul_(-step.sizes[0])
        slope = PHI[self.network.activation][1]
        for layer in reversed(range(self.network.depth)):
            weight, scale = self.weights[layer], scales[layer]
            below = slope(_product(weight.mT, delta, scale), a[layer]) if layer else delta
            if plain:
                weight.baddbmm_(delta, a[layer].mT, alpha=scale)
            else:
                gradient = _product(delta, a[layer].mT, scale)
                self.optimizer.update(weight, gradient, [m[layer] for m in self.memory], step.sizes[layer], step)
            delta = below


def _product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """scale · left · right, the scale inside the product."""
    out = left.new_empty(len(left), left.shape[1], right.shape[2])
    return out.baddbmm_(left, right, beta=0, alpha=scale)


def _activations(network: MLP, weights: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """a₀ … a_{L−1} and f̃, each (cells, features, batch), of inputs x (D, batch)."""
    a = [x.expand(len(weights[0]), -1, -1)]
    for layer, (weight, scale) in enumerate(zip(weights, network.scales, strict=True), start=1):
        h = _product(weight, a[-1], scale)
        a.append(PHI[network.activation][0](h) if layer < network.depth else h)
    return a
