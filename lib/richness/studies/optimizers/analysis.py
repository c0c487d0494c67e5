"""Optimisers that step by the sign: C16 in the ledger."""

from __future__ import annotations

from typing import Any

from richness.analysis.exponents import BoundarySource, new_source, source_rows
from richness.analysis.ledger import Claim, Load, load_once

CHAPTER = "08-optimizers"

SOURCES: tuple[BoundarySource, ...] = tuple(
    new_source(
        "C16", f"{side}{part}", "eta_max", side, f"{words}, {side} side, largest convergent η", f"portrait_mlp3_mse_{recipe}",
        chapter=CHAPTER,
    )
    for part, words, recipe in (
        ("", "SignSGD", "signsgd"), (" adam", "Adam", "adam"), (" teacher", "SignSGD, linear teacher", "signsgd_teacher"),
    )
    for side in ("lazy", "rich")
)  # fmt: skip

CLAIMS: tuple[Claim, ...] = tuple(source.claim for source in SOURCES)


def rows(load: Load) -> list[dict[str, Any]]:
    """The ledger's rows of C16."""
    return source_rows(SOURCES, load_once(load))
