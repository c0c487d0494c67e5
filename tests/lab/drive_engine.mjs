// Drives the page's trainer in node, without workers: node drive_engine.mjs FOLDER KERNEL < jobs.json > answers.json
// A job is {do: "run", ask, changes, gauges} | {do: "batch", task, seed, step, count} | {do: "set", task, part}
// | {do: "known", wrong} | {do: "eigen", matrix, start} | {do: "memory", limit, visits, help}.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";

const [folder, file] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${folder}/${name}`));
const [{ Batches }, { Kernel }, { Gauges, largestEigenvalue, ritz }, { known }, { Trainer }] = await Promise.all(
  ["batches.js", "compiled.js", "curvature.js", "known.js", "trainer.js"].map(load),
);
const manifest = JSON.parse(readFileSync(`${folder}/manifest.json`, "utf8")), digits = gunzipSync(readFileSync(`${folder}/digits.bin.gz`));
const module = new WebAssembly.Module(readFileSync(`${folder}/${file}`));
const [kernel, measuring, exact] = [0, 1, 2].map(() => {
  const made = new Kernel(module);
  made.useDigits(digits.buffer.slice(digits.byteOffset, digits.byteOffset + digits.byteLength));
  return made;
});
const batches = new Batches(kernel);

let number = 0;
async function run({ ask, changes = {}, gauges = false }) {
  const reports = [], snapshots = [], mine = ++number;
  const trainer = new Trainer({ kernel, batches, manifest, report: (one) => reports.push(one), probe: (one) => snapshots.push(one) });
  const cuts = Object.keys(changes).map(Number).sort((a, b) => a - b);
  const over = trainer.start(mine, ask, cuts[0] ?? ask.steps);
  const paused = async (step) => {
    while (!reports.some((one) => one.kind === "state" && one.state === "paused" && one.step === step)) {
      await new Promise((go) => setTimeout(go, 1));
    }
  };
  for (const [i, at] of cuts.entries()) {
    await paused(at);
    trainer.change({ eta: changes[at] });
    if (cuts[i + 1]) trainer.step(cuts[i + 1] - at);
    else trainer.resume();
  }
  await over;
  const rows = [];
  if (gauges) {
    const measured = new Gauges({ kernel: measuring, exact, manifest, report: (one) => rows.push(one) });
    for (const one of snapshots.filter(({ step }) => step === 0 || step === ask.steps)) await measured.take(one);
  }
  const curves = reports.filter(({ kind }) => kind === "curve");
  return {
    step: curves.flatMap(({ step }) => [...step]),
    loss: curves.flatMap(({ loss }) => [...loss]),
    eta: curves.flatMap(({ eta }) => [...eta]),
    run: reports.find(({ kind }) => kind === "run"),
    states: reports.filter(({ kind }) => kind === "state").map(({ state, step, message }) => [state, step, message]),
    samples: reports.filter(({ kind }) => kind === "samples").map((one) => ({ ...one, inputs: [...one.inputs] }))[0],
    probed: snapshots.map(({ step }) => step),
    gauges: rows,
  };
}

function samples(address, { inputs, outputs }, count) {
  const all = kernel.floats(address, count * (inputs + outputs)).slice();
  kernel.release(address);
  return { x: [...all.subarray(0, count * inputs)], targets: [...all.subarray(count * inputs)] };
}

const does = {
  run,
  batch({ task, seed, step, count }) {
    const about = { task: manifest.tasks[task], batch: count };
    return samples(kernel.draw(about, seed, step, 1), about.task, count);
  },
  set({ task, part }) {
    const about = manifest.tasks[task], held = about.classes ? manifest.digits.held_out : manifest.test_samples;
    const count = part === "probe" ? manifest.probe_samples : held, address = kernel.reserve(4 * count * (about.inputs + about.outputs));
    kernel.doors.draw_part(about.code, part === "probe" ? 0 : 1, count, address);
    return samples(address, about, count);
  },
};

// The known runs, one loss of one of them changed by a share of itself: what is said.
does.known = ({ wrong }) => {
  const changed = structuredClone(manifest);
  changed.known.at(-1).loss[40] *= 1 + wrong;
  try {
    known(kernel, changed);
    return "";
  } catch (error) {
    return error.message;
  }
};

does.eigen = async ({ matrix, start, tridiagonal }) => {
  if (tridiagonal) return ritz(...tridiagonal);
  let products = 0;
  const times = async (v) => { products += 1; return Float64Array.from(matrix, (row) => row.reduce((sum, one, i) => sum + one * v[i], 0)); };
  return [await largestEigenvalue(times, Float64Array.from(start), manifest.lanczos, 2 ** -52), products];
};

// Visits some steps of some streams of one sample a batch and one step a block; what was made for each visit, here and by the helper,
// what is held, and whether each was what it should be.
does.memory = async ({ limit, visits, help }) => {
  let here = 0, there = 0, next = 8;
  const memory = new Map(), allocated = () => [...memory.values()].filter(Boolean).length;
  const put = (value) => { memory.set(next += 8, value); return next; };
  const fake = {
    draw: (about, seed, step) => { here += 1; return put([seed, step]); },
    reserve: () => put([0, 0]),
    floats: (address) => ({ set: (values) => memory.set(address, [...values]) }),
    release: (address) => memory.delete(address),
  };
  const about = { task: { code: 0, inputs: 2 ** 18, outputs: 0 }, batch: 1 };
  const helper = ({ seed, step, stamp, index }) => setTimeout(() => {
    there += 1;
    small.arrive({ stamp, index, samples: Float32Array.of(seed, step).buffer });
  }, 1);
  const small = new Batches(fake, help ? helper : null, limit * 2 ** 20), told = [];
  for (const { seed, from, last } of visits) {
    [here, there] = [0, 0];
    small.choose(about, seed, last);
    let right = true;
    for (let step = from; step <= last; step++) {
      const { samples: address } = await small.get(step, () => new Promise((go) => setTimeout(go, 2)));
      const [of, at] = memory.get(address);
      right &&= of === seed && at === step;
    }
    told.push({ right, here, there, bytes: small.bytes / 2 ** 20, allocated: allocated() });
  }
  return told;
};

const answers = [];
for (const job of JSON.parse(readFileSync(0, "utf8"))) answers.push(await does[job.do](job));
console.log(JSON.stringify(answers, (_, value) => (value === Infinity || Number.isNaN(value) ? String(value) : value)));
