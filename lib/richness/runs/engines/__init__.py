"""Engines: how a stack of networks takes its steps. All give the same numbers, to rounding.

=============  ======================================  =====================================================
engine         networks                                how
=============  ======================================  =====================================================
``autograd``   any, on any device                      torch's own differentiation: the road for general
                                                       networks, and what the others are tested against
``fused``      MLPs, on any device                     the backward pass by hand, steps straight into the
                                                       weights, stacked matrix products
``compiled``   MLPs of relu or linear units, on a      the same as one C++ loop over cache-sized tiles, built
               CPU, where there is a C++ compiler      once by the machine's own compiler
=============  ======================================  =====================================================
"""

from __future__ import annotations

import torch

from richness.networks import MLP
from richness.runs.engines.autograd import Autograd
from richness.runs.engines.compiled import Compiled
from richness.runs.engines.compiler import library, reason
from richness.runs.engines.fused import Fused
from richness.runs.engines.stack import Block, Engine, Stack
from richness.runs.experiment import Experiment

__all__ = ["ENGINES", "Autograd", "Block", "Compiled", "Engine", "Fused", "Stack", "engine_for"]

ENGINES: dict[str, type[Engine]] = {"autograd": Autograd, "fused": Fused, "compiled": Compiled}


def engine_for(experiment: Experiment, name: str = "auto") -> type[Engine]:
    """The fastest engine that knows the experiment's network on its device, or the one of that name.

    Raises:
        ValueError: no such engine, or one that does not know this network or device; the message says why.
    """
    network, on_cpu = experiment.architecture, torch.device(experiment.device).type == "cpu"
    fused = isinstance(network, MLP)
    compiled = isinstance(network, MLP) and on_cpu and network.activation in Compiled.ACTIVATIONS
    if name == "auto":
        return Compiled if compiled and library() else Fused if fused else Autograd
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}: choose one of auto, {', '.join(ENGINES)}")
    if name == "fused" and not fused:
        raise ValueError(f"the fused engine knows MLPs only, not {experiment.network!r}: use engine 'autograd'")
    if name == "compiled" and not compiled:
        raise ValueError(
            f"the compiled engine knows MLPs of {' or '.join(Compiled.ACTIVATIONS)} units on a CPU, not {experiment.network!r} "
            f"of {experiment.activation!r} on {experiment.device!r}: use engine 'auto'"
        )
    if name == "compiled" and not library():
        raise ValueError(f"the compiled engine cannot be built here ({reason()}): use engine 'fused'")
    return ENGINES[name]
