"""The store under fire: real processes killed, run two at once, out of disk; nothing lost, nothing twice, no bit changed."""

from __future__ import annotations

import errno
import hashlib
import io
import multiprocessing
import os
import random
import resource
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from richness import sweep
from richness.runs import shards, store
from richness.runs.execution import run_cells
from richness.runs.experiment import Experiment
from richness.runs.results import ResultError, read_sealed, save

# Children are forked from one clean process that has imported torch already: a start costs 50 ms, not 2 s.
forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(["richness.runs.sweep"])


@pytest.fixture
def grid(small, limit):
    """Two dtypes, two seeds; twelve shards."""
    limit(3)
    return small(gammas=[1e-4, 0.1, 10.0], etas="1e-8:1e2:6", seeds=[0, 2], steps=40, probes=("loss", "sharpness"),
                 probe_points=3)  # fmt: skip


@pytest.fixture
def limit(monkeypatch):
    """Sets how many cells a shard may have."""
    return lambda cells: monkeypatch.setitem(shards.LIMITS, "cpu", shards.Limit(cells, 1e18))


@pytest.fixture
def trained(monkeypatch):
    """The cells that are trained from now on, one entry each time."""
    cells: list[shards.Cell] = []
    run_shard = shards.run_shard

    def counted(recipe, shard, *rest):
        cells.extend((shard.seed, *cell) for cell in shard.cells)
        return run_shard(recipe, shard, *rest)

    monkeypatch.setattr(shards, "run_shard", counted)
    return cells


def same(a: xr.Dataset, b: xr.Dataset) -> bool:
    """The same bytes in every variable and coordinate; NaN equals NaN of the same bits."""
    return set(a.variables) == set(b.variables) and all(
        a[name].dims == b[name].dims and a[name].values.tobytes() == b[name].values.tobytes() for name in a.variables
    )


def in_store(folder: Path, experiment: Experiment) -> list[shards.Cell]:
    """The cells that a store holds, in whatever files."""
    cells: list[shards.Cell] = []
    for path in store.folder_of(folder, experiment).glob("shard-*.npz"):
        with np.load(path) as file:
            cells += [(int(file["seed"]), gamma, eta) for gamma, eta in file["cells"].tolist()]
    return cells


def child_sweep(recipe: str, folder: str, cells: int, begin=None, out: str | None = None, tell=None) -> None:
    """What a child process does: it waits for the others, sweeps, says a word whenever it has trained, and saves."""
    shards.LIMITS["cpu"] = shards.Limit(cells, 1e18)
    if begin:
        begin.wait(60)

    def trained(state) -> None:
        if tell and state.done > state.kept:
            tell.send_bytes(b".")

    runs = sweep(Experiment.model_validate_json(recipe), store=folder, progress=trained)
    if out:
        save(runs, out)


@pytest.mark.slow
def test_ten_kills_lose_nothing_and_repeat_nothing(grid, tmp_path, trained):
    undisturbed = sweep(grid)
    trained.clear()
    kept: dict[Path, tuple[int, bytes]] = {}
    exits = []
    for _ in range(10):
        heard, tell = forkserver.Pipe(duplex=False)
        child = forkserver.Process(
            target=child_sweep, args=(grid.model_dump_json(), str(tmp_path), 3), kwargs={"tell": tell}
        )
        child.start()
        tell.close()
        try:
            for _ in range(random.randint(1, 9)):  # some words a shard
                heard.recv_bytes()
        except EOFError:
            pass  # it was done already
        time.sleep(random.uniform(0, 0.02))
        child.kill()
        child.join()
        exits.append(child.exitcode)
        for path, (changed, content) in kept.items():
            assert (path.stat().st_mtime_ns, path.read_bytes()) == (changed, content), "a finished shard was touched"
        kept = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("shard-*.npz")}
    assert -9 in exits
    before = in_store(tmp_path, grid)
    assert len(before) == len(set(before)) > 0
    assert same(undisturbed, sweep(grid, store=tmp_path))
    assert sorted(before + trained) == sorted(shards.cells_of(grid))


@pytest.mark.slow
def test_two_sweeps_on_one_store_do_not_disturb_each_other(grid, tmp_path):
    begin = forkserver.Barrier(2)
    outs = [str(tmp_path / f"{size}.nc") for size in (3, 5)]
    children = [
        forkserver.Process(target=child_sweep, args=(grid.model_dump_json(), str(tmp_path), size, begin, out))
        for size, out in zip((3, 5), outs, strict=True)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    undisturbed = sweep(grid)
    for out in outs:
        whole = save(undisturbed, tmp_path / "undisturbed.nc")
        with xr.open_dataset(out) as a, xr.open_dataset(whole) as b:
            assert same(a.load(), b.load())
    assert set(in_store(tmp_path, grid)) == set(shards.cells_of(grid))
    for path in tmp_path.rglob("shard-*.npz"):
        read_sealed(path)


def child_runs_out_of_disk(recipe: str, folder: str, tell) -> None:
    """After two shards, no file may grow beyond 1 kB: the system's own answer, and one that needs no root."""
    shards.LIMITS["cpu"] = shards.Limit(3, 1e18)

    def fill(state) -> None:
        if state.cells == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    try:
        sweep(Experiment.model_validate_json(recipe), store=folder, progress=fill)
        tell.send("it finished")
    except ResultError as error:
        tell.send(str(error))


@pytest.mark.slow
def test_a_write_that_the_system_refuses_keeps_what_is_finished(grid, tmp_path, trained):
    heard, tell = forkserver.Pipe(duplex=False)
    child = forkserver.Process(target=child_runs_out_of_disk, args=(grid.model_dump_json(), str(tmp_path), tell))
    child.start()
    said = heard.recv()
    child.join()
    assert "cannot write" in said and "shard-" in said and "what was finished before is kept" in said
    left = [path.name for path in store.folder_of(tmp_path, grid).iterdir()]
    assert len(left) == 2 and all(name.startswith("shard-") for name in left), "no half-written file stays behind"
    assert same(sweep(grid, store=tmp_path), sweep(grid))
    assert len(trained) == 2 * 36 - 6


def test_a_full_disk_and_an_unwritable_store_are_sentences(grid, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultError, match="cannot write"):
        sweep(grid, store=tmp_path / "file" / "store")
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultError, match=r"cannot write .*No space left.*Free some space.*is kept"):
        sweep(grid, store=tmp_path)
    monkeypatch.undo()
    assert len(in_store(tmp_path, grid)) == 6


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["flipped", "cut", "empty"])
def test_a_damaged_shard_is_named_and_made_again(grid, tmp_path, trained, harm):
    undisturbed = sweep(grid, store=tmp_path)
    victim = sorted(tmp_path.rglob("*.npz"))[1]
    raw = bytearray(victim.read_bytes())
    raw[len(raw) // 2] ^= 4
    victim.write_bytes({"flipped": raw, "cut": raw[: len(raw) // 2], "empty": b""}[harm])
    trained.clear()
    with pytest.warns(UserWarning, match=victim.name):
        assert same(undisturbed, sweep(grid, store=tmp_path))
    assert len(trained) == 3
    read_sealed(victim)


def sealed(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    content = file.getvalue()
    return content + b"\nrichness-sha256:" + hashlib.sha256(content).hexdigest().encode() + b"\n"


@pytest.mark.parametrize("junk", ["sealed", "short", "strange", "objects", "folder", "link"])
def test_what_stands_in_a_shards_place_is_set_aside_named_and_made_again(small, tmp_path, trained, junk):
    """Sealed by anyone, or no file at all: both used to stop every later sweep until they were deleted by hand."""
    undisturbed = sweep(small(), store=tmp_path)
    (victim,) = list(tmp_path.rglob("shard-*.npz"))
    with np.load(victim) as file:
        whole = dict(file)
    victim.unlink()
    contents = {
        "sealed": sealed(x=np.zeros(3)), "short": sealed(**whole | {"loss": whole["loss"][:-1]}),
        "strange": sealed(**whole | {"late_loss": np.array(["a"] * len(whole["cells"]))}),
        "objects": sealed(**whole | {"device": np.array({}, dtype=object)}),
    }  # fmt: skip
    if junk == "folder":
        (victim / "inside").mkdir(parents=True)
    elif junk == "link":
        victim.symlink_to(tmp_path / "nowhere")
    else:
        victim.write_bytes(contents[junk])
    for _ in range(2):
        trained.clear()
        with pytest.warns(UserWarning, match=rf"{victim.name}.*set aside as .*damaged-0") if _ == 0 else nullcontext():
            assert same(undisturbed, sweep(small(), store=tmp_path))
        assert bool(trained) == (_ == 0)
    assert victim.is_file() and victim.with_name(f"{victim.name}.damaged-0").exists() == (junk != "link")


@pytest.mark.slow
def test_cut_another_way_every_finished_cell_is_used(grid, tmp_path, trained, limit):
    undisturbed = sweep(grid)
    for _ in zip(range(5), run_cells(grid, shards.cells_of(grid), store=tmp_path), strict=False):
        pass  # five shards, then the loop is broken off
    before = set(in_store(tmp_path, grid))
    assert 0 < len(before) < 36
    trained.clear()
    limit(100)
    assert same(undisturbed, sweep(grid, store=tmp_path))
    assert set(trained) == set(shards.cells_of(grid)) - before and len(trained) == len(set(trained))


def test_a_wider_grid_goes_on_from_a_narrower_one(small, tmp_path, trained):
    narrow, wide = small(), small(etas=[0.01, 0.02, 0.03, 0.1], seeds=[0, 1])
    sweep(narrow, store=tmp_path)
    trained.clear()
    assert same(sweep(wide, store=tmp_path), sweep(wide))
    assert sorted(trained[: len(trained) - 16]) == sorted(set(shards.cells_of(wide)) - set(shards.cells_of(narrow)))


@pytest.mark.parametrize("change", [{"steps": 49}, {"width": 16}, {"record_points": 20}, {"device": "cuda"}])
def test_other_networks_share_nothing(small, tmp_path, change):
    assert store.folder_of(tmp_path, small()) != store.folder_of(tmp_path, small(**change))


def test_cells_need_no_grid(small, tmp_path):
    """As a boundary search asks: values of its own, some of them known already."""
    experiment = small()
    cells = [(0, 0.3, 0.0123), (0, 2.7, 0.05), (5, 0.3, 0.0123), (0, 0.3, 0.01)]
    sweep(experiment, store=tmp_path)
    ticks: list[int] = []
    got = list(run_cells(experiment, [*cells, cells[0]], store=tmp_path, tick=ticks.append))
    seen = [(shard.seed, *cell) for shard, _ in got for cell in shard.cells]
    assert sorted(seen) == sorted(cells) and sum(ticks) == 3 * experiment.steps, "the fourth is in the store"
    for shard, arrays in got:
        for k, (gamma, eta) in enumerate(shard.cells):
            alone = sweep(small(gammas=[gamma], etas=[eta], seeds=[shard.seed]))
            assert np.float32(arrays["late_loss"][k]) == alone.late_loss.item()
            assert arrays["loss"].shape == (len(experiment.recorded_steps), len(shard.cells))
