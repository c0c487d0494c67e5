// The workers of a backend, told apart by their names: `train`; `helper`, which makes batches ahead where there is a core for it;
// and `measure`, so that curvature never keeps the loss waiting. Each holds a kernel of its own: no memory is shared.

import { Batches } from "./batches.js";
import { Kernel, compiled, unpackedDigits } from "./compiled.js";
import { Gauges } from "./curvature.js";
import { known } from "./known.js";
import { Trainer } from "./trainer.js";

const tell = (message) => self.postMessage(message);
const fail = (error) => tell({ kind: "lost", message: error?.message ?? String(error) });

/** A promise with its `go`. */
function awaited() {
  let go;
  const promise = new Promise((one) => { go = one; });
  return { promise, go };
}

/** Fetches kernel and digits for all, sees whether this browser computes rightly, and trains. */
async function train({ base, manifest, ports }) {
  const module = await compiled(base), others = Object.values(ports);
  others.forEach((port) => port.postMessage({ module }));
  const kernel = new Kernel(module), help = ports.helper && ((job) => ports.helper.postMessage({ job }));
  known(kernel, manifest);
  tell({ kind: "right" });
  const batches = new Batches(kernel, help);
  if (ports.helper) ports.helper.onmessage = ({ data }) => batches.arrive(data);
  let digits = null;
  const fetchDigits = () => (digits ??= unpackedDigits(base, manifest.digits, (bytes) => tell({ kind: "bytes", bytes })).then((bytes) => {
    kernel.useDigits(bytes);
    others.forEach((port) => port.postMessage({ digits: bytes }));
  }));
  const ready = (task) => manifest.tasks[task].classes && fetchDigits().catch((error) => { fail(error); throw error; });
  const probe = (snapshot) => ports.measure.postMessage({ snapshot }, [snapshot.weights.buffer]);
  const trainer = new Trainer({ kernel, batches, manifest, report: tell, probe, ready });
  return {
    digits: () => { fetchDigits().catch(() => { digits = null; }); }, // in the background: who needs them asks again
    start: ({ number, ask }) => { trainer.start(number, ask); },
    rewind: ({ number }) => { trainer.rewind(number); },
    change: (settings) => trainer.change(settings),
    pause: () => trainer.pause(),
    resume: () => trainer.resume(),
    step: ({ count }) => trainer.step(count),
    weights: () => trainer.weights(),
  };
}

/** What comes from the worker that trains: the kernel's module, the digits, and then `work`. */
function served(port, count, work) {
  const kernels = awaited(), digits = awaited();
  port.onmessage = async ({ data }) => {
    if (data.module) return kernels.go(Array.from({ length: count }, () => new Kernel(data.module)));
    const made = await kernels.promise;
    if (data.digits) {
      made.forEach((kernel) => kernel.useDigits(data.digits));
      digits.go();
    } else work(data, made, digits.promise);
  };
}

/** Makes the blocks of batches that the trainer asks for. */
async function helper({ ports }) {
  served(ports.train, 1, ({ job }, [kernel]) => {
    const { about, seed, step, steps, stamp, index } = job, { task, batch } = about;
    const address = kernel.draw(about, seed, step, steps);
    const samples = kernel.floats(address, steps * batch * (task.inputs + task.outputs)).slice().buffer;
    kernel.release(address);
    ports.train.postMessage({ stamp, index, samples }, [samples]);
  });
}

/** Measures what the trainer hands over. */
async function measure({ manifest, ports }) {
  let gauges = null;
  served(ports.train, 2, ({ snapshot }, [kernel, exact], digits) => {
    gauges ??= new Gauges({ kernel, exact, manifest, report: tell, ready: (task) => manifest.tasks[task].classes && digits });
    gauges.take(snapshot).catch(fail);
  });
}

const roles = { train, helper, measure };
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
