"""What every contender of a sweep is given: plain arrays, so that a peer needs nothing of this project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Problem:
    """C networks f(x) = [f̃(x; θ) − f̃(x; θ₀)] / γ, all started at θ₀, trained by SGD on one series of batches.

    f̃ has L weight matrices W₁ … W_L and no biases: h₁ = W₁x/√D, h_l = W_l relu(h_{l−1})/√N, f̃ = W_L relu(h_{L−1})/N.
    The loss is the mean of (f − y)² over batch and outputs, and a step is θ ← θ − lr·∂loss/∂θ.

    Attributes:
        weights: θ₀, L float32 arrays (fan_out, fan_in).
        inputs: float32 (steps, batch, D). targets: float32 (steps, batch, K), one-hot.
        gamma, lr: float32 (C,), one richness and one raw step size (N·η) a network.
    """

    weights: tuple[np.ndarray, ...]
    inputs: np.ndarray
    targets: np.ndarray
    gamma: np.ndarray
    lr: np.ndarray

    @property
    def scales(self) -> tuple[float, ...]:
        """What each layer's product is multiplied by: 1/√fan_in, and 1/N for the last."""
        return (*(w.shape[1] ** -0.5 for w in self.weights[:-1]), 1.0 / self.weights[-1].shape[1])

    @property
    def cell_steps(self) -> int:
        """Networks × steps: the amount of work."""
        return len(self.gamma) * len(self.inputs)

    def only(self, cells: slice, steps: int) -> Problem:
        """The same for some of the networks and the first steps."""
        inputs, targets = self.inputs[:steps], self.targets[:steps]
        return replace(self, inputs=inputs, targets=targets, gamma=self.gamma[cells], lr=self.lr[cells])

    def flops(self) -> float:
        """Floating-point operations of one step of one network that no way of writing it can spare.

        A product with a weight matrix of P entries costs 2·P·batch. Needed are: each layer forwards; each layer's weight
        gradient; the gradient with respect to each layer's input, except the first's, which is data; and the update, 2·P.
        Activations, the loss and the network at initialisation (once for all networks) are not counted.
        """
        return count_flops([w.size for w in self.weights], self.inputs.shape[1])


def count_flops(sizes: Sequence[int], batch: int) -> float:
    """See :meth:`Problem.flops`; ``sizes``: entries of each layer's weights."""
    return 2.0 * batch * (2 * sum(sizes) + sum(sizes[1:])) + 2.0 * sum(sizes)


@dataclass(frozen=True)
class Fitted:
    """One trained network whose curvature is wanted, as a plain regression: mean over samples and outputs of (f(x) − y)².

    f(x) = f̃(x; θ)/γ, and y has the centring in it, f̃(x; θ₀)/γ added to the one-hot targets: so a peer that knows nothing
    of centring takes the same derivatives, and is spared the network at initialisation.

    Attributes:
        weights: θ, L float32 arrays (fan_out, fan_in). scales: what each layer's product is multiplied by, γ included.
        inputs: float32 (samples, D). targets: y, float32 (samples, K).
        gamma: richness. start: θ₀, like ``weights``. one_hot: the targets themselves (samples, K).
    """

    weights: tuple[np.ndarray, ...]
    scales: tuple[float, ...]
    inputs: np.ndarray
    targets: np.ndarray
    gamma: float
    start: tuple[np.ndarray, ...]
    one_hot: np.ndarray
