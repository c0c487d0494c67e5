"""A vision transformer: sixteen patches, attention in the maximal-update parameterisation, the mean over patches."""

from __future__ import annotations

import torch
from torch import Tensor

from richness.networks.general import Network, Parameter, Weights, embedding, hidden_weight, readout_weight
from richness.networks.layers import image_shape, norm, norm_parameters
from richness.networks.mlp import ACTIVATIONS

PATCHES = 4  # along each side
HEADS = 4
WIDER = 4  # units of a block's hidden layer over N


def vit(inputs: int, outputs: int, width: int, depth: int, activation: str) -> Network:
    """4×4 patches and their places embedded, (L − 2)/4 blocks of attention and a two-layer MLP, the mean, the readout.

    A block is h ← h + attention(norm(h)), h ← h + MLP(norm(h)), with 4 heads and 4N hidden units; before the mean over patches
    comes a last norm. A head has d = N/4 units, and its logits are q·k/d: with 1/√d they would grow with the width once q and
    k have aligned in training (µP). Each token has its own mean and variance. No other biases than the norms'.

    What L does *not* say here: h after the last norm has a size of its own, whatever the blocks do. What makes f̃ large is the
    readout times the last norm's gain, two factors. So f̃ does not grow as an L-th power, and where large γ asks for large f̃,
    the exponent to compare with is 2/2 = 1 rather than 2/L.

    Args:
        inputs: D, once or three times the square of a multiple of 4. outputs: K. width: N, a multiple of 4. depth: L = 6, 10,
            14, …: the weight layers of the longest path, which are the patches' embedding, four a block (values, their
            mixing, and two of the MLP) and the readout. activation: of the MLPs, a key of ``ACTIVATIONS``.

    Raises:
        ValueError: inputs that are no such image, or another width or depth.

    References:
        A. Dosovitskiy et al., *An image is worth 16×16 words*, ICLR 2021. G. Yang et al., *Tensor Programs V*, 2022 (1/d).
    """
    (channels, side), act = image_shape(inputs, "vit"), ACTIVATIONS[activation]
    if width % HEADS:
        raise ValueError(f"a vit has {HEADS} heads: its width must be a multiple of {HEADS}, got {width}")
    if depth < 6 or depth % 4 != 2:
        raise ValueError(
            f"a vit has 6, 10, 14, … weight layers (an embedding, four a block, the readout), got depth {depth}"
        )
    blocks = [f"vit/block{block}" for block in range((depth - 2) // 4)]
    patch, tokens = side // PATCHES, PATCHES**2

    parameters: list[Parameter] = [
        hidden_weight("vit/patches", width, channels * patch**2),
        embedding("vit/places", tokens, width),
    ]
    for name in blocks:
        parameters += norm_parameters(f"{name}/before_attention", width)
        parameters += [
            hidden_weight(f"{name}/attention", 3 * width, width),
            hidden_weight(f"{name}/mixing", width, width),
        ]
        parameters += norm_parameters(f"{name}/before_mlp", width)
        parameters += [
            hidden_weight(f"{name}/up", WIDER * width, width),
            hidden_weight(f"{name}/down", width, WIDER * width),
        ]
    parameters += [*norm_parameters("vit/last", width), readout_weight("vit/readout", outputs, width)]

    def cut(x: Tensor) -> Tensor:
        """Images given flat, (batch, D), to patches given flat, (batch, 16, D/16)."""
        image = x.reshape(-1, channels, PATCHES, patch, PATCHES, patch)
        return image.permute(0, 2, 4, 1, 3, 5).reshape(-1, tokens, channels * patch**2)

    def attention(w: Weights, name: str, h: Tensor) -> Tensor:
        q, k, v = (h @ w[f"{name}/attention"].T).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        weight = torch.softmax(q @ k.mT / q.shape[-1], dim=-1)  # (batch, heads, tokens, tokens)
        return (weight @ v).transpose(1, 2).flatten(2) @ w[f"{name}/mixing"].T

    def layers(w: Weights, x: Tensor) -> list[Tensor]:
        """(batch, 16, units): the embedded patches; of each block the stream after attention, the MLP's hidden layer before
        its non-linearity, and the stream; the last normed."""
        h = [cut(x) @ w["vit/patches"].T + w["vit/places"]]
        for name in blocks:
            h.append(h[-1] + attention(w, name, norm(w, f"{name}/before_attention", h[-1], units=-1)))
            h.append(norm(w, f"{name}/before_mlp", h[-1], units=-1) @ w[f"{name}/up"].T)
            h.append(h[-2] + act(h[-1]) @ w[f"{name}/down"].T)
        return [*h, norm(w, "vit/last", h[-1], units=-1)]

    def apply(w: Weights, x: Tensor) -> Tensor:
        return layers(w, x)[-1].mean(dim=1) @ w["vit/readout"].T

    return Network(inputs, outputs, width, depth, tuple(parameters), apply, layers, factors=2)
