from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from richness import rng

# Random123's known answers for threefry2x32, 20 rounds: (counter, key) -> output.
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_published_vectors(counter, key, expected):
    words = rng.threefry2x32(key, torch.tensor(counter[0]), torch.tensor(counter[1]))
    assert tuple(int(w) for w in words) == expected


def test_hash_is_fnv1a():
    assert rng.hash_name("") == 0x811C9DC5
    assert rng.hash_name("a") == 0xE40C292C
    assert rng.hash_name("foobar") == 0xBF9CF968


def test_random_access_and_longer_draws_begin_like_shorter_ones():
    block = rng.normals(3, "x", range(5, 9), 7)
    assert block.shape == (4, 7)
    for row, step in enumerate(range(5, 9)):
        assert torch.equal(block[row], rng.normals(3, "x", step, 7))
    assert torch.equal(rng.bits(1, "x", 0, 5), rng.bits(1, "x", 0, 64)[:5])


def test_seed_name_and_step_all_matter():
    draws = [rng.bits(*key, 8) for key in ((0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1))]
    assert len({tuple(d.tolist()) for d in draws}) == 4


@pytest.mark.parametrize("step", [0, 17])
def test_distributions(step):
    assert stats.kstest(rng.uniforms(0, "u", step, 20_001).numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(rng.normals(0, "n", step, 20_001).numpy(), "norm").pvalue > 1e-3
    counts = np.bincount(rng.integers(0, "i", step, 70_000, 7).numpy(), minlength=7)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_uniforms_never_reach_the_ends():
    draws = rng.uniforms(0, "ends", 0, 100_000)
    assert draws.min() > 0 and draws.max() < 1


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="seed must be"):
        rng.bits(seed, "x", 0, 2)
