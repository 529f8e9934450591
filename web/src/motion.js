// Starts a poster's preview: on hover, on keyboard focus, in the middle of a touch screen, or on a press; never
// automatically for users who prefer reduced motion or reduced data.

import { h } from "./dom.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const touch = matchMedia("(hover: none)");

/** Whether previews may start automatically. */
const mayMoveAlone = () => !calm.matches && navigator.connection?.saveData !== true;

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
export function moving(button, picture) {
  /** The cause of the motion: "hover", "focus", "view" or "asked"; undefined at rest. */
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
    const mine = layer;
    button.dataset.moving = "loading";
    image.addEventListener("load", () => {
      if (layer === mine) button.dataset.moving = "true";
    });
    image.addEventListener("error", () => {
      if (layer === mine) stop();
    });
    image.src = picture.gif;
    button.querySelector("picture").after(layer);
  }

  const startAlone = (reason) => {
    if (mayMoveAlone() && !cause) start(reason);
  };
  const stopIf = (reason) => {
    if (cause === reason) stop();
  };

  button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && startAlone("hover"));
  button.addEventListener("pointerleave", () => stopIf("hover"));
  button.addEventListener("focus", () => button.matches(":focus-visible") && startAlone("focus"));
  button.addEventListener("blur", () => stopIf("focus"));
  button.addEventListener("glimpse-enter", () => touch.matches && startAlone("view"));
  button.addEventListener("glimpse-leave", () => stopIf("view"));
  button.addEventListener("click", () => (cause === "asked" || cause === "view" ? stop() : start("asked")));
  inView.observe(button);
}
