"""The figures of the portrait: of one plane, of many, and of their boundaries."""

from richness.studies.portrait.figures.batches import compare_batches
from richness.studies.portrait.figures.curves import loss_curves
from richness.studies.portrait.figures.depth import closing_triangle, exponents_by_depth
from richness.studies.portrait.figures.explorer import explorer
from richness.studies.portrait.figures.exponents import best_eta, boundary_fits, budgets
from richness.studies.portrait.figures.gallery import gallery
from richness.studies.portrait.figures.portrait import portrait, triangle
from richness.studies.portrait.figures.scales import compare, compare_scales

__all__ = [
    "best_eta",
    "boundary_fits",
    "budgets",
    "closing_triangle",
    "compare",
    "compare_batches",
    "compare_scales",
    "explorer",
    "exponents_by_depth",
    "gallery",
    "loss_curves",
    "portrait",
    "triangle",
]
