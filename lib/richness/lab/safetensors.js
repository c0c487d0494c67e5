// A network's weights as one safetensors file, of the form that richness keeps snapshots in. Pure: node tests it.

const KINDS = { F32: Float32Array, F64: Float64Array };

/** [[name, kind, shape, values]] and text by name to the file's bytes: the header's length (8 bytes), the header (JSON), the values. */
export function packTensors(tensors, metadata) {
  const header = { __metadata__: metadata }, parts = [];
  let end = 0;
  for (const [name, dtype, shape, values] of tensors) {
    const bytes = new Uint8Array(KINDS[dtype].from(values).buffer);
    header[name] = { dtype, shape, data_offsets: [end, end += bytes.length] };
    parts.push(bytes);
  }
  const text = new TextEncoder().encode(JSON.stringify(header)), room = Math.ceil(text.length / 8) * 8; // values stand at multiples of 8
  const file = new Uint8Array(8 + room + end).fill(32, 8, 8 + room);
  new DataView(file.buffer).setBigUint64(0, BigInt(room), true);
  file.set(text, 8);
  let at = 8 + room;
  for (const part of parts) file.set(part, at), at += part.length;
  return file;
}

/** The file of one run at one step. report: {step, exact, shapes, weights}, all weights in a row, layer after layer. */
export function packWeights({ step, exact, shapes, weights }, settings, page) {
  const tensors = [];
  let at = 0;
  shapes.forEach((shape, layer) => {
    const size = shape.reduce((a, b) => a * b);
    tensors.push([`weight.${layer}`, exact ? "F64" : "F32", [1, ...shape], weights.subarray(at, at += size)]);
  });
  for (const key of ["gamma", "eta"]) tensors.push([key, "F64", [1], [settings[key]]]);
  return packTensors(tensors, { step: String(step), seed: String(settings.seed), settings: JSON.stringify(settings), page: page ?? "" });
}
