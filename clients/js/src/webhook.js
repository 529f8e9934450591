// Verifies webhooks: Standard Webhooks (<https://www.standardwebhooks.com>), or the header in the format of Mux.

/** How much a webhook's time may differ from the clock, in seconds. */
const TOLERANCE_SECS = 300;

/** A webhook that was not sent by Glimpse, or too long ago. */
export class WebhookError extends Error {
  /** @param {"missing_signature" | "wrong_signature" | "wrong_time" | "malformed"} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "WebhookError";
    this.code = code;
  }
}

/**
 * @typedef {object} WebhookEvent
 * @property {"video.ready" | "video.rejected" | "video.failed" | "video.deleted"} type
 * @property {string} created_at when the outcome was committed, RFC 3339
 * @property {import("../types/openapi.js").components["schemas"]["Video"]} data the video; of a deleted one only its id, its
 *   state and your own fields
 */

/** @param {string} text */
const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
/** @param {string} text */
const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));

/** @param {Uint8Array<ArrayBuffer>} secret @param {Uint8Array<ArrayBuffer>[]} signatures @param {Uint8Array<ArrayBuffer>} message */
async function isSigned(secret, signatures, message) {
  const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  // `verify` compares in constant time.
  for (const signature of signatures) if (await crypto.subtle.verify("HMAC", key, signature, message)) return true;
  return false;
}

/** @template T @param {() => T} parse @returns {T} */
function parseOr(parse) {
  try {
    return parse();
  } catch {
    throw new WebhookError("malformed", "The webhook's signature or its body is malformed.");
  }
}

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
export async function verifyWebhook(body, headers, secret, { tolerance = TOLERANCE_SECS, now = Date.now() } = {}) {
  const header = (/** @type {string} */ name) => {
    const value = headers instanceof Headers ? headers.get(name) : (headers[name] ?? Object.entries(headers).find(([other]) => other.toLowerCase() === name)?.[1]);
    return Array.isArray(value) ? value.join(" ") : (value ?? undefined);
  };
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : new Uint8Array(body);
  const [signatures, muxSignature] = [header("webhook-signature"), header("glimpse-signature")];
  const secrets = [secret].flat();
  let timestamp;
  /** The text before the body. */
  let prefix;
  /** @type {Uint8Array<ArrayBuffer>[]} */
  let given;
  /** @type {Uint8Array<ArrayBuffer>[]} */
  let keys;
  if (signatures !== undefined) {
    timestamp = header("webhook-timestamp");
    prefix = `${header("webhook-id")}.${timestamp}.`;
    given = parseOr(() => signatures.split(" ").filter((one) => one.startsWith("v1,")).map((one) => fromBase64(one.slice(3))));
    keys = secrets.map((one) => fromBase64(one.replace(/^whsec_/, "")));
  } else if (muxSignature !== undefined) {
    const fields = muxSignature.split(",").map((field) => field.trim().split("="));
    timestamp = fields.find(([name]) => name === "t")?.[1];
    prefix = `${timestamp}.`;
    given = fields.filter(([name]) => name === "v1").map(([, hex = ""]) => fromHex(hex));
    keys = secrets.map((one) => new TextEncoder().encode(one));
  } else {
    throw new WebhookError("missing_signature", "The request has no signature of Glimpse.");
  }
  const start = new TextEncoder().encode(prefix);
  const message = new Uint8Array(start.length + bytes.length);
  message.set(start);
  message.set(bytes, start.length);
  const results = await Promise.all(keys.map((key) => isSigned(key, given, message)));
  if (!results.includes(true)) throw new WebhookError("wrong_signature", "The webhook is not signed with this secret.");
  if (!(Math.abs(now / 1000 - Number(timestamp)) <= tolerance)) throw new WebhookError("wrong_time", "The webhook is too old, or a clock is wrong.");
  return parseOr(() => JSON.parse(new TextDecoder().decode(bytes)));
}
