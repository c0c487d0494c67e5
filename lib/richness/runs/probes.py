"""What is measured of networks in training, at log-spaced steps: one table, name -> :class:`Probe`.

A probe is a function of a :class:`Snapshot`, a few networks of one seed at one moment, and answers with one value, or one
row of values, for each. The measurements themselves are in :mod:`richness.measure`; here stands on what they are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from richness import kernel as compiled
from richness import measure
from richness.data import Task
from richness.data.streams import TEST_SAMPLES, UNSEEN_SAMPLES
from richness.networks import LOSSES, MLP, Architecture, at_start
from richness.networks.losses import one_hot
from richness.networks.parameterization import centre_output
from richness.registry import Registry

LARGEST = 10  # singular values that are kept
EIGENVALUES = 64  # of the Hessian's largest that are kept: rich networks have dozens that stand out
LEADING = 12  # eigenvalues of Hessian, Gauss–Newton matrix and kernel that are compared side by side: more than classes
SPECTRA_TOLERANCE = 1e-3  # relative to the largest
DENSITY_STEPS, DENSITY_DIRECTIONS = 60, 4  # of stochastic Lanczos
DENSITY_EDGES = measure.symmetric_log_edges(1e-5, 10.0, 8)  # of the bins of the Hessian's density, in units of λ_max
KERNEL_SAMPLES = 256  # of the probe set, on which kernels and features are measured: they cost its square
COMPARED_SAMPLES = 128  # held-out ones on which a result keeps f, so that networks can be compared
GRAM_SAMPLES = 64  # and of these, on which it keeps every layer's Gram matrix: its size grows as their square
OUTPUT_BITS, GRAM_BITS = (
    8,
    5,
)  # of mantissa that these keep: relative rounding 1/512 and 1/64, which move no R² or CKA by 1e-3
SHARPEST = "sharpest"  # the name under which the sharpness leaves its eigenvector
KERNEL_BYTES = 2**28  # of derivatives held at once for the kernel of a network that has no factors


@dataclass(frozen=True)
class Setting:
    """What all snapshots of one training share; everything derived is computed when it is first asked for.

    Attributes:
        network, task: as in the experiment. loss: a key of ``LOSSES``.
        start: weights at step 0, each (1, ...). samples: of the fixed probe set. device, dtype: of the networks.
    """

    network: Architecture
    task: Task
    loss: str
    start: list[Tensor]
    samples: int
    device: str
    dtype: torch.dtype

    @cached_property
    def probe_set(self) -> tuple[Tensor, Tensor]:
        """Fresh samples that no training batch holds, the same for every cell and seed: inputs (P, D), labels or targets."""
        x, y = self.task.probe(self.samples, self.device)
        return x.to(self.dtype), y

    @cached_property
    def test_set(self) -> tuple[Tensor, Tensor]:
        """Samples that no training batch holds: inputs (M, D), and their labels (M,) or targets (M, K)."""
        x, y = self.task.test(self.device)
        return x.to(self.dtype), y

    def raw_at_start(self, x: Tensor) -> Tensor:
        """f̃(x; θ₀), (1, batch, K)."""
        return at_start(self.network, self.start, x)

    @cached_property
    def probe_at_start(self) -> Tensor:
        return self.raw_at_start(self.probe_set[0])

    @cached_property
    def test_at_start(self) -> Tensor:
        return self.raw_at_start(self.test_set[0])

    @cached_property
    def unseen_parts(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Fresh samples from originals that no training batch holds, in parts: inputs, labels and f̃(x; θ₀)."""
        inputs, labels = self.task.unseen(self.device)
        parts = zip(inputs.to(self.dtype).split(TEST_SAMPLES), labels.split(TEST_SAMPLES), strict=True)
        return [(x, y, self.raw_at_start(x)) for x, y in parts]

    @cached_property
    def compiled(self) -> compiled.Samples | None:
        """The probe set as the compiled kernel takes it; None where it does not know the network, the loss or the device."""
        network, (x, targets) = self.network, self.probe_set
        known = (
            isinstance(network, MLP)
            and network.activation in compiled.ACTIVATION_CODES
            and self.loss in compiled.LOSS_CODES
            and torch.device(self.device).type == "cpu"
            and compiled.library() is not None
        )
        if not known:
            return None
        sizes = [network.inputs, *[out for out, _ in network.shapes]]
        wanted = one_hot(targets, network.outputs, self.dtype)
        return compiled.Samples(sizes, network.scales, self.loss, network.activation, x, wanted, self.start)

    @cached_property
    def kernel_at_start(self) -> Tensor:
        return kernel(self.network, self.start, self.probe_set[0][:KERNEL_SAMPLES])

    @cached_property
    def features_at_start(self) -> list[Tensor]:
        with torch.no_grad():
            return self.network.hidden(self.start, self.probe_set[0][:KERNEL_SAMPLES])


@dataclass(frozen=True)
class Snapshot:
    """A few networks at one moment: what a probe sees.

    Attributes:
        setting: what they share.
        weights: raw, one tensor a layer, (cells, ...). gamma: richness of each, (cells,).
        earlier: what probes left of the same networks at an earlier moment, by name, (cells, ...) each.
        left: what they leave now.
    """

    setting: Setting
    weights: list[Tensor]
    gamma: Tensor
    earlier: dict[str, Tensor] = field(default_factory=dict)
    left: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.gamma)

    @property
    def network(self) -> Architecture:
        """Its ``forward`` and ``hidden`` take ``weights`` and inputs (batch, D)."""
        return self.setting.network

    @property
    def start(self) -> list[Tensor]:
        """The weights at step 0, each (1, ...): the same for all cells."""
        return self.setting.start

    @property
    def inputs(self) -> Tensor:
        """Of the fixed probe set, (P, D)."""
        return self.setting.probe_set[0]

    @property
    def targets(self) -> Tensor:
        """Of the fixed probe set: labels int64 (P,), or targets (P, K)."""
        return self.setting.probe_set[1]

    def outputs(self, weights: list[Tensor], x: Tensor) -> Tensor:
        """f = (f̃ − f̃₀)/γ of these networks at any ``weights``, (cells, batch, K)."""
        return centre_output(self.network.forward(weights, x), self.setting.raw_at_start(x), self.gamma)

    def loss(self, weights: list[Tensor]) -> Tensor:
        """The loss as trained, on the fixed probe set, as a function of ``weights``: (cells,)."""
        return self._loss_of(self.network.forward(weights, self.inputs))

    def _loss_of(self, raw: Tensor) -> Tensor:
        return LOSSES[self.setting.loss](centre_output(raw, self.setting.probe_at_start, self.gamma), self.targets)

    def keep(self, index: Tensor | slice) -> Snapshot:
        """Those at ``index`` only."""
        earlier = {name: values[index] for name, values in self.earlier.items()}
        return Snapshot(self.setting, [w[index] for w in self.weights], self.gamma[index], earlier)

    @cached_property
    def curvature(self) -> compiled.Curvature | None:
        """:meth:`loss` with its gradient and Hessian by the compiled kernel, where that knows it."""
        samples = self.setting.compiled
        return None if samples is None else compiled.Curvature(samples, self.weights, self.gamma)

    @cached_property
    def product(self) -> Callable[[Tensor], Tensor] | None:
        """v ↦ Hv of :meth:`loss` at the weights, (cells, P) to (cells, P), where the network has one written out."""
        if self.curvature:
            return self.curvature.multiply
        if not isinstance(self.network, MLP):
            return None
        return self.network.hessian_vector_product(self.weights, self.inputs, self._loss_of)

    @cached_property
    def gradient(self) -> Tensor:
        """Of :meth:`loss`, (cells, P), P parameters in the order of ``weights``."""
        return self.curvature.gradient if self.curvature else measure.gradient(self.loss, self.weights)

    def apart(self) -> list[Snapshot]:
        """These networks one by one where the kernel takes them so, since a stack waits for its slowest; else all at once."""
        return [self.keep(slice(k, k + 1)) for k in range(len(self))] if self.setting.compiled else [self]

    @cached_property
    def kernel(self) -> Tensor:
        """The NTK of f̃, summed over outputs, on the first ``KERNEL_SAMPLES`` of the probe set: (cells, n, n)."""
        return kernel(self.network, self.weights, self.inputs[:KERNEL_SAMPLES])

    @cached_property
    def features(self) -> list[Tensor]:
        """Hidden pre-activations on the first ``KERNEL_SAMPLES`` of the probe set, one tensor a layer, (cells, units, n)."""
        with torch.no_grad():
            return self.network.hidden(self.weights, self.inputs[:KERNEL_SAMPLES])

    @cached_property
    def compared(self) -> Tensor:
        """The inputs on which networks are compared: the first ``COMPARED_SAMPLES`` of the held-out set, (n, D)."""
        return self.setting.test_set[0][:COMPARED_SAMPLES]


def kernel(network: Architecture, weights: list[Tensor], x: Tensor) -> Tensor:
    """The NTK of f̃, summed over outputs: (cells, batch, batch). Through the layers' factors where the network has them."""
    if isinstance(network, MLP):
        with torch.no_grad():
            return measure.ntk_from_factors(network.factors(weights, x))
    numbers = len(x) * sum(w[0].numel() for w in weights) * weights[0].itemsize
    each = max(1, KERNEL_BYTES // numbers)
    parts = [[w[first : first + each] for w in weights] for first in range(0, len(weights[0]), each)]
    return torch.cat([measure.ntk(network.forward, part, x).detach() for part in parts])


@dataclass(frozen=True)
class Probe:
    """One measurement.

    Attributes:
        measure: a :class:`Snapshot` to a tensor (cells, ...), NaN where there is nothing to measure.
        about: what it is, on what and in which convention; of the variable in a result.
        dims: names of the axes after the first.
        units: of its values; ``"1"`` for pure numbers.
        needs: of ``classes`` (a task with labels), ``hidden`` (a network that shows its hidden layers) and ``alone`` (one that
            says of a sample the same alone as among others, which batch norms do not).
        work: of one measurement, in gradients on the probe set, about: a sweep is cut into shards by it.
        apart: it goes through :meth:`Snapshot.apart`.
    """

    measure: Callable[[Snapshot], Tensor]
    about: str
    dims: tuple[str, ...] = ()
    units: str = "1"
    needs: tuple[str, ...] = ()
    work: float = 0.0
    apart: bool = False


def _sharpness(now: Snapshot) -> Tensor:
    """From the eigenvector of an earlier moment, where there was one: it takes fewer products than from the gradient."""
    found = [
        measure.sharpest_direction(
            one.loss, one.weights, product=one.product, start=one.earlier.get(SHARPEST, one.gradient)
        )
        for one in now.apart()
    ]
    now.left[SHARPEST] = torch.cat([pair.vector for pair in found])
    return torch.cat([pair.value for pair in found])


def _along_gradient(now: Snapshot) -> Tensor:
    return measure.along_gradient(now.loss, now.weights, product=now.product, direction=now.gradient)


def _accuracy(now: Snapshot) -> Tensor:
    return _share_right(now, *now.setting.test_set, now.setting.test_at_start)


def _test_loss(now: Snapshot) -> Tensor:
    x, targets = now.setting.test_set
    with torch.no_grad():
        f = centre_output(now.network.forward(now.weights, x), now.setting.test_at_start, now.gamma)
        return LOSSES[now.setting.loss](f, targets)


def _unseen_accuracy(now: Snapshot) -> Tensor:
    return torch.stack([_share_right(now, *part) for part in now.setting.unseen_parts]).mean(dim=0)


def _share_right(now: Snapshot, x: Tensor, labels: Tensor, at_start: Tensor) -> Tensor:
    with torch.no_grad():
        f = centre_output(now.network.forward(now.weights, x), at_start, now.gamma)
    return (f.argmax(dim=-1) == labels).to(torch.float64).mean(dim=1)


def _top_eigenvalues(now: Snapshot) -> Tensor:
    count = sum(w[0].numel() for w in now.weights)
    values = measure.top_eigenvalues(
        now.loss, now.weights, min(EIGENVALUES, count), iterations=6 * EIGENVALUES, product=now.product
    )
    return _filled([values], EIGENVALUES)[:, 0]


def _spectral_density(now: Snapshot) -> Tensor:
    density = measure.spectral_density(now.loss, now.weights, DENSITY_STEPS, DENSITY_DIRECTIONS, product=now.product)
    largest = density.nodes.amax(dim=1, keepdim=True)
    largest = torch.where(largest > 0, largest, torch.nan)  # nothing to measure by, where no direction curves upwards
    return measure.bin_density(density._replace(nodes=density.nodes / largest), DENSITY_EDGES)


def _spectra(now: Snapshot) -> Tensor:
    sizes = sum(w[0].numel() for w in now.weights), len(now.inputs) * now.network.outputs
    count, loss = min(LEADING, *sizes), LOSSES[now.setting.loss]
    linearised = measure.gauss_newton_vector_product(
        lambda w: now.outputs(w, now.inputs), lambda f: loss(f, now.targets), now.weights
    )
    rows = [
        measure.top_eigenvalues(now.loss, now.weights, count, SPECTRA_TOLERANCE, 5 * LEADING, product=product)
        for product in (now.product, linearised)
    ]
    unit = 2 / (now.kernel.shape[1] * now.network.outputs**2 * now.gamma**2)  # f's, mean over outputs, as in MSE's G
    kernel = torch.linalg.eigvalsh(now.kernel * unit[:, None, None].to(now.kernel)).flip(1)
    return _filled([*rows, kernel], LEADING)


def _trace(now: Snapshot) -> Tensor:
    return measure.trace(now.loss, now.weights, product=now.product)


def _ntk_alignment(now: Snapshot) -> Tensor:
    return measure.alignment(now.kernel, now.targets[:KERNEL_SAMPLES])


def _kernel_change(now: Snapshot) -> Tensor:
    return measure.kernel_change(now.kernel, now.setting.kernel_at_start)


def _singular_values(now: Snapshot) -> Tensor:
    acting = [w * scale for w, scale in zip(now.weights, now.network.scales, strict=True)]
    matrices = [w.flatten(2) for w in acting if w.ndim > 2]  # a convolution as (channels, fan_in); no biases
    return _filled(measure.singular_values(matrices), LARGEST)


def _feature_rank(now: Snapshot) -> Tensor:
    return torch.stack([measure.feature_rank(h) for h in now.features], dim=1)


def _drift(now: Snapshot) -> Tensor:
    return torch.stack(measure.drift(now.features, now.setting.features_at_start), dim=1)


def _outputs(now: Snapshot) -> Tensor:
    with torch.no_grad():
        return _coarse(now.outputs(now.weights, now.compared), OUTPUT_BITS)


def _gram(now: Snapshot) -> Tensor:
    with torch.no_grad():
        layers = now.network.hidden(now.weights, now.compared[:GRAM_SAMPLES])
    grams = [measure.gram(h) for h in layers]
    rows, columns = torch.triu_indices(*grams[0].shape[1:], device=grams[0].device)
    return _coarse(torch.stack([gram[:, rows, columns] for gram in grams], dim=1), GRAM_BITS)


def _coarse(values: Tensor, bits: int) -> Tensor:
    """The mantissa rounded to so many bits: many numbers, of which none matters alone, in half the bytes."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp(torch.round(mantissa * 2**bits) / 2**bits, exponent)


def _filled(rows: list[Tensor], count: int) -> Tensor:
    """The first ``count`` of each, (cells, rows, count), NaN where a row has fewer."""
    cut = [row[:, :count] for row in rows]
    return torch.stack([torch.nn.functional.pad(row, (0, count - row.shape[1]), value=torch.nan) for row in cut], dim=1)


_ON_SOME = f"the first {KERNEL_SAMPLES} samples of the fixed probe set"

PROBES: Registry[Probe] = Registry(
    "probe",
    {
        "sharpness": Probe(
            _sharpness,
            "largest Hessian eigenvalue of the loss as trained, raw weights, fixed probe set",
            units="1/lr_raw",
            work=25,
            apart=True,
        ),
        "along_gradient": Probe(
            _along_gradient,
            "curvature of the loss as trained along its own gradient, gᵀHg/‖g‖², raw weights, fixed probe set; times "
            "lr_raw/2 it is c₂/|c₁| of a full step of SGD",
            units="1/lr_raw",
            work=4,
        ),
        "accuracy": Probe(_accuracy, "share of held-out real samples named rightly", needs=("classes",)),
        "test_loss": Probe(
            _test_loss, "the loss as trained, on held-out samples, or fresh ones where none are held out"
        ),
        "unseen_accuracy": Probe(
            _unseen_accuracy,
            f"share of {UNSEEN_SAMPLES:,} fresh deformations of the held-out samples named rightly",
            needs=("classes",),
            work=5,
        ),
        "top_eigenvalues": Probe(
            _top_eigenvalues,
            f"the {EIGENVALUES} largest Hessian eigenvalues of the loss as trained, raw weights, fixed probe set, descending",
            ("eigenvalue",),
            "1/lr_raw",
            work=500,
        ),
        "spectral_density": Probe(
            _spectral_density,
            "share of the Hessian's eigenvalues in bins of λ/λ_max (edges: DENSITY_EDGES), by stochastic Lanczos; loss as "
            "trained, raw weights, fixed probe set",
            ("bin",),
            work=600,
        ),
        "spectra": Probe(
            _spectra,
            f"the {LEADING} largest eigenvalues of (1) the Hessian and (2) the Gauss–Newton matrix of the loss as trained, raw "
            "weights, fixed probe set; (3) the neural tangent kernel of f, mean over outputs, times 2/(samples·outputs), on "
            f"{_ON_SOME}: where all outputs have one kernel, these are (2)'s under MSE",
            ("matrix", "eigenvalue"),
            "1/lr_raw",
            work=400,
        ),
        "trace": Probe(
            _trace,
            "trace of the Hessian of the loss as trained, raw weights, fixed probe set (Hutch++)",
            units="1/lr_raw",
            work=80,
        ),
        "ntk_alignment": Probe(
            _ntk_alignment,
            f"centred alignment of the neural tangent kernel, summed over outputs, with the targets, {_ON_SOME}",
            needs=("alone",),
        ),
        "kernel_change": Probe(
            _kernel_change,
            f"1 − cosine between the neural tangent kernel and that at step 0, {_ON_SOME}",
            needs=("alone",),
        ),
        "singular_values": Probe(
            _singular_values,
            f"the {LARGEST} largest singular values of every weight matrix as it acts (times its scale), descending",
            ("layer", "index"),
        ),
        "feature_rank": Probe(
            _feature_rank,
            f"participation ratio of every hidden layer's pre-activations, {_ON_SOME}",
            ("hidden",),
            needs=("hidden",),
        ),
        "drift": Probe(
            _drift,
            f"change of every hidden layer's pre-activations since step 0 over their size then, {_ON_SOME}",
            ("hidden",),
            needs=("hidden",),
        ),
        "outputs": Probe(
            _outputs,
            f"f, the centred network's outputs, on the first {COMPARED_SAMPLES} held-out samples",
            ("sample", "output"),
        ),
        "gram": Probe(
            _gram,
            "upper triangle, row by row, of every hidden layer's Gram matrix of pre-activations, hᵀh/units, centred, on the "
            "first "
            f"{GRAM_SAMPLES} held-out samples",
            ("hidden", "pair"),
            needs=("hidden",),
        ),
    },
)

# Names that a result has already: its dimensions, its coordinates, its other variables.
DIMENSIONS = ("gamma", "eta", "seed", "step", "budget", "trial")
TAKEN = (
    *DIMENSIONS, "loss", "late_loss", "peak_loss", "initial_loss", "budget_loss", "status", "diverged_at", "lr_raw", "tau",
    "precision", "cells", "seconds", "device",
)  # fmt: skip


def register_probe(
    name: str,
    measure: Callable[[Snapshot], Tensor],
    *,
    dims: tuple[str, ...] = (),
    about: str = "",
    units: str = "1",
    needs: tuple[str, ...] = (),
    version: str | None = None,
) -> None:
    """Add a probe of your own; ``Experiment(probes=[name])`` then records it like any other.

    Args:
        name: a new name, a Python identifier; the variable's in the result. The same function may be registered again,
            edited or not.
        measure: a function of a :class:`Snapshot` of a few networks to a tensor (cells,), or (cells, ...) with one more axis
            for each of ``dims``. It must treat every network by itself and leave the weights as they are; several threads may
            call it at once.
        dims: names of those axes; each gets a coordinate that counts from 1.
        about, units: of the variable. needs: as in :class:`Probe`.
        version: stands for ``measure``, and all that it reaches, in the hash of a recipe that names the probe; to be changed
            when that changes. Needed only where its value cannot be told, as of an open file.

    Raises:
        ValueError: a name or a dimension that is taken.
        TypeError: ``measure`` is not a function.
    """
    if not callable(measure):
        raise TypeError(f"register_probe takes a function of a snapshot, got {type(measure).__name__}")
    if name in TAKEN:
        raise ValueError(f"a result has a variable {name!r} already: choose another name for the probe")
    dims = (dims,) if isinstance(dims, str) else tuple(dims)
    clash = [dim for dim in dims if dim in TAKEN or dim in PROBES or dim == name]
    if clash or len(set(dims)) < len(dims):
        raise ValueError(f"a probe's dims must be new names, each once, got {dims}; taken: {', '.join(DIMENSIONS)}")
    unknown = [need for need in needs if need not in ("classes", "hidden", "alone")]
    if unknown:
        raise ValueError(f"a probe needs nothing, 'classes', 'hidden' or 'alone', got {', '.join(map(repr, unknown))}")
    PROBES.add(name, Probe(measure, about or name, dims, units, tuple(needs)), measure, version)


def take_probe(name: str, now: Snapshot) -> Tensor:
    """One probe's values, float64 (cells, ...) on the CPU.

    Raises:
        ValueError: the probe answered with something else; the message says what was expected.
    """
    probe = PROBES[name]
    values = probe.measure(now)
    wanted = f"({len(now)} cells{''.join(', ' + dim for dim in probe.dims)})"
    if not isinstance(values, Tensor):
        raise ValueError(f"probe {name!r} must return a tensor {wanted}, got {type(values).__name__}")
    if values.ndim != 1 + len(probe.dims) or len(values) != len(now):
        raise ValueError(
            f"probe {name!r} must return a tensor {wanted}, got shape {tuple(values.shape)}: one value a network, and one "
            "more axis for each of its dims"
        )
    return values.detach().to("cpu", torch.float64)
