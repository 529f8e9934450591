// Measures the sizes of what is deployed or installed, and the cold start and memory of each function. Prints one table.
//
// usage: cargo xtask bench footprints [--starts N] [--smoke]
//
// The Worker is what `cargo xtask build edge` writes, the page what `build page` writes. A package is the zip of a
// release program, as `cargo xtask package` makes it. A cold start is the time from the start of the process until its
// first request for work at a Lambda Runtime API on the loopback interface, without Lambda's own time for a sandbox and
// for the download of the package. --smoke starts each function once, and prints no figures.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { deflateRawSync, gzipSync } from "node:zlib";

import { median, table } from "../edge/report.mjs";
import { ROOT } from "../edge/servers.mjs";

const { values: options } = parseArgs({
  options: { starts: { type: "string", default: "15" }, smoke: { type: "boolean", default: false } },
});

const FUNCTIONS = ["preview", "render", "notify", "reconcile", "workflow"];
/** The variables of all functions; each reads its own. */
const VARIABLES = {
  AWS_REGION: "eu-central-1",
  AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
  AWS_SECRET_ACCESS_KEY: "hush-hush",
  AWS_LAMBDA_FUNCTION_NAME: "glimpse",
  AWS_LAMBDA_FUNCTION_VERSION: "$LATEST",
  AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "1769",
  AWS_LAMBDA_LOG_GROUP_NAME: "",
  AWS_LAMBDA_LOG_STREAM_NAME: "",
  S3_BUCKET: "clips",
  GLIMPSE_STEP: "poster",
  PUBLIC_URL: "https://video.example",
  NOTIFY_QUEUE_URL: "https://sqs.eu-central-1.amazonaws.com/123456789012/notify",
  UPLOAD_QUEUE_URL: "https://sqs.eu-central-1.amazonaws.com/123456789012/uploads",
  WEBHOOK_URLS: "https://app.example/hooks",
  WEBHOOK_SECRETS: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
};
/** The headers of a zip of one file, `bootstrap`. */
const ZIP_HEADER_BYTES = 30 + 46 + 22 + 2 * "bootstrap".length;
const START_TIMEOUT_MS = 10_000;

const program = (name) => join(process.env.GLIMPSE_RELEASE, name);
const bytesOf = (value) => value.toLocaleString("en");
const ms = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toString());

/** The sum of the files' sizes with gzip, in bytes. */
function gzipped(folder, names) {
  return names.reduce((sum, name) => sum + gzipSync(readFileSync(join(ROOT, folder, name)), { level: 9 }).length, 0);
}

/** The scripts and styles that the gallery loads first: those of its HTML. No script imports another at once. */
function firstLoad() {
  const html = readFileSync(join(ROOT, "web/dist/index.html"), "utf8");
  const names = [...html.matchAll(/(?:src|href)="\/([^":]+\.(?:js|css))"/g)].map(([, name]) => name);
  if (!names.length) throw new Error("web/dist/index.html refers to no script");
  return [...new Set(names)];
}

/** All scripts, styles and documents of the page. */
function wholePage() {
  const names = readdirSync(join(ROOT, "web/dist"), { recursive: true });
  return names.filter((name) => /\.(html|js|css)$/.test(name));
}

/** The size of a package of npm as it is published, in bytes. */
function npmPackage(folder) {
  const output = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: join(ROOT, folder), encoding: "utf8" });
  return JSON.parse(output)[0].size;
}

/** The size of the zip of a program, in bytes. */
const packageSize = (name) => deflateRawSync(readFileSync(program(name)), { level: 9 }).length + ZIP_HEADER_BYTES;

/** The peak memory of a process so far, in bytes. */
function peakMemory(pid) {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) * 1024;
}

/** Starts a function until its first request for work. Returns the time in milliseconds, and its peak memory in bytes. */
async function coldStart(name, port, runtimeApi) {
  const env = {
    ...VARIABLES,
    GLIMPSE_FFMPEG: process.env.GLIMPSE_FFMPEG,
    GLIMPSE_FFPROBE: process.env.GLIMPSE_FFPROBE,
    AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${port}`,
  };
  let output = "";
  const request = once(runtimeApi, "connect-for-work", { signal: AbortSignal.timeout(START_TIMEOUT_MS) });
  const began = performance.now();
  const child = spawn(program(name), { env, stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
  const ended = once(child, "exit");
  const result = await Promise.race([request, ended.then(() => null)]).catch(() => null);
  const took = performance.now() - began;
  if (result === null) {
    child.kill("SIGKILL");
    throw new Error(`${name} requests no work:\n${output}`);
  }
  const memory = peakMemory(child.pid);
  child.kill("SIGKILL");
  await ended;
  return { took, memory };
}

/** The medians of `count` cold starts of each function, in turns. */
async function coldStarts(count) {
  const server = createServer(() => server.emit("connect-for-work"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const found = Object.fromEntries(FUNCTIONS.map((name) => [name, []]));
  try {
    for (let round = 0; round < count; round++) {
      for (const name of FUNCTIONS) found[name].push(await coldStart(name, server.address().port, server));
    }
  } finally {
    server.closeAllConnections();
    server.close();
  }
  const medians = (all) => ({ took: median(all.map((one) => one.took)), memory: median(all.map((one) => one.memory)) });
  return Object.fromEntries(Object.entries(found).map(([name, all]) => [name, medians(all)]));
}

const rows = [
  ["the Worker: the module with gzip", bytesOf(gzipped("edge/build", ["index_bg.wasm"])), "", ""],
  ["the Worker: its JavaScript with gzip", bytesOf(gzipped("edge", ["build/index.js", "entry.js"])), "", ""],
  ["the gallery's first load with gzip", bytesOf(gzipped("web/dist", firstLoad())), "", ""],
  ["the page: all documents, scripts and styles with gzip", bytesOf(gzipped("web/dist", wholePage())), "", ""],
  ["`@glimpse-video/client` as npm's package", bytesOf(npmPackage("clients/js")), "", ""],
];
const zip = readdirSync(process.env.GLIMPSE_LAYER).find((name) => name.endsWith(".zip"));
if (!zip) throw new Error("the folder of the layer has no zip");
rows.push(["the layer with ffmpeg as a zip", bytesOf(statSync(join(process.env.GLIMPSE_LAYER, zip)).size), "", ""]);
const started = await coldStarts(options.smoke ? 1 : Number(options.starts));
for (const [name, { took, memory }] of Object.entries(started)) {
  rows.push([`\`${name}\``, options.smoke ? "" : bytesOf(packageSize(name)), ms(took), Math.round(memory / 1e6).toString()]);
}
if (options.smoke) {
  console.log(`smoke: ${rows.length} rows, every function asks for work; no figures`);
} else {
  console.log(`$ cargo xtask bench footprints --starts ${options.starts}`);
  table(["what", "bytes", "cold start, ms", "memory then, MB"], rows);
}
