"""The solvable model's curves over a measured boundary: what one or two constants cannot explain is left as a residual."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from scipy.optimize import minimize_scalar

#: Where the second constant, γ₀, is looked for.
BEND_WITHIN = (1e-3, 1e3)


def fit_overlay(
    boundary: xr.DataArray,
    curve: Callable[[np.ndarray], np.ndarray],
    window: tuple[float, float] = (0.0, np.inf),
    bend: bool = False,
) -> xr.Dataset:
    """The model's curve laid over a measured boundary, shifted to fit: what is left is the shape alone.

    The model's units are not the network's: how large an output is at γ = 1, and a step at η = 1, are conventions of
    each. One constant shifts the curve up, log η = log C + log curve(γ); with ``bend`` a second one moves it sideways,
    curve(γ/γ₀), to where this network goes from lazy to rich. Both by least squares of log10 η, mean over seeds, over
    the γ of the window at which the boundary was seen.

    Args:
        boundary: η over (gamma, seed); NaN where it was not seen.
        curve: the model's boundary as a function of γ.
        window: (low, high) of γ over which the constants are fitted; what comes back is over every γ.
        bend: whether γ₀ is fitted too, within `BEND_WITHIN`; else it is 1.

    Returns:
        Over ``gamma``, where it was seen: ``measured`` (geometric mean over seeds), ``low`` and ``high`` (of the seeds),
        ``model``, and ``residual`` in decades. Attributes: ``height`` C, ``bend`` γ₀, and ``rms`` of the residual in the
        window.

    Raises:
        ValueError: another shape, or fewer than four γ in the window with the boundary.
    """
    if set(boundary.dims) != {"gamma", "seed"}:
        raise ValueError(f"a boundary over (gamma, seed) is expected, got {boundary.dims}; pick one budget first.")
    boundary = boundary.transpose("gamma", "seed")
    boundary = boundary.isel(gamma=np.isfinite(boundary.values).any(axis=1))
    gammas = boundary.gamma.values.astype(float)
    fitted = (gammas >= window[0]) & (gammas <= window[1])
    if fitted.sum() < 4:
        raise ValueError(
            f"a curve is laid over a boundary seen at 4 γ or more in the window {window}; this one was seen at {fitted.sum()}."
        )
    logs = np.log10(boundary.values.astype(float))
    mean = np.nanmean(logs, axis=1)

    def apart(log_bend: float) -> np.ndarray:
        """log10 of measured over curve, before it is raised."""
        return mean - np.log10(curve(gammas / 10**log_bend))

    def scatter(log_bend: float) -> float:
        return float(np.var(apart(log_bend)[fitted]))

    place = float(minimize_scalar(scatter, bounds=np.log10(BEND_WITHIN), method="bounded").x) if bend else 0.0
    height = float(np.mean(apart(place)[fitted]))
    residual = apart(place) - height
    columns = {
        "measured": 10**mean, "low": 10 ** np.nanmin(logs, axis=1), "high": 10 ** np.nanmax(logs, axis=1),
        "model": 10 ** (mean - residual), "residual": residual,
    }  # fmt: skip
    return xr.Dataset(
        {name: ("gamma", values) for name, values in columns.items()},
        coords={"gamma": gammas},
        attrs={"height": 10**height, "bend": 10**place, "rms": float(np.sqrt(np.mean(residual[fitted] ** 2)))},
    )
