// The instrument: controls, state, and the wiring to a backend, in Jupyter and on a page alike.

import { BOUNDARIES, plane, planeAt, planePoint, planeScales, theoryFactor } from "./plane.js";
import { DEFAULT_SETTINGS, byHand, commandOf, downloadOf, readAddress, sameSettings, writeAddress } from "./address.js";
import { fetchJson } from "./fetching.js";
import { panel, scatter } from "./panels.js";
import { addCurve, addGauges, beyond, describe, difference, measuredRun, nearest, networkKey, newRun, openRuns } from "./runs.js";
import { packWeights } from "./safetensors.js";
import { abs, atLog, colour, log10, max, megabytes, min, natural, number, regime, round } from "./numbers.js";

const CHOICES = {
  depth: [2, 3, 4, 5, 6, 7, 8], width: [8, 16, 32, 64, 128, 256, 512], loss: ["mse", "cross_entropy"],
  task: ["digits8", "digits", "teacher", "staircase", "halfspace"], optimizer: ["sgd", "momentum", "signsgd", "adam"],
  batch_size: [16, 32, 64, 128, 256, 512], steps: [300, 1000, 3000, 10000],
};
const SAID = { mse: "MSE", cross_entropy: "cross-entropy", sgd: "SGD", signsgd: "SignSGD", adam: "Adam" };
const RANGES = { gamma: [-4, 4], eta: [-9, 5] }; // log10
const APART = 125; // ms between starts while a slider is dragged: eight a second
const PATIENCE = 2500; // ms that a companion's last gauges may come after its last step
const QUIET = 4000; // ms between two sentences of progress
const SHOW = { frames: 12, apart: 330, below: 1.5, above: 1.5 }; // eta climbs by itself: so many decades from under to over where it stands
const SIGNS = { gamma: "γ", eta: "η" };
const LETTERS = "ABCDEFGH";

// ---- small parts of the page

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") node.addEventListener("click", value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

const button = (words, onclick, attributes = {}) => make("button", { type: "button", onclick, ...attributes }, words);

/** A few buttons of which one is pressed. `set(value)` presses from outside. */
function segmented(label, options, current, change) {
  const group = make("div", { class: "rl-segments", role: "group", "aria-label": label });
  const press = (value) => group.childNodes.forEach((b) => b.setAttribute("aria-pressed", String(b.value === value)));
  for (const [value, words] of options) group.append(button(words, () => { press(value); change(value); }, { value }));
  press(current);
  return { node: make("div", { class: "rl-choice" }, make("span", { "aria-hidden": "true" }, label), group), set: press };
}

/** Calls `work` at once, then at most every `apart` ms, the last call always. */
function spaceOut(work, apart) {
  let timer = 0, due = false;
  const run = () => {
    timer = 0;
    if (!due) return;
    due = false;
    timer = setTimeout(run, apart);
    work();
  };
  const call = () => { due = true; if (!timer) run(); };
  call.now = () => { clearTimeout(timer); timer = 0; due = true; run(); };
  call.cancel = () => { clearTimeout(timer); timer = 0; due = false; };
  return call;
}

/** Asks for at most one call of `work` a frame; with reduced motion, at most two a second. */
function painter(work) {
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let frame = 0, timer = 0, last = -Infinity;
  const paint = () => { frame = 0; last = performance.now(); work(); };
  const request = () => {
    if (frame || timer) return;
    const wait = still.matches ? last + 500 - performance.now() : 0;
    if (wait > 0) timer = setTimeout(() => { timer = 0; request(); }, wait);
    else frame = requestAnimationFrame(paint);
  };
  request.stop = () => { cancelAnimationFrame(frame); clearTimeout(timer); };
  return request;
}

/** Fills a list with samples of lines (SVG text) and what they mean. */
function explain(list, items) {
  list.replaceChildren(...items.map(([svg, words]) => {
    const item = make("li", {}, words);
    item.insertAdjacentHTML("afterbegin", svg);
    return item;
  }));
}

function saveFile(name, content, type = "application/json") {
  const link = make("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const fileOf = (run) => `richness-gamma${run.gamma}-eta${run.eta}`;

// ---- the instrument

/** Fill `root` with the instrument. `setup` is what it is born with, `makeBackend(report)` what trains. Returns its end. */
export function instrument(root, setup, makeBackend) {
  const lab = new Laboratory(root, setup || {}, makeBackend);
  return () => lab.close();
}

let labs = 0;

class Laboratory {
  constructor(root, setup, makeBackend) {
    this.root = root;
    this.setup = setup;
    this.id = `rl${++labs}`;
    this.settings = { ...DEFAULT_SETTINGS, ...setup.ask };
    this.limits = setup.engine?.limits || null;
    this.reasons = setup.engine?.reasons || {};
    Object.assign(this, { axis: "t", scale: "log", view: "raw", mode: "anew", traces: [], run: null, near: null, opened: {}, queue: [], replay: [] });
    Object.assign(this, { floor: -1, backendState: "new", loaded: null, samples: null, about: "" });
    this.sliders = setup.sliders !== false;
    const born = setup.presets?.find((preset) => preset.name === setup.preset);
    const problems = this.restore();
    if (born && !problems) this.take(born);
    this.build();
    this.paint = painter(() => this.draw());
    this.train = spaceOut(() => this.start(), APART);
    this.turn = spaceOut(() => this.backend.change({ eta: this.settings.eta }), APART);
    this.remember = spaceOut(() => this.writeUrl(), 300);
    this.tellNear = spaceOut(() => this.say(this.nearWords()), 400);
    this.backend = makeBackend((message) => this.report(message));
    this.parts.weights.hidden = !this.backend.weights; // Python has its own
    this.live = this.backend.kind === "kernel"; // a page trains once its reader has asked for it
    if (this.live) this.queue = []; // Python starts the first run, and that alone
    this.root.classList.add(`rl-${this.backend.kind}`);
    this.watch = new ResizeObserver(() => { this.measureWidths(); this.paint(); });
    this.watch.observe(this.parts.body);
    for (const sign of ["focusin", "pointermove", "touchstart"]) root.addEventListener(sign, () => this.fetchDigits(), { once: true, passive: true });
    this.measureWidths();
    this.lookUp();
    this.refresh();
    this.parts.problem.textContent = problems?.length ? `In this page’s address: ${problems.join("; ")}. The defaults stand instead.` : "";
    this.say(this.nearWords());
    this.draw();
    this.eager = setup.play && this.backend.kind === "page";
    this.showDue = this.eager && problems === null && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.playOnce();
  }

  /** Measured runs show themselves once: eta climbs over the edge. A reader's first touch takes over, and moves then train. */
  playOnce() {
    if (!this.showDue || !this.opened[networkKey(this.settings)]) return;
    this.showDue = false;
    const { eta } = this.settings;
    let frame = 0;
    const show = (value) => {
      this.settings.eta = value;
      this.lookUp();
      this.parts.status.textContent = this.nearWords();
      this.refresh();
      this.draw();
    };
    const signs = ["pointerdown", "keydown", "focusin", "touchstart"];
    const end = this.endShow = () => {
      clearInterval(timer);
      for (const sign of signs) this.root.removeEventListener(sign, end, true);
      this.endShow = null;
      delete this.root.dataset.playing;
      this.parts.status.setAttribute("aria-live", "polite");
      this.say(this.nearWords());
    };
    for (const sign of signs) this.root.addEventListener(sign, end, true);
    this.root.dataset.playing = "true";
    this.parts.status.setAttribute("aria-live", "off"); // seen at every frame, said at the end
    const timer = setInterval(() => {
      if (frame > SHOW.frames) { show(eta); end(); return; }
      show(eta * 10 ** (-SHOW.below + (frame++ / SHOW.frames) * (SHOW.below + SHOW.above)));
    }, SHOW.apart);
  }

  /** A reader has turned to this laboratory: what its task needs may come. */
  fetchDigits() {
    if (this.hasLabels(this.settings.task)) this.backend.digits?.();
  }

  close() {
    this.endShow?.();
    this.backend.close();
    this.watch.disconnect();
    for (const timed of [this.train, this.turn, this.remember, this.tellNear]) timed.cancel();
    clearTimeout(this.due);
    this.paint.stop();
  }

  // -- what is asked

  choices() {
    const all = {};
    for (const key of Object.keys(CHOICES)) all[key] = this.limits?.[key] || [...new Set([...CHOICES[key], this.settings[key]])];
    return all;
  }

  /** Takes the state from the page's address; returns what could not be read, null if it does not speak of this one. */
  restore() {
    if (!this.setup.lab) return null;
    const state = readAddress(location.search, this.setup.lab, this.settings, this.choices());
    if (!state) return null;
    const { settings, changes, problems, axis, scale, plane: view } = state;
    if (!this.lossesOf(settings.task).includes(settings.loss)) {
      problems.push(`${settings.task} cannot be trained with ${SAID[settings.loss] || settings.loss}`);
      [settings.loss] = this.lossesOf(settings.task);
    }
    Object.assign(this, { settings, replay: changes, axis: axis || this.axis, scale: scale || this.scale, view: view || this.view });
    return problems;
  }

  writeUrl() {
    if (this.setup.lab) history.replaceState(history.state, "", this.query() + location.hash);
  }

  query() {
    const { run, settings } = this;
    const changes = [...(run && sameSettings(run.settings, this.settingsAtStart()) ? run.changes : []), ...this.replay];
    // A change that was asked for while the run stands still is made at its next step.
    if (this.turned && settings.eta !== (changes[changes.length - 1]?.eta ?? run.eta)) changes.push({ step: run.step, eta: settings.eta });
    return writeAddress(this.setup.lab, { settings: this.settingsAtStart(), axis: this.axis, scale: this.scale, plane: this.view, changes });
  }

  /** The settings that the present run began with: eta as it stood then. */
  settingsAtStart() {
    return this.run && this.turned ? this.run.settings : this.settings;
  }

  link() {
    return this.setup.lab ? new URL(this.query(), location.href.replace(/#.*/, "")).href : null;
  }

  /** Another gamma, eta or network: the nearest measured run at once, then a run of its own. */
  move(change) {
    const onlyEta = Object.keys(change).every((key) => key === "eta");
    Object.assign(this.settings, change);
    this.queue = [];
    this.replay = [];
    if (this.mode === "on" && onlyEta && this.running()) {
      this.turned = true;
      this.turn();
    } else {
      this.retire();
      this.lookUp();
      if (this.live) this.train();
      else if (this.eager) this.begin();
      else this.tellNear();
    }
    this.remember();
    this.refresh();
    this.draw();
  }

  running() {
    return this.run && ["training", "paused"].includes(this.run.state) && this.backendState === "ready";
  }

  /** What trained so far is past: its late reports are no longer listened to. */
  retire() {
    this.endShow?.(); // whoever asks for a run, from wherever on the page, has taken over
    if (this.run) this.floor = max(this.floor, this.run.number);
    this.run = null;
    this.samples = null;
    this.turned = false;
    this.turn.cancel();
    clearTimeout(this.due);
  }

  // -- training

  /** The first press on a page, or the first move of one that plays; afterwards every move trains at once. */
  begin() {
    this.live = true;
    if (this.backendState !== "ready") this.backendState = "loading";
    this.retire();
    this.lookUp();
    this.train.now();
    this.refresh();
  }

  start() {
    this.rewound = false;
    this.backend.start({ ...(this.queue[0] || this.settings) });
  }

  press() {
    if (this.backendState === "loading") return undefined;
    if (this.running()) return this.run.state === "training" ? this.backend.pause() : this.backend.resume();
    return this.begin();
  }

  /** A preset's state: what it asks, how it is seen, and its companions, to be trained before it. */
  take({ ask, also = [], axis = "t", scale = "log", about }) {
    Object.assign(this.settings, DEFAULT_SETTINGS, ask);
    const queue = also.length ? [...also.map((other) => ({ ...this.settings, ...other })), { ...this.settings }] : [];
    Object.assign(this, { axis, scale, about, queue, replay: [] });
  }

  preset(chosen) {
    this.take(chosen);
    this.parts.axis.set(this.axis);
    this.parts.scale.set(this.scale);
    this.traces = this.traces.filter((trace) => !trace.companion); // the last preset's; the reader's own stay
    this.retire();
    this.lookUp();
    if (this.live) this.train.now();
    else if (this.eager) this.begin();
    this.remember();
    this.refresh();
    this.draw();
    this.say(this.nearWords());
  }

  keep(companion = false) {
    const run = this.run || this.near;
    if (!run || this.traces.some((t) => t.kept === run && t.count === run.count)) return;
    const free = [...LETTERS].find((letter) => !this.traces.some((t) => t.letter === letter)) || this.traces[0].letter;
    this.traces = [...this.traces.filter((t) => t.letter !== free), { ...run, role: "trace", letter: free, paths: {}, kept: run, companion }];
    this.say(`Kept as ${free}: ${this.describeSettings(run)}.`);
    this.update();
  }

  clear() {
    this.traces = [];
    this.say("Traces cleared.");
    this.update();
  }

  // -- reports

  report(message) {
    const take = this[`on_${message.kind}`];
    if (take) take.call(this, message);
  }

  on_ready({ limits, reasons }) {
    this.limits = limits || this.limits;
    this.reasons = reasons || this.reasons;
    this.refresh();
  }

  on_loading(message) {
    // In the background nobody waits for it.
    this.loaded = this.backendState === "loading" && message.done < message.total ? message : null;
    this.paint();
  }

  on_run(message) {
    if (message.number <= this.floor) return;
    this.floor = message.number - 1;
    this.live = true;
    this.backendState = "ready";
    this.loaded = null;
    this.run = newRun(message);
    this.run.role = "now";
    this.samples = null;
    if (this.backend.kind === "kernel" && !this.queue.some((settings) => sameSettings(settings, message.ask))) {
      this.queue = [];
      Object.assign(this.settings, message.ask);
    }
    if (this.turned) { // rewound: eta is again what it was at the start
      this.settings.eta = message.ask.eta;
      this.turned = false;
    }
    this.lookUp();
    this.update();
    if (this.replay.length && !this.rewound) {
      this.rewound = true;
      this.backend.rewind();
    }
  }

  update() {
    this.refresh();
    this.paint();
  }

  mine(message) {
    return this.run && message.number === this.run.number;
  }

  on_curve(message) {
    if (!this.mine(message)) return;
    const before = this.run.changes.length;
    addCurve(this.run, message);
    if (this.run.changes.length !== before) this.remember();
    this.paint();
    this.progress();
  }

  on_gauges(message) {
    if (!this.mine(message)) return;
    const row = { ...message };
    delete row.kind;
    delete row.number;
    // A trace that was kept while the run went on takes what was measured before it was kept.
    const kept = this.traces.filter((trace) => trace.kept === this.run && row.step <= trace.count);
    for (const run of [this.run, ...kept]) addGauges(run, row);
    this.paint();
    if (this.run.state !== "finished" || row.step !== this.run.steps) return;
    if (Number.isFinite(row.accuracy)) this.say(this.runWords());
    this.goOnQueue();
  }

  on_samples(message) {
    if (!this.mine(message)) return;
    this.samples = message;
    this.paint();
  }

  on_state(message) {
    if (!this.mine(message) || message.state === "loading") return;
    const run = this.run;
    const changed = run.state !== message.state;
    Object.assign(run, { state: message.state, step: message.step ?? run.step, message: message.message || "" });
    if (message.state === "diverged") run.died = message.step;
    if (message.state === "paused") this.goOnReplaying(run);
    if (changed && !this.replay.length) this.say(this.runWords());
    if (message.state === "finished" && !run.gauges.some((row) => row.step === run.steps)) this.due = setTimeout(() => this.goOnQueue(), PATIENCE);
    else if (["finished", "diverged", "error"].includes(message.state)) this.goOnQueue();
    this.update();
  }

  on_lost({ message }) {
    this.backendState = "lost";
    this.live = false; // until the reader asks again, or the kernel answers
    this.loaded = null;
    this.queue = [];
    this.floor = -1; // a new backend counts from the start again
    if (this.run) Object.assign(this.run, { state: "stopped", number: -1 });
    const why = (message || "what trains is gone").replace(/[.!?]?$/, ".");
    this.say(`Training stopped: ${why} Measured runs can still be explored.`);
    this.update();
  }

  /** The further runs of a preset: each that ends becomes a trace, and the next begins. */
  goOnQueue() {
    clearTimeout(this.due);
    if (this.queue.length < 2) { this.queue = []; return; }
    this.keep(true);
    this.queue.shift();
    this.retire();
    this.train.now();
  }

  /** A link may hold changes of eta by hand: they are made again at the same steps. */
  goOnReplaying(run) {
    if (!this.replay.length || !this.rewound) return;
    const [next] = this.replay;
    if (run.step < next.step) { this.backend.step(next.step - run.step); return; }
    this.replay.shift();
    this.backend.change({ eta: next.eta });
    if (this.replay.length) this.backend.step(this.replay[0].step - run.step);
    else this.backend.resume();
  }

  // -- measured runs

  /** The nearest measured run of this network; its runs are opened when first needed. */
  lookUp() {
    const key = networkKey(this.settings), there = this.setup.runs?.[key];
    this.near = null;
    if (there === undefined || String(there).startsWith("stored:")) return;
    if (!(key in this.opened)) { this.open(key, there); return; }
    const runs = this.opened[key];
    if (!runs || runs.optimizer !== this.settings.optimizer) return;
    const hit = nearest(runs, this.settings.gamma, this.settings.eta);
    if (hit.e < 0) return;
    const cell = runs.cell(hit.g, hit.e);
    this.near = Object.assign(measuredRun(runs, cell), { role: "near", cell, off: hit.off, other: difference(runs, this.settings) });
  }

  async open(key, there) {
    this.opened[key] = null;
    try {
      const away = typeof there === "string";
      this.opened[key] = openRuns(away ? await fetchJson(new URL(there, this.setup.base || document.baseURI)) : there);
      this.lookUp();
      if (!this.run) this.say(this.nearWords());
      this.playOnce();
    } catch (error) {
      this.say(`The measured runs of this network could not be shown: ${error.message}.`);
    }
    this.planeKey = "";
    this.update();
  }

  // -- words

  describeSettings(run) {
    return `γ = ${number(run.gamma)} (${regime(run.gamma)}), η = ${number(run.eta)}`;
  }

  nearWords() {
    const { near } = this;
    if (!near) {
      const measured = this.setup.runs && networkKey(this.settings) in this.setup.runs && this.opened[networkKey(this.settings)] === null;
      return measured ? "" : `${this.describeSettings(this.settings)}: nothing was measured for this network${this.live ? "" : "; train it here"}.`;
    }
    let words = `Measured at ${this.describeSettings(near)}${near.other}: ${describe(near.cell)}.`;
    const runs = this.opened[networkKey(this.settings)];
    const apart = runs.eta.length > 1 ? log10(runs.eta[1] / runs.eta[0]) : 1;
    if (abs(near.off) > apart / 2 + 0.02) {
      words = `η = ${number(this.settings.eta)} was not run at γ = ${number(near.gamma)}; shown is the ${near.off > 0 ? "largest" : "smallest"} that was. ${words}`;
    }
    return words;
  }

  runWords() {
    const { run } = this, last = run.count ? run.curve.loss[run.count - 1] : NaN;
    const loss = Number.isFinite(last) ? `, loss ${number(last)}` : "";
    const said = {
      training: `training, ${round((100 * run.step) / run.steps)} % done`, paused: `paused at step ${run.step}${loss}`,
      finished: `finished ${run.steps} steps${loss}`, diverged: `diverged at step ${run.died}`,
      stopped: `stopped at step ${run.step}`, error: `stopped with an error. ${run.message}`, loading: "loading",
    };
    const end = run.state === "finished" ? run.gauges.find((g) => g.step === run.steps) : null; // it may come late
    const held = Number.isFinite(end?.accuracy) ? `, held-out accuracy ${number(end.accuracy)}` : "";
    const over = end ? beyond(run, end, run.count ? run.curve.eta[run.count - 1] : run.eta) : NaN;
    const edge = Number.isFinite(over) ? `, c₂/|c₁| ${number(over)}` : "";
    return `${this.describeSettings(run)}: ${said[run.state] || run.state}${held}${edge}.`;
  }

  /** Into the polite live region. */
  say(words) {
    if (!words) return;
    this.parts.status.textContent = words;
    this.saidAt = performance.now();
  }

  progress() {
    if (this.run.state === "training" && performance.now() - this.saidAt > QUIET) this.say(this.runWords());
  }

  // -- the page

  build() {
    const parts = this.parts = {};
    parts.status = make("p", { class: "rl-status", role: "status", "aria-live": "polite" });
    parts.problem = make("p", { class: "rl-problem", role: "alert" });
    parts.about = make("p", { class: "rl-about", "aria-live": "polite" });
    parts.pictures = {};
    const pictures = (kind, keys) => make("div", { class: kind }, ...keys.map((key) => parts.pictures[key] = make("div", { class: "rl-panel" })));
    parts.top = pictures("rl-top", ["loss", "sharpness"]);
    const low = pictures("rl-low", ["accuracy", "alignment", "drift"]);
    parts.legend = make("ul", { class: "rl-legend" });
    parts.samples = make("div", { class: "rl-samples", hidden: true });
    parts.note = make("p", { class: "rl-note" });
    const sliders = this.sliders ? [make("div", { class: "rl-sliders" }, this.slider("gamma"), this.slider("eta"))] : [];
    parts.body = make("div", { class: "rl-body" }, parts.top, this.buildPlane(), low);
    const bar = this.buildBar(), body = [parts.status, parts.body, parts.legend];
    // Where a move is enough to train, the buttons give way to the pictures.
    this.root.prepend(make("div", { class: "rl-instrument" }, parts.problem, ...sliders, ...(this.setup.play ? [...body, bar] : [bar, ...body]), ...this.buildPresets(), this.buildViews(), parts.samples, this.buildNetwork(), this.buildShare(), parts.note));
  }

  slider(key) {
    const [least, most] = RANGES[key];
    const input = make("input", { type: "range", id: `${this.id}-${key}`, "aria-label": key, min: least, max: most, step: 0.05 });
    const output = make("span", { class: "rl-value", "aria-hidden": "true" }); // the slider itself speaks its value
    input.addEventListener("input", () => this.move({ [key]: atLog(Number(input.value)) }));
    this.parts[key] = { input, output };
    if (key === "gamma") {
      const stops = Array.from({ length: 9 }, (_, i) => colour(10 ** (i - 4)));
      input.style.setProperty("--rl-track", `linear-gradient(to right, ${stops.join(", ")})`);
    }
    return make("div", { class: "rl-row" }, make("label", { for: input.id }, SIGNS[key]), input, output);
  }

  buildPlane() {
    const { parts } = this;
    parts.map = make("div", { class: "rl-map", tabindex: 0, role: "application", "aria-roledescription": "plane",
      "aria-label": "Plane of gamma (across) and eta (up): arrow keys move the point, or choose it by pointer" });
    const pick = (event) => {
      const rect = parts.map.firstChild.getBoundingClientRect(), k = this.scales.W / rect.width;
      const at = planeAt(this.scales, (event.clientX - rect.left) * k, (event.clientY - rect.top) * k);
      this.move({ gamma: atLog(log10(at.gamma)), eta: atLog(log10(at.eta)) });
    };
    // A finger that scrolls the page must not pick: a tap does.
    parts.map.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") return;
      parts.map.setPointerCapture(event.pointerId);
      pick(event);
    });
    parts.map.addEventListener("pointermove", (event) => { if (parts.map.hasPointerCapture(event.pointerId)) pick(event); });
    parts.map.addEventListener("click", (event) => { if (event.pointerType === "touch") pick(event); });
    parts.map.addEventListener("keydown", (event) => this.steer(event));
    parts.key = make("ul", { class: "rl-legend rl-key" });
    return make("div", { class: "rl-picker" }, parts.map, parts.key);
  }

  steer(event) {
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] || [];
    if (x === undefined) return;
    event.preventDefault();
    const by = 10 ** (event.shiftKey ? 0.5 : 0.05);
    const { gamma, eta, depth, optimizer } = this.settings;
    const moved = min(1e4, max(1e-4, gamma * by ** x));
    // On the plane over natural eta a step across keeps its height.
    const bent = this.view === "straight" ? natural(moved, depth, optimizer) / natural(gamma, depth, optimizer) : 1;
    this.move({ gamma: atLog(log10(moved)), eta: atLog(log10(eta * bent * by ** y)) });
  }

  buildPresets() {
    const { presets = [] } = this.setup;
    if (!presets.length) return [];
    const row = make("div", { class: "rl-presets", role: "group", "aria-label": "settings that show a phenomenon" });
    for (const preset of presets) row.append(button(preset.title, () => this.preset(preset), { "data-preset": preset.name }));
    return [row, this.parts.about];
  }

  buildBar() {
    const { parts } = this;
    parts.main = button("", () => this.press(), { class: "rl-main" });
    parts.step = button("Step", () => this.backend.step(1));
    parts.rewind = button("Rewind", () => this.backend.rewind());
    parts.keep = button("Keep trace", () => this.keep());
    parts.clear = button("Clear", () => this.clear(), { "aria-label": "Clear traces" });
    parts.progress = make("progress", { "aria-label": "loading what trains", max: 1, value: 0, hidden: true });
    parts.mode = segmented("a move of η", [["anew", "starts anew"], ["on", "from here on"]], this.mode, (mode) => {
      this.mode = mode;
      this.backend.etaMode?.(mode);
    });
    parts.now = make("p", { class: "rl-now" });
    return make("div", { class: "rl-buttons" }, parts.main, parts.progress, parts.step, parts.rewind, parts.keep, parts.clear, parts.mode.node, parts.now);
  }

  buildViews() {
    const { parts } = this;
    parts.axis = segmented("curves against", [["t", "steps t"], ["tau", "τ"]], this.axis, (axis) => this.look({ axis }));
    parts.scale = segmented("scale", [["log", "log"], ["linear", "linear"]], this.scale, (scale) => this.look({ scale }));
    parts.view = segmented("plane", [["raw", "η"], ["straight", "η ÷ natural η"]], this.view, (view) => this.look({ view }));
    return make("div", { class: "rl-buttons rl-views" }, parts.view.node, parts.axis.node, parts.scale.node);
  }

  look(change) {
    Object.assign(this, change);
    this.remember();
    this.draw();
  }

  buildNetwork() {
    const { parts } = this;
    parts.fields = {};
    const row = make("div", { class: "rl-fields" });
    for (const key of Object.keys(CHOICES)) {
      const select = make("select", { id: `${this.id}-${key}`, "aria-describedby": `${this.id}-why` });
      select.addEventListener("change", () => this.choose(key, select.value));
      parts.fields[key] = select;
      row.append(make("div", { class: "rl-field" }, make("label", { for: select.id }, key.replace("_", " ")), select));
    }
    const seed = parts.seed = make("input", { id: `${this.id}-seed`, type: "number", min: 0, max: 2 ** 32 - 1, step: 1 });
    seed.addEventListener("change", () => {
      const value = Number(seed.value);
      if (seed.value !== "" && Number.isInteger(value) && value >= 0 && value < 2 ** 32) this.move({ seed: value });
      else { seed.value = this.settings.seed; this.say(`seed must be a whole number from 0 to ${2 ** 32 - 1}; it stays ${this.settings.seed}.`); }
    });
    row.append(make("div", { class: "rl-field" }, make("label", { for: seed.id }, "seed"), seed));
    parts.why = make("p", { class: "rl-note", id: `${this.id}-why` });
    return make("details", { class: "rl-more" }, make("summary", {}, "Network, data and seed"), row, parts.why);
  }

  choose(key, text) {
    const value = typeof CHOICES[key][0] === "number" ? Number(text) : text;
    const change = { [key]: value }, losses = this.lossesOf(key === "task" ? value : this.settings.task);
    if (key === "task" && !losses.includes(this.settings.loss)) change.loss = losses[0];
    this.move(change);
  }

  lossesOf(task) {
    return this.limits?.losses_of?.[task] || (this.hasLabels(task) ? CHOICES.loss : ["mse"]);
  }

  hasLabels(task) {
    return (this.setup.classes || ["digits8", "digits"]).includes(task);
  }

  buildShare() {
    const { parts } = this;
    parts.said = make("input", { class: "rl-said", readonly: true, hidden: true, "aria-label": "copied text" });
    const row = make("div", { class: "rl-buttons" });
    if (this.setup.lab) row.append(button("Copy link", () => this.copy("link", this.link())));
    row.append(button("Copy command", () => this.copy("command", commandOf(this.settingsAtStart(), this.hasLabels(this.settings.task)))));
    if (this.setup.colab) row.append(make("a", { class: "rl-link", href: this.setup.colab, rel: "noopener" }, "Open in Colab"));
    row.append(button("Download this run", () => this.download()));
    row.append(parts.weights = button("Download its weights", () => this.backend.weights()));
    return make("div", { class: "rl-share" }, row, parts.said);
  }

  async copy(what, text) {
    const { said } = this.parts;
    said.hidden = false;
    said.value = text;
    const hand = this.run && what === "command" ? byHand(this.run) : "";
    try {
      await navigator.clipboard.writeText(text);
      this.say(`The ${what} is copied. ${hand}`);
    } catch {
      said.focus();
      said.select();
      this.say(`Copy the ${what} from the field. ${hand}`);
    }
  }

  download() {
    const run = this.run || this.near;
    if (!run) { this.say("There is no run yet to download."); return; }
    const runs = this.opened[networkKey(this.settings)];
    const command = commandOf(run.settings, this.hasLabels(run.settings.task));
    const data = downloadOf(run, { page: this.link(), command, hash: run.measured ? runs?.hash : sameSettings(run.settings, this.setup.ask) && this.setup.hash,
      commit: this.setup.commit, backend: this.backend.kind, made: new Date().toISOString() });
    saveFile(`${fileOf(run)}.json`, JSON.stringify(data, null, 1));
    this.say(`Downloaded the run at ${this.describeSettings(run)}. ${byHand(run)}`);
  }

  on_weights(message) {
    if (!this.mine(message)) return;
    const { run } = this;
    saveFile(`${fileOf(run)}-step${message.step}.safetensors`, packWeights(message, run.settings, this.link()), "application/octet-stream");
    this.say(`Downloaded the weights at step ${message.step} of the run at ${this.describeSettings(run)}. ${byHand(run)}`);
  }

  // -- what stands on the controls

  refresh() {
    const { parts, settings, run } = this;
    if (this.sliders) {
      const share = `${number(settings.eta / natural(settings.gamma, settings.depth, settings.optimizer))} times natural`;
      for (const [key, more] of [["gamma", regime(settings.gamma)], ["eta", share]]) {
        const { input, output } = parts[key];
        input.value = log10(settings[key]);
        input.setAttribute("aria-valuetext", `${key} = ${number(settings[key])}, ${more}`);
        output.textContent = number(settings[key]);
      }
      parts.gamma.input.style.setProperty("--rl-thumb", colour(settings.gamma));
    }
    const busy = this.backendState === "loading", active = this.running();
    parts.main.textContent = this.backendState === "lost" ? "Try again" : busy ? "Loading …" : !this.live ? "Train here"
      : active ? (run.state === "training" ? "Pause" : "Play") : "Train again";
    parts.main.setAttribute("aria-disabled", String(busy)); // not disabled: that would take the keyboard's focus away
    parts.step.disabled = !active;
    parts.rewind.disabled = !run || this.backendState !== "ready";
    parts.keep.disabled = !(run || this.near);
    parts.clear.disabled = !this.traces.length;
    parts.weights.disabled = !run?.count || this.backendState !== "ready";
    parts.about.textContent = this.about;
    this.root.dataset.state = this.backendState === "ready" && run ? run.state : this.backendState;
    this.refreshFields();
    this.refreshLegend();
  }

  refreshFields() {
    const { parts, settings, limits } = this;
    const token = JSON.stringify([limits, { ...settings, gamma: 0, eta: 0 }]);
    if (token === this.fieldsToken) return;
    this.fieldsToken = token;
    const why = [];
    for (const [key, select] of Object.entries(parts.fields)) {
      const allowed = (key === "loss" ? (limits?.loss || CHOICES.loss).filter((l) => this.lossesOf(settings.task).includes(l)) : limits?.[key]) || null;
      const values = [...new Set([...CHOICES[key], ...(limits?.[key] || []), settings[key]])];
      if (typeof values[0] === "number") values.sort((a, b) => a - b);
      select.replaceChildren(...values.map((value) => make("option", { value, disabled: allowed && !allowed.includes(value) && value !== settings[key] }, SAID[value] || String(value))));
      select.value = settings[key];
      const shut = allowed && values.some((value) => !allowed.includes(value));
      select.disabled = Boolean(allowed && allowed.length === 1 && allowed[0] === settings[key]);
      select.title = shut && this.reasons[key] ? this.reasons[key] : "";
      if (select.title) why.push(select.title);
    }
    if (!this.lossesOf(settings.task).includes("cross_entropy")) why.push(`${settings.task} has real-valued targets: MSE only.`);
    parts.seed.value = settings.seed;
    parts.why.textContent = [...new Set(why)].join(" ");
  }

  refreshLegend() {
    const items = [];
    const swatch = (run) => `<svg width="26" height="10" aria-hidden="true"><path d="M1 5h24" stroke="${colour(run.gamma)}" stroke-width="${run.role === "now" ? 3 : 2}"${run.role === "near" ? ' stroke-dasharray="5 3"' : ""}/></svg>`;
    const told = (run) => `γ = ${number(run.gamma)}, η = ${number(run.eta)}${run.changes.length ? " (changed by hand)" : ""}${run.died >= 0 ? `, diverged at step ${run.died}` : ""}`;
    if (this.run) items.push([swatch(this.run), `this run: ${told(this.run)}`]);
    if (this.near) items.push([swatch(this.near), `measured, nearest: ${told(this.near)}${this.near.other}`]);
    for (const trace of this.traces) items.push([swatch(trace), `${trace.letter}: ${told(trace)}${trace.measured ? ", measured" : ""}`]);
    const token = JSON.stringify(items);
    if (token === this.legendToken) return;
    this.legendToken = token;
    explain(this.parts.legend, items);
  }

  // -- drawing

  measureWidths() {
    const { parts } = this;
    this.widths = { plane: parts.map.clientWidth || 300, top: parts.top.clientWidth || 480 };
    this.widths.low = parts.pictures.accuracy.clientWidth || 240;
  }

  draw() {
    this.drawPlane();
    this.drawPanels();
    this.drawNow();
    this.drawSamples();
  }

  drawPlane() {
    const { settings, parts, traces } = this, key = networkKey(settings);
    const runs = this.opened[key] && this.opened[key].optimizer === settings.optimizer ? this.opened[key] : null;
    const boundary = settings.optimizer === "sgd" ? this.setup.boundaries?.[key] || null : null;
    const token = [key, settings.optimizer, this.view, this.widths.plane, Boolean(runs)].join();
    const world = { depth: settings.depth, optimizer: settings.optimizer, runs, boundary, straight: this.view === "straight", width: this.widths.plane };
    if (token !== this.planeKey) {
      this.planeKey = token;
      this.scales = planeScales(world);
      parts.map.innerHTML = plane(world);
      this.drawKey(boundary, runs);
    }
    const [x, y] = planePoint(this.scales, settings.gamma, settings.eta).map((v) => v.toFixed(1));
    let marks = traces.map((t) => {
      const [tx, ty] = planePoint(this.scales, t.gamma, t.eta).map((v) => v.toFixed(1));
      return `<circle cx="${tx}" cy="${ty}" r="7.5" class="rl-mark-ground"/><text x="${tx}" y="${Number(ty) + 4}" text-anchor="middle" class="rl-letter">${t.letter}</text>`;
    }).join("");
    marks += `<circle cx="${x}" cy="${y}" r="7" fill="none" stroke="#fff" stroke-width="4.5"/><circle cx="${x}" cy="${y}" r="7" fill="none" stroke="#111" stroke-width="2"/>`;
    if (marks !== this.marks || !parts.map.querySelector("[data-mark]").firstChild) parts.map.querySelector("[data-mark]").innerHTML = this.marks = marks;
  }

  drawKey(boundary, runs) {
    const line = (kind, dash) => `<svg width="26" height="10" aria-hidden="true"><path d="M1 5h24" class="rl-${kind}" stroke-dasharray="${dash || "none"}"/></svg>`;
    const items = BOUNDARIES.filter(([key]) => boundary?.[key]).map(([, words, dash]) => [line("measured", dash), words]);
    const factor = theoryFactor(boundary, this.settings.depth);
    items.push([line("theory", "6 4"), factor === 1 ? "theory: natural η" : `theory: natural η × ${number(factor)}`]);
    if (runs) items.push(["", "dark: learned · dots: not converged · strokes: diverged"]);
    explain(this.parts.key, items);
    this.parts.note.textContent = [this.setup.about, boundary?.about].filter(Boolean).join(" ");
  }

  drawPanels() {
    const { parts, traces } = this;
    const runs = [...traces, ...(this.near ? [this.near] : []), ...(this.run ? [this.run] : [])];
    const narrow = this.widths.top < 420;
    const shown = { loss: "loss", sharpness: "sharpness", accuracy: this.hasLabels(this.settings.task) ? "accuracy" : "test_loss", alignment: "alignment", drift: "drift" };
    for (const [place, key] of Object.entries(shown)) {
      const high = place === "loss" || place === "sharpness";
      const view = { width: high ? this.widths.top : this.widths.low, height: high ? (narrow ? 134 : 172) : 150, below: place !== "loss", axis: this.axis, scale: this.scale, runs };
      parts.pictures[place].innerHTML = panel(key, view);
    }
  }

  drawNow() {
    const { parts, run, loaded } = this;
    parts.progress.hidden = !loaded;
    if (loaded) {
      parts.progress.max = loaded.total || 1;
      parts.progress.value = loaded.done;
      parts.now.textContent = `${megabytes(loaded.done)} of ${megabytes(loaded.total)}`;
    }
    if (!this.running()) {
      if (!loaded) parts.now.textContent = "";
      return;
    }
    const last = run.count ? run.curve.loss[run.count - 1] : NaN, eta = run.count ? run.curve.eta[run.count - 1] : run.eta;
    const gauge = [...run.gauges].reverse().find((g) => Number.isFinite(g.sharpness));
    const over = gauge ? beyond(run, gauge, eta) : NaN;
    parts.now.textContent = `step ${run.step} of ${run.steps} · loss ${number(last)} · η ${number(eta)}`
      + (gauge ? ` · λ_max ${number(gauge.sharpness)}` : "")
      + (Number.isFinite(over) ? ` · c₂/|c₁| ${number(over)}${over > 1 ? ", beyond the edge" : ""}` : "");
  }

  drawSamples() {
    const { samples, parts } = this;
    if (samples === this.samplesDrawn) return;
    this.samplesDrawn = samples;
    parts.samples.hidden = !samples;
    if (!samples) { parts.samples.replaceChildren(); return; }
    const { side, labels, guesses, step } = samples;
    const right = Array.from(labels).filter((label, i) => label === guesses[i]).length;
    const title = side ? `Step ${step}: ${right} of ${labels.length} guessed right` : `Step ${step}: outputs against targets`;
    parts.samples.replaceChildren(make("p", { class: "rl-note" }, title));
    if (!side) { parts.samples.insertAdjacentHTML("beforeend", scatter(samples)); return; }
    const list = make("ul", { "aria-label": "samples of the current batch, each with its guess" });
    for (let i = 0; i < labels.length; i++) {
      const well = labels[i] === guesses[i];
      list.append(make("li", { "data-right": well }, digit(samples, i), make("span", {}, well ? `${guesses[i]} ✓` : `${guesses[i]} ✗`)));
      if (!well) list.lastChild.append(make("span", { class: "rl-truth" }, `is ${labels[i]}`));
    }
    parts.samples.append(list);
  }
}

/** One picture of a batch, as bright as its values. */
function digit({ side, inputs }, i) {
  const canvas = make("canvas", { width: side, height: side, "aria-hidden": "true" });
  const values = inputs.subarray ? inputs.subarray(i * side * side, (i + 1) * side * side) : inputs.slice(i * side * side, (i + 1) * side * side);
  let low = Infinity, high = -Infinity;
  for (const v of values) { low = min(low, v); high = max(high, v); }
  const picture = new ImageData(side, side);
  values.forEach((v, k) => {
    const light = round((255 * (v - low)) / max(1e-9, high - low));
    picture.data.set([light, light, light, 255], 4 * k);
  });
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}
