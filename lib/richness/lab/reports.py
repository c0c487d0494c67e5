"""What is told of a training: the reports that the laboratory's view draws, and how they travel.

Dicts with a ``kind`` (run, curve, gauges, samples, state) and the training's ``number``; the page's engine tells the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from richness.lab.settings import settings_of
from richness.lab.training import Training
from richness.networks.optimizers import stability_line

Report = dict[str, Any]

SAMPLES = 12  # shown of a batch
SIDES = {"digits": 28, "digits8": 8}  # pixels along a picture's edge

#: A gauge of the instrument -> the probe behind it; `drift`, which has several lines, goes by its own name.
GAUGES = {
    "sharpness": "sharpness",
    "along": "along_gradient",
    "accuracy": "accuracy",
    "test_loss": "test_loss",
    "alignment": "ntk_alignment",
}


def _report(kind: str, training: Training, **values: Any) -> Report:
    return {"kind": kind, "number": training.number, **values}


def report_start(training: Training) -> Report:
    """That it has begun: its settings, its lr_raw, and the sharpness up to which its step is stable (NaN: no such line)."""
    experiment = training.experiment
    lr = float(experiment.lr_raw(experiment.etas[0]))
    # Adam's line is one for the preconditioned Hessian: the sharpness shown here has none.
    line = stability_line(lr, experiment.optimizer, experiment.momentum) if experiment.optimizer != "adam" else math.nan
    return _report("run", training, ask=settings_of(experiment), lr=lr, line=line)


def report_state(training: Training) -> Report:
    """Where it stands."""
    return _report("state", training, state=training.state, step=training.step, message=training.message)


def report_curve(training: Training, first: int) -> Report:
    """Its losses from row ``first`` on: int32 step, float64 loss and eta."""
    assert training.live is not None
    record = training.live.record
    last = len(record.losses)
    step = np.arange(first, last, dtype=np.int32)
    loss, eta = (np.array(values[first:last], dtype=np.float64) for values in (record.losses, record.etas))
    return _report("curve", training, **{"from": first, "step": step, "loss": loss, "eta": eta})


def report_gauges(training: Training, step: int) -> Report:
    """What was measured at one step; None where a gauge has no finite number."""
    assert training.live is not None
    values = training.live.record.gauges[step]
    row = {name: _finite_or_none(values.get(probe)) for name, probe in GAUGES.items()}
    return _report("gauges", training, step=step, **row, drift=np.array(values.get("drift", [])))


def report_samples(training: Training) -> Report:
    """Some samples of the next batch, as one row of numbers, with their labels and what the network makes of them."""
    assert training.live is not None
    shown = training.live.samples(SAMPLES)
    side, inputs = SIDES.get(training.experiment.task, 0), shown.inputs.ravel()
    said = {"side": side, "inputs": inputs, "labels": shown.labels.tolist(), "guesses": shown.guesses.tolist()}
    return _report("samples", training, step=training.step, **said)


def pack_report(report: Mapping[str, Any]) -> tuple[Report, list[bytes]]:
    """A report as a message and its buffers: arrays travel little-endian, and ``arrays`` names them with their types."""
    arrays = {name: value for name, value in report.items() if isinstance(value, np.ndarray)}
    content = {name: value for name, value in report.items() if name not in arrays}
    # What is not a number has no word in JSON.
    content = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in content.items()}
    if arrays:
        content["arrays"] = [[name, value.dtype.name] for name, value in arrays.items()]
    return content, [value.astype(value.dtype.newbyteorder("<")).tobytes() for value in arrays.values()]


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
