// The twin of lib/richness/rng.py: (seed, name, step) -> bits, uniforms, normals, by Threefry-2x32 with 20 rounds.
// There is no state. Bits equal torch's; normals agree to 1e-6 (log and cos differ in the last place between libraries).
//
// Reference: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

const PARITY = 0x1bd11bda;
const ROTATIONS = [[13, 15, 26, 6], [17, 29, 16, 24]];

/** FNV-1a, 32 bits, of the UTF-8 bytes of `name`: the second half of a Threefry key. */
export function hashName(name) {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) value = Math.imul(value ^ byte, 0x01000193);
  return value >>> 0;
}

/** Two 32-bit words from one counter (two words) under one key (two words). */
export function threefry2x32([key0, key1], [counter0, counter1]) {
  const schedule = [key0, key1, key0 ^ key1 ^ PARITY];
  let x0 = (counter0 + key0) | 0;
  let x1 = (counter1 + key1) | 0;
  for (let block = 0; block < 5; block++) {
    for (const rotation of ROTATIONS[block % 2]) {
      x0 = (x0 + x1) | 0;
      x1 = ((x1 << rotation) | (x1 >>> (32 - rotation))) ^ x0;
    }
    x0 = (x0 + schedule[(block + 1) % 3]) | 0;
    x1 = (x1 + schedule[(block + 2) % 3] + block + 1) | 0;
  }
  return [x0 >>> 0, x1 >>> 0];
}

/** `count` words for one step; positions 2i and 2i + 1 are the two words of counter (i, step). */
export function bits(seed, name, step, count) {
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff) {
    throw new RangeError(`seed must be an integer from 0 to 2^32 - 1, got ${seed}`);
  }
  const key = [seed, hashName(name)];
  const out = new Uint32Array(count);
  for (let i = 0; 2 * i < count; i++) {
    const pair = threefry2x32(key, [i, step]);
    out[2 * i] = pair[0];
    if (2 * i + 1 < count) out[2 * i + 1] = pair[1];
  }
  return out;
}

/** Uniform draws in the open interval (0, 1): (word + 1/2) / 2^32. */
export function uniforms(seed, name, step, count) {
  return Float64Array.from(bits(seed, name, step, count), (word) => (word + 0.5) / 4294967296);
}

/** Integers in [0, high): floor(word * high / 2^32), exact for `high` up to 2^31 (the product is split at 16 bits). */
export function integers(seed, name, step, count, high) {
  return Float64Array.from(bits(seed, name, step, count), (word) =>
    Math.floor(((word >>> 16) * high + Math.floor(((word & 0xffff) * high) / 65536)) / 65536));
}

/** Standard normal draws by Box-Muller: positions 2i and 2i + 1 are r cos(phi) and r sin(phi). */
export function normals(seed, name, step, count) {
  const u = uniforms(seed, name, step, count + (count % 2));
  const out = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const radius = Math.sqrt(-2 * Math.log(u[i - (i % 2)]));
    const angle = 2 * Math.PI * u[i - (i % 2) + 1];
    out[i] = radius * (i % 2 ? Math.sin(angle) : Math.cos(angle));
  }
  return out;
}
