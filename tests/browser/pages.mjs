// End-to-end test of the watch page in a real browser, with the real services: its owner plays the source and chooses
// its poster, another viewer sees the preview and seeks, another site embeds it by oEmbed, by <glimpse-thumb> and by
// plain HTML, and Media Chrome shows its storyboard.
//
//   GLIMPSE_EDGE_URL=http://localhost:8787 GLIMPSE_CLIP=clip.mp4 GLIMPSE_SCREENSHOTS=target/screenshots \
//       node tests/browser/pages.mjs
//
// Prints `ok - …` for each step; the first failure prints the reason, and exits with 1.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

import * as page from "./page-helpers.mjs";

const READY_MS = 120_000;
const PHONE = { width: 375, height: 740 };
const edge = new URL(process.env.GLIMPSE_EDGE_URL ?? "http://localhost:8787").origin;
const clip = process.env.GLIMPSE_CLIP;
const shots = process.env.GLIMPSE_SCREENSHOTS ?? "target/screenshots";
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
if (!clip) {
  console.error("GLIMPSE_CLIP is not set: it names the video to upload");
  process.exit(2);
}
mkdirSync(shots, { recursive: true });

const browser = await page.launch().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
const scratch = mkdtempSync(join(tmpdir(), "glimpse-pages-"));
const usual = { viewport: { width: 1280, height: 860 }, colorScheme: "light" };

/** A third-party site: its pages by path, and its origin. */
const site = { at: new Map(), origin: "" };
const server = createServer((request, response) => {
  const found = site.at.get(new URL(request.url, "http://x").pathname);
  response.writeHead(found ? 200 : 204, { "content-type": found?.type ?? "text/plain", "access-control-allow-origin": "*" });
  response.end(found?.body);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
site.origin = `http://127.0.0.1:${server.address().port}`;
const serve = (path, body, type = "text/html; charset=utf-8") => site.at.set(path, { body, type });

let tab;
let complaints;
/** A user with their own browser context. */
async function visitor(kind = {}) {
  const context = await browser.newContext({ ...usual, ...kind });
  tab = await context.newPage();
  tab.setDefaultTimeout(15_000);
  complaints = page.listen(tab);
  return context;
}

let current = "the browser starts";
async function step(sentence, act) {
  current = sentence;
  const began = performance.now();
  await act();
  complaints.mustBeEmpty();
  console.log(`ok - ${sentence} (${Math.round(performance.now() - began)} ms)`);
}

const screen = (where = tab) => where.locator("#player > .screen");
const bar = (where = tab) => where.locator("#scrub input");
const drawn = (where = tab) => where.locator("#player > .screen.drawn").waitFor();

/** Moves the mouse to a fraction of the bar, and returns the displayed tile and its section of the sheet. */
async function glanceAt(share, where = tab) {
  const box = await bar(where).boundingBox();
  await tab.mouse.move(box.x + box.width * share, box.y + box.height / 2);
  const glance = where.locator(".storyboard-preview");
  await page.eventually("a frame of the storyboard", () => where.locator("#player.previewing").count());
  return glance.evaluate((one) => ({ tile: Number(one.dataset.tile), position: one.style.backgroundPosition, image: one.style.backgroundImage }));
}

const name = basename(clip);
let id;

async function story() {
  const owner = await visitor();
  await step("a user uploads a video", async () => {
    complaints.expect(/401 .*\/api\/me/);
    await tab.goto(edge);
    await page.signIn(tab, `Ada ${Date.now().toString(36)}`);
    await page.dropFile(tab, clip);
    await page.expectState(page.cardNamed(tab, name), "ready", READY_MS);
    ({ id } = await page.listed(tab, name));
  });

  await step("its owner plays the source on the watch page, from the bucket", async () => {
    const films = [];
    tab.on("response", (response) => response.request().resourceType() === "media" && films.push(response.status()));
    await tab.goto(`${edge}/${id}`);
    await drawn();
    page.expectEqual(await tab.locator("h1").textContent(), name, "the title");
    await screen().click();
    const film = tab.locator("#player > video");
    await page.eventually("the source plays", () => film.evaluate((one) => one.currentTime > 0.2 && one.videoWidth));
    page.expectEqual(await film.evaluate((one) => new URL(one.currentSrc).pathname), `/${id}/original`, "where it comes from");
    await page.photograph(tab, shots, "watch-playing");
    await film.evaluate((one) => one.pause());
    await bar().focus();
    for (let press = 0; press < 5; press += 1) await tab.keyboard.press("ArrowRight");
    await page.eventually("the bar seeks in the source", () => film.evaluate((one) => one.currentTime > 4.5));
  });
  await step("its owner chooses another frame as the poster, in the gallery", async () => {
    const before = (await (await fetch(`${edge}/${id}/meta.json`)).json()).urls["thumbnail.jpg"];
    await tab.goto(edge);
    const card = page.cardNamed(tab, name);
    await page.expectState(card, "ready");
    await page.expectPoster(card);
    page.expectMatch(await card.locator(".origin").innerText(), /^Poster /, "where the poster came from");
    const bar = card.locator(".overlay input");
    await bar.focus();
    for (let press = 0; press < 9; press += 1) await tab.keyboard.press("ArrowRight");
    await page.eventually("the frame", () => card.locator(".previewing > .storyboard-preview").count());
    await page.photograph(tab, shots, "gallery-pick", PHONE);
    await card.locator(".set-poster").click();
    await page.eventually("a page with the new poster", async () => (await (await fetch(`${edge}/${id}/meta.json`)).json()).urls["thumbnail.jpg"] !== before);
  });
  await owner.close();

  const stranger = await visitor();
  await step("another viewer sees the poster, and the preview only on hover", async () => {
    await tab.goto(`${edge}/${id}`);
    await drawn();
    page.expectEqual(await tab.locator("h1").textContent(), "Video", "the title: not the file's name");
    await page.photograph(tab, shots, "watch", PHONE);
    await screen().hover();
    await page.eventually("it moves", async () => (await screen().getAttribute("data-moving")) === "true");
    await tab.mouse.move(2, 2);
    await page.eventually("it rests", async () => (await tab.locator(".moving").count()) === 0);
    await screen().click();
    page.expectEqual(await tab.locator("#player > video").count(), 0, "films");
    await screen().click();
  });

  await step("the bar seeks through the video by its storyboard", async () => {
    const early = await glanceAt(0.1);
    const late = await glanceAt(0.9);
    page.expectMatch(late.image, /storyboard\.webp\?v=/, "the sheet");
    if (!(early.tile < late.tile && early.position !== late.position)) throw new Error(`${JSON.stringify([early, late])}`);
    await page.photograph(tab, shots, "watch-scrub", PHONE);
    await tab.mouse.move(2, 2);
    await page.eventually("the poster is back", async () => (await tab.locator("#player.previewing").count()) === 0);
  });

  await step("the bar works by keyboard and reports its position", async () => {
    await bar().focus();
    await tab.keyboard.press("End");
    await page.eventually("a frame of the storyboard", () => tab.locator("#player.previewing").count());
    page.expectMatch(await bar().getAttribute("aria-valuetext"), /^0:1[12] of 0:12$/, "the reported position");
    await page.photograph(tab, shots, "watch-keyboard");
    await bar().blur();
  });

  await step("a phone shows it without horizontal scrolling, and a tap starts the preview", async () => {
    await page.expectNoSidewaysScroll(tab, 320);
    const phone = await visitor({ viewport: PHONE, hasTouch: true, isMobile: true });
    await tab.goto(`${edge}/${id}`);
    await drawn();
    await screen().tap();
    await page.eventually("it moves", async () => (await screen().getAttribute("data-moving")) === "true");
    await phone.close();
  });

  await step("with reduced motion the preview starts only when pressed", async () => {
    const calm = await visitor({ reducedMotion: "reduce" });
    await tab.goto(`${edge}/${id}`);
    await drawn();
    await screen().hover();
    page.expectEqual(await screen().getAttribute("data-moving"), null, "motion on hover");
    await screen().click();
    await page.eventually("it moves", async () => (await screen().getAttribute("data-moving")) === "true");
    await calm.close();
  });
  await stranger.close();

  const reader = await visitor();
  await step("another site embeds it by oEmbed, in a sandbox, with preview and seek bar", async () => {
    const card = await (await fetch(`${edge}/oembed?url=${encodeURIComponent(`${edge}/${id}`)}&maxwidth=480`)).json();
    page.expectEqual(`${card.width}x${card.height}`, "480x270", "the frame");
    // As WordPress does with frames of unknown sites.
    serve("/post", `<!doctype html><p>A post.</p>${card.html.replace("<iframe", '<iframe sandbox="allow-scripts"')}`);
    await tab.goto(`${site.origin}/post`);
    const frame = tab.frameLocator("iframe");
    await drawn(frame);
    page.expectEqual(await frame.locator("h1").isVisible(), false, "a title next to the image");
    await screen(frame).hover();
    await page.eventually("it moves", async () => (await screen(frame).getAttribute("data-moving")) === "true");
    const glance = await glanceAt(0.8, frame);
    page.expectAtLeast(glance.tile, 1, "the tile");
    await page.photograph(tab, shots, "watch-framed");
  });

  await step("<glimpse-thumb> and the plain HTML of the docs show it on another site", async () => {
    const docs = readFileSync(here("../../docs/embedding.md"), "utf8");
    const recipe = [...docs.matchAll(/```html\n([^]*?)```/g)].map(([, html]) => html).filter((html) => /class="thumb"|glimpse-thumb src/.test(html));
    page.expectEqual(recipe.length, 2, "recipes in docs/embedding.md");
    const mine = recipe.map((html) => html.replaceAll(/https:\/\/video\.example\.com\/7z\w*…?/g, `${edge}/${id}`).replaceAll("https://video.example.com", edge));
    serve("/list", `<!doctype html><html lang="en"><body style="width:30rem">${mine.join("<hr>")}`);
    await tab.goto(`${site.origin}/list`);
    for (const index of [0, 1]) {
      await page.eventually("the element's poster", async () => (await tab.locator("glimpse-thumb").nth(index).getAttribute("state")) === "poster");
    }
    const preview = tab.waitForResponse((response) => response.url() === `${edge}/${id}/animated.webp`);
    await tab.locator(".thumb").hover();
    page.expectEqual((await preview).status(), 200, "the preview of the plain recipe");
    await tab.locator("glimpse-thumb").first().hover();
    await page.eventually("the element moves", async () => (await tab.locator("glimpse-thumb").first().getAttribute("state")) === "moving");
  });

  await step("Media Chrome scrubs its storyboard", async () => {
    const script = join(scratch, "player.js");
    const esbuild = here("../../node_modules/.bin/esbuild");
    execFileSync(esbuild, [here("player.js"), "--bundle", "--format=esm", "--log-level=error", `--outfile=${script}`]);
    serve("/player.js", readFileSync(script), "text/javascript");
    serve("/film.mp4", readFileSync(clip), "video/mp4");
    serve(
      "/player",
      `<!doctype html><html lang="en"><title>A player</title><style>body{margin:0}media-controller{width:640px;height:360px;--media-preview-thumbnail-max-width:192px}</style>
<media-controller><video slot="media" src="/film.mp4" muted crossorigin preload="auto"><track kind="metadata" label="thumbnails" default src="${edge}/${id}/storyboard.vtt"></video>
<media-control-bar><media-play-button></media-play-button><media-time-range></media-time-range><media-time-display showduration></media-time-display></media-control-bar></media-controller>
<script type="module" src="/player.js"></script>`,
    );
    await tab.setViewportSize({ width: 640, height: 360 });
    const preview = tab.locator("media-time-range media-preview-thumbnail");
    const coords = async (share) => {
      await page.eventually(`a thumbnail at ${share}`, async () => {
        const range = await tab.locator("media-time-range").boundingBox();
        await tab.mouse.move(range.x + range.width * share + Math.random(), range.y + range.height / 2);
        const image = preview.locator("img");
        return (await image.getAttribute("src"))?.includes("/storyboard.jpg") && image.evaluate((one) => one.complete && one.naturalWidth > 0);
      });
      return preview.getAttribute("mediapreviewcoords");
    };
    // Media Chrome does not see a track that has loaded before its elements are defined, which happens on a busy machine.
    let early;
    for (let attempt = 1; early === undefined; attempt += 1) {
      await tab.goto(`${site.origin}/player`);
      early = await coords(0.2).catch((error) => {
        if (attempt === 4) throw error;
      });
    }
    const late = await coords(0.75);
    const cues = await (await fetch(`${edge}/${id}/storyboard.vtt`)).text();
    for (const at of [early, late]) {
      if (!cues.includes(`#xywh=${at.split(" ").join(",")}`)) throw new Error(`${at} is not one of ${cues}`);
    }
    if (early === late) throw new Error(`the same tile at both positions: ${early}`);
    const box = tab.locator("media-time-range [part~=preview-box]");
    await page.eventually("the thumbnail is visible", () => box.evaluate((one) => getComputedStyle(one).visibility === "visible" && Number(getComputedStyle(one).opacity) === 1));
    await tab.screenshot({ path: join(shots, "player.png") });
  });
  await reader.close();
}

try {
  await story();
  console.log(`ok - all steps; screenshots are in ${shots}`);
} catch (error) {
  const picture = join(shots, "pages-failure.png");
  await tab?.screenshot({ path: picture, fullPage: true }).catch(() => {});
  console.log(`not ok - ${current}`);
  console.error(`${error.stack}\n  page: ${tab?.url()}\n  screenshot: ${picture}`);
  for (const line of complaints?.all() ?? []) console.error(`  console: ${line}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  server.closeAllConnections();
  server.close();
  rmSync(scratch, { recursive: true, force: true });
}
