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
export function send(request: PresignedRequest, body: Blob, options: SendOptions): Promise<string | null>;
export type PresignedRequest = {
    method: string;
    url: string;
    headers?: Record<string, string>;
};
export type SendOptions = {
    fetch?: typeof globalThis.fetch;
    signal: AbortSignal;
    onProgress: (sent: number) => void;
};
export type Answer = {
    status: number;
    text: string;
    headers: Headers;
};
