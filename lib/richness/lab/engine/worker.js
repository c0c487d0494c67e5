// The four workers of a backend, told apart by their names: `train`, `stream` and `helper` (make batches ahead, every other one
// each: a batch takes five times as long to make as to train on) and `measure`, so that curvature never keeps the loss waiting.

import { Gauges } from "./curvature.js";
import { Graphs, breath, compiled } from "./graphs.js";
import { Memory, Streams } from "./stream.js";
import { Trainer } from "./trainer.js";

const PATIENCE = 8; // ms of work between two breaths
const WASM = "ort.wasm.gz";

const tell = (message) => self.postMessage(message);
const seen = (bytes) => tell({ kind: "bytes", bytes });
const fail = (error) => tell({ kind: "lost", message: error?.message ?? String(error) });
const buffers = (...arrays) => arrays.filter(Boolean).map((array) => array.buffer);

/** Compiles the runtime for all, and trains. */
async function train({ base, manifest, ports }) {
  const module = compiled(base, manifest.files[WASM], seen);
  module.then((made) => Object.values(ports).forEach((port) => port.postMessage({ module: made }))).catch(fail);
  const makers = [ports.stream, ports.helper];
  const memory = new Memory((wanted) => makers.forEach((port, k) => {
    port.postMessage({ wanted: wanted && { ...wanted, from: wanted.from + k, by: makers.length } });
  }));
  for (const port of makers) port.onmessage = ({ data }) => memory.arrive(data);
  const probe = (snapshot) => ports.measure.postMessage({ snapshot }, buffers(...snapshot.weights));
  const trainer = new Trainer({ graphs: new Graphs(base, manifest, module, seen), memory, report: tell, probe });
  const now = (work) => { work?.catch(fail); };
  return {
    start: ({ number, ask }) => now(trainer.start(number, ask)),
    rewind: ({ number }) => now(trainer.rewind(number)),
    change: (settings) => trainer.change(settings),
    pause: () => trainer.pause(),
    resume: () => trainer.resume(),
    step: ({ count }) => trainer.step(count),
  };
}

/** Makes batches for the trainer, in order, and, where it is asked to, the fixed sets that are measured on, which go first. */
async function stream({ base, manifest, ports }) {
  let jobs = [], busy = false, give;
  const module = new Promise((go) => { give = go; });
  const streams = new Streams(new Graphs(base, manifest, module, seen));
  const work = async () => {
    if (busy) return;
    busy = true;
    for (let breathed = performance.now(); jobs.length;) {
      const { task, seed, count, from, to, by } = jobs[0], batch = await streams.batch(task, seed, from, count);
      ports.train.postMessage({ task, seed, count, step: from, batch }, buffers(batch.x, batch.targets, batch.labels));
      jobs[0]?.from === from && (from + by < to ? (jobs[0].from += by) : jobs.shift());
      if (performance.now() - breathed > PATIENCE) {
        await breath();
        breathed = performance.now();
      }
    }
    busy = false;
  };
  ports.train.onmessage = ({ data }) => {
    if (data.module) return give(data.module);
    if (!data.wanted) jobs = [];
    else if (data.wanted.from < data.wanted.to) jobs.push(data.wanted);
    work().catch(fail);
  };
  if (ports.measure) ports.measure.onmessage = async ({ data: { task, part } }) => {
    try {
      ports.measure.postMessage({ task, part, set: await streams.set(task, part) });
    } catch (error) {
      fail(error);
    }
  };
}

/** Measures what the trainer hands over, on sets that the stream's worker makes. */
async function measure({ base, manifest, ports }) {
  let give;
  const module = new Promise((go) => { give = go; });
  const graphs = new Graphs(base, manifest, module, seen), waiting = new Map();
  ports.stream.onmessage = ({ data: { task, part, set } }) => waiting.get(`${task} ${part}`)?.(set);
  const sets = (task, part) => new Promise((go) => {
    waiting.set(`${task} ${part}`, go);
    ports.stream.postMessage({ task, part });
  });
  const gauges = new Gauges({ graphs, sets, report: tell });
  ports.train.onmessage = ({ data }) => (data.module ? give(data.module) : gauges.take(data.snapshot).catch(fail));
}

const roles = { train, stream, helper: stream, measure };
let opened = null;

self.onmessage = async ({ data }) => {
  try {
    if (data.do === "open") {
      // Held for good (where the page may lock at all, that is over https or on localhost): let go when the worker ends.
      self.navigator.locks?.request(data.lock, () => (tell({ kind: "holds", lock: data.lock }), new Promise(() => {})));
      opened = roles[self.name](data);
      await opened;
    } else {
      (await opened)[data.do](data);
    }
  } catch (error) {
    fail(error);
  }
};
