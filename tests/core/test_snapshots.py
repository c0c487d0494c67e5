"""Weights kept on the way: measured afterwards they give what was measured live, and a killed run goes on from them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import richness
from richness import Loop, load_weights, sweep
from richness.runs import shards
from richness.runs.results import ResultError, data_hash
from richness.runs.snapshots import Snapshots, count_bytes
from richness.runs.training import Trainer

forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(["richness.runs.sweep"])

pytestmark = pytest.mark.usefixtures("tidy_registries")


@pytest.fixture
def plane(small):
    """Two γ of one dtype, of which one η diverges on the way; sharpness at five steps."""
    return small(gammas=[0.3, 3.0], etas=[0.03, 0.3, 3.0, 3e3], steps=60, seeds=[0, 1], probes=("sharpness",),
                 probe_points=5, probe_samples=64)  # fmt: skip


@pytest.fixture
def steps_taken(monkeypatch):
    """The first step of every block that is trained from now on."""
    begun: list[int] = []
    start_on = Trainer.start_on

    def noted(self, block, prepared):
        begun.append(block.number)
        return start_on(self, block, prepared)

    monkeypatch.setattr(Trainer, "start_on", noted)
    return begun


def test_the_sharpness_of_kept_weights_is_the_one_measured_live(plane, tmp_path):
    probed = plane.probed_steps
    runs = sweep(plane, snapshots=probed, weights=tmp_path)
    for step in probed:
        for seed in plane.seeds:
            now = load_weights(tmp_path, step, seed=seed)
            found = richness.sharpness(now.loss, now.weights, tolerance=1e-6)
            live = [
                float(runs.sharpness.sel(gamma=gamma, eta=eta, seed=seed, step=step))
                for gamma, eta in zip(now.gamma.double().round(decimals=6).tolist(), now.eta.tolist(), strict=True)
            ]
            finite = np.isfinite(live) & (np.abs(live) < 1e3)
            assert finite.sum() >= 6
            np.testing.assert_allclose(found.numpy()[finite], np.array(live)[finite], rtol=1e-4, atol=1e-4)


def test_snapshots_change_neither_the_result_nor_the_recipe(plane, tmp_path):
    plain, kept = sweep(plane), sweep(plane, snapshots=[7, 60], weights=tmp_path)
    assert data_hash(plain) == data_hash(kept)
    assert plain.attrs["recipe"] == kept.attrs["recipe"] and plain.attrs["recipe_hash"] == kept.attrs["recipe_hash"]


def test_weights_are_the_trainers_own(small, tmp_path):
    experiment = small(gammas=[1.0], etas=[0.1], steps=20)
    sweep(experiment, snapshots=[20], weights=tmp_path)
    trainer = Trainer(experiment, 0, [(1.0, 0.1)])
    for step in range(20):
        trainer.update(step)
    now = load_weights(tmp_path, 20)
    assert all(torch.equal(a, b) for a, b in zip(now.weights, trainer.stack.weights, strict=True))
    (path,) = tmp_path.rglob("*.safetensors")
    assert sorted(load_file(path)) == ["diverged", "eta", "gamma", "weight.0", "weight.1", "weight.2"]


@pytest.mark.parametrize("changes", [
    {}, {"optimizer": "adam"}, {"activation": "mine", "optimizer": "momentum"}, {"gammas": [1e-4]},
    {"probes": ("sharpness", "movement")},
])  # fmt: skip
def test_a_run_that_was_broken_off_goes_on_with_the_same_bits(plane, tmp_path, monkeypatch, steps_taken, changes):
    richness.register_activation("mine", torch.sin)
    richness.register_probe("movement", lambda now: torch.stack([w.flatten(1).norm(dim=1) for w in now.weights], 1),
                            dims=("layer",))  # fmt: skip
    experiment = type(plane).model_validate(plane.model_dump() | {"width": 16, "seeds": (0,)} | changes)
    undisturbed = sweep(experiment)
    write = Snapshots.write_state

    def killed(self, seed, cells, state):
        write(self, seed, cells, state)
        if int(state["step"]) == 40:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Snapshots, "write_state", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep(experiment, snapshots=[0, 13, 40], weights=tmp_path)
    steps_taken.clear()
    told = []
    again = sweep(experiment, snapshots=[0, 13, 40], weights=tmp_path, progress=lambda state: told.append(state.done))
    assert min(steps_taken) == 40
    assert data_hash(again) == data_hash(undisturbed)
    assert told[-1] == len(experiment.cells()) * experiment.steps
    assert not list(tmp_path.rglob("*.state"))


def die_half_way(recipe: str, weights: str) -> None:
    """What a child process does: it is gone, without a word, right after the snapshot of step 30."""
    write = Snapshots.write_state

    def dying(self, seed, cells, state):
        write(self, seed, cells, state)
        if int(state["step"]) == 30:
            os._exit(9)

    Snapshots.write_state = dying  # type: ignore[method-assign]
    sweep(richness.Experiment.model_validate_json(recipe), snapshots=[10, 30], weights=weights)


@pytest.mark.slow
def test_a_killed_process_leaves_what_the_next_one_goes_on_from(small, tmp_path, steps_taken):
    experiment = small(gammas=[1.0], etas=[0.1], steps=60)
    child = forkserver.Process(target=die_half_way, args=(experiment.model_dump_json(), str(tmp_path)))
    child.start()
    child.join()
    assert child.exitcode == 9
    again = sweep(experiment, snapshots=[10, 30], weights=tmp_path)
    assert min(steps_taken) == 30
    assert data_hash(again) == data_hash(sweep(experiment))


def test_a_sweep_goes_on_though_its_shards_are_cut_otherwise_then(plane, tmp_path, monkeypatch, steps_taken):
    monkeypatch.setitem(shards.LIMITS, "cpu", shards.Limit(3, 1e18))
    write, kept = Snapshots.write_state, {"store": tmp_path / "store", "weights": tmp_path / "weights"}

    def killed(self, seed, cells, state):
        write(self, seed, cells, state)
        if seed == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Snapshots, "write_state", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep(plane, snapshots=[45], **kept)
    monkeypatch.setitem(shards.LIMITS, "cpu", shards.Limit(16, 1e18))
    steps_taken.clear()
    assert data_hash(sweep(plane, snapshots=[45], **kept)) == data_hash(sweep(plane))
    assert steps_taken[0] == 45


def test_workers_write_the_same_weights(plane, tmp_path):
    runs = [sweep(plane, snapshots=[30], weights=tmp_path / "alone")]
    with ThreadPoolExecutor(2) as executor:
        runs.append(sweep(plane, executor, snapshots=[30], weights=tmp_path / "two"))
    assert data_hash(runs[0]) == data_hash(runs[1])
    for seed in plane.seeds:
        alone, two = (load_weights(tmp_path / name, 30, seed=seed) for name in ("alone", "two"))
        assert all(torch.equal(a, b) for a, b in zip(alone.weights, two.weights, strict=True))


def test_cells_of_a_store_whose_weights_are_not_there_are_trained_again(small, tmp_path, steps_taken):
    experiment, store = small(etas=[0.1, 1e6], gammas=[1.0]), tmp_path / "store"
    sweep(experiment, store=store)
    steps_taken.clear()
    kept = sweep(experiment, store=store, snapshots=[0, 50], weights=tmp_path / "weights")
    assert steps_taken and kept.status.values.ravel().tolist() == [0, 1]
    steps_taken.clear()
    sweep(experiment, store=store, snapshots=[0, 50], weights=tmp_path / "weights")
    assert not steps_taken


def test_what_is_not_there_is_said(small, tmp_path):
    experiment = small(gammas=[1e-4, 1.0], etas=[1e-9, 0.1, 1e6], seeds=[0, 1])
    sweep(experiment, snapshots=[0, 50], weights=tmp_path)
    for asked, error, words in [
        ({"step": 7}, ResultError, "no weights of step 7 .* it has 0, 50"),
        ({"step": 50, "gamma": 1.0, "eta": 1e6}, ResultError, "all of them had diverged"),
        ({"step": 50, "gamma": 2.0}, ResultError, "there are γ = 0.0001, 1 and η = 1e-09, 0.1"),
        ({"step": 50, "gamma": 1.0}, ValueError, "seeds 0, 1: choose one"),
        ({"step": 0, "seed": 1}, ValueError, "float32 and in float64"),
    ]:
        with pytest.raises(error, match=words):
            load_weights(tmp_path, **asked)
    now = load_weights(tmp_path, 50, gamma=[1.0], seed=1)
    assert now.eta.tolist() == [1e-9, 0.1] and (now.seed, now.step) == (1, 50)
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ResultError, match="no whole file of weights"):
        load_weights(tmp_path, 50)


def test_steps_that_are_none_are_refused(small, tmp_path, monkeypatch):
    experiment = small()
    for steps, words in [
        ([-1], "from 0 to 50, the last, got -1"), ([0, 51], "got 51"), ([1.5], r"whole numbers .* got 1\.5"),
        ([True], "got True"), (["x"], "got 'x'"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"snapshots: .*{words}"):
            sweep(experiment, snapshots=steps, weights=tmp_path)
    with pytest.raises(ValueError, match="snapshots: expected where they go"):
        sweep(experiment, snapshots=[0])
    with pytest.raises(ValueError, match="snapshots: expected at which steps"):
        sweep(experiment, weights=tmp_path)

    def losses(gamma, eta, seed):
        return [1.0, 0.5]

    with pytest.raises(ValueError, match=r"the loop 'losses_.* keeps its weights to itself"):
        sweep(Loop.of(losses, [1.0], [0.1]), snapshots=[0], weights=tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(ResultError, match=r"snapshots take about .* kB, and .* has 1 bytes free"):
        sweep(experiment, snapshots=[0], weights=tmp_path)


def test_the_bytes_said_before_are_no_less_than_those_taken(plane, tmp_path):
    sweep(plane, snapshots=[0, 30], weights=tmp_path)
    taken = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert taken <= count_bytes(plane, [0, 30]) + 4 * 4096 <= 3 * taken
