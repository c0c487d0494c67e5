"""Multilayer perceptrons through :mod:`richness.kernel`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from richness import kernel
from richness.networks import MLP
from richness.networks.optimizers import ADAM_BETA2
from richness.runs.engines.stack import Block, Engine, Stack, adam_epsilon, layer_factors, not_among
from richness.runs.experiment import Experiment


def _shape_of(experiment: Experiment, dtype: torch.dtype) -> kernel.Shape:
    network = experiment.architecture
    assert isinstance(network, MLP)
    return kernel.Shape(
        [network.inputs, *[out for out, _ in network.shapes]],
        network.scales,
        experiment.batch_size,
        dtype,
        experiment.loss,
        network.activation,
        experiment.optimizer,
        layer_factors(experiment),
        experiment.momentum,
        ADAM_BETA2,
    )


@dataclass(frozen=True)
class _Prepared:
    data: kernel.Data
    kept: tuple[Tensor, ...]  # what ``data`` points to


class Compiled(Engine):
    """The fused step as one compiled loop; a call frees Python's lock, so that threads share the cores.

    A network's arithmetic is its own: no bit of it depends on the others in the stack. One that diverges costs nothing from
    then on, without being moved.
    """

    TOGETHER = 8  # it takes them one by one: as few as keep both cores busy to the end
    network: MLP

    def __init__(self, experiment: Experiment, start: Sequence[Tensor], gamma: Tensor, eta: Tensor):
        super().__init__(experiment, start, gamma, eta)
        self._shape = _shape_of(experiment, start[0].dtype)
        self.weights = [
            kernel.pad_rows(w) for w in self.weights
        ]  # rows filled up, and the diverged stay where they are
        self.memory = [[torch.zeros_like(w) for w in self.weights] for _ in range(self.optimizer.memories)]
        self._alive = torch.arange(len(gamma))
        self._all = (gamma.contiguous(), eta.contiguous(), adam_epsilon(experiment, gamma).contiguous())

    @classmethod
    def refuses(cls, experiment: Experiment) -> str | None:
        network = experiment.architecture
        if type(network) is not MLP:  # what a subclass does it cannot know
            return f"knows MLPs only, not {experiment.network!r}"
        if torch.device(experiment.device).type != "cpu":
            return f"runs on a CPU only, not on {experiment.device!r}"
        return (
            not_among(kernel.ACTIVATION_CODES, "activation", network.activation)
            or not_among(kernel.LOSS_CODES, "loss", experiment.loss)
            or not_among(kernel.OPTIMIZER_CODES, "optimizer", experiment.optimizer)
            or (None if kernel.library() else f"cannot be built here ({kernel.reason()})")
        )

    @classmethod
    def build(cls) -> kernel.Build | None:
        return kernel.build()

    @property
    def stack(self) -> Stack:
        return Stack(self._unpad(self.weights), self._gamma)

    @property
    def layers(self) -> list[list[Tensor]]:
        return [self._unpad(one) for one in (self.weights, *self.memory)]

    def _unpad(self, layers: list[Tensor]) -> list[Tensor]:
        """Of the networks still in training, and without what fills up the rows; while all are, views."""
        ins = [into for _, into in self.network.shapes]
        index: Tensor | slice = slice(None) if len(self._alive) == len(self._all[0]) else self._alive
        return [one[index, :, :into] for one, into in zip(layers, ins, strict=True)]

    @staticmethod
    def prepare(experiment: Experiment, start: Sequence[Tensor], block: Block) -> _Prepared:
        shape = _shape_of(experiment, block.x.dtype)
        x, transposed, target = kernel.pad_rows(block.columns), kernel.pad_rows(block.x), kernel.pad_rows(block.targets)
        at_start, rows = torch.empty_like(target), [kernel.pad_rows(w) for w in start]
        kernel.call("outputs", x.dtype, shape.plan, len(block), kernel.pointers(rows), x, at_start)
        kept = (x, transposed, target, at_start, block.factor)
        data = kernel.Data(*[t.data_ptr() for t in kept], len(block), block.updates, block.number)
        return _Prepared(data, kept)

    def advance(self, block: Block, prepared: object) -> Tensor:
        assert isinstance(prepared, _Prepared)
        count = len(self._alive)
        loss = torch.empty(len(block), count, dtype=torch.float64)
        memory = [m for one in self.memory for m in one]
        kernel.call(
            "train", self.weights[0].dtype, self._shape.plan, prepared.data, count, self._alive,
            kernel.pointers(self.weights), kernel.pointers(memory), *self._all, loss,
        )  # fmt: skip
        return loss

    def keep(self, index: Tensor) -> None:
        self._alive, self._gamma = self._alive[index], self._gamma[index]
