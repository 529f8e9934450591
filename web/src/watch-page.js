// The watch page of a video: the poster plays the preview, the bar below it seeks through the storyboard, and the owner
// can play the source, or everyone if the deployment says so. Without this script the page shows the poster.

import { byId, h } from "./dom.js";
import { attachHoverPreview } from "./hover-preview.js";
import { relativeUrl, thumbnailView } from "./thumbnail-view.js";
import { scrubber } from "./scrubber.js";

const main = byId("watch");
const meta = JSON.parse(main.dataset.meta);
const { original } = main.dataset;
const player = byId("player");

if (window.self !== window.top) document.documentElement.classList.add("framed");

/** The only icon of this page; index.html has its own. */
function drawings() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const symbol = svg.appendChild(document.createElementNS(svg.namespaceURI, "symbol"));
  const path = symbol.appendChild(document.createElementNS(svg.namespaceURI, "path"));
  svg.setAttribute("hidden", "");
  symbol.id = "i-play";
  symbol.setAttribute("viewBox", "0 0 24 24");
  path.setAttribute("fill", "currentColor");
  path.setAttribute("d", "M8.5 6.3v11.4a.8.8 0 0 0 1.22.68l9.1-5.7a.8.8 0 0 0 0-1.36l-9.1-5.7a.8.8 0 0 0-1.22.68Z");
  document.body.append(svg);
}

const previewLabel = `Moving preview of ${meta.title}`;
/** What went wrong with the source, below the player. */
const note = h("p", { id: "note", class: "muted", role: "alert" });

/** Replaces the poster by the source and plays it. */
function play(at) {
  const video = h("video", { src: original, controls: true, playsinline: true, poster: relativeUrl(meta.urls["thumbnail.jpg"]) });
  video.addEventListener("error", () => void explain(video));
  // A browser that decodes only the sound of a file plays it without a picture, and reports no error.
  video.addEventListener("loadedmetadata", () => video.videoWidth || void explain(video));
  if (at > 0) video.currentTime = at;
  note.remove();
  stopPreview();
  button.replaceWith(video);
  video.focus();
  video.play().catch(() => {});
  return video;
}

/** Replaces the source by the poster; if this browser cannot play the file, by the preview. */
async function explain(failed) {
  if (!failed.isConnected) return;
  failed.pause();
  failed.replaceWith(button);
  // Status 0 is a redirect, or the answer to a frame without an origin: then the error decides.
  const { status } = await fetch(original, { method: "HEAD", redirect: "manual" }).catch(() => ({ status: 0 }));
  if (status !== 0 || failed.error?.code === MediaError.MEDIA_ERR_NETWORK) {
    note.replaceChildren("The video could not be loaded. Try again in a moment.");
    button.setAttribute("aria-label", "Play the video. It could not be loaded");
  } else {
    const link = h("a", { href: original }, "download the file");
    note.replaceChildren("This browser cannot play the uploaded file: you see its preview, and can ", link, ".");
    button.removeEventListener("click", playSource, { capture: true });
    delete button.dataset.plays;
    button.setAttribute("aria-label", previewLabel);
    button.click();
  }
  main.querySelector("h1").before(note);
}

drawings();
player.style.setProperty("--shape", String(meta.width / meta.height));
const button = thumbnailView(meta, { label: original ? "Play the video" : previewLabel, lazy: false });
player.replaceChildren(button);
const stopPreview = attachHoverPreview(button, meta);
let video;

/** The bar below the player. Frames cover the poster or the source while the bar is in use. */
function createScrubber() {
  const place = h("div", { id: "scrub", class: "scrub" });
  const found = scrubber({
    stage: player,
    place,
    duration_ms: meta.duration_ms,
    json: relativeUrl(meta.urls["storyboard.json"]),
    sheet: relativeUrl(meta.urls["storyboard.webp"]),
    label: "Look through the video",
    onSelect(seconds) {
      if (!video?.isConnected) return false;
      video.currentTime = seconds;
      return true;
    },
  });
  found.bar.addEventListener("pointerleave", (event) => event.buttons || found.hide());
  found.bar.addEventListener("blur", found.hide);
  player.after(place);
  return found;
}

const bar = meta.duration_ms > 0 && meta.urls["storyboard.json"] ? createScrubber() : undefined;

/** A press plays the source instead of the preview: this listener is in front of the preview's. */
function playSource(event) {
  event.stopImmediatePropagation();
  video = play(bar?.at() ?? 0);
  video.addEventListener("timeupdate", () => bar?.follow(video.currentTime));
}
if (original) {
  button.dataset.plays = "";
  button.removeAttribute("aria-pressed");
  button.addEventListener("click", playSource, { capture: true });
}
