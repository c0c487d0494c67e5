"""A curve laid over a boundary: planted constants are found, and what they cannot explain stays as a residual."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from richness.analysis import theory
from richness.studies.solvable.overlay import fit_overlay


def planted(height: float, bend: float) -> xr.DataArray:
    gamma = np.geomspace(1e-4, 1e4, 17)
    eta = height * theory.critical_eta(3, gamma / bend)
    scattered = eta[:, None] * 10 ** np.array([-0.02, 0.0, 0.02])
    scattered[3] = np.nan  # not seen there
    scattered[5, 0] = np.nan
    return xr.DataArray(scattered, dims=("gamma", "seed"), coords={"gamma": gamma, "seed": [0, 1, 2]})


def curve(gamma: np.ndarray) -> np.ndarray:
    return theory.critical_eta(3, gamma)


def test_one_constant_finds_the_height() -> None:
    laid = fit_overlay(planted(40.0, 1.0), curve)
    assert laid.attrs["height"] == pytest.approx(40, rel=0.01) and laid.attrs["bend"] == 1
    assert laid.sizes["gamma"] == 16 and laid.attrs["rms"] < 0.005
    assert np.all((laid.low <= laid.measured) & (laid.measured <= laid.high))


def test_two_constants_find_the_bend_too() -> None:
    boundary = planted(7.0, 0.05)
    one, two = fit_overlay(boundary, curve), fit_overlay(boundary, curve, bend=True)
    assert two.attrs["bend"] == pytest.approx(0.05, rel=0.02) and two.attrs["height"] == pytest.approx(7, rel=0.02)
    assert two.attrs["rms"] < 0.01 < 0.2 < one.attrs["rms"]
    np.testing.assert_allclose(one.residual, np.log10(one.measured / one.model), atol=1e-12)
    assert float(one.residual.mean()) == pytest.approx(0, abs=1e-12)


def test_it_does_not_take_what_it_cannot_lay() -> None:
    boundary = planted(1.0, 1.0)
    with pytest.raises(ValueError, match="4 γ or more"):
        fit_overlay(boundary.isel(gamma=slice(0, 4)), curve)
    with pytest.raises(ValueError, match="one budget"):
        fit_overlay(boundary.expand_dims(budget=[10]), curve)
