"""The solvable model of the paper's section 4, and its relatives.

* `one_weight`: one example, L equal weights; the boundaries, the escape, and their simulation. Its names, and those of
  `exponents` (what the paper predicts, and the slope of an exact formula over given γ), can be had from here.
* `catapult`: two unbalanced weights, with which a run outlives a step beyond 2/λ₀.
* `sign_steps`: the one weight under SignSGD.
* `single_index`: a target that is a function of the input, x ↦ ⟨a, x⟩^p with Gaussian x.
"""

from richness.analysis.theory import catapult, sign_steps, single_index
from richness.analysis.theory.exponents import predicted_exponent, slope
from richness.analysis.theory.one_weight import (
    CONVERGED_WITHIN,
    ESCAPE_LEVEL,
    Simulation,
    critical_eta,
    escape_time,
    escape_time_asymptote,
    initial_sharpness,
    loss_value,
    minimal_eta,
    minimum,
    minimum_sharpness,
    output,
    simulate,
    simulated_boundary,
    simulated_escape_time,
    transverse_sharpness,
    triangle_tip,
)
from richness.analysis.theory.scan import LOSSES

__all__ = [
    "CONVERGED_WITHIN",
    "ESCAPE_LEVEL",
    "LOSSES",
    "Simulation",
    "catapult",
    "critical_eta",
    "escape_time",
    "escape_time_asymptote",
    "initial_sharpness",
    "loss_value",
    "minimal_eta",
    "minimum",
    "minimum_sharpness",
    "output",
    "predicted_exponent",
    "sign_steps",
    "simulate",
    "simulated_boundary",
    "simulated_escape_time",
    "single_index",
    "slope",
    "transverse_sharpness",
    "triangle_tip",
]
