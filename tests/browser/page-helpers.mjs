// Helpers for tests of the page: user actions and observations. Every wait has a deadline.

import { join } from "node:path";

import { chromium } from "playwright-core";

/** The time limit of everything except processing, in milliseconds. */
const TIMEOUT_MS = 15_000;
const POLL_INTERVAL_MS = 50;

/** A headless browser without background requests. @throws if there is none: the message says what to do */
export async function launch() {
  const executablePath = process.env.GLIMPSE_CHROMIUM ?? "/usr/bin/chromium";
  const quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  try {
    return await chromium.launch({ executablePath, args: ["--no-sandbox", ...quiet] });
  } catch (error) {
    throw new Error(`${executablePath} cannot be started: install chromium, or set GLIMPSE_CHROMIUM\n${error.message}`);
  }
}

/** Polls until the result is truthy; after the deadline, the last result or error is reported. */
export async function eventually(what, ask, deadlineMs = TIMEOUT_MS) {
  const end = Date.now() + deadlineMs;
  let last;
  for (;;) {
    try {
      last = await ask();
      if (last) return last;
    } catch (error) {
      last = error.message;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${deadlineMs / 1000} s (last: ${JSON.stringify(last)})`);
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
  }
}

export function expectEqual(actual, wanted, what) {
  if (actual !== wanted) throw new Error(`${what}: ${JSON.stringify(actual)} instead of ${JSON.stringify(wanted)}`);
}

export function expectMatch(actual, pattern, what) {
  if (!pattern.test(actual ?? "")) throw new Error(`${what}: ${JSON.stringify(actual)} does not match ${pattern}`);
}

export function expectAtLeast(actual, least, what) {
  if (!(actual >= least)) throw new Error(`${what}: ${actual} is less than ${least}`);
}

/** Collects console errors, page errors and policy violations; `expect` excuses one kind from then on. */
export function listen(tab) {
  const lines = [];
  const excused = [];
  const addLine = (line) => lines.push(line);
  tab.on("console", (message) => {
    if (message.type() === "error") addLine(`${message.text()} ${message.location().url}`.replace(/^.*status of (\d+).*?(\S+)$/, "$1 $2"));
    else if (/Content.Security.Policy/i.test(message.text())) addLine(message.text());
  });
  tab.on("pageerror", (error) => addLine(`uncaught: ${error.message}`));
  return {
    expect: (pattern) => excused.push(pattern),
    all: () => lines,
    mustBeEmpty() {
      const unexpected = lines.filter((line) => !excused.some((pattern) => pattern.test(line)));
      if (unexpected.length > 0) throw new Error(`unexpected console errors: ${unexpected.join(" | ")}`);
    },
  };
}

/** Screenshots of the page in light and dark mode, and on a phone if one is given. */
export async function photograph(tab, folder, name, phone) {
  const usual = tab.viewportSize();
  const sizes = phone ? [["", usual], ["-phone", phone]] : [["", usual]];
  for (const [suffix, size] of sizes) {
    await tab.setViewportSize(size);
    for (const scheme of ["light", "dark"]) {
      await tab.emulateMedia({ colorScheme: scheme });
      // Colors and cards settle first, so that the screenshot shows a state, not a transition.
      await tab.screenshot({ path: join(folder, `${name}${suffix}-${scheme}.png`), animations: "disabled" });
    }
  }
  await tab.emulateMedia({ colorScheme: "light" });
  await tab.setViewportSize(usual);
}

export async function expectSignedOut(tab) {
  await tab.locator("#sign-in").waitFor({ timeout: TIMEOUT_MS });
  expectEqual(await tab.locator("#dashboard").isVisible(), false, "the gallery is visible");
  expectEqual(await tab.locator(".card").count(), 0, "cards");
}

export async function signIn(tab, name) {
  await tab.locator("#sign-in").click();
  await tab.locator("input[name=name]").fill(name, { timeout: TIMEOUT_MS });
  await tab.locator("button").click();
  await tab.waitForURL((url) => url.pathname === "/", { timeout: TIMEOUT_MS });
}

export async function expectSignedIn(tab, name) {
  await tab.locator("#dashboard").waitFor({ timeout: TIMEOUT_MS });
  expectEqual(await tab.locator("#account-name").textContent(), name, "the name in the corner");
}

export async function signOut(tab) {
  await tab.locator("#sign-out").click();
}

export async function expectEmpty(tab) {
  await eventually("the empty gallery explains itself", () => tab.locator("#how-it-works").isVisible());
}

/** The page's own headers, requested from outside of it. */
export async function expectStrictHeaders(tab, edge) {
  const headers = (await tab.request.get(edge)).headers();
  const policy = headers["content-security-policy"];
  expectMatch(policy, /default-src 'self'/, "Content-Security-Policy");
  expectMatch(policy, /frame-ancestors 'none'/, "Content-Security-Policy");
  expectEqual(/unsafe-inline|unsafe-eval/.test(policy), false, "an unsafe source in the policy");
  expectEqual(headers["x-content-type-options"], "nosniff", "X-Content-Type-Options");
  expectEqual(headers["referrer-policy"], "no-referrer", "Referrer-Policy");
}

/** Drops files onto the window, as a mouse would. */
export async function dropFile(tab, ...paths) {
  const input = await tab.evaluateHandle(() => Object.assign(document.createElement("input"), { type: "file", multiple: true }));
  await input.setInputFiles(paths);
  await input.evaluate((chooser) => {
    const dataTransfer = new DataTransfer();
    for (const file of chooser.files) dataTransfer.items.add(file);
    const drop = document.getElementById("drop-zone");
    for (const type of ["dragenter", "dragover", "drop"]) {
      drop.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    }
  });
}

/** The number of upload requests of the page from now on. */
export function countGrants(tab) {
  let count = 0;
  tab.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (pathname.startsWith("/s3/") || (pathname === "/api/videos" && request.method() === "POST")) count += 1;
  });
  return () => count;
}

/** The parts that S3 has accepted from now on, by number, in order. */
export function countParts(tab) {
  const sent = [];
  tab.on("response", (response) => {
    const number = new URL(response.url()).searchParams.get("partNumber");
    if (response.request().method() === "PUT" && number && response.ok()) sent.push(Number(number));
  });
  return () => sent;
}

/** Counts the PUT requests of a page from now on: those that were started, and those without an outcome. */
export function trackPuts(tab) {
  const pending = new Set();
  let started = 0;
  const isPut = (request) => request.method() === "PUT";
  tab.on("request", (request) => {
    if (!isPut(request)) return;
    started += 1;
    pending.add(request);
  });
  for (const end of ["requestfinished", "requestfailed"]) tab.on(end, (request) => pending.delete(request));
  return { started: () => started, pending: () => pending.size };
}

/** Expects that a page sends no PUT: none is pending, and none is started before the response to a later request. */
export async function expectNoPuts(tab, puts) {
  await eventually("no PUT is pending", () => puts.pending() === 0);
  const before = puts.started();
  await tab.evaluate(async () => (await fetch(location.href, { method: "HEAD", cache: "no-store" })).ok);
  expectEqual(puts.started(), before, "PUT requests");
}

export async function maxUploadBytes(tab) {
  return tab.evaluate(async () => (await (await fetch("/api/me")).json()).limits.max_upload_bytes);
}

/** Throttles uploads in the browser, in bytes per second; returns a function that removes the limit or goes offline. */
export async function slowDown(tab, bytesPerSecond) {
  const wire = await tab.context().newCDPSession(tab);
  const limit = (uploadThroughput, offline = false) =>
    wire.send("Network.emulateNetworkConditions", { offline, latency: 0, downloadThroughput: -1, uploadThroughput });
  await wire.send("Network.enable");
  await limit(bytesPerSecond);
  return async ({ offline = false } = {}) => {
    await limit(offline ? bytesPerSecond : -1, offline);
    if (!offline) await wire.detach();
  };
}

/** The newest card with this file name. */
export function cardNamed(tab, name) {
  return tab.locator(".card", { has: tab.getByRole("heading", { name, exact: true }) }).first();
}

export async function expectState(card, state, deadlineMs = TIMEOUT_MS) {
  const fits = (actual) => (state instanceof RegExp ? state.test(actual) : actual === state);
  let actual;
  await eventually(
    `a card in state ${state}`,
    async () => {
      actual = await card.getAttribute("data-state", { timeout: 1000 });
      const final = ["refused", "rejected", "interrupted", "failed"].includes(actual);
      return fits(actual) || (final && "over");
    },
    deadlineMs,
  ).catch((error) => {
    throw new Error(`${error.message}; it is ${actual}`);
  });
  if (!fits(actual)) throw new Error(`the card is ${actual} instead of ${state}: ${await card.innerText()}`);
}

export async function expectReason(card, pattern) {
  expectMatch(await card.locator(".reason").innerText({ timeout: TIMEOUT_MS }), pattern, "the reason");
}

/** The number of event streams opened from now on. */
export function countStreams(tab) {
  let count = 0;
  tab.on("response", (response) => {
    if (/\/events$/.test(response.url()) && response.headers()["content-type"]?.startsWith("text/event-stream")) count += 1;
  });
  return () => count;
}

/** The strip above the gallery with the total progress. */
export async function expectTotal(tab, pattern) {
  await eventually("the progress of all files together", async () => pattern.test(await tab.locator("#total-title").innerText({ timeout: 1000 })));
}

/** Chooses a file for an unfinished upload. */
export async function chooseAgain(card, path) {
  await card.locator("[data-files]").setInputFiles(path, { timeout: TIMEOUT_MS });
}

/** A video as the API lists it. */
export async function listed(tab, name) {
  const { videos } = await tab.evaluate(async () => (await fetch("/api/videos")).json());
  return videos.find((video) => video.name === name) ?? {};
}

/** The number of the user's unfinished uploads at the Worker. */
export async function unfinishedUploads(tab) {
  return tab.evaluate(async () => (await (await fetch("/api/uploads")).json()).uploads.length);
}

export async function expectGone(card) {
  await card.waitFor({ state: "detached", timeout: TIMEOUT_MS });
}

export async function press(card, action) {
  await card.locator(`[data-action=${action}]`).click({ timeout: TIMEOUT_MS });
}

export async function expectProgress(card) {
  await eventually("progress between nothing and all", async () => {
    const done = await card.locator("progress").evaluate((bar) => bar.value, undefined, { timeout: 1000 });
    return done > 0 && done < 1;
  });
}

export async function expectPoster(card) {
  await eventually("a decoded poster", () =>
    card.locator("picture:not(.moving) img").evaluate((image) => image.complete && image.naturalWidth > 0),
  );
}

export const pointAt = (card) => card.locator(".screen").hover({ timeout: TIMEOUT_MS });

/** Moves the mouse and the focus away from all controls. */
export async function rest(tab) {
  await tab.mouse.move(2, 2);
  await tab.evaluate(() => document.activeElement?.blur());
}

export async function tabTo(tab, card) {
  await eventually("the poster has the focus", async () => {
    await tab.keyboard.press("Tab");
    return card.locator(".screen").evaluate((screen) => screen === document.activeElement);
  });
}

export async function expectMoving(card) {
  await eventually("the moving preview is shown and decoded", async () => {
    if ((await card.locator(".screen").getAttribute("data-moving")) !== "true") return false;
    return card.locator(":is(.moving img, video.moving)").evaluate((one) => (one.naturalWidth || one.videoWidth) > 0);
  });
}

export async function expectStill(card) {
  await eventually("the poster is at rest", async () => (await card.locator(".moving").count()) === 0);
}

/** Presses a copy button, checks its feedback, and returns the clipboard's text. */
export async function copiedLink(tab, card, name) {
  const button = card.locator(`[data-copy="${name}"]`);
  await tab.evaluate(() => navigator.clipboard.writeText("nothing yet"));
  await button.click({ timeout: TIMEOUT_MS });
  await eventually("the button says Copied", async () => (await button.getAttribute("data-copied")) === "true");
  return tab.evaluate(() => navigator.clipboard.readText());
}

/** Fetches an image inside the page, bypassing the browser's cache, so that the edge has to respond. */
export async function fetchPicture(tab, url) {
  const answer = await tab.evaluate(async (target) => {
    const response = await fetch(target, { cache: "no-store" });
    const bytes = new Uint8Array(await response.arrayBuffer());
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    const header = (name) => response.headers.get(name);
    return {
      status: response.status,
      type: header("content-type"),
      serverTiming: header("server-timing"),
      cacheControl: header("cache-control"),
      base64: btoa(text),
    };
  }, url);
  expectEqual(answer.status, 200, `status of ${new URL(url).pathname}`);
  return { ...answer, bytes: Buffer.from(answer.base64, "base64") };
}

export async function linkedPicture(card, tab, name) {
  return fetchPicture(tab, await copiedLink(tab, card, name));
}

export async function expectNoSidewaysScroll(tab, width) {
  const usual = tab.viewportSize();
  await tab.setViewportSize({ width, height: 700 });
  const scroll = await tab.evaluate(() => document.documentElement.scrollWidth);
  await tab.setViewportSize(usual);
  if (scroll > width) throw new Error(`at ${width} px the page is ${scroll} px wide`);
}

/** Counts the image descriptors of a GIF by walking its blocks, <https://www.w3.org/Graphics/GIF/spec-gif89a.txt>. */
export function framesOfGif(bytes) {
  if (!/^GIF8[79]a$/.test(bytes.toString("latin1", 0, 6))) throw new Error("this is not a GIF");
  const table = (flags) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  const afterBlocks = (at) => {
    while (bytes[at] > 0) at += bytes[at] + 1;
    return at + 1;
  };
  let at = 13 + table(bytes[10]);
  let frames = 0;
  while (at < bytes.length && bytes[at] !== 0x3b) {
    if (bytes[at] === 0x21) at = afterBlocks(at + 2);
    else if (bytes[at] === 0x2c) {
      frames += 1;
      at = afterBlocks(at + 10 + table(bytes[at + 9]) + 1);
    } else throw new Error(`the GIF is invalid at byte ${at}`);
  }
  return frames;
}

/** Counts the frames of a WebP, <https://developers.google.com/speed/webp/docs/riff_container>; a still one has none. */
export function framesOfWebp(bytes) {
  if (bytes.toString("latin1", 0, 4) !== "RIFF" || bytes.toString("latin1", 8, 12) !== "WEBP") throw new Error("this is not a WebP");
  let frames = 0;
  for (let at = 12; at + 8 <= bytes.length; ) {
    if (bytes.toString("latin1", at, at + 4) === "ANMF") frames += 1;
    const size = bytes.readUInt32LE(at + 4);
    at += 8 + size + (size % 2);
  }
  return frames;
}
