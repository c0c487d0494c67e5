"""The figures of the dynamics: one run under a movable rule, the catapults' band, the plateaus' lengths, the collapse in τ."""

from richness.studies.dynamics.figures.catapults import catapult_band
from richness.studies.dynamics.figures.one_run import scrubber
from richness.studies.dynamics.figures.plateau_lengths import plateaus
from richness.studies.dynamics.figures.rescaled_time import collapse

__all__ = ["catapult_band", "collapse", "plateaus", "scrubber"]
