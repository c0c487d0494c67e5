// Runs whose losses are known: trained in every browser before a reader's first. One that computes wrongly is told so.

import { blockSteps } from "./batches.js";
import { resolved } from "./trainer.js";

const TOLERANCE = 1e-4; // relative; float32 leaves less than 1e-5 over these runs

/** Trains the manifest's known runs; throws where a loss is another than torch's. */
export function known(kernel, manifest) {
  for (const { ask, loss } of manifest.known) {
    const found = losses(kernel, resolved(ask, manifest), ask);
    const wrong = loss.findIndex((wanted, step) => !(Math.abs(found[step] / wanted - 1) < TOLERANCE));
    if (wrong >= 0) {
      throw new Error(`This browser computes wrongly: in a run whose losses are known it found ${found[wrong]} at step ${wrong} `
        + `instead of ${loss[wrong]}. So nothing is trained here; another browser, or a newer one, can`);
    }
  }
}

function losses(kernel, about, ask) {
  const steps = blockSteps(about), found = [];
  kernel.begin(about, ask);
  for (let from = 0; from <= ask.steps; from += steps) {
    const samples = kernel.draw(about, ask.seed, from, steps), rows = Math.min(steps, ask.steps + 1 - from);
    const atStart = kernel.outputsAtStart(samples, steps);
    found.push(...kernel.advance({ samples, atStart, steps }, 0, rows, ask.steps - from, from, ask.eta));
    [samples, atStart].forEach((address) => kernel.release(address));
  }
  return found;
}
