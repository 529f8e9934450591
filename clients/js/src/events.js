// The server-sent events of a video, <https://html.spec.whatwg.org/multipage/server-sent-events.html>, read with
// `fetch`, which can send a bearer token.

import { GlimpseError, parseJson, unreachable } from "./error.js";
import { sleep, timeLimit } from "./sleep.js";

/** The delay before the stream is opened again, which doubles with each failure, in milliseconds. */
const RECONNECT_MS = 1000;
/** After this many failed attempts in a row the error is thrown. */
const MAX_FAILURES = 5;
/** A stream without a byte for this long is given up, in milliseconds: the server sends a heartbeat every few seconds. */
const SILENT_MS = 30_000;

/** @typedef {import("../types/openapi.js").components["schemas"]["Video"]} Video */

/** Whether the outcome of a video is known. @param {{ state: string }} video */
export const isSettled = ({ state }) => state === "ready" || state === "rejected" || state === "failed";

/**
 * The video at each event, until its outcome is known. The server ends the stream every half minute; then it is opened
 * again, after the last event.
 * @param {import("./client.js").Api} client @param {string} path of the video @param {{ signal?: AbortSignal }} [options]
 * @returns {AsyncGenerator<Video, void>}
 */
export async function* events(client, path, { signal } = {}) {
  /** @type {string | undefined} */
  let lastId;
  for (let failures = 0; ; ) {
    const limit = timeLimit(SILENT_MS, signal);
    try {
      const headers = { accept: "text/event-stream", ...(lastId && { "last-event-id": lastId }) };
      /** @type {Response} */
      const response = await client.request("GET", `${path}/events`, { headers, signal: limit.signal, isStream: true });
      if (response.status === 204 || !response.body) return;
      for await (const { id, data } of parse(response.body, limit.restart)) {
        failures = 0;
        lastId = id;
        const video = parseJson(data);
        if (!video) throw unreachable();
        yield video;
        if (isSettled(video)) return;
      }
    } catch (cause) {
      signal?.throwIfAborted();
      failures += 1;
      const error = limit.signal.aborted ? unreachable(cause) : cause;
      if (!(error instanceof GlimpseError && error.isTransient) || failures > MAX_FAILURES) throw error;
      if (error.retryAfter) await sleep(error.retryAfter * 1000, signal);
    } finally {
      limit.stop();
    }
    await sleep(RECONNECT_MS * 2 ** failures, signal);
    signal?.throwIfAborted();
  }
}

/** The events of a stream that have data. @param {ReadableStream<Uint8Array>} body @param {() => void} onBytes @returns {AsyncGenerator<{ id: string, data: string }, void>} */
async function* parse(body, onBytes) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw unreachable(error);
      });
      if (done) return;
      onBytes();
      text += decoder.decode(value, { stream: true });
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: ?([^]*)/, 2)));
        if (fields.data) yield { id: fields.id, data: fields.data };
      }
    }
  } finally {
    void reader.cancel().catch(() => {});
  }
}
