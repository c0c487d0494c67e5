"""The page as a reader has it: what was trained there, and what the command that it gives trains, are the same run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from playwright.sync_api import Browser

from richness import cli
from richness.lab import Lab

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("gamma=3&eta=2&depth=3&loss=mse&task=digits8&seed=4", True),
        ("gamma=0.3&eta=0.5&depth=2&loss=mse&task=teacher&seed=1", False),
        ("gamma=1&eta=0.5&depth=4&loss=cross_entropy&task=digits8&seed=0", True),
    ],
)
def test_the_copied_command_trains_the_run_that_the_page_trained(
    chromium: Browser,
    serve: Callable,
    engine: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    query: str,
    labels: bool,
):
    monkeypatch.setenv("RICHNESS_BOOK", "1")
    context = chromium.new_context()
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.goto(serve(Lab().html(), engine=engine, query=f"?lab=1&{query}&steps=120&batch_size=64"))
    page.wait_for_selector("[data-ready]")
    page.get_by_role("button", name=re.compile("Train here")).click()
    page.wait_for_selector('[data-richness-lab][data-state="finished"]', timeout=60_000)
    for _ in range(100):  # the last gauges may come after the last step
        with page.expect_download() as saved:
            page.get_by_role("button", name="Download this run").click()
        data = json.loads(Path(saved.value.path()).read_text())
        if len(data["gauges"]) >= 10 and data["gauges"][-1]["step"] == 120:
            break
        page.wait_for_timeout(200)
    context.close()
    assert wrong == []

    monkeypatch.chdir(tmp_path)
    words = shlex.split(data["provenance"]["command"])
    assert cli.main(words[1:]) == 0
    run = xr.load_dataset(words[-1]).isel(gamma=0, eta=0, seed=0)
    live = dict(zip(data["curve"]["step"], data["curve"]["loss"], strict=True))
    early = run.sel(step=run.step <= 100)
    early = early.sel(step=[s for s in early.step.values if int(s) in live])
    assert early.sizes["step"] > 20
    np.testing.assert_allclose(
        [live[int(s)] for s in early.step.values], early.loss.values, rtol=1e-3
    )  # as stored: rounded
    gauges = {row["step"]: row for row in data["gauges"]}
    measured = [int(s) for s in run.step.values if np.isfinite(run.sharpness.sel(step=s))]
    assert sorted(gauges) == measured
    names = {
        "sharpness": "sharpness",
        "along_gradient": "along",
        "test_loss": "test_loss",
        "ntk_alignment": "alignment",
    }
    for name, key in names.items():
        page_side = [gauges[s][key] for s in measured]
        np.testing.assert_allclose(page_side, run[name].sel(step=measured).values, rtol=5e-3, err_msg=name)
    assert ("accuracy" in run) == labels
