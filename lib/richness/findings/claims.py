"""The ledger: what the paper claims, what was measured here, and a verdict that a rule gives, never a hand.

The rule and what a row holds stand in `richness.findings.evidence`; each topic's claims and measurements in a module of
its own. Here they are joined, in the order of the claims.
"""

from __future__ import annotations

from typing import Any

from richness.findings import (
    dynamics,
    performance,
    portraits,
    solvable,
)
from richness.findings.evidence import FIELDS, VERDICTS, Claim, Exponent, Load, verdict, verdicts
from richness.runs import results

__all__ = ["CLAIMS", "FIELDS", "VERDICTS", "Exponent", "ledger", "verdict", "verdicts"]

#: The topics, each with its ``CLAIMS`` and ``rows(load)``.
TOPICS = (
    portraits,
    performance,
    dynamics,
    solvable,
)

#: Claims that no topic measures yet.
_OPEN = (
    Claim("C11", "lazy", "λ_max at the end of training, lazy side: slope in γ", -2.0, ""),
    Claim("C11", "rich", "λ_max at the end of training, rich side: slope in γ", -2 / 3, ""),
    Claim("C12", "whole", "outlying eigenvalues of the Hessian", "about one a class when lazy, many when rich", ""),
    Claim("C13", "whole", "rich networks of different γ end as nearly the same function", "R² within groups above across", ""),
    Claim("C14", "whole", "rich networks of different γ have nearly the same features", "CKA within groups above across", ""),
)  # fmt: skip

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (claim for claims in (*(topic.CLAIMS for topic in TOPICS), _OPEN) for claim in claims),
        key=lambda claim: int(claim.id[1:]),
    )
)


def ledger(load: Load | None = None) -> list[dict[str, Any]]:
    """Every claim of the paper, C1 to C17, as rows ready for JSON; several rows may share an id.

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
    order = {(claim.id, claim.part): place for place, claim in enumerate(CLAIMS)}
    return sorted(found, key=lambda row: order[row["id"], row["part"]])
