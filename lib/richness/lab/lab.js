// The laboratory's two doors: `render` for Jupyter (anywidget), `boot` for a built page. The instrument is the same.

import { instrument } from "./instrument.js";
import { explainImport, fetchJson } from "./fetching.js";
import { kernelBackend } from "./kernel.js";

function render({ model, el }) {
  const root = el.ownerDocument.createElement("div");
  root.className = "richness-lab rl-kernel";
  el.append(root);
  const close = instrument(root, model.get("setup"), (report) => kernelBackend(model, report));
  // Sliders and picture are one laboratory: the box that holds them carries the same mark as a built page's container.
  requestAnimationFrame(() => (el.closest(".widget-vbox") || el).setAttribute("data-richness-lab", ""));
  return close;
}

/** Bring one container [data-richness-lab] of a built page to life. Its setup stands inline, or where `data-src` says.
 *  `engine` is the address of the folder that holds what trains; its data come once a reader turns to the laboratory. */
export async function boot(root, engine) {
  if (root.dataset.boot) return;
  root.dataset.boot = "true";
  const inline = root.querySelector("script[type='application/json']"), { src, missing } = root.dataset;
  try {
    if (!inline && !src) throw new Error(missing || "what it needs is not on this page");
    const [setup, manifest] = await Promise.all([inline ? JSON.parse(inline.textContent) : fetchJson(src), fetchJson(`${engine}manifest.json`).catch(() => null)]);
    const base = new URL(inline ? "" : src, root.ownerDocument.baseURI).href;
    const labs = [...root.ownerDocument.querySelectorAll("[data-richness-lab]")];
    root.querySelector("[data-fallback]")?.remove();
    instrument(root, { ...setup, base, lab: labs.indexOf(root) + 1, engine: manifest }, (report) => lateBackend(engine, report));
    root.dataset.ready = "true";
  } catch (error) {
    tell(root, `The laboratory could not be opened: ${error.message}. Its picture and table remain.`);
  }
}

function tell(root, words) {
  let note = root.querySelector("[role=status]");
  if (!note) {
    note = root.ownerDocument.createElement("p");
    note.className = "rl-status";
    note.setAttribute("role", "status");
    root.prepend(note);
  }
  note.textContent = words;
}

/** The page's backend, fetched at once. What was asked meanwhile is asked then, in order, from the last start on. */
function lateBackend(engine, report) {
  let real = null, coming = null, waiting = [], tries = 0;
  const client = `${engine}client.js`;
  const fetchIt = () => import(`${client}${tries++ ? `?try=${tries}` : ""}`).then(({ pageBackend }) => {
    real = pageBackend(engine, report);
    waiting.forEach(([name, value]) => real[name](value));
    waiting = [];
  }).catch(async (error) => {
    const why = await explainImport(client, error), awaited = waiting.some(([name]) => name === "start");
    [coming, waiting] = [null, []]; // the next start tries anew
    if (awaited) report({ kind: "lost", message: `What trains could not be loaded: ${why}` });
  });
  const pass = (name) => (value) => {
    if (real) return real[name](value);
    if (name === "start") waiting = [];
    if (name === "start" || coming) waiting.push([name, value]);
    if (name === "start") coming ??= fetchIt();
  };
  const backend = { kind: "page", close: () => { waiting = []; real?.close(); } };
  for (const name of ["digits", "start", "change", "pause", "resume", "step", "rewind", "weights"]) backend[name] = pass(name);
  coming = fetchIt();
  return backend;
}

export default { render };
