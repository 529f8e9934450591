// Plays a poster's preview: on hover, on keyboard focus, in the middle of a touch screen, or on a press; never
// automatically for users who prefer reduced motion or reduced data.

import { h } from "./dom.js";
import { relativeUrl } from "./thumbnail-view.js";

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
 * Makes a poster's button play the preview: the MP4, or the WebP if there is none or this browser cannot play it. Its
 * state is in `data-moving`: `loading` or `true`. Returns a function that stops it.
 * @param {HTMLButtonElement} button @param {{ urls: Record<string, string> }} video
 */
export function attachHoverPreview(button, { urls }) {
  let mp4 = urls["animated.mp4"];
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

  function addLayer() {
    const film = mp4 && h("video", { class: "moving", loop: true, playsinline: true, preload: "none" });
    const image = film || h("img", { alt: "", decoding: "async" });
    const webp = h("source", { srcset: relativeUrl(urls["animated.webp"]), type: "image/webp" });
    const current = film || h("picture", { class: "moving" }, webp, image);
    const fail = () => {
      if (layer !== current) return;
      if (!film) return stop();
      mp4 = undefined;
      layer.remove();
      addLayer();
    };
    image.addEventListener(film ? "playing" : "load", () => {
      if (layer === current) button.dataset.moving = "true";
    });
    image.addEventListener("error", fail);
    layer = current;
    button.dataset.moving = "loading";
    image.src = relativeUrl(mp4 || urls["animated.gif"]);
    button.querySelector("picture").after(layer);
    if (!film) return;
    // The attribute has no effect on an element that a script creates.
    film.muted = true;
    // A film that is removed from the page is interrupted, which is no failure.
    film.play().catch((error) => error.name === "AbortError" || fail());
  }

  function start(reason) {
    cause = reason;
    button.setAttribute("aria-pressed", "true");
    if (!layer) addLayer();
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
  if (button.matches(":hover") && !touch.matches) autoStart("hover");
  return stop;
}
