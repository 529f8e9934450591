// Records the demo in README.md: a video is dropped, gets its poster, plays on hover, and its link is shared.
//
//   cargo xtask dev                  # in another terminal
//   node docs/demo/record.mjs        # writes docs/demo.webp
//
// The recording is uploaded to the same deployment, which makes the animated WebP. GLIMPSE_EDGE_URL is the deployment
// (default http://localhost:8787), GLIMPSE_CHROMIUM the browser (default /usr/bin/chromium), and
// GLIMPSE_REFERENCE_FFMPEG an ffmpeg that encodes H.264 (default ffmpeg). Videos of the demo's user are deleted first.

import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

import * as page from "../../tests/browser/page-helpers.mjs";
import { installCursor, moveTo } from "./cursor.mjs";
import { writeFilm } from "./film.mjs";
import { Recorder } from "./recorder.mjs";

const edge = new URL(process.env.GLIMPSE_EDGE_URL ?? "http://localhost:8787").origin;
const ffmpeg = process.env.GLIMPSE_REFERENCE_FFMPEG ?? "ffmpeg";
const output = fileURLToPath(new URL("../demo.webp", import.meta.url));

const USER = "Ada";
/** The size of the browser's window: two cards side by side, and no scrolling. */
const SIZE = { width: 700, height: 700 };
/** The size of the recording in pixels: the largest of an animation. */
const RECORDED = { width: 640, height: 640 };
/** The time limit for processing one video, in milliseconds. */
const READY_MS = 120_000;
const ANIMATION = { width: RECORDED.width, fps: 15, max_bytes: 1_000_000 };

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const scratch = mkdtempSync(join(tmpdir(), "glimpse-demo-"));
const browser = await page.launch();
const context = await browser.newContext({ viewport: SIZE, colorScheme: "light" });
await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: edge });
const tab = await context.newPage();

/** The middle of an element. */
async function middle(locator) {
  const { x, y, width, height } = await locator.boundingBox();
  return [x + width / 2, y + height / 2];
}

/** Deletes the user's videos, so that every recording begins with the same page. */
async function deleteVideos() {
  await tab.evaluate(async () => {
    for (;;) {
      const { videos } = await (await fetch("/api/videos?limit=16")).json();
      if (videos.length === 0) return;
      for (const { id } of videos) await fetch(`/api/videos/${id}`, { method: "DELETE" });
    }
  });
}

/** Opens the gallery, and waits until it accepts files. */
async function openGallery() {
  await tab.goto(edge);
  await tab.locator("#dashboard").waitFor();
}

/** Uploads a file by the page, and returns its video. */
async function upload(path) {
  await page.dropFile(tab, path);
  await page.expectState(page.cardNamed(tab, basename(path)), "ready", READY_MS);
  return page.listed(tab, basename(path));
}

/** Drags a file from the edge of the window to the middle, and drops it. Returns the position of the mouse. */
async function dragAndDrop(path) {
  const chooser = await tab.evaluateHandle(() => Object.assign(document.createElement("input"), { type: "file" }));
  await chooser.setInputFiles(path);
  await tab.evaluate((name) => {
    const file = Object.assign(document.createElement("div"), { id: "demo-file", textContent: name });
    Object.assign(file.style, { position: "fixed", left: "22px", top: "26px", zIndex: "2147483646", pointerEvents: "none", padding: "10px 14px", borderRadius: "10px", background: "#4f3fd0", color: "#fff", font: "600 15px system-ui, sans-serif", boxShadow: "0 6px 20px rgb(30 25 60 / 35%)" });
    document.documentElement.append(file);
  }, basename(path));
  const fire = (type) =>
    chooser.evaluate((input, kind) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(input.files[0]);
      document.getElementById("drop-zone").dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
    }, type);
  const [start, end] = [[SIZE.width - 90, SIZE.height + 10], await middle(tab.locator("#drop-zone"))];
  let isOver = false;
  await moveTo(tab, start, end, 1000, async ([, y]) => {
    if (isOver || y > SIZE.height - 40) return;
    isOver = true;
    await fire("dragenter");
  });
  await pause(250);
  await fire("drop");
  await tab.evaluate(() => document.getElementById("demo-file").remove());
  return end;
}

async function record() {
  const [existing, film] = ["Over the hills.mp4", "A day in the valley.mp4"].map((name) => join(scratch, name));
  await writeFilm(browser, ffmpeg, existing, { seed: 0.61, firstHour: 0.08, lastHour: 0.4 });
  await writeFilm(browser, ffmpeg, film, { seed: 0.17, firstHour: 0, lastHour: 1 });

  await tab.goto(edge);
  await page.signIn(tab, USER);
  await tab.locator("#dashboard").waitFor();
  await deleteVideos();
  await installCursor(tab);
  await openGallery();
  await upload(existing);
  await openGallery();
  await page.expectPoster(page.cardNamed(tab, basename(existing)));
  // The cards' animation on arrival.
  await pause(800);

  const recorder = new Recorder(scratch);
  await recorder.start(tab, RECORDED);
  const restore = await page.slowDown(tab, statSync(film).size / 0.9);
  let place = await recorder.phase(1600, () => dragAndDrop(film));
  const card = page.cardNamed(tab, basename(film));
  await recorder.phase(1500, () => page.expectState(card, /processing|ready/, READY_MS));
  await restore();
  await recorder.phase(600, () => pause(600));
  await page.expectState(card, "ready", READY_MS);
  await recorder.phase(700, async () => {
    await page.expectPoster(card);
    await pause(500);
  });

  const poster = await middle(card.locator(".screen"));
  await recorder.phase(2600, async () => {
    place = await moveTo(tab, place, poster, 500);
    await page.expectMoving(card);
    await pause(1900);
  });

  const share = card.locator("[data-copy=page]");
  const chip = await middle(share);
  await recorder.phase(1500, async () => {
    place = await moveTo(tab, place, chip, 500);
    await share.click();
    await pause(850);
  });
  const link = await tab.evaluate(() => navigator.clipboard.readText());

  await tab.goto(link);
  await tab.evaluate((at) => globalThis.placeCursor(at), place);
  const player = tab.locator("#player .screen");
  await player.waitFor();
  await pause(500);
  const end = await middle(player);
  await recorder.phase(1400, async () => {
    await moveTo(tab, place, end, 500);
    await pause(900);
  });
  const recording = join(scratch, "demo.mp4");
  const seconds = await recorder.finish(ffmpeg, recording);

  await openGallery();
  const { id } = await upload(recording);
  const query = new URLSearchParams({ start: 0, end: seconds.toFixed(1), ...ANIMATION });
  const response = await tab.request.get(`${edge}/${id}/animated.webp?${query}`, { timeout: READY_MS });
  if (!response.ok()) throw new Error(`animated.webp: ${response.status()} ${await response.text()}`);
  writeFileSync(output, await response.body());
  console.log(`${output}: ${statSync(output).size} bytes, from /animated.webp?${query}`);
}

try {
  await record();
} finally {
  await browser.close();
  rmSync(scratch, { recursive: true, force: true });
}
