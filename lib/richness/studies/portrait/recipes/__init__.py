"""The recipes of portraits: of perceptrons, of other architectures, of the paper's own data, and of the laboratory."""

from richness.studies.portrait.recipes import architectures, laboratory, portraits
from richness.studies.portrait.recipes.files import PAPER_ONLY

RECIPES = {**portraits.RECIPES, **laboratory.RECIPES, **architectures.RECIPES}

__all__ = ["PAPER_ONLY", "RECIPES"]
