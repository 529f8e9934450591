// Tests of <glimpse-thumb> on a page of another origin: placeholder, poster, preview on hover, focus or touch, and
// reduced motion. In Chromium, with images whose responses can be held back.
//
//   node --test tests/browser/thumb.test.mjs
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
/** The thumbhash of a green meadow below a blue sky. */
const THUMBHASH = "3OcRJYB4d3h/iIeHeEh3eIhw+j3A";
const shots = process.env.GLIMPSE_SCREENSHOTS;
const scratch = mkdtempSync(join(tmpdir(), "glimpse-thumb-"));

const picture = (colour, word) =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="640" height="360"><rect width="640" height="360" fill="${colour}"/><text x="320" y="200" font-size="60" text-anchor="middle" fill="#fff">${word}</text></svg>`;

/**
 * A fake of Glimpse: `requests` lists the requests, `hold(name)` delays a response until the returned function is called,
 * `film` is the MP4 of the preview, if there is one.
 */
function glimpse() {
  const requests = [];
  const held = new Map();
  let processing = 0;
  let gone = false;
  const meta = (video) => {
    const url = (file) => `${self.origin}/${video}/${file}?v=01234567`;
    const files = ["thumbnail.jpg", "thumbnail.webp", "animated.gif", "animated.webp", ...(self.film ? ["animated.mp4"] : [])];
    const urls = Object.fromEntries(files.map((file) => [file, url(file)]));
    return { id: video, title: "Meadow", width: 1280, height: 720, thumbhash: THUMBHASH, urls };
  };
  const server = createServer(async (request, response) => {
    const name = request.url.split("/").at(-1).split("?")[0];
    requests.push(name);
    await held.get(name)?.promise;
    const cors = { "access-control-allow-origin": "*", "cache-control": "no-store" };
    if (name === "glimpse-thumb.js") {
      response.writeHead(200, { ...cors, "content-type": "text/javascript" });
      return response.end(await readFile(join(scratch, "dist", name)));
    }
    if (gone) return response.writeHead(410, cors).end();
    if (name === "meta.json" && processing-- > 0) return response.writeHead(202, { ...cors, "retry-after": "2" }).end("{}");
    if (name === "meta.json") return response.writeHead(200, { ...cors, "content-type": "application/json" }).end(JSON.stringify(meta(request.url.split("/")[1])));
    if (name === "animated.mp4") return response.writeHead(self.film?.length ? 200 : 404, { ...cors, "content-type": "video/mp4" }).end(self.film);
    const isMoving = name.startsWith("animated");
    response.writeHead(200, { ...cors, "content-type": "image/svg+xml" });
    return response.end(isMoving ? picture("#b3559b", "moving") : picture("#40318f", "poster"));
  });
  const self = {
    server,
    origin: "",
    requests,
    film: undefined,
    count: (name) => requests.filter((one) => one === name).length,
    hold(name) {
      held.set(name, Promise.withResolvers());
      return () => held.get(name).resolve();
    },
    isProcessing: (times) => (processing = times),
    isGone: () => (gone = true),
    calm() {
      for (const { resolve } of held.values()) resolve();
      held.clear();
      requests.length = processing = 0;
      gone = false;
      self.film = undefined;
      site.media = `media-src ${service.origin}`;
    },
  };
  return self;
}

/** A third-party site with a strict content security policy. */
const site = { server: undefined, origin: "", html: "", media: "" };
const service = glimpse();
let browser;
let context;
let tab;
let complaints;

const listen = (server) =>
  new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${server.address().port}`)));

before(async () => {
  const build = fileURLToPath(new URL("../../web/build.mjs", import.meta.url));
  execFileSync(process.execPath, [build, "--out", join(scratch, "dist")]);
  if (shots) mkdirSync(shots, { recursive: true });
  service.origin = await listen(service.server);
  service.calm();
  site.server = createServer((request, response) => {
    const policy = `default-src 'none'; script-src ${service.origin}; connect-src ${service.origin}; img-src ${service.origin}; style-src 'nonce-x'; ${site.media}`;
    response.writeHead(request.url === "/" ? 200 : 404, { "content-type": "text/html", "content-security-policy": policy });
    response.end(request.url === "/" ? `<!doctype html><html lang="en"><style nonce="x">glimpse-thumb { width: 320px } .far { margin-top: 4000px }</style><script type="module" src="${service.origin}/glimpse-thumb.js"></script><button id="before">before</button>${site.html}` : "");
  });
  site.origin = await listen(site.server);
  browser = await page.launch();
});

after(async () => {
  await browser?.close();
  for (const { server } of [service, site]) {
    server?.closeAllConnections();
    server?.close();
  }
  rmSync(scratch, { recursive: true, force: true });
});

beforeEach(() => open({}));

afterEach(async () => {
  service.calm();
  await context.close();
});

/** A browser context with these options. */
async function open(kind) {
  await context?.close();
  context = await browser.newContext({ viewport: { width: 800, height: 600 }, ...kind });
  tab = await context.newPage();
  tab.setDefaultTimeout(15_000);
  complaints = page.listen(tab);
}

/** Opens a page with this content. */
async function visit(html) {
  site.html = html.replaceAll("SRC", `${service.origin}/${VIDEO}`);
  await tab.goto(site.origin);
}

const thumb = () => tab.locator("glimpse-thumb");
const expectState = (state) => page.eventually(`the state ${state}`, async () => (await thumb().getAttribute("state")) === state);
/** The number of images in the element, and its height. */
const shown = () => thumb().evaluate((one) => [...one.shadowRoot.querySelectorAll("img.shown")].map(({ src }) => src.split("/").at(-1).split(".")[0]));
const photograph = async (name) => shots && (await tab.screenshot({ path: join(shots, `thumb-${name}.png`) }));

const PLAIN = '<glimpse-thumb src="SRC" alt="A meadow"></glimpse-thumb>';

test("the placeholder comes first, then the poster, then the preview on hover, which stops after it", async () => {
  const release = service.hold("thumbnail.webp");
  await visit(PLAIN);
  await expectState("blur");
  assert.equal(await thumb().evaluate((one) => one.shadowRoot.querySelector("canvas").width), 32);
  await photograph("blur");
  release();
  await expectState("poster");
  assert.deepEqual(await shown(), ["thumbnail"]);
  assert.equal(service.count("animated.webp"), 0, "no preview before a hover");
  assert.equal(Math.round((await thumb().boundingBox()).height), 180, "the video's aspect ratio");
  await photograph("poster");

  await thumb().hover();
  await expectState("moving");
  assert.deepEqual(await shown(), ["thumbnail", "animated"]);
  await photograph("moving");
  await tab.mouse.move(700, 500);
  await expectState("poster");
  assert.deepEqual(await shown(), ["thumbnail"]);
  complaints.mustBeEmpty();
});

const film = () => thumb().evaluate((one) => one.shadowRoot.querySelector("video.shown") !== null);

test("the preview is the MP4, where there is one: without sound, in a loop, and in place", async () => {
  service.film = FILM;
  await visit(PLAIN);
  await expectState("poster");
  assert.equal(service.count("animated.mp4"), 0, "no preview before a hover");
  await thumb().hover();
  await expectState("moving");
  const facts = await thumb().evaluate((one) => {
    const { muted, loop, playsInline, controls, paused, videoWidth } = one.shadowRoot.querySelector("video.shown");
    return { muted, loop, playsInline, controls, paused, hasPicture: videoWidth > 0 };
  });
  assert.deepEqual(facts, { muted: true, loop: true, playsInline: true, controls: false, paused: false, hasPicture: true });
  assert.equal(service.count("animated.webp") + service.count("animated.gif"), 0);
  await photograph("moving-mp4");
  await tab.mouse.move(700, 500);
  await expectState("poster");
  assert.equal(await film(), false);
  complaints.mustBeEmpty();
});

for (const [what, set] of [
  ["the site's policy does not allow it", () => (site.media = "")],
  ["the browser cannot play it", () => (service.film = "no film")],
  ["it is gone", () => (service.film = Buffer.alloc(0))],
]) {
  test(`the preview is the WebP if there is an MP4 and ${what}`, async () => {
    service.film = FILM;
    set();
    complaints.expect(/404|Content.Security.Policy/i);
    await visit(PLAIN);
    await expectState("poster");
    for (let hover = 0; hover < 2; hover += 1) {
      await thumb().hover();
      await expectState("moving");
      assert.deepEqual([await film(), await shown()], [false, ["thumbnail", "animated"]]);
      await tab.mouse.move(700, 500);
      await expectState("poster");
    }
    assert.ok(service.count("animated.webp") > 0 && service.count("animated.mp4") < 2, "the MP4 is tried once");
    complaints.mustBeEmpty();
  });
}

test("keyboard focus starts the preview, Enter keeps it playing, Enter again stops it", async () => {
  await visit(PLAIN);
  await expectState("poster");
  await tab.locator("#before").focus();
  await tab.keyboard.press("Tab");
  await expectState("moving");
  assert.equal(await thumb().getAttribute("aria-label"), "A meadow");
  assert.equal(await thumb().getAttribute("role"), "button");
  assert.equal(await thumb().getAttribute("aria-pressed"), "true");
  await tab.keyboard.press("Enter");
  await expectState("moving");
  await tab.keyboard.press("Enter");
  await expectState("poster");
  assert.equal(await thumb().getAttribute("aria-pressed"), "false");
});

test("in a link it is an image: focus and tap belong to the link", async () => {
  await visit('<a href="#there"><glimpse-thumb src="SRC" alt="A meadow"></glimpse-thumb></a>');
  await expectState("poster");
  assert.deepEqual([await thumb().getAttribute("role"), await thumb().getAttribute("tabindex")], ["img", null]);
  await tab.locator("#before").focus();
  await tab.keyboard.press("Tab");
  await expectState("moving");
  await tab.keyboard.press("Enter");
  await tab.waitForURL(/#there$/);
});

for (const [who, kind, prepare] of [
  ["prefers reduced motion", { reducedMotion: "reduce" }, () => {}],
  ["saves data", {}, () => tab.addInitScript(() => Object.defineProperty(navigator, "connection", { value: { saveData: true } }))],
]) {
  test(`it never moves by itself for a user who ${who}, and does when pressed`, async () => {
    await open(kind);
    await prepare();
    service.film = FILM;
    await visit(PLAIN);
    await expectState("poster");
    await thumb().hover();
    await tab.locator("#before").focus();
    await tab.keyboard.press("Tab");
    // Any request until now has been sent: a later request completes after this one.
    await tab.evaluate((url) => fetch(url), `${service.origin}/fence`);
    assert.equal(service.count("animated.webp") + service.count("animated.mp4"), 0);
    assert.equal(await thumb().getAttribute("state"), "poster");
    await thumb().click();
    await expectState("moving");
    await thumb().click();
    await expectState("poster");
  });
}

test("a tap starts it on a touch screen, another stops it", async () => {
  await open({ hasTouch: true, isMobile: true, viewport: { width: 375, height: 700 } });
  await visit(PLAIN);
  await expectState("poster");
  await thumb().tap();
  await expectState("moving");
  await thumb().tap();
  await expectState("poster");
});

test("an element far below loads nothing until it is scrolled near", async () => {
  await visit('<p class="far"></p><glimpse-thumb src="SRC" alt="" thumbhash="' + THUMBHASH + '"></glimpse-thumb>');
  await expectState("blur");
  await tab.evaluate((url) => fetch(url), `${service.origin}/fence`);
  assert.equal(service.count("meta.json"), 0);
  await thumb().scrollIntoViewIfNeeded();
  await expectState("poster");
  assert.equal(service.count("meta.json"), 1);
});

test("a video in progress is polled; a deleted one is shown as missing", async () => {
  service.isProcessing(1);
  await visit(PLAIN);
  await expectState("poster");
  assert.equal(service.count("meta.json"), 2);
  service.isGone();
  complaints.expect(/410/);
  await visit(PLAIN);
  await expectState("missing");
  assert.deepEqual(await shown(), []);
  await thumb().hover();
  assert.equal(await thumb().getAttribute("state"), "missing");
  complaints.mustBeEmpty();
});

test("URLs with tokens can be given, and then nothing else is requested", async () => {
  await visit(
    `<glimpse-thumb alt="Private" thumbhash="${THUMBHASH}" poster="SRC/thumbnail.jpg?token=a" motion="SRC/animated.gif?token=b"></glimpse-thumb>`,
  );
  await expectState("poster");
  await thumb().hover();
  await expectState("moving");
  assert.deepEqual(service.requests, ["glimpse-thumb.js", "thumbnail.jpg", "animated.gif"]);
});

test("the URL of an MP4 with its token can be given as the preview", async () => {
  service.film = FILM;
  await visit(`<glimpse-thumb alt="Private" poster="SRC/thumbnail.jpg?token=a" motion="SRC/animated.mp4?token=b"></glimpse-thumb>`);
  await expectState("poster");
  await thumb().hover();
  await expectState("moving");
  assert.equal(await film(), true);
  assert.deepEqual([...new Set(service.requests)], ["glimpse-thumb.js", "thumbnail.jpg", "animated.mp4"]);
});

test("another video in the same element replaces the first", async () => {
  await visit(PLAIN);
  await expectState("poster");
  const releases = ["meta.json", "thumbnail.webp"].map((name) => service.hold(name));
  const become = (video) => thumb().evaluate((one, src) => one.setAttribute("src", src), `${service.origin}/${video}`);
  // The first of two is replaced while it is polled.
  await become("overtaken");
  await page.eventually("the request for the first", () => service.count("meta.json") === 2);
  await become("last");
  await expectState("blank");
  assert.deepEqual(await shown(), []);
  releases.forEach((release) => release());
  await expectState("poster");
  const sources = await thumb().evaluate((one) => [...one.shadowRoot.querySelectorAll("img")].map(({ src }) => src));
  assert.deepEqual(sources, [`${service.origin}/last/thumbnail.webp?v=01234567`]);
});
