"""Engines: how a stack of networks takes its steps. All give the same numbers, to rounding.

=============  ======================================  =====================================================
engine         networks                                how
=============  ======================================  =====================================================
``autograd``   any, on any device                      torch's own differentiation: the road for general
                                                       networks, and what the others are tested against
``fused``      MLPs of the package's own activations   the backward pass by hand, steps straight into the
               and losses, on any device               weights, stacked matrix products
``compiled``   MLPs of the package's own activations,  the same as one C++ loop over cache-sized tiles, built
               losses and optimisers,                  once by the machine's own compiler
               on a CPU, where there is a C++
               compiler
=============  ======================================  =====================================================
"""

from __future__ import annotations

from richness.runs.engines.autograd import Autograd
from richness.runs.engines.compiled import Compiled
from richness.runs.engines.fused import Fused
from richness.runs.engines.stack import Block, Engine, Stack
from richness.runs.experiment import Experiment
from richness.runs.results import device_name

__all__ = [
    "ENGINES",
    "Autograd",
    "Block",
    "Compiled",
    "Engine",
    "Fused",
    "Stack",
    "engine_for",
    "name_machine",
    "passed_over",
]

#: name → engine, the fastest first; the last knows every experiment.
ENGINES: dict[str, type[Engine]] = {"compiled": Compiled, "fused": Fused, "autograd": Autograd}


def engine_for(experiment: Experiment, name: str = "auto") -> type[Engine]:
    """The fastest engine that knows all of an experiment: its network, activation, loss, optimiser and device.

    Args:
        name: ``auto``, or the engine that it must be.

    Raises:
        ValueError: no such engine, or one that does not know the experiment; the message says what it does not know.
    """
    best = next(key for key, engine in ENGINES.items() if not engine.refuses(experiment))
    if name == "auto":
        return ENGINES[best]
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}: choose one of auto, {', '.join(ENGINES)}")
    if reason := ENGINES[name].refuses(experiment):
        raise ValueError(f"the {name} engine {reason}: use engine {best!r}, or 'auto'")
    return ENGINES[name]


def passed_over(experiment: Experiment) -> str:
    """Why engines that are faster than ``auto``'s do not take an experiment, in words; empty where none is."""
    taken = list(ENGINES.values()).index(engine_for(experiment))
    faster = list(ENGINES.items())[:taken]
    return "; ".join(f"the {name} engine {engine.refuses(experiment)}" for name, engine in faster)


def name_machine(experiment: Experiment) -> str:
    """The device that an experiment is trained on here, in words, with the compiler of an engine that was compiled for it.

    Last bits are a processor's and a compiler's own.
    """
    build = engine_for(experiment).build()
    return device_name(experiment.device) + (f", {build.version}" if build else "")
