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
    /** @param {import("./client.js").Api} client @param {Blob & { name?: string }} file @param {UploadOptions} options */
    constructor(client: import("./client.js").Api, file: Blob & {
        name?: string;
    }, options: UploadOptions);
    /** The number of bytes of the file. */
    total: number;
    /** The id of the video, once known. @type {string | undefined} */
    id: string | undefined;
    /** The upload in parts, once it has begun. @type {Multipart | undefined} */
    multipart: Multipart | undefined;
    /** The video, once the file is uploaded; it is being processed then. @type {Promise<Video>} */
    finished: Promise<Video>;
    get state(): UploadState;
    /** The number of bytes that were sent, including those of unfinished parts. */
    get sent(): number;
    /** The number of bytes that need not be sent again: those of finished parts. */
    get kept(): number;
    /** Stops sending; finished parts are kept. */
    pause(): void;
    /** Continues after `pause()`. */
    resume(): void;
    /**
     * Stops the upload; `finished` rejects. Resolves once the server has deleted its parts. A failed upload can be
     * aborted too, if it will not be resumed.
     * @param {unknown} [reason] the error of `finished`; default: an `AbortError`
     */
    abort(reason?: unknown): Promise<void>;
    /**
     * @template [T=Video], [U=never]
     * @param {((video: Video) => T | PromiseLike<T>) | null} [onDone] @param {((error: any) => U | PromiseLike<U>) | null} [onError]
     * @returns {Promise<T | U>}
     */
    then<T = {
        bytes: number;
        content_type: string;
        created_at: string;
        dominant_color: string | null;
        duration_ms: number | null;
        external_id?: string | null;
        has_audio: boolean | null;
        height: number | null;
        id: import("../types/openapi.js").components["schemas"]["VideoId"];
        metadata?: {
            [key: string]: string;
        };
        name: string;
        poster_ms: number | null;
        problem: import("../types/openapi.js").components["schemas"]["VideoProblem"] | null;
        state: import("../types/openapi.js").components["schemas"]["VideoState"];
        thumbhash: string | null;
        trace_id?: import("../types/openapi.js").components["schemas"]["TraceId"] | null;
        urls: {
            [key: string]: string;
        };
        visibility: import("../types/openapi.js").components["schemas"]["Visibility"] | null;
        width: number | null;
    }, U = never>(onDone?: ((video: Video) => T | PromiseLike<T>) | null, onError?: ((error: any) => U | PromiseLike<U>) | null): Promise<T | U>;
    #private;
}
export type Video = import("./client.js").Video;
export type Multipart = import("./client.js").Multipart;
export type UploadStore = import("./resume.js").UploadStore;
/**
 * `offline`: it continues by
 * itself once the browser is online
 */
export type UploadState = "sending" | "paused" | "offline" | "done" | "failed" | "aborted";
export type UploadOptions = {
    /**
     * called when bytes were sent. After a
     * lost connection and after a pause, `sent` is less than before: unfinished parts are sent again
     */
    onProgress?: ((progress: {
        sent: number;
        total: number;
    }) => void) | undefined;
    /**
     * called when `state` changes
     */
    onState?: ((state: UploadState) => void) | undefined;
    /**
     * aborts the upload, as `abort()`
     */
    signal?: AbortSignal | undefined;
    /**
     * a bearer token, or a function that returns one,
     * instead of the client's
     */
    token?: import("./client.js").GlimpseOptions["token"];
    /**
     * the file's name; default: that of the `File`
     */
    name?: string | undefined;
    /**
     * the file's media type; default: that of the file. The server resolves an unknown one
     */
    type?: string | undefined;
    /**
     * who can view the images; default: the deployment's
     */
    visibility?: "public" | "signed" | undefined;
    /**
     * your own id of the video
     */
    externalId?: string | undefined;
    /**
     * your own fields; `title` is the title of the video's page
     */
    metadata?: Record<string, string> | undefined;
    /**
     * S3 rejects any other content: the SHA-256 of the file in base64, which is then
     * sent in one request, or `true`: it is computed for files of up to 16 MiB. Larger files are sent in parts, without
     * a checksum
     */
    checksum?: string | true | undefined;
    /**
     * how many parts are sent at the same time, at most; default 3. On a slow connection there
     * are fewer, since those are lost with it
     */
    parallel?: number | undefined;
    /**
     * where unfinished uploads are recorded; `null`: nowhere. Default:
     * `localStorage` in pages, memory elsewhere
     */
    store?: import("./resume.js").UploadStore | null | undefined;
    /**
     * `false`: does not resume an earlier upload of the same file
     */
    resume?: boolean | undefined;
    /**
     * the delays before further attempts of a failed request, in milliseconds
     */
    retryDelays?: number[] | undefined;
};
