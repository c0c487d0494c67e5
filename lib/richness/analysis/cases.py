"""Measurements of cases: one case or some out of a result, and a claim's rows, one a setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from richness.analysis.ledger import Claim, Held, mean_columns, round_for_row, scale_of, verdict
from richness.analysis.stats import Mean, mean_over_seeds

NOTHING = "fewer than two seeds, or no finite number"


def select_cases(runs: xr.Dataset, **fields: Any) -> xr.Dataset:
    """The cases with those fields, along ``case``.

    Raises:
        ValueError: there is none.
    """
    here = np.ones(runs.sizes["case"], bool)
    for name, value in fields.items():
        here &= np.isclose(runs[name], value) if isinstance(value, float) else (runs[name] == value).values
    if not here.any():
        raise ValueError(f"no case with {fields} was measured")
    return runs.isel(case=np.flatnonzero(here))


def select_case(runs: xr.Dataset, **fields: Any) -> xr.Dataset:
    """The one case with those fields."""
    return select_cases(runs, **fields).isel(case=0)


@dataclass(frozen=True)
class Setting:
    """One setting's measurement: a mean over seeds (of fewer than two: nothing to measure), and whether the criterion holds."""

    words: str
    found: Mean
    holds: Held


def case_rows(
    claim: Claim, runs: xr.Dataset | str, measure: Callable[[xr.Dataset], Iterable[Setting]], untested: str = ""
) -> list[dict[str, Any]]:
    """The rows of one part of a claim, one a setting.

    Args:
        runs: a result, or the reason why there is none. measure: of the result, its settings; a ValueError's words become the
            reason.
        untested: why this cannot be put to the test as it was stated, if so: then what our reading of it gave stands beside
            that reason, and no verdict is drawn from it.
    """
    if isinstance(runs, str):
        return [claim.row(reason=runs)]
    scale = scale_of(runs)
    try:
        settings = list(measure(runs))
    except ValueError as why:
        return [claim.row(reason=str(why), scale=scale)]
    if all(one.found.seeds < 2 for one in settings):
        return [claim.row(reason=NOTHING, scale=scale)]
    sentence = f"{claim.sentence} (in turn: {'; '.join(one.words for one in settings)})"
    judged = "not-tested" if untested else verdict(one.holds for one in settings)
    return [claim.row(claim=sentence, scale=scale, verdict=judged, **_numbers(one.found, untested)) for one in settings]


def _numbers(found: Mean, untested: str) -> dict[str, Any]:
    if found.seeds < 2:
        return {"reason": NOTHING}
    if untested:
        return {"measured": round_for_row(found.value), "seeds": found.seeds, "reason": untested}
    return mean_columns(found, NOTHING)


def judge_seeds(words: str, values: Iterable[float], criterion: Callable[[Mean], Held]) -> Setting:
    """A setting from one value a seed; its criterion holds of a mean over two seeds or more, none of them lost."""
    mean = mean_over_seeds(values)
    return Setting(words, mean, mean.seeds > 1 and criterion(mean))


def split_cases(runs: xr.Dataset, **fields: Any) -> list[xr.Dataset]:
    """The cases with those fields, one by one.

    Raises:
        ValueError: there is none.
    """
    cases = select_cases(runs, **fields)
    return [cases.isel(case=place) for place in range(cases.sizes["case"])]
