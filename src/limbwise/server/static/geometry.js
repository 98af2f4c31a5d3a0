// Image to network input and back, as geometry.py does it. The centre of a pixel is a whole number,
// so scaling by s takes x to (x + 0.5) * s - 0.5.
//
// An image is { data, width, height }: RGBA, as a canvas gives it. A view { sx, sy, x, y } takes
// image pixels to input pixels: x' = sx * x + view.x. An input is the bytes of (height, width, 3) BGR.

const GREY = 128;    // where there is no picture
const MARGIN = 4;    // pixels of a crop round it that are read too

export const back = (view, x, y) => [(x - view.x) / view.sx, (y - view.y) / view.sy];

// The whole image with its longer side as long as `side`, padded right and below to whole multiples.
export function letterbox(image, side, multiple) {
  const scale = Math.min(side / image.height, side / image.width);
  const width = Math.max(rounded(image.width * scale), 1), height = Math.max(rounded(image.height * scale), 1);
  let small = image;
  while (small.height >= 2 * height && small.width >= 2 * width) small = halved(small);
  const across = samples(width, small.width), down = samples(height, small.height);
  const wide = Math.ceil(width / multiple) * multiple, tall = Math.ceil(height / multiple) * multiple;
  const input = new Uint8Array(3 * wide * tall).fill(GREY);
  for (let row = 0; row < height; row++) {
    const above = 4 * small.width * down.from[row], below = 4 * small.width * down.to[row], part = down.part[row];
    for (let column = 0, at = 3 * wide * row; column < width; column++) {
      const left = 4 * across.from[column], right = 4 * across.to[column], weight = across.part[column];
      for (let channel = 2; channel >= 0; channel--) {
        const top = mix(small.data[above + left + channel], small.data[above + right + channel], weight);
        const bottom = mix(small.data[below + left + channel], small.data[below + right + channel], weight);
        input[at++] = mix(top, bottom, part) + 0.5;
      }
    }
  }
  const sx = width / image.width, sy = height / image.height;
  return { input, width: wide, height: tall, view: { sx, sy, x: 0.5 * sx - 0.5, y: 0.5 * sy - 0.5 } };
}

// A half goes to the even number, as Python has it: every second odd side comes to one.
function rounded(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below & 1) : Math.round(value);
}

const mix = (one, other, weight) => one + (other - one) * weight;

// Of each of `count` pixels between which two of `size` pixels it lies, and where.
function samples(count, size) {
  const from = new Int32Array(count), to = new Int32Array(count), part = new Float64Array(count);
  for (let n = 0; n < count; n++) {
    const place = Math.min(Math.max((n + 0.5) * size / count - 0.5, 0), size - 1);
    from[n] = Math.floor(place);
    to[n] = Math.min(from[n] + 1, size - 1);
    part[n] = place - from[n];
  }
  return { from, to, part };
}

// What a view shows of an image, into `input` from place `at` on; grey where there is no picture.
export function crop(image, view, width, height, input, at) {
  let { part, x, y } = shown(image, view, width, height);
  let { sx, sy } = view;
  while (sx < 0.5 && Math.min(part.width, part.height) > 1) {
    part = halved(within(part, 0, 0, part.width & ~1, part.height & ~1));
    [sx, sy, x, y] = [2 * sx, 2 * sy, x + 0.5 * sx, y + 0.5 * sy];
  }
  const { data, width: columns, height: rows } = part;
  const pixel = (a, b, channel) => (a >= 0 && b >= 0 && a < columns && b < rows ? data[4 * (b * columns + a) + channel] : GREY);
  for (let row = 0; row < height; row++) {
    const place = (row - y) / sy, above = Math.floor(place), down = place - above;
    for (let column = 0; column < width; column++) {
      const spot = (column - x) / sx, left = Math.floor(spot), right = spot - left;
      for (let channel = 2; channel >= 0; channel--) {
        const top = mix(pixel(left, above, channel), pixel(left + 1, above, channel), right);
        const bottom = mix(pixel(left, above + 1, channel), pixel(left + 1, above + 1, channel), right);
        input[at++] = mix(top, bottom, down) + 0.5;
      }
    }
  }
}

// The part of an image that a view shows, and where the view's origin is for that part.
function shown(image, view, width, height) {
  const [x0, y0] = back(view, -MARGIN, -MARGIN), [x1, y1] = back(view, width + MARGIN, height + MARGIN);
  const between = (value, low, high) => Math.min(Math.max(value, low), high);
  const left = between(Math.floor(x0), 0, image.width - 1), top = between(Math.floor(y0), 0, image.height - 1);
  const right = between(Math.ceil(x1), left + 1, image.width), below = between(Math.ceil(y1), top + 1, image.height);
  const part = within(image, left, top, right - left, below - top);
  return { part, x: view.x + view.sx * left, y: view.y + view.sy * top };
}

function within(image, left, top, width, height) {
  if (width === image.width && height === image.height) return image;
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row++) {
    const from = 4 * ((top + row) * image.width + left);
    data.set(image.data.subarray(from, from + 4 * width), 4 * width * row);
  }
  return { data, width, height };
}

// Half as large: each pixel the mean of what it covers, two pixels by two or, of odd sides, a bit more.
function halved(image) {
  if (!(image.width & 1 || image.height & 1)) return halvedEven(image);
  const width = Math.max(image.width >> 1, 1), height = Math.max(image.height >> 1, 1);
  const across = coverage(width, image.width), down = coverage(height, image.height);
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at += 4) {
      let red = 0, green = 0, blue = 0;
      for (const [y, tall] of down[row]) {
        for (const [x, wide] of across[column]) {
          const from = 4 * (y * image.width + x), weight = tall * wide;
          red += weight * image.data[from];
          green += weight * image.data[from + 1];
          blue += weight * image.data[from + 2];
        }
      }
      data[at] = Math.floor(red + 0.5);  // a half goes up, as OpenCV has it
      data[at + 1] = Math.floor(green + 0.5);
      data[at + 2] = Math.floor(blue + 0.5);
    }
  }
  return { data, width, height };
}

// The same of even sides, which nearly all are: a tenth of the time.
function halvedEven({ data: from, width: columns, height: rows }) {
  const width = columns >> 1, height = rows >> 1, stride = 4 * columns;
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0, to = 0; row < height; row++) {
    for (let at = 2 * row * stride, end = at + stride; at < end; at += 8, to += 4) {
      for (let channel = 0; channel < 3; channel++) {
        const above = at + channel, below = above + stride;
        data[to + channel] = (from[above] + from[above + 4] + from[below] + from[below + 4] + 2) >> 2;
      }
    }
  }
  return { data, width, height };
}

// Of each of `count` pixels the [pixel, weight] of `size` pixels that it covers.
function coverage(count, size) {
  const step = size / count;
  return Array.from({ length: count }, (_, n) => {
    const covered = [];
    for (let at = Math.floor(n * step); at < Math.min((n + 1) * step - 1e-9, size); at++) {
      covered.push([at, (Math.min((n + 1) * step, at + 1) - Math.max(n * step, at)) / step]);
    }
    return covered;
  });
}
