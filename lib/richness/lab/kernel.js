// The backend over an anywidget model: what is asked goes to Python's thread, what it reports comes back, arrays as buffers.

const SILENCE = 10_000; // ms without any answer until the kernel is taken to be gone, or busy for long
const GONE = "The kernel was restarted or is gone: run the laboratory’s cell again to train.";
const SILENT = "The kernel does not answer. It is busy with another cell, or it was restarted: then run the laboratory’s cell again.";
const ARRAYS = { float32: Float32Array, float64: Float64Array, int32: Int32Array };

/** A report from its message: `arrays` names the fields that came as little-endian buffers, in order, with their types. */
export function unpackReport({ arrays = [], ...report }, buffers = []) {
  arrays.forEach(([field, type], i) => {
    const part = buffers[i]; // a view into a larger message, aligned to nothing: copied
    const bytes = ArrayBuffer.isView(part) ? part.buffer.slice(part.byteOffset, part.byteOffset + part.byteLength) : part.slice(0);
    report[field] = new ARRAYS[type](bytes);
  });
  if (report.kind === "run") report.line ??= NaN;
  return report;
}

export function kernelBackend(model, report) {
  let waiting = 0, closed = false;
  const lost = (message) => {
    clearTimeout(waiting);
    waiting = 0;
    if (!closed) report({ kind: "lost", message });
  };
  const receive = (message, buffers) => {
    clearTimeout(waiting);
    waiting = 0;
    if (message.kind !== "heard") report(unpackReport(message, buffers));
  };
  const gone = () => lost(GONE);
  const send = (what) => {
    if (closed) return;
    waiting ||= setTimeout(() => lost(SILENT), SILENCE);
    try {
      model.send(what);
    } catch {
      gone();
    }
  };
  // A restarting kernel leaves its models without a comm: Jupyter's manager says so by this event.
  model.on("comm_live_update", gone);
  model.on("msg:custom", receive);
  send({ do: "shown" });
  return {
    kind: "kernel",
    start: (settings) => send({ do: "start", ask: settings }),
    change: ({ eta }) => send({ do: "change", eta }),
    pause: () => send({ do: "pause" }),
    resume: () => send({ do: "resume" }),
    step: (count) => send({ do: "step", count }),
    rewind: () => send({ do: "rewind" }),
    /** Whether Python's slider of eta starts anew ("anew") or changes eta on the way ("on"). */
    etaMode: (mode) => send({ do: "eta_mode", mode }),
    /** Detaches this view only: another may look at the same run, and the thread ends with `lab.close()`. */
    close() {
      if (closed) return;
      closed = true;
      clearTimeout(waiting);
      model.off("msg:custom", receive);
      model.off("comm_live_update", gone);
    },
  };
}
