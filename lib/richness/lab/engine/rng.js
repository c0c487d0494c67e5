// The twin of lib/richness/rng.py: (seed, name, step) -> bits, uniforms, normals, by Threefry-2x32 with 20 rounds.
// There is no state. Bits equal torch's; normals agree to 1e-6 (log and cos differ in the last place between libraries).
//
// Reference: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

const PARITY = 0x1bd11bda;

/** FNV-1a, 32 bits, of the UTF-8 bytes of `name`: the second half of a Threefry key. */
export function hashName(name) {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) value = Math.imul(value ^ byte, 0x01000193);
  return value >>> 0;
}

/** Two 32-bit words from one counter (two words) under one key (two words). */
export function threefry2x32([key0, key1], [counter0, counter1]) {
  const out = new Uint32Array(2);
  threefry(key0 | 0, key1 | 0, counter0 | 0, counter1 | 0, out, 0);
  return [out[0], out[1]];
}

// Twenty rounds in five groups, written out: a batch of digits takes four thousand of these, and loops would double the time.
function threefry(key0, key1, counter0, counter1, out, at) {
  const key2 = key0 ^ key1 ^ PARITY;
  let x0 = (counter0 + key0) | 0, x1 = (counter1 + key1) | 0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 13) | (x1 >>> 19)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 15) | (x1 >>> 17)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 26) | (x1 >>> 6)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 6) | (x1 >>> 26)) ^ x0;
  x0 = (x0 + key1) | 0; x1 = (x1 + key2 + 1) | 0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 17) | (x1 >>> 15)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 29) | (x1 >>> 3)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 16) | (x1 >>> 16)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 24) | (x1 >>> 8)) ^ x0;
  x0 = (x0 + key2) | 0; x1 = (x1 + key0 + 2) | 0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 13) | (x1 >>> 19)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 15) | (x1 >>> 17)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 26) | (x1 >>> 6)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 6) | (x1 >>> 26)) ^ x0;
  x0 = (x0 + key0) | 0; x1 = (x1 + key1 + 3) | 0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 17) | (x1 >>> 15)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 29) | (x1 >>> 3)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 16) | (x1 >>> 16)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 24) | (x1 >>> 8)) ^ x0;
  x0 = (x0 + key1) | 0; x1 = (x1 + key2 + 4) | 0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 13) | (x1 >>> 19)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 15) | (x1 >>> 17)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 26) | (x1 >>> 6)) ^ x0;
  x0 = (x0 + x1) | 0; x1 = ((x1 << 6) | (x1 >>> 26)) ^ x0;
  x0 = (x0 + key2) | 0; x1 = (x1 + key0 + 5) | 0;
  out[at] = x0;
  out[at + 1] = x1;
}

/** `count` words for one step; positions 2i and 2i + 1 are the two words of counter (i, step). */
export function bits(seed, name, step, count) {
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff) {
    throw new RangeError(`seed must be an integer from 0 to 2^32 - 1, got ${seed}`);
  }
  const key0 = seed | 0, key1 = hashName(name) | 0, out = new Int32Array(count + (count % 2)), when = step | 0;
  for (let i = 0; i < out.length; i += 2) threefry(key0, key1, i >> 1, when, out, i);
  return new Uint32Array(out.buffer, 0, count);
}

/** Uniform draws in the open interval (0, 1): (word + 1/2) / 2^32. */
export function uniforms(seed, name, step, count) {
  const words = bits(seed, name, step, count), out = new Float64Array(count);
  for (let i = 0; i < count; i++) out[i] = (words[i] + 0.5) / 4294967296;
  return out;
}

/** Integers in [0, high): floor(word * high / 2^32), exact for `high` up to 2^31 (the product is split at 16 bits). */
export function integers(seed, name, step, count, high) {
  return Float64Array.from(bits(seed, name, step, count), (word) =>
    Math.floor(((word >>> 16) * high + Math.floor(((word & 0xffff) * high) / 65536)) / 65536));
}

/** Standard normal draws by Box-Muller: positions 2i and 2i + 1 are r cos(phi) and r sin(phi). */
export function normals(seed, name, step, count) {
  const out = uniforms(seed, name, step, count + (count % 2));
  for (let i = 0; i < out.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(out[i])), angle = 2 * Math.PI * out[i + 1];
    out[i] = radius * Math.cos(angle);
    out[i + 1] = radius * Math.sin(angle);
  }
  return out.subarray(0, count);
}
