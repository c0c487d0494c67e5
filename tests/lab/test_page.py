"""The laboratory on a page, before any script runs; and its size."""

from __future__ import annotations

import gzip
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from richness.lab import Lab, html, measured, pack
from richness.lab.settings import experiment_of
from richness.runs.results import ResultError
from richness.site import pages

LAB = Path(html.__file__).parent

SCRIPT = re.compile(r'<script type="application/json">(.*?)</script>', re.DOTALL)


@pytest.fixture
def on_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RICHNESS_BOOK", "1")


@pytest.fixture
def page(on_page: None, runs: xr.Dataset) -> str:
    lab = Lab(gamma=100.0, eta=8.0, task="digits", precomputed=runs)
    bundle, _ = lab._repr_mimebundle_()
    return bundle["text/html"]


def test_no_widget_and_no_thread_is_made(on_page, runs):
    lab = Lab(precomputed=runs, task="digits")
    assert not hasattr(lab, "widget")
    with pytest.raises(RuntimeError, match="RICHNESS_BOOK"):
        lab.train()
    lab.close()


def test_it_reads_without_scripts(page, runs):
    assert page.startswith('<div class="richness-lab" data-richness-lab data-gamma="100" data-eta="8"')
    _, e = pack.nearest(runs, 100.0, 8.0, 0)
    eta = f"{float(runs.eta[e]):.3g}"
    assert f"γ = 100 (rich), η = {eta}" in page
    assert "Precomputed on digits" in page
    picture = ET.fromstring(re.search(r"<svg.*?</svg>", page, re.DOTALL)[0])
    lines = picture.findall("polyline")
    assert len(lines) == 2
    assert all(len(line.get("points").split()) > 3 for line in lines)
    assert "style=" not in page  # a strict policy refuses style attributes


def test_its_table_holds_the_measured_numbers(page, runs):
    g, e = pack.nearest(runs, 100.0, 8.0, 0)
    rows = re.findall(r"<tr>(<td>.*?)</tr>", page)
    last = re.findall(r"<td>(.*?)</td>", rows[-1])
    cell = runs.isel(gamma=g, eta=e, seed=0)
    assert last[0] == "1000"
    assert float(last[1]) == pytest.approx(float(cell.eta) * 1000 / 100, rel=1e-3)
    assert float(last[2]) == pytest.approx(float(cell.loss[-1]), rel=1e-3)
    assert float(last[3]) == pytest.approx(float(cell.sharpness[-1]), rel=1e-3)


def test_its_setup_holds_what_the_instrument_needs(page, runs):
    text = SCRIPT.search(page)[1]
    assert "<" not in text
    setup = json.loads(text)
    assert (setup["ask"]["gamma"], setup["ask"]["eta"], setup["ask"]["task"]) == (100, 8, "digits")
    assert setup["runs"]["mlp3_mse_digits"]["version"] == 1
    assert "digits8" in setup["classes"] and "teacher" not in setup["classes"]
    assert setup["hash"] == experiment_of(setup["ask"]).hash  # of the run that is trained live
    assert setup["commit"]


def test_other_networks_runs_are_only_named(page):
    """A chapter must not carry the runs of six networks: the site's build puts them beside its pages."""
    others = {k: v for k, v in json.loads(SCRIPT.search(page)[1])["runs"].items() if k != "mlp3_mse_digits"}
    assert others["mlp3_mse_digits8"] == "stored:laboratory_mlp3_mse"
    assert all(isinstance(entry, str) for entry in others.values())


def test_the_books_boundaries_are_there_for_every_network_of_the_page(page):
    boundaries = json.loads(SCRIPT.search(page)[1])["boundaries"]
    assert set(boundaries) == {f"mlp{d}_{loss}_digits8" for d in (2, 3, 4) for loss in ("mse", "cross_entropy")}
    found = boundaries["mlp3_mse_digits8"]
    at_one = found["gamma"].index(1.0)
    assert found["eta_min"][at_one] < found["eta_max"][at_one]


def test_a_setups_runs_become_files_of_the_site(page, tmp_path):
    moved = pages.move_laboratory_data(page, tmp_path, "../", "03-some")
    assert "<script" not in moved
    source = re.search(r'data-src="\.\./(_figures/\w+\.json)"', moved)[1]
    setup = json.loads((tmp_path / source).read_text())
    assert setup["chapter"] == "03-some"
    assert len((tmp_path / source).read_bytes()) < 20_000
    for name in setup["runs"].values():
        assert json.loads((tmp_path / "_figures" / name).read_text())["version"] == 1
    assert {"mlp3_mse_digits", "mlp3_mse_digits8"} <= set(setup["runs"])


def test_a_diverged_run_says_so(on_page, runs):
    text = Lab(gamma=1.0, eta=200.0, task="digits", precomputed=runs).html()
    assert re.search(r"diverged at step \d+", text)


def test_every_number_has_its_word():
    assert [html.regime(g) for g in (1e-3, 1.0, 10.0)] == ["lazy", "between lazy and rich", "rich"]


def test_runs_that_are_missing_are_named(on_page, monkeypatch):
    def nothing(name: str) -> xr.Dataset:
        raise ResultError(f"no precomputed result {name}")

    monkeypatch.setattr(measured, "load_once", nothing)
    text = Lab().html()
    assert "The measured runs are missing here: no precomputed result laboratory_mlp3_mse" in text
    assert "trains this network once scripts run" in text


def test_a_network_without_measured_runs_is_named(on_page, monkeypatch, runs):
    monkeypatch.setattr(measured, "load_once", lambda name: runs)
    assert "No runs have been measured for depth 4" in Lab(depth=4).html()
    with pytest.raises(ValueError, match="expected measured runs"):
        Lab(depth=4, precomputed=runs)


def test_the_headline_portrait_fits_in_250_kilobytes(runs):
    """33 γ × about 35 of 135 η × 40 steps, with sharpness at 9 of them."""
    gamma, eta = np.geomspace(1e-4, 1e4, 33), np.geomspace(1e-9, 1e5, 136)
    step = np.unique(np.rint(np.geomspace(1, 1000, 46)).astype(int))
    step = np.concatenate([[0], step])
    band = np.abs(np.log10(eta[None] / (gamma**1.3)[:, None])) < 1.8
    rng = np.random.default_rng(0)
    curves = np.where(band[..., None, None], 10 ** rng.uniform(-3, 0, (33, 136, 1, len(step))), np.nan)
    cells = np.where(band[..., None], 0.05, np.nan)
    probed = np.isin(step, step[:: max(1, len(step) // 8)])
    dims = ("gamma", "eta", "seed")
    big = xr.Dataset(
        {
            "loss": ((*dims, "step"), curves),
            "sharpness": ((*dims, "step"), np.where(probed, curves, np.nan)),
            "accuracy": ((*dims, "step"), np.where(probed, curves, np.nan)),
            "late_loss": (dims, cells),
            "initial_loss": (dims, np.where(band[..., None], 0.1, np.nan)),
            "status": (dims, np.where(band, 0, 2)[..., None].astype(np.int8)),
            "diverged_at": (dims, np.full((33, 136, 1), -1)),
        },
        coords={"gamma": gamma, "eta": eta, "seed": [0], "step": step},
        attrs=runs.attrs,
    )
    packed = pack.pack_runs(big)
    assert 900 < packed["outcome"].count("0") < 1300
    assert len(json.dumps(packed, separators=(",", ":"))) < 250_000
    assert len(packed["step"]) >= 40


def test_the_instrument_stays_small():
    """A page fetches it when a reader comes near; Jupyter stores it once an instance."""
    text = b"".join((LAB / name).read_bytes() for name in ("boot.js", "lab.bundle.js"))
    assert len(text) <= 52_000
    assert len(gzip.compress(text, 9)) <= 21_000


def test_nothing_is_evaluated_and_nobody_else_is_called():
    for path in (*LAB.glob("*.js"), LAB / "lab.css"):
        assert not re.search(r"\beval\(|new Function|https?://", path.read_text(encoding="utf-8")), path.name
