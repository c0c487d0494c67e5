// Curves against t or tau, as SVG text. Pure: node tests it. A curve of any length costs a few points a pixel.

import { RED, abs, ceil, colour, evenly, floor, log10, logTicks, max, min, number, safe } from "./numbers.js";
import { tauAt } from "./runs.js";

const DASHES = ["none", "7 3", "2 3", "9 3 2 3"]; // of the hidden layers' drift, and of what else comes in several

/** What can be shown of a run: `from` gives {step, value} rows, once for each line. */
export const PANELS = {
  loss: { title: "training loss", log: true, lines: 1 },
  sharpness: { title: "sharpness λ_max · dotted: along the gradient", log: true, lines: 2, keys: ["sharpness", "along"], dashes: ["none", "2 3"] },
  accuracy: { title: "held-out accuracy", range: [0, 1], lines: 1 },
  test_loss: { title: "held-out loss", log: true, lines: 1 },
  alignment: { title: "kernel alignment", lines: 1 },
  drift: { title: "features' drift, by layer", log: true, lines: 4 },
};

// ---- thinning

/** An SVG path through n points (x rising), at most four a pixel: each column's first, lowest, highest and last.
 *  A gap in the numbers is a gap in the line. */
export function thinCurve(n, x, y) {
  let out = "", pen = "M", column = NaN, held = [];
  const put = ([px, py]) => { out += `${pen}${px.toFixed(1)} ${py.toFixed(1)}`; pen = "L"; };
  const flush = () => {
    if (held.length > 4) {
      let low = 0, high = 0;
      held.forEach((p, i) => { if (p[1] < held[low][1]) low = i; if (p[1] > held[high][1]) high = i; });
      held = [...new Set([0, min(low, high), max(low, high), held.length - 1])].map((i) => held[i]);
    }
    held.forEach(put);
    held = [];
  };
  for (let i = 0; i < n; i++) {
    const point = [x(i), y(i)];
    if (!Number.isFinite(point[0]) || !Number.isFinite(point[1])) { flush(); pen = "M"; column = NaN; continue; }
    if (floor(point[0]) !== column) { flush(); column = floor(point[0]); }
    held.push(point);
  }
  flush();
  return out;
}

// ---- what is drawn: rows of one line of one panel

function rowsOf(run, key, line) {
  if (key === "loss") return { n: run.count, step: (i) => run.curve.step[i], time: (i) => run.curve.tau[i], value: (i) => run.curve.loss[i] };
  const rows = run.gauges.map((g) => [g.step, key === "drift" ? g.drift?.[line] : g[PANELS[key].keys?.[line] ?? key]]).filter(([, v]) => Number.isFinite(v));
  return { n: rows.length, step: (i) => rows[i][0], time: (i) => tauAt(run, rows[i][0]), value: (i) => rows[i][1] };
}

/** Where on the x axis a row lies, before any scaling; on a log axis step 0 stands half a step from the edge. */
function placeInTime(run, axis, scale, step, tau) {
  const rate = run.eta / run.gamma;
  if (axis === "t") return scale === "log" ? log10(max(step, 0.5)) : step;
  return scale === "log" ? log10(max(tau, rate / 2)) : tau;
}

/** The x axis over all runs in sight: from their first step to the last that is planned. */
export function xSpan(runs, { axis, scale }) {
  let low = Infinity, high = -Infinity;
  for (const run of runs) {
    low = min(low, placeInTime(run, axis, scale, 0, 0));
    high = max(high, placeInTime(run, axis, scale, run.steps, tauAt(run, run.steps)));
  }
  if (low > high) return scale === "log" ? [-0.3, 3] : [0, 1000];
  return [low, max(high, low + 1e-9)];
}

/** The y axis of one panel: in log10 for a log panel. A run on its way to infinity must not flatten the others. */
export function ySpan(runs, key, extra = []) {
  const { log, range, lines } = PANELS[key];
  if (range) return range;
  let low = Infinity, high = -Infinity;
  for (const run of runs) for (let line = 0; line < lines; line++) {
    const rows = rowsOf(run, key, line);
    let first = NaN;
    for (let i = 0; i < rows.n; i++) {
      const raw = rows.value(i), v = log ? (raw > 0 ? log10(raw) : NaN) : raw;
      if (!Number.isFinite(v)) continue;
      if (Number.isNaN(first)) first = v;
      low = min(low, log ? max(v, first - 7) : v);
      high = max(high, log ? min(v, first + (key === "drift" ? 9 : 2)) : v);
    }
  }
  for (const v of extra) if (Number.isFinite(v)) { low = min(low, v); high = max(high, v); }
  if (low > high) return log ? [-2, 0] : [0, 1];
  if (log) return [floor(4 * low - 0.3) / 4, ceil(4 * high + 0.3) / 4];
  return [min(0, floor(10 * low) / 10), max(0.1, ceil(10 * high + 0.1) / 10)];
}

// ---- one panel

function axesOf({ box, xr, yr, sx, sy }, { title, log }, { axis, scale, below }) {
  const { x, y, w, h } = box;
  let svg = `<path d="M${x} ${y}V${y + h}H${x + w}" fill="none" stroke="currentColor" opacity=".45"/>`;
  const xs = scale === "log" ? logTicks(xr[0], xr[1], w / 46) : evenly(xr[0], xr[1], w / 70).map((v) => [v, number(v)]);
  const ys = log ? logTicks(yr[0], yr[1], h / 24) : evenly(yr[0], yr[1], h / 30).map((v) => [v, number(v)]);
  for (const [at, words] of xs) svg += `<text x="${sx(at).toFixed(1)}" y="${y + h + 15}" text-anchor="middle" class="rl-tick">${words}</text>`;
  for (const [at, words] of ys) {
    svg += `<path d="M${x} ${sy(at).toFixed(1)}h${w}" stroke="currentColor" opacity=".09"/>`
      + `<text x="${x - 5}" y="${(sy(at) + 4).toFixed(1)}" text-anchor="end" class="rl-tick">${words}</text>`;
  }
  svg += `<text x="2" y="13" class="rl-title">${title}</text>`;
  if (below) svg += `<text x="${x + w}" y="${y + h + 30}" text-anchor="end" class="rl-tick">${axis === "tau" ? "τ = ηt/γ" : "steps t"}</text>`;
  return svg;
}

/** The stability line of a run: it moves when eta is changed by hand. */
function stabilityPath(run, { box, sx, sy }, view) {
  const at = (step) => sx(placeInTime(run, view.axis, view.scale, step, tauAt(run, step)));
  let line = run.line, d = `M${box.x} ${sy(log10(line)).toFixed(1)}`;
  for (const change of run.changes) {
    line = (run.line * run.eta) / change.eta;
    d += `H${at(change.step).toFixed(1)}V${sy(log10(line)).toFixed(1)}`;
  }
  return { d: `${d}H${box.x + box.w}`, end: sy(log10(line)) };
}

/** A run's line in one panel, remembered with the run as long as nothing that it depends on has changed. */
function pathOf(run, key, line, { sx, sy, xr, yr, box }, view) {
  const token = [key, line, view.axis, view.scale, ...xr, ...yr, box.w, box.h, run.count, run.count && run.curve.step[run.count - 1],
    run.gauges.length].join();
  const name = `${key}${line}`;
  run.paths ??= {};
  if (run.paths[name]?.token !== token) {
    const rows = rowsOf(run, key, line), { log } = PANELS[key];
    const y = (i) => { const v = rows.value(i); return sy(log ? (v > 0 ? log10(v) : NaN) : v); };
    const x = (i) => sx(placeInTime(run, view.axis, view.scale, rows.step(i), rows.time(i)));
    let last = rows.n - 1;
    while (last >= 0 && !Number.isFinite(y(last))) last--;
    const dots = key !== "loss" ? Array.from({ length: rows.n }, (_, i) => [x(i), y(i)]).filter((p) => p.every(Number.isFinite)) : [];
    run.paths[name] = { token, d: thinCurve(rows.n, x, y), end: last >= 0 ? [x(last), y(last)] : null, dots };
  }
  return run.paths[name];
}

const LOOKS = { now: 'stroke-width="2"', near: 'stroke-width="1.6" stroke-dasharray="5 4" opacity=".8"', trace: 'stroke-width="1.3" opacity=".65"' };

function drawRun(run, key, scales, view) {
  const ink = colour(run.gamma);
  let svg = "";
  for (let line = 0; line < PANELS[key].lines; line++) {
    const { d, end, dots } = pathOf(run, key, line, scales, view);
    if (!end) continue;
    const look = run.role !== "near" && line ? `${LOOKS[run.role]} stroke-dasharray="${(PANELS[key].dashes ?? DASHES)[line % DASHES.length]}"` : LOOKS[run.role];
    svg += `<path data-curve="${PANELS[key].keys?.[line] ?? key}" data-role="${run.role}" d="${d}" fill="none" stroke="${ink}" stroke-linejoin="round" ${look}/>`;
    if (run.role === "now" && dots.length < 60) svg += dots.map(([x, y]) => `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="2.2" fill="${ink}"/>`).join("");
    if (run.role === "near" && dots.length === 1) svg += `<circle cx="${end[0].toFixed(1)}" cy="${end[1].toFixed(1)}" r="3.5" fill="none" stroke="${ink}"/>`;
    if (run.role === "trace" && !line) svg += `<text x="${(end[0] + 4).toFixed(1)}" y="${(end[1] + 4).toFixed(1)}" class="rl-letter">${run.letter}</text>`;
    if (run.role === "now" && key === "drift") svg += `<text x="${(end[0] + 5).toFixed(1)}" y="${(end[1] + 4).toFixed(1)}" class="rl-tick">${line + 1}</text>`;
  }
  return svg;
}

function divergence(run, { box, sx, sy }, view) {
  const last = run.paths?.loss0?.end, x = sx(placeInTime(run, view.axis, view.scale, run.died, tauAt(run, run.died)));
  const y = last ? last[1] : box.y, left = x > box.x + box.w / 2;
  return `<path d="M${(x - 5).toFixed(1)} ${(y - 5).toFixed(1)}l10 10m0-10l-10 10" class="rl-died" stroke="currentColor" stroke-width="2"/>`
    + `<text class="rl-died-text" x="${(left ? x - 9 : x + 9).toFixed(1)}" y="${(y + 4).toFixed(1)}" text-anchor="${left ? "end" : "start"}">diverged at step ${run.died}</text>`;
}

/** One panel as SVG text.
 *  view: {width, height, axis: "t" | "tau", scale: "log" | "linear", below: whether the x axis is named, runs: [run, …]};
 *  each run carries its role: "now", "near" (measured) or "trace" (with a letter). */
export function panel(key, view) {
  const spec = PANELS[key], W = max(150, view.width), H = view.height;
  const box = { x: 40, y: 26, w: W - 56, h: H - 26 - (view.below ? 36 : 22) };
  const runs = view.runs, lead = runs.find((r) => r.role === "now") || runs.find((r) => r.role === "near");
  const line = key === "sharpness" && lead && lead.line > 0 ? lead : null;
  const lines = line ? [line.line, ...line.changes.map((c) => (line.line * line.eta) / c.eta)].map(log10) : [];
  const xr = xSpan(runs, view), yr = ySpan(runs, key, lines);
  const sx = (v) => box.x + ((min(xr[1], max(xr[0], v)) - xr[0]) / (xr[1] - xr[0])) * box.w;
  const sy = (v) => box.y + box.h - ((min(yr[1], max(yr[0], v)) - yr[0]) / (yr[1] - yr[0])) * box.h;
  const scales = { box, xr, yr, sx, sy };
  let svg = axesOf(scales, spec, view);
  if (line) {
    const { d, end } = stabilityPath(line, scales, view);
    const words = line.settings.optimizer === "sgd" ? "stable below 2 / lr_raw" : "stability line";
    // Its words stand at the end where the curve is further from it.
    const rows = rowsOf(line, key, 0), off = (i) => (rows.n ? abs(log10(rows.value(i) / line.line)) : 1);
    const [at, side] = off(rows.n - 1) >= off(0) ? [box.x + box.w, "end"] : [box.x + 4, "start"];
    svg += `<path data-curve="line" class="rl-red" d="${d}" fill="none" stroke="${RED}"/>`
      + `<text x="${at}" y="${(end < box.y + 16 ? end + 13 : end - 5).toFixed(1)}" text-anchor="${side}" class="rl-red-text" fill="${RED}">${words}</text>`;
  }
  const order = ["trace", "near", "now"];
  for (const run of [...runs].sort((a, b) => order.indexOf(a.role) - order.indexOf(b.role))) svg += drawRun(run, key, scales, view);
  if (key === "loss" && lead && lead.died >= 0) svg += divergence(lead, scales, view);
  return `<svg viewBox="0 0 ${W.toFixed(0)} ${H}" width="${W.toFixed(0)}" height="${H}" role="img" fill="currentColor" aria-label="${safe(describePanel(key, runs))}">${svg}</svg>`;
}

/** A panel in a sentence. */
function describePanel(key, runs) {
  const lead = runs.find((r) => r.role === "now") || runs.find((r) => r.role === "near");
  const title = PANELS[key].title;
  if (!lead) return `${title}: no run yet`;
  const rows = rowsOf(lead, key, 0);
  const others = runs.length > 1 ? `, beside ${runs.length - 1} more` : "";
  if (!rows.n) return `${title}: not measured yet${others}`;
  return `${title}: from ${number(rows.value(0))} to ${number(rows.value(rows.n - 1))} at step ${rows.step(rows.n - 1)}${others}`;
}

// ---- samples of real-valued tasks

/** Outputs against targets: on the line they are right. */
export function scatter({ labels, guesses }) {
  const size = 132, pad = 22, all = [...labels, ...guesses].filter(Number.isFinite).map(abs), top = max(1e-9, ...all) * 1.1;
  const at = (v) => pad + ((max(-top, min(top, v)) + top) / (2 * top)) * (size - pad - 4);
  const dots = Array.from(labels, (label, i) => (Number.isFinite(guesses[i])
    ? `<circle cx="${at(label).toFixed(1)}" cy="${(size - at(guesses[i])).toFixed(1)}" r="3" fill="currentColor" opacity=".75"/>` : "")).join("");
  return `<svg viewBox="0 0 ${size} ${size}" width="${size}" height="${size}" aria-hidden="true" fill="currentColor">`
    + `<path d="M${pad} ${size - pad}L${size - 4} 4" stroke="currentColor" opacity=".35"/><path d="M${pad} 4V${size - pad}H${size - 4}" fill="none" stroke="currentColor" opacity=".45"/>`
    + `<text x="${size - 4}" y="${size - 7}" text-anchor="end">target</text><text x="12" y="${size - pad - 4}" transform="rotate(-90 12 ${size - pad - 4})">output</text>${dots}</svg>`;
}
