"""The wire between the kernel and the view: kernel.js in node against what Python packs, and the one module for Jupyter."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
import torch

from richness.lab import reports, widget
from richness.site import bundling
from richness.site.places import SiteError

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
    content, buffers = reports.pack_report(report)
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


def test_the_modules_are_one_for_jupyter():
    """Jupyter's module comes from a blob, which can import nothing beside it; nor can one from a data address, in node."""
    address = "data:text/javascript;base64," + base64.b64encode(widget.InstrumentView._esm.encode()).decode()
    call = f"import('{address}').then((m) => console.log(Object.keys(m).sort().join(), typeof m.default.render, typeof m.boot))"
    program = Path(sys.executable).parent / "node"
    done = subprocess.run([program, "-"], input=call, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["boot,default", "function", "function"], done.stderr
    assert "import.meta" not in widget.InstrumentView._esm


@pytest.mark.parametrize("target", bundling.BUNDLES, ids=lambda path: path.name)
def test_a_bundle_is_that_of_its_modules(target: Path):
    try:
        fresh = bundling.bundle(target)
    except SiteError as error:
        pytest.skip(str(error))
    assert target.read_bytes() == fresh, (
        f"{target.name} is not that of the modules beside it: run `python -m richness.site bundle`, and commit it"
    )


def test_jupyter_takes_the_bundle():
    assert (widget.HERE / "lab.bundle.js").read_text(encoding="utf-8") == widget.InstrumentView._esm


def test_a_module_that_cannot_be_bundled_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lab.js").write_text('import { nothing } from "./missing.js";\nnothing();\n')
    target = tmp_path / "lab.bundle.js"
    monkeypatch.setattr(bundling, "BUNDLES", {target: "lab.js"})
    with pytest.raises(SiteError, match=r'could not bundle .*lab\.js(.|\n)*"\./missing\.js"|make setup'):
        bundling.bundle(target)


def test_no_modules_import_one_another():
    needs = {
        path.name: re.findall(r'^import\b[^;]*from "\./([\w.-]+)";', path.read_text(encoding="utf-8"), re.MULTILINE)
        for path in (*widget.HERE.glob("*.js"), *(widget.HERE / "engine").glob("*.js"))
        if path not in bundling.BUNDLES
    }
    assert needs["lab.js"] == ["instrument.js", "fetching.js", "kernel.js"]
    assert len(list(TopologicalSorter(needs).static_order())) == len(needs)  # a CycleError names a circle


def test_it_trains_on_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RICHNESS_BOOK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    chosen, named = widget.Lab(), widget.Lab(device="cpu")
    assert (chosen._device, named._device) == ("cuda", "cpu")
    chosen.close()
    named.close()
