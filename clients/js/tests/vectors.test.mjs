// Canonical URLs, signed URLs and delivery tokens equal those of the service: `vectors.json` is written by the
// service's code (`tests/e2e/clients/vectors.rs`).

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { animatedUrl, clipUrl, storyboardUrl, thumbnailUrl } from "@glimpse-video/client";
import { deliveryToken, signUrl } from "@glimpse-video/client/server";

const { settings, vectors } = JSON.parse(await readFile(new URL("vectors.json", import.meta.url), "utf8"));
const { origin, video, kid, secret, expires } = settings;
const BUILDERS = { thumbnail: thumbnailUrl, animated: animatedUrl, storyboard: storyboardUrl, clip: clipUrl };
const key = { kid, secret, expires };

const inputOf = ({ format, sheet, v, parameters }) => ({ ...Object.fromEntries(parameters), format, sheet, v });

test("URLs are those of the service", () => {
  for (const vector of vectors.filter(({ path }) => path)) {
    assert.equal(BUILDERS[vector.kind](origin, video, inputOf(vector)), origin + vector.path, JSON.stringify(vector));
  }
});

test("parameters that the service rejects throw", () => {
  const rejected = vectors.filter(({ wrong }) => wrong);
  assert.ok(rejected.length > 50);
  for (const vector of rejected) {
    const build = () => BUILDERS[vector.kind](origin, video, inputOf(vector));
    assert.throws(build, (error) => error instanceof RangeError && error.message.startsWith(`parameter \`${vector.wrong}\``), JSON.stringify(vector));
  }
});

test("a signed URL is that of the service in any order", async () => {
  for (const { sent, path, signed } of vectors.filter(({ path }) => path)) {
    const revision = /[?&](v=[0-9a-f]{8})$/.exec(path)?.[1];
    const expected = origin + signed + (revision ? `&${revision}` : "");
    assert.equal(await signUrl(origin + sent, key), expected);
    assert.equal(await signUrl(new URL(origin + path), key), expected);
    assert.equal(await signUrl(expected, key), expected, "signing again");
  }
});

test("a delivery token is that of the API", async () => {
  const given = vectors.filter(({ token }) => token);
  assert.ok(given.length > 200);
  for (const { kind, parameters, token } of given) {
    assert.equal(await deliveryToken({ id: video }, { type: kind, parameters: Object.fromEntries(parameters), ...key }), token, JSON.stringify(parameters));
  }
});

test("texts and absent values are accepted as parameters", () => {
  assert.equal(thumbnailUrl(origin, video, { width: "320", time: "1.50", flip_h: "true", height: undefined, blur: null }), `${origin}/${video}/thumbnail.jpg?time=1.5&width=320&flip_h=true`);
});

test("the ratio of any screen is accepted as `dpr`", () => {
  const widthAt = (dpr) => new URL(thumbnailUrl(origin, video, { width: 100, dpr })).searchParams.get("width");
  assert.deepEqual([0.9, 1, 1.3333333730697632, 2.625, 3.5].map(widthAt), ["100", "100", "133", "263", "300"]);
});

test("invalid values throw", () => {
  for (const parameters of [{ width: "" }, { width: "wide" }, { width: 100.5 }, { width: Number.NaN }, { time: -1 }, { time: Number.POSITIVE_INFINITY }, { width: true }, { fit_mode: "cover" }, { play: 1 }, { format: "gif" }, { toString: 1 }]) {
    assert.throws(() => thumbnailUrl(origin, video, parameters), RangeError, JSON.stringify(parameters));
  }
  assert.throws(() => storyboardUrl(origin, video, { format: "jpg", sheet: "webp" }), RangeError);
  assert.throws(() => storyboardUrl(origin, video, { sheet: "png" }), RangeError);
});
