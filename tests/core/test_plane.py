"""A reader's own loop on the plane: the same result as a sweep's, resumed, searched, saved and drawn like one."""

from __future__ import annotations

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch

import richness
from richness.analysis import boundaries
from richness.networks.parameterization import natural_eta
from richness.runs.results import ResultError, recipe_fields, recipe_of
from richness.studies.portrait import figures

pytestmark = pytest.mark.usefixtures("tidy_registries")
GAMMAS, ETAS = [0.1, 1.0, 10.0], "1e-4:1e3:15"
STEPS = 60


def bowl(gamma, eta, seed):
    """Losses whose boundaries are known: learned from 0.05 to 10 natural η, dead up to 40, and diverging above."""
    place = eta / float(natural_eta(gamma, 3)) / (1 + 0.1 * seed)
    yield 1.0
    for step in range(STEPS):
        if place > 40 and step > 30:
            yield math.nan
        yield 0.3 if 0.05 < place < 10 else 1.0 if place > 10 else 0.95


def listed(gamma, eta, seed):
    return torch.tensor([value for _, value in zip(range(STEPS + 1), bowl(gamma, eta, seed), strict=False)])


def test_it_is_the_sweep_of_the_same_losses(small):
    """The package's own training, written as a reader's loop, gives the package's own result."""
    experiment = small(dtype="float64", steps=40, seeds=[0, 1], budgets=(10,), etas=[0.01, 0.1, 1e3])

    def run(gamma, eta, seed):
        return richness.train(experiment, seed, [(gamma, eta)]).loss[:, 0]

    axes = experiment.gammas, experiment.etas, experiment.seeds
    found, expected = richness.plane(run, *axes, budgets=(10,), width=12), richness.sweep(experiment)
    assert (expected.status == 1).any() and (expected.status == 0).any()
    assert found.drop_vars("precision").equals(expected.drop_vars("precision"))
    assert found.loss.attrs == expected.loss.attrs and set(expected.attrs) == set(found.attrs)


@pytest.mark.parametrize("run", [bowl, listed])
def test_boundaries_are_where_the_loop_has_them(run):
    runs = richness.plane(run, GAMMAS, "1e-5:1e4:60", [0, 1], depth=3)
    natural = np.array([[natural_eta(g, 3) * (1 + 0.1 * s) for s in (0, 1)] for g in GAMMAS])
    for measure, place in ((boundaries.eta_max, 10), (lambda r: boundaries.eta_min(r).isel(budget=0), 0.05)):
        np.testing.assert_allclose(measure(runs) / natural, place, rtol=0.25)
    assert (runs.status == 1).any() and runs.diverged_at.max() == 32


def test_a_search_finds_the_same_boundaries_with_fewer_runs():
    gammas = np.geomspace(0.01, 100, 9)
    runs = richness.search(richness.Loop.of(bowl, gammas, [1e-8, 1e6], [0]), ["eta_max", "eta_min"])
    natural = natural_eta(gammas, 3)
    np.testing.assert_allclose(boundaries.eta_max(runs)[:, 0] / natural, 10, rtol=0.12)
    np.testing.assert_allclose(boundaries.eta_min(runs)[:, 0, 0] / natural, 0.05, rtol=0.12)
    assert runs.cells_run < runs.cells_full_grid / 6


def test_it_goes_on_from_its_store(tmp_path):
    """After a failure in the middle, with the list that the runs write to as part of what the function reaches."""
    calls: list = []

    def run(gamma, eta, seed):
        calls.append((gamma, eta, seed))
        if len(calls) == 20:
            raise OSError("the disk is gone")
        return list(bowl(gamma, eta, seed))[: STEPS + 1]

    with pytest.raises(
        ResultError, match=r"cannot be trained \(OSError: the disk is gone\); finished shards are kept in"
    ):
        richness.plane(run, GAMMAS, ETAS, [0, 1], store=tmp_path)
    runs = richness.plane(run, GAMMAS, ETAS, [0, 1], store=tmp_path)
    assert len(calls) == 91 and len(set(calls)) == 90, "the one that failed, twice"
    assert richness.plane(run, GAMMAS, ETAS, [0, 1], store=tmp_path).equals(runs) and len(calls) == 91
    richness.plane(run, GAMMAS, ETAS, [0, 1, 2], store=tmp_path)
    assert len(calls) == 91 + 45, "a wider grid shares its cells"


def test_another_loop_is_not_taken_for_it(tmp_path):
    losses = []
    for factor in (1.0, 2.0):

        def run(gamma, eta, seed):
            return [factor * loss for loss in listed(gamma, eta, seed)]  # noqa: B023

        losses.append(richness.plane(run, [1.0], [0.1, 0.2], store=tmp_path).loss)
    np.testing.assert_allclose(losses[1], 2 * losses[0])


def test_what_a_reader_changes_between_planes_is_seen(tmp_path):
    how = {"factor": 1.0}

    def run(gamma, eta, seed):
        return [how["factor"] * loss for loss in listed(gamma, eta, seed)]

    first = richness.plane(run, [1.0], [0.1, 0.2], store=tmp_path)
    how["factor"] = 3.0
    np.testing.assert_allclose(richness.plane(run, [1.0], [0.1, 0.2], store=tmp_path).loss, 3 * first.loss)


def test_without_a_store_no_run_is_made_twice():
    calls: list = []

    def run(gamma, eta, seed):
        calls.append((gamma, eta, seed))
        return listed(gamma, eta, seed)

    richness.plane(run, GAMMAS, ETAS)
    assert len(calls) == len(set(calls)) == 45


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_any_executor_runs_it(kind):
    def run(gamma, eta, seed):
        return [value for _, value in zip(range(STEPS + 1), bowl(gamma, eta, seed), strict=False)]

    context = multiprocessing.get_context("spawn")
    pool = ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(2, context)
    with pool:
        assert richness.plane(run, GAMMAS, ETAS, executor=pool).equals(richness.plane(run, GAMMAS, ETAS))


def test_it_is_saved_read_and_drawn(tmp_path, monkeypatch):
    runs = richness.plane(bowl, np.geomspace(0.01, 100, 9), "1e-7:1e4:60", [0, 1], name="mine", network="tree")
    again = richness.read(richness.save(runs, tmp_path / "mine.nc"))
    assert again.identical(runs) and recipe_fields(again)["network"] == "tree"
    from richness.runs.experiment import LOOPS

    monkeypatch.setattr(LOOPS, "_added", {})
    LOOPS.clear()
    assert richness.read(tmp_path / "mine.nc").identical(runs), "the function is needed to run it, not to read it"
    caption = str(figures.portrait(again).caption)
    assert "a loop of the reader's own, mine_" in caption and "network tree" in caption and "relu" not in caption
    with pytest.raises(ResultError, match=r"the loop 'mine_.* is not here: .* richness\.Loop\.of"):
        richness.sweep(recipe_of(again))


@pytest.mark.parametrize(
    ("run", "error", "words"),
    [
        (lambda g, e, s: 3.0, ResultError, "must give losses one by one, got float"),
        (lambda g, e, s: [1.0], ResultError, "two losses or more are needed, got 1"),
        (lambda g, e, s: [], ResultError, "two losses or more are needed, got 0"),
        (lambda g, e, s: [1.0, "x"], ResultError, "could not convert string to float: 'x'"),
        (lambda g, e, s: [1.0] * (5 + (e > 0.15)), ValueError, "one run gave 6 losses and another 5: all must give as many"),
        (lambda g, e, s: [1.0, math.inf], ValueError, "every run diverged, .* give steps="),
        (3, TypeError, r"a loop is a function \(gamma, eta, seed\) -> losses, got int"),
    ],
)  # fmt: skip
def test_what_is_no_loop_is_told_so(run, error, words):
    with pytest.raises(error, match=words):
        richness.plane(run, [1.0], [0.1, 0.2])


def test_what_cannot_be_probed_or_is_unknown_is_told_so():
    for fields, words in (
        ({"probes": ["sharpness"]}, "a loop gives its losses alone"),
        ({"optimizer": "lamb"}, "unknown optimizer 'lamb'"),
        ({"budgets": (100,), "steps": 50}, "budgets must not exceed the 50 steps"),
        ({"dtype": "half"}, "float32 or float64"),
    ):
        with pytest.raises(ValueError, match=words):
            richness.plane(bowl, [1.0], [0.1], **fields)
