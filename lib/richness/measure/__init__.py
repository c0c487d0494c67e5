"""Measurements of a black box, L(θ) or f(x; θ), for a stack of networks: no optimiser, no γ, no files."""

from richness.measure.curvature import (
    along_gradient,
    bin_density,
    gauss_newton_vector_product,
    gradient,
    sharpest_direction,
    sharpness,
    spectral_density,
    symmetric_log_edges,
    top_eigenvalues,
    trace,
)
from richness.measure.features import drift, feature_rank, singular_values
from richness.measure.isometry import isometry_gap
from richness.measure.kernels import alignment, kernel_change, ntk, ntk_from_factors
from richness.measure.modules import sharpness_of_module
from richness.measure.similarity import cka, from_triangle, gram, r_squared
from richness.measure.step import overshoot, taylor

__all__ = [
    "alignment",
    "along_gradient",
    "bin_density",
    "cka",
    "drift",
    "feature_rank",
    "from_triangle",
    "gauss_newton_vector_product",
    "gradient",
    "gram",
    "isometry_gap",
    "kernel_change",
    "ntk",
    "ntk_from_factors",
    "overshoot",
    "r_squared",
    "sharpest_direction",
    "sharpness",
    "sharpness_of_module",
    "singular_values",
    "spectral_density",
    "symmetric_log_edges",
    "taylor",
    "top_eigenvalues",
    "trace",
]
