// Uploads with the package in Node.js: in one request and in parts, with every kind of interruption.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { openAsBlob } from "node:fs";
import { copyFile, readFile, writeFile } from "node:fs/promises";

import { Glimpse, GlimpseError, memoryStore, originalUrl } from "@glimpse-video/client";
import { uploadToken } from "@glimpse-video/client/server";

import { accepted, ask, bytesOf, eventually, partsOf, run, story } from "./story.mjs";

const { edge, bearer } = story;
const glimpse = new Glimpse({ url: edge, token: bearer });
const small = await openAsBlob(story.small, { type: "video/mp4" });
const large = await openAsBlob(story.large, { type: "video/mp4" });
const PART = 5 * 1024 * 1024;
const PARTS = Math.ceil(large.size / PART);
const ALL = Array.from({ length: PARTS }, (_, index) => index + 1);
const sha256 = async (blob) => createHash("sha256").update(Buffer.from(await blob.arrayBuffer())).digest("base64");
/** Short delays between attempts. */
const retryDelays = [50, 100, 200, 400, 800];

/** A client whose requests pass through `change(send, url, init)`. */
const clientWith = (change) => new Glimpse({ url: edge, token: bearer, fetch: (url, init) => change(() => fetch(url, init), String(url), init) });

const isPart = (url, { method }) => method === "PUT" && url.includes("partNumber=");

/** The first matching request has its effect, but its response is lost. */
function losingFirst(isMeant) {
  let isLost = false;
  return clientWith(async (send, url, init) => {
    const response = await send();
    if (isLost || !isMeant(url, init)) return response;
    isLost = true;
    await response.arrayBuffer();
    throw new TypeError("The response is lost.");
  });
}

/** Each part was accepted exactly once. */
function assertEachPartOnce(calls) {
  assert.deepEqual(partsOf(calls), ALL);
  assert.equal(bytesOf(calls), large.size);
}

await run([
  ["a small file is sent in one request", async () => {
    await accepted();
    const progress = [];
    const upload = glimpse.upload(small, {
      name: "Ski trip.mp4", visibility: "signed", externalId: "order 7", metadata: { title: "Ski trip" }, checksum: true,
      onProgress: (event) => progress.push(event),
    });
    assert.equal(upload.state, "sending");
    const video = await upload;
    assert.equal(upload.state, "done");
    assert.equal(upload.id, video.id);
    assert.deepEqual(progress.at(-1), { sent: small.size, total: small.size });
    const { external_id, metadata, visibility, name } = video;
    assert.deepEqual({ external_id, metadata, visibility, name }, { external_id: "order 7", metadata: { title: "Ski trip" }, visibility: "signed", name: "Ski trip.mp4" });
    const calls = await accepted();
    assert.deepEqual(calls.map(({ bytes }) => bytes), [small.size]);
    const states = [];
    for await (const { state } of glimpse.videos.events(video.id)) states.push(state);
    assert.equal(states.at(-1), "ready");
    assert.equal((await glimpse.videos.wait(video.id)).state, "ready");
  }],

  ["S3 rejects content that differs from the checksum", async () => {
    const upload = glimpse.upload(small, { name: "a.mp4", checksum: createHash("sha256").update("other").digest("base64"), retryDelays: [10] });
    await assert.rejects(upload.finished, (error) => error instanceof GlimpseError && error.code === "storage" && error.status === 400);
    assert.equal(upload.state, "failed");
    assert.equal((await glimpse.upload(small, { name: "a.mp4", checksum: await sha256(small) })).bytes, small.size);
  }],

  ["a lost response to the only request does not make a second video", async () => {
    await ask({ ask: "calls" });
    const video = await losingFirst((url, { method }) => method === "PUT").upload(small, { name: "a.mp4", retryDelays });
    const puts = (await ask({ ask: "calls" })).filter(({ method, key }) => method === "PUT" && key.endsWith(video.id));
    assert.deepEqual(puts.map(({ status }) => status), [200, 412]);
  }],

  ["an expired signature of the only request is renewed", async () => {
    let isFirst = true;
    const slow = clientWith(async (send, url, { method }) => {
      if (method === "PUT" && isFirst) {
        isFirst = false;
        await new Promise((resolve) => setTimeout(resolve, 8000));
      }
      return send();
    });
    await ask({ ask: "calls" });
    const video = await slow.upload(small, { name: "a.mp4", retryDelays });
    const puts = (await ask({ ask: "calls" })).filter(({ method, key }) => method === "PUT" && key.startsWith("uploads/"));
    const statuses = puts.map(({ status }) => status);
    // S3 closes the connection with the 403: if the response is lost, the client sends the same request again.
    assert.match(statuses.join(), /^(403,)+200$/);
    assert.ok(puts.at(-1).key.endsWith(video.id));
  }],

  ["a large file is sent in parts, each once", async () => {
    await accepted();
    const progress = [];
    const video = await glimpse.upload(large, { name: "large clip.mp4", onProgress: ({ sent }) => progress.push(sent) });
    assertEachPartOnce(await accepted());
    assert.deepEqual(progress, [...progress].sort((a, b) => a - b), "progress does not go back");
    assert.equal(progress.at(-1), large.size);
    assert.equal((await glimpse.videos.wait(video.id)).bytes, large.size);
    const original = await fetch(originalUrl(glimpse, video), { headers: { authorization: `Bearer ${bearer}` } });
    assert.equal(await sha256(await original.blob()), await sha256(large));
  }],

  ["a large file has the fields of its options", async () => {
    const { id } = await glimpse.upload(large, { name: "large clip.mp4", visibility: "signed", externalId: "order 8", metadata: { title: "A" } });
    const { external_id, metadata, visibility, name } = await glimpse.videos.get(id);
    assert.deepEqual({ external_id, metadata, visibility, name }, { external_id: "order 8", metadata: { title: "A" }, visibility: "signed", name: "large clip.mp4" });
  }],

  ["a pause stops sending, and keeps finished parts", async () => {
    await accepted();
    const states = [];
    const upload = glimpse.upload(large, {
      parallel: 1, name: "a.mp4", onState: (state) => states.push(state),
      onProgress: ({ sent }) => void (sent >= 2 * PART && states.length === 0 && upload.pause()),
    });
    await eventually("the pause", () => upload.state === "paused");
    await new Promise((resolve) => setTimeout(resolve, 500));
    const before = await accepted();
    assert.deepEqual(partsOf(before), [1, 2]);
    upload.resume();
    await upload;
    assertEachPartOnce([...before, ...(await accepted())]);
    assert.deepEqual(states, ["paused", "sending", "done"]);
  }],

  ["pauses at any moment lose at most the parts that are being sent", async () => {
    await accepted();
    const upload = glimpse.upload(large, { name: "a.mp4" });
    for (let pauses = 0; pauses < 5; pauses += 1) {
      await new Promise((resolve) => setTimeout(resolve, 60));
      upload.pause();
      await new Promise((resolve) => setTimeout(resolve, 20));
      upload.resume();
    }
    const video = await upload;
    assert.deepEqual([...new Set(partsOf(await accepted()))], ALL);
    assert.equal((await glimpse.videos.wait(video.id)).bytes, large.size);
  }],

  ["errors of S3 are retried", async () => {
    await accepted();
    await ask({ ask: "fault", method: "PUT", times: 2, kind: "SlowDown" });
    await ask({ ask: "fault", method: "PUT", times: 1, kind: "InternalError" });
    await glimpse.upload(large, { name: "a.mp4", retryDelays });
    assertEachPartOnce(await accepted());
  }],

  ["errors of the Worker are retried", async () => {
    await ask({ ask: "fault", method: "POST", times: 1, kind: "InternalError" });
    assert.ok(await glimpse.upload(large, { name: "a.mp4", retryDelays }));
  }],

  ["a lost response to the completion does not make a second video", async () => {
    const video = await losingFirst((url) => url.includes("/complete")).upload(large, { name: "a.mp4", retryDelays });
    assert.equal((await glimpse.videos.wait(video.id)).bytes, large.size);
  }],

  ["an expired signature of a part is renewed", async () => {
    let isFirst = true;
    const slow = clientWith(async (send, url, init) => {
      if (isPart(url, init) && isFirst) {
        isFirst = false;
        await new Promise((resolve) => setTimeout(resolve, 8000));
      }
      return send();
    });
    await ask({ ask: "calls" });
    await slow.upload(large, { name: "a.mp4", parallel: 1, retryDelays });
    const puts = (await ask({ ask: "calls" })).filter(({ method, part }) => method === "PUT" && part);
    assert.ok(puts.some(({ status }) => status === 403), "one was rejected");
    assertEachPartOnce(puts.filter(({ status }) => status === 200));
  }],

  ["a broken connection costs at most the parts that are being sent", async () => {
    await accepted();
    const before = await ask({ ask: "traffic" });
    await ask({ ask: "cut", after: 20 * 1024 * 1024 });
    await glimpse.upload(large, { name: "a.mp4", retryDelays });
    const after = await ask({ ask: "traffic" });
    assert.equal(after.cuts, before.cuts + 1);
    // S3 may have accepted a part whose response was cut off.
    assert.deepEqual([...new Set(partsOf(await accepted()))], ALL);
    assert.ok(after.sent - before.sent < large.size + 3 * PART + 200_000, `${after.sent - before.sent} bytes`);
  }],

  ["after a failure the same file continues", async () => {
    const store = memoryStore();
    await accepted();
    await ask({ ask: "fault", method: "PUT", times: 100, kind: "SlowDown" });
    const upload = glimpse.upload(large, { name: "a.mp4", store, parallel: 1, retryDelays: [] });
    await assert.rejects(upload.finished, (error) => error.status === 503);
    await ask({ ask: "clear" });
    assert.equal((await store.list()).length, 1);
    let hasFailed = false;
    const failing = clientWith(async (send, url, init) => {
      if (isPart(url, init) && url.includes("partNumber=4&")) {
        hasFailed = true;
        throw new TypeError("no connection");
      }
      return send();
    });
    await assert.rejects(failing.upload(large, { name: "a.mp4", store, parallel: 1, retryDelays: [] }).finished, (error) => error.code === "unreachable");
    assert.ok(hasFailed);
    const first = await accepted();
    assert.deepEqual(partsOf(first), [1, 2, 3]);
    await glimpse.upload(large, { name: "another name.mp4", store });
    assertEachPartOnce([...first, ...(await accepted())]);
    assert.deepEqual(await store.list(), []);
  }],

  ["another file, and `resume: false`, start from the beginning", async () => {
    const store = memoryStore();
    await ask({ ask: "fault", method: "PUT", times: 1, kind: "SlowDown" });
    const upload = glimpse.upload(large, { name: "a.mp4", store, retryDelays: [] });
    await assert.rejects(upload.finished);
    const bytes = Buffer.from(await large.arrayBuffer());
    bytes[bytes.length - 1] ^= 1;
    const other = await glimpse.upload(new Blob([bytes]), { name: "a.mp4", store });
    assert.notEqual(other.id, upload.id);
    const again = await glimpse.upload(large, { name: "a.mp4", store, resume: false });
    assert.notEqual(again.id, upload.id);
    assert.equal((await store.list()).length, 1, "the unfinished one is still recorded");
    assert.equal((await glimpse.upload(large, { name: "a.mp4", store })).id, upload.id);
  }],

  ["an unfinished upload that the server has deleted starts again", async () => {
    const store = memoryStore();
    await ask({ ask: "fault", method: "PUT", times: 1, kind: "SlowDown" });
    const upload = glimpse.upload(large, { name: "a.mp4", store, retryDelays: [] });
    await assert.rejects(upload.finished);
    await glimpse.uploads.abort(upload.multipart);
    const video = await glimpse.upload(large, { name: "a.mp4", store });
    assert.notEqual(video.id, upload.id);
    assert.deepEqual(await store.list(), []);
  }],

  ["abort deletes the parts", async () => {
    const store = memoryStore();
    const begun = await ask({ ask: "unfinished" });
    const upload = glimpse.upload(large, { name: "a.mp4", store, parallel: 1, onProgress: ({ sent }) => void (sent > 9_000_000 && upload.pause()) });
    await eventually("the pause", () => upload.state === "paused");
    await upload.abort();
    await assert.rejects(upload.finished, { name: "AbortError" });
    assert.equal(upload.state, "aborted");
    assert.deepEqual(await ask({ ask: "unfinished" }), begun);
    assert.deepEqual(await store.list(), []);

    const controller = new AbortController();
    const reason = new Error("enough");
    const other = glimpse.upload(large, { name: "a.mp4", store, parallel: 1, signal: controller.signal, onProgress: ({ sent }) => void (sent > 9_000_000 && controller.abort(reason)) });
    await assert.rejects(other.finished, reason);
    await eventually("the upload is aborted", async () => (await ask({ ask: "unfinished" })).count === begun.count);
    await assert.rejects(glimpse.upload(small, { signal: AbortSignal.abort(reason) }).finished, reason);
  }],

  ["the holder of an upload token of the API uploads", async () => {
    const { url } = await glimpse.uploadTokens.create({ videos: 2, max_bytes: large.size, external_id: "order 9" });
    const holder = new Glimpse({ url });
    const video = await holder.upload(small, { name: "a.mp4" });
    assert.deepEqual(Object.keys(video).sort(), ["id", "problem", "state"]);
    assert.equal((await holder.videos.wait(video.id)).state, "ready");
    const { id } = await holder.upload(large, { name: "b.mp4" });
    assert.equal((await glimpse.videos.get(id)).external_id, "order 9");
    await assert.rejects(holder.upload(small, { name: "c.mp4" }).finished, (error) => error.code === "token_used_up" && error.status === 403);
    await assert.rejects(holder.upload(large, { metadata: { title: "A" } }).finished, /set by the token/);
  }],

  ["the holder of an upload token of the package uploads", async () => {
    const limits = { externalId: "order 10", metadata: { shop: "x" }, visibility: "signed", maxBytes: small.size, types: ["video/mp4"], videos: 1 };
    const { url } = await uploadToken({ ...story.uploadKey, url: `${edge}/`, issuer: story.issuer, subject: story.subject, ...limits });
    const holder = new Glimpse({ url });
    const { limits: shown } = await holder.me();
    assert.deepEqual([shown.max_upload_bytes, shown.types], [small.size, ["video/mp4"]]);
    const { id } = await holder.upload(small, { name: "a.mp4" });
    const { external_id, metadata, visibility } = await glimpse.videos.get(id);
    assert.deepEqual({ external_id, metadata, visibility }, { external_id: "order 10", metadata: { shop: "x" }, visibility: "signed" });
    await assert.rejects(holder.upload(large, { name: "b.mp4" }).finished, (error) => ["too_large", "token_used_up"].includes(error.code));
  }],

  ["a token function is called again after 401", async () => {
    const given = ["eyJhbGciOiJIUzI1NiJ9.e30.AAAA", bearer];
    let calls = 0;
    const client = new Glimpse({ url: edge, token: async () => given[Math.min(calls++, 1)] });
    assert.ok(await client.upload(small, { name: "a.mp4" }));
    assert.equal(calls, 2);
    await assert.rejects(new Glimpse({ url: edge, token: given[0] }).upload(small).finished, (error) => error.status === 401 && error.code === "unauthorized" && Boolean(error.requestId));
    assert.ok(await new Glimpse({ url: edge }).upload(small, { token: bearer, name: "a.mp4" }));
  }],

  ["a changed file is reported as unreadable", async () => {
    const path = `${story.large}.copy`;
    await copyFile(story.large, path);
    const blob = await openAsBlob(path);
    let isFirst = true;
    const onProgress = ({ sent }) => {
      if (sent < 9_000_000 || !isFirst) return;
      isFirst = false;
      upload.pause();
    };
    const upload = glimpse.upload(blob, { name: "a.mp4", parallel: 1, retryDelays, onProgress });
    await eventually("the pause", () => upload.state === "paused");
    await writeFile(path, (await readFile(path)).subarray(0, 1000));
    upload.resume();
    await assert.rejects(upload.finished, (error) => error instanceof GlimpseError && error.code === "unreadable");
    await upload.abort();
    assert.equal(upload.state, "aborted");
  }],
]);
