// The seek bar of a card in the gallery, with a button that makes a frame the poster. It is loaded with the first ready
// video; a card works without it.

import { announce, h } from "./dom.js";
import { duration } from "./format.js";
import { local } from "./screen.js";
import { scrubber } from "./scrub.js";

/**
 * Adds a bar to a card's image. `choose` makes the frame at a time the poster; its error is shown on the button.
 * @param {HTMLElement} stage the image and its overlays @param {import("./api.js").Video} video
 * @param {(seconds: number) => Promise<void>} choose
 */
export function lookThrough(stage, video, choose) {
  const screen = stage.querySelector(".screen");
  const place = h("div", { class: "scrub over" });
  const button = h("button", { type: "button", class: "pick", hidden: true });
  const found = scrubber({
    stage: screen,
    place,
    duration_ms: video.duration_ms,
    json: local(video.urls["storyboard.json"]),
    sheet: local(video.urls["storyboard.webp"]),
    label: `Look through ${video.name}`,
    chosen: offer,
  });
  let acting = false;

  /** A selected frame stays, and can become the poster. */
  function offer() {
    button.textContent = `Make ${duration(Math.floor(found.at()) * 1000)} the poster`;
    button.hidden = false;
    stage.dataset.pinned = "";
    found.show(found.at());
    return false;
  }
  function leave() {
    if (acting) return;
    found.hide();
    button.hidden = true;
    delete stage.dataset.pinned;
  }
  button.addEventListener("click", async () => {
    if (acting) return;
    acting = true;
    button.setAttribute("aria-disabled", "true");
    button.textContent = "Making it the poster";
    try {
      await choose(found.at());
      acting = false;
      announce(`The poster of ${video.name} is changed.`);
    } catch (error) {
      acting = false;
      button.removeAttribute("aria-disabled");
      button.textContent = `${error.message} Try again`;
      announce(error.message);
    }
  });
  found.bar.addEventListener("pointerleave", (event) => {
    if (event.buttons) return;
    if (button.hidden) found.hide();
    else found.show(found.at());
  });
  stage.addEventListener("pointerleave", () => stage.contains(document.activeElement) || leave());
  stage.addEventListener("focusout", ({ relatedTarget }) => stage.contains(relatedTarget) || stage.matches(":hover") || leave());
  stage.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || button.hidden) return;
    leave();
    found.bar.focus({ preventScroll: true });
  });
  stage.append(place, button);
}
