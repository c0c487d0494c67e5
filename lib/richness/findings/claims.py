"""The ledger: what the paper claims, what was measured here, and a verdict that a rule gives, never a hand.

The rule and what a row holds stand in `richness.findings.evidence`; each topic's claims and measurements in a module of
its own. Here they are joined, in the order of the claims.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from richness.findings import (
    beyond,
    consistency,
    curvature,
    dynamics,
    normalised,
    performance,
    portraits,
    similarity,
    solvable,
)
from richness.findings.evidence import FIELDS, VERDICTS, Claim, Exponent, Load, verdict, verdicts
from richness.runs import results

__all__ = ["CLAIMS", "FIELDS", "VERDICTS", "Exponent", "elsewhere", "ledger", "verdict", "verdicts"]

#: The topics, each with its ``CLAIMS`` and ``rows(load)``.
TOPICS = (
    portraits,
    performance,
    dynamics,
    curvature,
    similarity,
    solvable,
    consistency,
    beyond,
    normalised,
)


def order(identity: str) -> tuple[float, ...]:
    """Where a claim stands: C1, C2 … of the paper, then S1.1, S1.2 … of its neighbours."""
    return (identity[0] != "C", *map(int, identity[1:].split(".")))


CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (claim for claims in (topic.CLAIMS for topic in TOPICS) for claim in claims),
        key=lambda claim: order(claim.id),
    )
)


def elsewhere(scale: str) -> list[dict[str, Any]]:
    """The ledger's rows that rest on stored results of another scale, such as those that were adopted from a GPU.

    Args:
        scale: the one that the ledger itself was read at; its rows are left out, and so are those of no scale.
    """
    others = sorted(
        {path.parent.name for path in results.precomputed_folder().glob("*/*.nc")} & set(results.SCALES) - {scale}
    )
    return [row for other in others for row in ledger(partial(results.load, scale=other)) if row["scale"] == other]


def ledger(load: Load | None = None) -> list[dict[str, Any]]:
    """Every claim of the paper, C1 to C17, and of its neighbours, S1.1 onwards, as rows ready for JSON.

    Several rows may share an id.

    Args:
        load: name of a recipe → its result; `richness.load` when left out. Where the result is missing or damaged, the
            rows that rest on it say *not-run*, with the reason and the command that makes it.

    Returns:
        Rows with the keys of `FIELDS`. ``predicted`` is a number, or a sentence where the claim is no exponent;
        ``measured`` a number or ``None``; ``interval`` is ``[low, high]`` (95 %) or ``None``, and then ``reason`` says
        why; ``window`` is ``[smallest γ, largest γ]`` of what was used, or ``None``; ``seeds`` how many;
        ``scale`` that of the result, ``"live"`` for C17; ``chapter`` the stem of the notebook that shows it, or
        ``None``.
    """
    found = [row for topic in TOPICS for row in topic.rows(load or results.load)]
    done = {(row["id"], row["part"]) for row in found}
    found += [claim.row() for claim in CLAIMS if (claim.id, claim.part) not in done]
    places = {(claim.id, claim.part): place for place, claim in enumerate(CLAIMS)}
    return sorted(found, key=lambda row: places[row["id"], row["part"]])
