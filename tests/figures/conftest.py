"""A made-up portrait in the layout of every result: more η than γ, cells of every kind, NaN where results have NaN."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from richness.networks.parameterization import natural_eta

pytest.register_assert_rewrite("specifications")
OK, DIVERGED, NOT_RUN = 0, 1, 2


def portrait(gammas: np.ndarray, etas: np.ndarray, seeds: int = 2, points: int = 20, steps: int = 1000) -> xr.Dataset:
    """A portrait by formula: learns between γ/T and natural η, diverges above 40 natural η, is dead in between."""
    step = np.unique(np.concatenate([[0], np.geomspace(1, steps, points - 1).astype(int)]))
    gamma, eta = gammas[:, None, None, None], etas[None, :, None, None]
    seed, t = np.arange(seeds)[None, None, :, None], step[None, None, None, :].astype(float)
    wobble = 1 + 0.05 * np.sin(3 * seed + np.log10(eta) + 2 * np.log10(gamma))
    x = eta / natural_eta(gamma, 3) / 40 * wobble
    half_life = np.maximum(1 / np.maximum(x, 1e-9), 40.0 * gamma / eta)
    loss = 0.1 * (0.03 + 0.97 / (1 + (t / half_life) ** 2) ** 0.6)
    loss = np.where(x > 1, 0.1 + 0 * loss, loss)  # dead above the boundary
    last = np.where(x > 1.8, 4 + (20 / x).astype(int), steps + 1)[..., 0]
    status = np.where(last <= steps, DIVERGED, OK)
    relative = (etas[None, :] / natural_eta(gammas[:, None], 3))[:, :, None]
    status = np.where((relative < 0.2) | (relative > 150), NOT_RUN, status).astype(np.int8)
    loss = np.where(
        (status[..., None] == NOT_RUN) | (t >= last[..., None]), np.nan, loss * (1 + 4 * (x > 1.8) * (t > 1))
    )
    measured = np.isin(step, step[:: max(1, len(step) // 7)])
    lam = np.where(measured, np.minimum(2 / (64 * eta), (1 + t) * 0.001 / natural_eta(gamma, 3)) + 0 * loss, np.nan)
    ok = status == OK
    grid, full = ("gamma", "eta", "seed"), ("gamma", "eta", "seed", "step")
    late = np.where(ok, loss[..., -1], np.nan)
    budgets = np.array([steps // 4, steps // 2, steps])
    at = [int(np.argmin(np.abs(step - b))) for b in budgets]
    recipe = {
        "network": "mlp", "depth": 3, "width": 64, "activation": "relu", "loss": "mse", "task": "digits",
        "optimizer": "sgd", "batch_size": 64, "steps": steps,
    }  # fmt: skip
    return xr.Dataset(
        {
            "loss": (full, loss.astype(np.float32)),
            "sharpness": (full, lam.astype(np.float32)),
            "accuracy": (full, np.where(measured, 1 - loss, np.nan).astype(np.float32)),
            "late_loss": (grid, late),
            "peak_loss": (grid, np.where(status == NOT_RUN, np.nan, np.where(x[..., 0] > 1.8, 0.5, 0.1))),
            "initial_loss": (grid, np.where(status == NOT_RUN, np.nan, 0.1)),
            "budget_loss": ((*grid, "budget"), np.where(ok[..., None], loss[..., at], np.nan)),
            "status": (grid, status, {"flag_values": [0, 1, 2], "flag_meanings": "ok diverged not_run"}),
            "diverged_at": (grid, np.where(status == DIVERGED, last, -1).astype(np.int32)),
        },
        coords={
            "gamma": gammas, "eta": etas, "seed": np.arange(seeds), "step": step, "budget": budgets,
            "lr_raw": ("eta", 64 * etas), "tau": (("gamma", "eta", "step"), (eta * t / gamma)[:, :, 0, :]),
        },
        attrs={"recipe": json.dumps(recipe), "scale": "smoke"},
    )  # fmt: skip


@pytest.fixture(scope="session")
def runs() -> xr.Dataset:
    return portrait(np.logspace(-4, 4, 17), np.logspace(-9.03, 4.9, 69))


@pytest.fixture(scope="session")
def headline() -> xr.Dataset:
    """As large as the headline portrait: 33 γ, about 9.66 η a decade, 40 recorded steps."""
    return portrait(np.logspace(-4, 4, 33), np.logspace(-9.03, 4.9, 136), seeds=1, points=48)
