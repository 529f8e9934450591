// Decides how a server is put under load and what is taken down: wrk, on the loopback interface, for a fixed time; the
// processor time is the server's own, as the kernel counts it.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { cpuSeconds } from "./servers.mjs";

const run = promisify(execFile);
const LUA = new URL("load.lua", import.meta.url).pathname;
/** How many connections ask side by side. */
export const CONNECTIONS = 16;

/** The command line, for the reader of the table. */
export function commandLine({ method = "GET", path }, seconds) {
  return `wrk -t1 -c${CONNECTIONS} -d${seconds}s -s bench/edge/load.lua http://127.0.0.1:PORT${path}  # ${method}`;
}

/** Asks `server` the same again and again for `seconds`. Every answer has to be a good one. */
export async function load(server, { method = "GET", path, headers = {}, body = "" }, seconds) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\n`);
  const env = { ...process.env, LOAD_METHOD: method, LOAD_BODY: body, LOAD_HEADERS: lines.join("") };
  const before = cpuSeconds(server);
  const { stdout } = await run(process.env.GLIMPSE_WRK ?? "wrk", ["-t1", `-c${CONNECTIONS}`, `-d${seconds}s`, "-s", LUA, server.url + path], { env });
  const cpu = cpuSeconds(server) - before;
  const said = JSON.parse(stdout.trim().split("\n").at(-1));
  if (said.refused || said.broken || !said.requests) {
    throw new Error(`${server.name} ${method} ${path}: ${said.refused} refused, ${said.broken} broken of ${said.requests}`);
  }
  return {
    perSecond: (said.requests * 1e6) / said.us,
    p50Ms: said.p50_us / 1000,
    p99Ms: said.p99_us / 1000,
    cpuUs: (cpu * 1e6) / said.requests,
  };
}

/** How many requests of each kind a smoke run sends. */
const FEW = 8;

/** Sends a few requests of each `[server, request]`, without wrk and without figures. Every answer has to be a good one. */
export async function smoke(each) {
  for (const [server, { method = "GET", path, headers = {}, body }] of each) {
    for (let number = 0; number < FEW; number++) {
      const answer = await fetch(server.url + path, { method, headers, body: body || undefined });
      await answer.arrayBuffer();
      if (answer.status >= 400) throw new Error(`${server.name} ${method} ${path}: ${answer.status}`);
    }
  }
  console.log(`smoke: ${each.length} kinds of requests, ${FEW} of each, all answered; no figures`);
}

/**
 * Rounds in which every side is loaded once, one after the other, so that what else the machine does hits all alike.
 * `sides` is `{name: [server, request]}`; answers `{name: [measurement of each round]}`.
 */
export async function rounds(sides, count, seconds) {
  const found = Object.fromEntries(Object.keys(sides).map((name) => [name, []]));
  // The first requests compile and fill what is kept.
  for (const [server, request] of Object.values(sides)) await load(server, request, 2);
  for (let round = 0; round < count; round++) {
    for (const [name, [server, request]] of Object.entries(sides)) {
      found[name].push(await load(server, request, seconds));
    }
  }
  return found;
}
