// One run at a time: the library's step graph from the seed's first weights over the seed's stream.

import * as rng from "./rng.js";
import { breath, integers, tensor } from "./graphs.js";

const PATIENCE = 8, FRAME = 50, GLIMPSE = 250; // ms: between breaths, between reports of the curve, between samples
const SHOWN = 12; // samples of a batch

/** About `points` whole steps from 0 to `last`, log-spaced, both ends included: richness.runs.experiment's `log_steps`. */
export function logSteps(last, points) {
  const steps = new Set([0, last]);
  for (let k = 0; k < points - 1; k++) steps.add(even(last ** (points > 2 ? k / (points - 2) : 0)));
  return [...steps].sort((a, b) => a - b);
}

/** The steps at which gauges are read: `Experiment.probed_steps`, of the recorded ones those nearest to log-spaced ones. */
export function probedSteps(last, recordPoints, probePoints) {
  const recorded = logSteps(last, recordPoints), away = (step) => (at) => Math.abs(recorded[at] - step);
  const nearest = (step) => recorded.reduce((best, _, at) => (away(step)(at) < away(step)(best) ? at : best), 0);
  return new Set(logSteps(last, probePoints).map((step) => recorded[nearest(step)]));
}

// numpy rounds halves to even.
const even = (x) => (x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

/** What an ask means here: names of graphs, dtype, constants. Throws where the page cannot train it. */
export function resolved(ask, manifest) {
  const { limits, reasons } = manifest;
  for (const field of ["depth", "width", "task", "optimizer", "batch_size"]) {
    if (!limits[field].includes(ask[field])) throw new Error(`${field} ${ask[field]}: ${reasons[field]}`);
  }
  if (!limits.losses_of[ask.task].includes(ask.loss)) throw new Error(`loss ${ask.loss}: ${reasons.loss}`);
  const most = Math.max(...limits.steps);
  if (!Number.isInteger(ask.steps) || ask.steps < 1 || ask.steps > most) throw new Error(`steps ${ask.steps}: ${reasons.steps}`);
  for (const field of ["gamma", "eta"]) {
    if (!(ask[field] > 0 && ask[field] < Infinity)) throw new Error(`${field} must be a number above 0, got ${ask[field]}`);
  }
  if (!Number.isInteger(ask.seed) || ask.seed < 0 || ask.seed > 0xffffffff) {
    throw new Error(`seed must be a whole number from 0 to 2^32 - 1, got ${ask.seed}`);
  }
  const network = manifest.network_of[ask.task][ask.loss][ask.depth];
  return {
    network,
    task: manifest.tasks[ask.task],
    ...manifest.networks[network],
    dtype: ask.gamma < manifest.float64_below ? "float64" : "float32",
    probed: probedSteps(ask.steps, manifest.record_points, manifest.probe_points),
  };
}

/** The weights at step 0, one array a layer, in float64. */
export const initial = (weights, seed) => weights.map(({ name, shape }) => rng.normals(seed, name, 0, shape[1] * shape[2]));

/** A batch as the graphs take it. */
export function feeds(dtype, batch, inputs, outputs) {
  const count = batch.x.length / inputs;
  return {
    x: tensor(dtype, batch.x, [count, inputs]),
    targets: tensor(dtype, batch.targets, [count, outputs]),
    labels: batch.labels && integers(batch.labels, [count]),
  };
}

const lettered = (letter, tensors) => Object.fromEntries(tensors.map((one, layer) => [letter + layer, one]));

/** Weights as the graphs take them: w0, w1, … or, of another letter, those at step 0. */
export const named = (dtype, weights, values, letter = "w") =>
  lettered(letter, weights.map(({ shape }, layer) => tensor(dtype, values[layer], shape)));

/**
 * Trains what was asked for last.
 *
 * graphs: `Graphs`. memory: `Memory` of batches. report: takes the reports of a run (see client.js). probe: takes
 * {number, ask, step, weights} at every step that is measured; the arrays are its own.
 */
export class Trainer {
  constructor({ graphs, memory, report, probe = () => {} }) {
    Object.assign(this, { graphs, memory, report, probe });
    this.manifest = graphs.manifest;
    this.run = null;
    this.working = Promise.resolve();
  }

  /** Train from the seed's first weights; `until`: pause after so many updates. Resolves when this run is over. */
  start(number, ask, until = ask.steps) {
    this.#end();
    const lr = ask.eta * this.manifest.lr_raw;
    this.report({ kind: "run", number, ask, lr, line: this.manifest.line / lr });
    let about;
    try {
      about = resolved(ask, this.manifest);
    } catch (error) {
      this.report({ kind: "state", number, state: "error", step: 0, message: error.message });
      this.run = null;
      return this.working;
    }
    const run = { number, ask, about, eta: ask.eta, at: 0, until, state: "", wake: () => {}, rows: { from: 0, loss: [], eta: [] } };
    this.run = run;
    this.working = this.working.then(() => this.#train(run));
    return this.working;
  }

  change({ eta }) {
    if (!(eta > 0 && eta < Infinity)) throw new Error(`eta must be a number above 0, got ${eta}`);
    if (this.run) this.run.eta = eta;
  }

  pause() {
    this.#until((run) => run.at);
  }

  resume() {
    this.#until((run) => run.ask.steps);
  }

  /** So many updates, then a pause. */
  step(count) {
    this.#until((run) => Math.min(run.ask.steps, run.at + count));
  }

  /** Back to step 0 of the same ask, paused, under a new number. */
  rewind(number) {
    return this.run ? this.start(number, this.run.ask, 0) : this.working;
  }

  close() {
    this.#end();
    this.run = null;
  }

  #end() {
    if (this.run) {
      this.run.over = true;
      this.run.wake();
    }
    this.memory.wanted?.go(null);
  }

  #until(when) {
    if (!this.run || this.run.over) return;
    this.run.until = when(this.run);
    this.run.wake();
  }

  #state(run, state, message = "") {
    if (run.over || run.state === state) return;
    run.state = state;
    this.report({ kind: "state", number: run.number, state, step: run.at, message });
  }

  async #train(run) {
    if (run.over) return;
    const { ask, about } = run, { dtype, network, task } = about;
    this.#state(run, "loading");
    this.memory.choose(ask.task, ask.seed, ask.batch_size);
    this.memory.ahead(ask.steps); // they are made while the graphs arrive
    const [raw, step] = await Promise.all(["raw", "step"].map((program) => this.graphs.of(network, program, dtype)));
    if (run.over) return;
    const start = named(dtype, about.weights, this.#first(network, about.weights, ask.seed));
    const scalar = (value) => tensor(dtype, [value], [1]), gamma = scalar(ask.gamma), key = `${network} ${dtype}`;
    let weights = start, eta = scalar(run.eta), used = run.eta, breathed = performance.now();
    for (;;) {
      if (performance.now() - breathed > PATIENCE) {
        await breath();
        breathed = performance.now();
      }
      if (run.over) return;
      if (run.at >= run.until && run.at < ask.steps) {
        this.#flush(run, true);
        this.#state(run, "paused");
        await new Promise((wake) => { run.wake = wake; });
        continue;
      }
      const batch = await this.memory.get(run.at, ask.steps);
      if (run.over || !batch) return;
      this.#state(run, "training");
      if (run.eta !== used) [eta, used] = [scalar(run.eta), run.eta];
      const given = feeds(dtype, batch, task.inputs, task.outputs);
      if (batch.key !== key) [batch.key, batch.raw0] = [key, (await raw({ ...start, x: given.x })).raw];
      const out = await step({ ...weights, ...given, raw0: batch.raw0, gamma, eta });
      if (run.over) return;
      const loss = out.loss.data[0];
      if (!Number.isFinite(loss)) {
        this.#flush(run, true);
        this.#state(run, "diverged");
        return this.#over(run);
      }
      run.rows.loss.push(loss);
      run.rows.eta.push(run.eta);
      if (about.probed.has(run.at)) this.#measure(run, weights);
      this.#glimpse(run, batch, out.f);
      if (run.at === ask.steps) {
        this.#flush(run, true);
        this.#state(run, "finished");
        return this.#over(run);
      }
      weights = lettered("w", about.weights.map((_, layer) => out[`n${layer}`]));
      run.at += 1;
      this.#flush(run, run.at === 1);
    }
  }

  #over(run) {
    run.over = true;
  }

  #first(network, weights, seed) {
    const key = `${network} ${seed}`;
    if (this.drawn?.key !== key) this.drawn = { key, values: initial(weights, seed) };
    return this.drawn.values;
  }

  #flush(run, now) {
    const { rows } = run, time = performance.now();
    if (!rows.loss.length || (!now && time - (run.flushed ?? 0) < FRAME)) return;
    run.flushed = time;
    const step = Int32Array.from(rows.loss, (_, i) => rows.from + i);
    this.report({
      kind: "curve", number: run.number, from: rows.from, step, loss: Float64Array.from(rows.loss), eta: Float64Array.from(rows.eta),
    });
    run.rows = { from: rows.from + rows.loss.length, loss: [], eta: [] };
  }

  #measure(run, weights) {
    const values = run.about.weights.map((_, layer) => weights[`w${layer}`].data.slice());
    this.probe({ number: run.number, ask: run.ask, step: run.at, weights: values });
  }

  #glimpse(run, batch, f) {
    const time = performance.now();
    if (time - (this.glimpsed ?? -GLIMPSE) < GLIMPSE) return;
    this.glimpsed = time;
    const { inputs, outputs, side, classes } = run.about.task, n = Math.min(SHOWN, run.ask.batch_size);
    const rows = (values) => Array.from({ length: n }, (_, i) => values.subarray(i * outputs, (i + 1) * outputs));
    const first = classes ? (row) => row.indexOf(Math.max(...row)) : (row) => row[0];
    this.report({
      kind: "samples", number: run.number, step: run.at, side, inputs: batch.x.slice(0, n * inputs),
      labels: rows(batch.targets).map(first), guesses: rows(f.data).map(first),
    });
  }
}
