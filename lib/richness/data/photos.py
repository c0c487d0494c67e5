"""Photo-patch: an endless stream of small colour crops of ten photographs, to be told apart by photograph.

scikit-image and scikit-learn carry these photographs inside their packages, so nothing is downloaded. Each photograph is cut
into tiles of 64×64 pixels, and every fifth tile is held out *before* anything is cropped; a sample is a crop of 32×32 pixels
that lies inside one tile, so that no training crop shares a pixel with a held-out one. The label is the photograph.

It is a stream of real colour that needs no network, and no more than that: neighbouring crops of one photograph resemble each
other, and what is learned is ten palettes and textures, not kinds of things. It is nobody's benchmark.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from richness import rng
from richness.extras import install_command

TILE = 64  # pixels along a tile's side
SIDE = 32  # of a crop
SMALL = 16  # of a crop of the cheap task: means of 2×2 pixels
HELD_OUT = 2_000  # crops of held-out tiles on which accuracy is measured
MEAN = (0.4633, 0.3621, 0.3202)  # of red, green and blue in [0, 1], over the training tiles, each photograph alike
STD = (0.3244, 0.2615, 0.2657)


@dataclass(frozen=True)
class Photo:
    """A photograph that another package ships: which, where in it, and the file's SHA-256."""

    name: str
    package: str
    path: str
    sha256: str

    def read(self) -> np.ndarray:
        """Red, green and blue, uint8 (height, width, 3).

        Raises:
            RuntimeError: the package is not installed, or its file is not the one this stream is made of.
        """
        distribution = {"skimage": "scikit-image", "sklearn": "scikit-learn"}[self.package]
        try:
            from PIL import Image
        except ImportError:
            raise RuntimeError(
                "the tasks 'photos' and 'photos16' read pictures with Pillow, which is not installed: "
                f"{install_command('photos')}, or use task 'digits'"
            ) from None
        package = find_spec(self.package)
        if package is None or package.origin is None:
            raise RuntimeError(
                f"the tasks 'photos' and 'photos16' are made of photographs in {distribution}, which is not installed: "
                f"{install_command('photos')}, or use task 'digits'"
            )
        file = Path(package.origin).parent / self.path
        found = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "no such file"
        if found != self.sha256:
            raise RuntimeError(
                f"{distribution}'s {self.path} is not the photograph this stream is made of (expected SHA-256 "
                f"{self.sha256[:12]}…, found {found[:12]}…): install the version in constraints.txt"
            )
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))


PHOTOS = tuple(
    Photo(*described.split())
    for described in (
        "astronaut skimage data/astronaut.png 88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "cat skimage data/chelsea.png 596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "coffee skimage data/coffee.png cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "galaxies skimage data/hubble_deep_field.jpg 3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        "tissue skimage data/ihc.png f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
        "motorcycle skimage data/motorcycle_left.png db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        "retina skimage data/retina.jpg 38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
        "rocket skimage data/rocket.jpg c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        "temple sklearn datasets/images/china.jpg 8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        "flower sklearn datasets/images/flower.jpg a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    )
)


@dataclass(frozen=True)
class Tiles:
    """Tiles of all photographs, one photograph after the other.

    Attributes:
        pixels: uint8 (tiles, 3, 64, 64). first, count: int64 (photographs,), where each one's tiles begin, and how many.
    """

    pixels: Tensor
    first: Tensor
    count: Tensor


@cache
def tiles(held_out: bool) -> Tiles:
    """The tiles that samples are cropped from: four fifths of every photograph to train on, or the fifth held out.

    The tile in row r and column c is held out where r + 2c is a multiple of 5, a knight's move from one to the next.
    What a photograph has beyond whole tiles is left away. JPEG decoders may differ by a grey level; PNGs do not.

    Raises:
        RuntimeError: as :meth:`Photo.read`.
    """
    chosen = []
    for photo in PHOTOS:
        pixels = torch.from_numpy(photo.read().copy()).permute(2, 0, 1)
        grid = pixels.unfold(1, TILE, TILE).unfold(2, TILE, TILE).permute(1, 2, 0, 3, 4)  # (rows, columns, 3, 64, 64)
        row, column = torch.arange(grid.shape[0])[:, None], torch.arange(grid.shape[1])
        chosen.append(grid[((row + 2 * column) % 5 == 0) == held_out])
    count = torch.tensor([len(own) for own in chosen])
    return Tiles(torch.cat(chosen), count.cumsum(0) - count, count)


def stream(
    seed: int, steps: range, batch_size: int, name: str, small: bool, device: str = "cpu", held_out: bool = False
) -> tuple[Tensor, Tensor]:
    """Batches of fresh crops, each a function of (seed, step) alone: a photograph, one of its tiles, a place in the tile.

    Returns:
        Inputs float32 (steps, batch_size, 3·32² or 3·16²), normalised, channel first; labels int64 (steps, batch_size).
    """
    source = tiles(held_out)
    pixels, first, count = (part.to(device) for part in (source.pixels, source.first, source.count))
    labels = rng.integers(seed, f"{name}/which", steps, batch_size, len(PHOTOS), device)
    tile, down, right = rng.uniforms(seed, f"{name}/where", steps, 3 * batch_size, device).reshape(-1, 3).unbind(1)
    which = labels.reshape(-1)
    tile = first[which] + (tile * count[which]).long()
    places = TILE - SIDE + 1
    along = torch.arange(SIDE, device=device)
    rows = ((down * places).long()[:, None] + along)[:, None, :, None]
    columns = ((right * places).long()[:, None] + along)[:, None, None, :]
    crops = pixels[tile[:, None, None, None], torch.arange(3, device=device)[:, None, None], rows, columns]
    x = normalise(crops.to(torch.float32) / 255.0)
    if small:
        x = torch.nn.functional.avg_pool2d(x, SIDE // SMALL)
    return x.reshape(len(steps), batch_size, -1), labels


def normalise(colours: Tensor) -> Tensor:
    """Colours in [0, 1], (*, 3, height, width), to zero mean and unit variance of each channel."""
    mean, std = (torch.tensor(values, device=colours.device)[:, None, None] for values in (MEAN, STD))
    return (colours - mean) / std


@cache
def held_out(small: bool) -> tuple[Tensor, Tensor]:
    """2,000 crops of held-out tiles, always the same: float32 (2000, 3072 or 768), labels int64 (2000,)."""
    x, labels = stream(0, range(1), HELD_OUT, "photos/held_out", small, held_out=True)
    return x[0], labels[0]
