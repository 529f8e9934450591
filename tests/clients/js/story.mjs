// What the scripts have in common: their settings, requests to the test that has started them, and steps.

import { createInterface } from "node:readline";

if (!process.env.GLIMPSE_STORY) {
  console.error("GLIMPSE_STORY is not set: `cargo xtask test client` runs this");
  process.exit(2);
}

/** The settings that the test passes. */
export const story = JSON.parse(process.env.GLIMPSE_STORY);

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Sends a request to the test, and returns its answer; `tests/e2e/clients/mod.rs` lists the requests. */
export async function ask(request) {
  process.stdout.write(`${JSON.stringify(request)}\n`);
  const { value } = await answers.next();
  return JSON.parse(value);
}

/** The uploads that S3 has accepted since the last call: `{ key, bytes, part }`. */
export async function accepted() {
  const calls = await ask({ ask: "calls" });
  return calls.filter(({ method, status, key }) => method === "PUT" && status === 200 && key.startsWith("uploads/"));
}

/** The sum of their bytes. */
export const bytesOf = (calls) => calls.reduce((sum, { bytes }) => sum + bytes, 0);

/** The numbers of the parts, in order. */
export const partsOf = (calls) => calls.map(({ part }) => Number(part)).sort((a, b) => a - b);

/** Polls until the result is truthy, for at most ten seconds. */
export async function eventually(what, poll) {
  const end = Date.now() + 10_000;
  for (;;) {
    const result = await poll();
    if (result) return result;
    if (Date.now() > end) throw new Error(`${what}: not within 10 s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The time limit of a step, in milliseconds. */
const STEP_LIMIT_MS = 120_000;

/** Runs a step; rejects after the time limit with the kinds of work that are unfinished. @param {() => Promise<void>} act */
async function runWithLimit(act) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`not finished after ${STEP_LIMIT_MS / 1000} s; waits for ${process.getActiveResourcesInfo().join(", ")}`));
    }, STEP_LIMIT_MS);
  });
  try {
    await Promise.race([act(), limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs the steps one after the other; the first failure ends the script. @param {[name: string, run: () => Promise<void>][]} steps */
export async function run(steps) {
  for (const [name, act] of steps) {
    const began = performance.now();
    try {
      await runWithLimit(act);
    } catch (error) {
      console.log(`not ok - ${name}`);
      console.error(error);
      process.exit(1);
    }
    console.log(`ok - ${name} (${Math.round(performance.now() - began)} ms)`);
  }
  process.stdin.destroy();
}
