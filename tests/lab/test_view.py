"""The laboratory's pure parts in node: what is read, found, drawn, and written into links and commands."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from richness import cli
from richness.analysis import boundaries
from richness.cli import train
from richness.lab import html, pack
from richness.networks.parameterization import natural_eta
from richness.plots.theme import LATE_LOSS, LAZY, MIDDLE, RICH, STABILITY
from richness.runs.experiment import Experiment

LAB = Path(pack.__file__).parent
ASK = {"gamma": 30, "eta": 0.5, "depth": 3, "width": 64, "loss": "mse", "task": "digits8"}
ASK |= {"optimizer": "sgd", "batch_size": 64, "steps": 1000, "seed": 7}
RUN = f"const run = runs.newRun({{ number: 1, ask: {json.dumps(ASK)}, lr: 32, line: 0.0625 }}); run.role = 'now';"
MEASURED = "const measured = runs.openRuns(args.packed);"


@pytest.fixture(scope="module")
def packed(runs):
    return pack.pack_runs(runs, seed=1)


# -- numbers


def test_decades_are_whole_and_few(node):
    assert node("return numbers.decades(-2.2, 1.1, 9)") == [-2, -1, 0, 1]
    assert len(node("return numbers.decades(-9, 5, 5)")) <= 5


def test_even_ticks_are_round(node):
    assert node("return numbers.evenly(0, 1000, 4)") == [0, 500, 1000]
    assert node("return numbers.evenly(0, 1, 4)") == [0, 0.5, 1]


def test_log_ticks_stand_in_narrow_ranges_too(node):
    for low, high in ((-1.2, -0.8), (-3.0, -1.9), (-5.0, 2.0)):
        ticks = node("return numbers.logTicks(args.low, args.high, 6)", low=low, high=high)
        assert len(ticks) >= 2
        assert all(low - 1e-9 <= at <= high + 1e-9 for at, _ in ticks)


def test_colours_are_the_books(node):
    gammas = [1e-6, 1e-4, 0.03, 1.0, 30.0, 1e4]
    assert node("return args.gammas.map(numbers.colour)", gammas=gammas) == [html.colour(g) for g in gammas]
    assert [html.colour(g) for g in (1e-4, 1.0, 1e4)] == [LAZY, MIDDLE, RICH]
    text = "".join((LAB / name).read_text(encoding="utf-8") for name in ("numbers.js", "plane.js"))
    assert all(shade in text for shade in (STABILITY, *LATE_LOSS))


@pytest.mark.parametrize("optimizer", ["sgd", "signsgd"])
def test_natural_eta_is_pythons(node, optimizer):
    got = node("return args.g.map((g) => numbers.natural(g, 3, args.o))", g=[1e-3, 1.0, 50.0], o=optimizer)
    np.testing.assert_allclose(got, natural_eta(np.array([1e-3, 1.0, 50.0]), 3, optimizer))


# -- measured runs


@pytest.mark.parametrize(("g", "e"), [(0, 3), (4, 20), (8, 27), (4, 23)])
def test_a_cell_survives_packing(node, runs, packed, g, e):
    cell = runs.isel(gamma=g, eta=e, seed=1)
    assert int(cell.status) != 2, "choose a cell that was run"
    got = node(MEASURED + "return measured.cell(args.g, args.e)", packed=packed, g=g, e=e)
    np.testing.assert_allclose(np.array(got["loss"], dtype=float), cell.loss.values, rtol=2e-3)
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
    got = node(MEASURED + "return runs.nearest(measured, args.gamma, args.eta)", packed=packed, gamma=gamma, eta=eta)
    g, e = pack.nearest(runs, gamma, eta, seed=1)
    assert (got["g"], got["e"]) == (g, e)
    assert int(runs.status[g, e, 1]) != 2
    assert got["off"] == pytest.approx(np.log10(eta / float(runs.eta[e])), abs=1e-5)


def test_another_format_is_refused(node, packed):
    body = "try { runs.openRuns(args.packed) } catch (e) { return e.message }"
    assert "format 9" in node(body, packed=packed | {"version": 9})


def test_a_large_result_is_thinned_to_its_limit(runs):
    small = pack.pack_runs(runs, limit=9_000)
    assert len(json.dumps(small, separators=(",", ":"))) <= 9_000
    assert (small["step"][0], small["step"][-1]) == (0, 1000)


def test_packed_boundaries_are_the_medians_over_seeds(runs):
    single = runs.assign(peak_loss=runs.loss.max("step"))
    packed = pack.pack_boundaries(single)
    expected = np.log10(boundaries.eta_max(single)).median("seed")
    got = np.array([np.nan if v is None else v for v in packed["eta_max"]])
    np.testing.assert_allclose(np.log10(got), expected, atol=2e-3)
    assert (packed["depth"], packed["width"], packed["steps"], len(packed["gamma"])) == (3, 64, 1000, 9)


# -- a run as it comes in


def test_a_curve_grows_and_tau_sums_eta_over_gamma(node):
    got = node(
        RUN
        + """runs.addCurve(run, { from: 0, step: [0, 1, 2], loss: [3, 2, 1], eta: [0.5, 0.5, 0.5] });
    runs.addCurve(run, { from: 3, step: Int32Array.of(3, 4), loss: Float32Array.of(0.5, 0.25), eta: [0.1, 0.1] });
    return [run.count, run.curve, run.changes, runs.tauAt(run, 4), runs.tauAt(run, 10)];"""
    )
    count, curve, changes, now, later = got
    assert count == 5
    assert curve["loss"] == [3, 2, 1, 0.5, 0.25]
    np.testing.assert_allclose(curve["tau"], np.concatenate([[0], np.cumsum([0.5, 0.5, 0.5, 0.1])]) / 30)
    assert changes == [{"step": 3, "eta": 0.1}]
    assert now == pytest.approx(1.6 / 30)
    assert later == pytest.approx((1.6 + 6 * 0.1) / 30)


def test_a_change_before_the_first_step_is_one(node):
    """As after a rewind, where the run stands still at step 0; and float32's rounding is none."""
    body = RUN + "runs.addCurve(run, { from: 0, step: [0, 1], loss: [3, 2], eta: args.eta }); return run.changes;"
    assert node(body, eta=[0.1, 0.1]) == [{"step": 0, "eta": 0.1}]
    assert node(body, eta=[float(np.float32(0.5)) * (1 + 1e-8), 0.5]) == []


def test_from_zero_replaces_and_a_gap_is_not_taken(node):
    got = node(
        RUN
        + """runs.addCurve(run, { from: 0, step: [0, 1], loss: [3, 2], eta: [0.5, 0.1] });
    runs.addCurve(run, { from: 7, step: [7], loss: [9], eta: [0.5] });
    const gap = run.count;
    runs.addCurve(run, { from: 0, step: [0], loss: [4], eta: [0.5] });
    return [gap, run.count, run.curve.loss, run.changes];"""
    )
    assert got == [2, 1, [4], []]


def test_gauges_may_come_late(node):
    body = "for (const step of [10, 0, 5, 5]) runs.addGauges(run, { step, sharpness: step }); return run.gauges;"
    assert [g["step"] for g in node(RUN + body)] == [0, 5, 10]


# -- panels

FILL = """const n = args.n || 4; runs.addCurve(run, { from: 0, step: Array.from({ length: n }, (_, i) => i),
    loss: Array.from({ length: n }, (_, i) => (args.loss ? args.loss[i] : 0.1 / (1 + i))), eta: Array(n).fill(0.5) });
    for (const step of [0, 1, 3]) runs.addGauges(run, { step, sharpness: 0.01 + step, along: 0.005 + step / 2,
      accuracy: 0.5, test_loss: 0.3, alignment: 0.2, drift: [0.1 * step, 0.2 * step] });"""
VIEW = "{ width: 480, height: 200, below: true, axis: args.axis || 't', scale: args.scale || 'log', runs: [run] }"


def drawn(node, key="loss", **args: Any) -> str:
    return node(RUN + FILL + args.pop("more", "") + f"return panels.panel('{key}', {VIEW});", **args)


def test_a_path_breaks_where_numbers_end(node):
    body = "const y = [5, NaN, 6, 7]; return panels.thinCurve(4, (i) => 10 * i, (i) => y[i]);"
    assert node(body) == "M0.0 5.0M20.0 6.0L30.0 7.0"


def test_a_long_curve_is_thinned_to_pixels_and_keeps_its_spikes(node):
    body = """const y = (i) => (i === 5123 ? 1000 : i % 7);
    return panels.thinCurve(10000, (i) => 300 * i / 10000, y);"""
    path = node(body)
    points = [tuple(map(float, p.split())) for p in re.findall(r"[ML]([\d.]+ [\d.]+)", path)]
    assert len(points) <= 4 * 301
    assert max(y for _, y in points) == 1000
    assert {y for _, y in points} >= {0.0, 6.0}


def test_every_panel_draws_on_every_axis(node):
    body = """const out = {};
    for (const key of Object.keys(panels.PANELS)) for (const axis of ['t', 'tau']) for (const scale of ['log', 'linear'])
      out[[key, axis, scale]] = panels.panel(key, { width: 480, height: 200, below: true, axis, scale, runs: [run] });
    return out;"""
    pictures = node(RUN + FILL + body)
    assert len(pictures) == 24
    for name, svg in pictures.items():
        key, axis, _ = name.split(",")
        assert svg.count(f'data-curve="{key}" data-role="now"') == (2 if key == "drift" else 1)
        assert svg.count('data-curve="along"') == (key == "sharpness")
        assert ("τ = ηt/γ" if axis == "tau" else "steps t") in svg
        assert "NaN" not in svg
    assert len(set(pictures.values())) == 24


def test_the_stability_line_moves_with_eta(node):
    before = re.search(r'data-curve="line"[^>]* d="([^"]+)"', drawn(node, "sharpness"))[1]
    more = "runs.addCurve(run, { from: 4, step: [4, 5], loss: [0.1, 0.1], eta: [0.05, 0.05] });"
    after = re.search(r'data-curve="line"[^>]* d="([^"]+)"', drawn(node, "sharpness", more=more))[1]
    assert before.count("V") == 0
    assert after.count("V") == 1


def test_a_divergence_says_where(node):
    assert "diverged at step 3" in drawn(node, more="run.died = 3;")
    assert "diverged" not in drawn(node)


def test_an_infinite_loss_stays_in_the_frame(node):
    svg = drawn(node, loss=[0.1, 1e10, 1e30, 1e300], more="run.died = 4;")
    assert "NaN" not in svg
    assert "10³⁰" not in svg


def test_a_panel_without_runs_and_a_run_without_points_draw(node):
    view = "{ width: 200, height: 150, axis: 'tau', scale: 'log', runs: [%s] }"
    assert "no run yet" in node(f"return panels.panel('loss', {view % ''});")
    assert "not measured yet" in node(RUN + f"return panels.panel('loss', {view % 'run'});")


def test_traces_carry_their_letters(node):
    assert re.search(r'class="rl-letter">C</text>', drawn(node, more="run.role = 'trace'; run.letter = 'C';"))


def test_a_measured_run_is_dashed_and_its_accuracy_a_point(node, packed):
    body = MEASURED + (
        "const run = runs.measuredRun(measured, measured.cell(4, 20)); run.role = 'near';"
        f"return ['loss', 'sharpness', 'accuracy'].map((key) => panels.panel(key, {VIEW}));"
    )
    loss, sharpness, accuracy = node(body, packed=packed)
    assert 'data-role="near"' in loss and "stroke-dasharray" in loss
    assert 'data-curve="line"' in sharpness
    assert accuracy.count("<circle") == 1


def test_real_valued_samples_are_points_beside_their_line(node):
    assert node("return panels.scatter({ labels: [0.5, -1], guesses: [0.4, NaN] })").count("<circle") == 1


# -- the plane


def test_the_plane_finds_its_points_again(node, packed):
    body = (
        MEASURED
        + """const out = [];
    for (const straight of [true, false]) for (const width of [280, 500]) {
      const s = plane.planeScales({ depth: 3, optimizer: 'sgd', runs: measured, boundary: null, straight, width });
      for (const [x, y] of [[60, 200], [150, 120], [250, 60]]) {
        const at = plane.planeAt(s, x, y), back = plane.planePoint(s, at.gamma, at.eta);
        out.push(Math.abs(back[0] - x), Math.abs(back[1] - y));
      }
    }
    return Math.max(...out);"""
    )
    assert node(body, packed=packed) < 1e-6


def test_the_plane_shows_cells_boundaries_and_theory(node, packed):
    boundary = {"gamma": [0.01, 1, 100], "eta_max": [5e-3, 50, None], "eta_crit": [4e-3, 60, 2e3], "eta_min": None}
    body = MEASURED + (
        "return [true, false].map((straight) => plane.plane({ depth: 3, optimizer: 'sgd', runs: measured, "
        "boundary: args.boundary, straight, width: 300 }));"
    )
    straight, raw = node(body, packed=packed, boundary=boundary)
    assert straight != raw
    for svg in (straight, raw):
        assert "NaN" not in svg
        assert [f'data-boundary="{k}"' in svg for k in ("eta_max", "eta_crit", "eta_min", "theory")] == [1, 1, 0, 1]
    flat = re.search(r'd="([^"]+)" class="rl-theory"', straight)[1]
    assert len(set(re.findall(r" ([\d.]+)(?=L|$)", flat))) == 1, "straightened, theory's boundary lies flat"


def test_theorys_shape_is_placed_through_what_was_measured(node):
    gammas = [1e-3, 1.0, 1e3]
    boundary = {"gamma": gammas, "eta_max": [float(40 * natural_eta(g, 4)) for g in gammas]}
    assert node("return plane.theoryFactor(args.b, 4)", b=boundary) == pytest.approx(40)
    assert node("return plane.theoryFactor(null, 4)") == 1


# -- what is fetched


class PlainServer(BaseHTTPRequestHandler):
    """A server that knows few types, as old ones do."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2].partition("?")[0]
        answers = {
            "good.json": b'{"a": 1}',
            "page.json": b"<!doctype html>",
            "module.mjs": b"export const a = 1;",
            "ok.js": b"1",
        }
        self.send_response(200 if name in answers else 404)
        self.send_header("Content-Type", "text/javascript" if name.endswith(".js") else "application/octet-stream")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answers.get(name, b""))

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def plain() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), PlainServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_a_file_that_does_not_come_is_named_with_the_reason(node, plain):
    body = "return Promise.all(args.at.map((at) => fetching.fetchJson(at).catch((error) => error.message)))"
    assert node(body, at=[plain + name for name in ("gone.json?v=2", "page.json", "good.json")]) == [
        "gone.json cannot be fetched: the server answered 404 Not Found",
        "page.json holds no JSON but “<!doctype html>”",
        {"a": 1},
    ]


# A clock of our own, and a server that sends a byte each `gap` ms.
SLOW = """let now = 0, last = 0;
  const timers = new Map(), bytes = [...new TextEncoder().encode("[1, 2, 3]")];
  globalThis.setTimeout = (work, ms) => { timers.set(++last, [now + ms, work]); return last; };
  globalThis.clearTimeout = (timer) => timers.delete(timer);
  const read = (signal) => async () => {
    now += args.gap;
    for (const [timer, [at, work]] of [...timers]) if (at <= now) { timers.delete(timer); work(); }
    if (signal.aborted) throw signal.reason;
    return bytes.length ? { done: false, value: Uint8Array.of(bytes.shift()) } : { done: true };
  };
  globalThis.fetch = async (_, { signal }) => ({ ok: true, body: { getReader: () => ({ read: read(signal) }) } });
  let heard = 0;
  const options = { patience: 1000, arrived: (count) => { heard += count; } };
  const got = await fetching.fetchJson("http://here/slow.json", options).catch((error) => error.message);
  return [got, heard, timers.size];"""


def test_what_is_slow_is_waited_for_and_what_has_stopped_is_not(node):
    assert node(SLOW, gap=900) == [[1, 2, 3], 9, 0]
    assert node(SLOW, gap=1100) == ["slow.json cannot be fetched: nothing came for 1 s", 0, 0]


def test_a_module_of_a_type_that_does_not_run_is_named_with_the_type(node, plain):
    body = "return fetching.explainImport(args.at, new Error('the browser said so'))"
    said = node(body, at=plain + "module.mjs")
    assert said.startswith("module.mjs is sent as application/octet-stream") and "text/javascript" in said
    assert node(body, at=plain + "ok.js") == "the browser said so"
    assert "404" in node(body, at=plain + "gone.js")
    assert "gone.js cannot be fetched" in node(body, at="http://127.0.0.1:9/gone.js")


# -- links, commands, downloads


@pytest.mark.parametrize(
    "state",
    [
        {"settings": ASK, "axis": "t", "scale": "log", "plane": "straight", "changes": []},
        {
            "settings": ASK | {"gamma": 1.25e-4, "eta": 3e5, "loss": "cross_entropy", "seed": 2**32 - 1},
            "axis": "tau",
            "scale": "linear",
            "plane": "raw",
            "changes": [{"step": 120, "eta": 0.5}, {"step": 300, "eta": 1e-7}],
        },
    ],
)
def test_a_link_restores_the_whole_state(node, state):
    query = node("return address.writeAddress(2, args.state)", state=state)
    assert dict(parse_qsl(query[1:]))["gamma"] == str(node("return args.g", g=state["settings"]["gamma"]))
    assert node("return address.readAddress(args.q, 2, address.DEFAULT_SETTINGS)", q=query) == state | {"problems": []}
    assert node("return address.readAddress(args.q, 1, address.DEFAULT_SETTINGS)", q=query) is None


BAD = [
    ("gamma=0", "gamma must be a positive number"),
    ("gamma=-3", "gamma must be"),
    ("eta=NaN", "eta must be"),
    ("eta=", "eta must be"),
    ("gamma=1e999", "gamma must be"),
    ("depth=5", "depth = 5 cannot be had here (from 2 to 4)"),
    ("depth=3.5", "depth must be a whole number"),
    ("seed=-1", "seed must be a whole number"),
    ("task=cifar", "task “cifar” is not known here"),
    ("axis=x", "axis must be t or tau"),
    ("change=5:0", "change must read step:eta"),
    ("change=9:1,3:1", "change must read step:eta"),
    ("gama=3", "“gama” is no parameter"),
    ("gamma=1e300", "gamma must be a positive number such as 0.1 (1e-9 to 1e9)"),
    ("eta=1e-300", "eta must be"),
    ("change=5:1e300", "change must read step:eta"),
    ("gamma=1&gamma=2", "“gamma” is given twice"),
    ("steps=300&axis=t&axis=tau", "“axis” is given twice"),
    ("constructor=1", "“constructor” is no parameter"),
    ("__proto__=1", "“__proto__” is no parameter"),
    ("toString=x&utm_source=mail&gclid=3", "“toString” is no parameter"),
    (f"loss={'x' * 3000}&gamma=1", "loss “xxxx"),
]


def test_a_bad_link_keeps_the_defaults_and_says_why(node):
    body = """const choices = { depth: [2, 3, 4], task: ['digits8'], steps: [300, 1000], loss: ['mse'] };
    const link = (q) => `?lab=1&${q}${q.includes("steps=") ? "" : "&steps=300"}`;
    return args.queries.map((q) => address.readAddress(link(q), 1, args.ask, choices));"""
    for got, (query, said) in zip(node(body, queries=[query for query, _ in BAD], ask=ASK), BAD, strict=True):
        assert len(got["problems"]) == 1, query
        assert said in got["problems"][0] and len(got["problems"][0]) < 200
        assert got["settings"] == ASK | {"steps": 300} | ({"gamma": 1} if query.endswith("&gamma=1") else {})


@pytest.mark.parametrize("query", ["gamma=3&utm_source=mail&fbclid=Iw", "gamma=3&session=a&session=b&constructor=1"])
def test_what_others_hang_onto_a_short_link_is_passed_over(node, query):
    got = node("return address.readAddress(args.q, 1, args.ask)", q=f"?{query}", ask=ASK)
    assert got["settings"] == ASK | {"gamma": 3} and got["problems"] == []


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    queries=st.lists(
        st.dictionaries(
            st.sampled_from(["gamma", "eta", "steps", "axis", "change", "__proto__", "valueOf", "lab"]) | st.text(max_size=9),
            st.sampled_from(["1e9", "1e-9", "1e18", "1e-18", "__proto__", "5:2", "1e300", "-0", "0x10"]) | st.text(max_size=9),
        ).map(lambda query: f"?lab=1&{urlencode(query)}"),
        min_size=50, max_size=50,
    )
)  # fmt: skip
def test_no_link_whatever_gives_what_cannot_be_drawn(node, queries):
    body = """return args.queries.map((q) => {
      const state = address.readAddress(q, 1, args.ask);
      if (!state) return "";
      const { settings } = state, shown = { depth: 3, optimizer: 'sgd', runs: null, boundary: null, straight: true };
      const s = plane.planeScales({ ...shown, width: 300 });
      return JSON.stringify([plane.planePoint(s, settings.gamma, settings.eta), numbers.natural(settings.gamma, 3)]);
    });"""
    assert [got for got in node(body, queries=queries, ask=ASK) if "null" in got] == []


def test_steps_are_free_up_to_the_largest_on_offer(node):
    body = "return args.q.map((q) => address.readAddress(q, 1, args.ask, { steps: [300, 3000] }).problems.length);"
    assert node(body, q=["?lab=1&steps=1234", "?lab=1&steps=3001"], ask=ASK) == [0, 1]


def test_a_query_of_somebody_else_is_not_ours(node):
    assert node("return address.readAddress('?highlight=gamma', 1, {})") is None


@pytest.mark.parametrize("change", [{}, {"task": "teacher", "depth": 2}, {"loss": "cross_entropy", "eta": 1e-7}])
def test_the_command_is_read_by_the_command_line(node, change, monkeypatch):
    ask = ASK | change
    words = shlex.split(node("return address.commandOf(args.ask, args.ask.task !== 'teacher')", ask=ask))
    met: list[Experiment] = []
    monkeypatch.setattr(train, "run_job", lambda experiment, *rest: met.append(experiment))
    assert words[0] == "richness"
    assert cli.main(words[1:]) == 0
    (experiment,) = met
    plain = {key: getattr(experiment, key) for key in ("depth", "width", "loss", "task", "optimizer", "batch_size")}
    plain |= {"gamma": experiment.gammas[0], "eta": experiment.etas[0]}
    plain |= {"steps": experiment.steps, "seed": experiment.seeds[0]}
    assert plain == ask
    assert set(experiment.probes) >= {"loss", "sharpness", "test_loss", "ntk_alignment", "drift"}
    assert ("accuracy" in experiment.probes) == experiment.source.classification


def test_a_download_says_where_it_comes_from(node):
    body = RUN + (
        "runs.addCurve(run, { from: 0, step: [0, 1, 2], loss: [3, Infinity, 1], eta: [0.5, 0.5, 0.1] });"
        "const more = { page: 'p', command: 'c', hash: 'h', commit: 'k', backend: 'page', made: 'now' };"
        "return JSON.parse(JSON.stringify(address.downloadOf(run, more)));"
    )
    got = node(body)
    assert got["ask"] == ASK
    assert got["curve"]["loss"] == [3, None, 1]
    assert got["provenance"] == {
        "trained_by": "page", "page": "p", "command": "c", "recipe_hash": "h", "commit": "k", "made": "now",
    }  # fmt: skip
    assert got["eta_changes"] == [{"step": 2, "eta": 0.1}]
    assert "by hand: to 0.1 at step 2" in got["note"]


def test_beyond_the_edge_is_the_curvature_along_the_gradient(node):
    """c₂/|c₁| is the curvature over 2/lr_raw, follows an eta changed by hand, and is SGD's alone."""
    body = """const gauge = { along: 3 }; run.line = 2 / run.lr;
    const sgd = [runs.beyond(run, gauge, run.eta), runs.beyond(run, gauge, run.eta / 10), gauge.along / run.line];
    const adam = runs.beyond({ ...run, settings: { ...run.settings, optimizer: 'adam' } }, gauge, run.eta);
    return [...sgd, Number.isNaN(adam), Number.isNaN(runs.beyond(run, {}, run.eta))];"""
    whole, tenth, expected, adam, unknown = node(RUN + body)
    assert whole == pytest.approx(expected) and tenth == pytest.approx(expected / 10) and adam and unknown
