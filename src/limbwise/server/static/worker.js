// Both networks in a thread of their own, so that the page never waits. Comes { id, bitmap }, goes
// { id, bitmap, result, ms } or { id, error }; the bitmap travels to and fro, nobody copies it.

import { env, InferenceSession, Tensor } from "./runtime/ort.js";
import { Estimator } from "./estimator.js";

const RUNTIME = "runtime/ort-wasm.wasm.gz";
const canvas = new OffscreenCanvas(1, 1);
const ready = load();
let last = Promise.resolve();   // one picture after another

async function load() {
  const about = await (await got("about.json")).json();
  const names = Object.keys(about.stages);
  const files = names.map((name) => got(about.stages[name].file).then((answer) => answer.arrayBuffer()));
  env.wasm.numThreads = 1;      // two workers take two cores, without what threads ask of a site
  env.wasm.wasmPaths = { mjs: new URL("runtime/ort-wasm.js", import.meta.url).href };
  env.wasm.wasmBinary = await unpacked(await (await got(RUNTIME)).arrayBuffer());
  const sessions = {};
  for (const [n, name] of names.entries()) {
    sessions[name] = await InferenceSession.create(await files[n], { executionProviders: ["wasm"] });
  }
  return new Estimator(about, async (name, bytes, dims) => {
    const session = sessions[name];
    const outputs = await session.run({ [session.inputNames[0]]: new Tensor("uint8", bytes, dims) });
    return outputs[about.stages[name].output];
  });
}

async function got(path) {
  const answer = await fetch(new URL(path, import.meta.url)).catch(() => null);
  if (!answer?.ok) throw new Error(`${path} of this page could not be read`);
  return answer;
}

// Some sites unpack what ends in .gz on their own.
async function unpacked(bytes) {
  const [one, two] = new Uint8Array(bytes, 0, 2);
  if (one !== 0x1f || two !== 0x8b) return bytes;
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function find(bitmap) {
  const estimator = await ready;
  const begin = performance.now();
  const { width, height } = bitmap;
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const result = await estimator.find(context.getImageData(0, 0, width, height));
  return { result, ms: performance.now() - begin };
}

onmessage = ({ data: { id, bitmap } }) => {
  last = last.then(async () => {
    try {
      const found = await find(bitmap);
      postMessage({ id, bitmap, ...found }, [bitmap]);
    } catch (error) {
      bitmap.close();
      postMessage({ id, error: String(error?.message ?? error) });
    }
  });
};
ready.then(() => postMessage({ id: "ready" }), (error) => postMessage({ id: "ready", error: String(error?.message ?? error) }));
