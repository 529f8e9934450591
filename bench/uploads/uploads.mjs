// Measures uploads that are disturbed, with several clients, and prints the commands.
//
// usage: cargo xtask bench uploads [--uploads N] [--sizes MB,…] [--clients NAME,…] [--faults KIND,…] [--rate MB/S]
//                                  [--seed N] [--smoke]
//
// Each client runs in Chromium and sends the same files over its own link, a proxy that limits the speed, counts the
// bytes that the storage has received, and causes the faults of one schedule (schedule.mjs, link.mjs). The storage is the
// S3 of the local cloud behind our Worker, in a release build, or the tus server. When a client reports a failure, the
// user presses "Try again" once the browser is online, three times at most. --uploads is the number of uploads of each
// size for each fault. Every stored file is compared with the one that was sent. --smoke sends one file with two faults
// and prints no figures: `cargo xtask test` runs it.

import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, mkdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import { build } from "esbuild";

import { formatNumber, median, table } from "../edge/report.mjs";
import { freePort, glimpseModules, start, stopAll, temporaryFolder, worker } from "../edge/servers.mjs";
import { AUDIENCE, ISSUER, SECRET, secretToken } from "../edge/tokens.mjs";
import { launch } from "../../tests/browser/page-helpers.mjs";
import { Link } from "./link.mjs";
import { FAULTS, schedule } from "./schedule.mjs";

const MB = 1_000_000;
const OFFLINE_MS = 30_000;
/** How often the user presses "Try again". */
const MAX_PRESSES = 3;
/** The time limit of an upload: this, and ten times as long as its bytes need. In milliseconds. */
const LIMIT_MS = 120_000;
/** The clients: their names in the table, programs, settings, and whether the storage is the tus server. */
const CLIENTS = {
  glimpse: { program: "glimpse" },
  uppy: { program: "uppy" },
  "uppy-parts": { program: "uppy", isInParts: true },
  tus: { program: "tus", isTus: true },
};

const { values: options } = parseArgs({
  options: {
    uploads: { type: "string", default: "1" },
    sizes: { type: "string", default: "8,64,512" },
    clients: { type: "string", default: Object.keys(CLIENTS).join() },
    faults: { type: "string", default: [...Object.keys(FAULTS), "all"].join() },
    rate: { type: "string", default: "8" },
    seed: { type: "string", default: "19" },
    smoke: { type: "boolean", default: false },
  },
});

const textOf = (bytes) => `${bytes / MB} MB`;

/** Writes a file of noise; returns its path, its length and its SHA-256. */
async function writeFile(folder, size) {
  const path = join(folder, `film of ${size / MB} MB.mp4`);
  const hash = createHash("sha256");
  // A fixed sequence of xorshift32, in blocks with their numbers.
  const words = new Uint32Array(MB / 4);
  let state = 0x9e3779b9;
  for (let place = 0; place < words.length; place += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[place] = state;
  }
  function* blocks() {
    for (let at = 0; at < size; at += MB) {
      words[0] = at;
      const block = Buffer.from(words.buffer.slice(0, Math.min(MB, size - at)));
      hash.update(block);
      yield block;
    }
  }
  await pipeline(Readable.from(blocks()), createWriteStream(path));
  return { path, size, sha256: hash.digest("hex") };
}

async function sha256Of(stream) {
  const hash = createHash("sha256");
  for await (const bytes of stream) hash.update(bytes);
  return hash.digest("hex");
}

/** Serves the apps at `/NAME`; returns the origin. */
async function serveApps() {
  const names = [...new Set(Object.values(CLIENTS).map(({ program }) => program))];
  const folder = (name) => new URL(`clients/${name}.js`, import.meta.url).pathname;
  const pages = new Map();
  for (const name of names) {
    const { outputFiles } = await build({
      entryPoints: [folder(name)],
      bundle: true,
      format: "iife",
      target: "chrome120",
      define: { "process.env.NODE_ENV": '"production"' },
      write: false,
      logLevel: "error",
    });
    pages.set(`/${name}.js`, ["text/javascript", outputFiles[0].text]);
    pages.set(`/${name}`, ["text/html", `<!doctype html><meta charset=utf-8><link rel=icon href="data:,"><input type=file><script src="/${name}.js"></script>`]);
  }
  const server = createServer(({ url }, response) => {
    const [type, text] = pages.get(url) ?? ["text/plain", "not found"];
    response.writeHead(pages.has(url) ? 200 : 404, { "content-type": type }).end(text);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  return `http://127.0.0.1:${server.address().port}`;
}

/** The S3 of the local cloud, which pages of this origin may call; its host and port. */
async function s3(origin) {
  const port = await freePort();
  const args = ["serve", "--listen", `127.0.0.1:${port}`, "--data", temporaryFolder(), "--cors", origin];
  await start("the local cloud", join(process.env.GLIMPSE_RELEASE, "glimpse-local"), args, { port });
  return `127.0.0.1:${port}`;
}

/** The storage behind our Worker. */
async function glimpseStorage(link, origin) {
  const port = await freePort();
  const edge = `http://127.0.0.1:${port}`;
  const vars = {
    PUBLIC_URL: edge,
    ALLOWED_ORIGINS: origin,
    S3_BUCKET: "glimpse",
    S3_REGION: "us-east-1",
    S3_ENDPOINT: link.url,
    S3_ACCESS_KEY_ID: "glimpse-local",
    S3_SECRET_ACCESS_KEY: "glimpse-local-secret-key",
    JWT_ISSUER: ISSUER,
    JWT_AUDIENCE: AUDIENCE,
    JWT_SECRET: SECRET,
    UPLOAD_TOKEN_SECRETS: "bench=an-upload-token-secret-for-measurements-only",
  };
  await worker("the Worker", { modules: glimpseModules(), vars, port });
  const call = async (method, path, body) => {
    const headers = { authorization: `Bearer ${secretToken()}`, "content-type": "application/json" };
    const response = await fetch(edge + path, { method, headers, body });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response;
  };
  return {
    /** The settings of a page that sends one file. */
    async settings() {
      const { url } = await (await call("POST", "/api/upload-tokens", JSON.stringify({ videos: 10 }))).json();
      return { edge, bearer: secretToken(), tokenUrl: url };
    },
    async stored(url) {
      return sha256Of((await call("GET", `/${basename(url)}/original`)).body);
    },
    async remove(url) {
      await call("DELETE", `/api/videos/${basename(url)}`);
    },
  };
}

/** The tus server; `target` is its host and port. */
async function tusServer() {
  const port = await freePort();
  const folder = join(temporaryFolder(), "files");
  mkdirSync(folder);
  const program = new URL("tus-server.mjs", import.meta.url).pathname;
  await start("the tus server", process.execPath, [program, `${port}`, folder], { port });
  return { target: `127.0.0.1:${port}`, folder };
}

function tusStorage(link, folder) {
  const pathOf = (url) => join(folder, basename(url));
  return {
    settings: async () => ({ endpoint: `${link.url}/files` }),
    stored: (url) => sha256Of(createReadStream(pathOf(url))),
    async remove(url) {
      for (const path of [pathOf(url), `${pathOf(url)}.json`]) rmSync(path, { force: true });
    },
  };
}

/** A client with its link, its storage and its browser context. */
class Lane {
  constructor({ name, browser, link, storage, origin }) {
    Object.assign(this, { name, browser, link, storage, origin, client: CLIENTS[name] });
  }

  async #open(tab, path, isAgain) {
    await tab.goto(`${this.origin}/${this.client.program}`);
    // What the page has left in the system's buffers, which are larger here than on a slow connection.
    this.link.cut();
    this.link.release();
    await tab.evaluate((settings) => window.openClient(settings), { ...this.settings, isInParts: this.client.isInParts, isAgain });
    await tab.locator("input").setInputFiles(path);
  }

  /** Sends a file; returns whether it has arrived, the time, the bytes that the storage has received, and the presses. */
  async send(file, { name, faults }) {
    this.settings = await this.storage.settings();
    // tus has no signatures.
    const planned = faults.filter(({ kind }) => !(this.client.isTus && kind === "403"));
    const context = await this.browser.newContext();
    const tab = await context.newPage();
    const devtools = await context.newCDPSession(tab);
    await devtools.send("Network.enable");
    const setOffline = (offline) =>
      devtools.send("Network.emulateNetworkConditions", { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
    const pageFaults = [];
    this.link.plan({ size: file.size, faults: planned, onPageFault: (kind) => pageFaults.push(kind) });
    let presses = 0;
    let outcome;
    const failures = [];
    const began = performance.now();
    const limit = began + LIMIT_MS + (10_000 * file.size) / this.link.fullSpeed;
    await this.#open(tab, file.path, false);
    while (performance.now() < limit) {
      const kind = pageFaults.shift();
      if (kind === "reload") await this.#open(tab, file.path, true);
      if (kind === "offline") {
        await setOffline(true);
        // Chromium would go on with the requests that it has begun.
        this.link.cut();
        this.link.release();
        await sleep(OFFLINE_MS);
        await setOffline(false);
      }
      outcome = await tab.evaluate(() => window.outcome);
      if (outcome?.url || (outcome?.failure && presses >= MAX_PRESSES)) break;
      if (outcome?.failure) {
        failures.push(outcome.failure);
        presses += 1;
        await tab.evaluate(() => window.retry());
      }
      await sleep(20);
    }
    const seconds = (performance.now() - began) / 1000;
    const { received, pending } = this.link;
    await context.close();
    const result = { client: this.name, name, size: file.size, seconds, received, presses, failures, missed: pending.map(({ kind }) => kind) };
    if (!outcome?.url) return { ...result, isDone: false, failures: [...failures, outcome?.failure ?? "no end"] };
    const stored = await this.storage.stored(outcome.url);
    await this.storage.remove(outcome.url);
    return { ...result, isDone: stored === file.sha256, failures: stored === file.sha256 ? failures : [...failures, "another content"] };
  }
}

async function openLanes(names, browser, rate) {
  const origin = await serveApps();
  const target = await s3(origin);
  const lanes = [];
  for (const name of names) {
    if (!CLIENTS[name]) throw new Error(`unknown client ${name}: ${Object.keys(CLIENTS).join(", ")}`);
    const tus = CLIENTS[name].isTus ? await tusServer() : undefined;
    const link = await new Link(tus?.target ?? target, rate * MB).listen();
    const storage = tus ? tusStorage(link, tus.folder) : await glimpseStorage(link, origin);
    lanes.push(new Lane({ name, browser, link, storage, origin }));
  }
  return lanes;
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
/** The bytes that the storage has received beyond the file. */
const twice = ({ received, size }) => Math.max(0, received - size);

/** One row: the uploads of a client together. */
function row(label, client, results) {
  const done = results.filter(({ isDone }) => isDone);
  const sent = sum(done.map(twice));
  const share = (100 * sent) / sum(done.map(({ size }) => size));
  const finished = `${done.length} of ${results.length}`;
  const presses = sum(results.map((result) => result.presses));
  return [...label, client, finished, presses, formatNumber(sent / MB), `${share.toFixed(1)} %`, formatNumber(sum(done.map(({ seconds }) => seconds)))];
}

const HEAD = ["client", "finished", "presses", "MB sent twice", "of the bytes", "s"];

function report(results, names, sizes, kinds) {
  const of = (client, filter) => results.filter((result) => result.client === client && filter(result));
  const rows = (groups) => groups.flatMap(([label, filter]) => names.map((client) => row([label], client, of(client, filter))).filter(([, , finished]) => !finished.endsWith(" 0")));
  const isSingle = ({ name }) => name !== "all";
  table(["fault", ...HEAD], rows(kinds.map((kind) => [kind === "all" ? "all of them in one upload" : kind, ({ name }) => name === kind])));
  table(["size, one fault", ...HEAD], rows(sizes.map((size) => [textOf(size), (result) => isSingle(result) && result.size === size])));
  table(["together", ...HEAD], rows([["one fault each", isSingle], ["with `all`", () => true]]));
  const single = (client) => median(of(client, isSingle).filter(({ isDone }) => isDone).map((result) => result.seconds / (result.size / MB)));
  if (results.some(isSingle)) {
    console.log(`\nseconds per MB, median: ${names.map((client) => `${client} ${formatNumber(single(client))}`).join(", ")}`);
  }
}

async function main() {
  const smoke = options.smoke;
  const sizes = (smoke ? "8" : options.sizes).split(",").map((size) => Number(size) * MB);
  const names = options.clients.split(",");
  const requested = smoke ? ["all"] : options.faults.split(",");
  const unknown = requested.find((kind) => !FAULTS[kind] && kind !== "all");
  if (unknown) throw new Error(`unknown fault ${unknown}: ${Object.keys(FAULTS).join(", ")}, all`);
  const kinds = smoke ? ["cut", "5xx"] : Object.keys(FAULTS).filter((kind) => requested.includes(kind) || (requested.length === 1 && requested[0] === "all"));
  const uploads = schedule({ seed: Number(options.seed), sizes, rounds: smoke ? 1 : Number(options.uploads), kinds, hasAll: requested.includes("all") });
  const chosen = requested.includes("all") && requested.length === 1 ? uploads.filter(({ name }) => name === "all") : uploads;

  const folder = temporaryFolder();
  const files = new Map();
  for (const size of sizes) files.set(size, await writeFile(folder, size));
  const browser = await launch();
  try {
    const rate = smoke ? 32 : Number(options.rate);
    const lanes = await openLanes(names, browser, rate);
    if (!smoke) {
      console.log(`$ cargo xtask bench uploads --uploads ${options.uploads} --sizes ${options.sizes} --rate ${rate} --seed ${options.seed}`);
      for (const kind of kinds) console.log(`${kind}: ${FAULTS[kind]}`);
    }
    const results = [];
    await Promise.all(
      lanes.map(async (lane) => {
        for (const upload of chosen) {
          const result = await lane.send(files.get(upload.size), upload);
          results.push(result);
          const faults = upload.faults.map(({ kind, at }) => `${kind} at ${formatNumber(at / MB)} MB`).join(", ");
          const end = result.isDone ? `${formatNumber(result.seconds)} s, ${formatNumber(twice(result) / MB)} MB twice` : "not finished";
          const notes = [...result.failures.map((failure) => `"${failure}"`), ...result.missed.map((kind) => `${kind} did not happen`)];
          console.log(`${lane.name}, ${textOf(upload.size)}, ${faults}: ${end}${notes.length > 0 ? ` (${notes.join("; ")})` : ""}`);
        }
        lane.link.close();
      }),
    );
    if (!smoke) return report(results, names, sizes, [...kinds.filter((kind) => requested.includes(kind)), ...(requested.includes("all") ? ["all"] : [])]);
    const failed = results.filter(({ isDone, received, size, missed }) => !isDone || received <= size || missed.length > 0);
    if (failed.length > 0) throw new Error(`not as expected: ${JSON.stringify(failed)}`);
    console.log(`smoke: ${results.length} clients have sent a file in spite of two faults; no figures`);
  } finally {
    await browser.close();
  }
}

await main().finally(stopAll);
