/** Parses JSON; undefined if it is invalid. @param {string} text */
export function parseJson(text: string): any;
/** The delay of `Retry-After` in seconds, if there is one. @param {Headers} headers */
export function retryAfterOf(headers: Headers): number | undefined;
/** The error of an unsuccessful response. @param {Response} response @param {string} text its body */
export function errorOf({ status, headers }: Response, text: string): GlimpseError;
/**
 * @typedef {object} ErrorDetails
 * @property {string | null} [requestId] the id of the request in the log
 * @property {number} [retryAfter] when to try again, in seconds
 * @property {string} [storageCode] S3's code, if storage rejected the request, such as `NoSuchUpload`
 * @property {unknown} [cause] the original error
 */
/** A failed call. `message` is a sentence for users. */
export class GlimpseError extends Error {
    /**
     * @param {number} status the status of the response; 0 without a response
     * @param {string} code the problem's code, for programs; `unreachable`, `unreadable` (the file), `storage` and
     *   `unknown` come from this package
     * @param {string} message
     * @param {ErrorDetails} [details]
     */
    constructor(status: number, code: string, message: string, { requestId, retryAfter, storageCode, cause }?: ErrorDetails);
    status: number;
    code: string;
    /** The id of the request in the log. @type {string | undefined} */
    requestId: string | undefined;
    /** When to try again, in seconds. */
    retryAfter: number | undefined;
    /** S3's code, if storage rejected the request. */
    storageCode: string | undefined;
    /** Whether the same request may succeed later: no response, too many requests, or an error of the server. */
    get isTransient(): boolean;
}
export function unreachable(cause?: unknown): GlimpseError;
export function readable<T>(reading: Promise<T>): Promise<T>;
export type ErrorDetails = {
    /**
     * the id of the request in the log
     */
    requestId?: string | null | undefined;
    /**
     * when to try again, in seconds
     */
    retryAfter?: number | undefined;
    /**
     * S3's code, if storage rejected the request, such as `NoSuchUpload`
     */
    storageCode?: string | undefined;
    /**
     * the original error
     */
    cause?: unknown;
};
