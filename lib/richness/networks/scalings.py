"""Multilayer perceptrons whose layers are scaled differently: the contrasts to this book's parameterisation.

=====================  =====================================================================================================
network                what differs from ``mlp``
=====================  =====================================================================================================
``standard``           weights N(0, 1/fan_in) with no multiplier, the readout's too: PyTorch's habit. One step for all weights,
                       so that a layer moves its outputs the more the wider it is.
``random_features``    the hidden weights keep their draw: only the readout is trained, and f is linear in what is trained.
``residual``           h ← h + W φ(h)/√(N·blocks): one layer a block, the branch divided by the root of the number of blocks.
``residual_two``       h ← h + W₂ φ(W₁ φ(h)/√N)/√(N·blocks): two layers a block.
``residual_unscaled``  one layer a block, and the branch not divided by the number of blocks.
=====================  =====================================================================================================

The *NTK parameterisation* needs no network of its own. Its readout is multiplied by 1/√N instead of 1/N and its raw weights
move by a step that does not know N; so it is ``mlp`` at γ = N^(−1/2) with lr_raw = N·η held fixed.

References:
    G. Yang, E. J. Hu, *Tensor Programs IV*, ICML 2021. B. Bordelon, L. Noci, M. B. Li, B. Hanin, C. Pehlevan, *Depthwise
    hyperparameter transfer in residual networks*, ICLR 2024. L. Noci et al., *Super consistency of neural network landscapes
    and learning rate transfer*, NeurIPS 2024.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from torch import Tensor

from richness.networks.general import Network, Parameter, Weights, hidden_weight, readout_weight
from richness.networks.mlp import ACTIVATIONS, MLP


def standard(inputs: int, outputs: int, width: int, depth: int, activation: str) -> Network:
    """``mlp`` in the standard parameterisation: the multipliers 1/√fan_in, of the readout as well, are in the draw.

    Its function at step 0 is √N times f̃ of ``mlp`` with the same seed. At N = D, a step lr_raw is N times as much of the NTK
    parameterisation's. Arguments and errors as for :class:`~richness.networks.mlp.MLP`.
    """
    shapes = MLP(inputs, outputs, width, depth, activation).shapes
    parameters = tuple(
        Parameter(f"mlp/weight{k}", shape, 1.0, shape[1], std=shape[1] ** -0.5) for k, shape in enumerate(shapes)
    )
    return _perceptron(inputs, outputs, width, depth, activation, parameters)


def random_features(inputs: int, outputs: int, width: int, depth: int, activation: str) -> Network:
    """``mlp`` with its hidden weights held at their draw: a linear model of the last hidden layer."""
    shapes = MLP(inputs, outputs, width, depth, activation).shapes
    hidden = [hidden_weight(f"mlp/weight{k}", *shape) for k, shape in enumerate(shapes[:-1])]
    parameters = (*hidden, readout_weight(f"mlp/weight{depth - 1}", outputs, width))
    return _perceptron(inputs, outputs, width, depth, activation, parameters, hold=_held)


def _held(weight: Tensor) -> Tensor:
    """The weight itself, of which nothing can be learned: its derivative is there, and 0."""
    return weight.detach() + 0 * weight


def _perceptron(
    inputs: int,
    outputs: int,
    width: int,
    depth: int,
    activation: str,
    parameters: tuple[Parameter, ...],
    hold: Callable[[Tensor], Tensor] = lambda weight: weight,
) -> Network:
    act = ACTIVATIONS[activation]

    def layers(w: Weights, x: Tensor) -> list[Tensor]:
        h = [x @ hold(w["mlp/weight0"]).T]
        for k in range(1, depth - 1):
            h.append(act(h[-1]) @ hold(w[f"mlp/weight{k}"]).T)
        return h

    def apply(w: Weights, x: Tensor) -> Tensor:
        return act(layers(w, x)[-1]) @ w[f"mlp/weight{depth - 1}"].T

    return Network(inputs, outputs, width, depth, parameters, apply, layers)


def _residual(
    inputs: int, outputs: int, width: int, depth: int, activation: str, *, per_block: int, scaled: bool
) -> Network:
    """An embedding of the inputs, blocks that add to it, and the readout; h is of order one at any width and depth if scaled.

    Args:
        depth: L, the weight layers of the longest path: an embedding, ``per_block`` for each block, the readout.
        scaled: the branches are divided by √blocks. The others as for :class:`~richness.networks.mlp.MLP`.

    Raises:
        ValueError: a depth that leaves no whole number of blocks, at least one.
    """
    act, (blocks, rest) = ACTIVATIONS[activation], divmod(depth - 2, per_block)
    if blocks < 1 or rest:
        raise ValueError(
            f"a residual network of {per_block} layer{'s' * (per_block > 1)} a block has {2 + per_block}, {2 + 2 * per_block}, "
            f"… weight layers (an embedding, its blocks, the readout), got depth {depth}"
        )
    names = [[f"residual/block{b}/{k}" for k in range(per_block)] for b in range(blocks)]
    branch = blocks**-0.5 if scaled else 1.0
    parameters = [hidden_weight("residual/embedding", width, inputs)]
    for block in names:
        *within, last = (hidden_weight(name, width, width) for name in block)
        parameters += [*within, dataclasses.replace(last, scale=branch * last.scale)]
    parameters.append(readout_weight("residual/readout", outputs, width))

    def layers(w: Weights, x: Tensor) -> list[Tensor]:
        """What every non-linearity is given: the stream, and inside a block of two its first layer."""
        stream = x @ w["residual/embedding"].T
        h = [stream]
        for block in names:
            for name in block[:-1]:
                h.append(act(h[-1]) @ w[name].T)
            stream = stream + act(h[-1]) @ w[block[-1]].T
            h.append(stream)
        return h

    def apply(w: Weights, x: Tensor) -> Tensor:
        return act(layers(w, x)[-1]) @ w["residual/readout"].T

    return Network(inputs, outputs, width, depth, tuple(parameters), apply, layers)


residual = partial(_residual, per_block=1, scaled=True)
residual_two = partial(_residual, per_block=2, scaled=True)
residual_unscaled = partial(_residual, per_block=1, scaled=False)
