// The streams: (seed, step) -> batch, as richness.data makes them. The random numbers come from rng.js, the mathematics from
// the library's exported graphs; `resample` alone is written here.

import * as rng from "./rng.js";
import { DIGITS, integers, long, tensor, unpacked } from "./graphs.js";

const size = (shape) => shape.reduce((product, n) => product * n, 1);

/**
 * torch's `grid_sample` (bilinear, zeros, align_corners=False) of side x side images. It is an operator, not mathematics of this
 * project's, and onnxruntime's takes 7 ms for a batch of 64 where this loop takes a fraction of one.
 *
 * images: grey levels 0-255 of all originals, each with a black margin of one pixel (see `framed`). which: the original of each
 * of n. places: x then y of every pixel, in units of half the side from the centre. Returns n images, grey levels in [0, 1].
 */
export function resample(images, side, which, places) {
  const n = which.length, pixels = side * side, wide = side + 2, half = side / 2, middle = (side + 1) / 2, level = 1 / 255;
  const out = new Float32Array(n * pixels);
  for (let k = 0; k < n; k++) {
    const image = (which[k] | 0) * wide * wide, across = 2 * k * pixels, down = across + pixels, to = k * pixels;
    for (let p = 0; p < pixels; p++) {
      const x = places[across + p] * half + middle, y = places[down + p] * half + middle; // of the framed image
      if (!(x >= 0 && y >= 0 && x < side + 1 && y < side + 1)) continue;
      const left = x | 0, top = y | 0, corner = (image + top * wide + left) | 0; // an index known to be whole is a third faster
      const a = images[corner], b = images[corner + 1], c = images[corner + wide], d = images[corner + wide + 1];
      if ((a | b | c | d) === 0) continue; // most of a digit's image is black
      const u = x - left, v = y - top, above = a + u * (b - a), below = c + u * (d - c);
      out[to + p] = (above + v * (below - above)) * level;
    }
  }
  return out;
}

/** Images of side x side, each with a margin of zeros. */
export function framed(images, side) {
  const wide = side + 2, count = images.length / (side * side), out = new Uint8Array(count * wide * wide);
  for (let row = 0; row < count * side; row++) {
    const image = Math.floor(row / side), at = (image * wide + (row % side) + 1) * wide + 1;
    out.set(images.subarray(row * side, (row + 1) * side), at);
  }
  return out;
}

/** Every task's samples: {x, targets, labels}: float32 rows, real or one-hot float32 rows, int64 classes where there are any. */
export class Streams {
  constructor(graphs) {
    this.graphs = graphs;
    this.manifest = graphs.manifest;
  }

  /** The training batch of a step. */
  batch(task, seed, step, count) {
    return this.#draw(this.manifest.tasks[task], "train", seed, step, count);
  }

  /** The fixed samples of a part: `probe`, on which curvature is measured, or `test`, on which accuracy is. */
  set(task, part) {
    const about = this.manifest.tasks[task];
    if (part === "test" && about.classes) return this.#heldOut(about);
    return this.#draw(about, part, 0, 0, this.manifest[`${part}_samples`]);
  }

  #draw(task, part, seed, step, count) {
    return task.graph ? this.#analytic(task, part, seed, step, count) : this.#digits(task, part, seed, step, count);
  }

  async #analytic(task, part, seed, step, count) {
    const graph = await this.graphs.graph(task.graph);
    const [[kind, each]] = Object.entries(task.draws);
    const numbers = rng[kind](seed, task.streams[part], step, count * each), dims = [count, each];
    const made = await graph({ [kind]: kind === "bits" ? integers(long(numbers), dims) : tensor("float64", numbers, dims) });
    return { x: made.x.data, targets: made.targets.data, labels: null };
  }

  async #digits(task, part, seed, step, count) {
    const [{ frames, labels, side, training }, places] = await Promise.all([this.#originals(), this.graphs.graph("digits.places.onnx")]);
    const drawn = {};
    for (const [name, { kind, shape }] of Object.entries(task.draws)) {
      drawn[name] = rng[kind](seed, `${task.streams[part]}/${name}`, step, count * size(shape), training);
    }
    const { which, ...others } = drawn;
    const given = Object.entries(others).map(([name, values]) => [name, tensor("float64", values, [count, ...task.draws[name].shape])]);
    const where = await places(Object.fromEntries(given));
    const grey = resample(frames, side, which, where.places.data);
    return { x: await this.#pooled(grey, count), ...classes(which, labels, task.outputs) };
  }

  async #heldOut(task) {
    const { images, labels, side, training } = await this.#originals();
    const which = Float64Array.from({ length: labels.length - training }, (_, i) => training + i);
    const grey = Float32Array.from(images, (level) => level / 255);
    return { x: await this.#pooled(grey, which.length), ...classes(which, labels, task.outputs) };
  }

  async #pooled(grey, count) {
    const { side } = this.manifest.digits;
    const graph = await this.graphs.graph("digits.inputs.onnx");
    return (await graph({ grey: tensor("float32", grey, [count, side, side]) })).x.data;
  }

  #originals() {
    this.originals ??= this.graphs.file(DIGITS).then(async (packed) => {
      const { images: count, side, training } = this.manifest.digits;
      const bytes = await new Response(unpacked(packed)).arrayBuffer().then((whole) => new Uint8Array(whole), () => []);
      if (bytes.length !== count * (side * side + 1)) throw new Error(`${DIGITS} is damaged: it does not unpack to ${count} images`);
      const images = bytes.subarray(0, count * side * side), labels = bytes.subarray(count * side * side);
      return { images: images.subarray(training * side * side), frames: framed(images, side), labels, side, training };
    });
    return this.originals;
  }
}

function classes(which, labels, outputs) {
  const targets = new Float32Array(which.length * outputs);
  which.forEach((original, i) => { targets[i * outputs + labels[original]] = 1; });
  return { targets, labels: long(which.map((original) => labels[original])) };
}

const LIMIT = 2 ** 26, AHEAD = 256; // bytes of batches that are kept; steps that are made before they are needed

/**
 * Batches as training asks for them, and those of the streams that were trained on before, up to `limit` bytes: the other
 * streams' are the first to go.
 *
 * `make({task, seed, count, from, to})` has the batches of some steps made, in order; each comes in through `arrive`. `make(null)`:
 * what was asked for so far is needed no more.
 */
export class Memory {
  constructor(make, limit = LIMIT) {
    this.make = make;
    this.limit = limit;
    this.bytes = 0;
    this.streams = new Map();
    this.stream = null;
  }

  /** Train on this stream from now on: its name for `get`. */
  choose(task, seed, count) {
    const key = `${task}/${seed}/${count}`;
    if (!this.streams.has(key)) this.streams.set(key, { task, seed, count, key, kept: new Map() });
    this.stream = this.streams.get(key);
    this.passing = new Map(); // what there was no room to keep
    this.asked = 0;
    this.wanted?.go(null); // whoever waits for another stream waits no longer
    this.wanted = null;
    this.make(null);
  }

  /** Have the first batches made. */
  ahead(last) {
    this.#ask(0, last);
  }

  /** The batch of a step; `last` is the last that will be asked for. null where another stream was chosen meanwhile. */
  async get(step, last) {
    if (step + AHEAD / 2 >= this.asked && this.asked <= last) this.#ask(step, last);
    const found = this.stream.kept.get(step) ?? this.passing.get(step);
    if (found) {
      this.passing.delete(step);
      return found;
    }
    return new Promise((go) => { this.wanted = { step, go }; });
  }

  #ask(step, last) {
    const { task, seed, count, kept } = this.stream;
    let from = Math.max(step, this.asked);
    while (from <= last && (kept.has(from) || this.passing.has(from))) from += 1;
    const to = Math.min(last + 1, Math.max(step, from) + AHEAD);
    this.asked = to;
    if (from < to) this.make({ task, seed, count, from, to });
  }

  /** A batch that was made. */
  arrive({ task, seed, count, step, batch }) {
    const stream = this.streams.get(`${task}/${seed}/${count}`);
    if (!stream) return;
    if (!stream.kept.has(step) && !this.#keep(stream, step, batch) && stream === this.stream) this.passing.set(step, batch);
    if (stream === this.stream && this.wanted?.step === step) {
      const { go } = this.wanted;
      this.wanted = null;
      this.passing.delete(step);
      go(stream.kept.get(step) ?? batch);
    }
  }

  #keep(stream, step, batch) {
    // What training adds to a batch, f of the first weights, is as large as its targets.
    const size = batch.x.byteLength + 3 * batch.targets.byteLength + (batch.labels?.byteLength ?? 0);
    for (const other of this.streams.values()) {
      if (this.bytes + size <= this.limit) break;
      if (other === this.stream) continue;
      this.bytes -= [...other.kept.values()].reduce((sum, one) => sum + one.bytes, 0);
      this.streams.delete(other.key);
    }
    if (this.bytes + size > this.limit || !this.streams.has(stream.key)) return false;
    batch.bytes = size;
    stream.kept.set(step, batch);
    this.bytes += size;
    return true;
  }
}
