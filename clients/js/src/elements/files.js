// Checks the type and size of a file before its upload, by the Worker's limits. Its texts are English by default.

import { bytes, list } from "./format.js";

/** Types by file name extension that browsers do not know, or name differently than the Worker. */
const BY_EXTENSION = {
  "3g2": "video/3gpp2",
  "3gp": "video/3gpp",
  asf: "video/x-ms-asf",
  avi: "video/x-msvideo",
  divx: "video/divx",
  flv: "video/x-flv",
  gif: "image/gif",
  m2ts: "video/mp2t",
  m2v: "video/mpeg",
  m4v: "video/x-m4v",
  mkv: "video/x-matroska",
  mov: "video/quicktime",
  mp4: "video/mp4",
  mpeg: "video/mpeg",
  mpg: "video/mpeg",
  mts: "video/mp2t",
  mxf: "application/mxf",
  ogg: "video/ogg",
  ogv: "video/ogg",
  qt: "video/quicktime",
  ts: "video/mp2t",
  vob: "video/mpeg",
  webm: "video/webm",
  wmv: "video/x-ms-wmv",
};

/** Display names of the types, common ones first. */
const DISPLAY_NAMES = new Map([
  ["video/mp4", "MP4"],
  ["video/quicktime", "MOV"],
  ["video/webm", "WebM"],
  ["video/x-matroska", "MKV"],
  ["video/x-msvideo", "AVI"],
  ["video/x-m4v", "M4V"],
  ["video/mpeg", "MPEG"],
  ["video/mp2t", "MTS"],
  ["video/x-ms-wmv", "WMV"],
  ["video/x-flv", "FLV"],
  ["video/3gpp", "3GP"],
  ["video/ogg", "Ogg"],
  ["application/mxf", "MXF"],
  ["image/gif", "GIF"],
]);
/** The number of named types before the rest becomes "others". */
const MAX_NAMES = 4;

/** The texts of this module. Sizes and types arrive as formatted texts. */
export const FILE_MESSAGES = {
  limits: (types, size, many) => `${types}, up to ${size}${many ? " each" : ""}`,
  otherTypes: (count) => `${count} other kinds`,
  typeTitle: "Type not allowed",
  type: (types, type) => `Only ${types} can be uploaded here, and this is ${type}.`,
  notVideoTitle: "Not a video",
  notVideo: (type) => `Only videos can be uploaded, and this is ${type}.`,
  emptyTitle: "Empty file",
  empty: "This file is empty.",
  largeTitle: "Too large",
  large: (size, most) => `This file has ${size}. At most ${most} can be uploaded.`,
};

/** @typedef {{ messages?: typeof FILE_MESSAGES, locale?: string }} Texts `locale` is a language tag */

/** The types as text: `MP4, MOV, WebM, MKV and 10 other kinds`. @param {Texts} [texts] */
export function typeNames(types, { messages = FILE_MESSAGES, locale } = {}) {
  const names = [...DISPLAY_NAMES].filter(([type]) => types.includes(type)).map(([, name]) => name);
  if (names.length === 0) return types.join(", ");
  if (names.length <= MAX_NAMES + 1) return list(names, locale);
  return list([...names.slice(0, MAX_NAMES), messages.otherTypes(names.length - MAX_NAMES)], locale);
}

/** The limits as text, shown before a file is chosen. @param {Texts & { many?: boolean }} [texts] */
export function describeLimits({ types, max_upload_bytes }, { many = true, ...texts } = {}) {
  const { messages = FILE_MESSAGES, locale } = texts;
  return messages.limits(typeNames(types, texts), bytes(max_upload_bytes, locale), many);
}

/** The type by the file name extension; undefined if the extension is unknown. */
function typeFromName(name) {
  const extension = /\.([a-z0-9]+)\s*$/i.exec(name)?.[1].toLowerCase() ?? "";
  return Object.hasOwn(BY_EXTENSION, extension) ? BY_EXTENSION[extension] : undefined;
}

/** The type to declare for a file; undefined if no allowed one fits. */
export function typeOf(file, types) {
  if (types.includes(file.type)) return file.type;
  const guess = typeFromName(file.name);
  return types.includes(guess) ? guess : undefined;
}

/** Those of the types that an `accept` attribute allows, as of an input: types, `video/*` and extensions; all without one. */
export function acceptedTypes(types, accept) {
  const tokens = (accept ?? "").split(",").map((token) => token.trim().toLowerCase()).filter(Boolean);
  const fits = (type, token) => (token.startsWith(".") ? typeFromName(`x${token}`) === type : token === type || (token.endsWith("/*") && type.startsWith(token.slice(0, -1))));
  return tokens.length > 0 ? types.filter((type) => tokens.some((token) => fits(type, token))) : types;
}

/** Types with a display name. */
const KNOWN_TYPES = new Set(Object.values(BY_EXTENSION));

/** Declared types of files that may be videos anyway: the Worker and the backend detect the real type. */
const UNKNOWN_TYPES = new Set(["", "application/octet-stream"]);

/** Two sizes as texts that differ. */
function distinctSizes(a, b, locale) {
  const texts = [bytes(a, locale), bytes(b, locale)];
  return texts[0] === texts[1] ? [a, b].map((count) => `${count.toLocaleString(locale ?? "en")} bytes`) : texts;
}

/**
 * The reason why a file cannot be uploaded, as `{ code, title, message }`; null if it can.
 * @param {File} file @param {{ types: string[], max_upload_bytes: number }} limits @param {Texts} [texts]
 */
export function validateFile(file, limits, texts = {}) {
  const { messages = FILE_MESSAGES, locale } = texts;
  const guess = typeFromName(file.name);
  if (typeOf(file, limits.types)) {
    // An allowed type.
  } else if (KNOWN_TYPES.has(file.type) || guess) {
    const message = messages.type(typeNames(limits.types, texts), KNOWN_TYPES.has(file.type) ? file.type : guess);
    return { code: "type_not_allowed", title: messages.typeTitle, message };
  } else if (!file.type.startsWith("video/") && !UNKNOWN_TYPES.has(file.type)) {
    return { code: "type_not_allowed", title: messages.notVideoTitle, message: messages.notVideo(file.type) };
  }
  if (file.size === 0) return { code: "empty", title: messages.emptyTitle, message: messages.empty };
  if (file.size > limits.max_upload_bytes) {
    const message = messages.large(...distinctSizes(file.size, limits.max_upload_bytes, locale));
    return { code: "too_large", title: messages.largeTitle, message };
  }
  return null;
}

/** The types for the file chooser. */
export function acceptAttribute(types) {
  const extensions = Object.keys(BY_EXTENSION).filter((extension) => types.includes(BY_EXTENSION[extension]));
  return [...types, ...extensions.map((extension) => `.${extension}`)].join(",");
}
