// What is measured of a network in training: sharpness by Lanczos, curvature along the gradient, alignment and drift, held-out loss and accuracy.

import { breath } from "./compiled.js";
import { resolved } from "./trainer.js";

const FLOAT32 = 2 ** -23, FLOAT64 = 2 ** -52; // spacing at 1

const dot = (a, b) => { let sum = 0; for (let i = 0; i < a.length; i++) sum += a[i] * b[i]; return sum; };
const norm = (a) => Math.sqrt(dot(a, a));
const subtract = (a, scale, b) => { for (let i = 0; i < a.length; i++) a[i] -= scale * b[i]; };

/**
 * Eigenvalues of a symmetric tridiagonal matrix, ascending, and the last component of each unit eigenvector, by the implicit QL
 * method (Golub and Van Loan, section 8.3).
 */
export function ritz(diagonal, beside) {
  const n = diagonal.length, d = Float64Array.from(diagonal), e = new Float64Array(n), last = new Float64Array(n);
  e.set(beside.slice(0, n - 1));
  last[n - 1] = 1;
  for (let low = 0; low < n; low++) {
    for (let turns = 0; turns < 60; turns++) {
      let high = low;
      while (high < n - 1 && Math.abs(e[high]) > Number.EPSILON * (Math.abs(d[high]) + Math.abs(d[high + 1]))) high += 1;
      if (high === low) break;
      let g = (d[low + 1] - d[low]) / (2 * e[low]), r = Math.hypot(g, 1);
      g = d[high] - d[low] + e[low] / (g + (g >= 0 ? r : -r));
      let sin = 1, cos = 1, p = 0, parted = false;
      for (let i = high - 1; i >= low; i--) {
        const f = sin * e[i], b = cos * e[i];
        r = Math.hypot(f, g);
        e[i + 1] = r;
        if (r === 0) { d[i + 1] -= p; e[high] = 0; parted = true; break; }
        [sin, cos] = [f / r, g / r];
        g = d[i + 1] - p;
        r = (d[i] - g) * sin + 2 * cos * b;
        p = sin * r;
        d[i + 1] = g + p;
        g = cos * r - b;
        [last[i + 1], last[i]] = [sin * last[i] + cos * last[i + 1], cos * last[i] - sin * last[i + 1]];
      }
      if (parted) continue;
      d[low] -= p;
      e[low] = g;
      e[high] = 0;
    }
  }
  const order = [...d.keys()].sort((a, b) => d[a] - d[b]);
  return { values: order.map((i) => d[i]), last: order.map((i) => last[i]) };
}

/**
 * The largest (algebraic) eigenvalue of a symmetric operator by Lanczos with full reorthogonalisation, as
 * richness.measure.curvature's `largest_eigenpair` finds it; NaN where a product is not finite, null where `stale()`.
 *
 * product: async, array to array. start: of any length above 0. rule: {tolerance, iterations, hidden} of the manifest.
 */
export async function largestEigenvalue(product, start, rule, epsilon, stale = () => false) {
  const basis = [], alphas = [], betas = [], length = norm(start);
  let next = start.map((v) => v / length), value = NaN, scale = 0;
  for (let k = 0; k < Math.min(rule.iterations, start.length); k++) {
    basis.push(next);
    const image = (await product(next)).slice(), alpha = dot(next, image);
    if (stale()) return null;
    subtract(image, alpha, next);
    if (k) subtract(image, betas[k - 1], basis[k - 1]);
    for (const overlap of basis.map((row) => [row, dot(row, image)])) subtract(image, overlap[1], overlap[0]);
    const beta = norm(image);
    if (!Number.isFinite(alpha + beta)) return NaN;
    alphas.push(alpha);
    betas.push(beta);
    scale = Math.max(scale, Math.abs(alpha) + beta);
    const { values, last } = ritz(alphas, betas);
    value = values[k];
    let residual = beta * Math.abs(last[k]);
    if (k) {
      const floor = Math.max(residual, Number.MIN_VALUE);
      residual *= Math.max(floor / Math.max(value - values[k - 1], floor), 1 / rule.hidden);
    }
    const largest = Math.max(Math.abs(values[0]), Math.abs(value));
    if (beta <= 10 * epsilon * scale || residual <= Math.max(rule.tolerance * Math.abs(value), epsilon * largest)) break;
    next = image.map((v) => v / beta);
  }
  return value;
}

const finite = (value) => (Number.isFinite(value) ? value : null);

/** Measures the latest run's networks, one after another; those of earlier runs are dropped. */
export class Gauges {
  /** kernel, exact: two kernels, the second of which holds the network in float64, for its tangent kernel and drift. ready: of a
   *  task, a promise that both have its data. report: takes the reports of kind gauges. */
  constructor({ kernel, exact, manifest, report, ready = async () => {} }) {
    Object.assign(this, { kernel, exact, manifest, report, ready, queue: [], number: 0, observed: "", working: null });
  }

  /** Measure {number, ask, step, weights}; resolves when nothing is left to measure. */
  take(snapshot) {
    if (snapshot.number > this.number) this.forget(snapshot.number);
    if (snapshot.number === this.number) this.queue.push(snapshot);
    this.working ??= this.#work().finally(() => { this.working = null; });
    return this.working;
  }

  /** Only runs of this number and later are of interest. */
  forget(number) {
    this.number = number;
    this.queue = [];
  }

  async #work() {
    while (this.queue.length) {
      const snapshot = this.queue.shift(), row = await this.#measured(snapshot, () => snapshot.number !== this.number);
      if (row && snapshot.number === this.number) this.report({ kind: "gauges", number: snapshot.number, step: snapshot.step, ...row });
    }
  }

  async #measured({ ask, weights }, stale) {
    const about = resolved(ask, this.manifest), { kernel, exact } = this, count = about.parameters;
    await this.ready(ask.task);
    if (stale()) return null;
    this.#observe(about, ask);
    for (const one of [kernel, exact]) one.write(weights, (address) => one.doors.write_weights(address));
    const [test, right] = kernel.read(2, (address) => kernel.doors.test(address));
    await breath();
    if (stale()) return null;
    const [alignment, ...drift] = exact.read(about.depth, (address) => exact.doors.read_gauges(address));
    await breath();
    if (stale()) return null;
    const downhill = kernel.read(count, (address) => kernel.doors.gradient(address)), from = this.#mixed(downhill);
    const times = async (v) => {
      await breath();
      return stale() ? v : kernel.write(v, (given) => kernel.read(count, (address) => kernel.doors.product(given, address)));
    };
    const length = norm(downhill), unit = downhill.map((v) => v / length), along = dot(unit, await times(unit));
    const sharpness = await largestEigenvalue(times, from, this.manifest.lanczos, about.exact ? FLOAT64 : FLOAT32, stale);
    if (sharpness === null) return null;
    return {
      sharpness: finite(sharpness), along: finite(along), accuracy: about.task.classes ? finite(right) : null, test_loss: finite(test),
      alignment: finite(alignment), drift: drift.map(finite),
    };
  }

  /** Both kernels at this run's first weights, with what does not change in it: the samples, and f of the first weights on them. */
  #observe(about, ask) {
    const { kernel, exact } = this, { probe_samples: probes, test_samples: tests, kernel_samples: some } = this.manifest;
    const { task, network } = about, key = `${network} ${ask.gamma}`;
    if (key === this.observed) return;
    for (const [one, is] of [[kernel, about.exact], [exact, true]]) {
      this.#draw(one, task);
      one.begin({ ...about, exact: is }, ask);
    }
    const start = kernel.read(about.parameters, (address) => kernel.doors.read_weights(address));
    exact.write(start, (address) => exact.doors.write_weights(address));
    const held = task.classes ? this.manifest.digits.held_out : tests;
    const there = kernel.doors.observe_loss(kernel.samples.probe, probes, kernel.samples.test, held)
      && exact.doors.observe_features(exact.samples.probe, probes, some);
    if (!there) throw new Error("this browser gives the page no more memory: choose a smaller width or batch");
    this.observed = key;
  }

  /** The task's probe and held-out samples, in a kernel's memory. */
  #draw(kernel, task) {
    if (kernel.samples?.code === task.code) return;
    const { probe_samples: probes, test_samples: tests, digits } = this.manifest, held = task.classes ? digits.held_out : tests;
    if (kernel.samples) [kernel.samples.probe, kernel.samples.test].forEach((address) => kernel.release(address));
    const made = (part, n) => {
      const address = kernel.reserve(4 * n * (task.inputs + task.outputs));
      kernel.doors.draw_part(task.code, part, n, address);
      return address;
    };
    kernel.samples = { code: task.code, probe: made(0, probes), test: made(1, held) };
  }

  /** The gradient and a fixed random direction in equal parts. */
  #mixed(gradient) {
    const guess = gradient.map((v) => (Number.isFinite(v) ? v : 0)), length = norm(guess);
    const direction = this.kernel.read(guess.length, (address) => this.kernel.doors.draw_direction(guess.length, address));
    const unit = norm(direction);
    return guess.map((v, i) => (length > 0 ? v / length : 0) + direction[i] / unit);
  }
}
