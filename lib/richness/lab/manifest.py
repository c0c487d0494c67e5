"""What the page's trainer is told of the library: tasks, constants, limits, and runs whose losses are known.

The arithmetic is the kernel's (:mod:`richness.kernel.page`); here stand the numbers that it is called with, taken from where
the library has them, so that nothing is typed twice.
"""

from __future__ import annotations

import gzip
import json
import math
import shutil
from inspect import signature
from pathlib import Path
from typing import Any

from richness.data import TASKS, Task, digits
from richness.data.streams import TEST_SAMPLES
from richness.kernel import page
from richness.kernel.layout import ACTIVATION_CODES, LOSS_CODES, OPTIMIZER_CODES, TASK_CODES
from richness.lab.settings import PROBE_POINTS, PROBE_SAMPLES
from richness.measure import curvature
from richness.networks import OPTIMIZERS
from richness.networks.optimizers import ADAM_BETA2, ADAM_EPSILON, stability_line
from richness.networks.parameterization import FLOAT64_BELOW
from richness.runs.experiment import Experiment
from richness.runs.probes import KERNEL_SAMPLES
from richness.runs.training import Trainer

MANIFEST, DIGITS = "manifest.json", "digits.bin.gz"
#: What the controls offer; of numbers, whatever lies between the least and the largest can be had.
OFFERED: dict[str, list[Any]] = {
    "depth": [2, 3, 4, 5, 6, 7, 8],
    "width": [8, 16, 32, 64, 128, 256, 512],
    "loss": list(LOSS_CODES),
    "task": list(TASK_CODES),
    "optimizer": list(OPTIMIZER_CODES),
    "batch_size": [1, 16, 32, 64, 128, 256, 512],
    "steps": [100, 300, 1000, 3000, 10_000],
}
REASONS = {
    "depth": "The page trains networks of 2 to 8 layers; deeper ones need a kernel (Jupyter or Colab).",
    "width": "The page trains networks 8 to 512 units wide; any other width needs a kernel (Jupyter or Colab).",
    "loss": "Cross-entropy needs classes: this task has real targets.",
    "task": "The page makes digits and the analytic tasks; photographs, text and downloaded data need a kernel.",
    "optimizer": "The page trains by SGD, momentum, sign steps and Adam; an optimiser of your own needs a kernel.",
    "batch_size": "The page trains on batches of 1 to 512; larger ones need a kernel (Jupyter or Colab).",
    "steps": "The page trains for up to 10,000 steps; longer runs need a kernel (Jupyter or Colab).",
}
#: What every browser trains before a reader's first run: its losses must be these. No data are needed, and a few milliseconds.
KNOWN: tuple[dict[str, Any], ...] = (
    {"gamma": 1.0, "eta": 0.3, "depth": 3, "optimizer": "sgd", "task": "teacher"},
    {"gamma": 5e-4, "eta": 5e-8, "depth": 2, "optimizer": "momentum", "task": "staircase"},
    {"gamma": 10.0, "eta": 0.3, "depth": 4, "optimizer": "adam", "task": "halfspace"},
)


def described(task: Task) -> dict[str, Any]:
    """A task as the page makes it: ``side`` is that of its pictures, 0 where there are none."""
    common = {
        "code": TASK_CODES[task.name],
        "inputs": task.inputs,
        "outputs": task.outputs,
        "classes": task.classification,
    }
    return common | {"side": math.isqrt(task.inputs) if task.classification else 0}


def known_runs() -> list[dict[str, Any]]:
    """The asks of ``KNOWN`` with the losses that torch's autograd finds at every step."""
    fixed: dict[str, Any] = {"width": 16, "loss": "mse", "batch_size": 16, "steps": 100, "seed": 0}
    found = []
    for one in KNOWN:
        ask = fixed | one
        fields = {name: value for name, value in ask.items() if name not in ("gamma", "eta", "seed")}
        experiment = Experiment(**fields, gammas=ask["gamma"], etas=ask["eta"])
        trainer = Trainer(experiment, ask["seed"], [(ask["gamma"], ask["eta"])], "autograd")
        found.append({"ask": ask, "loss": [float(trainer.update(step)[0]) for step in range(ask["steps"] + 1)]})
    return found


def manifest(packed: int) -> dict[str, Any]:
    """All that JavaScript needs to know; ``packed``: bytes of the digits as they are fetched."""
    tasks = {name: TASKS[name] for name in TASK_CODES}
    losses_of = {
        name: [loss for loss in LOSS_CODES if loss == "mse" or task.classification] for name, task in tasks.items()
    }
    usual = Experiment(gammas=1.0, etas=1.0)
    lanczos = signature(curvature.largest_eigenpair).parameters
    lines = {name: stability_line(1.0, name, usual.momentum) for name in OPTIMIZER_CODES}
    return {
        "limits": OFFERED | {"losses_of": losses_of},
        "reasons": REASONS,
        "codes": {"loss": LOSS_CODES, "activation": ACTIVATION_CODES, "optimizer": OPTIMIZER_CODES},
        "tasks": {name: described(task) for name, task in tasks.items()},
        "digits": {
            "file": DIGITS,
            "packed": packed,
            "bytes": len(digits.load()[1]) * (digits.SIDE**2 + 1),
            "held_out": len(digits.held_out(True)[1]),
        },
        "float64_below": FLOAT64_BELOW,
        "beta": usual.momentum, "beta2": ADAM_BETA2, "epsilon": ADAM_EPSILON,
        "by_sign": [name for name in OPTIMIZER_CODES if OPTIMIZERS[name].by_sign],
        # Adam's line is one for the preconditioned Hessian: the sharpness shown has none.
        "lines": {name: line if math.isfinite(line) and name != "adam" else None for name, line in lines.items()},
        "probe_samples": PROBE_SAMPLES, "kernel_samples": KERNEL_SAMPLES, "test_samples": TEST_SAMPLES,
        "record_points": usual.record_points, "probe_points": PROBE_POINTS,
        "lanczos": {
            "tolerance": lanczos["tolerance"].default,
            "iterations": lanczos["iterations"].default,
            "hidden": curvature.HIDDEN,
        },
        "known": known_runs(),
    }  # fmt: skip


def packed_digits() -> bytes:
    """All digits as bytes, gzip: 10,000 images of 28×28 grey levels, then their labels."""
    images, labels = digits.load()
    return gzip.compress(images.numpy().tobytes() + labels.numpy().astype("uint8").tobytes(), 9, mtime=0)


def write(folder: Path) -> None:
    """Lay down what the page's trainer fetches: the kernel, the digits, the manifest; a few seconds.

    Raises:
        richness.kernel.compiler.Missing: the committed kernel is older than its source.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in page.built():
        shutil.copyfile(path, folder / path.name)
    packed = packed_digits()
    (folder / DIGITS).write_bytes(packed)
    (folder / MANIFEST).write_text(json.dumps(manifest(len(packed)), separators=(",", ":")), encoding="utf-8")
