"""The page on a reader's own network, task, optimiser, loss and probe: each of its examples is run as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from richness.runs.probes import PROBES

PAGE = Path(__file__).parents[2] / "chapters" / "your-own.md"
EXAMPLES = dict(
    zip(
        ("network", "task", "optimizer", "probe", "module"),
        re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S),
        strict=True,
    )
)

pytestmark = pytest.mark.usefixtures("tidy_registries")


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_example_runs_as_printed(kind):
    text = EXAMPLES[kind]
    assert len([line for line in text.splitlines() if line.strip()]) <= 20
    namespace = {"__name__": "__main__"}
    exec(text, namespace)
    if kind == "module":
        assert float(namespace["largest"]) > 0
        return
    runs = namespace["runs"]
    assert (runs.status == 0).any(), "some of its networks converge"
    best = float(runs.late_loss.min())
    assert best < 0.9 * float(runs.initial_loss.max()), "and learn"
    if kind == "probe":
        assert runs.movement.dims == ("gamma", "eta", "seed", "step", "layer") and runs.sizes["layer"] == 3
        moved = runs.movement.isel(step=-1, layer=0, seed=0)
        assert np.isfinite(moved.where(runs.status[..., 0] == 0, drop=True)).any() and float(moved.max()) > 0


def test_the_page_names_every_probe():
    for name in PROBES:
        assert f"`{name}`" in PAGE.read_text(), name
