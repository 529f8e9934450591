// Bundles the page into dist/. Vite and its Svelte plugin do the same; no option is needed.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { compile } from "svelte/compiler";

import { bundle } from "../shared/build.mjs";

const svelte = {
  name: "svelte",
  setup: ({ onLoad }) =>
    onLoad({ filter: /\.svelte$/ }, async ({ path }) => ({ contents: compile(await readFile(path, "utf8"), { filename: path, generate: "client" }).js.code })),
};

await bundle(fileURLToPath(new URL(".", import.meta.url)), "main.js", { plugins: [svelte], conditions: ["svelte", "browser"] });
