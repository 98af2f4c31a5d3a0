// The highest place of a heatmap, between its cells, as peaks.py finds it: from a parabola through
// the logarithms, since the logarithm of the Gaussian that the network learnt is one.

const FLOOR = 1e-6;                       // a heatmap's logarithm starts here
const USUAL_CURVATURE = (8 / 7) ** 2;     // of a Gaussian whose top cannot be measured

// heatmap: `rows` times `columns` numbers, to { x, y, height } in cells.
export function peak(heatmap, rows, columns) {
  let top = 0;
  for (let n = 1; n < heatmap.length; n++) if (heatmap[n] > heatmap[top]) top = n;
  const row = Math.floor(top / columns), column = top % columns;
  const along = (step, place, count) =>
    [-2, -1, 0, 1, 2].map((n) => (place + n >= 0 && place + n < count ? heatmap[top + n * step] : -Infinity));
  const [x, y] = offsets([along(1, column, columns), along(columns, row, rows)]);
  return { x: column + x, y: row + y, height: heatmap[top] };
}

// Of both axes: the five values along each to the place of the top beside the middle one. Where a
// neighbour is beyond the edge, or belongs to another peak since the map rises again behind it, the
// slope on the other side is taken, with the curvature of the other axis.
function offsets(axes) {
  const log = (value) => Math.log(Math.max(value, FLOOR));
  const curvatures = axes.map(([, before, here, after]) =>
    (Math.min(before, after) === -Infinity ? 0 : 2 * log(here) - log(before) - log(after)));
  const roundest = Math.max(...curvatures);
  const curvature = roundest > 0 ? roundest : USUAL_CURVATURE;
  return axes.map(([further, before, here, after, beyond], axis) => {
    let offset = (log(after) - log(before)) / (2 * Math.max(curvatures[axis], 1e-6));
    if (beyond >= after) offset = (log(here) - log(before)) / curvature - 0.5;
    if (further >= before) offset = (log(after) - log(here)) / curvature + 0.5;
    return Math.min(Math.max(offset, -0.5), 0.5);
  });
}
