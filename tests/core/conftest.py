"""Small experiments; always more η than γ, so that a transposition shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from richness import Experiment


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def small():
    """Builds a small experiment; any field can be changed."""

    def build(**changes: Any) -> Experiment:
        fields: dict[str, Any] = {
            "width": 12, "depth": 3, "task": "digits8", "batch_size": 16, "steps": 50, "probe_samples": 32,
            "gammas": [0.3, 3.0], "etas": [0.01, 0.03, 0.1], "seeds": [0],
        }  # fmt: skip
        return Experiment(**fields | changes)

    return build
