// Decides how a test of the page gets a browser in front of a fake Worker, and files to send.

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach } from "node:test";
import { fileURLToPath } from "node:url";

import { startFake } from "./fake.mjs";
import * as page from "./verbs.mjs";

export const MB = 1_000_000;
const PHONE = { width: 375, height: 812 };
/** A folder for pictures of every state, if one is named. */
const shots = process.env.GLIMPSE_SCREENSHOTS;

/**
 * Sets every test of a file up: a new person in a new browser, on a page that is signed in. What is handed back is
 * filled before each test: `fake`, `context`, `tab`, `complaints`.
 */
export function stage() {
  const scratch = mkdtempSync(join(tmpdir(), "glimpse-page-"));
  let browser;
  const s = {
    scratch,
    /** The browser, for a person of another kind. */
    browser: () => browser,
    /** A file of this length, unlike any other. */
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
      if (shots) await page.photograph(s.tab, shots, `uploads-${name}`, PHONE);
    },
    /** Opens the page as somebody who is signed in. */
    async open(tab = s.tab) {
      await tab.goto(s.fake.origin);
      await tab.locator("#studio").waitFor();
    },
    /** The page is left as if the browser had crashed, and opened again. */
    async crash() {
      await s.tab.close();
      await newTab();
      await s.open();
    },
    /** What is in storage. */
    stored: () => [...s.fake.stored.values()],
    /** What was said last to those who listen. */
    said: () => s.tab.locator("#announcer").textContent(),
    /** Waits until storage has taken this many parts. */
    partsTaken: (count) => page.eventually(`${count} parts in storage`, () => s.fake.parts().length >= count),
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
    if (shots) mkdirSync(shots, { recursive: true });
    s.fake = await startFake(dist);
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
      await s.tab.screenshot({ path: join(shots ?? tmpdir(), "uploads-failure.png") }).catch(() => {});
      console.error(s.complaints.all());
    }
    await s.context.close();
  });

  return s;
}
