"""Any network, differentiated by torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from richness.networks import LOSSES, at_start
from richness.networks.parameterization import centre_output
from richness.runs.engines.stack import Block, Engine
from richness.runs.experiment import Experiment


class Autograd(Engine):
    """The oracle: the loss as the library writes it down, its gradient by autograd, the optimiser as it is documented."""

    @classmethod
    def refuses(cls, experiment: Experiment) -> str | None:
        return None

    @staticmethod
    def prepare(experiment: Experiment, start: Sequence[Tensor], block: Block) -> list[Tensor]:
        return [at_start(experiment.architecture, start, x) for x in block.x]

    def advance(self, block: Block, prepared: object) -> Tensor:
        assert isinstance(prepared, list)
        loss, steps, rows = LOSSES[self.experiment.loss], self.steps(block), []
        for k, (x, y, raw_at_start) in enumerate(zip(block.x, block.y, prepared, strict=True)):
            moves = k < block.updates
            with torch.set_grad_enabled(moves):
                leaves = [w.requires_grad_(moves) for w in self.weights]
                losses = loss(centre_output(self.network.forward(leaves, x), raw_at_start, self._gamma), y)
            rows.append(losses.detach().double())
            if moves:
                gradients = torch.autograd.grad(losses.sum(), leaves)
                step = steps[k]
                for layer, (weight, gradient) in enumerate(zip(self.weights, gradients, strict=True)):
                    memory = [one[layer] for one in self.memory]
                    self.optimizer.update(weight.requires_grad_(False), gradient, memory, step.sizes[layer], step)
        return torch.stack(rows)
