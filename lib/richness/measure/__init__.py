"""Measurements of a black box L(θ): no optimiser, no γ, no files."""

from richness.measure.curvature import sharpness

__all__ = ["sharpness"]
