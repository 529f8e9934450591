// Makes a key set and tokens, good and bad, with Node's own crypto: an issuer that knows nothing of our code.
//
//   node tests/keys/mint.mjs ISSUER AUDIENCE     prints { jwks, good: {alg: token}, bad: {reason: token} }

import { createHmac, generateKeyPairSync, sign } from "node:crypto";

const [issuer, audience] = process.argv.slice(2);
const now = Math.floor(Date.now() / 1000);
const claims = { iss: issuer, sub: "carol", aud: [audience, "other"], iat: now, exp: now + 3600 };

const KINDS = {
  RS256: { pair: generateKeyPairSync("rsa", { modulusLength: 2048 }), digest: "sha256" },
  ES256: { pair: generateKeyPairSync("ec", { namedCurve: "P-256" }), digest: "sha256" },
  EdDSA: { pair: generateKeyPairSync("ed25519"), digest: null },
};
const stranger = generateKeyPairSync("rsa", { modulusLength: 2048 });
const weak = generateKeyPairSync("rsa", { modulusLength: 1024 });

const text = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const publicJwk = (pair, kid, more = {}) => ({ ...pair.publicKey.export({ format: "jwk" }), kid, ...more });

function token(header, payload, signer) {
  const signed = `${text(header)}.${text(payload)}`;
  return `${signed}.${signer(Buffer.from(signed)).toString("base64url")}`;
}
const by = (pair, digest, dsaEncoding = "ieee-p1363") => (data) => sign(digest, data, { key: pair.privateKey, dsaEncoding });

const good = {};
for (const [alg, { pair, digest }] of Object.entries(KINDS)) {
  good[alg] = token({ alg, kid: alg, typ: "JWT" }, claims, by(pair, digest));
}
const rsa = KINDS.RS256;
const ec = KINDS.ES256;
const pem = rsa.pair.publicKey.export({ format: "pem", type: "spki" });
const bad = {
  "J1 alg none": `${text({ alg: "none", kid: "RS256" })}.${text(claims)}.`,
  "J1 HS256 with the RSA public key": token({ alg: "HS256", kid: "RS256" }, claims, (data) => createHmac("sha256", pem).update(data).digest()),
  "J1 RS256 under the EC key's name": token({ alg: "RS256", kid: "ES256" }, claims, by(rsa.pair, "sha256")),
  "J2 unknown kid": token({ alg: "RS256", kid: "nobody" }, claims, by(stranger, "sha256")),
  "J2 a stranger's key brought along": token({ alg: "RS256", kid: "RS256", jwk: publicJwk(stranger, "RS256") }, claims, by(stranger, "sha256")),
  "J2 jku of a stranger": token({ alg: "RS256", kid: "s", jku: "https://evil.example/jwks" }, claims, by(stranger, "sha256")),
  "J3 DER instead of P1363": token({ alg: "ES256", kid: "ES256" }, claims, by(ec.pair, "sha256", "der")),
  "J3 r and s are 0": token({ alg: "ES256", kid: "ES256" }, claims, () => Buffer.alloc(64)),
  "J3 a trailing byte": token({ alg: "ES256", kid: "ES256" }, claims, (data) => Buffer.concat([by(ec.pair, "sha256")(data), Buffer.from([0])])),
  "J5 expired": token({ alg: "RS256", kid: "RS256" }, { ...claims, exp: now - 61 }, by(rsa.pair, "sha256")),
  "J5 not yet": token({ alg: "RS256", kid: "RS256" }, { ...claims, nbf: now + 120 }, by(rsa.pair, "sha256")),
  "J5 exp is text": token({ alg: "RS256", kid: "RS256" }, { ...claims, exp: `${now + 60}` }, by(rsa.pair, "sha256")),
  "J6 other audience": token({ alg: "RS256", kid: "RS256" }, { ...claims, aud: `${audience}2` }, by(rsa.pair, "sha256")),
  "J6 other issuer": token({ alg: "RS256", kid: "RS256" }, { ...claims, iss: `${issuer}/` }, by(rsa.pair, "sha256")),
  "J6 an ID token": token({ alg: "RS256", kid: "RS256" }, { ...claims, token_use: "id" }, by(rsa.pair, "sha256")),
  "J7 weak key": token({ alg: "RS256", kid: "weak" }, claims, by(weak, "sha256")),
  "J7 key for encryption": token({ alg: "ES256", kid: "enc" }, claims, by(ec.pair, "sha256")),
  "tampered": good.RS256.replace(/\.[^.]+\./, `.${text({ ...claims, sub: "mallory" })}.`),
};
const jwks = {
  keys: [
    ...Object.entries(KINDS).map(([alg, { pair }]) => publicJwk(pair, alg, { alg, use: "sig" })),
    publicJwk(weak, "weak"),
    publicJwk(ec.pair, "enc", { use: "enc" }),
  ],
};
console.log(JSON.stringify({ jwks, good, bad }));
