"""The paper's networks on the paper's own data: at scale ``paper`` alone, since neither data nor sizes are a laptop's.

No such recipe has been run here: their bands in η are those found on other streams (colour crops of photographs, digits).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from richness.runs.experiment import Experiment
from richness.runs.grids import eta_axis
from richness.studies.portrait.recipes import architectures

_MLP: dict[str, Any] = {"network": "mlp", "depth": 3, "width": 1024}
_SHARED: dict[str, Any] = {
    "batch_size": 128, "steps": 10_000, "budgets": (1000, 3000), "seeds": (0, 1, 2), "probes": ("loss", "accuracy"),
    "probe_points": 9, "gammas": "1e-5:1e5:41", "etas": eta_axis(1e-14, 1e7, 4), "device": "cuda",
}  # fmt: skip


def _portrait(
    network: str, loss: str, task: str, band: tuple[float, float], **changes: Any
) -> Callable[[], Experiment]:
    sizes = _MLP if network == "mlp" else {"network": network} | architectures.PAPER[network]
    fields = _SHARED | sizes | {"loss": loss, "task": task, "band": band} | changes
    return lambda: Experiment.model_validate(fields)


#: name → recipe. A million digits are seen once in 7,000 steps, five million images in 39,000; TinyImageNet has no end.
PAPER_ONLY: dict[str, Callable[[], Experiment]] = {
    "portrait_mlp3_mse_mnist1m": _portrait("mlp", "mse", "mnist1m", (0.025, 500.0), steps=7000, budgets=(700, 2100)),
    "portrait_cnn4_mse_cifar5m": _portrait("cnn", "mse", "cifar5m", (1.0, 300.0)),
    "portrait_cnn4_cross_entropy_cifar5m": _portrait("cnn", "cross_entropy", "cifar5m", (1.0, 25.0)),
    "portrait_resnet_mse_tinyimagenet": _portrait("resnet", "mse", "tinyimagenet", (0.03, 20.0)),
    "portrait_vit_mse_tinyimagenet": _portrait("vit", "mse", "tinyimagenet", (0.05, 25.0)),
}
