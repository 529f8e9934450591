// Tests of <glimpse-uploader>: queue, progress, pause, cancel, retry, refusals, resumption, events, keyboard and
// accessibility. In Chromium, against a fake of the Worker and of S3, with the page's strict policy.
//
//   node --test tests/browser/uploader.test.mjs
//
// GLIMPSE_SCREENSHOTS names a folder for screenshots of the states.

import assert from "node:assert/strict";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { MB, partNumbers, stage } from "./harness.mjs";
import * as page from "./page-helpers.mjs";

const HTML = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark"><meta name="viewport" content="width=device-width">
<title>Uploader</title><link rel="icon" href="/favicon.svg"><link rel="stylesheet" href="uploader.css"><script type="module" src="uploader.js"></script>
<main><button id="before" type="button">before</button><div id="place"></div></main></html>`;
const CSS = "body { margin: 1rem; font: 1rem/1.5 sans-serif } main { max-width: 40rem; margin: auto }";
const SCRIPT = `import "/glimpse-uploader.js";
window.events = [];
for (const type of ["upload-start", "upload-progress", "upload-success", "upload-error", "upload-cancel", "complete"]) {
  document.addEventListener(type, ({ type, detail }) => window.events.push({ type, name: detail.file?.name, code: detail.error?.code, video: detail.video?.id, videos: detail.videos?.length, failed: detail.failed?.length }));
}
window.mount = (attributes, properties = {}) => {
  const uploader = document.createElement("glimpse-uploader");
  for (const [name, value] of Object.entries(attributes)) uploader.setAttribute(name, value);
  Object.assign(uploader, properties);
  document.getElementById("place").replaceChildren(uploader);
};
document.documentElement.dataset.ready = "";`;

/** A page that sets properties before the element is defined. */
const EARLY = `const uploader = document.querySelector("glimpse-uploader");
window.progress = [];
uploader.options = { name: "renamed.mp4", onProgress: ({ sent, total }) => window.progress.push(sent / total) };
uploader.messages = { choose: () => "pick one" };
await import("/glimpse-uploader.js");`;
const files = { "uploader.html": HTML, "uploader.css": CSS, "uploader.js": SCRIPT, "early.html": '<!doctype html><title>Early</title><glimpse-uploader></glimpse-uploader><script type="module" src="early.js"></script>', "early.js": EARLY };
const s = stage({ files, path: "/uploader.html", ready: "[data-ready]", name: "uploader" });
const { file, photograph, open, stored, partsTaken, scratch } = s;

const part = (name) => s.tab.locator(`glimpse-uploader [part~="${name}"]`);
const item = (name) => part("item").filter({ has: s.tab.getByTitle(name, { exact: true }) });
const press = (name, what) => item(name).locator(`[part~="${what}"]`).click();
const announcement = () => s.tab.locator("glimpse-uploader [role=status]").textContent();
const events = async (type) => (await s.tab.evaluate(() => window.events)).filter((one) => one.type === type);
const focused = () => s.tab.evaluate(() => document.activeElement.shadowRoot?.activeElement?.getAttribute("aria-label") ?? document.activeElement.shadowRoot?.activeElement?.textContent ?? document.activeElement.id);

/** Places an uploader with these attributes in the page, and waits until it takes files. */
async function mount(attributes = { multiple: "" }) {
  await s.tab.evaluate((given) => window.mount(given), attributes);
  await s.tab.locator("glimpse-uploader [part=choose]:enabled").waitFor();
}

async function expectState(name, state) {
  await page.eventually(`${name} is ${state}`, async () => {
    const actual = (await item(name).getAttribute("part", { timeout: 1000 })).split(" ")[1];
    return actual === state || (["error", "refused"].includes(actual) && "over");
  });
  assert.equal(await item(name).getAttribute("part"), `item ${state}`, await item(name).innerText());
}

/** The next file chooser, after an action that opens it. */
async function chooserOf(act) {
  // The browser intercepts choosers from now on, and has confirmed that when the action begins.
  const chooser = s.tab.waitForEvent("filechooser");
  await s.tab.evaluate(() => new Promise(requestAnimationFrame));
  await act();
  return chooser;
}

/** Drops files onto the drop zone, as a mouse would. */
async function drop(...paths) {
  const input = await s.tab.evaluateHandle(() => Object.assign(document.createElement("input"), { type: "file", multiple: true }));
  await input.setInputFiles(paths);
  await input.evaluate((chooser) => {
    const dataTransfer = new DataTransfer();
    for (const one of chooser.files) dataTransfer.items.add(one);
    const zone = document.querySelector("glimpse-uploader").shadowRoot.querySelector("[part=dropzone]");
    for (const type of ["dragenter", "dragover", "drop"]) zone.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true, composed: true }));
  });
}

/** A file of any length without content. */
function sparse(name, bytes) {
  const path = join(scratch, name);
  writeFileSync(path, "");
  truncateSync(path, bytes);
  return path;
}

test("files are sent two at a time, with progress, and arrive unchanged", async () => {
  await mount();
  assert.equal(await part("limits").textContent(), "MP4, MOV, WebM, MKV and 3 other kinds, up to 100 MB each");
  await photograph("empty");
  const paths = [file("whole.mp4", 3 * MB), file("parts.mp4", 20 * MB), file("third.mp4", 2 * MB)];
  const restore = await page.slowDown(s.tab, 6 * MB);
  await drop(...paths);
  await expectState("parts.mp4", "uploading");
  await expectState("third.mp4", "waiting");
  await page.eventually("progress of one file", () => item("parts.mp4").locator("progress").evaluate((bar) => bar.value > 0 && bar.value < 1));
  await page.eventually("progress of all files", async () => /^0 of 3 files uploaded.* of 25 MB/.test(await part("total").textContent()));
  await photograph("two");
  await restore();
  for (const name of ["whole.mp4", "parts.mp4", "third.mp4"]) await expectState(name, "done");
  assert.equal(await part("total").isVisible(), false);
  for (const path of paths) assert.ok(stored().some((bytes) => bytes.equals(readFileSync(path))), path);
  await photograph("done");
  const done = await events("upload-success");
  assert.deepEqual(done.map(({ name }) => name).sort(), ["parts.mp4", "third.mp4", "whole.mp4"]);
  assert.match(done[0].video, /^\w{26}$/);
  assert.equal((await events("upload-start")).length, 3);
  assert.ok((await events("upload-progress")).length > 3);
  assert.deepEqual((await events("complete")).map(({ videos, failed }) => [videos, failed]), [[3, 0]]);
  s.complaints.mustBeEmpty();
});

test("Pause keeps finished parts, Resume sends the others", async () => {
  await mount();
  const path = file("pause.mp4", 40 * MB);
  const restore = await page.slowDown(s.tab, 10 * MB);
  const puts = page.trackPuts(s.tab);
  await drop(path);
  await partsTaken(1);
  await press("pause.mp4", "pause");
  await expectState("pause.mp4", "paused");
  assert.match(await item("pause.mp4").locator("[part=status]").textContent(), /MB of 40 MB · paused/);
  assert.equal(await announcement(), "pause.mp4: paused");
  await photograph("paused");
  await page.expectNoPuts(s.tab, puts);
  assert.ok(s.fake.parts().length < 5);
  await restore();
  await press("pause.mp4", "resume");
  await expectState("pause.mp4", "done");
  assert.ok(s.fake.hasParts(partNumbers(40 * MB), 3), String(s.fake.parts()));
  assert.ok(stored()[0].equals(readFileSync(path)));
  s.complaints.mustBeEmpty();
});

test("Cancel aborts the upload, and the next file is sent", async () => {
  await mount({ multiple: "", parallel: "1" });
  await page.slowDown(s.tab, 10 * MB);
  await drop(file("cancel.mp4", 40 * MB), file("next.mp4", MB));
  await partsTaken(1);
  await expectState("next.mp4", "waiting");
  await press("cancel.mp4", "cancel");
  await page.eventually("the upload is aborted", () => s.fake.unfinished.size === 0);
  assert.equal(await item("cancel.mp4").count(), 0);
  await expectState("next.mp4", "done");
  assert.deepEqual((await events("upload-cancel")).map(({ name }) => name), ["cancel.mp4"]);
  assert.equal(stored().length, 1);
});

test("files beyond the limits are refused, each with its reason", async () => {
  s.fake.setLimits({ max_upload_bytes: 5 * MB, types: ["video/mp4", "video/webm"] });
  await mount({ multiple: "", "max-files": "2" });
  const sent = page.countGrants(s.tab);
  const cases = [
    ["large.mp4", 5 * MB + 1, /^This file is larger than 5 MB\.$/, "too_large"],
    ["clip.mov", 10, /^Only MP4 and WebM can be uploaded here, and this is video\/quicktime\.$/, "type_not_allowed"],
    ["notes.pdf", 10, /^Only MP4 and WebM can be uploaded here, and this is application\/pdf\.$/, "type_not_allowed"],
    ["empty.mp4", 0, /^This file is empty\.$/, "empty"],
  ];
  for (const [name, size, why] of cases) {
    await drop(sparse(name, size));
    await expectState(name, "refused");
    assert.match(await item(name).locator("[part=message]").innerText(), why);
    assert.equal(await item(name).locator("[part~=retry]").count(), 0);
  }
  assert.equal(sent(), 0);
  assert.deepEqual((await events("upload-error")).map(({ code }) => code), cases.map(([, , , code]) => code));
  await photograph("refused");
  await drop(file("first.mp4", MB), file("second.mp4", MB), file("third.mp4", MB));
  await expectState("third.mp4", "refused");
  assert.match(await item("third.mp4").textContent(), /At most 2 files can be uploaded here/);
  for (const name of ["first.mp4", "second.mp4"]) await expectState(name, "done");
  assert.equal((await events("upload-error")).at(-1).code, "too_many_files");
  await press("notes.pdf", "remove");
  assert.equal(await item("notes.pdf").count(), 0);
});

test("accept narrows the types, and attributes describe the videos", async () => {
  await mount({ accept: ".webm, video/quicktime", visibility: "signed", "external-id": "order 7" });
  assert.equal(await part("limits").textContent(), "MOV and WebM, up to 100 MB");
  assert.equal(await s.tab.locator("glimpse-uploader input").getAttribute("accept"), "video/quicktime,video/webm,.mov,.qt,.webm");
  await drop(file("no.mp4", MB));
  await expectState("no.mp4", "refused");
  await drop(file("yes.webm", MB));
  await expectState("yes.webm", "done");
  const [{ visibility, external_id, content_type }] = s.fake.granted.values();
  assert.deepEqual({ visibility, external_id, content_type }, { visibility: "signed", external_id: "order 7", content_type: "video/webm" });
  assert.equal(await item("no.mp4").count(), 0, "with one file at a time, the next one replaces it");
});

test("an unfinished upload is listed after a crash, and resumed", async () => {
  await mount();
  const path = file("crash.mp4", 40 * MB);
  await page.slowDown(s.tab, 10 * MB);
  await drop(path);
  await partsTaken(2);
  await s.crash();
  await mount();
  await expectState("crash.mp4", "unfinished");
  assert.match((await item("crash.mp4").innerText()).replaceAll("\n", " "), /MB of 40 MB.*choose the file again/);
  await photograph("unfinished");
  const chooser = await chooserOf(() => press("crash.mp4", "chooseFile"));
  // Under another name: a file is identified by its bytes.
  const renamed = join(scratch, "renamed.mp4");
  writeFileSync(renamed, readFileSync(path));
  await chooser.setFiles(renamed);
  await expectState("renamed.mp4", "done");
  assert.equal(await part("item").count(), 1);
  assert.deepEqual(s.fake.parts(), partNumbers(40 * MB), "no part is sent twice");
  assert.equal(s.fake.count("POST", /^\/s3\/multipart$/), 1);
  assert.ok(stored()[0].equals(readFileSync(path)));
});

test("an unfinished upload can be discarded", async () => {
  await mount();
  await page.slowDown(s.tab, 10 * MB);
  await drop(file("discard.mp4", 40 * MB));
  await partsTaken(1);
  await s.crash();
  await mount();
  await expectState("discard.mp4", "unfinished");
  await press("discard.mp4", "discard");
  await page.eventually("it is aborted", () => s.fake.unfinished.size === 0);
  assert.equal(await part("item").count(), 0);
  await page.eventually("no record", () => s.tab.evaluate(() => localStorage.length === 0));
});

test("a failed upload shows the reason, and can be retried", async () => {
  s.complaints.expect(/403/);
  s.fake.trouble("POST", /^\/api\/videos$/, { status: 403, body: JSON.stringify({ code: "forbidden", message: "Uploads are closed today." }) });
  await mount();
  await drop(file("closed.mp4", MB));
  await page.eventually("the error", async () => (await item("closed.mp4").getAttribute("part")) === "item error");
  assert.equal(await item("closed.mp4").locator("[part=message]").innerText(), "Uploads are closed today.");
  assert.equal(await announcement(), "closed.mp4: Uploads are closed today.");
  assert.deepEqual((await events("complete")).map(({ videos, failed }) => [videos, failed]), [[0, 1]]);
  await photograph("error");
  await press("closed.mp4", "retry");
  await expectState("closed.mp4", "done");
  s.complaints.mustBeEmpty();
});

test("limits that cannot be loaded are an error with a retry", async () => {
  s.complaints.expect(/503/);
  s.fake.trouble("GET", /^\/api\/me$/, { status: 503, body: JSON.stringify({ code: "upstream", message: "Try again later." }) });
  await s.tab.evaluate(() => window.mount({}));
  await page.eventually("the notice", async () => (await part("notice").textContent()).startsWith("Try again later."));
  assert.deepEqual([await part("choose").isDisabled(), await part("notice").isVisible()], [true, true]);
  await photograph("unavailable");
  await s.tab.evaluate(() => document.querySelector("glimpse-uploader").setAttribute("multiple", ""));
  await part("notice").locator("button").click();
  await s.tab.locator("glimpse-uploader [part=choose]:enabled").waitFor();
  assert.equal(await part("notice").isVisible(), false);
});

test("a lost connection is shown, and the upload continues by itself", async () => {
  s.complaints.expect(/ERR_INTERNET_DISCONNECTED|ERR_FAILED|Failed to load/);
  await mount();
  const restore = await page.slowDown(s.tab, 10 * MB);
  await drop(file("offline.mp4", 40 * MB));
  await partsTaken(1);
  await restore({ offline: true });
  await page.eventually("it is offline", async () => /offline, continues by itself/.test(await item("offline.mp4").textContent()));
  await restore();
  await expectState("offline.mp4", "done");
  assert.ok(s.fake.hasParts(partNumbers(40 * MB), 3), String(s.fake.parts()));
});

test("everything works from the keyboard, and the focus is never lost", async () => {
  await mount();
  const path = file("keys.mp4", 40 * MB);
  const restore = await page.slowDown(s.tab, 10 * MB);
  await s.tab.locator("#before").focus();
  await s.tab.keyboard.press("Tab");
  assert.equal(await focused(), "choose files");
  const chooser = await chooserOf(() => s.tab.keyboard.press("Enter"));
  await chooser.setFiles([path, file("waits.mp4", 17 * MB), file("last.mp4", 17 * MB)]);
  await partsTaken(1);
  await s.tab.keyboard.press("Tab");
  assert.equal(await focused(), "Pause: keys.mp4");
  await s.tab.keyboard.press("Enter");
  assert.equal(await focused(), "Resume: keys.mp4");
  await s.tab.keyboard.press("Enter");
  assert.equal(await focused(), "Pause: keys.mp4");
  await s.tab.keyboard.press("Tab");
  assert.equal(await focused(), "Cancel: keys.mp4");
  await photograph("keyboard");
  await s.tab.keyboard.press("Enter");
  await page.eventually("the focus is on the next row", async () => (await focused()) === "Pause: waits.mp4");
  await restore();
  for (const name of ["waits.mp4", "last.mp4"]) await expectState(name, "done");
  assert.equal(await focused(), "Remove: waits.mp4");
  for (const name of ["waits.mp4", "last.mp4"]) await press(name, "remove");
  assert.equal(await focused(), "choose files");
});

test("all controls have a role and a name in the accessibility tree", async () => {
  await mount();
  await page.slowDown(s.tab, 5 * MB);
  await drop(file("a tree.mp4", 40 * MB), file("and another.mp4", 40 * MB), sparse("nothing.mp4", 0));
  await partsTaken(1);
  const devtools = await s.context.newCDPSession(s.tab);
  const { nodes } = await devtools.send("Accessibility.getFullAXTree");
  const shown = nodes.filter(({ ignored }) => !ignored).map(({ role, name }) => [role.value, name?.value ?? ""]);
  const named = ["button", "progressbar", "list", "group"];
  for (const [role, name] of shown) assert.ok(!named.includes(role) || name, `a ${role} without a name`);
  const names = (role) => shown.filter((one) => one[0] === role).map(([, name]) => name);
  assert.deepEqual(names("group"), ["Upload videos"]);
  assert.deepEqual(names("list"), ["Uploads"]);
  assert.deepEqual(names("button"), ["before", "choose files", "Pause: a tree.mp4", "Cancel: a tree.mp4", "Pause: and another.mp4", "Cancel: and another.mp4", "Remove: nothing.mp4"]);
  assert.deepEqual(names("progressbar"), ["Upload: 0 of 2 files uploaded", "Upload: a tree.mp4", "Upload: and another.mp4"]);
  assert.equal(names("status").length, 1);
  assert.equal(names("listitem").length, 3);
  assert.match(await s.tab.locator("glimpse-uploader button[part=choose]").evaluate((one) => one.getRootNode().getElementById(one.getAttribute("aria-describedby")).textContent), /up to 100 MB/);
});

test("texts can be replaced, and sizes follow lang", async () => {
  await s.tab.evaluate(() =>
    window.mount({ lang: "de" }, { messages: { drop: () => "Video hier ablegen, oder", choose: () => "auswählen", limits: (types, size) => `${types}, höchstens ${size}`, done: "hochgeladen", remove: "Entfernen", otherTypes: (count) => `${count} weitere` } }),
  );
  await page.eventually("the limits", async () => (await part("limits").textContent()) === "MP4, MOV, WebM, MKV und 3 weitere, höchstens 100 MB");
  assert.equal(await part("title").innerText(), "Video hier ablegen, oder auswählen");
  await drop(file("texte.mp4", 1.5 * MB));
  await expectState("texte.mp4", "done");
  assert.equal(await announcement(), "texte.mp4: hochgeladen");
  assert.equal(await item("texte.mp4").locator("button").getAttribute("aria-label"), "Entfernen: texte.mp4");
});

test("properties that are set before the element is defined count", async () => {
  await s.tab.goto(`${s.fake.origin}/early.html`);
  await s.tab.locator("glimpse-uploader [part=choose]:enabled").waitFor();
  assert.equal(await part("choose").textContent(), "pick one");
  await drop(file("original.mp4", MB));
  await expectState("original.mp4", "done");
  assert.equal([...s.fake.granted.values()][0].name, "renamed.mp4");
  assert.equal(await s.tab.evaluate(() => window.progress.at(-1)), 1);
  const [{ state, sent, video }] = await s.tab.evaluate(() => document.querySelector("glimpse-uploader").files.map(({ state, sent, video }) => ({ state, sent, video: video.id })));
  assert.deepEqual({ state, sent }, { state: "done", sent: MB });
  assert.match(video, /^\w{26}$/);
});

test("leaving the page asks while files are sent, and only then", async () => {
  await mount();
  const asks = () => s.tab.evaluate(() => !window.dispatchEvent(new Event("beforeunload", { cancelable: true })));
  assert.equal(await asks(), false);
  const restore = await page.slowDown(s.tab, 10 * MB);
  await drop(file("leave.mp4", 40 * MB));
  await partsTaken(1);
  assert.equal(await asks(), true);
  await restore();
  await expectState("leave.mp4", "done");
  assert.equal(await asks(), false);
});

test("a removed uploader stops sending, a moved one continues", async () => {
  await mount();
  await page.slowDown(s.tab, 10 * MB);
  const puts = page.trackPuts(s.tab);
  await drop(file("moved.mp4", 40 * MB));
  await partsTaken(1);
  await s.tab.evaluate(() => document.querySelector("main").append(document.querySelector("glimpse-uploader")));
  await partsTaken(2);
  await expectState("moved.mp4", "uploading");
  await s.tab.evaluate(() => document.querySelector("glimpse-uploader").remove());
  await page.expectNoPuts(s.tab, puts);
  assert.equal(s.fake.unfinished.size, 1, "what is stored can be resumed");
});

test("disabled, it takes no files; other drags work as usual", async () => {
  await mount({ disabled: "" }).catch(() => {});
  assert.equal(await part("choose").isDisabled(), true);
  await drop(file("disabled.mp4", MB));
  await s.tab.evaluate(() => document.querySelector("glimpse-uploader").removeAttribute("disabled"));
  await s.tab.locator("glimpse-uploader [part=choose]:enabled").waitFor();
  assert.equal(await part("item").count(), 0);
  const prevented = await part("dropzone").evaluate((zone) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.setData("text/plain", "a text");
    return !zone.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true, composed: true }));
  });
  assert.equal(prevented, false, "a dragged text is dropped as usual");
});

test("nothing moves for users who prefer that, and forced colors keep the borders", async () => {
  await s.tab.emulateMedia({ reducedMotion: "reduce", forcedColors: "active" });
  await mount();
  await page.slowDown(s.tab, 5 * MB);
  await drop(file("calm.mp4", 40 * MB));
  await partsTaken(1);
  const styles = await s.tab.locator("glimpse-uploader").evaluate(({ shadowRoot }) =>
    [...shadowRoot.querySelectorAll("*")].map((one) => [one.getAttribute("part"), getComputedStyle(one).transitionDuration, getComputedStyle(one).animationName, getComputedStyle(one).borderTopStyle]),
  );
  for (const [name, transition, animation, border] of styles) {
    assert.deepEqual([transition, animation], ["0s", "none"], name);
    if (name?.startsWith("button")) assert.equal(border, "solid", name);
  }
  await s.photograph("forced-colors");
});

test("a narrow page shows every state without horizontal scrolling", async () => {
  const long = "a name that goes on and on without an end and then some more of it, again and again and again.mp4";
  await mount();
  await page.slowDown(s.tab, 5 * MB);
  await drop(file(`1 ${long}`, 40 * MB), file(`2 ${long}`, 40 * MB), sparse(`3 ${long}`, 0));
  await partsTaken(1);
  await press(`1 ${long}`, "pause");
  await page.expectNoSidewaysScroll(s.tab, 360);
  await page.expectNoSidewaysScroll(s.tab, 280);
  await s.tab.setViewportSize({ width: 360, height: 720 });
  await photograph("narrow");
});
