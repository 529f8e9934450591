// Decides before any upload whether a file may go: its type and its size by the limits that the Worker names.

import { bytes, list } from "./format.js";

/** What browsers do not know, or name otherwise than the Worker, by the end of the file's name. */
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

/** What people call the types, the usual ones first. */
const NAMES = new Map([
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
/** How many of them are named before the rest is "others". */
const NAMED = 4;

/** The types in words: `MP4, MOV, WebM, MKV and 10 other kinds`. */
export function kinds(types) {
  const names = [...NAMES].filter(([type]) => types.includes(type)).map(([, name]) => name);
  if (names.length === 0) return types.join(", ");
  if (names.length <= NAMED + 1) return list(names);
  return list([...names.slice(0, NAMED), `${names.length - NAMED} other kinds`]);
}

/** The limits in words, to be read before a file is chosen. */
export const limitsInWords = ({ types, max_upload_bytes }) => `${kinds(types)}, up to ${bytes(max_upload_bytes)} each`;

/** The type that a file's name stands for; undefined if its ending is not known. */
function typeOfName(name) {
  const extension = /\.([a-z0-9]+)\s*$/i.exec(name)?.[1].toLowerCase() ?? "";
  return Object.hasOwn(BY_EXTENSION, extension) ? BY_EXTENSION[extension] : undefined;
}

/** The type to declare for a file; undefined if none of the allowed ones fits. */
export function typeOf(file, types) {
  if (types.includes(file.type)) return file.type;
  const guess = typeOfName(file.name);
  return types.includes(guess) ? guess : undefined;
}

/** Kinds of video that have a name here. */
const KNOWN = new Set(Object.values(BY_EXTENSION));

/** Types under which a file may be a video all the same: what it is, the Worker and the backend find out. */
const UNTOLD = new Set(["", "application/octet-stream"]);

/** Two sizes in words that are not the same words. */
function apart(a, b) {
  const words = [bytes(a), bytes(b)];
  return words[0] === words[1] ? [a, b].map((count) => `${count.toLocaleString("en")} bytes`) : words;
}

/** Why a file may not be uploaded, as `{ code, title, message }`; null if it may. */
export function refusal(file, limits) {
  const guess = typeOfName(file.name);
  if (typeOf(file, limits.types)) {
    // It is a kind that is taken.
  } else if (KNOWN.has(file.type) || guess) {
    const message = `Only ${kinds(limits.types)} can be uploaded here, and this is ${KNOWN.has(file.type) ? file.type : guess}.`;
    return { code: "type_not_allowed", title: "Not this kind", message };
  } else if (!file.type.startsWith("video/") && !UNTOLD.has(file.type)) {
    return { code: "type_not_allowed", title: "Not a video", message: `Only videos can be uploaded, and this is ${file.type}.` };
  }
  if (file.size === 0) return { code: "empty", title: "Empty file", message: "There is nothing in this file." };
  if (file.size > limits.max_upload_bytes) {
    const [has, most] = apart(file.size, limits.max_upload_bytes);
    const message = `This file has ${has}. At most ${most} can be uploaded.`;
    return { code: "too_large", title: "Too large", message };
  }
  return null;
}

/** What a file chooser should offer. */
export function choosable(types) {
  const extensions = Object.keys(BY_EXTENSION).filter((extension) => types.includes(BY_EXTENSION[extension]));
  return [...types, ...extensions.map((extension) => `.${extension}`)].join(",");
}
