// Runs: one that trains, as its reports come in, and measured ones, opened from what pack.py writes. Pure: node tests it.

import { abs, floor, log10, max, number } from "./numbers.js";

export const DEAD = 2, DIVERGED = 3, NOT_RUN = 4; // outcomes of measured cells; 0 learned, 1 converged
const NAMES = ["learned", "converged, but short of learned", "not converged (finite, but dead or too slow for these steps)"];

export const networkKey = (settings) => `mlp${settings.depth}_${settings.loss}_${settings.task}`;

// ---- a run as it trains

/** A run without points. `curve` holds `count` rows of step, loss, eta and tau = the sum of eta/gamma over the steps before. */
export function newRun({ number: id, ask: settings, lr, line }) {
  const curve = { step: [], loss: [], eta: [], tau: [] };
  return { number: id, settings, gamma: settings.gamma, eta: settings.eta, steps: settings.steps, lr, line, count: 0, curve, gauges: [], changes: [],
    state: "training", step: 0, died: -1, message: "" };
}

/** Takes a report of the curve in: rows from index `from` on; `from` = 0 replaces all. */
export function addCurve(run, { from, step, loss, eta }) {
  const { curve } = run, total = from + step.length;
  if (from > run.count) return; // rows before these are missing: the backend sends the whole curve again
  if (from === 0) run.changes = [];
  for (let i = from, k = 0; i < total; i++, k++) {
    const before = i ? curve.tau[i - 1] + ((step[k] - curve.step[i - 1]) * curve.eta[i - 1]) / run.gamma : 0;
    curve.step[i] = step[k]; curve.loss[i] = loss[k]; curve.eta[i] = eta[k]; curve.tau[i] = before;
    const was = i ? curve.eta[i - 1] : run.eta;
    if (abs(eta[k] / was - 1) > 1e-6) run.changes = [...run.changes.filter((c) => c.step < step[k]), { step: step[k], eta: eta[k] }];
  }
  for (const key of ["step", "loss", "eta", "tau"]) curve[key].length = total;
  run.count = total;
  if (total) run.step = max(run.step, curve.step[total - 1]);
}

/** Takes one row of gauges in; rows may come late and in any order. */
export function addGauges(run, row) {
  run.gauges = [...run.gauges.filter((r) => r.step !== row.step), row].sort((a, b) => a.step - b.step);
}

/** c₂/|c₁| of a full step of SGD with this eta: the curvature along the gradient in units of 2/lr_raw. Beyond 1 the loss's
 *  parabola along the step ends higher than it began. NaN for other optimizers, whose steps are not along the gradient. */
export const beyond = (run, gauge, eta) => (run.settings.optimizer === "sgd" && Number.isFinite(gauge.along)
  ? (gauge.along * run.lr * eta) / run.eta / 2 : NaN);

/** tau at a step: the sum of eta/gamma over the updates before it. */
export function tauAt(run, step) {
  const { curve, count } = run;
  if (!count) return (step * run.eta) / run.gamma;
  let low = 0, high = count - 1;
  while (low < high) { const mid = (low + high + 1) >> 1; if (curve.step[mid] <= step) low = mid; else high = mid - 1; }
  return curve.tau[low] + ((step - curve.step[low]) * curve.eta[low]) / run.gamma;
}

// ---- measured runs

function unpackNumbers(text) {
  const raw = atob(text || "");
  return new Uint16Array(Uint8Array.from(raw, (c) => c.charCodeAt(0)).buffer);
}

/** Open measured runs. In the packed numbers 0 is "not there"; 1..65535 spread over the range in log10. */
export function openRuns(packed) {
  if (packed.version !== 1) throw new Error(`these runs have format ${packed.version}, this page reads format 1`);
  const n = packed.eta.length;
  const outcomes = Uint8Array.from(packed.outcome, Number);
  const place = new Int32Array(outcomes.length).fill(-1);
  let count = 0;
  outcomes.forEach((o, i) => { if (o !== NOT_RUN) place[i] = count++; });
  const store = {};
  for (const key of ["loss", "sharpness", "late", "accuracy", "died"]) store[key] = unpackNumbers(packed[key]);
  const value = (key, i) => {
    const [low, high] = packed.range[key];
    const q = store[key][i];
    return q ? 10 ** (low + ((q - 1) / 65534) * (high - low)) : NaN;
  };
  const values = (key, steps, p) => steps.map((_, i) => value(key, p * steps.length + i));
  const cell = (g, e) => {
    const p = place[g * n + e];
    return {
      gamma: packed.gamma[g], eta: packed.eta[e], lr: packed.width * packed.eta[e], steps: packed.steps,
      step: packed.step, loss: values("loss", packed.step, p), probed: packed.probed,
      sharpness: store.sharpness.length ? values("sharpness", packed.probed, p) : [],
      outcome: outcomes[g * n + e], late: value("late", p),
      died: store.died[p] ? store.died[p] - 1 : -1, accuracy: store.accuracy[p] ? (store.accuracy[p] - 1) / 65534 : NaN,
    };
  };
  const lateShare = (g, e) => {
    const p = place[g * n + e];
    return value("late", p) / value("loss", p * packed.step.length);
  };
  return { ...packed, outcomes, place, cell, lateShare };
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

/** A measured cell in the shape of a run that trained; the sharpness's line is that of SGD. */
export function measuredRun(runs, cell) {
  const settings = { gamma: cell.gamma, eta: cell.eta, depth: runs.depth, width: runs.width, loss: runs.loss, task: runs.task,
    optimizer: runs.optimizer, batch_size: runs.batch_size, steps: cell.steps, seed: runs.seed };
  const run = newRun({ number: 0, ask: settings, lr: cell.lr, line: runs.optimizer === "sgd" ? 2 / cell.lr : NaN });
  const seen = cell.loss.map((_, i) => i).filter((i) => Number.isFinite(cell.loss[i]));
  addCurve(run, { from: 0, step: seen.map((i) => cell.step[i]), loss: seen.map((i) => cell.loss[i]), eta: seen.map(() => cell.eta) });
  run.gauges = cell.probed.map((step, i) => ({ step, sharpness: cell.sharpness[i], accuracy: NaN }));
  if (Number.isFinite(cell.accuracy)) addGauges(run, { ...run.gauges.find((r) => r.step === cell.steps), step: cell.steps, accuracy: cell.accuracy });
  return Object.assign(run, { state: cell.outcome === DIVERGED ? "diverged" : "finished", died: cell.died, measured: true });
}

/** In what measured runs differ from the settings, for a label: "" where they do not. */
export function difference(runs, settings) {
  const told = [["width", "width"], ["batch_size", "batch"], ["steps", "steps"], ["optimizer", "optimizer"]]
    .filter(([key]) => runs[key] !== settings[key]).map(([key, word]) => `${word} ${runs[key]}`);
  return told.length ? ` (with ${told.join(", ")})` : "";
}

/** Words for a measured run. */
export function describe(cell) {
  if (cell.outcome === DIVERGED) return `diverged at step ${cell.died}`;
  let words = `${NAMES[cell.outcome]}: loss ${number(cell.loss.find(Number.isFinite))} at the start, ${number(cell.late)} at the end`;
  if (Number.isFinite(cell.accuracy)) words += `, held-out accuracy ${number(cell.accuracy)}`;
  return words;
}

/** Which gamma row and eta column a cell's index means. */
export const rowOf = (runs, i) => [floor(i / runs.eta.length), i % runs.eta.length];
