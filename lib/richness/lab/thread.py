"""One thread that trains what was asked for last, can be steered while it does, and tells what comes of it."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from richness.data.streams import remember_batches
from richness.lab.reports import Report, report_curve, report_gauges, report_samples, report_start, report_state
from richness.lab.training import Training
from richness.runs.experiment import Experiment
from richness.runs.live import Live

FRAME = 1 / 20  # seconds between two curves, at least
SAMPLES_EACH = 1 / 4  # seconds between two showings of samples
GAUGE_EACH = 0.2  # seconds of training between two measurements: the curve comes first
CHUNK = 64  # steps in one go at most, so that a word from outside is heard soon
KEPT = 8  # trainings that ended, of which a result can still be had
REMEMBERED = 2**27  # bytes of batches: moving a slider trains on the same ones again


class TrainingThread:
    """Trains in the background; a new request ends the old training, and only the latest is ever told of.

    Args:
        report: called with each report; from the thread that trains, or from the one that asked.
        live: makes what trains (see :class:`richness.runs.live.Live`).
        frame: least seconds between two curves of one training.
    """

    def __init__(
        self, report: Callable[[Report], None], live: Callable[[Experiment], Live] = Live, frame: float = FRAME
    ):
        self._report, self._live, self._frame = report, live, frame
        self._wake = threading.Condition()  # guards everything below, and the order of reports
        self._latest: Training | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self.ended: deque[Training] = deque(maxlen=KEPT)  # those that finished or diverged, oldest first

    @property
    def training(self) -> Training | None:
        """The one asked for last."""
        return self._latest

    def start(self, experiment: Experiment, paused: bool = False) -> Training:
        """Ask for a training; whatever was asked for before is stopped or dropped.

        Raises:
            RuntimeError: the thread was closed.
        """
        with self._wake:
            if self._closed:
                raise RuntimeError("this laboratory is closed: make a new one with richness.Lab(...)")
            number = self._latest.number + 1 if self._latest else 1
            if self._latest and self._latest.under_way:
                self._latest.state = "stopped"
            allowance = 0.0 if paused else math.inf
            self._latest = Training(number, experiment, experiment.etas[0], allowance)
            # A thread that only sleeps between trainings: rapid moves of a slider never pile threads up.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="richness-lab", daemon=True)
                self._thread.start()
            self._wake.notify()
            return self._latest

    def rewind(self) -> Training | None:
        """The same training again, waiting at step 0; None where there is none yet."""
        with self._wake:
            return self.start(self._latest.experiment, paused=True) if self._latest else None

    def change(self, eta: float) -> None:
        """Another η from the next step on, of a training that goes on or is paused."""
        self._steer(eta=eta)

    def pause(self) -> None:
        """Wait after the steps that are being taken."""
        self._steer(allowance=0.0)

    def resume(self) -> None:
        """Go on after a pause."""
        self._steer(allowance=math.inf)

    def step(self, count: int = 1) -> None:
        """Take ``count`` updates, then pause."""
        self._steer(allowance=float(max(0, count)))

    def stop(self) -> None:
        """End the training where it is."""
        with self._wake:
            if self._latest and self._latest.under_way:
                self._enter(self._latest, "stopped")
                self._wake.notify()

    def wait(self, timeout: float | None = None) -> Training:
        """The training asked for last, once nothing of it is left to do.

        Raises:
            RuntimeError: there is none, or it is paused, was stopped or failed. TimeoutError: after ``timeout`` seconds.
        """
        until = math.inf if timeout is None else time.monotonic() + timeout
        while (training := self._latest) is not None:
            ended = training.done.wait(max(0.0, min(FRAME, until - time.monotonic())))
            if ended and training.state in ("finished", "diverged"):
                return training
            if training is self._latest and training.state in ("paused", "stopped", "error"):
                why = f": {training.message}" if training.message else ""
                raise RuntimeError(
                    f"the run is {training.state} at step {training.step}{why}: call resume() or train()"
                )
            if time.monotonic() >= until:
                raise TimeoutError(
                    f"the run is at step {training.step} after {timeout:g} seconds: wait longer, or stop()"
                )
        raise RuntimeError("nothing was asked for: call train()")

    def replay(self) -> None:
        """Tell the current training whole, for a view that came late."""
        with self._wake:
            training = self._latest
            if training is None or training.state == "loading":
                return
            self._report(report_start(training))
            if training.live is not None:
                self._tell_curve(training, 0)
                for step in sorted(training.live.record.gauges.copy()):
                    self._report(report_gauges(training, step))
            self._report(report_state(training))

    def close(self, timeout: float = 5.0) -> None:
        """Stop the training and the thread; wait for it up to ``timeout`` seconds."""
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
                    training = self._latest
                self._train(training)

    def _over(self, training: Training) -> bool:
        return self._closed or self._latest is not training or training.state == "stopped"

    def _train(self, training: Training) -> None:
        try:
            if self._begin(training):
                clock = _Clock(self._frame)
                while self._turn(training, clock):
                    pass
        except Exception as error:  # whatever went wrong is the reader's to know, not the thread's to swallow
            with self._wake, contextlib.suppress(Exception):  # a report that cannot be made may be what went wrong
                if not self._over(training):
                    training.message = f"{type(error).__name__}: {error}"
                    self._enter(training, "error")
        finally:
            training.done.set()

    def _begin(self, training: Training) -> bool:
        """Make what trains; False where it is not wanted any more."""
        with self._wake:
            if self._over(training):
                return False
            training.state = "training" if training.allowance else "paused"
            self._report(report_start(training))
        live = self._live(training.experiment)
        with self._wake:
            training.live = live
            self._tell_curve(training, 0)
            self._report(report_state(training))
        if not training.allowance:
            self._rest(training)
        return True

    def _turn(self, training: Training, clock: _Clock) -> bool:
        """Some steps, or one measurement; False where nothing more is to be done."""
        live = training.live
        assert live is not None
        count = self._await_orders(training, live, clock.chunk)
        if count is None:
            return False
        if count:
            with clock.stepping():
                training.advance(count)
        with self._wake:
            if self._over(training):
                return False
            resting = live.ended or not training.allowance
            self._tell_progress(training, live, resting, clock)
        if training.pending and (resting or clock.gauge_due):
            self._measure(training, live)
            clock.restart_gauge()
        return True

    def _await_orders(self, training: Training, live: Live, most: int) -> int | None:
        """Sleep until there is something to do: the number of updates to take now, or None where it is over."""

        def called() -> bool:
            return bool(self._over(training) or training.allowance or training.pending or training.eta != live.eta)

        with self._wake:
            self._wake.wait_for(called)
            if self._over(training) or (live.ended and not training.pending):
                return None
            if training.eta != live.eta:
                live.change(training.eta)
            count = training.allow(most)
            if count and training.state == "paused":
                self._enter(training, "training")
            return count

    def _measure(self, training: Training, live: Live) -> None:
        moment = training.pending.popleft()
        live.measure(moment)
        with self._wake:
            if not self._over(training):
                self._report(report_gauges(training, moment.step))

    def _rest(self, training: Training) -> None:
        """Where it pauses a training is looked at closely."""
        self._tell_samples(training)
        training.put_aside()

    # What is told.

    def _enter(self, training: Training, state: str) -> None:
        training.state = state
        self._report(report_state(training))

    def _tell_progress(self, training: Training, live: Live, resting: bool, clock: _Clock) -> None:
        """After some steps: what is due of the curve and the samples, and the end or the pause where it has come."""
        if training.told < len(live.record.losses) and (clock.frame_over or resting):
            self._tell_curve(training, training.told)
        if not resting and clock.samples_due:
            self._tell_samples(training)
        if live.ended and training.state in ("training", "paused"):
            training.forget_after_divergence()
            self._tell_samples(training)
            self.ended.append(training)
            self._enter(training, "finished" if live.record.died < 0 else "diverged")
        elif resting and training.state == "training":
            self._enter(training, "paused")
            self._rest(training)

    def _tell_curve(self, training: Training, first: int) -> None:
        report = report_curve(training, first)
        self._report(report)
        training.told = first + len(report["step"])

    def _tell_samples(self, training: Training) -> None:
        if training.live is not None and training.live.record.died < 0:
            self._report(report_samples(training))


class _Clock:
    """When which report is due, and how many steps fit between two looks at what was asked."""

    def __init__(self, frame: float):
        self.frame, self.chunk = frame, 4
        self._told = self._sampled = -math.inf
        self._since_gauge = 0.0

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
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

    def restart_gauge(self) -> None:
        self._since_gauge = 0.0
