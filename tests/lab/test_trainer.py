"""The thread: latest wins, it is steered while it trains, errors surface, a divergence says where, closing stops."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from richness import sweep
from richness.lab import measured, settings, widget
from richness.lab.presets import preset_of
from richness.lab.settings import experiment_of, settings_of
from richness.lab.thread import TrainingThread
from richness.runs.experiment import Experiment
from richness.runs.live import Live
from richness.runs.results import ResultError

pytestmark = pytest.mark.slow  # all of them together; `make check` has two minutes

SMALL = {
    "gamma": 2.0, "eta": 0.1, "depth": 3, "width": 16, "loss": "mse", "task": "digits8", "optimizer": "sgd",
    "batch_size": 8, "steps": 60, "seed": 0,
}  # fmt: skip
ENDLESS = SMALL | {"steps": 10_000_000}


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe sets of 64: these are tests of the thread."""
    monkeypatch.delenv("RICHNESS_BOOK", raising=False)
    monkeypatch.setattr(settings, "PROBE_SAMPLES", 64)
    torch.set_num_threads(1)


def until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for a condition, or fail."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


class Told(list):
    """Reports, in the order in which they came."""

    def of(self, kind: str, number: int | None = None) -> list[dict]:
        return [r for r in self if r["kind"] == kind and number in (None, r["number"])]

    def states(self, number: int | None = None) -> list[str]:
        return [r["state"] for r in self.of("state", number)]

    def curve(self, number: int) -> dict[str, np.ndarray]:
        """As the view puts it together: each part at its place, ``from`` = 0 replacing all."""
        whole: dict[str, np.ndarray] = {}
        for part in self.of("curve", number):
            for key in ("step", "loss", "eta"):
                before = whole.get(key, part[key])[: part["from"]]
                assert len(before) == part["from"], "rows are missing"
                whole[key] = np.concatenate([before, part[key]])
        return whole


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def trainer(told: Told) -> Iterator[TrainingThread]:
    trainer = TrainingThread(told.append)
    yield trainer
    trainer.close()


def test_it_tells_every_loss_and_every_gauge_and_is_a_result(trainer, told):
    experiment = experiment_of(SMALL)
    run = trainer.start(experiment)
    assert run.done.wait(60)
    swept = sweep(experiment)
    ((began,),) = [told.of("run")]
    assert began["ask"] == SMALL and began["lr"] == pytest.approx(1.6) and began["line"] == pytest.approx(2 / 1.6)
    curve = told.curve(1)
    assert curve["step"].tolist() == list(range(61)) and set(curve["eta"]) == {0.1}
    np.testing.assert_array_equal(
        curve["loss"][experiment.recorded_steps].astype(np.float32).shape, swept.loss.shape[-1:]
    )
    np.testing.assert_allclose(curve["loss"][experiment.recorded_steps], swept.loss.values.ravel(), rtol=1e-4)
    rows = {row["step"]: row for row in told.of("gauges")}
    assert sorted(rows) == experiment.probed_steps
    for name, probe in {
        "sharpness": "sharpness",
        "along": "along_gradient",
        "accuracy": "accuracy",
        "test_loss": "test_loss",
        "alignment": "ntk_alignment",
    }.items():
        mine = [rows[step][name] for step in experiment.probed_steps]
        np.testing.assert_allclose(mine, swept[probe].sel(step=experiment.probed_steps).values.ravel(), rtol=1e-4)
    np.testing.assert_allclose(rows[60]["drift"], swept.drift[0, 0, 0, -1], rtol=1e-4)
    assert told.states() == ["training", "finished"] and told.of("state")[-1]["step"] == 60
    result = run.live.dataset()
    for name in swept.data_vars:
        np.testing.assert_array_equal(result[name], swept[name], err_msg=name)
    shown = told.of("samples")[-1]
    assert (
        shown["side"] == 8 and shown["inputs"].shape == (8 * 64,) and len(shown["labels"]) == len(shown["guesses"]) == 8
    )


def test_real_valued_targets_have_no_accuracy(trainer, told):
    trainer.start(experiment_of(SMALL | {"task": "teacher", "steps": 5})).done.wait(60)
    row = told.of("gauges")[-1]
    assert row["accuracy"] is None and row["test_loss"] > 0
    assert told.of("samples")[-1]["side"] == 0


def test_the_latest_request_wins(trainer, told):
    trainer.start(experiment_of(ENDLESS))
    until(lambda: told.of("curve", 1))
    trainer.start(experiment_of(ENDLESS | {"gamma": 3.0}))
    until(lambda: told.of("curve", 2))
    began = next(i for i, report in enumerate(told) if report["number"] == 2)
    assert all(report["number"] == 2 for report in told[began:])


def test_rapid_moves_train_only_what_was_asked_for_last(told):
    made: list[float] = []

    def live(experiment: Experiment) -> Live:
        made.append(experiment.gammas[0])
        return Live(experiment)

    trainer = TrainingThread(told.append, live)
    for i in range(100):
        trainer.start(experiment_of(ENDLESS | {"gamma": 1.0 + i}))
    until(lambda: told.of("curve", 100))
    assert made[-1] == 100.0 and len(made) < 100
    assert sum(thread.name == "richness-lab" for thread in threading.enumerate()) == 1
    trainer.close()


def test_eta_from_here_on_pause_step_resume(trainer, told):
    trainer.start(experiment_of(SMALL), paused=True)
    until(lambda: told.states() == ["paused"] and told.of("gauges"))
    trainer.step(5)
    until(lambda: told.states()[-1] == "paused" and told.of("state")[-1]["step"] == 5)
    trainer.change(0.3)
    trainer.step()
    until(lambda: told.of("state")[-1]["step"] == 6 and told.states()[-1] == "paused")
    until(lambda: 6 in {row["step"] for row in told.of("gauges")})  # where it rests it is looked at, probed step or not
    trainer.change(0.01)
    trainer.resume()
    until(lambda: told.states()[-1] == "finished")
    curve = told.curve(1)
    assert curve["eta"].tolist() == [0.1] * 5 + [0.3] + [0.01] * 55
    by_hand = Live(experiment_of(SMALL))
    for step in range(61):
        by_hand.change(curve["eta"][step])
        by_hand.advance(1)
    np.testing.assert_array_equal(curve["loss"], by_hand.record.losses)


def test_a_pause_holds_and_a_run_that_trains_can_be_stepped(trainer, told):
    trainer.start(experiment_of(ENDLESS))
    until(lambda: told.of("curve", 1))
    trainer.pause()
    until(lambda: told.states()[-1] == "paused")
    held = told.of("state")[-1]["step"]
    assert len(told.curve(1)["loss"]) == held == trainer.training.step
    trainer.resume()
    until(lambda: len(told.curve(1)["loss"]) > held)
    trainer.step(3)
    until(lambda: told.states()[-1] == "paused")
    trainer.stop()
    assert told.states()[-1] == "stopped"


def test_the_last_step_brings_the_last_loss(trainer, told):
    trainer.start(experiment_of(SMALL), paused=True)
    trainer.step(60)
    until(lambda: told.states()[-1:] == ["finished"])
    assert len(told.curve(1)["loss"]) == 61


def test_rewinding_is_the_same_run_again(trainer, told):
    assert trainer.rewind() is None
    trainer.start(experiment_of(SMALL)).done.wait(60)
    trainer.rewind()
    until(lambda: told.states(2) == ["paused"])
    assert told.of("run", 2)[0]["ask"] == SMALL and len(told.curve(2)["loss"]) == 0
    trainer.resume()
    until(lambda: told.states(2)[-1] == "finished")
    np.testing.assert_array_equal(told.curve(2)["loss"], told.curve(1)["loss"])


def test_a_divergence_says_where(trainer, told):
    run = trainer.start(experiment_of(SMALL | {"gamma": 0.01, "eta": 1e4}))
    assert run.done.wait(60)
    end = told.of("state")[-1]
    assert end["state"] == "diverged" and end["step"] == run.live.record.died > 0
    curve = told.curve(1)
    assert len(curve["loss"]) == end["step"] and np.isfinite(curve["loss"]).all()
    assert all(row["step"] < end["step"] for row in told.of("gauges"))
    assert run.live.dataset().status.item() == 1


def test_an_error_in_the_thread_is_told_and_the_next_run_works(told):
    def live(experiment: Experiment) -> Live:
        if experiment.gammas[0] == 13.0:
            raise RuntimeError("the disk is full")
        return Live(experiment)

    trainer = TrainingThread(told.append, live)
    trainer.start(experiment_of(SMALL | {"gamma": 13.0}))
    until(lambda: told.states() == ["error"])
    assert told.of("state")[0]["message"] == "RuntimeError: the disk is full" and told.of("run", 1)
    trainer.start(experiment_of(SMALL))
    until(lambda: told.states(2)[-1:] == ["finished"])
    trainer.close()


def test_a_view_that_comes_late_is_told_the_run_whole(trainer, told):
    trainer.replay()
    assert not told
    trainer.start(experiment_of(SMALL)).done.wait(60)
    before = told.curve(1)
    late = len(told)
    trainer.replay()
    again = Told(told[late:])
    assert [report["kind"] for report in again][:2] == ["run", "curve"] and again[-1]["state"] == "finished"
    for key, values in again.curve(1).items():
        np.testing.assert_array_equal(values, before[key])
    assert {row["step"] for row in again.of("gauges")} == {row["step"] for row in told.of("gauges")}


def test_curves_are_throttled_but_nothing_is_left_out(told):
    trainer = TrainingThread(told.append, frame=1e6)
    trainer.start(experiment_of(SMALL)).done.wait(60)
    assert len(told.of("curve")) <= 3 and len(told.curve(1)["loss"]) == 61
    trainer.close()


def test_closing_ends_the_thread_and_refuses_more(told):
    trainer = TrainingThread(told.append)
    trainer.start(experiment_of(ENDLESS))
    until(lambda: told.of("curve"))
    trainer.close()
    trainer.close()
    assert not any(thread.name == "richness-lab" for thread in threading.enumerate())
    with pytest.raises(RuntimeError, match="closed"):
        trainer.start(experiment_of(SMALL))


def test_a_paused_run_ends_with_the_trainer(told):
    trainer = TrainingThread(told.append)
    trainer.start(experiment_of(SMALL), paused=True)
    until(lambda: told.states() == ["paused"])
    trainer.close()
    assert not any(thread.name == "richness-lab" for thread in threading.enumerate())


def test_run_settings_are_an_experiment_and_back():
    assert settings_of(experiment_of(SMALL)) == SMALL
    assert experiment_of(SMALL | {"optimizer": "adam"}).kept_probes == (
        "sharpness", "along_gradient", "accuracy", "test_loss", "ntk_alignment", "drift",
    )  # fmt: skip
    with pytest.raises(ValueError, match="asked for by"):
        experiment_of({"gamma": 1.0})


@pytest.mark.parametrize(
    ("optimizer", "line"), [("sgd", 2 / 1.6), ("momentum", 3.8 / 1.6), ("signsgd", np.nan), ("adam", np.nan)]
)
def test_each_optimizer_has_its_stability_line_or_none(trainer, told, optimizer, line):
    trainer.start(experiment_of(SMALL | {"optimizer": optimizer, "steps": 3})).done.wait(60)
    np.testing.assert_allclose(told.of("run")[0]["line"], line)


# The widget over it.


class Heard(Told):
    """What a view is sent, unpacked."""

    def send(self, content: dict, buffers: list[bytes]) -> None:
        json.dumps(content, allow_nan=False)  # as Jupyter sends it
        arrays = {
            name: np.frombuffer(data, np.dtype(kind).newbyteorder("<"))
            for (name, kind), data in zip(content.get("arrays", []), buffers, strict=True)
        }
        self.append({"number": None, **content, **arrays})


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[widget.Lab, Heard]]]:
    """``make(**arguments)``: a small Lab, and what its view is sent."""
    labs: list[widget.Lab] = []

    def build(**arguments: object) -> tuple[widget.Lab, Heard]:
        small = {} if "preset" in arguments else {"width": 16, "batch_size": 8, "steps": 60}
        labs.append(widget.Lab(**small | arguments))  # type: ignore[arg-type]
        heard = Heard()
        labs[-1]._view.send = heard.send
        return labs[-1], heard

    yield build
    for lab in labs:
        lab.close()


def say(lab: widget.Lab, what: str, **more: object) -> None:
    """As the view does: a custom message of its model."""
    lab._view._handle_custom_msg({"do": what, **more}, [])


def test_showing_it_starts_the_first_run(make):
    lab, heard = make(gamma=10.0)
    bundle, _ = lab._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == lab.widget.model_id
    until(lambda: heard.states()[-1:] == ["finished"])
    say(lab, "shown")
    ready = heard.of("ready")[0]
    assert "halfspace" in ready["limits"]["task"] and ready["limits"]["losses_of"]["teacher"] == ["mse"]
    assert 16 in ready["limits"]["width"] and 8 in ready["limits"]["batch_size"] and 60 in ready["limits"]["steps"]
    assert heard[heard.index(ready) + 1]["kind"] == "run"
    assert len(heard.curve(1)["loss"]) == 61


def test_a_view_may_come_before_the_first_run(make):
    lab, heard = make()
    say(lab, "shown")
    until(lambda: heard.states()[-1:] == ["finished"])


def test_moving_a_slider_starts_another_run(make):
    lab, heard = make(steps=10_000_000)
    lab.train()
    until(lambda: heard.of("curve", 1))
    lab._sliders["gamma"].value = 100.0
    until(lambda: heard.of("curve", 2))
    assert heard.of("run", 2)[0]["ask"]["gamma"] == pytest.approx(100.0)


def test_a_move_of_eta_may_change_the_run_on_its_way(make):
    lab, heard = make(steps=10_000_000)
    lab.train()
    until(lambda: heard.of("curve", 1))
    say(lab, "eta_mode", mode="on")
    lab._sliders["eta"].value = 1e-3
    until(lambda: heard.curve(1)["eta"][-1:] == pytest.approx([1e-3]))
    lab._sliders["gamma"].value = 100.0  # γ cannot change on the way
    until(lambda: heard.of("curve", 2))
    say(lab, "eta_mode", mode="anew")
    lab.eta = 0.2
    until(lambda: heard.of("run", 3))


def test_what_starts_a_run_elsewhere_moves_the_sliders(make):
    lab, heard = make()
    ask = SMALL | {"gamma": 1e5, "eta": 3.0, "depth": 4, "steps": 5}
    say(lab, "start", ask=ask)
    until(lambda: heard.states(1)[-1:] == ["finished"])
    assert heard.of("run")[0]["ask"] == ask
    assert lab.gamma == pytest.approx(1e5) and lab.eta == pytest.approx(3.0)
    assert len(heard.of("run")) == 1
    lab.eta = 1.0  # the slider goes on with the network that was asked for
    until(lambda: heard.of("run", 2))
    assert heard.of("run", 2)[0]["ask"] == ask | {"eta": pytest.approx(1.0)}
    assert "depth=4" in repr(lab)


def test_it_is_steered_from_the_view_and_from_python(make):
    lab, heard = make()
    say(lab, "start", ask=SMALL)
    say(lab, "rewind")
    until(lambda: heard.states()[-1:] == ["paused"])
    say(lab, "step", count=4)
    until(lambda: heard.of("state")[-1]["step"] == 4)
    say(lab, "change", eta=0.5)
    assert lab.eta == pytest.approx(0.5)
    lab.step(2)
    until(lambda: heard.of("state")[-1]["step"] == 6)
    say(lab, "resume")
    until(lambda: heard.states()[-1] == "finished")
    number = heard.of("state")[-1]["number"]
    assert set(heard.curve(number)["eta"]) == {0.1, 0.5}
    assert json.loads(lab.run.attrs["eta_changes"]) == [[4, 0.5]]
    lab.rewind()
    until(lambda: heard.states(number + 1)[-1:] == ["paused"])
    lab.resume()
    lab.pause()
    lab.change(0.2)
    lab.stop()
    assert heard.states()[-1] == "stopped"


def test_a_run_is_waited_for(make):
    """Right after Run All the first run is still training."""
    lab, heard = make()
    lab.train()
    assert lab.run.sizes["step"] > 2
    lab.gamma = 5.0
    assert lab.run.gamma.item() == 5.0, "the run that was asked for, not the one before"
    lab.eta = 0.3
    assert lab.wait(timeout=60).eta.item() == pytest.approx(0.3)
    lab.steps = 10_000_000
    with pytest.raises(TimeoutError, match=r"after 0\.05 seconds"):
        lab.wait(timeout=0.05)
    lab.pause()
    until(lambda: heard.states()[-1] == "paused")
    with pytest.raises(RuntimeError, match=r"paused at step \d+: call resume"):
        lab.wait()
    assert lab.run.eta.item() == pytest.approx(0.3), "the last that ended"
    lab.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        lab.wait()


@pytest.mark.parametrize(
    ("name", "value"),
    [("depth", 7), ("width", 24), ("loss", "cross_entropy"), ("task", "staircase"), ("optimizer", "adam"),
     ("batch_size", 4), ("steps", 30), ("seed", 3), ("gamma", 0.5), ("eta", 0.01)],
)  # fmt: skip
def test_every_setting_can_be_set_and_is_what_trains(make, name, value):
    lab, heard = make()
    lab.train()
    setattr(lab, name, value)
    assert getattr(lab, name) == value
    fields = json.loads(lab.wait(60).attrs["recipe"])
    assert fields.get(name, fields.get(f"{name}s")) in (value, [value])
    if name == "depth":
        assert 7 in heard.of("ready", None)[-1]["limits"]["depth"]


@pytest.mark.parametrize(
    ("name", "value"), [("depth", 1), ("width", 0), ("task", "nope"), ("gamma", -1), ("seed", "x")]
)
def test_a_wrong_setting_is_refused_and_changes_nothing(make, name, value):
    lab, _ = make()
    before = getattr(lab, name)
    with pytest.raises(ValueError):
        setattr(lab, name, value)
    assert getattr(lab, name) == before
    with pytest.raises(AttributeError, match="no 'widht' to be set; its settings are gamma, eta, seed, depth"):
        lab.widht = 3
    with pytest.raises(AttributeError, match="no 'widht'"):
        _ = lab.widht


def test_every_message_is_answered_and_nonsense_is_told(make):
    lab, heard = make()
    lab.train()
    until(lambda: heard.states()[-1:] == ["finished"])
    for what, more, says in [
        ("pause", {}, None),
        ("dance", {}, "does not know what 'dance' is"),
        ("start", {"ask": SMALL | {"gamma": -1.0}}, "greater than 0"),
        ("start", {"ask": SMALL | {"task": "imagenet"}}, "unknown task"),
        ("change", {"eta": float("inf")}, "finite"),
    ]:
        before = len(heard)
        say(lab, what, **more)
        assert heard[before]["kind"] == "heard"
        if says:
            assert heard[-1]["state"] == "error" and says in heard[-1]["message"]
    assert lab.gamma == 1.0


def test_the_runs_that_ended_are_results(make):
    lab, heard = make()
    with pytest.raises(RuntimeError, match="no run has ended"):
        _ = lab.run
    lab.train()
    until(lambda: heard.states(1)[-1:] == ["finished"])
    lab.gamma = 4.0
    until(lambda: heard.states(2)[-1:] == ["finished"])
    assert [run.gamma.item() for run in lab.runs] == [1.0, pytest.approx(4.0)]
    first, swept = lab.runs[0], sweep(experiment_of(settings_of(lab._experiment) | {"gamma": 1.0}))
    np.testing.assert_array_equal(first.loss, swept.loss)
    np.testing.assert_array_equal(first.drift, swept.drift)
    assert first.attrs["recipe_hash"] == swept.attrs["recipe_hash"] and lab.run.gamma.item() == lab.gamma


def test_a_preset_gives_what_is_not_given(make):
    lab, _ = make(preset="catapult", seed=7)
    assert settings_of(lab._experiment) == preset_of("catapult")["ask"] | {"seed": 7}
    assert lab._view.setup["preset"] == "catapult"
    with pytest.raises(ValueError, match="unknown preset 'cat'"):
        make(preset="cat")


def test_setting_a_value_moves_the_slider_even_beyond_its_ends(make):
    lab, heard = make()
    lab.gamma = 1e6
    assert lab._sliders["gamma"].value == pytest.approx(1e6)
    until(lambda: heard.of("run"))
    assert heard.of("run")[-1]["ask"]["gamma"] == pytest.approx(1e6)
    with pytest.raises(ValueError, match="greater than 0"):
        lab.eta = -1.0


def test_a_slider_that_puts_itself_on_its_notch_moves_nothing(make):
    lab, heard = make(eta=2.0)
    lab.train()
    until(lambda: heard.states()[-1:] == ["finished"])
    lab._sliders["eta"].value = 10**0.3  # as the browser does where the slider is first drawn
    assert lab.eta == 2.0
    lab._sliders["eta"].value = 10**0.35
    until(lambda: heard.states(2)[-1:] == ["finished"])
    assert len(heard.of("run")) == 2 and lab.eta == lab._numbers["eta"].value == 2.24
    lab.eta = 2.0
    until(lambda: heard.of("run", 3))
    assert heard.of("run", 3)[0]["ask"]["eta"] == 2.0


def test_a_number_may_be_typed_and_one_that_cannot_be_trained_is_not_kept(make):
    lab, heard = make()
    lab._numbers["gamma"].value = 12.34
    until(lambda: heard.states()[-1:] == ["finished"])
    assert heard.of("run")[-1]["ask"]["gamma"] == 12.34 and lab._sliders["gamma"].value == pytest.approx(12.34)
    lab._numbers["gamma"].value = -1.0
    assert lab.gamma == lab._numbers["gamma"].value == 12.34 and len(heard.of("run")) == 1


def test_the_measured_runs_of_this_network_come_along(make, runs):
    lab, _ = make(task="digits", precomputed=runs)
    assert set(lab._view.setup["runs"]) == {"mlp3_mse_digits"} and lab._view.setup["sliders"] is False
    assert lab._view.setup["presets"][0]["name"] == "catapult"
    json.dumps(lab._view.setup, allow_nan=False)


def test_the_books_own_runs_are_taken_only_where_they_are_the_same(make, runs, monkeypatch):
    monkeypatch.setattr(measured, "load_once", lambda name: runs)
    same, _ = make(task="digits", width=64, batch_size=64, steps=1000)
    other, _ = make(task="digits", width=32)
    assert same._view.setup["runs"] and not other._view.setup["runs"]


def test_measured_runs_of_another_network_are_refused(make, runs):
    with pytest.raises(ValueError, match=r"expected measured runs with depth 4.*got depth 3"):
        make(depth=4, precomputed=runs)


def test_a_name_that_was_never_measured_is_refused(make):
    with pytest.raises(ResultError, match="no_such_runs"):
        make(precomputed="no_such_runs")


def test_on_a_built_page_nothing_is_trained_by_python(make, monkeypatch):
    monkeypatch.setenv("RICHNESS_BOOK", "1")
    assert '"preset":"collapse"' in widget.Lab(preset="collapse").html()
    lab = widget.Lab(gamma=3.0)
    lab.gamma = 5.0
    assert lab.gamma == 5.0 and "data-richness-lab" in lab._repr_mimebundle_()[0]["text/html"]
    for ask in (lab.train, lab.pause, lab.rewind, lambda: lab.run):
        with pytest.raises(RuntimeError, match="RICHNESS_BOOK"):
            ask()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"gamma": 0.0}, "greater than 0"),
        ({"gamma": -1.0}, "greater than 0"),
        ({"gamma": float("nan")}, "finite"),
        ({"gamma": float("inf")}, "finite"),
        ({"gamma": "rich"}, "number"),
        ({"eta": 0.0}, "greater than 0"),
        ({"eta": float("nan")}, "finite"),
        ({"eta": None}, "number"),
        ({"depth": 1}, "greater than or equal to 2"),
        ({"depth": 2.5}, "integer"),
        ({"width": 0}, "greater than or equal to 1"),
        ({"loss": "readers_hinge"}, "unknown loss"),
        ({"task": "imagenet"}, "unknown task"),
        ({"task": "teacher", "loss": "cross_entropy"}, "needs classes"),
        ({"optimizer": "sdg"}, "unknown optimizer"),
        ({"device": "tpu"}, "unknown device"),
        ({"batch_size": 0}, "greater than or equal to 1"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"seed": "x"}, "integer"),
    ],
)
def test_bad_input_is_refused_at_construction(make, bad, says):
    with pytest.raises(ValueError, match=says):
        make(**bad)
