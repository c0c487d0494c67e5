"""Across depths: exponents against L, and the triangle that closes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from richness.analysis.boundaries import eta_max, eta_min, tip
from richness.analysis.exponents import find_prediction, fit_exponents
from richness.plots import parts, theme
from richness.plots.captions import LOSS_NAMES, OPTIMIZER_NAMES, conditions, depth, setting
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.plane import NAMES, SPREAD, boundary_rows, definitions, over_natural, rows_by_budget

# -- exponents against depth -------------------------------------------------------------------------------------------


@with_sources
def exponents_by_depth(
    results: Sequence[xr.Dataset],
    names: Sequence[str] = ("eta_max", "eta_star"),
    *,
    apart: str = "loss",
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """Rich-side exponents of boundaries against the depth L, with intervals, beside the predicted 2/L (1/L by the sign).

    The table holds the lazy side too, and both windows of each.

    Args:
        results: portraits of several depths. names: the boundaries, a panel each.
        apart: what tells the marks apart, "loss" or "optimizer".
    """
    rows = pd.DataFrame([row for runs in results for row in _exponent_rows(runs, names)])
    rich = rows[(rows.side == "rich") & np.isfinite(rows.slope)]
    title = (caption or "Rich-side exponents against depth.").rstrip()
    if rich.empty:
        return parts.say_nothing_drawn(
            "No boundary was seen at four γ or more on the rich side.", results[0], title, label
        )
    words = {"loss": LOSS_NAMES, "optimizer": OPTIMIZER_NAMES}[apart]
    kinds = [words[kind] for kind in dict.fromkeys(rows[apart])]
    span = theme.span([*rich.low, *rich.high, *rich.predicted], 1.1)
    # On a logarithmic axis an interval that reaches zero has no end: it stops at the panel's edge.
    drawn = rich.assign(kind=rich[apart].map(words), low=rich.low.clip(lower=span[0]))
    panels = [_depth_panel(drawn[drawn.boundary == name], name, apart, kinds, _exponent_y(span)) for name in names]
    cut = " An interval that reaches zero stops at the panel's edge." if (rich.low <= 0).any() else ""
    note = (
        f"{title} {definitions(*names)} Points: least-squares slopes of log η against log γ with 95 % bootstrap intervals; "
        f"filled: nearer window, hollow: farther one (both in the table); dashed: the predicted exponent.{cut} "
        f"{conditions(*results)}"
    )
    return figure(
        theme.finish(theme.beside(*panels)), _exponent_summary(rich, names), _exponent_table(rows), note, label
    )


def _exponent_rows(runs: xr.Dataset, names: Sequence[str]) -> list[dict[str, Any]]:
    """One row a boundary, side and window; only where an exponent is predicted."""
    one, rows = setting(runs), []
    for name in names:
        for side in ("lazy", "rich"):
            if find_prediction(name, side, one["loss"], one["optimizer"]) is None:
                continue
            for window, exponent in enumerate(fit_exponents(runs, name, side)):
                start, stop = exponent.window
                known = {"boundary": name, "side": side, "window": window, "start": start, "stop": stop}
                theory = {"predicted": exponent.predicted, "model": exponent.theory}
                rows.append(one | known | exponent.numbers | theory | {"points": exponent.points})
    return rows


def _exponent_y(span: tuple[float, float]) -> parts.Channel:
    axis = alt.Axis(title=None, values=[0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5, 2], format="~g")
    return parts.y_on(theme.log_scale(*span), axis)


def _depth_panel(rows: pd.DataFrame, name: str, apart: str, kinds: list[str], y: parts.Channel) -> Any:
    depths = sorted(set(rows.L)) or [2, 3]
    ends = (min(depths) / 1.15, max(depths) * 1.15)
    axis = alt.Axis(title="depth L", values=depths, format="d", grid=False)
    x = alt.X("x:Q", scale=theme.log_scale(*ends), axis=axis)
    lines = [  # 2/L, or 1/L by the sign
        parts.theory_line(
            parts.chart_of(pd.DataFrame({"x": ends, "slope": [power / end for end in ends]})), x, y("slope")
        )
        for power in sorted(set(np.round(rows.predicted * rows.L, 6)))
    ]
    marks = [] if rows.empty else _depth_marks(rows, apart, kinds, x, y)
    return parts.panel(*lines, *marks, title=f"exponent of {NAMES[name]}, rich side")


def _depth_marks(rows: pd.DataFrame, apart: str, kinds: list[str], x: alt.X, y: parts.Channel) -> list[alt.Chart]:
    order = {kind: place for place, kind in enumerate(kinds)}
    away = rows.kind.map(order) - (len(kinds) - 1) / 2 + 0.4 * (rows.window - 0.5)
    say = theme.power_of_ten
    words = [f"γ {say(a)} to {say(b)}" for a, b in zip(rows.start, rows.stop, strict=True)]
    shown = rows.assign(x=rows.L * 1.05**away, far=rows.window == 1, words=words)
    data = parts.chart_of(shown[["x", "L", "kind", "slope", "low", "high", "predicted", "far", "words"]])
    told: dict[str, Any] = {
        "kind:N": apart.replace("optimizer", "optimiser"),
        "L": ("depth L", ""),
        "words:N": "window",
    }
    told |= {"slope": ("exponent", ".3f"), "predicted": ("predicted", ".3f")}
    fill = alt.condition("datum.far", alt.value("#fff"), alt.value(theme.RICH))
    shape = parts.shapes("kind", kinds, parts.shape_legend(theme.RICH))
    return parts.points_with_intervals(
        data, x, y, "slope", "low", "high", size=44, shape=shape, fill=fill, tooltip=parts.tooltip(told)
    )


def _exponent_summary(rich: pd.DataFrame, names: Sequence[str]) -> str:
    away = abs(rich.slope - rich.predicted)
    return (
        f"{len(rich)} exponents of {' and '.join(NAMES[name] for name in names)} on the rich side, for L = "
        f"{', '.join(str(L) for L in sorted(set(rich.L)))}: {(away <= 0.05).sum()} of them lie within 0.05 of the predicted "
        f"one. The largest distance is {away.max():.2f}."
    )


def _exponent_table(rows: pd.DataFrame) -> pd.DataFrame:
    names = {
        "L": "L", "loss": "loss", "optimizer": "optimiser", "boundary": "boundary", "side": "side", "start": "γ from",
        "stop": "γ to", "slope": "exponent", "low": "95 % from", "high": "95 % to", "predicted": "predicted",
        "model": "theory, same γ", "points": "number of γ",
    }  # fmt: skip
    words = {"boundary": NAMES, "loss": LOSS_NAMES, "optimizer": OPTIMIZER_NAMES}
    said = rows.assign(**{field: rows[field].map(known) for field, known in words.items()})
    return said[list(names)].rename(columns=names)


# -- the triangle closes -----------------------------------------------------------------------------------------------


@with_sources
def closing_triangle(results: Sequence[xr.Dataset], *, caption: str | None = None, label: str | None = None) -> Figure:
    """The triangle at several depths and budgets: the band above γ = 1 at left, the γ at which it closes at right.

    Left, η_max and η_min(T) over γ^(2/L), the depth chosen by a control; right, the tip, seen and not drawn on, against T.
    Where nothing was seen at γ ≥ 1, the figure says so in words.
    """
    bands = pd.concat([_band_rows(runs) for runs in results])
    title = (caption or "The triangle closes with depth and time.").rstrip()
    if bands.empty:
        return parts.say_nothing_drawn("Neither η_max nor η_min was seen at γ ≥ 1.", results[0], title, label)
    tips = pd.concat([_tip_rows(runs) for runs in results])
    panels = [_band_panel(bands), *([_tip_panel(tips)] if tips.tip.notna().any() else [])]
    note = (
        f"{title} Left: η_max and, for every budget T, η_min, both over γ^(2/L), for the depth chosen. "
        f"{definitions('eta_max', 'eta_min')} {SPREAD} Right: the tip, the γ beyond which no η learns within T steps, between "
        "the last γ of the grid at which one did and the next; dashed: the predicted growth T^(L/(L−2)), through the points. "
        f"A tip beyond the largest γ run has no point. {conditions(*results)}"
    )
    names = {"tip": "tip γ", "low": "lowest seed", "high": "highest seed", "last": "largest γ run"}
    names |= {"seeds": "seeds that saw it"}
    table = tips[["L", "T", *names]].rename(columns=names)
    return figure(theme.finish(parts.side_by_side(panels)), _closing_summary(tips), table, note, label)


def _band_rows(runs: xr.Dataset) -> pd.DataFrame:
    """η_max, and η_min for every budget, over γ^(2/L), for γ ≥ 1."""
    L = depth(runs)

    def scale(gamma: Any) -> Any:
        return gamma ** (2 / L)

    upper = boundary_rows(eta_max(runs), scale, "eta_max").assign(line="η_max", T=0)
    lower = rows_by_budget(eta_min(runs), scale)
    rows = pd.concat([upper, lower.assign(line="η_min, " + lower.budget)])
    return over_natural(rows[rows.gamma >= 0.999]).assign(L=L)


def _band_panel(rows: pd.DataFrame) -> Any:
    x, y = parts.gamma_x(rows.gamma), parts.log_y(theme.span([*rows.low, *rows.high], 1.5), every=1)
    depths = [int(L) for L in dict.fromkeys(rows.L)]
    start = 3 if 3 in depths else depths[0]
    names = list(dict.fromkeys(rows.sort_values(["boundary", "T"]).line))
    data = parts.only_chosen(parts.chart_of(rows[["L", "line", "gamma", "log_gamma", "eta", "low", "high"]], 3), "L")
    symbols = ["triangle-up", "circle", "square", "diamond", "cross"]
    shape = parts.shapes("line", names, parts.shape_legend(theme.RICH), symbols)
    chart = parts.panel(
        parts.joining_line(data, x, y("eta"), detail="line:N"),
        *parts.points_with_intervals(data, x, y, "eta", "low", "high", shape=shape),
        title="η ÷ γ^(2/L)",
        height=240,
    )
    choice = parts.menu("L", depths, "depth L", start=start) if len(depths) > 1 else alt.param(name="L", value=start)
    return chart.add_params(choice)


def _tip_rows(runs: xr.Dataset) -> pd.DataFrame:
    """One row a budget: the tip's geometric mean over the seeds that saw it, and its range."""
    tips, rows = tip(runs), []
    for budget in tips.budget.values:
        seen = tips.sel(budget=budget).values
        seen = seen[np.isfinite(seen)]
        known = [np.exp(np.log(seen).mean()), seen.min(), seen.max()] if seen.size else [np.nan] * 3
        rows.append([depth(runs), int(budget), *map(float, known), float(runs.gamma.max()), int(seen.size)])
    return pd.DataFrame(rows, columns=["L", "T", "tip", "low", "high", "last", "seeds"])


def _tip_panel(tips: pd.DataFrame) -> Any:
    seen = tips[tips.tip.notna()]
    steps = theme.span(tips["T"], 1.5)
    axis = alt.Axis(title="budget T, steps", values=sorted(set(tips["T"])), format="d")
    x, y = alt.X("T:Q", scale=theme.log_scale(*steps), axis=axis), parts.log_y(theme.span([*seen.low, *seen.high], 3))
    lines = [
        parts.theory_line(parts.chart_of(_growth(rows, int(L), np.array(steps))), x, y("tip"))
        for L, rows in seen.groupby("L")
        if L > 2
    ]
    shown = seen.assign(line=[f"L = {L}" for L in seen.L], log_gamma=np.log10(seen.tip))
    data = parts.chart_of(shown[["line", "T", "tip", "low", "high", "log_gamma", "seeds"]])
    inside = alt.Legend(title=None, orient="bottom-right", symbolFillColor=theme.RICH, symbolStrokeColor="#222")
    shape = parts.shapes("line", [f"L = {L}" for L in sorted(set(seen.L))], inside)
    marks = [parts.intervals(data, x, y, "low", "high"), parts.points(data, x, y("tip"), 44, shape=shape)]
    return parts.panel(*lines, *marks, title="the tip: γ where the band closes", height=240)


def _growth(rows: pd.DataFrame, L: int, steps: np.ndarray) -> pd.DataFrame:
    """The predicted growth of the tip, T^(L/(L−2)), at the height of the points."""
    height = np.log10(rows.tip).mean() + L / (L - 2) * (np.log10(steps) - np.log10(rows["T"]).mean())
    return pd.DataFrame({"T": steps, "tip": 10.0**height})


def _closing_summary(tips: pd.DataFrame) -> str:
    say, clauses = theme.power_of_ten, []
    for L, rows in tips.groupby("L"):
        seen = [f"γ ≈ {say(at)} at T = {T}" for T, at in zip(rows["T"], rows.tip, strict=True) if np.isfinite(at)]
        nowhere = f"for L = {L} nowhere up to γ = {say(rows['last'].iloc[0])}"
        clauses.append(f"for L = {L} at {', '.join(seen)}" if seen else nowhere)
    return f"The band closes {'; '.join(clauses)}."
