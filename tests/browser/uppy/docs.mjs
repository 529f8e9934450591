// Runs the page snippets of docs/uploads.md in a real browser, each on its own page with `<input type="file">`.
//
// `tests/e2e/docs/mod.rs` starts it and passes the addresses and snippets in GLIMPSE_STORY (JSON): `snippets` are `{
// title, generation, program, bearer }`, with URL and token filled in. Prints `ok - …` for each; the first failure
// prints the reason and exits with 1.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

import { eventually, expectEqual, launch, listen } from "../page-helpers.mjs";

const READY_MS = 90_000;
const { edge, port, clip, snippets } = JSON.parse(process.env.GLIMPSE_STORY ?? "{}");
if (!snippets) {
  console.error("GLIMPSE_STORY is not set: `cargo xtask test docs` runs this");
  process.exit(2);
}

/** The snippet as an app with this Uppy version would bundle it. */
async function bundle({ generation, program }) {
  const resolveDir = fileURLToPath(new URL(`${generation}/`, import.meta.url));
  const { outputFiles } = await build({
    stdin: { contents: program, resolveDir },
    bundle: true,
    format: "esm",
    target: "chrome120",
    define: { "process.env.NODE_ENV": '"production"' },
    write: false,
    logLevel: "warning",
  });
  return outputFiles[0].text;
}

const programs = await Promise.all(snippets.map(bundle));
const server = createServer((request, response) => {
  const [, number, isScript] = /^\/(\d+)(\.js)?$/.exec(request.url) ?? [];
  const page = `<!doctype html><meta charset="utf-8"><title>Docs</title><link rel="icon" href="data:,">
    <body><input type="file"><script type="module" src="/${number}.js"></script>`;
  response.writeHead(number ? 200 : 404, { "content-type": isScript ? "text/javascript" : "text/html" });
  response.end(isScript ? programs[number] : page);
});
await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
const browser = await launch();
const tab = await browser.newPage();
const complaints = listen(tab);

/** The videos of a snippet's user. */
async function videos(bearer) {
  const response = await fetch(`${edge}/api/videos`, { headers: { authorization: `Bearer ${bearer}` } });
  expectEqual(response.status, 200, "GET /api/videos");
  return (await response.json()).videos;
}

try {
  const buffer = await readFile(clip);
  for (const [number, { title, bearer }] of snippets.entries()) {
    const began = performance.now();
    const name = `clip ${number}.mp4`;
    const words = [];
    const hear = (message) => words.push(message.text());
    tab.on("console", hear);
    await tab.goto(`http://127.0.0.1:${port}/${number}`);
    await tab.locator("input[type=file]").setInputFiles({ name, mimeType: "video/mp4", buffer });
    const video = await eventually(`${title}: the video is ready`, async () => {
      complaints.mustBeEmpty();
      return (await videos(bearer)).find((found) => found.name === name && found.state === "ready");
    }, READY_MS);
    expectEqual((await videos(bearer)).length, 1, `${title}: videos`);
    if (title.startsWith("uppy")) {
      await eventually(`${title}: the app gets the video's id`, () => words.includes(`${name} ${video.id}`));
    } else {
      await eventually(`${title}: the poster is shown`, () => tab.evaluate(() => document.querySelector("img")?.naturalWidth > 0));
    }
    complaints.mustBeEmpty();
    tab.off("console", hear);
    console.log(`ok - ${title} (${Math.round(performance.now() - began)} ms)`);
  }
} catch (error) {
  console.error(error.stack);
  for (const line of complaints.all()) console.error(`  console: ${line}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  server.close();
}
