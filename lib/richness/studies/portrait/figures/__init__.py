"""The figures of the portrait: of one plane, of many, and of their boundaries."""

from richness.studies.portrait.figures.curves import loss_curves
from richness.studies.portrait.figures.depth import closing, exponents_by_depth
from richness.studies.portrait.figures.explorer import explorer
from richness.studies.portrait.figures.exponents import best_eta, boundary_fits, budgets
from richness.studies.portrait.figures.gallery import gallery
from richness.studies.portrait.figures.portrait import portrait, triangle
from richness.studies.portrait.figures.scales import at_scales

__all__ = [
    "at_scales",
    "best_eta",
    "boundary_fits",
    "budgets",
    "closing",
    "explorer",
    "exponents_by_depth",
    "gallery",
    "loss_curves",
    "portrait",
    "triangle",
]
