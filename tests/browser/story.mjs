// End-to-end test of the page in a real browser, with the real services: sign in, drop a video, watch it become a
// poster and a preview, get the image from the edge cache, copy its link, upload two at once, resume a large one after
// a pause and a reload, discard another, see a rejection, delete, sign out.
//
//   GLIMPSE_EDGE_URL=http://localhost:8787 GLIMPSE_CLIP=clip.mp4 GLIMPSE_SCREENSHOTS=target/screenshots \
//       node tests/browser/story.mjs
//
// GLIMPSE_CHROMIUM names the browser (default /usr/bin/chromium). Prints `ok - …` for each step; the first failure
// prints the reason, the path of the screenshot and the console output, and exits with 1.

import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

import * as page from "./page-helpers.mjs";
import { expectSameFilm } from "./play-video.mjs";

/** The time limit for processing one video, including the upload, in milliseconds. */
const READY_MS = 120_000;
const PHONE = { width: 375, height: 812 };
/** The size of a file with five parts. */
const LARGE_BYTES = 40_000_000;

const edge = new URL(process.env.GLIMPSE_EDGE_URL ?? "http://localhost:8787").origin;
const clip = process.env.GLIMPSE_CLIP;
const shots = process.env.GLIMPSE_SCREENSHOTS ?? "target/screenshots";
if (!clip) {
  console.error("GLIMPSE_CLIP is not set: it names the video to upload");
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

/** The clip padded to any length: after the video there is a box that players skip. */
function padded(path, bytes) {
  const film = readFileSync(clip);
  const box = Buffer.alloc(bytes - film.length);
  box.writeUInt32BE(box.length, 0);
  box.write("free", 4, "latin1");
  writeFileSync(path, Buffer.concat([film, box]));
  return path;
}

const person = `Ada ${Date.now().toString(36)}`;
const name = basename(clip);

async function story() {
  await step("a visitor sees a description and a sign-in button", async () => {
    complaints.expect(/401 .*\/api\/me/);
    await tab.goto(edge);
    await page.expectSignedOut(tab);
    await page.photograph(tab, shots, "signed-out", PHONE);
  });

  await step("the page forbids inline scripts, third-party frames and third-party hosts", async () => {
    await page.expectStrictHeaders(tab, edge);
  });

  await step("signing in through the provider shows the name and an empty gallery", async () => {
    await page.signIn(tab, person);
    await page.expectSignedIn(tab, person);
    await page.expectEmpty(tab);
    await page.photograph(tab, shots, "empty", PHONE);
  });

  await step("a file of another type is refused before it is sent", async () => {
    const notes = join(scratch, "notes.pdf");
    writeFileSync(notes, "%PDF-1.7\n");
    const sent = page.countGrants(tab);
    await page.dropFile(tab, notes);
    const card = page.cardNamed(tab, "notes.pdf");
    await page.expectState(card, "refused");
    await page.expectReason(card, /can be uploaded here, and this is application\/pdf/);
    page.expectEqual(sent(), 0, "upload requests");
    await page.press(card, "dismiss");
    await page.expectGone(card);
  });

  await step("a file that is too large is refused before it is sent", async () => {
    const huge = join(scratch, "huge.mp4");
    const limit = await page.maxUploadBytes(tab);
    writeFileSync(huge, "");
    // A sparse file: it has the length, but no blocks.
    truncateSync(huge, limit + 1);
    const sent = page.countGrants(tab);
    await page.dropFile(tab, huge);
    const card = page.cardNamed(tab, "huge.mp4");
    await page.expectState(card, "refused");
    await page.expectReason(card, /is larger than/);
    page.expectEqual(sent(), 0, "upload requests");
    await page.photograph(tab, shots, "refused-before-upload", PHONE);
    await page.press(card, "dismiss");
  });

  const card = page.cardNamed(tab, name);
  const streams = page.countStreams(tab);
  await step("a dropped video shows its progress and is uploaded", async () => {
    // Slow enough to see the progress: 4 s for the whole file.
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
    page.expectAtLeast(streams(), 1, "streams of events");
    await page.photograph(tab, shots, "ready", PHONE);
  });

  await step("the preview starts on hover and stops when the mouse leaves", async () => {
    await page.rest(tab);
    await page.expectStill(card);
    await page.pointAt(card);
    await page.expectMoving(card);
    await page.photograph(tab, shots, "moving");
    await page.rest(tab);
    await page.expectStill(card);
  });

  await step("the preview starts on keyboard focus too", async () => {
    await page.tabTo(tab, card);
    await page.expectMoving(card);
    await page.photograph(tab, shots, "keyboard");
    await tab.keyboard.press("Tab");
    await page.expectStill(card);
  });

  await step("the GIF and the WebP are animations", async () => {
    const gif = await page.linkedPicture(card, tab, "animated.gif");
    page.expectEqual(gif.type, "image/gif", "type");
    page.expectAtLeast(page.framesOfGif(gif.bytes), 2, "frames of the GIF");
    const webp = await page.linkedPicture(card, tab, "animated.webp");
    page.expectEqual(webp.type, "image/webp", "type");
    page.expectAtLeast(page.framesOfWebp(webp.bytes), 2, "frames of the WebP");
  });

  await step("the MP4 plays to its end and shows the frames of the WebP", async () => {
    const webp = await page.copiedLink(tab, card, "animated.webp");
    await expectSameFilm(browser, edge, webp.replace(/animated\.webp.*/, "animated.mp4"), webp);
  });

  await step("the second view of an image comes from the edge cache", async () => {
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

  await step("two concurrent uploads finish, and their progress is shown together", async () => {
    const pair = ["Morning.mp4", "Evening.mp4"].map((copy) => join(scratch, copy));
    for (const copy of pair) copyFileSync(clip, copy);
    const restore = await page.slowDown(tab, statSync(clip).size / 2);
    await page.dropFile(tab, ...pair);
    await page.expectTotal(tab, /^0 of 2 files uploaded$/);
    await page.photograph(tab, shots, "two-at-once", PHONE);
    await restore();
    for (const copy of pair) await page.expectState(page.cardNamed(tab, basename(copy)), "ready", READY_MS);
  });

  const large = padded(join(scratch, "The whole holiday.mp4"), LARGE_BYTES);
  const largeCard = page.cardNamed(tab, basename(large));
  const sent = page.countParts(tab);
  const puts = page.trackPuts(tab);
  await step("a large video is uploaded in parts, paused and resumed", async () => {
    const restore = await page.slowDown(tab, LARGE_BYTES / 4);
    await page.dropFile(tab, large);
    await page.expectState(largeCard, "uploading");
    await page.eventually("a part is stored", () => sent().length >= 1);
    await page.press(largeCard, "pause");
    await page.expectState(largeCard, "paused");
    await page.photograph(tab, shots, "paused", PHONE);
    await page.expectNoPuts(tab, puts);
    const paused = sent().length;
    page.expectEqual(paused < 5, true, "the pause is before the last of 5 parts");
    await page.press(largeCard, "resume");
    await page.eventually("the next part is stored", () => sent().length > paused);
    await restore();
  });

  await step("it is resumed after a reload, and no part is sent twice", async () => {
    await tab.reload();
    await page.expectState(largeCard, "unfinished");
    await page.photograph(tab, shots, "unfinished", PHONE);
    await page.chooseAgain(largeCard, large);
    await page.expectState(largeCard, "ready", READY_MS);
    const parts = sent();
    page.expectEqual(new Set(parts).size, parts.length, `different parts among ${parts}`);
    page.expectAtLeast(parts.length, 3, "parts with a response, of 5: two may be interrupted before theirs");
    page.expectEqual((await page.listed(tab, basename(large))).bytes, LARGE_BYTES, "bytes in S3");
  });

  await step("an unfinished upload can be discarded", async () => {
    const restore = await page.slowDown(tab, LARGE_BYTES / 8);
    const begun = sent().length;
    const path = padded(join(scratch, "Better not.mp4"), LARGE_BYTES - 1);
    await page.dropFile(tab, path);
    await page.eventually("a part is stored", () => sent().length > begun);
    await tab.reload();
    const unwanted = page.cardNamed(tab, basename(path));
    await page.expectState(unwanted, "unfinished");
    await page.press(unwanted, "discard");
    await page.photograph(tab, shots, "discard");
    await page.press(unwanted, "sure");
    await page.expectGone(unwanted);
    page.expectEqual(await page.unfinishedUploads(tab), 0, "unfinished uploads in S3");
    await restore();
  });

  await step("a video can be deleted, and then its images are gone", async () => {
    const doomed = page.cardNamed(tab, "Morning.mp4");
    await page.expectState(doomed, "ready");
    const { urls } = await page.listed(tab, "Morning.mp4");
    await page.press(doomed, "delete");
    await page.photograph(tab, shots, "delete", PHONE);
    await page.press(doomed, "sure");
    await page.expectGone(doomed);
    const answer = await tab.request.get(urls["thumbnail.png"] ?? urls["thumbnail.jpg"].replace(/thumbnail\.jpg.*/, "thumbnail.png"));
    page.expectEqual(answer.status(), 410, "status of its image");
    await tab.reload();
    await page.expectState(page.cardNamed(tab, "Evening.mp4"), "ready");
    await page.expectGone(doomed);
  });

  await step("a text file renamed to .mp4 is rejected, with the reason", async () => {
    const fake = join(scratch, "not really.mp4");
    writeFileSync(fake, "Once upon a time there was a text that wanted to be a film.\n".repeat(40));
    await page.dropFile(tab, fake);
    const refused = page.cardNamed(tab, "not really.mp4");
    await page.expectState(refused, "rejected", READY_MS);
    await page.expectReason(refused, /not a video/i);
    const { trace_id } = await page.listed(tab, "not really.mp4");
    page.expectEqual(await page.copiedLink(tab, refused, "trace"), trace_id, "the trace id for an email to support");
    await page.photograph(tab, shots, "rejected", PHONE);
  });

  await step("a phone shows everything without horizontal scrolling", async () => {
    await page.expectNoSidewaysScroll(tab, 320);
  });

  await step("signing out removes all data from the page", async () => {
    complaints.expect(/401 .*\/api\/me/);
    await page.signOut(tab);
    await page.expectSignedOut(tab);
    await tab.reload();
    await page.expectSignedOut(tab);
  });
}

try {
  await story();
  console.log(`ok - all steps; screenshots are in ${shots}`);
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
