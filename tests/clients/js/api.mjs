// The package's calls of the API, signed URLs and tokens, with the real Worker.

import assert from "node:assert/strict";
import { openAsBlob } from "node:fs";

import { Glimpse, GlimpseError, animatedUrl, clipUrl, originalUrl, pageUrl, storyboardUrl, thumbnailUrl } from "@glimpse-video/client";
import { deliveryToken, signUrl } from "@glimpse-video/client/server";

import { run, story } from "./story.mjs";

const { edge, bearer, deliveryKey } = story;
const glimpse = new Glimpse({ url: edge, token: bearer });
const anyone = new Glimpse({ url: edge });
const other = { ...deliveryKey, secret: `${deliveryKey.secret} of another deployment` };
const small = await openAsBlob(story.small, { type: "video/mp4" });

/** The problem of a rejected call. */
async function problemOf(promise) {
  const error = await promise.then(() => assert.fail("it succeeded"), (reason) => reason);
  assert.ok(error instanceof GlimpseError, String(error));
  assert.ok(error.requestId && error.message.length > 10);
  return [error.status, error.code];
}

async function statusOf(url) {
  const response = await fetch(url, { redirect: "manual" });
  await response.arrayBuffer();
  return response.status;
}

await run([
  ["the caller and the service", async () => {
    const me = await glimpse.me();
    assert.ok(me.limits.types.includes("video/mp4"));
    assert.deepEqual(await problemOf(anyone.me()), [401, "unauthorized"]);
    await anyone.health();
    assert.equal((await anyone.openapi()).openapi.slice(0, 2), "3.");
  }],

  ["videos", async () => {
    const { videos, cursor } = await glimpse.videos.list({ limit: 1 });
    assert.equal(videos.length, 1);
    assert.equal((await glimpse.videos.list({ limit: 1, cursor })).videos.length, 1);
    const ids = [];
    for await (const { id } of glimpse.videos.all()) ids.push(id);
    assert.deepEqual(ids.sort(), [story.public, story.private].sort());
    assert.equal((await glimpse.videos.get(story.public)).state, "ready");
    assert.deepEqual(await problemOf(glimpse.videos.get("7zzzzzzzzz0123456789abcdef")), [404, "not_found"]);

    const { video } = await glimpse.videos.send(small, { name: "through the Worker.mp4", wait: 60 });
    assert.equal(video.name, "through the Worker.mp4");
    assert.equal((await glimpse.videos.wait(video.id)).state, "ready");
    assert.equal((await glimpse.videos.setPoster(video.id, 1.5)).poster_ms, 1500);
    assert.notEqual((await glimpse.videos.resetPoster(video.id)).poster_ms, 1500);
    assert.equal((await glimpse.videos.delete(video.id)).removed.source, true);
    assert.deepEqual(await problemOf(glimpse.videos.get(video.id)), [410, "deleted"]);
  }],

  ["a video that is rejected", async () => {
    const video = await glimpse.upload(new Blob(["no video"]), { name: "a.mp4" });
    const { state, problem } = await glimpse.videos.wait(video.id);
    assert.deepEqual([state, problem.code], ["rejected", "not_a_video"]);
    assert.deepEqual(await problemOf(glimpse.upload(new Blob(["<html>"]), { name: "a.html", type: "text/html" }).finished), [415, "type_not_allowed"]);
    assert.deepEqual(await problemOf(glimpse.upload(new Blob([])).finished), [422, "empty"]);
  }],

  ["unfinished uploads", async () => {
    const upload = await glimpse.uploads.create({ filename: "a.mp4", type: "video/mp4" });
    const { uploads } = await glimpse.uploads.list();
    assert.deepEqual(uploads.map(({ uploadId }) => uploadId), [upload.uploadId]);
    const { url } = await glimpse.uploads.signPart(upload, 1, small.size);
    const sent = await fetch(url, { method: "PUT", body: small });
    assert.equal(sent.status, 200);
    const [part] = await glimpse.uploads.parts(upload);
    assert.deepEqual([part.PartNumber, part.Size, part.ETag], [1, small.size, sent.headers.get("etag")]);
    assert.deepEqual(Object.keys((await glimpse.uploads.signParts(upload, [2, 3], 5_242_880)).presignedUrls), ["2", "3"]);
    const { video } = await glimpse.uploads.complete(upload, [part]);
    assert.equal(video.id, upload.key.split("/").at(-1));
    const second = await glimpse.uploads.create({ filename: "b.mp4" });
    await glimpse.uploads.abort(second);
    await glimpse.uploads.abort(second);
    assert.ok((await glimpse.uploads.params({ filename: "a.mp4", type: "video/mp4", size: 5 })).url);
    assert.ok((await glimpse.uploads.presign({ method: "PUT", key: "a.mp4", size: 5 })).url);
  }],

  ["a public video's document, embedding and images", async () => {
    const meta = await anyone.meta(story.public);
    assert.equal(meta.title, "Ski trip");
    const embedded = await anyone.oembed(pageUrl(edge, story.public), { maxwidth: 320 });
    assert.equal(embedded.width, 320);
    assert.deepEqual(await problemOf(anyone.meta(story.private)), [401, "unauthorized"]);
    for (const url of [
      thumbnailUrl(edge, story.public, { time: 1.25, width: 200, format: "webp" }),
      thumbnailUrl(glimpse, meta, { width: 120, dpr: 2, rotate: 90, flip_h: true, quality: 60 }),
      animatedUrl(edge, story.public, { start: 0.5, end: 1.5, format: "gif" }),
      storyboardUrl(edge, story.public, { tiles: 4, sheet: "webp" }),
      clipUrl(edge, story.public, { start: 1, end: 2 }),
      pageUrl(edge, story.public),
    ]) assert.equal(await statusOf(url), 200, url);
  }],

  ["signed URLs open a private video's images, whatever order the caller used", async () => {
    const at = (file) => `${edge}/${story.private}/${file}`;
    for (const url of [
      thumbnailUrl(edge, story.private),
      thumbnailUrl(edge, story.private, { width: 200, time: 1.5, v: "0a1b2c3d" }),
      at("thumbnail.jpg?width=200&time=1.50&flip_v=false"),
      at("thumbnail.webp?rotate=180&quality=80&height=90&width=160&fit_mode=crop&flip_h=true&time=1"),
      at("thumbnails/thumbnail.jpg?width=160&time=1s"),
      animatedUrl(edge, story.private, { start: 0.5, end: 1.5, width: 160 }),
      at("animated.gif?end=2&start=1.000&fps=15"),
      at("storyboard.vtt?format=webp&tiles=4&asset_start_time=0"),
      at("storyboard.json"),
      clipUrl(edge, story.private, { start: 1 , end: 2 }),
    ]) {
      assert.equal(await statusOf(url), 401, `unsigned: ${url}`);
      assert.equal(await statusOf(await signUrl(url, deliveryKey)), 200, url);
      assert.equal(await statusOf(await signUrl(url, other)), 403, `another key: ${url}`);
      assert.equal(await statusOf(await signUrl(url, { ...deliveryKey, expiresIn: -120 })), 403, `expired: ${url}`);
    }
    assert.equal(await statusOf(await signUrl(originalUrl(edge, story.private), deliveryKey)), 302);
    // A signature is for one image.
    const signed = await signUrl(thumbnailUrl(edge, story.private, { time: 1 }), deliveryKey);
    assert.equal(await statusOf(signed.replace("time=1", "time=2")), 403);
  }],

  ["delivery tokens open a private video's images", async () => {
    for (const [type, file, parameters] of [
      ["thumbnail", "thumbnail.jpg", { width: 200, time: 1.5 }],
      ["thumbnail", "thumbnail.png", {}],
      ["animated", "animated.webp", { start: 1, end: 2 }],
      ["storyboard", "storyboard.vtt", { tiles: 4 }],
      ["original", "original", undefined],
      ["clip", "clip.mp4", { start: 1, end: 2, audio: false }],
    ]) {
      const url = `${edge}/${story.private}/${file}?token=`;
      const expected = type === "original" ? 302 : 200;
      assert.equal(await statusOf(url + (await deliveryToken(story.private, { type, parameters, ...deliveryKey }))), expected, file);
      assert.equal(await statusOf(url + (await deliveryToken(story.private, { type, parameters, ...other }))), 403, file);
      assert.equal(await statusOf(url + (await deliveryToken(story.public, { type, parameters, ...deliveryKey }))), 403, file);
    }
    const { tokens } = await glimpse.videos.tokens(story.private, { types: ["thumbnail"], parameters: { time: 1 } });
    assert.equal(await statusOf(tokens[0].urls["thumbnail.jpg"].short), 200);
  }],

  ["the end of a session without one", async () => {
    await anyone.logout().catch((error) => assert.ok(error instanceof GlimpseError));
    assert.equal(await statusOf(anyone.loginUrl("/")), 404, "no provider is configured here");
  }],
]);
