"""Sweeps against other ways to train the same networks, and against the machine's own limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks import contenders, report, workload
from benchmarks.contenders import Contender, Disagreement, Record, race
from benchmarks.problem import Problem
from benchmarks.report import Row
from richness import Experiment

AGREE = 1e-3  # float32, some hundred steps, stable cells: 1e-5 is usual


@dataclass(frozen=True)
class Peer:
    """Another way to train them.

    Attributes:
        part: what share of the networks it is given: 1 over so many.
    """

    name: str
    module: str
    about: str
    threads: int
    part: Callable[[Experiment], slice]
    targets: dict[int, float]


def _all(experiment: Experiment) -> slice:
    return slice(None)


def _diagonal(experiment: Experiment) -> slice:
    """One network of every γ and, on a square grid, of every η."""
    return slice(None, None, len(experiment.etas) + 1)


def peers() -> list[Peer]:
    return [
        Peer("eager", "benchmarks.peer_eager", "one after another, eager PyTorch", 1, _diagonal, {128: 12.0, 256: 8.0}),
        Peer("vmap", "benchmarks.peer_vmap", "torch.func.vmap of grad", report.cores(), _all, {}),
        Peer("jax", "benchmarks.peer_jax", "JAX, vmap of scan, jit", report.cores(), _all, {128: 2.5}),
    ]


def against_peers(width: int, steps: int, repeats: int, grid: tuple[int, int] = (13, 13)) -> list[Row]:
    """Every peer at one width, in one race with us."""
    experiment = workload.stable(*grid, width=width, steps=steps)
    problem = workload.problem(experiment)
    what = f"sweep of {len(problem.gamma)} MLPs, L = 3, N = {width}, digits8, batch 64, {steps} steps"
    entered: dict[str, Contender] = {}
    absent: list[Row] = []
    try:
        entered["ours"] = Contender("benchmarks.ours", experiment.model_dump_json(), report.cores())
        for peer in peers():
            try:
                part = problem.only(peer.part(experiment))
                entered[peer.name] = Contender(peer.module, part, threads=peer.threads)
            except ModuleNotFoundError as error:
                absent.append(report.absent(f"sweep-{width}-{peer.name}", what, peer.about, error))
        found: dict[str, float] = {}
        records = race(entered, lambda results: found.update(differences(experiment, results)), repeats)
    finally:
        for contender in entered.values():
            contender.close()
    rows = [
        _row(f"sweep-{width}-{peer.name}", what, peer, experiment, problem, records["ours"], records[peer.name],
             found[peer.name], peer.targets.get(width))
        for peer in peers() if peer.name in records
    ]  # fmt: skip
    return rows + absent


def differences(experiment: Experiment, results: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest relative difference of our losses and each peer's, at the recorded steps and of the networks it had.

    Raises:
        Disagreement: more than ``AGREE``, or not a number.
    """
    recorded = [step for step in experiment.recorded_steps if step < experiment.steps]
    found = {}
    for peer in peers():
        if peer.name not in results:
            continue
        mine = results["ours"][: len(recorded), peer.part(experiment)]
        theirs = results[peer.name][recorded]
        found[peer.name] = float(np.max(np.abs(mine - theirs) / np.abs(theirs)))
        if not found[peer.name] <= AGREE:
            raise Disagreement(f"ours and {peer.about} differ by {found[peer.name]:.2g} of the loss")
    return found


def _row(
    name: str, what: str, peer: Peer, experiment: Experiment, problem: Problem, mine: Record, its: Record,
    difference: float, target: float | None,
) -> Row:  # fmt: skip
    ours, theirs = problem.cell_steps, problem.only(peer.part(experiment)).cell_steps
    ratio, spread = contenders.spread([
        (b.wall / theirs) / (a.wall / ours) for a, b in zip(mine.laps, its.laps, strict=True)
    ])  # fmt: skip
    given = "" if theirs == ours else f" It was given {theirs // experiment.steps} of the networks: its cost is linear."
    return Row(
        name, what, peer.about, "cell·steps a second", ours / mine.wall, theirs / its.wall, ratio, spread, target,
        difference=difference, allowed=AGREE, compared="losses at every recorded step, relative",
        note=f"Batches drawn by us, ready-made for the peer; {its.prepared:.1f} s to import and prepare it are not "
        f"counted.{given}",
        **report.of_records(ours=mine, theirs=its),
    )  # fmt: skip


def against_peak(steps: int, repeats: int, grid: tuple[int, int] = (13, 13), width: int = 128,
                 seconds: float = 0.3, sizes: tuple[int, ...] = (256, 512, 1024, 2048)) -> list[Row]:  # fmt: skip
    """The share of the machine's peak that sweeps on 8×8 and on 28×28 digits keep busy."""
    targets = {"digits8": 0.90, "digits": 0.85}
    works = {task: workload.stable(*grid, width=width, steps=steps, task=task) for task in targets}
    rows, turns = [], {task: [] for task in works}
    with (
        Contender("benchmarks.peer_gemm", seconds, sizes) as gemm,
        Contender("benchmarks.ours", "", report.cores()) as us,
    ):
        for experiment in works.values():
            us.result(experiment.model_dump_json())
        rates = gemm.result()
        for _ in range(repeats):
            rates = np.maximum(rates, gemm.result())
            for task, experiment in works.items():
                turns[task].append(us.lap(experiment.model_dump_json()))
        mine = us.record(np.empty(0))
    peaks = {"torch.mm": rates[0].max(), "the fastest torch operation found": rates.max()}
    for task, experiment in works.items():
        mine.laps = turns[task]
        problem = workload.problem(experiment)
        flops = problem.flops() * problem.cell_steps / 1e9
        for number, (operation, peak) in enumerate(peaks.items()):
            limit = report.cores() * peak
            ratio, spread = contenders.spread([flops / lap.wall / limit for lap in mine.laps])
            rows.append(Row(
                f"peak-{task}-{'mm' if number == 0 else 'best'}",
                f"sweep of {len(problem.gamma)} MLPs, L = 3, N = {width}, {task}, batch 64, {steps} steps",
                f"{operation}, square float32 matrices, best of sizes {sizes[0]} to {sizes[-1]}, × {report.cores()} cores",
                "GFLOP/s", flops / mine.wall, limit, ratio, spread, targets[task] if number == 0 else None,
                note="Counted: products forward, weight gradients, input gradients but the first layer's, the update; "
                f"{problem.flops() / 1e6:.2f} MFLOP a network and step. Batches are drawn within the time. By processor "
                f"seconds the share is {flops / mine.cpu / peak:.2f}.",
                **report.of_records(ours=mine),
            ))  # fmt: skip
    return rows
