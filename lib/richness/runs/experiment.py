"""The description of a sweep: validated, frozen, hashed. Everything a result depends on stands here, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, field_validator, model_validator

from richness.data import TASKS, Task
from richness.networks import ACTIVATIONS, LOSSES, NETWORKS, OPTIMIZERS, SCHEDULES, Architecture, Network, build
from richness.networks.parameterization import natural_eta, reach, readout_scale
from richness.registry import Registry
from richness.runs.description import Description, Grid, Positive, Seeds, as_tuple, log_steps, no_twins
from richness.runs.probes import PROBES

#: Readers' own training loops, functions (γ, η, seed) → losses: see `richness.runs.loops`.
LOOPS: Registry[Callable[[float, float, int], Iterable[float]]] = Registry("loop", {})

#: What a description names, and a reader may add to: kind → table.
REGISTRIES: dict[str, Registry] = {
    "network": NETWORKS, "activation": ACTIVATIONS, "task": TASKS, "loss": LOSSES, "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES, "probe": PROBES, "loop": LOOPS,
}  # fmt: skip
LATE_SHARE = 0.1  # late_loss is the mean over every step of the last tenth
PEAK_STEPS = 60  # peak_loss is the maximum over every one of the first sixty steps


class Experiment(Description):
    """A plane of networks to train: every γ × η × seed of one architecture on one endless stream.

    Grids may be numbers, ``"start:stop:points"`` (log-spaced), or both, ``"0.1 1:100:5"``; they are kept in ascending order.
    """

    title = "Online SGD across feature learning strength"

    network: str = Field("mlp", description="architecture")
    depth: int = Field(3, ge=2, le=64, description="L, the number of weight layers: hidden layers and readout")
    width: int = Field(64, ge=1, le=65536, description="N, units a hidden layer")
    activation: str = Field("relu", description="non-linearity between layers")
    loss: str = Field("mse", description="mse (mean over batch and outputs, no ½) or cross_entropy (nats)")
    task: str = Field("digits8", description="the stream of samples")
    optimizer: str = Field(
        "sgd", description="sgd, momentum, signsgd or adam; sgd moves raw weights by lr_raw = width·η"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="β of momentum, β₁ of adam; the others have none")
    schedule: str = Field(
        "constant", description="of the step size: constant, or linear or cosine to 0 at the last step"
    )
    warmup: int = Field(0, ge=0, description="updates over which the step size first rises linearly")
    batch_size: int = Field(64, ge=1, le=65536, description="fresh samples a step")
    steps: int = Field(1000, ge=1, le=10_000_000, description="T, updates")
    gammas: Grid = Field(description="richness γ: the centred output is divided by it")
    etas: Grid = Field(description="step sizes η")
    seeds: Seeds = Field((0,), description="each seeds both the initial weights and the stream")
    probes: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = Field(
        ("loss",), description="what to record: " + ", ".join(("loss", *PROBES))
    )
    dtype: Literal["auto", "float32", "float64"] = Field(
        "auto", description="auto: float64 where γ < 1e-3, else float32"
    )
    device: str = Field("cpu", description="cpu, cuda or cuda:0")
    band: tuple[Positive, Positive] | None = Field(
        None,
        description="run only cells with low ≤ η/natural η ≤ high, times 1 + 1/γ under cross_entropy; the others are not_run",
    )
    budgets: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(as_tuple)] = Field(
        (), description="shorter step counts at which the late loss is taken too"
    )
    record_points: int = Field(40, ge=2, le=100_000, description="log-spaced steps at which the loss is kept")
    probe_points: int | None = Field(
        None, ge=2, description="steps at which the other probes are taken; default all kept"
    )
    probe_samples: int = Field(1024, ge=1, le=1_000_000, description="fixed samples on which curvature is measured")

    @field_validator("gammas", "etas")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(no_twins(values)))

    @field_validator("seeds", "probes", "budgets")
    @classmethod
    def _no_twins(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return no_twins(values)

    @model_validator(mode="after")
    def _names(self) -> Experiment:
        for kind, name in self._named():
            REGISTRIES[kind].known(name)
        if self.warmup > self.steps:
            raise ValueError(f"warmup must not exceed steps = {self.steps}, got {self.warmup}")
        if LOSSES[self.loss].classes and not self.source.classification:
            raise ValueError(f"{self.loss} needs classes, and task {self.task!r} has real targets: use loss 'mse'")
        network = self.architecture  # raises where it does not fit the task
        for probe in self.probes:
            if probe != "loss":
                self._measurable(probe, network)
        if not self.device.startswith(("cpu", "cuda", "mps")):
            raise ValueError(f"unknown device {self.device!r}: use cpu, cuda or cuda:N")
        if self.band is not None and self.band[0] >= self.band[1]:
            raise ValueError(f"band is (low, high) with low < high, got {self.band}")
        late = [b for b in self.budgets if b > self.steps]
        if late:
            raise ValueError(f"budgets must not exceed steps = {self.steps}, got {late}")
        if not any(self._band_meets_etas(gamma) for gamma in self.gammas):
            raise ValueError(self.explain_empty_band())
        return self

    def explain_empty_band(self) -> str:
        """What to do where the band leaves out every η of the grid."""
        low, high = (float(share * self.natural_eta(self.gammas[0])) for share in self.band or (0, math.inf))
        return (
            f"no cell of the grid lies in the band {self.band}, in units of the natural η: at γ = {self.gammas[0]:g} it is η "
            f"from {low:.3g} to {high * reach(self.gammas[0], self.loss):.3g}, and etas go from {self.etas[0]:.3g} to "
            f"{self.etas[-1]:.3g}. Move the etas, widen the band, or give band=None, which runs all"
        )

    def _band_meets_etas(self, gamma: float) -> bool:
        """Whether the band reaches between the smallest and the largest η, where a search may find η of its own."""
        if self.band is None:
            return True
        low, high = (share * self.natural_eta(gamma) for share in self.band)
        return low <= self.etas[-1] and self.etas[0] <= high * reach(gamma, self.loss)

    def _measurable(self, probe: str, network: Architecture) -> None:
        """Whether the task and the network have what a probe needs."""
        needs = PROBES[probe].needs
        if "classes" in needs and not self.source.classification:
            raise ValueError(f"{probe} needs classes, and task {self.task!r} has real targets: leave that probe out")
        if "alone" in needs and isinstance(network, Network) and network.by_batch:
            raise ValueError(
                f"{probe} is of samples one by one, and {self.network!r} has batch norms, by which what it says of one depends "
                "on those beside it: leave that probe out, or use layer or group norms"
            )
        if "hidden" in needs and isinstance(network, Network) and network.layers is None:
            raise ValueError(
                f"{probe} needs a network that shows its hidden layers, and {self.network!r} does not: give "
                "Network(layers=...), or leave that probe out"
            )

    # What follows from the fields.

    @property
    def source(self) -> Task:
        return TASKS[self.task]

    @property
    def architecture(self) -> Architecture:
        source = self.source
        return build(self.network, source.inputs, source.outputs, self.width, self.depth, self.activation)

    @property
    def kept_probes(self) -> tuple[str, ...]:
        """The probes besides the loss, which is always recorded."""
        return tuple(p for p in self.probes if p != "loss")

    @property
    def registered(self) -> dict[str, str]:
        """What of it a reader has registered: ``"network mine"`` and so on -> fingerprint."""
        prints = {f"{kind} {name}": REGISTRIES[kind].fingerprint(name) for kind, name in self._named()}
        return {key: value for key, value in prints.items() if value is not None}

    def _named(self) -> list[tuple[str, str]]:
        """(kind, name) of everything it names that stands in a registry."""
        fields = [(kind, getattr(self, kind)) for kind in REGISTRIES if kind in type(self).model_fields]
        return fields + [("probe", probe) for probe in self.kept_probes]

    def natural_eta(self, gamma: Any) -> Any:
        """The natural scale of η for this network and optimiser; its L is the network's degree, which norms make smaller."""
        return natural_eta(gamma, self.architecture.degree, self.optimizer)

    def in_band(self, gamma: float, eta: float) -> bool:
        """Whether that cell is run."""
        if self.band is None:
            return True
        share = eta / self.natural_eta(gamma)
        return self.band[0] <= share <= self.band[1] * reach(gamma, self.loss)

    def cells(self) -> list[tuple[int, int]]:
        """(γ index, η index) of every cell that is run, the same for each seed."""
        return [(i, j) for i, g in enumerate(self.gammas) for j, e in enumerate(self.etas) if self.in_band(g, e)]

    def lr_raw(self, eta: Any) -> Any:
        """The step in the raw weights at η, before any schedule: N·η for SGD and momentum, which move every layer alike; for
        sign steps and Adam the readout's, η, to which the other layers' are η/√fan_in."""
        return eta * OPTIMIZERS[self.optimizer].factor(self.width, readout_scale(self.width), self.width)

    @property
    def recorded_steps(self) -> list[int]:
        """Log-spaced steps at which the loss is kept: 0 and ``steps`` always among them."""
        return log_steps(self.steps, self.record_points)

    @property
    def probed_steps(self) -> list[int]:
        """The recorded steps at which the other probes are taken."""
        if self.probe_points is None:
            return self.recorded_steps
        recorded = np.array(self.recorded_steps)
        wanted = log_steps(self.steps, self.probe_points)
        return sorted({int(recorded[np.abs(recorded - w).argmin()]) for w in wanted})

    @property
    def all_budgets(self) -> tuple[int, ...]:
        """The budgets with ``steps`` itself, ascending."""
        return tuple(sorted({*self.budgets, self.steps}))


def degree(recipe: Mapping[str, Any]) -> int:
    """The L with which theory is to be compared, of a result's recipe: its network's degree, smaller than its depth where norms
    undo the size of some weights.

    The depth, where the network or the task is one that was registered elsewhere.
    """
    if recipe.get("network", "mlp") not in NETWORKS or recipe.get("task", "digits8") not in TASKS:
        return int(recipe["depth"])
    described = {key: recipe[key] for key in ("network", "depth", "width", "activation", "task") if key in recipe}
    return Experiment.model_validate(described | {"gammas": 1.0, "etas": 1.0}).architecture.degree


def late_window(budget: int) -> slice:
    """The steps of the last tenth of a run of ``budget`` updates, which ends with the loss after the last of them."""
    return slice(budget + 1 - max(1, math.ceil(LATE_SHARE * budget)), budget + 1)
