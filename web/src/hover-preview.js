// Starts a poster's preview: on hover, on keyboard focus, in the middle of a touch screen, or on a press; never
// automatically for users who prefer reduced motion or reduced data.

import { h } from "./dom.js";

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
const touch = matchMedia("(hover: none)");

/** Whether previews may start automatically. */
const canAutoplay = () => !reducedMotion.matches && navigator.connection?.saveData !== true;

const inView = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      target.dispatchEvent(new CustomEvent(isIntersecting ? "glimpse-enter" : "glimpse-leave"));
    }
  },
  // A card counts if most of it is in the middle half of the screen.
  { rootMargin: "-25% 0px -25% 0px", threshold: 0.6 },
);

/**
 * Makes a poster's button play the preview. Its state is in `data-moving`: `loading` or `true`.
 * @param {HTMLButtonElement} button @param {{ gif: string, webp: string, width: number, height: number }} picture
 */
export function attachHoverPreview(button, picture) {
  /** The cause of the motion: "hover", "focus", "view" or "click"; undefined at rest. */
  let cause;
  let layer;

  function stop() {
    cause = undefined;
    layer?.remove();
    layer = undefined;
    button.removeAttribute("data-moving");
    button.setAttribute("aria-pressed", "false");
  }

  function start(reason) {
    cause = reason;
    button.setAttribute("aria-pressed", "true");
    if (layer) return;
    const image = h("img", { alt: "", width: picture.width, height: picture.height, decoding: "async" });
    layer = h("picture", { class: "moving" }, h("source", { srcset: picture.webp, type: "image/webp" }), image);
    const current = layer;
    button.dataset.moving = "loading";
    image.addEventListener("load", () => {
      if (layer === current) button.dataset.moving = "true";
    });
    image.addEventListener("error", () => {
      if (layer === current) stop();
    });
    image.src = picture.gif;
    button.querySelector("picture").after(layer);
  }

  const autoStart = (reason) => {
    if (canAutoplay() && !cause) start(reason);
  };
  const stopIf = (reason) => {
    if (cause === reason) stop();
  };

  button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && autoStart("hover"));
  button.addEventListener("pointerleave", () => stopIf("hover"));
  button.addEventListener("focus", () => button.matches(":focus-visible") && autoStart("focus"));
  button.addEventListener("blur", () => stopIf("focus"));
  button.addEventListener("glimpse-enter", () => touch.matches && autoStart("view"));
  button.addEventListener("glimpse-leave", () => stopIf("view"));
  button.addEventListener("click", () => (cause === "click" || cause === "view" ? stop() : start("click")));
  inView.observe(button);
}
