// Tests of the gallery: seeking in a video, choosing a frame as the poster, copying links that expire, and the origin
// of images. In Chromium, against a fake of the Worker.
//
//   node --test tests/browser/gallery.test.mjs
//
// GLIMPSE_SCREENSHOTS names a folder for screenshots of every state.

import assert from "node:assert/strict";
import { test } from "node:test";

import { MB, stage } from "./harness.mjs";
import * as page from "./page-helpers.mjs";

const s = stage();
const { photograph, open, announcement } = s;

const READY = { state: "ready", width: 1280, height: 720, duration_ms: 20_000, thumbhash: "3OcRJYB4d3h/iIeHeEh3eIhw+j3A" };
const NAME = "meadow.mp4";
const card = () => page.cardNamed(s.tab, NAME);
const media = () => card().locator(".media");
const bar = () => card().locator(".overlay input");
const pick = () => card().locator(".set-poster");
const glance = () => card().locator(".previewing > .storyboard-preview");
const tile = () => glance().getAttribute("data-tile");

/** The gallery with one ready video. */
async function ready(more = {}) {
  const video = s.fake.addVideo(NAME, 5 * MB, { ...READY, ...more });
  await open();
  await page.expectState(card(), "ready");
  await bar().waitFor({ state: "attached" });
  return video;
}

/** Moves the mouse to a fraction of the bar. */
async function point(share) {
  await media().hover();
  await page.eventually("the bar is visible", async () => Number(await card().locator(".overlay").evaluate((one) => getComputedStyle(one).opacity)) > 0.9);
  const box = await bar().boundingBox();
  await s.tab.mouse.move(box.x + box.width * share, box.y + box.height / 2);
}

test("pointing at the bar shows the frame at that time, leaving it shows the poster", async () => {
  await ready();
  assert.equal(s.fake.count("GET", /storyboard/), 0, "nothing is fetched before the bar is used");
  await point(0.22);
  await page.eventually("the frame at 4 s", async () => (await tile()) === "2");
  assert.equal(await glance().evaluate((one) => one.style.backgroundPosition), "50% 0%");
  assert.equal(await card().locator(".overlay output").textContent(), "0:04");
  assert.ok(await glance().evaluate((one) => one.nextElementSibling === null && getComputedStyle(one).opacity > 0), "it covers the poster");
  await photograph("look");
  await point(0.92);
  await page.eventually("the frame at 18 s", async () => (await tile()) === "9");
  assert.equal(await glance().evaluate((one) => one.style.backgroundPosition), "100% 100%");
  await page.rest(s.tab);
  await page.eventually("the poster", async () => (await glance().count()) === 0);
  assert.equal(await pick().isVisible(), false);
  s.complaints.mustBeEmpty();
});

test("a clicked frame stays, becomes the poster, and the card shows it", async () => {
  const video = await ready();
  await point(0.5);
  await s.tab.mouse.down();
  await s.tab.mouse.up();
  await pick().waitFor();
  assert.equal(await pick().textContent(), "Make 0:10 the poster");
  await photograph("pick");
  await pick().click();
  await page.eventually("the new poster", () => card().locator("picture:not(.moving) img").evaluate((one) => /\?v=(9|10)/.test(one.src)));
  assert.match(await announcement(), /The poster of meadow\.mp4 is changed\./);
  assert.equal(s.fake.count("PUT", new RegExp(`^/api/videos/${video.id}/poster$`)), 1);
  s.complaints.mustBeEmpty();
});

test("keyboard: arrows seek, Enter on the button sets the poster, Escape cancels", async () => {
  await ready();
  await bar().focus();
  for (let press = 0; press < 3; press += 1) await s.tab.keyboard.press("ArrowRight");
  await page.eventually("the frame at 3 s", async () => (await tile()) === "1");
  assert.equal(await bar().getAttribute("aria-valuetext"), "0:03 of 0:20");
  await s.tab.keyboard.press("Escape");
  await page.eventually("the poster", async () => (await glance().count()) === 0);
  assert.equal(await pick().isVisible(), false);
  await s.tab.keyboard.press("End");
  await pick().waitFor();
  await s.tab.keyboard.press("Tab");
  await photograph("pick-keyboard");
  await s.tab.keyboard.press("Enter");
  await page.eventually("the new poster", () => card().locator("picture:not(.moving) img").evaluate((one) => one.src.endsWith("?v=20")));
  assert.ok(await s.tab.evaluate(() => document.activeElement?.closest(".card")), "the focus stays on the card");
});

test("an error is shown on the button, and the frame stays for a retry", async () => {
  await ready();
  s.complaints.expect(/410/);
  s.fake.trouble("PUT", /poster$/, { status: 410, body: JSON.stringify({ code: "source_gone", message: "The uploaded file is gone." }) });
  await point(0.5);
  await s.tab.mouse.down();
  await s.tab.mouse.up();
  await pick().click();
  await page.eventually("the reason", async () => (await pick().textContent()) === "The uploaded file is gone. Try again");
  await photograph("pick-refused");
  await pick().click();
  await page.eventually("the new poster", () => card().locator("picture:not(.moving) img").evaluate((one) => /\?v=/.test(one.src)));
});

/** The formats of the preview that are requested from now on. */
function requestedPreviews() {
  const formats = [];
  s.tab.on("request", (request) => formats.push(/animated\.(\w+)/.exec(request.url())?.[1]));
  return () => formats.filter(Boolean);
}
const film = () => card().locator("video.moving");

test("on hover and on focus the preview is the MP4: without sound, in a loop, and in place", async () => {
  await ready();
  const requested = requestedPreviews();
  await page.pointAt(card());
  await page.expectMoving(card());
  const facts = await film().evaluate(({ muted, loop, playsInline, preload, controls, paused }) => ({ muted, loop, playsInline, preload, controls, paused }));
  assert.deepEqual(facts, { muted: true, loop: true, playsInline: true, preload: "none", controls: false, paused: false });
  await page.eventually("it runs", () => film().evaluate((one) => one.currentTime > 0));
  assert.equal(await film().evaluate((one) => getComputedStyle(one).objectFit), "contain");
  await photograph("preview-mp4");
  await page.rest(s.tab);
  await page.expectStill(card());
  await page.tabTo(s.tab, card());
  await page.expectMoving(card());
  assert.deepEqual([...new Set(requested())], ["mp4"]);
  s.complaints.mustBeEmpty();
});

for (const [what, urls, rule] of [
  ["is missing", undefined, { status: 404 }],
  ["is not a film", undefined, { status: 200, type: "video/mp4", body: "no film" }],
  ["was never made", { "animated.mp4": undefined }, undefined],
]) {
  test(`the preview is the WebP if the MP4 ${what}`, async () => {
    const video = await ready();
    if (urls) {
      Object.assign(video.urls, urls);
      await open();
      await page.expectState(card(), "ready");
      await bar().waitFor({ state: "attached" });
    }
    s.complaints.expect(/404/);
    if (rule) s.fake.trouble("GET", /animated\.mp4/, { times: 9, ...rule });
    const requested = requestedPreviews();
    await page.pointAt(card());
    await page.expectMoving(card());
    assert.equal(await card().locator(".moving").evaluate((one) => one.tagName), "PICTURE");
    await page.rest(s.tab);
    await page.expectStill(card());
    await page.pointAt(card());
    await page.expectMoving(card());
    assert.deepEqual(requested().filter((format) => format === "mp4"), rule ? ["mp4"] : [], "it is tried once");
    s.complaints.mustBeEmpty();
  });
}

test("with reduced motion the MP4 plays only when pressed", async () => {
  await s.tab.emulateMedia({ reducedMotion: "reduce" });
  await ready();
  const requested = requestedPreviews();
  await page.pointAt(card());
  // Any request until now has been sent: a later request completes after this one.
  await s.tab.evaluate(() => fetch("/fence"));
  assert.deepEqual(requested(), []);
  s.complaints.expect(/404/);
  await card().locator(".screen").click();
  await page.expectMoving(card());
});

test("the link to the MP4 can be copied, if there is one", async () => {
  await s.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: s.fake.origin });
  const video = await ready();
  assert.equal(await page.copiedLink(s.tab, card(), "animated.mp4"), `${s.fake.origin}/${video.id}/animated.mp4`);
  await photograph("copied-mp4");
  await page.expectNoSidewaysScroll(s.tab, 320);
  delete video.urls["animated.mp4"];
  await open();
  await page.expectState(card(), "ready");
  assert.equal(await card().locator('[data-copy="animated.mp4"]').count(), 0);
});

test("links of a private video are created on copy, with the chosen lifetime", async () => {
  await s.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: s.fake.origin });
  const video = await ready({ visibility: "signed" });
  assert.equal(s.fake.count("POST", /tokens$/), 0);
  await photograph("private");
  assert.equal(await page.copiedLink(s.tab, card(), "thumbnail.jpg"), `${s.fake.origin}/${video.id}/thumbnail.jpg?expires=86400&kid=a&sig=s`);
  await card().locator("select").selectOption({ label: "an hour" });
  assert.match(await page.copiedLink(s.tab, card(), "animated.webp"), /animated\.webp\?expires=3600&/);
  assert.match(await page.copiedLink(s.tab, card(), "animated.mp4"), /animated\.mp4\?expires=3600&/);
  assert.match(await page.copiedLink(s.tab, card(), "poster.html"), /srcset="[^"]+thumbnail\.webp\?expires=3600&amp;kid=a&amp;sig=s"/);
  assert.equal(await card().locator('[data-copy="page"]').count(), 0, "a link to a private page would not work");
});

test("a public video's page can be linked, framed and opened", async () => {
  await s.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: s.fake.origin });
  const video = await ready();
  assert.equal(await page.copiedLink(s.tab, card(), "page"), `${s.fake.origin}/${video.id}`);
  assert.match(await page.copiedLink(s.tab, card(), "page.html"), new RegExp(`^<iframe src="${s.fake.origin}/${video.id}" width="640" height="360" title="meadow.mp4"`));
  assert.equal(await card().locator("a.chip").getAttribute("href"), `/${video.id}`);
});

test("the card shows where a poster came from", async () => {
  await ready();
  await page.eventually("hit or miss", async () => /^Poster from the edge cache, \d+ ms$/.test(await card().locator(".origin").textContent()));
});

test("on a touch screen the bar is always visible, and high enough for a finger", async () => {
  await s.context.close();
  s.context = await s.browser().newContext({ viewport: { width: 375, height: 740 }, hasTouch: true, isMobile: true });
  s.tab = await s.context.newPage();
  s.complaints = page.listen(s.tab);
  await ready();
  await page.eventually("the bar is visible", async () => Number(await card().locator(".overlay").evaluate((one) => getComputedStyle(one).opacity)) > 0.9);
  const box = await bar().boundingBox();
  assert.ok(box.height >= 44, `${box.height}`);
  await s.tab.touchscreen.tap(box.x + box.width * 0.7, box.y + box.height / 2);
  await pick().waitFor();
  await page.eventually("the frame", async () => (await tile()) === "7" || (await tile()) === "6");
  await page.expectNoSidewaysScroll(s.tab, 320);
});
