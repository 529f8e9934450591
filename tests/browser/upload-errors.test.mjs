// Tests of failing uploads: in Chromium, against a fake of the Worker and of S3 with injected errors.
//
//   node --test tests/browser/upload-errors.test.mjs
//
// GLIMPSE_SCREENSHOTS names a folder for screenshots of every state.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { MB, partNumbers, stage } from "./harness.mjs";
import * as page from "./page-helpers.mjs";

const s = stage();
const { file, photograph, open, stored, announcement, partsTaken } = s;

test("a rejection shows the Worker's message, for a file and for parts, and can be retried", async () => {
  const closed = JSON.stringify({ title: "Closed", status: 403, code: "forbidden", message: "Uploads are closed today." });
  for (const [name, size, path] of [["whole.mp4", MB, /^\/api\/videos$/], ["parts.mp4", 20 * MB, /^\/s3\/multipart$/]]) {
    s.complaints.expect(/403/);
    s.fake.trouble("POST", path, { status: 403, body: closed });
    await page.dropFile(s.tab, file(name, size));
    const card = page.cardNamed(s.tab, name);
    await page.expectState(card, "interrupted");
    await page.expectReason(card, /^Not uploaded\. Uploads are closed today\.$/);
    assert.match(await announcement(), /was not uploaded\. Uploads are closed/);
    await photograph(`refused-${name}`);
    await page.press(card, "retry");
    await page.expectState(card, "ready");
  }
  s.complaints.mustBeEmpty();
});

test("a request to a busy Worker is repeated", async () => {
  s.complaints.expect(/429/);
  s.fake.trouble("POST", /^\/api\/videos$/, { status: 429, body: JSON.stringify({ code: "busy", message: "Wait a moment." }) });
  await page.dropFile(s.tab, file("busy.mp4", MB));
  await page.expectState(page.cardNamed(s.tab, "busy.mp4"), "ready");
  s.complaints.mustBeEmpty();
});

test("an expired session is shown, and the upload can be resumed", async () => {
  s.complaints.expect(/401/);
  s.fake.trouble("POST", /^\/api\/videos$/, { status: 401, body: JSON.stringify({ message: "Sign in first." }) });
  await page.dropFile(s.tab, file("over.mp4", MB));
  await page.expectState(page.cardNamed(s.tab, "over.mp4"), "interrupted");
  await page.eventually("the notice", () => s.tab.locator("#notice-sign-in").isVisible());
});

test("transient S3 errors are retried silently, the last error is shown, and no part is sent twice", async () => {
  s.complaints.expect(/503|403/);
  const xml = { type: "application/xml", body: "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>" };
  s.fake.trouble("PUT", /\/part\/.+\/1$/, { status: 503, times: 2 });
  s.fake.trouble("PUT", /\/part\/.+\/3$/, { status: 403, times: 3, ...xml });
  const path = file("trouble.mp4", 30 * MB);
  await page.dropFile(s.tab, path);
  const card = page.cardNamed(s.tab, "trouble.mp4");
  await page.expectState(card, "interrupted");
  await page.expectReason(card, /Storage answered with an error \(AccessDenied\)/);
  assert.match(await card.locator(".meta").textContent(), /MB of 30 MB sent/);
  await photograph("interrupted");
  await page.press(card, "retry");
  await page.expectState(card, "ready");
  assert.deepEqual(s.fake.parts(), partNumbers(30 * MB));
  assert.ok(stored()[0].equals(readFileSync(path)));
  s.complaints.mustBeEmpty();
});

test("a lost connection is shown, and the upload resumes by itself once it is back", async () => {
  s.complaints.expect(/ERR_INTERNET_DISCONNECTED|ERR_FAILED|Failed to load/);
  const restore = await page.slowDown(s.tab, 10 * MB);
  await page.dropFile(s.tab, file("offline.mp4", 40 * MB));
  await partsTaken(1);
  await restore({ offline: true });
  const card = page.cardNamed(s.tab, "offline.mp4");
  await page.expectState(card, "interrupted");
  await page.expectReason(card, /offline/);
  await restore();
  await page.expectState(card, "ready");
  assert.ok(s.fake.hasParts(partNumbers(40 * MB), 2), String(s.fake.parts()));
});

test("an upload whose last response was lost is not sent again", async () => {
  s.complaints.expect(/ERR_EMPTY_RESPONSE|404/);
  s.fake.trouble("POST", /\/complete$/, { after: true });
  await page.dropFile(s.tab, file("lost.mp4", 20 * MB));
  await page.expectState(page.cardNamed(s.tab, "lost.mp4"), "ready");
  assert.deepEqual(s.fake.parts(), partNumbers(20 * MB));
  assert.equal(stored().length, 1);
});

test("an upload that S3 no longer has is restarted", async () => {
  s.complaints.expect(/404/);
  await page.slowDown(s.tab, 10 * MB);
  await page.dropFile(s.tab, file("forgotten.mp4", 40 * MB));
  await partsTaken(1);
  const card = page.cardNamed(s.tab, "forgotten.mp4");
  await page.press(card, "pause");
  s.fake.unfinished.clear();
  await page.press(card, "resume");
  await page.expectState(card, "interrupted");
  await page.expectReason(card, /no such upload/);
  await page.press(card, "retry");
  await page.expectState(card, "ready");
  assert.equal(s.fake.count("POST", /^\/s3\/multipart$/), 2);
});

test("a page whose code for uploads cannot be loaded shows an error, and retries", async () => {
  s.complaints.expect(/ERR_FAILED/);
  s.tab = await s.context.newPage();
  await s.tab.addInitScript(() => (window.requestIdleCallback = () => {}));
  await s.tab.route(/\/uploads-/, (route) => route.abort(), { times: 1 });
  await open();
  await page.dropFile(s.tab, file("chunk.mp4", MB));
  await page.eventually("the notice", async () => /part of this page could not be loaded/.test(await s.tab.locator("#notice-text").textContent()));
  await s.tab.locator("#notice-retry").click();
  await page.expectState(page.cardNamed(s.tab, "chunk.mp4"), "ready");
});
