// The runtime, the graphs and the data: fetched once, told by name where they cannot be had.

import { InferenceSession, Tensor, env } from "./ort.wasm.min.mjs";
import { share } from "./factory.js";

export const WASM = "ort.wasm.gz", DIGITS = "digits.bin.gz", MANIFEST = "manifest.json";

const here = (name) => new URL(name, import.meta.url).href;

/** A file beside the manifest, as bytes. `seen(n)` hears of every n bytes that arrive. */
export async function fetched(base, name, size = 0, seen = () => {}) {
  let answer;
  try {
    answer = await fetch(new URL(name, base));
  } catch (error) {
    throw new Error(`${name} cannot be fetched: ${error.message}`);
  }
  if (!answer.ok) throw new Error(`${name} cannot be fetched: the server answered ${answer.status} ${answer.statusText}`.trim());
  const parts = [];
  for (let reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    seen(value.length);
  }
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  // A server that unpacks .gz files on its way sends more than the file holds.
  if (size && bytes.length !== size && !name.endsWith(".gz")) {
    throw new Error(`${name} is damaged: expected ${size} bytes, got ${bytes.length}`);
  }
  return bytes;
}

/** Unpacks gzip as a stream; bytes that are no gzip (any more) pass as they are. */
export function unpacked(bytes) {
  const stream = new Blob([bytes]).stream();
  return bytes[0] === 0x1f && bytes[1] === 0x8b ? stream.pipeThrough(new DecompressionStream("gzip")) : stream;
}

/** The runtime's WebAssembly, compiled. */
export async function compiled(base, size, seen) {
  const bytes = await fetched(base, WASM, size, seen);
  try {
    return await WebAssembly.compileStreaming(new Response(unpacked(bytes), { headers: { "Content-Type": "application/wasm" } }));
  } catch (error) {
    throw new Error(`${WASM} cannot be compiled: ${error.message}`);
  }
}

// The runtime keeps one stack for all sessions and awaits while things lie on it: two calls at a time corrupt it.
let last = Promise.resolve();
function alone(work) {
  const result = last.then(work);
  last = result.catch(() => {});
  return result;
}

/** Graphs by file name, opened when first asked for and kept. `module`: the compiled runtime, or a promise of it. */
export class Graphs {
  constructor(base, manifest, module, seen = () => {}) {
    this.base = base;
    this.manifest = manifest;
    this.seen = seen;
    this.open = new Map();
    this.runtime = Promise.resolve(module).then(share);
    this.runtime.catch(() => {}); // told where a graph is waited for
    env.wasm.numThreads = 1;
    env.wasm.wasmPaths = { mjs: here("./factory.js") };
    env.logLevel = "error";
  }

  /** The bytes of a file of the manifest. */
  file(name) {
    return fetched(this.base, name, this.manifest.files[name], this.seen);
  }

  /** A graph as a function of named tensors to named tensors. */
  graph(name) {
    if (!this.open.has(name)) this.open.set(name, this.#session(`graphs/${name}`));
    return this.open.get(name);
  }

  /** The graph of one purpose of a network: raw, step, gradient, product, test, or gauges, which takes float64 alone. */
  of(network, program, dtype) {
    return this.graph(`${network}.${program}.${this.manifest.dtypes[dtype]}.onnx`);
  }

  async #session(file) {
    const [bytes] = await Promise.all([this.file(file), this.runtime]);
    let session;
    try {
      session = await alone(() => InferenceSession.create(bytes, { executionProviders: ["wasm"], graphOptimizationLevel: "all" }));
    } catch (error) {
      throw new Error(`${file} cannot be opened: ${error.message}`);
    }
    return (given) => {
      const wanted = Object.fromEntries(session.inputNames.map((name) => [name, given[name]]));
      return alone(() => session.run(wanted));
    };
  }
}

const KINDS = { float32: Float32Array, float64: Float64Array };

/** Numbers as a tensor of a floating dtype, cast where they are of the other. */
export function tensor(dtype, values, dims) {
  const Kind = KINDS[dtype];
  return new Tensor(dtype, values instanceof Kind ? values : Kind.from(values), dims);
}

/** Labels, or random words, as an int64 tensor. */
export function integers(values, dims) {
  return new Tensor("int64", values, dims);
}

/** Whole numbers below 2^32 as int64: written as halves, since a BigInt for each is many times slower. */
export function long(values) {
  const out = new BigInt64Array(values.length), halves = new Uint32Array(out.buffer);
  for (let i = 0; i < values.length; i++) halves[2 * i] = values[i];
  return out;
}

/** Let messages in. */
export function breath() {
  return new Promise((go) => {
    const { port1, port2 } = new MessageChannel();
    port2.onmessage = () => { port2.close(); go(); };
    port1.postMessage(0);
  });
}
