// The copy buttons of a ready video, and their feedback.

import { announce, h } from "./dom.js";
import { privateLinks } from "./glimpse.js";

/** How long a button shows "Copied", in milliseconds. */
const COPIED_MS = 2000;
/** The maximum widths of the default images, in pixels. */
const POSTER_WIDTH = 640;
const PREVIEW_WIDTH = 320;

const escape = (text) => text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);

/** The HTML of one of the two images: WebP with the older format as a fallback. */
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

/** Copies a text or a pending text: browsers that require a user gesture accept the promise. */
async function copy(pendingText) {
  let text = pendingText;
  try {
    if (typeof pendingText !== "string" && globalThis.ClipboardItem) {
      const blob = pendingText.then((made) => new Blob([made], { type: "text/plain" }));
      await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
      await pendingText;
    } else {
      text = await pendingText;
      await navigator.clipboard.writeText(text);
    }
    return true;
  } catch {
    // No clipboard outside a secure context: let the user copy it by hand. A failed text is not copied.
    text = await pendingText;
    window.prompt("Copy this:", text);
    return false;
  }
}

function copyButton(face, label, name, text) {
  let timer;
  const button = h(
    "button",
    {
      type: "button",
      class: "chip",
      "data-copy": name,
      "aria-label": label,
      onclick: async () => {
        try {
          if (!(await copy(text()))) return;
        } catch (error) {
          announce(error.message);
          button.title = error.message;
          return;
        }
        announce("Copied.");
        button.dataset.copied = "true";
        clearTimeout(timer);
        timer = setTimeout(() => delete button.dataset.copied, COPIED_MS);
      },
    },
    h("span", { class: "chip-label" }, face),
    h("span", { class: "copied-label", "aria-hidden": "true" }, "Copied"),
  );
  return button;
}

/** The trace id, by which the operator finds the upload in the logs, to be copied into an email. */
export function traceIdRow(video) {
  const button = copyButton("Copy", `Copy the trace id of ${video.name}`, "trace", () => video.trace_id);
  return h("div", { class: "trace muted" }, h("span", {}, "Trace"), h("code", {}, video.trace_id), button);
}

/** The lifetimes of a link to a private video, in seconds. */
const LINK_LIFETIMES = [["an hour", 3600], ["a day", 86_400], ["a week", 604_800], ["a year", 31_536_000]];

/** The links of a private video: created on copy, and valid for the lifetime chosen next to them. */
function signedLinks(video) {
  const lifetimeSelect = h("select", { "aria-label": "How long copied links work" }, ...LINK_LIFETIMES.map(([words, seconds]) => h("option", { value: seconds }, words)));
  lifetimeSelect.value = String(LINK_LIFETIMES[1][1]);
  return { lifetimeSelect, links: () => privateLinks(video.id, Number(lifetimeSelect.value)) };
}

/** The buttons of a ready video: a row for the poster, one for the preview, one for the watch page. */
export function copyButtons(video, origin) {
  const secret = video.visibility === "signed" ? signedLinks(video) : undefined;
  const link = (name) => (secret ? secret.links().then((made) => made[name]) : video.urls[name]);
  const html = (kind) => (secret ? secret.links().then((urls) => snippet({ ...video, urls }, kind)) : snippet(video, kind));
  const row = (title, buttons) =>
    h(
      "div",
      { class: "chips", role: "group", "aria-label": `Copy the ${title.toLowerCase()} of ${video.name}` },
      h("span", { class: "muted", "aria-hidden": "true" }, title),
      ...buttons,
    );
  const pictures = (title, kind, files) =>
    row(title, [
      ...files.filter(([, name]) => video.urls[name]).map(([face, name]) => copyButton(face, `Copy link to the ${title.toLowerCase()} as ${face}`, name, () => link(name))),
      copyButton("HTML", `Copy HTML that shows the ${title.toLowerCase()}`, `${kind}.html`, () => html(kind)),
    ]);
  return h(
    "div",
    { class: "links" },
    h(
      "p",
      { class: "muted" },
      secret ? h("label", {}, "Private. Copied links work ", secret.lifetimeSelect) : h("span", { "aria-hidden": "true" }, "Copy a link, or HTML"),
      origin,
    ),
    pictures("Poster", "poster", [["JPG", "thumbnail.jpg"], ["WebP", "thumbnail.webp"]]),
    pictures("Preview", "preview", [["GIF", "animated.gif"], ["WebP", "animated.webp"], ["MP4", "animated.mp4"]]),
    secret ? null : row("Page", pageButtons(video)),
  );
}

/** The watch page's URL, and a frame for other sites. */
function pageButtons(video) {
  const page = new URL(`/${video.id}`, video.urls["thumbnail.jpg"]).href;
  const { width = 16, height = 9 } = video;
  const high = Math.round((POSTER_WIDTH * (height || 9)) / (width || 16));
  const frame = `<iframe src="${page}" width="${POSTER_WIDTH}" height="${high}" title="${escape(video.name)}" loading="lazy" allow="fullscreen" allowfullscreen frameborder="0" style="border:0"></iframe>`;
  return [
    copyButton("Link", "Copy link to the video's page", "page", () => page),
    copyButton("Frame", "Copy HTML that frames the video's page", "page.html", () => frame),
    h("a", { class: "chip", href: new URL(page).pathname, "aria-label": `Open the page of ${video.name}` }, "Open"),
  ];
}
