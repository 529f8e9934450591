// Tests of the watch page: the source that a viewer may play, and one that the browser cannot play. In Chromium, with the
// HTML of the Worker's page and an `/original` that redirects to another origin, as to the bucket.
//
//   node --test tests/browser/watch.test.mjs
//
// GLIMPSE_SCREENSHOTS names a folder for screenshots of the states.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";

import { FILM } from "./fake-server.mjs";
import * as page from "./page-helpers.mjs";

const VIDEO = "7zzzzzzzzz0123456789abcdef";
const PHONE = { width: 375, height: 740 };
const shots = process.env.GLIMPSE_SCREENSHOTS;
const scratch = mkdtempSync(join(tmpdir(), "glimpse-watch-"));
const CANNOT_PLAY = "This browser cannot play the uploaded file: you see its preview, and can download the file.";

/** A second of silence as WAV: a film of which a browser decodes only the sound looks like this to a page. */
function sound() {
  const header = Buffer.alloc(44);
  header.write("RIFF\0\0\0\0WAVEfmt ", "latin1");
  header.writeUInt32LE(36 + 8000, 4);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(8000, 24);
  header.writeUInt32LE(8000, 28);
  header.writeUInt16LE(1, 32);
  header.writeUInt16LE(8, 34);
  header.write("data", 36, "latin1");
  header.writeUInt32LE(8000, 40);
  return Buffer.concat([header, Buffer.alloc(8000, 128)]);
}

/** The uploaded file: its bytes, and the status of `/original` if it is not a redirect. */
let source;
let browser;
let context;
let tab;
let complaints;
let origin;
let bucket;
const servers = [];

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
const picture = `<svg xmlns="http://www.w3.org/2000/svg" width="640" height="360"><rect width="640" height="360" fill="#40318f"/></svg>`;

/** The page as `edge/src/page/html.rs` writes it, without the card. */
function html() {
  const files = ["thumbnail.jpg", "thumbnail.webp", "animated.gif", "animated.webp", "animated.mp4"];
  const urls = Object.fromEntries(files.map((file) => [file, `${origin}/${VIDEO}/${file}`]));
  const meta = { id: VIDEO, title: "Meadow", width: 1280, height: 720, duration_ms: 67_000, urls };
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Meadow</title>
<link rel="stylesheet" href="/watch.css">
<script src="/watch.js" defer></script>
<main id="watch" data-meta="${escaped(JSON.stringify(meta))}" data-original="/${VIDEO}/original">
<div id="player"><picture><img id="poster" src="/${VIDEO}/thumbnail.jpg" width="640" height="360" alt="Poster: Meadow"></picture></div>
<h1>Meadow</h1>
<p class="muted">1:07 · 1280 × 720</p>
</main>`;
}

async function glimpse(request, response) {
  const { pathname } = new URL(request.url, "http://x");
  const send = (type, body, more = {}) => response.writeHead(200, { "content-type": type, ...more }).end(body);
  if (/^\/watch\.(js|css)$/.test(pathname)) return send(pathname.endsWith("js") ? "text/javascript" : "text/css", await readFile(join(scratch, "dist", pathname)));
  if (pathname === "/frame") return send("text/html", `<!doctype html><style>body{margin:0}</style><iframe src="/${VIDEO}" width="480" height="270" style="border:0"></iframe>`);
  if (pathname.endsWith("/original")) {
    if (source.status) return response.writeHead(source.status).end();
    return response.writeHead(302, { location: `${bucket}/film`, "cache-control": "no-store" }).end();
  }
  if (pathname.endsWith("/animated.mp4")) return send("video/mp4", FILM);
  if (pathname === `/${VIDEO}`) {
    const policy = `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; media-src 'self' ${bucket}/; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'`;
    return send("text/html", html(), { "content-security-policy": policy });
  }
  return send("image/svg+xml", picture);
}

const listen = (answer) =>
  new Promise((resolve) => {
    const server = createServer((request, response) => void answer(request, response));
    servers.push(server);
    server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${server.address().port}`));
  });

before(async () => {
  execFileSync(process.execPath, [fileURLToPath(new URL("../../web/build.mjs", import.meta.url)), "--out", join(scratch, "dist")]);
  if (shots) mkdirSync(shots, { recursive: true });
  origin = await listen(glimpse);
  bucket = await listen((_, response) => response.writeHead(200, { "content-type": "video/mp4" }).end(source.bytes));
  browser = await page.launch();
});

after(async () => {
  await browser?.close();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(scratch, { recursive: true, force: true });
});

beforeEach(async () => {
  context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: "light" });
  tab = await context.newPage();
  tab.setDefaultTimeout(15_000);
  complaints = page.listen(tab);
});

afterEach(() => context.close());

const button = (where = tab) => where.locator("#player > .screen");
const note = (where = tab) => where.locator("#note");
const moving = (where = tab) => page.eventually("the preview", async () => (await button(where).getAttribute("data-moving")) === "true");

/** Opens the page and presses the poster. */
async function press(uploaded) {
  source = uploaded;
  await tab.goto(`${origin}/${VIDEO}`);
  assert.equal(await button().getAttribute("aria-label"), "Play the video");
  await button().click();
}

test("a file that the browser plays is played", async () => {
  await press({ bytes: FILM });
  const film = tab.locator("#player > video");
  await page.eventually("it runs", () => film.evaluate((one) => one.currentTime > 0 && one.videoWidth > 0));
  assert.equal(await note().count(), 0);
  complaints.mustBeEmpty();
});

for (const [what, bytes] of [
  ["cannot play", Buffer.from("RIFF....AVI LIST, which no browser plays")],
  ["can only hear", sound()],
]) {
  test(`of a file that the browser ${what}, the preview is shown and the file can be downloaded`, async () => {
    await press({ bytes });
    await note().waitFor();
    assert.equal(await note().textContent(), CANNOT_PLAY);
    assert.equal(await note().getAttribute("role"), "alert");
    assert.equal(await note().locator("a").getAttribute("href"), `/${VIDEO}/original`);
    await moving();
    assert.equal(await tab.locator("video.moving").count(), 1, "the preview is the MP4");
    assert.equal(await button().getAttribute("aria-label"), "Moving preview of Meadow");
    if (shots) await page.photograph(tab, shots, "watch-cannot-play", PHONE);
    await button().click();
    await page.eventually("the preview rests", async () => (await tab.locator("video").count()) === 0);
    await button().click();
    await moving();
    await page.expectNoSidewaysScroll(tab, 320);
    complaints.mustBeEmpty();
  });
}

test("a source that is refused can be tried again", async () => {
  complaints.expect(/429/);
  await press({ status: 429 });
  await note().waitFor();
  assert.equal(await note().textContent(), "The video could not be loaded. Try again in a moment.");
  assert.equal(await tab.locator("#player > video").count(), 0);
  source = { bytes: FILM };
  await button().click();
  await page.eventually("it runs", () => tab.locator("#player > video").evaluate((one) => one.currentTime > 0));
  assert.equal(await note().count(), 0);
  complaints.mustBeEmpty();
});

test("in a frame the note is over the preview", async () => {
  source = { bytes: Buffer.from("no film") };
  await tab.setViewportSize({ width: 480, height: 270 });
  await tab.goto(`${origin}/frame`);
  const frame = tab.frameLocator("iframe");
  await button(frame).click();
  await note(frame).waitFor();
  await moving(frame);
  const [over, player] = [await note(frame).boundingBox(), await frame.locator("#player").boundingBox()];
  assert.deepEqual([over.y, over.width], [player.y, player.width]);
  if (shots) await tab.screenshot({ path: join(shots, "watch-cannot-play-framed.png") });
  complaints.mustBeEmpty();
});
