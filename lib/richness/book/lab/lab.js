// The laboratory's eyes and hands. One drawing code serves Jupyter (anywidget calls `render`) and the built page (`boot`).
// `figure` and `plane` turn plain state into SVG text and touch nothing else, so node can test them. All axes are log10.

const RED = "#d0142c"; // the stability line, in every figure of the book
const GAMMA = ["#1f77c8", "#8a8a8a", "#e07b00"]; // lazy, gamma = 1, rich: full colour from four decades away
const { abs, ceil, floor, log10, max, min, round } = Math;

// ---- numbers and words

/** The colour at `t` in [0, 1] along equally spaced stops, mixed in rgb. */
export function mix(stops, t) {
  const at = max(0, min(1, t)) * (stops.length - 1), i = min(stops.length - 2, floor(at));
  const part = (hex, k) => parseInt(hex.slice(1 + 2 * k, 3 + 2 * k), 16);
  return "#" + [0, 1, 2].map((k) => round(part(stops[i], k) + (at - i) * (part(stops[i + 1], k) - part(stops[i], k)))
    .toString(16).padStart(2, "0")).join("");
}

/** Lazy blue to rich orange by log gamma, centred at gamma = 1. */
export const colour = (gamma) => mix(GAMMA, (log10(gamma) + 4) / 8);

export const regime = (gamma) => (gamma < 0.3 ? "lazy" : gamma > 3 ? "rich" : "between lazy and rich");

export function number(x) {
  if (!Number.isFinite(x)) return "–";
  if (x !== 0 && (abs(x) < 1e-3 || abs(x) >= 1e5)) return x.toExponential(1).replace(".0e", "e").replace("e+", "e");
  return String(Number(x.toPrecision(3)));
}

/** The step size theory calls natural: gamma^2 when lazy, gamma^(2/L) when rich. */
export const natural = (gamma, depth) => gamma ** 2 * (1 + gamma) ** (2 / depth - 2);

const power = (n) => (n === 0 ? "1" : "10" + String(n).replace(/./g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])));

/** Whole decades within [low, high], thinned to at most `most`. */
export function decades(low, high, most) {
  const stride = max(1, ceil((floor(high) - ceil(low) + 1) / most));
  const out = [];
  for (let n = ceil(low / stride) * stride; n <= high; n += stride) out.push(n + 0);
  return out;
}

// ---- data

/** A curve from Python: int32 run number and length, then float32 steps, losses, sharpnesses (NaN: not measured). */
export function unpackCurve(view) {
  if (!view || view.byteLength < 8) return { number: 0, step: [], loss: [], sharpness: [] };
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  const [number, n] = new Int32Array(bytes, 0, 2);
  const part = (i) => Array.from(new Float32Array(bytes, 8 + 4 * n * i, n));
  return { number, step: part(0), loss: part(1), sharpness: part(2) };
}

// ---- drawing

/** An SVG path through points in pixels; a gap in the numbers is a gap in the line. */
export function path(xs, ys) {
  let out = "", pen = "M";
  xs.forEach((x, i) => {
    if (!Number.isFinite(x) || !Number.isFinite(ys[i])) { pen = "M"; return; }
    out += `${pen}${x.toFixed(1)} ${ys[i].toFixed(1)}`;
    pen = "L";
  });
  return out;
}

const text = (x, y, words, more = "") => `<text x="${round(x)}" y="${round(y)}" ${more}>${words}</text>`;

/** A frame with log axes: the scales and the SVG of ticks and titles. */
export function frame({ x, y, w, h }, [x0, x1], [y0, y1], title, below) {
  const sx = (v) => x + ((min(x1, max(x0, v)) - x0) / (x1 - x0)) * w;
  const sy = (v) => y + h - ((min(y1, max(y0, v)) - y0) / (y1 - y0)) * h;
  let svg = `<path d="M${x} ${y}V${y + h}H${x + w}" class="rl-axis" fill="none" stroke="currentColor" opacity=".45"/>`;
  for (const n of decades(x0, x1, w / 42)) svg += text(sx(n), y + h + 16, power(n), 'text-anchor="middle" class="rl-tick"');
  for (const n of decades(y0, y1, h / 26)) {
    svg += `<path d="M${x} ${sy(n).toFixed(1)}h${w}" stroke="currentColor" opacity=".09"/>`;
    svg += text(x - 6, sy(n) + 4, power(n), 'text-anchor="end" class="rl-tick"');
  }
  svg += text(x - 34, y - 10, title, 'class="rl-title"') + text(x + w, y + h + 32, below, 'text-anchor="end" class="rl-tick"');
  return { svg, sx, sy };
}

const logs = (values) => values.map((v) => (v > 0 ? log10(v) : NaN));
export const finite = (values) => values.filter(Number.isFinite);

/** Log-x of each step: step 0 sits half a step from the edge; in tau, everything moves by log10(eta / gamma). */
const times = (run, steps, axis) =>
  steps.map((t) => log10(max(t, 0.5)) + (axis === "tau" ? log10(run.eta / run.gamma) : 0));

function span(runs, key, extra) {
  let low = Infinity, high = -Infinity;
  for (const run of runs) {
    const values = finite(logs(run[key]));
    if (!values.length) continue;
    // A run on its way to infinity must not flatten the others: three decades above where it began is enough.
    const most = values[0] + 3;
    for (const v of values) { low = min(low, max(v, values[0] - 7)); high = max(high, min(v, most)); }
  }
  for (const v of extra) { low = min(low, v); high = max(high, v); }
  return low > high ? [-2, 0] : [floor(low - 0.05), ceil(high + 0.08)];
}

/** Which end of the stability line is further from the curve: there its label stands. */
function roomBeside(run, line, box) {
  const seen = finite(logs(run.sharpness));
  const right = !seen.length || abs(seen.at(-1) - line) >= abs(seen[0] - line);
  return right ? [box.x + box.w, "end"] : [box.x + 4, "start"];
}

const WORDS = { near: "precomputed", trace: "earlier run", now: "this run" };

/** Loss and sharpness of every run in the state, as SVG text. state: {width, axis: "t" | "tau", runs: [run, ...]};
 *  run: {gamma, eta, lr, steps, step, loss, sharpness, probed?, died, role: "now" | "near" | "trace"}. */
export function figure(state) {
  const wide = state.width >= 560;
  const W = max(280, state.width), gap = 58, top = 26;
  const w = wide ? (W - 2 * gap) / 2 : W - gap, h = wide ? 210 : 165;
  const H = wide ? h + top + 40 : 2 * (h + top + 40);
  const runs = state.runs.filter((r) => r.step.length || r.steps);
  const now = runs.find((r) => r.role === "now") || runs.find((r) => r.role === "near");
  const ends = runs.flatMap((r) => times(r, [0, r.steps || max(...r.step)], state.axis));
  const xr = ends.length ? [min(...ends), max(...ends)] : [-0.3, 3];
  const below = state.axis === "tau" ? "τ = ηt/γ" : "steps t";
  const line = now ? log10(2 / now.lr) : NaN;
  const order = ["trace", "near", "now"];
  let svg = "";
  ["loss", "sharpness"].forEach((key, k) => {
    const box = { x: 44 + (wide ? k * (w + gap) : 0), y: top + (wide ? 0 : k * (h + top + 40)), w, h };
    const yr = span(runs, key, key === "sharpness" && now ? [line] : []);
    const { svg: axes, sx, sy } = frame(box, xr, yr, key === "loss" ? "training loss" : "sharpness λ_max", below);
    svg += axes;
    if (key === "sharpness" && now) {
      svg += `<path data-curve="line" class="rl-red" d="M${box.x} ${sy(line).toFixed(1)}h${w.toFixed(1)}" stroke="${RED}"/>`;
      const [where, side] = roomBeside(now, line, box);
      svg += text(where, sy(line) + (sy(line) < box.y + 16 ? 14 : -5), "stable below 2 / lr_raw", `text-anchor="${side}" class="rl-red-text" fill="${RED}"`);
    }
    for (const run of [...runs].sort((a, b) => order.indexOf(a.role) - order.indexOf(b.role))) {
      const steps = key === "sharpness" && run.probed ? run.probed : run.step;
      // Sharpness may be probed at fewer steps than the loss: join what was measured.
      const keep = steps.map((_, i) => i).filter((i) => key === "loss" || Number.isFinite(run[key][i]));
      const xs = times(run, keep.map((i) => steps[i]), state.axis).map(sx);
      const ys = logs(keep.map((i) => run[key][i])).map(sy);
      const ink = colour(run.gamma);
      const look = run.role === "now" ? 'stroke-width="2.2"' : run.role === "near" ? 'stroke-width="1.8" stroke-dasharray="5 4" opacity=".75"'
        : 'stroke-width="1.3" opacity=".4"';
      svg += `<path data-curve="${key}" data-role="${run.role}" d="${path(xs, ys)}" fill="none" stroke="${ink}" stroke-linejoin="round" ${look}><title>${WORDS[run.role]}: gamma = ${number(run.gamma)}, eta = ${number(run.eta)}</title></path>`;
      if (key === "sharpness" && run.role === "now") {
        svg += xs.map((x, i) => (Number.isFinite(ys[i]) ? `<circle cx="${x.toFixed(1)}" cy="${ys[i].toFixed(1)}" r="2.6" fill="${ink}"/>` : "")).join("");
      }
      if (key === "loss" && run.role === "now" && run.died >= 0) {
        const x = sx(times(run, [run.died], state.axis)[0]), y = finite(ys).at(-1) ?? box.y;
        const side = x + 125 > box.x + w ? "end" : "start";
        svg += `<path d="M${x - 5} ${y - 5}l10 10m0-10l-10 10" class="rl-died" stroke="currentColor" stroke-width="2"/>`
          + text(x + (side === "end" ? -9 : 9), max(y, box.y + 4) + 16, `diverged at step ${run.died}`, `text-anchor="${side}" class="rl-died-text"`);
      }
    }
  });
  const label = now ? `Training loss and sharpness at gamma = ${number(now.gamma)}, eta = ${number(now.eta)}` : "No run yet";
  return `<svg class="rl-figure" role="img" aria-label="${label}" viewBox="0 0 ${round(W)} ${H}" width="100%" fill="currentColor">${svg}</svg>`;
}

// ---- the page's own parts

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Two buttons of which one is pressed. */
export function choice(label, options, pick) {
  const group = make("div", { class: "rl-choice", role: "group", "aria-label": label });
  const buttons = options.map(([key, words], i) => {
    const button = make("button", { type: "button", "aria-pressed": String(i === 0) }, words);
    button.addEventListener("click", () => {
      buttons.forEach((b) => b.setAttribute("aria-pressed", String(b === button)));
      pick(key);
    });
    return button;
  });
  group.append(...buttons);
  return group;
}

export const axisChoice = (pick) => choice("time axis", [["t", "steps t"], ["tau", "τ = ηt/γ"]], pick);

/** Draw at most once a frame, and again when the room changes. Returns [ask, stop]. */
export function painter(room, paint) {
  let asked = 0;
  const ask = () => { asked ||= requestAnimationFrame(() => { asked = 0; if (room.isConnected) paint(room.clientWidth || 640); }); };
  const watch = new ResizeObserver(ask);
  watch.observe(room);
  return [ask, () => { watch.disconnect(); cancelAnimationFrame(asked); }];
}

/** anywidget's entry: draws what Python sends in `run`, `curve`, `near` and `traces`. */
function render({ model, el }) {
  const state = { axis: "t" };
  const picture = make("div", { class: "rl-picture" });
  const status = make("p", { class: "rl-status", role: "status", "aria-live": "polite" });
  const note = make("p", { class: "rl-note" });
  const paint = (width) => {
    const run = model.get("run"), near = model.get("near");
    const curve = unpackCurve(model.get("curve"));
    // A late message of an older run carries that run's number: not drawn.
    const fresh = curve.number === run.number ? curve : { step: [], loss: [], sharpness: [] };
    const runs = model.get("traces").map((t) => ({ ...t, ...unpackCurve(t.data), role: "trace" }));
    if (near.data) runs.push({ ...near, ...unpackCurve(near.data), role: "near" });
    if (run.number) runs.push({ ...run, ...fresh, role: "now" });
    picture.innerHTML = figure({ width, axis: state.axis, runs });
    status.textContent = run.text || "";
    status.dataset.state = run.state || "";
    note.textContent = near.label || "";
  };
  const [ask, stop] = painter(picture, paint);
  el.append(make("div", { class: "richness-lab rl-live" }, axisChoice((axis) => { state.axis = axis; ask(); }), picture, status, note));
  // Sliders and picture are one laboratory: the box that holds them carries the same mark as a built page's container.
  requestAnimationFrame(() => (el.closest(".widget-vbox") || el).setAttribute("data-richness-lab", ""));
  const names = ["run", "curve", "near", "traces"].map((n) => `change:${n}`);
  names.forEach((n) => model.on(n, ask));
  ask();
  model.send({ shown: true });
  return () => { stop(); names.forEach((n) => model.off(n, ask)); };
}

export default { render };

function tell(root, words) {
  let note = root.querySelector("[role=status]");
  if (!note) root.prepend(note = make("p", { class: "rl-status", role: "status" }));
  note.textContent = words;
}

/** Bring one container [data-richness-lab] of a built page to life. The runs come inline, or from `data-src` once needed. */
export function boot(root) {
  if (root.dataset.boot) return;
  root.dataset.boot = "true";
  const inline = root.querySelector("script[type='application/json']"), source = root.dataset.src;
  if (!inline && !source) {
    tell(root, root.dataset.missing || "The measured runs of this laboratory are not on this page. In Jupyter it trains live.");
    return;
  }
  const get = async () => {
    if (inline) return JSON.parse(inline.textContent);
    const answer = await fetch(source);
    if (!answer.ok) throw new Error(`${source} answered ${answer.status} ${answer.statusText}`);
    return answer.json();
  };
  let asked = false;
  const open = async () => {
    if (asked) return;
    asked = true;
    try {
      // Exploring lives in page.js, beside this file.
      const [{ explore }, packed] = await Promise.all([import("./page.js"), get()]);
      explore(root, packed);
    } catch (error) {
      tell(root, `The measured runs could not be shown: ${error.message}. The picture and the table remain.`);
    }
  };
  // Only once it is seen or touched, so that the page's first view stays light.
  for (const event of ["focusin", "pointerenter", "touchstart"]) root.addEventListener(event, open, { once: true, passive: true });
  new IntersectionObserver((seen, watch) => {
    if (seen.some((entry) => entry.isIntersecting)) { watch.disconnect(); open(); }
  }, { rootMargin: "200px" }).observe(root);
}
