// The watch page of a video: the poster plays the preview, the bar below it seeks through the storyboard, and the owner
// can play the source. Without this script the page shows the poster.

import { byId, h } from "./dom.js";
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

/** Replaces the poster by the source and plays it. */
function play(button, at) {
  const video = h("video", { src: original, controls: true, playsinline: true, poster: relativeUrl(meta.urls["thumbnail.jpg"]) });
  video.addEventListener("error", () => {
    video.replaceWith(button);
    button.setAttribute("aria-label", "The video could not be loaded. Try again");
  });
  if (at > 0) video.currentTime = at;
  button.replaceWith(video);
  video.focus();
  video.play().catch(() => {});
  return video;
}

drawings();
player.style.setProperty("--shape", String(meta.width / meta.height));
const button = thumbnailView(meta, { label: original ? "Play the video" : `Moving preview of ${meta.title}`, lazy: false });
player.replaceChildren(button);
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
if (original) {
  button.dataset.plays = "";
  button.removeAttribute("aria-pressed");
  // In front of the preview's listener: a press plays the source instead of the preview.
  button.addEventListener(
    "click",
    (event) => {
      event.stopImmediatePropagation();
      video = play(button, bar?.at() ?? 0);
      video.addEventListener("timeupdate", () => bar?.follow(video.currentTime));
    },
    { capture: true },
  );
}
