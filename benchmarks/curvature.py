"""Sharpness and the neural tangent kernel of one network, against the packages that one would reach for."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks import report, workload
from benchmarks.contenders import Contender, Disagreement, Record, best_ratio, race
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
HESSIANS = {  # module, what it is, how many times as fast we should be
    "curvlinops": ("benchmarks.peer_curvlinops", "curvlinops' Hessian and SciPy's eigsh, tolerance 1e-3", 25.0),
    "pyhessian": ("benchmarks.peer_pyhessian", "PyHessian, tolerance 1e-5", 5.0),
}


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
        for name, (module, about, _) in HESSIANS.items():
            try:
                entered[name] = Contender(module, fitted)
            except ModuleNotFoundError as error:
                absent.append(Row(f"sharpness-{name}", f"sharpness, against {name}", what, about,
                                  missing=report.how_to_install(error)))  # fmt: skip
        records = race(entered, agree, repeats, {"ours": calls, "tight": calls})
    finally:
        for contender in entered.values():
            contender.close()
    rows = [
        Row(
            name=f"sharpness-{peer}{suffix}",
            label=f"sharpness, against {peer}{words}",
            what=what,
            peer=HESSIANS[peer][1] + (f"; ours at tolerance {TIGHT:g}" if suffix else ""),
            target=None if suffix else HESSIANS[peer][2],
            difference=errors[mine],
            allowed=errors[peer] if suffix else ERROR,
            compared=f"error of λ_max, relative, worst of the {len(fitted)}; the peer's is {errors[peer]:.1e}",
            **_times(len(fitted), records[mine], records[peer]),
        )
        for peer, mine, suffix, words in (
            ("curvlinops", "ours", "", ""),
            ("curvlinops", "tight", "-tight", ", as near as it"),
            ("pyhessian", "ours", "", ""),
        )
        if peer in records
    ]
    return rows + absent


def kernel(width: int, steps: int, samples: int, repeats: int, calls: int) -> list[Row]:
    """The neural tangent kernel through layer factors, against all Jacobians."""
    experiment, fitted = networks(width, steps, samples)
    one = fitted[1]
    found: list[float] = []

    def agree(results: dict[str, np.ndarray]) -> None:
        found.append(float(np.max(np.abs(results["ours"] - results["jacrev"])) / np.max(np.abs(results["jacrev"]))))
        if not found[0] <= KERNEL_AGREES:
            raise Disagreement(f"the kernels differ by {found[0]:.2g} of their largest entry")

    with (
        Contender("benchmarks.ours_kernel", experiment.model_dump_json(), one) as ours,
        Contender("benchmarks.peer_jacrev", one) as jacrev,
    ):
        records = race({"ours": ours, "jacrev": jacrev}, agree, repeats, {"ours": calls})
    return [
        Row(
            name="ntk-jacrev",
            label="tangent kernel, against jacrev",
            what=f"neural tangent kernel of one MLP, L = 3, N = {width}, {samples} samples, summed over outputs",
            peer="torch.func.vmap of jacrev, contracted layer by layer",
            target=20.0,
            difference=found[0],
            allowed=KERNEL_AGREES,
            compared="largest difference of two entries over the largest entry",
            **_times(1, records["ours"], records["jacrev"]),
        )
    ]


def _times(networks: int, mine: Record, its: Record) -> dict:
    """The fields of a row that come from two records: processor milliseconds a network, one thread each."""
    return {
        "unit": "processor ms",
        "ours": 1e3 * min(mine.cpus) / networks,
        "theirs": 1e3 * min(its.cpus) / networks,
        **best_ratio(its.cpus, mine.cpus),
        **report.of_records(ours=mine, theirs=its),
    }
