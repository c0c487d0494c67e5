"""richness: models, online trainers and measurements across the feature learning strength γ.

This is the map of everything public. Names are imported when first used, so that ``import richness`` and the command line's
help do not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from richness.analysis.boundaries import boundaries
    from richness.analysis.coordinates import check_coordinates
    from richness.analysis.ledger import ledger
    from richness.data import register_data, register_task, task
    from richness.lab import Lab
    from richness.measure import sharpness
    from richness.networks import (
        register_activation,
        register_loss,
        register_module,
        register_network,
        register_optimizer,
        register_schedule,
    )
    from richness.networks.wrapper import Centred, maximal_update_
    from richness.plots.records import record
    from richness.runs.batches import join_batches
    from richness.runs.experiment import Experiment
    from richness.runs.live import live
    from richness.runs.loops import Loop
    from richness.runs.plane import plane
    from richness.runs.probes import register_probe
    from richness.runs.recipes import load_or_run, recipe
    from richness.runs.results import load, read, save
    from richness.runs.search import search
    from richness.runs.snapshots import load_weights
    from richness.runs.sweep import sweep
    from richness.runs.training import train
    from richness.studies.adviser.analysis import advise
    from richness.studies.portrait.figures.batches import compare_batches
    from richness.studies.portrait.figures.portrait import portrait
    from richness.studies.portrait.figures.scales import compare

__version__ = "0.1.0"

_HOME = {
    # describe, run, keep
    "Experiment": "richness.runs.experiment",
    "recipe": "richness.runs.recipes",
    "sweep": "richness.runs.sweep",
    "Loop": "richness.runs.loops",
    "plane": "richness.runs.plane",
    "join_batches": "richness.runs.batches",
    "search": "richness.runs.search",
    "train": "richness.runs.training",
    "live": "richness.runs.live",
    "load_or_run": "richness.runs.recipes",
    "load": "richness.runs.results",
    "read": "richness.runs.results",
    "save": "richness.runs.results",
    "load_weights": "richness.runs.snapshots",
    # data and measurements
    "task": "richness.data",
    "sharpness": "richness.measure",
    "check_coordinates": "richness.analysis.coordinates",
    # a reader's own
    "register_network": "richness.networks",
    "register_module": "richness.networks",
    "register_activation": "richness.networks",
    "register_loss": "richness.networks",
    "register_optimizer": "richness.networks",
    "register_schedule": "richness.networks",
    "register_data": "richness.data",
    "register_task": "richness.data",
    "register_probe": "richness.runs.probes",
    # what came out
    "boundaries": "richness.analysis.boundaries",
    "portrait": "richness.studies.portrait.figures.portrait",
    "compare": "richness.studies.portrait.figures.scales",
    "compare_batches": "richness.studies.portrait.figures.batches",
    "ledger": "richness.analysis.ledger",
    "advise": "richness.studies.adviser.analysis",
    # for a PyTorch model of your own
    "Centred": "richness.networks.wrapper",
    "maximal_update_": "richness.networks.wrapper",
    # for a chapter
    "record": "richness.plots.records",
    # what a reader touches
    "Lab": "richness.lab",
}

__all__ = [
    "Centred",
    "Experiment",
    "Lab",
    "Loop",
    "advise",
    "boundaries",
    "check_coordinates",
    "compare",
    "compare_batches",
    "join_batches",
    "ledger",
    "live",
    "load",
    "load_or_run",
    "load_weights",
    "maximal_update_",
    "plane",
    "portrait",
    "read",
    "recipe",
    "record",
    "register_activation",
    "register_data",
    "register_loss",
    "register_module",
    "register_network",
    "register_optimizer",
    "register_probe",
    "register_schedule",
    "register_task",
    "save",
    "search",
    "sharpness",
    "sweep",
    "task",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"richness has no {name!r}: its public names are {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
