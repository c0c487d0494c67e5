"""Planted results of many sizes: what ηλ, loss and spectra do along training is put in by formula."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import xarray as xr

from richness.runs.results import ResultError
from richness.studies.neighbours.consistency import recipes
from richness.studies.neighbours.consistency.analysis import MATRICES

STEPS = np.array([0, 1, 3, 10, 30, 100, 400])
MADE = {
    "activation": "relu",
    "batch_size": 256,
    "width": 64,
    "steps": 400,
    "task": "digits8_fixed",
    "loss": "mse",
    "depth": 6,
}


def result(
    gammas, etas, sharpness: Callable[[float, np.ndarray], np.ndarray], loss: Callable, seeds: int = 3
) -> xr.Dataset:
    """Sharpness and loss as functions of η₀ = η/γ² and t, with a per cent between seeds, in the layout of a sweep."""
    gammas, etas, noise = np.array(gammas), np.array(etas), 1 + 0.01 * np.arange(seeds)[:, None]
    shape = (len(gammas), len(etas), seeds, len(STEPS))
    values = {"sharpness": np.full(shape, np.nan), "loss": np.full(shape, np.nan)}
    for i, gamma in enumerate(gammas):
        for j, eta in enumerate(etas):
            if len(gammas) < 3 or np.isclose(eta, recipes.PLANE_ETA * gamma**2):
                values["sharpness"][i, j] = sharpness(eta / gamma**2, STEPS) * noise / eta
                values["loss"][i, j] = loss(eta / gamma**2, STEPS) * noise
    dims = ("gamma", "eta", "seed", "step")
    coords = {"gamma": gammas, "eta": etas, "seed": np.arange(seeds), "step": STEPS, "lr_raw": ("eta", etas)}
    attrs = {"recipe": json.dumps(MADE), "scale": "laptop", "cpu_seconds": 1.0}
    return xr.Dataset({key: (dims, value) for key, value in values.items()}, coords, attrs)


def planted(best: float = 12.0) -> Callable[[str], xr.Dataset]:
    """A loader of every recipe: µP is consistent; NTK's growth and the best standard step are ∝ 1/N, other best steps fixed.

    Other architectures: λ grows e-fold in µP at every width, and in NTK parameterisation by exp(8/N).
    """

    def loss_about(place: float) -> Callable:
        return lambda eta, t: 0.1 / (1 + t / 50) * np.exp(0.3 * np.log(eta / place) ** 2)

    def load(name: str) -> xr.Dataset:
        parts = name.split("_")
        if name == recipes.RANDOM_FEATURES:
            base = result([1.0], [3.0, 12.0], lambda eta, t: eta + 0 * t, loss_about(best))
            return base.assign(spectra=_spectra(base, lambda matrix, t: 1 + 0 * t))
        if name not in recipes.RECIPES:
            raise ResultError(f"no {name}")
        size = int(parts[-1])
        if "plane" in name:
            etas = [recipes.PLANE_ETA * g**2 for g in recipes.PLANE_GAMMAS]
            one = result(recipes.PLANE_GAMMAS, sorted(etas), lambda eta, t: 0.1 + 0 * t, loss_about(best))
            return one.assign(sharpness=one.sharpness * (1 + one.gamma**2 * one.step / 400))
        if parts[1] in recipes.ARCHITECTURES:
            eta = recipes.ARCHITECTURES[parts[1]].eta
            one = result([size**-0.5, 1.0], [eta / size, eta], lambda eta, t: 0.1 + 0 * t, loss_about(best))
            # As in a real one, the other two cells were not run.
            ran = one.sharpness.where((one.gamma == 1.0) == (one.eta == eta))
            return one.assign(sharpness=ran * np.exp(xr.where(one.gamma == 1.0, 1.0, 8.0 / size) * one.step / 400))
        if parts[1] == "spectra":
            base = result([1.0], [recipes.SPECTRA_ETA], lambda eta, t: 0.1 + 0 * t, loss_about(best))
            late = {"Hessian": 0.0, "Gauss–Newton": 0.0, "NTK": 20.0 / size}
            return base.assign(
                spectra=_spectra(base, lambda matrix, t: np.exp(late[matrix] * t / 400), tenth=10.0 / size)
            )
        if parts[1] == "residual":
            power = {"residual": 0.0, "two": 0.02, "unscaled": 0.0}[parts[2] if len(parts) > 3 else "residual"]
            start = size**2 if "unscaled" in name else 1.0
            return result(
                [1.0],
                recipes.RESIDUAL_ETAS,
                lambda eta, t: 0.1 * start * (1 + t) * np.exp(power * size * t / 400),
                loss_about(best),
            )
        how = recipes.SCALINGS[parts[1]]
        grown = {"mup": 1.0, "ntk": 8.0 / size, "standard": 0.0}[parts[1]]
        place = best * (size / 16) ** (0.2 * (parts[1] == "ntk")) if parts[1] != "standard" else best * 256 / size
        wider = {"mup": lambda t: (64 / size) ** (t / 1000)}.get(parts[1], lambda t: 1.0)
        one = result([1.0], how.etas, lambda eta, t: 0.1 * (1 + grown * t / 400), loss_about(place))
        return one.assign(loss=one.loss * wider(one.step))

    return load


def _spectra(base: xr.Dataset, course: Callable, tenth: float = 0.0) -> xr.DataArray:
    rows = []
    for matrix in MATRICES:
        values = course(matrix, STEPS)[:, None] / np.arange(1, 13)
        values[:, 9] *= np.exp(tenth * STEPS / 400)
        rows.append(values)
    data = np.stack(rows, axis=1) / float(base.lr_raw[0])  # (step, matrix, eigenvalue)
    noise = 1 + 0.001 * np.arange(base.sizes["seed"])[:, None, None, None]
    full = np.broadcast_to(data * noise, (1, base.sizes["eta"], *(data * noise).shape))
    dims = ("gamma", "eta", "seed", "step", "matrix", "eigenvalue")
    return xr.DataArray(full, dims=dims, coords={"matrix": [1, 2, 3], "eigenvalue": np.arange(1, 13)})
