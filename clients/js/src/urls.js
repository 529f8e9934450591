// URLs of a video's images in canonical form.

import { FORMATS, canonicalParameters, isFixed, isTable } from "./variant.js";

/**
 * @typedef {import("./variant.js").Kind} Kind
 * @typedef {string | { id: string }} VideoRef a video or its id
 * @typedef {string | { origin: string }} Deployment the URL of the deployment, or a client
 */

/**
 * @typedef {object} ThumbnailParameters
 * @property {"jpg" | "png" | "webp" | "avif"} [format] default: jpg
 * @property {number} [time] seconds; default: the poster's
 * @property {number} [width] pixels, 8 to 3840; default: 640
 * @property {number} [height] pixels, 8 to 3840
 * @property {"preserve" | "stretch" | "crop" | "smartcrop" | "pad"} [fit_mode] how the frame is fitted to width and height
 * @property {90 | 180 | 270} [rotate] degrees clockwise
 * @property {boolean} [flip_v] whether it is flipped vertically
 * @property {boolean} [flip_h] whether it is flipped horizontally
 * @property {number} [blur] the radius in pixels, 1 to 100
 * @property {number} [quality] 1 to 100, not for PNG
 * @property {boolean} [play] whether a play button and the length of the video are drawn
 * @property {number} [dpr] factor for width and height, such as `devicePixelRatio`; limited to 1 to 3
 * @property {string} [v] the revision, from a URL of the API: then the image may be cached for a year
 */

/**
 * @typedef {object} AnimationParameters
 * @property {"webp" | "gif" | "mp4"} [format] default: webp
 * @property {number} [start] seconds; default: snippets of the whole video
 * @property {number} [end] seconds, 0.25 to 10 after the start
 * @property {number} [width] pixels, 8 to 640; default: 320
 * @property {number} [height] pixels, 8 to 640
 * @property {number} [fps] the maximum frame rate, 1 to 30; default: 15
 * @property {number} [max_bytes] the maximum size
 * @property {string} [v] the revision
 */

/**
 * @typedef {object} StoryboardParameters
 * @property {"vtt" | "json" | "m3u8" | "jpg" | "webp"} [format] a table, or the sheet; default: vtt
 * @property {"jpg" | "webp"} [sheet] the format of the sheet that a table references
 * @property {number} [asset_start_time] seconds
 * @property {number} [asset_end_time] seconds
 * @property {number} [tiles] the number of tiles, 2 to 400
 * @property {number} [interval] seconds between tiles, instead of `tiles`
 * @property {number} [width] the width of a tile in pixels, 8 to 320
 * @property {string} [v] the revision
 */

/**
 * @typedef {object} ClipParameters
 * @property {number} [start] seconds; default: 0
 * @property {number} [end] seconds, 0.25 to 60 after the start; default: 10 after it
 * @property {boolean} [audio] whether it has the video's sound; default: true
 */

/** @param {Deployment} deployment */
const originOf = (deployment) => (typeof deployment === "string" ? new URL(deployment, globalThis.location?.href).origin : deployment.origin);
/** @param {VideoRef} video */
const idOf = (video) => encodeURIComponent(typeof video === "string" ? video : video.id);

/**
 * The canonical path and query of an image, without its revision, and the revision.
 * @param {VideoRef} video @param {Kind} kind @param {Record<string, any>} parameters
 * @returns {[path: string, revision: string | undefined]}
 */
export function imagePath(video, kind, { format = FORMATS[kind][0], sheet, v, ...parameters }) {
  if (!FORMATS[kind].some((known) => known === format)) throw new RangeError(`parameter \`format\`: must be one of ${FORMATS[kind].join(", ")}`);
  const pairs = canonicalParameters(kind, format, parameters);
  const revision = v === undefined || isFixed(kind, pairs) ? undefined : v;
  if (sheet !== undefined) {
    if (!isTable(format) || !["jpg", "webp"].includes(sheet)) throw new RangeError("parameter `sheet`: must be jpg or webp, and is for vtt, json and m3u8");
    if (sheet === "webp") pairs.push(["format", sheet]);
  }
  const query = pairs.map((pair) => pair.join("=")).join("&");
  return [`/${idOf(video)}/${kind}.${format}${query && "?"}${query}`, revision];
}

/** @param {Kind} kind @returns {(deployment: Deployment, video: VideoRef, parameters?: Record<string, any>) => string} */
const urlOf = (kind) => (deployment, video, parameters = {}) => {
  const [path, revision] = imagePath(video, kind, parameters);
  const separator = path.includes("?") ? "&" : "?";
  return originOf(deployment) + path + (revision ? `${separator}v=${revision}` : "");
};

/**
 * The URL of the poster, or of another frame.
 * @type {(deployment: Deployment, video: VideoRef, parameters?: ThumbnailParameters) => string}
 * @throws {RangeError} for a parameter that is unknown, out of range or in conflict with another one, as the functions below
 */
export const thumbnailUrl = urlOf("thumbnail");
/** The URL of an animation. @type {(deployment: Deployment, video: VideoRef, parameters?: AnimationParameters) => string} */
export const animatedUrl = urlOf("animated");
/** The URL of a storyboard's table or sheet. @type {(deployment: Deployment, video: VideoRef, parameters?: StoryboardParameters) => string} */
export const storyboardUrl = urlOf("storyboard");
/** The URL of a part of the video, with sound. @type {(deployment: Deployment, video: VideoRef, parameters?: ClipParameters) => string} */
export const clipUrl = urlOf("clip");
/** The URL of the uploaded file. @param {Deployment} deployment @param {VideoRef} video */
export const originalUrl = (deployment, video) => `${originOf(deployment)}/${idOf(video)}/original`;
/** The URL of the video's page. @param {Deployment} deployment @param {VideoRef} video */
export const pageUrl = (deployment, video) => `${originOf(deployment)}/${idOf(video)}`;
