// Measures how long after an upload its outputs exist, by length and container, and where that time goes.
//
// usage: cargo xtask bench ready [--uploads N] [--starts N] [--only TEXT] [--smoke]
//
// Each video is signed by the Worker in `workerd serve` and sent to the S3 of the local cloud, whose queue invokes the
// `preview` function; all in release builds. The time is from the response to the PUT, which follows the last byte,
// until S3 has stored the manifest: its record in the folder of the local S3 is looked up every two milliseconds. The
// phases are those that the function logs. --uploads is the number per video (50), one after another, after one that is
// not counted; --starts the number of uploads after each of which the function's process is ended (20), so that the next
// one starts it; --only selects the videos whose name contains the text. --smoke uploads each of two short videos once,
// and prints no figures: `cargo xtask test` runs it.

import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { cloud, glimpse, sendVideo } from "../edge/fixtures.mjs";
import { formatNumber, median, percentile, table } from "../edge/report.mjs";
import { stopAll, temporaryFolder } from "../edge/servers.mjs";
import { secretToken } from "../edge/tokens.mjs";
import { films, shortFilms } from "./films.mjs";
import { JobLog, PHASES } from "./job-log.mjs";

const POLL_MS = 2;
/** The time limit for the outputs of one video. */
const READY_TIMEOUT_MS = 120_000;

const { values: options } = parseArgs({
  options: {
    uploads: { type: "string", default: "50" },
    starts: { type: "string", default: "20" },
    only: { type: "string", default: "" },
    smoke: { type: "boolean", default: false },
  },
});

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The file that exists once the local S3 has stored the object of this key. */
function recordPath(data, key) {
  const name = createHash("sha256").update(key).digest("hex");
  return join(data, "s3/objects", name.slice(0, 2), `${name}.json`);
}

/** Uploads a video, and returns the time until its manifest exists and the phases, in milliseconds. */
async function measure({ worker, data, log }, { path, type }) {
  const id = await sendVideo(worker, path, { type });
  const began = performance.now();
  const manifest = recordPath(data, `media/${id}/manifest.json`);
  while (!existsSync(manifest)) {
    if (performance.now() - began > READY_TIMEOUT_MS) throw new Error(`${path} is not processed`);
    await pause(POLL_MS);
  }
  const ready = performance.now() - began;
  const phases = await log.phases(id);
  const headers = { authorization: `Bearer ${secretToken()}` };
  const deleted = await fetch(`${worker.url}/api/videos/${id}`, { method: "DELETE", headers });
  if (!deleted.ok) throw new Error(`deleting ${id}: ${deleted.status}`);
  return { ready, ...phases };
}

/** Ends the idle environments of `preview`, and waits until they are gone. */
async function endFunctions({ server }) {
  const isFunction = (pid) => existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/comm`, "utf8").trim() === "preview";
  const threads = readdirSync(`/proc/${server.pid}/task`);
  const children = threads.flatMap((thread) => {
    return readFileSync(`/proc/${server.pid}/task/${thread}/children`, "utf8").split(" ").filter(Boolean);
  });
  const ended = children.filter(isFunction);
  if (!ended.length) throw new Error("there is no environment of the function to end");
  for (const pid of ended) process.kill(Number(pid), "SIGKILL");
  while (ended.some(isFunction)) await pause(POLL_MS);
  // The cloud learns of it from the kernel.
  await pause(50);
}

/** Uploads a video `count` times. */
async function repeat(stack, film, count, before = async () => {}) {
  const found = [];
  for (let number = 0; number < count; number++) {
    await before(stack);
    found.push(await measure(stack, film));
  }
  return found;
}

async function main() {
  const folder = options.smoke ? temporaryFolder() : join(process.env.GLIMPSE_TOOLS_DIR, "engine-bench");
  const all = options.smoke ? shortFilms(folder) : films(folder);
  const chosen = all.filter(({ name }) => name.includes(options.only)).map((film) => ({ ...film, path: film.make() }));
  if (!chosen.length) throw new Error(`no video is called ${options.only}: ${all.map(({ name }) => name).join("; ")}`);
  const log = new JobLog();
  const { server, data, vars } = await cloud({ onText: log.add });
  const stack = { server, data, log, worker: await glimpse("glimpse", vars) };
  const rows = [];
  const add = (name, { path }, found) => rows.push({ name, bytes: statSync(path).size, found });
  const uploads = options.smoke ? 1 : Number(options.uploads);
  for (const film of chosen) {
    console.log(`$ PUT ${film.path.split("/").at(-1)}, ${uploads} times`);
    if (!options.smoke) await repeat(stack, film, 1);
    add(film.name, film, await repeat(stack, film, uploads));
  }
  const cold = chosen.find(({ name }) => name === "1 min") ?? chosen[0];
  const starts = options.smoke ? 1 : Number(options.starts);
  if (starts) add(`${cold.name}, cold start`, cold, await repeat(stack, cold, starts, endFunctions));
  if (options.smoke) {
    console.log(`smoke: ${rows.map(({ name }) => name).join("; ")}; all ready; no figures`);
    return;
  }

  console.log(`\n${cpus().length} processors, load ${loadavg()[0].toFixed(1)}`);
  const times = rows.map(({ name, bytes, found }) => {
    const at = (hundredths) => (percentile(found.map(({ ready }) => ready), hundredths) / 1000).toFixed(2);
    return [name, formatNumber(bytes / 1e6), found.length, at(50), at(95), at(99)];
  });
  table(["upload to ready", "MB", "uploads", "p50 s", "p95 s", "p99 s"], times);
  const phases = rows.map(({ name, found }) => [name, ...PHASES.map((phase) => Math.round(median(found.map((one) => one[phase]))))]);
  table(["median ms", ...PHASES], phases);
}

await main().finally(stopAll);
