// The client of the Worker's API: all calls, and their error type.

/** The timeout of a response, in milliseconds. */
const TIMEOUT_MS = 30_000;

/**
 * @typedef {{ owner: string, subject: string, name: string | null, email: string | null,
 *   limits: { max_upload_bytes: number, max_single_upload_bytes?: number, types: string[] } }} Me
 * @typedef {"thumbnail.jpg" | "thumbnail.webp" | "animated.gif" | "animated.webp" | "animated.mp4"} Picture
 * @typedef {{ id: string, state: "uploading" | "processing" | "ready" | "rejected" | "failed", name: string,
 *   bytes: number, content_type: string, created_at: string, width: number | null, height: number | null,
 *   visibility?: "public" | "signed", duration_ms: number | null, has_audio: boolean | null, thumbhash: string | null, dominant_color: string | null,
 *   problem: null | { code: string, title: string, message: string }, urls: Record<Picture, string> }} Video
 * @typedef {{ key: string, uploadId: string }} Multipart a multipart upload, as S3 identifies it
 */

/** A failed call: `code` for the page, `message` for the user, `status` 0 without a response. */
export class Problem extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The problem of an unsuccessful response. */
export function problemOf(status, text) {
  const body = parse(text) ?? {};
  const message = body.message ?? body.detail ?? body.error ?? body.title;
  if (typeof message === "string" && message !== "") return new Problem(status, body.code ?? "unknown", message);
  if (status === 429) return new Problem(status, "busy", "Too many requests at once. Try again in a moment.");
  return new Problem(status, "unknown", `Glimpse answered with an error (${status}). Try again in a moment.`);
}

/** Parses JSON; undefined if it is invalid. */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The problem of a call without a response. */
export const unreachable = () => new Problem(0, "unreachable", "Glimpse cannot be reached. Check your connection and try again.");

async function call(method, path, { body, signal } = {}) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const headers = { accept: "application/json", ...(body === undefined ? {} : { "content-type": "application/json" }) };
  let response;
  let text;
  try {
    response = await fetch(path, {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers,
      cache: "no-store",
      signal: signal && AbortSignal.any ? AbortSignal.any([signal, limit]) : (signal ?? limit),
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw error instanceof Problem ? error : unreachable();
  }
  if (!response.ok) throw problemOf(response.status, text);
  const answer = text === "" ? null : parse(text);
  if (answer === undefined) throw new Problem(response.status, "unknown", "Glimpse sent an invalid response. Try again.");
  return answer;
}

/** The signed-in user; null if there is none. @returns {Promise<Me | null>} */
export async function me() {
  try {
    return await call("GET", "/api/me");
  } catch (error) {
    if (error.status === 401) return null;
    throw error;
  }
}

/** Ends the session. */
export const signOut = () => call("POST", "/auth/logout");

/** One page of videos, newest first. @returns {Promise<{ videos: Video[], cursor: string | null }>} */
export function videos(limit, cursor) {
  const query = new URLSearchParams({ limit: String(limit) });
  if (cursor) query.set("cursor", cursor);
  return call("GET", `/api/videos?${query}`);
}

/** The current state of one video. @returns {Promise<Video>} */
export const video = (id, signal) => call("GET", `/api/videos/${encodeURIComponent(id)}`, { signal });

/** Makes the frame at a time the poster; resolves once its images exist. @returns {Promise<Video>} */
export const setPoster = (id, seconds) => call("PUT", `/api/videos/${encodeURIComponent(id)}/poster`, { body: { time: Math.round(seconds * 1000) / 1000 } });

/** Links to a private video's images that are valid for this many seconds. @returns {Promise<Record<Picture, string>>} */
export async function links(id, seconds) {
  const { tokens } = await call("POST", `/api/videos/${encodeURIComponent(id)}/tokens`, {
    body: { types: ["thumbnail", "animated"], expires_in: seconds },
  });
  const files = tokens.flatMap(({ urls }) => Object.entries(urls));
  return Object.fromEntries(files.map(([file, { short }]) => [file, short]));
}

/** Deletes a video, its source and its outputs. A video that is already deleted is not an error. */
export const remove = (id) => gone(call("DELETE", `/api/videos/${encodeURIComponent(id)}`));

/** The user's unfinished multipart uploads. @returns {Promise<{ uploads: (Multipart & { initiated_at: string, bytes_uploaded: number })[] }>} */
export const unfinished = () => call("GET", "/api/uploads");

const multipart = ({ key, uploadId }) => `/s3/multipart/${encodeURIComponent(uploadId)}?${new URLSearchParams({ key })}`;

/** The parts that S3 has. @returns {Promise<{ PartNumber: number, Size: number }[]>} */
export const parts = (upload) => call("GET", multipart(upload));

/** Aborts a multipart upload; S3 deletes its parts. */
export const discard = (upload) => gone(call("DELETE", multipart(upload)));

async function gone(deleting) {
  try {
    await deleting;
  } catch (error) {
    if (![404, 410].includes(error.status)) throw error;
  }
}
