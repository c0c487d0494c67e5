"""The wire between the kernel and the view: kernel.js in node against what Python packs, and the one module for Jupyter."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from richness.lab import widget

# A model as anywidget shows it, timers that go off when they are told to, and a backend over both.
STAGE = """
let timers = [], reports = [], sent = [], listeners = [], broken = false;
globalThis.setTimeout = (act, after) => { timers.push({ act, after }); return timers.length; };
globalThis.clearTimeout = (id) => { if (id) timers[id - 1].act = null; };
const goOff = () => timers.forEach((timer) => { const { act } = timer; timer.act = null; act?.(); });
const model = {
  on: (name, act) => listeners.push({ name, act }),
  off: (name, act) => { listeners = listeners.filter((l) => l.name !== name || l.act !== act); },
  send: (what) => { if (broken) throw new Error("the comm is closed"); sent.push(what); },
};
const say = (name, ...values) => listeners.filter((l) => l.name === name).forEach((l) => l.act(...values));
const backend = kernel.kernelBackend(model, (report) => reports.push(report));
"""


def test_a_report_arrives_as_it_was_sent(node):
    report = {
        "kind": "curve", "number": 3, "from": 2, "step": np.arange(2, 5, dtype=np.int32),
        "loss": np.array([0.5, 1e-30, 2.0]), "inputs": np.array([0.25, -1.0], np.float32), "bad": float("inf"),
    }  # fmt: skip
    content, buffers = widget.packed(report)
    body = """const parts = args.buffers.map((text) => {
      const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), padded = new Uint8Array(raw.length + 3);
      padded.set(raw, 3);  // as a view into a larger message, not aligned
      return new DataView(padded.buffer, 3);
    });
    const got = kernel.unpackReport(args.content, parts);
    const types = ["step", "loss", "inputs"].map((key) => got[key].constructor.name);
    return { ...got, step: [...got.step], loss: [...got.loss], inputs: [...got.inputs], types };"""
    got = node(body, content=content, buffers=[base64.b64encode(part).decode() for part in buffers])
    assert got == {
        "kind": "curve", "number": 3, "from": 2, "bad": None, "step": [2, 3, 4], "loss": [0.5, 1e-30, 2.0],
        "inputs": [0.25, -1.0], "types": ["Int32Array", "Float64Array", "Float32Array"],
    }  # fmt: skip


def test_a_run_without_a_stability_line_has_none(node):
    assert node("return Number.isNaN(kernel.unpackReport({ kind: 'run', line: null }).line)") is True


def test_what_is_asked_is_sent(node):
    body = (
        STAGE
        + """
    backend.start({ gamma: 2 }); backend.change({ eta: 3 }); backend.pause(); backend.resume(); backend.step(4);
    backend.rewind(); backend.etaMode("on");
    return [backend.kind, sent];"""
    )
    assert node(body) == [
        "kernel",
        [
            {"do": "shown"}, {"do": "start", "ask": {"gamma": 2}}, {"do": "change", "eta": 3}, {"do": "pause"},
            {"do": "resume"}, {"do": "step", "count": 4}, {"do": "rewind"}, {"do": "eta_mode", "mode": "on"},
        ],
    ]  # fmt: skip


def test_silence_is_told_and_an_answer_ends_it(node):
    body = (
        STAGE
        + """
    say("msg:custom", { kind: "heard" });
    goOff();
    const answered = reports.length;
    backend.start({}); backend.pause();
    const waiting = timers.filter((timer) => timer.act).map((timer) => timer.after);
    goOff();
    say("msg:custom", { kind: "run", number: 1 });
    return [answered, waiting, reports];"""
    )
    answered, waiting, reports = node(body)
    assert answered == 0 and waiting == [10_000]
    assert [report["kind"] for report in reports] == ["lost", "run"]
    assert "does not answer" in reports[0]["message"]


@pytest.mark.parametrize("how", ["say('comm_live_update')", "broken = true; backend.start({})"])
def test_a_kernel_that_is_gone_is_told_once(node, how):
    reports = node(STAGE + f"{how}; goOff(); return reports;")
    assert [report["kind"] for report in reports] == ["lost"] and "restarted" in reports[0]["message"]


def test_a_closed_view_says_nothing_and_hears_nothing(node):
    body = (
        STAGE
        + """
    backend.close(); backend.close(); backend.start({}); goOff(); say("comm_live_update");
    return [sent.length, reports, listeners.length];"""
    )
    assert node(body) == [1, [], 0]


def test_the_modules_are_one_for_jupyter(tmp_path: Path):
    """A module from a blob can import nothing beside it: no import is left, no export but the default, and node reads it."""
    one = widget.one_module()
    assert widget.View._esm is not None
    assert re.findall(r"^(?:import|export)\b.*", one, re.MULTILINE) == ["export default { render };"]
    assert "import.meta" not in one
    script = tmp_path / "one.mjs"
    script.write_text(one + "\nexport { kernelBackend, instrument, networkKey };\n")
    program = Path(sys.executable).parent / "node"
    key = "m.networkKey({depth: 3, loss: 'mse', task: 'a'})"
    call = f"import('./one.mjs').then((m) => console.log(typeof m.default.render, {key}))"
    done = subprocess.run([program, "-e", call], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["function", "mlp3_mse_a"], done.stderr


def test_every_module_imports_only_from_those_before_it():
    seen: set[str] = set()
    for name in widget.MODULES:
        text = (widget.HERE / f"{name}.js").read_text(encoding="utf-8")
        needs = set(re.findall(r'^import\b[^;]*from "\./([\w-]+)\.js";', text, re.MULTILINE))
        assert needs <= seen, f"{name}.js needs {needs - seen}"
        assert " as " not in "".join(re.findall(r"^import\b[^;]*;", text, re.MULTILINE))
        seen.add(name)


def test_it_trains_on_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RICHNESS_BOOK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    chosen, named = widget.Lab(), widget.Lab(device="cpu")
    assert (chosen._device, named._device) == ("cuda", "cpu")
    chosen.close()
    named.close()
