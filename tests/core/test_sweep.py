from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from alike import equal

from richness import sweep
from richness.analysis import boundaries
from richness.runs import progress, shards
from richness.runs.description import Measurement, log_steps
from richness.runs.experiment import Experiment, late_window
from richness.runs.recipes import all_recipes, recipe
from richness.runs.results import ResultError


@pytest.fixture
def grid(small, monkeypatch):
    """Two dtypes, two seeds, several shards."""
    monkeypatch.setitem(shards.LIMITS, "cpu", shards.Limit(4, 1e18))
    return small(
        gammas=[1e-4, 0.1, 10.0], etas="1e-8:1e2:6", seeds=[0, 2], steps=40, probes=("sharpness",), probe_points=3
    )


def test_shards_cover_every_cell_once(grid):
    pieces = shards.cut_shards(grid, shards.cells_of(grid))
    cells = [(s.seed, *c) for s in pieces for c in s.cells]
    assert len(cells) == len(set(cells)) == 2 * len(grid.cells())
    assert len({s.name for s in pieces}) == len(pieces)


@pytest.mark.slow
def test_shard_size_and_executor_change_nothing(grid, monkeypatch):
    here = sweep(grid)
    with ThreadPoolExecutor(2) as executor:
        assert equal(here, sweep(grid, executor))
    monkeypatch.setitem(shards.LIMITS, "cpu", shards.Limit(100, 1e18))
    assert equal(here, sweep(grid))


def test_each_cell_is_its_own_sweep(small):
    whole = sweep(small(seeds=[0, 1]))
    for gamma in whole.gamma.values:
        for eta in whole.eta.values:
            one = sweep(small(gammas=[gamma], etas=[eta], seeds=[1]))
            assert one.loss.values.ravel().tolist() == whole.loss.sel(gamma=gamma, eta=eta, seed=1).values.tolist()


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_from_its_store(grid, tmp_path, monkeypatch):
    undisturbed, run_shard, calls = sweep(grid), shards.run_shard, []

    def fails(recipe, shard, *rest):
        calls.append(shard.name)
        if len(calls) == 4:
            raise ValueError("an odd cell")
        return run_shard(recipe, shard, *rest)

    monkeypatch.setattr(shards, "run_shard", fails)
    with pytest.raises(ResultError, match=r"shard-\d.*cannot be trained.*an odd cell"):
        sweep(grid, store=tmp_path)
    resumed = sweep(grid, store=tmp_path)
    assert equal(undisturbed, resumed)
    assert sorted(calls) == sorted(
        [s.name for s in shards.cut_shards(grid, shards.cells_of(grid))] + [calls[3]]
    )  # nothing twice


def test_progress_ends_at_the_whole_and_can_be_a_bar(grid, capsys):
    seen = []
    sweep(grid, progress=lambda p: seen.append((p.done, p.total, p.cells)))
    assert seen[-1] == (36 * 40, 36 * 40, 36)
    assert [d for d, _, _ in seen] == sorted(d for d, _, _ in seen)
    sweep(grid, progress=True)
    assert "diverged" in capsys.readouterr().err


def test_the_hash_is_of_the_recipe_whatever_its_grids_are_given_as_and_not_of_the_device(small):
    plain = small(gammas=[1.0, 2.0], seeds=[0, 1])
    assert small(gammas=np.array([1.0, 2.0]), seeds=range(2)).hash == plain.hash
    assert small(gammas=(np.float32(1), 2), seeds=np.arange(2)).hash == plain.hash
    assert small(gammas="1:2:2", seeds=[np.int64(0), 1]).hash == plain.hash
    assert small(gammas="2 1", seeds=[0, 1]).hash == small(gammas=" 1 2 ", seeds=[0, 1]).hash == plain.hash
    assert small(gammas=["0.5 1:4:3"]).gammas == (0.5, 1, 2, 4)

    assert small().hash == small(device="cuda").hash != small(steps=51).hash
    assert small(gammas=["3e-1", 3]).hash == small(gammas=[3.0, 0.3]).hash


def test_log_steps_and_late_windows():
    assert log_steps(1000, 40)[0] == 0 and log_steps(1000, 40)[-1] == 1000
    assert log_steps(1, 40) == [0, 1] and log_steps(3, 40) == [0, 1, 2, 3]
    assert list(range(1001))[late_window(1000)] == list(range(901, 1001))
    assert list(range(8))[late_window(7)] == [7]


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_recipes_are_valid(scale):
    refused = {}
    for name in all_recipes():
        try:
            made = recipe(name, scale)
        except Exception as error:  # whatever it is: every recipe that fails is named
            refused[name] = repr(error)
        else:
            if not isinstance(made, Experiment | Measurement):
                refused[name] = f"it is {type(made).__name__}"
    assert refused == {}


def test_the_headline_recipe_keeps_what_it_promises():
    """≥ 4 γ and ≥ 8 η a decade, incommensurate; three seeds; three budgets."""
    experiment = recipe("phase_portrait_mlp3_mse", "laptop")
    gamma, eta = (np.diff(np.log10(v)) for v in (experiment.gammas, experiment.etas))
    assert (gamma < 0.2501).all() and (eta < 0.125).all()
    assert abs(gamma[0] / eta[0] - round(gamma[0] / eta[0])) > 0.01
    assert len(experiment.seeds) == 3 and len(experiment.all_budgets) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("gammas", "slope"), [("1e-4:3e-3:7", 2.0), ("1:1e2:9", 2 / 3)])
def test_exponents_of_a_small_sweep(gammas, slope):
    """η_max of a quick depth-3 sweep on `digits8` lies in the bands of slopes seen before: 2.0 ± .06 and 2/3 ± .08."""
    from richness.runs.grids import eta_axis

    runs = sweep(
        Experiment(
            width=32, task="digits8", steps=300, batch_size=64, gammas=gammas, etas=eta_axis(1e-9, 1e4, 4), seeds=[0, 1],
            band=(1.0, 500.0),
        )
    )  # fmt: skip
    window = (runs.gamma.values[0] * 0.99, runs.gamma.values[-1] * 1.01)
    fit = boundaries.fit(boundaries.eta_max(runs), window)
    assert abs(fit.slope - slope) < (0.06 if slope == 2 else 0.08), fit


@pytest.mark.parametrize(
    ("terminal", "kernel", "book", "drawn"),
    [(True, False, False, True), (False, True, False, True), (False, False, False, False), (True, True, True, False)],
)
def test_a_bar_is_drawn_where_someone_looks(grid, monkeypatch, terminal, kernel, book, drawn):
    """On a terminal and in a notebook that is open; not in a log, a build or a rerun."""
    bars = []
    monkeypatch.setattr(progress, "progress_bar", lambda **_: bars.append(1) or (lambda state: None))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: terminal, write=lambda _: 0, flush=lambda: None))
    shell = SimpleNamespace(kernel=1) if kernel else SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setenv("RICHNESS_BOOK", "1" if book else "")
    sweep(grid)
    sweep(grid, progress=False)
    assert bars == [1] * drawn
    with pytest.raises(TypeError, match="progress: expected a function"):
        sweep(grid, progress=3)


@pytest.mark.parametrize("store", [True, False])
def test_a_sweep_stopped_by_hand_says_how_to_go_on(grid, monkeypatch, tmp_path, store):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "run_shard", stopped)
    with pytest.raises(KeyboardInterrupt) as stop:
        sweep(grid, store=tmp_path if store else None)
    (note,) = stop.value.__notes__
    assert (f"kept in {tmp_path}" in note and "run the same command again" in note) if store else "store=" in note
