"""Phase portraits: the headline on 28×28 digits, and the breadth of depth × loss × optimiser on 8×8 digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from richness.runs.experiment import Experiment
from richness.runs.grids import eta_axis

DEPTHS = (2, 3, 4, 6)
LOSSES = ("mse", "cross_entropy")
OPTIMIZERS = ("sgd", "momentum", "signsgd", "adam")

#: Where runs can be of interest at N = 64 and T of a thousand or two, in units of the natural η (times its reach, upwards):
#: from a little below the smallest η that learns to a little above the largest that converges.
BANDS: dict[tuple[str, str], tuple[float, float]] = {
    ("mse", "sgd"): (0.06, 2000.0),
    ("cross_entropy", "sgd"): (0.02, 60.0),
    ("mse", "momentum"): (0.02, 700.0),
    ("cross_entropy", "momentum"): (0.003, 30.0),
    ("mse", "signsgd"): (0.0025, 30.0),
    ("cross_entropy", "signsgd"): (0.0025, 10.0),
    ("mse", "adam"): (0.0025, 30.0),
    ("cross_entropy", "adam"): (0.0025, 10.0),
}


def phase_portrait_mlp3_mse(scale: str) -> Experiment:
    """The headline portrait: MLP of depth 3 under MSE on 28×28 digits, with three budgets T."""
    shared: dict = {"depth": 3, "loss": "mse", "task": "digits", "probes": ("loss", "sharpness", "accuracy")}
    if scale == "smoke":
        return Experiment(
            **shared, width=16, batch_size=32, steps=80, budgets=(20, 40), seeds=(0, 1), probe_points=3, probe_samples=256,
            record_points=16, gammas="1e-3:1e3:13", etas=eta_axis(1e-8, 1e5, 2, at_least=4), band=(2.0, 700.0),
        )  # fmt: skip
    if scale == "laptop":
        return Experiment(
            **shared, width=64, batch_size=64, steps=2000, budgets=(500, 1000), seeds=(0, 1, 2), probe_points=8,
            gammas="1e-4:1e4:33", etas=eta_axis(1e-10, 1e6, 4), band=(0.025, 500.0),
        )  # fmt: skip
    return Experiment(
        **shared, width=1024, batch_size=128, steps=10_000, budgets=(1000, 3000), seeds=(0, 1, 2), probe_points=9,
        gammas="1e-5:1e5:41", etas=eta_axis(1e-12, 1e7, 4), band=(0.025, 500.0), device="cuda",
    )  # fmt: skip


def portrait(scale: str, depth: int = 3, loss: str = "mse", optimizer: str = "sgd", **changes: Any) -> Experiment:
    """A portrait on 8×8 digits with three budgets T; ``changes`` are fields that differ from the others'."""
    low, high = BANDS[loss, optimizer]
    shared: dict[str, Any] = {
        "depth": depth, "loss": loss, "optimizer": optimizer, "task": "digits8", "probes": ("loss", "accuracy"),
    }  # fmt: skip
    if scale == "smoke":
        shared |= {"width": 16, "batch_size": 32, "steps": 60, "budgets": (15, 30), "seeds": (0,), "probe_points": 2}
        shared |= {"record_points": 12, "gammas": "1e-3:1e3:7", "etas": eta_axis(1e-9, 1e5, 1, at_least=3)}
        low, high = max(low, high / 300), high
    elif scale == "laptop":
        steps = 2000 if optimizer == "sgd" else 1000
        shared |= {
            "width": 64,
            "batch_size": 64,
            "steps": steps,
            "budgets": (steps // 4, steps // 2),
            "seeds": (0, 1, 2),
        }
        shared |= {"probe_points": 5, "record_points": 32, "gammas": "1e-4:1e4:33", "etas": eta_axis(1e-12, 1e8, 4)}
    else:
        shared |= {"width": 1024, "batch_size": 128, "steps": 10_000, "budgets": (1000, 3000), "seeds": (0, 1, 2)}
        shared |= {"gammas": "1e-5:1e5:41", "etas": eta_axis(1e-14, 1e7, 4), "device": "cuda", "task": "digits"}
    return Experiment.model_validate(shared | {"band": (low, high)} | changes)


def portrait_name(depth: int = 3, loss: str = "mse", optimizer: str = "sgd") -> str:
    """The recipe's name: ``portrait_mlp3_mse``, ``portrait_mlp4_cross_entropy_adam``."""
    return f"portrait_mlp{depth}_{loss}" + ("" if optimizer == "sgd" else f"_{optimizer}")


def _recipe(**fields: Any) -> Callable[[str], Experiment]:
    return lambda scale: portrait(scale, **fields)


#: Portraits that differ from ``portrait_mlp3_mse`` in one thing each: the batch, the step's schedule, the stream. A
#: stream's band follows the size of its targets: the teacher learns from far smaller η on than digits do.
VARIATIONS: dict[str, dict[str, Any]] = {
    "teacher": {"task": "teacher", "probes": ("loss",), "band": (0.004, 200.0)},
    "signsgd_teacher": {"optimizer": "signsgd", "task": "teacher", "probes": ("loss",), "band": (0.0012, 60.0)},
    "adam_teacher": {"optimizer": "adam", "task": "teacher", "probes": ("loss",), "band": (0.0008, 150.0)},
    "steps1000": {"steps": 1000, "budgets": (250, 500)},  # as many as the other optimisers' portraits have
    "batch16": {"batch_size": 16, "gammas": "1e-3:1e3:25"},
    "batch256": {"batch_size": 256, "gammas": "1e-3:1e3:25", "band": (0.5, 700.0)},
    "cosine": {"schedule": "cosine", "gammas": "1e-3:1e3:25", "band": (0.2, 2000.0)},
    "warmup": {"gammas": "1e-3:1e3:25", "band": (0.2, 2000.0)},
}

#: Of all steps, the share over which the schedule ``warmup`` rises.
WARMUP_SHARE = 0.1


def _variation(name: str) -> Callable[[str], Experiment]:
    """The recipe of one of `VARIATIONS`; at smoke scale its γ are the few of every smoke portrait."""

    def made(scale: str) -> Experiment:
        changes = dict(VARIATIONS[name])
        if scale != "laptop":
            changes = {key: value for key, value in changes.items() if key not in ("gammas", "steps", "budgets")}
        if name == "warmup":
            changes["warmup"] = int(WARMUP_SHARE * portrait(scale).steps)
        return portrait(scale, **changes)

    return made


RECIPES: dict[str, Callable[[str], Experiment]] = {"phase_portrait_mlp3_mse": phase_portrait_mlp3_mse}
RECIPES |= {
    portrait_name(depth, loss, optimizer): _recipe(depth=depth, loss=loss, optimizer=optimizer)
    for optimizer in OPTIMIZERS
    for loss in LOSSES
    for depth in DEPTHS
}
RECIPES |= {f"portrait_mlp3_mse_{name}": _variation(name) for name in VARIATIONS}
