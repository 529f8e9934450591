// Runs the scenarios with the released packages of one major version of Uppy, unmodified, in a real browser against the
// real edge and an S3 server.
//
// `tests/e2e/uppy.rs` starts it and passes the addresses in GLIMPSE_STORY (JSON). Prints `ok - …` for each step; the
// first failure prints the reason, the path of the screenshot and the console output, and exits with 1.

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { chromium } from "playwright-core";

import { Bucket } from "./bucket.mjs";
import { bundle, serve } from "./pages.mjs";
import { scenarios } from "./scenarios.mjs";
import { Stage } from "./stage.mjs";

const { generation, port, clip, shots, ...stack } = JSON.parse(process.env.GLIMPSE_STORY ?? "{}");
if (!generation) {
  console.error("GLIMPSE_STORY is not set: `cargo xtask test uppy` runs this");
  process.exit(2);
}
mkdirSync(shots, { recursive: true });
const picture = join(shots, `uppy-${generation}-failure.png`);
rmSync(picture, { force: true });

const executablePath = process.env.GLIMPSE_CHROMIUM ?? "/usr/bin/chromium";
const args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"];
const browser = await chromium.launch({ executablePath, args }).catch((error) => {
  console.error(`${executablePath} cannot be started: install chromium, or set GLIMPSE_CHROMIUM\n${error.message}`);
  process.exit(1);
});
const program = await bundle(generation);
const close = await serve(port, program, clip);
const context = await browser.newContext();
await context.addCookies([{ ...stack.cookie, url: stack.edge, httpOnly: true, sameSite: "Lax" }]);
const stage = new Stage({ context, bucket: new Bucket(stack.s3), stack, origin: `http://127.0.0.1:${port}/`, program });

let current = "the browser starts";
try {
  for (const [way, sentence, act] of scenarios(generation)) {
    current = `${generation} by ${way}: ${sentence}`;
    const began = performance.now();
    stage.way = way;
    await act(stage, generation);
    stage.complaints.mustBeEmpty();
    console.log(`ok - ${current} (${Math.round(performance.now() - began)} ms)`);
  }
} catch (error) {
  await stage.tab?.screenshot({ path: picture, fullPage: true }).catch(() => {});
  console.log(`not ok - ${current}`);
  console.error(`${error.stack}\n  screenshot: ${picture}`);
  for (const line of stage.complaints?.all() ?? []) console.error(`  console: ${line}`);
  for (const call of stage.wire?.calls ?? []) console.error(`  wire: ${JSON.stringify(call)}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  close();
  process.stdin.destroy();
}
