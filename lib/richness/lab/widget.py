"""``Lab``: turn γ and η, and watch. In Jupyter it trains; on a built page it explores what was measured."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets
import xarray as xr

from richness.data import TASKS
from richness.lab import html
from richness.lab.measured import find_measured
from richness.lab.presets import PRESETS, preset_of
from richness.lab.reports import pack_report
from richness.lab.settings import FIELDS, experiment_of, settings_of
from richness.lab.thread import TrainingThread
from richness.networks import LOSSES, OPTIMIZERS
from richness.runs.experiment import Experiment
from richness.runs.results import device_here

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
HERE = Path(__file__).parent
RANGES = {"gamma": (-4.0, 4.0), "eta": (-9.0, 5.0)}  # log10, the headline portrait's
NOTCH = 0.05  # of a slider, log10
#: What the controls offer; Python takes any other value too.
OFFERED: dict[str, list[Any]] = {
    "depth": [2, 3, 4, 5, 6, 8],
    "width": [16, 32, 64, 128, 256, 512, 1024],
    "batch_size": [16, 32, 64, 128, 256, 512, 1024],
    "steps": [300, 1000, 3000, 10000, 30000],
}


class InstrumentView(anywidget.AnyWidget):
    """The instrument. It is born with ``setup``; requests and reports travel as custom messages (see ``kernel.js``)."""

    _esm = (HERE / "lab.bundle.js").read_text(encoding="utf-8")
    _css = (HERE / "lab.css").read_text(encoding="utf-8")
    setup = traitlets.Dict().tag(sync=True)


class Lab:
    """A laboratory for one network: two sliders, γ and η, and the run they ask for.

    In a live kernel, moving a slider starts training in a background thread (the notebook stays free; the latest move wins) and
    draws every step's training loss as it comes, and at log-spaced steps the sharpness λ_max and the curvature along the
    gradient with SGD's stability line 2/lr_raw, lr_raw = width·η, the held-out accuracy and loss, the kernel's alignment and
    the hidden layers' drift: against the step t or against τ = ηt/γ. η can be changed while it trains. A run that diverges
    says at which step. Where ``RICHNESS_BOOK=1`` stands in the environment (the book's build, Papermill) nothing is trained by
    Python: it shows measured runs, with a picture, a summary and a table that need no JavaScript, and the page itself trains
    what it can.

    Every setting below up to ``seed``, and ``optimizer``, can be read and set: ``lab.depth = 4`` moves the controls and
    trains anew.

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
        precomputed: measured runs of this network, a Dataset or a name for :func:`richness.load`. The nearest of them is
            drawn at once, dashed, under the live run. By default the book's own runs of this network, if there are any.
        optimizer: ``"sgd"``, ``"momentum"``, ``"signsgd"`` or ``"adam"``.
        preset: a setting that shows a phenomenon, a name of ``richness.lab.presets.PRESETS``; what is not given
            above is taken from it.
        play: on a built page, the measured runs show themselves once, η climbing over the edge, until a reader takes over;
            the first move then trains. In Jupyter it changes nothing.
        device: where to train; ``"auto"`` is a CUDA device where there is one, else the CPU.

    Raises:
        ValueError: a value the :class:`richness.Experiment` refuses (γ ≤ 0, NaN, an unknown task …), an unknown preset, or
            measured runs of another network.
        richness.runs.results.ResultError: no such precomputed runs.

    Example:
        >>> lab = richness.Lab(gamma=10.0, eta=1.0)
        >>> lab            # shows it, and starts the first run
        >>> lab.run.loss   # the run as richness.sweep gives it, once it has ended
        >>> lab.depth = 4  # any setting: another run
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
        *,
        optimizer: str = "sgd",
        preset: str | None = None,
        play: bool = False,
        device: str = "auto",
    ):
        settings = {
            "gamma": gamma, "eta": eta, "depth": depth, "width": width, "loss": loss, "task": task,
            "optimizer": optimizer, "batch_size": batch_size, "steps": steps, "seed": seed,
        }  # fmt: skip
        if preset is not None:
            wanted = preset_of(preset)["ask"]
            settings = {name: wanted[name] if value == DEFAULT[name] else value for name, value in settings.items()}
        self._device = device_here(device) if device == "auto" else device
        self._experiment, self._preset, self._play = experiment_of(settings, self._device), preset, play
        self.on_page = os.environ.get("RICHNESS_BOOK") == "1"
        self._measured, self._missing = find_measured(precomputed, self._experiment, self.on_page)
        self._training_thread: TrainingThread | None = None
        self._quiet = False  # while a slider is moved to where a run is, not by a reader
        self._on_the_way = False  # whether a move of eta changes the run, or starts it anew
        if not self.on_page:
            self._training_thread = TrainingThread(self._tell)
            self._build_widgets()

    def _build_widgets(self) -> None:
        setup = html.setup(self._experiment, self._measured, presets=PRESETS, sliders=False, preset=self._preset)
        # A page fetches the runs of other networks when they are needed; here they would all travel at once.
        setup["runs"] = {key: runs for key, runs in setup["runs"].items() if not isinstance(runs, str)}
        self._view = InstrumentView(setup=setup)
        self._view.on_msg(self._receive)
        self._sliders = {name: _slider(name, getattr(self, name), span) for name, span in RANGES.items()}
        self._numbers = {name: _number(name, getattr(self, name)) for name in RANGES}
        for name in RANGES:
            self._sliders[name].observe(lambda change, name=name: self._take_slider(name, change["new"]), names="value")
            self._numbers[name].observe(lambda change, name=name: self._take_number(name, change["new"]), names="value")
        rows = [ipywidgets.HBox([self._sliders[name], self._numbers[name]]) for name in RANGES]
        #: What is displayed, to be placed in a layout of your own.
        self.widget = ipywidgets.VBox([*rows, self._view])

    def __getattr__(self, name: str) -> Any:
        """A setting of the next run: gamma, eta, seed, or one of `FIELDS`."""
        if name not in SETTINGS:
            raise AttributeError(f"a laboratory has no {name!r}; its settings are {', '.join(SETTINGS)}")
        return settings_of(self._experiment)[name]

    def __setattr__(self, name: str, value: Any) -> None:
        """Another setting: it moves the controls, and trains anew. What is no setting is refused.

        Raises:
            AttributeError: no setting. ValueError: a value that no experiment could have; nothing has changed then.
        """
        if name in SETTINGS:
            self._set_value(name, value)
        elif name.startswith("_") or name in ("on_page", "widget"):
            super().__setattr__(name, value)
        else:
            raise AttributeError(f"a laboratory has no {name!r} to be set; its settings are {', '.join(SETTINGS)}")

    def train(self) -> None:
        """Train at γ and η from the start, in the background; whatever was running stops."""
        self._require_thread().start(self._experiment)

    def change(self, eta: float) -> None:
        """Another η from the next step on, while it trains or is paused."""
        thread = self._require_thread()
        self._choose(eta=eta)
        self._move_controls()
        thread.change(self.eta)

    def pause(self) -> None:
        """Wait after the step that is being taken."""
        self._require_thread().pause()

    def resume(self) -> None:
        """Go on after a pause."""
        self._require_thread().resume()

    def step(self, count: int = 1) -> None:
        """Take ``count`` updates, then pause."""
        self._require_thread().step(count)

    def rewind(self) -> None:
        """Back to step 0 of the same run, paused."""
        self._require_thread().rewind()

    def stop(self) -> None:
        """End the run where it is."""
        self._require_thread().stop()

    def wait(self, timeout: float | None = None) -> xr.Dataset:
        """Wait until the run that was asked for last has ended, and return it as :func:`richness.sweep` gives it; one is begun
        where none was.

        Raises:
            RuntimeError: it is paused or was stopped, so that it will not end, or it failed; or no kernel trains here.
            TimeoutError: it goes on after ``timeout`` seconds.
        """
        self._begin()
        return self._require_thread().wait(timeout).result()

    @property
    def runs(self) -> list[xr.Dataset]:
        """The latest runs that finished or diverged, oldest first, each as :func:`richness.sweep` gives it.

        Where η was changed on the way, the attribute ``eta_changes``, JSON of [[step, η], …], says so: the recipe is then not
        all that made the run.
        """
        return [training.result() for training in tuple(self._require_thread().ended)]

    @property
    def run(self) -> xr.Dataset:
        """The run that was asked for last, which is waited for while it trains; where it is paused or was stopped, the last of
        :attr:`runs`.

        Raises:
            RuntimeError: none has ended, and none is training.
        """
        training = self._require_thread().training
        if training is not None and training.state in ("loading", "training"):
            return self.wait()
        ended = tuple(self._require_thread().ended)
        if not ended:
            state = f"this one is {training.state}" if training else "none was begun"
            raise RuntimeError(f"no run has ended yet, and {state}: show the laboratory, or call train() or resume()")
        return ended[-1].result()

    def close(self) -> None:
        """Stop the run and its thread, and take the widgets off the page."""
        if self._training_thread is None:
            return
        self._training_thread.close()
        for part in (*self._sliders.values(), *self._numbers.values(), *self.widget.children, self.widget):
            part.close()

    def _require_thread(self) -> TrainingThread:
        if self._training_thread is None:
            raise RuntimeError("this laboratory stands on a built page, where no kernel trains: unset RICHNESS_BOOK")
        return self._training_thread

    def _begin(self) -> None:
        if self._require_thread().training is None:
            self.train()

    # From the sliders, and from the view.

    def _choose(self, **changes: Any) -> None:
        """Other settings from here on; a ValueError, and those before, where no experiment has them."""
        self._experiment = experiment_of(settings_of(self._experiment) | changes, self._device)

    def _set_value(self, name: str, value: Any) -> None:
        before = self._experiment
        self._choose(**{name: value})
        if not self.on_page and self._experiment != before:
            self._move_controls()
            if name in FIELDS:  # a value that the view has not offered so far
                self._tell({"kind": "ready", **offers(self._experiment)})
            self._retrain(name)

    def _move_controls(self, *, sliders: bool = True) -> None:
        """Put the numbers, and the sliders, where the run is."""
        self._quiet = True
        try:
            for name, number in self._numbers.items():
                number.value = getattr(self, name)
            for name, slider in self._sliders.items() if sliders else ():
                exponent = math.log10(getattr(self, name))
                slider.min, slider.max = min(slider.min, exponent), max(slider.max, exponent)
                slider.value = getattr(self, name)
        finally:
            self._quiet = False

    def _take_slider(self, name: str, value: float) -> None:
        """A slider has moved. In the browser it also puts itself on the nearest of its notches: that is no move."""
        if not self._quiet and abs(math.log10(value / getattr(self, name))) > NOTCH / 2 + 1e-9:
            self._choose(**{name: float(f"{value:.3g}")})
            self._move_controls(sliders=False)  # not the slider itself: a reader's hand is on it
            self._retrain(name)

    def _take_number(self, name: str, value: float) -> None:
        if self._quiet:
            return
        try:
            self._set_value(name, value)
        except ValueError:  # what cannot be trained is not kept
            self._move_controls()

    def _retrain(self, name: str) -> None:
        thread = self._require_thread()
        if name == "eta" and self._on_the_way and thread.training and thread.training.under_way:
            thread.change(self.eta)
        else:
            self.train()

    def _receive(self, _: Any, message: Mapping[str, Any], __: Any) -> None:
        """A message of the view: answered at once, so that it knows a live kernel from a dead one."""
        self._tell({"kind": "heard"})
        try:
            self._obey(message)
        except Exception as error:  # what was asked cannot be done: the reader is told
            training = self._require_thread().training
            number = training.number if training else 0
            self._tell({"kind": "state", "number": number, "state": "error", "step": 0, "message": str(error)})

    def _obey(self, message: Mapping[str, Any]) -> None:
        thread, what = self._require_thread(), message.get("do")
        if what == "shown":
            self._tell({"kind": "ready", **offers(self._experiment)})
            self._begin()
            thread.replay()
        elif what == "start":
            self._experiment = experiment_of(message["ask"], self._device)
            self._move_controls()
            self.train()
        elif what == "change":
            self.change(message["eta"])
        elif what == "step":
            thread.step(int(message["count"]))
        elif what == "eta_mode":
            self._on_the_way = message["mode"] == "on"
        elif what in ("pause", "resume", "rewind"):
            getattr(thread, what)()
        else:
            raise ValueError(f"the laboratory does not know what {what!r} is")

    def _tell(self, report: Mapping[str, Any]) -> None:
        content, buffers = pack_report(report)
        self._view.send(content, buffers)

    # Shown.

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
        return html.page(
            self._experiment, self._measured, self._missing, presets=PRESETS, preset=self._preset, play=self._play
        )

    def __repr__(self) -> str:
        network = ", ".join(
            f"{name}={getattr(self._experiment, name)!r}" for name in ("depth", "width", "loss", "task")
        )
        return f"Lab(gamma={self.gamma:g}, eta={self.eta:g}, {network})"


SETTINGS = ("gamma", "eta", "seed", *FIELDS)

DEFAULT: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(Lab).parameters.items()
    if name in {*FIELDS, "gamma", "eta", "seed"}
}


def offers(experiment: Experiment) -> dict[str, Any]:
    """What can be asked of this kernel, the experiment at hand included.

    Returns:
        ``limits``, field -> values (γ, η and the seed are free), and ``reasons``, none here.
    """
    lists = OFFERED | {"loss": list(LOSSES), "task": list(TASKS), "optimizer": list(OPTIMIZERS)}
    limits: dict[str, Any] = {
        name: values if (value := getattr(experiment, name)) in values else sorted([*values, value])
        for name, values in lists.items()
    }
    limits["losses_of"] = {name: list(LOSSES) if task.classification else ["mse"] for name, task in TASKS.items()}
    return {"limits": limits, "reasons": {}}


def _slider(name: str, value: float, span: tuple[float, float]) -> ipywidgets.FloatLogSlider:
    exponent = math.log10(value)
    return ipywidgets.FloatLogSlider(
        value=value,
        base=10.0,
        min=min(span[0], exponent),
        max=max(span[1], exponent),
        step=NOTCH,
        description=name,
        readout=False,  # it would show the notch: the number beside it says what is trained, and takes any value
        layout=ipywidgets.Layout(width="100%", max_width="34rem"),
    )


def _number(name: str, value: float) -> ipywidgets.FloatText:
    layout = ipywidgets.Layout(width="6.5rem")
    return ipywidgets.FloatText(value=value, step=None, tooltip=f"{name}, as a number", layout=layout)
