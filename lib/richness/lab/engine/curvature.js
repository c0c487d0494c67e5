// What is measured of a network in training: sharpness by Lanczos, curvature along the gradient, alignment and drift, held-out loss and accuracy.

import * as rng from "./rng.js";
import { breath, tensor } from "./graphs.js";
import { feeds, initial, named, resolved } from "./trainer.js";

const EPSILON = { float32: 2 ** -23, float64: 2 ** -52 };

const EXACT = "gauges"; // in float64, whatever the network's dtype

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

/** Numbers as they are in a dtype. */
const rounded = (dtype, values) => (dtype === "float32" ? Float32Array.from(values) : values);

/** Measures the latest run's networks, one after another; those of earlier runs are dropped. */
export class Gauges {
  /** sets(task, part): the samples of a part, see `Streams.set`. report: takes the reports of kind gauges. */
  constructor({ graphs, sets, report }) {
    Object.assign(this, { graphs, sets, report });
    this.manifest = graphs.manifest;
    this.queue = [];
    this.number = 0;
    this.kept = new Map();
    this.working = null;
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

  async #measured({ ask, weights: values }, stale) {
    const about = resolved(ask, this.manifest), { network, dtype, weights } = about;
    const at = (program) => this.graphs.of(network, program, dtype);
    const { start, probe, kernel, test } = await this.#fixed(ask, about);
    const now = named(dtype, weights, values), gamma = tensor(dtype, [ask.gamma], [1]);
    const held = await (await at("test"))({ ...now, ...test, gamma });
    const kernels = await (await this.graphs.of(network, EXACT, "float64"))({ ...named("float64", weights, values), ...start, ...kernel });
    await breath();
    if (stale()) return null;
    const given = { ...now, ...probe, gamma };
    const [gradient, product] = await Promise.all([at("gradient"), at("product")]);
    const downhill = (await gradient(given)).gradient.data, from = this.#mixed(downhill);
    const times = async (v) => {
      await breath();
      return stale() ? v : (await product({ ...given, v: tensor(dtype, v, [1, v.length]) })).product.data;
    };
    const length = norm(downhill), unit = downhill.map((v) => v / length), along = dot(unit, await times(unit));
    const sharpness = await largestEigenvalue(times, from, this.manifest.lanczos, EPSILON[dtype], stale);
    if (sharpness === null) return null;
    const finite = (value) => (Number.isFinite(value) ? value : null);
    return {
      sharpness: finite(sharpness),
      along: finite(along),
      accuracy: held.accuracy ? finite(held.accuracy.data[0]) : null,
      test_loss: finite(held.test_loss.data[0]),
      alignment: finite(kernels.alignment.data[0]),
      drift: Array.from(kernels.drift.data, finite),
    };
  }

  /** What does not change in a run: the samples with f of the first weights on them. Kept for the last network. */
  #fixed(ask, about) {
    const key = `${about.network} ${ask.task} ${about.dtype} ${ask.seed}`;
    if (!this.kept.has(key)) {
      this.kept.clear();
      this.kept.set(key, this.#prepared(ask, about));
    }
    return this.kept.get(key);
  }

  async #prepared(ask, { network, dtype, weights, task }) {
    const [probe, test] = await Promise.all(["probe", "test"].map((part) => this.sets(ask.task, part)));
    const raw = await this.graphs.of(network, "raw", dtype), values = initial(weights, ask.seed), n = this.manifest.kernel_samples;
    const some = { x: probe.x.slice(0, n * task.inputs), targets: probe.targets.slice(0, n * task.outputs), labels: null };
    const with0 = async (samples) => {
      const given = feeds(dtype, samples, task.inputs, task.outputs);
      return { ...given, raw0: (await raw({ ...named(dtype, weights, values), x: given.x })).raw };
    };
    return {
      start: named("float64", weights, values.map((layer) => rounded(dtype, layer)), "s"),
      kernel: feeds("float64", some, task.inputs, task.outputs),
      probe: await with0(probe), test: await with0(test),
    };
  }

  /** The gradient and a fixed random direction in equal parts. */
  #mixed(gradient) {
    const guess = gradient.map((v) => (Number.isFinite(v) ? v : 0)), length = norm(guess);
    const direction = rng.normals(0, this.manifest.lanczos.direction, 0, guess.length), unit = norm(direction);
    return guess.map((v, i) => (length > 0 ? v / length : 0) + direction[i] / unit);
  }
}
