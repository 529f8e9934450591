// Checks the type and size of a file before its upload, by the Worker's limits.

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

/** The types as text: `MP4, MOV, WebM, MKV and 10 other kinds`. */
export function typeNames(types) {
  const names = [...DISPLAY_NAMES].filter(([type]) => types.includes(type)).map(([, name]) => name);
  if (names.length === 0) return types.join(", ");
  if (names.length <= MAX_NAMES + 1) return list(names);
  return list([...names.slice(0, MAX_NAMES), `${names.length - MAX_NAMES} other kinds`]);
}

/** The limits as text, shown before a file is chosen. */
export const describeLimits = ({ types, max_upload_bytes }) => `${typeNames(types)}, up to ${bytes(max_upload_bytes)} each`;

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

/** Types with a display name. */
const KNOWN_TYPES = new Set(Object.values(BY_EXTENSION));

/** Declared types of files that may be videos anyway: the Worker and the backend detect the real type. */
const UNKNOWN_TYPES = new Set(["", "application/octet-stream"]);

/** Two sizes as texts that differ. */
function distinctSizes(a, b) {
  const words = [bytes(a), bytes(b)];
  return words[0] === words[1] ? [a, b].map((count) => `${count.toLocaleString("en")} bytes`) : words;
}

/** The reason why a file cannot be uploaded, as `{ code, title, message }`; null if it can. */
export function validateFile(file, limits) {
  const guess = typeFromName(file.name);
  if (typeOf(file, limits.types)) {
    // An allowed type.
  } else if (KNOWN_TYPES.has(file.type) || guess) {
    const message = `Only ${typeNames(limits.types)} can be uploaded here, and this is ${KNOWN_TYPES.has(file.type) ? file.type : guess}.`;
    return { code: "type_not_allowed", title: "Type not allowed", message };
  } else if (!file.type.startsWith("video/") && !UNKNOWN_TYPES.has(file.type)) {
    return { code: "type_not_allowed", title: "Not a video", message: `Only videos can be uploaded, and this is ${file.type}.` };
  }
  if (file.size === 0) return { code: "empty", title: "Empty file", message: "This file is empty." };
  if (file.size > limits.max_upload_bytes) {
    const [has, most] = distinctSizes(file.size, limits.max_upload_bytes);
    const message = `This file has ${has}. At most ${most} can be uploaded.`;
    return { code: "too_large", title: "Too large", message };
  }
  return null;
}

/** The types for the file chooser. */
export function acceptAttribute(types) {
  const extensions = Object.keys(BY_EXTENSION).filter((extension) => types.includes(BY_EXTENSION[extension]));
  return [...types, ...extensions.map((extension) => `.${extension}`)].join(",");
}
