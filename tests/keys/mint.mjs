// Generates a key set and tokens, valid and invalid, with Node's crypto module: an issuer that shares no code with
// Glimpse.
//
//   node tests/keys/mint.mjs ISSUER AUDIENCE     prints { jwks, good: {alg: token}, bad: {reason: token} } for bearer
//       tokens, and the same for delivery tokens of `video` as `delivery`

import { constants, createHash, createHmac, generateKeyPairSync, privateEncrypt, sign } from "node:crypto";

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
const rsa = KINDS.RS256;
const ec = KINDS.ES256;
const ed = KINDS.EdDSA;

// The orders of the groups: FIPS 186-4 section D.1.2.3, and RFC 8032 section 5.1.
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const number = (bytes) => BigInt(`0x${bytes.toString("hex")}`);
const bytes32 = (value) => Buffer.from(value.toString(16).padStart(64, "0"), "hex");
/** Changes a valid ECDSA signature. */
const ecdsa = (change) => (data) => {
  const good = by(ec.pair, "sha256")(data);
  return Buffer.concat(change(number(good.subarray(0, 32)), number(good.subarray(32))).map(bytes32));
};
/** An RSA signature of an arbitrary block. */
const raw = (block) => privateEncrypt({ key: rsa.pair.privateKey, padding: constants.RSA_NO_PADDING }, block);
/** PKCS #1 version 1.5 with too little padding, and data after the digest: Bleichenbacher's forgery of 2006. */
function loose(data) {
  const info = Buffer.from("3031300d060960864801650304020105000420", "hex");
  const digest = createHash("sha256").update(data).digest();
  const begin = Buffer.concat([Buffer.from([0, 1]), Buffer.alloc(8, 0xff), Buffer.from([0]), info, digest]);
  return raw(Buffer.concat([begin, Buffer.alloc(256 - begin.length, 7)]));
}

/** The same claims signed with each algorithm, and with every possible defect of signatures, headers and keys. */
function vectors(payload) {
  const es = (signer) => token({ alg: "ES256", kid: "ES256" }, payload, signer);
  const rs = (signer, more = {}) => token({ alg: "RS256", kid: "RS256", ...more }, payload, signer);
  const eddsa = (signer) => token({ alg: "EdDSA", kid: "EdDSA" }, payload, signer);
  const good = {};
  for (const [alg, { pair, digest }] of Object.entries(KINDS)) {
    good[alg] = token({ alg, kid: alg, typ: "JWT" }, payload, by(pair, digest));
  }
  good["ES256 with its other s"] = es(ecdsa((r, s) => [r, N - s]));
  good["a type with its prefix"] = rs(by(rsa.pair, "sha256"), { typ: "application/jwt" });
  good["a type in other letters"] = rs(by(rsa.pair, "sha256"), { typ: "At+JWT" });
  const pem = rsa.pair.publicKey.export({ format: "pem", type: "spki" });
  const bad = {
    "J1 alg none": `${text({ alg: "none", kid: "RS256" })}.${text(payload)}.`,
    "J1 HS256 with the RSA public key": token({ alg: "HS256", kid: "RS256" }, payload, (data) => createHmac("sha256", pem).update(data).digest()),
    "J1 RS256 under the EC key's name": token({ alg: "RS256", kid: "ES256" }, payload, by(rsa.pair, "sha256")),
    "J2 unknown kid": token({ alg: "RS256", kid: "nobody" }, payload, by(stranger, "sha256")),
    "J2 a stranger's key brought along": rs(by(stranger, "sha256"), { jwk: publicJwk(stranger, "RS256") }),
    "J2 jku of a stranger": rs(by(stranger, "sha256"), { kid: "s", jku: "https://evil.example/jwks" }),
    "J2 x5u of a stranger": rs(by(stranger, "sha256"), { x5u: "https://evil.example/x5u" }),
    "J3 DER instead of P1363": es(by(ec.pair, "sha256", "der")),
    "J3 r and s are 0": es(() => Buffer.alloc(64)),
    "J3 r is 0": es(ecdsa((r, s) => [0n, s])),
    "J3 s is 0": es(ecdsa((r) => [r, 0n])),
    "J3 r and s are 1": es(() => Buffer.concat([bytes32(1n), bytes32(1n)])),
    "J3 r and s are n": es(() => Buffer.concat([bytes32(N), bytes32(N)])),
    "J3 r is n": es(ecdsa((r, s) => [N, s])),
    "J3 s is n": es(ecdsa((r) => [r, N])),
    "J3 s is n + 1": es(ecdsa((r) => [r, N + 1n])),
    "J3 all ones": es(() => Buffer.alloc(64, 0xff)),
    "J3 r and s change places": es(ecdsa((r, s) => [s, r])),
    "J3 another r": es(ecdsa((r, s) => [r + 1n, s])),
    "J3 a trailing byte": es((data) => Buffer.concat([by(ec.pair, "sha256")(data), Buffer.from([0])])),
    "J3 a byte too few": es((data) => by(ec.pair, "sha256")(data).subarray(0, 63)),
    "J3 no signature": es(() => Buffer.alloc(0)),
    "J3 SHA-384 under ES256": es(by(ec.pair, "sha384")),
    "J3 EdDSA of zeros": eddsa(() => Buffer.alloc(64)),
    "J3 EdDSA with S + L": eddsa((data) => {
      const signature = by(ed.pair, null)(data);
      const s = number(Buffer.from(signature.subarray(32)).reverse()) + L;
      return Buffer.concat([signature.subarray(0, 32), bytes32(s).reverse()]);
    }),
    "J3 EdDSA with a trailing byte": eddsa((data) => Buffer.concat([by(ed.pair, null)(data), Buffer.from([0])])),
    "J3 RSA of zeros": rs(() => Buffer.alloc(256)),
    "J3 RSA of one": rs(() => Buffer.concat([Buffer.alloc(255), Buffer.from([1])])),
    "J3 RSA beyond the modulus": rs(() => Buffer.alloc(256, 0xff)),
    "J3 RSA with a trailing byte": rs((data) => Buffer.concat([by(rsa.pair, "sha256")(data), Buffer.from([0])])),
    "J3 RSA with a leading zero": rs((data) => Buffer.concat([Buffer.from([0]), by(rsa.pair, "sha256")(data)])),
    "J3 RSA with little padding": rs(loose),
    "J3 RSA with PSS": rs((data) => sign("sha256", data, { key: rsa.pair.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING })),
    "J3 RSA with SHA-1": rs(by(rsa.pair, "sha1")),
    "J5 expired": token({ alg: "RS256", kid: "RS256" }, { ...payload, exp: now - 61 }, by(rsa.pair, "sha256")),
    "J5 not yet": token({ alg: "RS256", kid: "RS256" }, { ...payload, nbf: now + 120 }, by(rsa.pair, "sha256")),
    "J5 exp is text": token({ alg: "RS256", kid: "RS256" }, { ...payload, exp: `${now + 60}` }, by(rsa.pair, "sha256")),
    "J7 weak key": token({ alg: "RS256", kid: "weak" }, payload, by(weak, "sha256")),
    "J7 key for encryption": token({ alg: "ES256", kid: "enc" }, payload, by(ec.pair, "sha256")),
    "J7 key off the curve": token({ alg: "ES256", kid: "off" }, payload, by(ec.pair, "sha256")),
    "tampered": good.RS256.replace(/\.[^.]+\./, `.${text({ ...payload, sub: "mallory" })}.`),
  };
  return { good, bad };
}

const own = Object.entries(KINDS).map(([alg, { pair }]) => publicJwk(pair, alg, { alg, use: "sig" }));
// As Java's BigInteger writes a modulus whose first bit is set.
own[0].n = Buffer.concat([Buffer.from([0]), Buffer.from(own[0].n, "base64url")]).toString("base64url");
const point = publicJwk(ec.pair, "off");
const y = Buffer.from(point.y, "base64url");
y[31] ^= 1;
const off = { ...point, y: y.toString("base64url") };

const bearer = vectors(claims);
const by_rsa = (payload) => token({ alg: "RS256", kid: "RS256" }, payload, by(rsa.pair, "sha256"));
Object.assign(bearer.bad, {
  "J6 other audience": by_rsa({ ...claims, aud: `${audience}2` }),
  "J6 other issuer": by_rsa({ ...claims, iss: `${issuer}/` }),
  "J6 an ID token": by_rsa({ ...claims, token_use: "id" }),
});

// A video of 1970, which does not exist: a valid token leads to `not_found`.
const video = "7zzzzzzzzz0123456789abcdef";
const picture = { sub: video, aud: "t", exp: now + 3600 };
const delivery = vectors(picture);
Object.assign(delivery.bad, {
  "J6 for animations": by_rsa({ ...picture, aud: "g" }),
  "J6 for a part of the word": by_rsa({ ...picture, aud: "thumbnail" }),
  "J6 another video": by_rsa({ ...picture, sub: "7zzzzzzzzz0123456789abcdeg" }),
  "J6 a bearer token": by_rsa(claims),
});

console.log(
  JSON.stringify({
    jwks: { keys: [...own, publicJwk(weak, "weak"), publicJwk(ec.pair, "enc", { use: "enc" }), off] },
    ...bearer,
    // An unusable key is rejected when the deployment is configured.
    delivery: { video, jwks: { keys: [...own, off] }, ...delivery },
  }),
);
