"""Boundaries without the plane: of a full grid, only the cells that say where η_max, η_min and η_crit lie.

At every γ there is a full grid of η that the search may run, ``per_decade`` points a decade, and it runs few of them. The
grid's phase is drawn for each γ (by `richness.rng`, so it belongs to the recipe): it follows neither γ's spacing nor a
predicted curve, and rounding a boundary to the grid is a fresh error at every γ, not a staircase.

**What is looked for** is what the full grid would show: the first converged run as η comes down (η_max), the first
learned one as it comes up (η_min, at every budget), the first overshoot as it comes up (η_crit); see
`richness.runs.outcomes`. A boundary is settled when that run and the one before it are neighbours on the grid, and
``guard`` more before them were run and show nothing: near a boundary chance decides, and a run that converges a cell
or two above the others is where the full grid has its η_max. An island farther off is seen only by good luck.

**How.** A few γ of the first seed are scanned coarsely, over the band where theory has the boundaries, and their brackets
narrowed. Every other γ begins where its settled neighbours lead it to expect the boundary, in units of the natural η;
every other seed, where the first has it. From a wrong expectation the search goes on with growing steps, as far as the
experiment's η go. Where nothing converges (or learns) it descends to the smallest late loss, and stops when the bowl
about it is known: the boundary is *absent*. What ends at the experiment's own η is *censored*. Nothing is guessed: an
expectation only says where to look first. See `richness.runs.bracketing`.

Each seed looks for its own boundaries, on the grid that all seeds share. The cells of a round train together, and what
the next round runs depends on results alone: a search is a function of its recipe, and goes on from the finished shards
of its store.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import xarray as xr

from richness.data.streams import remember_batches
from richness.runs.bracketing import Grid, Line, Seen, Target, bracket, next_places
from richness.runs.execution import count_steps, run_cells
from richness.runs.experiment import Experiment
from richness.runs.loops import Loop
from richness.runs.outcomes import APPROACHES
from richness.runs.progress import Progress, teller
from richness.runs.results import STATUS, with_coordinates
from richness.runs.shards import Arrays, Shard
from richness.runs.sweep import assemble

FIRST_GAMMAS = 2  # at least so many γ are scanned, if there are
TYPICAL = 12  # cells a γ and seed, for a progress bar to begin with

Unit = tuple[int, int]  # (γ index, seed)


class _State:
    """What is known in the course of a search: a line for every γ, seed and boundary."""

    def __init__(self, experiment: Experiment, targets: Sequence[Target], per_decade: int, guard: int):
        self.grids = [Grid.of(experiment, gamma, per_decade) for gamma in experiment.gammas]
        self.targets, self.guard = targets, guard
        self.lines: dict[Unit, dict[Target, Line]] = {}

    def stages(self, seeds: Sequence[int]) -> Iterator[list[Unit]]:
        """Which γ and seeds are searched together: a few γ of the first seed, those between them, ...; then the few γ of
        all other seeds, and the rest."""
        count = len(self.grids)
        first = stride = 2 ** max(0, math.floor(math.log2(count / FIRST_GAMMAS)))
        done: set[int] = set()
        while stride:
            now = {*range(0, count, stride), count - 1} - done
            if now:
                yield [(i, seeds[0]) for i in sorted(now)]
            done |= now
            stride //= 2
        scanned = [i for i in range(count) if i % first == 0 or i == count - 1]
        between = [i for i in range(count) if i not in scanned]
        for some in (scanned, between):
            if len(seeds) > 1 and some:
                yield [(i, seed) for seed in seeds[1:] for i in some]

    def expectations(self, stage: Sequence[Unit], pilot: int) -> dict[Unit, dict[Target, float]]:
        """Where the boundaries of a stage should lie, as places: where the pilot seed has them, at that γ or between its
        neighbours, moved as far as the seed's other boundaries lie from the pilot's."""
        expected: dict[Unit, dict[Target, float]] = {unit: {} for unit in stage}
        for target in self.targets:
            found: dict[int, dict[int, float]] = {}  # seed -> γ index -> boundary over natural η, in cells
            for (i, seed), lines in self.lines.items():
                before, event = bracket(lines[target], target.coming)
                if before is not None and event is not None and abs(event - before) == 1:
                    straight = (before + event) / 2 - self.grids[i].place(self.grids[i].natural)
                    found.setdefault(seed, {})[i] = straight
            if pilot not in found:
                continue
            known = sorted(found[pilot])
            log_gamma = np.log([self.grids[i].gamma for i in known])
            for i, seed in stage:
                grid = self.grids[i]
                straight = np.interp(math.log(grid.gamma), log_gamma, [found[pilot][j] for j in known])
                both = [j for j in known if j in found.get(seed, {})]
                moved = np.mean([found[seed][j] - found[pilot][j] for j in both]) if both else 0.0
                expected[i, seed][target] = float(straight + moved) + grid.place(grid.natural)
        return expected

    def wanted(self, units: Sequence[Unit], expected: Mapping[Unit, Mapping[Target, float]]) -> dict[Unit, set[int]]:
        """The places that each γ and seed runs in the next round; those that want none are left out."""
        places: dict[Unit, set[int]] = {}
        for unit in units:
            grid, hopes = self.grids[unit[0]], expected[unit]
            lines = self.lines.setdefault(unit, {target: {} for target in self.targets})
            steps = [next_places(lines[target], target, grid, hopes.get(target), self.guard) for target in self.targets]
            places[unit] = set().union(*steps) if any(steps) or any(lines.values()) else grid.scan()
        return {unit: ks for unit, ks in places.items() if ks}

    def learn(self, where: Sequence[tuple[Unit, int]], seen: Mapping[Target, Sequence[Seen]]) -> None:
        """Takes in the cells at those places."""
        for target, each in seen.items():
            for (unit, k), one in zip(where, each, strict=True):
                self.lines[unit][target][k] = one


def search(
    experiment: Experiment,
    boundaries: Sequence[str] = tuple(APPROACHES),
    per_decade: int = 12,
    guard: int = 1,
    executor: Executor | None = None,
    store: str | Path | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    *,
    thresholds: Mapping[str, float] | None = None,
    name: str = "",
    scale: str = "",
) -> xr.Dataset:
    """Find the boundaries of the γ–η plane, running few of its cells.

    Args:
        experiment: its networks, task, γ, seeds, steps and budgets; a reader's :class:`~richness.runs.loops.Loop` too. Of its
            η only the smallest and the largest count: the search stays between them, and within its band. η_crit alone needs
            no more than 60 steps.
        boundaries: which of ``eta_max``, ``eta_min`` (at every budget) and ``eta_crit`` are looked for.
        per_decade: η of the full grid in a decade: a boundary is placed between two of them.
        guard: cells before a boundary that must have been run and show nothing; see `richness.runs.search`.
        executor, store, progress: as for `richness.sweep`. How many cells there will be is not known beforehand: until
            the end, the progress's total is an estimate.
        thresholds: boundary -> the threshold that tells it, where it is to be another than in `richness.runs.outcomes`; hand
            the same to the functions that read the boundaries, as in ``eta_max(runs, below=0.7)``.
        name, scale: of the recipe, for the provenance.

    Returns:
        The cells that were run, as `richness.sweep` returns them but for η: dims (gamma, trial, seed[, step]) and the
        coordinate ``eta(gamma, trial)``, ascending; NaN where a γ has fewer trials than others. A trial that a seed did
        not need is ``not_run`` there. Give it to the functions of `richness.analysis.boundaries`. The attributes
        ``search`` (this search, as JSON), ``cells_run`` and ``cells_full_grid`` say what was spared.

    Raises:
        ValueError: an unknown boundary or a threshold of one that is not looked for, ``per_decade`` below 1, ``guard`` below 0,
            or less than one cell of η to search.
        ResultError: as for `richness.sweep`.
    """
    asked, own = _checked(experiment, boundaries, per_decade, guard), _checked_thresholds(boundaries, thresholds)
    if isinstance(experiment, Loop) and not experiment.steps:
        experiment = count_steps(experiment, executor, store)
    targets = [
        Target(boundary, budget, own.get(boundary))
        for boundary in asked
        for budget in (experiment.all_budgets if boundary == "eta_min" else (experiment.steps,))
    ]
    state = _State(experiment, targets, per_decade, guard)
    if not any(map(len, state.grids)):
        raise ValueError("no η to search: the experiment's band leaves none between its smallest and its largest")
    meter = _Meter(experiment, teller(progress))
    done: list[tuple[Shard, Arrays]] = []
    stages = list(state.stages(experiment.seeds))
    expected: dict[Unit, dict[Target, float]] = {}
    still_open: list[Unit] = []
    with remember_batches():  # a round is short, and every round draws the same batches
        for number, stage in enumerate(stages, 1):
            expected |= state.expectations(stage, pilot=experiment.seeds[0])
            patience = len(stage) // 4 if number < len(stages) else 0  # the last few go on with the next stage
            while len(places := state.wanted([*still_open, *stage], expected)) > patience:
                cells = {
                    (unit[1], state.grids[unit[0]].gamma, state.grids[unit[0]].eta(k)): (unit, k)
                    for unit, ks in places.items()
                    for k in sorted(ks)
                }
                for shard, arrays in run_cells(experiment, cells, executor, store, meter.tick):
                    where = [cells[shard.seed, gamma, eta] for gamma, eta in shard.cells]
                    state.learn(where, read_events(experiment, arrays, targets))
                    done.append((shard, arrays))
                    meter.count(arrays)
            still_open = list(places)
    meter.close()
    runs = _on_trials(experiment, done, name, scale)
    return runs.assign_attrs(
        search=json.dumps(
            {"boundaries": asked, "per_decade": per_decade, "guard": guard} | ({"thresholds": own} if own else {})
        ),
        recipe_hash=identity(experiment, boundaries, per_decade, guard, own),
        cells_run=meter.state.cells,
        cells_full_grid=sum(map(len, state.grids)) * len(experiment.seeds),
    )


def identity(
    experiment: Experiment,
    boundaries: Sequence[str] = tuple(APPROACHES),
    per_decade: int = 12,
    guard: int = 1,
    thresholds: Mapping[str, float] | None = None,
) -> str:
    """SHA-256 of a search, in hex: of its experiment, and of what it looks for and how finely."""
    asked, own = _checked(experiment, boundaries, per_decade, guard), _checked_thresholds(boundaries, thresholds)
    described = [experiment.hash, asked, per_decade, guard, *[own] * bool(own)]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


def _checked_thresholds(boundaries: Sequence[str], thresholds: Mapping[str, float] | None) -> dict[str, float]:
    """The thresholds that are not the boundaries' own."""
    given = dict(thresholds or {})
    asked = [boundaries] if isinstance(boundaries, str) else list(boundaries)
    if unknown := [name for name in given if name not in asked]:
        raise ValueError(
            f"thresholds are those of the boundaries that are looked for ({', '.join(asked)}), got {unknown}"
        )
    own = {name: APPROACHES[name].at(value).threshold for name, value in given.items()}
    return {name: value for name, value in own.items() if value != APPROACHES[name].threshold}


def _checked(experiment: Experiment, boundaries: Sequence[str], per_decade: int, guard: int) -> list[str]:
    """The names of the boundaries, each once."""
    asked = list(dict.fromkeys([boundaries] if isinstance(boundaries, str) else boundaries))
    unknown = [name for name in asked if name not in APPROACHES]
    if unknown or not asked:
        raise ValueError(
            f"boundaries to search for are {', '.join(APPROACHES)}, got {', '.join(map(str, unknown)) or 'none'}"
        )
    whole = isinstance(per_decade, int) and isinstance(guard, int)
    if not whole or per_decade < 1 or guard < 0:
        raise ValueError(f"a search needs whole numbers per_decade ≥ 1 and guard ≥ 0, got {per_decade!r} and {guard!r}")
    if len(experiment.etas) < 2:
        raise ValueError(
            f"a search goes from the smallest to the largest η of the experiment, and it has only {experiment.etas[0]:g}: "
            "give both ends, for example etas=[1e-8, 1e6]"
        )
    return asked


def read_events(experiment: Experiment, arrays: Arrays, targets: Sequence[Target]) -> dict[Target, list[Seen]]:
    """What the cells of a finished shard say, one by one, about each boundary."""
    diverged = arrays["diverged_at"] >= 0
    runs = xr.Dataset(
        {
            "status": ("cell", np.where(diverged, STATUS["diverged"], STATUS["ok"])),
            "budget_loss": (("budget", "cell"), arrays["budget_loss"]),
            **{key: ("cell", arrays[key]) for key in ("initial_loss", "late_loss", "peak_loss")},
        },
        {"budget": list(experiment.all_budgets)},
    )
    shares = (runs.budget_loss / runs.initial_loss).fillna(np.inf)
    seen = {}
    for target in targets:
        event = target.approach.event(runs)
        event = event.sel(budget=target.budget) if "budget" in event.dims else event
        seen[target] = list(map(Seen, event.values.tolist(), shares.sel(budget=target.budget).values.tolist()))
    return seen


def _on_trials(experiment: Experiment, done: Sequence[tuple[Shard, Arrays]], name: str, scale: str) -> xr.Dataset:
    """The finished cells with each γ's own η along ``trial``."""
    used: dict[float, set[float]] = {gamma: set() for gamma in experiment.gammas}
    for shard, _ in done:
        for gamma, eta in shard.cells:
            used[gamma].add(eta)
    every = sorted(set().union(*used.values()))
    plane = assemble(experiment.model_copy(update={"etas": tuple(every)}), done, name=name, scale=scale)
    trials = max(map(len, used.values()))
    etas = np.full((len(used), trials), np.nan)
    column = np.zeros((len(used), trials), dtype=np.int64)
    for i, own in enumerate(map(sorted, used.values())):
        spare = next((j for j, value in enumerate(every) if value not in own), 0)  # where this γ was not run
        etas[i, : len(own)] = own
        column[i] = [every.index(value) for value in own] + [spare] * (trials - len(own))
    runs = plane.drop_vars(["lr_raw", "tau"]).isel(eta=xr.DataArray(column, dims=("gamma", "trial")))
    runs = runs.assign_coords(eta=(("gamma", "trial"), etas, plane.eta.attrs))
    runs = runs.assign_attrs(recipe=experiment.model_dump_json())
    return with_coordinates(runs.transpose("gamma", "trial", "seed", ...))


class _Meter:
    """Keeps a progress callback informed."""

    def __init__(self, experiment: Experiment, tell: Callable[[Progress], None] | None):
        self.steps, self.tell = experiment.steps, tell
        cells = TYPICAL * len(experiment.gammas) * len(experiment.seeds)
        self.state = Progress(total=cells * self.steps, all_cells=cells)

    def tick(self, cell_steps: int) -> None:
        self.state.done += cell_steps
        self._say()

    def count(self, arrays: Arrays) -> None:
        state = self.state
        state.cells += arrays["diverged_at"].size
        state.diverged += int((arrays["diverged_at"] >= 0).sum())
        state.kept += max(0, state.cells * self.steps - state.done)
        state.done = max(state.done, state.cells * self.steps)
        self._say()

    def _say(self) -> None:
        self.state.all_cells = max(self.state.all_cells, self.state.cells + 1)  # the end is told by `close` alone
        self.state.total = max(self.state.total, self.state.done + self.steps)
        if self.tell:
            self.tell(self.state)

    def close(self) -> None:
        self.state.all_cells, self.state.total = self.state.cells, self.state.done
        if self.tell:
            self.tell(self.state)
