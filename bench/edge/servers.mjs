// Runs the compared servers: Workers in `workerd serve`, other servers in their own processes, all on the loopback
// interface. Detects readiness, measures CPU time, and stops the servers after the measurement.

import { spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, extname, join } from "node:path";

/** The root of the repository. */
export const ROOT = new URL("../../", import.meta.url).pathname;
const WORKERD = join(ROOT, "node_modules/workerd/bin/workerd");
/** The time limit for the first response. */
const START_TIMEOUT_MS = 30_000;
/** The ticks per second in `/proc/PID/stat`: USER_HZ, the same on every Linux that Node.js runs on. */
const TICKS_PER_SECOND = 100;

const running = [];
const folders = [];

/** A temporary folder, which is removed when all servers are stopped. */
export function temporaryFolder() {
  folders.push(mkdtempSync(join(tmpdir(), "glimpse-bench-")));
  return folders.at(-1);
}

/** An unused port. */
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * Starts a program and waits until `path` returns a status that is not a server error, or one that `ready` accepts.
 * `onText` receives what it prints.
 */
export async function start(name, program, args, { port, path = "/", env = {}, ready, onText }) {
  const began = performance.now();
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  running.push(child);
  let log = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (text) => {
      log = (log + text).slice(-4000);
      onText?.(text);
    });
  }
  const server = { name, child, pid: child.pid, url: `http://127.0.0.1:${port}`, log: () => log };
  while (performance.now() - began < START_TIMEOUT_MS) {
    if (child.exitCode !== null) throw new Error(`${name} ended at once:\n${log}`);
    const status = await fetch(server.url + path).then((answer) => answer.status, () => 599);
    if (status < 500 || status === ready) return { ...server, readyMs: performance.now() - began };
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error(`${name} does not answer:\n${log}`);
}

/** The CPU time that a server has used so far, in seconds. */
export function cpuSeconds({ pid }) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Stops one server. */
export async function stop({ child }) {
  if (child.exitCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await ended;
}

/** Stops all servers, and removes the temporary files. */
export async function stopAll() {
  await Promise.all(running.map((child) => stop({ child })));
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
}

const quoted = (text) => JSON.stringify(text);

/** A module of a file in workerd's configuration. */
function module(folder, name, path) {
  const copy = basename(name) + (extname(name) ? "" : ".js");
  copyFileSync(path, join(folder, copy));
  const kind = extname(path) === ".wasm" ? "wasm" : "esModule";
  return `(name = ${quoted(name)}, ${kind} = embed ${quoted(copy)})`;
}

/**
 * Writes the configuration of one Worker: `modules` is `{name: path}`, the main one first; `vars` its variables;
 * `cache` the address of the process behind the Cache API, if there is one. Returns the file's path.
 */
export function configure({ modules, vars, port, cache }) {
  const folder = temporaryFolder();
  const compatibilityDate = /^compatibility_date = "(.+)"$/m.exec(readFileSync(join(ROOT, "wrangler.toml"), "utf8"))[1];
  const bindings = Object.entries(vars).map(([name, value]) => `(name = ${quoted(name)}, text = ${quoted(value)})`);
  const listed = Object.entries(modules).map(([name, path]) => module(folder, name, path));
  const services = [`(name = "main", worker = .worker)`, `(name = "internet", network = (allow = ["public", "private"]))`];
  if (cache) services.push(`(name = "cache", external = (address = ${quoted(cache)}, http = ()))`);
  const config = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [${services.join(", ")}],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [${listed.join(", ")}],
  bindings = [${bindings.join(", ")}],
  compatibilityDate = ${quoted(compatibilityDate)},
  globalOutbound = "internet",
  ${cache ? `cacheApiOutbound = "cache",` : ""}
);
`;
  const path = join(folder, "config.capnp");
  writeFileSync(path, config);
  return path;
}

/** Starts a Worker in its own `workerd serve`. */
export async function worker(name, settings) {
  const port = settings.port ?? (await freePort());
  return start(name, WORKERD, ["serve", configure({ ...settings, port })], { port, path: "/health" });
}

/** The modules of the Worker that `cargo xtask build edge` has built. */
export function glimpseModules() {
  const modules = { "entry.js": join(ROOT, "edge/entry.js") };
  for (const name of ["index.js", "index_bg.wasm"]) modules[`build/${name}`] = join(ROOT, "edge/build", name);
  return modules;
}
