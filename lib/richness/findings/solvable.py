"""The solvable model in the ledger: C17, run afresh whenever the ledger is made.

Every simulated boundary and escape time is divided by its closed form; the verdict asks whether these ratios stay
within `RATIO_WITHIN` of 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from richness.findings import theory
from richness.findings.evidence import Claim, Load, rounded, verdict

__all__ = ["CLAIMS", "RATIO_WITHIN", "rows"]

#: C17 holds at a γ if simulation divided by closed form is this close to 1.
RATIO_WITHIN = 0.02

CHAPTER = "07-solvable-model"
_DEPTHS = (2, 3, 4)
_GAMMAS = np.geomspace(1e-3, 1e4, 8)
_KINDS = {
    "boundary": "simulated boundary over 2/λ*",
    "escape": "simulated escape time over the exact integral",
}
_SAY = {"mse": "MSE", "cross_entropy": "cross-entropy"}

CLAIMS = tuple(
    Claim("C17", f"{kind} {loss}", f"solvable model, {_SAY[loss]}: {sentence}", 1.0, CHAPTER)
    for kind, sentence in _KINDS.items()
    for loss in theory.LOSSES
)


def rows(load: Load | None = None) -> list[dict[str, Any]]:
    """The ratio furthest from 1, over three depths and eight γ, for each loss, boundary and escape; nothing is loaded."""
    return [_row(claim, *claim.part.split()) for claim in CLAIMS]


def _row(claim: Claim, kind: str, loss: str) -> dict[str, Any]:
    simulated, exact = (
        (theory.simulated_boundary, theory.critical_eta)
        if kind == "boundary"
        else (theory.simulated_escape_time, theory.escape_time)
    )
    ratios = np.concatenate([simulated(depth, _GAMMAS, loss) / exact(depth, _GAMMAS, loss) for depth in _DEPTHS])
    known = np.where(np.isfinite(ratios), ratios, np.inf)  # a boundary not found counts against it
    worst = known[np.argmax(np.abs(known - 1))]
    within = np.abs(known - 1) <= RATIO_WITHIN
    return claim.row(
        measured=rounded(worst) if np.isfinite(worst) else None,
        reason=f"deterministic, so no interval: the ratio furthest from 1 of {ratios.size} (L = 2, 3, 4; eight γ), "
        f"{int(within.sum())} of them within {RATIO_WITHIN:g} of 1",
        window=[float(_GAMMAS[0]), float(_GAMMAS[-1])],
        scale="live",
        # whole where every ratio holds, partly where at least half do
        verdict=verdict([bool(within.all()), bool(within.mean() >= 0.5)]),
    )
