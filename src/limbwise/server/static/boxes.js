// Boxes of people, from the detector's output for every cell, as boxes.py finds them. A box is
// [left, top, right, bottom, score]. Edges lie between pixels: the picture's own are at -0.5 and its
// size less 0.5.

import { back } from "./geometry.js";

export const MIN_BOX = 0.3;      // score of a box that the second stage reads
export const MAX_IOU = 0.6;      // of boxes that overlap more the surest stays
export const MAX_PEOPLE = 30;    // who are estimated
const CANDIDATES = 400;

// The detector's output, five numbers a cell, to boxes in the image's pixels, best first.
export function findBoxes(cells, view, image) {
  const sure = [];
  for (let at = 0; at < cells.length; at += 5) {
    const box = cells.subarray(at, at + 5);
    if (box[4] >= MIN_BOX && box.every(Number.isFinite) && box[0] < box[2] && box[1] < box[3]) sure.push(box);
  }
  sure.sort((one, other) => other[4] - one[4]);
  const kept = [];
  for (const box of sure.slice(0, CANDIDATES)) {
    if (kept.length === MAX_PEOPLE) break;
    if (kept.every((better) => iou(better, box) <= MAX_IOU)) kept.push(box);
  }
  return kept.map((box) => inImage(box, view, image)).filter((box) => box[0] < box[2] && box[1] < box[3]);
}

function inImage(box, view, { width, height }) {
  const x = (value) => Math.min(Math.max(value, -0.5), width - 0.5);
  const y = (value) => Math.min(Math.max(value, -0.5), height - 0.5);
  const [left, top] = back(view, box[0], box[1]), [right, bottom] = back(view, box[2], box[3]);
  return [x(left), y(top), x(right), y(bottom), box[4]];
}

// Intersection over union.
function iou(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  const inner = Math.max(width, 0) * Math.max(height, 0);
  return inner / (area(one) + area(other) - inner);
}

const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
