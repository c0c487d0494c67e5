"""A handful of runs from lazy to rich, against steps t and against τ = ηt/γ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from richness.plots import parts, theme
from richness.plots.captions import choose_seed, conditions, natural
from richness.plots.cells import cells
from richness.plots.figure import Figure, figure, with_sources
from richness.plots.plane import measure_boundaries

#: Of η_max, where a run is taken if none is named: far enough below to be calm, near enough to learn.
SHARE = 0.25


@with_sources
def loss_curves(
    runs: xr.Dataset,
    chosen: Sequence[tuple[float, float]] | None = None,
    *,
    seed: int | None = None,
    caption: str | None = None,
    label: str | None = None,
) -> Figure:
    """Training loss of some runs against t and against τ = ηt/γ, coloured from lazy blue to rich orange.

    Args:
        chosen: (γ, η) of the runs; each is moved to the nearest cell that was run. By default one run at every second
            power of ten of γ (every one, where that leaves fewer than four), at a quarter of η_max.
        seed: whose runs; the first by default. An actual run, no mean.

    Raises:
        ValueError: that seed was not run, or no run can be shown.
    """
    one_seed = choose_seed(runs, seed)
    shown = _nearest_cells(cells(runs), chosen if chosen is not None else _default_runs(runs))
    rows = _rows(shown, runs.sel(seed=one_seed))
    if rows.empty:
        raise ValueError("none of the runs chosen has a finite loss after step 0: choose a smaller η.")
    loss = theme.span(rows.loss[rows.loss < 3 * float(rows.loss_at_start.max())], 1.2)
    panels = [_panel(rows, "t", "training loss, by steps t", loss), _panel(rows, "tau", "by τ = ηt/γ", loss)]
    words = (caption or "Loss curves from lazy to rich.").rstrip()
    picked = f"η at {SHARE:g} of η_max, or the nearest that was run. " if chosen is None else ""
    note = (
        f"{words} {picked}Each curve is one run, of seed {one_seed}, from step 1 on; colour is γ: blue lazy, "
        f"orange rich. "
        f"{conditions(runs)}"
    )
    return figure(theme.finish(theme.beside(*panels)), _summary(rows), _table(rows), note, label)


def _default_runs(runs: xr.Dataset) -> list[tuple[float, float]]:
    top = measure_boundaries(runs)["eta_max"].median("seed")
    gammas = top["gamma"].values.astype(float)
    if not np.isfinite(top.values).any():  # nothing converged: natural η is still a run
        return [(float(g), float(natural(runs)(g))) for g in gammas[:: max(1, len(gammas) // 5)]]
    seen = gammas[np.isfinite(top.values)]
    powers = [g for g in seen if abs(np.log10(g) - round(np.log10(g))) < 1e-3]
    picked = [g for g in powers if round(np.log10(g)) % 2 == 0]
    picked = picked if len(picked) >= 4 else powers or list(seen)
    return [(float(g), SHARE * float(top.sel(gamma=g))) for g in picked]


def _nearest_cells(table: pd.DataFrame, chosen: Sequence[tuple[float, float]]) -> pd.DataFrame:
    """The cells nearest to what was asked for: nearest γ first, then nearest η run there."""
    nearest = []
    for gamma, eta in chosen:
        away = 1000 * np.abs(table.log_gamma - np.log10(gamma)) + np.abs(table.log_eta - np.log10(eta))
        nearest.append(int(away.idxmin()))
    return table.loc[list(dict.fromkeys(nearest))]


def _rows(shown: pd.DataFrame, one: xr.Dataset) -> pd.DataFrame:
    """One row a recorded step of each run, from step 1 to the last finite loss."""
    frames = list(_curves(shown, one))
    return pd.concat(frames) if frames else pd.DataFrame()


def _curves(shown: pd.DataFrame, one: xr.Dataset) -> Iterator[pd.DataFrame]:
    loss = one["loss"].transpose("gamma", "eta" if "eta" in one.dims else "trial", "step").values
    steps = one["step"].values.astype(int)
    for cell in shown.itertuples():
        curve = loss[cell.place]
        known = np.isfinite(curve) & (curve > 0) & (steps > 0)
        frame = pd.DataFrame({"t": steps[known], "tau": (steps * cell.eta / cell.gamma)[known]})
        run = f"γ = {theme.power_of_ten(cell.gamma)}, η = {theme.power_of_ten(cell.eta)}"
        yield frame.assign(
            loss=curve[known].astype(float), run=run, gamma=cell.gamma, eta=cell.eta, log_gamma=cell.log_gamma,
            loss_at_start=float(curve[0]),
        )  # fmt: skip


def _panel(rows: pd.DataFrame, field: str, title: str, loss: tuple[float, float]) -> Any:
    x = parts.log_x(theme.span(rows[field]), "steps t" if field == "t" else "τ")(field)
    told = parts.tooltip({"run:N": "run", "t": ("step", ""), "loss": "loss"})
    lines = parts.chart_of(rows[["t", "tau", "loss", "run", "gamma", "eta", "log_gamma"]]).mark_line(
        clip=True, strokeWidth=2
    )
    colour = theme.gamma_colour(legend=True)
    return parts.panel(
        lines.encode(x=x, y=parts.log_y(loss)("loss"), detail="run:N", color=colour, order="t:Q", tooltip=told),
        title=title,
    )


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    last = rows.groupby(["gamma", "eta"], sort=True).last().reset_index()
    half = [_half_time(group) for _, group in rows.groupby(["gamma", "eta"], sort=True)]
    return pd.DataFrame(
        {
            "γ": last.gamma,
            "η": last.eta,
            "last loss": last.loss,
            "step of half the initial loss": half,
            "τ of half the initial loss": np.array(half) * (last.eta / last.gamma).to_numpy(),
        }
    )


def _half_time(group: pd.DataFrame) -> float:
    below = group[group.loss < group.loss_at_start / 2]
    return float(below.t.iloc[0]) if len(below) else float("nan")


def _summary(rows: pd.DataFrame) -> str:
    table = _table(rows)
    halves = table["step of half the initial loss"].dropna()
    say = theme.power_of_ten
    words = f"{len(table)} runs, γ from {say(table['γ'].min())} to {say(table['γ'].max())}."
    if halves.empty:
        return f"{words} None reaches half of its initial loss."
    taus = table["τ of half the initial loss"].dropna()
    return (
        f"{words} {len(halves)} of them reach half of the initial loss, between steps {int(halves.min())} and "
        f"{int(halves.max())}, or τ = {say(taus.min())} and {say(taus.max())}."
    )
