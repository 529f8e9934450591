// Bundles the page into dist/. Vite and its Vue plugin do the same; the option that matters is `isCustomElement`.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { compileScript, parse } from "vue/compiler-sfc";

import { bundle } from "../shared/build.mjs";

const vue = {
  name: "vue",
  setup: ({ onLoad }) =>
    onLoad({ filter: /\.vue$/ }, async ({ path }) => {
      const { descriptor, errors } = parse(await readFile(path, "utf8"), { filename: path });
      if (errors.length > 0) return { errors: errors.map(({ message }) => ({ text: message, location: { file: path } })) };
      const templateOptions = { compilerOptions: { isCustomElement: (tag) => tag.startsWith("glimpse-") } };
      return { contents: compileScript(descriptor, { id: path, inlineTemplate: true, templateOptions }).content };
    }),
};
const define = { "process.env.NODE_ENV": '"production"', __VUE_OPTIONS_API__: "false", __VUE_PROD_DEVTOOLS__: "false", __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false" };

await bundle(fileURLToPath(new URL(".", import.meta.url)), "main.js", { plugins: [vue], define });
