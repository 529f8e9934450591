// One person's story through the page, in a real browser on the real parts: sign in, drop a video, watch it become a
// poster and a moving preview, get the picture out of the edge cache, copy its link, be refused, sign out.
//
//   GLIMPSE_EDGE_URL=http://localhost:8787 GLIMPSE_CLIP=clip.mp4 GLIMPSE_SCREENSHOTS=target/screenshots \
//       node tests/browser/story.mjs
//
// GLIMPSE_CHROMIUM names the browser (default /usr/bin/chromium). Prints `ok - …` for each step; the first failure
// prints why, where the screenshot is and what the console said, and ends with 1.

import { mkdirSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

import * as page from "./verbs.mjs";

/** What the pictures of one video may take, upload included, in milliseconds. */
const READY_MS = 120_000;
const PHONE = { width: 375, height: 812 };

const edge = new URL(process.env.GLIMPSE_EDGE_URL ?? "http://localhost:8787").origin;
const clip = process.env.GLIMPSE_CLIP;
const shots = process.env.GLIMPSE_SCREENSHOTS ?? "target/screenshots";
if (!clip) {
  console.error("GLIMPSE_CLIP is not set: it names the video that is uploaded");
  process.exit(2);
}
mkdirSync(shots, { recursive: true });
rmSync(join(shots, "failure.png"), { force: true });

const browser = await page.launch().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
const scratch = mkdtempSync(join(tmpdir(), "glimpse-story-"));
const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: "light" });
await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: edge });
const tab = await context.newPage();
const complaints = page.listen(tab);

let current = "the browser starts";
async function step(sentence, act) {
  current = sentence;
  const began = performance.now();
  await act();
  complaints.mustBeEmpty();
  console.log(`ok - ${sentence} (${Math.round(performance.now() - began)} ms)`);
}

const person = `Ada ${Date.now().toString(36)}`;
const name = basename(clip);

async function story() {
  await step("a visitor is told what this is and asked to sign in", async () => {
    complaints.expect(/401 .*\/api\/me/);
    await tab.goto(edge);
    await page.expectSignedOut(tab);
    await page.photograph(tab, shots, "signed-out", PHONE);
  });

  await step("the page forbids inline scripts, foreign frames and foreign hosts", async () => {
    await page.expectStrictHeaders(tab, edge);
  });

  await step("signing in through the provider shows the name and an empty gallery", async () => {
    await page.signIn(tab, person);
    await page.expectSignedIn(tab, person);
    await page.expectEmpty(tab);
    await page.photograph(tab, shots, "empty", PHONE);
  });

  await step("a file of a foreign type is refused before it is sent", async () => {
    const notes = join(scratch, "notes.pdf");
    writeFileSync(notes, "%PDF-1.7\n");
    const sent = page.countGrants(tab);
    await page.dropFile(tab, notes);
    const card = page.cardNamed(tab, "notes.pdf");
    await page.expectState(card, "refused");
    await page.expectReason(card, /Only videos can be uploaded/);
    page.expectEqual(sent(), 0, "permissions asked for");
    await page.press(card, "dismiss");
    await page.expectGone(card);
  });

  await step("a file that is too large is refused before it is sent", async () => {
    const huge = join(scratch, "huge.mp4");
    const limit = await page.maxUploadBytes(tab);
    writeFileSync(huge, "");
    // A sparse file: it has the length, not the blocks.
    truncateSync(huge, limit + 1);
    const sent = page.countGrants(tab);
    await page.dropFile(tab, huge);
    const card = page.cardNamed(tab, "huge.mp4");
    await page.expectState(card, "refused");
    await page.expectReason(card, /At most .+ can be uploaded/);
    page.expectEqual(sent(), 0, "permissions asked for");
    await page.photograph(tab, shots, "refused-before-upload", PHONE);
    await page.press(card, "dismiss");
  });

  const card = page.cardNamed(tab, name);
  await step("a dropped video shows its progress and arrives in storage", async () => {
    // So slow that progress can be seen: 4 s for the whole file.
    const restore = await page.slowDown(tab, statSync(clip).size / 4);
    await page.dropFile(tab, clip);
    await page.expectState(card, "uploading");
    await page.expectProgress(card);
    await page.photograph(tab, shots, "uploading");
    await restore();
    await page.expectState(card, /processing|ready/, READY_MS);
    await page.photograph(tab, shots, "processing");
  });

  await step("its poster appears", async () => {
    await page.expectState(card, "ready", READY_MS);
    await page.expectPoster(card);
    await page.photograph(tab, shots, "ready", PHONE);
  });

  await step("it moves under the mouse and rests when the mouse leaves", async () => {
    await page.rest(tab);
    await page.expectStill(card);
    await page.pointAt(card);
    await page.expectMoving(card);
    await page.photograph(tab, shots, "moving");
    await page.rest(tab);
    await page.expectStill(card);
  });

  await step("it moves on keyboard focus too", async () => {
    await page.tabTo(tab, card);
    await page.expectMoving(card);
    await page.photograph(tab, shots, "keyboard");
    await tab.keyboard.press("Tab");
    await page.expectStill(card);
  });

  await step("the GIF and the WebP really are animations", async () => {
    const gif = await page.linkedPicture(card, tab, "animated.gif");
    page.expectEqual(gif.type, "image/gif", "type");
    page.expectAtLeast(page.framesOfGif(gif.bytes), 2, "frames of the GIF");
    const webp = await page.linkedPicture(card, tab, "animated.webp");
    page.expectEqual(webp.type, "image/webp", "type");
    page.expectAtLeast(page.framesOfWebp(webp.bytes), 2, "frames of the WebP");
  });

  await step("the second view of a picture comes out of the edge cache", async () => {
    const url = await page.copiedLink(tab, card, "thumbnail.jpg");
    await page.fetchPicture(tab, url);
    const again = await page.fetchPicture(tab, url);
    page.expectMatch(again.serverTiming, /cache;desc="?hit"?/, "Server-Timing of the second view");
    page.expectMatch(again.cacheControl, /immutable/, "Cache-Control");
  });

  await step("its links and its HTML can be copied", async () => {
    for (const picture of ["thumbnail.jpg", "thumbnail.webp", "animated.gif", "animated.webp"]) {
      const link = await page.copiedLink(tab, card, picture);
      page.expectMatch(link, new RegExp(`^https?://.+/[0-9a-z]{26}/${picture.replace(".", "\\.")}`), "link");
    }
    const html = await page.copiedLink(tab, card, "poster.html");
    page.expectMatch(html, /^<picture>[^]+thumbnail\.webp[^]+thumbnail\.jpg[^]+<\/picture>$/, "HTML");
  });

  await step("a reload keeps the gallery", async () => {
    await tab.reload();
    await page.expectState(card, "ready");
    await page.expectPoster(card);
  });

  await step("a text renamed .mp4 is refused, with the reason in plain words", async () => {
    const fake = join(scratch, "not really.mp4");
    writeFileSync(fake, "Once upon a time there was a text that wanted to be a film.\n".repeat(40));
    await page.dropFile(tab, fake);
    const refused = page.cardNamed(tab, "not really.mp4");
    await page.expectState(refused, "rejected", READY_MS);
    await page.expectReason(refused, /not a video/i);
    await page.photograph(tab, shots, "rejected", PHONE);
  });

  await step("a phone shows everything without scrolling sideways", async () => {
    await page.expectNoSidewaysScroll(tab, 320);
  });

  await step("signing out leaves nothing behind", async () => {
    complaints.expect(/401 .*\/api\/me/);
    await page.signOut(tab);
    await page.expectSignedOut(tab);
    await tab.reload();
    await page.expectSignedOut(tab);
  });
}

try {
  await story();
  console.log(`ok - the whole story; screenshots are in ${shots}`);
} catch (error) {
  const picture = join(shots, "failure.png");
  await tab.screenshot({ path: picture, fullPage: true }).catch(() => {});
  console.log(`not ok - ${current}`);
  console.error(`${error.message}\n  page: ${tab.url()}\n  screenshot: ${picture}`);
  for (const line of complaints.all()) console.error(`  console: ${line}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  rmSync(scratch, { recursive: true, force: true });
}
