"""Networks of many widths and depths, each in several parameterisations: gradient descent on one fixed set of samples.

A *scaling* says, for each width N, which γ and which η stand for one base step η₀ (:data:`SCALINGS`). All of them train one
architecture; :data:`ARCHITECTURES` are others, in two of the scalings. Full batches, so that the loss that is trained is the
loss whose curvature is measured. Names carry the width of the scales laptop and paper; at smoke scale it is an eighth of that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from richness.runs.description import canonical
from richness.runs.experiment import Experiment

WIDTHS = (16, 32, 64, 128, 256)
BASE_WIDTH = 64  # where the standard parameterisation's step is the others' (it is also the number of inputs)


@dataclass(frozen=True)
class Scaling:
    """What becomes of a base step η₀ at width N.

    Attributes:
        words: its name on a page. network: a key of ``NETWORKS``.
        gamma: N to γ. eta: η₀ and N to η; the raw step is lr_raw = N·η.
        etas: the base steps that are run.
    """

    words: str
    network: str
    gamma: Callable[[int], float]
    eta: Callable[[float, int], float]
    etas: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0, 24.0, 48.0, 96.0)


_DOUBLING = (3.0, 6.0, 12.0, 24.0, 48.0, 96.0, 192.0, 384.0)
SCALINGS = {
    "mup": Scaling("µP", "mlp", lambda n: 1.0, lambda eta, n: eta),
    "ntk": Scaling("NTK", "mlp", lambda n: n**-0.5, lambda eta, n: eta / n, _DOUBLING),
    "standard": Scaling("standard", "standard", lambda n: 1.0, lambda eta, n: eta / (BASE_WIDTH * n), _DOUBLING),
}

#: The base step at which spectra are followed, below the one where the first steps overshoot; and that of the γ–N plane.
SPECTRA_ETA, PLANE_ETA = 6.0, 3.0

#: γ of the plane: powers of √2, so that every width's N^(−1/2) is one of them. (γ = 1 is µP's own recipe.)
PLANE_GAMMAS = canonical(2 ** (-k / 2) for k in range(1, 10))

#: Networks with residual branches → the depths L that are run; 1 to 16 blocks.
RESIDUAL = {"residual": (3, 4, 6, 10, 18), "residual_two": (4, 6, 10, 18), "residual_unscaled": (3, 4, 6, 10)}
RESIDUAL_ETAS = (0.75, 1.5, 3.0, 6.0, 12.0, 24.0)


@dataclass(frozen=True)
class Contrast:
    """An architecture at many widths, in µP and in NTK parameterisation at one base step.

    Attributes:
        words: its name on a page. task, loss: what it is trained on. widths: N. eta: the base step η₀.
    """

    words: str
    task: str
    loss: str
    widths: tuple[int, ...]
    eta: float


#: A key of ``NETWORKS`` → how it is run. All are of depth 6: two residual blocks, or one block of attention and MLP. The base
#: steps come to the line of stability in µP within the run: chosen on one seed, none of those here, at the two smallest widths.
ARCHITECTURES = {
    "resnet": Contrast("ResNet", "digits8_fixed", "mse", (8, 16, 32, 64), 0.6),
    "vit": Contrast("ViT", "digits8_fixed", "mse", (16, 32, 64, 128), 1.0),
    "transformer": Contrast("transformer", "text_fixed", "cross_entropy", (16, 32, 64, 128), 0.15),
}


def _sized(scale: str, **laptop: Any) -> dict[str, Any]:
    """What every recipe here shares; ``laptop`` are fields of its own at that scale and above."""
    shared: dict[str, Any] = {"task": "digits8_fixed", "loss": "mse", "record_points": 24}
    if scale == "smoke":
        shared |= {"batch_size": 32, "probe_samples": 32, "steps": 4, "seeds": (0, 1)}
        return shared | {"record_points": 3, "probe_points": 2}
    samples, seeds = {"laptop": (256, 8), "paper": (4096, 3)}[scale]
    shared |= {"batch_size": samples, "probe_samples": samples, "steps": 400, "seeds": range(seeds), "probe_points": 14}
    return shared | laptop | ({"steps": 4000, "device": "cuda"} if scale == "paper" else {})


def _width(scale: str, width: int) -> int:
    return width // 8 if scale == "smoke" else width


def describe_scaling(scale: str, scaling: str, width: int, spectra: bool = False) -> Experiment:
    """One parameterisation at one width, over base steps η₀; or its spectra at one of them."""
    how, width = SCALINGS[scaling], _width(scale, width)
    etas = (SPECTRA_ETA,) if spectra else how.etas
    own: dict[str, Any] = {"probe_points": 9} if spectra else {}
    return Experiment(
        network=how.network, width=width, gammas=canonical([how.gamma(width)]),
        etas=canonical(how.eta(eta, width) for eta in etas),
        probes=("loss", "spectra") if spectra else ("loss", "sharpness"), **_sized(scale, **own),
    )  # fmt: skip


def describe_plane(scale: str, width: int) -> Experiment:
    """One width at many γ, each with η = η₀γ²: the sharpness before and after."""
    own = {"probe_points": 2}
    return Experiment(
        width=_width(scale, width), gammas=PLANE_GAMMAS, etas=canonical(PLANE_ETA * g**2 for g in PLANE_GAMMAS),
        # η₀γ² over natural η is η₀(1 + γ)^(4/3), 1.06 to 2.04 η₀ here; its neighbours on the axis are half and twice that.
        band=(1.03 * PLANE_ETA, 2.06 * PLANE_ETA), probes=("loss", "sharpness"), **(_sized(scale) | own),
    )  # fmt: skip


def describe_random_features(scale: str) -> Experiment:
    """Only the readout is trained: the loss is quadratic. float64, so that it can be seen to be."""
    return Experiment(
        network="random_features", width=_width(scale, 32), gammas=1.0, etas=(3.0, 12.0), dtype="float64",
        probes=("loss", "spectra"), **_sized(scale, probe_points=4),
    )  # fmt: skip


def describe_residual(scale: str, network: str, depth: int) -> Experiment:
    """Residual branches at one depth, over base steps η₀."""
    return Experiment(
        network=network, depth=depth, width=_width(scale, 64), gammas=1.0, etas=RESIDUAL_ETAS, probes=("loss", "sharpness"),
        **_sized(scale, steps=200, probe_points=10),
    )  # fmt: skip


def describe_architecture(scale: str, network: str, width: int) -> Experiment:
    """One architecture at one width, in both parameterisations: the two cells (γ, η) that stand for its base step.

    Trained side by side, since a network alone would be given a twin. At smoke scale the width is half of what the name says.
    """
    how, width = ARCHITECTURES[network], width // 2 if scale == "smoke" else width
    scalings = [SCALINGS["ntk"], SCALINGS["mup"]]
    own: dict[str, Any] = {"steps": 120, "probe_points": 8, "seeds": range(4)}
    if scale == "laptop":
        own |= {"batch_size": 128, "probe_samples": 128}
    return Experiment(
        network=network, depth=6, width=width, gammas=canonical(one.gamma(width) for one in scalings),
        etas=canonical(one.eta(how.eta, width) for one in scalings),
        # η over natural η, γ²/(1 + γ) where L is 2 in effect: 2 η₀ in µP, 1 to 1.4 η₀ in NTK; in the other two cells at most
        # η₀/4, or beyond the reach of either loss.
        band=(0.9 * how.eta, 2.1 * how.eta), probes=("loss", "sharpness"),
        **(_sized(scale, **own) | {"task": how.task, "loss": how.loss}),
    )  # fmt: skip


def scaling_name(scaling: str, width: int, spectra: bool = False) -> str:
    return f"consistency_{'spectra_' * spectra}{scaling}_{width}"


def plane_name(width: int) -> str:
    return f"consistency_plane_{width}"


def residual_name(network: str, depth: int) -> str:
    return f"consistency_{network}_{depth}"


def architecture_name(network: str, width: int) -> str:
    return f"consistency_{network}_{width}"


RANDOM_FEATURES = "consistency_random_features"

RECIPES: dict[str, Callable[[str], Experiment]] = {
    **{scaling_name(s, n): partial(describe_scaling, scaling=s, width=n) for s in SCALINGS for n in WIDTHS},
    **{
        scaling_name(s, n, True): partial(describe_scaling, scaling=s, width=n, spectra=True)
        for s in ("mup", "ntk")
        for n in WIDTHS
    },
    **{plane_name(n): partial(describe_plane, width=n) for n in WIDTHS},
    RANDOM_FEATURES: describe_random_features,
    **{
        residual_name(r, L): partial(describe_residual, network=r, depth=L)
        for r, depths in RESIDUAL.items()
        for L in depths
    },
    **{
        architecture_name(a, n): partial(describe_architecture, network=a, width=n)
        for a, how in ARCHITECTURES.items()
        for n in how.widths
    },
}
