"""What the ledger is made of: claims, rows, and the rule that gives a verdict, never a hand.

An exponent is fitted in two windows of γ, and a row stands for each. It is judged by its 95 % interval alone, which must
have been able to fail. A window *holds* if the prediction lies in an interval no wider than `NARROW`, or if the whole
interval is within `WITHIN` of the prediction; it *fails* if the interval leaves the prediction out otherwise; and it is
*open* if the interval is too wide to say. The verdict belongs to a claim's part: *reproduced* if both windows hold, *partly*
if one does, *not-reproduced* if none does and one fails, *larger-scale* if all are open, *not-run* if nothing was measured,
or one of the results that it is judged by is missing. Predictions are the paper's asymptotic exponents; the slope of the
solvable model over the very same γ, which bends, stands beside them in `Exponent.theory`. What such an interval can tell
apart, and what not, `describe_power` says.

A claim without an exponent states its criterion in ``predicted`` and is judged by it in two ways (two windows, two
settings, two streams: the row says which), so that the same verdicts mean the same strictness: the range it names must hold
the whole interval, it fails where the interval lies wholly outside, and is open otherwise. A criterion of counts, or of
orders, is asked of every seed. *not-tested* is for a claim that could not be put to the test as it was made, say because the
paper's own formula was not had; the reason says so, and ``measured`` may hold what our reading of it gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from types import ModuleType
from typing import Any, Literal

import numpy as np
import xarray as xr

from richness.analysis.stats import Mean
from richness.registry import join_studies, study_modules
from richness.runs import places, results

#: name of a recipe → its result.
Load = Callable[[str], xr.Dataset]

#: The keys of a row: the ledger's public columns.
FIELDS = (
    "id",
    "part",
    "claim",
    "predicted",
    "measured",
    "interval",
    "reason",
    "window",
    "seeds",
    "scale",
    "verdict",
    "chapter",
)

VERDICTS = ("reproduced", "partly", "larger-scale", "not-reproduced", "not-tested", "not-run")

#: A window holds if the prediction lies in an interval no wider than this …
NARROW = 0.15
#: … or if the whole interval is this close to the prediction.
WITHIN = 0.05

#: Whether a window holds: it does, it fails, it is too wide to say, or there is no result to judge it by.
Held = bool | Literal["open"] | None
OPEN: Literal["open"] = "open"

NOT_RUN = "not run in this edition"


@dataclass(frozen=True)
class Claim:
    """One part of a claim of the paper: what is said, and where in the book it is shown.

    Attributes:
        id: the paper's claim, ``"C2"``. part: of it, such as ``"rich"``; unique within the id.
        sentence: the claim in a few words.
        predicted: the exponent, or the criterion in words where there is none.
        chapter: stem of the notebook that shows it.
    """

    id: str
    part: str
    sentence: str
    predicted: float | str
    chapter: str

    def row(self, **known: Any) -> dict[str, Any]:
        """A row of the ledger, *not-run* until more is known.

        ``known`` may give any of `FIELDS`. ``reason`` must stand where there is no ``interval``, and only there.

        Raises:
            ValueError: a key that is none of `FIELDS`, or a verdict that is none of `VERDICTS`.
        """
        predicted = self.predicted if isinstance(self.predicted, str) else round_for_row(self.predicted)
        row = dict.fromkeys(FIELDS) | {
            "id": self.id,
            "part": self.part,
            "claim": self.sentence,
            "predicted": predicted,
            "reason": NOT_RUN,
            "seeds": 0,
            "verdict": "not-run",
            "chapter": self.chapter,
        }
        unknown = set(known) - set(FIELDS)
        if unknown:
            raise ValueError(f"a row has the keys {', '.join(FIELDS)}; got {', '.join(sorted(unknown))} besides.")
        row |= known
        if row["verdict"] not in VERDICTS:
            raise ValueError(f"a verdict is one of {', '.join(VERDICTS)}; got {row['verdict']!r}.")
        return row


def round_for_row(value: float) -> float:
    """To four decimals: as rows hold their numbers."""
    return round(float(value), 4)


def verdict(holds: Iterable[Held]) -> str:
    """The verdict of a claim's part from whether each of its windows holds: all, some or none of them.

    Args:
        holds: one a window (or setting); `OPEN` where the interval is too wide to say, and where all are, the part is
            *larger-scale*; None where there is no result to judge it by, and then the part is *not-run*.
    """
    windows = list(holds)
    if not windows or None in windows:
        return "not-run"
    held = [one != OPEN and bool(one) for one in windows]
    if any(held):
        return "reproduced" if all(held) else "partly"
    return "larger-scale" if all(one == OPEN for one in windows) else "not-reproduced"


def verdicts(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """``"id part"`` → verdict: what ``precomputed/expected_verdicts.json`` holds and a test compares."""
    return {f"{row['id']} {row['part']}": row["verdict"] for row in rows}


def count_claims(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many claims hold in all of their parts, in some, and in none: counted by claim, whatever the number of its parts."""
    counts = dict.fromkeys(("hold in all of their parts", "in some", "in none"), 0)
    parts: dict[str, list[str]] = {}
    for row in {(row["id"], row["part"]): row for row in rows}.values():
        parts.setdefault(row["id"], []).append(row["verdict"])
    for found in parts.values():
        whole, none = set(found) == {"reproduced"}, not {"reproduced", "partly"} & set(found)
        counts["hold in all of their parts" if whole else "in none" if none else "in some"] += 1
    return counts


def load_or_reason(load: Load, name: str) -> xr.Dataset | str:
    """A recipe's result, or, where it is missing or damaged, the reason with the command that makes it."""
    try:
        return load(name)
    except (results.ResultError, FileNotFoundError) as why:
        command = f"richness precompute {name}"
        return f"{NOT_RUN}: {why}" + ("" if command in str(why) else f"; make it with `{command}`")


def load_once(load: Load) -> Callable[[str], xr.Dataset | str]:
    """`load_or_reason` by name, each recipe asked for once."""
    return cache(partial(load_or_reason, load))


# -- the whole


def order(identity: str) -> tuple[float, ...]:
    """Where a claim stands: C1, C2 … of the paper, K1, K2 … of this book, then S1.1, S1.2 … of the paper's neighbours."""
    return ("CKS".index(identity[0]), *map(int, identity[1:].split(".")))


@cache
def claims() -> tuple[Claim, ...]:
    """Every claim, of all studies, in order.

    Raises:
        ValueError: two have one id and part, or a study has claims and no ``rows`` to measure them.
    """
    found = join_studies("analysis", _list_claims)
    return tuple(sorted(found.values(), key=lambda claim: order(claim.id)))


def _list_claims(topic: ModuleType) -> list[tuple[tuple[str, str], Claim]]:
    listed = [((claim.id, claim.part), claim) for claim in getattr(topic, "CLAIMS", ())]
    if listed and not hasattr(topic, "rows"):
        raise ValueError(
            f"{topic.__name__} has CLAIMS and nothing that measures them: add rows(load) -> rows of the ledger"
        )
    return listed


def rows_of_other_scales(scale: str) -> list[dict[str, Any]]:
    """The ledger's rows that rest on stored results of another scale, such as those that were adopted from a GPU.

    Args:
        scale: the one that the ledger itself was read at; its rows are left out, and so are those of no scale.
    """
    others = sorted(
        {path.parent.name for path in places.precomputed_folder().glob("*/*.nc")} & set(places.SCALES) - {scale}
    )
    return [row for other in others for row in ledger(partial(results.load, scale=other)) if row["scale"] == other]


def ledger(load: Load | None = None) -> list[dict[str, Any]]:
    """Every claim of the paper (C1 to C17), of this book (K1 onwards) and of neighbours (S1.1 onwards) as rows ready for JSON.

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
    known = claims()
    found = [
        row
        for topic in study_modules("analysis")
        if hasattr(topic, "CLAIMS")
        for row in topic.rows(load or results.load)
    ]
    done = {(row["id"], row["part"]) for row in found}
    found += [claim.row() for claim in known if (claim.id, claim.part) not in done]
    places = {(claim.id, claim.part): place for place, claim in enumerate(known)}
    return sorted(found, key=lambda row: places[row["id"], row["part"]])


# -- a study's rows ----------------------------------------------------------------------------------------------------


def scale_of(runs: xr.Dataset) -> str:
    """The scale at which a result was made, as rows name it."""
    return str(runs.attrs.get("scale", ""))


def load_holding(load: Load, name: str, variables: Iterable[str]) -> xr.Dataset | str:
    """A recipe's result that holds these variables, or the reason why there is none."""
    runs = load_or_reason(load, name)
    lacking = [] if isinstance(runs, str) else [variable for variable in variables if variable not in runs]
    if lacking:
        return f"{NOT_RUN}: {name} holds no {', '.join(lacking)}; `richness precompute {name}` makes it anew"
    return runs


def result_rows(
    load: Load,
    recipes: Iterable[str],
    claims: Sequence[Claim],
    measure: Callable[..., list[dict[str, Any]]],
    variables: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """The rows of claims that rest on results; where one of them is not to be had, a row a claim that says why.

    Args:
        recipes: whose results these are. measure: the results, in that order → the rows.
        variables: what each of the results must hold.
    """
    got = [load_holding(load, name, tuple(variables)) for name in recipes]
    for reason in got:
        if isinstance(reason, str):
            return [claim.row(reason=reason) for claim in claims]
    return measure(*got)


def mean_columns(mean: Mean, no_mean: str, no_interval: str = "one seed has no interval") -> dict[str, Any]:
    """A mean as a row holds it: ``measured``, ``interval``, ``seeds``; or the reason why there is no mean, or no interval."""
    if not mean.seeds:
        return {"reason": no_mean}
    known = {"measured": round_for_row(mean.value), "seeds": mean.seeds}
    if not np.isfinite(mean.interval).all():
        return known | {"reason": no_interval}
    return known | {"interval": [round_for_row(end) for end in mean.interval], "reason": ""}


def judge_exponent(interval: tuple[float, float], predicted: float) -> Held:
    """The rule of a window: the prediction in an interval no wider than `NARROW`, or all of this within `WITHIN` of it."""
    low, high = interval
    if judge_range(interval, predicted - WITHIN, predicted + WITHIN) is True:
        return True
    if not low <= predicted <= high:
        return False
    return True if high - low <= NARROW else OPEN


def judge_range(interval: tuple[float, float], low: float = -np.inf, high: float = np.inf) -> Held:
    """The rule of a criterion: the whole interval in [low, high]; it fails where none of it is, or where there is none."""
    if low <= interval[0] and interval[1] <= high:
        return True
    return OPEN if interval[0] <= high and interval[1] >= low else False


def describe_power(depths: Sequence[int] = (2, 3, 4, 5, 6, 8)) -> str:
    """What a window that holds can tell apart, in words: which depths' exponents 2/L differ by more than `NARROW`."""
    neighbours = list(pairwise(depths))
    apart = [pair for pair in neighbours if abs(2 / pair[0] - 2 / pair[1]) > NARROW]
    alike = [pair for pair in neighbours if pair not in apart]
    said, not_said = (", ".join(f"L = {one} from L = {other}" for one, other in pairs) for pairs in (apart, alike))
    return (
        f"An interval of {NARROW:g} that holds one exponent leaves out every other that is further than {NARROW:g} away. So a "
        f"window that holds tells the slopes 1 and 2 apart with ease, and by the slope 2/L also {said}; but not {not_said}: "
        "there a pass says that the exponent is near, and not which of the two it is."
    )
