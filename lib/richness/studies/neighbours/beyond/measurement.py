"""Homogeneous perceptrons trained by minibatches, every step taken apart into its power series; γ is 1, nothing is centred."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
import xarray as xr
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from torch import Tensor

from richness import measure
from richness.data import TASKS
from richness.measure.features import RANKS
from richness.networks import LOSSES, homogeneous
from richness.runs.description import Measurement, as_tuple, canonical, log_steps, no_twins
from richness.runs.results import narrow_to_float32, round_mantissa

ORDERS = 3  # coefficients of the loss along a step that are kept, after the loss itself
PROBED = 256  # samples of the fixed probe set on which curvature is measured
SHARPNESS_TOLERANCE = 1e-2
LOOKED = dict.fromkeys(("test_loss", "accuracy", "sharpness"), ("moment", "eta")) | {
    "rank": ("moment", "eta", "kind"),
    "along": ("taken", "eta", "fraction"),
    "frozen": ("taken", "eta", "fraction"),
    "taken_series": ("taken", "eta", "order"),
    "miss": ("taken", "eta"),
    "turned": ("taken", "eta"),
}  # the axes of what is measured closely
SMALL_STEP = 1e-4  # of a step, where the cubic is compared with the loss: in so little few gates turn


class Case(BaseModel):
    """One kind of network and of steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    power: float = Field(2.0, description="r of the widths m·k^r")
    scaled: bool = Field(False, description="whether each layer's gradient is multiplied by its balance ξ")
    linear: float = Field(0.0, ge=0, le=1, description="a of the activation a·s + √(1 − a²)·|s|")
    loss: Literal["mse", "cross_entropy"] = "cross_entropy"


class NetworkStack(NamedTuple):
    """A stack of networks of one case, one a step size, with what went before.

    ``rows`` are the places of those that are left among the step sizes, ``weights`` theirs. ``losses`` (etas, steps) stand
    before each step and ``after`` on the same batch after it, NaN where a network is gone; ``series`` (etas, steps, 3) are
    c₁, c₂, c₃ of the loss along the step.
    """

    rows: Tensor
    weights: list[Tensor]
    losses: np.ndarray
    after: np.ndarray
    series: np.ndarray


class PlannedStep(NamedTuple):
    """One minibatch's step, not yet taken: the moves V of all weights, and the coefficients of the loss along W + tV."""

    moves: list[Tensor]
    coefficients: Tensor


class BeyondTheEdge(Measurement):
    """Minibatch training of homogeneous perceptrons over step sizes, with the series of the loss along every step."""

    title = "Steps beyond the edge of stability"

    cases: Annotated[tuple[Case, ...], BeforeValidator(as_tuple), Field(min_length=1)] = Field(
        description="networks and kinds of steps"
    )
    etas: Annotated[tuple[float, ...], BeforeValidator(as_tuple), Field(min_length=1)] = Field(
        description="step sizes η: W ← W − η·ξ·∂loss/∂W"
    )
    task: Literal["digits8"] = "digits8"
    depth: int = Field(6, ge=2, le=64, description="L, weight layers")
    weights: int = Field(60_000, ge=100, description="of a network, about, whatever its pattern of widths")
    batch_size: int = Field(64, ge=1)
    steps: int = Field(300, ge=1)
    record_points: int = Field(60, ge=2, description="log-spaced steps that are kept")
    probed: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = Field(
        (), description="steps before which curvature, ranks and held-out loss are measured, besides the end"
    )
    fractions: int = Field(0, ge=0, description="points along each probed step at which the loss is computed")

    @field_validator("etas")
    @classmethod
    def _steps_downhill(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not all(np.isfinite(values)) or min(values) <= 0:
            raise ValueError(f"step sizes are positive numbers, got {values}")
        return tuple(sorted(no_twins(canonical(values))))

    @property
    def kept_steps(self) -> list[int]:
        """Steps whose loss and series are kept."""
        return log_steps(self.steps - 1, self.record_points)

    @property
    def probed_steps(self) -> list[int]:
        """Steps before which networks are looked at closely; the last is the end of training."""
        return sorted({step for step in self.probed if step < self.steps} | {self.steps})

    def widths(self, case: Case) -> list[int]:
        """Units of the hidden layers."""
        task = TASKS[self.task]
        return homogeneous.widths(case.power, self.depth - 1, task.inputs, task.outputs, self.weights)

    def measure(self, seed: int) -> xr.Dataset:
        """One seed.

        Returns:
            ``batch_loss`` (case, eta, step): of the minibatch, before its step. ``batch_loss_after``: of the same, after it.
            ``series`` (case, eta, step, order): c₁, c₂, c₃ of the minibatch's loss along the step, at float64 exact while no
            gate turns. ``peak`` (case, eta): the largest minibatch loss over the first; infinite where it was not finite.
            ``beyond``: the share of all steps with c₂ > |c₁|; ``beyond_fell``: of these, with a loss that fell on the batch.
            ``late_overshoot``: median of c₂/|c₁| over the second half of the steps; ``late_ratio``: Σc₂/Σ|c₁| over them, in
            which steps count by the square of their gradient.
            ``test_loss``, ``accuracy`` (case, eta, moment): held-out. ``sharpness``: λ_max of the loss on the fixed probe set.
            ``rank`` (…, kind): of the last hidden layer on it, centred. ``width`` (case, layer).
            With ``fractions``, of every probed step but the end: ``along`` (case, eta, taken, fraction), the loss on the way,
            ``frozen``, the same with the gates as they were; ``taken_series`` (…, order), c₁, c₂, c₃ there; ``miss``, the
            relative distance of loss and cubic at ``SMALL_STEP`` of the step, NaN where a gate turns before; ``turned``,
            the share of gates that the whole step turns.
        """
        measured = [self._measure_case(case, seed) for case in self.cases]
        own = {name: ("case", [getattr(case, name) for case in self.cases]) for name in Case.model_fields}
        axes = {"eta": list(self.etas), "step": self.kept_steps, "order": [1, 2, 3], "moment": self.probed_steps}
        axes |= {"kind": list(RANKS), "layer": list(range(1, self.depth))}
        if self.fractions:
            axes |= {"fraction": np.linspace(0, 1.5, self.fractions).tolist(), "taken": self.probed_steps[:-1]}
        data = {
            name: (("case", *dims), np.stack([one[name][1] for one in measured]))
            for name, (dims, _) in measured[0].items()
        }
        return xr.Dataset(data, own | axes)

    def _measure_case(self, case: Case, seed: int) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        many, shape = len(self.etas), (len(self.etas), self.steps)
        task, hidden = TASKS[self.task], self.widths(case)
        start = homogeneous.initialise(seed, task.inputs, hidden, task.outputs)
        weights = [w.to(self.device, self.torch_dtype).repeat(many, 1, 1) for w in start]
        blank = (np.full(shape, np.nan), np.full(shape, np.nan), np.full((*shape, ORDERS), np.nan))
        now = NetworkStack(torch.arange(many), weights, *blank)
        close: dict[str, list[np.ndarray]] = {}
        for step in range(self.steps):
            x, y = self._convert(*task.batch(seed, step, self.batch_size, self.device))
            loss = self._loss_of(case, y)
            taken = self._plan_step(case, now, x, loss)
            if step in self.probed_steps:
                self._look(case, now, close, (x, loss, taken))
            now = self._take_step(case, now, step, x, loss, taken)
        self._look(case, now, close, None)
        looked = {name: (LOOKED[name], narrow_to_float32(np.stack(values))) for name, values in close.items()}
        kept = self.kept_steps
        curves = {
            "batch_loss": (("eta", "step"), round_mantissa(now.losses[:, kept])),
            "batch_loss_after": (("eta", "step"), round_mantissa(now.after[:, kept])),
            "series": (("eta", "step", "order"), round_mantissa(now.series[:, kept])),
        }
        whole = {name: (("eta",), narrow_to_float32(values)) for name, values in _summarise(now).items()}
        return looked | curves | whole | {"width": (("layer",), np.array(hidden, np.int32))}

    def _convert(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x.to(self.device, self.torch_dtype), y.to(self.device)

    @staticmethod
    def _loss_of(case: Case, y: Tensor) -> Callable[[Tensor], Tensor]:
        """Of outputs with samples along the last axis, (cells, K, batch)."""
        return lambda f: LOSSES[case.loss](f.mT, y)

    def _plan_step(self, case: Case, now: NetworkStack, x: Tensor, loss: Callable[[Tensor], Tensor]) -> PlannedStep:
        done = homogeneous.forward(now.weights, x, case.linear)
        f = done.outputs.detach().requires_grad_()
        (residual,) = torch.autograd.grad(loss(f).sum(), f)
        deltas = homogeneous.backward(now.weights, done, residual)
        sizes = torch.tensor(self.etas, dtype=x.dtype, device=x.device)[now.rows.to(x.device)]
        factors = homogeneous.balance(done, deltas) if case.scaled else [torch.ones_like(sizes)] * self.depth
        gradients = homogeneous.gradients(done, deltas)
        moves = [-(sizes * xi)[:, None, None] * g for xi, g in zip(factors, gradients, strict=True)]
        series = homogeneous.expansion(now.weights, moves, done, ORDERS)
        return PlannedStep(moves, measure.taylor(series, loss, ORDERS))

    def _take_step(
        self, case: Case, now: NetworkStack, step: int, x: Tensor, loss: Callable[[Tensor], Tensor], taken: PlannedStep
    ) -> NetworkStack:
        """The step taken and written down; networks whose loss is no number any more are left behind."""
        weights = [w + v for w, v in zip(now.weights, taken.moves, strict=True)]
        after = loss(homogeneous.forward(weights, x, case.linear).outputs)
        rows = now.rows.numpy()
        now.losses[rows, step] = taken.coefficients[:, 0].cpu().numpy()
        now.after[rows, step] = after.cpu().numpy()
        now.series[rows, step] = taken.coefficients[:, 1:].cpu().numpy()
        left = torch.isfinite(after).cpu()
        if left.all():
            return now._replace(weights=weights)
        return now._replace(rows=now.rows[left], weights=[w[left.to(w.device)] for w in weights])

    def _look(
        self,
        case: Case,
        now: NetworkStack,
        close: dict[str, list[np.ndarray]],
        ahead: tuple[Tensor, Callable[[Tensor], Tensor], PlannedStep] | None,
    ) -> None:
        """Append what is measured closely of all networks, NaN for those that are gone; ``ahead``: the step to look along."""
        task = TASKS[self.task]
        x, y = self._convert(*task.probe(PROBED, self.device))
        held_x, held_y = self._convert(*task.test(self.device))
        probe = self._loss_of(case, y)
        done = homogeneous.forward(now.weights, x, case.linear)
        f = homogeneous.forward(now.weights, held_x, case.linear).outputs
        features = done.inputs[-1]
        values = {
            "test_loss": self._loss_of(case, held_y)(f),
            "accuracy": (f.argmax(dim=1) == held_y).to(f.dtype).mean(dim=1),
            "sharpness": measure.sharpness(
                lambda w: probe(homogeneous.forward(w, x, case.linear).outputs), now.weights, SHARPNESS_TOLERANCE
            ),
            "rank": torch.stack([measure.feature_rank(features, kind) for kind in RANKS], dim=1),
        }
        if ahead and self.fractions:
            values |= self._look_along(case, now, *ahead)
        for name, value in values.items():
            whole = np.full((len(self.etas), *value.shape[1:]), np.nan)
            whole[now.rows.numpy()] = value.cpu().numpy()
            close.setdefault(name, []).append(whole)

    def _look_along(
        self, case: Case, now: NetworkStack, x: Tensor, loss: Callable[[Tensor], Tensor], taken: PlannedStep
    ) -> dict[str, Tensor]:
        gates = homogeneous.forward(now.weights, x, case.linear).gates

        def at(share: float, fixed: list[Tensor] | None = None) -> homogeneous.Pass:
            moved = [w + share * v for w, v in zip(now.weights, taken.moves, strict=True)]
            return homogeneous.forward(moved, x, case.linear, fixed)

        def turned(there: homogeneous.Pass) -> Tensor:
            """The share of gates, over units and samples, that are not as they were, (cells,)."""
            differ = torch.cat([a != b for a, b in zip(there.gates, gates, strict=True)], dim=1)
            return differ.to(x.dtype).mean(dim=(1, 2))

        shares = np.linspace(0, 1.5, self.fractions).tolist()
        powers = torch.tensor([SMALL_STEP**p for p in range(ORDERS + 1)], dtype=x.dtype, device=x.device)
        near = at(SMALL_STEP)
        miss = ((taken.coefficients @ powers - loss(near.outputs)) / taken.coefficients[:, 0]).abs()
        return {
            "along": torch.stack([loss(at(share).outputs) for share in shares], dim=1),
            "frozen": torch.stack([loss(at(share, gates).outputs) for share in shares], dim=1),
            "taken_series": taken.coefficients[:, 1:],
            "miss": torch.where(turned(near) == 0, miss, torch.nan),
            "turned": turned(at(1.0)),
        }


def _summarise(run: NetworkStack) -> dict[str, np.ndarray]:
    """What is said of a whole run in one number a step size, (etas,); see `BeyondTheEdge.measure`."""
    beyond, half = run.series[..., 1] > np.abs(run.series[..., 0]), run.series[:, run.series.shape[1] // 2 :]
    gone = (~np.isfinite(run.losses) | ~np.isfinite(run.after)).any(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        known = {
            "beyond": beyond.mean(1),
            "beyond_fell": (beyond & (run.after < run.losses)).sum(1) / beyond.sum(1),
            "late_overshoot": np.median(measure.overshoot(half), axis=1),
            "late_ratio": half[..., 1].sum(1) / np.abs(half[..., 0]).sum(1),
        }
        peak = np.fmax(run.losses, run.after).max(1) / run.losses[:, 0]
    return {
        "peak": np.where(gone, np.inf, peak),
        **{key: np.where(gone, np.nan, value) for key, value in known.items()},
    }
