// Bundles an example into its folder dist/, with esbuild.

import { cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const shared = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Bundles `entry` of the example in `folder`. @param {string} folder @param {string} entry @param {import("esbuild").BuildOptions} [options] */
export async function bundle(folder, entry, options = {}) {
  const dist = join(folder, "dist");
  await mkdir(dist, { recursive: true });
  await build({
    entryPoints: { main: join(folder, entry) },
    outdir: dist,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    define: { "process.env.NODE_ENV": '"production"' },
    logLevel: "warning",
    ...options,
  });
  await cp(shared("page.html"), join(dist, "index.html"));
  await cp(shared("style.css"), join(dist, "style.css"));
}
