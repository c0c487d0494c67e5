// The backend over an anywidget model: a stand-in until the kernel's own arrives.

export function kernelBackend(model, report) {
  const receive = (message) => report(message);
  model.on("msg:custom", receive);
  const send = (what) => model.send(what);
  send({ do: "shown" });
  return {
    kind: "kernel",
    start: (ask) => send({ do: "start", ask }), change: ({ eta }) => send({ do: "change", eta }),
    pause: () => send({ do: "pause" }), resume: () => send({ do: "resume" }), step: (count) => send({ do: "step", count }),
    rewind: () => send({ do: "rewind" }), close: () => model.off("msg:custom", receive),
  };
}
