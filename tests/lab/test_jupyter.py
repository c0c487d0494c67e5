"""The laboratory in a real JupyterLab, driven in Chromium."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from browsers import free_port
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = [
    "import richness\n\nlab = richness.Lab(gamma=1.0, eta=2.0, width=32, batch_size=16, steps=200_000)\nlab",
    "1 + 1",
    "from richness.lab.settings import settings_of\n\nrun = lab._training_thread.training\n"
    "print(settings_of(run.experiment), run.eta, lab.eta, run.state)",
    "lab.close()",
]
IDLE = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
NOW = 'path[data-curve="loss"][data-role="now"]'


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab with one notebook, ``lab.ipynb``."""
    folder = tmp_path_factory.mktemp("jupyter")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "lab.ipynb")
    port = free_port()
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


def output(page: Page, index: int) -> Locator:
    return page.locator(".jp-CodeCell").nth(index).locator(".jp-OutputArea-output").last


def drawn(page: Page, path: str | None) -> str:
    """Wait until the live curve is another than ``path``; return it."""
    page.wait_for_function(
        "([find, old]) => { const d = document.querySelector(find)?.getAttribute('d'); return d && d !== old; }",
        arg=[NOW, path],
        timeout=180_000,  # a new kernel reads torch first
    )
    return page.locator(NOW).first.get_attribute("d") or ""


@pytest.fixture
def page(jupyter: str, chromium: Browser) -> Iterator[Page]:
    """The notebook, open, its kernel ready; nothing may go wrong in the page."""
    context = chromium.new_context(viewport={"width": 1300, "height": 1400})
    context.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{jupyter}/lab/tree/lab.ipynb?reset")
    page.wait_for_selector(".jp-CodeCell")
    # A kernel may have to be chosen, and takes its time.
    idle, choose = page.locator(IDLE), page.locator(".jp-Dialog button.jp-mod-accept")
    expect(idle.or_(choose).first).to_be_attached(timeout=60_000)
    if choose.is_visible():
        choose.click()
    expect(idle).to_be_attached(timeout=60_000)
    begun = page.locator(".jp-CodeCell").first.locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|\d+)\]"))
    for _ in range(20):  # JupyterLab may swallow keys for a moment after it says that its kernel is idle
        run_cell(page, 0)
        with contextlib.suppress(TimeoutError):
            begun.wait_for(timeout=3_000)
            break
    page.wait_for_selector(f".richness-lab {NOW}", timeout=120_000)
    yield page
    expect.set_options(timeout=5_000)
    page.screenshot(path=os.environ.get("RICHNESS_SCREENSHOT", str(Path(tempfile.gettempdir()) / "jupyter.png")))
    context.close()
    assert errors == []


def test_a_reader_trains_steers_and_loses_the_kernel(page: Page):
    status, lab = page.locator(".richness-lab .rl-status"), page.locator(".richness-lab")
    first = drawn(page, drawn(page, None))  # it grows while it trains
    expect(status).to_contain_text(re.compile(r"γ = 1\b.*training"))
    expect(page.locator("[data-richness-lab] .widget-slider")).to_have_count(2)

    # The kernel answers while the run goes on.
    run_cell(page, 1)
    expect(output(page, 1)).to_have_text("2")

    # The slider of gamma starts another run.
    slider = page.locator(".widget-slider", has_text="gamma").locator(".noUi-handle, [role=slider]").first
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    # The browser holds a slider's words back while the kernel is busy: the numbers are Python's.
    numbers = page.locator("[data-richness-lab] .widget-text input")
    expect(numbers.nth(0)).to_have_value("10")
    expect(status).to_contain_text("γ = 10 (rich)")
    assert drawn(page, first) != first
    expect(page.locator('path[data-curve="line"]').first).to_be_attached()

    # From here on: a move of eta changes the run that is there.
    lab.get_by_role("button", name="from here on").click()
    slider = page.locator(".widget-slider", has_text="eta").locator(".noUi-handle, [role=slider]").last
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    expect(numbers.nth(1)).to_have_value("1.26")
    run_cell(page, 2)
    said = re.compile(r"'gamma': (\S+), 'eta': 2.0,.*\} (\S+) (\S+) training\b")
    expect(output(page, 2)).to_contain_text(said)
    asked, eta, shown = said.search(output(page, 2).inner_text()).groups()  # type: ignore[union-attr]
    assert float(asked) == pytest.approx(10.0)
    assert float(eta) == float(shown) == 1.26
    lab.get_by_role("button", name="starts anew").click()

    # Pause, step, go on, rewind.
    lab.get_by_role("button", name="Pause").click()
    expect(status).to_contain_text("paused at step")
    held = int(re.search(r"paused at step (\d+)", status.inner_text()).group(1))  # type: ignore[union-attr]
    lab.get_by_role("button", name="Step", exact=True).click()
    expect(lab).to_contain_text(str(held + 1))
    lab.get_by_role("button", name="Rewind").click()
    expect(status).to_contain_text("paused at step 0")

    # Another depth is another run, and the sliders stay where they are.
    lab.get_by_text("Network, data and seed").click()
    lab.get_by_label("depth").select_option("4")
    expect(status).to_contain_text("training")
    run_cell(page, 2)
    expect(output(page, 2)).to_contain_text("'depth': 4")

    # A restarted kernel: the view says so, what was measured can still be explored, and nothing hangs.
    page.get_by_text("Kernel", exact=True).first.click()
    page.get_by_text("Restart Kernel…", exact=True).first.click()
    page.locator(".jp-Dialog button.jp-mod-accept").click()
    expect(status).to_contain_text("The kernel was restarted")
    expect(lab.get_by_role("button", name="Try again")).to_be_enabled()
    lab.get_by_role("button", name="Try again").click()
    expect(status).to_contain_text("The kernel")
    expect(page.locator(IDLE)).to_be_attached(timeout=60_000)
    run_cell(page, 1)
    expect(page.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt")).to_have_text("[1]:")

    # And the cell, run again, brings a new laboratory.
    run_cell(page, 0)
    drawn(page, None)
    run_cell(page, 3)
    page.wait_for_selector(".richness-lab", state="detached")
