"""What a run in the laboratory is asked for by, its *run settings*, and the experiment that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from richness.data import TASKS
from richness.runs.experiment import Experiment

#: The settings in the words of :class:`richness.Experiment`; γ, η and the seed in the singular.
FIELDS = ("depth", "width", "loss", "task", "optimizer", "batch_size", "steps")
PROBE_POINTS, PROBE_SAMPLES = 16, 1024

#: gamma, eta, seed and :data:`FIELDS`, each with one value. In messages, setups and downloads they stand under ``ask``.
RunSettings = dict[str, Any]


def experiment_of(settings: Mapping[str, Any], device: str = "cpu") -> Experiment:
    """What run settings describe: one run with the laboratory's gauges.

    Raises:
        ValueError: a field is missing, unknown or has a value that the :class:`richness.Experiment` refuses.
    """
    wanted = {"gamma", "eta", "seed", *FIELDS}
    if set(settings) != wanted:
        raise ValueError(f"a run is asked for by {', '.join(sorted(wanted))}; got {', '.join(sorted(settings))}")
    accuracy = ("accuracy",) if settings["task"] in labelled_tasks() else ()
    return Experiment(
        **{name: settings[name] for name in FIELDS},
        gammas=(settings["gamma"],),
        etas=(settings["eta"],),
        seeds=(settings["seed"],),
        probes=("loss", "sharpness", "along_gradient", *accuracy, "test_loss", "ntk_alignment", "drift"),
        probe_points=PROBE_POINTS,
        probe_samples=PROBE_SAMPLES,
        device=device,
    )


def settings_of(experiment: Experiment) -> RunSettings:
    """The run settings of an experiment's first cell."""
    cell = {"gamma": experiment.gammas[0], "eta": experiment.etas[0], "seed": experiment.seeds[0]}
    return cell | {name: getattr(experiment, name) for name in FIELDS}


def labelled_tasks() -> list[str]:
    """The tasks whose samples have classes: only they have an accuracy and a cross-entropy."""
    return [name for name, task in TASKS.items() if task.classification]
