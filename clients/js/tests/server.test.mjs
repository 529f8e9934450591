// Signing and verification on servers.

import assert from "node:assert/strict";
import { createHmac, createPublicKey, verify } from "node:crypto";
import { test } from "node:test";

import { Webhook } from "standardwebhooks";

import { WebhookError, deliveryToken, signUrl, uploadToken, verifyWebhook } from "@glimpse-video/client/server";

const VIDEO = "7yegr1n5zz040g2081040g2081";
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY = '{"type":"video.ready","created_at":"2023-11-14T22:13:25.000Z","data":{"id":"7yegr1n5zz040g2081040g2081","state":"ready","metadata":{"shop":"é"}}}';
const NOW = 1_700_000_005_000;

const partOf = (token, index) => JSON.parse(Buffer.from(token.split(".")[index], "base64url"));

function headersOf(body, secret = SECRET, seconds = NOW / 1000) {
  const signature = new Webhook(secret).sign("msg_1", new Date(seconds * 1000), body);
  return { "webhook-id": "msg_1", "webhook-timestamp": String(seconds), "webhook-signature": signature };
}

function muxHeaders(body, secret = SECRET, seconds = NOW / 1000) {
  return { "glimpse-signature": `t=${seconds},v1=${createHmac("sha256", secret).update(`${seconds}.${body}`).digest("hex")}` };
}

test("a webhook with a valid signature returns its event", async () => {
  for (const headers of [headersOf(BODY), muxHeaders(BODY)]) {
    for (const body of [BODY, new TextEncoder().encode(BODY), new TextEncoder().encode(BODY).buffer, Buffer.from(BODY)]) {
      assert.deepEqual(await verifyWebhook(body, headers, SECRET, { now: NOW }), JSON.parse(BODY));
    }
    assert.ok(await verifyWebhook(BODY, new Headers(headers), SECRET, { now: NOW }));
    const upper = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.replace(/\b./g, (c) => c.toUpperCase()), value]));
    assert.ok(await verifyWebhook(BODY, upper, SECRET, { now: NOW }));
  }
});

test("a webhook of a rotated secret is accepted", async () => {
  const newer = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
  const both = { ...headersOf(BODY), "webhook-signature": `${headersOf(BODY, newer)["webhook-signature"]} ${headersOf(BODY)["webhook-signature"]}` };
  for (const secret of [SECRET, newer, [newer, SECRET]]) assert.ok(await verifyWebhook(BODY, both, secret, { now: NOW }));
  assert.ok(await verifyWebhook(BODY, headersOf(BODY), [newer, SECRET], { now: NOW }));
  assert.ok(await verifyWebhook(BODY, muxHeaders(BODY), [newer, SECRET], { now: NOW }));
});

test("a webhook that is changed, old or unsigned is rejected", async () => {
  const other = `whsec_${Buffer.alloc(24, 1).toString("base64")}`;
  for (const headersFor of [headersOf, muxHeaders]) {
    for (const [code, body, headers, options] of [
      ["wrong_signature", `${BODY} `, headersFor(BODY), {}],
      ["wrong_signature", BODY, headersFor(BODY, other), {}],
      ["wrong_time", BODY, headersFor(BODY, SECRET, NOW / 1000 - 301), {}],
      ["wrong_time", BODY, headersFor(BODY, SECRET, NOW / 1000 + 301), {}],
      ["wrong_time", BODY, headersFor(BODY, SECRET, NOW / 1000 - 20), { tolerance: 10 }],
    ]) {
      await assert.rejects(verifyWebhook(body, headers, SECRET, { now: NOW, ...options }), (error) => error instanceof WebhookError && error.code === code, code);
    }
  }
  const rejected = (code, body, headers) => assert.rejects(verifyWebhook(body, headers, SECRET, { now: NOW }), (error) => error instanceof WebhookError && error.code === code);
  await rejected("missing_signature", BODY, {});
  await rejected("wrong_signature", BODY, { ...headersOf(BODY), "webhook-id": "msg_2" });
  await rejected("wrong_signature", BODY, { ...headersOf(BODY), "webhook-timestamp": String(NOW / 1000 - 1) });
  await rejected("wrong_signature", BODY, { ...headersOf(BODY), "webhook-signature": "v1a,AAAA" });
  await rejected("malformed", BODY, { ...headersOf(BODY), "webhook-signature": "v1,%" });
  await rejected("wrong_signature", BODY, { "glimpse-signature": "t=1,v1=zz" });
  await rejected("wrong_signature", BODY, { "glimpse-signature": "v1" });
  await rejected("malformed", "no JSON", headersOf("no JSON"));
});

test("delivery tokens are signed with keys of every algorithm", async () => {
  for (const [algorithm, alg, hash] of [
    [{ name: "RSASSA-PKCS1-v1_5", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" }, "RS256", "sha256"],
    [{ name: "ECDSA", namedCurve: "P-256" }, "ES256", "sha256"],
    [{ name: "Ed25519" }, "EdDSA", null],
  ]) {
    const { privateKey, publicKey } = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const token = await deliveryToken(VIDEO, { type: "thumbnail", parameters: { time: 1 }, kid: "k", secret: privateKey });
    assert.deepEqual(partOf(token, 0), { alg, kid: "k", typ: "JWT" });
    const key = createPublicKey({ key: await crypto.subtle.exportKey("jwk", publicKey), format: "jwk" });
    const [header, claims, signature] = token.split(".");
    assert.ok(verify(hash, Buffer.from(`${header}.${claims}`), { key, dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "base64url")), alg);
  }
  const { privateKey } = await crypto.subtle.generateKey({ name: "RSA-PSS", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" }, true, ["sign", "verify"]);
  await assert.rejects(deliveryToken(VIDEO, { type: "thumbnail", kid: "k", secret: privateKey }), TypeError);
});

test("a delivery token has the claims of its type and lifetime", async () => {
  const before = Math.floor(Date.now() / 1000);
  const claims = partOf(await deliveryToken(VIDEO, { type: "original", kid: "k", secret: "s" }), 1);
  assert.deepEqual({ ...claims, exp: 0 }, { sub: VIDEO, aud: "v", exp: 0 });
  assert.ok(claims.exp >= before + 3600 && claims.exp <= before + 3605);
  assert.equal(partOf(await deliveryToken(VIDEO, { type: "clip", kid: "k", secret: new Uint8Array(32), expires: 5 }), 1).exp, 5);
  await assert.rejects(deliveryToken(VIDEO, { type: "original", parameters: { time: 1 }, kid: "k", secret: "s" }), RangeError);
  await assert.rejects(deliveryToken(VIDEO, { type: "thumbnail", parameters: { tiles: 4 }, kid: "k", secret: "s" }), RangeError);
});

test("a URL that is no image is signed as it is", async () => {
  const signed = await signUrl(`https://v.example/${VIDEO}/original`, { kid: "k", secret: "s", expires: 5 });
  const sig = createHmac("sha256", "s").update(`/${VIDEO}/original?expires=5&kid=k`).digest("base64url");
  assert.equal(signed, `https://v.example/${VIDEO}/original?expires=5&kid=k&sig=${sig}`);
  await assert.rejects(signUrl(`https://v.example/${VIDEO}/thumbnail.jpg?time=1&time=2`, { kid: "k", secret: "s" }), RangeError);
  await assert.rejects(signUrl(`https://v.example/${VIDEO}/thumbnail.jpg?zoom=1`, { kid: "k", secret: "s" }), RangeError);
});

test("an upload token has only the claims that were set", async () => {
  const options = { url: "https://video.example.com/", issuer: "https://id.example.com", subject: "alice", kid: "2026", secret: "s" };
  const { token, url, expires } = await uploadToken({ ...options, maxBytes: 5, externalId: "order 7", expiresIn: 60 });
  assert.equal(url, `https://video.example.com/u/${token}`);
  const { iat, exp, jti, ...claims } = partOf(token, 1);
  assert.deepEqual(claims, { iss: "https://id.example.com", sub: "alice", aud: "https://video.example.com/u", max_bytes: 5, external_id: "order 7" });
  assert.deepEqual([exp, exp - iat, jti.length], [expires, 60, 36]);
  assert.notEqual(partOf((await uploadToken(options)).token, 1).jti, jti);
});
