// The library's C++ kernel in this worker: its doors (richness/kernel/page.cpp) under names and with views that JavaScript can use.

import { fetchBytes } from "../fetching.js";

const PLAIN = "kernel.wasm", FUSED = "kernel.fma.wasm";

// A module with one relaxed multiply-add: valid where the browser knows them.
const PROBE = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0,
  65, 0, 253, 15, 65, 0, 253, 15, 65, 0, 253, 15, 253, 133, 2, 11);

/** The kernel that this browser can run, compiled. */
export async function compiled(base) {
  const name = WebAssembly.validate(PROBE) ? FUSED : PLAIN, bytes = await fetchBytes(new URL(name, base));
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    throw new Error(`${name} cannot be compiled: ${error.message}`);
  }
}

/** The digits, unpacked. `seen(n)` hears of every n bytes that arrive. */
export async function unpackedDigits(base, { file, bytes: size }, seen = () => {}) {
  const packed = await fetchBytes(new URL(file, base), { arrived: seen }), [first, second] = packed, blob = new Blob([packed]);
  // A server may have unpacked the file on its way.
  const stream = first === 0x1f && second === 0x8b ? blob.stream().pipeThrough(new DecompressionStream("gzip")) : blob.stream();
  const bytes = await new Response(stream).arrayBuffer().catch(() => new ArrayBuffer(0));
  if (bytes.byteLength !== size) throw new Error(`${file} is damaged: expected ${size} bytes unpacked, got ${bytes.byteLength}`);
  return bytes;
}

export class Kernel {
  constructor(module) {
    this.doors = new WebAssembly.Instance(module).exports;
    this.losses = this.reserve(8 * 64);
  }

  // Memory may grow, and move, at every call: views are made when they are read.
  floats(address, count) { return new Float32Array(this.doors.memory.buffer, address, count); }
  reals(address, count) { return new Float64Array(this.doors.memory.buffer, address, count); }

  reserve(bytes) {
    const address = this.doors.reserve(bytes);
    if (!address) throw new Error("this browser gives the page no more memory: choose a smaller width or batch");
    return address;
  }

  release(address) { this.doors.release(address); }

  /** Reals that a door fills in, as an array of their own. */
  read(count, fill) {
    const address = this.reserve(8 * count);
    fill(address);
    const values = this.reals(address, count).slice();
    this.release(address);
    return values;
  }

  /** Reals handed to a door. */
  write(values, take) {
    const address = this.reserve(8 * values.length);
    this.reals(address, values.length).set(values);
    const answer = take(address);
    this.release(address);
    return answer;
  }

  useDigits(bytes) {
    const address = this.reserve(bytes.byteLength);
    new Uint8Array(this.doors.memory.buffer).set(new Uint8Array(bytes), address);
    this.doors.use_digits(address);
  }

  /** The samples of some steps, made here: their address. */
  draw({ task, batch }, seed, step, steps) {
    const address = this.reserve(4 * steps * batch * (task.inputs + task.outputs));
    this.doors.draw(task.code, seed, step, steps, batch, address);
    return address;
  }

  /** A run at step 0; see `resolved`. */
  begin({ exact, depth, width, batch, codes, task, beta, beta2, epsilon }, { seed, gamma }) {
    const { activation, loss, optimizer } = codes;
    const begun = this.doors.begin(exact, depth, width, batch, activation, loss, optimizer, task.code, seed, gamma, beta, beta2, epsilon);
    if (!begun) throw new Error("this browser gives the page no more memory: choose a smaller width or batch");
  }

  /** f of the first weights on the samples of some steps: their address. */
  outputsAtStart(samples, steps) {
    const address = this.doors.outputs_at_start(samples, steps);
    if (!address) throw new Error("this browser gives the page no more memory: choose a smaller width or batch");
    return address;
  }

  /** The losses of `rows` steps, with an update after each but for those beyond `updates`; NaN from a divergence on. */
  advance({ samples, atStart, steps }, first, rows, updates, number, eta) {
    if (!this.doors.advance(samples, atStart, steps, first, rows, updates, number, eta, this.losses)) {
      throw new Error("this browser gives the page no more memory: choose a smaller width or batch");
    }
    return this.reals(this.losses, rows);
  }
}

/** Let messages in. */
export function breath() {
  return new Promise((go) => {
    const { port1, port2 } = new MessageChannel();
    port2.onmessage = () => { port2.close(); go(); };
    port1.postMessage(0);
  });
}
