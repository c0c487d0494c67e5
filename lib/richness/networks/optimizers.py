"""The optimisers with their constants, and the schedules of the step size.

Each layer's raw step is η times a factor of the layer, chosen so that one step changes what the network computes by an amount
that does not depend on width (µP):

=============  ============================  ==========================================================
optimiser      raw step of a layer           update of its weights w with gradient g
=============  ============================  ==========================================================
``sgd``        N·η                           w ← w − step·g
``momentum``   N·η                           v ← βv + g, w ← w − step·v (heavy ball, as torch writes it)
``signsgd``    η/(scale·fan_in)              w ← w − step·sign g
``adam``       η/(scale·fan_in)              bias-corrected m and v; w ← w − step·m̂/(√v̂ + ε)
=============  ============================  ==========================================================

``scale`` is the layer's forward multiplier, so 1/(scale·fan_in) is 1/√fan_in in input and hidden layers and 1 in the readout.

References:
    G. Yang, E. Littwin, *Tensor Programs IVb*, 2023 (adaptive optimisers in µP). D. P. Kingma, J. Ba, *Adam*, ICLR 2015.
    J. Cohen et al., *Adaptive gradient methods at the edge of stability*, 2022 (the stability lines).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ADAM_BETA2 = 0.999
ADAM_EPSILON = 1e-8  # times 1/(γN), the size of the gradients: else it would break the γ-scaling at large γ


@dataclass(frozen=True)
class Step:
    """What an optimiser needs to know of one update, besides weights and gradients.

    Attributes:
        number: updates done before this one, from 0.
        sizes: a tensor for each layer, the raw step of every cell, shaped to broadcast against the weights.
        epsilon: Adam's ε of every cell, one value each.
        beta: momentum's β, and Adam's β₁.
    """

    number: int
    sizes: Sequence[Tensor]
    epsilon: Tensor
    beta: float


def _sgd(weight: Tensor, gradient: Tensor, memory: Sequence[Tensor], size: Tensor, step: Step) -> None:
    weight.sub_(gradient.mul_(size))


def _momentum(weight: Tensor, gradient: Tensor, memory: Sequence[Tensor], size: Tensor, step: Step) -> None:
    memory[0].mul_(step.beta).add_(gradient)
    weight.sub_(size * memory[0])


def _signsgd(weight: Tensor, gradient: Tensor, memory: Sequence[Tensor], size: Tensor, step: Step) -> None:
    weight.sub_(gradient.sign_().mul_(size))


def _adam(weight: Tensor, gradient: Tensor, memory: Sequence[Tensor], size: Tensor, step: Step) -> None:
    mean, square = memory
    mean.mul_(step.beta).add_(gradient, alpha=1 - step.beta)
    square.mul_(ADAM_BETA2).addcmul_(gradient, gradient, value=1 - ADAM_BETA2)
    root = square.div(1 - ADAM_BETA2 ** (step.number + 1)).sqrt_().add_(step.epsilon.view_as(size))
    weight.sub_(size * (mean / (1 - step.beta ** (step.number + 1))) / root)


@dataclass(frozen=True)
class Optimizer:
    """One way to turn gradients into a step.

    Attributes:
        update: changes one layer's weights and memory in place: (weight, gradient, memory, size of the step, Step). The
            gradient may be overwritten. Tensors are stacked over cells.
        memories: tensors kept for every weight, each of the weight's shape, 0 at first.
        by_sign: True where the step's length does not follow the gradient's: raw steps are then per layer.
    """

    update: Callable[[Tensor, Tensor, Sequence[Tensor], Tensor, Step], None]
    memories: int
    by_sign: bool

    def factor(self, width: int, scale: float, fan_in: int) -> float:
        """A layer's raw step over η: N for SGD and momentum, 1/(scale·fan_in) for sign steps and Adam."""
        return 1.0 / (scale * fan_in) if self.by_sign else float(width)


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(_sgd, 0, False),
    "momentum": Optimizer(_momentum, 1, False),
    "signsgd": Optimizer(_signsgd, 0, True),
    "adam": Optimizer(_adam, 2, True),
}


def stability_line(lr_raw: Any, optimizer: str = "sgd", beta: float = 0.9) -> Any:
    """Largest sharpness at which full-batch steps on a quadratic are stable, in the raw weights that ``lr_raw`` moves.

    2/lr_raw for SGD and 2(1 + β)/lr_raw for heavy-ball momentum. Adam's line, 2(1 + β)/((1 − β)·lr_raw), is one for the
    *preconditioned* Hessian diag(√v̂ + ε)⁻¹H and says nothing of H alone; a sign step has none: NaN.

    Raises:
        ValueError: no such optimiser.
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")
    factor = {"sgd": 1.0, "momentum": 1 + beta, "signsgd": math.nan, "adam": (1 + beta) / (1 - beta)}[optimizer]
    return 2.0 * factor / lr_raw


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}


def schedule(name: str, warmup: int, steps: int) -> Tensor:
    """The factor by which every update's step is multiplied, float64 (steps,).

    Rises linearly to 1 over the first ``warmup`` updates, (t + 1)/warmup at update t; from there stays (``constant``) or
    falls to 0 at ``steps`` in a line (``linear``) or a half cosine (``cosine``).
    """
    rest = max(steps - warmup, 1)
    falling = SCHEDULES[name]
    factors = [(t + 1) / warmup if t < warmup else falling((t - warmup) / rest) for t in range(steps)]
    return torch.tensor(factors, dtype=torch.float64)
