"""The laboratory's engine in Chromium, beside a trainer written by hand: ``python -m benchmarks.page``.

Prints milliseconds a thousand steps of 64-64-64-10 at batch 64 (cold: with everything still to be fetched; fresh: the data are
made meanwhile; again: the data are remembered), the time to a first curve, bytes fetched, and what one reading of the gauges
takes. The peer, ``peer_page.js``, trains on the same remembered batches, and must arrive at the same losses.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from richness.lab import manifest
from richness.site.places import LABORATORY
from richness.site.serving import background
from richness.site.weighing import BROWSER_FLAGS, chromium

TURNS = 7
ASK = {
    "gamma": 1.0, "eta": 0.1, "depth": 3, "width": 64, "loss": "mse", "task": "digits8", "optimizer": "sgd",
    "batch_size": 64, "steps": 1000, "seed": 0,
}  # fmt: skip

MEASURE = """async ([ask, turns]) => {
  const { pageBackend } = await import("./engine/client.js");
  const reports = [], waiting = [];
  const backend = pageBackend("engine/", (one) => {
    reports.push(one);
    for (const wait of [...waiting]) if (wait.of(one)) { waiting.splice(waiting.indexOf(wait), 1); wait.go(performance.now()); }
  });
  const next = (of) => new Promise((go) => waiting.push({ of, go }));
  const lost = next((one) => one.kind === "lost").then(() => { throw new Error(reports.at(-1).message); });
  const run = async (more) => {
    const begun = performance.now(), before = reports.length;
    const curve = next((one) => one.kind === "curve");
    const end = next((one) => one.kind === "state" && one.state === "finished");
    const last = next((one) => one.kind === "gauges" && one.step === ask.steps);
    backend.start({ ...ask, ...more });
    const times = await Promise.race([Promise.all([curve, end, last]), lost]);
    const rows = reports.slice(before), gauges = rows.filter((one) => one.kind === "gauges").length;
    return { curve: times[0] - begun, end: times[1] - begun, gauges: (times[2] - begun) / gauges,
      loss: rows.filter((one) => one.kind === "curve").flatMap((one) => [...one.loss]) };
  };
  const cold = await run({}), again = [], fresh = [];
  for (let i = 0; i < turns; i++) again.push(await run({ gamma: 1 + (i + 1) / 10 }));
  for (let i = 0; i < turns; i++) fresh.push(await run({ seed: i + 1 }));
  const same = await run({});
  backend.close();
  return { cold, again, fresh, loss: same.loss };
}"""

PEER = """async ([ask, turns]) => {
  const worker = new Worker("./peer.js", { type: "module" });
  const answer = new Promise((go, fail) => {
    worker.onmessage = ({ data }) => go(data);
    worker.onerror = (event) => fail(new Error(event.message));
  });
  worker.postMessage({ ask, turns });
  return answer;
}"""

PEER_WORKER = """import { train } from "./peer_page.js";
import { Kernel, compiled, unpackedDigits } from "./engine/compiled.js";
import { resolved } from "./engine/trainer.js";

self.onmessage = async ({ data: { ask, turns } }) => {
  const base = new URL("./engine/", import.meta.url).href;
  const manifest = await (await fetch(base + "manifest.json")).json(), about = resolved(ask, manifest);
  const { task: { inputs, outputs }, depth, width, batch: count } = about, kernel = new Kernel(await compiled(base));
  kernel.useDigits(await unpackedDigits(base, manifest.digits));
  kernel.begin(about, ask);
  const all = kernel.read(about.parameters, (address) => kernel.doors.read_weights(address)), shapes = [], weights = [];
  for (let layer = 0, at = 0; layer < depth; layer++) {
    const shape = [layer < depth - 1 ? width : outputs, layer ? width : inputs], size = shape[0] * shape[1];
    shapes.push(shape);
    weights.push(all.subarray(at, at += size));
  }
  const batches = [];
  for (let step = 0; step <= ask.steps; step++) {
    const address = kernel.draw(about, ask.seed, step, 1), first = kernel.outputsAtStart(address, 1);
    const samples = kernel.floats(address, count * (inputs + outputs)).slice(), raw = kernel.floats(first, outputs * count);
    const start = Float32Array.from({ length: raw.length }, (_, i) => raw[(i % outputs) * count + Math.floor(i / outputs)]);
    batches.push({ x: samples.subarray(0, count * inputs), targets: samples.subarray(count * inputs), start });
    [address, first].forEach((one) => kernel.release(one));
  }
  const times = [];
  let losses;
  for (let i = 0; i < turns; i++) {
    const begun = performance.now();
    losses = train({ shapes, weights, batches, count, gamma: ask.gamma, lr: about.lr });
    times.push(performance.now() - begun);
  }
  self.postMessage({ times, loss: [...losses] });
};
"""


def measured(turns: int = TURNS) -> dict[str, Any]:
    """Everything, as measured in one browser; raises RuntimeError where peer and engine disagree."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest.write(folder / "engine")
        shutil.copytree(LABORATORY / "engine", folder / "engine", dirs_exist_ok=True)
        shutil.copy(Path(__file__).with_name("peer_page.js"), folder)
        (folder / "peer.js").write_text(PEER_WORKER, encoding="utf-8")
        (folder / "index.html").write_text("<!doctype html><title>Bench</title>", encoding="utf-8")
        with background(folder) as address, sync_playwright() as running:
            browser = running.chromium.launch(executable_path=chromium(), headless=True, args=list(BROWSER_FLAGS))
            page = browser.new_page()
            fetched: dict[str, int] = {}
            page.on(
                "response", lambda answer: fetched.__setitem__(answer.url, int(answer.headers.get("content-length", 0)))
            )
            page.goto(address)
            ours = page.evaluate(MEASURE, [ASK, turns])
            sizes = {url.removeprefix(address): size for url, size in fetched.items()}
            theirs = page.evaluate(PEER, [ASK, turns])
            browser.close()
    apart = max(abs(a - b) / b for a, b in zip(ours["loss"], theirs["loss"], strict=True))
    if not apart < 1e-3:
        raise RuntimeError(f"the peer's losses differ by {apart:.1e}: nothing is compared")
    return {"ours": ours, "theirs": theirs, "apart": apart, "fetched": sum(sizes.values()), "files": sizes}


def main() -> int:
    """Print the table; ``--json`` the numbers behind it."""
    found = measured()
    if "--json" in sys.argv:
        print(json.dumps(found))
        return 0
    ours, theirs = found["ours"], found["theirs"]["times"]

    def typical(rows: list[dict[str, float]], of: str) -> float:
        return statistics.median(row[of] for row in rows)

    peer = statistics.median(theirs)
    print(
        f"engine in Chromium, 1,000 steps of 64-64-64-10 at batch 64; the peer took {peer:.0f} ms (first {theirs[0]:.0f})"
    )
    for name, ms in (
        ("again", typical(ours["again"], "end")),
        ("fresh", typical(ours["fresh"], "end")),
        ("cold", ours["cold"]["end"]),
    ):
        print(f"  {name:<6} {ms:7.0f} ms   {peer / ms:5.2f} x the peer's speed")
    print(
        f"  first curve after a start: {typical(ours['again'], 'curve'):.0f} ms; of a new seed "
        f"{typical(ours['fresh'], 'curve'):.0f} ms"
    )
    print(f"  first curve with nothing loaded: {ours['cold']['curve']:.0f} ms, {found['fetched'] / 1e6:.2f} MB fetched")
    print(
        f"  one reading of the gauges: {typical(ours['again'], 'gauges'):.0f} ms; losses apart by {found['apart']:.0e}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
