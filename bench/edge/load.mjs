// Puts a server under load and measures it: wrk, on the loopback interface, for a fixed time; the CPU time is that of
// the server's process, from the kernel.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { cpuSeconds } from "./servers.mjs";

const run = promisify(execFile);
const LUA = new URL("load.lua", import.meta.url).pathname;
/** The number of concurrent connections. */
export const CONNECTIONS = 16;

/** The command line, for the reader of the table. */
export function commandLine({ method = "GET", path }, seconds) {
  return `wrk -t1 -c${CONNECTIONS} -d${seconds}s -s bench/edge/load.lua http://127.0.0.1:PORT${path}  # ${method}`;
}

/** Repeats a request to `server` for `seconds`. Every response must be successful. */
export async function load(server, { method = "GET", path, headers = {}, body = "" }, seconds) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\n`);
  const env = { ...process.env, LOAD_METHOD: method, LOAD_BODY: body, LOAD_HEADERS: lines.join("") };
  const before = cpuSeconds(server);
  const { stdout } = await run(process.env.GLIMPSE_WRK ?? "wrk", ["-t1", `-c${CONNECTIONS}`, `-d${seconds}s`, "-s", LUA, server.url + path], { env });
  const cpu = cpuSeconds(server) - before;
  const report = JSON.parse(stdout.trim().split("\n").at(-1));
  if (report.refused || report.broken || !report.requests) {
    throw new Error(`${server.name} ${method} ${path}: ${report.refused} refused, ${report.broken} broken of ${report.requests}`);
  }
  return {
    perSecond: (report.requests * 1e6) / report.us,
    p50Ms: report.p50_us / 1000,
    p99Ms: report.p99_us / 1000,
    cpuUs: (cpu * 1e6) / report.requests,
  };
}

/** The number of requests of each kind in a smoke run. */
const SMOKE_REQUESTS = 8;

/**
 * Sends a few requests of each `[server, request]`, without wrk and without figures. Every response must be successful.
 */
export async function smoke(each) {
  for (const [server, { method = "GET", path, headers = {}, body }] of each) {
    for (let number = 0; number < SMOKE_REQUESTS; number++) {
      const answer = await fetch(server.url + path, { method, headers, body: body || undefined });
      await answer.arrayBuffer();
      if (answer.status >= 400) throw new Error(`${server.name} ${method} ${path}: ${answer.status}`);
    }
  }
  console.log(`smoke: ${each.length} kinds of requests, ${SMOKE_REQUESTS} of each, all successful; no figures`);
}

/**
 * Runs rounds in which every side is loaded once, one after the other, so that other load on the machine affects all
 * sides equally. `sides` is `{name: [server, request]}`; returns `{name: [measurement of each round]}`.
 */
export async function rounds(sides, count, seconds) {
  const found = Object.fromEntries(Object.keys(sides).map((name) => [name, []]));
  // The first requests compile the code and fill caches.
  for (const [server, request] of Object.values(sides)) await load(server, request, 2);
  for (let round = 0; round < count; round++) {
    for (const [name, [server, request]] of Object.entries(sides)) {
      found[name].push(await load(server, request, seconds));
    }
  }
  return found;
}
