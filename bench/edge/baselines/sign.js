// A JavaScript Worker for the same two responses: WebCrypto for the token, aws4fetch for the signature, every key
// imported or derived once. It has the rules and responses of `edge/src`, which edge.mjs compares.

import { AwsV4Signer } from "aws4fetch";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

const FRESH_MS = 10 * 60 * 1000;
const SKEW_SECS = 60;
const MAX_BODY_BYTES = 64 * 1024;
const MAX_SINGLE_UPLOAD_BYTES = 5 * 1024 ** 3;
const MIN_PART_BYTES = 5 * 1024 ** 2;
const MAX_PARTS = 10_000;
const EXPIRES_SECS = 900;
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const PICTURES = [
  "animated.gif", "animated.mp4", "animated.webp", "storyboard.jpg", "storyboard.json", "storyboard.vtt", "storyboard.webp",
  "thumbnail.jpg", "thumbnail.webp",
];
const TYPES = new Set([
  "application/mxf", "application/ogg", "application/vnd.ms-asf", "image/gif", "video/3gpp", "video/3gpp2", "video/avi",
  "video/divx", "video/matroska", "video/mp2t", "video/mp4", "video/mpeg", "video/msvideo", "video/ogg",
  "video/quicktime", "video/vnd.dlna.mpeg-tts", "video/webm", "video/x-flv", "video/x-m4v", "video/x-matroska",
  "video/x-ms-asf", "video/x-ms-wmv", "video/x-msvideo",
]);
const IMPORTS = {
  HS256: { name: "HMAC", hash: "SHA-256" },
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
  ES256: { name: "ECDSA", namedCurve: "P-256" },
};
const VERIFIES = { HS256: "HMAC", RS256: "RSASSA-PKCS1-v1_5", ES256: { name: "ECDSA", hash: "SHA-256" } };

class Refused extends Error {
  constructor(status, code) {
    super(code);
    this.status = status;
  }
}
const unauthorized = () => new Refused(401, "unauthorized");
const bad = () => new Refused(400, "bad_parameter");

// Derived signing keys by day, as aws4fetch caches them.
const signingKeys = new Map();
let secretKey;
let keySet = { keys: new Map(), fetched: 0 };

function bytes(base64url) {
  const text = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}
const json = (segment) => JSON.parse(decoder.decode(bytes(segment)));

async function keyOf({ alg, kid }, env) {
  if (env.JWT_SECRET) {
    if (alg !== "HS256") throw unauthorized();
    secretKey ??= await crypto.subtle.importKey("raw", encoder.encode(env.JWT_SECRET), IMPORTS.HS256, false, ["verify"]);
    return secretKey;
  }
  if (Date.now() > keySet.fetched + FRESH_MS) {
    const { keys } = await (await fetch(env.JWT_JWKS_URL)).json();
    const entries = keys.map(async (jwk) => {
      const imported = await crypto.subtle.importKey("jwk", jwk, IMPORTS[jwk.alg], false, ["verify"]);
      return [jwk.kid, { alg: jwk.alg, imported }];
    });
    keySet = { keys: new Map(await Promise.all(entries)), fetched: Date.now() };
  }
  const key = keySet.keys.get(kid);
  if (key?.alg !== alg) throw unauthorized();
  return key.imported;
}

async function claimsOf(request, env) {
  const [scheme, token = ""] = (request.headers.get("authorization") ?? "").split(" ");
  if (scheme.toLowerCase() !== "bearer" || token.length > 8192) throw unauthorized();
  const [head, payload, signature, more] = token.split(".");
  if (!head || !payload || !signature || more !== undefined) throw unauthorized();
  let header, claims;
  try {
    [header, claims] = [json(head), json(payload)];
  } catch {
    throw unauthorized();
  }
  const type = header.typ?.toLowerCase();
  if (header.crit !== undefined || header.b64 === false || (type && type !== "jwt" && type !== "at+jwt")) {
    throw unauthorized();
  }
  const key = await keyOf(header, env);
  const signed = encoder.encode(token.slice(0, head.length + 1 + payload.length));
  if (!(await crypto.subtle.verify(VERIFIES[header.alg], key, bytes(signature), signed))) throw unauthorized();
  check(claims, env);
  return claims;
}

function check(claims, env) {
  const now = Math.floor(Date.now() / 1000);
  const isTime = (value) => Number.isSafeInteger(value) && value >= 0;
  const audiences = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
  const begins = Math.max(claims.nbf ?? 0, claims.iat ?? 0);
  if (
    claims.iss !== env.JWT_ISSUER || !audiences.includes(env.JWT_AUDIENCE) || typeof claims.sub !== "string" || !claims.sub ||
    !isTime(claims.exp) || !isTime(begins) || claims.exp + SKEW_SECS <= now || begins > now + SKEW_SECS ||
    (claims.token_use !== undefined && claims.token_use !== "access")
  ) {
    throw unauthorized();
  }
}

async function ownerOf({ iss, sub }) {
  const digest = await crypto.subtle.digest("SHA-256", encoder.encode(`${iss}\0${sub}`));
  const text = btoa(String.fromCharCode(...new Uint8Array(digest, 0, 16)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function newVideo(nowMs) {
  const time = 2n ** 48n - 1n - BigInt(nowMs);
  let value = crypto.getRandomValues(new Uint8Array(10)).reduce((value, byte) => (value << 8n) | BigInt(byte), time);
  let text = "";
  for (let place = 0; place < 26; place++) {
    text = ALPHABET[Number(value & 31n)] + text;
    value >>= 5n;
  }
  return text;
}

/** The trace id of an upload without `traceparent`: the id's 128 bits in hexadecimal. */
function traceOf(id) {
  const value = [...id].reduce((value, digit) => (value << 5n) | BigInt(ALPHABET.indexOf(digit)), 0n);
  return value.toString(16).padStart(32, "0");
}

function objectUrl(key, env) {
  return `https://${env.S3_BUCKET}.s3.${env.S3_REGION}.amazonaws.com/${key}`;
}

async function presign(method, url, headers, env) {
  const target = new URL(url);
  target.searchParams.set("X-Amz-Expires", EXPIRES_SECS);
  const signer = new AwsV4Signer({
    method,
    url: target,
    headers,
    accessKeyId: env.S3_ACCESS_KEY_ID,
    secretAccessKey: env.S3_SECRET_ACCESS_KEY,
    service: "s3",
    region: env.S3_REGION,
    cache: signingKeys,
    signQuery: true,
    allHeaders: true,
  });
  return (await signer.sign()).url.href;
}

const metaName = (name) =>
  encodeURIComponent(name).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

async function create(request, env) {
  const claims = await claimsOf(request, env);
  if (!(Number(request.headers.get("content-length")) <= MAX_BODY_BYTES)) throw new Refused(413, "too_large");
  let wanted;
  try {
    wanted = await request.json();
  } catch {
    throw bad();
  }
  const { name, size, type } = wanted;
  if (typeof name !== "string" || typeof type !== "string" || !Number.isSafeInteger(size) || size < 1) throw bad();
  if (size > MAX_SINGLE_UPLOAD_BYTES) throw new Refused(413, "too_large");
  const contentType = type.split(";")[0].trim().toLowerCase();
  if (!TYPES.has(contentType)) throw new Refused(415, "type_not_allowed");
  const shown = name.replace(/\p{Cc}/gu, "").trim();
  if (!shown) throw bad();

  const now = Date.now();
  const [id, owner] = [newVideo(now), await ownerOf(claims)];
  const headers = {
    "content-type": contentType,
    "if-none-match": "*",
    "x-amz-meta-name": metaName(shown),
    "x-amz-meta-visibility": "public",
  };
  const signed = { ...headers, "content-length": `${size}` };
  const url = await presign("PUT", objectUrl(`uploads/${owner}/${id}`, env), signed, env);
  const expires_at = new Date(now + EXPIRES_SECS * 1000).toISOString();
  const video = {
    id, state: "uploading", name: shown, bytes: size, content_type: contentType, created_at: new Date(now).toISOString(),
    width: null, height: null, duration_ms: null, has_audio: null, thumbhash: null, dominant_color: null, poster_ms: null,
    problem: null, visibility: "public", trace_id: traceOf(id),
    urls: Object.fromEntries(PICTURES.map((file) => [file, `${env.PUBLIC_URL}/${id}/${file}`])),
  };
  const upload = { method: "PUT", url, headers, expires_at };
  return answer(201, { video, upload }, { location: `/api/videos/${id}` });
}

async function signPart(request, uploadId, part, query, env) {
  const claims = await claimsOf(request, env);
  const [key, owner] = [new URLSearchParams(query).get("key"), await ownerOf(claims)];
  if (!key) throw bad();
  if (!new RegExp(`^uploads/${owner}/[0-7][${ALPHABET}]{25}$`).test(key)) throw new Refused(403, "forbidden_key");
  const number = Number(part);
  if (!Number.isInteger(number) || number < 1 || number > MAX_PARTS) throw bad();
  if (number > Math.ceil(MAX_SINGLE_UPLOAD_BYTES / MIN_PART_BYTES)) throw new Refused(413, "too_large");
  const query2 = `partNumber=${number}&uploadId=${encodeURIComponent(uploadId)}`;
  const url = await presign("PUT", `${objectUrl(key, env)}?${query2}`, {}, env);
  return answer(200, { url, method: "PUT", expires: EXPIRES_SECS });
}

function answer(status, body, more = {}) {
  return new Response(JSON.stringify(body), {
    status,
    headers: {
      "content-type": "application/json; charset=utf-8",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      vary: "Origin",
      "x-request-id": hex(crypto.getRandomValues(new Uint8Array(8))),
      ...more,
    },
  });
}
const hex = (array) => Array.from(array, (byte) => byte.toString(16).padStart(2, "0")).join("");

export default {
  async fetch(request, env) {
    const { pathname, search } = new URL(request.url);
    try {
      const segments = pathname.split("/").filter(Boolean);
      if (request.method === "GET" && segments.length === 1 && segments[0] === "health") return new Response(null);
      if (request.method === "POST" && pathname === "/api/videos") return await create(request, env);
      if (request.method === "GET" && segments.length === 4 && segments[0] === "s3" && segments[1] === "multipart") {
        return await signPart(request, decodeURIComponent(segments[2]), segments[3], search, env);
      }
      throw new Refused(404, "not_found");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return answer(error.status, { code: error.message });
    }
  },
};
