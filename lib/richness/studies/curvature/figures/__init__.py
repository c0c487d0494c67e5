"""The figures of curvature: the sharpness at the end and along training, the spectrum, and how many eigenvalues are large."""

from richness.studies.curvature.figures.ends import sharpness_exponents
from richness.studies.curvature.figures.spectra import spectrum, two_spectra
from richness.studies.curvature.figures.training import large_eigenvalues, sharpness_along_training

__all__ = ["large_eigenvalues", "sharpness_along_training", "sharpness_exponents", "spectrum", "two_spectra"]
