// The canonical parameters of images: order, number format and defaults as in the service. Equal images have equal
// URLs, and therefore one cache entry and one signature.

/** @typedef {"thumbnail" | "animated" | "storyboard" | "clip"} Kind */

/** The formats of each kind, the default one first. */
export const FORMATS = /** @type {const} */ ({
  thumbnail: ["jpg", "png", "webp", "avif"],
  animated: ["webp", "gif", "mp4"],
  storyboard: ["vtt", "jpg", "webp", "json", "m3u8"],
  clip: ["mp4"],
});

/** The formats of a storyboard that reference its sheet. @param {string} format */
export const isTable = (format) => ["vtt", "json", "m3u8"].includes(format);

/** The longest video, in milliseconds. */
const MAX_MS = 86_400_000;
/** The default `quality` of each format. PNG has none. */
const QUALITY = /** @type {Record<string, number>} */ ({ jpg: 81, webp: 80, avif: 57 });

/**
 * Parses a value: a number (milliseconds for seconds, hundredths for `dpr`), a boolean or a word; undefined if it is
 * invalid. The text describes the values.
 * @typedef {[parse: (value: any) => any, expected: string]} ParameterType
 */

/** Multiplies by a power of ten and rounds, in decimal: 1.0005 has 1001 thousandths. @param {unknown} value @param {number} digits */
const scaled = (value, digits) => (Number(value) < 1e-6 ? 0 : Math.round(Number(`${Number(value)}e${digits}`)));
/** @param {unknown} value */
const isNumber = (value) => value !== "" && typeof value !== "boolean" && Number(value) >= 0;

/** @param {number} min @param {number} max @returns {ParameterType} */
const integer = (min, max) => [(value) => (isNumber(value) && Number.isInteger(+value) && value >= min && value <= max ? +value : undefined), `a whole number from ${min} to ${max}`];
/** @param {number} maxMs @returns {ParameterType} */
const seconds = (maxMs) => [(value) => (isNumber(value) && scaled(value, 3) <= maxMs ? scaled(value, 3) : undefined), `seconds from 0 to ${maxMs / 1000}`];
/** @param {unknown[]} all @returns {ParameterType} */
const oneOf = (...all) => [(value) => all.find((one) => String(one) === String(value)), `one of ${all.join(", ")}`];
const bool = oneOf(true, false);
const side = integer(8, 3840);
const animatedSide = integer(8, 640);

/** The parameters of each kind, in canonical order. @type {Record<Kind, Record<string, ParameterType>>} */
const PARAMETERS = {
  thumbnail: {
    time: seconds(MAX_MS),
    width: side,
    height: side,
    fit_mode: oneOf("preserve", "stretch", "crop", "smartcrop", "pad"),
    rotate: oneOf(90, 180, 270),
    flip_v: bool,
    flip_h: bool,
    blur: integer(1, 100),
    quality: integer(1, 100),
    play: bool,
    // A screen may have any ratio: it is limited to those that the service supports.
    dpr: [(value) => (isNumber(value) ? Math.min(300, Math.max(100, scaled(value, 2))) : undefined), "a number"],
  },
  animated: {
    start: seconds(MAX_MS),
    end: seconds(MAX_MS + 10_000),
    width: animatedSide,
    height: animatedSide,
    fps: integer(1, 30),
    max_bytes: integer(10_000, 16_777_216),
  },
  storyboard: {
    asset_start_time: seconds(MAX_MS),
    asset_end_time: seconds(MAX_MS),
    tiles: integer(2, 400),
    interval: seconds(MAX_MS),
    width: integer(8, 320),
  },
  clip: { start: seconds(MAX_MS), end: seconds(MAX_MS + 60_000), audio: bool },
};

/** The parameters whose numbers are milliseconds. */
const TIMES = ["time", "start", "end", "asset_start_time", "asset_end_time", "interval"];

/** @param {string} name @param {string} expected */
const wrong = (name, expected) => new RangeError(`parameter \`${name}\`: must be ${expected}`);

/**
 * The canonical parameters of an image, with their texts, in canonical order.
 * @param {Kind} kind @param {string | undefined} format undefined: a text that is valid for every format
 * @param {Record<string, unknown>} parameters
 * @returns {[name: string, text: string][]}
 * @throws {RangeError} for a parameter that is unknown, out of range or in conflict with another one
 */
export function canonicalParameters(kind, format, parameters) {
  const types = PARAMETERS[kind];
  /** @type {Record<string, any>} */
  const values = {};
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined || value === null) continue;
    if (!Object.hasOwn(types, name)) throw wrong(name, `absent: ${kind} has ${Object.keys(types).join(", ")}`);
    const [parse, expected] = types[name];
    values[name] = parse(value);
    if (values[name] === undefined) throw wrong(name, expected);
  }
  ({ thumbnail, animated, storyboard, clip })[kind](values, format);
  return Object.keys(types)
    .filter((name) => values[name] !== undefined)
    .map((name) => [name, String(TIMES.includes(name) ? values[name] / 1000 : values[name])]);
}

/** @param {Record<string, any>} values @param {string | undefined} format */
function thumbnail(values, format) {
  const { dpr } = values;
  values.dpr = undefined;
  if (dpr !== undefined) {
    if (values.width === undefined && values.height === undefined) values.width = 640;
    for (const name of ["width", "height"]) {
      if (values[name] === undefined) continue;
      values[name] = Math.floor((values[name] * dpr + 50) / 100);
      if (values[name] > 3840) throw wrong("dpr", "small enough for sides of at most 3840 pixels");
    }
  }
  if (format === "png" && values.quality !== undefined) throw wrong("quality", "absent: PNG is lossless");
  if (format && values.quality === QUALITY[format]) values.quality = undefined;
  // Without both sides the aspect ratio is never changed, so every mode equals `preserve`.
  const isBox = values.width !== undefined && values.height !== undefined;
  if (!isBox || values.fit_mode === "preserve") values.fit_mode = undefined;
  if (values.fit_mode === undefined) shortenBox(values, 640, 3840);
  orient(values);
  if (!values.play) values.play = undefined;
}

/** The shortest width and height that request the same box. @param {Record<string, any>} values @param {number} defaultWidth @param {number} max */
function shortenBox(values, defaultWidth, max) {
  const heightOf = (/** @type {number} */ width) => Math.min(width * 2, max);
  const width = values.width ?? (values.height === undefined ? defaultWidth : max);
  const height = values.height ?? heightOf(width);
  const isFromWidth = height === heightOf(width);
  values.width = width === (isFromWidth ? defaultWidth : max) ? undefined : width;
  values.height = isFromWidth ? undefined : height;
}

/** The shortest rotation and flips with the same result: a vertical flip is a half turn and a horizontal flip. @param {Record<string, any>} values */
function orient(values) {
  const isMirrored = Boolean(values.flip_v) !== Boolean(values.flip_h);
  let degrees = ((values.rotate ?? 0) + (values.flip_v ? 180 : 0)) % 360;
  const isFlippedV = isMirrored && degrees >= 180;
  if (isFlippedV) degrees -= 180;
  values.rotate = degrees || undefined;
  values.flip_v = isFlippedV || undefined;
  values.flip_h = (isMirrored && !isFlippedV) || undefined;
}

/** @param {Record<string, any>} values */
function animated(values) {
  if (values.start !== undefined || values.end !== undefined) span(values, 5_000, 10_000);
  shortenBox(values, 320, 640);
  if (values.fps === 15) values.fps = undefined;
}

/** @param {Record<string, any>} values */
function clip(values) {
  span(values, 10_000, 60_000);
  if (values.audio) values.audio = undefined;
}

/** Completes start and end, and checks their distance, in milliseconds. @param {Record<string, any>} values @param {number} length @param {number} max */
function span(values, length, max) {
  values.start ??= 0;
  values.end ??= values.start + length;
  const actual = values.end - values.start;
  if (actual < 250 || actual > max) throw wrong("end", `0.25 to ${max / 1000} seconds after \`start\`, which defaults to 0`);
}

/** @param {Record<string, any>} values */
function storyboard(values) {
  if (values.asset_start_time === 0) values.asset_start_time = undefined;
  if (values.asset_end_time <= (values.asset_start_time ?? 0)) throw wrong("asset_end_time", "after `asset_start_time`, which defaults to 0");
  if (values.interval !== undefined && values.tiles !== undefined) throw wrong("interval", "absent beside `tiles`");
  if (values.interval < 100) throw wrong("interval", "at least 0.1 seconds");
}

/** Whether the image has a fixed time, so that a later choice of the poster does not change it. @param {string} kind @param {[string, string][]} parameters */
export const isFixed = (kind, parameters) => kind === "clip" || (kind !== "storyboard" && parameters.some(([name]) => name === "time" || name === "start"));
