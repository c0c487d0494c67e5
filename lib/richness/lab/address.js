// What is shared of a laboratory: its link, its command, its data. Pure: node tests it.

import { number } from "./numbers.js";

export const FIELDS = ["gamma", "eta", "depth", "width", "loss", "task", "optimizer", "batch_size", "steps", "seed"];
export const DEFAULT_SETTINGS = { gamma: 1, eta: 0.1, depth: 3, width: 64, loss: "mse", task: "digits8", optimizer: "sgd", batch_size: 64, steps: 1000, seed: 0 };
const WHOLE = { depth: [2, 64], width: [1, 65536], batch_size: [1, 65536], steps: [1, 1e7], seed: [0, 2 ** 32 - 1] };
const POSITIVE = { gamma: [1e-9, 1e9], eta: [1e-18, 1e18] }; // far beyond every boundary, and small enough for what is drawn
const VIEWS = { axis: ["t", "tau"], scale: ["log", "linear"], plane: ["straight", "raw"] };
const FOREIGN = /^(utm_\w+|\w*clid|ref|highlight)$/; // what mailings, advertisements and search engines hang onto a link

/** Whether two asks describe the same run. */
export const sameSettings = (a, b) => FIELDS.every((key) => a[key] === b[key] || Math.abs(a[key] / b[key] - 1) < 1e-9);

/** A number within the range of gamma or eta; NaN where the text is none. */
function positive(key, text) {
  const x = Number(text), [least, most] = POSITIVE[key];
  return x >= least && x <= most ? x : NaN;
}

const quoted = (text) => `“${text.length > 40 ? `${text.slice(0, 40)}…` : text}”`;

/** One value from a link: [value, ""] or [undefined, a sentence]. `choices`: {field: [values]} that are known here. */
function readField(key, text, choices) {
  if (Object.hasOwn(POSITIVE, key)) {
    const x = positive(key, text), range = POSITIVE[key].map(number).join(" to ");
    return x > 0 ? [x, ""] : [undefined, `${key} must be a positive number such as 0.1 (${range}), not ${quoted(text)}`];
  }
  if (Object.hasOwn(WHOLE, key)) {
    const x = Number(text), [least, most] = WHOLE[key];
    if (!/^\d+$/.test(text.trim()) || x < least || x > most) return [undefined, `${key} must be a whole number from ${least} to ${most}, not ${quoted(text)}`];
    // What is offered are examples: any number from the smallest to the largest can be had, and any fewer steps.
    const [low, high] = [key === "steps" ? least : Math.min(...(choices[key] || [least])), Math.max(...(choices[key] || [most]))];
    return x < low || x > high ? [undefined, `${key} = ${x} cannot be had here (from ${low} to ${high})`] : [x, ""];
  }
  return !choices[key] || choices[key].includes(text) ? [text, ""] : [undefined, `${key} ${quoted(text)} is not known here (${choices[key].join(", ")})`];
}

/** "120:0.5,300:0.1" to [{step, eta}], rising; null where it is not of that form. */
function readChanges(text) {
  const changes = text.split(",").map((part) => part.split(":")).map(([step, eta]) => ({ step: Number(step), eta: positive("eta", eta || "") }));
  return changes.every((c, i) => Number.isInteger(c.step) && c.step >= 0 && c.eta > 0 && (!i || c.step > changes[i - 1].step)) ? changes : null;
}

const known = (key) => FIELDS.includes(key) || Object.hasOwn(VIEWS, key) || key === "change" || key === "lab";

/** Takes one parameter of a link into `state`; returns what is wrong with it, in words, or "". */
function takeField(state, key, text, choices) {
  if (!known(key)) return `${quoted(key)} is no parameter of the laboratory`;
  if (FIELDS.includes(key)) {
    const [value, problem] = readField(key, text, choices);
    if (!problem) state.settings[key] = value;
    return problem;
  }
  if (Object.hasOwn(VIEWS, key)) {
    if (!VIEWS[key].includes(text)) return `${key} must be ${VIEWS[key].join(" or ")}, not ${quoted(text)}`;
    state[key] = text;
  }
  if (key === "change") {
    const changes = readChanges(text);
    if (!changes) return `change must read step:eta,step:eta, not ${quoted(text)}`;
    state.changes = changes;
  }
  return "";
}

/** What a page's query says about laboratory number `lab` of the page.
 *  Returns null if it speaks of none, or of another; else {settings, axis?, scale?, plane?, changes, problems}: what cannot be
 *  read stands as a sentence in `problems`, and the default stays. */
export function readAddress(query, lab, defaults, choices = {}) {
  const given = new URLSearchParams(query);
  const ours = given.has("lab") ? given.get("lab") === String(lab) : lab === 1 && (given.has("gamma") || given.has("eta"));
  if (!ours) return null;
  const state = { settings: { ...defaults }, changes: [], problems: [] };
  for (const key of new Set(given.keys())) {
    if (FOREIGN.test(key)) continue;
    const problem = given.getAll(key).length > 1 ? `${quoted(key)} is given twice` : takeField(state, key, given.get(key), choices);
    // What somebody else put behind a short link of ours is not our business.
    if (problem && (given.has("lab") || known(key))) state.problems.push(problem);
  }
  return state;
}

/** The query that readAddress reads: the whole state. */
export function writeAddress(lab, { settings, axis, scale, plane, changes }) {
  const query = new URLSearchParams({ lab });
  for (const key of FIELDS) query.set(key, settings[key]);
  for (const [key, value] of Object.entries({ axis, scale, plane })) query.set(key, value);
  if (changes.length) query.set("change", changes.map((c) => `${c.step}:${c.eta}`).join(","));
  return `?${query}`.replace(/%3A/g, ":").replace(/%2C/g, ",");
}

/** The command line that trains the same run. `classes`: whether the task has labels, so that accuracy can be measured. */
export function commandOf(settings, classes) {
  const probes = ["loss", "sharpness", "along_gradient", ...(classes ? ["accuracy"] : []), "test_loss", "ntk_alignment", "drift"];
  const words = ["richness sweep --network mlp"];
  for (const key of ["depth", "width", "loss", "task", "optimizer", "batch_size", "steps"]) words.push(`--${key.replace("_", "-")} ${settings[key]}`);
  words.push(`--gammas ${settings.gamma} --etas ${settings.eta} --seeds ${settings.seed} --probes ${probes.join(" ")}`);
  words.push("--probe-points 16 --out laboratory.nc"); // the same steps at which the laboratory measures
  return words.join(" ");
}

/** What was done by hand, in a sentence; "" if nothing was. */
export const byHand = (run) => (run.changes.length
  ? `η was changed by hand: ${run.changes.map((c) => `to ${number(c.eta)} at step ${c.step}`).join(", ")}. The command trains with η = ${number(run.eta)} throughout.` : "");

/** A run with where it comes from, ready for JSON (what is not finite becomes null). */
export function downloadOf(run, { page, command, hash, commit, backend, made }) {
  const rows = (values) => Array.from(values, (v) => (Number.isFinite(v) ? v : null));
  return {
    format: "richness laboratory run, version 1",
    ask: run.settings, lr_raw: run.lr, stability_line: Number.isFinite(run.line) ? run.line : null,
    state: run.state, diverged_at: run.died >= 0 ? run.died : null,
    eta_changes: run.changes, note: byHand(run),
    curve: { step: rows(run.curve.step), loss: rows(run.curve.loss), eta: rows(run.curve.eta), tau: rows(run.curve.tau) },
    gauges: run.gauges,
    provenance: { trained_by: run.measured ? "measured beforehand" : backend, page, command, recipe_hash: hash || null, commit: commit || null, made },
  };
}
