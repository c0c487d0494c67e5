"""Curvature: the sharpness at the end of training across γ, and whole spectra along training, lazy to rich."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from richness.networks.parameterization import natural_eta
from richness.runs.description import canonical
from richness.runs.experiment import Experiment
from richness.runs.grids import eta_axis

DEPTHS = (2, 3, 4)

#: Where the sharpness at the end is wanted, in units of the natural η: a large step, about a third of the largest that
#: converges on the rich side, and one several times smaller. A band of η around them is run, so that the sharpness can be
#: read off between its neighbours: η tied to theory's curve would put a network at the edge of stability onto it.
SHARES: dict[tuple[str, str], tuple[float, float]] = {
    ("digits8", "mse"): (2.0, 16.0),
    ("digits8", "cross_entropy"): (0.3, 3.0),
    ("teacher", "mse"): (0.1, 0.5),
}
_AROUND = 2.0  # the band reaches so far beyond them: a little more than the spacing of η

#: Steps at which training is taken to have come to its end, on a laptop. For L = 3 there were 4,000 first: the rich exponent
#: at the small step was then one of time, still on its way, and the teacher ended before the τ at which networks are compared.
_STEPS = {("digits8", "mse", 3): 16_000, ("teacher", "mse", 3): 16_000}

#: One step size for all γ of a spectrum, likewise: near the edge of stability on the rich side.
SPECTRUM_SHARES = {"digits8": 12.0, "teacher": 1.0}


def final_sharpness(scale: str, depth: int = 3, loss: str = "mse", task: str = "digits8") -> Experiment:
    """λ_max along training and at its end, lazy to rich, at a large and at a small step."""
    small, large = SHARES[task, loss]
    shared: dict[str, Any] = {
        "depth": depth, "loss": loss, "task": task, "band": (small / _AROUND, large * _AROUND), "probes": ("loss", "sharpness"),
    }  # fmt: skip
    if scale == "smoke":
        return Experiment(
            **shared, width=16, batch_size=32, steps=100, seeds=(0,), probe_points=3, probe_samples=256, record_points=10,
            gammas="1e-3:1e3:7", etas=eta_axis(1e-8, 1e5, 1, at_least=4),
        )  # fmt: skip
    if scale == "laptop":
        return Experiment(
            **shared, width=64, batch_size=64, steps=_STEPS.get((task, loss, depth), 4000), seeds=(0, 1, 2),
            probe_points=10, record_points=28,
            gammas="1e-4:1e4:33" if loss == "mse" else "1e-3:1e4:29", etas=eta_axis(1e-10, 1e7, 1, at_least=4),
        )  # fmt: skip
    return Experiment(
        **shared, width=1024, batch_size=128, steps=10_000, seeds=(0, 1, 2), probe_points=12,
        gammas="1e-5:1e5:41", etas=eta_axis(1e-12, 1e8, 1, at_least=4), device="cuda",
    )  # fmt: skip


def spectra(scale: str, task: str = "digits8") -> Experiment:
    """The Hessian's largest eigenvalues, density and trace along training, one η for each γ."""
    share, gammas = SPECTRUM_SHARES[task], (0.01, 1.0, 100.0) if scale == "smoke" else (0.01, 0.1, 1.0, 10.0, 100.0)
    shared: dict[str, Any] = {
        "depth": 3, "loss": "mse", "task": task, "gammas": gammas, "etas": canonical(share * natural_eta(g, 3) for g in gammas),
        "band": (share / 1.05, share * 1.05), "probes": ("loss", "sharpness", "top_eigenvalues", "spectral_density", "trace"),
    }  # fmt: skip
    if scale == "smoke":
        return Experiment(
            **shared, width=12, batch_size=32, steps=60, seeds=(0,), probe_points=3, probe_samples=128, record_points=8
        )
    if scale == "laptop":
        return Experiment(**shared, width=64, batch_size=64, steps=16_000, seeds=(0, 1, 2), probe_points=10)
    return Experiment(
        **shared, width=1024, batch_size=128, steps=50_000, seeds=(0, 1, 2), probe_points=12, device="cuda"
    )


def final_sharpness_name(depth: int = 3, loss: str = "mse", task: str = "digits8") -> str:
    """The recipe's name: ``final_sharpness_mlp3_mse``, ``final_sharpness_mlp3_mse_teacher``."""
    return f"final_sharpness_mlp{depth}_{loss}" + ("" if task == "digits8" else f"_{task}")


def spectra_name(task: str = "digits8") -> str:
    """The recipe's name: ``spectra_mlp3_mse``, ``spectra_mlp3_mse_teacher``."""
    return "spectra_mlp3_mse" + ("" if task == "digits8" else f"_{task}")


_FINAL: list[dict[str, Any]] = [
    *({"depth": depth} for depth in DEPTHS),
    {"loss": "cross_entropy"},
    {"task": "teacher"},
]
RECIPES: dict[str, Callable[[str], Experiment]] = {
    **{final_sharpness_name(**fields): partial(final_sharpness, **fields) for fields in _FINAL},
    **{spectra_name(task): partial(spectra, task=task) for task in SPECTRUM_SHARES},
}
