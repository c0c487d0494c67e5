r"""Super consistency, S1: does the landscape along training keep its shape as networks grow wider or deeper?

Two numbers tell it. ηλ, the sharpness in units of what gradient descent bears (2 is the line), and the *distance to the largest
network*, \|log q_N(t) − log q_max(t)\| for a quantity q, seed by seed. A quantity is consistent along training if that distance
does not grow: here, if from the first third of the measured steps to the last its mean over the sizes grows by at most
`TOLERANCE`. That reading of the definition and the tolerance are ours, as are the exponents for the growth of λ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr

from richness.analysis.ledger import (
    WITHIN,
    Claim,
    Held,
    Load,
    judge_exponent,
    judge_range,
    load_or_reason,
    mean_columns,
    scale_of,
    verdict,
)
from richness.analysis.stats import Mean, mean_over_seeds
from richness.data import task
from richness.networks import build
from richness.runs.experiment import Experiment
from richness.runs.sweep import sweep
from richness.studies.neighbours.consistency.recipes import (
    ARCHITECTURES,
    PLANE_ETA,
    RANDOM_FEATURES,
    RESIDUAL,
    RESIDUAL_ETAS,
    SCALINGS,
    SPECTRA_ETA,
    WIDTHS,
    architecture_name,
    plane_name,
    residual_name,
    scaling_name,
)

CHAPTER = "11-super-consistency"

#: By how much a distance of logarithms may grow and still count as not growing: the ledger's tolerance for exponents.
TOLERANCE = WITHIN

#: Whose eigenvalues are followed, in the order of the probe ``spectra``.
MATRICES = ("Hessian", "Gauss–Newton", "NTK")

#: The base steps at which widths are judged: below the edge of stability for most of the time, and reaching it.
JUDGED = (3.0, 6.0)

#: Up to this γ the plane counts as lazy: λ grows by less than about half there.
LAZY = 0.15

#: Depths are judged at these.
JUDGED_DEEP = (1.5, 3.0)

#: Steps after which the best η₀ is looked for.
BUDGETS = (100, 400)


# -- results of several sizes as one -----------------------------------------------------------------------------------


def join_sizes(results: Mapping[int, xr.Dataset], etas: Iterable[float], size: str) -> xr.Dataset:
    """Results of one make and several sizes, side by side.

    Args:
        results: size → result with one γ. etas: the base steps that its η stand for, ascending. size: the name of the new axis.

    Returns:
        Over (size, eta0, seed, step), at the steps where curvature was measured: ``loss`` and ``product``, lr_raw·λ_max, NaN
        after a divergence. Attributes: those of the largest.
    """
    parts = []
    for runs in results.values():
        one = runs.isel(gamma=0, step=np.isfinite(runs.sharpness).any(["gamma", "eta", "seed"]).values)
        one = xr.Dataset({"loss": one.loss, "product": one.sharpness * one.lr_raw}).reset_coords(drop=True)
        parts.append(
            one.rename(eta="eta0").assign_coords(eta0=list(etas)).transpose("eta0", "seed", "step").astype(float)
        )
    return xr.concat(parts, xr.IndexVariable(size, list(results))).assign_attrs(runs.attrs)


def load_widths(load: Load, scaling: str) -> xr.Dataset:
    """One parameterisation at every width: `join_sizes` over ``width``."""
    return join_sizes({n: load(scaling_name(scaling, n)) for n in WIDTHS}, SCALINGS[scaling].etas, "width")


def load_depths(load: Load, network: str) -> xr.Dataset:
    """Residual networks of one kind at every depth: `join_sizes` over ``depth``, L."""
    return join_sizes({L: load(residual_name(network, L)) for L in RESIDUAL[network]}, RESIDUAL_ETAS, "depth")


def load_architectures(load: Load, network: str) -> dict[str, xr.Dataset]:
    """One architecture in two parameterisations, µP and NTK, at one base step: each a `join_sizes` over ``width``."""
    how = ARCHITECTURES[network]
    results = {n: load(architecture_name(network, n)) for n in how.widths}
    places = {"mup": -1, "ntk": 0}  # the larger γ is µP's, and so is the larger η
    return {
        SCALINGS[key].words: join_sizes(
            {n: runs.isel(gamma=[place], eta=[place]) for n, runs in results.items()}, (how.eta,), "width"
        )
        for key, place in places.items()
    }


def load_spectra(load: Load, scaling: str) -> xr.DataArray:
    """lr_raw times the largest eigenvalues: (width, matrix, eigenvalue, seed, step), matrices as in `MATRICES`."""
    parts = []
    for n in WIDTHS:
        runs = load(scaling_name(scaling, n, spectra=True))
        values = (runs.spectra * runs.lr_raw).isel(gamma=0, eta=0, drop=True).dropna("step", how="all")
        parts.append(values.reset_coords(drop=True))
    joined = xr.concat(parts, xr.IndexVariable("width", list(WIDTHS))).assign_coords(matrix=list(MATRICES))
    return joined.transpose("width", "matrix", "eigenvalue", "seed", "step").astype(float).assign_attrs(runs.attrs)


def load_plane(load: Load) -> xr.Dataset:
    """The γ–N plane at one base step η₀ = η/γ²: (width, gamma, seed).

    Returns:
        ``growth``, λ at the last step over λ at step 0; ``product``, lr_raw·λ at the last step; ``loss`` there. The row γ = 1
        is that of µP; a width's NTK parameterisation is its γ = N^(−1/2).
    """
    parts, place = [], SCALINGS["mup"].etas.index(PLANE_ETA)
    for n in WIDTHS:
        mup = load(scaling_name("mup", n))
        parts.append(xr.concat([_measure_ends(load(plane_name(n))), _measure_ends(mup.isel(eta=[place]))], "gamma"))
    return xr.concat(parts, xr.IndexVariable("width", list(WIDTHS))).assign_attrs(mup.attrs)


def _measure_ends(runs: xr.Dataset) -> xr.Dataset:
    """λ's growth, and product and loss at the last step, of the one cell that was run at each γ: (gamma, seed)."""
    ran = np.isfinite(runs.loss.isel(step=0, drop=True)).any("seed").argmax("eta")
    product, loss = (runs.sharpness * runs.lr_raw).isel(eta=ran), runs.loss.isel(eta=ran)
    last = product.isel(step=-1)
    ends = xr.Dataset({"growth": last / product.isel(step=0), "product": last, "loss": loss.isel(step=-1)})
    return ends.reset_coords(drop=True).transpose("gamma", "seed").astype(float)


# -- numbers -----------------------------------------------------------------------------------------------------------


def _mean_of_survivors(values: Any) -> Mean:
    """Of one value a seed, over the seeds that came through.

    Raises:
        ValueError: fewer than two did.
    """
    mean = mean_over_seeds(np.asarray(values, float), lost="leave out")
    if mean.seeds < 2:
        raise ValueError(f"an interval takes two seeds or more that came through, got {mean.seeds}")
    return mean


def measure_distance(values: xr.DataArray) -> xr.DataArray:
    """\\|log q − log q_max\\| of every size but the largest, seed by seed; its first axis is the size."""
    size = str(values.dims[0])
    logs = xr.apply_ufunc(np.log, values.where(values > 0))
    apart: xr.DataArray = abs(logs.isel({size: slice(-1)}) - logs.isel({size: -1}, drop=True))
    return apart


def _measure_changes(values: xr.DataArray) -> xr.DataArray:
    """The distance to the largest in the last third of the measured steps less that in the first, mean over sizes: (seed,)."""
    apart = measure_distance(values).mean(str(values.dims[0]), skipna=False)
    third = max(1, apart.sizes["step"] // 3)
    late, early = apart.isel(step=slice(-third, None)), apart.isel(step=slice(third))
    return late.mean("step", skipna=False) - early.mean("step", skipna=False)


def measure_widening(values: xr.DataArray) -> Mean:
    """How much further from the largest a quantity is in the last third of the measured steps than in the first.

    Args:
        values: (size, seed, step), positive.
    """
    return _mean_of_survivors(_measure_changes(values))


def fit_growth(made: xr.Dataset, eta0: float) -> Mean:
    """The exponent in N of λ's growth along training, λ(T)/λ(0) − 1 ∝ N^p, fitted over all widths, seed by seed."""
    product = made.product.sel(eta0=eta0).transpose("width", "seed", "step")
    grown = product.isel(step=-1) / product.isel(step=0) - 1
    return _mean_of_survivors(_fit_slopes(made.width.values, grown.values))


def _fit_slopes(sizes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of log values against log sizes, (sizes, seeds) to (seeds,); NaN where a value is none."""
    x = np.log(sizes.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        y = np.log(values)
    x = x - x.mean()
    return (x[:, None] * y).sum(axis=0) / (x**2).sum()


def find_best_etas(made: xr.Dataset, steps: int) -> xr.DataArray:
    """The η₀ of the smallest loss after so many steps: (size, seed), a parabola through the three points about the smallest.

    The measured step nearest to ``steps`` (in ratio) is taken. NaN where the smallest is at an end of the axis: the best
    lies there or beyond.
    """
    size = next(str(dim) for dim in made.loss.dims if dim not in ("eta0", "seed", "step"))
    place = int(np.abs(np.log(np.maximum(made.step.values, 0.5) / steps)).argmin())
    logs = np.log(made.loss.isel(step=place).transpose(size, "seed", "eta0"))
    best = np.exp(np.apply_along_axis(_find_lowest, 2, logs.values, np.log(made.eta0.values)))
    return xr.DataArray(best, {size: made[size].values, "seed": made.seed.values}, (size, "seed"))


def _find_lowest(y: np.ndarray, x: np.ndarray) -> float:
    """The x of the lowest point of a parabola through the smallest y and its neighbours.

    That of the smallest y itself where a neighbour diverged (y is no number); NaN where it is at an end, or none is a number.
    """
    if not np.isfinite(y).any():
        return np.nan
    k = int(np.nanargmin(y))
    if k in (0, len(x) - 1):
        return np.nan
    near = slice(k - 1, k + 2)
    if not np.isfinite(y[near]).all():
        return float(x[k])
    a, b, _ = np.polyfit(x[near] - x[k], y[near], 2)
    return float(x[k] - b / (2 * a)) if a > 0 else float(x[k])


def fit_transfer(made: xr.Dataset, steps: int) -> Mean:
    """The exponent in the size of the best η₀, seed by seed: 0 where one step serves all sizes."""
    best = find_best_etas(made, steps)
    return _mean_of_survivors(_fit_slopes(best[best.dims[0]].values, best.values))


def compare_with_ntk(width: int = 64, eta: float = 6.0, steps: int = 20, samples: int = 64, seed: int = 0) -> float:
    """NTK parameterisation at width N, written out, against this book's network at γ = N^(−1/2): float64, trained live.

    Every layer is multiplied by 1/√fan_in, the readout by 1/√N, and raw weights move by η₀ = ``eta``, whatever N.

    Returns:
        The largest relative difference of the two loss curves.
    """
    ours = Experiment(
        width=width, gammas=width**-0.5, etas=eta / width, task="digits8_fixed", batch_size=samples, steps=steps,
        record_points=100, seeds=seed, dtype="float64",
    )  # fmt: skip
    losses = sweep(ours).loss.isel(gamma=0, eta=0, seed=0)
    theirs = _train_ntk(width, eta, steps, samples, seed)
    return float(np.abs(losses.values / theirs[losses.step.values] - 1).max())


def _train_ntk(width: int, eta: float, steps: int, samples: int, seed: int) -> np.ndarray:
    """The loss before every step and after the last, of an MLP of three layers in NTK parameterisation, (steps + 1,)."""
    x, labels = task("digits8_fixed").batch(seed, 0, samples)
    x, y = x.double(), torch.nn.functional.one_hot(labels, 10).double()
    weights = [w.requires_grad_() for w in build("mlp", 64, 10, width, 3, "relu").initialise(seed)]

    def f() -> torch.Tensor:
        h = torch.relu(x @ weights[0].T / x.shape[1] ** 0.5)
        return torch.relu(h @ weights[1].T / width**0.5) @ weights[2].T / width**0.5

    losses, start = [], f().detach()
    for _ in range(steps + 1):
        loss = ((f() - start - y) ** 2).mean()
        losses.append(loss.item())
        with torch.no_grad():
            for w, g in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                w -= eta * g
    return np.array(losses)


# -- the ledger --------------------------------------------------------------------------------------------------------

_SPAN = f"N = {WIDTHS[0]} to {WIDTHS[-1]}"
_STEADY = f"distance to the largest grows by at most {TOLERANCE:g}"
_APART = f"distance to the largest grows by more than {TOLERANCE:g}, with its 95 % interval"
_MORE = "grows more than the Hessian's largest does, with its 95 % interval"


def _claim(id: str, part: str, sentence: str, predicted: float | str) -> Claim:
    return Claim(f"S1.{id}", part, sentence, predicted, CHAPTER)


CLAIMS = (
    _claim("1", "µP", f"sharpness along training is the same at every width under µP ({_SPAN})", _STEADY),
    _claim("1", "loss", f"while the loss is not: wider is better ({_SPAN})", _APART),
    _claim("2", "µP", "the growth of λ along training does not depend on N under µP (exponent in N: ours)", 0.0),
    _claim("2", "γ", f"on the lazy side it goes as γ² (exponent in γ ≤ {LAZY:g}: ours)", 2.0),
    _claim("2", "NTK", "so that it dies out as 1/N in NTK parameterisation (exponent in N: ours)", -1.0),
    _claim("3", "largest", "the Hessian's largest eigenvalue is the same at every width under µP", _STEADY),
    _claim("3", "smaller", "smaller ones (here the 10th) gather effects of finite width", f"its distance {_MORE}"),
    _claim("3", "NTK", "so does the NTK's largest", f"its distance {_MORE}"),
    _claim("4", "constant", "random features: λ stays as it is", "largest relative change at most 1e-7"),
    _claim("5", "µP", "the best η₀ does not depend on N under µP (exponent in N)", 0.0),
    _claim("5", "NTK", "the best η₀ depends on N in NTK parameterisation", "95 % interval of the exponent in N without 0"),
    _claim("5", "standard", "the best step is ∝ 1/N in standard parameterisation (exponent in N: ours)", -1.0),
    _claim("6", "one layer", "one layer a block, branches over √blocks: sharpness is the same at every depth", _STEADY),
    _claim("6", "two layers", "two layers a block: it is not", _APART),
    _claim("6", "unscaled", "branches not divided: it is not, from step 0", "ηλ at step 0 over that of one block, above 2"),
    _claim("7", "bridge", "NTK parameterisation at width N is the main paper at γ = N^(−1/2) (derived here)",
           "largest relative difference of loss curves below 1e-10, float64, N = 64 and N = 256"),
    *(claim for how in ARCHITECTURES.values() for claim in (
        _claim("8", f"{how.words} µP", f"{how.words}: sharpness is the same at every width under µP", _STEADY),
        _claim("8", f"{how.words} NTK", f"{how.words}: in NTK parameterisation it is not", _APART),
        _claim("8", f"{how.words} growth", f"{how.words}: λ grows more under µP than in NTK (asked after a first look)",
               "ratio of the growths at the largest width above 1, with its 95 % interval"),
    )),
)  # fmt: skip


#: One setting of a part: in words, what was measured (a mean, or the largest of all) and whether the criterion holds.
Judged = tuple[str, Mean | float, Held]


def rows(load: Load) -> list[dict[str, Any]]:
    """The ledger's rows of S1; a part is judged in two settings, those of S1.8 in one, which its rows name."""
    return [row for identity, judge in _JUDGES.items() for row in _judge_claim(identity, judge, load)]


def _judge_claim(identity: str, judge: Any, load: Load) -> list[dict[str, Any]]:
    """One claim's rows, or, where a result is missing, its parts as not run with the reason."""
    parts = [claim for claim in CLAIMS if claim.id == f"S1.{identity}"]
    scales: set[str] = set()

    def load_or_raise(name: str) -> xr.Dataset:
        runs = load_or_reason(load, name)
        if isinstance(runs, str):
            raise ValueError(runs)
        scales.add(scale_of(runs))
        return runs

    try:
        measured: dict[str, list[Judged] | str] = judge(load_or_raise)
    except (KeyError, ValueError) as why:
        return [claim.row(reason=str(why)) for claim in parts]
    scale = " ".join(sorted(scales)) or "live"
    return [row for claim in parts for row in _make_rows(claim, measured[claim.part], scale)]


def _make_rows(claim: Claim, settings: list[Judged] | str, scale: str) -> list[dict[str, Any]]:
    """A row a setting; one row that says why, where the part could not be put to the test."""
    if isinstance(settings, str):
        return [claim.row(verdict="not-tested", reason=settings, scale=scale)]
    shared = {"verdict": verdict(holds for *_, holds in settings), "scale": scale}
    return [claim.row(claim=f"{claim.sentence}; {where}", **shared, **_show(value)) for where, value, _ in settings]


def _show(value: Mean | float) -> dict[str, Any]:
    if isinstance(value, Mean):
        return mean_columns(value, "")
    return {"measured": float(f"{value:.3g}"), "reason": "the largest of all: no interval"}


def _steady(where: str, mean: Mean) -> Judged:
    return where, mean, judge_range(mean.interval, high=TOLERANCE)


def _above(where: str, mean: Mean, bound: float = TOLERANCE) -> Judged:
    return where, mean, judge_range(mean.interval, bound)


def _near(where: str, mean: Mean, predicted: float) -> Judged:
    return where, mean, judge_exponent(mean.interval, predicted)


def _judge_widths(load: Load) -> dict[str, list[Judged]]:
    made = {eta: load_widths(load, "mup").sel(eta0=eta).transpose("width", ...) for eta in JUDGED}
    return {
        "µP": [_steady(f"η₀ = {eta:g}", measure_widening(one["product"])) for eta, one in made.items()],
        "loss": [_above(f"η₀ = {eta:g}", measure_widening(one.loss)) for eta, one in made.items()],
    }


def _judge_growth(load: Load) -> dict[str, list[Judged]]:
    judged = {}
    for part, scaling, predicted in (("µP", "mup", 0.0), ("NTK", "ntk", -1.0)):
        made = load_widths(load, scaling)
        judged[part] = [_near(f"η₀ = {eta:g}", fit_growth(made, eta), predicted) for eta in JUDGED]
    made = load_plane(load)
    lazy = made.growth.where(made.gamma <= LAZY * (1 + 1e-6), drop=True).transpose("width", "gamma", "seed") - 1
    powers = {n: _mean_of_survivors(_fit_slopes(lazy.gamma.values, lazy.sel(width=n).values)) for n in WIDTHS[-2:]}
    return judged | {"γ": [_near(f"N = {n}", power, 2.0) for n, power in powers.items()]}


def _judge_spectra(load: Load) -> dict[str, list[Judged]]:
    values = load_spectra(load, "mup")
    judged: dict[str, list[Judged]] = {"largest": [], "smaller": [], "NTK": []}
    for i, j in ((0, 1), (2, 3)):
        where = f"N = {WIDTHS[i]} and {WIDTHS[j]} against {WIDTHS[-1]}, η₀ = {SPECTRA_ETA:g}"
        largest, tenth, kernel = (
            values.isel(width=[i, j, -1]).sel(matrix=matrix, eigenvalue=k, drop=True)
            for matrix, k in (("Hessian", 1), ("Hessian", 10), ("NTK", 1))
        )
        judged["largest"].append(_steady(where, measure_widening(largest)))
        for part, other in (("smaller", tenth), ("NTK", kernel)):
            more = _mean_of_survivors(_measure_changes(other) - _measure_changes(largest))
            judged[part].append(_above(where, more, 0))
    return judged


def _judge_random_features(load: Load) -> dict[str, list[Judged]]:
    runs = load(RANDOM_FEATURES)
    judged: list[Judged] = []
    for k, eta in enumerate(runs.eta.values):
        largest = runs.spectra.isel(gamma=0, eta=k, eigenvalue=0).dropna("step", how="all").values
        change = float(np.nanmax(np.abs(largest / largest[:, :1] - 1)))
        judged.append((f"η₀ = {eta:g}", change, change <= 1e-7))
    return {"constant": judged}


def _judge_transfer(load: Load) -> dict[str, list[Judged] | str]:
    judged: dict[str, list[Judged] | str] = {}
    for part, scaling in (("µP", "mup"), ("NTK", "ntk"), ("standard", "standard")):
        made = load_widths(load, scaling)
        try:
            exponents = {f"after {steps} steps": fit_transfer(made, steps) for steps in BUDGETS}
        except ValueError:
            judged[part] = "at some width the best step is the largest or smallest that was run: its place is not known"
        else:
            judged[part] = [
                (where, one, 0 not in one) if part == "NTK" else _near(where, one, 0.0 if part == "µP" else -1.0)
                for where, one in exponents.items()
            ]
    return judged


def _judge_depths(load: Load) -> dict[str, list[Judged]]:
    judged = {}
    for part, network, judge in (("one layer", "residual", _steady), ("two layers", "residual_two", _above)):
        product = load_depths(load, network)["product"].transpose("depth", ...)
        judged[part] = [judge(f"η₀ = {eta:g}", measure_widening(product.sel(eta0=eta))) for eta in JUDGED_DEEP]
    unscaled = load_depths(load, "residual_unscaled")["product"].isel(step=0).sel(eta0=JUDGED_DEEP[0])
    ratios = {L: unscaled.sel(depth=L) / unscaled.isel(depth=0) for L in RESIDUAL["residual_unscaled"][-2:]}
    return judged | {"unscaled": [_above(f"L = {L}", _mean_of_survivors(ratio), 2) for L, ratio in ratios.items()]}


def _judge_bridge(load: Load) -> dict[str, list[Judged]]:
    values = {n: compare_with_ntk(n) for n in (64, 256)}
    return {"bridge": [(f"N = {n}", value, value < 1e-10) for n, value in values.items()]}


def _judge_architectures(load: Load) -> dict[str, list[Judged] | str]:
    judged: dict[str, list[Judged] | str] = {}
    for network, how in ARCHITECTURES.items():
        where, grown = f"N = {how.widths[0]} to {how.widths[-1]}, η₀ = {how.eta:g}", {}
        for scaling, made in load_architectures(load, network).items():
            product = made["product"].sel(eta0=how.eta).transpose("width", "seed", "step")
            judge = _steady if scaling == "µP" else _above
            judged[f"{how.words} {scaling}"] = [judge(where, measure_widening(product))]
            grown[scaling] = product.isel(step=-1) / product.isel(step=0)
        if np.all(abs(grown["NTK"].mean("seed") - 1) < TOLERANCE):  # asked of what stands still, it has no answer
            judged[f"{how.words} NTK"] = (
                f"λ itself moves by less than {TOLERANCE:.0%} at every width: no distance can grow"
            )
        ratio = _mean_of_survivors((grown["µP"] / grown["NTK"]).isel(width=-1))
        judged[f"{how.words} growth"] = [_above(f"N = {how.widths[-1]}, η₀ = {how.eta:g}", ratio, 1)]
    return judged


_JUDGES = {
    "1": _judge_widths,
    "2": _judge_growth,
    "3": _judge_spectra,
    "4": _judge_random_features,
    "5": _judge_transfer,
    "6": _judge_depths,
    "7": _judge_bridge,
    "8": _judge_architectures,
}
