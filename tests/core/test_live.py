"""One network, live: the same numbers as a sweep's, however its steps are cut, and as a schedule's where η is changed."""

from __future__ import annotations

import json
import math
import threading

import numpy as np
import pytest
import torch

from richness import sweep
from richness.networks import LOSSES
from richness.networks.parameterization import centre_output
from richness.runs.live import Live, live


def test_live_is_the_same_run(small):
    experiment = small(gammas=[3.0], etas=[0.1], probes=("sharpness", "accuracy"), probe_points=4)
    reports, runs = list(live(experiment)), sweep(experiment)
    assert [r["step"] for r in reports] == runs.step.values.tolist()
    np.testing.assert_allclose([r["loss"] for r in reports], runs.loss.values.ravel(), rtol=1e-4)
    sharp = np.array([np.nan if r["sharpness"] is None else r["sharpness"] for r in reports])
    np.testing.assert_allclose(sharp, runs.sharpness.values.ravel(), rtol=1e-4)


def test_live_says_when_it_diverges_and_stops_when_told(small):
    reports = list(live(small(gammas=[0.01], etas=[1e4])))
    assert reports[-1]["diverged"] and not any(r["diverged"] for r in reports[:-1])
    stop = threading.Event()
    seen = []
    for report in live(small(steps=5000), stop):
        seen.append(report["step"])
        if report["step"] >= 10:
            stop.set()
    assert seen[-1] < 50


def test_live_yields_the_probes_that_give_one_number(small):
    experiment = small(probes=("trace", "drift", "kernel_change"), probe_points=2, steps=6, gammas=[3.0], etas=[0.1])
    reports = list(live(experiment))
    assert set(reports[0]) == {"step", "loss", "sharpness", "accuracy", "trace", "kernel_change", "diverged"}
    runs = sweep(experiment)
    np.testing.assert_allclose(reports[-1]["trace"], float(runs.trace[0, 0, 0, -1]), rtol=1e-4)
    assert reports[0]["kernel_change"] == pytest.approx(0, abs=1e-6) and reports[-1]["sharpness"] is None


def taken(run: Live, losses: int) -> Live:
    """The run, gone on until so many losses are known, or it ends."""
    while len(run.record.losses) < losses and not run.ended:
        run.advance(losses - len(run.record.losses))
    return run


def by_hand(experiment, etas: list[float]) -> list[float]:
    """The losses of one network whose η is another at every step: plain autograd, one step after another."""
    network, source, (gamma,) = experiment.architecture, experiment.source, experiment.gammas
    start = [w[None] for w in network.initialise(0)]
    weights, losses = [w.clone().requires_grad_() for w in start], []
    for step, eta in enumerate(etas):
        x, y = source.batch(0, step, experiment.batch_size)
        x = x.double()
        with torch.no_grad():
            at_start = network.forward(start, x)
        loss = LOSSES[experiment.loss](centre_output(network.forward(weights, x), at_start, torch.tensor([gamma])), y)[
            0
        ]
        losses.append(loss.item())
        with torch.no_grad():
            for w, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                w -= experiment.width * eta * gradient
    return losses


@pytest.mark.parametrize("engine", ["auto", "fused", "autograd"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_another_eta_on_the_way_is_a_run_with_that_schedule(small, loss, engine):
    experiment = small(gammas=[2.0], etas=[0.1], steps=40, loss=loss, dtype="float64")
    run = Live(experiment, engine)
    taken(run, 13).change(0.4)
    taken(run, 14).change(0.02)
    taken(run, 100)
    etas = [0.1] * 13 + [0.4] + [0.02] * 27
    assert run.record.etas == etas
    np.testing.assert_allclose(run.record.losses, by_hand(experiment, etas), rtol=1e-9)
    assert json.loads(run.dataset().attrs["eta_changes"]) == [[13, 0.4], [14, 0.02]]


def test_an_eta_changed_before_the_first_step_is_told_too(small):
    run = Live(small(gammas=[2.0], etas=[0.1], steps=3))
    run.change(0.3)
    assert json.loads(taken(run, 4).dataset().attrs["eta_changes"]) == [[0, 0.3]]


@pytest.mark.parametrize("eta", [0.0, -1.0, math.nan, math.inf])
def test_an_eta_that_is_none_is_refused(small, eta):
    run = Live(small(gammas=[2.0], etas=[0.1]))
    with pytest.raises(ValueError, match="positive and finite"):
        run.change(eta)
    assert run.eta == 0.1


def test_how_its_steps_are_cut_changes_no_bit(small):
    experiment = small(gammas=[2.0], etas=[0.1], steps=75, probes=("sharpness",), probe_points=5)
    whole, cut = Live(experiment), Live(experiment)
    taken(whole, 1000)
    for most in [1, 5, 2, 31, 7] * 100:
        cut.advance(most)
    assert cut.ended and cut.advance(5) == 0
    assert cut.record.losses == whole.record.losses and len(whole.record.losses) == 76


def test_a_moment_is_measured_late_as_at_once(small):
    experiment = small(gammas=[2.0], etas=[0.1], steps=30, probes=("sharpness", "drift", "test_loss"), probe_points=4)
    run, moments = Live(experiment), []
    while not run.ended:
        if len(run.record.losses) in experiment.probed_steps:
            moments.append(run.moment())
        run.advance(1)
    for moment in reversed(moments):
        run.measure(moment)
    mine, swept = run.dataset(), sweep(experiment)
    for name in (*swept.data_vars, *swept.coords):
        np.testing.assert_array_equal(mine[name], swept[name], err_msg=name)
    assert set(mine.attrs) == set(swept.attrs) and mine.attrs["recipe_hash"] == swept.attrs["recipe_hash"]


def test_a_run_that_diverged_is_a_result_and_one_that_goes_on_is_none(small):
    experiment = small(gammas=[0.01], etas=[1e4], steps=50)
    run = Live(experiment)
    with pytest.raises(RuntimeError, match="step 0 of 50"):
        run.dataset()
    taken(run, 100)
    mine, swept = run.dataset(), sweep(experiment)
    assert run.record.died == mine.diverged_at.item() == swept.diverged_at.item() > 0
    np.testing.assert_array_equal(mine.loss, swept.loss)


@pytest.mark.parametrize(("task", "real"), [("digits8", False), ("teacher", True)])
def test_samples_are_of_the_batch_that_comes_next(small, task, real):
    experiment = small(gammas=[2.0], etas=[0.1], task=task, steps=9)
    run = Live(experiment)
    taken(run, 3)
    x, y = experiment.source.batch(0, 3, experiment.batch_size)
    shown = run.samples(5)
    np.testing.assert_array_equal(shown.inputs, x[:5])
    np.testing.assert_array_equal(shown.labels, y[:5, 0] if real else y[:5])
    assert shown.guesses.shape == (5,) and (shown.guesses.dtype == np.float32) == real
    before = list(run.record.losses)
    run.samples(12)
    again = taken(Live(experiment), 100)
    assert taken(run, 100).record.losses == again.record.losses and run.record.losses[:3] == before
    if not real:  # as it learns, it names more of them rightly than chance would
        seen = taken(Live(small(gammas=[1.0], etas=[4.0], steps=300, width=32, batch_size=64)), 301).samples(64)
        assert (seen.labels == seen.guesses).mean() > 0.5
