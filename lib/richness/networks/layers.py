"""What the networks on images share: the shape of an image given flat, and a norm of one sample alone.

Why no batch norm. Batch norm divides by the batch's own statistics, so that what a network says of one sample depends on which
others stand beside it. Then f̃(x; θ) is no function of x and θ: subtracting its value at initialisation centres nothing, f at
step 0 is 0 on the batch it was taken on alone, and the running averages used in testing are one more state, which moves with
time whatever γ is. Here every sample is standardised by its own mean and variance, so that f̃(x; θ) is a function again.

What a norm does to the exponents. Weights before a norm can be multiplied by any positive number without changing f̃; only
those after the last norm on a path, its gain among them, make f̃ large. Counting these factors gives the exponent that the
largest η is compared with on the rich side. It is a count, not a theorem: weights before a norm have a curvature of their own,
which does not fall with γ once f is of order one; steps too long for it lengthen these weights, and so shorten the next steps.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import layer_norm

from richness.networks.general import Parameter, Weights, hidden_bias

EPSILON = 1e-5  # added to the variance, as torch's norms do


def image_shape(inputs: int, network: str) -> tuple[int, int]:
    """Channels and side of square images given flat, channel first.

    The number of inputs says which: it is a square (grey) or three times a square (colour), and no number is both.

    Args:
        inputs: D. network: its name, for the message.

    Raises:
        ValueError: neither, or a side that is no multiple of 4.
    """
    for channels in (1, 3):
        side = math.isqrt(inputs // channels)
        if channels * side * side == inputs and side % 4 == 0:
            return channels, side
    raise ValueError(
        f"a {network} needs square images, grey or of three colours, whose side is a multiple of 4, given flat, such as 64, "
        f"784 or 3072 inputs; this task has {inputs} inputs: use task 'digits', 'digits8' or 'photos', or network 'mlp'"
    )


def norm_parameters(name: str, units: int) -> tuple[Parameter, Parameter]:
    """Of a norm: what its gain has beyond 1, and its bias, (units,) each and 0 at first.

    One unit's gain meets a gradient of order 1/N, as a bias does: its step N·η moves it by order η.
    """
    return hidden_bias(f"{name}/gain", units), hidden_bias(f"{name}/bias", units)


def norm(w: Weights, name: str, h: Tensor, units: int) -> Tensor:
    """Each sample (or token) to zero mean and unit variance over the axes from ``units`` on, then a gain and bias a unit.

    Args:
        w: weights by name. name: of the norm. h: (batch, ..., units, ...). units: the axis of units: −1 for tokens
            (batch, tokens, units), 1 for images (batch, channels, height, width), whose places share gain and bias.
    """
    over = h.shape[units:]
    shape = (-1, *[1] * (len(over) - 1))
    return layer_norm(h, over, eps=EPSILON) * (1 + w[f"{name}/gain"].view(shape)) + w[f"{name}/bias"].view(shape)
