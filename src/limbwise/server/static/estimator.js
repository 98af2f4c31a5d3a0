// An image to the people in it, as estimator.py does it with a detector and a second stage:
//
//   image -> letterbox -> first stage -> boxes -> crops -> second stage -> poses -> record
//
// `about` is about.json, which `limbwise page` wrote: the skeleton and what both networks are.

import { findBoxes } from "./boxes.js";
import { letterbox } from "./geometry.js";
import { withoutImpossible } from "./proportions.js";
import { crops, posesInBoxes } from "./refine.js";

const MIDPOINTS = { neck: ["left_shoulder", "right_shoulder"], mid_hip: ["left_hip", "right_hip"] };

export class Estimator {
  // run(stage, bytes, dims): the output of that stage's network, a tensor { data, dims }.
  constructor(about, run) {
    Object.assign(this, { about, run });
  }

  // image { data, width, height } RGBA to the object that the server would answer with.
  async find(image) {
    const { skeleton, min_score: minScore, stages: { first, second } } = this.about;
    const { input, width, height, view } = letterbox(image, first.height, first.multiple);
    const cells = await this.run("first", input, [1, height, width, 3]);
    const boxes = findBoxes(cells.data, view, image);
    let poses = [];
    if (boxes.length) {
      const { input: pictures, views } = crops(image, boxes, second.crop);
      const heatmaps = await this.run("second", pictures, [boxes.length, ...second.crop, 3]);
      poses = posesInBoxes(image, boxes, views, heatmaps.data, heatmaps.dims, second);
    }
    const people = poses.filter((pose) => pose.score >= minScore).map((pose) => {
      const points = ordered(pose.points, second.keypoints, skeleton.keypoints);
      return person(withoutImpossible(points, skeleton), pose.score, skeleton.keypoints);
    });
    return { source: "picture", frame: 0, time: 0, width: image.width, height: image.height, people };
  }
}

// The same points in the order of other names; a neck is made where there are shoulders.
function ordered(points, names, targets) {
  const named = (name) => points[names.indexOf(name)] ?? null;
  return targets.map((name) => {
    const [one, other] = (MIDPOINTS[name] ?? []).map(named);
    const middle = one && other ? [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2, Math.min(one[2], other[2])] : null;
    return named(name) ?? middle;
  });
}

function person(points, score, names) {
  const round = (value, digits) => Number(value.toFixed(digits));
  const written = points.map((at) => at && [round(at[0], 2), round(at[1], 2), round(at[2], 4)]);
  const x = written.filter(Boolean).map((at) => at[0]), y = written.filter(Boolean).map((at) => at[1]);
  const box = x.length ? [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)] : null;
  const keypoints = Object.fromEntries(names.map((name, k) => [name, written[k]]));
  return { id: null, score: round(score, 4), box, keypoints };
}
