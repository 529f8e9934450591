// Decides how one looks through a video in the gallery, and makes a frame that one has found its poster. It is loaded
// when there is a picture to look through; without it a card has everything else.

import { announce, h } from "./dom.js";
import { duration } from "./format.js";
import { local } from "./screen.js";
import { scrubber } from "./scrub.js";

/**
 * Gives a card's picture a bar. `choose` makes the frame of a moment the poster; what goes wrong with it is said on the
 * button.
 * @param {HTMLElement} stage the picture and what lies over it @param {import("./api.js").Video} video
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

  /** A frame that was settled on stays, and can be made the poster. */
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
