// Batches as training asks for them, in blocks of some steps, made by the kernel: here, and in a second worker where there is one.

const BLOCK = 2 ** 18, MOST = 16; // numbers, and steps, of a block
const LIMIT = 2 ** 26, AHEAD = 256; // bytes of batches that are kept; steps that are made before they are needed
const CLAIMED = 2; // blocks that the helper has before it: it never waits for the next

/** Steps a block: the same wherever batches are made. */
export const blockSteps = ({ task, batch }) => Math.max(1, Math.min(MOST, Math.floor(BLOCK / (batch * (task.inputs + 2 * task.outputs)))));

/**
 * kernel: makes batches. help: has a block made elsewhere, which comes in through `arrive`; null where nobody helps.
 * What streams were trained on before is kept up to `limit` bytes: the other streams' go first.
 */
export class Batches {
  constructor(kernel, help = null, limit = LIMIT) {
    Object.assign(this, { kernel, help, limit, bytes: 0, streams: new Map(), stream: null, stamp: 0 });
  }

  /** Train on this stream from now on, up to and with step `last`. */
  choose(about, seed, last) {
    const key = `${about.task.code}/${seed}/${about.batch}`;
    this.#drop();
    if (!this.streams.has(key)) this.streams.set(key, { key, about, seed, kept: new Map() });
    this.stream = this.streams.get(key);
    Object.assign(this, { last, size: blockSteps(about), passing: new Map(), claimed: new Set(), next: 0, at: 0, stamp: this.stamp + 1 });
    this.wake?.();
    this.#claim();
  }

  /** The block that holds a step: {samples, atStart, key, steps, from}; those before it are needed no more. null where another
   *  stream was chosen meanwhile. While the helper makes it, blocks further on are made here. */
  async get(step, breath) {
    const { stamp } = this, index = Math.floor(step / this.size);
    this.at = index;
    for (const old of [...this.passing.keys()].filter((one) => one < index)) this.#free(this.passing, old);
    for (;;) {
      const found = this.stream.kept.get(index) ?? this.passing.get(index);
      this.#claim();
      if (found) return found;
      const mine = this.claimed.has(index) ? this.#unclaimed() : index;
      if (mine === null) await new Promise((go) => { this.wake = go; });
      else {
        this.#take(mine, this.kernel.draw(this.stream.about, this.stream.seed, mine * this.size, this.size));
        if (mine !== index) await breath();
      }
      if (stamp !== this.stamp) return null;
    }
  }

  /** A block that the helper made. */
  arrive({ stamp, index, samples }) {
    if (stamp !== this.stamp) return;
    this.claimed.delete(index);
    const values = new Float32Array(samples), address = this.kernel.reserve(samples.byteLength);
    this.kernel.floats(address, values.length).set(values);
    this.#take(index, address);
    this.wake?.();
  }

  #known(index) {
    return this.stream.kept.has(index) || this.passing.has(index) || this.claimed.has(index);
  }

  /** The next block that nobody makes yet; null where there is none within reach. */
  #unclaimed() {
    this.next = Math.max(this.next, this.at);
    while (this.#known(this.next)) this.next += 1;
    return this.next * this.size <= this.last && (this.next - this.at) * this.size < AHEAD ? this.next : null;
  }

  #claim() {
    while (this.help && this.claimed.size < CLAIMED) {
      const index = this.#unclaimed();
      if (index === null) return;
      this.claimed.add(index);
      const { about, seed } = this.stream;
      this.help({ stamp: this.stamp, index, about, seed, step: index * this.size, steps: this.size });
    }
  }

  #take(index, samples) {
    const { about } = this.stream, { task, batch } = about, steps = this.size;
    // What training adds, f of the first weights, may be in float64.
    const bytes = 4 * steps * batch * (task.inputs + 3 * task.outputs), block = { samples, atStart: 0, key: "", steps, from: index * steps, bytes };
    (this.#room(bytes) ? this.stream.kept : this.passing).set(index, block);
  }

  #room(bytes) {
    for (const other of this.streams.values()) {
      if (this.bytes + bytes <= this.limit) break;
      if (other === this.stream) continue;
      for (const index of [...other.kept.keys()]) this.#free(other.kept, index);
      this.streams.delete(other.key);
    }
    if (this.bytes + bytes > this.limit) return false;
    this.bytes += bytes;
    return true;
  }

  #free(blocks, index) {
    const { samples, atStart, bytes } = blocks.get(index);
    this.kernel.release(samples);
    this.kernel.release(atStart);
    blocks.delete(index);
    if (blocks !== this.passing) this.bytes -= bytes;
  }

  #drop() {
    for (const index of [...(this.passing?.keys() ?? [])]) this.#free(this.passing, index);
  }
}
