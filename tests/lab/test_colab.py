"""Colab's floors: ipywidgets 7.7.1, anywidget 0.9.21, altair 5.5.0, on the Python and torch at hand.

They are laid before the environment's own packages on the path, so that nothing large is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.slow

FLOORS = ("ipywidgets==7.7.1", "anywidget==0.9.21", "altair==5.5.0", "ipython_genutils==0.2.0")
ROOT = Path(__file__).parents[2]

NOTEBOOK = """
import base64, json
import altair, anywidget, ipywidgets
import richness

lab = richness.Lab(gamma=2.0, eta=0.1, width=16, batch_size=8, steps=40)
messages = []
def send(content, buffers):
    messages.append([content, [base64.b64encode(part).decode() for part in buffers]])
lab._view.send = send
bundle, metadata = lab._repr_mimebundle_()
lab._view._handle_custom_msg({"do": "shown"}, [])
lab._training_thread.training.done.wait()
lab._sliders["gamma"].value = 10.0
lab._training_thread.training.done.wait()
print(json.dumps({
    "versions": [ipywidgets.__version__, anywidget.__version__, altair.__version__],
    "bundle": list(bundle),
    "steps": lab.run.sizes["step"], "gamma": lab.run.gamma.item(),
    "messages": messages,
    "state": {key: lab._view.get_state()[key] for key in ("_esm", "_css", "_anywidget_id", "setup")},
}))
lab.close()
"""

# What anywidget's own bundle builds on, as small as it can be: Backbone's events, a model, a view.
BASE = """
class Model {
  constructor(attributes) { this.attributes = attributes; this.listeners = []; this.sent = []; this.initialize(); }
  initialize() {}
  get(name) { return this.attributes[name]; }
  set(name, value) { this.attributes[name] = value; }
  save_changes() {}
  send(content) { this.sent.push(content); }
  on(name, callback, context) { this.listeners.push({ name, callback, context }); }
  once(name, callback) { this.on(name, callback); }
  off(name, callback, context) {
    this.listeners = this.listeners.filter((l) => !((name ?? l.name) === l.name && (callback ?? l.callback) === l.callback
      && (context ?? l.context) === l.context));
  }
  trigger(name, ...values) { for (const l of [...this.listeners]) if (l.name === name) l.callback(...values); }
}
class View {
  constructor(model) {
    this.model = model;
    this.el = document.createElement("div");
    this.$el = { empty: () => this.el.replaceChildren() };
  }
  remove() { this.el.remove(); }
}
window.define = (needs, factory) => { window.anywidget = factory({ DOMWidgetModel: Model, DOMWidgetView: View }); };
"""


@pytest.fixture(scope="module")
def floors() -> Path:
    """A folder with those versions, installed once."""
    folder = ROOT / "_build" / "floors"
    ready = folder / ".ready"
    if not ready.exists() or ready.read_text() != "\n".join(FLOORS):
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--upgrade",
            "--target",
            str(folder),
            *FLOORS,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"pip could not fetch {', '.join(FLOORS)}: {done.stderr.strip().splitlines()[-1:]}")
        ready.write_text("\n".join(FLOORS))
    return folder


@pytest.fixture(scope="module")
def said(floors: Path) -> dict[str, Any]:
    """What a laboratory is and sends under those versions."""
    path = os.pathsep.join([str(floors), str(ROOT / "lib")])
    environment = {k: v for k, v in os.environ.items() if k != "RICHNESS_BOOK"} | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_it_trains_under_colabs_versions(said: dict[str, Any]):
    assert said["versions"] == ["7.7.1", "0.9.21", "5.5.0"]
    assert said["bundle"][0] == "application/vnd.jupyter.widget-view+json"
    assert said["gamma"] == 10.0 and said["steps"] > 10
    kinds = [content["kind"] for content, _ in said["messages"]]
    assert {"ready", "run", "curve", "gauges", "samples", "state", "heard"} == set(kinds)


@pytest.mark.browser
def test_its_view_draws_under_colabs_anywidget(floors: Path, said: dict[str, Any], chromium: Browser):
    page = chromium.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_content("<!doctype html><html lang=en><body></body></html>")
    page.add_script_tag(content=BASE)
    page.add_script_tag(content=(floors / "anywidget/nbextension/index.js").read_text(encoding="utf-8"))
    page.evaluate(
        """async (state) => {
          window.model = new anywidget.AnyModel(state);
          window.view = new anywidget.AnyView(model);
          document.body.append(view.el);
          await view.render();
        }""",
        said["state"],
    )
    status = page.locator(".richness-lab .rl-status")
    expect(status).to_be_attached()
    assert page.evaluate("model.sent") == [{"do": "shown"}]
    page.evaluate(
        """(messages) => {
          const raw = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
          for (const [content, buffers] of messages) model.trigger("msg:custom", content, buffers.map(raw));
        }""",
        said["messages"],
    )
    expect(status).to_contain_text("γ = 10")
    expect(status).to_contain_text("finished 40 steps")
    assert page.locator('path[data-curve="loss"][data-role="now"]').first.get_attribute("d").count("L") > 10
    page.get_by_role("button", name="Rewind").click()
    assert page.evaluate("model.sent.at(-1)") == {"do": "rewind"}
    page.evaluate("model.trigger('comm_live_update')")
    expect(status).to_contain_text("The kernel was restarted")
    page.evaluate("view.remove()")
    assert page.evaluate("model.listeners.filter((l) => l.name === 'msg:custom').length") == 0
    page.close()
    assert errors == []
