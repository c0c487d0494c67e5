// The built page's laboratory: measured runs under two sliders and a plane to pick from. lab.js loads this file when a
// reader comes near; Jupyter never needs it.

import { axisChoice, choice, colour, figure, finite, frame, make, mix, natural, number, painter, path, regime } from "./lab.js";

const LATE = ["#0d3b3e", "#1f6a66", "#4a9c85", "#8fc79c", "#cfe5b8", "#f5f0dc"]; // late loss / initial loss, dark = learned
const SHADES = 16;
const DEAD = 2, DIVERGED = 3, NOT_RUN = 4; // 0 learned, 1 converged
const NAMES = ["learned", "converged, but short of learned", "not converged (finite, but dead or too slow for these steps)"];
const { abs, floor, log10, max, min, sqrt } = Math;

function words(text) {
  const raw = atob(text || "");
  const bytes = Uint8Array.from(raw, (c) => c.charCodeAt(0));
  return new Uint16Array(bytes.buffer);
}

/** Open the page's measured runs (pack.py writes them). 0 is "not there"; 1..65535 spread over the range in log10. */
export function openRuns(packed) {
  if (packed.version !== 1) throw new Error(`these runs have format ${packed.version}, this page reads format 1`);
  const n = packed.eta.length;
  const outcome = Uint8Array.from(packed.outcome, Number);
  const place = new Int32Array(outcome.length).fill(-1);
  let count = 0;
  outcome.forEach((o, i) => { if (o !== NOT_RUN) place[i] = count++; });
  const store = {};
  for (const key of ["loss", "sharpness", "late", "accuracy", "died"]) store[key] = words(packed[key]);
  const value = (key, i) => {
    const [low, high] = packed.range[key];
    const q = store[key][i];
    return q ? 10 ** (low + ((q - 1) / 65534) * (high - low)) : NaN;
  };
  const curve = (key, steps, p) => steps.map((_, i) => value(key, p * steps.length + i));
  const cell = (g, e) => {
    const p = place[g * n + e];
    const probed = store.sharpness.length ? curve("sharpness", packed.probed, p) : [];
    return {
      gamma: packed.gamma[g], eta: packed.eta[e], lr: packed.width * packed.eta[e], steps: packed.steps,
      step: packed.step, loss: curve("loss", packed.step, p), probed: packed.probed, sharpness: probed,
      outcome: outcome[g * n + e], late: value("late", p),
      died: store.died[p] ? store.died[p] - 1 : -1, accuracy: store.accuracy[p] ? (store.accuracy[p] - 1) / 65534 : NaN,
    };
  };
  const lateShare = (g, e) => {
    const p = place[g * n + e];
    return value("late", p) / value("loss", p * packed.step.length);
  };
  return { ...packed, outcomes: outcome, place, cell, lateShare };
}

/** The nearest measured cell: the nearest gamma, then the nearest eta that was run there. `off` is in decades of eta. */
export function nearest(runs, gamma, eta) {
  const closest = (list, x, ok) => list.reduce((best, v, i) =>
    ok(i) && (best < 0 || abs(log10(v / x)) < abs(log10(list[best] / x))) ? i : best, -1);
  const n = runs.eta.length;
  const any = (g) => runs.eta.some((_, e) => runs.place[g * n + e] >= 0);
  const g = closest(runs.gamma, gamma, any);
  const e = g < 0 ? -1 : closest(runs.eta, eta, (i) => runs.place[g * n + i] >= 0);
  return { g, e, off: e < 0 ? NaN : log10(eta / runs.eta[e]) };
}

/** The plane's frame in data units; `straight` divides eta by the natural step size, so that theory's boundary lies flat. */
export function planeScales(runs, straight, width) {
  const lg = runs.gamma.map(log10), le = runs.eta.map(log10), n = le.length;
  const bend = runs.gamma.map((g) => (straight ? log10(natural(g, runs.depth)) : 0));
  const dx = lg.length > 1 ? (lg.at(-1) - lg[0]) / (lg.length - 1) : 1;
  const dy = n > 1 ? (le.at(-1) - le[0]) / (n - 1) : 1;
  let low = Infinity, high = -Infinity;
  runs.outcomes.forEach((o, i) => {
    if (o === NOT_RUN) return;
    const y = le[i % n] - bend[floor(i / n)];
    low = min(low, y - dy / 2); high = max(high, y + dy / 2);
  });
  const W = max(240, width), box = { x: 44, y: 26, w: W - 54, h: 226 };
  return { box, W, H: 294, xr: [lg[0] - dx / 2, lg.at(-1) + dx / 2], yr: [low, high], dx, dy, lg, le, bend, n };
}

/** Which gamma and eta a point of the plane (in its own pixels) means. */
export function planeAt(scales, px, py, depth, straight) {
  const { box, xr, yr } = scales;
  const x = xr[0] + max(0, min(1, (px - box.x) / box.w)) * (xr[1] - xr[0]);
  const y = yr[0] + max(0, min(1, 1 - (py - box.y) / box.h)) * (yr[1] - yr[0]);
  return { gamma: 10 ** x, eta: 10 ** y * (straight ? natural(10 ** x, depth) : 1) };
}

/** Every cell's outcome as SVG text: late loss by colour (dark = learned), dots dead, hatching diverged, blank not run. */
export function plane(runs, straight, width) {
  const s = planeScales(runs, straight, width);
  const { svg, sx, sy } = frame(s.box, s.xr, s.yr, straight ? "eta / natural eta" : "eta", "gamma");
  const w = (s.dx / (s.xr[1] - s.xr[0])) * s.box.w, h = (s.dy / (s.yr[1] - s.yr[0])) * s.box.h;
  const fills = Array(SHADES).fill("");
  let dead = "", dots = "", hatch = "";
  const each = (visit) => runs.outcomes.forEach((o, i) => { if (o !== NOT_RUN) visit(o, floor(i / s.n), i % s.n); });
  each((o, g, e) => {
    const x = sx(s.lg[g]) - w / 2, y = sy(s.le[e] - s.bend[g]) - h / 2;
    const rect = `M${x.toFixed(1)} ${y.toFixed(1)}h${(w + 0.2).toFixed(1)}v${(h + 0.2).toFixed(1)}h${(-w - 0.2).toFixed(1)}z`;
    if (o === DIVERGED) hatch += `M${x.toFixed(1)} ${(y + h).toFixed(1)}l${w.toFixed(1)} ${(-h).toFixed(1)}`;
    else if (o === DEAD) { dead += rect; dots += `M${(x + w / 2).toFixed(1)} ${(y + h / 2).toFixed(1)}h0`; }
    else fills[min(SHADES - 1, floor(sqrt(runs.lateShare(g, e)) * SHADES))] += rect;
  });
  const cells = fills.map((d, i) => (d ? `<path d="${d}" fill="${mix(LATE, (i + 0.5) / SHADES)}"/>` : "")).join("")
    + `<path d="${dead}" fill="currentColor" opacity=".07"/><path d="${hatch}" stroke="currentColor" opacity=".38" stroke-width=".9"/>`
    + `<path d="${dots}" stroke="currentColor" opacity=".55" stroke-width="1.6" stroke-linecap="round"/>`;
  const theory = path(s.lg.map(sx), s.lg.map((x, g) => sy(log10(natural(10 ** x, runs.depth)) - s.bend[g])));
  return `<svg class="rl-plane" viewBox="0 0 ${s.W.toFixed(0)} ${s.H}" width="100%" role="img" fill="currentColor"
 aria-label="The plane of gamma and eta with each run's outcome; choose a run here or with the sliders">${cells}${svg}<path d="${theory}"
 fill="none" stroke="currentColor" stroke-dasharray="4 4" opacity=".8"><title>natural eta: gamma squared when lazy, gamma^(2/L) when rich</title></path><g data-mark></g></svg>`;
}

/** Words for a measured run. */
export function describe(run, runs) {
  const first = finite(run.loss)[0];
  let words = run.outcome === DIVERGED ? `diverged at step ${run.died}` : NAMES[run.outcome];
  if (run.outcome !== DIVERGED) words += `: loss ${number(first)} at the start, ${number(run.late)} at the end`;
  if (Number.isFinite(run.accuracy) && run.outcome !== DIVERGED) words += `, held-out accuracy ${number(run.accuracy)}`;
  return `gamma = ${number(run.gamma)}, eta = ${number(run.eta)} (lr_raw = ${runs.width} · eta): ${words}.`;
}

export function explore(root, packed) {
  const runs = openRuns(packed);
  const start = nearest(runs, Number(root.dataset.gamma), Number(root.dataset.eta));
  if (start.e < 0) throw new Error("no cell of the plane was run");
  const state = { g: start.g, e: start.e, axis: "t", straight: true, traces: [], width: 640, plane: 300 };
  const id = `rl-${Math.random().toString(36).slice(2, 8)}`;
  const picture = make("div", { class: "rl-picture" }), map = make("div", { class: "rl-map" });
  const status = make("p", { class: "rl-status", role: "status", "aria-live": "polite" });
  const row = (key, values) => {
    const input = make("input", { type: "range", id: `${id}-${key}`, min: 0, max: values.length - 1, step: 1, value: state[key[0]] });
    // The slider itself speaks its value; this is for the eye.
    const output = make("span", { class: "rl-value", "aria-hidden": "true" });
    input.addEventListener("input", () => move({ [key[0]]: Number(input.value) }));
    input.addEventListener("change", remember);
    return { input, output, node: make("div", { class: "rl-row" }, make("label", { for: input.id }, key), input, output) };
  };
  const gamma = row("gamma", runs.gamma), eta = row("eta", runs.eta);
  gamma.input.style.setProperty("--rl-track", `linear-gradient(to right, ${runs.gamma.map(colour).join(", ")})`);
  let shown = null, scales;

  function remember() {
    if (shown) state.traces = [...state.traces, shown].slice(-3);
  }
  function drawPlane() {
    scales = planeScales(runs, state.straight, state.plane);
    map.innerHTML = plane(runs, state.straight, state.plane);
    mark();
  }
  function mark() {
    const { box, xr, yr, lg, le, bend } = scales, hit = nearest(runs, runs.gamma[state.g], runs.eta[state.e]);
    const at = (e) => [box.x + ((lg[state.g] - xr[0]) / (xr[1] - xr[0])) * box.w,
      box.y + box.h - (max(0, min(1, (le[e] - bend[state.g] - yr[0]) / (yr[1] - yr[0])))) * box.h].map((v) => v.toFixed(1));
    const [x, y] = at(hit.e);
    map.querySelector("[data-mark]").innerHTML =
      `<circle cx="${x}" cy="${y}" r="7" fill="none" stroke="#fff" stroke-width="4"/><circle cx="${x}" cy="${y}" r="7" fill="none" stroke="#111" stroke-width="2"/>`;
  }
  function draw() {
    const g = runs.gamma[state.g], wanted = runs.eta[state.e];
    const hit = nearest(runs, g, wanted), run = runs.cell(hit.g, hit.e);
    shown = { ...run, role: "trace" };
    const others = state.traces.filter((t) => t.gamma !== run.gamma || t.eta !== run.eta);
    picture.innerHTML = figure({ width: state.width, axis: state.axis, runs: [...others, { ...run, role: "now" }] });
    for (const [part, key, value, extra] of [[gamma, "gamma", g, regime(g)],
      [eta, "eta", wanted, `${number(wanted / natural(g, runs.depth))} times natural`]]) {
      part.input.value = state[key[0]];
      part.input.setAttribute("aria-valuetext", `${key} = ${number(value)}, ${extra}`);
      part.output.textContent = number(value);
    }
    gamma.input.style.setProperty("--rl-thumb", colour(g));
    let words = describe(run, runs);
    if (abs(hit.off) > scales.dy / 2) {
      const edge = hit.off > 0 ? "largest" : "smallest";
      words = `eta = ${number(wanted)} was not run at gamma = ${number(g)}; shown is the ${edge} that was. ${words}`;
    }
    if (status.textContent !== words) status.textContent = words;
    mark();
  }
  function move(change) {
    Object.assign(state, change);
    draw();
  }
  const pick = (event) => {
    const rect = map.firstChild.getBoundingClientRect(), k = scales.W / rect.width;
    const at = planeAt(scales, (event.clientX - rect.left) * k, (event.clientY - rect.top) * k, runs.depth, state.straight);
    const hit = nearest(runs, at.gamma, at.eta);
    move({ g: hit.g, e: hit.e });
  };
  map.addEventListener("pointerdown", (event) => { remember(); map.setPointerCapture(event.pointerId); pick(event); });
  map.addEventListener("pointermove", (event) => { if (map.hasPointerCapture(event.pointerId)) pick(event); });

  const legend = make("p", { class: "rl-note" }, "dark: learned · dots: not converged · strokes: diverged · blank: not run · dashed: natural eta, from theory");
  const about = make("p", { class: "rl-note" }, packed.about || "");
  const left = make("div", { class: "rl-left" },
    choice("view of the plane", [["straight", "straightened"], ["raw", "raw eta"]], (v) => { state.straight = v === "straight"; drawPlane(); }),
    map, gamma.node, eta.node, legend);
  const right = make("div", { class: "rl-right" }, axisChoice((axis) => move({ axis })), picture, status);
  root.querySelector("[data-fallback]")?.remove();
  root.prepend(make("div", { class: "rl-body" }, left, right), about);
  const sized = () => {
    state.plane = map.clientWidth || 300;
    state.width = picture.clientWidth || 640;
    drawPlane();
    draw();
  };
  sized();
  painter(root, sized)[0]();
  root.dataset.ready = "true";
}
