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

from richness.registry import Registry

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


Update = Callable[[Tensor, Tensor, Sequence[Tensor], Tensor, Step], None]


@dataclass(frozen=True)
class Optimizer:
    """One way to turn gradients into a step.

    Attributes:
        update: changes one layer's weights and memory in place: (weight, gradient, memory, size of the step, Step). The
            gradient may be overwritten. Tensors are stacked over cells.
        memories: tensors kept for every weight, each of the weight's shape, 0 at first.
        by_sign: True where the step's length does not follow the gradient's: raw steps are then per layer.
        stability: β to the largest stable sharpness of full-batch steps on a quadratic, in units of 2/lr_raw; None where
            there is no such line.
    """

    update: Update
    memories: int
    by_sign: bool
    stability: Callable[[float], float] | None = None

    def factor(self, width: int, scale: float, fan_in: int) -> float:
        """A layer's raw step over η: N for SGD and momentum, 1/(scale·fan_in) for sign steps and Adam."""
        return 1.0 / (scale * fan_in) if self.by_sign else float(width)


OPTIMIZERS: Registry[Optimizer] = Registry(
    "optimizer",
    {
        "sgd": Optimizer(_sgd, 0, False, lambda beta: 1.0),
        "momentum": Optimizer(_momentum, 1, False, lambda beta: 1 + beta),
        "signsgd": Optimizer(_signsgd, 0, True),
        "adam": Optimizer(_adam, 2, True, lambda beta: (1 + beta) / (1 - beta)),  # of the preconditioned Hessian
    },
)


def register_optimizer(
    name: str,
    update: Update,
    *,
    memories: int = 0,
    by_sign: bool = False,
    stability: Callable[[float], float] | None = None,
    version: str | None = None,
) -> None:
    """Add an optimiser of your own; ``Experiment(optimizer=name)`` then trains with it.

    Args:
        name: a new name, a Python identifier. The same function may be registered again, edited or not.
        update: a function (weight, gradient, memory, size, step) that changes one layer's weights and memory in place, and
            may overwrite the gradient: see :class:`Optimizer` and :class:`Step`. Every tensor has the cells along its first
            axis; treat each by itself. ``size`` is the raw step, η times the layer's factor and the schedule's.
        memories: how many tensors of the weight's shape it keeps between steps, 0 at first.
        by_sign: True where the step's length does not follow the gradient's, as for Adam: the raw step of a layer is then
            η/(scale·fan_in), else N·η.
        stability: see :class:`Optimizer`; of :func:`stability_line`, not of training.
        version: stands for ``update``, and all that it reaches, in the hash of a recipe that names the optimiser; to be changed
            when that changes. Needed only where its value cannot be told, as of an open file.

    Raises:
        ValueError: the name is taken, or no identifier; or the update fails on a small example: the message says how.
        TypeError: ``update`` is not a function.
    """
    if not callable(update):
        raise TypeError(
            f"register_optimizer takes a function (weight, gradient, memory, size, step), got {type(update).__name__}"
        )
    _try_update(name, update, memories)
    OPTIMIZERS.add(name, Optimizer(update, memories, by_sign, stability), update, version, memories, by_sign)


def _try_update(name: str, update: Update, memories: int) -> None:
    """ValueError unless two steps move three cells' weights, each as if it stood alone."""
    gradient = torch.linspace(-1, 2, 60, dtype=torch.float64).view(3, 4, 5)

    def moved(cells: slice) -> Tensor:
        weight = torch.ones(3, 4, 5, dtype=torch.float64)[cells].clone()
        memory = [torch.zeros_like(weight) for _ in range(memories)]
        size = torch.full((len(weight), 1, 1), 0.1, dtype=torch.float64)
        for number in range(2):
            step = Step(number, [size], torch.full((len(weight),), ADAM_EPSILON, dtype=torch.float64), 0.9)
            update(weight, gradient[cells].clone(), memory, size, step)
        return weight

    try:
        together, alone = moved(slice(None)), moved(slice(2, 3))
    except Exception as error:
        raise ValueError(
            f"optimizer {name!r}: its function (weight, gradient, memory, size, step) fails on weights (3, 4, 5) with "
            f"{memories} memories: {type(error).__name__}: {error}"
        ) from error
    if (together == 1).all():
        raise ValueError(f"optimizer {name!r}: its function must change the weight in place, and left it as it was")
    if not torch.allclose(together[2:], alone):
        raise ValueError(f"optimizer {name!r}: a cell's step must not depend on the cells beside it")


def stability_line(lr_raw: Any, optimizer: str = "sgd", beta: float = 0.9) -> Any:
    """Largest sharpness at which full-batch steps on a quadratic are stable, in the raw weights that ``lr_raw`` moves.

    2/lr_raw for SGD and 2(1 + β)/lr_raw for heavy-ball momentum. Adam's line, 2(1 + β)/((1 − β)·lr_raw), is one for the
    *preconditioned* Hessian diag(√v̂ + ε)⁻¹H and says nothing of H alone; a sign step has none: NaN.

    Raises:
        ValueError: no such optimiser; the message lists those there are.
    """
    stability = OPTIMIZERS[OPTIMIZERS.known(optimizer)].stability
    return 2.0 * (stability(beta) if stability else math.nan) / lr_raw


SCHEDULES: Registry[Callable[[float], float]] = Registry(
    "schedule",
    {
        "constant": lambda done: 1.0,
        "linear": lambda done: 1.0 - done,
        "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    },
)


def register_schedule(name: str, factor: Callable[[float], float], *, version: str | None = None) -> None:
    """Add a schedule of your own; ``Experiment(schedule=name)`` then follows it.

    Args:
        name: a new name, a Python identifier. The same function may be registered again, edited or not.
        factor: the share of the updates after the warm-up that are done, from 0 up to but not including 1, to the factor by
            which the step is multiplied.
        version: stands for ``factor``, and all that it reaches, in the hash of a recipe that names the schedule; to be changed
            when that changes. Needed only where its value cannot be told, as of an open file.

    Raises:
        ValueError: the name is taken, or no identifier; or a factor is no finite number ≥ 0.
        TypeError: ``factor`` is not a function.
    """
    if not callable(factor):
        raise TypeError(f"register_schedule takes a function of the share that is done, got {type(factor).__name__}")
    for done in (0.0, 0.25, 0.5, 0.999):
        found = factor(done)
        if not isinstance(found, (int, float)) or not 0 <= found < math.inf:
            raise ValueError(f"schedule {name!r}: a factor must be a finite number ≥ 0, got {found!r} at {done}")
    SCHEDULES.add(name, factor, factor, version)


def schedule(name: str, warmup: int, steps: int) -> Tensor:
    """The factor by which every update's step is multiplied, float64 (steps,).

    Rises linearly to 1 over the first ``warmup`` updates, (t + 1)/warmup at update t; from there stays (``constant``) or
    falls to 0 at ``steps`` in a line (``linear``) or a half cosine (``cosine``).
    """
    rest = max(steps - warmup, 1)
    falling = SCHEDULES[name]
    factors = [(t + 1) / warmup if t < warmup else falling((t - warmup) / rest) for t in range(steps)]
    return torch.tensor(factors, dtype=torch.float64)
