// A row of <glimpse-uploader>: the name of a file, its progress or its error, and its buttons.

import { ICONS, h, icon } from "./dom.js";
import { bytes } from "./format.js";

/**
 * @typedef {"waiting" | "uploading" | "paused" | "done" | "error" | "refused" | "unfinished"} State
 * @typedef {{ file?: File, name: string, size: number, sent: number, state: State, isOffline?: boolean,
 *   problem?: string, row?: ReturnType<typeof createRow> }} Item
 */

/** The buttons of each state, in the order of the focus. Those with an icon do not show their label. */
const BUTTONS = {
  waiting: ["cancel"],
  uploading: ["pause", "cancel"],
  paused: ["resume", "cancel"],
  done: ["remove"],
  error: ["retry", "remove"],
  refused: ["remove"],
  unfinished: ["chooseFile", "discard"],
};

/**
 * @param {Item} item @param {{ messages: typeof import("./messages.js").MESSAGES, locale?: string }} texts
 * @param {(what: string) => void} act is called with the name of the pressed button
 */
export function createRow(item, { messages, locale }, act) {
  const named = (what) => messages.named(what, item.name);
  const size = (count) => bytes(count, locale);
  const status = h("p", { part: "status" });
  const bar = h("progress", { part: "progress", "aria-label": named(messages.progress) });
  const actions = h("div", { part: "actions" });
  const message = h("p", { part: "message" });
  const element = h("li", { className: "box" }, h("div", { part: "body" }, h("p", { part: "name", dir: "auto", title: item.name }, item.name), status, bar), actions, message);
  let shown;

  function button(what) {
    const label = messages[what];
    const properties = { type: "button", className: what in ICONS ? "icon" : "", part: `button ${what}`, title: label, "aria-label": named(label), onclick: () => act(what) };
    return h("button", properties, what in ICONS ? icon(what) : label);
  }

  /** The texts below the name. */
  function texts() {
    const { state, sent } = item;
    const whole = size(item.size);
    if (state === "done") return [messages.done];
    if (state === "waiting") return [whole, messages.waiting];
    if (item.problem) return [whole];
    if (sent >= item.size) return [whole, messages.finishing];
    const progress = [messages.sent(size(sent), whole)];
    if (state === "paused") progress.push(messages.paused);
    else if (item.isOffline) progress.push(messages.offline);
    return progress;
  }

  const row = {
    element,
    /** Shows the progress. */
    progress() {
      bar.value = item.sent / item.size || 0;
      status.replaceChildren(item.state === "done" ? icon("done") : "", ` ${texts().join(" · ")}`);
    },
    /** Shows the state. The focus stays in the row if one of its buttons had it. */
    draw() {
      const { state, problem } = item;
      element.part = `item ${state}`;
      bar.hidden = problem || state === "done";
      message.textContent = problem || (state === "unfinished" ? messages.unfinished : "");
      row.progress();
      if (state === shown) return;
      const isFocused = actions.contains(element.getRootNode().activeElement);
      shown = state;
      actions.replaceChildren(...BUTTONS[state].map(button));
      if (isFocused) actions.firstChild.focus({ preventScroll: true });
    },
  };
  return row;
}
