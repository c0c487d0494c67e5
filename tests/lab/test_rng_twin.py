"""rng.js gives what rng.py gives: bits equal, normals to 1e-6; both the published Random123 vectors."""

from __future__ import annotations

import numpy as np
import pytest

from richness import rng

# Random123's kat_vectors, threefry2x32, 20 rounds: counter, key, answer.
PUBLISHED = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]
DRAWS = [(0, "digits/affine", 0, 7), (1, "batch", 731, 64), (2**32 - 1, "Größe γ", 2**32 - 1, 5), (7, "", 3, 1)]


@pytest.mark.parametrize(("counter", "key", "answer"), PUBLISHED)
def test_published_vectors(node, counter, key, answer):
    assert node("return rng.threefry2x32(args.key, args.counter)", key=key, counter=counter) == list(answer)


@pytest.mark.parametrize(("seed", "name", "step", "count"), DRAWS)
def test_bits_equal_torch(node, seed, name, step, count):
    got = node("return [...rng.bits(...args.draw)]", draw=[seed, name, step, count])
    assert got == rng.bits(seed, name, step, count).tolist()


@pytest.mark.parametrize(("seed", "name", "step", "count"), DRAWS)
def test_uniforms_equal_and_normals_agree(node, seed, name, step, count):
    body = "return [[...rng.uniforms(...args.draw)], [...rng.normals(...args.draw)]]"
    uniform, normal = node(body, draw=[seed, name, step, count])
    assert uniform == rng.uniforms(seed, name, step, count).tolist()
    np.testing.assert_allclose(normal, rng.normals(seed, name, step, count).numpy(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("high", [1, 10, 8000, 2**31])
def test_integers_equal_torch(node, high):
    got = node("return [...rng.integers(3, 'digits/which', 11, 64, args.high)]", high=high)
    assert got == rng.integers(3, "digits/which", 11, 64, high).tolist()


def test_a_bad_seed_is_refused(node):
    assert "seed must be an integer" in node("try { rng.bits(-1, 'x', 0, 1) } catch (e) { return e.message }")
