"""How long the plateau lasts: in steps against γ/η, and in τ against γ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import parts, theme
from richness.plots.figure import Figure, figure, with_sources
from richness.studies.dynamics import curves

_NOTE = (
    f"The plateau ends when the smoothed loss is below {curves.PLATEAU_LEVEL:g} of the initial one for good. Left, "
    "every γ and η, means over seeds; dashed: proportional to γ/η. Right, the largest η at each γ; dashed: the solvable "
    "model's escape time at the same depth and level, moved to the points' height. Bars: smallest and largest seed. "
    "Colour is γ."
)
_COLUMNS = {"L": "depth", "gamma": "γ", "eta": "η", "mean": "plateau, steps", "tau_mean": "plateau, τ"}


@with_sources
def plateaus(runs: Mapping[int, xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The plateau's length against γ/η, and in τ against γ, by depth: a constant for L > 2, a logarithm for L = 2.

    Args:
        runs: depth → a grid of γ and η.
    """
    rows = pd.concat([_rows(result, depth) for depth, result in runs.items()])
    words = parts.first_words(caption, "How long the plateau lasts.")
    if rows.empty:
        one = next(iter(runs.values()))
        return parts.say_nothing_drawn("No run left its plateau in every seed.", one, words, label)
    tops = rows[rows.largest]
    left = _panel(rows, "slow", "", "γ/η", "plateau in steps t", _proportional_lines(rows))
    right = _panel(tops, "gamma", "tau_", "γ, richness", "plateau in τ = ηt/γ", _model_lines(tops))
    told = parts.conditions_by_name({f"L = {depth}": result for depth, result in runs.items()})
    table = tops[list(_COLUMNS)].rename(columns=_COLUMNS).reset_index(drop=True)
    return figure(theme.finish(theme.beside(left, right)), _summary(tops), table, f"{words} {_NOTE} {told}", label)


def _rows(runs: xr.Dataset, depth: int) -> pd.DataFrame:
    """One row for every γ and η at which the plateau ended in every seed: its length in steps, and in τ."""
    ended = curves.plateau_length(runs).to_dataframe().reset_index().dropna()
    if ended.empty:
        return pd.DataFrame()
    rows = ended.groupby(["gamma", "eta"]).plateau.agg(["mean", "min", "max", "size"]).reset_index()
    rows["largest"] = np.isclose(rows.eta, rows.gamma.map(curves.largest_eta(runs).to_series()))
    rows = rows[rows["size"] == runs.sizes["seed"]]
    rows = rows.assign(L=f"L = {depth}", depth=depth, slow=rows.gamma / rows.eta, log_gamma=np.log10(rows.gamma))
    return rows.assign(**{f"tau_{field}": rows[field] / rows.slow for field in ("mean", "min", "max")})


def _proportional_lines(rows: pd.DataFrame) -> pd.DataFrame:
    """t ∝ γ/η for each depth, through the points."""
    lines = []
    for name, group in rows.groupby("L"):
        ends = np.array(theme.span(group.slow))
        height = float(np.exp(np.log(group["mean"] / group.slow).mean()))
        lines.append(pd.DataFrame({"x": ends, "y": height * ends, "L": name}))
    return pd.concat(lines)


def _model_lines(tops: pd.DataFrame) -> pd.DataFrame:
    """The solvable model's plateau in τ for each depth, at the points' height."""
    lines = []
    for depth, group in tops.groupby("depth"):
        gammas, seen = np.geomspace(group.gamma.min(), group.gamma.max(), 24), group.gamma.to_numpy()
        model, at_points = (curves.model_plateau(depth, gamma) / gamma for gamma in (gammas, seen))
        height = np.exp(np.mean(np.log(group.tau_mean.to_numpy() / at_points)))
        lines.append(pd.DataFrame({"x": gammas, "y": height * model, "L": f"L = {depth}"}))
    return pd.concat(lines)


def _panel(rows: pd.DataFrame, across: str, prefix: str, name: str, title: str, lines: pd.DataFrame) -> Any:
    field, low, high = (f"{prefix}{which}" for which in ("mean", "min", "max"))
    x = parts.log_x(theme.span(rows[across], 1.2), name)
    y = parts.log_y(theme.span([*rows[low], *rows[high]], 1.3))
    fields = dict.fromkeys(["gamma", "eta", "L", "log_gamma", across, field, low, high])
    shape = parts.shapes("L", list(dict.fromkeys(rows.L)), alt.Legend(title=None))
    return parts.panel(
        parts.theory_line(parts.chart_of(lines), x("x"), y("y"), detail="L:N"),
        *parts.points_with_intervals(parts.chart_of(rows[list(fields)]), x(across), y, field, low, high, shape=shape),
        title=title,
        height=210,
    )


def _summary(tops: pd.DataFrame) -> str:
    growth = ", ".join(
        f"{name} from {theme.power_of_ten(group.tau_mean.iloc[0])} to {theme.power_of_ten(group.tau_mean.iloc[-1])}"
        for name, group in tops.groupby("L")
    )
    return f"The plateau in τ, from the smallest to the largest γ: {growth}."
