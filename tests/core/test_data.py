from __future__ import annotations

import dataclasses
import hashlib
import io
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from richness.data import TASKS, digits, photos, task, text


@pytest.mark.parametrize("name", [name for name, made in TASKS.items() if made.bring is None])
def test_a_batch_is_a_function_of_seed_and_step(name):
    source = task(name)
    x, y = source.batches(2, range(3, 6), 10)
    assert x.shape == (3, 10, source.inputs) and x.dtype == torch.float32
    assert y.shape == ((3, 10) if source.classification else (3, 10, source.outputs))
    again = source.batch(2, 4, 10)
    assert torch.equal(x[1], again[0]) and torch.equal(y[1], again[1])
    if source.fixed:
        return
    assert not torch.equal(x[0], x[1])
    assert not torch.equal(x[0], source.batch(3, 3, 10)[0])
    assert not torch.equal(source.probe(10)[0], source.batch(0, 0, 10)[0])


def test_the_digits_are_the_ten_thousand():
    images, labels = digits.load()
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(labels).tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]


def test_held_out_digits_never_enter_the_stream(monkeypatch):
    """Blacken the 2,000 held-out digits: the stream does not change. Blacken the other 8,000: it turns black."""
    images, labels = digits.load()
    before = task("digits").batches(0, range(4), 64)[0]
    for hidden, same in ((slice(digits.TRAINING, None), True), (slice(0, digits.TRAINING), False)):
        altered = images.clone()
        altered[hidden] = 0
        monkeypatch.setattr(digits, "load", lambda altered=altered: (altered, labels))
        after = task("digits").batches(0, range(4), 64)[0]
        assert torch.equal(before, after) == same
    assert after.unique().numel() == 1


def test_no_held_out_digit_is_among_the_training_ones():
    images, _ = digits.load()
    seen = {hashlib.sha256(i.numpy().tobytes()).digest() for i in images[: digits.TRAINING]}
    twins = sum(hashlib.sha256(i.numpy().tobytes()).digest() in seen for i in images[digits.TRAINING :])
    assert twins == 0


def test_no_deformation_leaves_a_digit_as_it_was():
    grey = digits.load()[0][:5].to(torch.float32) / 255
    still = digits.deform(grey, torch.full((5, 5), 0.5, dtype=torch.float64), torch.zeros(5, 2, 8, 8))
    torch.testing.assert_close(still, grey, atol=1e-5, rtol=0)


def test_a_shift_moves_by_whole_pixels():
    grey = digits.load()[0][:5].to(torch.float32) / 255
    draws = torch.full((5, 5), 0.5, dtype=torch.float64)
    draws[:, 3] = 1.0  # read from two pixels to the right
    moved = digits.deform(grey, draws, torch.zeros(5, 2, 8, 8))
    torch.testing.assert_close(moved[:, :, :-2], grey[:, :, 2:], atol=1e-5, rtol=0)


def test_the_displacement_has_the_stated_size():
    spline = digits._spline()
    noise = torch.randn(4000, 8, 8, generator=torch.Generator().manual_seed(0))
    field = digits.DISPLACEMENT * (spline @ noise @ spline.T)
    assert field.pow(2).mean().sqrt() == pytest.approx(1.2, rel=0.02)


def test_digits8_is_the_same_stream_made_small():
    large, labels = task("digits").batch(5, 7, 12)
    small, same = task("digits8").batch(5, 7, 12)
    grey = (large * digits.STD + digits.MEAN).reshape(12, 28, 28)
    torch.testing.assert_close(small, digits.normalise(digits.pool(grey)).flatten(1))
    assert torch.equal(labels, same)


def test_pooled_means_blocks_of_a_padded_image():
    image = torch.zeros(1, 28, 28)
    image[0, 0, 0] = 16.0  # padded to (2, 2), in the first block
    image[0, 27, 2] = 16.0  # padded to (29, 4): last row of blocks, second column
    blocks = digits.pool(image)[0]
    assert blocks[0, 0] == 1 and blocks[7, 1] == 1 and blocks.sum() == 2


def test_the_analytic_targets():
    x, y = task("staircase").batch(0, 0, 200)
    torch.testing.assert_close(y[:, 0], x[:, 0] + x[:, 0] * x[:, 1] + x[:, 0] * x[:, 1] * x[:, 2])
    assert set(x.unique().tolist()) == {-1.0, 1.0}
    x, y = task("teacher").batches(0, range(40), 512)
    covariance = y.flatten(0, 1).T @ y.flatten(0, 1) / (40 * 512)
    torch.testing.assert_close(covariance, torch.diag(torch.tensor([16.0, 4.0, 1.0, 0.25])), atol=0.35, rtol=0)


def test_a_damaged_digit_file_is_refused(monkeypatch):
    monkeypatch.setattr(digits, "SHA256", "0" * 64)
    digits.load.cache_clear()
    try:
        with pytest.raises(RuntimeError, match=r"digits\.npz is damaged"):
            digits.load()
    finally:
        digits.load.cache_clear()


def spelled(window: torch.Tensor, label: torch.Tensor) -> str:
    """A sample of the text as letters."""
    one_hot = window.view(text.WINDOW, len(text.ALPHABET))
    assert torch.equal(one_hot.sum(dim=1), torch.ones(text.WINDOW)) and bool((one_hot.amax(dim=1) == 1).all())
    return "".join(text.ALPHABET[k] for k in [*one_hot.argmax(dim=1), label])


def test_samples_of_text_are_of_the_book_and_held_out_ones_are_of_its_end():
    book = "".join(text.ALPHABET[k] for k in text.load())
    assert book.startswith("alice s adventures in wonderland lewis carroll") and book.endswith(
        "happy summer days the end"
    )
    assert len(book) == 134_997 and "  " not in book
    split = round(len(book) * (1 - text.HELD_OUT))
    source = task("text")
    for part, (x, y) in {book[:split]: source.batch(3, 7, 200), book[split:]: source.test()}.items():
        assert all(spelled(window, label) in part for window, label in zip(x, y, strict=True))
    assert all(spelled(*sample) in book[split:] for sample in zip(*(p[:50] for p in source.unseen()), strict=True))
    x, y = text.windows(text.load(), torch.tensor([0, len(book) - text.WINDOW - 1]))
    assert [spelled(*sample) for sample in zip(x, y, strict=True)] == [
        book[: text.WINDOW + 1],
        book[-text.WINDOW - 1 :],
    ]


def test_the_fixed_text_is_the_same_at_every_step_and_its_own_probe_set():
    fixed = task("text_fixed")
    x, y = fixed.batches(3, range(4, 6), 20)
    assert torch.equal(x[0], x[1]) and torch.equal(y[0], fixed.batch(9, 0, 20)[1])
    assert torch.equal(x[0], fixed.probe(20)[0]) and torch.equal(y[0], fixed.probe(20)[1])
    assert torch.equal(x[0], fixed.probe(30)[0][:20]), "more samples are these and others"


def test_the_text_is_packed_as_letters_and_single_spaces(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("  CHAPTER I\r\n\r\nAlice, 2.9 times--`so' she said.\n")
    with np.load(io.BytesIO(text.pack(file))) as packed:
        letters = "".join(text.ALPHABET[k] for k in packed["characters"])
    assert letters == "chapter i alice times so she said"


def test_an_unknown_task_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown task 'mnits'.*digits8"):
        task("mnits")


def test_unseen_digits_come_from_the_held_out_ones(monkeypatch):
    """With the deformation switched off they are held-out digits, and the stream's are none of them."""
    images, _ = digits.load()
    held_out = {image.numpy().tobytes() for image in images[digits.TRAINING :]}
    drawn = []

    def undeformed(grey, affine, noise):
        drawn.extend((image * 255).round().to(torch.uint8).numpy().tobytes() for image in grey)
        return grey

    monkeypatch.setattr(digits, "deform", undeformed)
    x, labels = task("digits").unseen()
    unseen = set(drawn)
    assert x.shape == (8192, 784) and labels.shape == (8192,) and labels.unique().numel() == 10
    assert torch.equal(labels, task("digits8").unseen()[1])
    drawn.clear()
    task("digits").batch(0, 0, 512)
    assert unseen <= held_out and len(drawn) == 512 and not unseen & set(drawn)


def test_no_training_crop_shares_a_pixel_with_a_held_out_one(monkeypatch):
    """Blacken the held-out tiles: the stream does not change. Blacken the others: it turns black, whatever the photograph."""
    before = task("photos").batches(0, range(4), 64)[0]
    whole = {held_out: photos.tiles(held_out) for held_out in (False, True)}
    for black, same in ((True, True), (False, False)):
        altered = dict(whole)
        altered[black] = dataclasses.replace(whole[black], pixels=torch.zeros_like(whole[black].pixels))
        monkeypatch.setattr(photos, "tiles", altered.__getitem__)
        after = task("photos").batches(0, range(4), 64)[0]
        assert torch.equal(before, after) == same
    assert after.unflatten(-1, (3, -1)).unique(dim=-1).shape[-1] == 1


def test_tiles_and_crops_lie_where_they_are_said_to(monkeypatch):
    """Photographs whose pixels tell their own place: every tile is a whole one, and every crop inside one tile."""
    height, width = 200, 330  # 3 × 5 tiles, and something left over
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")

    def read(photo):
        return np.stack([y, x % 256, np.full_like(x, photos.PHOTOS.index(photo)) + 20 * (x // 256)], axis=-1).astype(
            np.uint8
        )

    monkeypatch.setattr(photos.Photo, "read", read)
    monkeypatch.setattr(photos, "tiles", photos.tiles.__wrapped__)
    seen = {}
    for held_out in (False, True):
        crops, labels = photos.stream(3, range(2), 400, "somewhere", False, held_out=held_out)
        mean, std = (torch.tensor(v)[:, None, None] for v in (photos.MEAN, photos.STD))
        pixels = ((crops.reshape(-1, 3, 32, 32) * std + mean) * 255).round().long()
        down, right, third = pixels.unbind(1)
        assert (third % 20 == labels.reshape(-1)[:, None, None]).all()
        right = right + 256 * (third // 20)
        for place in (down, right):
            start = place.amin((1, 2))
            assert (place.amax((1, 2)) == start + 31).all() and (start // 64 == (start + 31) // 64).all()
        seen[held_out] = {
            (r, c) for r, c in zip((down[:, 0, 0] // 64).tolist(), (right[:, 0, 0] // 64).tolist(), strict=True)
        }
    assert seen[True] == {(0, 0), (1, 2), (2, 4)}  # row + 2·column a multiple of 5
    assert seen[False] == {(r, c) for r in range(3) for c in range(5)} - seen[True]


def test_photos_are_centred_and_of_unit_variance_and_the_small_ones_are_their_means():
    large, labels = task("photos").batches(1, range(40), 64)
    small, same = task("photos16").batches(1, range(40), 64)
    colours = large.reshape(-1, 3, 32, 32)
    assert torch.equal(labels, same) and labels.flatten().bincount().min() > 0.7 * labels.numel() / 10
    assert (colours.mean((0, 2, 3)).abs() < 0.05).all() and ((colours.std((0, 2, 3)) - 1).abs() < 0.05).all()
    blocks = colours.unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean((3, 5))
    torch.testing.assert_close(small.reshape(-1, 3, 16, 16), blocks, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("missing", ["skimage", "sklearn", "PIL"])
def test_without_the_package_of_the_photographs_the_error_says_how_to_get_it(monkeypatch, missing):
    monkeypatch.setattr(photos, "find_spec", lambda name: None if name == missing else find_spec(name))
    if missing == "PIL":
        monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(RuntimeError, match=r"not installed: pip install 'pillow.*, or use task"):
        photos.tiles.__wrapped__(False)


def test_a_photograph_that_is_another_is_refused(monkeypatch):
    other = dataclasses.replace(photos.PHOTOS[0], sha256="0" * 64)
    with pytest.raises(
        RuntimeError, match=r"scikit-image's data/astronaut.png is not the photograph.*expected SHA-256"
    ):
        other.read()
    with pytest.raises(RuntimeError, match=r"found no such file"):
        dataclasses.replace(other, path="data/nobody.png").read()


@pytest.mark.slow
def test_digits_do_not_ask_for_the_photographs():
    """Nothing of pictures is imported by those who train on digits."""
    script = (
        "import sys, richness; richness.task('digits8').batch(0, 0, 4); "
        "print({'PIL', 'skimage', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
