"""TinyImageNet: photographs of 200 kinds, of which strong augmentation makes a stream without end."""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from richness import rng
from richness.data import arrays
from richness.data.fetch import DataError, Source, lock
from richness.data.files.common import FileSet, Opened, check
from richness.data.order import Samples
from richness.extras import install_command

CROP = (0.25, 1.0)  # share of the image's area that is cropped
ASPECT = math.log(4 / 3)  # of the crop's log aspect ratio, half its range
TURN = math.radians(15.0)
TINT = 0.4  # half-range of brightness, contrast and saturation around 1
GREY = 0.1  # share of images without colour
TOGETHER = 32  # images augmented together on a CPU: what they need then fits a core's cache
CUT = 16  # pixels along the side of the square that is greyed out, in half of the images


class TinyImageNet(FileSet):
    """100,000 photographs of 200 kinds, 64×64, of which a stream without end is made."""

    def draw(self, seed: int, steps: range, batch_size: int, name: str, device: str) -> tuple[Tensor, Tensor]:
        """Batches of freshly augmented images, drawn with replacement: each a function of (seed, step) alone.

        All streams but ``…/unseen`` and ``…/held_out`` are made of the training images; those two of the validation images,
        which ``…/held_out`` leaves as they are.
        """
        if name.endswith("/held_out"):
            return super().draw(seed, steps, batch_size, name, device)
        samples = self.opened()[1 if name.endswith("/unseen") else 0]
        which = rng.integers(seed, f"{name}/which", steps, batch_size, len(samples)).reshape(-1).numpy()
        pixels, labels = samples.take(which)
        draws = rng.uniforms(seed, f"{name}/augment", steps, 12 * batch_size, device).reshape(-1, 12)
        together = TOGETHER if torch.device(device).type == "cpu" else len(which)
        x = torch.empty(len(which), self.inputs, device=device)
        for first in range(0, len(which), together):
            at = slice(first, first + together)
            colours = augment(torch.from_numpy(pixels[at]).to(device).to(torch.float32).div_(255.0), draws[at])
            x[at] = self.normalised(colours.mul_(255.0)).flatten(1)
        shape = len(steps), batch_size
        return x.reshape(*shape, -1), torch.from_numpy(labels).to(device).reshape(shape)


def augment(colours: Tensor, draws: Tensor) -> Tensor:
    """Strong augmentation: crop, mirror, turn, tint and cut out, a function of the draws alone.

    A rectangle of 1/4 to all of the area and an aspect ratio of 3/4 to 4/3, turned by up to 15°, is resampled to the whole
    (bilinear, mirrored at the border) and mirrored in half of the images; brightness, contrast and saturation are changed by
    factors of 0.6 to 1.4, a tenth of the images loses its colour, and in half of them a square of 16×16 becomes grey.

    Args:
        colours: images (n, 3, side, side), float32, in [0, 1].
        draws: uniform (n, 12): area, aspect, turn, two places of the crop, mirror, brightness, contrast, saturation, colour,
            and the cut-out's row and column, whose first draw below 1/2 means none.

    Returns:
        Images (n, 3, side, side), in [0, 1].
    """
    side = colours.shape[-1]
    area, aspect, turn, down, right, mirror, bright, contrast, rich, colour, row, column = draws.to(
        torch.float32
    ).unbind(1)
    size = (CROP[0] + (CROP[1] - CROP[0]) * area).sqrt()
    stretch = torch.exp(0.5 * ASPECT * (2 * aspect - 1))
    high, wide = (size / stretch).clamp(max=1.0), (size * stretch).clamp(max=1.0)
    flip = torch.where(mirror < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(TURN * (2 * turn - 1)), torch.sin(TURN * (2 * turn - 1))
    top = torch.stack((wide * cos * flip, -high * sin, (1 - wide) * (2 * right - 1)), dim=1)
    bottom = torch.stack((wide * sin * flip, high * cos, (1 - high) * (2 * down - 1)), dim=1)
    grid = _grid(torch.stack((top, bottom), dim=1), side)
    x = torch.nn.functional.grid_sample(colours, grid, "bilinear", "reflection", align_corners=False)

    def factor(draw: Tensor) -> Tensor:
        return (1 + TINT * (2 * draw - 1))[:, None, None, None]

    x.mul_(factor(bright)).clamp_(0, 1)
    average = _luma(x).mean(dim=(2, 3), keepdim=True).expand(-1, -1, side, side).contiguous()  # lerp is slow on a view
    torch.lerp(average, x, factor(contrast), out=x).clamp_(0, 1)
    kept = torch.where(colour[:, None, None, None] < GREY, 0.0, factor(rich))
    torch.lerp(_luma(x), x, kept, out=x).clamp_(0, 1)
    along = torch.arange(side, device=x.device)
    first_row, first_column = ((row * 2 - 1) * (side - CUT + 1)).floor(), (column * (side - CUT + 1)).floor()
    rows = (along >= first_row[:, None]) & (along < first_row[:, None] + CUT) & (row[:, None] >= 0.5)
    columns = (along >= first_column[:, None]) & (along < first_column[:, None] + CUT)
    cut = (rows[:, :, None] & columns[:, None, :])[:, None].to(x.dtype)
    return x.mul_(1 - cut).add_(0.5 * cut)  # a mask would be many times slower


def _grid(affine: Tensor, side: int) -> Tensor:
    """torch's ``affine_grid`` (align_corners=False) of matrices (n, 2, 3): (n, side, side, 2).

    What a column and a row add is computed once for each, where torch multiplies a matrix for every pixel.
    """
    axis = torch.linspace(-1, 1, side, device=affine.device) * ((side - 1) / side)
    across, down, shift = affine[..., None].unbind(2)
    return ((across * axis)[:, :, None, :] + (down * axis)[..., None]).add_(shift[..., None]).permute(0, 2, 3, 1)


def _luma(x: Tensor) -> Tensor:
    """Brightness (n, 1, height, width) of colours (n, 3, height, width)."""
    return (x[:, :1] * 0.299).add_(x[:, 1:2] * 0.587).add_(x[:, 2:] * 0.114)


def _opened(paths: Sequence[Path]) -> Opened:
    (path,) = paths
    with lock(path.with_suffix(".decoded")):
        sets = [_decoded(path, part) for part in ("train", "val")]
    (x, y), (x_held, y_held) = sets
    return Samples("TinyImageNet", [x], [y]), Samples("TinyImageNet's validation set", [x_held], [y_held])


def _decoded(path: Path, part: str) -> tuple[arrays.Rows, np.ndarray]:
    """The pictures of ``train`` or ``val``, decoded once into an array beside the zip, and their labels."""
    stem = f"{path.stem}-{part}-{path.stat().st_size:x}"
    images, labels = path.with_name(f"{stem}-images.npy"), path.with_name(f"{stem}-labels.npy")
    if not labels.exists():
        try:
            with zipfile.ZipFile(path) as archive:
                _decode(path, archive, part, images, labels)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{path} is not a whole zip ({error}): delete it and fetch it again") from error
    rows, y = arrays.in_npy(images), arrays.in_npy(labels)
    y_all = y.read(0, len(y))
    check("TinyImageNet", images, rows, y_all, (3, 64, 64), 200)
    return rows, y_all


def _decode(path: Path, archive: zipfile.ZipFile, part: str, images: Path, labels: Path) -> None:
    try:
        from PIL import Image
    except ImportError:
        raise DataError(
            f"TinyImageNet's pictures are decoded with Pillow, which is not installed: {install_command('data')}"
        ) from None
    listed = _listed(path, archive, part)
    with arrays.rows_written(images, np.uint8, (len(listed), 3, 64, 64)) as file:
        for name, _ in listed:
            try:
                with Image.open(io.BytesIO(archive.read(name))) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
            except OSError as error:
                raise DataError(f"{path}: {name} cannot be decoded ({error}): delete it and fetch it again") from error
            if pixels.shape != (64, 64, 3):
                raise DataError(f"{path}: {name} has {pixels.shape[1]}×{pixels.shape[0]} pixels, expected 64×64")
            file.write(pixels.transpose(2, 0, 1).tobytes())
    classes = np.array([label for _, label in listed], dtype=np.uint8)
    with arrays.rows_written(
        labels, np.uint8, classes.shape
    ) as file:  # last: whoever finds the labels finds the images
        file.write(classes.tobytes())


def _listed(path: Path, archive: zipfile.ZipFile, part: str) -> list[tuple[str, int]]:
    """Names in the zip and labels, in an order of their own: classes are numbered as their WordNet ids sort."""
    names = archive.namelist()
    root = next((name.partition("/")[0] for name in names if name.endswith("/wnids.txt")), None)
    if root is None:
        raise DataError(f"{path} is not TinyImageNet's: it holds no wnids.txt")
    number = {wnid: k for k, wnid in enumerate(sorted(archive.read(f"{root}/wnids.txt").decode().split()))}
    if part == "train":
        found = [
            (name, name.split("/")[2]) for name in names if re.fullmatch(rf"{root}/train/[^/]+/images/.+\.JPEG", name)
        ]
    else:
        lines = archive.read(f"{root}/val/val_annotations.txt").decode().splitlines()
        found = [(f"{root}/val/images/{line.split()[0]}", line.split()[1]) for line in lines if line.strip()]
    strange = {wnid for _, wnid in found} - set(number)
    if strange or not found:
        raise DataError(
            f"{path} is not TinyImageNet's: {part} has {len(found)} pictures, of unknown kinds {sorted(strange)[:3]}"
        )
    return [(name, number[wnid]) for name, wnid in sorted(found)]


TINYIMAGENET = TinyImageNet(
    "tinyimagenet", 3, 64, 200, (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821),
    "TinyImageNet: 100,000 photographs of 200 kinds, 64×64, drawn with replacement and strongly augmented",
    "ImageNet's terms: research and teaching, not commerce",
    (Source(
        "tinyimagenet/tiny-imagenet-200.zip", "https://cs231n.stanford.edu/tiny-imagenet-200.zip", 248_100_043,
        digest="md5:90528d7ca1a48142e341f4ef8d21d0de", task="tinyimagenet",
    ),),
    _opened,
)  # fmt: skip
