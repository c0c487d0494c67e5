"""One thread that trains what was asked for last, can be steered while it does, and tells what comes of it.

What it tells are the reports that the laboratory's view draws, dicts with a ``kind`` (run, curve, gauges, samples, state);
the page's engine tells the same ones.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from richness.data.streams import remember_batches
from richness.networks.optimizers import stability_line
from richness.runs.experiment import Experiment
from richness.runs.live import Live, Moment

FRAME = 1 / 20  # seconds between two curves, at least
SAMPLES, SAMPLES_EACH = 12, 1 / 4  # shown of a batch, and seconds between two showings
GAUGE_EACH = 0.2  # seconds of training between two measurements: the curve comes first
CHUNK = 64  # steps in one go at most, so that a word from outside is heard soon
KEPT = 8  # runs that ended, of which a result can still be had
REMEMBERED = 2**27  # bytes of batches: moving a slider trains on the same ones again
SIDES = {"digits": 28, "digits8": 8}  # pixels along a picture's edge

#: What a run is asked for by, in the words of :class:`richness.Experiment`; γ, η and the seed in the singular.
FIELDS = ("depth", "width", "loss", "task", "optimizer", "batch_size", "steps")
PROBE_POINTS, PROBE_SAMPLES = 16, 1024

#: A gauge of the instrument -> the probe behind it; `drift`, which has several lines, goes by its own name.
GAUGES = {
    "sharpness": "sharpness",
    "along": "along_gradient",
    "accuracy": "accuracy",
    "test_loss": "test_loss",
    "alignment": "ntk_alignment",
}

UNDER_WAY = ("loading", "training", "paused")  # states of a run that can still be steered

Report = Callable[[dict[str, Any]], None]


def experiment_of(ask: Mapping[str, Any], device: str = "cpu") -> Experiment:
    """What an ask describes: one run with the laboratory's gauges.

    Raises:
        ValueError: a field is missing, unknown or has a value that the :class:`richness.Experiment` refuses.
    """
    wanted = {"gamma", "eta", "seed", *FIELDS}
    if set(ask) != wanted:
        raise ValueError(f"a run is asked for by {', '.join(sorted(wanted))}; got {', '.join(sorted(ask))}")
    fields = {name: ask[name] for name in FIELDS}
    fields |= {"gammas": (ask["gamma"],), "etas": (ask["eta"],), "seeds": (ask["seed"],)}
    plain = Experiment(**fields)
    accuracy = ("accuracy",) if plain.source.classification else ()
    probes = ("loss", "sharpness", "along_gradient", *accuracy, "test_loss", "ntk_alignment", "drift")
    return Experiment(**fields, probes=probes, probe_points=PROBE_POINTS, probe_samples=PROBE_SAMPLES, device=device)


def ask_of(experiment: Experiment) -> dict[str, Any]:
    """The ask for an experiment's first cell."""
    at = {"gamma": experiment.gammas[0], "eta": experiment.etas[0], "seed": experiment.seeds[0]}
    return at | {name: getattr(experiment, name) for name in FIELDS}


@dataclass
class Run:
    """One training, and what was told of it.

    Attributes:
        eta: from the next step on. allowance: updates that may be taken before it pauses.
        state: loading (not yet begun), training, paused, finished, diverged, stopped or error, with a sentence in
            ``message``.
        told: losses reported so far. pending: moments still to be measured. done: set when there is nothing left to do.
    """

    number: int
    experiment: Experiment
    eta: float
    allowance: float = math.inf
    state: str = "loading"
    message: str = ""
    live: Live | None = None
    told: int = 0
    pending: deque[Moment] = field(default_factory=deque)
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def ask(self) -> dict[str, Any]:
        return ask_of(self.experiment)

    @property
    def step(self) -> int:
        """Updates done; the step at which it diverged, where it did."""
        if self.live is None:
            return 0
        return self.live.record.died if self.live.record.died >= 0 else self.live.step

    def result(self) -> xr.Dataset:
        """A run that ended, as :func:`richness.sweep` gives it; waits for its last measurements.

        Raises:
            RuntimeError: it has not ended.
        """
        if self.live is None or not self.live.ended:
            raise RuntimeError(f"the run is {self.state} at step {self.step}: wait until it has finished")
        self.done.wait()
        while self.pending:  # another run came before they were made
            self.live.measure(self.pending.popleft())
        return self.live.dataset()


class Trainer:
    """Trains in the background; a new request ends the old run, and only the latest is ever told of.

    Args:
        report: called with each report; from the thread that trains, or from the one that asked.
        live: makes what trains (see :class:`richness.runs.live.Live`).
        frame: least seconds between two curves of one run.
    """

    def __init__(self, report: Report, live: Callable[[Experiment], Live] = Live, frame: float = FRAME):
        self._report, self._live, self._frame = report, live, frame
        self._wake = threading.Condition()  # guards everything below, and the order of reports
        self._latest: Run | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self.ended: deque[Run] = deque(maxlen=KEPT)  # those that finished or diverged, oldest first

    @property
    def run(self) -> Run | None:
        """The run asked for last."""
        return self._latest

    def start(self, experiment: Experiment, paused: bool = False) -> Run:
        """Ask for a run; whatever was asked for before is stopped or dropped.

        Raises:
            RuntimeError: the trainer was closed.
        """
        with self._wake:
            if self._closed:
                raise RuntimeError("this laboratory is closed: make a new one with richness.Lab(...)")
            number = self._latest.number + 1 if self._latest else 1
            if self._latest and self._latest.state in UNDER_WAY:
                self._latest.state = "stopped"
            allowance = 0.0 if paused else math.inf
            self._latest = Run(number, experiment, experiment.etas[0], allowance)
            # A thread that only sleeps between runs: rapid moves of a slider never pile threads up.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="richness-lab", daemon=True)
                self._thread.start()
            self._wake.notify()
            return self._latest

    def rewind(self) -> Run | None:
        """The same run again, waiting at step 0; None where there is none yet."""
        with self._wake:
            return self.start(self._latest.experiment, paused=True) if self._latest else None

    def change(self, eta: float) -> None:
        """Another η from the next step on, of a run that goes on or is paused."""
        self._steer(eta=eta)

    def pause(self) -> None:
        self._steer(allowance=0.0)

    def resume(self) -> None:
        self._steer(allowance=math.inf)

    def step(self, count: int = 1) -> None:
        """Take ``count`` updates, then pause."""
        self._steer(allowance=float(max(0, count)))

    def stop(self) -> None:
        """End the run where it is."""
        with self._wake:
            run = self._latest
            if run and run.state in UNDER_WAY:
                self._enter(run, "stopped")
                self._wake.notify()

    def replay(self) -> None:
        """Tell the current run whole, for a view that came late."""
        with self._wake:
            run = self._latest
            if run is None or run.state == "loading":
                return
            self._report(_begun(run))
            if run.live is not None:
                self._tell_curve(run, 0)
                for step in sorted(run.live.record.gauges.copy()):
                    self._report(_gauges(run, step))
            self._tell_state(run)

    def close(self, timeout: float = 5.0) -> None:
        """Stop the run and the thread; wait for it up to ``timeout`` seconds."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _steer(self, **orders: float) -> None:
        with self._wake:
            if self._latest:
                for name, value in orders.items():
                    setattr(self._latest, name, value)
                self._wake.notify()

    # The thread's own.

    def _work(self) -> None:
        with remember_batches(REMEMBERED):
            while True:
                with self._wake:
                    self._wake.wait_for(lambda: self._closed or (self._latest and self._latest.state == "loading"))
                    if self._closed or self._latest is None:
                        return
                    run = self._latest
                self._train(run)

    def _over(self, run: Run) -> bool:
        return self._closed or self._latest is not run or run.state == "stopped"

    def _train(self, run: Run) -> None:
        try:
            with self._wake:
                if self._over(run):
                    return
                run.state = "training" if run.allowance else "paused"
                self._report(_begun(run))
            live = self._live(run.experiment)
            with self._wake:
                run.live = live
                self._tell_curve(run, 0)
                self._tell_state(run)
            if not run.allowance:
                self._rest(run, live)
            clock = _Clock(self._frame)
            while self._turn(run, live, clock):
                pass
        except Exception as error:  # whatever went wrong is the reader's to know, not the thread's to swallow
            with self._wake, contextlib.suppress(Exception):  # a report that cannot be made may be what went wrong
                if not self._over(run):
                    run.message = f"{type(error).__name__}: {error}"
                    self._enter(run, "error")
        finally:
            run.done.set()

    def _turn(self, run: Run, live: Live, clock: _Clock) -> bool:
        """Some steps, or one measurement; False where nothing more is to be done."""
        with self._wake:
            self._wake.wait_for(lambda: self._over(run) or run.allowance or run.pending or run.eta != live.eta)
            if self._over(run) or (live.ended and not run.pending):
                return False
            if run.eta != live.eta:
                live.change(run.eta)
            take = 0 if live.ended else int(min(run.allowance, clock.chunk))
            run.allowance -= take  # infinite stays infinite
            if take and run.state == "paused":
                run.state = "training"
                self._tell_state(run)
        if take:
            with clock.stepping():
                self._take(run, live, take)
        with self._wake:
            if self._over(run):
                return False
            resting = live.ended or not run.allowance
            if run.told < len(live.record.losses) and (clock.frame_over or resting):
                self._tell_curve(run, run.told)
            if not resting and clock.samples_due:
                self._tell_samples(run)
            if live.ended and run.state in ("training", "paused"):
                died = live.record.died
                # Where it has diverged there is nothing to measure.
                run.pending = deque(moment for moment in run.pending if died < 0 or moment.step < died)
                self._tell_samples(run)
                self.ended.append(run)
                self._enter(run, "finished" if died < 0 else "diverged")
            elif resting and run.state == "training":
                self._enter(run, "paused")
                self._rest(run, live)
        if run.pending and (resting or clock.gauge_due):
            moment = run.pending.popleft()
            live.measure(moment)
            clock.measured()
            with self._wake:
                if not self._over(run):
                    self._report(_gauges(run, moment.step))
        return True

    @staticmethod
    def _take(run: Run, live: Live, count: int) -> None:
        """So many updates; the loss after the last of a run belongs to it. Moments to be measured are put aside."""
        until = min(live.step + count, run.experiment.steps)
        probed = set(run.experiment.probed_steps)
        while not live.ended and (live.step < until or until == run.experiment.steps):
            if live.step in probed:
                _put_aside(run, live)
            live.advance(max(1, until - live.step))

    def _rest(self, run: Run, live: Live) -> None:
        """Where it pauses a run is looked at closely."""
        self._tell_samples(run)
        _put_aside(run, live)

    # What is told.

    def _enter(self, run: Run, state: str) -> None:
        run.state = state
        self._tell_state(run)

    def _tell_state(self, run: Run) -> None:
        self._report(
            {"kind": "state", "number": run.number, "state": run.state, "step": run.step, "message": run.message}
        )

    def _tell_curve(self, run: Run, first: int) -> None:
        assert run.live is not None
        record = run.live.record
        last = len(record.losses)
        self._report(
            {
                "kind": "curve",
                "number": run.number,
                "from": first,
                "step": np.arange(first, last, dtype=np.int32),
                "loss": np.array(record.losses[first:last], dtype=np.float64),
                "eta": np.array(record.etas[first:last], dtype=np.float64),
            }
        )
        run.told = last

    def _tell_samples(self, run: Run) -> None:
        assert run.live is not None
        if run.live.record.died >= 0:
            return
        shown = run.live.samples(SAMPLES)
        self._report(
            {
                "kind": "samples",
                "number": run.number,
                "step": run.step,
                "side": SIDES.get(run.experiment.task, 0),
                "inputs": shown.inputs.ravel(),
                "labels": shown.labels.tolist(),
                "guesses": shown.guesses.tolist(),
            }
        )


class _Clock:
    """When which report is due, and how many steps fit between two looks at what was asked."""

    def __init__(self, frame: float):
        self.frame, self.chunk = frame, 4
        self._told = self._sampled = -math.inf
        self._since_gauge = 0.0

    @contextlib.contextmanager
    def stepping(self) -> Any:
        begun = time.monotonic()
        yield
        spent = time.monotonic() - begun
        self._since_gauge += spent
        if spent < FRAME / 4:
            self.chunk = min(CHUNK, 2 * self.chunk)
        elif spent > FRAME:
            self.chunk = max(1, self.chunk // 2)

    @property
    def frame_over(self) -> bool:
        if time.monotonic() - self._told < self.frame:
            return False
        self._told = time.monotonic()
        return True

    @property
    def samples_due(self) -> bool:
        if time.monotonic() - self._sampled < SAMPLES_EACH:
            return False
        self._sampled = time.monotonic()
        return True

    @property
    def gauge_due(self) -> bool:
        return self._since_gauge > GAUGE_EACH

    def measured(self) -> None:
        self._since_gauge = 0.0


def _put_aside(run: Run, live: Live) -> None:
    """The network as it is now, to be measured, unless it was."""
    if live.step not in live.record.gauges and all(moment.step != live.step for moment in run.pending):
        run.pending.append(live.moment())


def _begun(run: Run) -> dict[str, Any]:
    experiment = run.experiment
    lr = float(experiment.lr_raw(experiment.etas[0]))
    # Adam's line is one for the preconditioned Hessian: the sharpness shown here has none.
    line = stability_line(lr, experiment.optimizer, experiment.momentum) if experiment.optimizer != "adam" else math.nan
    return {"kind": "run", "number": run.number, "ask": run.ask, "lr": lr, "line": line}


def _gauges(run: Run, step: int) -> dict[str, Any]:
    assert run.live is not None
    values = run.live.record.gauges[step]
    row = {name: _finite(values.get(probe)) for name, probe in GAUGES.items()}
    return {"kind": "gauges", "number": run.number, "step": step, **row, "drift": np.array(values.get("drift", []))}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
