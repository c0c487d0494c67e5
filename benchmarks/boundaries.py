"""The boundary search as rows of the bench; what is compared, and how, stands in ``boundary_search``."""

from __future__ import annotations

from benchmarks import boundary_search
from benchmarks.report import Row

CELLS, TIME = 5.0, 50.0  # how many times fewer cells than the full grid, how many times as fast as the protocol


def against_grid_and_protocol() -> list[Row]:
    """Against the full grid in cells, and against the paper's protocol in time, each to the same exponents."""
    grid, coarse, fine = boundary_search.measure()
    return [
        Row(
            name="boundary-grid",
            label="boundaries, in cells of the full grid",
            target=CELLS,
            ratio=grid["ratio"],
            ours=grid["ours"],
            theirs=grid["peer"],
            **_common(grid),
        ),
        *(
            Row(
                name=f"boundary-protocol-{resolution}",
                label=f"boundaries, against the protocol {words}",
                target=target,
                ratio=row["ratio_wall"],
                by_processor=row["ratio"],
                ours=row["peer"] / row["ratio_wall"],
                theirs=row["peer"],
                **(_common(row) | {"unit": "seconds"}),
            )
            for resolution, words, row, target in (
                ("coarse", "at its own η", coarse, None),
                ("fine", "as fine", fine, TIME),
            )
        ),
    ]


def _common(row: dict) -> dict:
    slopes = ", ".join(f"{name} {slope:g} [{low:g}, {high:g}]" for name, (slope, low, high) in row["exponents"].items())
    return {
        "what": row["what"],
        "peer": row["peer_is"],
        "unit": row["unit"],
        "difference": row["difference"],
        "compared": "exponents, the largest difference of two slopes; each lies within the full grid's interval",
        "note": f"Exponents found: {slopes}.",
    }
