"""Where γ, width and the step size enter: the centred maximal-update parameterisation (µP).

Every weight is drawn from N(0, 1). Going forward, a hidden layer is multiplied by 1/√fan_in and the readout by 1/N, where N is
the width; what comes out is called f̃. The network proper is *centred* and divided by the richness γ,

    f(x) = [f̃(x; θ) − f̃(x; θ₀)] / γ,

so that it is exactly 0 at step 0. Stochastic gradient descent moves the raw weights with the step ``lr_raw`` = N·η.

Conventions differ between papers: γ here is what some call γ₀ (with their γ = γ₀√N); the laziness α of Chizat and Bach is 1/γ,
an output multiplier.

References:
    A. Atanasov, A. Meterez, J. B. Simon, C. Pehlevan, *The Optimization Landscape of SGD Across the Feature Learning
    Strength*, ICLR 2025, section 2. G. Yang, E. J. Hu, *Tensor Programs IV*, ICML 2021.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from richness.networks.optimizers import OPTIMIZERS

# Below this γ the centred output is a small difference divided by a small number, and float32 no longer holds it.
FLOAT64_BELOW = 1e-3
DTYPE_REASON = (
    f"float64 where γ < {FLOAT64_BELOW:g}, else float32, unless one is asked for: dividing the centred difference by γ turns "
    "float32's rounding into an error of about 1e-7/γ"
)


def natural_eta(gamma: Any, depth: int, optimizer: str = "sgd") -> Any:
    """The step size's natural scale γ²(1 + γ)^(2/L − 2): γ² for γ ≪ 1, γ^(2/L) for γ ≫ 1.

    The solvable model's stability limit is 2/L² times this; portraits are straightened by it. Where the step's length does not
    follow the gradient's (SignSGD, Adam) it is the square root, γ(1 + γ)^(1/L − 1): γ for γ ≪ 1, γ^(1/L) for γ ≫ 1.

    Args:
        gamma: richness, a number or an array.
        depth: L, the number of weight layers.
        optimizer: a key of ``OPTIMIZERS``.
    """
    scale = gamma**2 * (1.0 + gamma) ** (2.0 / depth - 2.0)
    return scale**0.5 if OPTIMIZERS[optimizer].by_sign else scale


def reach(gamma: Any, loss: str) -> Any:
    """How far above the natural scale runs may still be finite and learn, up to a factor of order one: 1 for MSE.

    Under cross-entropy gradients are bounded, so that a lazy run whose step is too long oscillates but does not diverge until
    a single step moves the weights by order one: 1 + 1/γ.
    """
    return 1.0 + 1.0 / gamma if loss == "cross_entropy" else 1.0


def dtype_for(gamma: float, asked: str = "auto") -> torch.dtype:
    """float64 where γ < 1e-3 (or where asked for), else float32.

    The centred difference f̃ − f̃₀ loses about 1e-7/γ to rounding in float32: 1e-4 at γ = 1e-3.
    """
    if asked == "auto":
        return torch.float64 if gamma < FLOAT64_BELOW else torch.float32
    return {"float32": torch.float32, "float64": torch.float64}[asked]


def centre_output(raw: Tensor, raw_at_start: Tensor, gamma: Tensor) -> Tensor:
    """f = (f̃ − f̃₀)/γ for a stack of networks.

    Args:
        raw: f̃(x; θ), shape (cells, batch, outputs).
        raw_at_start: f̃(x; θ₀), shape (1 or cells, batch, outputs).
        gamma: shape (cells,).
    """
    return (raw - raw_at_start) / gamma[:, None, None]


def hidden_scale(fan_in: int) -> float:
    """Forward multiplier of input and hidden layers: 1/√fan_in."""
    return 1.0 / math.sqrt(fan_in)


def readout_scale(width: int) -> float:
    """Forward multiplier of the readout: 1/N."""
    return 1.0 / width
