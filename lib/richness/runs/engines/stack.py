"""What engines share: a stack of networks in training, and the data of a block of steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from richness.kernel import Build
from richness.networks.losses import one_hot
from richness.networks.optimizers import ADAM_EPSILON, OPTIMIZERS, Step
from richness.runs.experiment import REGISTRIES, Experiment


@dataclass(frozen=True)
class Block:
    """Consecutive steps, as a trainer hands them to its engines.

    Attributes:
        x: inputs (steps, B, D), in the networks' dtype.
        y: labels int64 (steps, B), or targets (steps, B, K).
        factor: the schedule's, float64 (steps,).
        number: updates done before the first of these steps.
        updates: how many of the steps move the weights; a last one beyond them is only evaluated.
        outputs: K.
    """

    x: Tensor
    y: Tensor
    factor: Tensor
    number: int
    updates: int
    outputs: int

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def columns(self) -> Tensor:
        """Inputs with samples along the last axis: (steps, D, B)."""
        return self.x.mT.contiguous()

    @cached_property
    def targets(self) -> Tensor:
        """One-hot or real targets in the networks' dtype, samples along the last axis: (steps, K, B)."""
        rows = one_hot(self.y.flatten(0, 1), self.outputs, self.x.dtype)
        return rows.unflatten(0, self.y.shape[:2]).mT.contiguous()


@dataclass
class Stack:
    """Networks at one moment: what probes look at.

    Attributes:
        weights: one tensor a layer, (cells, ...). gamma: (cells,).
    """

    weights: list[Tensor]
    gamma: Tensor

    def keep(self, index: Tensor | slice) -> Stack:
        """Those at ``index`` only."""
        return Stack([w[index] for w in self.weights], self.gamma[index])

    def __len__(self) -> int:
        return len(self.gamma)


class Engine(ABC):
    """A stack of networks of one seed and dtype that can take steps.

    Args:
        experiment: the network, loss and optimiser.
        start: the weights at step 0, each with a leading axis of one.
        gamma, eta: float64 (cells,).
    """

    TOGETHER = (
        16  # cells to step together on a CPU: enough to hide the dispatch of torch's operations, few enough for cache
    )

    def __init__(self, experiment: Experiment, start: Sequence[Tensor], gamma: Tensor, eta: Tensor):
        self.experiment, self.network = experiment, experiment.architecture
        self.optimizer = OPTIMIZERS[experiment.optimizer]
        self.gamma, self.eta = gamma, eta
        cells = len(gamma)
        self.weights = [w.repeat(cells, *[1] * (w.ndim - 1)) for w in start]
        self.memory = [[torch.zeros_like(w) for w in self.weights] for _ in range(self.optimizer.memories)]
        self.factors = layer_factors(experiment)
        self._gamma = gamma.to(start[0])

    @classmethod
    @abstractmethod
    def refuses(cls, experiment: Experiment) -> str | None:
        """What of an experiment it does not know, in words that follow the engine's name; None where it knows all of it."""

    @classmethod
    def build(cls) -> Build | None:
        """What it was compiled by on this machine; None for an engine in torch."""
        return None

    @staticmethod
    @abstractmethod
    def prepare(experiment: Experiment, start: Sequence[Tensor], block: Block) -> object:
        """What every stack on this block needs and none needs to make again: first of all f̃(x; θ₀)."""

    @abstractmethod
    def advance(self, block: Block, prepared: object) -> Tensor:
        """Take the block's steps; the loss before each, float64 (steps, cells), NaN or infinite where it diverged."""

    def keep(self, index: Tensor) -> None:
        """Drop all networks but those at ``index``, which the losses have shown to be finite."""
        self.gamma, self.eta, self._gamma = self.gamma[index.cpu()], self.eta[index.cpu()], self._gamma[index]
        self.weights = [w[index] for w in self.weights]
        self.memory = [[m[index] for m in one] for one in self.memory]

    @property
    def stack(self) -> Stack:
        """The networks as they are now; the tensors may be those in training."""
        return Stack(self.weights, self._gamma)

    @property
    def layers(self) -> list[list[Tensor]]:
        """The weights, then each of the optimiser's memories, one tensor a layer, (cells, ...): with the stream, all that later
        steps depend on. The tensors may be those in training."""
        return [self.weights, *self.memory]

    def steps(self, block: Block) -> list[Step]:
        """The block's updates, for the optimisers of :mod:`richness.networks.optimizers`; one transfer to the device."""

        def shaped(values: Tensor, weight: Tensor) -> Tensor:
            return values.reshape(-1, *[1] * (weight.ndim - 1))

        factors = torch.tensor(self.factors, dtype=torch.float64)
        sizes = (block.factor[:, None, None] * factors[:, None] * self.eta).to(self.weights[0])
        epsilon = adam_epsilon(self.experiment, self.gamma).to(self.weights[0])
        return [
            Step(
                block.number + k,
                [shaped(values, w) for values, w in zip(layers, self.weights, strict=True)],
                epsilon,
                self.experiment.momentum,
            )
            for k, layers in enumerate(sizes)
        ]


def not_among(known: Collection[str], kind: str, name: str) -> str | None:
    """For :meth:`Engine.refuses`: what to say of a name that is not among those an engine knows, None of one that is.

    An engine that has its own arithmetic knows what the package ships, not what was put behind the same name since.
    """
    if name in known and not REGISTRIES[kind].is_shipped(name):
        return f"knows the package's own {kind} {name!r} only, and another stands in its place"
    return None if name in known else f"knows the {kind} {' or '.join(known)} only, not {name!r}"


def layer_factors(experiment: Experiment) -> list[float]:
    """Every layer's raw step over η."""
    network, optimizer = experiment.architecture, OPTIMIZERS[experiment.optimizer]
    pairs = zip(network.scales, network.fans, strict=True)
    return [optimizer.factor(experiment.width, scale, fan_in) for scale, fan_in in pairs]


def adam_epsilon(experiment: Experiment, gamma: Tensor) -> Tensor:
    """Adam's ε for each γ."""
    return ADAM_EPSILON / (gamma * experiment.width)
