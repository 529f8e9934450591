// Puts the whole of Glimpse under load: a burst of uploads beside a constant rate of requests for images. Checks that
// nothing is lost and that memory stays flat, and prints the commands.
//
// usage: cargo xtask bench load [--uploads N] [--rate N] [--minutes N] [--concurrency N] [--smoke]
//
// The Worker runs in `workerd serve` with its own cache; the bucket, the queue and the functions are the local cloud's, in
// a release build. The uploads begin at once, 32 at a time. The images are those of the videos that are ready: posters,
// animations and storyboards, and one of 200 requests is for a still of a random moment, which is made on demand. A
// request is sent when its time has come, whether the earlier ones were answered or not, and its time counts from then.
// The run fails if a video does not become ready, a response is not 200, or a message becomes a dead letter. --smoke runs
// a few seconds of it and prints no figures: `cargo xtask test` runs it.

import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import { cloud, glimpse, uploadVideo } from "../edge/fixtures.mjs";
import { formatNumber, median, percentile, table } from "../edge/report.mjs";
import { stopAll, temporaryFolder } from "../edge/servers.mjs";
import { secretToken } from "../edge/tokens.mjs";

const { values: options } = parseArgs({
  options: {
    uploads: { type: "string", default: "2000" },
    rate: { type: "string", default: "200" },
    minutes: { type: "string", default: "10" },
    concurrency: { type: "string", default: "2" },
    smoke: { type: "boolean", default: false },
  },
});
const SMOKE = { uploads: 3, rate: 20, seconds: 2 };
const UPLOADS = options.smoke ? SMOKE.uploads : Number(options.uploads);
const RATE = options.smoke ? SMOKE.rate : Number(options.rate);
const SECONDS = options.smoke ? SMOKE.seconds : Number(options.minutes) * 60;
/** The number of concurrent uploads. */
const UPLOADERS = 32;
/** One of so many requests is for an image that does not exist yet. */
const ON_DEMAND = 200;
/** The state of so many videos is polled, the oldest first. */
const POLLED = 16;
const POLL_MS = 500;
const SAMPLE_MS = options.smoke ? 500 : 5000;
/** How long the videos may take after the load has ended, in milliseconds. */
const REST_MS = options.smoke ? 60_000 : 30 * 60_000;
const CLIP_SECONDS = 2;

/** A small clip. */
function encodeClip() {
  const path = join(temporaryFolder(), "clip.mp4");
  const args = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25", "-t", `${CLIP_SECONDS}`];
  execFileSync(process.env.GLIMPSE_REFERENCE_FFMPEG, [...args, "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-movflags", "+faststart", path]);
  return path;
}

const agent = new Agent({ keepAlive: true, maxSockets: 256 });

/** The number of requests that were sent again. */
let repeated = 0;

/**
 * The status of a GET, once its body was received. Like a browser, it sends the request again if the server has closed
 * the kept connection at the same time.
 */
function get(url) {
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode));
      answer.on("error", reject);
    });
    sent.on("error", (error) => {
      if (!sent.reusedSocket || error.code !== "ECONNRESET") return reject(error);
      repeated += 1;
      resolve(get(url));
    });
    sent.end();
  });
}

/** The processes of this machine: `{ pid, parent, name }`. */
function processes() {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
    try {
      const [, name, rest] = /\((.*)\) (.*)/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8"));
      return [{ pid: Number(pid), parent: Number(rest.split(" ")[1]), name }];
    } catch {
      return [];
    }
  });
}

/** The resident memory of a process in MB; 0 if it has ended. */
function memoryMb(pid) {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

/** The memory of the Worker, of the local cloud and of each function's largest process, in MB. */
function sampleMemory(worker, local) {
  const children = processes().filter(({ parent }) => parent === local.pid);
  const largest = (name) => Math.max(0, ...children.filter((child) => child.name === name).map(({ pid }) => memoryMb(pid)));
  return { workerd: memoryMb(worker.pid), preview: largest("preview"), render: largest("render"), "local cloud": memoryMb(local.pid) };
}

/** The messages in the dead-letter queue. */
function deadLetters(folder) {
  const dead = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && /(^|\/)dead$/.test(entry.parentPath));
  return dead.length;
}

/** Sends the clip `count` times; calls `onSent` with each video's id. */
async function burst(server, clip, count, onSent) {
  const bytes = readFileSync(clip);
  let left = count;
  const upload = async () => {
    while (left > 0) {
      left -= 1;
      const headers = { authorization: `Bearer ${secretToken()}`, "content-type": "application/json" };
      const body = JSON.stringify({ name: "clip.mp4", size: bytes.length, type: "video/mp4" });
      const created = await fetch(`${server.url}/api/videos`, { method: "POST", headers, body });
      if (created.status !== 201) throw new Error(`POST /api/videos: ${created.status} ${await created.text()}`);
      const { video, upload: grant } = await created.json();
      const sent = await fetch(grant.url, { method: grant.method, headers: grant.headers, body: bytes });
      await sent.arrayBuffer();
      if (sent.status !== 200) throw new Error(`the upload was answered with ${sent.status}`);
      onSent(video.id);
    }
  };
  await Promise.all(Array.from({ length: Math.min(UPLOADERS, count) }, upload));
}

/** The state of a video, and the paths of its images. */
async function show(server, id) {
  const response = await fetch(`${server.url}/api/videos/${id}`, { headers: { authorization: `Bearer ${secretToken()}` } });
  if (response.status !== 200) throw new Error(`GET /api/videos/{id}: ${response.status} ${await response.text()}`);
  const { state, urls } = await response.json();
  return { state, urls };
}

/** The paths of a video's images that exist. */
const imagesOf = (id) => ["thumbnail.jpg", "thumbnail.webp", "animated.webp", "storyboard.jpg", "storyboard.vtt"].map((name) => `/${id}/${name}`);

async function main() {
  const clip = encodeClip();
  const data = temporaryFolder();
  const { vars, server: local } = await cloud({ data, concurrency: Number(options.concurrency) });
  const worker = await glimpse("glimpse", vars);
  // The first video compiles the code, and gives the first images.
  const first = await uploadVideo(worker, clip);
  const ready = [first.id];
  if (!options.smoke) console.log(`$ cargo xtask bench load --uploads ${UPLOADS} --rate ${RATE} --minutes ${options.minutes} --concurrency ${options.concurrency}`);

  const [stored, onDemand, toReady, samples, refused] = [[], [], [], [], []];
  const waiting = new Map();
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  const loadEnd = began + SECONDS * 1000;
  let sent = 0;
  const uploads = burst(worker, clip, UPLOADS, (id) => {
    sent += 1;
    waiting.set(id, performance.now());
  }).then(() => options.smoke || console.log(`${UPLOADS} clips of ${formatNumber(readFileSync(clip).length / 1000)} kB were uploaded in ${formatNumber(seconds())} s`));

  const watch = async () => {
    while (ready.length <= UPLOADS && performance.now() < loadEnd + REST_MS) {
      const polled = [...waiting].slice(0, POLLED);
      await Promise.all(
        polled.map(async ([id, since]) => {
          const { state } = await show(worker, id);
          if (state === "uploading" || state === "processing") return;
          waiting.delete(id);
          if (state !== "ready") throw new Error(`a video is ${state}`);
          toReady.push((performance.now() - since) / 1000);
          ready.push(id);
        }),
      );
      await sleep(POLL_MS);
    }
  };

  const pictures = async () => {
    const open = new Set();
    for (let number = 0; number < RATE * SECONDS; number += 1) {
      const due = began + (number * 1000) / RATE;
      const early = due - performance.now();
      if (early > 1) await sleep(early);
      const id = ready[Math.floor(Math.random() * ready.length)];
      const isOnDemand = number % ON_DEMAND === ON_DEMAND - 1;
      const images = imagesOf(id);
      const path = isOnDemand ? `/${id}/thumbnail.jpg?time=${(Math.random() * CLIP_SECONDS).toFixed(2)}&width=${200 + (number % 50)}` : images[Math.floor(Math.random() * images.length)];
      const sent = get(worker.url + path).then(
        (status) => {
          (isOnDemand ? onDemand : stored).push(performance.now() - due);
          if (status !== 200) refused.push(`${status} ${path}`);
        },
        (error) => void refused.push(`${error.message} ${path}`),
      );
      open.add(sent);
      void sent.finally(() => open.delete(sent));
    }
    await Promise.all(open);
  };

  let isOver = false;
  const sampling = (async () => {
    while (!isOver) {
      samples.push({ at: seconds(), ...sampleMemory(worker, local) });
      await sleep(SAMPLE_MS);
    }
  })();
  try {
    await Promise.all([uploads, watch(), pictures()]);
  } finally {
    isOver = true;
    await sampling;
  }

  const dead = deadLetters(data);
  const lost = UPLOADS + 1 - ready.length;
  if (!options.smoke) report({ stored, onDemand, toReady, samples, sent });
  console.log(`${options.smoke ? "smoke: " : ""}${sent} uploads, ${lost} not ready; ${stored.length + onDemand.length} requests for images, ${refused.length} not answered with 200, ${repeated} sent again on a new connection; ${dead} dead letters`);
  if (lost > 0 || dead > 0 || refused.length > 0) throw new Error(`not as expected: ${refused.slice(0, 5).join(", ")}`);
}

function report({ stored, onDemand, toReady, samples }) {
  const figures = (values) => [values.length, formatNumber(percentile(values, 50)), formatNumber(percentile(values, 99)), formatNumber(percentile(values, 100))];
  table(["images", "requests", "p50 ms", "p99 ms", "longest ms"], [["stored", ...figures(stored)], ["on demand", ...figures(onDemand)]]);
  table(["the burst", "videos", "p50 s", "p99 s", "longest s"], [["from upload to ready", ...figures(toReady)]]);
  // The first minute fills caches and pools.
  const end = samples.at(-1).at;
  const parts = [["start", 0.05, 0.15], ["middle", 0.45, 0.55], ["end", 0.9, 1]];
  const of = (name, from, to) => median(samples.filter(({ at }) => at >= from * end && at <= to * end).map((sample) => sample[name]));
  const names = ["workerd", "preview", "render", "local cloud"];
  table(["memory, MB", ...parts.map(([part]) => part), "end / middle"], names.map((name) => {
    const values = parts.map(([, from, to]) => of(name, from, to));
    return [name, ...values.map((value) => formatNumber(value)), formatNumber(values[2] / values[1])];
  }));
}

await main().finally(() => {
  agent.destroy();
  return stopAll();
});
