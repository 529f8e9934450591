// Builds each example, starts its server, uploads a file with <glimpse-uploader> in a browser, waits for the poster, and
// looks again after a reload. Before, it does the same with the snippet of docs/uploads.md.
//
//   GLIMPSE_EDGE_URL=http://localhost:8787 GLIMPSE_TOKEN=eyJ… GLIMPSE_CLIP=clip.mp4 PORT=5173 node tests/browser/examples.mjs
//
// The deployment must allow http://127.0.0.1:$PORT as an origin. GLIMPSE_SCREENSHOTS names a folder for screenshots.

import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { Glimpse } from "@glimpse-video/client";

import { bundle } from "../../examples/shared/build.mjs";
import * as page from "./page-helpers.mjs";

/** The time limit for an upload and for processing it, in milliseconds. */
const READY_MS = 120_000;
const PHONE = { width: 360, height: 720 };

const { GLIMPSE_EDGE_URL: url, GLIMPSE_TOKEN: token, GLIMPSE_CLIP: clip, PORT: port, GLIMPSE_SCREENSHOTS: shots = "target/screenshots" } = process.env;
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = (name) => here(`../../examples/${name}/`);
const name = basename(clip);
mkdirSync(shots, { recursive: true });

/** Bundles the client's part of the Next.js example; `next` itself is not installed. */
async function buildNext() {
  const alias = {
    name: "next",
    setup: ({ onResolve }) => onResolve({ filter: /^next\/image$/ }, () => ({ path: here("next-image.jsx") })),
  };
  await bundle(folder("next"), "../../tests/browser/next-main.jsx", { jsx: "automatic", plugins: [alias] });
}

/** Starts the server of an example; returns a function that stops it. */
async function serve(example) {
  const server = spawn(process.execPath, [here("../../examples/shared/server.mjs"), "dist"], {
    cwd: folder(example),
    env: { ...process.env, GLIMPSE_URL: url, GLIMPSE_TOKEN: token, PORT: port },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: server.stdout })[Symbol.asyncIterator]();
  const { done } = await lines.next();
  if (done) throw new Error(`the server of ${example} has ended`);
  return async () => {
    const ended = new Promise((resolve) => server.once("exit", resolve));
    server.kill();
    await ended;
  };
}

/** Drops a file onto the element's drop zone, as a mouse would. */
async function drop(tab, path) {
  const input = await tab.evaluateHandle(() => Object.assign(document.createElement("input"), { type: "file" }));
  await input.setInputFiles(path);
  await input.evaluate((chooser) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(chooser.files[0]);
    const zone = document.querySelector("glimpse-uploader").shadowRoot.querySelector("[part=dropzone]");
    for (const type of ["dragenter", "dragover", "drop"]) zone.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true, composed: true }));
  });
}

/** Waits until this many posters are shown. */
async function expectPosters(tab, example, count) {
  const shown = () =>
    tab.locator(".gallery").evaluate((list) =>
      [...list.querySelectorAll("glimpse-thumb, img")].map((one) => (one.localName === "img" ? one.complete && one.naturalWidth > 0 : one.getAttribute("state") === "poster")),
    );
  await page.eventually(`${count} posters in ${example}`, async () => (await shown()).join() === Array(count).fill(true).join(), READY_MS);
}

/** The width of the poster that the browser has chosen is one for this screen. */
async function expectFittingWidth(tab) {
  const { current, needed } = await tab.locator(".gallery img").first().evaluate((one) => ({ current: one.currentSrc, needed: one.clientWidth * devicePixelRatio }));
  const width = Number(new URL(current).searchParams.get("width"));
  if (!(width >= needed && width < 2 * needed)) throw new Error(`${current} for ${needed} pixels`);
}

async function tryExample(browser, example, earlier) {
  if (example === "next") await buildNext();
  else execFileSync(process.execPath, ["build.mjs"], { cwd: folder(example) });
  const stop = await serve(example);
  const context = await browser.newContext({ viewport: { width: 1000, height: 800 }, colorScheme: "light" });
  const tab = await context.newPage();
  tab.setDefaultTimeout(15_000);
  const complaints = page.listen(tab);
  try {
    await tab.goto(`http://127.0.0.1:${port}/`);
    await tab.locator("glimpse-uploader [part=choose]:enabled").waitFor();
    await expectPosters(tab, example, earlier);
    await drop(tab, clip);
    await tab.locator('glimpse-uploader [part="item done"]').waitFor({ timeout: READY_MS });
    await expectPosters(tab, example, earlier + 1);
    await page.photograph(tab, shots, `example-${example}`, PHONE);
    await page.expectNoSidewaysScroll(tab, PHONE.width);
    await tab.reload();
    await expectPosters(tab, example, earlier + 1);
    if (example === "next") await expectFittingWidth(tab);
    else page.expectEqual(await tab.locator("glimpse-thumb").first().getAttribute("aria-label"), name, "the description of the poster");
    complaints.mustBeEmpty();
    console.log(`ok - ${example}`);
  } catch (error) {
    await tab.screenshot({ path: join(shots, "example-failure.png"), fullPage: true }).catch(() => {});
    console.error(`not ok - ${example}\n${error.stack}\n${complaints.all().join("\n")}`);
    process.exitCode = 1;
  } finally {
    await context.close();
    await stop();
  }
}

/** Uploads with the few lines of the documentation: the page logs the id of the video. */
async function trySnippet(browser) {
  const [, snippet] = /```html uploader\n([^]*?)```/.exec(readFileSync(here("../../docs/uploads.md"), "utf8"));
  const owner = new Glimpse({ url, token });
  const { url: tokenUrl } = await owner.uploadTokens.create();
  const html = `<!doctype html><link rel="icon" href="data:,">${snippet.replace("https://video.example.com/u/eyJ…", tokenUrl).replaceAll("https://video.example.com", url)}`;
  const server = createServer((_, response) => response.writeHead(200, { "content-type": "text/html" }).end(html));
  await new Promise((resolve) => server.listen(Number(port), "127.0.0.1", resolve));
  const tab = await browser.newPage();
  try {
    await tab.goto(`http://127.0.0.1:${port}/`);
    await tab.locator("glimpse-uploader [part=choose]:enabled").waitFor();
    const logged = tab.waitForEvent("console", { timeout: READY_MS });
    await drop(tab, clip);
    const id = (await logged).text();
    page.expectEqual((await owner.videos.wait(id)).state, "ready", "the state of the video");
    await owner.videos.delete(id);
    console.log("ok - the snippet of docs/uploads.md");
  } finally {
    await tab.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

const browser = await page.launch();
try {
  await trySnippet(browser);
  let videos = 0;
  for (const example of ["html", "react", "vue", "svelte", "next"]) {
    await tryExample(browser, example, videos);
    videos += 1;
  }
} finally {
  await browser.close();
}
