// Drives the page's engine in node, without workers: node drive_engine.mjs FOLDER BASE < jobs.json > answers.json
// A job is {do: "run", ask, changes, gauges} | {do: "batch", task, seed, step, count} | {do: "set", task, part}
// | {do: "resample", images, side, which, places} | {do: "eigen", matrix, start} | {do: "memory", limit, visits}.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, base] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${folder}/${name}`));
const [{ Graphs, compiled }, { Memory, Streams, framed, resample }, { Trainer }, { Gauges, largestEigenvalue, ritz }] = await Promise.all(
  ["graphs.js", "stream.js", "trainer.js", "curvature.js"].map(load),
);
const manifest = await (await fetch(new URL("manifest.json", base))).json();
const graphs = new Graphs(base, manifest, await compiled(base));
const streams = new Streams(graphs);

// What the stream's worker does: one batch after another, until what was asked for is needed no more.
function maker(batch, arrive) {
  let wanted = [], busy = false;
  return async (more) => {
    if (more) wanted.push(more);
    else wanted = [];
    if (busy) return;
    for (busy = true; wanted.length;) {
      const mine = wanted.shift();
      for (let step = mine.from; step < mine.to; step++) {
        const made = await batch(mine, step);
        arrive({ ...mine, step, batch: made });
      }
    }
    busy = false;
  };
}
const memory = new Memory(
  maker(({ task, seed, count }, step) => streams.batch(task, seed, step, count), (one) => memory.arrive(one)),
);

let number = 0;
async function run({ ask, changes = {}, gauges = false, rewound = false }) {
  const reports = [], snapshots = [], mine = ++number;
  const trainer = new Trainer({ graphs, memory, report: (one) => reports.push(one), probe: (one) => snapshots.push(one) });
  const cuts = Object.keys(changes).map(Number).sort((a, b) => a - b);
  let over = trainer.start(mine, ask, cuts[0] ?? ask.steps);
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
    const measured = new Gauges({ graphs, sets: (task, part) => streams.set(task, part), report: (one) => rows.push(one) });
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

const samples = ({ x, targets, labels }) => ({ x: [...x], targets: [...targets], labels: labels && [...labels].map(Number) });
const does = {
  run,
  batch: async ({ task, seed, step, count }) => samples(await streams.batch(task, seed, step, count)),
  set: async ({ task, part }) => samples(await streams.set(task, part)),
};

does.resample = ({ images, side, which, places }) => [...resample(framed(Uint8Array.from(images), side), side, which, places)];

does.eigen = async ({ matrix, start, tridiagonal }) => {
  if (tridiagonal) return ritz(...tridiagonal);
  let products = 0;
  const times = async (v) => { products += 1; return Float64Array.from(matrix, (row) => row.reduce((sum, one, i) => sum + one * v[i], 0)); };
  return [await largestEigenvalue(times, Float64Array.from(start), manifest.lanczos, 2 ** -52), products];
};

// Visits some steps of some streams, whose batches say what they are of; what was made for each visit, and what is held.
does.memory = async ({ limit, visits }) => {
  let made = [];
  const batch = async ({ seed }, step) => {
    made.push(step);
    return { x: Float32Array.of(seed, step), targets: new Float32Array(1), labels: null };
  };
  const small = new Memory(maker(batch, (one) => small.arrive(one)), limit);
  const told = [];
  for (const { seed, from, last } of visits) {
    small.choose("t", seed, 1);
    made = [];
    let right = true;
    for (let step = from; step <= last; step++) {
      const { x } = await small.get(step, last);
      right &&= x[0] === seed && x[1] === step;
    }
    told.push({ right, made: made.length, bytes: small.bytes, passing: small.passing.size });
  }
  return told;
};

const answers = [];
for (const job of JSON.parse(readFileSync(0, "utf8"))) answers.push(await does[job.do](job));
console.log(JSON.stringify(answers, (_, value) => (value === Infinity || Number.isNaN(value) ? String(value) : value)));
