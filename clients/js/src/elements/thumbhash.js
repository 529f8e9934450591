// Decodes a thumbhash: about 25 bytes of cosine coefficients become a small blurred image. The format:
// https://evanw.github.io/thumbhash/. Pure: pixels out, no DOM.

/** The longer side of the image, in pixels. */
const MAX_SIDE = 32;

/** The pixels of a thumbhash in base64, as opaque RGBA; undefined if the text is invalid. */
export function decode(text) {
  let hash;
  try {
    hash = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  } catch {
    return undefined;
  }
  if (hash.length < 6) return undefined;
  const bits = (from, count) => {
    let value = 0;
    for (let i = from + count - 1; i >= from; i -= 1) value = value * 2 + ((hash[i >> 3] >> (i & 7)) & 1);
    return value;
  };
  const alpha = bits(23, 1) === 1;
  const long = alpha ? 5 : 7;
  const short = bits(24, 3);
  const landscape = bits(39, 1) === 1;
  const [wide, high] = landscape ? [long, short] : [short, long];
  const ratio = wide > 0 && high > 0 ? wide / high : 1;

  // Each channel: its mean, then the terms of a triangle of frequencies, four bits each, one channel after another.
  let next = alpha ? 48 : 40;
  const channel = (mean, columns, rows, scale) => {
    const terms = [[0, 0, mean]];
    for (let v = 0; v < rows; v += 1) {
      for (let u = v === 0 ? 1 : 0; u * rows < columns * (rows - v); u += 1) {
        terms.push([u, v, 2 * scale * (bits(next, 4) / 7.5 - 1)]);
        next += 4;
      }
    }
    return terms;
  };
  const light = channel(bits(0, 6) / 63, Math.max(3, wide), Math.max(3, high), bits(18, 5) / 31);
  const yellow = channel(bits(6, 6) / 31.5 - 1, 3, 3, (1.25 * bits(27, 6)) / 63);
  const red = channel(bits(12, 6) / 31.5 - 1, 3, 3, (1.25 * bits(33, 6)) / 63);

  const width = Math.round(ratio > 1 ? MAX_SIDE : MAX_SIDE * ratio);
  const height = Math.round(ratio > 1 ? MAX_SIDE / ratio : MAX_SIDE);
  const data = new Uint8ClampedArray(width * height * 4);
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 4) {
      const wave = (size, place, frequency) => Math.cos((Math.PI / size) * (place + 0.5) * frequency);
      const sum = (terms) => terms.reduce((s, [u, v, t]) => s + t * wave(width, x, u) * wave(height, y, v), 0);
      const [l, p, q] = [sum(light), sum(yellow), sum(red)];
      const blue = l - (2 / 3) * p;
      const crimson = (3 * l - blue + q) / 2;
      data.set([255 * crimson, 255 * (crimson - q), 255 * blue, 255], at);
    }
  }
  return { width, height, data };
}
