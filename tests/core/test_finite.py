"""Finite sets of a reader's own: an epoch has every sample once, a batch is a function of (seed, step), a part is held out."""

from __future__ import annotations

import itertools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import richness
from richness import sweep
from richness.data import TASKS
from richness.plots.captions import conditions

pytestmark = pytest.mark.usefixtures("tidy_registries")


def numbered(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples known by their number, of two classes."""
    return np.arange(count, dtype=np.float64)[:, None].repeat(3, axis=1), np.arange(count) % 2


@pytest.mark.slow
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(2, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 5), first=st.integers(0, 9))
def test_every_epoch_has_every_sample_once(count, batch_size, seed, first):
    richness.register_data("mine", *numbered(count), held_out=numbered(3), outputs=2)
    task = TASKS["mine"]
    x, y = task.batches(seed, range(200), batch_size)
    row = x[..., 0].flatten().long()
    assert torch.equal(y.flatten(), row % 2)
    epochs = [row[k : k + count] for k in range(0, len(row) - count + 1, count)]
    assert all(torch.equal(epoch.sort().values, torch.arange(count)) for epoch in epochs)
    if count > 12:
        assert all(not torch.equal(one, other) for one, other in itertools.pairwise(epochs[:5]))
        assert not torch.equal(task.batches(seed + 1, range(200), batch_size)[0], x)
    assert torch.equal(task.batches(seed, range(first, first + 3), batch_size)[0], x[first : first + 3])


def test_what_is_held_out_is_never_trained_on(small):
    richness.register_data("mine", *numbered(100), held_out=0.2)
    task = TASKS["mine"]
    seen = set(task.batches(0, range(50), 16)[0].unique().tolist())
    held = set(task.test()[0].unique().tolist())
    assert len(held) == 20 and seen == set(range(100)) - held and set(task.unseen()[0].unique().tolist()) == held
    assert set(task.probe(500)[0].unique().tolist()) == seen


class Pairs(Dataset):
    def __init__(self, noise=0.0):
        self.noise = noise

    def __len__(self):
        return 30

    def __getitem__(self, k):
        return torch.full((2, 4), float(k)) + self.noise * torch.rand(2, 4), k % 3


@pytest.mark.parametrize("kind", ["arrays", "lists", "tensors", "TensorDataset", "Dataset"])
def test_any_kind_of_samples_is_the_same_task(small, kind):
    x, y = np.stack([np.full((2, 4), float(k)) for k in range(30)]), np.arange(30) % 3
    given_ = {
        "arrays": (x, y.astype(np.uint8)), "lists": (x.tolist(), y.tolist()), "tensors": (torch.tensor(x), torch.tensor(y)),
        "TensorDataset": (TensorDataset(torch.tensor(x), torch.tensor(y)),), "Dataset": (Pairs(),),
    }[kind]  # fmt: skip
    richness.register_data("mine", *given_)
    task = TASKS["mine"]
    assert (task.inputs, task.outputs, task.classification, task.epoch) == (8, 3, True, 27)
    richness.register_data("mine", x, y)
    assert torch.equal(TASKS["mine"].batches(3, range(9), 5)[0], task.batches(3, range(9), 5)[0])


def test_it_is_swept_and_other_samples_are_another_recipe(small, tmp_path):
    losses, prints = [], set()
    for shift in (0.0, 1.0):
        x = np.random.default_rng(0).normal(size=(200, 5)) + shift
        richness.register_data("mine", x, x[:, :2], about="two of five")
        experiment = small(task="mine", steps=40)
        runs = sweep(experiment, store=tmp_path)
        losses.append(runs.loss)
        prints.add(runs.recipe_hash)
    assert len(prints) == 2 and not losses[0].equals(losses[1])
    assert float(runs.late_loss.min()) < 0.9 * float(runs.initial_loss.max())
    assert "samples of 180, in epochs, every step" in conditions(runs)


@pytest.mark.slow
def test_workers_have_the_samples(small):
    richness.register_data("mine", *numbered(100))
    experiment = small(task="mine", steps=5, loss="cross_entropy", probes=["accuracy"])
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert sweep(experiment, executor=pool).equals(sweep(experiment))


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2), 0


@pytest.mark.parametrize(
    ("given_", "error", "words"),
    [
        ((np.zeros((4, 2)), np.zeros(5)), ValueError, "as many targets as inputs"),
        ((np.full((4, 2), np.nan), np.zeros(4)), ValueError, "not finite"),
        ((np.zeros((4, 2)), np.array([0, 1, -1, 0])), ValueError, "labels must be from 0 to 1"),
        ((np.zeros((4, 2)),), TypeError, "a Dataset with a length is expected, got ndarray"),
        ((Endless(),), TypeError, "a Dataset with a length is expected, got Endless"),
        ((Pairs(noise=1.0),), ValueError, "another at a second look: leave random transforms out"),
        (("tree", "house"), TypeError, "expected an array, a tensor or a Dataset with a length, got str"),
        ((np.zeros((4, 2)), np.zeros(4), 1.5), ValueError, "leaves samples on both sides, got 1.5 of 4"),
    ],
    ids=["targets", "numbers", "labels", "array", "endless", "noisy", "text", "share"],
)
def test_what_does_not_fit_is_told_so(given_, error, words):
    samples, more = given_[:2], {"held_out": given_[2]} if len(given_) > 2 else {"held_out": 0.25}
    with pytest.raises(error, match=words):
        richness.register_data("mine", *samples, **more)
    assert "mine" not in TASKS
