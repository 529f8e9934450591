// Uploads with the package in Chromium, from a page on another origin: progress, a reload in the middle, two tabs, and
// a lost connection.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { statSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

import * as page from "../../browser/page-helpers.mjs";
import { accepted, ask, bytesOf, eventually, partsOf, run, story } from "./story.mjs";

const MIB = 1024 * 1024;
const size = statSync(story.large).size;
const PART = 5 * MIB;
const PARTS = Math.ceil(size / PART);
const ALL = Array.from({ length: PARTS }, (_, index) => index + 1);

const { outputFiles } = await build({
  stdin: { contents: 'export * from "@glimpse-video/client";', resolveDir: fileURLToPath(new URL(".", import.meta.url)) },
  bundle: true, format: "esm", target: ["chrome109", "firefox115", "safari16"], write: false,
});
const DOCUMENT = `<!doctype html><meta charset=utf-8><link rel=icon href="data:,"><input type=file><script type=module>
  import { Glimpse } from "./client.js";
  const glimpse = new Glimpse({ url: ${JSON.stringify(story.edge)}, token: async () => ${JSON.stringify(story.bearer)} });
  window.glimpse = glimpse;
  window.progress = [];
  document.querySelector("input").addEventListener("change", ({ target }) => {
    window.states = [];
    window.progress = [];
    window.upload = glimpse.upload(target.files[0], {
      parallel: window.parallel, onState: (state) => states.push(state), onProgress: ({ sent }) => progress.push(sent),
    });
    window.upload.then((video) => (window.video = video), (error) => (window.failure = String(error)));
  });
  window.ready = true;
</script>`;
const server = createServer(({ url }, response) => {
  const isScript = url === "/client.js";
  response.writeHead(200, { "content-type": isScript ? "text/javascript" : "text/html" }).end(isScript ? outputFiles[0].text : DOCUMENT);
}).listen(story.port, "127.0.0.1");
const origin = `http://127.0.0.1:${story.port}/`;
const browser = await page.launch();
const context = await browser.newContext();

async function open() {
  const tab = await context.newPage();
  await tab.goto(origin);
  await tab.waitForFunction("window.ready");
  return tab;
}
const choose = (tab, path) => tab.locator("input").setInputFiles(path);
async function slowDown(tab, bytesPerSecond) {
  const session = await context.newCDPSession(tab);
  const conditions = { latency: 0, downloadThroughput: -1 };
  const set = (uploadThroughput, offline = false) => session.send("Network.emulateNetworkConditions", { ...conditions, uploadThroughput, offline });
  await session.send("Network.enable");
  await set(bytesPerSecond);
  return (other = -1, isOffline = false) => set(other, isOffline);
}
const sent = (tab) => tab.evaluate("window.upload?.sent ?? 0");
const videoOf = (tab) => tab.waitForFunction("window.video ?? window.failure", undefined, { timeout: 60_000 }).then((found) => found.jsonValue());

await run([
  ["a small file reports its progress", async () => {
    const tab = await open();
    await accepted();
    const restore = await slowDown(tab, 200_000);
    await choose(tab, story.small);
    const total = statSync(story.small).size;
    await eventually("progress within the only request", async () => (await sent(tab)) > 0 && (await sent(tab)) < total);
    await restore();
    assert.equal((await videoOf(tab)).name, "Ski trip.mp4");
    assert.deepEqual((await accepted()).map(({ bytes }) => bytes), [total]);
    assert.equal(await tab.evaluate("progress.at(-1)"), total);
    await tab.close();
  }],

  ["after a reload the same file continues, and a second tab does not send it too", async () => {
    await accepted();
    const tab = await open();
    const limit = await slowDown(tab, 12 * MIB);
    await tab.evaluate("window.parallel = 2");
    await choose(tab, story.large);
    await eventually("two parts", async () => (await tab.evaluate("upload?.kept ?? 0")) >= 2 * PART);
    await limit(50_000);
    // Another tab has another upload of the same file, since the first one is being sent.
    const other = await open();
    await choose(other, story.large);
    const otherVideo = await videoOf(other);
    await other.close();
    const first = (await accepted()).filter(({ key }) => !key.endsWith(otherVideo.id));

    await tab.reload();
    await limit();
    await tab.waitForFunction("window.ready");
    await new Promise((resolve) => setTimeout(resolve, 500));
    const late = await accepted();
    assert.equal(JSON.parse(await tab.evaluate("JSON.stringify(Object.keys(JSON.parse(localStorage['glimpse-uploads'])))")).length, 1, "one upload is recorded");
    assert.ok(bytesOf([...first, ...late]) < size, "the reload is in the middle");
    await choose(tab, story.large);
    const video = await videoOf(tab);
    assert.notEqual(video.id, otherVideo.id);
    const all = [...first, ...late, ...(await accepted())];
    assert.deepEqual(partsOf(all), ALL, "each part once");
    assert.equal(bytesOf(all), size);
    assert.equal(await tab.evaluate("localStorage.length"), 0, "nothing is recorded");
    assert.equal((await tab.evaluate("glimpse.videos.wait(video.id)")).state, "ready");
    await tab.close();
  }],

  ["an upload waits while the browser is offline", async () => {
    const tab = await open();
    const limit = await slowDown(tab, 12 * MIB);
    await choose(tab, story.large);
    await eventually("the first bytes", async () => (await sent(tab)) > MIB);
    await limit(0, true);
    await eventually("the state", async () => (await tab.evaluate("upload.state")) === "offline");
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await limit();
    const video = await videoOf(tab);
    assert.equal(video.bytes, size, JSON.stringify(video));
    const states = await tab.evaluate("states");
    assert.deepEqual([states[0], states.at(-2), states.at(-1)], ["offline", "sending", "done"]);
    await tab.close();
  }],

  ["abort deletes the parts, and the record", async () => {
    const begun = await ask({ ask: "unfinished" });
    const tab = await open();
    await slowDown(tab, 12 * MIB);
    await choose(tab, story.large);
    await eventually("the first part", async () => (await sent(tab)) > PART);
    await tab.evaluate("upload.abort()");
    assert.match(await videoOf(tab), /AbortError/);
    assert.deepEqual(await ask({ ask: "unfinished" }), begun);
    assert.equal(await tab.evaluate("localStorage.length"), 0);
    await tab.close();
  }],
]).finally(async () => {
  server.close();
  await browser.close();
});
