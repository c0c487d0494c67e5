// Numbers in words and colours. Pure: node tests it.

export const { abs, ceil, floor, log10, max, min, round, sqrt } = Math;

export const RED = "#d0142c"; // the stability line, in every figure of the book
const GAMMA = ["#1f77c8", "#8a8a8a", "#e07b00"]; // lazy, gamma = 1, rich: full colour from four decades away

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

/** Three digits, as a reader writes them; a dash where there is no number. */
export function number(x) {
  if (!Number.isFinite(x)) return "–";
  if (x !== 0 && (abs(x) < 1e-3 || abs(x) >= 1e5)) return x.toExponential(1).replace(".0e", "e").replace("e+", "e");
  return String(Number(x.toPrecision(3)));
}

export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

/** What a slider's position (log10) means, to three digits, so that a link stays short. */
export const atLog = (position) => Number((10 ** position).toPrecision(3));

/** The step size theory calls natural: gamma^2 when lazy, gamma^(2/L) when rich; its root for steps by sign. */
export function natural(gamma, depth, optimizer = "sgd") {
  const scale = gamma ** 2 * (1 + gamma) ** (2 / depth - 2);
  return optimizer === "signsgd" || optimizer === "adam" ? sqrt(scale) : scale;
}

export const power = (n) => (n === 0 ? "1" : "10" + String(n).replace(/./g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])));

/** Whole decades within [low, high], thinned to at most `most`. */
export function decades(low, high, most) {
  const stride = max(1, ceil((floor(high) - ceil(low) + 1) / most));
  const out = [];
  for (let n = ceil(low / stride) * stride; n <= high; n += stride) out.push(n + 0);
  return out;
}

/** Round values within [low, high], at most about `most`: steps of 1, 2 or 5 times a power of ten. */
export function evenly(low, high, most) {
  const rough = (high - low) / max(1, most), unit = 10 ** floor(log10(rough));
  const step = unit * [1, 2, 5, 10].find((m) => m * unit >= rough * 0.999);
  const out = [];
  for (let i = ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) out.push(Number((i * step).toPrecision(12)));
  return out;
}

/** Ticks of a log axis over [low, high] in log10: decades where there are some, else 1, 2, 5, else even steps. [[log10, label]] */
export function logTicks(low, high, most) {
  if (high - low > 1.8) return decades(low, high, most).map((n) => [n, power(n)]);
  if (high - low < 0.8) return evenly(10 ** low, 10 ** high, min(most, 5)).map((v) => [log10(v), number(v)]);
  const out = [];
  for (let n = floor(low); n <= high; n++) for (const m of [1, 2, 5]) {
    const at = n + log10(m);
    if (at >= low - 1e-9 && at <= high + 1e-9) out.push([at, number(m * 10 ** n)]);
  }
  return out.length > most ? out.filter((_, i) => i % ceil(out.length / most) === 0) : out;
}

/** Text that is safe between SVG or HTML tags. */
export const safe = (words) => String(words).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" }[c]));
