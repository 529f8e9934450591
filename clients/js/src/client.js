// The calls of the API: one method for each route.

import { GlimpseError, errorOf, parseJson, unreachable } from "./error.js";
import { events, isSettled } from "./events.js";
import { timeLimit } from "./sleep.js";

/** The time limit of a response, in milliseconds. One that comes after the video was processed has half a minute more. */
const TIMEOUT_MS = 30_000;
/** A body that is sent more slowly than this is given up, in bytes per millisecond. */
const MIN_BYTES_PER_MS = 16;

/**
 * @typedef {import("../types/openapi.js").components["schemas"]} Schemas
 * @typedef {Schemas["Video"]} Video a video, as its owner sees it
 * @typedef {Schemas["VideoStatus"]} VideoStatus a video, as the holder of an upload token sees it
 * @typedef {Schemas["MeResponse"]} Me
 * @typedef {Schemas["UnfinishedUpload"]} UnfinishedUpload
 * @typedef {Schemas["Part"]} Part
 * @typedef {{ key: string, uploadId: string }} Multipart an upload in parts, as storage identifies it
 * @typedef {{ signal?: AbortSignal }} CallOptions
 * @typedef {import("./upload.js").UploadOptions} UploadOptions
 * @typedef {object} VideoMeta
 * @property {string} id
 * @property {string} title
 * @property {number} width
 * @property {number} height
 * @property {number | null} duration_ms
 * @property {string | null} thumbhash
 * @property {string | null} dominant_color
 * @property {string} page
 * @property {Record<string, string>} urls
 * @property {Record<string, string>} srcset
 * @property {{ width: number, height: number }} poster
 * @property {{ width: number, height: number }} animated
 * @typedef {object} OEmbed
 * @property {string} version
 * @property {string} type
 * @property {string} title
 * @property {string} provider_name
 * @property {string} provider_url
 * @property {number} cache_age
 * @property {number} width
 * @property {number} height
 * @property {string} html
 * @property {string} thumbnail_url
 * @property {number} thumbnail_width
 * @property {number} thumbnail_height
 */

/**
 * @typedef {object} GlimpseOptions
 * @property {string} url the URL of the deployment, or of an upload token (`https://video.example.com/u/eyJ…`)
 * @property {string | (() => string | Promise<string>)} [token] a bearer token, or a function that returns one; it is
 *   called before the first request, and again after a response with status 401. Without a token, a page on the
 *   deployment's own origin uses the session cookie
 * @property {typeof globalThis.fetch} [fetch] a replacement of the global `fetch`
 */

/**
 * @typedef {object} RequestOptions
 * @property {unknown} [json] the body, as JSON
 * @property {Blob} [body] the body
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal]
 * @property {string} [base] the URL before the path
 * @property {boolean} [isStream] whether the response is returned without its body being read; then only `signal` ends it
 */

/** @param {string} id */
const videoPath = (id) => `/api/videos/${encodeURIComponent(id)}`;
/** @param {Multipart} upload @param {string} [action] @param {Record<string, string>} [query] */
const multipartPath = ({ key, uploadId }, action = "", query = {}) =>
  `/s3/multipart/${encodeURIComponent(uploadId)}${action}?${new URLSearchParams({ key, ...query })}`;
/** @param {Record<string, string | number | null | undefined>} parameters */
function queryOf(parameters) {
  const pairs = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  return pairs.length > 0 ? `?${new URLSearchParams(pairs.map(([name, value]) => [name, String(value)]))}` : "";
}

/** A deployment of Glimpse and the caller's credential, without uploads: a page can load those when they are needed. */
export class Api {
  /** @type {GlimpseOptions["token"]} */
  #token;
  /** @type {string | undefined} */
  #current;

  /** @param {GlimpseOptions} options */
  constructor({ url, token, fetch }) {
    const { origin, pathname } = new URL(url, globalThis.location?.href);
    /** The origin of the deployment. */
    this.origin = origin;
    /** Whether the caller has an upload token, and therefore sees only the states of videos. */
    this.hasUploadToken = pathname.startsWith("/u/");
    /** The URL before the paths of the API. */
    this.base = this.hasUploadToken ? origin + pathname.replace(/\/+$/, "") : origin;
    this.#token = token;
    /** The replacement of the global `fetch`, if there is one. */
    this.fetch = fetch;

    /** The caller's videos. */
    this.videos = {
      /**
       * Starts the upload of a file in one request; `upload` is the request to send. `glimpse.upload` does both.
       * @param {Schemas["CreateVideoRequest"]} body @param {CallOptions} [options]
       * @returns {Promise<Schemas["CreateVideoResponse"]>}
       */
      create: (body, options) => this.request("POST", "/api/videos", { json: body, ...options }),
      /**
       * Sends a file through the Worker, for files within the request limit of the deployment's Cloudflare plan.
       * With `wait` (seconds), it resolves once the images exist, or after that time.
       * @param {Blob & { name?: string }} file @param {CallOptions & { name?: string, type?: string, wait?: number }} [options]
       * @returns {Promise<Schemas["UploadVideoResponse"]>}
       */
      send: (file, { name = file.name ?? "video", type = file.type, wait, signal } = {}) =>
        this.request("PUT", videoPath(name), {
          body: file,
          signal,
          headers: { ...(type && { "content-type": type }), ...(wait && { prefer: `wait=${wait}` }) },
        }),
      /**
       * One page of videos, newest first; `cursor` is that of the page before.
       * @param {{ limit?: number, cursor?: string | null } & CallOptions} [options]
       * @returns {Promise<Schemas["ListVideosResponse"]>}
       */
      list: ({ limit, cursor, signal } = {}) => this.request("GET", `/api/videos${queryOf({ limit, cursor })}`, { signal }),
      /** All videos, newest first. @param {CallOptions} [options] */
      all: (options) => this.#all(options),
      /** The current state of a video. @param {string} id @param {CallOptions} [options] @returns {Promise<Video>} */
      get: (id, options) => this.request("GET", videoPath(id), options),
      /**
       * The video once it is ready, rejected or failed.
       * @param {string} id @param {CallOptions} [options] @returns {Promise<Video>}
       */
      wait: async (id, options) => {
        for await (const video of events(this, videoPath(id), options)) if (isSettled(video)) return video;
        return this.videos.get(id, options);
      },
      /**
       * The video at each change of its state, until it is ready, rejected or failed.
       * @param {string} id @param {CallOptions} [options] @returns {AsyncGenerator<Video, void>}
       */
      events: (id, options) => events(this, videoPath(id), options),
      /** Deletes a video, its file and its images. @param {string} id @param {CallOptions} [options] @returns {Promise<Schemas["DeleteVideoResponse"]>} */
      delete: (id, options) => this.request("DELETE", videoPath(id), options),
      /** Makes the frame at a time the poster. @param {string} id @param {number} seconds @param {CallOptions} [options] @returns {Promise<Video>} */
      setPoster: (id, seconds, options) => this.request("PUT", `${videoPath(id)}/poster`, { json: { time: Math.round(seconds * 1000) / 1000 }, ...options }),
      /** Restores the automatic poster. @param {string} id @param {CallOptions} [options] @returns {Promise<Video>} */
      resetPoster: (id, options) => this.request("DELETE", `${videoPath(id)}/poster`, options),
      /**
       * Tokens and links for the images of a private video.
       * @param {string} id @param {Partial<Schemas["CreateDeliveryTokensRequest"]>} [body] @param {CallOptions} [options]
       * @returns {Promise<Schemas["DeliveryTokensResponse"]>}
       */
      tokens: (id, body = {}, options) => this.request("POST", `${videoPath(id)}/tokens`, { json: body, ...options }),
    };

    /** Upload tokens. */
    this.uploadTokens = {
      /**
       * A token whose holder may upload within its limits, and nothing else.
       * @param {Schemas["CreateUploadTokenRequest"]} [body] @param {CallOptions} [options]
       * @returns {Promise<Schemas["UploadTokenResponse"]>}
       */
      create: (body = {}, options) => this.request("POST", "/api/upload-tokens", { json: body, ...options }),
    };

    /** Unfinished uploads in parts. */
    this.uploads = {
      /** The caller's unfinished uploads. @param {CallOptions} [options] @returns {Promise<Schemas["ListUploadsResponse"]>} */
      list: (options) => this.request("GET", "/api/uploads", options),
      /** Starts an upload in parts. @param {Schemas["CreateMultipartRequest"]} body @param {CallOptions} [options] @returns {Promise<Schemas["CreateMultipartResponse"]>} */
      create: (body, options) => this.request("POST", "/s3/multipart", { json: body, ...options }),
      /** The parts that storage has. @param {Multipart} upload @param {CallOptions} [options] @returns {Promise<Part[]>} */
      parts: (upload, options) => this.request("GET", multipartPath(upload), options),
      /**
       * A signed request for one part of exactly `size` bytes.
       * @param {Multipart} upload @param {number} number @param {number} size @param {CallOptions} [options]
       * @returns {Promise<Schemas["SignPartResponse"]>}
       */
      signPart: (upload, number, size, options) => this.request("GET", multipartPath(upload, `/${number}`, { size: String(size) }), options),
      /**
       * Signed requests for several parts of `size` bytes each.
       * @param {Multipart} upload @param {number[]} numbers at most 100 @param {number} size @param {CallOptions} [options]
       * @returns {Promise<Schemas["SignPartsResponse"]>}
       */
      signParts: (upload, numbers, size, options) =>
        this.request("GET", multipartPath(upload, "/batch", { partNumbers: numbers.join(), size: String(size) }), options),
      /**
       * Makes a video of the parts. After a lost response it can be repeated.
       * @param {Multipart} upload @param {Schemas["CompletedPart"][]} parts @param {CallOptions} [options]
       * @returns {Promise<Schemas["CompleteMultipartResponse"]>}
       */
      complete: (upload, parts, options) => this.request("POST", multipartPath(upload, "/complete"), { json: { parts }, ...options }),
      /** Aborts an upload; its parts are deleted. One that is gone is not an error. @param {Multipart} upload @param {CallOptions} [options] @returns {Promise<void>} */
      abort: async (upload, options) => {
        try {
          await this.request("DELETE", multipartPath(upload), options);
        } catch (error) {
          if (!(error instanceof GlimpseError && [404, 410].includes(error.status))) throw error;
        }
      },
      /** A form or a PUT for one file, in the format of Uppy's Companion. @param {{ filename: string, type?: string, size?: number }} file @param {CallOptions} [options] @returns {Promise<Schemas["UppyUploadParameters"]>} */
      params: (file, options) => this.request("GET", `/s3/params${queryOf(file)}`, options),
      /** A presigned request, in the format of Uppy's `signRequest`. @param {Schemas["SignRequest"]} body @param {CallOptions} [options] @returns {Promise<Schemas["PresignResponse"]>} */
      presign: (body, options) => this.request("POST", "/s3/presign", { json: body, ...options }),
    };
  }

  /** A client of another URL of the same deployment, such as an upload token's. @param {string} url @param {GlimpseOptions["token"]} [token] @returns {this} */
  at(url, token) {
    const Client = /** @type {any} */ (this.constructor);
    return new Client({ url, token, fetch: this.fetch });
  }

  /** The caller, and the limits of its uploads. @param {CallOptions} [options] @returns {Promise<Me>} */
  me(options) {
    return this.request("GET", "/api/me", options);
  }

  /** Ends the session of the cookie. @param {CallOptions} [options] @returns {Promise<void>} */
  logout(options) {
    return this.request("POST", "/auth/logout", options);
  }

  /** The URL of the sign-in, which returns to a path of the deployment. @param {string} [returnTo] */
  loginUrl(returnTo) {
    return `${this.origin}/auth/login${queryOf({ return_to: returnTo })}`;
  }

  /** Size, duration, placeholder and image URLs of a public video. @param {string} id @param {CallOptions} [options] @returns {Promise<VideoMeta>} */
  meta(id, options) {
    return this.request("GET", `/${encodeURIComponent(id)}/meta.json`, { ...options, base: this.origin });
  }

  /**
   * oEmbed of a video's page.
   * @param {string} url @param {{ maxwidth?: number, maxheight?: number } & CallOptions} [options]
   * @returns {Promise<OEmbed>}
   */
  oembed(url, { maxwidth, maxheight, signal } = {}) {
    return this.request("GET", `/oembed${queryOf({ url, maxwidth, maxheight })}`, { signal, base: this.origin });
  }

  /** Whether the Worker is running; rejects if it is not. @param {CallOptions} [options] @returns {Promise<void>} */
  async health(options) {
    await this.request("GET", "/health", { ...options, base: this.origin }).catch((error) => {
      // The body is a word, not JSON.
      if (error.status !== 200) throw error;
    });
  }

  /** The deployment's OpenAPI document. @param {CallOptions} [options] @returns {Promise<any>} */
  openapi(options) {
    return this.request("GET", "/api/openapi.json", { ...options, base: this.origin });
  }

  /**
   * Calls the API. Resolves with the parsed body, null for an empty one, or with the response if `isStream`.
   * @param {string} method @param {string} path @param {RequestOptions} [options]
   * @returns {Promise<any>}
   * @throws {GlimpseError} for a response that is not successful, and without a response
   */
  async request(method, path, { json, body, headers = {}, signal, base = this.base, isStream } = {}) {
    const usesToken = this.#token !== undefined && base === this.base;
    for (let isRetry = false; ; isRetry = true) {
      if (usesToken && (this.#current === undefined || isRetry)) this.#current = typeof this.#token === "function" ? await this.#token() : this.#token;
      const limit = timeLimit(body ? 2 * TIMEOUT_MS + body.size / MIN_BYTES_PER_MS : TIMEOUT_MS, signal);
      /** @type {Response} */
      let response;
      let text;
      try {
        response = await (this.fetch ?? globalThis.fetch)(`${base}${path}`, {
          method,
          body: json === undefined ? body : JSON.stringify(json),
          headers: {
            accept: "application/json",
            ...(json !== undefined && { "content-type": "application/json" }),
            ...(usesToken && { authorization: `Bearer ${this.#current}` }),
            ...headers,
          },
          signal: isStream ? signal : limit.signal,
        });
        if (response.ok && isStream) return response;
        text = await response.text();
      } catch (error) {
        throw signal?.aborted ? error : unreachable(error);
      } finally {
        limit.stop();
      }
      if (response.status === 401 && usesToken && typeof this.#token === "function" && !isRetry) continue;
      if (!response.ok || response.status === 202) throw errorOf(response, text);
      const answer = text === "" ? null : parseJson(text);
      if (answer === undefined) throw new GlimpseError(response.status, "unknown", "Glimpse sent an invalid response. Try again.");
      return answer;
    }
  }

  /** @param {CallOptions} [options] @returns {AsyncGenerator<Video, void>} */
  async *#all(options) {
    /** @type {string | null | undefined} */
    let cursor;
    do {
      const page = await this.videos.list({ limit: 16, cursor, ...options });
      yield* page.videos;
      ({ cursor } = page);
    } while (cursor);
  }
}
