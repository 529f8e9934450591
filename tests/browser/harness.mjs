// Test setup: a browser in front of a fake Worker, and files to upload.

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach } from "node:test";
import { fileURLToPath } from "node:url";

import { startFakeServer } from "./fake-server.mjs";
import * as page from "./page-helpers.mjs";

export const MB = 1_000_000;

/** The numbers of the parts of a file of this size in bytes: parts have 5 MiB. */
export const partNumbers = (bytes) => Array.from({ length: Math.ceil(bytes / (5 * 1024 * 1024)) }, (_, index) => index + 1);
const PHONE = { width: 375, height: 812 };
/** A folder for screenshots of every state, if one is named. */
const shots = process.env.GLIMPSE_SCREENSHOTS;

/**
 * Sets up every test of a file: a new user in a new browser context, with the page signed in. The returned object is
 * filled before each test: `fake`, `context`, `tab`, `complaints`. `files` are added to the site by name, `path` is the
 * page, `ready` an element that it has when it can be used, and `name` that of its screenshots.
 */
export function stage({ files = {}, path = "/", ready = "#dashboard", name: kind = "uploads" } = {}) {
  const scratch = mkdtempSync(join(tmpdir(), "glimpse-page-"));
  let browser;
  const s = {
    scratch,
    /** Options of the browser context. */
    browser: () => browser,
    /** A file of this length with unique content. */
    file(name, bytes) {
      const path = join(scratch, name);
      const tile = randomBytes(MB);
      const whole = Buffer.alloc(bytes);
      for (let at = 0; at < bytes; at += MB) {
        tile.writeUInt32BE(at, 0);
        tile.copy(whole, at);
      }
      writeFileSync(path, whole);
      return path;
    },
    async photograph(name) {
      if (shots) await page.photograph(s.tab, shots, `${kind}-${name}`, PHONE);
    },
    /** Opens the page as a signed-in user. */
    async open(tab = s.tab) {
      await tab.goto(s.fake.origin + path);
      await tab.locator(ready).waitFor();
    },
    /** Closes the page as in a browser crash, and opens it again. */
    async crash() {
      await s.tab.close();
      await newTab();
      await s.open();
    },
    /** The stored objects. */
    stored: () => [...s.fake.stored.values()],
    /** The last screen reader announcement. */
    announcement: () => s.tab.locator("#announcer").textContent(),
    /** Waits until S3 has received this many parts. */
    partsTaken: (count) => page.eventually(`${count} parts in S3`, () => s.fake.parts().length >= count),
  };

  async function newTab() {
    s.tab = await s.context.newPage();
    s.tab.setDefaultTimeout(15_000);
    s.complaints = page.listen(s.tab);
  }

  before(async () => {
    const dist = join(scratch, "dist");
    const build = fileURLToPath(new URL("../../web/build.mjs", import.meta.url));
    execFileSync(process.execPath, [build, "--dev", "--out", dist]);
    for (const [file, content] of Object.entries(files)) writeFileSync(join(dist, file), content);
    if (shots) mkdirSync(shots, { recursive: true });
    s.fake = await startFakeServer(dist);
    browser = await page.launch();
  });

  after(async () => {
    await browser?.close();
    await s.fake?.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  beforeEach(async () => {
    s.fake.clear();
    s.context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: "light" });
    await newTab();
    await s.open();
  });

  afterEach(async (t) => {
    if (!t.passed) {
      await s.tab.screenshot({ path: join(shots ?? tmpdir(), `${kind}-failure.png`) }).catch(() => {});
      console.error(s.complaints.all());
    }
    await s.context.close();
  });

  return s;
}
