/**
 * Verifies a webhook and returns its event.
 * @param {string | Uint8Array<ArrayBuffer> | ArrayBuffer} body exactly as it was received
 * @param {Headers | Record<string, string | string[] | undefined>} headers of the request
 * @param {string | string[]} secret `whsec_…`; several while the secret is rotated
 * @param {{ tolerance?: number, now?: number }} [options] the tolerance of the time in seconds (default 300), and the
 *   time in Unix milliseconds
 * @returns {Promise<WebhookEvent>}
 * @throws {WebhookError} for a webhook with a wrong signature, an old one, and one without a signature
 */
export function verifyWebhook(body: string | Uint8Array<ArrayBuffer> | ArrayBuffer, headers: Headers | Record<string, string | string[] | undefined>, secret: string | string[], { tolerance, now }?: {
    tolerance?: number;
    now?: number;
}): Promise<WebhookEvent>;
/** A webhook that was not sent by Glimpse, or too long ago. */
export class WebhookError extends Error {
    /** @param {"missing_signature" | "wrong_signature" | "wrong_time" | "malformed"} code @param {string} message */
    constructor(code: "missing_signature" | "wrong_signature" | "wrong_time" | "malformed", message: string);
    code: "missing_signature" | "wrong_signature" | "wrong_time" | "malformed";
}
export type WebhookEvent = {
    type: "video.ready" | "video.rejected" | "video.failed" | "video.deleted";
    /**
     * when the outcome was committed, RFC 3339
     */
    created_at: string;
    /**
     * the video; of a deleted one only its id, its
     * state and your own fields
     */
    data: import("../types/openapi.js").components["schemas"]["Video"];
};
