"""lab.js and page.js in node: what is read, found and drawn."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from richness.book.charts.theme import LATE_LOSS, LAZY, MIDDLE, RICH, STABILITY
from richness.book.lab import html, pack
from richness.networks.parameterization import natural_eta

LAB = Path(pack.__file__).parent
PAGE = "const page = await import('./page.js'); const runs = page.openRuns(args.packed);"


@pytest.fixture(scope="module")
def packed(runs):
    return pack.pack(runs, seed=1)


def test_a_curve_arrives_as_it_was_sent(node):
    sent = pack.curve(7, [0, 1, 10], [0.1, 0.05, 0.02], [float("nan"), 3.0, 2.5])
    body = """const raw = Uint8Array.from(atob(args.data), (c) => c.charCodeAt(0));
    const padded = new Uint8Array(raw.length + 3); padded.set(raw, 3);  // as a view into a larger message, not aligned
    return lab.unpackCurve(new DataView(padded.buffer, 3));"""
    got = node(body, data=base64.b64encode(sent).decode())
    assert got["number"] == 7
    assert got["step"] == [0, 1, 10]
    np.testing.assert_allclose(got["loss"], [0.1, 0.05, 0.02], rtol=1e-6)
    assert got["sharpness"] == [None, 3.0, 2.5]  # JSON writes NaN as null


def test_an_empty_message_is_an_empty_curve(node):
    assert node("return lab.unpackCurve(undefined)") == {"number": 0, "step": [], "loss": [], "sharpness": []}


@pytest.mark.parametrize(("g", "e"), [(0, 3), (4, 20), (8, 27), (4, 23)])
def test_a_cell_survives_packing(node, runs, packed, g, e):
    cell = runs.isel(gamma=g, eta=e, seed=1)
    assert int(cell.status) != 2, "choose a cell that was run"
    got = node(PAGE + "return runs.cell(args.g, args.e)", packed=packed, g=g, e=e)
    loss = np.array(got["loss"], dtype=float)
    np.testing.assert_allclose(loss, cell.loss.values, rtol=2e-3)
    sharp = cell.sharpness.sel(step=packed["probed"]).values
    np.testing.assert_allclose(np.array(got["sharpness"], dtype=float), sharp, rtol=2e-3)
    assert got["died"] == int(cell.diverged_at)
    assert got["gamma"] == pytest.approx(float(cell.gamma), rel=1e-5)
    assert got["eta"] == pytest.approx(float(cell.eta), rel=1e-5)
    assert got["lr"] == pytest.approx(float(cell.lr_raw), rel=1e-5)


def test_outcomes_are_those_of_the_result(runs, packed):
    digits = np.array(list(packed["outcome"]), dtype=int).reshape(9, 33)
    status = runs.status.isel(seed=1).values
    np.testing.assert_array_equal(digits == 4, status == 2)
    np.testing.assert_array_equal(digits == 3, status == 1)
    assert set(digits.ravel()) >= {0, 2, 3, 4}


@pytest.mark.parametrize(("gamma", "eta"), [(1.0, 0.1), (130.0, 1e-9), (1e-9, 1e9), (1e4, 500.0), (0.003, 2e-5)])
def test_nearest_is_the_same_on_both_sides(node, runs, packed, gamma, eta):
    got = node(PAGE + "return page.nearest(runs, args.gamma, args.eta)", packed=packed, gamma=gamma, eta=eta)
    g, e = pack.nearest(runs, gamma, eta, seed=1)
    assert (got["g"], got["e"]) == (g, e)
    assert int(runs.status[g, e, 1]) != 2
    assert got["off"] == pytest.approx(np.log10(eta / float(runs.eta[e])), abs=1e-5)


def test_another_format_is_refused(node, packed):
    body = "const page = await import('./page.js'); try { page.openRuns(args.packed) } catch (e) { return e.message }"
    assert "format 9" in node(body, packed=packed | {"version": 9})


def test_a_large_result_is_thinned_to_its_limit(runs):
    small = pack.pack(runs, limit=9_000)
    assert len(json.dumps(small, separators=(",", ":"))) <= 9_000
    assert small["step"][0] == 0
    assert small["step"][-1] == 1000


def test_path_breaks_where_numbers_end(node):
    assert node("return lab.path([0, 1, 2, 3], [5, NaN, 6, 7])") == "M0.0 5.0M2.0 6.0L3.0 7.0"


def test_decades_are_whole_and_few(node):
    assert node("return lab.decades(-2.2, 1.1, 9)") == [-2, -1, 0, 1]
    assert len(node("return lab.decades(-9, 5, 5)")) <= 5


def test_colours_are_the_books(node):
    gammas = [1e-6, 1e-4, 0.03, 1.0, 30.0, 1e4]
    assert node("return args.gammas.map(lab.colour)", gammas=gammas) == [html.colour(g) for g in gammas]
    assert html.colour(1e-4) == LAZY
    assert html.colour(1e4) == RICH
    assert html.colour(1.0) == MIDDLE
    text = "".join((LAB / name).read_text(encoding="utf-8") for name in ("lab.js", "page.js"))
    for shade in (STABILITY, *LATE_LOSS):
        assert shade in text


def test_natural_eta_is_pythons(node):
    got = node("return args.gammas.map((g) => lab.natural(g, 3))", gammas=[1e-3, 1.0, 50.0])
    np.testing.assert_allclose(got, natural_eta(np.array([1e-3, 1.0, 50.0]), 3))


RUN = {"gamma": 10, "eta": 0.5, "lr": 32, "steps": 1000, "step": [0, 1, 10, 100], "loss": [0.1, 0.09, 0.05, 0.02]}
RUN |= {"sharpness": [0.01, 0.02, None, 0.05], "died": -1, "role": "now"}


def figure(node, axis="t", **changes):
    return node("return lab.figure(args.state)", state={"width": 700, "axis": axis, "runs": [RUN | changes]})


def test_a_figure_holds_both_curves_and_the_line(node):
    svg = figure(node)
    for name in ("loss", "sharpness", "line"):
        assert f'data-curve="{name}"' in svg
    assert "diverged" not in svg


def test_a_divergence_says_where(node):
    assert "diverged at step 23" in figure(node, died=23)


def test_tau_moves_the_axis(node):
    assert "τ = ηt/γ" in figure(node, axis="tau")
    assert "steps t" in figure(node)


def test_a_run_without_numbers_and_no_run_draw(node):
    assert "<svg" in figure(node, step=[], loss=[], sharpness=[])
    assert "No run yet" in node("return lab.figure({ width: 320, axis: 't', runs: [] })")


def test_an_infinite_loss_stays_in_the_frame(node):
    svg = figure(node, loss=[0.1, 1e10, 1e30, 1e38], died=101)
    assert "NaN" not in svg
    assert "10³⁰" not in svg


def test_the_plane_tells_outcomes_apart_and_finds_its_points(node, packed):
    body = (
        PAGE
        + """const out = [];
    for (const straight of [true, false]) {
      const s = page.planeScales(runs, straight, 300);
      for (const [x, y] of [[60, 200], [150, 120], [250, 60]]) {
        const at = page.planeAt(s, x, y, runs.depth, straight);
        const ly = Math.log10(at.eta / (straight ? lab.natural(at.gamma, runs.depth) : 1));
        out.push(s.box.x + (Math.log10(at.gamma) - s.xr[0]) / (s.xr[1] - s.xr[0]) * s.box.w - x);
        out.push(s.box.y + s.box.h - (ly - s.yr[0]) / (s.yr[1] - s.yr[0]) * s.box.h - y);
      }
    }
    return [Math.max(...out.map(Math.abs)), page.plane(runs, true, 300), page.plane(runs, false, 300)];"""
    )
    off, straight, raw = node(body, packed=packed)
    assert off < 1e-6
    assert straight != raw
    for svg in (straight, raw):
        assert "NaN" not in svg
        assert svg.count("<path") > 8
