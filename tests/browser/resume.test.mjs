// Tests of interrupted uploads: resumed after a pause, a crash or a sign-out, without sending anything twice. In
// Chromium, against a fake of the Worker and of S3.
//
//   node --test tests/browser/resume.test.mjs
//
// GLIMPSE_SCREENSHOTS names a folder for screenshots of every state.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";

import { MB, partNumbers, stage } from "./harness.mjs";
import * as page from "./page-helpers.mjs";

const s = stage();
const { file, photograph, open, crash, stored, announcement, partsTaken, scratch } = s;

test("a pause keeps completed parts, works from the keyboard, and is announced", async () => {
  const path = file("pause me, and never mind that this name is a very long one that does not fit into one line.mp4", 40 * MB);
  const restore = await page.slowDown(s.tab, 10 * MB);
  const puts = page.trackPuts(s.tab);
  await page.dropFile(s.tab, path);
  const card = page.cardNamed(s.tab, basename(path));
  await partsTaken(2);
  await card.locator("[data-action=pause]").focus();
  await s.tab.keyboard.press("Enter");
  await page.expectState(card, "paused");
  assert.match(await announcement(), /paused/);
  assert.match(await card.locator(".meta").textContent(), /\d MB of 40 MB · paused/);
  assert.equal(await s.tab.evaluate(() => document.activeElement.dataset.action), "resume", "the focus");
  await photograph("paused");
  await page.expectNoPuts(s.tab, puts);
  assert.ok(s.fake.parts().length < 5, "the pause is before the end");
  await restore();
  await s.tab.keyboard.press("Enter");
  await page.expectState(card, "ready");
  assert.deepEqual(s.fake.parts(), partNumbers(40 * MB));
  assert.ok(stored()[0].equals(readFileSync(path)));
  s.complaints.mustBeEmpty();
});

test("Cancel aborts the multipart upload", async () => {
  await page.slowDown(s.tab, 10 * MB);
  await page.dropFile(s.tab, file("cancel.mp4", 40 * MB));
  await partsTaken(1);
  await page.press(page.cardNamed(s.tab, "cancel.mp4"), "cancel");
  await page.eventually("the upload is aborted", () => s.fake.unfinished.size === 0);
  assert.equal(await s.tab.locator(".card").count(), 0);
  await page.eventually("no record", () => s.tab.evaluate(() => localStorage.length === 0));
});

test("after a crash an upload is resumed with the same bytes under any name", async () => {
  const path = file("crash.mp4", 40 * MB);
  await page.slowDown(s.tab, 10 * MB);
  await page.dropFile(s.tab, path);
  await partsTaken(2);
  await crash();
  const card = page.cardNamed(s.tab, "crash.mp4");
  await page.expectState(card, "unfinished");
  assert.match(await card.locator(".meta").textContent(), /\d MB of 40 MB sent/);
  await photograph("unfinished");

  // A different file of the same length, then one of another length.
  const chooser = card.locator("[data-files]");
  await chooser.setInputFiles(file("other.mp4", 40 * MB));
  await page.expectReason(card, /other\.mp4 is not the original file: its content differs/);
  await photograph("another-file");
  await chooser.setInputFiles(file("shorter.mp4", MB));
  await page.expectReason(card, /it has 1 MB/);

  const renamed = join(scratch, "renamed.mp4");
  writeFileSync(renamed, readFileSync(path));
  await chooser.setInputFiles(renamed);
  await page.expectState(card, "ready");
  assert.deepEqual(s.fake.parts(), partNumbers(40 * MB));
  assert.equal(s.fake.count("POST", /^\/s3\/multipart$/), 1, "uploads begun");
  assert.ok(stored()[0].equals(readFileSync(path)));
  assert.equal(await s.tab.evaluate(() => localStorage.length), 0, "records");
  s.complaints.mustBeEmpty();
});

test("an unfinished file that is dropped again is recognized", async () => {
  const path = file("drop again.mp4", 30 * MB);
  await page.slowDown(s.tab, 10 * MB);
  await page.dropFile(s.tab, path);
  await partsTaken(1);
  await crash();
  await page.expectState(page.cardNamed(s.tab, "drop again.mp4"), "unfinished");
  await page.dropFile(s.tab, file("another.mp4", 30 * MB), path);
  await page.expectState(page.cardNamed(s.tab, "drop again.mp4"), "ready");
  await page.expectState(page.cardNamed(s.tab, "another.mp4"), "ready");
  assert.equal(await s.tab.locator(".card").count(), 2);
  assert.equal(s.fake.count("POST", /^\/s3\/multipart$/), 2, "uploads begun");
});

test("a part of another size is sent again", async () => {
  const path = file("cut.mp4", 40 * MB);
  await page.slowDown(s.tab, 10 * MB);
  await page.dropFile(s.tab, path);
  await partsTaken(1);
  await s.tab.close();
  const [upload] = s.fake.unfinished.values();
  const [number, bytes] = [...upload.parts][0];
  upload.parts.set(number, bytes.subarray(1));
  await crash();
  const card = page.cardNamed(s.tab, "cut.mp4");
  await page.expectState(card, "unfinished");
  await page.chooseAgain(card, path);
  await page.expectState(card, "ready");
  assert.ok(stored()[0].equals(readFileSync(path)));
});

test("records of uploads that no longer exist are removed", async () => {
  const minutesAgo = (minutes) => Date.now() - minutes * 60_000;
  const record = (owner, startedAt) => ({ key: `uploads/${owner}/7zz`, name: "old.mp4", size: 40 * MB, fingerprint: "sha256:x", startedAt });
  const records = { gone: record("owner26", minutesAgo(5)), undated: record("owner26"), young: record("owner26", minutesAgo(0)), foreign: record("another", minutesAgo(5)) };
  await s.tab.evaluate((text) => localStorage.setItem("glimpse-uploads", text), JSON.stringify(records));
  await crash();
  const kept = () => s.tab.evaluate(() => Object.keys(JSON.parse(localStorage.getItem("glimpse-uploads"))).sort().join());
  await page.eventually("the records are removed", async () => (await kept()) === "foreign,young");
});

test("Discard asks for confirmation, Escape cancels, then the upload is gone", async () => {
  await page.slowDown(s.tab, 10 * MB);
  await page.dropFile(s.tab, file("discard.mp4", 40 * MB));
  await partsTaken(1);
  await crash();
  const card = page.cardNamed(s.tab, "discard.mp4");
  await page.press(card, "discard");
  assert.equal(await s.tab.evaluate(() => document.activeElement.dataset.action), "keep", "the focus");
  await photograph("discard");
  await s.tab.keyboard.press("Escape");
  assert.equal(await s.tab.evaluate(() => document.activeElement.dataset.action), "discard", "the focus returns");
  assert.equal(s.fake.unfinished.size, 1);
  await page.press(card, "discard");
  await page.press(card, "sure");
  await page.expectGone(card);
  assert.equal(s.fake.unfinished.size, 0);
  assert.equal(await s.tab.evaluate(() => document.activeElement.id), "choose", "the focus moves on");
  await page.expectEmpty(s.tab);
});

test("an upload of another browser can be discarded, not resumed", async () => {
  await page.slowDown(s.tab, 10 * MB);
  await page.dropFile(s.tab, file("foreign.mp4", 40 * MB));
  await partsTaken(1);
  await s.tab.evaluate(() => localStorage.clear());
  await crash();
  const card = s.tab.locator(".card");
  await page.expectState(card, "unfinished");
  assert.match(await card.innerText(), /another browser/);
  assert.equal(await card.locator("[data-action=choose]").count(), 0);
  await photograph("foreign");
});

test("another tab does not offer the upload that this one is sending", async () => {
  await page.slowDown(s.tab, 4 * MB);
  await page.dropFile(s.tab, file("mine.mp4", 40 * MB));
  await partsTaken(1);
  const other = await s.context.newPage();
  const listed = other.waitForResponse(/\/api\/uploads$/);
  await open(other);
  await listed;
  await page.eventually("the second page is loaded", () => other.evaluate(() => document.querySelector("#dashboard").dataset.empty !== "unknown"));
  assert.equal(await other.locator(".card").count(), 0);
});

test("signing out removes file names, and uploads can still be resumed", async () => {
  const path = file("secret plans.mp4", 40 * MB);
  s.tab.on("dialog", (dialog) => void dialog.accept());
  const restore = await page.slowDown(s.tab, 10 * MB);
  await page.dropFile(s.tab, path);
  await partsTaken(1);
  await page.signOut(s.tab);
  await page.expectSignedOut(s.tab);
  await restore();
  assert.doesNotMatch(await s.tab.evaluate(() => JSON.stringify({ ...localStorage })), /secret/);
  const sent = s.fake.parts().length;
  await crash();
  await page.expectState(page.cardNamed(s.tab, "An unfinished upload"), "unfinished");
  assert.equal(s.fake.parts().length, sent, "nothing is sent after the sign-out");
  await page.dropFile(s.tab, path);
  await page.expectState(page.cardNamed(s.tab, "secret plans.mp4"), "ready");
  assert.deepEqual(s.fake.parts(), partNumbers(40 * MB));
});
