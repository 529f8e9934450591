/** A deployment of Glimpse and the caller's credential, without uploads: a page can load those when they are needed. */
export class Api {
    /** @param {GlimpseOptions} options */
    constructor({ url, token, fetch }: GlimpseOptions);
    /** The origin of the deployment. */
    origin: string;
    /** Whether the caller has an upload token, and therefore sees only the states of videos. */
    hasUploadToken: boolean;
    /** The URL before the paths of the API. */
    base: string;
    /** The replacement of the global `fetch`, if there is one. */
    fetch: typeof fetch | undefined;
    /** The caller's videos. */
    videos: {
        /**
         * Starts the upload of a file in one request; `upload` is the request to send. `glimpse.upload` does both.
         * @param {Schemas["CreateVideoRequest"]} body @param {CallOptions} [options]
         * @returns {Promise<Schemas["CreateVideoResponse"]>}
         */
        create: (body: Schemas["CreateVideoRequest"], options?: CallOptions) => Promise<Schemas["CreateVideoResponse"]>;
        /**
         * Sends a file through the Worker, for files within the request limit of the deployment's Cloudflare plan.
         * With `wait` (seconds), it resolves once the images exist, or after that time.
         * @param {Blob & { name?: string }} file @param {CallOptions & { name?: string, type?: string, wait?: number }} [options]
         * @returns {Promise<Schemas["UploadVideoResponse"]>}
         */
        send: (file: Blob & {
            name?: string;
        }, { name, type, wait, signal }?: CallOptions & {
            name?: string;
            type?: string;
            wait?: number;
        }) => Promise<Schemas["UploadVideoResponse"]>;
        /**
         * One page of videos, newest first; `cursor` is that of the page before.
         * @param {{ limit?: number, cursor?: string | null } & CallOptions} [options]
         * @returns {Promise<Schemas["ListVideosResponse"]>}
         */
        list: ({ limit, cursor, signal }?: {
            limit?: number;
            cursor?: string | null;
        } & CallOptions) => Promise<Schemas["ListVideosResponse"]>;
        /** All videos, newest first. @param {CallOptions} [options] */
        all: (options?: CallOptions) => AsyncGenerator<{
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
        }, void, any>;
        /** The current state of a video. @param {string} id @param {CallOptions} [options] @returns {Promise<Video>} */
        get: (id: string, options?: CallOptions) => Promise<Video>;
        /**
         * The video once it is ready, rejected or failed.
         * @param {string} id @param {CallOptions} [options] @returns {Promise<Video>}
         */
        wait: (id: string, options?: CallOptions) => Promise<Video>;
        /**
         * The video at each change of its state, until it is ready, rejected or failed.
         * @param {string} id @param {CallOptions} [options] @returns {AsyncGenerator<Video, void>}
         */
        events: (id: string, options?: CallOptions) => AsyncGenerator<Video, void>;
        /** Deletes a video, its file and its images. @param {string} id @param {CallOptions} [options] @returns {Promise<Schemas["DeleteVideoResponse"]>} */
        delete: (id: string, options?: CallOptions) => Promise<Schemas["DeleteVideoResponse"]>;
        /** Makes the frame at a time the poster. @param {string} id @param {number} seconds @param {CallOptions} [options] @returns {Promise<Video>} */
        setPoster: (id: string, seconds: number, options?: CallOptions) => Promise<Video>;
        /** Restores the automatic poster. @param {string} id @param {CallOptions} [options] @returns {Promise<Video>} */
        resetPoster: (id: string, options?: CallOptions) => Promise<Video>;
        /**
         * Tokens and links for the images of a private video.
         * @param {string} id @param {Partial<Schemas["CreateDeliveryTokensRequest"]>} [body] @param {CallOptions} [options]
         * @returns {Promise<Schemas["DeliveryTokensResponse"]>}
         */
        tokens: (id: string, body?: Partial<Schemas["CreateDeliveryTokensRequest"]>, options?: CallOptions) => Promise<Schemas["DeliveryTokensResponse"]>;
    };
    /** Upload tokens. */
    uploadTokens: {
        /**
         * A token whose holder may upload within its limits, and nothing else.
         * @param {Schemas["CreateUploadTokenRequest"]} [body] @param {CallOptions} [options]
         * @returns {Promise<Schemas["UploadTokenResponse"]>}
         */
        create: (body?: Schemas["CreateUploadTokenRequest"], options?: CallOptions) => Promise<Schemas["UploadTokenResponse"]>;
    };
    /** Unfinished uploads in parts. */
    uploads: {
        /** The caller's unfinished uploads. @param {CallOptions} [options] @returns {Promise<Schemas["ListUploadsResponse"]>} */
        list: (options?: CallOptions) => Promise<Schemas["ListUploadsResponse"]>;
        /** Starts an upload in parts. @param {Schemas["CreateMultipartRequest"]} body @param {CallOptions} [options] @returns {Promise<Schemas["CreateMultipartResponse"]>} */
        create: (body: Schemas["CreateMultipartRequest"], options?: CallOptions) => Promise<Schemas["CreateMultipartResponse"]>;
        /** The parts that storage has. @param {Multipart} upload @param {CallOptions} [options] @returns {Promise<Part[]>} */
        parts: (upload: Multipart, options?: CallOptions) => Promise<Part[]>;
        /**
         * A signed request for one part of exactly `size` bytes.
         * @param {Multipart} upload @param {number} number @param {number} size @param {CallOptions} [options]
         * @returns {Promise<Schemas["SignPartResponse"]>}
         */
        signPart: (upload: Multipart, number: number, size: number, options?: CallOptions) => Promise<Schemas["SignPartResponse"]>;
        /**
         * Signed requests for several parts of `size` bytes each.
         * @param {Multipart} upload @param {number[]} numbers at most 100 @param {number} size @param {CallOptions} [options]
         * @returns {Promise<Schemas["SignPartsResponse"]>}
         */
        signParts: (upload: Multipart, numbers: number[], size: number, options?: CallOptions) => Promise<Schemas["SignPartsResponse"]>;
        /**
         * Makes a video of the parts. After a lost response it can be repeated.
         * @param {Multipart} upload @param {Schemas["CompletedPart"][]} parts @param {CallOptions} [options]
         * @returns {Promise<Schemas["CompleteMultipartResponse"]>}
         */
        complete: (upload: Multipart, parts: Schemas["CompletedPart"][], options?: CallOptions) => Promise<Schemas["CompleteMultipartResponse"]>;
        /** Aborts an upload; its parts are deleted. One that is gone is not an error. @param {Multipart} upload @param {CallOptions} [options] @returns {Promise<void>} */
        abort: (upload: Multipart, options?: CallOptions) => Promise<void>;
        /** A form or a PUT for one file, in the format of Uppy's Companion. @param {{ filename: string, type?: string, size?: number }} file @param {CallOptions} [options] @returns {Promise<Schemas["UppyUploadParameters"]>} */
        params: (file: {
            filename: string;
            type?: string;
            size?: number;
        }, options?: CallOptions) => Promise<Schemas["UppyUploadParameters"]>;
        /** A presigned request, in the format of Uppy's `signRequest`. @param {Schemas["SignRequest"]} body @param {CallOptions} [options] @returns {Promise<Schemas["PresignResponse"]>} */
        presign: (body: Schemas["SignRequest"], options?: CallOptions) => Promise<Schemas["PresignResponse"]>;
    };
    /** A client of another URL of the same deployment, such as an upload token's. @param {string} url @param {GlimpseOptions["token"]} [token] @returns {this} */
    at(url: string, token?: GlimpseOptions["token"]): this;
    /** The caller, and the limits of its uploads. @param {CallOptions} [options] @returns {Promise<Me>} */
    me(options?: CallOptions): Promise<Me>;
    /** Ends the session of the cookie. @param {CallOptions} [options] @returns {Promise<void>} */
    logout(options?: CallOptions): Promise<void>;
    /** The URL of the sign-in, which returns to a path of the deployment. @param {string} [returnTo] */
    loginUrl(returnTo?: string): string;
    /** Size, duration, placeholder and image URLs of a public video. @param {string} id @param {CallOptions} [options] @returns {Promise<VideoMeta>} */
    meta(id: string, options?: CallOptions): Promise<VideoMeta>;
    /**
     * oEmbed of a video's page.
     * @param {string} url @param {{ maxwidth?: number, maxheight?: number } & CallOptions} [options]
     * @returns {Promise<OEmbed>}
     */
    oembed(url: string, { maxwidth, maxheight, signal }?: {
        maxwidth?: number;
        maxheight?: number;
    } & CallOptions): Promise<OEmbed>;
    /** Whether the Worker is running; rejects if it is not. @param {CallOptions} [options] @returns {Promise<void>} */
    health(options?: CallOptions): Promise<void>;
    /** The deployment's OpenAPI document. @param {CallOptions} [options] @returns {Promise<any>} */
    openapi(options?: CallOptions): Promise<any>;
    /**
     * Calls the API. Resolves with the parsed body, null for an empty one, or with the response if `isStream`.
     * @param {string} method @param {string} path @param {RequestOptions} [options]
     * @returns {Promise<any>}
     * @throws {GlimpseError} for a response that is not successful, and without a response
     */
    request(method: string, path: string, { json, body, headers, signal, base, isStream }?: RequestOptions): Promise<any>;
    #private;
}
export type Schemas = import("../types/openapi.js").components["schemas"];
/**
 * a video, as its owner sees it
 */
export type Video = Schemas["Video"];
/**
 * a video, as the holder of an upload token sees it
 */
export type VideoStatus = Schemas["VideoStatus"];
export type Me = Schemas["MeResponse"];
export type UnfinishedUpload = Schemas["UnfinishedUpload"];
export type Part = Schemas["Part"];
/**
 * an upload in parts, as storage identifies it
 */
export type Multipart = {
    key: string;
    uploadId: string;
};
export type CallOptions = {
    signal?: AbortSignal;
};
export type UploadOptions = import("./upload.js").UploadOptions;
export type VideoMeta = {
    id: string;
    title: string;
    width: number;
    height: number;
    duration_ms: number | null;
    thumbhash: string | null;
    dominant_color: string | null;
    page: string;
    urls: Record<string, string>;
    srcset: Record<string, string>;
    poster: {
        width: number;
        height: number;
    };
    animated: {
        width: number;
        height: number;
    };
};
export type OEmbed = {
    version: string;
    type: string;
    title: string;
    provider_name: string;
    provider_url: string;
    cache_age: number;
    width: number;
    height: number;
    html: string;
    thumbnail_url: string;
    thumbnail_width: number;
    thumbnail_height: number;
};
export type GlimpseOptions = {
    /**
     * the URL of the deployment, or of an upload token (`https://video.example.com/u/eyJ…`)
     */
    url: string;
    /**
     * a bearer token, or a function that returns one; it is
     * called before the first request, and again after a response with status 401. Without a token, a page on the
     * deployment's own origin uses the session cookie
     */
    token?: string | (() => string | Promise<string>) | undefined;
    /**
     * a replacement of the global `fetch`
     */
    fetch?: typeof fetch | undefined;
};
export type RequestOptions = {
    /**
     * the body, as JSON
     */
    json?: unknown;
    /**
     * the body
     */
    body?: Blob | undefined;
    headers?: Record<string, string> | undefined;
    signal?: AbortSignal | undefined;
    /**
     * the URL before the path
     */
    base?: string | undefined;
    /**
     * whether the response is returned without its body being read; then only `signal` ends it
     */
    isStream?: boolean | undefined;
};
