// For servers: signed URLs, delivery tokens, upload tokens and webhooks, with Web Crypto only.

import { imagePath } from "./urls.js";
import { FORMATS, canonicalParameters } from "./variant.js";

export { WebhookError, verifyWebhook } from "./webhook.js";

/** The default lifetime of a signature, in seconds. */
const LIFETIME_SECS = 3600;
/** The `aud` of each type of file. */
const AUDIENCES = /** @type {const} */ ({ thumbnail: "t", animated: "g", storyboard: "s", original: "v", clip: "c" });

/**
 * @typedef {object} SigningKey
 * @property {string} kid the key's id
 * @property {string | Uint8Array<ArrayBuffer> | CryptoKey} secret the secret of this id; for a delivery token also a private key of
 *   RSASSA-PKCS1-v1_5 with SHA-256, ECDSA with P-256, or Ed25519
 * @typedef {object} Lifetime
 * @property {number} [expiresIn] the lifetime in seconds; default: 3600
 * @property {number} [expires] the expiry in Unix seconds, instead of `expiresIn`
 */

/** @param {Lifetime} lifetime */
const expiryOf = ({ expiresIn = LIFETIME_SECS, expires = Math.floor(Date.now() / 1000) + expiresIn }) => expires;

/** @param {string | Uint8Array<ArrayBuffer> | CryptoKey} secret */
async function keyOf(secret) {
  if (typeof secret !== "string" && !(secret instanceof Uint8Array)) return secret;
  const bytes = typeof secret === "string" ? new TextEncoder().encode(secret) : secret;
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}

/** @param {Uint8Array} bytes */
const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

/** @param {string} text @param {CryptoKey} key */
async function sign(text, key) {
  const algorithm = key.algorithm.name === "ECDSA" ? { name: "ECDSA", hash: "SHA-256" } : key.algorithm.name;
  return base64url(new Uint8Array(await crypto.subtle.sign(algorithm, key, new TextEncoder().encode(text))));
}

const ALGORITHMS = /** @type {Record<string, string>} */ ({ HMAC: "HS256", "RSASSA-PKCS1-v1_5": "RS256", ECDSA: "ES256", Ed25519: "EdDSA" });

/** @param {Record<string, unknown>} claims @param {SigningKey} signingKey */
async function jwt(claims, { kid, secret }) {
  const key = await keyOf(secret);
  const alg = ALGORITHMS[key.algorithm.name];
  if (!alg) throw new TypeError(`Keys of ${key.algorithm.name} are not supported.`);
  const part = (/** @type {unknown} */ value) => base64url(new TextEncoder().encode(JSON.stringify(value)));
  const text = `${part({ alg, kid, typ: "JWT" })}.${part(claims)}`;
  return `${text}.${await sign(text, key)}`;
}

/** The kind, format and parameters of an image's URL; undefined if it is not one. @param {URL} url */
function parseImageUrl({ pathname, searchParams }) {
  const [, video, name, ...rest] = pathname.split("/");
  const [kind, format, ...more] = (name ?? "").split(".");
  if (rest.length > 0 || more.length > 0 || !Object.hasOwn(FORMATS, kind)) return undefined;
  const { format: sheet, ...parameters } = Object.fromEntries(searchParams);
  if ([...searchParams.keys()].length !== Object.keys(Object.fromEntries(searchParams)).length) throw new RangeError("A parameter is repeated.");
  return { video, kind: /** @type {keyof typeof FORMATS} */ (kind), parameters: { ...parameters, format, sheet } };
}

/**
 * Signs the URL of one image of a private video. It is brought into canonical form first, so the order and the
 * spelling of its parameters do not matter.
 * @param {string | URL} url such as `thumbnailUrl(…)`
 * @param {SigningKey & Lifetime} options
 * @returns {Promise<string>}
 * @throws {RangeError} for an image that does not exist
 */
export async function signUrl(url, { kid, secret, ...lifetime }) {
  const parsed = new URL(url);
  for (const name of ["expires", "kid", "sig", "token"]) parsed.searchParams.delete(name);
  const image = parseImageUrl(parsed);
  const [path, revision] = image ? imagePath(image.video, image.kind, image.parameters) : [parsed.pathname + parsed.search, undefined];
  const text = `${path}${path.includes("?") ? "&" : "?"}expires=${expiryOf(lifetime)}&kid=${kid}`;
  return `${parsed.origin}${text}&sig=${await sign(text, await keyOf(secret))}${revision ? `&v=${revision}` : ""}`;
}

/**
 * A token for `?token=`: access to one type of file of a private video, with exactly these parameters.
 * @param {string | { id: string }} video
 * @param {SigningKey & Lifetime & { type: keyof typeof AUDIENCES, parameters?: Record<string, unknown> }} options
 * @returns {Promise<string>}
 * @throws {RangeError} for a parameter that the type does not have
 */
export async function deliveryToken(video, { type, parameters = {}, kid, secret, ...lifetime }) {
  const id = typeof video === "string" ? video : video.id;
  if (type === "original" && Object.keys(parameters).length > 0) throw new RangeError("The original takes no parameters.");
  const claims = type === "original" ? {} : Object.fromEntries(canonicalParameters(type, undefined, parameters));
  return jwt({ sub: id, aud: AUDIENCES[type], exp: expiryOf(lifetime), ...claims }, { kid, secret });
}

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
export async function uploadToken({ url, issuer, subject, expiresIn = LIFETIME_SECS, videos, maxBytes, types, visibility, externalId, metadata, kid, secret }) {
  const aud = `${new URL(url).origin}/u`;
  const iat = Math.floor(Date.now() / 1000);
  const exp = iat + expiresIn;
  const limits = { max_bytes: maxBytes, types, videos, visibility, external_id: externalId, metadata };
  const token = await jwt({ iss: issuer, sub: subject, aud, iat, exp, jti: crypto.randomUUID(), ...limits }, { kid, secret });
  return { token, url: `${aud}/${token}`, expires: exp };
}
