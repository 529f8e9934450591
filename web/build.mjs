// Builds the page: bundles web/src into web/dist, which the Worker serves as its static assets.
//
//   node web/build.mjs                     for production: uploads may go to any https host
//   node web/build.mjs --connect ORIGIN    for production: uploads may go to this bucket's origin only
//   node web/build.mjs --dev               for one machine: uploads may go to loopback too
//   node web/build.mjs --out FOLDER        to another place
//
// Prints the download sizes and fails if they exceed the budgets. Third-party packages in the bundles, if there are any,
// are listed with their licenses in licences.txt next to the page.

import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

/** The budget of the first load's JavaScript and CSS, in bytes after gzip. */
const BUDGET_BYTES = 20_000;
/** The budget of the gallery's preview and seek bar, after gzip. They are loaded with the first ready video. */
const MOTION_BUDGET_BYTES = 3_500;
/** The budget of the watch page's JavaScript and CSS, after gzip. */
const WATCH_BUDGET_BYTES = 8_000;
/** The budget of <glimpse-thumb>, after gzip: other sites load it. */
const THUMB_BUDGET_BYTES = 3_000;
/** The budget of the uploads, after gzip. They are loaded when idle. */
const UPLOADS_BUDGET_BYTES = 12_500;
/** The budget of <glimpse-uploader> with the client, after gzip: other sites load it. */
const UPLOADER_ELEMENT_BUDGET_BYTES = 12_288;
const SRC = fileURLToPath(new URL("src/", import.meta.url));
/** The elements of the npm package. */
const ELEMENTS = fileURLToPath(new URL("../clients/js/src/elements/", import.meta.url));
/** The API description: a static file, while the Worker serves the other paths of `/api`. */
const OPENAPI = fileURLToPath(new URL("../docs/openapi.json", import.meta.url));
const STATIC = ["favicon.svg", "icon-180.png"];
const TARGET = ["chrome109", "firefox115", "safari16"];
/** Licenses that are compatible with Glimpse's. */
const LICENCES = ["Apache-2.0", "MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "0BSD"];

/** The allowed upload origins, as the sources of the policy's connect-src. */
function uploadTargets({ dev, connect }) {
  const named = connect.length > 0 ? connect.map((text) => new URL(text).origin) : ["https:"];
  return dev ? [...named, "http://127.0.0.1:*", "http://localhost:*"] : named;
}

function headersFile(targets) {
  const policy = [
    "default-src 'self'",
    `connect-src 'self' ${targets.join(" ")}`,
    "img-src 'self' data: blob:",
    "media-src 'self' blob:",
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

/watch.*
  Cache-Control: public, max-age=300, stale-while-revalidate=86400

/glimpse-thumb.js
  Cache-Control: public, max-age=3600, stale-while-revalidate=86400
  Access-Control-Allow-Origin: *
  Cross-Origin-Resource-Policy: cross-origin

/glimpse-uploader.js
  Cache-Control: public, max-age=3600, stale-while-revalidate=86400
  Access-Control-Allow-Origin: *
  Cross-Origin-Resource-Policy: cross-origin

/api/openapi.json
  Access-Control-Allow-Origin: *
  Cache-Control: public, max-age=300
`;
}

/**
 * Bundles one or more entries, each into one file without shared chunks, which would add a request before the first
 * paint. Returns the names of the files in the page's folder, and their inputs.
 */
async function bundle(dist, entries, plugins = []) {
  const { metafile } = await build({
    entryPoints: entries.map((entry) => `${SRC}${entry}`),
    bundle: true,
    minify: true,
    format: "esm",
    target: TARGET,
    entryNames: "[name]-[hash]",
    outdir: join(dist, "assets"),
    metafile: true,
    plugins,
    logLevel: "warning",
  });
  const outputs = Object.entries(metafile.outputs);
  const nameOf = (entry) => `assets/${basename(outputs.find(([, { entryPoint }]) => basename(entryPoint) === entry)[0])}`;
  const inputs = outputs.flatMap(([, output]) => Object.entries(output.inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0));
  return { names: entries.map(nameOf), inputs: inputs.map(([path]) => path) };
}

/** Bundles a script or style sheet that other pages load from a fixed URL. */
async function fixed(dist, entry, file, format) {
  await build({ entryPoints: [entry], bundle: true, minify: true, format, target: TARGET, outfile: join(dist, file), logLevel: "warning" });
  return file;
}

/** Lists the packages of these files, each with its license. */
async function licences(inputs) {
  const folders = new Set(inputs.map((input) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0]).filter(Boolean));
  const texts = [];
  for (const folder of [...folders].sort()) {
    const { name, version, license, author } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    if (!LICENCES.includes(license)) throw new Error(`${name} has the license ${license}, which is not one of ${LICENCES.join(", ")}`);
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const by = (author?.name ?? author ?? "").replace(/ *[<(].*/, "");
    const text = file ? await readFile(join(folder, file), "utf8") : by && `Copyright ${by}`;
    texts.push(`${name} ${version} (${license})\n\n${text.trim()}\n`);
  }
  return texts.join(`\n${"-".repeat(72)}\n\n`);
}

/** Leaves imports of chunks in the page's script as imports of those files. */
const loadLater = (chunks) => ({
  name: "load-later",
  setup: ({ onResolve }) =>
    onResolve({ filter: /^\.\/(uploads|card-motion)\.js$/ }, ({ path, kind }) =>
      kind === "dynamic-import" ? { path: `/${chunks[path.slice(2)]}`, external: true } : undefined,
    ),
});

async function weigh(dist, what, names, budget) {
  let total = 0;
  for (const name of names) {
    const bytes = await readFile(join(dist, name));
    const packed = gzipSync(bytes, { level: 9 }).length;
    if (!name.endsWith(".html")) total += packed;
    console.log(`${name.padEnd(28)} ${String(bytes.length).padStart(6)} bytes  ${String(packed).padStart(6)} gzip`);
  }
  console.log(`${what.padEnd(42)} ${String(total).padStart(6)} gzip of ${budget}`);
  if (total > budget) {
    console.error(`${what}: ${total - budget} bytes over the budget of ${budget}`);
    process.exitCode = 1;
  }
}

const { values: options } = parseArgs({
  options: {
    dev: { type: "boolean", default: false },
    connect: { type: "string", multiple: true, default: [] },
    out: { type: "string", default: fileURLToPath(new URL("dist/", import.meta.url)) },
  },
});
const dist = resolve(options.out);
await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
const later = await bundle(dist, ["uploads.js", "card-motion.js"]);
const [uploads, motion] = later.names;
const first = await bundle(dist, ["main.js", "style.css"], [loadLater({ "uploads.js": uploads, "card-motion.js": motion })]);
const [script, style] = first.names;
// The watch page may be framed from an opaque origin, where a module would not load.
const watch = [await fixed(dist, `${SRC}watch-page.js`, "watch.js", "iife"), await fixed(dist, `${SRC}watch.css`, "watch.css")];
const thumb = [await fixed(dist, `${ELEMENTS}thumb.js`, "glimpse-thumb.js", "esm")];
const uploaderElement = [await fixed(dist, `${ELEMENTS}uploader.js`, "glimpse-uploader.js", "esm")];
const notices = await licences([...first.inputs, ...later.inputs]);
if (notices) await writeFile(join(dist, "licences.txt"), notices);
const html = await readFile(`${SRC}index.html`, "utf8");
await writeFile(join(dist, "index.html"), html.replace("main.js", `/${script}`).replace("style.css", `/${style}`));
await writeFile(join(dist, "_headers"), headersFile(uploadTargets(options)));
await mkdir(join(dist, "api"));
await writeFile(join(dist, "api/openapi.json"), JSON.stringify(JSON.parse(await readFile(OPENAPI, "utf8"))));
for (const name of STATIC) await cp(`${SRC}${name}`, join(dist, name));
await weigh(dist, "first load, JavaScript and CSS", ["index.html", script, style], BUDGET_BYTES);
await weigh(dist, "uploads, loaded when idle", [uploads], UPLOADS_BUDGET_BYTES);
await weigh(dist, "preview and seek bar, with the first video", [motion], MOTION_BUDGET_BYTES);
await weigh(dist, "watch page", watch, WATCH_BUDGET_BYTES);
await weigh(dist, "<glimpse-thumb>", thumb, THUMB_BUDGET_BYTES);
await weigh(dist, "<glimpse-uploader>", uploaderElement, UPLOADER_ELEMENT_BUDGET_BYTES);
