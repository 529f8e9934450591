// Runs the Workers of a test program, each in its own workerd, through Miniflare, which `wrangler dev` uses too. One
// Node.js process starts them all: wrangler itself takes seconds of CPU time for each.
//
// A line of standard input is a request: `{ id, port, vars, hasLimits, hasCache, persistTo }` starts a Worker and
// `{ id, stop: true }` stops one. A line of standard output is about a Worker: `{ id, ready: true }`, `{ id, error }` or
// `{ id, line }`, a line of its log. At the end of the input all Workers are stopped.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

import { Log, LogLevel, Miniflare, convertV4MiniflareOptions } from "miniflare";
import { unstable_getMiniflareWorkerOptions as readWorkerOptions } from "wrangler";

const { workerOptions, main } = readWorkerOptions(process.argv[2]);
const { rootPath, compatibilityDate, compatibilityFlags, bindings, ratelimits, assets } = workerOptions;
const folder = dirname(main);

/** The modules of the Worker, as wrangler uploads them. */
const modules = [
  { type: "ESModule", path: main },
  { type: "ESModule", path: join(folder, "build/index.js") },
  { type: "CompiledWasm", path: join(folder, "build/index_bg.wasm") },
].map((module) => ({ ...module, contents: readFileSync(module.path) }));

/** The Worker's entry with a cache that stores nothing, as on workers.dev. */
const uncached = {
  type: "ESModule",
  path: join(folder, "uncached.js"),
  contents: 'import worker from "./entry.js";\nCache.prototype.match = async () => undefined;\nexport default worker;\n',
};

/** A limit that no test reaches. */
const unlimited = { limit: 1_000_000, period: 10 };

/** @type {Map<number, Miniflare>} */
const workers = new Map();
const send = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

/** Sends the lines of a Worker's log. */
class Lines extends Log {
  #id;

  constructor(id) {
    super(LogLevel.INFO);
    this.#id = id;
  }

  log(line) {
    send({ id: this.#id, line });
  }
}

async function start({ id, port, vars, hasLimits, hasCache, persistTo }) {
  const limits = Object.entries(ratelimits).map(([name, limit]) => [name, hasLimits ? limit : { ...limit, simple: unlimited }]);
  const worker = new Miniflare(
    convertV4MiniflareOptions({
      name: "glimpse",
      host: "127.0.0.1",
      port,
      cf: false,
      log: new Lines(id),
      handleStructuredLogs: ({ message }) => send({ id, line: message }),
      resourcePersistencePath: persistTo,
      rootPath,
      modulesRoot: folder,
      modules: hasCache ? modules : [uncached, ...modules],
      compatibilityDate,
      compatibilityFlags,
      bindings: { ...bindings, ...vars },
      ratelimits: Object.fromEntries(limits),
      assets,
    }),
  );
  workers.set(id, worker);
  await worker.ready;
  send({ id, ready: true });
}

async function stop({ id }) {
  const worker = workers.get(id);
  workers.delete(id);
  await worker?.dispose();
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  (request.stop ? stop(request) : start(request)).catch((error) => send({ id: request.id, error: String(error?.stack ?? error) }));
}
await Promise.all([...workers.values()].map((worker) => worker.dispose()));
process.exit();
