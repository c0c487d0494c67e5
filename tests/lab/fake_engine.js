// A backend without mathematics: curves by a formula, at a pace a test can follow. It speaks the whole of the contract and
// leaves what it was asked in window.asked; window.engine lets a test play an accident.

const LIMITS = { depth: [2, 3, 4], width: [64], loss: ["mse", "cross_entropy"], task: ["digits8", "teacher"], optimizer: ["sgd"],
  batch_size: [16, 32, 64, 128, 256, 512], steps: [300, 1000, 3000, 10000], losses_of: { digits8: ["mse", "cross_entropy"], teacher: ["mse"] } };
const REASONS = { width: "Other widths need a kernel.", optimizer: "Other optimizers need a kernel.", depth: "Depths beyond 4 need a kernel.", task: "Other tasks need a kernel." };
const PACE = 12; // ms between reports
const natural = (gamma, depth) => gamma ** 2 * (1 + gamma) ** (2 / depth - 2);

window.asked = [];
let numbers = 0;

export function pageBackend(base, report) {
  const say = (name, value) => window.asked.push(value === undefined ? [name] : [name, value]);
  let run = null, timer = 0, ready = null, dead = false;
  const chunk = () => window.pace || 50;

  const load = async () => {
    for (let done = 0; done <= 4; done++) {
      report({ kind: "loading", done: done * 980_000, total: 3_920_000 });
      await new Promise((resolve) => setTimeout(resolve, window.slow || 5));
    }
    if (window.broken) { report({ kind: "lost", message: window.broken }); dead = true; return; }
    report({ kind: "ready", limits: LIMITS, reasons: REASONS });
  };
  const begin = (ask, state) => {
    clearTimeout(timer);
    run = { number: ++numbers, ask, eta: ask.eta, loss: 0.1, at: 0, from: 0, state };
    report({ kind: "run", number: run.number, ask: { ...ask }, lr: ask.width * ask.eta, line: 2 / (ask.width * ask.eta) });
    report({ kind: "state", number: run.number, state, step: 0 });
    if (state === "training") timer = setTimeout(tick, PACE);
  };
  const advance = (count) => {
    const step = [], loss = [], eta = [], { ask } = run;
    for (; count > 0 && run.at < ask.steps; count--) {
      const ratio = run.eta / natural(ask.gamma, ask.depth);
      step.push(run.at); loss.push(run.loss); eta.push(run.eta);
      run.at += 1;
      run.loss *= ratio > 100 ? 1.5 : 1 - Math.min(0.3, ratio * 0.002) * (run.loss - 0.005) / 0.1;
      if (run.loss > 1e3) break;
    }
    report({ kind: "curve", number: run.number, from: run.from, step, loss: Float64Array.from(loss), eta });
    run.from += step.length;
    const done = (run.at / ask.steps), rows = [run.loss * (1 + run.ask.depth), 1 - run.loss, run.loss];
    report({ kind: "gauges", number: run.number, step: run.at, sharpness: 0.01 / natural(ask.gamma, ask.depth) * (1 + 20 * done), along: 0.005 / natural(ask.gamma, ask.depth) * (1 + 20 * done),
      accuracy: ask.task === "teacher" ? null : rows[1], test_loss: rows[2], alignment: 0.2 + 0.5 * done, drift: Array.from({ length: ask.depth - 1 }, (_, l) => done * (l + 1) * 0.1 * ask.gamma + 1e-4) });
    const picture = ask.task !== "teacher", side = picture ? 8 : 0, dim = picture ? 64 : 32, n = 12;
    report({ kind: "samples", number: run.number, step: run.at, side,
      inputs: Float32Array.from({ length: n * dim }, (_, i) => Math.sin(i * 0.7) + (i % 64 === 20 ? 2 : 0)),
      labels: Array.from({ length: n }, (_, i) => (picture ? i % 10 : Math.sin(i))), guesses: Array.from({ length: n }, (_, i) => (picture ? (i % 3 && done > 0.1 ? i % 10 : 7) : Math.sin(i) * done)) });
  };
  const state = (name) => { run.state = name; report({ kind: "state", number: run.number, state: name, step: run.at }); };
  const tick = () => {
    advance(chunk());
    if (run.loss > 1e3) state("diverged");
    else if (run.at >= run.ask.steps) state("finished");
    else timer = setTimeout(tick, PACE);
  };
  const backend = {
    kind: "page",
    digits() { say("digits"); },
    async start(ask) {
      say("start", ask);
      report({ kind: "state", number: numbers + 1, state: "loading", step: 0, message: "" });
      if (dead) { dead = false; ready = null; }
      await (ready ??= load());
      if (!dead && window.asked.filter(([name]) => name === "start").at(-1)[1] === ask) begin(ask, "training");
    },
    change({ eta }) { say("change", eta); if (run) run.eta = eta; },
    pause() { say("pause"); clearTimeout(timer); state("paused"); },
    resume() { say("resume"); state("training"); timer = setTimeout(tick, PACE); },
    step(count) { say("step", count); clearTimeout(timer); advance(count); state("paused"); },
    rewind() { say("rewind"); begin(run.ask, "paused"); },
    close() { clearTimeout(timer); },
  };
  window.engine = {
    report, number: () => run.number,
    lose(message) { clearTimeout(timer); dead = true; report({ kind: "lost", message }); },
  };
  return backend;
}
