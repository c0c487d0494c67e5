"""Very deep normed networks at initialisation: the isometry gap of every layer, and the gradient of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from richness import rng
from richness.data import TASKS
from richness.measure import isometry_gap
from richness.networks import normalised
from richness.runs.description import Measurement, as_tuple, log_steps, no_twins
from richness.runs.results import narrow_to_float32

SHARED = 0.9  # of every correlated sample's variance, how much is common to all
NEAR = 0.05  # of an orthogonal matrix's entries, how much noise makes it nearly orthogonal
TWINS = 8  # one in so many samples appears twice among the inputs with twins
FIRST_ORDER = (1e-9, 1e-2)  # gaps of which a layer's contraction is taken: small enough, and above rounding


class Case(BaseModel):
    """One network on one batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: Literal["orthogonal", "gaussian"] = "orthogonal"
    inputs: Literal["gaussian", "correlated", "near", "digits", "twins"] = "gaussian"
    width: int = Field(32, ge=2, le=4096, description="d, units a layer")
    samples: int = Field(32, ge=2, le=4096, description="n, samples of the batch")
    activation: Literal["linear", "tanh", "sin", "relu"] = "linear"
    power: float = Field(0.0, ge=0, description="p of the gain ℓ^(−p) before the activation")
    centred: bool = Field(False, description="whether the norm subtracts the batch's mean")

    @model_validator(mode="after")
    def _digits_fit(self) -> Case:
        if self.inputs == "digits" and self.width > TASKS["digits8"].inputs:
            raise ValueError(f"digits have {TASKS['digits8'].inputs} pixels: no width beyond, got {self.width}")
        return self


class NormalisedDepth(Measurement):
    """The isometry gap and the weights' gradients of deep normed networks, case by case, at initialisation."""

    title = "Normed networks in depth"

    cases: Annotated[tuple[Case, ...], BeforeValidator(as_tuple), Field(min_length=1)] = Field(
        description="networks, each with its batch"
    )
    depths: Annotated[tuple[int, ...], BeforeValidator(as_tuple), Field(min_length=1)] = Field(
        description="numbers of layers, ascending: the gradient is taken in a network of each"
    )
    layer_points: int = Field(50, ge=2, description="log-spaced layers of the deepest network that are kept")

    @field_validator("depths")
    @classmethod
    def _ascending(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if min(values) < 1:
            raise ValueError(f"a network has at least one layer, got depths {values}")
        return tuple(sorted(no_twins(values)))

    @property
    def kept_layers(self) -> list[int]:
        """Layers at which gap and gradient are kept, log-spaced; 0 is the input."""
        return log_steps(self.depths[-1], self.layer_points)

    def measure(self, seed: int) -> xr.Dataset:
        """One seed.

        Returns:
            ``gap`` (case, layer): φ of the layer's output; infinite where a direction is lost in working precision.
            ``contraction`` (case,): the mean of φ_{ℓ+1}/φ_ℓ over all layers whose gap is within ``FIRST_ORDER``; NaN where
            there is none.
            ``log_gradient`` (case, layer): ln‖∂L/∂W_ℓ‖ (Frobenius) in the deepest network; NaN at layer 0.
            ``first_gradient`` (case, depth): ln‖∂L/∂W₁‖ in the network of that depth.
            ``gradient_slope`` (case,): least-squares slope of ln‖∂L/∂W_ℓ‖ towards the input, a layer, over the middle nine
            tenths of the deepest network.
        """
        measured = [self._measure_case(case, seed) for case in self.cases]
        own = {name: ("case", [getattr(case, name) for case in self.cases]) for name in Case.model_fields}
        axes = {"gap": "layer", "log_gradient": "layer", "first_gradient": "depth"}
        data = {
            key: (
                ("case", axes[key]) if key in axes else ("case",),
                narrow_to_float32(np.array([one[key] for one in measured])),
            )
            for key in measured[0]
        }
        return xr.Dataset(data, own | {"layer": self.kept_layers, "depth": list(self.depths)})

    def _measure_case(self, case: Case, seed: int) -> dict[str, np.ndarray]:
        deepest, dtype = self.depths[-1], self.torch_dtype
        # The draws are told apart by their sizes alone, so that cases that differ in what is done with them are paired.
        drawn = normalised.WEIGHTS[case.weights](seed, f"normalised/weights/{case.width}", deepest, case.width)
        weights = [w.requires_grad_() for w in drawn.to(self.device, dtype)]
        x = make_batch(case, seed).to(self.device, dtype)
        readout = rng.normals(seed, "normalised/readout", 0, normalised.CLASSES * case.width)
        readout = readout.view(normalised.CLASSES, case.width).to(self.device, dtype)
        labels = rng.integers(seed, "normalised/labels", 0, case.samples, normalised.CLASSES).to(self.device)
        out = normalised.layers(weights, x, case.activation, case.power, case.centred)

        def norms(depth: int, of: Sequence[Tensor]) -> np.ndarray:
            slopes = torch.autograd.grad(normalised.loss(out[depth], readout, labels), of, retain_graph=True)
            return np.array([math.log(float(g.norm())) if g.any() else -math.inf for g in slopes])

        first = np.array([norms(depth, weights[:1])[0] for depth in self.depths])
        every = np.concatenate([[np.nan], norms(deepest, weights)])
        gap = isometry_gap(torch.stack(out).detach()).cpu().numpy()
        # Linear layers bring no lost direction back, though rounding, once amplified, may seem to.
        if case.activation == "linear":
            gap[np.logical_or.accumulate(np.isinf(gap))] = np.inf
        return {
            "gap": gap[self.kept_layers],
            "contraction": measure_contraction(gap),
            "log_gradient": every[self.kept_layers],
            "first_gradient": first,
            "gradient_slope": fit_slope(every[1:]),
        }


def make_batch(case: Case, seed: int) -> Tensor:
    """A case's inputs, (width, samples) float64.

    ``gaussian``: independent normals. ``correlated``: the same, nine tenths of their variance common to all samples.
    ``near``: an orthogonal matrix with a twentieth of noise (of as many samples as units). ``digits``: digits8, standardised
    as in training, turned to ``width`` dimensions by orthonormal directions. ``twins``: normals, an eighth of the samples
    twice.
    """
    width, samples, name = case.width, case.samples, f"normalised/inputs/{case.width}"
    if case.inputs == "digits":
        pixels = TASKS["digits8"].batch(seed, 0, samples)[0].T.to(torch.float64)
        return normalised.orthogonal(seed, "normalised/turn", 1, len(pixels))[0, :width] @ pixels
    x = rng.normals(seed, name, range(samples), width).T.clone()
    if case.inputs == "correlated":
        common = rng.normals(seed, name, samples, width)
        return math.sqrt(SHARED) * common[:, None] + math.sqrt(1 - SHARED) * x
    if case.inputs == "near":
        if samples != width:
            raise ValueError(
                f"nearly orthogonal inputs are square: as many samples as units, got {samples} and {width}"
            )
        return normalised.orthogonal(seed, name, 1, width)[0] + NEAR / math.sqrt(width) * x
    if case.inputs == "twins":
        twice = max(1, samples // TWINS)
        x[:, :twice] = x[:, twice : 2 * twice]
    return x


def measure_contraction(gap: np.ndarray) -> np.ndarray:
    """The mean of φ_{ℓ+1}/φ_ℓ over the layers with φ_ℓ within ``FIRST_ORDER``; gap: (layers,)."""
    here = (gap[:-1] > FIRST_ORDER[0]) & (gap[:-1] < FIRST_ORDER[1])
    return np.mean(gap[1:][here] / gap[:-1][here]) if here.any() else np.array(np.nan)


def fit_slope(log_gradient: np.ndarray) -> np.ndarray:
    """How fast a log gradient grows towards the input, a layer: (layers,) without their first and last twentieth."""
    cut = len(log_gradient) // 20
    layers = np.arange(len(log_gradient))[cut : len(log_gradient) - cut]
    if len(layers) < 2 or not np.isfinite(log_gradient[layers]).all():
        return np.array(np.nan)
    return -np.polyfit(layers, log_gradient[layers], 1)[0]
