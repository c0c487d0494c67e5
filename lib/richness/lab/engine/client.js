// The backend of a page without Python: workers with the library's kernel, told what to train; all they report comes through one
// function.
//
// An ask has the names of richness.Experiment, singular: {gamma, eta, depth, width, loss, task, optimizer, batch_size, steps, seed}.
// Reports, each with `kind` and, of a run, its `number`:
//   ready    {limits, reasons}     what can be asked here, and why no more
//   loading  {done, total}         bytes, while the digits arrive
//   run      {ask, lr, line}       a run has begun; line: the sharpness up to which its step is stable
//   curve    {from, step, loss, eta}   rows of every step, to be placed at index `from`; the loss before the update
//   gauges   {step, sharpness, along, accuracy, test_loss, alignment, drift}   null where there is none; late, in any order
//   samples  {step, side, inputs, labels, guesses}   a few of the current batch
//   state    {state, step, message}    loading, training, paused, finished, diverged, error
//   lost     {message}             nothing more will come; `start` tries anew

const PATIENCE = 20_000; // ms for the manifest, a kilobyte

const WORKS = { train: "trains", helper: "helps to make the data", measure: "measures" };
const BYTES_EACH = 50; // ms between two reports of loading

/** What this browser lacks, in a sentence; null if nothing. */
export function lacking() {
  if (typeof WebAssembly !== "object") return "This browser has no WebAssembly, or it is switched off: training here needs it.";
  if (typeof DecompressionStream !== "function") return "This browser cannot unpack gzip (DecompressionStream): a newer one can train here.";
  if (typeof Worker !== "function" || !moduleWorkers()) return "This browser has no module workers: a newer one can train here.";
  return null;
}

/** Whether a worker's options are asked for its type; the question is broken off there, before anything is fetched. */
function moduleWorkers() {
  let known = false;
  try {
    new Worker("data:,", { get type() { known = true; throw new Error("asked"); } }).terminate();
  } catch {
    return known;
  }
  return known;
}

/**
 * Trains in this page. base: the address of the folder with manifest.json. report: takes every answer, see the reports of the
 * laboratory, above. The kernel is fetched at once and tried on runs whose losses are known; the digits when `digits` is called, or
 * a run needs them.
 */
export function pageBackend(base, report) {
  const root = new URL(base, globalThis.document?.baseURI ?? import.meta.url).href;
  let manifest = null, workers = null, number = 0, closed = false, done = 0, shown = 0;

  const lose = (message) => {
    if (closed) return;
    end();
    report({ kind: "lost", message });
  };

  const end = () => {
    for (const worker of Object.values(workers ?? {})) worker.terminate();
    [workers, done] = [null, 0];
  };

  const described = async () => {
    let answer;
    try {
      answer = await fetch(new URL("manifest.json", root), { signal: AbortSignal.timeout(PATIENCE) });
    } catch (error) {
      throw new Error(`manifest.json cannot be fetched: ${error.message}`);
    }
    if (!answer.ok) throw new Error(`manifest.json cannot be fetched: the server answered ${answer.status} ${answer.statusText}`.trim());
    const told = await answer.json();
    if (!closed) report({ kind: "ready", limits: told.limits, reasons: told.reasons });
    return told;
  };

  /** The manifest, with the workers open; null where that cannot be. */
  const ready = async () => {
    const told = await (manifest ??= described().catch((error) => { manifest = null; lose(error.message); return null; }));
    if (told && !closed && !workers) open(told);
    return told;
  };

  const heard = (role, message, told) => {
    if (message.kind === "holds") watch(role, workers[role], message.lock);
    else if (message.kind === "lost") lose(message.message);
    else if (message.kind === "bytes") loading(message.bytes, told.digits.packed);
    else if (message.number === number) report(message);
  };

  // Each worker holds a lock as long as it lives: whoever gets it after that knows, however busy the machine.
  const watch = (role, worker, lock) => navigator.locks.request(lock, () => {
    if (workers?.[role] === worker) lose(`The worker that ${WORKS[role]} has ended.`);
  });

  const loading = (bytes, total) => {
    done = Math.min(total, done + bytes);
    if (done < total && performance.now() - shown < BYTES_EACH) return;
    shown = performance.now();
    report({ kind: "loading", done, total });
  };

  const open = (told) => {
    const roles = Object.keys(WORKS).filter((role) => role !== "helper" || navigator.hardwareConcurrency > 1);
    const ports = Object.fromEntries(roles.map((role) => [role, {}]));
    workers = {};
    for (const other of roles.slice(1)) {
      const { port1, port2 } = new MessageChannel();
      [ports.train[other], ports[other].train] = [port1, port2];
    }
    for (const role of roles) {
      const worker = new Worker(new URL("./worker.bundle.js", import.meta.url), { type: "module", name: role });
      workers[role] = worker;
      worker.onmessage = ({ data }) => { if (workers?.[role] === worker) heard(role, data, told); };
      worker.onerror = (event) => {
        event.preventDefault?.();
        if (workers?.[role] === worker) lose(`The worker that ${WORKS[role]} failed: ${event.message || "its file cannot be loaded"}.`);
      };
      worker.postMessage({ do: "open", lock: `richness ${Math.random()}`, base: root, manifest: told, ports: ports[role] }, Object.values(ports[role]));
    }
  };

  const send = (message) => workers?.train?.postMessage(message);
  const lack = lacking();
  if (lack) queueMicrotask(() => lose(lack));
  else ready();

  return {
    kind: "page",
    async digits() {
      if (!lack && await ready() && !closed) send({ do: "digits" });
    },
    async start(ask) {
      if (lack) return lose(lack);
      closed = false;
      const mine = ++number;
      report({ kind: "state", number: mine, state: "loading", step: 0, message: "" });
      if (await ready() && !closed && mine === number) send({ do: "start", number: mine, ask });
    },
    change({ eta }) {
      if (!(eta > 0 && eta < Infinity)) throw new RangeError(`eta must be a number above 0, got ${eta}`);
      send({ do: "change", eta });
    },
    pause: () => send({ do: "pause" }),
    resume: () => send({ do: "resume" }),
    step: (count = 1) => send({ do: "step", count }),
    weights: () => send({ do: "weights" }),
    rewind() {
      if (workers) send({ do: "rewind", number: ++number });
    },
    close() {
      closed = true;
      number += 1;
      end();
    },
  };
}
