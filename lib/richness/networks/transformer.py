"""Transformers in the maximal-update parameterisation: what they share whatever their tokens are, and one for characters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from richness.networks.general import Network, Parameter, Weights, embedding, hidden_weight, readout_weight
from richness.networks.layers import norm, norm_parameters
from richness.networks.mlp import ACTIVATIONS

HEADS = 4
WIDER = 4  # units of a block's hidden layer over N


def transformer(inputs: int, outputs: int, width: int, depth: int, activation: str) -> Network:
    """A decoder: characters and their places embedded, (L − 2)/4 causal blocks, the readout of the last position.

    A token attends to itself and those before it. So what is said at one position does not depend on what follows, and the
    last one says which character comes next. Blocks as in :func:`of_tokens`.

    Args:
        inputs: D, a window of D/K characters, each one-hot among K. outputs: K. width: N, a multiple of 4. depth: L = 6, 10,
            14, … as for a vit. activation: of the MLPs, a key of ``ACTIVATIONS``.

    Raises:
        ValueError: inputs that are no whole number of such characters, or another width or depth.

    References:
        A. Radford et al., *Language models are unsupervised multitask learners*, 2019 (pre-norm blocks). G. Yang et al.,
        *Tensor Programs V*, 2022 (1/d).
    """
    tokens, rest = divmod(inputs, outputs)
    if rest:
        raise ValueError(
            f"a transformer needs characters one-hot among its {outputs} outputs, so that its inputs are a multiple of "
            f"{outputs}; this task has {inputs} inputs: use task 'text' or 'text_fixed', or network 'vit' for images"
        )
    first = embedding("transformer/characters", outputs, width)

    def embed(w: Weights, x: Tensor) -> Tensor:
        return x.reshape(-1, tokens, outputs) @ w["transformer/characters"]

    return of_tokens(
        "transformer", inputs, outputs, width, depth, activation,
        tokens=tokens, first=first, embed=embed, pooled=lambda h: h[:, -1], causal=True,
    )  # fmt: skip


def of_tokens(
    name: str, inputs: int, outputs: int, width: int, depth: int, activation: str,
    *, tokens: int, first: Parameter, embed: Callable[[Weights, Tensor], Tensor], pooled: Callable[[Tensor], Tensor],
    causal: bool,
) -> Network:  # fmt: skip
    """Tokens and their places embedded, (L − 2)/4 blocks of attention and a two-layer MLP, a last norm, the readout.

    A block is h ← h + attention(norm(h)), h ← h + MLP(norm(h)), with 4 heads and 4N hidden units. A head has d = N/4 units, and
    its logits are q·k/d: with 1/√d they would grow with the width once q and k have aligned in training (µP). Each token has
    its own mean and variance. No other biases than the norms'.

    What L does *not* say here: h after the last norm has a size of its own, whatever the blocks do. What makes f̃ large is the
    readout times the last norm's gain, two factors. So f̃ does not grow as an L-th power, and where large γ asks for large f̃,
    the exponent to compare with is 2/2 = 1 rather than 2/L.

    Args:
        name: of the network, and the first part of its parameters' names. inputs: D. outputs: K. width: N, a multiple of 4.
        depth: L = 6, 10, 14, …: the weight layers of the longest path, which are the tokens' embedding, four a block (values,
            their mixing, and two of the MLP) and the readout. activation: of the MLPs.
        tokens: T. first: the parameter of the embedding. embed: weights by name and inputs (batch, D) to (batch, T, N).
        pooled: the last stream, (batch, T, N), to what is read out, (batch, N).
        causal: a token attends to itself and those before it, not to all.

    Raises:
        ValueError: another width or depth.
    """
    act = ACTIVATIONS[activation]
    if width % HEADS:
        raise ValueError(f"a {name} has {HEADS} heads: its width must be a multiple of {HEADS}, got {width}")
    if depth < 6 or depth % 4 != 2:
        raise ValueError(
            f"a {name} has 6, 10, 14, … weight layers (an embedding, four a block, the readout), got depth {depth}"
        )
    blocks = [f"{name}/block{block}" for block in range((depth - 2) // 4)]
    parameters = [first, embedding(f"{name}/places", tokens, width)]
    for block in blocks:
        parameters += norm_parameters(f"{block}/before_attention", width)
        parameters += [
            hidden_weight(f"{block}/attention", 3 * width, width),
            hidden_weight(f"{block}/mixing", width, width),
        ]
        parameters += norm_parameters(f"{block}/before_mlp", width)
        parameters += [
            hidden_weight(f"{block}/up", WIDER * width, width),
            hidden_weight(f"{block}/down", width, WIDER * width),
        ]
    parameters += [*norm_parameters(f"{name}/last", width), readout_weight(f"{name}/readout", outputs, width)]

    def attention(w: Weights, block: str, h: Tensor) -> Tensor:
        q, k, v = (h @ w[f"{block}/attention"].T).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        logits = q @ k.mT / q.shape[-1]  # (batch, heads, tokens, tokens)
        if causal:
            later = torch.ones(tokens, tokens, dtype=torch.bool, device=h.device).triu(1)
            logits = logits.masked_fill(later, -torch.inf)
        return (torch.softmax(logits, dim=-1) @ v).transpose(1, 2).flatten(2) @ w[f"{block}/mixing"].T

    def layers(w: Weights, x: Tensor) -> list[Tensor]:
        """(batch, tokens, units): the embedded tokens; of each block the stream after attention, the MLP's hidden layer before
        its non-linearity, and the stream; the last normed."""
        h = [embed(w, x) + w[f"{name}/places"]]
        for block in blocks:
            h.append(h[-1] + attention(w, block, norm(w, f"{block}/before_attention", h[-1], units=-1)))
            h.append(norm(w, f"{block}/before_mlp", h[-1], units=-1) @ w[f"{block}/up"].T)
            h.append(h[-2] + act(h[-1]) @ w[f"{block}/down"].T)
        return [*h, norm(w, f"{name}/last", h[-1], units=-1)]

    def apply(w: Weights, x: Tensor) -> Tensor:
        return pooled(layers(w, x)[-1]) @ w[f"{name}/readout"].T

    return Network(inputs, outputs, width, depth, tuple(parameters), apply, layers, factors=2)
