// A row of <glimpse-uploader>: the first frame of a file, its name, its progress or its error, and its buttons.

import { h, icon } from "./dom.js";
import { bytes } from "./format.js";

/**
 * @typedef {"waiting" | "uploading" | "paused" | "done" | "error" | "refused" | "unfinished"} State
 * @typedef {{ file?: File, name: string, size: number, sent: number, speed: number, state: State, offline?: boolean,
 *   problem?: { title: string, message: string }, row?: ReturnType<typeof createRow> }} Item
 */

/** The buttons of each state, in the order of the focus. */
const BUTTONS = {
  waiting: ["cancel"],
  uploading: ["pause", "cancel"],
  paused: ["resume", "cancel"],
  done: ["remove"],
  error: ["retry", "remove"],
  refused: ["remove"],
  unfinished: ["chooseFile", "discard"],
};
const ICONS = { pause: "pause", resume: "resume", cancel: "cross", remove: "cross" };

/** The first frame of a local file; it removes itself if the browser cannot play the file. */
function localFrame(file) {
  const url = URL.createObjectURL(file);
  const video = h("video", { preload: "metadata", tabindex: "-1", "aria-hidden": "true" });
  const release = () => (video.remove(), video.removeAttribute("src"), URL.revokeObjectURL(url));
  video.muted = video.playsInline = true;
  video.addEventListener("error", release, { once: true });
  video.src = `${url}#t=0.5`;
  return { video, release };
}

/**
 * @param {Item} item
 * @param {{ messages: typeof import("./messages.js").MESSAGES, locale?: string, act: (what: string) => void }} host `act` is called with the name of the pressed button
 */
export function createRow(item, { messages, locale, act }) {
  const size = (count) => bytes(count, locale);
  const frame = h("div", { class: "frame", part: "frame" }, icon("film"));
  const status = h("p", { class: "small status", part: "status" });
  const bar = h("progress", { part: "progress", max: "1", value: "0", "aria-label": messages.progressLabel(item.name) });
  const name = h("p", { class: "name", part: "name", dir: "auto", title: item.name }, item.name);
  const actions = h("div", { class: "actions", part: "actions" });
  const message = h("p", { class: "message", part: "message" });
  const element = h("li", { class: "item", tabindex: "-1" }, frame, h("div", { class: "body" }, name, status, bar), actions, message);
  let local;
  let shown;

  function button(what) {
    const label = messages[what];
    const attributes = { type: "button", part: `button ${what}`, "data-action": what, "aria-label": `${label}: ${item.name}`, onclick: () => act(what) };
    return ICONS[what]
      ? h("button", { ...attributes, title: label }, icon(ICONS[what]))
      : h("button", { ...attributes, class: "text" }, label);
  }

  function text() {
    const { state, sent, speed } = item;
    const whole = size(item.size);
    if (state === "done") return messages.done;
    if (state === "waiting") return `${whole} · ${messages.waiting}`;
    if (["refused", "error"].includes(state) || !item.size) return item.size ? whole : "";
    const parts = [messages.sent(size(Math.min(sent, item.size)), whole)];
    if (state === "paused") parts.push(messages.paused);
    else if (state === "uploading" && item.offline) parts.push(messages.offline);
    else if (state === "uploading" && sent >= item.size) return `${whole} · ${messages.finishing}`;
    else if (state === "uploading" && speed > 0) parts.push(messages.speed(size(speed)), messages.left((item.size - sent) / speed));
    return parts.join(" · ");
  }

  /** Shows the progress; cheap. */
  function progress() {
    bar.value = item.size > 0 ? Math.min(1, item.sent / item.size) : 0;
    status.lastChild?.remove();
    status.append(text());
  }

  return {
    element,
    progress,
    /** Shows the state. The focus stays in the row if one of its buttons had it. */
    draw() {
      const { state, problem } = item;
      if (!local && item.file && ["waiting", "uploading", "paused"].includes(state)) {
        local = localFrame(item.file);
        frame.append(local.video);
      }
      element.dataset.state = state;
      element.setAttribute("part", `item ${state}`);
      bar.hidden = !["waiting", "uploading", "paused", "unfinished"].includes(state);
      message.hidden = !problem && state !== "unfinished";
      message.replaceChildren(...(problem ? [h("strong", {}, `${problem.title}. `), problem.message] : [messages.unfinished]));
      status.replaceChildren(...(state === "done" ? [icon("check")] : []), "");
      progress();
      const buttons = BUTTONS[state].filter((what) => what !== "retry" || item.canRetry);
      if (String(buttons) === shown) return;
      const focused = actions.contains(element.getRootNode().activeElement);
      shown = String(buttons);
      actions.replaceChildren(...buttons.map(button));
      if (focused) actions.firstChild.focus({ preventScroll: true });
    },
    /** Removes the row and releases the file. */
    remove() {
      local?.release();
      element.remove();
    },
  };
}
