// The elements outside of a browser: their size, their import on a server, their types, and the loader for next/image.
// Their behavior is tested in a browser: tests/browser/uploader.test.mjs and tests/browser/thumb.test.mjs.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

import loader, { createLoader } from "@glimpse-video/client/next";

/** The budget of the client together with the uploader, in bytes after gzip: 12 KiB. */
const BUDGET_BYTES = 12 * 1024;
const VIDEO = "7yegr1n5zz040g2081040g2081";
const PAGE = `https://video.example.com/${VIDEO}`;

test("client and uploader are smaller than their budget", async () => {
  const contents = 'export { Glimpse, GlimpseError } from "@glimpse-video/client"; export { GlimpseUploader } from "./src/elements/uploader.js";';
  const resolveDir = fileURLToPath(new URL("..", import.meta.url));
  const { outputFiles } = await build({ stdin: { contents, resolveDir }, bundle: true, minify: true, format: "esm", write: false });
  const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  console.log(`client and uploader: ${bytes} bytes after gzip`);
  assert.ok(bytes <= BUDGET_BYTES, `${bytes} bytes`);
});

test("the elements can be imported on a server, where they do nothing", async () => {
  assert.equal(globalThis.HTMLElement, undefined);
  const elements = await import("@glimpse-video/client/elements");
  assert.deepEqual(Object.keys(elements).sort(), ["GlimpseThumb", "GlimpseUploader", "MESSAGES"]);
  await import("@glimpse-video/client/jsx");
});

test("the declared texts are those of the uploader", async () => {
  const { MESSAGES } = await import("@glimpse-video/client/elements");
  const types = readFileSync(new URL("../src/elements/index.d.ts", import.meta.url), "utf8");
  const [, body] = /interface UploaderMessages \{([^]*?)\n\}/.exec(types);
  assert.deepEqual([...body.matchAll(/^  (\w+):/gm)].map(([, name]) => name).sort(), Object.keys(MESSAGES).sort());
});

test("the elements are typed in React, Preact, Vue and Svelte", () => {
  const tsc = fileURLToPath(import.meta.resolve("typescript/bin/tsc"));
  execFileSync(process.execPath, [tsc, "--project", fileURLToPath(new URL("elements", import.meta.url))], { stdio: ["ignore", "inherit", "inherit"] });
});

test("the loader returns the poster in the requested width", () => {
  const cases = [
    [{ src: PAGE, width: 320 }, `${PAGE}/thumbnail.webp?width=320`],
    [{ src: PAGE, width: 640 }, `${PAGE}/thumbnail.webp`],
    [{ src: `${PAGE}/`, width: 1200, quality: 75 }, `${PAGE}/thumbnail.webp?width=1200&quality=75`],
    [{ src: `${PAGE}/thumbnail.jpg?time=3`, width: 320 }, `${PAGE}/thumbnail.jpg?time=3&width=320`],
    [{ src: `${PAGE}/thumbnail.png`, width: 320, quality: 75 }, `${PAGE}/thumbnail.png?width=320`],
    [{ src: `${PAGE}/thumbnail.jpg?width=400&height=100&fit_mode=crop`, width: 800 }, `${PAGE}/thumbnail.jpg?width=800&height=200&fit_mode=crop`],
    [{ src: `${PAGE}/thumbnail.jpg?width=320&dpr=2`, width: 320 }, `${PAGE}/thumbnail.jpg?width=320`],
  ];
  for (const [image, expected] of cases) assert.equal(loader(image), expected, JSON.stringify(image));
});

test("the loader limits width and quality to what the API accepts", () => {
  const parameters = (image) => Object.fromEntries(new URL(loader({ src: PAGE, ...image })).searchParams);
  assert.deepEqual(parameters({ width: 5000, quality: 200 }), { width: "3840", quality: "100" });
  assert.deepEqual(parameters({ width: 4, quality: 0.4 }), { width: "8", quality: "1" });
  const narrow = createLoader({ url: "https://video.example.com", format: "avif", widths: [960, 320] });
  const widths = [16, 320, 321, 4000].map((width) => new URL(narrow({ src: `/${VIDEO}`, width })).searchParams.get("width"));
  assert.deepEqual(widths, ["320", "320", "960", "960"]);
});

test("the loader leaves other images, tokens and signatures alone", () => {
  for (const src of ["https://example.com/a.png", "/logo.svg", `${PAGE}/animated.webp`, `${PAGE}/thumbnail.jpg?token=t`, `${PAGE}/thumbnail.jpg?expires=1&kid=a&sig=s`]) {
    assert.equal(loader({ src, width: 320 }), src);
  }
});
