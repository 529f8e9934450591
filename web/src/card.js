// The structure of all cards: an image, a name, facts, and below them the text and buttons of the state. `data-state`
// on the card names the state: waiting, uploading, paused, interrupted, unfinished, refused (before any upload) in
// upload-card.js; processing, slow, ready, rejected, failed in video-card.js.

import { announce, h, icon } from "./dom.js";
import { ago } from "./format.js";

/** An empty card; a `show…` function fills it. */
export function newCard() {
  return h("li", { class: "card", tabindex: "-1" }, h("div", { class: "media" }), h("div", { class: "body" }));
}

export function setMedia(card, ...parts) {
  card.querySelector(".media").replaceChildren(...parts);
}

/** Fills the area below the image. With `remove`, the card gets a button that deletes. */
export function setBody(card, { name, meta, rest = [], remove }) {
  const title = h("h3", { title: name }, name);
  title.dir = "auto";
  const bin = remove && h("button", { type: "button", class: "bin", "aria-label": `Delete: ${name}`, "data-action": "delete", onclick: remove }, icon("bin"));
  delete card.dataset.asking;
  card.querySelector(".body").replaceChildren(h("div", { class: "head" }, title, bin), h("p", { class: "meta muted" }, ...meta), ...rest);
}

export function setState(card, state) {
  card.dataset.state = state;
}

/** Redraws a card and keeps the keyboard focus on it: the focused element may be removed, the card is not. */
export function redraw(card, draw) {
  const focused = card.contains(document.activeElement);
  draw();
  if (focused && !card.contains(document.activeElement)) {
    (card.querySelector(".actions button") ?? card).focus({ preventScroll: true });
  }
}

/** A button with a visible label, and the file's name in its accessible label. */
export const action = (label, name, what, onclick, kind = "quiet") =>
  h("button", { type: "button", class: kind, "aria-label": `${label}: ${name}`, "data-action": what, onclick }, label);

export const actions = (...buttons) => h("div", { class: "actions" }, ...buttons);

export function errorMessage(title, message) {
  return h("div", { class: "reason" }, icon("warn"), h("p", {}, h("strong", {}, `${title}. `), message));
}

/** The placeholder of a missing image. */
export const placeholderIcon = (name) => h("div", { class: "placeholder-icon" }, icon(name));

/** A time as text. */
export function age(iso) {
  const then = Date.parse(iso);
  return h("time", { datetime: iso, title: new Date(then).toLocaleString() }, ago(then, Date.now()));
}

/** Updates "3 minutes ago" on every card. */
export function refreshAges(root) {
  for (const time of root.querySelectorAll("time")) time.textContent = ago(Date.parse(time.dateTime), Date.now());
}

/**
 * Asks for confirmation before something is deleted: the question replaces the card's buttons, and Escape or the second
 * button restores them. `act` performs the action; its error replaces the question.
 */
export function confirmAction(card, { question, yes, busy, act }) {
  if (card.dataset.asking) return;
  const previousFocus = document.activeElement;
  const sentence = h("p", {}, question);
  const close = () => {
    panel.remove();
    delete card.dataset.asking;
    if (previousFocus?.isConnected) previousFocus.focus({ preventScroll: true });
  };
  const sure = h("button", { type: "button", class: "button small danger", "data-action": "sure" }, yes);
  const keep = h("button", { type: "button", class: "button small plain", "data-action": "keep", onclick: close }, "Keep");
  const panel = h("div", { class: "ask", role: "group", "aria-label": question }, sentence, actions(sure, keep));
  let acting = false;
  sure.addEventListener("click", async () => {
    if (acting) return;
    acting = true;
    // Not `disabled`, which would remove the focus.
    sure.setAttribute("aria-disabled", "true");
    keep.hidden = true;
    sure.textContent = busy;
    try {
      await act();
    } catch (error) {
      sentence.textContent = error.message;
      announce(error.message);
      acting = false;
      sure.removeAttribute("aria-disabled");
      keep.hidden = false;
      sure.textContent = yes;
    }
  });
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !acting) close();
  });
  card.dataset.asking = "true";
  card.querySelector(".body").append(panel);
  // The focus is on the harmless button, so that pressing Enter twice deletes nothing.
  keep.focus({ preventScroll: true });
}

/** Removes a card; the focus moves to its neighbor, or to `fallbackFocus`. */
export function removeCard(card, fallbackFocus) {
  const focused = card.contains(document.activeElement);
  const neighbor = card.nextElementSibling ?? card.previousElementSibling;
  card.remove();
  if (focused) (neighbor ?? fallbackFocus).focus({ preventScroll: true });
}
