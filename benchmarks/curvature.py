"""Sharpness and the neural tangent kernel of one network, against the packages that one would reach for."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks import contenders, report, workload
from benchmarks.contenders import Contender, Disagreement, Record, race
from benchmarks.peer_eager import network, trained
from benchmarks.problem import Fitted
from benchmarks.reference import largest_eigenvalue
from benchmarks.report import Row
from richness import Experiment

CELLS = ((0.1, 0.03), (1.0, 1.0), (10.0, 3.0))  # (γ, η): lazy, between, rich
SHARPNESS_AGREES = 1e-2  # PyHessian stops where two iterations agree, which may be this far from the eigenvalue
KERNEL_AGREES = 1e-4
ERROR = 1e-4  # of λ_max, which ours may not exceed
TIGHT = 1e-7  # a tolerance at which ours is at least as near as eigsh


def networks(width: int, steps: int, samples: int) -> tuple[Experiment, list[Fitted]]:
    """Three networks after some training, by the eager peer's own code, with the samples to measure them on."""
    fitted = []
    for gamma, eta in CELLS:
        experiment = workload.experiment((gamma,), (eta,), width=width, steps=steps)
        problem = workload.problem(experiment)
        model, _ = trained(problem, 0)
        x, labels = experiment.source.probe(samples)
        one_hot = torch.nn.functional.one_hot(labels, experiment.source.outputs).float()
        with torch.no_grad():
            at_start = network(problem.weights, problem.scales)(x.float())
        fitted.append(Fitted(
            weights=tuple(p.detach().numpy() for p in model.parameters()),
            scales=(*problem.scales[:-1], problem.scales[-1] / gamma),
            inputs=x.float().numpy(),
            targets=(one_hot + at_start / gamma).numpy(),
            gamma=gamma, start=problem.weights, one_hot=one_hot.numpy(),
        ))  # fmt: skip
    return experiment, fitted


def sharpness(width: int, steps: int, samples: int, repeats: int, calls: int) -> list[Row]:
    """λ_max against two packages, each with its error against a tight solve in float64."""
    experiment, fitted = networks(width, steps, samples)
    recipe = experiment.model_dump_json()
    what = f"λ_max of one MLP, L = 3, N = {width}, {samples} samples, mean of {len(fitted)} (γ = 0.1, 1 and 10)"
    exact = np.array([largest_eigenvalue(one) for one in fitted])
    wanted = {
        "curvlinops": ("benchmarks.peer_curvlinops", "curvlinops' Hessian and SciPy's eigsh, tolerance 1e-3", 10.0),
        "pyhessian": ("benchmarks.peer_pyhessian", "PyHessian, tolerance 1e-5", 1.5),
    }
    entered: dict[str, Contender] = {}
    absent: list[Row] = []
    errors: dict[str, float] = {}

    def agree(results: dict[str, np.ndarray]) -> None:
        for name, result in results.items():
            errors[name] = float(np.max(np.abs(result / exact - 1)))
            if not errors[name] <= SHARPNESS_AGREES:
                raise Disagreement(f"{name}: λ_max is off by {errors[name]:.2g}, more than {SHARPNESS_AGREES:g}")

    try:
        entered["ours"] = Contender("benchmarks.ours_sharpness", recipe, fitted)
        entered["tight"] = Contender("benchmarks.ours_sharpness", recipe, fitted, TIGHT)
        for name, (module, about, _) in wanted.items():
            try:
                entered[name] = Contender(module, fitted)
            except ModuleNotFoundError as error:
                absent.append(report.absent(f"sharpness-{name}", f"sharpness, against {name}", what, about, error))
        records = race(entered, agree, repeats, {"ours": calls, "tight": calls})
    finally:
        for contender in entered.values():
            contender.close()

    def row(name: str, mine: str, peer: str, target: float | None) -> Row:
        about = wanted[peer][1] + ("" if mine == "ours" else f"; ours at tolerance {TIGHT:g}")
        return _row(
            name, f"sharpness, against {peer}" + ("" if mine == "ours" else ", tight"), what, about, len(fitted), records[mine], records[peer], target,
            difference=errors[mine], allowed=ERROR if mine == "ours" else errors[peer],
            compared=f"error of λ_max, relative, worst of the three; the peer's is {errors[peer]:.1e}",
        )  # fmt: skip

    rows = [row(f"sharpness-{peer}", "ours", peer, wanted[peer][2]) for peer in wanted if peer in records]
    if "curvlinops" in records:
        rows.append(row("sharpness-curvlinops-tight", "tight", "curvlinops", None))
    return rows + absent


def _row(
    name: str, label: str, what: str, peer: str, networks: int, mine: Record, its: Record, target: float | None, *,
    difference: float, allowed: float, compared: str,
) -> Row:  # fmt: skip
    ratio, spread = contenders.spread([b.cpu / a.cpu for a, b in zip(mine.laps, its.laps, strict=True)])
    return Row(
        name, label, what, peer, "processor ms", 1e3 * mine.cpu / networks, 1e3 * its.cpu / networks, ratio, spread, None, target,
        difference=difference, allowed=allowed, compared=compared, **report.of_records(ours=mine, theirs=its),
    )  # fmt: skip
