"""The laboratory on a page without a kernel: what can be read, printed and tabulated before any script runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from html import escape
from typing import Any

import numpy as np
import xarray as xr

from richness.lab import pack
from richness.lab.settings import labelled_tasks, settings_of
from richness.networks.optimizers import stability_line
from richness.plots.theme import GAMMA_LIMIT, LAZY, MIDDLE, RICH, STABILITY
from richness.runs.experiment import Experiment
from richness.runs.results import ResultError, git_state, load, recipe_of, scales_of

DEPTHS, LOSSES = (2, 3, 4), ("mse", "cross_entropy")  # of the networks that a page trains
STORED = "stored:"  # before the name of a result that the site's build puts beside its pages
_OUTCOMES = (
    "learned",
    "converged, but short of learned",
    "not converged (finite, but dead or too slow for these steps)",
)
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_W, _H, _LEFT, _TOP, _GAP = 283, 210, 44, 26, 58  # one panel, and the room around it, in pixels


def regime(gamma: float) -> str:
    """The word for a γ: lazy below 0.3, rich above 3."""
    return "lazy" if gamma < 0.3 else "rich" if gamma > 3 else "between lazy and rich"


def page(
    experiment: Experiment,
    runs: xr.Dataset | None,
    missing: str,
    presets: Sequence[Mapping[str, Any]] = (),
    preset: str | None = None,
    play: bool = False,
) -> str:
    """HTML of one laboratory.

    A container ``[data-richness-lab]`` with a picture (SVG), a summary and a table of the measured run nearest to the
    experiment's γ and η, and the instrument's setup as a JSON script for ``boot`` in ``lab.js``. Without runs it says
    what is missing.

    Args:
        experiment: its first γ, η and seed are where the sliders stand.
        runs: measured runs, or None.
        missing: the sentence shown without them.
        presets, preset: as :func:`setup` takes them.
        play: whether the measured runs show themselves once, η climbing over the edge, until a reader takes over.
    """
    gamma, eta, seed = experiment.gammas[0], experiment.etas[0], experiment.seeds[0]
    marks = f'data-richness-lab data-gamma="{gamma:g}" data-eta="{eta:g}"'
    born = setup(experiment, runs, presets, preset=preset) | {"play": play}
    data = json.dumps(born, separators=(",", ":")).replace("<", "\\u003c")
    script = f'<script type="application/json">{data}</script>'
    if runs is None:
        said = f'<p class="rl-status">{escape(missing)} The laboratory trains this network once scripts run.</p>'
        return f'<div class="richness-lab" {marks}><div data-fallback>{said}</div>{script}</div>'
    cell = pack.one_run(runs, *pack.nearest(runs, gamma, eta, seed), seed)
    title = f"Table of the run at γ = {cell['gamma']:.3g}, η = {cell['eta']:.3g}"
    return (
        f'<div class="richness-lab" {marks}>'
        f'<div data-fallback>{picture(cell)}<p class="rl-status">{escape(summary(cell))}</p>'
        f'<p class="rl-note">{escape(about(runs))}</p></div>'
        f"<details><summary>{title}</summary>{table(cell)}</details>{script}</div>"
    )


def setup(
    experiment: Experiment,
    runs: xr.Dataset | None,
    presets: Sequence[Mapping[str, Any]] = (),
    *,
    sliders: bool = True,
    preset: str | None = None,
) -> dict[str, Any]:
    """What the instrument is born with, on a page and in Jupyter: plain values for ``instrument`` in ``instrument.js``.

    Args:
        experiment: its first γ, η and seed are where the instrument starts.
        runs: measured runs of that network, packed into it; those of other networks are named only, and a site's build
            puts them beside its pages.
        presets: settings that show a phenomenon: name, title, about, ask, axis, scale, also.
        sliders: whether the instrument shows its own sliders of γ and η.
        preset: the name of the preset with which it is born: its state, its words and its companions.

    Returns:
        ask, presets, runs and boundaries by network, classes (tasks that have labels), about, hash, commit, colab,
        sliders and preset.
    """
    measured: dict[str, Any] = {key: f"{STORED}{name}" for key, name in stored_runs().items()}
    if runs is not None:
        measured[pack.network_key(recipe_of(runs))] = pack.pack_runs(runs, experiment.seeds[0])
    return {
        "ask": settings_of(experiment),
        "presets": [dict(preset) for preset in presets],
        "runs": measured,
        "boundaries": stored_boundaries(),
        "classes": labelled_tasks(),
        "about": about(runs) if runs is not None else "",
        "hash": experiment.hash,
        "commit": git_state()[0],
        "colab": None,
        "sliders": sliders,
        "preset": preset,
    }


@cache
def stored_runs() -> dict[str, str]:
    """{network's key: result's name} of the laboratory's measured runs that lie in precomputed/."""
    names = [f"laboratory_mlp{depth}_{loss}" for depth in DEPTHS for loss in LOSSES]
    return {f"{name.removeprefix('laboratory_')}_digits8": name for name in names if scales_of(name)}


@cache
def stored_boundaries() -> dict[str, Any]:
    """{network's key: its measured boundaries} of the portraits that lie in precomputed/."""
    portraits = [_load(f"portrait_mlp{depth}_{loss}") for depth in DEPTHS for loss in LOSSES]
    return {pack.network_key(recipe_of(runs)): pack.pack_boundaries(runs) for runs in portraits if runs is not None}


def _load(name: str) -> xr.Dataset | None:
    try:
        return load(name)
    except ResultError:
        return None


def about(runs: xr.Dataset) -> str:
    """Under what the runs were measured."""
    made = recipe_of(runs)
    losses = {"mse": "MSE (mean over batch and outputs)", "cross_entropy": "cross-entropy"}
    return (
        f"Precomputed on {made.task}: {made.network.upper()} of {made.depth} weight layers, "
        f"width {made.width}, {losses.get(made.loss, made.loss)}, {made.optimizer.upper()}, "
        f"batch {made.batch_size}, {int(runs['step'].values[-1])} steps, one seed; lr_raw = {made.width}·η."
    )


def summary(cell: dict[str, Any]) -> str:
    """The run in two sentences."""
    finite = cell["loss"][np.isfinite(cell["loss"])]
    outcome = f"diverged at step {cell['died']}" if cell["outcome"] == 3 else _OUTCOMES[cell["outcome"]]
    where = f"γ = {cell['gamma']:.3g} ({regime(cell['gamma'])}), η = {cell['eta']:.3g}"
    words = f"The measured run at {where}: {outcome}."
    if finite.size:
        words += f" Its loss goes from {finite[0]:.3g} to {finite[-1]:.3g}"
        sharp = cell["sharpness"][np.isfinite(cell["sharpness"])]
        if sharp.size:
            words += f"; its sharpness from {sharp[0]:.3g} to {sharp[-1]:.3g}"
            words += f", where 2/lr_raw = {stability_line(cell['lr']):.3g} is the stability line"
        words += "."
    return words


def table(cell: dict[str, Any]) -> str:
    """A dozen rows of step, τ, loss and sharpness."""
    measured = np.flatnonzero(np.isfinite(cell["sharpness"]))
    rows = measured if measured.size else np.flatnonzero(np.isfinite(cell["loss"]))
    rows = rows[np.unique(np.linspace(0, rows.size - 1, min(12, rows.size)).astype(int))] if rows.size else rows
    head = "".join(f'<th scope="col">{h}</th>' for h in ("step t", "τ = ηt/γ", "training loss", "sharpness λ_max"))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{_number(v)}</td>"
            for v in (step, cell["eta"] * step / cell["gamma"], cell["loss"][i], cell["sharpness"][i])
        )
        + "</tr>"
        for i, step in zip(rows, cell["step"][rows], strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "–"


def colour(gamma: float) -> str:
    """The book's diverging γ scale at one γ, as in ``lab.js``."""
    at = min(1.0, max(-1.0, math.log10(gamma) / GAMMA_LIMIT))
    ends = [[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in (MIDDLE, LAZY if at < 0 else RICH)]
    return "#" + "".join(f"{round(m + abs(at) * (e - m)):02x}" for m, e in zip(*ends, strict=True))


def picture(cell: dict[str, Any]) -> str:
    """Loss and sharpness against the step as SVG, log axes; step 0 stands at the left edge."""
    sharp, line = cell["sharpness"], 2 / cell["lr"]
    x = np.log10(np.maximum(cell["step"], 0.5))
    loss_panel = _panel(0, "training loss", x, cell["loss"], colour(cell["gamma"]))
    sharp_panel = _panel(_W + _GAP, "sharpness λ_max", x, sharp, colour(cell["gamma"]), line)
    return (
        f'<svg class="rl-figure" role="img" aria-label="{escape(summary(cell))}" width="100%" fill="currentColor" '
        f'viewBox="0 0 {_LEFT + 2 * _W + _GAP + 14} {_TOP + _H + 40}">{loss_panel}{sharp_panel}</svg>'
    )


def _panel(shift: float, title: str, x: np.ndarray, y: np.ndarray, ink: str, line: float | None = None) -> str:
    seen = np.isfinite(y) & (y > 0)
    logs = np.log10(y[seen].astype(float))
    extent = [*logs, *([math.log10(line)] if line else [])] or [-2, 0]
    start = logs[0] if logs.size else 0.0
    low, high = math.floor(max(min(extent), start - 7) - 0.05), math.ceil(min(max(extent), start + 4) + 0.08)
    left, x0, x1 = _LEFT + shift, float(x[0]), max(float(x[-1]), float(x[0]) + 1)

    def sx(v: float) -> float:
        return left + (v - x0) / (x1 - x0) * _W

    def sy(v: float) -> float:
        return _TOP + _H - (min(high, max(low, v)) - low) / (high - low) * _H

    parts = [f'<path d="M{left} {_TOP}V{_TOP + _H}h{_W}" fill="none" stroke="currentColor" opacity=".45"/>']
    parts += _ticks([math.ceil(x0), math.floor(x1)], 6, lambda n: (sx(n), _TOP + _H + 16), "middle")
    parts += _ticks([low, high], 8, lambda n: (left - 6, sy(n) + 4), "end")
    parts.append(f'<text class="rl-title" font-size="13" x="{left - 34}" y="{_TOP - 10}">{title}</text>')
    parts.append(f'<text font-size="12" text-anchor="end" x="{left + _W}" y="{_TOP + _H + 32}">steps t</text>')
    if line:
        at = sy(math.log10(line))
        # the label stands at the end of the line that is further from the curve
        right = not logs.size or abs(logs[-1] - math.log10(line)) >= abs(logs[0] - math.log10(line))
        where, side = (left + _W, "end") if right else (left + 4, "start")
        parts.append(f'<path class="rl-red" d="M{left} {at:.1f}h{_W}" stroke="{STABILITY}"/>')
        parts.append(
            f'<text class="rl-red-text" font-size="12" text-anchor="{side}" fill="{STABILITY}" x="{where}" '
            f'y="{at + (14 if at < _TOP + 16 else -5):.1f}">stable below 2 / lr_raw</text>'
        )
    points = " ".join(f"{sx(a):.1f},{sy(b):.1f}" for a, b in zip(x[seen], logs, strict=True))
    parts.append(f'<polyline points="{points}" fill="none" stroke="{ink}" stroke-width="2.2" stroke-linejoin="round"/>')
    return "".join(parts)


def _ticks(ends: Sequence[int], most: int, place: Callable[[int], tuple[float, float]], anchor: str) -> list[str]:
    stride = max(1, math.ceil((ends[1] - ends[0] + 1) / most))
    out = []
    for n in range(math.ceil(ends[0] / stride) * stride, ends[1] + 1, stride):
        x, y = place(n)
        label = "1" if n == 0 else f"10{str(n).translate(_SUPERSCRIPTS)}"
        out.append(f'<text font-size="12" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{label}</text>')
    return out
