// Builds the page: bundles edge/page/src into edge/page/dist, which the Worker serves as its static assets.
//
//   node edge/page/build.mjs                     for production: uploads may go to any https host
//   node edge/page/build.mjs --connect ORIGIN    for production: uploads may go to this bucket's origin only
//   node edge/page/build.mjs --dev               for one machine: uploads may go to loopback too
//
// Prints what a visitor downloads and fails when it is more than the budget.

import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

/** What JavaScript and CSS together may weigh, in bytes after gzip. */
const BUDGET_BYTES = 20_000;
const SRC = fileURLToPath(new URL("src/", import.meta.url));
const DIST = fileURLToPath(new URL("dist/", import.meta.url));
const STATIC = ["favicon.svg", "icon-180.png"];

/** Where uploads may go, as the sources of the policy's connect-src. */
function uploadTargets({ dev, connect }) {
  const named = connect.length > 0 ? connect.map((text) => new URL(text).origin) : ["https:"];
  return dev ? [...named, "http://127.0.0.1:*", "http://localhost:*"] : named;
}

function headersFile(targets) {
  const policy = [
    "default-src 'self'",
    `connect-src 'self' ${targets.join(" ")}`,
    "img-src 'self' data: blob:",
    "media-src blob:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; ");
  return `/*
  Content-Security-Policy: ${policy}
  X-Content-Type-Options: nosniff
  X-Frame-Options: DENY
  Referrer-Policy: no-referrer
  Cross-Origin-Opener-Policy: same-origin
  Permissions-Policy: camera=(), geolocation=(), microphone=()

/assets/*
  Cache-Control: public, max-age=31536000, immutable
`;
}

async function bundle() {
  const { metafile } = await build({
    entryPoints: [`${SRC}main.js`, `${SRC}style.css`],
    bundle: true,
    minify: true,
    format: "esm",
    target: ["chrome109", "firefox115", "safari16"],
    entryNames: "[name]-[hash]",
    outdir: `${DIST}assets`,
    metafile: true,
    logLevel: "warning",
  });
  const find = (extension) => `assets/${basename(Object.keys(metafile.outputs).find((name) => name.endsWith(extension)))}`;
  return { script: find(".js"), style: find(".css") };
}

async function weigh(names) {
  let total = 0;
  for (const name of names) {
    const bytes = await readFile(`${DIST}${name}`);
    const packed = gzipSync(bytes, { level: 9 }).length;
    if (!name.endsWith(".html")) total += packed;
    console.log(`${name.padEnd(28)} ${String(bytes.length).padStart(6)} bytes  ${String(packed).padStart(6)} gzip`);
  }
  console.log(`${"JavaScript and CSS".padEnd(42)} ${String(total).padStart(6)} gzip of ${BUDGET_BYTES}`);
  if (total > BUDGET_BYTES) {
    console.error(`the page weighs ${total - BUDGET_BYTES} bytes more than its budget of ${BUDGET_BYTES}`);
    process.exitCode = 1;
  }
}

const { values: options } = parseArgs({
  options: { dev: { type: "boolean", default: false }, connect: { type: "string", multiple: true, default: [] } },
});
await rm(DIST, { recursive: true, force: true });
await mkdir(DIST, { recursive: true });
const { script, style } = await bundle();
const html = await readFile(`${SRC}index.html`, "utf8");
await writeFile(`${DIST}index.html`, html.replace("main.js", `/${script}`).replace("style.css", `/${style}`));
await writeFile(`${DIST}_headers`, headersFile(uploadTargets(options)));
for (const name of STATIC) await cp(`${SRC}${name}`, `${DIST}${name}`);
await weigh(["index.html", script, style]);
