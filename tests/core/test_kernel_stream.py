"""The kernel's streams are those of richness.rng and richness.data: words to the bit, normals to 1e-14, batches as told."""

from __future__ import annotations

import ctypes

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from richness import rng
from richness.data import TASKS, digits
from richness.kernel import compiler
from richness.kernel.layout import TASK_CODES

if compiler.library() is None:
    pytest.skip(f"no kernel here: {compiler.reason()}", allow_module_level=True)

WORD = st.integers(0, 2**32 - 1)
# Random123's kat_vectors, threefry2x32, 20 rounds, of counter (0, step) for once: key, step, answer.
PUBLISHED = (0x00000000, 0x00000000, 0, (0x6B200159, 0x99BA4EFE))


def call(door: str, *arguments: object) -> None:
    passed = [ctypes.c_void_p(one.data_ptr()) if isinstance(one, Tensor) else one for one in arguments]
    getattr(compiler.library(), door)(*passed)


def words(seed: int, name: int, step: int, pairs: int) -> Tensor:
    """(pairs, 2), int64."""
    found = torch.empty(2, pairs, dtype=torch.int32)
    u32 = ctypes.c_uint32
    call("words", u32(seed), u32(name), u32(step), ctypes.c_int64(pairs), found[0], found[1])
    return found.T.to(torch.int64) & 0xFFFFFFFF


def batch(task: str, part: str, seed: int, step: int, count: int) -> tuple[Tensor, Tensor]:
    about, images = TASKS[task], digits.load()
    raw = torch.cat([images[0].flatten(), images[1].to(torch.uint8)])
    x, y = torch.empty(count, about.inputs), torch.empty(count, about.outputs)
    when = ctypes.c_uint32(seed), ctypes.c_uint32(step), ctypes.c_int64(count)
    call("batch", TASK_CODES[task], part.encode(), *when, raw, x, y)
    return x, y


def test_the_published_vector():
    seed, name, step, answer = PUBLISHED
    assert tuple(words(seed, name, step, 1)[0].tolist()) == answer


@given(seed=WORD, name=st.text(min_size=1), step=WORD, pairs=st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_words_are_torchs(seed, name, step, pairs):
    assert torch.equal(words(seed, rng.hash_name(name), step, pairs).flatten(), rng.bits(seed, name, step, 2 * pairs))


@given(seed=WORD, step=WORD, count=st.integers(1, 1000))
@settings(max_examples=50, deadline=None)
def test_normals_are_torchs(seed, step, count):
    found = torch.empty(count, dtype=torch.float64)
    name = ctypes.c_uint32(rng.hash_name("some/name"))
    call("normals", ctypes.c_uint32(seed), name, ctypes.c_uint32(step), ctypes.c_int64(count), found)
    torch.testing.assert_close(found, rng.normals(seed, "some/name", step, count), atol=1e-14, rtol=0)


@pytest.mark.parametrize("task", TASK_CODES)
@pytest.mark.parametrize(
    ("part", "seed", "step", "count"), [("train", 7, 731, 65), ("train", 2**32 - 1, 0, 1), ("probe", 0, 0, 300)]
)
def test_batches_are_the_tasks(task, part, seed, step, count):
    """Classes to the bit; inputs to the last place of float32 where no image is bent, else as stream.h says."""
    x, y = batch(task, part, seed, step, count)
    about = TASKS[task]
    wanted, targets = about.batch(seed, step, count) if part == "train" else about.probe(count)
    tolerance = {"digits": 2e-5, "digits8": 2e-6}.get(task, 1e-6)
    torch.testing.assert_close(x, wanted, atol=tolerance, rtol=0)
    if about.classification:
        assert torch.equal(y, torch.nn.functional.one_hot(targets, about.outputs).float())
    else:
        torch.testing.assert_close(y, targets, atol=5e-6, rtol=0)


@pytest.mark.parametrize("small", [False, True])
def test_held_out_digits_are_the_librarys(small):
    images, labels = digits.load()
    x, y = torch.empty(2000, 64 if small else 784), torch.empty(2000, 10)
    call("held_out", torch.cat([images.flatten(), labels.to(torch.uint8)]), int(small), x, y)
    wanted, classes = digits.held_out(small)
    torch.testing.assert_close(x, wanted, atol=1e-6, rtol=0)
    assert torch.equal(y.argmax(dim=1), classes)
