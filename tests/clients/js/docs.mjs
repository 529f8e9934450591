// Runs every example of docs/clients.md. It changes only the URL and the token.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { copyFileSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { Glimpse } from "@glimpse-video/client";
import { build } from "esbuild";
import { Webhook } from "standardwebhooks";

import * as page from "../../browser/page-helpers.mjs";
import { run, story } from "./story.mjs";

const { edge, bearer } = story;
const document = readFileSync(new URL("../../../docs/clients.md", import.meta.url), "utf8");
const blocks = new Map([...document.matchAll(/```js ([\w-]+)\n([^]*?)```/g)].map(([, title, text]) => [title, text]));
const folder = mkdtempSync(fileURLToPath(new URL("../../../target/clients-", import.meta.url)));
const unused = new Set(blocks.keys());

/** Writes an example into a file with the URL and the token of this deployment. */
function example(title) {
  unused.delete(title);
  const path = join(folder, `${title}.mjs`);
  writeFileSync(path, blocks.get(title).replaceAll("https://video.example.com", edge).replaceAll("eyJ…", bearer));
  return path;
}
const load = (title) => import(pathToFileURL(example(title)));
const statusOf = async (url) => (await fetch(url)).status;

await run([
  ["every block of code has a title", async () => assert.equal(document.match(/```/g).length, 2 * blocks.size)],

  ["upload", async () => {
    const { outputFiles } = await build({ entryPoints: [example("upload")], bundle: true, format: "esm", write: false });
    const server = createServer(({ url }, response) => {
      const isScript = url === "/page.js";
      response.writeHead(200, { "content-type": isScript ? "text/javascript" : "text/html" });
      response.end(isScript ? outputFiles[0].text : '<!doctype html><link rel=icon href="data:,"><input type=file><script type=module src=page.js></script>');
    }).listen(story.port, "127.0.0.1");
    const browser = await page.launch();
    const tab = await browser.newPage();
    const complaints = page.listen(tab);
    await tab.goto(`http://127.0.0.1:${story.port}/`);
    await tab.locator("input").setInputFiles(story.small);
    await tab.locator("img").waitFor({ timeout: 60_000 });
    await tab.waitForFunction("document.images[0].naturalWidth > 0");
    complaints.mustBeEmpty();
    await browser.close();
    server.close();
  }],

  ["node", async () => {
    copyFileSync(story.small, join(folder, "clip.mp4"));
    const output = execFileSync(process.execPath, [example("node")], { cwd: folder, encoding: "utf8" });
    assert.match(output, /^ready http:.*thumbnail\.jpg/);
  }],

  ["file-store", async () => {
    const { fileStore } = await load("file-store");
    const store = fileStore(join(folder, "uploads.json"));
    assert.deepEqual(await store.list(), []);
    await store.save({ uploadId: "a", size: 1 });
    await store.save({ uploadId: "b", size: 2 });
    await store.save({ uploadId: "a", size: 3 });
    await store.remove("b");
    assert.deepEqual(await fileStore(join(folder, "uploads.json")).list(), [{ uploadId: "a", size: 3 }]);
  }],

  ["urls", async () => {
    const output = execFileSync(process.execPath, [example("urls")], { encoding: "utf8" }).trim().split("\n");
    const start = `${edge}/7yegr1n5zz040g2081040g2081`;
    assert.deepEqual(output, [`${start}/thumbnail.webp?time=1.5`, `${start}/animated.mp4?start=2&end=5`, `${start}/storyboard.vtt?tiles=100&format=webp`]);
  }],

  ["sign", async () => {
    process.env.DELIVERY_TOKEN_SECRET = story.secret;
    const { pictureUrl, storyboardToken } = await load("sign");
    assert.equal(await statusOf(await pictureUrl(story.private)), 200);
    assert.equal(await statusOf(`${edge}/${story.private}/storyboard.vtt?token=${await storyboardToken(story.private)}`), 200);
  }],

  ["upload-token", async () => {
    process.env.UPLOAD_TOKEN_SECRET = story.secret;
    const { uploadUrl } = await load("upload-token");
    const { limits } = await new Glimpse({ url: await uploadUrl("alice") }).me();
    assert.equal(limits.max_upload_bytes, 100_000_000);
  }],

  ["webhook", async () => {
    process.env.WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const { POST } = await load("webhook");
    const body = JSON.stringify({ type: "video.ready", data: { id: story.private, urls: {} } });
    const now = new Date();
    const headers = { "webhook-id": "msg_1", "webhook-timestamp": String(Math.floor(now / 1000)), "webhook-signature": new Webhook(process.env.WEBHOOK_SECRET).sign("msg_1", now, body) };
    const request = (text) => new Request("https://app.example/hooks", { method: "POST", body: text, headers });
    assert.equal((await POST(request(body))).status, 204);
    await assert.rejects(POST(request(`${body} `)), { code: "wrong_signature" });
  }],

  ["no example was left out", async () => assert.deepEqual([...unused], [])],
]);
