// Decides before any upload whether a file may go: its type and its size by the limits that the Worker names.

import { bytes } from "./format.js";

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
  m4v: "video/x-m4v",
  mkv: "video/x-matroska",
  mov: "video/quicktime",
  mp4: "video/mp4",
  mpeg: "video/mpeg",
  mpg: "video/mpeg",
  mts: "video/mp2t",
  mxf: "application/mxf",
  ogv: "video/ogg",
  ts: "video/mp2t",
  webm: "video/webm",
  wmv: "video/x-ms-wmv",
};

/** The type to declare for a file; undefined if none of the allowed ones fits. */
export function typeOf(file, types) {
  if (types.includes(file.type)) return file.type;
  const extension = /\.([a-z0-9]+)$/i.exec(file.name)?.[1].toLowerCase() ?? "";
  const guess = Object.hasOwn(BY_EXTENSION, extension) ? BY_EXTENSION[extension] : undefined;
  return types.includes(guess) ? guess : undefined;
}

/** Why a file may not be uploaded, as `{ code, title, message }`; null if it may. */
export function refusal(file, limits) {
  if (!typeOf(file, limits.types)) {
    const kind = file.type || "a file without a known type";
    return { code: "type_not_allowed", title: "Not a video", message: `Only videos can be uploaded, and this is ${kind}.` };
  }
  if (file.size === 0) return { code: "empty", title: "Empty file", message: "There is nothing in this file." };
  if (file.size > limits.max_upload_bytes) {
    const message = `This file has ${bytes(file.size)}. At most ${bytes(limits.max_upload_bytes)} can be uploaded.`;
    return { code: "too_large", title: "Too large", message };
  }
  return null;
}

/** What a file chooser should offer. */
export function choosable(types) {
  const extensions = Object.keys(BY_EXTENSION).filter((extension) => types.includes(BY_EXTENSION[extension]));
  return [...types, ...extensions.map((extension) => `.${extension}`)].join(",");
}
