// People onto a canvas, as limbwise draws them: all that is a matter of taste or of anatomy comes
// from the server (`style` and the names of the keypoints in /v1/about).

const layer = document.createElement("canvas");

// The people who score enough, and of whom something is sure enough to be shown.
export function visible(people, minConfidence, minScore) {
  return people.filter((person) => person.score >= minScore
    && Object.values(person.keypoints).some((at) => at && at[2] >= minConfidence));
}

// people: of a result whose pictures are `result.width` wide; the canvas may have another size.
export function drawPeople(context, about, result, { minConfidence, minScore, ids, mirror }) {
  const { width, height } = context.canvas;
  const scale = width / result.width;
  const place = ([x, y]) => [mirror ? width - (x + 0.5) * scale : (x + 0.5) * scale, (y + 0.5) * scale];
  const shown = visible(result.people, minConfidence, minScore).map((person) => {
    const points = about.skeleton.keypoints.map((name) => person.keypoints[name]);
    return figure(points.map((at) => (at && at[2] >= minConfidence ? place(at) : null)), person.id);
  });
  shown.sort((one, other) => one.size - other.size);  // larger people are nearer as a rule
  for (const one of shown) drawFigure(context, about.style, one);
  if (ids) for (const one of shown) drawLabel(context, about.style, one);
}

function figure(points, id) {
  const found = points.filter(Boolean);
  const [x, y] = [0, 1].map((axis) => found.map((at) => at[axis]));
  const box = [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)];
  return { points, id, box, size: Math.hypot(box[2] - box[0], box[3] - box[1]) };
}

function drawFigure(context, style, { points, box, size }) {
  const { width, height } = context.canvas;
  const radius = Math.max(Math.min(style.of_person * size, style.of_picture * Math.sqrt(width * height)), 0.5);
  const margin = 3 * radius + 2;
  const left = Math.max(Math.floor(box[0] - margin), 0), top = Math.max(Math.floor(box[1] - margin), 0);
  const across = Math.min(Math.ceil(box[2] + margin), width) - left;
  const down = Math.min(Math.ceil(box[3] + margin), height) - top;
  if (across <= 0 || down <= 0) return;
  layer.width = across;
  layer.height = down;
  const inks = layer.getContext("2d");
  inks.translate(-left, -top);
  strokes(inks, style, points, radius, 0, style.limbs);
  context.globalAlpha = style.opacity;
  context.drawImage(layer, left, top);
  context.globalAlpha = 1;
  strokes(context, style, points, radius, style.limbs, style.strokes.length);
}

function strokes(context, style, points, radius, first, last) {
  for (let n = first; n < last; n++) {
    const [start, end] = style.strokes[n].map((k) => points[k]);
    if (!start || !end) continue;
    const half = radius * style.widths[n];
    capsule(context, start, end, half + style.rim * radius, style.dark);
    capsule(context, start, end, half, style.colours[n]);
  }
}

function capsule(context, [x, y], [x2, y2], radius, colour) {
  const turn = Math.atan2(y2 - y, x2 - x) + Math.PI / 2;
  context.beginPath();
  context.arc(x, y, radius, turn, turn + Math.PI);
  context.arc(x2, y2, radius, turn + Math.PI, turn);
  context.fillStyle = colour;
  context.fill();
}

// Above the head: what of a person is topmost.
function drawLabel(context, style, { id, points, box, size }) {
  if (id === null) return;
  const { width, height } = context.canvas;
  const tall = Math.min(Math.max(Math.min(width, height) / 28, 15), 60);
  context.font = `600 ${0.72 * tall}px system-ui, sans-serif`;
  const wide = Math.max(context.measureText(id).width + 0.8 * tall, tall);
  const head = points.filter((at) => at && at[1] < box[1] + 0.12 * size).map((at) => at[0]);
  const middle = head.reduce((sum, x) => sum + x, 0) / head.length;
  const left = Math.min(Math.max(middle - wide / 2, 0), width - wide);
  const top = Math.max(box[1] - 0.06 * size - 1.4 * tall, 0);
  context.beginPath();
  context.roundRect(left, top, wide, tall, tall / 2);
  context.fillStyle = style.ids[id % style.ids.length];
  context.fill();
  context.fillStyle = style.dark;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(id, left + wide / 2, top + 0.54 * tall);
}
