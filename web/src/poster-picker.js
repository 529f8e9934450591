// The seek bar of a card in the gallery, with a button that makes a frame the poster.

import { announce, h } from "./dom.js";
import { duration } from "./format.js";
import { relativeUrl } from "./thumbnail-view.js";
import { scrubber } from "./scrubber.js";

/**
 * Adds a bar to a card's image. `choose` makes the frame at a time the poster; its error is shown on the button.
 * @param {HTMLElement} stage the image and its overlays @param {import("../../clients/js/src/client.js").Video} video
 * @param {(seconds: number) => Promise<void>} choose
 */
export function attachPosterPicker(stage, video, choose) {
  const screen = stage.querySelector(".screen");
  const place = h("div", { class: "scrub overlay" });
  const button = h("button", { type: "button", class: "set-poster", hidden: true });
  const scrubBar = scrubber({
    stage: screen,
    place,
    duration_ms: video.duration_ms,
    json: relativeUrl(video.urls["storyboard.json"]),
    sheet: relativeUrl(video.urls["storyboard.webp"]),
    label: `Look through ${video.name}`,
    onSelect: showPosterButton,
  });
  let acting = false;

  /** A selected frame stays, and can become the poster. */
  function showPosterButton() {
    button.textContent = `Make ${duration(Math.floor(scrubBar.at()) * 1000)} the poster`;
    button.hidden = false;
    stage.dataset.pinned = "";
    scrubBar.show(scrubBar.at());
    return false;
  }
  function dismiss() {
    if (acting) return;
    scrubBar.hide();
    button.hidden = true;
    delete stage.dataset.pinned;
  }
  button.addEventListener("click", async () => {
    if (acting) return;
    acting = true;
    button.setAttribute("aria-disabled", "true");
    button.textContent = "Making it the poster";
    try {
      await choose(scrubBar.at());
      acting = false;
      announce(`The poster of ${video.name} is changed.`);
    } catch (error) {
      acting = false;
      button.removeAttribute("aria-disabled");
      button.textContent = `${error.message} Try again`;
      announce(error.message);
    }
  });
  scrubBar.bar.addEventListener("pointerleave", (event) => {
    if (event.buttons) return;
    if (button.hidden) scrubBar.hide();
    else scrubBar.show(scrubBar.at());
  });
  stage.addEventListener("pointerleave", () => stage.contains(document.activeElement) || dismiss());
  stage.addEventListener("focusout", ({ relatedTarget }) => stage.contains(relatedTarget) || stage.matches(":hover") || dismiss());
  stage.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || button.hidden) return;
    dismiss();
    scrubBar.bar.focus({ preventScroll: true });
  });
  stage.append(place, button);
}
