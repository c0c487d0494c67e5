"""Networks as deep as one likes whose every layer is normed over the batch: x ← σ(α_ℓ · BN(W_ℓ x)), and a linear readout.

Batch norm is here an object of study, at initialisation and over one full batch; why no network of the γ–η plane has one is
said in :mod:`richness.networks.layers`.

References:
    A. Meterez, A. Joudaki, F. Orabona, A. Immer, G. Rätsch, H. Daneshmand, *Towards Training Without Depth Limits: Batch
    Normalization Without Gradient Explosion*, ICLR 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from richness import rng

SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda h: h,
    "tanh": torch.tanh,
    "sin": torch.sin,
    "relu": torch.relu,
}
CLASSES = 10


def gaussian(seed: int, name: str, count: int, width: int) -> Tensor:
    """Independent normals of variance 1/width, (count, width, width) float64."""
    return rng.normals(seed, name, range(count), width * width).view(count, width, width) / math.sqrt(width)


def orthogonal(seed: int, name: str, count: int, width: int) -> Tensor:
    """Orthogonal matrices, uniform over the group (Haar), (count, width, width) float64."""
    q, r = torch.linalg.qr(gaussian(seed, name, count, width))
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]  # QR alone prefers some signs: with these it is unique


WEIGHTS: dict[str, Callable[[int, str, int, int], Tensor]] = {"orthogonal": orthogonal, "gaussian": gaussian}


def batch_norm(h: Tensor, centred: bool = False) -> Tensor:
    """Every unit to mean square 1 over the batch, (units, batch); its mean is subtracted first only if ``centred``."""
    if centred:
        h = h - h.mean(dim=-1, keepdim=True)
    return h / h.square().mean(dim=-1, keepdim=True).sqrt()


def layers(
    weights: Sequence[Tensor], x: Tensor, activation: str = "linear", power: float = 0.0, centred: bool = False
) -> list[Tensor]:
    """What each layer gives out, the input first: L + 1 tensors (units, batch).

    Args:
        weights: L matrices (units, units). x: (units, batch).
        activation: a key of ``SHAPES``. power: p of the gain α_ℓ = ℓ^(−p), which stands between norm and activation.
    """
    shape, out = SHAPES[activation], [x]
    for depth, w in enumerate(weights, start=1):
        out.append(shape(depth**-power * batch_norm(w @ out[-1], centred)))
    return out


def loss(x: Tensor, readout: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats, mean over the batch, of the logits readout · x / √units.

    Args:
        x: (units, batch). readout: (classes, units). labels: (batch,).
    """
    return cross_entropy((readout @ x / math.sqrt(len(x))).T, labels)
