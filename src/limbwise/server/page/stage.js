// The stage: a picture on the canvas with its people, and what is said of it.

import { drawPeople, visible } from "./draw.js";

const MAX_SIDE = 4096;  // of the canvas; phones have no larger ones

export const $ = (id) => document.getElementById(id);
export const canvas = $("canvas");
const context = canvas.getContext("2d");
let about = null;             // what the server says of itself
export let now = null;        // { image, result }: what is on the canvas

export function introduce(answer) {
  about = answer;
}

// From the welcome to the canvas.
export function reveal() {
  const does = $("welcome").contains(document.activeElement) && document.activeElement.dataset.does;
  $("stage").classList.remove("empty");
  $("welcome").hidden = true;
  canvas.hidden = false;
  document.querySelector(".again").hidden = false;
  if (does) document.querySelector(`.again [data-does=${does}]`).focus();  // where the button is now
  $("save-picture").disabled = $("save-json").disabled = false;
}

export function show(image, result) {
  if (now && now.image !== image) now.image.close();
  now = { image, result };
  const scale = Math.min(1, MAX_SIDE / Math.max(image.width, image.height));
  const width = Math.round(image.width * scale), height = Math.round(image.height * scale);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  draw();
}

export function draw() {
  if (!now) return;
  const mirror = $("mirror").checked;
  context.setTransform(mirror ? -1 : 1, 0, 0, 1, mirror ? canvas.width : 0, 0);
  context.drawImage(now.image, 0, 0, canvas.width, canvas.height);
  context.resetTransform();
  drawPeople(context, about, now.result, { minConfidence: minConfidence(), minScore: minScore(), ids: $("ids").checked, mirror });
  $("people").textContent = shown().length;
  canvas.setAttribute("aria-label", `${count()} with skeletons drawn over the picture`);
}

const minConfidence = () => $("confidence").value / 100;
const minScore = () => (Number($("score").value) > Number($("score").min) ? $("score").value / 100 : 0);
const shown = () => visible(now.result.people, minConfidence(), minScore());

export function count() {
  const number = shown().length;
  return number === 1 ? "One person" : number ? `${number} people` : "Nobody";
}

export function say(text) {
  $("status").textContent = text;
}

// For screen readers: in a stream only changes, and not all the time.
let spoken = 0;
export function announce() {
  const text = `${count()} in the picture.`;
  if (performance.now() - spoken < 2000 || $("status").textContent === text) return;
  spoken = performance.now();
  say(text);
}

export function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
  if (text) say("");
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
