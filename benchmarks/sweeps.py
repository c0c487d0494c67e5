"""Sweeps against other ways to train the same networks, and against the machine's own limit."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from benchmarks import report, workload
from benchmarks.contenders import Contender, Disagreement, Record, best_ratio, race
from benchmarks.peer_gemm import SIZES
from benchmarks.problem import Problem
from benchmarks.report import Row
from richness import Experiment
from richness.runs.training import cores

AGREE = 1e-3  # float32, some hundred steps, stable cells: 2e-5 is usual


@dataclass(frozen=True)
class Peer:
    """Another way to train them.

    Attributes:
        short, about: it in two words, and in ten. threads: for torch; JAX takes what it likes.
        targets: width -> how many times as fast we should be.
        diagonal: it is given the networks on the grid's diagonal only, where its cost is linear in networks.
        steps: it is given 1 over so many of the steps, where its cost is linear in steps.
        arguments: of the module's ``prepare``, after the problem.
    """

    name: str
    module: str
    short: str
    about: str
    threads: int
    targets: dict[int, float] = field(default_factory=dict)
    diagonal: bool = False
    steps: int = 1
    arguments: tuple = ()

    def cells(self, experiment: Experiment) -> slice:
        """The networks that it is given: one of every γ and, on a square grid, of every η; or all."""
        return slice(None, None, len(experiment.etas) + 1 if self.diagonal else 1)

    def part(self, experiment: Experiment, problem: Problem) -> Problem:
        """What of the work it is given."""
        return problem.only(self.cells(experiment), experiment.steps // self.steps)


EAGER = Peer(
    "eager", "benchmarks.peer_eager", "one after another", "one network after another, eager PyTorch", 1,
    {128: 12.0, 256: 8.0}, diagonal=True,
)  # fmt: skip
VMAP = Peer("vmap", "benchmarks.peer_vmap", "vmap of grad", "torch.func.vmap of grad", cores(), steps=5)
JAX = Peer("jax", "benchmarks.peer_jax", "JAX", "JAX, vmap of scan, jit", cores(), {128: 2.5})
JAX_MAP = Peer(
    "jaxmap", "benchmarks.peer_jax", "JAX in sequence", "JAX, lax.map of scan, jit", cores(), arguments=(False,)
)
PEERS = (EAGER, VMAP, JAX, JAX_MAP)


def against_peers(width: int, steps: int, repeats: int, grid: tuple[int, int] = (13, 13)) -> list[Row]:
    """Every peer at one width, in one race with us."""
    experiment = workload.stable(*grid, width=width, steps=steps)
    problem = workload.problem(experiment)
    parts = {peer.name: peer.part(experiment, problem) for peer in PEERS}
    entered: dict[str, Contender] = {}
    absent: list[Row] = []
    try:
        entered["ours"] = Contender("benchmarks.ours", experiment.model_dump_json(), threads=cores())
        for peer in PEERS:
            try:
                entered[peer.name] = Contender(peer.module, parts[peer.name], *peer.arguments, threads=peer.threads)
            except ModuleNotFoundError as error:
                absent.append(Row(**_names(experiment, peer), missing=report.how_to_install(error)))
        found: dict[str, float] = {}
        records = race(entered, lambda results: found.update(differences(experiment, results)), repeats)
    finally:
        for contender in entered.values():
            contender.close()
    shares = {name: problem.cell_steps / part.cell_steps for name, part in parts.items()}
    rows = [
        Row(
            **_names(experiment, peer),
            **_times(problem.cell_steps, shares[peer.name], records["ours"], records[peer.name]),
            target=peer.targets.get(width),
            difference=found[peer.name],
            allowed=AGREE,
            compared="losses at the recorded steps, relative",
        )
        for peer in PEERS
        if peer.name in records
    ]
    return rows + absent


def differences(experiment: Experiment, results: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest relative difference of our losses and each peer's, at the recorded steps and of the networks it had.

    Raises:
        Disagreement: more than ``AGREE``, or not a number.
    """
    found = {}
    for peer in PEERS:
        if peer.name not in results:
            continue
        theirs = results[peer.name]
        recorded = [step for step in experiment.recorded_steps if step < len(theirs)]
        mine, theirs = results["ours"][: len(recorded), peer.cells(experiment)], theirs[recorded]
        found[peer.name] = float(np.max(np.abs(mine - theirs) / np.abs(theirs)))
        if not found[peer.name] <= AGREE:
            raise Disagreement(f"ours and {peer.about} differ by {found[peer.name]:.2g} of the loss")
    return found


def _names(experiment: Experiment, peer: Peer) -> dict[str, str]:
    width = experiment.width
    return {
        "name": f"sweep-{width}-{peer.name}",
        "label": f"sweep, N = {width}, against {peer.short}",
        "what": workload.words(experiment),
        "peer": peer.about,
    }


def _times(work: int, share: float, mine: Record, its: Record) -> dict:
    """The fields of a row that come from two records, the peer's times multiplied to the whole of the work."""
    given = "" if share == 1 else f" The peer was given 1/{share:.0f} of the work, in which its cost is linear."
    return {
        "unit": "cell·steps a second",
        "ours": work / min(mine.walls),
        "theirs": work / share / min(its.walls),
        "by_processor": share * min(its.cpus) / min(mine.cpus),
        **best_ratio([share * wall for wall in its.walls], mine.walls),
        "note": f"We draw the batches within the time; the peer has them ready-made. Not counted: {its.prepared:.1f} s to "
        f"start and prepare the peer, {mine.prepared:.1f} s for us.{given}",
        **report.of_records(ours=mine, theirs=its),
    }


TARGETS = {"digits8": 0.90, "digits": 0.85}  # of torch.mm's peak


def against_peak(
    steps: int, repeats: int, grid: tuple[int, int] = (13, 13), width: int = 128, seconds: float = 0.3,
    sizes: tuple[int, ...] = SIZES,
) -> list[Row]:  # fmt: skip
    """The share of the machine's peak that sweeps on 8×8 and on 28×28 digits keep busy."""
    works = {task: workload.stable(*grid, width=width, steps=steps, task=task) for task in TARGETS}
    turns: dict[str, list] = {task: [] for task in works}
    with (
        Contender("benchmarks.peer_gemm", seconds, sizes) as gemm,
        Contender("benchmarks.ours", threads=cores()) as us,
    ):
        for experiment in works.values():
            us.result(experiment.model_dump_json())
        rates = gemm.result()
        for _ in range(repeats):
            rates = np.maximum(rates, gemm.result())
            for task, experiment in works.items():
                turns[task].append(us.lap(experiment.model_dump_json()))
        records = {task: us.record(np.empty(0), turns[task]) for task in works}
    peaks = {"mm": ("torch.mm", rates[0].max()), "best": ("torch's fastest operation", rates.max())}
    return [
        _share(works[task], records[task], operation, about, peak, sizes)
        for task in works
        for operation, (about, peak) in peaks.items()
    ]


def _share(
    experiment: Experiment, mine: Record, operation: str, about: str, peak: float, sizes: tuple[int, ...]
) -> Row:
    problem = workload.problem(experiment)
    limit = cores() * peak
    work = problem.flops() * problem.cell_steps / 1e9
    return Row(
        name=f"peak-{experiment.task}-{operation}",
        label=f"{experiment.task}, of {about}",
        what=workload.words(experiment),
        peer=f"the peak of {about}, square float32 matrices, best of sizes {sizes[0]} to {sizes[-1]}, × {cores()} cores",
        unit="GFLOP/s",
        ours=work / min(mine.walls),
        theirs=limit,
        by_processor=work / min(mine.cpus) / peak,
        target=TARGETS[experiment.task] if operation == "mm" else None,
        note="Counted: products forward, weight gradients, input gradients but the first layer's, the update; "
        f"{problem.flops() / 1e6:.2f} MFLOP a network and step. Batches are drawn within the time.",
        **best_ratio([work / limit] * len(mine.laps), mine.walls),
        **report.of_records(ours=mine),
    )
