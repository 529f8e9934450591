// The upload of one file: in one request or in parts, with retries, pause, and resumption by fingerprint.

import { GlimpseError, readable } from "./error.js";
import { needsParts, partBytes, partSize } from "./parts.js";
import { defaultStore, fingerprint, lockUpload, sha256Of } from "./resume.js";
import { sleep } from "./sleep.js";
import { send } from "./storage.js";

/** The delays before the attempts of a request after the first one, in milliseconds. */
const RETRY_DELAYS_MS = [500, 1000, 2000, 4000, 8000, 15_000, 30_000, 30_000];
/** How many parts are signed with one call, at most. */
const SIGNED_PARTS = 10;
/** A signature is renewed this long before it expires, in milliseconds. */
const EXPIRY_MARGIN_MS = 20_000;
/** How often a request with a new signature may be forbidden. */
const MAX_FORBIDDEN = 2;
/** As many parts are sent at the same time as each takes about this long then, in milliseconds. */
const PART_MS = 1500;

/**
 * @typedef {import("./client.js").Video} Video
 * @typedef {import("./client.js").Multipart} Multipart
 * @typedef {import("./resume.js").UploadStore} UploadStore
 * @typedef {"sending" | "paused" | "offline" | "done" | "failed" | "aborted"} UploadState `offline`: it continues by
 *   itself once the browser is online
 */

/**
 * @typedef {object} UploadOptions
 * @property {(progress: { sent: number, total: number }) => void} [onProgress] called when bytes were sent. After a
 *   lost connection and after a pause, `sent` is less than before: unfinished parts are sent again
 * @property {(state: UploadState) => void} [onState] called when `state` changes
 * @property {AbortSignal} [signal] aborts the upload, as `abort()`
 * @property {import("./client.js").GlimpseOptions["token"]} [token] a bearer token, or a function that returns one,
 *   instead of the client's
 * @property {string} [name] the file's name; default: that of the `File`
 * @property {string} [type] the file's media type; default: that of the file. The server resolves an unknown one
 * @property {"public" | "signed"} [visibility] who can view the images; default: the deployment's
 * @property {string} [externalId] your own id of the video
 * @property {Record<string, string>} [metadata] your own fields; `title` is the title of the video's page
 * @property {string | true} [checksum] S3 rejects any other content: the SHA-256 of the file in base64, which is then
 *   sent in one request, or `true`: it is computed for files of up to 16 MiB. Larger files are sent in parts, without
 *   a checksum
 * @property {number} [parallel] how many parts are sent at the same time, at most; default 3. On a slow connection there
 *   are fewer, since those are lost with it
 * @property {UploadStore | null} [store] where unfinished uploads are recorded; `null`: nowhere. Default:
 *   `localStorage` in pages, memory elsewhere
 * @property {boolean} [resume] `false`: does not resume an earlier upload of the same file
 * @property {number[]} [retryDelays] the delays before further attempts of a failed request, in milliseconds
 */

/** The upload of one file. It can be awaited: the result is the video, as `videos.get` returns it. */
export class Upload {
  #client;
  #file;
  #options;
  /** @type {UploadStore | null} */
  #store;
  /** @type {UploadState} */
  #state = "sending";
  #isPaused = false;
  /** Why the upload ends, if it was aborted or has failed. @type {unknown} */
  #end;
  #hasEnded = false;
  /** Ends the requests that are being sent. */
  #flight = new AbortController();
  /** @type {(() => void)[]} */
  #waiting = [];
  /** @type {(() => void) | undefined} */
  #release;
  /** The bytes of finished parts. */
  #kept = 0;
  /** The sent bytes of unfinished parts, by number. @type {Map<number, number>} */
  #partial = new Map();
  /** The ETags of finished parts, by number. @type {Map<number, string | null>} */
  #parts = new Map();
  /** The numbers of the parts that are to be sent. @type {number[]} */
  #queue = [];
  /** Signed URLs of parts, by number. @type {Map<number, { url: string, usableUntil: number }>} */
  #urls = new Map();
  /** @type {Promise<void> | undefined} */
  #signing;

  /** @param {import("./client.js").Api} client @param {Blob & { name?: string }} file @param {UploadOptions} options */
  constructor(client, file, options) {
    this.#client = client;
    this.#file = file;
    this.#options = options;
    this.#store = options.store === undefined ? defaultStore() : options.store;
    /** The number of bytes of the file. */
    this.total = file.size;
    /** The id of the video, once known. @type {string | undefined} */
    this.id = undefined;
    /** The upload in parts, once it has begun. @type {Multipart | undefined} */
    this.multipart = undefined;
    /** The video, once the file is uploaded; it is being processed then. @type {Promise<Video>} */
    this.finished = this.#run();
  }

  get state() {
    return this.#state;
  }

  /** The number of bytes that were sent, including those of unfinished parts. */
  get sent() {
    return [...this.#partial.values()].reduce((sum, bytes) => sum + bytes, this.#kept);
  }

  /** The number of bytes that need not be sent again: those of finished parts. */
  get kept() {
    return this.#kept;
  }

  /** Stops sending; finished parts are kept. */
  pause() {
    if (this.#hasEnded || this.#isPaused) return;
    this.#isPaused = true;
    this.#setState("paused");
    this.#interrupt();
  }

  /** Continues after `pause()`. */
  resume() {
    if (this.#hasEnded || !this.#isPaused) return;
    this.#isPaused = false;
    this.#setState("sending");
    this.#interrupt();
  }

  /**
   * Stops the upload; `finished` rejects. Resolves once the server has deleted its parts. A failed upload can be
   * aborted too, if it will not be resumed.
   * @param {unknown} [reason] the error of `finished`; default: an `AbortError`
   */
  async abort(reason = new DOMException("The upload was aborted.", "AbortError")) {
    if (this.#state === "done") return;
    if (!this.#hasEnded) this.#stop(reason);
    this.#setState("aborted");
    await this.finished.catch(() => {});
    // The last call may have succeeded.
    if (this.state === "done" || !this.multipart) return;
    await this.#client.uploads.abort(this.multipart);
    await this.#forget();
  }

  /**
   * @template [T=Video], [U=never]
   * @param {((video: Video) => T | PromiseLike<T>) | null} [onDone] @param {((error: any) => U | PromiseLike<U>) | null} [onError]
   * @returns {Promise<T | U>}
   */
  then(onDone, onError) {
    return this.finished.then(onDone, onError);
  }

  async #run() {
    // The caller receives the upload before anything happens.
    await undefined;
    const { signal } = this.#options;
    const change = () => this.#interrupt();
    const abort = () => void this.abort(signal?.reason).catch(() => {});
    // A request may notice a lost connection after minutes, or never.
    globalThis.addEventListener?.("online", change);
    globalThis.addEventListener?.("offline", change);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    try {
      const isInParts = needsParts(this.total) && typeof this.#options.checksum !== "string";
      const video = await (isInParts ? this.#sendParts() : this.#sendWhole());
      this.#stop(undefined);
      this.#setState("done");
      return video;
    } catch (error) {
      if (this.#state !== "aborted") {
        this.#stop(error);
        this.#setState("failed");
      }
      throw this.#end;
    } finally {
      globalThis.removeEventListener?.("online", change);
      globalThis.removeEventListener?.("offline", change);
      signal?.removeEventListener("abort", abort);
      this.#release?.();
    }
  }

  /** @param {unknown} reason */
  #stop(reason) {
    this.#hasEnded = true;
    this.#end = reason;
    this.#interrupt();
  }

  /** @param {UploadState} state */
  #setState(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#options.onState?.(state);
  }

  /** Ends running requests, and lets those that wait look at the new situation. */
  #interrupt() {
    this.#flight.abort();
    this.#flight = new AbortController();
    this.#signing = undefined;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #report() {
    this.#options.onProgress?.({ sent: this.sent, total: this.total });
  }

  /** Waits until something changes. @returns {Promise<void>} */
  #change() {
    return new Promise((wake) => this.#waiting.push(wake));
  }

  /** Waits while the upload is paused. */
  async #gate() {
    while (!this.#hasEnded && this.#isPaused) await this.#change();
    if (this.#hasEnded) throw this.#end;
    this.#setState("sending");
  }

  /**
   * Repeats an action until it succeeds, or fails for good.
   * @template T @param {(signal: AbortSignal) => Promise<T>} action
   */
  async #attempt(action) {
    const delays = this.#options.retryDelays ?? RETRY_DELAYS_MS;
    for (let failures = 0, forbidden = 0; ; ) {
      await this.#gate();
      const { signal } = this.#flight;
      try {
        return await action(signal);
      } catch (error) {
        if (signal.aborted) continue;
        if (!(error instanceof GlimpseError)) throw error;
        if (error.code === "unreachable" && !isOnline()) {
          this.#setState("offline");
          await this.#change();
          continue;
        }
        // An expired signature: the next attempt has another one.
        if (error.code === "storage" && error.status === 403 && (forbidden += 1) <= MAX_FORBIDDEN) continue;
        const isTransient = error.isTransient || ["BadDigest", "RequestTimeout", "IncompleteBody"].includes(error.storageCode ?? "");
        if (!isTransient || failures >= delays.length) throw error;
        const delay = delays[failures] * (0.8 + 0.4 * Math.random());
        failures += 1;
        await sleep(error.retryAfter === undefined ? delay : error.retryAfter * 1000, signal);
      }
    }
  }

  /** Sends a part, or the whole file as part 1. @param {Blob} body @param {import("./storage.js").PresignedRequest} request @param {number} number @param {AbortSignal} signal */
  async #send(body, request, number, signal) {
    const onProgress = (/** @type {number} */ bytes) => {
      this.#partial.set(number, bytes);
      this.#report();
    };
    try {
      const etag = await send(request, body, { fetch: this.#client.fetch, signal, onProgress });
      this.#kept += body.size;
      return etag;
    } finally {
      this.#partial.delete(number);
      this.#report();
    }
  }

  /** The options that describe the video. */
  #fields() {
    const { visibility, externalId: external_id, metadata } = this.#options;
    const fields = { ...(visibility && { visibility }), ...(external_id && { external_id }), ...(metadata && { metadata }) };
    if (this.#client.hasUploadToken && Object.keys(fields).length > 0) {
      throw new GlimpseError(0, "bad_parameter", "With an upload token, `visibility`, `externalId` and `metadata` are set by the token.");
    }
    return fields;
  }

  /** The file's name and type. */
  #named() {
    return { name: this.#options.name ?? this.#file.name ?? "video", type: this.#options.type ?? this.#file.type };
  }

  /** The video's current state. */
  #video() {
    return this.#attempt(() => this.#client.videos.get(/** @type {string} */ (this.id)));
  }

  async #sendWhole() {
    const { checksum } = this.#options;
    const sha256 = checksum === true ? await readable(sha256Of(this.#file)) : checksum;
    const request = { ...this.#named(), size: this.total, ...this.#fields(), ...(sha256 && { checksum_sha256: sha256 }) };
    /** @type {import("./storage.js").PresignedRequest | undefined} */
    let grant;
    const video = await this.#attempt(async (signal) => {
      if (!grant) {
        const created = await this.#client.videos.create(request);
        this.id = created.video.id;
        grant = created.upload;
      }
      try {
        await this.#send(this.#file, grant, 1, signal);
      } catch (error) {
        // An earlier attempt has arrived, and only the response was lost.
        if (isStatus(error, 412)) return undefined;
        if (!isStatus(error, 403)) throw error;
        grant = undefined;
        // The same, but the signature has expired since.
        const known = await this.#client.videos.get(/** @type {string} */ (this.id)).catch(() => undefined);
        if (!known || known.state === "uploading") throw error;
        return known;
      }
      return undefined;
    });
    this.#kept = this.total;
    this.#report();
    return video ?? (await this.#video());
  }

  async #sendParts() {
    const fields = this.#fields();
    const store = this.#store;
    const print = store ? await readable(fingerprint(this.#file)) : "";
    if (!(store && this.#options.resume !== false && (await this.#continue(store, print)))) await this.#begin(fields, store, print);
    const count = Math.ceil(this.total / partSize(this.total));
    for (let number = 1; number <= count; number += 1) if (!this.#parts.has(number)) this.#queue.push(number);
    this.#report();
    try {
      await this.#sendQueue();
      return await this.#complete();
    } catch (error) {
      // The upload no longer exists: it may be complete.
      const isGone = error instanceof GlimpseError && (error.storageCode === "NoSuchUpload" || (error.code !== "storage" && [404, 409, 410].includes(error.status)));
      if (!isGone) throw error;
      const video = await this.#video().catch(() => undefined);
      await this.#forget();
      if (!video || video.state === "uploading") throw error;
      return video;
    }
  }

  async #forget() {
    if (this.multipart) await this.#store?.remove(this.multipart.uploadId);
  }

  /** Continues a recorded upload of this file; whether there is one. @param {UploadStore} store @param {string} print */
  async #continue(store, print) {
    for (const record of await store.list()) {
      const { key, uploadId } = record;
      const multipart = { key, uploadId };
      const isSame = record.fingerprint === print && record.size === this.total && (record.url ?? this.#client.origin) === this.#client.origin;
      const release = isSame ? await lockUpload(uploadId) : undefined;
      if (!release) continue;
      try {
        const stored = await this.#attempt(() => this.#client.uploads.parts(multipart));
        this.#adopt(multipart, release);
        // A complete upload has parts of another size.
        const isComplete = stored.reduce((sum, { Size }) => sum + Size, 0) === this.total;
        for (const { PartNumber, ETag, Size } of stored) {
          if (!isComplete && Size !== partBytes(PartNumber, this.total)) continue;
          this.#parts.set(PartNumber, ETag);
          this.#kept += Size;
        }
        return true;
      } catch (error) {
        release();
        if (isStatus(error, 404) || isStatus(error, 410)) await store.remove(uploadId);
        // An upload of another user stays recorded.
        else if (!isStatus(error, 403)) throw error;
      }
    }
    return false;
  }

  /** @param {Multipart} multipart @param {(() => void) | undefined} release */
  #adopt(multipart, release) {
    this.multipart = multipart;
    this.id = multipart.key.split("/").at(-1);
    this.#release = release;
  }

  /** @param {Record<string, unknown>} fields @param {UploadStore | null} store @param {string} print */
  async #begin(fields, store, print) {
    const { name, type } = this.#named();
    const client = await this.#attempt(async () => {
      if (Object.keys(fields).length === 0) return this.#client;
      // Only the token of an upload in parts can carry them.
      const { url } = await this.#client.uploadTokens.create({ ...fields, max_bytes: this.total, expires_in: 600 });
      return this.#client.at(url);
    });
    const { key, uploadId } = await this.#attempt(() => client.uploads.create({ filename: name, type }));
    this.#adopt({ key, uploadId }, await lockUpload(uploadId));
    await store?.save({ uploadId, key, name, size: this.total, fingerprint: print, startedAt: Date.now(), url: this.#client.origin });
  }

  /** @returns {Promise<void>} */
  #sendQueue() {
    let running = 0;
    return new Promise((resolve, reject) => {
      const send = (/** @type {number} */ width) => {
        for (; this.#queue.length > 0 && running < Math.max(1, width); running += 1) {
          const began = Date.now();
          this.#sendPart(/** @type {number} */ (this.#queue.shift())).then(() => {
            const fitting = Math.round((running * PART_MS) / (Date.now() - began));
            running -= 1;
            send(Math.min(fitting, this.#options.parallel ?? 3));
          }, reject);
        }
        if (running === 0) resolve();
      };
      send(1);
    });
  }

  /** @param {number} number */
  async #sendPart(number) {
    const start = (number - 1) * partSize(this.total);
    const bytes = partBytes(number, this.total);
    const body = this.#file.slice(start, start + bytes);
    const etag = await this.#attempt(async (signal) => {
      const url = await this.#signedUrl(number, bytes, signal);
      try {
        return await this.#send(body, { method: "PUT", url }, number, signal);
      } catch (error) {
        if (isStatus(error, 403)) this.#urls.clear();
        throw error;
      }
    });
    this.#parts.set(number, etag);
  }

  /** A URL for one attempt to send a part. @param {number} number @param {number} bytes @param {AbortSignal} signal @returns {Promise<string>} */
  async #signedUrl(number, bytes, signal) {
    for (;;) {
      const known = this.#urls.get(number);
      this.#urls.delete(number);
      if (known && Date.now() < known.usableUntil) return known.url;
      if (!this.#signing) {
        // The parts after this one, which are sent next.
        const next = Array.from({ length: SIGNED_PARTS }, (_, index) => number + index);
        const isUsable = (/** @type {number} */ other) => partBytes(other, this.total) === bytes && !this.#parts.has(other) && !this.#urls.has(other);
        this.#signing = this.#sign(next.filter(isUsable), bytes, signal);
      }
      const signing = this.#signing;
      try {
        await signing;
      } finally {
        if (this.#signing === signing) this.#signing = undefined;
      }
    }
  }

  /** @param {number[]} numbers @param {number} bytes @param {AbortSignal} signal */
  async #sign(numbers, bytes, signal) {
    const { presignedUrls, expires } = await this.#client.uploads.signParts(/** @type {Multipart} */ (this.multipart), numbers, bytes, { signal });
    const usableUntil = Date.now() + Math.max(expires * 1000 - EXPIRY_MARGIN_MS, expires * 500);
    for (const number of numbers) this.#urls.set(number, { url: presignedUrls[number], usableUntil });
  }

  async #complete() {
    const multipart = /** @type {Multipart} */ (this.multipart);
    if ([...this.#parts.values()].includes(null)) {
      // The bucket's CORS configuration does not expose ETags.
      for (const { PartNumber, ETag } of await this.#attempt(() => this.#client.uploads.parts(multipart))) this.#parts.set(PartNumber, ETag);
    }
    const parts = [...this.#parts].map(([PartNumber, ETag]) => ({ PartNumber, ETag: /** @type {string} */ (ETag) }));
    const { video } = await this.#attempt(() => this.#client.uploads.complete(multipart, parts));
    await this.#forget();
    return video ?? (await this.#video());
  }
}

/** Whether requests may succeed. Only browsers know that they are offline. */
const isOnline = () => globalThis.navigator?.onLine !== false;

/** @param {unknown} error @param {number} status */
const isStatus = (error, status) => error instanceof GlimpseError && error.status === status;
