// The plane of gamma and eta: what was measured there, its boundaries, and where theory puts them. Pure: node tests it.

import { DEAD, DIVERGED, NOT_RUN, rowOf } from "./runs.js";
import { decades, floor, log10, max, min, mix, natural, power, sqrt } from "./numbers.js";

const LATE = ["#0d3b3e", "#1f6a66", "#4a9c85", "#8fc79c", "#cfe5b8", "#f5f0dc"]; // late loss / initial loss, dark = learned
const SHADES = 16;
export const BOUNDARIES = [["eta_max", "η_max", ""], ["eta_crit", "η_crit", "1.5 4"], ["eta_min", "η_min", "9 3 2 3"]];

/** How far theory's shape lies above natural eta: the median of eta_max / natural where that was measured, else 1. */
export function theoryFactor(boundary, depth) {
  const shares = (boundary?.gamma || []).map((g, i) => boundary.eta_max[i] / natural(g, depth))
    .filter((r) => Number.isFinite(r) && r > 0).sort((a, b) => a - b);
  return shares.length ? shares[shares.length >> 1] : 1;
}

/** The plane's frame in log10; `straight` divides eta by the natural step size, so that theory's boundary lies flat.
 *  world: {depth, optimizer, runs or null, boundary or null, straight, width}. */
export function planeScales(world) {
  const { depth, optimizer, runs, boundary, straight } = world;
  const bend = (x) => (straight ? log10(natural(10 ** x, depth, optimizer)) : 0);
  let low = straight ? -2 : -9, high = straight ? 3 : 5;
  if (straight) {
    const note = (g, e) => { if (e > 0) { const y = log10(e / natural(g, depth, optimizer)); low = min(low, y - 0.1); high = max(high, y + 0.1); } };
    for (const [key] of BOUNDARIES) (boundary?.[key] || []).forEach((e, i) => note(boundary.gamma[i], e));
    runs?.outcomes.forEach((o, i) => { if (o !== NOT_RUN) { const [g, e] = rowOf(runs, i); note(runs.gamma[g], runs.eta[e]); } });
  }
  const W = max(240, world.width), box = { x: 38, y: 22, w: W - 46, h: 210 };
  const xr = [-4, 4], yr = [max(low, -4), min(high, 5)];
  const sx = (v) => box.x + ((min(xr[1], max(xr[0], v)) - xr[0]) / (xr[1] - xr[0])) * box.w;
  const sy = (v) => box.y + box.h - ((min(yr[1], max(yr[0], v)) - yr[0]) / (yr[1] - yr[0])) * box.h;
  const inside = (g, e) => { const y = log10(e) - bend(log10(g)); return y >= yr[0] && y <= yr[1]; };
  return { ...world, box, W, H: 272, xr, yr, sx, sy, bend, inside };
}

/** Which gamma and eta a point of the plane (in its own pixels) means. */
export function planeAt({ box, xr, yr, bend }, px, py) {
  const x = xr[0] + max(0, min(1, (px - box.x) / box.w)) * (xr[1] - xr[0]);
  const y = yr[0] + max(0, min(1, 1 - (py - box.y) / box.h)) * (yr[1] - yr[0]);
  return { gamma: 10 ** x, eta: 10 ** (y + bend(x)) };
}

/** Where a gamma and an eta lie, in the plane's pixels. */
export const planePoint = ({ sx, sy, bend }, gamma, eta) => [sx(log10(gamma)), sy(log10(eta) - bend(log10(gamma)))];

function planeAxes({ box, xr, yr, sx, sy, straight }) {
  let svg = `<path d="M${box.x} ${box.y}V${box.y + box.h}H${box.x + box.w}" fill="none" stroke="currentColor" opacity=".45"/>`;
  for (const n of decades(xr[0], xr[1], box.w / 52)) svg += `<text x="${sx(n).toFixed(0)}" y="${box.y + box.h + 16}" text-anchor="middle">${power(n)}</text>`;
  for (const n of decades(yr[0], yr[1], 8)) svg += `<text x="${box.x - 6}" y="${(sy(n) + 4).toFixed(0)}" text-anchor="end">${power(n)}</text>`;
  return svg + `<text class="rl-title" x="4" y="13">${straight ? "η ÷ natural η" : "learning rate η"}</text>`
    + `<text class="rl-title" x="${box.x + box.w}" y="${box.y + box.h + 34}" text-anchor="end">γ</text>`;
}

/** Every measured cell's outcome: late loss by colour (dark = learned), dots dead, strokes diverged, blank not run. */
function planeCells(runs, { box, xr, yr, sx, sy, bend }) {
  const spacing = (list) => (list.length > 1 ? log10(list[list.length - 1] / list[0]) / (list.length - 1) : 1);
  const w = (spacing(runs.gamma) / (xr[1] - xr[0])) * box.w, h = (spacing(runs.eta) / (yr[1] - yr[0])) * box.h;
  const fills = Array(SHADES).fill("");
  let dead = "", dots = "", hatch = "";
  runs.outcomes.forEach((o, i) => {
    if (o === NOT_RUN) return;
    const [g, e] = rowOf(runs, i), lg = log10(runs.gamma[g]);
    const x = sx(lg) - w / 2, y = sy(log10(runs.eta[e]) - bend(lg)) - h / 2;
    const rect = `M${x.toFixed(1)} ${y.toFixed(1)}h${(w + 0.2).toFixed(1)}v${(h + 0.2).toFixed(1)}h${(-w - 0.2).toFixed(1)}z`;
    if (o === DIVERGED) hatch += `M${x.toFixed(1)} ${(y + h).toFixed(1)}l${w.toFixed(1)} ${(-h).toFixed(1)}`;
    else if (o === DEAD) { dead += rect; dots += `M${(x + w / 2).toFixed(1)} ${(y + h / 2).toFixed(1)}h0`; }
    else fills[min(SHADES - 1, floor(sqrt(runs.lateShare(g, e)) * SHADES))] += rect;
  });
  return fills.map((d, i) => (d ? `<path d="${d}" fill="${mix(LATE, (i + 0.5) / SHADES)}"/>` : "")).join("")
    + `<path d="${dead}" fill="currentColor" opacity=".07"/><path d="${hatch}" stroke="currentColor" opacity=".34" stroke-width=".9"/>`
    + `<path d="${dots}" stroke="currentColor" opacity=".5" stroke-width="1.6" stroke-linecap="round"/>`;
}

function planeLine(scales, gammas, etas, attributes) {
  let d = "", pen = "M";
  gammas.forEach((g, i) => {
    const [x, y] = etas[i] > 0 && scales.inside(g, etas[i]) ? planePoint(scales, g, etas[i]) : [NaN, NaN];
    if (!Number.isFinite(y)) { pen = "M"; return; }
    d += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  });
  // A pale line below keeps it in sight over dark cells and light ones.
  return `<path d="${d}" class="rl-under"/><path d="${d}" ${attributes}/>`;
}

/** The plane as SVG text: cells, theory's boundary, the measured ones, and an empty group for marks. */
export function plane(world) {
  const s = planeScales(world), { depth, optimizer, runs, boundary } = world;
  const gammas = Array.from({ length: 65 }, (_, i) => 10 ** (-4 + i / 8)), factor = theoryFactor(boundary, depth);
  let svg = (runs ? planeCells(runs, s) : "") + planeAxes(s);
  for (const [key, , dash] of BOUNDARIES) {
    if (boundary?.[key]) svg += planeLine(s, boundary.gamma, boundary[key], `class="rl-measured" data-boundary="${key}" stroke-dasharray="${dash || "none"}"`);
  }
  svg += planeLine(s, gammas, gammas.map((g) => factor * natural(g, depth, optimizer)), 'class="rl-theory" data-boundary="theory" stroke-dasharray="6 4"');
  return `<svg class="rl-plane" viewBox="0 0 ${s.W.toFixed(0)} ${s.H}" width="100%" aria-hidden="true" fill="currentColor">${svg}<g data-mark></g></svg>`;
}
