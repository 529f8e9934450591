// The image of a ready video: a blurred placeholder, the poster over it, and the duration. `hover-preview.js` adds the
// preview.

import { h, icon } from "./dom.js";
import { duration } from "./format.js";
import { decode } from "../../clients/js/src/elements/thumbhash.js";

/** An image of this site as path and query: it is loaded from the page's origin. */
export function relativeUrl(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

export function placeholder(video) {
  const pixels = video.thumbhash ? decode(video.thumbhash) : undefined;
  if (pixels) {
    const canvas = h("canvas", { class: "blur", width: pixels.width, height: pixels.height, "aria-hidden": "true" });
    canvas.getContext("2d").putImageData(new ImageData(pixels.data, pixels.width, pixels.height), 0, 0);
    return canvas;
  }
  const plain = h("div", { class: "blur" });
  if (/^#[0-9a-f]{6}$/i.test(video.dominant_color ?? "")) plain.style.backgroundColor = video.dominant_color;
  return plain;
}

/**
 * The poster as a button.
 * @param {{ label: string, lazy?: boolean }} options
 */
export function thumbnailView(video, { label, lazy = true }) {
  const size = { width: video.width || 16, height: video.height || 9 };
  const poster = h("img", { ...size, alt: "", loading: lazy ? "lazy" : null, decoding: "async" });
  const picture = h("picture", {}, h("source", { srcset: relativeUrl(video.urls["thumbnail.webp"]), type: "image/webp" }), poster);
  const button = h(
    "button",
    { type: "button", class: "screen", "aria-label": label, "aria-pressed": "false" },
    placeholder(video),
    picture,
    h("span", { class: "badge play" }, icon("play")),
    video.duration_ms ? h("span", { class: "badge length" }, duration(video.duration_ms)) : null,
  );
  poster.addEventListener("load", () => button.classList.add("drawn"));
  poster.addEventListener("error", () => button.classList.add("blank"));
  poster.src = relativeUrl(video.urls["thumbnail.jpg"]);
  return button;
}
