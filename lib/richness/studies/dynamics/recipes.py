"""The dynamics: catapults, silent alignment, steps, the edge of stability, and the collapse in τ = η·t/γ.

Runs to be looked at one by one carry every probe at many steps (`CLOSELY`); grids to be counted or fitted carry the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from richness.networks.parameterization import natural_eta
from richness.runs.description import canonical
from richness.runs.experiment import Experiment
from richness.runs.grids import eta_axis

#: What is recorded of a run that is looked at closely.
CLOSELY = ("loss", "sharpness", "ntk_alignment", "feature_rank", "kernel_change", "drift")

#: Step sizes of silent alignment: η/γ by depth, so that runs of different γ share τ and hence, while the loss is flat, t.
ALIGNMENT_RATES = {2: 0.18, 3: 0.03, 4: 0.03}
ALIGNMENT_GAMMAS = (1.0, 30.0, 1000.0)  # the first is the control

#: Streams on which the collapse is measured → (batch size, where η lies in units of the natural η). η stays a quarter of
#: η_max or less. The teacher's targets are large, so that its loss is steeper and its steps are smaller.
COLLAPSE = {"digits8": (256, (1.2, 9.5)), "teacher": (1024, (0.06, 0.5))}
COLLAPSE_GAMMAS = "1e2:1e4:9"

#: Streams on which the two clocks are read → (batch size, η in units of the natural η).
CLOCKS = {"digits8": (128, 6.0), "teacher": (256, 0.3), "staircase": (256, 0.1)}


def _sizes(scale: str, **laptop: Any) -> dict[str, Any]:
    """The laptop's fields as given; smaller ones for smoke, the paper's width and a GPU for paper."""
    if scale == "smoke":
        small = {"width": 16, "batch_size": 32, "steps": 60, "seeds": (0,), "probe_samples": 256, "record_points": 24}
        return laptop | small | ({"probe_points": 6} if "probe_points" in laptop else {})
    if scale == "paper":
        return laptop | {"width": 1024, "device": "cuda"}
    return laptop


def _pairs(depth: int, *pairs: tuple[float, float]) -> dict[str, Any]:
    """The grids, and the band that leaves (almost) nothing of them but these (γ, η)."""
    gammas, etas = (sorted(set(values)) for values in zip(*pairs, strict=True))
    shares = [eta / natural_eta(gamma, depth) for gamma, eta in pairs]
    band = min(shares) * 0.99, max(shares) * 1.01
    return {"depth": depth, "gammas": canonical(gammas), "etas": canonical(etas), "band": band}


def catapult_mlp3_mse(scale: str) -> Experiment:
    """η in fine steps around 2/(N λ₀), which at N = 64 lies at 37 to 48 times the natural η; float64."""
    coarse = scale == "smoke"
    sizes = _sizes(scale, width=64, batch_size=64, steps=1000, seeds=(0, 1, 2), record_points=24, probe_points=3)
    etas = eta_axis(1e-3, 1e2, 1 if coarse else 4, at_least=4 if coarse else 20)
    return Experiment(
        **sizes, depth=3, task="digits8", dtype="float64", probes=("loss", "sharpness"),
        gammas="1e-2:1:3" if coarse else "1e-2:1:9", etas=etas, band=(28.0, 280.0),
    )  # fmt: skip


def catapult_runs_mlp3_mse(scale: str) -> Experiment:
    """Five runs at γ = 0.1 from below 2/(N λ₀), which is about 40 times the natural η, to above four times it."""
    sizes = _sizes(scale, width=64, batch_size=64, steps=300, seeds=(0, 1, 2), record_points=60, probe_points=36)
    pairs = [(0.1, share * natural_eta(0.1, 3)) for share in (20.0, 40.0, 60.0, 80.0, 120.0, 180.0)]
    return Experiment(**sizes, **_pairs(3, *pairs), task="digits8", dtype="float64", probes=CLOSELY)


def silent_alignment(scale: str, depth: int) -> Experiment:
    """A ±1 half-space, γ = 1, 30 and 1000 at one η/γ: the last two are rich, the first is the control."""
    sizes = _sizes(scale, width=64, batch_size=128, steps=1500, seeds=range(5), record_points=100, probe_points=40)
    pairs = [(gamma, ALIGNMENT_RATES[depth] * gamma) for gamma in ALIGNMENT_GAMMAS]
    return Experiment(**sizes, **_pairs(depth, *pairs), task="halfspace", probes=CLOSELY)


def steps_teacher_mlp3(scale: str) -> Experiment:
    """A linear teacher of four strengths, γ = 10⁴: a large batch, whose noise leaves the steps to be counted."""
    sizes = _sizes(scale, width=64, batch_size=1024, steps=4000, seeds=(0, 1, 2), record_points=180, probe_points=40)
    return Experiment(**sizes, **_pairs(3, (1e3, 50.0), (1e4, 500.0)), task="teacher", probes=CLOSELY)


def steps_staircase_mlp3(scale: str) -> Experiment:
    """The Boolean staircase, γ = 30 and 300, with a large batch."""
    sizes = _sizes(scale, width=128, batch_size=1024, steps=2500, seeds=(0, 1, 2), record_points=180, probe_points=40)
    return Experiment(**sizes, **_pairs(3, (30.0, 1.0), (300.0, 10.0)), task="staircase", probes=CLOSELY)


def edge_of_stability_mlp3(scale: str) -> Experiment:
    """γ from lazy to rich, each at two η: 17 times the natural one, and a quarter of that."""
    sizes = _sizes(scale, width=64, batch_size=64, steps=3000, seeds=(0, 1, 2), record_points=60, probe_points=40)
    pairs = [(gamma, share * natural_eta(gamma, 3)) for gamma in (0.1, 1.0, 10.0, 100.0) for share in (17.0, 17.0 / 4)]
    return Experiment(**sizes, **_pairs(3, *pairs), task="digits8", probes=CLOSELY)


def edge_of_stability_mlp3_large_batch(scale: str) -> Experiment:
    """The same at eight times the batch size, rich side only: less noise, a crisper edge."""
    sizes = _sizes(scale, width=64, batch_size=512, steps=3000, seeds=(0, 1, 2), record_points=60, probe_points=32)
    pairs = [(gamma, share * natural_eta(gamma, 3)) for gamma in (10.0, 100.0) for share in (17.0, 17.0 / 4)]
    return Experiment(**sizes, **_pairs(3, *pairs), task="digits8", probes=CLOSELY)


def edge_of_stability_mlp3_staircase(scale: str) -> Experiment:
    """The same on a stream that the settings were not chosen on."""
    sizes = _sizes(scale, width=128, batch_size=128, steps=1500, seeds=(0, 1, 2), record_points=60, probe_points=32)
    pairs = [(gamma, share * natural_eta(gamma, 3)) for gamma in (10.0, 100.0) for share in (0.7, 0.7 / 3)]
    return Experiment(**sizes, **_pairs(3, *pairs), task="staircase", probes=CLOSELY)


def collapse(scale: str, depth: int, task: str = "digits8") -> Experiment:
    """γ from 10² to 10⁴, each at several η, to be laid over one another in rescaled time."""
    batch_size, band = COLLAPSE[task]
    sizes = _sizes(scale, width=64, batch_size=batch_size, steps=4000, seeds=(0, 1, 2), record_points=160)
    return Experiment(
        **sizes, depth=depth, task=task, gammas="1e2:1e4:3" if scale == "smoke" else COLLAPSE_GAMMAS,
        etas=eta_axis(1e-1, 1e6, 1, at_least=3), band=band,
    )  # fmt: skip


def clocks(scale: str, depth: int, task: str = "digits8", steps: int = 12_000) -> Experiment:
    """γ from 10² to 10⁴, each at one η, trained until the loss is far down; seeds that no criterion was written from."""
    batch_size, share = CLOCKS[task]
    sizes = _sizes(scale, width=64, batch_size=batch_size, steps=steps, seeds=range(10, 15), record_points=160)
    gammas = np.geomspace(1e2, 1e4, 3 if scale == "smoke" else 7).tolist()
    pairs = [(gamma, float(share * natural_eta(gamma, depth))) for gamma in gammas]
    return Experiment(**sizes, **_pairs(depth, *pairs), task=task)


RECIPES: dict[str, Callable[[str], Experiment]] = {
    "catapult_mlp3_mse": catapult_mlp3_mse,
    "catapult_runs_mlp3_mse": catapult_runs_mlp3_mse,
    **{f"silent_alignment_mlp{depth}": partial(silent_alignment, depth=depth) for depth in ALIGNMENT_RATES},
    "steps_teacher_mlp3": steps_teacher_mlp3,
    "steps_staircase_mlp3": steps_staircase_mlp3,
    "edge_of_stability_mlp3": edge_of_stability_mlp3,
    "edge_of_stability_mlp3_large_batch": edge_of_stability_mlp3_large_batch,
    "edge_of_stability_mlp3_staircase": edge_of_stability_mlp3_staircase,
    "collapse_mlp3": partial(collapse, depth=3),
    "collapse_mlp2": partial(collapse, depth=2),
    "collapse_mlp3_teacher": partial(collapse, depth=3, task="teacher"),
    **{f"clocks_mlp{depth}": partial(clocks, depth=depth) for depth in (2, 3, 4)},
    "clocks_mlp6": partial(clocks, depth=6, steps=24_000),
    "clocks_mlp3_teacher": partial(clocks, depth=3, task="teacher", steps=4000),
    "clocks_mlp3_staircase": partial(clocks, depth=3, task="staircase", steps=6000),
}
