"""The arithmetic of multilayer perceptrons in C++: one source, for the machine's own compiler and for the page.

``tiles.h`` has vectors and products, ``network.h`` the passes and steps, ``curvature.h`` gradients and Hessian products,
``kernel.cpp`` the doors; :mod:`.compiler` builds and
loads them here, :mod:`.layout` is what both sides of a door agree on. It knows no grid of γ and η, no file, no experiment.
"""

from richness.kernel.compiler import Build, build, library, reason
from richness.kernel.curvature import Curvature, Samples
from richness.kernel.layout import ACTIVATION_CODES, LOSS_CODES, OPTIMIZER_CODES, Data, Shape, call, pad_rows, pointers

__all__ = [
    "ACTIVATION_CODES",
    "LOSS_CODES",
    "OPTIMIZER_CODES",
    "Build",
    "Curvature",
    "Data",
    "Samples",
    "Shape",
    "build",
    "call",
    "library",
    "pad_rows",
    "pointers",
    "reason",
]
