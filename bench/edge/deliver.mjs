// Measures image delivery against a Worker that only calls `cache.match`, and prints the commands.
//
// usage: cargo xtask bench deliver [--rounds N] [--seconds N] [--renders N] [--starts N] [--compare] [--smoke]
//
// Each Worker runs in its own `workerd serve`, with its own cache (bench/edge/cache.mjs). The bucket and the functions
// are the local cloud's, in release builds. First the responses are compared; --compare stops there. Figures are
// medians of interleaved rounds, ratios are medians of the ratios of each round. --smoke runs all of it with a video of
// a few seconds and a few requests, and prints no figures: `cargo xtask test` runs it.

import { join } from "node:path";
import { parseArgs } from "node:util";

import { encodeClips } from "./clips.mjs";
import { commandLine, rounds, smoke } from "./load.mjs";
import { median, medianRun, percentile, ratios, formatNumber, table } from "./report.mjs";
import { cpuSeconds, glimpseModules, stop, stopAll, worker } from "./servers.mjs";
import { cacheServer, cloud, glimpse, matcher, posterByToken, uploadVideo } from "./fixtures.mjs";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "7" },
    seconds: { type: "string", default: "3" },
    renders: { type: "string", default: "40" },
    starts: { type: "string", default: "11" },
    compare: { type: "boolean", default: false },
    smoke: { type: "boolean", default: false },
  },
});
const FILM_SECONDS = options.smoke ? 4 : 3600;

const COMPARED_HEADERS = ["content-type", "etag", "content-length"];

/** Throws unless both Workers respond to a hit with the same bytes and the same headers `names`. */
async function compare(ours, theirs, path, names) {
  const answers = [];
  for (const server of [ours, theirs]) {
    await (await fetch(server.url + path)).arrayBuffer();
    answers.push(await hit(server, path));
  }
  const [one, other] = answers;
  for (const name of names) {
    if (!one.headers.get(name) || one.headers.get(name) !== other.headers.get(name)) {
      throw new Error(`${name}: ${one.headers.get(name)} and ${other.headers.get(name)}`);
    }
  }
  if (Buffer.compare(one.bytes, other.bytes)) throw new Error("the bytes differ");
  for (const server of [ours, theirs]) {
    const { status } = await fetch(server.url + path, { headers: { "if-none-match": one.headers.get("etag") } });
    if (status !== 304) throw new Error(`${server.name} answers ${status} to If-None-Match`);
  }
  return { etag: one.headers.get("etag"), bytes: one.bytes.length };
}

/** Requests an image until it is a cache hit: it is stored shortly after the first response. */
async function hit(server, path) {
  for (let tries = 0; tries < 100; tries++) {
    const answer = await fetch(server.url + path);
    const bytes = Buffer.from(await answer.arrayBuffer());
    if (answer.headers.get("cf-cache-status") === "HIT" || answer.headers.get("server-timing")?.includes("hit")) {
      return { headers: answer.headers, bytes };
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${server.name} keeps nothing`);
}

/** The times of successive on-demand stills at random times, in milliseconds. */
async function renders(server, id, count) {
  const took = [];
  for (let number = 0; number < count; number++) {
    const second = (Math.random() * (FILM_SECONDS - 1)).toFixed(2);
    const began = performance.now();
    const answer = await fetch(`${server.url}/${id}/thumbnail.jpg?time=${second}&width=320`);
    await answer.arrayBuffer();
    if (answer.status !== 200 || !answer.headers.get("server-timing").includes("render")) {
      throw new Error(`second ${second}: ${answer.status} ${answer.headers.get("server-timing")}`);
    }
    took.push(performance.now() - began);
  }
  return took;
}

/** The time from the start of `workerd serve` to a Worker's first response, and its CPU time. */
async function starts(sides, count) {
  const found = Object.fromEntries(Object.keys(sides).map((name) => [name, []]));
  for (let round = 0; round < count; round++) {
    for (const [name, settings] of Object.entries(sides)) {
      const server = await worker(name, settings);
      found[name].push({ ms: server.readyMs, cpuMs: cpuSeconds(server) * 1000 });
      await stop(server);
    }
  }
  return found;
}

/** Each measurement once, with few requests. */
async function smokeRun({ ours, theirs, cold, vars, video, path, etag, signed }) {
  const requests = [{ path }, { path, headers: { "if-none-match": etag } }, { path: signed[0] }, { path: signed[1] }];
  await smoke([...requests.flatMap((request) => [[ours, request], [theirs, request]]), [cold, { path }]]);
  await renders(ours, video.id, 2);
  await starts(await bareSides(ours, vars), 1);
}

/** The Workers to start repeatedly: both, with one shared cache. */
async function bareSides(ours, vars) {
  const cache = await cacheServer(false);
  const bare = { modules: { "cache.js": join(import.meta.dirname, "baselines/cache.js") }, vars: { ORIGIN: ours.url }, cache };
  const whole = { modules: glimpseModules(), vars: { ...vars, PUBLIC_URL: "https://video.example" }, cache };
  return { glimpse: whole, "cache.match": bare };
}

async function main() {
  // Before any server starts: it may take minutes, in which a keep-alive connection would be closed.
  const [film, part] = encodeClips(options.smoke ? null : join(process.env.GLIMPSE_TOOLS_DIR, "engine-bench"));
  const { vars } = await cloud();
  const ours = await glimpse("glimpse", vars);
  const theirs = await matcher(ours);
  const cold = await glimpse("glimpse without a cache", vars, { forgetful: true });
  const began = performance.now();
  const video = await uploadVideo(ours, film);
  const after = options.smoke ? "" : ` after ${formatNumber((performance.now() - began) / 1000)} s`;
  console.log(`${options.smoke ? "a short video" : "an hour of 1080p"} was uploaded and processed${after}`);
  const poster = ({ urls }) => new URL(urls["thumbnail.webp"]).pathname + new URL(urls["thumbnail.webp"]).search;
  const path = poster(video);
  const { etag, bytes } = await compare(ours, theirs, path, [...COMPARED_HEADERS, "cache-control"]);
  console.log(`the responses are equal: bytes, type, ETag, lifetime, 304; ${path.split("?")[0]} has ${bytes} bytes`);
  const secret = await uploadVideo(ours, part, "signed");
  const signed = [poster(secret), await posterByToken(ours, secret)];
  // The remaining lifetime of a token decreases with every response.
  for (const link of signed) {
    const { bytes } = await compare(ours, theirs, link, COMPARED_HEADERS);
    const { status } = await fetch(ours.url + link.replace(/(sig|token)=./, "$1=_"));
    if (status !== 403) throw new Error(`a modified link returns ${status}`);
    console.log(`also for ${link.split("?")[0]} with a token, which has ${bytes} bytes`);
  }
  if (options.compare) return;
  if (options.smoke) return smokeRun({ ours, theirs, cold, vars, video, path, etag, signed });

  const [count, seconds] = [Number(options.rounds), Number(options.seconds)];
  console.log(`$ workerd serve config.capnp; ${commandLine({ path }, seconds)}; ${count} rounds`);
  const [rows, better] = [[], []];
  const row = (what, name, all) => {
    const { perSecond, p50Ms, p99Ms, cpuUs } = medianRun(all);
    rows.push([what, name, formatNumber(perSecond), formatNumber(p50Ms), formatNumber(p99Ms), formatNumber(cpuUs)]);
  };
  const kinds = [["public, a hit", { path }], ["public, 304", { path, headers: { "if-none-match": etag } }]];
  kinds.push(["signed, a hit", { path: signed[0] }], ["signed by a JWT, a hit", { path: signed[1] }]);
  for (const [what, request] of kinds) {
    const found = await rounds({ glimpse: [ours, request], "cache.match": [theirs, request] }, count, seconds);
    for (const [name, all] of Object.entries(found)) row(what, name, all);
    const { perSecond, cpu } = ratios(found.glimpse, found["cache.match"]);
    better.push([what, `${formatNumber(perSecond)}x`, `${formatNumber(cpu)}x`]);
  }
  const misses = await rounds({ glimpse: [cold, { path }] }, count, seconds);
  row("in S3, not in the cache", "glimpse", misses.glimpse);
  table(["pictures", "side", "requests/s", "p50 ms", "p99 ms", "CPU µs"], rows);
  table(["glimpse against cache.match", "requests/s", "CPU"], better);

  const took = await renders(ours, video.id, Number(options.renders));
  table(
    ["on demand, of 60 min", "pictures", "p50 ms", "p99 ms"],
    [["a still of a random moment, 320 wide", took.length, formatNumber(percentile(took, 50)), formatNumber(percentile(took, 99))]],
  );

  const begun = await starts(await bareSides(ours, vars), Number(options.starts));
  const middleOf = (all, name) => formatNumber(median(all.map((one) => one[name])));
  const started = Object.entries(begun).map(([name, all]) => [name, middleOf(all, "ms"), middleOf(all, "cpuMs")]);
  table(["`workerd serve` to the first answer", "ms", "CPU ms"], started);
}

await main().finally(stopAll);
