r"""Super consistency, S1: does the landscape along training keep its shape as networks grow wider or deeper?

Two numbers tell it. ηλ, the sharpness in units of what gradient descent bears (2 is the line), and the *distance to the largest
network*, \|log q_N(t) − log q_max(t)\| for a quantity q, seed by seed. A quantity is consistent along training if that distance
does not grow: here, if from the first third of the measured steps to the last its mean over the sizes grows by at most
`TOLERANCE`. That reading of the definition and the tolerance are ours, as are the exponents for the growth of λ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy.stats import t as student

from richness.analysis.ledger import NARROW, WITHIN, Claim, Load, load_or_reason, round_for_row, verdict
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
    scaled_name,
)

__all__ = [
    "CLAIMS",
    "MATRICES",
    "TOLERANCE",
    "Estimate",
    "best",
    "bridge",
    "distance",
    "family",
    "growth",
    "over_architectures",
    "over_depths",
    "over_widths",
    "plane",
    "rows",
    "spectra",
    "transfer",
    "widening",
]

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


def family(results: Mapping[int, xr.Dataset], etas: Iterable[float], size: str) -> xr.Dataset:
    """Results of one make and several sizes, side by side.

    Args:
        results: size → result with one γ. etas: the base steps that its η stand for, ascending. size: the name of the new axis.

    Returns:
        Over (size, eta0, seed, step), at the steps where curvature was measured: ``loss`` and ``product``, lr_raw·λ_max, NaN
        after a divergence. Attributes: those of the largest.
    """
    parts, attrs = [], {}
    for runs in results.values():
        attrs = runs.attrs
        one = runs.isel(gamma=0, drop=True).transpose("eta", "seed", "step", ...)
        known = np.isfinite(one.sharpness.values).any(axis=(0, 1))
        product = (one.sharpness * one.lr_raw).transpose("eta", "seed", "step")
        dims, axes = (
            ("eta0", "seed", "step"),
            {"eta0": list(etas), "seed": one.seed.values, "step": one.step.values[known]},
        )
        data = {"loss": (dims, one.loss.values[..., known]), "product": (dims, product.values[..., known])}
        parts.append(xr.Dataset(data, axes).astype(float))
    return xr.concat(parts, xr.IndexVariable(size, list(results))).assign_attrs(attrs)


def over_widths(load: Load, scaling: str) -> xr.Dataset:
    """One parameterisation at every width: `family` over ``width``."""
    return family({n: load(scaled_name(scaling, n)) for n in WIDTHS}, SCALINGS[scaling].etas, "width")


def over_depths(load: Load, network: str) -> xr.Dataset:
    """Residual networks of one kind at every depth: `family` over ``depth``, L."""
    return family({L: load(residual_name(network, L)) for L in RESIDUAL[network]}, RESIDUAL_ETAS, "depth")


def over_architectures(load: Load, network: str) -> dict[str, xr.Dataset]:
    """One architecture in two parameterisations, µP and NTK, at one base step: each a `family` over ``width``."""
    how = ARCHITECTURES[network]
    results = {n: load(architecture_name(network, n)) for n in how.widths}
    places = {"mup": -1, "ntk": 0}  # the larger γ is µP's, and so is the larger η
    return {
        SCALINGS[key].words: family(
            {n: runs.isel(gamma=[place], eta=[place]) for n, runs in results.items()}, (how.eta,), "width"
        )
        for key, place in places.items()
    }


def spectra(load: Load, scaling: str) -> xr.DataArray:
    """lr_raw times the largest eigenvalues: (width, matrix, eigenvalue, seed, step), matrices as in `MATRICES`."""
    parts = []
    for n in WIDTHS:
        runs = load(scaled_name(scaling, n, spectra=True))
        values = (runs.spectra * runs.lr_raw).isel(gamma=0, eta=0, drop=True).dropna("step", how="all")
        parts.append(values.drop_vars([name for name in values.coords if name not in values.dims]))
    joined = xr.concat(parts, xr.IndexVariable("width", list(WIDTHS))).assign_coords(matrix=list(MATRICES))
    return joined.transpose("width", "matrix", "eigenvalue", "seed", "step").astype(float).assign_attrs(runs.attrs)


def plane(load: Load) -> xr.Dataset:
    """The γ–N plane at one base step η₀ = η/γ²: (width, gamma, seed).

    Returns:
        ``growth``, λ at the last step over λ at step 0; ``product``, lr_raw·λ at the last step; ``loss`` there. The row γ = 1
        is that of µP; a width's NTK parameterisation is its γ = N^(−1/2).
    """
    parts = []
    for n in WIDTHS:
        columns = [_ends(load(plane_name(n)))]
        mup, place = load(scaled_name("mup", n)), SCALINGS["mup"].etas.index(PLANE_ETA)
        columns.append(_ends(mup.isel(eta=[place])))
        parts.append(xr.concat(columns, "gamma"))
    return xr.concat(parts, xr.IndexVariable("width", list(WIDTHS))).assign_attrs(mup.attrs)


def _ends(runs: xr.Dataset) -> xr.Dataset:
    """First and last of the curves of the cells that were run, one a γ."""
    product = (runs.sharpness * runs.lr_raw).transpose("gamma", "eta", "seed", "step").values
    loss = runs.loss.transpose("gamma", "eta", "seed", "step").values
    cell = [(i, int(np.flatnonzero(np.isfinite(row).any(axis=1))[0])) for i, row in enumerate(loss[..., 0])]
    first, last, end = (
        np.array([a[c] for c in cell], float) for a in (product[..., 0], product[..., -1], loss[..., -1])
    )
    dims = ("gamma", "seed")
    data = {"growth": (dims, last / first), "product": (dims, last), "loss": (dims, end)}
    return xr.Dataset(data, {"gamma": runs.gamma.values, "seed": runs.seed.values})


# -- numbers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % interval (Student's t over the seeds)."""

    value: float
    interval: tuple[float, float]
    seeds: int

    def __contains__(self, number: float) -> bool:
        return self.interval[0] <= number <= self.interval[1]

    def near(self, number: float) -> bool:
        """The ledger's rule for exponents: within .05, or the number in an interval no wider than .15."""
        narrow = self.interval[1] - self.interval[0] <= NARROW
        return abs(self.value - number) <= WITHIN or (narrow and number in self)


def estimate(values: np.ndarray) -> Estimate:
    """Of one value a seed, those that are not NaN.

    Raises:
        ValueError: fewer than two.
    """
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if len(known) < 2:
        raise ValueError(f"an interval takes two seeds or more that came through, got {len(known)}")
    half = float(student.ppf(0.975, len(known) - 1)) * known.std(ddof=1) / np.sqrt(len(known))
    return Estimate(float(known.mean()), (float(known.mean() - half), float(known.mean() + half)), len(known))


def distance(values: xr.DataArray) -> xr.DataArray:
    """\\|log q − log q_max\\| of every size but the largest, seed by seed; its first axis is the size."""
    size = str(values.dims[0])
    logs = xr.apply_ufunc(np.log, values.where(values > 0))
    apart: xr.DataArray = abs(logs.isel({size: slice(-1)}) - logs.isel({size: -1}, drop=True))
    return apart


def widening(values: xr.DataArray) -> Estimate:
    """How much further from the largest a quantity is in the last third of the measured steps than in the first.

    Args:
        values: (size, seed, step), positive.
    """
    apart = distance(values)
    third = max(1, apart.sizes["step"] // 3)
    late, early = apart.isel(step=slice(-third, None)), apart.isel(step=slice(third))
    change = late.mean("step", skipna=False) - early.mean("step", skipna=False)
    return estimate(change.mean(str(values.dims[0]), skipna=False).values)


def growth(made: xr.Dataset, eta0: float) -> Estimate:
    """The exponent in N of λ's growth along training, λ(T)/λ(0) − 1 ∝ N^p, fitted over all widths, seed by seed."""
    product = made.product.sel(eta0=eta0).transpose("width", "seed", "step")
    grown = product.isel(step=-1) / product.isel(step=0) - 1
    return estimate(_slopes(made.width.values, grown.values))


def _slopes(sizes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of log values against log sizes, (sizes, seeds) to (seeds,); NaN where a value is none."""
    x = np.log(sizes.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        y = np.log(values)
    x = x - x.mean()
    return (x[:, None] * y).sum(axis=0) / (x**2).sum()


def best(made: xr.Dataset, steps: int) -> xr.DataArray:
    """The η₀ of the smallest loss after so many steps: (size, seed), a parabola through the three points about the smallest.

    The measured step nearest to ``steps`` (in ratio) is taken. NaN where the smallest is at an end of the axis: the best
    lies there or beyond.
    """
    size = next(str(dim) for dim in made.loss.dims if dim not in ("eta0", "seed", "step"))
    place = int(np.abs(np.log(np.maximum(made.step.values, 0.5) / steps)).argmin())
    loss = made.loss.isel(step=place).transpose(size, "seed", "eta0")
    x = np.log(made.eta0.values)
    found = np.full(loss.shape[:2], np.nan)
    for place_of in np.ndindex(found.shape):
        y = np.log(loss.values[place_of])
        if np.isfinite(y).any():
            found[place_of] = np.exp(_lowest(x, y))
    return xr.DataArray(found, {size: made[size].values, "seed": made.seed.values}, (size, "seed"))


def _lowest(x: np.ndarray, y: np.ndarray) -> float:
    """Of a parabola through the smallest y and its neighbours; that x itself where a neighbour diverged (y is no number)."""
    k = int(np.nanargmin(y))
    if k in (0, len(x) - 1):
        return np.nan
    near = slice(k - 1, k + 2)
    if not np.isfinite(y[near]).all():
        return float(x[k])
    a, b, _ = np.polyfit(x[near] - x[k], y[near], 2)
    return float(x[k] - b / (2 * a)) if a > 0 else float(x[k])


def transfer(made: xr.Dataset, steps: int) -> Estimate:
    """The exponent in the size of the best η₀, seed by seed: 0 where one step serves all sizes."""
    found = best(made, steps)
    return estimate(_slopes(found[found.dims[0]].values, found.values))


def bridge(width: int = 64, eta: float = 6.0, steps: int = 20, samples: int = 64, seed: int = 0) -> float:
    """NTK parameterisation at width N, written out, against this book's network at γ = N^(−1/2): float64, trained live.

    Every layer is multiplied by 1/√fan_in, the readout by 1/√N, and raw weights move by η₀ = ``eta``, whatever N.

    Returns:
        The largest relative difference of the two loss curves.
    """
    ours = Experiment(
        width=width, gammas=width**-0.5, etas=eta / width, task="digits8_fixed", batch_size=samples, steps=steps,
        record_points=100, seeds=seed, dtype="float64",
    )  # fmt: skip
    x, labels = task("digits8_fixed").batch(seed, 0, samples)
    x, y = x.double(), torch.nn.functional.one_hot(labels, 10).double()
    first, second, readout = (w.requires_grad_() for w in build("mlp", 64, 10, width, 3, "relu").initialise(seed))

    def f() -> torch.Tensor:
        h = torch.relu(x @ first.T / x.shape[1] ** 0.5)
        return torch.relu(h @ second.T / width**0.5) @ readout.T / width**0.5

    losses, start = [], f().detach()
    for _ in range(steps + 1):
        loss = ((f() - start - y) ** 2).mean()
        losses.append(loss.item())
        with torch.no_grad():
            for w, g in zip((first, second, readout), torch.autograd.grad(loss, (first, second, readout)), strict=True):
                w -= eta * g
    theirs, found = np.array(losses), sweep(ours).loss.isel(gamma=0, eta=0, seed=0)
    return float(np.abs(found.values / theirs[found.step.values] - 1).max())


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


def rows(load: Load) -> list[dict[str, Any]]:
    """The ledger's rows of S1; a part is judged in two settings, those of S1.8 in one, which its rows name."""
    return [row for identity, judge in _JUDGES.items() for row in _judged(identity, judge, load)]


def _judged(identity: str, judge: Any, load: Load) -> list[dict[str, Any]]:
    """One claim's rows, or, where a result is missing, its parts as not run with the reason."""
    parts = [claim for claim in CLAIMS if claim.id == f"S1.{identity}"]
    missing: list[str] = []
    scales: set[str] = set()

    def counted(name: str) -> xr.Dataset:
        runs = load_or_reason(load, name)
        if isinstance(runs, str):
            missing.append(runs)
            raise LookupError(name)
        scales.add(str(runs.attrs.get("scale", "")))
        return runs

    try:
        measured: dict[str, list[tuple[str, Estimate | float, bool]] | str] = judge(counted)
    except (LookupError, ValueError) as why:
        return [claim.row(reason=missing[0] if missing else str(why)) for claim in parts]
    scale = " ".join(sorted(scales)) or "live"
    return [row for claim in parts for row in _rows_of(claim, measured[claim.part], scale)]


def _rows_of(
    claim: Claim, settings: list[tuple[str, Estimate | float, bool]] | str, scale: str
) -> list[dict[str, Any]]:
    """A row a setting; one row that says why, where the part could not be put to the test."""
    if isinstance(settings, str):
        return [claim.row(verdict="not-tested", reason=settings, scale=scale)]
    together = verdict(holds for *_, holds in settings)
    made = []
    for where, value, _ in settings:
        known: dict[str, Any] = {"claim": f"{claim.sentence}; {where}", "verdict": together, "scale": scale}
        if isinstance(value, Estimate):
            known |= {
                "measured": round_for_row(value.value),
                "interval": [round_for_row(end) for end in value.interval],
                "reason": "",
            }
            known["seeds"] = value.seeds
        else:
            known |= {"measured": float(f"{value:.3g}"), "reason": "the largest of all: no interval"}
        made.append(claim.row(**known))
    return made


def _consistent(load: Load) -> dict[str, list]:
    made = over_widths(load, "mup")
    found: dict[str, list] = {"µP": [], "loss": []}
    for eta in JUDGED:
        one = made.sel(eta0=eta)
        sharp, loss = widening(one["product"].transpose("width", ...)), widening(one.loss.transpose("width", ...))
        found["µP"].append((f"η₀ = {eta:g}", sharp, sharp.value <= TOLERANCE))
        found["loss"].append((f"η₀ = {eta:g}", loss, loss.interval[0] > TOLERANCE))
    return found


def _growing(load: Load) -> dict[str, list]:
    found = {}
    for part, scaling, predicted in (("µP", "mup", 0.0), ("NTK", "ntk", -1.0)):
        made = over_widths(load, scaling)
        exponents = [(f"η₀ = {eta:g}", growth(made, eta)) for eta in JUDGED]
        found[part] = [(where, one, one.near(predicted)) for where, one in exponents]
    made = plane(load)
    lazy = made.growth.where(made.gamma <= LAZY * (1 + 1e-6), drop=True).transpose("width", "gamma", "seed") - 1
    powers = [(f"N = {n}", estimate(_slopes(lazy.gamma.values, lazy.sel(width=n).values))) for n in WIDTHS[-2:]]
    found["γ"] = [(where, one, one.near(2.0)) for where, one in powers]
    return found


def _spectral(load: Load) -> dict[str, list]:
    values = spectra(load, "mup")
    groups = {f"N = {WIDTHS[0]} and {WIDTHS[1]}": [0, 1, -1], f"N = {WIDTHS[2]} and {WIDTHS[3]}": [2, 3, -1]}
    found: dict[str, list] = {"largest": [], "smaller": [], "NTK": []}
    for group, places in groups.items():
        some = values.isel(width=places)
        largest, tenth, kernel = (
            some.sel(matrix=matrix, eigenvalue=k, drop=True)
            for matrix, k in (("Hessian", 1), ("Hessian", 10), ("NTK", 1))
        )
        where = f"{group} against {WIDTHS[-1]}, η₀ = {SPECTRA_ETA:g}"
        own = widening(largest)
        found["largest"].append((where, own, own.value <= TOLERANCE))
        for part, other in (("smaller", tenth), ("NTK", kernel)):
            more = _more(other, largest)
            found[part].append((where, more, more.interval[0] > 0))
    return found


def _more(one: xr.DataArray, other: xr.DataArray) -> Estimate:
    """The difference of two `widening`s, seed by seed."""
    third = max(1, one.sizes["step"] // 3)
    changes = []
    for values in (one, other):
        apart = distance(values).mean("width", skipna=False)
        changes.append(apart.isel(step=slice(-third, None)).mean("step") - apart.isel(step=slice(third)).mean("step"))
    return estimate((changes[0] - changes[1]).values)


def _linear(load: Load) -> dict[str, list]:
    runs = load(RANDOM_FEATURES)
    found = []
    for k, eta in enumerate(runs.eta.values):
        largest = runs.spectra.isel(gamma=0, eta=k, eigenvalue=0).dropna("step", how="all").values
        change = float(np.nanmax(np.abs(largest / largest[:, :1] - 1)))
        found.append((f"η₀ = {eta:g}", change, change <= 1e-7))
    return {"constant": found}


def _transferred(load: Load) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part, scaling in (("µP", "mup"), ("NTK", "ntk"), ("standard", "standard")):
        made = over_widths(load, scaling)
        for steps in BUDGETS:
            try:
                one = transfer(made, steps)
            except ValueError:
                found[part] = (
                    "at some width the best step is the largest or smallest that was run: its place is not known"
                )
                break
            holds = 0 not in one if part == "NTK" else one.near(0.0 if part == "µP" else -1.0)
            found.setdefault(part, []).append((f"after {steps} steps", one, holds))
    return found


def _deep(load: Load) -> dict[str, list]:
    found: dict[str, list] = {}
    for part, network in (("one layer", "residual"), ("two layers", "residual_two")):
        product = over_depths(load, network)["product"]
        for eta in JUDGED_DEEP:
            one = widening(product.sel(eta0=eta).transpose("depth", ...))
            holds = one.value <= TOLERANCE if part == "one layer" else one.interval[0] > TOLERANCE
            found.setdefault(part, []).append((f"η₀ = {eta:g}", one, holds))
    unscaled = over_depths(load, "residual_unscaled")["product"].isel(step=0).sel(eta0=JUDGED_DEEP[0])
    for L in RESIDUAL["residual_unscaled"][-2:]:
        ratio = estimate((unscaled.sel(depth=L) / unscaled.isel(depth=0)).values)
        found.setdefault("unscaled", []).append((f"L = {L}", ratio, ratio.interval[0] > 2))
    return found


def _bridged(load: Load) -> dict[str, list]:
    values = {n: bridge(n) for n in (64, 256)}
    return {"bridge": [(f"N = {n}", value, value < 1e-10) for n, value in values.items()]}


def _built(load: Load) -> dict[str, list]:
    found = {}
    for network, how in ARCHITECTURES.items():
        where, grown = f"N = {how.widths[0]} to {how.widths[-1]}, η₀ = {how.eta:g}", {}
        for scaling, made in over_architectures(load, network).items():
            product = made["product"].sel(eta0=how.eta).transpose("width", "seed", "step")
            one = widening(product)
            holds = one.value <= TOLERANCE if scaling == "µP" else one.interval[0] > TOLERANCE
            found[f"{how.words} {scaling}"] = [(where, one, holds)]
            grown[scaling] = (product.isel(step=-1) / product.isel(step=0)).isel(width=-1)
        ratio = estimate((grown["µP"] / grown["NTK"]).values)
        found[f"{how.words} growth"] = [(f"N = {how.widths[-1]}, η₀ = {how.eta:g}", ratio, ratio.interval[0] > 1)]
    return found


_JUDGES = {
    "1": _consistent,
    "2": _growing,
    "3": _spectral,
    "4": _linear,
    "5": _transferred,
    "6": _deep,
    "7": _bridged,
    "8": _built,
}
