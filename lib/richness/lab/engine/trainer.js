// One run at a time: the library's kernel from the seed's first weights over the seed's stream, some steps at a call.

import { breath } from "./compiled.js";

const PATIENCE = 8, FRAME = 50, GLIMPSE = 250; // ms: between breaths, between reports of the curve, between samples
const SHOWN = 12; // samples of a batch
const CURVE_FIRST = 250; // ms that measuring waits while a run trains: a short one then has both cores for itself

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

/** What an ask means here: codes, dtype, constants. Throws where the page cannot train it. */
export function resolved(ask, manifest) {
  const { limits, reasons, codes, tasks } = manifest;
  for (const field of ["task", "optimizer"]) {
    if (!limits[field].includes(ask[field])) throw new Error(`${field} ${ask[field]}: ${reasons[field]}`);
  }
  for (const field of ["depth", "width", "batch_size", "steps"]) {
    const least = field === "steps" ? 1 : Math.min(...limits[field]), most = Math.max(...limits[field]);
    if (!Number.isInteger(ask[field]) || ask[field] < least || ask[field] > most) throw new Error(`${field} ${ask[field]}: ${reasons[field]}`);
  }
  if (!limits.losses_of[ask.task].includes(ask.loss)) throw new Error(`loss ${ask.loss}: ${reasons.loss}`);
  for (const field of ["gamma", "eta"]) {
    if (!(ask[field] > 0 && ask[field] < Infinity)) throw new Error(`${field} must be a number above 0, got ${ask[field]}`);
  }
  if (!Number.isInteger(ask.seed) || ask.seed < 0 || ask.seed > 0xffffffff) {
    throw new Error(`seed must be a whole number from 0 to 2^32 - 1, got ${ask.seed}`);
  }
  const { task: name, depth, width, batch_size: batch, loss, optimizer, activation = "relu" } = ask, task = tasks[name];
  if (!(activation in codes.activation)) throw new Error(`activation ${activation}: the page has ${Object.keys(codes.activation).join(", ")}`);
  const { beta, beta2, epsilon } = manifest, exact = ask.gamma < manifest.float64_below;
  return {
    task, depth, width, batch, exact, beta, beta2, epsilon,
    codes: { loss: codes.loss[loss], optimizer: codes.optimizer[optimizer], activation: codes.activation[activation] },
    parameters: width * (task.inputs + width * (depth - 2) + task.outputs),
    lr: ask.eta * (manifest.by_sign.includes(optimizer) ? 1 : width),
    network: `${name} ${depth} ${width} ${activation} ${loss} ${exact} ${ask.seed}`, // what f of the first weights depends on
    probed: probedSteps(ask.steps, manifest.record_points, manifest.probe_points),
  };
}

/**
 * Trains what was asked for last.
 *
 * kernel: `Kernel`. batches: `Batches`. ready: of a task, a promise that its data are there. report: takes the reports of a run
 * (see client.js). probe: takes {number, ask, step, weights} at every step that is measured; the array is its own.
 */
export class Trainer {
  constructor({ kernel, batches, manifest, report, probe = () => {}, ready = async () => {} }) {
    Object.assign(this, { kernel, batches, manifest, report, probe, ready });
    this.run = null;
    this.working = Promise.resolve();
  }

  /** Train from the seed's first weights; `until`: pause after so many updates. Resolves when this run is over. */
  start(number, ask, until = ask.steps) {
    this.#end();
    let about = null, refusal = "";
    try {
      about = resolved(ask, this.manifest);
    } catch (error) {
      refusal = error.message;
    }
    const lr = about?.lr ?? NaN;
    this.report({ kind: "run", number, ask, lr, line: (this.manifest.lines[ask.optimizer] ?? NaN) / lr });
    if (refusal) {
      this.report({ kind: "state", number, state: "error", step: 0, message: refusal });
      this.run = null;
      return this.working;
    }
    const run = { number, ask, about, eta: ask.eta, at: 0, until, chunk: 1, state: "", wake: () => {}, rows: { from: 0, loss: [], eta: [] }, held: [] };
    this.run = run;
    this.working = this.working.then(() => this.#train(run)).catch((error) => {
      this.#state(run, "error", error.message);
      run.over = true;
    });
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

  /** Report the weights as they are now: raw, layer after layer, a row for each unit that is fed. */
  weights() {
    const { run } = this;
    if (!run?.state || run.state === "loading") return;
    const { task, depth, width, parameters, exact } = run.about;
    const sizes = [task.inputs, ...Array(depth - 1).fill(width), task.outputs];
    const shapes = sizes.slice(1).map((out, layer) => [out, sizes[layer]]);
    const weights = this.kernel.read(parameters, (address) => this.kernel.doors.read_weights(address));
    this.report({ kind: "weights", number: run.number, step: run.at, exact, shapes, weights });
  }

  /** Back to step 0 of the same ask, paused, under a new number. */
  rewind(number) {
    return this.run ? this.start(number, this.run.ask, 0) : this.working;
  }

  #end() {
    if (!this.run) return;
    this.run.over = true;
    this.run.wake();
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
    const { ask, about } = run;
    this.#state(run, "loading");
    await this.ready(ask.task);
    if (run.over) return;
    this.batches.choose(about, ask.seed, ask.steps);
    this.kernel.begin(about, ask);
    for (let breathed = performance.now(); ;) {
      if (performance.now() - breathed > PATIENCE) {
        await breath();
        breathed = performance.now();
      }
      if (run.over) return;
      if (run.at >= run.until && run.at < ask.steps) {
        this.#flush(run, true);
        this.#measure(run, true);
        this.#state(run, "paused");
        await new Promise((wake) => { run.wake = wake; });
        continue;
      }
      const block = await this.batches.get(run.at, breath);
      if (run.over || !block) return;
      this.#state(run, "training");
      if (block.key !== about.network) {
        this.kernel.release(block.atStart);
        Object.assign(block, { key: about.network, atStart: this.kernel.outputsAtStart(block.samples, block.steps) });
      }
      if (this.#advance(run, block)) return;
    }
  }

  /** Some steps within a block, no further than to what is to be looked at next; whether the run is over. */
  #advance(run, block) {
    const { ask, about, at } = run, first = at - block.from, last = run.until === ask.steps ? ask.steps + 1 : run.until;
    const snapshot = about.probed.has(at) ? this.kernel.read(about.parameters, (address) => this.kernel.doors.read_weights(address)) : null;
    this.#glimpse(run, block, first);
    let rows = Math.min(block.steps - first, last - at, run.chunk);
    for (let ahead = 1; ahead < rows; ahead++) if (about.probed.has(at + ahead)) rows = ahead;
    const begun = performance.now(), losses = this.kernel.advance(block, first, rows, ask.steps - at, at, run.eta);
    if (performance.now() - begun < PATIENCE / 2) run.chunk = Math.min(64, 2 * run.chunk);
    else if (performance.now() - begun > 2 * PATIENCE) run.chunk = Math.max(1, run.chunk >> 1);
    const dead = losses.findIndex((loss) => !Number.isFinite(loss)), alive = dead < 0 ? rows : dead;
    for (const loss of losses.subarray(0, alive)) run.rows.loss.push(loss), run.rows.eta.push(run.eta);
    if (snapshot && alive) run.held.push({ number: run.number, ask, step: at, weights: snapshot });
    run.at = Math.min(ask.steps, at + alive);
    const end = dead < 0 ? (at + rows > ask.steps ? "finished" : "") : "diverged";
    this.#flush(run, end || at === 0);
    this.#measure(run, end);
    if (end) this.#state(run, end);
    run.over ||= Boolean(end);
    return Boolean(end);
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

  #measure(run, now) {
    if (!run.held.length || (!now && performance.now() - (run.measured ??= performance.now()) < CURVE_FIRST)) return;
    run.held.forEach((snapshot) => this.probe(snapshot));
    run.held = [];
  }

  #glimpse(run, block, first) {
    const time = performance.now();
    if (time - (this.glimpsed ?? -GLIMPSE) < GLIMPSE) return;
    this.glimpsed = time;
    const { task, batch } = run.about, { inputs, outputs, side, classes } = task, n = Math.min(SHOWN, batch);
    const f = this.kernel.read(n * outputs, (address) =>
      this.kernel.doors.guess(block.samples, block.atStart, block.steps, first, n, address));
    const samples = this.kernel.floats(block.samples, block.steps * batch * (inputs + outputs));
    const x = samples.slice(first * batch * inputs, (first * batch + n) * inputs);
    const targets = samples.subarray((block.steps * inputs + first * outputs) * batch);
    const rows = (values) => Array.from({ length: n }, (_, i) => values.subarray(i * outputs, (i + 1) * outputs));
    const said = classes ? (row) => row.indexOf(Math.max(...row)) : (row) => row[0];
    this.report({
      kind: "samples", number: run.number, step: run.at, side, inputs: x, labels: rows(targets).map(said), guesses: rows(f).map(said),
    });
  }
}
