// Decides what can be copied about a ready video, and how a copy button says that it worked.

import { announce, h } from "./dom.js";

/** How long a button says "Copied", in milliseconds. */
const SAID_MS = 2000;
/** The widest default pictures, in pixels. */
const POSTER_WIDTH = 640;
const PREVIEW_WIDTH = 320;

const escape = (text) => text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);

/** The HTML that shows one of the two pictures: WebP where it is known, the older format elsewhere. */
export function snippet(video, kind) {
  const [webp, plain, widest] =
    kind === "poster"
      ? [video.urls["thumbnail.webp"], video.urls["thumbnail.jpg"], POSTER_WIDTH]
      : [video.urls["animated.webp"], video.urls["animated.gif"], PREVIEW_WIDTH];
  const width = Math.min(widest, video.width || widest);
  const height = video.width && video.height ? Math.max(1, Math.round((width * video.height) / video.width)) : null;
  const size = height ? ` width="${width}" height="${height}"` : "";
  return `<picture>
  <source srcset="${escape(webp)}" type="image/webp">
  <img src="${escape(plain)}"${size} alt="${escape(video.name)}" loading="lazy">
</picture>`;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard outside a secure page: let the person copy it by hand.
    window.prompt("Copy this:", text);
    return false;
  }
}

function chip(face, label, name, text) {
  let timer;
  const button = h(
    "button",
    {
      type: "button",
      class: "chip",
      "data-copy": name,
      "aria-label": label,
      onclick: async () => {
        if (!(await copy(text()))) return;
        announce("Copied.");
        button.dataset.copied = "true";
        clearTimeout(timer);
        timer = setTimeout(() => delete button.dataset.copied, SAID_MS);
      },
    },
    h("span", { class: "face" }, face),
    h("span", { class: "said", "aria-hidden": "true" }, "Copied"),
  );
  return button;
}

/** The buttons of one ready video: a row for the poster and one for the preview. */
export function copyButtons(video) {
  const row = (title, kind, links) =>
    h(
      "div",
      { class: "chips", role: "group", "aria-label": `Copy the ${title.toLowerCase()} of ${video.name}` },
      h("span", { class: "soft", "aria-hidden": "true" }, title),
      ...links.map(([face, name]) => chip(face, `Copy link to the ${title.toLowerCase()} as ${face}`, name, () => video.urls[name])),
      chip("HTML", `Copy HTML that shows the ${title.toLowerCase()}`, `${kind}.html`, () => snippet(video, kind)),
    );
  return h(
    "div",
    { class: "links" },
    h("p", { class: "soft", "aria-hidden": "true" }, "Copy a link, or HTML"),
    row("Poster", "poster", [["JPG", "thumbnail.jpg"], ["WebP", "thumbnail.webp"]]),
    row("Preview", "preview", [["GIF", "animated.gif"], ["WebP", "animated.webp"]]),
  );
}
