"""A residual network of the make of ResNet-18, of any width and as many blocks as asked for."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import conv2d

from richness.networks.general import Network, Parameter, Weights, hidden_weight, readout_weight
from richness.networks.layers import image_shape, norm, norm_parameters
from richness.networks.mlp import ACTIVATIONS


def resnet(inputs: int, outputs: int, width: int, depth: int, activation: str) -> Network:
    """A stem, (L − 2)/2 basic blocks of two 3×3 convolutions, the mean over places, and the readout.

    A block is act(shortcut + norm(conv(act(norm(conv(h)))))), h what it is given. There are two to a stage, and each stage
    after the first has twice the channels and, by a stride of 2, half the side; there the shortcut is a 1×1 convolution with a
    norm. With L = 18 these are the blocks of ResNet-18. It differs in the stem, a 3×3 convolution of stride 2 for small images,
    and in the norm, which is of one sample alone (see :mod:`richness.networks.layers`). No other biases than the norms'.

    What L does *not* say here: a convolution before a norm can be multiplied by any positive number without changing f̃. What
    makes f̃ large is the readout times the gain of a block's last norm, two factors. So f̃ does not grow as an L-th power, and
    where large γ asks for large f̃, the exponent to compare with is 2/2 = 1 rather than 2/L.

    Args:
        inputs: D, once or three times the square of a multiple of 4. outputs: K. width: N, channels of the first stage.
        depth: L, even and at least 4: the weight layers of the longest path, shortcuts not counted. activation: a key of
            ``ACTIVATIONS``.

    Raises:
        ValueError: inputs that are no such image, or a depth that is odd or below 4.

    References:
        K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, CVPR 2016. Y. Wu, K. He, *Group
        normalization*, ECCV 2018 (with one group).
    """
    (channels, side), act = image_shape(inputs, "resnet"), ACTIVATIONS[activation]
    if depth < 4 or depth % 2:
        raise ValueError(
            f"a resnet has an even number of weight layers, at least 4 (a stem, blocks of two, the readout), got depth {depth}"
        )
    blocks = range((depth - 2) // 2)
    units = [width * 2 ** (block // 2) for block in blocks]
    below = [width, *units]  # channels that a block is given

    parameters: list[Parameter] = [hidden_weight("resnet/stem", width, channels, 3, 3)]
    parameters += norm_parameters("resnet/stem", width)
    for block in blocks:
        name, into, out = f"resnet/block{block}", below[block], units[block]
        parameters += [hidden_weight(f"{name}/conv0", out, into, 3, 3), *norm_parameters(f"{name}/conv0", out)]
        parameters += [hidden_weight(f"{name}/conv1", out, out, 3, 3), *norm_parameters(f"{name}/conv1", out)]
        if into != out:
            parameters += [
                hidden_weight(f"{name}/shortcut", out, into, 1, 1),
                *norm_parameters(f"{name}/shortcut", out),
            ]
    parameters.append(readout_weight("resnet/readout", outputs, units[-1]))

    def normed(w: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
        padding = w[name].shape[-1] // 2
        return norm(w, name, conv2d(x, w[name], stride=stride, padding=padding), units=1)

    def layers(w: Weights, x: Tensor) -> list[Tensor]:
        """Before every non-linearity, (batch, channels, height, width): the stem's, then two a block."""
        h = [normed(w, "resnet/stem", x.reshape(-1, channels, side, side), stride=2)]
        for block in blocks:
            name, stream = f"resnet/block{block}", act(h[-1])
            wider = f"{name}/shortcut" in w
            h.append(normed(w, f"{name}/conv0", stream, stride=2 if wider else 1))
            shortcut = normed(w, f"{name}/shortcut", stream, stride=2) if wider else stream
            h.append(shortcut + normed(w, f"{name}/conv1", act(h[-1])))
        return h

    def apply(w: Weights, x: Tensor) -> Tensor:
        return act(layers(w, x)[-1]).mean(dim=(2, 3)) @ w["resnet/readout"].T

    return Network(inputs, outputs, width, depth, tuple(parameters), apply, layers, factors=2)
