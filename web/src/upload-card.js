// The card of a file until it is a video: refused, waiting, uploading, paused, interrupted, unfinished.

import { bytes } from "../../clients/js/src/elements/format.js";
import { action, actions, age, errorMessage, redraw, setBody, setMedia, setState, placeholderIcon } from "./card.js";
import { h } from "./dom.js";
import { timeLeft } from "./format.js";

/**
 * @typedef {{ name: string, size: number }} Named the known properties of a file
 * @typedef {ReturnType<typeof localFrame>} Frame
 */

/** The first frame of a local file; empty if the browser cannot play the file. */
export function localFrame(file) {
  const url = URL.createObjectURL(file);
  const frame = h("video", { class: "frame", preload: "auto", "aria-hidden": "true", tabindex: "-1" });
  frame.muted = true;
  frame.playsInline = true;
  frame.addEventListener("loadeddata", () => frame.classList.add("seen"), { once: true });
  frame.addEventListener("error", () => frame.remove(), { once: true });
  frame.src = `${url}#t=1`;
  return {
    element: frame,
    /** Releases the file. */
    release() {
      frame.removeAttribute("src");
      frame.load();
      frame.remove();
      URL.revokeObjectURL(url);
    },
  };
}

const share = (sent, size) => (size > 0 ? Math.min(1, sent / size) : 0);
const percentOf = (sent, size) => `${Math.floor(share(sent, size) * 100)} %`;
/** `45 MB of 150 MB` */
const partly = (sent, size) => `${bytes(Math.min(sent, size))} of ${bytes(size)}`;

function bar({ name, size }, sent) {
  return h("progress", { max: "1", value: String(share(sent, size)), "aria-label": `Upload of ${name}` });
}

function showFrame(card, frame, percent) {
  setMedia(card, placeholderIcon("upload"), ...(frame ? [frame.element] : []), h("div", { class: "shade" }), percent);
}

/** Rejected before the upload. @param {Named} file */
export function showRefused(card, file, problem, dismiss) {
  setState(card, "refused");
  setMedia(card, placeholderIcon("film"));
  const rest = [errorMessage("Refused", problem.message), actions(action("Dismiss", file.name, "dismiss", dismiss))];
  setBody(card, { name: file.name, meta: [bytes(file.size)], rest });
}

/** In the queue. @param {Named} file @param {Frame} frame */
export function showWaiting(card, file, frame, sent, { cancel }) {
  setState(card, "waiting");
  showFrame(card, frame, h("strong", { class: "percent" }));
  const rest = [bar(file, sent), actions(action("Cancel", file.name, "cancel", cancel))];
  redraw(card, () => setBody(card, { name: file.name, meta: [`${bytes(file.size)} · waiting`], rest }));
}

/**
 * Uploading; returns a function that shows the progress. Without `pause` it is a single request.
 * @param {Named} file @param {Frame} frame
 */
export function showUploading(card, file, frame, { cancel, pause }) {
  setState(card, "uploading");
  const progress = bar(file, 0);
  const percent = h("strong", { class: "percent" }, "0 %");
  const numbers = h("span", {}, bytes(file.size));
  showFrame(card, frame, percent);
  const hold = pause ? action("Pause", file.name, "pause", pause, "button small plain") : null;
  const rest = [progress, actions(hold, action("Cancel", file.name, "cancel", cancel))];
  redraw(card, () => setBody(card, { name: file.name, meta: [numbers], rest }));
  return (sent, speed) => {
    const done = share(sent, file.size);
    progress.value = done;
    percent.textContent = percentOf(sent, file.size);
    const parts = [partly(sent, file.size)];
    if (speed > 0) parts.push(`${bytes(speed)}/s`, timeLeft((file.size - sent) / speed));
    numbers.textContent = done < 1 ? parts.join(" · ") : `${bytes(file.size)} · finishing`;
  };
}

/** Paused by the user; `kept` bytes are already in S3. @param {Named} file @param {Frame} frame */
export function showPaused(card, file, frame, kept, { resume, cancel }) {
  setState(card, "paused");
  showFrame(card, frame, h("strong", { class: "percent" }, percentOf(kept, file.size)));
  const rest = [
    bar(file, kept),
    actions(action("Resume", file.name, "resume", resume, "button small"), action("Cancel", file.name, "cancel", cancel)),
  ];
  redraw(card, () => setBody(card, { name: file.name, meta: [`${partly(kept, file.size)} · paused`], rest }));
}

/** The upload was interrupted or rejected. @param {Named} file */
export function showInterrupted(card, file, message, kept, { retry, discard, dismiss }) {
  setState(card, "interrupted");
  setMedia(card, placeholderIcon("upload"));
  const buttons = [
    retry && action("Try again", file.name, "retry", retry, "button small"),
    discard && action("Discard", file.name, "discard", discard),
    dismiss && action("Dismiss", file.name, "dismiss", dismiss),
  ];
  const numbers = kept > 0 ? `${partly(kept, file.size)} sent` : bytes(file.size);
  const rest = [errorMessage("Not uploaded", message), actions(...buttons)];
  redraw(card, () => setBody(card, { name: file.name, meta: [numbers], rest }));
}

const CHOOSE = "Choose the file again to resume. Nothing is sent twice.";
const ELSEWHERE =
  "It was started in another browser, and can only be finished there. Discard it if no browser is sending it.";

/**
 * Unfinished since an earlier session. With `take`, its file can be chosen here; `complaint` says why the last one was
 * rejected.
 * @param {{ name: string, size?: number, sent: number, begun: string, types: string }} upload
 */
export function showUnfinished(card, upload, { take, discard, complaint }) {
  setState(card, "unfinished");
  setMedia(card, placeholderIcon("upload"), h("span", { class: "badge unsent" }, "Unfinished"));
  const { name, size, sent, startedAt } = upload;
  const chooser = take && h("input", { type: "file", hidden: true, accept: upload.types, "data-files": true });
  chooser?.addEventListener("change", () => {
    const [file] = chooser.files;
    chooser.value = "";
    if (file) take(file);
  });
  const numbers = size ? partly(sent, size) : bytes(sent);
  const rest = [
    size ? bar(upload, sent) : null,
    complaint ? errorMessage("Another file", complaint) : h("p", { class: "muted note" }, take ? CHOOSE : ELSEWHERE),
    actions(
      take ? action("Choose the file", name, "choose", () => chooser.click(), "button small") : null,
      action("Discard", name, "discard", discard),
      chooser,
    ),
  ];
  redraw(card, () => setBody(card, { name, meta: [`${numbers} sent · `, age(startedAt)], rest: rest.filter(Boolean) }));
}
