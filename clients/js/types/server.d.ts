/**
 * Signs the URL of one image of a private video. It is brought into canonical form first, so the order and the
 * spelling of its parameters do not matter.
 * @param {string | URL} url such as `thumbnailUrl(…)`
 * @param {SigningKey & Lifetime} options
 * @returns {Promise<string>}
 * @throws {RangeError} for an image that does not exist
 */
export function signUrl(url: string | URL, { kid, secret, ...lifetime }: SigningKey & Lifetime): Promise<string>;
/**
 * A token for `?token=`: access to one type of file of a private video, with exactly these parameters.
 * @param {string | { id: string }} video
 * @param {SigningKey & Lifetime & { type: keyof typeof AUDIENCES, parameters?: Record<string, unknown> }} options
 * @returns {Promise<string>}
 * @throws {RangeError} for a parameter that the type does not have
 */
export function deliveryToken(video: string | {
    id: string;
}, { type, parameters, kid, secret, ...lifetime }: SigningKey & Lifetime & {
    type: keyof typeof AUDIENCES;
    parameters?: Record<string, unknown>;
}): Promise<string>;
/**
 * @typedef {object} UploadTokenOptions
 * @property {string} url the URL of the deployment, its `PUBLIC_URL`
 * @property {string} issuer the issuer of the account that will own the videos
 * @property {string} subject the subject of that account
 * @property {number} [expiresIn] the lifetime in seconds, at most a day; default: 3600
 * @property {number} [videos] the number of videos; default: 1
 * @property {number} [maxBytes] the maximum size of each video
 * @property {string[]} [types] the media types that may be uploaded
 * @property {"public" | "signed"} [visibility]
 * @property {string} [externalId] your own id of the video
 * @property {Record<string, string>} [metadata] your own fields
 */
/**
 * A token whose holder may upload within its limits, and nothing else; `url` is the client's URL.
 * @param {UploadTokenOptions & { kid: string, secret: string | Uint8Array<ArrayBuffer> }} options
 * @returns {Promise<{ token: string, url: string, expires: number }>} `expires` in Unix seconds
 */
export function uploadToken({ url, issuer, subject, expiresIn, videos, maxBytes, types, visibility, externalId, metadata, kid, secret }: UploadTokenOptions & {
    kid: string;
    secret: string | Uint8Array<ArrayBuffer>;
}): Promise<{
    token: string;
    url: string;
    expires: number;
}>;
export type UploadTokenOptions = {
    /**
     * the URL of the deployment, its `PUBLIC_URL`
     */
    url: string;
    /**
     * the issuer of the account that will own the videos
     */
    issuer: string;
    /**
     * the subject of that account
     */
    subject: string;
    /**
     * the lifetime in seconds, at most a day; default: 3600
     */
    expiresIn?: number | undefined;
    /**
     * the number of videos; default: 1
     */
    videos?: number | undefined;
    /**
     * the maximum size of each video
     */
    maxBytes?: number | undefined;
    /**
     * the media types that may be uploaded
     */
    types?: string[] | undefined;
    visibility?: "public" | "signed" | undefined;
    /**
     * your own id of the video
     */
    externalId?: string | undefined;
    /**
     * your own fields
     */
    metadata?: Record<string, string> | undefined;
};
export type SigningKey = {
    /**
     * the key's id
     */
    kid: string;
    /**
     * the secret of this id; for a delivery token also a private key of
     * RSASSA-PKCS1-v1_5 with SHA-256, ECDSA with P-256, or Ed25519
     */
    secret: string | Uint8Array<ArrayBuffer> | CryptoKey;
};
export type Lifetime = {
    /**
     * the lifetime in seconds; default: 3600
     */
    expiresIn?: number | undefined;
    /**
     * the expiry in Unix seconds, instead of `expiresIn`
     */
    expires?: number | undefined;
};
declare namespace AUDIENCES {
    let thumbnail: "t";
    let animated: "g";
    let storyboard: "s";
    let original: "v";
    let clip: "c";
}
export { WebhookError, verifyWebhook } from "./webhook.js";
