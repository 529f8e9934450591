// Shows how the page sends files and what it does when something is in the way: in Chromium, against a fake of the
// Worker and the storage that can be told to fail.
//
//   node --test tests/browser/uploads.test.mjs
//
// GLIMPSE_SCREENSHOTS names a folder for pictures of every state.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";

import { startFake } from "./fake.mjs";
import * as page from "./verbs.mjs";

const MB = 1_000_000;
const PHONE = { width: 375, height: 812 };
const shots = process.env.GLIMPSE_SCREENSHOTS;

const scratch = mkdtempSync(join(tmpdir(), "glimpse-uploads-"));
let fake;
let browser;
let context;
let tab;
let complaints;

/** A file of this length, unlike any other. */
function file(name, bytes) {
  const path = join(scratch, name);
  const tile = randomBytes(MB);
  const whole = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += MB) {
    tile.writeUInt32BE(at, 0);
    tile.copy(whole, at);
  }
  writeFileSync(path, whole);
  return path;
}

async function photograph(name) {
  if (shots) await page.photograph(tab, shots, `uploads-${name}`, PHONE);
}

/** Opens the page as somebody who is signed in. */
async function open(in_ = tab) {
  await in_.goto(fake.origin);
  await in_.locator("#studio").waitFor();
}

/** The page is left as if the browser had crashed, and opened again. */
async function crash() {
  await tab.close();
  tab = await context.newPage();
  complaints = page.listen(tab);
  await open();
}

const stored = () => [...fake.stored.values()];
const said = () => tab.locator("#announcer").textContent();
/** Waits until storage has taken this many parts. */
const partsTaken = (count) => page.eventually(`${count} parts in storage`, () => fake.parts().length >= count);

before(async () => {
  const dist = join(scratch, "dist");
  const build = fileURLToPath(new URL("../../edge/page/build.mjs", import.meta.url));
  execFileSync(process.execPath, [build, "--dev", "--out", dist]);
  if (shots) mkdirSync(shots, { recursive: true });
  fake = await startFake(dist);
  browser = await page.launch();
});

after(async () => {
  await browser?.close();
  await fake?.close();
  rmSync(scratch, { recursive: true, force: true });
});

beforeEach(async () => {
  fake.clear();
  context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: "light" });
  tab = await context.newPage();
  tab.setDefaultTimeout(15_000);
  complaints = page.listen(tab);
  await open();
});

afterEach(async (t) => {
  if (!t.passed) await tab.screenshot({ path: join(shots ?? tmpdir(), "uploads-failure.png") }).catch(() => {});
  if (!t.passed) console.error(complaints.all());
  await context.close();
});

test("small files go in one form, large ones in parts, and both arrive as they are", async () => {
  const small = file("small.mp4", 3 * MB);
  const large = file("large.mp4", 20 * MB);
  const restore = await page.slowDown(tab, 8 * MB);
  await page.dropFile(tab, small, large);
  await page.eventually("the strip for all of them", () => tab.locator("#total").isVisible());
  await page.expectProgress(page.cardNamed(tab, "large.mp4"));
  await photograph("two");
  await restore();
  await page.expectState(page.cardNamed(tab, "small.mp4"), "ready");
  await page.expectState(page.cardNamed(tab, "large.mp4"), "ready");
  assert.equal(await tab.locator("#total").isVisible(), false);
  assert.equal(fake.count("GET", /^\/s3\/params$/), 1);
  assert.equal(fake.count("POST", /^\/s3\/multipart$/), 1);
  assert.deepEqual(fake.parts(), [1, 2, 3]);
  for (const path of [small, large]) assert.ok(stored().some((bytes) => bytes.equals(readFileSync(path))), path);
  assert.equal(fake.unfinished.size, 0);
  complaints.mustBeEmpty();
});

test("what sends files is loaded when the page is idle, not before it is seen", async () => {
  const scripts = [];
  tab = await context.newPage();
  tab.on("request", (request) => /\.js$/.test(request.url()) && scripts.push(basename(request.url()).replace(/-.*/, "")));
  await tab.addInitScript(() => {
    window.requestIdleCallback = (act) => (window.idle = act);
  });
  await open();
  await page.eventually("the page is idle", () => tab.evaluate(() => window.idle !== undefined));
  assert.deepEqual(scripts, ["main"]);
  await tab.evaluate(() => window.idle());
  await page.eventually("the chunk", () => scripts.includes("uppy"));
});

test("more files than go at once wait their turn, and a paused one holds up none", async () => {
  const paths = Array.from({ length: 5 }, (_, i) => file(`clip ${i}.mp4`, 17 * MB));
  const restore = await page.slowDown(tab, 6 * MB);
  await page.dropFile(tab, ...paths);
  const state = (of) => tab.locator(`.card[data-state=${of}]`);
  await page.eventually("three on their way", async () => (await state("uploading").count()) === 3);
  assert.equal(await state("waiting").count(), 2);
  await photograph("waiting");
  await page.press(state("uploading").first(), "pause");
  await page.eventually("the next has begun", async () => (await state("uploading").count()) === 3);
  assert.equal(await state("waiting").count(), 1);
  await restore();
  await page.eventually("four are there", async () => (await state("ready").count()) === 4);
  await page.press(state("paused"), "resume");
  await page.eventually("all are there", async () => (await state("ready").count()) === 5);
  assert.equal(stored().length, 5);
  complaints.mustBeEmpty();
});

test("the same file twice is two videos", async () => {
  const path = file("twice.mp4", MB);
  await page.dropFile(tab, path);
  await page.dropFile(tab, path);
  await page.eventually("two cards are ready", async () => (await tab.locator(".card[data-state=ready]").count()) === 2);
  assert.equal(stored().length, 2);
});

test("a pause keeps whole parts, works from the keyboard, and is told", async () => {
  const path = file("pause me, and never mind that this name is a very long one that does not fit into one line.mp4", 40 * MB);
  const restore = await page.slowDown(tab, 10 * MB);
  await page.dropFile(tab, path);
  const card = page.cardNamed(tab, basename(path));
  await partsTaken(2);
  await card.locator("[data-action=pause]").focus();
  await tab.keyboard.press("Enter");
  await page.expectState(card, "paused");
  assert.match(await said(), /paused/);
  assert.match(await card.locator(".meta").textContent(), /\d MB of 40 MB · paused/);
  assert.equal(await tab.evaluate(() => document.activeElement.dataset.action), "resume", "the focus");
  await photograph("paused");
  const before = fake.parts().length;
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal(fake.parts().length, before, "nothing is sent meanwhile");
  await restore();
  await tab.keyboard.press("Enter");
  await page.expectState(card, "ready");
  assert.deepEqual(fake.parts(), [1, 2, 3, 4, 5]);
  assert.ok(stored()[0].equals(readFileSync(path)));
  complaints.mustBeEmpty();
});

test("Cancel gives up what was sent", async () => {
  await page.slowDown(tab, 10 * MB);
  await page.dropFile(tab, file("cancel.mp4", 40 * MB));
  await partsTaken(1);
  await page.press(page.cardNamed(tab, "cancel.mp4"), "cancel");
  await page.eventually("storage forgets it", () => fake.unfinished.size === 0);
  assert.equal(await tab.locator(".card").count(), 0);
  assert.equal(await tab.evaluate(() => localStorage.length), 0, "notes");
});

test("after a crash an upload goes on where it was, by the same bytes under any name", async () => {
  const path = file("crash.mp4", 40 * MB);
  await page.slowDown(tab, 10 * MB);
  await page.dropFile(tab, path);
  await partsTaken(2);
  await crash();
  const card = page.cardNamed(tab, "crash.mp4");
  await page.expectState(card, "unfinished");
  assert.match(await card.locator(".meta").textContent(), /\d MB of 40 MB sent/);
  await photograph("unfinished");

  // Another file of the same length, then one of another length.
  const chooser = card.locator("[data-files]");
  await chooser.setInputFiles(file("other.mp4", 40 * MB));
  await page.expectReason(card, /other\.mp4 is not the file that was begun: its content differs/);
  await photograph("another-file");
  await chooser.setInputFiles(file("shorter.mp4", MB));
  await page.expectReason(card, /it has 1 MB/);

  const renamed = join(scratch, "renamed.mp4");
  writeFileSync(renamed, readFileSync(path));
  await chooser.setInputFiles(renamed);
  await page.expectState(card, "ready");
  assert.deepEqual(fake.parts(), [1, 2, 3, 4, 5]);
  assert.equal(fake.count("POST", /^\/s3\/multipart$/), 1, "uploads begun");
  assert.ok(stored()[0].equals(readFileSync(path)));
  assert.equal(await tab.evaluate(() => localStorage.length), 0, "notes");
  complaints.mustBeEmpty();
});

test("dropped again, an unfinished file is known without being asked for", async () => {
  const path = file("drop again.mp4", 30 * MB);
  await page.slowDown(tab, 10 * MB);
  await page.dropFile(tab, path);
  await partsTaken(1);
  await crash();
  await page.expectState(page.cardNamed(tab, "drop again.mp4"), "unfinished");
  await page.dropFile(tab, file("another.mp4", 30 * MB), path);
  await page.expectState(page.cardNamed(tab, "drop again.mp4"), "ready");
  await page.expectState(page.cardNamed(tab, "another.mp4"), "ready");
  assert.equal(await tab.locator(".card").count(), 2);
  assert.equal(fake.count("POST", /^\/s3\/multipart$/), 2, "uploads begun");
});

test("parts that were cut otherwise are not gone on with", async () => {
  await page.slowDown(tab, 10 * MB);
  await page.dropFile(tab, file("cut.mp4", 40 * MB));
  await partsTaken(1);
  await tab.close();
  const [upload] = fake.unfinished.values();
  upload.parts.set(1, upload.parts.get(1).subarray(1));
  await crash();
  const card = tab.locator(".card");
  await page.expectState(card, "unfinished");
  assert.equal(await card.locator("[data-action=choose]").count(), 0);
});

test("Discard asks first, Escape keeps, and then it is gone", async () => {
  await page.slowDown(tab, 10 * MB);
  await page.dropFile(tab, file("discard.mp4", 40 * MB));
  await partsTaken(1);
  await crash();
  const card = page.cardNamed(tab, "discard.mp4");
  await page.press(card, "discard");
  assert.equal(await tab.evaluate(() => document.activeElement.dataset.action), "keep", "the focus");
  await photograph("discard");
  await tab.keyboard.press("Escape");
  assert.equal(await tab.evaluate(() => document.activeElement.dataset.action), "discard", "the focus comes back");
  assert.equal(fake.unfinished.size, 1);
  await page.press(card, "discard");
  await page.press(card, "sure");
  await page.expectGone(card);
  assert.equal(fake.unfinished.size, 0);
  assert.equal(await tab.evaluate(() => document.activeElement.id), "choose", "the focus goes on");
  await page.expectEmpty(tab);
});

test("what another browser began can be discarded, not gone on with", async () => {
  await page.slowDown(tab, 10 * MB);
  await page.dropFile(tab, file("foreign.mp4", 40 * MB));
  await partsTaken(1);
  await tab.evaluate(() => localStorage.clear());
  await crash();
  const card = tab.locator(".card");
  await page.expectState(card, "unfinished");
  assert.match(await card.innerText(), /another browser/);
  assert.equal(await card.locator("[data-action=choose]").count(), 0);
  await photograph("foreign");
});

test("another tab is not offered what this one is sending", async () => {
  await page.slowDown(tab, 4 * MB);
  await page.dropFile(tab, file("mine.mp4", 40 * MB));
  await partsTaken(1);
  const other = await context.newPage();
  const asked = other.waitForResponse(/\/api\/uploads$/);
  await open(other);
  await asked;
  await page.eventually("the second page is done", () => other.evaluate(() => document.querySelector("#studio").dataset.empty !== "unknown"));
  assert.equal(await other.locator(".card").count(), 0);
});

test("whoever signs out leaves no file name behind, and can still go on", async () => {
  const path = file("secret plans.mp4", 40 * MB);
  tab.on("dialog", (dialog) => void dialog.accept());
  const restore = await page.slowDown(tab, 10 * MB);
  await page.dropFile(tab, path);
  await partsTaken(1);
  await page.signOut(tab);
  await page.expectSignedOut(tab);
  await restore();
  assert.doesNotMatch(await tab.evaluate(() => JSON.stringify({ ...localStorage })), /secret/);
  const sent = fake.parts().length;
  await crash();
  await page.expectState(page.cardNamed(tab, "An unfinished upload"), "unfinished");
  assert.equal(fake.parts().length, sent, "nothing is sent after signing out");
  await page.dropFile(tab, path);
  await page.expectState(page.cardNamed(tab, "secret plans.mp4"), "ready");
  assert.deepEqual(fake.parts(), [1, 2, 3, 4, 5]);
});

test("the limits are shown, and what breaks them is refused without a request", async () => {
  fake.setLimits({ max_upload_bytes: 5 * MB, types: ["video/mp4", "video/webm"] });
  await tab.reload();
  await page.eventually("the limits", async () => (await tab.locator("#limits").textContent()) === "MP4 and WebM, up to 5 MB each");
  const sent = page.countGrants(tab);
  const cases = [
    ["large.mp4", 5 * MB + 1, /has 5,000,001 bytes\. At most 5,000,000 bytes can/],
    ["clip.mov", 10, /Only MP4 and WebM can be uploaded here/],
    ["notes.pdf", 10, /Only videos can be uploaded, and this is application\/pdf/],
    ["empty.mp4", 0, /nothing in this file/],
  ];
  for (const [name, size, why] of cases) {
    const path = join(scratch, name);
    writeFileSync(path, "");
    truncateSync(path, size);
    await page.dropFile(tab, path);
    await page.expectState(page.cardNamed(tab, name), "refused");
    await page.expectReason(page.cardNamed(tab, name), why);
  }
  await photograph("refused");
  assert.equal(sent(), 0);
  complaints.mustBeEmpty();
});

test("a refusal is told in the Worker's words, for a form and for parts, and can be tried again", async () => {
  const busy = JSON.stringify({ title: "Busy", status: 429, code: "busy", message: "Too many uploads at once: wait a minute." });
  for (const [name, size, method, path] of [["form.mp4", MB, "GET", /^\/s3\/params$/], ["parts.mp4", 20 * MB, "POST", /^\/s3\/multipart$/]]) {
    complaints.expect(/429/);
    fake.trouble(method, path, { status: 429, body: busy });
    await page.dropFile(tab, file(name, size));
    const card = page.cardNamed(tab, name);
    await page.expectState(card, "interrupted");
    await page.expectReason(card, /^Not uploaded\. Too many uploads at once: wait a minute\.$/);
    assert.match(await said(), /was not uploaded\. Too many uploads/);
    await photograph(`refused-${name}`);
    await page.press(card, "retry");
    await page.expectState(card, "ready");
  }
  complaints.mustBeEmpty();
});

test("a session that ended says so, and the upload can go on", async () => {
  complaints.expect(/401/);
  fake.trouble("GET", /^\/s3\/params$/, { status: 401, body: JSON.stringify({ message: "Sign in first." }) });
  await page.dropFile(tab, file("over.mp4", MB));
  await page.expectState(page.cardNamed(tab, "over.mp4"), "interrupted");
  await page.eventually("the notice", () => tab.locator("#notice-sign-in").isVisible());
});

test("storage's short troubles are got over in silence, its last word is explained, and no part goes twice", async () => {
  complaints.expect(/503|403/);
  const xml = { type: "application/xml", body: "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>" };
  fake.trouble("PUT", /\/part\/.+\/1$/, { status: 503, times: 2 });
  fake.trouble("PUT", /\/part\/.+\/3$/, { status: 403, ...xml });
  const path = file("trouble.mp4", 30 * MB);
  await page.dropFile(tab, path);
  const card = page.cardNamed(tab, "trouble.mp4");
  await page.expectState(card, "interrupted");
  await page.expectReason(card, /permission to upload has expired/);
  assert.match(await card.locator(".meta").textContent(), /16\.8 MB of 30 MB sent/);
  await photograph("interrupted");
  await page.press(card, "retry");
  await page.expectState(card, "ready");
  assert.deepEqual(fake.parts(), [1, 2, 3, 4]);
  assert.ok(stored()[0].equals(readFileSync(path)));
  complaints.mustBeEmpty();
});

test("a lost connection is told, and the upload goes on by itself once it is back", async () => {
  complaints.expect(/ERR_INTERNET_DISCONNECTED|ERR_FAILED|Failed to load/);
  const restore = await page.slowDown(tab, 10 * MB);
  await page.dropFile(tab, file("offline.mp4", 40 * MB));
  await partsTaken(1);
  await restore({ offline: true });
  const card = page.cardNamed(tab, "offline.mp4");
  await page.expectState(card, "interrupted");
  await page.expectReason(card, /offline/);
  await restore();
  await page.expectState(card, "ready");
  assert.deepEqual(fake.parts(), [1, 2, 3, 4, 5]);
});

test("an upload whose last answer was lost is not sent again", async () => {
  complaints.expect(/ERR_EMPTY_RESPONSE|404/);
  fake.trouble("POST", /\/complete$/, { after: true });
  await page.dropFile(tab, file("lost.mp4", 20 * MB));
  await page.expectState(page.cardNamed(tab, "lost.mp4"), "ready");
  assert.deepEqual(fake.parts(), [1, 2, 3]);
  assert.equal(stored().length, 1);
});

test("an upload that storage has forgotten is begun anew", async () => {
  complaints.expect(/404/);
  await page.slowDown(tab, 10 * MB);
  await page.dropFile(tab, file("forgotten.mp4", 40 * MB));
  await partsTaken(1);
  const card = page.cardNamed(tab, "forgotten.mp4");
  await page.press(card, "pause");
  fake.unfinished.clear();
  await page.press(card, "resume");
  await page.expectState(card, "interrupted");
  await page.expectReason(card, /no such upload/);
  await page.press(card, "retry");
  await page.expectState(card, "ready");
  assert.equal(fake.count("POST", /^\/s3\/multipart$/), 2);
});

test("a page whose uploader cannot be loaded says so, and tries again", async () => {
  complaints.expect(/ERR_FAILED/);
  tab = await context.newPage();
  await tab.addInitScript(() => (window.requestIdleCallback = () => {}));
  await tab.route(/\/uppy-/, (route) => route.abort(), { times: 1 });
  await open();
  await page.dropFile(tab, file("chunk.mp4", MB));
  const card = page.cardNamed(tab, "chunk.mp4");
  await page.expectState(card, "interrupted");
  await page.expectReason(card, /part of this page could not be loaded/);
  await page.press(card, "retry");
  await page.expectState(card, "ready");
});

test("a card learns of its pictures by events, and asks only where there are none", async () => {
  fake.setAutomatic(false);
  await page.dropFile(tab, file("events.mp4", MB));
  const card = page.cardNamed(tab, "events.mp4");
  await page.expectState(card, "processing");
  await page.eventually("a stream", () => fake.count("GET", /\/events$/) === 1);
  await photograph("processing");
  fake.finish("events.mp4");
  await page.expectState(card, "ready");
  const asks = /^\/api\/videos\/\w+$/;
  assert.equal(fake.count("GET", asks), 0, "questions");

  complaints.expect(/503/);
  fake.trouble("GET", /\/events$/, { status: 503, times: 9 });
  await page.dropFile(tab, file("asks.mp4", MB));
  const other = page.cardNamed(tab, "asks.mp4");
  await page.eventually("questions", () => fake.count("GET", asks) > 0);
  fake.finish("asks.mp4", { state: "failed", problem: { title: "Our fault", message: "A decoder crashed." } });
  await page.expectState(other, "failed").catch((error) => assert.match(error.message, /failed/));
  await photograph("failed");
  complaints.mustBeEmpty();
});

test("at most two streams are open at once", async () => {
  fake.setAutomatic(false);
  for (let i = 0; i < 4; i += 1) fake.addVideo(`old ${i}.mp4`, MB);
  await tab.reload();
  await page.eventually("the others are asked for", () => fake.count("GET", /^\/api\/videos\/\w+$/) >= 2);
  assert.equal(fake.count("GET", /\/events$/), 2);
});

test("Delete asks first, says what goes wrong, and takes the card away", async () => {
  for (const name of ["stays.mp4", "goes.mp4"]) fake.addVideo(name, MB, { state: "ready", width: 1280, height: 720, duration_ms: 8000 });
  await tab.reload();
  const card = page.cardNamed(tab, "goes.mp4");
  await page.expectState(card, "ready");
  await page.press(card, "delete");
  await photograph("delete");
  await page.press(card, "keep");
  assert.equal(await card.locator("[data-copy]").first().isVisible(), true);

  complaints.expect(/502/);
  fake.trouble("DELETE", /^\/api\/videos\//, { status: 502, body: JSON.stringify({ message: "The storage did not answer." }) });
  await page.press(card, "delete");
  await page.press(card, "sure");
  await page.eventually("the reason", async () => (await card.locator(".ask p").textContent()) === "The storage did not answer.");
  await page.press(card, "sure");
  await page.expectGone(card);
  assert.match(await said(), /goes\.mp4 is deleted/);
  await page.expectState(page.cardNamed(tab, "stays.mp4"), "ready");
  assert.equal(fake.count("DELETE", /^\/api\/videos\//), 1);
  complaints.mustBeEmpty();
});

test("a phone and a narrow window show every state without scrolling sideways", async () => {
  const long = "a name that goes on and on without an end and then some more of it, again and again and again.mp4";
  fake.addVideo(long, MB, { state: "ready", width: 1280, height: 720, duration_ms: 8000 });
  await tab.reload();
  await page.slowDown(tab, 5 * MB);
  await page.dropFile(tab, file(`2 ${long}`, 40 * MB), file(`3 ${long}`, 40 * MB));
  await page.eventually("progress", () => tab.locator("#total").isVisible());
  await page.press(page.cardNamed(tab, `2 ${long}`), "pause");
  await page.press(page.cardNamed(tab, long), "delete");
  await page.expectNoSidewaysScroll(tab, 320);
  await photograph("phone");
});

test("everything that can be pressed has a name and is reached by Tab", async () => {
  fake.addVideo("ready.mp4", MB, { state: "ready", width: 1280, height: 720, duration_ms: 8000 });
  await tab.reload();
  await page.slowDown(tab, 5 * MB);
  await page.dropFile(tab, file("tab.mp4", 40 * MB));
  await page.expectState(page.cardNamed(tab, "tab.mp4"), "uploading");
  await tab.evaluate(() => document.body.focus());
  const reached = new Set();
  for (let i = 0; i < 25; i += 1) {
    await tab.keyboard.press("Tab");
    reached.add(await tab.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent.trim()));
  }
  for (const label of ["choose files", "Pause: tab.mp4", "Cancel: tab.mp4", "Delete: ready.mp4", "Moving preview of ready.mp4"]) {
    assert.ok(reached.has(label), `${label} is not among ${[...reached].join(" | ")}`);
  }
});
