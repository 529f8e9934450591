// The released packages of one generation of Uppy, unmodified, in a real browser against a real edge and S3.
//
// `tests/e2e/uppy.rs` starts it and says in GLIMPSE_STORY (JSON) what runs where. Prints `ok - …` for each step; the
// first failure prints why, where the screenshot is and what the console said, and ends with 1.

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
  console.error(`${executablePath} does not start: install chromium, or name yours in GLIMPSE_CHROMIUM\n${error.message}`);
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
