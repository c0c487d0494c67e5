"""The laboratory in a real JupyterLab, driven in Chromium."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = ["import richness\n\nlab = richness.Lab(gamma=1.0, eta=2.0, steps=20000)\nlab", "1 + 1", "lab.close()"]
NOW = 'path[data-curve="loss"][data-role="now"]'


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab with one notebook, ``lab.ipynb``."""
    folder = tmp_path_factory.mktemp("jupyter")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "lab.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "jupyter_server_config.py").write_text(
        "from jupyterlab.galata import configure_jupyter_server\nconfigure_jupyter_server(c)\n"
        f"c.ServerApp.port = {port}\nc.ServerApp.port_retries = 0\nc.ServerApp.root_dir = {str(folder)!r}\n"
        "c.ServerApp.ip = '127.0.0.1'\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "RICHNESS_BOOK"}
    environment |= {"JUPYTER_CONFIG_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    log = (folder / "log.txt").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser"],
        cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api", server, Path(log.name))
        yield address
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
        server.kill()
        log.close()


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()[-3000:]
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=2):
            return
        time.sleep(0.3)
    pytest.fail(f"JupyterLab did not answer: {log.read_text()[-3000:]}")


def run_cell(page: Page, index: int) -> None:
    cell = page.locator(".jp-CodeCell").nth(index)
    cell.locator(".jp-InputArea-editor").click()
    page.keyboard.press("Control+Enter")


def moved(page: Page, path: str | None) -> str:
    """Wait until the live curve is another than ``path``; return it."""
    page.wait_for_function(
        "([find, old]) => { const d = document.querySelector(find)?.getAttribute('d'); return d && d !== old; }",
        arg=[NOW, path],
        timeout=60_000,
    )
    return page.locator(NOW).first.get_attribute("d") or ""


def test_a_slider_trains_and_the_notebook_stays_free(jupyter: str, chromium: Browser, tmp_path: Path):
    context = chromium.new_context(viewport={"width": 1300, "height": 1000})
    context.set_default_timeout(60_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{jupyter}/lab/tree/lab.ipynb?reset")
    page.wait_for_selector(".jp-CodeCell")
    with contextlib.suppress(Exception):  # a kernel may have to be chosen
        page.locator(".jp-Dialog button.jp-mod-accept").click(timeout=3_000)

    run_cell(page, 0)
    page.wait_for_selector(".richness-lab .rl-figure", timeout=120_000)
    first = moved(page, None)
    first = moved(page, first)  # it grows while it trains
    status = page.locator(".richness-lab .rl-status")
    expect(status).to_contain_text("gamma = 1 (between lazy and rich)")

    # The kernel answers while the run goes on.
    run_cell(page, 1)
    expect(page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea-output")).to_have_text("2")
    expect(status).to_contain_text(re.compile(r"step \d{2,} of 20000"), timeout=60_000)

    expect(page.locator("[data-richness-lab] .widget-slider")).to_have_count(2)
    slider = page.locator(".widget-slider", has_text="gamma").locator(".noUi-handle, [role=slider]").first
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    expect(status).to_contain_text("(rich)")
    assert moved(page, first) != first
    expect(status).to_contain_text(re.compile(r"step \d{3} of 20000"), timeout=60_000)
    expect(page.locator('path[data-curve="line"]')).to_have_count(1)
    assert page.locator('path[data-role="trace"]').count() >= 2
    page.get_by_role("button", name="τ = ηt/γ").click()
    expect(page.locator(".rl-figure")).to_contain_text("τ = ηt/γ")
    page.screenshot(path=os.environ.get("RICHNESS_SCREENSHOT", str(tmp_path / "jupyter.png")))
    run_cell(page, 2)
    page.wait_for_selector(".rl-figure", state="detached")
    assert errors == []
    context.close()
