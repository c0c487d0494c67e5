"""The figures of the dynamics: one run, the catapults' band, plateaus' lengths, the collapse in τ, two clocks."""

from richness.studies.dynamics.figures.catapults import catapult_band
from richness.studies.dynamics.figures.one_run import scrubber
from richness.studies.dynamics.figures.plateau_lengths import plateaus
from richness.studies.dynamics.figures.rescaled_time import collapse
from richness.studies.dynamics.figures.two_clocks import clock_exponents

__all__ = ["catapult_band", "clock_exponents", "collapse", "plateaus", "scrubber"]
