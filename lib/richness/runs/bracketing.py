"""One boundary at one γ and seed: the grid of η on which it is placed, what was seen there, and where to look next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from richness import rng
from richness.runs.description import canonical
from richness.runs.experiment import Experiment
from richness.runs.outcomes import APPROACHES, Approach

FIRST_SCAN = (0.03, 300.0)  # where the coarse scans begin and end, in units of the natural η
SCANNED = 2  # points a decade in them
A_DIP = 1.15  # over a quarter of a decade the smallest late loss does not fall by more than this factor


class Seen(NamedTuple):
    """What one run says about one boundary."""

    event: bool  # as in `outcomes.APPROACHES`
    share: float  # late loss over initial loss at the budget; infinite where the run had diverged


Line = dict[int, Seen]  # place on the grid -> what was seen there


@dataclass(frozen=True)
class Target:
    """One boundary that is looked for; η_min once a budget."""

    name: str
    budget: int
    threshold: float | None = None  # the boundary's own where not given

    @property
    def approach(self) -> Approach:
        own = APPROACHES[self.name]
        return own if self.threshold is None else own.at(self.threshold)

    @property
    def coming(self) -> int:
        return self.approach.coming

    @property
    def below(self) -> float | None:
        """The share of the initial loss below which a late loss is the event; None where none is."""
        return self.approach.threshold if self.approach.of_late_loss else None


@dataclass(frozen=True)
class Grid:
    """The η that may be run at one γ: 10^((k + phase)/per_decade), for the whole numbers k from first to last."""

    gamma: float
    natural: float
    phase: float
    per_decade: int
    first: int
    last: int

    @classmethod
    def of(cls, experiment: Experiment, gamma: float, per_decade: int) -> Grid:
        """Within the experiment's smallest and largest η, and within its band."""
        phase = float(rng.uniforms(0, f"search/phase/{gamma!r}", 0, 1)[0])
        natural = float(experiment.natural_eta(gamma))
        low, high = experiment.etas[0], experiment.etas[-1]
        whole = cls(gamma, natural, phase, per_decade, 0, 0)
        ends = math.ceil(whole.place(low)), math.floor(whole.place(high))
        inside = [k for k in range(ends[0], ends[1] + 1) if experiment.in_band(gamma, whole.eta(k))]
        return cls(gamma, natural, phase, per_decade, *((inside[0], inside[-1]) if inside else (0, -1)))

    def eta(self, k: int) -> float:
        return canonical([10.0 ** ((k + self.phase) / self.per_decade)])[0]

    def place(self, eta: float) -> float:
        """The k of an η; between two whole numbers where it is not on the grid."""
        return self.per_decade * math.log10(eta) - self.phase

    def __len__(self) -> int:
        return self.last - self.first + 1

    def scan(self) -> set[int]:
        """The places of a coarse scan."""
        low, high = (self.place(share * self.natural) for share in FIRST_SCAN)
        steps = range(math.ceil(low), math.floor(high) + 1, max(1, self.per_decade // SCANNED))
        return {min(max(k, self.first), self.last) for k in steps} if len(self) else set()


def bracket(line: Line, coming: int) -> tuple[int | None, int | None]:
    """Places of the first event, as η comes from its side, and of the run before it: (before, event)."""
    before = None
    for k in sorted(line, key=lambda k: coming * k):
        if line[k].event:
            return before, k
        before = k
    return before, None


def next_places(line: Line, target: Target, grid: Grid, expected: float | None, guard: int) -> set[int]:
    """What to run next for one boundary; nothing where it is settled, absent or censored.

    Args:
        line: what was seen so far.
        expected: where the boundary should lie, as a place between two whole numbers.
        guard: how many cells before the boundary must show nothing.
    """
    if not len(grid) or (not line and expected is None):
        return set()
    side = target.coming  # x = side·k rises as η comes: nothing, and then, from some x on, the event
    lowest, highest = sorted((side * grid.first, side * grid.last))
    guess = None if expected is None else min(max(math.ceil(side * expected), lowest), highest + 1)
    around = set() if guess is None else {guess - 1, guess}
    before, event = (None if k is None else side * k for k in bracket(line, side))
    if event is None and target.below is not None:
        wanted = {side * x for x in around if lowest <= x <= highest} - set(line) or _descend(line, grid, target.below)
    else:
        low = lowest - 1 if before is None else before
        high = highest + 1 if event is None else event
        if high - low == 1:
            xs = set(range(low - guard, low))
        elif not (xs := {x for x in around if low < x < high}):
            if guess is None and (before is None or event is None):
                guess = max(side * k for k in line) + 1 if before is None else min(side * k for k in line)
            xs = {_step(low, high, guess, closed=before is not None and event is not None)}
        wanted = {side * x for x in xs if lowest <= x <= highest}
    return wanted - set(line)


def _step(low: int, high: int, guess: int | None, closed: bool) -> int:
    """The next x strictly between ``low`` and ``high``: away from the guess by growing steps, or the middle."""
    middle = (low + high) // 2
    if guess is None:
        return middle
    if guess > high:
        return max(high - max(1, (guess - high) // 2), middle if closed else low + 1)
    return min(low + max(1, (low - guess + 1) // 2), middle if closed else high - 1)


def _descend(line: Line, grid: Grid, below: float) -> set[int]:
    """Towards the smallest late loss: what is not yet run half a decade beside it, then a quarter, then next to it.

    Next to it alone would not do: chance makes small dips on the flanks of the bowl. Nor is it needed where the smallest
    is more than `A_DIP` above what would do.
    """
    finite = [k for k in line if math.isfinite(line[k].share)]
    if not finite:  # all diverged: η is too large
        return {max(grid.first, 2 * min(line) - max(line) - 1)}
    best = min(sorted(finite), key=lambda k: line[k].share)
    far = line[best].share > A_DIP * below
    for distance in (max(1, grid.per_decade // 2), max(1, grid.per_decade // 4), *(() if far else (1,))):
        wanted = set()
        for side in (-1, +1):
            step = distance
            if best == side * max(side * k for k in line):  # beyond all that was run: further, the more that was
                step = max(distance, (max(line) - min(line)) // 2) if distance > 1 else 1
            place = min(max(best + side * step, grid.first), grid.last)
            if not any(abs(k - place) <= distance // 3 and side * (k - best) > 0 for k in line) and place != best:
                wanted.add(place)
        if wanted:
            return wanted
    return set()
