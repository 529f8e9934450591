// An upload whose process is killed, and continued by another process with the store of docs/clients.md.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { accepted, ask, bytesOf, partsOf, run, story } from "./story.mjs";

const CHILD = fileURLToPath(new URL("kill-child.mjs", import.meta.url));
/** The size of a part, in bytes. */
const PART = 5 * 1024 * 1024;
const size = statSync(story.large).size;

/** Starts the uploading process; `onSent` gets the number of bytes that it has sent. */
function start(onSent = () => {}) {
  const env = { ...process.env, GLIMPSE_STORY: JSON.stringify({ ...story, store: join(story.folder, "uploads.json") }) };
  const child = spawn(process.execPath, [CHILD], { env, stdio: ["ignore", "pipe", "inherit"] });
  child.output = "";
  child.stdout.on("data", (chunk) => {
    child.output += chunk;
    onSent(Number(child.output.trim().split("\n").at(-1).split(" ")[0]), child);
  });
  return child;
}

await run([
  ["a killed upload continues without sending a finished part again", async () => {
    await accepted();
    const killed = start((sent, child) => sent >= 2 * PART && child.kill("SIGKILL"));
    const [, signal] = await once(killed, "exit");
    assert.equal(signal, "SIGKILL");
    // What the killed process had already handed to the system arrives.
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const first = await accepted();
    assert.ok(first.length >= 2 && bytesOf(first) < size, `${first.length} parts before the end of the process`);

    const second = start();
    const [code] = await once(second, "exit");
    assert.equal(code, 0);
    const all = [...first, ...(await accepted())];
    assert.deepEqual(partsOf(all), Array.from({ length: Math.ceil(size / PART) }, (_, index) => index + 1), "each part once");
    assert.equal(bytesOf(all), size, "nothing was sent twice");
    assert.deepEqual(await ask({ ask: "unfinished" }), { count: 0 });
    assert.match(second.output, /done processing$/m);
  }],
]);
