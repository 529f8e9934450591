// Sends bytes to storage with a presigned request.

import { GlimpseError, readable, retryAfterOf } from "./error.js";
import { timeLimit } from "./sleep.js";

/**
 * Bodies up to this size are read before they are sent by `fetch`: in Node.js, a request whose file changes meanwhile
 * would never end. In bytes.
 */
const MAX_BUFFERED_BYTES = 32 * 1024 * 1024;
/** A request without progress for this long is given up, in milliseconds. */
const STALLED_MS = 60_000;
/** `fetch` reports no progress: a request that is slower than this is given up, in bytes per millisecond. */
const MIN_BYTES_PER_MS = 16;

const MESSAGES = /** @type {Record<string, string>} */ ({
  EntityTooLarge: "Storage rejected the file because it is too large.",
  BadDigest: "The file was damaged in transit, or it has changed. Try again.",
  NoSuchUpload: "The unfinished upload has expired or was aborted. Upload the whole file.",
});

/**
 * @typedef {{ method: string, url: string, headers?: Record<string, string> }} PresignedRequest
 * @typedef {{ fetch?: typeof globalThis.fetch, signal: AbortSignal, onProgress: (sent: number) => void }} SendOptions
 * @typedef {{ status: number, text: string, headers: Headers }} Answer
 */

/**
 * Sends a body. Resolves with its ETag, null if the script may not read it.
 * @param {PresignedRequest} request @param {Blob} body @param {SendOptions} options
 * @returns {Promise<string | null>}
 * @throws {GlimpseError} with `isTransient` if another attempt may succeed
 */
export async function send(request, body, options) {
  /** @type {Answer} */
  let answer;
  const isXhr = typeof XMLHttpRequest === "function" && !options.fetch;
  const limit = timeLimit(STALLED_MS + (isXhr ? 0 : body.size / MIN_BYTES_PER_MS), options.signal);
  try {
    answer = await (isXhr ? sendByXhr : sendByFetch)(request, body, { ...options, ...limit });
  } catch (cause) {
    if (options.signal.aborted) throw cause;
    await readable(body.slice(0, 1).arrayBuffer());
    throw new GlimpseError(0, "unreachable", "The connection to storage was lost. Try again.", { cause });
  } finally {
    limit.stop();
  }
  const { status, text, headers } = answer;
  if (status >= 200 && status < 300) return headers.get("etag");
  const storageCode = /<Code>(\w+)<\/Code>/.exec(text)?.[1];
  const message = MESSAGES[storageCode ?? ""] ?? `Storage answered with an error (${storageCode ?? status}). Try again in a moment.`;
  throw new GlimpseError(status, "storage", message, { storageCode, retryAfter: retryAfterOf(headers) });
}

/** @param {PresignedRequest} request @param {Blob} body @param {SendOptions} options @returns {Promise<Answer>} */
async function sendByFetch({ method, url, headers }, body, { fetch = globalThis.fetch, signal, onProgress }) {
  const content = body.size > MAX_BUFFERED_BYTES ? body : await body.arrayBuffer();
  const response = await fetch(url, { method, headers, body: content, signal });
  const text = await response.text();
  onProgress(body.size);
  return { status: response.status, text, headers: response.headers };
}

/** Only `XMLHttpRequest` reports the progress of an upload. @param {PresignedRequest} request @param {Blob} body @param {SendOptions & { restart: () => void }} options @returns {Promise<Answer>} */
function sendByXhr({ method, url, headers = {} }, body, { signal, onProgress, restart }) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    const abort = () => xhr.abort();
    xhr.open(method, url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.upload.onprogress = ({ loaded }) => {
      restart();
      onProgress(Math.min(loaded, body.size));
    };
    xhr.onloadend = () => {
      if (xhr.status === 0) return reject(signal.reason ?? new TypeError("The request failed."));
      const lines = xhr.getAllResponseHeaders().trim().split("\r\n").filter(Boolean);
      resolve({ status: xhr.status, text: xhr.responseText, headers: new Headers(lines.map((line) => /** @type {[string, string]} */ (line.split(/: ?(.*)/, 2)))) });
    };
    signal.addEventListener("abort", abort);
    xhr.send(body);
    if (signal.aborted) abort();
  });
}
