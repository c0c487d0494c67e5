// The page's training by hand: an MLP of relu units under mean squared error in plain typed arrays, one 4 x 4 tile of every
// product in registers. It is only a peer of the compiled kernel: it knows one loss and one network, and has its gradient typed out.

/** out (m x n) = a (m x k) b (k x n), row-major; m and n are multiples of 4. */
function multiply(out, a, b, m, k, n) {
  for (let i = 0; i < m; i += 4) {
    for (let j = 0; j < n; j += 4) {
      let c00 = 0, c01 = 0, c02 = 0, c03 = 0, c10 = 0, c11 = 0, c12 = 0, c13 = 0;
      let c20 = 0, c21 = 0, c22 = 0, c23 = 0, c30 = 0, c31 = 0, c32 = 0, c33 = 0;
      for (let l = 0, p = i * k, q = j; l < k; l++, p++, q += n) {
        const a0 = a[p], a1 = a[p + k], a2 = a[p + 2 * k], a3 = a[p + 3 * k];
        const b0 = b[q], b1 = b[q + 1], b2 = b[q + 2], b3 = b[q + 3];
        c00 += a0 * b0; c01 += a0 * b1; c02 += a0 * b2; c03 += a0 * b3;
        c10 += a1 * b0; c11 += a1 * b1; c12 += a1 * b2; c13 += a1 * b3;
        c20 += a2 * b0; c21 += a2 * b1; c22 += a2 * b2; c23 += a2 * b3;
        c30 += a3 * b0; c31 += a3 * b1; c32 += a3 * b2; c33 += a3 * b3;
      }
      let at = i * n + j;
      out[at] = c00; out[at + 1] = c01; out[at + 2] = c02; out[at + 3] = c03; at += n;
      out[at] = c10; out[at + 1] = c11; out[at + 2] = c12; out[at + 3] = c13; at += n;
      out[at] = c20; out[at + 1] = c21; out[at + 2] = c22; out[at + 3] = c23; at += n;
      out[at] = c30; out[at + 1] = c31; out[at + 2] = c32; out[at + 3] = c33;
    }
  }
}

function transpose(out, a, m, n) {
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) out[j * m + i] = a[i * n + j];
}

/**
 * Trains on one batch a step and returns the losses before each. shapes: (fan_out, fan_in) a layer. weights: row-major, changed
 * in place. batches: {x (B x D), targets (B x K), start (B x K): f of the first weights}.
 */
export function train({ shapes, weights: given, batches, count, gamma, lr }) {
  const depth = shapes.length, outputs = shapes[depth - 1][0], rows = shapes.map(([out]) => 4 * Math.ceil(out / 4));
  const weights = shapes.map(([out, into], l) => { const w = new Float32Array(rows[l] * into); w.set(given[l]); return w; });
  const fans = shapes.map(([, into]) => into), scales = fans.map((into, l) => (l < depth - 1 ? 1 / Math.sqrt(into) : 1 / into));
  const room = (sizes) => sizes.map((size) => new Float32Array(size));
  const inputs = room(fans.map((into) => into * count)), across = room(fans.map((into) => into * count));
  const deltas = room(rows.map((row) => row * count)), steps = room(weights.map((w) => w.length)), turned = room(weights.map((w) => w.length));
  const losses = new Float64Array(batches.length), top = depth - 1;
  batches.forEach(({ x, targets, start }, t) => {
    transpose(inputs[0], x, count, fans[0]);
    for (let l = 0; l < depth; l++) {
      multiply(deltas[l], weights[l], inputs[l], rows[l], fans[l], count);
      if (l === top) break;
      const h = deltas[l], a = inputs[l + 1], scale = scales[l];
      for (let i = 0; i < h.length; i++) a[i] = h[i] > 0 ? h[i] * scale : 0;
    }
    let loss = 0;
    const out = deltas[top], each = 2 / (outputs * count * gamma) * scales[top];
    for (let k = 0; k < outputs; k++) {
      for (let i = 0; i < count; i++) {
        const miss = (out[k * count + i] * scales[top] - start[i * outputs + k]) / gamma - targets[i * outputs + k];
        loss += miss * miss;
        out[k * count + i] = miss * each;
      }
    }
    losses[t] = loss / (outputs * count);
    for (let l = top; l >= 0; l--) {
      transpose(across[l], inputs[l], fans[l], count);
      multiply(steps[l], deltas[l], across[l], rows[l], count, fans[l]);
      if (l) {
        transpose(turned[l], weights[l], rows[l], fans[l]);
        const below = deltas[l - 1], a = inputs[l], scale = scales[l - 1];
        multiply(below, turned[l], deltas[l], fans[l], rows[l], count);
        for (let i = 0; i < below.length; i++) below[i] = a[i] > 0 ? below[i] * scale : 0;
      }
      const w = weights[l], step = steps[l];
      for (let i = 0; i < w.length; i++) w[i] -= lr * step[i];
    }
  });
  return losses;
}
