// Which keypoints cannot belong to one body, as in proportions.py: the less sure end of a limb
// that is several times as long as the body's other limbs imply. A pose's points are [x, y,
// confidence], or null where nothing was found.

// Lengths of limbs in parts of the body's height.
export const LENGTHS = {
  "shoulder elbow": 0.19, "elbow wrist": 0.15, "hip knee": 0.25, "knee ankle": 0.25, "nose eye": 0.04,
  "eye ear": 0.06, "neck nose": 0.12, "neck shoulder": 0.13, "neck hip": 0.31,
};
export const MAX_RATIO = 3;      // times as long as the others a limb may be
const SURE = 0.2;           // confidence of both ends of a limb that counts for how large the body is

export function withoutImpossible(points, skeleton) {
  const sizes = [];
  for (const [start, end, length] of limbs(skeleton)) {
    const one = points[start], other = points[end];
    if (!one || !other) continue;
    const size = Math.hypot(one[0] - other[0], one[1] - other[1]) / length;
    sizes.push({ size, sure: Math.min(one[2], other[2]) > SURE, weaker: one[2] < other[2] ? start : end });
  }
  const sure = sizes.filter((limb) => limb.sure).map((limb) => limb.size).sort((a, b) => a - b);
  if (sure.length < 4) return points;
  const longest = MAX_RATIO * thirdQuartile(sure);
  const lost = new Set(sizes.filter((limb) => limb.size > longest).map((limb) => limb.weaker));
  return points.map((point, n) => (lost.has(n) ? null : point));
}

function limbs({ keypoints, limbs: names }) {
  const part = (name) => name.replace(/^(left|right)_/, "");
  return names
    .map(([a, b]) => [a, b, LENGTHS[`${part(a)} ${part(b)}`] ?? LENGTHS[`${part(b)} ${part(a)}`]])
    .filter(([, , length]) => length)
    .map(([a, b, length]) => [keypoints.indexOf(a), keypoints.indexOf(b), length]);
}

function thirdQuartile(sorted) {
  const place = 0.75 * (sorted.length - 1), below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}
