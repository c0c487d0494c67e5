"""The laboratory in Firefox and in WebKitGTK: torch's numbers, or none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import BROWSERS, Tab
from test_engine import ask, trained
from test_engine_browser import site, spoil_known  # noqa: F401, a fixture

from richness.lab import html
from richness.runs.experiment import Experiment

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.xdist_group("other browsers")]

# Among them those at which an earlier trainer went wrong in silence, in half of its runs.
ASKED = [
    ask(3, "mse", "digits8", 10.0, eta=1.0, steps=300),
    ask(3, "mse", "teacher", 1.0, eta=0.3, steps=300),
    ask(4, "cross_entropy", "digits8", 1.0, "adam", steps=60),
    ask(2, "mse", "halfspace", 1e-4, "momentum", steps=60),
]
TRAIN = """
  const answers = [];
  for (const asked of arg) {
    const before = lab.number() ?? 0;
    lab.backend.start(asked);
    await lab.until(() => lab.number() > before);
    await lab.over();
    answers.push({ loss: lab.curve().loss, state: lab.state(), lost: lab.last("lost") ?? null });
  }
  return answers;"""
# The text of what the button would save.
DOWNLOAD = """
  const saved = new Promise((go) => { URL.createObjectURL = (blob) => { go(blob.text()); return "#"; }; });
  HTMLAnchorElement.prototype.click = () => {};
  [...document.querySelectorAll("button")].find((one) => one.textContent === "Download this run").click();
  return saved;"""


@pytest.fixture(scope="module", params=BROWSERS)
def tab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with BROWSERS[request.param](tmp_path_factory.mktemp(request.param)) as opened:
        yield opened


def wait(tab: Tab, condition: str) -> None:
    met = tab.evaluate(f"""
      for (const end = performance.now() + 60_000; !({condition}); ) {{
        if (performance.now() > end) return false;
        await new Promise((go) => setTimeout(go, 20));
      }}
      return true;""")
    assert met, condition


@pytest.mark.parametrize("again", range(3))
def test_it_gives_torchs_numbers(tab: Tab, site: Any, again: int) -> None:  # noqa: F811
    tab.goto(site[1])
    wait(tab, "document.documentElement.dataset.ready")
    for asked, got in zip(ASKED, tab.evaluate(TRAIN, ASKED), strict=True):
        assert (got["state"], got["lost"]) == ("finished", None)
        np.testing.assert_allclose(got["loss"], trained(asked)[1], rtol=1e-5, err_msg=str(asked))


def test_one_that_computes_wrongly_trains_nothing_and_says_so(tab: Tab, site: Any) -> None:  # noqa: F811
    folder, address = site
    spoil_known(folder)
    tab.goto(address)
    wait(tab, "document.documentElement.dataset.ready && lab.last('lost')")
    assert re.search("computes wrongly.*at step 70", tab.evaluate("return lab.last('lost').message"))
    tab.evaluate("lab.backend.start(arg);", ASKED[1])
    wait(tab, "lab.reports.filter((one) => one.kind === 'lost').length > 1")
    assert tab.evaluate("return lab.last('run');") is None


@pytest.mark.parametrize("asked", ASKED[:2], ids=lambda asked: asked["task"])
def test_a_link_trains_what_it_says(tab: Tab, serve: Any, runs: Any, engine: Path, asked: dict[str, Any]) -> None:
    recipe = json.loads(runs.attrs["recipe"]) | {"task": "digits8"}
    wanted = Experiment(task="digits8", gammas=(1.0,), etas=(3.0,), seeds=(0,))
    body = html.page(wanted, runs.assign_attrs(recipe=json.dumps(recipe)), "")
    said = "&".join(f"{name}={asked[name]}" for name in ("gamma", "eta", "task", "steps", "seed"))
    tab.goto(serve(body, engine, query=f"?lab=1&{said}"))
    wait(tab, "document.querySelector('[data-richness-lab][data-ready]')")
    tab.evaluate("document.querySelector('.rl-main').click()")
    wait(tab, "document.querySelector('[data-richness-lab][data-state=finished]')")
    got = json.loads(tab.evaluate(DOWNLOAD))
    np.testing.assert_allclose(got["curve"]["loss"], trained(asked)[1], rtol=1e-5)
