// The second stage, as crops.py and refine.py have it: a crop round each box, and where the network
// sees the keypoints in it, to poses in the image, each person once. A pose is { points, score, area }.

import { back, crop } from "./geometry.js";
import { peak } from "./peaks.js";

export const BOX_MARGIN = 1.25;   // times a person's box is a crop
export const MIN_SCALE = 0.05;        // pixels of the picture per pixel of a crop, at least
export const MIN_CONFIDENCE = 0.1;         // confidence of a keypoint that is found
export const SURE = 0.2;          // confidence of a keypoint that counts in a person's score
export const OUTSIDE = 0.35;      // of the box's longer side: how far beyond it a keypoint may lie
export const BOX_AREA = 0.53;     // of a person's box, what OKS takes the area to be
export const NMS_OKS = 0.75;         // OKS of two poses that are one person

// Where each crop is, and the network's input: (boxes, height, width, 3).
export function crops(image, boxes, [height, width]) {
  const views = boxes.map((box) => boxView(box, width, height));
  const input = new Uint8Array(3 * width * height * boxes.length);
  views.forEach((view, n) => crop(image, view, width, height, input, 3 * width * height * n));
  return { input, views };
}

function boxView([left, top, right, bottom], width, height) {
  const extent = Math.max((right - left) / width, (bottom - top) / height, MIN_SCALE / BOX_MARGIN);
  const scale = 1 / (BOX_MARGIN * extent);
  const x = (width - 1) / 2 - scale * (left + right) / 2, y = (height - 1) / 2 - scale * (top + bottom) / 2;
  return { sx: scale, sy: scale, x, y };
}

// heatmaps: the network's output, `dims` are (boxes, keypoints, rows, columns).
export function posesInBoxes(image, boxes, views, heatmaps, dims, stage) {
  const [, keypoints, rows, columns] = dims, plane = rows * columns;
  return distinct(boxes.map((box, n) => {
    const peaks = Array.from({ length: keypoints }, (_, k) => {
      const from = (n * keypoints + k) * plane;
      const { x, y, height } = peak(heatmaps.subarray(from, from + plane), rows, columns);
      const confidence = Math.min(Math.max(height, 0), 1);
      return [...back(views[n], x * stage.stride + stage.offset, y * stage.stride + stage.offset), confidence];
    });
    return poseOf(peaks, box, image);
  }), stage.sigmas);
}

function poseOf(peaks, box, image) {
  const sure = peaks.map((point) => point[2]).filter((confidence) => confidence > SURE);
  const mean = sure.reduce((sum, one) => sum + one, 0) / sure.length;
  const reach = OUTSIDE * Math.max(box[2] - box[0], box[3] - box[1]);
  const inside = ([x, y]) => x >= Math.max(box[0] - reach, -0.5) && x <= Math.min(box[2] + reach, image.width - 0.5)
    && y >= Math.max(box[1] - reach, -0.5) && y <= Math.min(box[3] + reach, image.height - 0.5);
  return {
    points: peaks.map((point) => (point[2] >= MIN_CONFIDENCE && inside(point) ? point : null)),
    score: sure.length ? mean ** 2 * box[4] : 0,
    area: BOX_AREA * (box[2] - box[0]) * (box[3] - box[1]),
  };
}

// Best first, without those who are like somebody better.
function distinct(poses, sigmas) {
  const kept = [];
  for (const pose of [...poses].sort((one, other) => other.score - one.score)) {
    if (pose.points.some(Boolean) && kept.every((better) => oks(pose, better, sigmas) <= NMS_OKS)) kept.push(pose);
  }
  return kept;
}

// Object keypoint similarity over the keypoints that both have: cocodataset.org/#keypoints-eval.
function oks(pose, other, sigmas) {
  let total = 0, both = 0;
  pose.points.forEach((point, k) => {
    const its = other.points[k];
    if (!point || !its) return;
    const square = (point[0] - its[0]) ** 2 + (point[1] - its[1]) ** 2;
    total += Math.exp(-square / (2 * (2 * sigmas[k]) ** 2 * Math.max(pose.area, 1e-6)));
    both += 1;
  });
  return total / Math.max(both, 1);
}
