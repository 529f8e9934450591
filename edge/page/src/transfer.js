// Decides how the bytes of one file get to storage by a signed PUT, and says in plain words what went wrong.

/** Files up to this size are hashed first, so that storage refuses what was damaged on the way; in bytes. */
const HASHED_BYTES = 16 * 1024 * 1024;
/** Headers that the browser sets by itself and lets nobody else set. */
const BROWSERS_OWN = new Set(["content-length", "host", "origin"]);
/** Speed is measured over this much of the recent past, in milliseconds. */
const SPEED_WINDOW_MS = 4000;

/** What a storage error code means to a person, and whether the same file may be tried again. */
const STORAGE = {
  EntityTooLarge: ["Storage refused the file because it is too large.", false],
  EntityTooSmall: ["Storage refused the file because it is smaller than announced.", false],
  ExpiredToken: ["The permission to upload has expired. Try again to get a new one.", true],
  RequestTimeTooSkewed: ["The clock of the storage or of the sign-in service is wrong. Try again later.", true],
  SignatureDoesNotMatch: ["Storage did not accept the permission to upload. Try again to get a new one.", true],
  BadDigest: ["The file was damaged on the way, or it was changed meanwhile. Try again.", true],
  XAmzContentSHA256Mismatch: ["The file was damaged on the way, or it was changed meanwhile. Try again.", true],
  XAmzContentChecksumMismatch: ["The file was damaged on the way, or it was changed meanwhile. Try again.", true],
  IncompleteBody: ["The upload broke off before its end. Try again.", true],
  RequestTimeout: ["The upload stood still for too long. Try again.", true],
  SlowDown: ["Storage is busy. Try again in a moment.", true],
  ServiceUnavailable: ["Storage is busy. Try again in a moment.", true],
  InternalError: ["Storage had trouble of its own. Try again in a moment.", true],
  NoSuchBucket: ["The storage of this site is not set up yet.", false],
};

/** An upload that did not arrive: `code`, a sentence, and whether trying again makes sense. */
export class TransferError extends Error {
  constructor(code, message, again, stale = false) {
    super(message);
    this.code = code;
    this.again = again;
    /** Whether the permission is used up, so that the next try needs a new one. */
    this.stale = stale;
  }
}

function storageError(status, xml) {
  const code = /<Code>(\w+)<\/Code>/.exec(xml)?.[1] ?? `HTTP ${status}`;
  if (/Request has expired/i.test(xml)) return new TransferError("ExpiredToken", STORAGE.ExpiredToken[0], true, true);
  const [message, again] = STORAGE[code] ?? [
    status >= 500 ? STORAGE.InternalError[0] : `Storage did not take the file (${code}). Try again to get a new permission.`,
    true,
  ];
  return new TransferError(code, message, again, status < 500);
}

async function lostConnection(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    return new TransferError("unreadable", "The file was moved, changed or cannot be read. Choose it again.", false);
  }
  const offline = navigator.onLine === false;
  return new TransferError(
    "network",
    offline
      ? "You are offline. The upload starts again as soon as you are back."
      : "The connection was lost. Your file is still here: try again.",
    true,
  );
}

/** SHA-256 of a small file in base64; undefined for a large one, or where the browser has no cryptography. */
export async function checksum(file) {
  if (file.size > HASHED_BYTES || !globalThis.crypto?.subtle) return undefined;
  try {
    const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    return btoa(String.fromCharCode(...new Uint8Array(digest)));
  } catch {
    throw new TransferError("unreadable", "The file cannot be read. Choose it again.", false);
  }
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

/**
 * Sends the file. `onProgress(sent)` is called with bytes; `signal` cancels.
 * @param {File} file @param {import("./api.js").Upload} upload
 * @throws {TransferError} with a sentence for the person; an AbortError when cancelled
 */
export function send(file, upload, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const cancel = () => request.abort();
    const settle = (finish, value) => {
      signal.removeEventListener("abort", cancel);
      finish(value);
    };
    request.open(upload.method, upload.url);
    for (const [name, value] of Object.entries(upload.headers)) {
      if (!BROWSERS_OWN.has(name.toLowerCase())) request.setRequestHeader(name, value);
    }
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
    request.addEventListener("load", () => {
      // The key is written once only: 412 means that an earlier try of ours did arrive, its answer did not.
      if ((request.status >= 200 && request.status < 300) || request.status === 412) settle(resolve);
      else settle(reject, storageError(request.status, request.responseText));
    });
    request.addEventListener("error", () => void lostConnection(file).then((error) => settle(reject, error)));
    request.addEventListener("abort", () => settle(reject, new DOMException("cancelled", "AbortError")));
    signal.addEventListener("abort", cancel);
    if (signal.aborted) settle(reject, new DOMException("cancelled", "AbortError"));
    else request.send(file);
  });
}
