// Takes the server's place where there is none: what the page asks is answered in this browser, by
// workers that run the networks (worker.js).

// An error whose message is shown to the user as it is.
export class Refusal extends Error {}

const WORKERS = Math.min(navigator.hardwareConcurrency || 1, 2);
const workers = [];
const waiting = new Map();   // number of a picture -> who waits for its answer
let asked = 0;
let loaded;
const first = new Promise((done) => { loaded = done; });   // the first worker's networks

// The smallest module that uses a vector: no network runs where this is not understood.
const VECTOR = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];

function check() {
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(new Uint8Array(VECTOR)))
    throw new Refusal("This browser has no WebAssembly SIMD, which the networks need. Take a newer one.");
  if (typeof OffscreenCanvas !== "function" || typeof DecompressionStream !== "function")
    throw new Refusal("This browser is too old for the networks. Take a newer one.");
}

export async function ask(path, options = {}) {
  check();
  if (path === "v1/about") return about();
  if (path === "v1/poses") {
    const bitmap = await createImageBitmap(options.body).catch(() => {
      throw new Refusal("This is not a picture that can be read. Try a JPEG or PNG.");
    });
    const answer = await find(bitmap);
    answer.bitmap.close();
    return answer.result;
  }
  throw new Refusal(`This page has no server to ask for ${path}.`);
}

async function about() {
  const answer = await fetch("about.json").catch(() => null);
  if (!answer?.ok) throw new Refusal("A part of this page is missing: about.json.");
  start();  // the networks load while a person chooses
  return answer.json();
}

function start() {
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  workers.push({ worker, busy: 0 });
  worker.onmessage = ({ data }) => {
    if (data.id === "ready") return loaded();
    const waits = waiting.get(data.id);
    waiting.delete(data.id);
    workers.find((one) => one.worker === worker).busy -= waits ? 1 : 0;
    if (data.error) waits?.fail(new Refusal(`The networks did not run here: ${data.error.split("\n")[0].slice(0, 200)}`));
    else waits?.done(data);
  };
  worker.onerror = () => {
    for (const { fail } of waiting.values()) fail(new Refusal("The networks could not be started in this browser."));
    waiting.clear();
  };
}

// { bitmap, result, ms } for an ImageBitmap, which is given away meanwhile.
export function find(bitmap) {
  if (!workers.length) start();
  const id = asked++, idlest = workers.reduce((one, other) => (other.busy < one.busy ? other : one));
  idlest.busy += 1;
  idlest.worker.postMessage({ id, bitmap }, [bitmap]);
  return new Promise((done, fail) => waiting.set(id, { done, fail }));
}

// How many pictures may be under way: a stream takes all cores, and one more picture waits, so that
// no worker does while the next is taken from the camera. Further workers begin when the first has
// loaded, so that the first answer comes soon.
export function prepare() {
  check();
  first.then(() => { while (workers.length < WORKERS) start(); });
  return WORKERS + 1;
}

if ("serviceWorker" in navigator) navigator.serviceWorker.register("offline.js").catch(() => {});
