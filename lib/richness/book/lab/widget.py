"""``Lab``: turn γ and η, and watch. In Jupyter it trains; on a built page it explores what was measured."""

from __future__ import annotations

import math
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets
import xarray as xr

from richness.book.lab import html, pack
from richness.book.lab.trainer import Run, Trainer
from richness.runs.experiment import Experiment
from richness.runs.results import ResultError, load

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
HERE = Path(__file__).parent
HOUSE = {"laboratory_mlp3_mse": "digits8", "phase_portrait_mlp3_mse": "digits"}  # the book's own runs, and their task
TRACES = 3  # earlier runs kept in sight
PASSING = 8  # recorded points below which a run was only passed through in a drag, and leaves no trace
GAMMA_RANGE, ETA_RANGE = (-4.0, 4.0), (-9.0, 5.0)  # log10, the headline portrait's
RECORD_POINTS, PROBE_POINTS = 80, 16


class View(anywidget.AnyWidget):
    """The picture: Python writes, ``lab.js`` draws. Curves travel as bytes (:func:`richness.book.lab.pack.curve`)."""

    _esm = (HERE / "lab.js").read_text(encoding="utf-8")
    _css = (HERE / "lab.css").read_text(encoding="utf-8")
    run = traitlets.Dict().tag(sync=True)
    curve = traitlets.Bytes(b"").tag(sync=True)
    near = traitlets.Dict().tag(sync=True)
    traces: traitlets.List = traitlets.List().tag(sync=True)


class Lab:
    """A laboratory for one network: two sliders, γ and η, and the run they ask for.

    In a live kernel, moving a slider starts training in a background thread (the notebook stays free; the latest move
    wins) and draws the training loss and the sharpness λ_max, with SGD's stability line 2/lr_raw, lr_raw = width·η, as
    they come: against the step t or against τ = ηt/γ. Earlier runs stay as faint traces. A run that diverges says at
    which step. Where ``RICHNESS_BOOK=1`` stands in the environment (the book's build, Papermill) nothing is trained: it
    shows measured runs, with a picture, a summary and a table that need no JavaScript.

    Args:
        gamma: richness γ > 0 at the start.
        eta: step size η > 0 at the start; SGD moves raw weights by width·η.
        depth: L, the number of weight layers.
        width: N, units a hidden layer.
        loss: ``"mse"`` (mean over batch and classes, no ½) or ``"cross_entropy"`` (nats).
        task: the stream of samples, e.g. ``"digits8"``.
        batch_size: fresh samples a step.
        steps: updates a run.
        seed: of the initial weights and the stream.
        precomputed: measured runs of this network, a Dataset or a name for :func:`richness.load`. In Jupyter the
            nearest of them is drawn at once, dashed, under the live run; on a page they are what is shown. By default
            the book's own runs of this network, if there are any.

    Raises:
        ValueError: a value the :class:`richness.Experiment` refuses (γ ≤ 0, NaN, an unknown task …), or measured runs
            of another network.
        richness.runs.results.ResultError: no such precomputed runs.

    Example:
        >>> lab = richness.Lab(gamma=10.0, eta=1.0)
        >>> lab            # shows it, and starts the first run
        >>> lab.close()    # stops the thread
    """

    def __init__(
        self,
        gamma: float = 1.0,
        eta: float = 0.1,
        depth: int = 3,
        width: int = 64,
        loss: str = "mse",
        task: str = "digits8",
        batch_size: int = 64,
        steps: int = 1000,
        seed: int = 0,
        precomputed: xr.Dataset | str | None = None,
    ):
        first = Experiment(
            depth=depth,
            width=width,
            loss=loss,
            task=task,
            batch_size=batch_size,
            steps=steps,
            gammas=(gamma,),
            etas=(eta,),
            seeds=(seed,),
            probes=("loss", "sharpness"),
            record_points=RECORD_POINTS,
            probe_points=PROBE_POINTS,
        )
        self._experiment, self._seed = first, first.seeds[0]
        self._lock = threading.RLock()
        self._trainer: Trainer | None = None
        self.on_page = os.environ.get("RICHNESS_BOOK") == "1"
        self._runs, self._missing = _measured(precomputed, first, self.on_page)
        if not self.on_page:
            self._trainer = Trainer(self._show)
            self._past: list[Run] = []
            self._current: Run | None = None
            self._gamma = _slider("gamma", first.gammas[0], GAMMA_RANGE)
            self._eta = _slider("eta", first.etas[0], ETA_RANGE)
            self._view = View()
            self._view.on_msg(lambda *_: self._begin())
            for slider in (self._gamma, self._eta):
                slider.observe(lambda _: self.train(), names="value")
            #: What is displayed, to be placed in a layout of your own.
            self.widget = ipywidgets.VBox([self._gamma, self._eta, self._view])

    @property
    def gamma(self) -> float:
        """γ, as the slider stands; set it to move the slider."""
        return self._experiment.gammas[0] if self.on_page else float(self._gamma.value)

    @gamma.setter
    def gamma(self, value: float) -> None:
        self._move("gamma", value)

    @property
    def eta(self) -> float:
        """η, as the slider stands; set it to move the slider."""
        return self._experiment.etas[0] if self.on_page else float(self._eta.value)

    @eta.setter
    def eta(self, value: float) -> None:
        self._move("eta", value)

    def train(self) -> None:
        """Train at the sliders' γ and η from the start, in the background; whatever was running stops."""
        if self._trainer is None:
            raise RuntimeError("this laboratory stands on a built page, where nothing trains: unset RICHNESS_BOOK")
        experiment = _at(self._experiment, self.gamma, self.eta)
        with self._lock:
            run = self._trainer.start(experiment)
            if self._current is not None and (len(self._current.step) >= PASSING or self._current.died >= 0):
                self._past = [*self._past, self._current][-TRACES:]
            self._current = run
            self._view.traces = [{**_facts(r), "data": _curve(r)} for r in self._past]
            self._view.near = self._nearest(run)
            self._send(run)

    def close(self) -> None:
        """Stop the run and its thread, and take the widgets off the page."""
        if self._trainer is None:
            return
        self._trainer.close()
        for part in (*self.widget.children, self.widget):
            part.close()

    def _begin(self) -> None:
        if self._current is None:
            self.train()

    def _move(self, name: str, value: float) -> None:
        values = {"gamma": self.gamma, "eta": self.eta, name: value}
        checked = _at(self._experiment, values["gamma"], values["eta"])
        if self.on_page:
            self._experiment = checked
            return
        slider = self._gamma if name == "gamma" else self._eta
        slider.min, slider.max = min(slider.min, math.log10(value)), max(slider.max, math.log10(value))
        slider.value = value

    def _show(self, run: Run) -> None:
        """From the trainer's thread: draw, unless a later run has begun."""
        with self._lock:
            if self._current is None or run.number == self._current.number:
                self._send(run)

    def _send(self, run: Run) -> None:
        with self._view.hold_sync():
            self._view.run = {**_facts(run), "text": _words(run)}
            self._view.curve = _curve(run)

    def _nearest(self, run: Run) -> dict[str, Any]:
        if self._runs is None:
            return {}
        g, e = pack.nearest(self._runs, run.gamma, run.eta, self._seed)
        cell = pack.one_run(self._runs, g, e, self._seed)
        label = f"Dashed: precomputed, nearest: gamma = {cell['gamma']:.3g}, eta = {cell['eta']:.3g}"
        label += _difference(self._runs, self._experiment)
        if cell["status"] == pack.DIVERGED:
            label += f"; it diverged at step {cell['died']}"
        data = pack.curve(0, cell["step"], cell["loss"], cell["sharpness"])
        kept = {key: cell[key] for key in ("gamma", "eta", "lr", "steps", "died")}
        return {**kept, "label": label + ".", "data": data}

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if self.on_page:
            summary = f"Lab at gamma = {self.gamma:g}, eta = {self.eta:g} (measured runs)"
            return {"text/html": self.html(), "text/plain": summary}, {}
        self._begin()
        shown = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        # The view knows what its surroundings ask for: Colab wants a word about custom widgets.
        bundle: Any = getattr(self._view, "_repr_mimebundle_", dict)()
        return {WIDGET_VIEW: shown, "text/plain": repr(self)}, bundle[1] if isinstance(bundle, tuple) else {}

    def html(self) -> str:
        """The page's laboratory: picture, summary, table, and the measured runs for ``lab.js`` to open."""
        return html.page(self._experiment, self._runs, self._missing)

    def __repr__(self) -> str:
        e = self._experiment
        network = f"depth={e.depth}, width={e.width}, loss={e.loss!r}, task={e.task!r}"
        return f"Lab(gamma={self.gamma:g}, eta={self.eta:g}, {network})"


def _at(experiment: Experiment, gamma: float, eta: float) -> Experiment:
    """The same recipe at another γ and η, validated."""
    return Experiment(**{**experiment.model_dump(), "gammas": (gamma,), "etas": (eta,)})


def _slider(name: str, value: float, span: tuple[float, float]) -> ipywidgets.FloatLogSlider:
    exponent = math.log10(value)
    return ipywidgets.FloatLogSlider(
        value=value,
        base=10.0,
        min=min(span[0], exponent),
        max=max(span[1], exponent),
        step=0.05,
        description=name,
        readout_format=".3g",
        layout=ipywidgets.Layout(width="100%", max_width="38rem"),
    )


def _facts(run: Run) -> dict[str, Any]:
    """What ``lab.js`` needs to draw a run."""
    return {
        "number": run.number,
        "gamma": run.gamma,
        "eta": run.eta,
        "lr": float(run.experiment.lr_raw(run.eta)),
        "steps": run.experiment.steps,
        "died": run.died,
        "state": run.state,
    }


def _curve(run: Run) -> bytes:
    return pack.curve(run.number, run.step, run.loss, run.sharpness)


def _words(run: Run) -> str:
    """How the run stands, in a sentence."""
    where = f"gamma = {run.gamma:.3g} ({html.regime(run.gamma)}), eta = {run.eta:.3g}"
    loss = f"loss {run.loss[-1]:.3g}" if run.loss else "no loss yet"
    reached = int(run.step[-1]) if run.step else 0
    said = {
        "starting": "starting …",
        "training": f"step {reached} of {run.experiment.steps}, {loss}",
        "finished": f"finished {run.experiment.steps} steps, {loss}",
        "diverged": f"diverged at step {run.died}",
        "stopped": f"stopped at step {reached}",
        "error": f"the run stopped with an error. {run.message}",
    }
    return f"{where}: {said[run.state]}"


def _measured(precomputed: Any, wanted: Experiment, on_page: bool) -> tuple[xr.Dataset | None, str]:
    """The measured runs, or None and a sentence that says what is missing.

    Raises:
        ValueError: runs that were named are of another network.
        ResultError: a name that was never measured; a page only says so.
    """
    if precomputed is None:
        return _house_runs(wanted, on_page)
    try:
        runs = _loaded(precomputed) if isinstance(precomputed, str) else precomputed
    except ResultError as error:
        if not on_page:
            raise
        return None, f"The measured runs are missing here: {error}."
    asked, found = _mismatch(runs, wanted)
    if asked:
        raise ValueError(
            f"expected measured runs with {asked}, as this Lab trains; got {found}. Choose other runs or arguments."
        )
    return runs, ""


def _house_runs(wanted: Experiment, on_page: bool) -> tuple[xr.Dataset | None, str]:
    """The book's own runs of this network, its task first; beside a live run only those of the same recipe."""
    missing = ""
    for name in sorted(HOUSE, key=lambda name: HOUSE[name] != wanted.task):
        try:
            runs = _loaded(name)
        except ResultError as error:
            missing = missing or f"The measured runs are missing here: {error}."
            continue
        asked, found = _mismatch(runs, wanted)
        if asked:
            missing = missing or f"No runs have been measured for {asked} (those at hand have {found})."
        elif on_page or not _difference(runs, wanted):
            return runs, ""
    return None, missing


def _mismatch(runs: xr.Dataset, wanted: Experiment) -> tuple[str, str]:
    """(what was asked for, what the measured runs have) where they are of another network; two empty strings if not."""
    made = pack.recipe(runs)
    other = [k for k in ("network", "depth", "loss", "activation") if made.get(k) != getattr(wanted, k)]
    return ", ".join(f"{k} {getattr(wanted, k)!r}" for k in other), ", ".join(f"{k} {made.get(k)!r}" for k in other)


@cache
def _loaded(name: str) -> xr.Dataset:
    """``richness.load`` once a name; a chapter may hold several laboratories."""
    return load(name)


def _difference(runs: xr.Dataset, wanted: Experiment) -> str:
    """In what the measured runs differ from the live one, for a label."""
    made = pack.recipe(runs)
    names = ("task", "width", "batch_size", "steps")
    told = [f"{k} {made[k]}" for k in names if k in made and made[k] != getattr(wanted, k)]
    return f" (with {', '.join(told)})" if told else ""
