// Tests of the page's pure modules: formatting, upload checks, placeholders, HTML to copy.
//
//   node --test tests/browser/page.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";

import { acceptAttribute, typeNames, describeLimits, validateFile, typeOf } from "../../clients/js/src/elements/files.js";
import { bytes } from "../../clients/js/src/elements/format.js";
import { decode } from "../../clients/js/src/elements/thumbhash.js";
import { GlimpseError } from "../../clients/js/src/error.js";
import { needsParts, partBytes, partSize } from "../../clients/js/src/parts.js";
import { fingerprint } from "../../clients/js/src/resume.js";
import { snippet } from "../../web/src/copy-buttons.js";
import { ago, duration, initials, timeLeft } from "../../web/src/format.js";
import { createSpeedMeter } from "../../web/src/speed.js";
import { describeUploadError } from "../../web/src/upload-errors.js";
import { framesOfGif, framesOfWebp } from "./page-helpers.mjs";

function check(decide, cases) {
  for (const [input, expected] of cases) assert.deepEqual(decide(...[input].flat()), expected, JSON.stringify(input));
}

test("sizes are formatted as in file managers", () => {
  check(bytes, [
    [0, "0 bytes"],
    [1, "1 byte"],
    [999, "999 bytes"],
    [1000, "1 kB"],
    [999_499, "999 kB"],
    [999_500, "1 MB"],
    [12_440_000, "12.4 MB"],
    [812_000_000, "812 MB"],
    [5_368_709_120, "5.4 GB"],
    [7e15, "7,000 TB"],
  ]);
});

test("durations are formatted as in players, and none is zero", () => {
  check(duration, [
    [0, "0:00"],
    [40, "0:01"],
    [7_400, "0:07"],
    [59_600, "1:00"],
    [3_723_000, "1:02:03"],
  ]);
});

test("ages and remaining times are formatted as text", () => {
  const now = Date.UTC(2026, 0, 31, 12);
  const since = (seconds) => ago(now - seconds * 1000, now);
  check(since, [
    [-5, "just now"],
    [44, "just now"],
    [50, "50 seconds ago"],
    [90, "1 minute ago"],
    [7200, "2 hours ago"],
    [86_400, "yesterday"],
    [8 * 86_400, "Jan 23, 2026"],
  ]);
  check(timeLeft, [
    [0.3, "about a second left"],
    [42.4, "42 s left"],
    [600, "10 min left"],
    [5400, "1.5 h left"],
  ]);
});

test("initials are derived from any name", () => {
  check(initials, [
    ["Ada Lovelace", "AL"],
    ["madonna", "M"],
    ["Juan Carlos del Río", "JR"],
    ["😀 smile", "😀S"],
    ["  ", "·"],
  ]);
});

const limits = { max_upload_bytes: 1000, types: ["video/mp4", "video/x-matroska", "video/x-msvideo"] };

test("the type is the browser's if it is allowed, else that of the extension", () => {
  const of = (type, name) => typeOf({ type, name }, limits.types);
  check(of, [
    [["video/mp4", "x"], "video/mp4"],
    [["", "holiday.MKV"], "video/x-matroska"],
    [["video/avi", "old.avi"], "video/x-msvideo"],
    [["", "clip.webm"], undefined],
    [["text/plain", "notes.txt"], undefined],
    [["", "constructor"], undefined],
    [["", "x.constructor"], undefined],
  ]);
  assert.equal(acceptAttribute(["video/mp4"]), "video/mp4,.mp4");
});

test("a file is refused if its type is not allowed, or if it is empty or too large", () => {
  const code = (type, size) => validateFile({ name: "a", type, size }, limits)?.code ?? null;
  check(code, [
    [["video/mp4", 1], null],
    [["video/mp4", 1000], null],
    [["video/mp4", 1001], "too_large"],
    [["video/mp4", 0], "empty"],
    [["image/svg+xml", 1], "type_not_allowed"],
  ]);
});

test("a file of unknown type is left to the Worker", () => {
  const code = (type, name) => validateFile({ name, type, size: 1 }, limits)?.code ?? null;
  check(code, [
    [["", "1000012345"], null],
    [["video/*", "1000012345"], null],
    [["video/vnd.avi", "old.avi"], null],
    [["application/octet-stream", "clip"], null],
    [["", "clip.webm"], "type_not_allowed"],
    [["video/webm", "clip"], "type_not_allowed"],
    [["text/plain", "notes.txt"], "type_not_allowed"],
    [["audio/mpeg", "song.mp3"], "type_not_allowed"],
    [["text/vnd.trolltech.linguist", "00001.ts"], "type_not_allowed"],
  ]);
  const withStreams = { ...limits, types: [...limits.types, "video/mp2t"] };
  assert.equal(validateFile({ name: "00001.ts", type: "text/vnd.trolltech.linguist", size: 1 }, withStreams), undefined);
});

test("HTML to copy escapes the name and keeps the aspect ratio", () => {
  const urls = { "thumbnail.webp": "https://g/v/t.webp?v=1", "thumbnail.jpg": "https://g/v/t.jpg?v=1" };
  const video = { name: `"><script>&`, width: 1080, height: 1920, urls };
  assert.equal(
    snippet(video, "poster"),
    `<picture>
  <source srcset="https://g/v/t.webp?v=1" type="image/webp">
  <img src="https://g/v/t.jpg?v=1" width="640" height="1138" alt="&quot;&gt;&lt;script&gt;&amp;" loading="lazy">
</picture>`,
  );
});

test("a thumbhash is decoded to the same pixels as by the reference decoder", () => {
  // The sample of https://evanw.github.io/thumbhash/, and the output of the npm package thumbhash 0.1.1 for it.
  const { width, height, data } = decode("1QcSHQRnh493V4dIh4eXh1h4kJUI");
  assert.deepEqual([width, height], [23, 32]);
  const at = (x, y) => [...data.slice((y * width + x) * 4, (y * width + x) * 4 + 4)];
  const golden = [
    [0, 0, [64, 77, 113, 255]],
    [22, 0, [84, 109, 139, 255]],
    [11, 16, [140, 109, 88, 255]],
    [0, 31, [0, 12, 42, 255]],
    [22, 31, [0, 4, 39, 255]],
  ];
  for (const [x, y, rgba] of golden) {
    rgba.forEach((value, i) => assert.ok(Math.abs(at(x, y)[i] - value) <= 1, `${x},${y}: ${at(x, y)} is not ${rgba}`));
  }
  check(decode, [["", undefined], ["!!", undefined], ["AAAA", undefined]]);
});

test("the speed is that of the last seconds", () => {
  const speed = createSpeedMeter();
  assert.equal(speed(0, 0), 0, "unknown at first");
  assert.equal(speed(1000, 1000), 1000);
  for (let second = 2; second <= 10; second += 1) speed(1000 + (second - 1) * 50, second * 1000);
  assert.equal(speed(1500, 11_000), 50);
});

test("frames are counted by the formats' own blocks", () => {
  const gif = (frames) =>
    Buffer.concat([
      Buffer.from("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff", "latin1"),
      Buffer.from("\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00", "latin1"),
      ...Array.from({ length: frames }, () => Buffer.from("\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x4c\x01\0", "latin1")),
      Buffer.from(";"),
    ]);
  check((count) => framesOfGif(gif(count)), [[1, 1], [7, 7]]);
  assert.throws(() => framesOfGif(Buffer.from("<html>")), /not a GIF/);
  const still = Buffer.from("RIFF\x12\0\0\0WEBPVP8 \x05\0\0\0abcde\0", "latin1");
  assert.equal(framesOfWebp(still), 0);
  const chunk = Buffer.from("ANMF\x03\0\0\0abc\0", "latin1");
  assert.equal(framesOfWebp(Buffer.concat([still.subarray(0, 12), chunk, chunk])), 2);
});

test("limits are shown as text before a file is chosen", () => {
  const all = ["image/gif", "video/mp4", "video/quicktime", "video/webm", "video/x-matroska", "video/x-msvideo", "video/avi"];
  check((...types) => typeNames(types), [
    ["video/mp4", "MP4"],
    [["video/webm", "video/mp4"], "MP4 and WebM"],
    [all.slice(1, 6), "MP4, MOV, WebM, MKV and AVI"],
    [all, "MP4, MOV, WebM, MKV and 2 other kinds"],
    ["video/dv", "video/dv"],
  ]);
  assert.equal(describeLimits({ types: ["video/mp4"], max_upload_bytes: 5_368_709_120 }), "MP4, up to 5.4 GB each");
});

const MIB = 1024 * 1024;

test("files above 16 MiB are uploaded in at most 10,000 parts", () => {
  check(needsParts, [
    [0, false],
    [16 * MIB, false],
    [16 * MIB + 1, true],
  ]);
  check(partSize, [
    [17 * MIB, 5 * MIB],
    [50_000 * MIB, 5 * MIB],
    [5 * MIB * MIB, 549_755_814],
  ]);
  assert.ok(Math.ceil((5 * MIB * MIB) / partSize(5 * MIB * MIB)) <= 10_000);
  assert.equal(partBytes(4, 19 * MIB), 4 * MIB);
});

test("a file is identified by its bytes, not by its name", async () => {
  const bytes = new Uint8Array(300_000).map((_, i) => i % 251);
  const print = (name, content) => fingerprint(new File([content], name, { lastModified: 1 }));
  const original = await print("a.mp4", bytes);
  assert.match(original, /^sha256:/);
  assert.equal(await print("b.mp4", bytes), original);
  for (const at of [0, 150_000, 299_999]) {
    const changed = bytes.slice();
    changed[at] += 1;
    assert.notEqual(await print("a.mp4", changed), original, `byte ${at}`);
  }
  assert.notEqual(await print("a.mp4", bytes.subarray(1)), original);
  assert.notEqual(await print("tiny", new Uint8Array(3)), await print("tiny", new Uint8Array(4)));
});

test("errors have a message, and whether a retry makes sense", () => {
  const storage = (status, storageCode) => new GlimpseError(status, "storage", "Storage.", { storageCode });
  const cases = [
    [new GlimpseError(413, "too_large", "Too large."), { message: "Too large.", isRetryable: false }],
    [new GlimpseError(429, "busy", "Wait."), { message: "Wait.", isRetryable: true }],
    [new GlimpseError(401, "unauthorized", "Sign in."), { message: "Sign in.", isRetryable: true, signedOut: true }],
    [new GlimpseError(404, "not_found", "Gone."), { message: "Gone.", isRetryable: true, gone: true }],
    [new GlimpseError(0, "unreadable", "Moved."), { message: "Moved.", isRetryable: false, unreadable: true }],
    [new GlimpseError(0, "unreachable", "Lost."), { message: "Lost.", isRetryable: true }],
    [storage(400, "EntityTooLarge"), { isRetryable: false }],
    [storage(404, "NoSuchUpload"), { isRetryable: true, gone: true }],
    [storage(403, "AccessDenied"), { isRetryable: true, gone: false }],
  ];
  for (const [error, expected] of cases) {
    const described = describeUploadError(error);
    for (const [name, value] of Object.entries(expected)) assert.equal(described[name] ?? false, value, `${name} of ${error.status} ${error.code}`);
  }
});
