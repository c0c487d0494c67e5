"""The coordinate check: is a network in the maximal-update parameterisation, and does γ mean what it should?

A few steps are taken at several widths, and at several γ on either side of 1. What every layer is, what it changes by, and how
far the update of each parameter alone moves f, are fitted by powers of the width N and of γ. In µP nothing depends on N at one
η. On the lazy side, with η ∝ γ² (η ∝ γ where the step's length does not follow the gradient's), f moves alike at every γ and
features ∝ γ. On the rich side, at the start and with η ∝ γ (constant), features move alike and f ∝ 1/γ. And f̃ of a sample may
not depend on the others in its batch: else f̃(x; θ₀) is no function of x, and subtracting it centres nothing.

References:
    G. Yang, E. J. Hu et al., *Tensor Programs V*, 2022 (appendix D.1: the coordinate check).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from richness.networks import OPTIMIZERS, Architecture, Network
from richness.runs.experiment import Experiment
from richness.runs.training import Trainer

DEPTHS = {"mlp": 3, "cnn": 4, "resnet": 6, "vit": 6, "transformer": 6}  # the smallest with everything in it
WIDTHS = (64, 128, 256)  # at 32 a head of four has 8 units, and corrections of 1/N are seen
LAZY, RICH = (1e-6, 1e-5, 1e-4), (1e4, 1e5, 1e6)
SHARE = 0.002  # η over its lazy scale at γ = 1: steps so small that they are of first order
STEPS, BATCH, SAMPLES = 4, 16, 32
WIDTH_TOLERANCE = (
    0.35  # of exponents in N, dozens with a standard error of 0.1 each; a wrong power is off by 1/2 or more
)
GAMMA_TOLERANCE = 0.05  # of exponents in γ, which hardly do
ALONE_TOLERANCE = 1e-9  # of what is said of a sample alone and among others, in float64


@dataclass(frozen=True)
class Row:
    """One quantity along one axis.

    Attributes:
        axis: ``width``, ``lazy`` or ``rich``, or ``batch``. what: the quantity.
        expected, found: its exponent in N or in γ, NaN where it is 0 at one of them; on ``batch``, the relative difference.
        passed: whether they agree, or differ by no more than chance may make them. why: where they differ, what that means.
    """

    axis: str
    what: str
    expected: float
    found: float
    passed: bool
    why: str = ""


@dataclass(frozen=True)
class Coordinates:
    """The outcome of a check.

    Attributes:
        about: what was checked. rows: every quantity along every axis.
    """

    about: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if not row.passed]

    @property
    def doubtful(self) -> list[Row]:
        """Those that differ, at widths too small or too close to say whether that is chance."""
        return [row for row in self.rows if row.passed and row.why]

    def __str__(self) -> str:
        lines = [self.about, f"{'axis':6} {'quantity':52} expected  found"]
        for row in self.rows:
            mark = "  <-" if not row.passed else "  ?" if row.why else ""
            lines.append(f"{row.axis:6} {row.what:52.52} {row.expected:+8.2f} {row.found:+6.2f}{mark}")
        lines += [f"{row.axis}: {row.what}: {row.why}" for row in self.failed]
        if self.doubtful:
            least = WIDTHS[0]
            lines.append(
                f"warning: {len(self.doubtful)} marked ? differ by what chance may do at such widths: take {least} or more"
            )
        lines.append("passed" if self.passed else f"failed: {len(self.failed)} of {len(self.rows)}")
        return "\n".join(lines)


def check_coordinates(
    network: str = "mlp",
    depth: int | None = None,
    *,
    task: str = "digits8",
    loss: str = "mse",
    optimizer: str = "sgd",
    activation: str = "relu",
    widths: Sequence[int] = WIDTHS,
    seeds: Sequence[int] = (0, 1, 2, 3),
) -> Coordinates:
    """Whether a network's coordinates follow width and γ as they should, layer by layer.

    In float64, on the CPU, in seconds to a minute.

    Args:
        network: a name that an experiment knows, your own registered one too. depth: L; the smallest useful one if None.
        task, loss, optimizer, activation: as in :class:`richness.Experiment`.
        widths: N, at least two, ascending; exponents are fitted over them, and γ is checked at the first. Below 64, or close to
            each other, exponents scatter: what differs by less than their scatter is a warning, not a failure.
        seeds: over which sizes are averaged where the width changes; γ is checked with the first.

    Returns:
        Every exponent, expected and found; where one fails, an explanation. ``print`` shows a table.

    Raises:
        ValueError: widths or a network that cannot be.
    """
    if len(widths) < 2 or sorted(set(widths)) != list(widths):
        raise ValueError(f"expected at least two widths, ascending, got {list(widths)}")
    shared = {"network": network, "depth": depth or DEPTHS.get(network, 3), "task": task, "loss": loss}
    shared |= {"optimizer": optimizer, "activation": activation}
    by_sign = OPTIMIZERS[optimizer].by_sign if optimizer in OPTIMIZERS else False
    declared = _declared([_experiment(shared, width, 1.0, 1.0).architecture for width in widths], widths)
    rows = [_alone(_experiment(shared, widths[0], 1.0, 1.0), seeds[0])]
    sizes = [_sizes(shared, width, 1.0, SHARE, seeds) for width in widths]
    scatter = 1.0 if declared else _scatter(widths)  # a wrong multiplier is no chance
    powers = _exponents(widths, sizes)
    nothing = {what for what, found in powers.items() if math.isnan(found)}
    for what, found in powers.items():
        why = _WHY_NOTHING if math.isnan(found) else _why_width(what, found, declared)
        rows.append(_row("width", what, 0.0, found, WIDTH_TOLERANCE, why, scatter))
    for axis, gammas in (("lazy", LAZY), ("rich", RICH)):
        power = {"lazy": 2, "rich": 1}[axis] - by_sign
        sizes = [_sizes(shared, widths[0], gamma, SHARE * gamma**power, seeds[:1]) for gamma in gammas]
        for what, found in _exponents(gammas, sizes).items():
            if what.startswith("size"):
                continue
            moves_f = "moves f" in what or what == "f"
            expected = {"lazy": 0.0 if moves_f else 1.0, "rich": -1.0 if moves_f else 0.0}[axis]
            why = _WHY_NOTHING if what in nothing else _why_gamma(axis, found, expected)
            rows.append(_row(axis, what, expected, found, GAMMA_TOLERANCE, why))
    about = (
        f"{network} of depth {shared['depth']} on {task}, {loss}, {optimizer}: widths {', '.join(map(str, widths))}; "
    )
    return Coordinates(about + f"γ at N = {widths[0]}; {STEPS} steps, {len(seeds)} seeds", tuple(rows))


def _experiment(shared: dict[str, Any], width: int, gamma: float, eta: float) -> Experiment:
    fixed = {"batch_size": BATCH, "steps": STEPS, "dtype": "float64", "gammas": gamma, "etas": eta}
    return Experiment.model_validate(shared | fixed | {"width": width})


def _alone(experiment: Experiment, seed: int) -> Row:
    """Whether f̃ of a sample is the same beside one other as among many: batch norms take no lone sample."""
    trainer = Trainer(experiment, seed, [(1.0, 1.0)])
    x = trainer.task.probe(SAMPLES)[0].to(trainer.dtype)
    together, alone = (trainer.network.forward(trainer.start, inputs) for inputs in (x, x[:2]))
    found = float((together[:, :2] - alone).abs().max() / together.abs().max())
    why = (
        "what the network says of a sample depends on those beside it, as with batch normalisation or a random draw: f̃ at "
        "step 0 is then another on every batch, and subtracting it centres nothing; normalise each sample by itself"
    )
    passed = found < ALONE_TOLERANCE
    return Row("batch", "f̃ of a sample alone, against among others", 0.0, found, passed, "" if passed else why)


def _sizes(shared: dict[str, Any], width: int, gamma: float, eta: float, seeds: Sequence[int]) -> dict[str, float]:
    """Root mean squares after a few steps, the geometric mean over seeds: every hidden layer, its change, f, and how far each
    parameter's own update moves f."""
    found: dict[str, list[float]] = {}
    for seed in seeds:
        for what, value in _measured(_experiment(shared, width, gamma, eta), seed, gamma, eta).items():
            found.setdefault(what, []).append(value)
    with np.errstate(divide="ignore"):
        return {what: float(np.exp(np.mean(np.log(values)))) for what, values in found.items()}


def _measured(experiment: Experiment, seed: int, gamma: float, eta: float) -> dict[str, float]:
    trainer = Trainer(experiment, seed, [(gamma, eta)], engine="autograd")
    network, start = trainer.network, trainer.start
    for step in range(STEPS):
        trainer.update(step)
    now, x = trainer.stack.weights, trainer.task.probe(SAMPLES)[0].to(trainer.dtype)
    with torch.no_grad():
        found = {"f": _rms(trainer.outputs(trainer.stack, now, x))}
        if not isinstance(network, Network) or network.layers is not None:
            for k, (before, after) in enumerate(zip(network.hidden(start, x), network.hidden(now, x), strict=True)):
                found |= {f"size of hidden layer {k}": _rms(after), f"change of hidden layer {k}": _rms(after - before)}
        raw = network.forward(start, x)
        for k, name in enumerate(_names(network)):
            moved = network.forward([*start[:k], now[k], *start[k + 1 :]], x)
            found[f"how far {name} moves f"] = _rms(moved - raw) / gamma
    return found


def _rms(values: Tensor) -> float:
    return float(values.pow(2).mean().sqrt())


def _names(network: Architecture) -> list[str]:
    parameters = getattr(network, "parameters", None)
    return [p.name for p in parameters] if parameters else [f"weight{k}" for k in range(len(network.shapes))]


def _exponents(axis: Sequence[float], sizes: Sequence[dict[str, float]]) -> dict[str, float]:
    logs = np.log(np.array(axis, dtype=float))
    found = {}
    for what in sizes[0]:
        values = np.array([one[what] for one in sizes])
        moves = bool((np.isfinite(values) & (values > 0)).all())
        found[what] = float(np.polyfit(logs, np.log(values), 1)[0]) if moves else math.nan  # nothing moves: no exponent
    return found


def _row(axis: str, what: str, expected: float, found: float, tolerance: float, why: str, scatter: float = 1.0) -> Row:
    apart = abs(found - expected)
    return Row(axis, what, expected, found, apart <= scatter * tolerance, "" if apart <= tolerance else why)


def _scatter(widths: Sequence[int]) -> float:
    """How much more exponents scatter than over ``WIDTHS``: sizes do as 1/√N, and the axis may be shorter."""
    length = math.log(WIDTHS[-1] / WIDTHS[0]) / math.log(widths[-1] / widths[0])
    return max(1.0, math.sqrt(WIDTHS[0] / widths[0]) * max(1.0, length))


# What a failure means ------------------------------------------------------------------------------------------------


def _declared(networks: Sequence[Architecture], widths: Sequence[int]) -> dict[str, str]:
    """Parameters whose forward multiplier goes with another power of N than µP asks for, and what is wrong with it.

    It depends on what of a layer grows with N: a matrix between two such sides, N^(−1/2); a readout, whose fan_in alone grows,
    N^(−1); what starts from a side that does not grow, such as input weights, biases, gains and embeddings, N^0; a bias of the
    readout, of which nothing grows, N^(−1/2).
    """
    first, last = networks[0], networks[-1]
    ratio = math.log(widths[-1] / widths[0])
    wrong = {}
    for k, name in enumerate(_names(first)):
        power = math.log(last.scales[k] / first.scales[k]) / ratio
        summed = last.fans[k] > first.fans[k]
        growing = sum(b > a for a, b in zip(first.shapes[k], last.shapes[k], strict=True))
        kind, needed = {
            (True, True): ("a layer between two that grow with N", -0.5),
            (True, False): ("a readout, whose fan_in alone grows with N,", -1.0),
            (False, True): ("a parameter whose fan_in does not grow with N", 0.0),
            (False, False): ("a bias of the readout", -0.5),
        }[summed, growing > summed]
        if abs(power - needed) > 0.02:
            wrong[name] = f"its forward multiplier goes as N^{power:+.2f}, and {kind} needs N^{needed:+.2f}"
    return wrong


_WHY_NOTHING = (
    "found that it is 0 or not finite at every width. A parameter that moves f by nothing is one that nothing uses, or that a "
    "norm takes away, as a batch norm does the bias of the layer before it: give that layer bias=False"
)


def _why_width(what: str, found: float, declared: dict[str, str]) -> str:
    grows = "grows with the width: at large N one η no longer serves, the largest stable one falls"
    falls = "falls with the width: at large N it no longer learns at this η"
    said = f"expected N^0, found {_found('N', found)}: it {grows if found > 0 else falls}"
    name = what.removeprefix("how far ").removesuffix(" moves f")
    if name in declared:
        return f"{said}; {declared[name]}"
    if declared:
        others = "; ".join(f"{other}: {reason}" for other, reason in list(declared.items())[:2])
        return f"{said}; look first at {others}"
    return f"{said}; every forward multiplier goes with N as µP has it: look at what `apply` does beside them"


def _found(symbol: str, power: float) -> str:
    return "that it is 0 or not finite" if math.isnan(power) else f"{symbol}^{power:+.2f}"


def _why_gamma(axis: str, found: float, expected: float) -> str:
    said = f"expected γ^{expected:+.0f}, found {_found('γ', found)}"
    if axis == "lazy":
        return (
            f"{said}: what is divided by γ is not the weights' doing alone. f̃ − f̃₀ is as small as γ: rounding (a part of "
            "the network in float32, TF32 or bfloat16) swallows it, or is blown up by 1/γ, as a random draw would be"
        )
    return (
        f"{said}: gradients should fall as 1/γ and the step grow as γ, so that the first steps are the same at every large γ; "
        "a constant that does not scale with γ, such as an optimiser's ε or a clipped gradient, stands against them"
    )
