// Generates the tokens of the measured requests with Node's crypto module, and verifies the signatures of the responses
// with an independent implementation of SigV4 by AWS's documentation.

import { createHash, createHmac, generateKeyPairSync, sign } from "node:crypto";

export const ISSUER = "https://id.example";
export const AUDIENCE = "glimpse";
export const SECRET = "a bearer secret for measurements only, 256 bits";
export const SUBJECT = "carol";

const text = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function token(header, signer) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: ISSUER, sub: SUBJECT, aud: AUDIENCE, iat: now, exp: now + 3600, name: "Carol", email: "carol@id.example" };
  const signed = `${text({ typ: "JWT", ...header })}.${text(claims)}`;
  return `${signed}.${signer(Buffer.from(signed)).toString("base64url")}`;
}

/** A token signed with the shared secret. */
export function secretToken() {
  return token({ alg: "HS256" }, (data) => createHmac("sha256", SECRET).update(data).digest());
}

/** A token signed with a key of an issuer, and the issuer's key set. */
export function rsaToken() {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwks = { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "first", alg: "RS256", use: "sig" }] };
  return { jwks, token: token({ alg: "RS256", kid: "first" }, (data) => sign("sha256", data, privateKey)) };
}

/** The owner of uploads by this subject of this issuer. */
export function owner() {
  return createHash("sha256").update(`${ISSUER}\0${SUBJECT}`).digest().subarray(0, 16).toString("base64url");
}

const hmac = (key, data) => createHmac("sha256", key).update(data).digest();
const rfc3986 = (value) => encodeURIComponent(value).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** Throws unless a presigned URL is signed for exactly this method and these headers. */
export function checkSignature({ method, url, headers = {}, secret, region }) {
  const { host, pathname, searchParams } = new URL(url);
  const signature = searchParams.get("X-Amz-Signature");
  searchParams.delete("X-Amz-Signature");
  const query = [...searchParams].map((pair) => pair.map(rfc3986).join("=")).sort().join("&");
  const date = searchParams.get("X-Amz-Date");
  const scope = [date.slice(0, 8), region, "s3", "aws4_request"];
  const signed = Object.entries({ ...headers, host }).sort(([a], [b]) => (a < b ? -1 : 1));
  const names = signed.map(([name]) => name).join(";");
  const lines = signed.map(([name, value]) => `${name}:${value}\n`).join("");
  const request = [method, pathname, query, lines, names, "UNSIGNED-PAYLOAD"].join("\n");
  const toSign = ["AWS4-HMAC-SHA256", date, scope.join("/"), createHash("sha256").update(request).digest("hex")].join("\n");
  const expected = hmac(scope.reduce(hmac, `AWS4${secret}`), toSign).toString("hex");
  if (searchParams.get("X-Amz-SignedHeaders") !== names || signature !== expected) {
    throw new Error(`the signature of ${method} ${pathname} over ${searchParams.get("X-Amz-SignedHeaders")} is invalid`);
  }
}
