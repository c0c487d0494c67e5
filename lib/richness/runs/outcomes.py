r"""What became of a run: converged, learned, stable, working or dead, and which η each boundary is told by.

What counts as converged, learned, stable or working is decided here and nowhere else: by the threshold that is handed over, and
where none is by `CONVERGED_BELOW`, `LEARNED_BELOW`, `STABLE_BELOW`, `WORKS_ABOVE`. A search needs it to choose its next runs,
and `richness.analysis.boundaries` to read them.
"Not NaN" is no test of convergence: at large η many ReLU networks are finite and dead, with exactly the initial loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import xarray as xr

from richness.runs.results import STATUS

#: Converged: finite throughout, and the mean loss over the last tenth of the steps below this share of the initial one.
#: The class-mean predictor of ten balanced classes sits at 0.9 under MSE, so the threshold stays below that.
CONVERGED_BELOW = 0.8

#: Learned: that mean loss, at the end of the budget, below this share of the initial one.
LEARNED_BELOW = 0.6

#: Stable: the loss never above this multiple of the initial one in the first 60 steps.
STABLE_BELOW = 1.2

#: Works: finite throughout, and this share of the held-out samples right at the last step: thrice chance, with ten classes.
WORKS_ABOVE = 0.3


def converged(runs: xr.Dataset, below: float = CONVERGED_BELOW) -> xr.DataArray:
    """Boolean mask (gamma, eta, seed): status ok and late loss < ``below`` × initial loss."""
    return (runs.status == STATUS["ok"]) & (runs.late_loss < below * runs.initial_loss)


def learned(runs: xr.Dataset, below: float = LEARNED_BELOW) -> xr.DataArray:
    """Boolean mask (gamma, eta, seed, budget): late loss at the budget < ``below`` × initial loss.

    Without ``budget_loss`` in the results, ``budget`` has the one entry of the whole run. A run that diverges after the
    budget was spent counts as learned for that budget.
    """
    if "budget_loss" in runs:
        return runs.budget_loss < below * runs.initial_loss
    steps = int(runs.step[-1])
    mask = (runs.status == STATUS["ok"]) & (runs.late_loss < below * runs.initial_loss)
    return mask.expand_dims(budget=[steps], axis=-1)


def stable(runs: xr.Dataset, below: float = STABLE_BELOW) -> xr.DataArray:
    """Boolean mask (gamma, eta, seed): run, and peak loss of the first 60 steps ≤ ``below`` × initial loss."""
    return (runs.status != STATUS["not_run"]) & (runs.peak_loss <= below * runs.initial_loss)


def overshot(runs: xr.Dataset, below: float = STABLE_BELOW) -> xr.DataArray:
    """Boolean mask (gamma, eta, seed): run, and not `stable`."""
    return (runs.status != STATUS["not_run"]) & ~stable(runs, below)


def works(runs: xr.Dataset, above: float = WORKS_ABOVE) -> xr.DataArray:
    """Boolean mask (gamma, eta, seed): status ok and accuracy on held-out samples at the last step > ``above``.

    Weaker than `converged`. Under cross-entropy a lazy run whose step is far too long goes on oscillating with a loss above
    the initial one, and classifies well all the while.

    Raises:
        ValueError: the accuracy was not recorded.
    """
    if "accuracy" not in runs:
        raise ValueError(
            "whether a network works is told by its accuracy, and that was not recorded: "
            'run a task of classes with probes=("loss", "accuracy").'
        )
    return (runs.status == STATUS["ok"]) & (runs.accuracy.isel(step=-1, drop=True) > above)


def dead(runs: xr.Dataset, below: float = CONVERGED_BELOW) -> xr.DataArray:
    """Boolean mask (gamma, eta, seed): finite throughout, and yet not converged (dead, stuck, or too slow)."""
    return (runs.status == STATUS["ok"]) & ~converged(runs, below)


@dataclass(frozen=True)
class Approach:
    """A boundary as what is met first when η comes from one side: it lies between that run and the one before it.

    Attributes:
        mask: of what is looked for, by a result and a threshold.
        coming: +1, η comes up from below; −1, down from above.
        threshold: the one that counts. of_late_loss: whether it is the share of the initial loss below which a late loss is the
            event.
    """

    mask: Callable[[xr.Dataset, float], xr.DataArray]
    coming: int
    threshold: float
    of_late_loss: bool

    def event(self, runs: xr.Dataset) -> xr.DataArray:
        return self.mask(runs, self.threshold)

    def at(self, threshold: float) -> Approach:
        """The same with another threshold.

        Raises:
            ValueError: not a positive number.
        """
        if not 0 < threshold < math.inf:
            raise ValueError(f"a threshold is a positive number, got {threshold}")
        return replace(self, threshold=float(threshold))


#: The boundaries that are an event. Converged runs are looked for from above, as in the paper: catapults that land belong
#: inside. Overshoots are looked for from below: far above, a network can die in one step, and its loss passes no line.
APPROACHES = {
    "eta_max": Approach(converged, -1, CONVERGED_BELOW, True),
    "eta_min": Approach(learned, +1, LEARNED_BELOW, True),
    "eta_crit": Approach(overshot, +1, STABLE_BELOW, False),
}

#: The largest η at which a network still works, from above too. A search does not look for it: it measures no accuracy.
WORKING = Approach(works, -1, WORKS_ABOVE, False)
