"""The thread: latest wins, errors surface, a divergence says where, closing stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from richness.book.lab import widget
from richness.book.lab.trainer import Run, Trainer
from richness.runs.experiment import Experiment
from richness.runs.results import ResultError


def experiment(gamma: float = 1.0, eta: float = 0.1) -> Experiment:
    return Experiment(gammas=(gamma,), etas=(eta,))


def row(step: int, diverged: bool = False, sharpness: float | None = None) -> dict:
    loss = float("nan") if diverged else 0.1 / (1 + step)
    return {"step": step, "loss": loss, "sharpness": sharpness, "accuracy": None, "diverged": diverged}


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition, or fail."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def endless(recipe: Experiment, stop: threading.Event) -> Iterator[dict]:
    step = 0
    while not stop.is_set():
        yield row(step)
        step += 1
        time.sleep(0.001)


def test_the_latest_request_wins():
    shown: list[tuple[int, str]] = []
    trainer = Trainer(lambda run: shown.append((run.number, run.state)), endless, frame=0.0)
    first = trainer.start(experiment(1.0))
    until(lambda: (1, "training") in shown)
    second = trainer.start(experiment(2.0))
    assert first.stop.is_set()
    until(lambda: (2, "training") in shown)
    assert not second.stop.is_set()
    began = next(i for i, (number, _) in enumerate(shown) if number == 2)
    assert all(number == 2 for number, _ in shown[began:])
    trainer.close()
    assert second.stop.is_set()


def test_rapid_moves_train_only_what_was_asked_for_last():
    trained: list[float] = []

    def live(recipe: Experiment, stop: threading.Event) -> Iterator[dict]:
        trained.append(recipe.gammas[0])
        yield from endless(recipe, stop)

    trainer = Trainer(lambda run: None, live, frame=0.0)
    for i in range(200):
        trainer.start(experiment(1.0 + i))
    until(lambda: bool(trained) and trained[-1] == 200.0)
    assert len(trained) < 200
    assert sum(thread.name == "richness-lab" for thread in threading.enumerate()) == 1
    trainer.close()


def test_a_divergence_is_recorded_with_its_step():
    def live(recipe: Experiment, stop: threading.Event) -> Iterator[dict]:
        yield row(0)
        yield row(23, diverged=True)

    ends: list[Run] = []
    trainer = Trainer(ends.append, live, frame=0.0)
    trainer.start(experiment())
    until(lambda: bool(ends) and ends[-1].state == "diverged")
    assert ends[-1].died == 23
    assert ends[-1].step == [0]
    trainer.close()


def test_an_error_in_the_thread_is_shown_and_the_next_run_works():
    def live(recipe: Experiment, stop: threading.Event) -> Iterator[dict]:
        yield row(0)
        if recipe.gammas[0] == 13.0:
            raise RuntimeError("the disk is full")

    ends: list[tuple[str, str]] = []
    trainer = Trainer(lambda run: ends.append((run.state, run.message)), live)
    trainer.start(experiment(13.0))
    until(lambda: ("error", "RuntimeError: the disk is full") in ends)
    trainer.start(experiment(1.0))
    until(lambda: ends[-1][0] == "finished")
    trainer.close()


def test_messages_are_throttled_but_the_end_is_always_shown():
    def live(recipe: Experiment, stop: threading.Event) -> Iterator[dict]:
        yield from (row(step) for step in range(500))

    shown: list[tuple[str, int]] = []
    trainer = Trainer(lambda run: shown.append((run.state, len(run.step))), live, frame=10.0)
    trainer.start(experiment())
    until(lambda: bool(shown) and shown[-1] == ("finished", 500))
    assert len(shown) == 2
    trainer.close()


def test_closing_ends_the_thread_and_refuses_more():
    trainer = Trainer(lambda run: None, endless, frame=0.0)
    trainer.start(experiment())
    trainer.close()
    assert not any(thread.name == "richness-lab" for thread in threading.enumerate())
    with pytest.raises(RuntimeError, match="closed"):
        trainer.start(experiment())


# The widget over it.


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., widget.Lab]]:
    """``make(live, **arguments)``: a Lab whose training is ``live``."""
    monkeypatch.delenv("RICHNESS_BOOK", raising=False)
    labs: list[widget.Lab] = []

    def build(live: Callable = endless, **arguments: object) -> widget.Lab:
        monkeypatch.setattr(widget, "Trainer", lambda show: Trainer(show, live, frame=0.0))
        labs.append(widget.Lab(**arguments))  # type: ignore[arg-type]
        return labs[-1]

    yield build
    for lab in labs:
        lab.close()


def header(lab: widget.Lab) -> tuple[int, int]:
    number, points = np.frombuffer(lab._view.curve[:8], "<i4")
    return int(number), int(points)


def test_showing_it_starts_the_first_run(make):
    lab = make(gamma=10.0)
    assert lab._view.run == {}
    bundle, _ = lab._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == lab.widget.model_id
    until(lambda: lab._view.run["state"] == "training" and header(lab)[1] > 3)
    assert lab._view.run["gamma"] == 10.0
    assert lab._view.run["lr"] == pytest.approx(6.4)


def test_moving_a_slider_starts_another_run_and_keeps_a_trace(make):
    lab = make()
    lab.train()
    until(lambda: header(lab)[1] >= widget.PASSING)
    lab._gamma.value = 100.0
    assert lab._view.run["number"] == 2
    assert lab._view.run["gamma"] == pytest.approx(100.0)
    assert [trace["number"] for trace in lab._view.traces] == [1]
    until(lambda: header(lab) >= (2, widget.PASSING))
    assert "rich" in lab._view.run["text"]
    for value in (0.2, 0.3, 0.4, 0.5):
        before = lab._view.run["number"]
        lab._eta.value = value
        until(lambda before=before: header(lab) >= (before + 1, widget.PASSING))
    assert len(lab._view.traces) == widget.TRACES


def test_a_drag_leaves_no_traces_of_what_it_passed(make):
    lab = make()
    lab.train()
    until(lambda: header(lab)[1] >= widget.PASSING)
    for i in range(30):
        lab._gamma.value = 10 ** (0.05 * (i + 1))
    assert [trace["number"] for trace in lab._view.traces] == [1]


def test_setting_a_value_moves_the_slider_even_beyond_its_ends(make):
    lab = make()
    lab.gamma = 1e6
    assert lab._gamma.value == pytest.approx(1e6)
    assert lab._view.run["gamma"] == pytest.approx(1e6)
    with pytest.raises(ValueError, match="greater than 0"):
        lab.eta = -1.0


def test_the_widget_says_where_a_run_diverged_and_what_went_wrong(make):
    def live(recipe: Experiment, stop: threading.Event) -> Iterator[dict]:
        yield row(0)
        if recipe.gammas[0] > 50:
            raise ValueError("no such task")
        yield row(23, diverged=True)

    lab = make(live)
    lab.train()
    until(lambda: lab._view.run["state"] == "diverged")
    assert "diverged at step 23" in lab._view.run["text"]
    assert lab._view.run["died"] == 23
    lab.gamma = 100.0
    until(lambda: lab._view.run["state"] == "error")
    assert "no such task" in lab._view.run["text"]


def test_the_nearest_measured_run_is_there_at_once(make, runs):
    lab = make(task="digits", precomputed=runs, gamma=1.3, eta=0.5)
    lab.train()
    near = lab._view.near
    assert near["gamma"] == pytest.approx(1.0)
    assert "precomputed, nearest: gamma = 1" in near["label"]
    assert len(near["data"]) > 8
    lab.gamma = 100.0
    assert lab._view.near["gamma"] == pytest.approx(100.0)


def test_the_books_own_runs_are_taken_only_where_they_are_the_same(make, runs, monkeypatch):
    monkeypatch.setattr(widget, "_loaded", lambda name: runs)
    same, other = make(task="digits"), make(task="digits", width=32)
    for lab in (same, other):
        lab.train()
    assert same._view.near["data"]
    assert other._view.near == {}


def test_measured_runs_of_another_task_say_so(make, runs):
    lab = make(task="digits8", precomputed=runs)
    lab.train()
    assert "with task digits" in lab._view.near["label"]


def test_measured_runs_of_another_network_are_refused(make, runs):
    with pytest.raises(ValueError, match=r"expected measured runs with depth 4.*got depth 3"):
        make(depth=4, precomputed=runs)


def test_a_name_that_was_never_measured_is_refused(make):
    with pytest.raises(ResultError, match="no_such_runs"):
        make(precomputed="no_such_runs")


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
        ({"loss": "hinge"}, "unknown loss"),
        ({"task": "imagenet"}, "unknown task"),
        ({"task": "teacher", "loss": "cross_entropy"}, "needs classes"),
        ({"batch_size": 0}, "greater than or equal to 1"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"seed": "x"}, "integer"),
    ],
)
def test_bad_input_is_refused_at_construction(make, bad, says):
    with pytest.raises(ValueError, match=says):
        make(**bad)


def test_a_real_run_streams_and_finishes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RICHNESS_BOOK", raising=False)
    lab = widget.Lab(gamma=10.0, eta=1.0, width=16, batch_size=8, steps=40)
    lab.train()
    until(lambda: lab._view.run["state"] == "finished", 60)
    number, points = header(lab)
    step, loss, sharpness = np.frombuffer(lab._view.curve[8:], "<f4").reshape(3, points)
    assert (number, step[0], step[-1]) == (1, 0, 40)
    assert np.isfinite(loss).all()
    assert np.isfinite(sharpness[[0, -1]]).all()
    lab.close()
