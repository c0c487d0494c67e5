// Drives the page's engine in node, without workers: node drive_engine.mjs FOLDER BASE < jobs.json > answers.json
// A job is {do: "run", ask, steps, changes, gauges} | {do: "batch", task, seed, step, count} | {do: "set", task, part}.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, base] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${folder}/${name}`));
const [{ Graphs, compiled }, { Memory, Streams }, { Trainer }, { Gauges }] = await Promise.all(
  ["graphs.js", "stream.js", "trainer.js", "curvature.js"].map(load),
);
const manifest = await (await fetch(new URL("manifest.json", base))).json();
const graphs = new Graphs(base, manifest, await compiled(base));
const streams = new Streams(graphs);

let jobs = 0;
const memory = new Memory(async (wanted) => {
  const job = ++jobs;
  for (let step = wanted?.from; wanted && step < wanted.to && job === jobs; step++) {
    memory.arrive({ ...wanted, step, batch: await streams.batch(wanted.task, wanted.seed, step, wanted.count) });
  }
});

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

const answers = [];
for (const job of JSON.parse(readFileSync(0, "utf8"))) answers.push(await does[job.do](job));
console.log(JSON.stringify(answers, (_, value) => (value === Infinity || Number.isNaN(value) ? String(value) : value)));
