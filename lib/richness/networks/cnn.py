"""The convolutional network of the paper: two convolutions, fully connected layers, a readout."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from richness.networks.general import Network, Weights, hidden_weight, readout_weight
from richness.networks.layers import image_shape
from richness.networks.mlp import ACTIVATIONS


def cnn(inputs: int, outputs: int, width: int, depth: int, activation: str) -> Network:
    """Two 3×3 convolutions with N channels, each followed by 2×2 mean pooling, L − 3 layers of N units, and the readout.

    Images are square, grey or of three colours, given flat, channel first. No biases. The paper's own is L = 4: one fully
    connected layer. f̃ of relu units is homogeneous of degree L in the weights, as the MLP's is, so that the exponent of the
    largest η on the rich side is to be compared with 2/L.

    Args:
        inputs: D, once or three times the square of a multiple of 4. outputs: K. width: N. depth: L ≥ 3. activation: a key of
            ``ACTIVATIONS``.

    Raises:
        ValueError: inputs that are no such image, or a depth below 3.
    """
    (channels, side), act = image_shape(inputs, "cnn"), ACTIVATIONS[activation]
    if depth < 3:
        raise ValueError(f"a cnn has at least 3 weight layers (two convolutions and the readout), got depth {depth}")
    features = width * (side // 4) ** 2
    sizes = [features] + [width] * (depth - 3)
    parameters = (
        hidden_weight("cnn/conv0", width, channels, 3, 3),
        hidden_weight("cnn/conv1", width, width, 3, 3),
        *[hidden_weight(f"cnn/linear{k}", width, into) for k, into in enumerate(sizes[:-1])],
        readout_weight("cnn/readout", outputs, sizes[-1]),
    )

    def layers(w: Weights, x: Tensor) -> list[Tensor]:
        h = [conv2d(x.reshape(-1, channels, side, side), w["cnn/conv0"], padding=1)]
        h.append(conv2d(avg_pool2d(act(h[-1]), 2), w["cnn/conv1"], padding=1))
        below = avg_pool2d(act(h[-1]), 2).flatten(1)
        for k in range(depth - 3):
            h.append(below @ w[f"cnn/linear{k}"].T)
            below = act(h[-1])
        return h

    def apply(w: Weights, x: Tensor) -> Tensor:
        h = layers(w, x)[-1]
        below = act(h) if depth > 3 else avg_pool2d(act(h), 2).flatten(1)
        return below @ w["cnn/readout"].T

    return Network(inputs, outputs, width, depth, parameters, apply, layers)
