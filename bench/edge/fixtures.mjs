// The setup of the delivery measurements: the local cloud in a release build, with a video of an hour in its bucket,
// and Workers in front of it that share their configuration.

import { createReadStream, statSync } from "node:fs";
import { join } from "node:path";

import { ROOT, freePort, glimpseModules, start, temporaryFolder, worker } from "./servers.mjs";
import { AUDIENCE, ISSUER, SECRET, secretToken } from "./tokens.mjs";

/** The time limit for processing the video, in milliseconds. */
const READY_TIMEOUT_MS = 180_000;

/**
 * Starts S3, the queue and both functions, with so many concurrent environments of each. Returns the variables of a Worker
 * in front of them, the server and the folder of its data. `onText` receives its log.
 */
export async function cloud({ data = temporaryFolder(), concurrency = 2, onText } = {}) {
  const [port, renderPort] = [await freePort(), await freePort()];
  const release = (name) => join(process.env.GLIMPSE_RELEASE, name);
  const tools = ["--ffmpeg", process.env.GLIMPSE_FFMPEG, "--ffprobe", process.env.GLIMPSE_FFPROBE];
  const functions = ["--preview", release("preview"), "--render", release("render"), "--render-port", `${renderPort}`];
  const args = ["serve", "--listen", `127.0.0.1:${port}`, "--data", data, "--concurrency", `${concurrency}`, ...functions, ...tools];
  const server = await start("the local cloud", release("glimpse-local"), args, { port, onText });
  const vars = {
    S3_BUCKET: "glimpse",
    S3_REGION: "us-east-1",
    S3_ENDPOINT: `http://127.0.0.1:${port}`,
    S3_ACCESS_KEY_ID: "glimpse-local",
    S3_SECRET_ACCESS_KEY: "glimpse-local-secret-key",
    RENDER_URL: `http://127.0.0.1:${renderPort}`,
    JWT_ISSUER: ISSUER,
    JWT_AUDIENCE: AUDIENCE,
    JWT_SECRET: SECRET,
    DELIVERY_TOKEN_SECRETS: "bench=a-delivery-secret-for-measurements-only",
  };
  return { server, data, vars };
}

/** The Worker with its own cache, which may be a `forgetful` one. */
export async function glimpse(name, vars, { forgetful = false } = {}) {
  const port = await freePort();
  const cache = await cacheServer(forgetful);
  const own = { ...vars, PUBLIC_URL: `http://127.0.0.1:${port}` };
  return worker(name, { modules: glimpseModules(), vars: own, port, cache });
}

/** The Worker that only calls `cache.match`, and fetches misses from `origin`. */
export async function matcher(origin) {
  const modules = { "cache.js": join(ROOT, "bench/edge/baselines/cache.js") };
  return worker("cache.match", { modules, vars: { ORIGIN: origin.url }, cache: await cacheServer(false) });
}

/** Starts a cache, and returns its address. */
export async function cacheServer(forgetful) {
  const port = await freePort();
  const args = [join(ROOT, "bench/edge/cache.mjs"), `${port}`, ...(forgetful ? ["forgetful"] : [])];
  await start("the cache", process.execPath, args, { port, path: "/", ready: 504 });
  return `127.0.0.1:${port}`;
}

/** Path and query of a JWT link to a private video's poster as WebP, valid for an hour. */
export async function posterByToken(server, video) {
  const headers = { authorization: `Bearer ${secretToken()}` };
  const body = JSON.stringify({ types: ["thumbnail"] });
  const minted = await fetch(`${server.url}/api/videos/${video.id}/tokens`, { method: "POST", headers, body });
  const { pathname, search } = new URL((await minted.json()).tokens[0].urls["thumbnail.webp"].token);
  return pathname + search;
}

/** Uploads a video; returns its id once the upload has been answered. */
export async function sendVideo(server, path, { visibility = "public", type = "video/mp4" } = {}) {
  const authorization = `Bearer ${secretToken()}`;
  const { size } = statSync(path);
  const response = await fetch(`${server.url}/api/videos`, {
    method: "POST",
    headers: { authorization, "content-type": "application/json" },
    body: JSON.stringify({ name: "a film.mp4", size, type, visibility }),
  });
  const { video, upload } = await response.json();
  const sent = await fetch(upload.url, {
    method: upload.method,
    headers: { ...upload.headers, "content-length": `${size}` },
    body: createReadStream(path),
    duplex: "half",
  });
  if (!sent.ok) throw new Error(`the upload was rejected: ${sent.status} ${await sent.text()}`);
  return video.id;
}

/** Uploads a video and waits until it is processed; returns the video as the API returns it. */
export async function uploadVideo(server, path, visibility = "public") {
  const id = await sendVideo(server, path, { visibility });
  const authorization = `Bearer ${secretToken()}`;
  const until = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < until) {
    const shown = await (await fetch(`${server.url}/api/videos/${id}`, { headers: { authorization } })).json();
    if (shown.state === "ready") return shown;
    if (shown.state !== "processing" && shown.state !== "uploading") throw new Error(`the video is ${shown.state}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error("the video is not processed yet");
}
