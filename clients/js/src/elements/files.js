// Checks the type and size of a file before its upload, by the Worker's limits. Its texts are English by default.

import { bytes, list } from "./format.js";

/**
 * The types, common ones first: each with the file name extensions that browsers do not know, or name differently than
 * the Worker. The first extension is the name of the type, if it has capital letters.
 */
const TYPES = "video/mp4=MP4 video/quicktime=MOV,qt video/webm=WebM video/x-matroska=MKV video/x-msvideo=AVI video/x-m4v=M4V video/mpeg=MPEG,mpg,m2v,vob video/mp2t=MTS,m2ts,ts video/x-ms-wmv=WMV video/x-flv=FLV video/3gpp=3GP video/ogg=Ogg,ogv application/mxf=MXF image/gif=GIF video/3gpp2=3g2 video/x-ms-asf=asf video/divx=divx"
  .split(" ")
  .map((entry) => entry.split(/[=,]/));
/** The number of named types before the rest becomes "others". */
const MAX_NAMES = 4;

/** The texts of this module. Sizes and types arrive as formatted texts. */
export const FILE_MESSAGES = {
  limits: (types, size, many) => `${types}, up to ${size}${many ? " each" : ""}`,
  otherTypes: (count) => `${count} other kinds`,
  type: (types, type) => `Only ${types} can be uploaded here, and this is ${type}.`,
  empty: "This file is empty.",
  large: (most) => `This file is larger than ${most}.`,
};

/** @typedef {{ messages?: typeof FILE_MESSAGES, locale?: string }} Texts `locale` is a language tag */

/** The types as text: `MP4, MOV, WebM, MKV and 10 other kinds`. @param {Texts} [texts] */
export function typeNames(types, { messages = FILE_MESSAGES, locale } = {}) {
  const names = TYPES.filter(([type, name]) => types.includes(type) && /[A-Z]/.test(name)).map(([, name]) => name);
  const others = names.length > MAX_NAMES + 1 ? names.splice(MAX_NAMES).length : 0;
  return names.length > 0 ? list(others ? [...names, messages.otherTypes(others)] : names, locale) : types.join(", ");
}

/** The limits as text, shown before a file is chosen. @param {Texts & { many?: boolean }} [texts] */
export function describeLimits({ types, max_upload_bytes }, { many = true, ...texts } = {}) {
  const { messages = FILE_MESSAGES, locale } = texts;
  return messages.limits(typeNames(types, texts), bytes(max_upload_bytes, locale), many);
}

/** The type by the file name extension; undefined if the extension is unknown. */
function typeFromName(name) {
  const extension = /\.([a-z0-9]+)\s*$/i.exec(name)?.[1].toLowerCase();
  return TYPES.find(([, ...names]) => names.some((one) => one.toLowerCase() === extension))?.[0];
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

/**
 * The reason why a file cannot be uploaded, as `{ code, message }`; undefined if it can.
 * @param {File} file @param {{ types: string[], max_upload_bytes: number }} limits @param {Texts} [texts]
 */
export function validateFile(file, { types, max_upload_bytes }, texts = {}) {
  const { messages = FILE_MESSAGES, locale } = texts;
  const { size, type } = file;
  const known = TYPES.some(([one]) => one === type) ? type : typeFromName(file.name);
  // The Worker and the backend detect the type of a video that has no known one.
  const isOther = known || !/^(video\/.*|application\/octet-stream)?$/.test(type);
  if (isOther && !typeOf(file, types)) return { code: "type_not_allowed", message: messages.type(typeNames(types, texts), known || type) };
  if (size === 0) return { code: "empty", message: messages.empty };
  if (size > max_upload_bytes) return { code: "too_large", message: messages.large(bytes(max_upload_bytes, locale)) };
}

/** The types for the file chooser. */
export function acceptAttribute(types) {
  const extensions = TYPES.filter(([type]) => types.includes(type)).flatMap(([, ...names]) => names.map((name) => `.${name.toLowerCase()}`));
  return [...types, ...extensions].join();
}
