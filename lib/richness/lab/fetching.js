// What a page fetches: with a limit to its patience, and with words that name the file where it does not come.

const PATIENCE = 20_000; // ms without a byte until a server is taken to be gone

/** The bytes at an address. `arrived(count)` hears of each piece. Rejects with the file's name and what was wrong. */
export async function fetchBytes(address, { arrived = () => {}, patience = PATIENCE } = {}) {
  const stop = new AbortController();
  let timer = 0;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => stop.abort(new Error(`nothing came for ${patience / 1000} s`)), patience);
  };
  wait();
  try {
    const answer = await fetch(address, { signal: stop.signal });
    if (!answer.ok) throw new Error(`the server answered ${answer.status} ${answer.statusText}`.trim());
    const pieces = [], reader = answer.body.getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      pieces.push(piece.value);
      arrived(piece.value.length);
      wait();
    }
    return new Uint8Array(await new Blob(pieces).arrayBuffer());
  } catch (error) {
    throw new Error(`${nameOf(address)} cannot be fetched: ${error.message}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** What stands as JSON at an address; rejects as `fetchBytes` does, or because it is none. */
export async function fetchJson(address, options) {
  const text = new TextDecoder().decode(await fetchBytes(address, options));
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${nameOf(address)} holds no JSON but “${text.slice(0, 40)}”`);
  }
}

/** Why a module could not be imported: what the server says of its file, in words. A browser tells a page less than that. */
export async function explainImport(address, error) {
  const answer = await fetch(address, { method: "HEAD", signal: AbortSignal.timeout(PATIENCE) }).catch(() => null);
  if (!answer) return `${nameOf(address)} cannot be fetched (${error.message})`;
  if (!answer.ok) return `${nameOf(address)}: the server answered ${answer.status} ${answer.statusText}`.trim();
  const type = answer.headers.get("content-type") || "no type";
  if (/\b(java|ecma)script\b/.test(type)) return error.message;
  return `${nameOf(address)} is sent as ${type}, and browsers run a module as text/javascript only: the server has to name that type`;
}

const nameOf = (address) => String(address).replace(/[?#].*/, "").split("/").pop();
