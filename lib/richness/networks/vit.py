"""A vision transformer: sixteen patches, attention in the maximal-update parameterisation, the mean over patches."""

from __future__ import annotations

from torch import Tensor

from richness.networks.general import Network, Weights, hidden_weight
from richness.networks.layers import image_shape
from richness.networks.transformer import of_tokens

PATCHES = 4  # along each side


def vit(inputs: int, outputs: int, width: int, depth: int, activation: str) -> Network:
    """4×4 patches and their places embedded, (L − 2)/4 blocks of attention and a two-layer MLP, the mean, the readout.

    Blocks, the scale of the attention's logits, and what L does not say are those of
    :func:`~richness.networks.transformer.of_tokens`: before the mean over patches comes a last norm, so that f̃ grows with two
    factors, whatever L.

    Args:
        inputs: D, once or three times the square of a multiple of 4. outputs: K. width: N, a multiple of 4. depth: L = 6, 10,
            14, …: the weight layers of the longest path, which are the patches' embedding, four a block (values, their
            mixing, and two of the MLP) and the readout. activation: of the MLPs, a key of ``ACTIVATIONS``.

    Raises:
        ValueError: inputs that are no such image, or another width or depth.

    References:
        A. Dosovitskiy et al., *An image is worth 16×16 words*, ICLR 2021.
    """
    channels, side = image_shape(inputs, "vit")
    patch, tokens = side // PATCHES, PATCHES**2

    def cut(x: Tensor) -> Tensor:
        """Images given flat, (batch, D), to patches given flat, (batch, 16, D/16)."""
        image = x.reshape(-1, channels, PATCHES, patch, PATCHES, patch)
        return image.permute(0, 2, 4, 1, 3, 5).reshape(-1, tokens, channels * patch**2)

    def embed(w: Weights, x: Tensor) -> Tensor:
        return cut(x) @ w["vit/patches"].T

    return of_tokens(
        "vit", inputs, outputs, width, depth, activation,
        tokens=tokens, first=hidden_weight("vit/patches", width, channels * patch**2), embed=embed,
        pooled=lambda h: h.mean(dim=1), causal=False,
    )  # fmt: skip
