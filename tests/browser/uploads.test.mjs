// Tests of uploads: how the page sends files, which files it refuses, and the cards of videos until they are deleted.
// In Chromium, against a fake of the Worker and of S3.
//
//   node --test tests/browser/uploads.test.mjs
//
// GLIMPSE_SCREENSHOTS names a folder for screenshots of every state.

import assert from "node:assert/strict";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";

import { MB, partNumbers, stage } from "./harness.mjs";
import * as page from "./page-helpers.mjs";

const s = stage();
const { file, photograph, open, stored, announcement, scratch } = s;

test("small files are sent whole, large ones in parts, and both arrive unchanged", async () => {
  const small = file("small.mp4", 3 * MB);
  const large = file("large.mp4", 20 * MB);
  const restore = await page.slowDown(s.tab, 8 * MB);
  await page.dropFile(s.tab, small, large);
  await page.eventually("the strip with the total progress", () => s.tab.locator("#total").isVisible());
  await page.expectProgress(page.cardNamed(s.tab, "large.mp4"));
  await photograph("two");
  await restore();
  await page.expectState(page.cardNamed(s.tab, "small.mp4"), "ready");
  await page.expectState(page.cardNamed(s.tab, "large.mp4"), "ready");
  assert.equal(await s.tab.locator("#total").isVisible(), false);
  assert.equal(s.fake.count("POST", /^\/api\/videos$/), 1);
  assert.equal(s.fake.count("POST", /^\/s3\/multipart$/), 1);
  assert.deepEqual(s.fake.parts(), partNumbers(20 * MB));
  for (const path of [small, large]) assert.ok(stored().some((bytes) => bytes.equals(readFileSync(path))), path);
  assert.equal(s.fake.unfinished.size, 0);
  s.complaints.mustBeEmpty();
});

test("uploads are loaded when the page is idle, not before the first paint", async () => {
  const scripts = [];
  s.tab = await s.context.newPage();
  s.tab.on("request", (request) => /\.js$/.test(request.url()) && scripts.push(basename(request.url()).replace(/-.*/, "")));
  await s.tab.addInitScript(() => {
    window.requestIdleCallback = (act) => (window.idle = act);
  });
  await open();
  await page.eventually("the page is idle", () => s.tab.evaluate(() => window.idle !== undefined));
  assert.deepEqual(scripts, ["main"]);
  await s.tab.evaluate(() => window.idle());
  await page.eventually("the chunk", () => scripts.includes("uploads"));
});

test("files beyond the concurrency limit wait, and a paused one blocks no other", async () => {
  const paths = Array.from({ length: 5 }, (_, i) => file(`clip ${i}.mp4`, 17 * MB));
  const restore = await page.slowDown(s.tab, 6 * MB);
  await page.dropFile(s.tab, ...paths);
  const state = (of) => s.tab.locator(`.card[data-state=${of}]`);
  await page.eventually("three are uploading", async () => (await state("uploading").count()) === 3);
  assert.equal(await state("waiting").count(), 2);
  await photograph("waiting");
  await page.press(state("uploading").first(), "pause");
  await page.eventually("the next one is uploading", async () => (await state("uploading").count()) === 3);
  assert.equal(await state("waiting").count(), 1);
  await restore();
  await page.eventually("four are ready", async () => (await state("ready").count()) === 4);
  await page.press(state("paused"), "resume");
  await page.eventually("all are ready", async () => (await state("ready").count()) === 5);
  assert.equal(stored().length, 5);
  s.complaints.mustBeEmpty();
});

test("the same file twice is two videos", async () => {
  const path = file("twice.mp4", MB);
  await page.dropFile(s.tab, path);
  await page.dropFile(s.tab, path);
  await page.eventually("two cards are ready", async () => (await s.tab.locator(".card[data-state=ready]").count()) === 2);
  assert.equal(stored().length, 2);
});

test("the limits are shown, and files beyond them are refused without a request", async () => {
  s.fake.setLimits({ max_upload_bytes: 5 * MB, types: ["video/mp4", "video/webm"] });
  await s.tab.reload();
  await page.eventually("the limits", async () => (await s.tab.locator("#limits").textContent()) === "MP4 and WebM, up to 5 MB each");
  const sent = page.countGrants(s.tab);
  const cases = [
    ["large.mp4", 5 * MB + 1, /larger than 5 MB/],
    ["clip.mov", 10, /Only MP4 and WebM can be uploaded here/],
    ["notes.pdf", 10, /Only MP4 and WebM can be uploaded here, and this is application\/pdf/],
    ["empty.mp4", 0, /file is empty/],
  ];
  for (const [name, size, why] of cases) {
    const path = join(scratch, name);
    writeFileSync(path, "");
    truncateSync(path, size);
    await page.dropFile(s.tab, path);
    await page.expectState(page.cardNamed(s.tab, name), "refused");
    await page.expectReason(page.cardNamed(s.tab, name), why);
  }
  await photograph("refused");
  assert.equal(sent(), 0);
  s.complaints.mustBeEmpty();
});

test("a card is updated by events, and polls only without them", async () => {
  s.fake.setAutomatic(false);
  await page.dropFile(s.tab, file("events.mp4", MB));
  const card = page.cardNamed(s.tab, "events.mp4");
  await page.expectState(card, "processing");
  await page.eventually("a stream", () => s.fake.count("GET", /\/events$/) === 1);
  await photograph("processing");
  s.fake.finish("events.mp4");
  await page.expectState(card, "ready");
  const asks = /^\/api\/videos\/\w+$/;
  assert.equal(s.fake.count("GET", asks), 1, "one question, at the end of the upload");

  s.complaints.expect(/503/);
  s.fake.trouble("GET", /\/events$/, { status: 503, times: 9 });
  await page.dropFile(s.tab, file("asks.mp4", MB));
  const other = page.cardNamed(s.tab, "asks.mp4");
  await page.eventually("questions", () => s.fake.count("GET", asks) > 2);
  s.fake.finish("asks.mp4", { state: "failed", problem: { title: "Our fault", message: "A decoder crashed." } });
  await page.expectState(other, "failed").catch((error) => assert.match(error.message, /failed/));
  await photograph("failed");
  s.complaints.mustBeEmpty();
});

test("at most two streams are open at once", async () => {
  s.fake.setAutomatic(false);
  for (let i = 0; i < 4; i += 1) s.fake.addVideo(`old ${i}.mp4`, MB);
  await s.tab.reload();
  await page.eventually("the others are polled", () => s.fake.count("GET", /^\/api\/videos\/\w+$/) >= 2);
  assert.equal(s.fake.count("GET", /\/events$/), 2);
});

test("Delete asks for confirmation, shows errors, and removes the card", async () => {
  for (const name of ["stays.mp4", "goes.mp4"]) s.fake.addVideo(name, MB, { state: "ready", width: 1280, height: 720, duration_ms: 8000 });
  await s.tab.reload();
  const card = page.cardNamed(s.tab, "goes.mp4");
  await page.expectState(card, "ready");
  await page.press(card, "delete");
  await photograph("delete");
  await page.press(card, "keep");
  assert.equal(await card.locator("[data-copy]").first().isVisible(), true);

  s.complaints.expect(/502/);
  s.fake.trouble("DELETE", /^\/api\/videos\//, { status: 502, body: JSON.stringify({ message: "The storage did not answer." }) });
  await page.press(card, "delete");
  await page.press(card, "sure");
  await page.eventually("the reason", async () => (await card.locator(".ask p").textContent()) === "The storage did not answer.");
  await page.press(card, "sure");
  await page.expectGone(card);
  assert.match(await announcement(), /goes\.mp4 is deleted/);
  await page.expectState(page.cardNamed(s.tab, "stays.mp4"), "ready");
  assert.equal(s.fake.count("DELETE", /^\/api\/videos\//), 1);
  s.complaints.mustBeEmpty();
});

test("a phone and a narrow window show every state without horizontal scrolling", async () => {
  const long = "a name that goes on and on without an end and then some more of it, again and again and again.mp4";
  s.fake.addVideo(long, MB, { state: "ready", width: 1280, height: 720, duration_ms: 8000 });
  await s.tab.reload();
  await page.slowDown(s.tab, 5 * MB);
  await page.dropFile(s.tab, file(`2 ${long}`, 40 * MB), file(`3 ${long}`, 40 * MB));
  await page.eventually("progress", () => s.tab.locator("#total").isVisible());
  await page.press(page.cardNamed(s.tab, `2 ${long}`), "pause");
  await page.press(page.cardNamed(s.tab, long), "delete");
  await page.expectNoSidewaysScroll(s.tab, 320);
  await photograph("phone");
});

test("every control has a name and is reachable by Tab", async () => {
  s.fake.addVideo("ready.mp4", MB, { state: "ready", width: 1280, height: 720, duration_ms: 8000 });
  await s.tab.reload();
  await page.slowDown(s.tab, 5 * MB);
  await page.dropFile(s.tab, file("tab.mp4", 40 * MB));
  await page.expectState(page.cardNamed(s.tab, "tab.mp4"), "uploading");
  await s.tab.evaluate(() => document.body.focus());
  const reached = new Set();
  for (let i = 0; i < 25; i += 1) {
    await s.tab.keyboard.press("Tab");
    reached.add(await s.tab.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent.trim()));
  }
  for (const label of ["choose files", "Pause: tab.mp4", "Cancel: tab.mp4", "Delete: ready.mp4", "Moving preview of ready.mp4"]) {
    assert.ok(reached.has(label), `${label} is not one of ${[...reached].join(" | ")}`);
  }
});
