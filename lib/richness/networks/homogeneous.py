"""Homogeneous perceptrons whose layers differ in width, and their outputs as a polynomial of the step along a direction.

h₁ = W₁x/√D and h_k = W_k φ(h_{k−1})/√m_{k−1}, with widths m_k = m·k^r and φ(s) = a·s + √(1 − a²)·|s|, which keeps the mean
square of a normal variable: a = 0 is the absolute value, a = 1/√2 is √2·relu. Weights start as N(0, 1). The outputs are h_L as
it is: nothing is centred, γ is 1. f(λW) = λ^L f(W) for λ > 0, since φ(λs) = λφ(s).

Every function takes a stack of networks of one shape: weights (cells, fan_out, fan_in), inputs x (batch, D), layers
(cells, units, batch).

References:
    *Feature Learning Beyond the Edge of Stability*,
    https://arxiv.org/abs/2502.13110 (homogeneous perceptrons with a polynomial pattern of widths). The polynomial along a
    step, and the scaling of gradients in :func:`balance`, were derived here.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from richness import rng


def widths(power: float, hidden: int, inputs: int, outputs: int, weights: int) -> list[int]:
    """m·k^power units in hidden layer k, rounded, with the m that comes nearest to a number of weights.

    Args:
        power: r; 0 for equal layers, negative for layers that grow narrower. hidden: how many layers, ≥ 1.
        inputs, outputs: D, K. weights: how many the whole network should have.

    Raises:
        ValueError: even one unit in the narrowest layer is too much.
    """
    pattern = [k**power for k in range(1, hidden + 1)]

    def sized(m: float) -> list[int]:
        return [max(1, round(m * one)) for one in pattern]

    def excess(m: float) -> int:
        return parameters(inputs, sized(m), outputs) - weights

    low, high = 1 / max(pattern), float(weights)
    if excess(1 / min(pattern)) > 0:
        narrowest = parameters(inputs, sized(1 / min(pattern)), outputs)
        raise ValueError(
            f"widths like k^{power:g} in {hidden} layers have at least {narrowest:,} weights, got {weights:,}: "
            "ask for more weights, fewer layers or a smaller power"
        )
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return sized(low)


def parameters(inputs: int, hidden: list[int], outputs: int) -> int:
    """The number of weights."""
    return sum(into * out for into, out in pairwise([inputs, *hidden, outputs]))


def initialise(seed: int, inputs: int, hidden: list[int], outputs: int) -> list[Tensor]:
    """The weights at step 0: N(0, 1), float64, each (fan_out, fan_in)."""
    shapes = pairwise([inputs, *hidden, outputs])
    return [
        rng.normals(seed, f"homogeneous/weight{k}", 0, out * into).view(out, into)
        for k, (into, out) in enumerate(shapes)
    ]


class Pass(NamedTuple):
    """One forward pass: each layer's inputs, divided by the root of its fan_in, (cells, fan_in, batch); the gates φ′ of each
    hidden layer, (cells, units, batch); and the outputs f, (cells, K, batch)."""

    inputs: list[Tensor]
    gates: list[Tensor]
    outputs: Tensor


def forward(weights: list[Tensor], x: Tensor, linear: float = 0.0, gates: list[Tensor] | None = None) -> Pass:
    """All layers of a stack.

    Args:
        linear: a, from 0 to 1. gates: to use instead of the network's own: then f is a polynomial of the weights.
    """
    bent = math.sqrt(1 - linear**2)
    below = x.T.expand(len(weights[0]), -1, -1) / math.sqrt(x.shape[1])
    inputs, used = [below], []
    for layer, weight in enumerate(weights[:-1]):
        h = torch.bmm(weight, below)
        used.append(linear + bent * torch.sign(h) if gates is None else gates[layer])
        below = used[-1] * h / math.sqrt(h.shape[1])
        inputs.append(below)
    return Pass(inputs, used, torch.bmm(weights[-1], below))


def backward(weights: list[Tensor], done: Pass, residual: Tensor) -> list[Tensor]:
    """∂loss/∂h_k of every layer, first first, (cells, units, batch); residual: ∂loss/∂f, (cells, K, batch)."""
    deltas = [residual]
    for weight, gate in zip(reversed(weights[1:]), reversed(done.gates), strict=True):
        deltas.append(torch.bmm(weight.mT, deltas[-1]) * gate / math.sqrt(gate.shape[1]))
    return deltas[::-1]


def gradients(done: Pass, deltas: list[Tensor]) -> list[Tensor]:
    """∂loss/∂W_k of every layer."""
    return [torch.bmm(delta, below.mT) for delta, below in zip(deltas, done.inputs, strict=True)]


def balance(done: Pass, deltas: list[Tensor]) -> list[Tensor]:
    r"""A factor for every layer's gradient, (cells,): one over what the layer now adds to the tangent kernel's diagonal.

    ξ_k = 1/(mean‖x_{k−1}‖²/m_{k−1} · Σ‖δ_k‖²/Σ‖r‖²), means over the batch, r the residual ∂loss/∂f, δ_k = ∂loss/∂h_k: the
    first factor is what the layer receives, the second how much of a residual reaches it. Both are 1 on average at the start.
    **This is a reconstruction made here**, of a scaling by depth of which the paper's formula was not known to us.
    """
    upper = deltas[-1].square().sum(dim=(1, 2))
    factors = []
    for below, delta in zip(done.inputs, deltas, strict=True):
        received = below.square().sum(dim=1).mean(dim=1)
        factors.append(upper / (received * delta.square().sum(dim=(1, 2))))
    return factors


def expansion(weights: list[Tensor], moves: list[Tensor], done: Pass, order: int) -> list[Tensor]:
    """f(W + tV) as a polynomial of t while no gate opens or closes: its coefficients up to ``order``, each (cells, K, batch).

    With the gates D of the pass, h_k = Σ_p t^p h_k^(p) has h_k^(p) = (W_k D h_{k−1}^(p) + V_k D h_{k−1}^(p−1))/√m_{k−1}. The
    polynomial ends at the number of layers: to that order it is the whole of f, exactly.

    Args:
        moves: V, one for each of ``weights``. done: the pass at W. order: ≥ 0.
    """
    below = [done.inputs[0]] + [torch.zeros_like(done.inputs[0])] * order
    for layer, (weight, move) in enumerate(zip(weights, moves, strict=True)):
        kept = [torch.bmm(weight, term) for term in below]
        turned = [torch.bmm(move, term) for term in below[:-1]]
        terms = [kept[0], *(one + other for one, other in zip(kept[1:], turned, strict=True))]
        if layer < len(done.gates):
            gate = done.gates[layer]
            below = [gate * term / math.sqrt(gate.shape[1]) for term in terms]
    return terms
