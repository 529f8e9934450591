// Decides what an upload that did not get through means to a person: a sentence, and what can be done about it.

import { Problem } from "./api.js";

/** Speed is measured over this much of the recent past, in milliseconds. */
const SPEED_WINDOW_MS = 4000;

const EXPIRED = "The permission to upload has expired. Try again to get a new one.";
const DAMAGED = "The file was damaged on the way, or it was changed meanwhile. Try again.";
const BUSY = "Storage is busy. Try again in a moment.";
const TROUBLE = "Storage had trouble of its own. Try again in a moment.";
const GONE = "What was sent of it is not kept any more. Try again to send all of it.";

/** What a storage error code means to a person, and whether the same file may be tried again. */
const STORAGE = {
  EntityTooLarge: ["Storage refused the file because it is too large.", false],
  EntityTooSmall: ["Storage refused the file because it is smaller than announced.", false],
  ExpiredToken: [EXPIRED, true],
  RequestTimeTooSkewed: ["The clock of the storage or of the sign-in service is wrong. Try again later.", true],
  SignatureDoesNotMatch: ["Storage did not accept the permission to upload. Try again to get a new one.", true],
  BadDigest: [DAMAGED, true],
  IncompleteBody: ["The upload broke off before its end. Try again.", true],
  RequestTimeout: ["The upload stood still for too long. Try again.", true],
  SlowDown: [BUSY, true],
  ServiceUnavailable: [BUSY, true],
  InternalError: [TROUBLE, true],
  NoSuchUpload: [GONE, true],
  PreconditionFailed: ["Storage has this file already. Try again to send it once more.", true],
  NoSuchBucket: ["The storage of this site is not set up yet.", false],
};

/** Answers of the Worker that stay the same however often one asks: too large, not a kind that is taken. */
const FINAL = new Set([413, 415, 422]);

/**
 * @typedef {{ message: string, again: boolean, gone?: boolean, arrived?: string, unreadable?: boolean, offline?: boolean,
 *   signedOut?: boolean }} Trouble `again`: trying again makes sense; `gone`: what was sent in parts is not there any
 *   more; `arrived`: the key under which storage has the file already; `unreadable`: the file itself; `offline`: it may go on by itself once the connection is back
 */

/** This machine has no connection at all. @type {Trouble} */
export const OFFLINE = { message: "You are offline. The upload goes on as soon as you are back.", again: true, offline: true };

/**
 * The key of an upload that storage refuses because it has the file: each is signed for a key of its own, so that it is
 * this one, whose answer was lost.
 */
function arrivedAt(address) {
  return URL.canParse(address) ? new URL(address).pathname.replace(/^\/+|\/+$/g, "") : "";
}

/** @returns {Trouble} */
function ofStorage(status, xml, address) {
  const code = /<Code>(\w+)<\/Code>/.exec(xml)?.[1] ?? `HTTP ${status}`;
  if (/(Request has|Policy) expired/i.test(xml)) return { message: EXPIRED, again: true };
  const [message, again] = STORAGE[code] ?? [
    status >= 500 ? TROUBLE : `Storage did not take the file (${code}). Try again to get a new permission.`,
    true,
  ];
  const arrived = status === 412 ? arrivedAt(address) || undefined : undefined;
  return { message, again, gone: code === "NoSuchUpload", arrived };
}

/** @returns {Promise<Trouble>} */
async function ofConnection(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    return { message: "The file was moved, changed or cannot be read. Choose it again.", again: false, unreadable: true };
  }
  if (!navigator.onLine) return OFFLINE;
  return { message: "The connection was lost. Your file is still here: try again.", again: true, offline: true };
}

/**
 * What an error of Uppy's means: one of the Worker, of storage, of the line, of the file, or of this page.
 * @returns {Promise<Trouble>}
 */
export async function explain(error, file) {
  if (error instanceof Problem) {
    const { message, status } = error;
    if (status === 0) return ofConnection(file);
    return { message, again: !FINAL.has(status), gone: [404, 409, 410].includes(status), signedOut: status === 401 };
  }
  if (error.isNetworkError) {
    const { status = 0, responseText = "", responseURL = "" } = error.request ?? {};
    return status === 0 ? ofConnection(file) : ofStorage(status, responseText, responseURL);
  }
  if (/ETag/.test(error.message)) {
    return { message: "The storage of this site does not show ETags to browsers yet: its CORS rules must.", again: true };
  }
  console.error(error);
  return { message: "Something went wrong in this page. Try again.", again: true };
}

/** Turns bytes sent so far into speed (bytes a second, 0 until known) over the last few seconds. */
export function speedometer() {
  const marks = [];
  return (sent, now) => {
    marks.push([sent, now]);
    while (marks.length > 2 && now - marks[0][1] > SPEED_WINDOW_MS) marks.shift();
    const [firstSent, firstTime] = marks[0];
    return now - firstTime < 250 ? 0 : (sent - firstSent) / ((now - firstTime) / 1000);
  };
}
