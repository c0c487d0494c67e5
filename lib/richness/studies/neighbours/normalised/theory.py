"""What theory says of normed networks in depth. Which formulas are a paper's and which are derived here, each docstring says.

References:
    A. Meterez, A. Joudaki, F. Orabona, A. Immer, G. Rätsch, H. Daneshmand, ICLR 2024 (the bound).
    G. Yang, J. Pennington, V. Rao, J. Sohl-Dickstein, S. S. Schoenholz, *A Mean Field Theory of Batch Normalization*, ICLR
    2019 (the two slopes).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def bound(gap: Any, width: Any, layer: Any, constant: float = 1.0) -> Any:
    """The theorem's bound on the expected gap, φ₀·e^(−ℓ/k) with k = C·d²(1 + d·φ₀), at ``layer`` ℓ from the gap φ₀ at layer 0.

    The constant C is not known to us: C = 1 unless another is given.
    """
    return gap * np.exp(-layer / (constant * layers_of_decay(gap, width)))


def layers_of_decay(gap: Any, width: Any) -> Any:
    """k/C = d²(1 + d·φ₀): after so many layers, times C, the bound has fallen by e."""
    return width**2 * (1 + width * gap)


def contraction(width: Any) -> Any:
    """E φ_{ℓ+1}/φ_ℓ to first order in φ, orthogonal weights: d/(d + 2). Derived here, not in the paper.

    XXᵀ = I + E with a small E whose diagonal the norm has made 0, and φ ≈ ‖E‖²/2d. A Haar rotation moves the share 2/(d + 2)
    of ‖E‖² onto the diagonal, on average over rotations; the norm removes it.
    """
    return width / (width + 2)


def gaussian_slope(samples: Any, centred: bool = True) -> Any:
    """Growth of ln‖∂L/∂W‖ a layer towards the input, Gaussian weights, linear, infinitely wide.

    Half of ln((B − 2)/(B − 3)), B the batch size (Yang et al.). Where the norm does not subtract the mean, a batch has one
    dimension more: ½·ln((B − 1)/(B − 2)), derived here.
    """
    dimensions = samples - (1 if centred else 0)
    return 0.5 * np.log((dimensions - 1) / (dimensions - 2))


def relu_slope() -> float:
    """The same for ReLU and large batches: ½·ln(π/(π − 1)) (Yang et al.)."""
    return 0.5 * math.log(math.pi / (math.pi - 1))


LEAST_POWER = 0.25
"""The gain ℓ^(−p) tames tanh and sin for p above it: what they add to the gap at layer ℓ goes like the gain's fourth power, and
the sum of ℓ^(−4p) over all layers is finite for p > ¼. Derived here, not in the paper."""
