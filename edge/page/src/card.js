// Decides what one video looks like in each of its states. `data-state` on the card names the state:
// waiting, uploading, interrupted, refused (before any upload), processing, slow, ready, rejected, failed.

import { copyButtons } from "./copy.js";
import { h, icon } from "./dom.js";
import { ago, bytes, duration, timeLeft } from "./format.js";
import { moving } from "./motion.js";
import { decode } from "./thumbhash.js";

/** A picture of this site by path and query: it is shown from where the page came from. */
function local(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

function setMedia(card, ...parts) {
  card.querySelector(".media").replaceChildren(...parts);
}

function setBody(card, { name, meta, rest = [] }) {
  const title = h("h3", { title: name }, name);
  title.dir = "auto";
  card.querySelector(".body").replaceChildren(title, h("p", { class: "meta soft" }, ...meta), ...rest);
}

function setState(card, state) {
  card.dataset.state = state;
}

/** Redraws a card without losing the keyboard's place: what had the focus may be gone, the card is not. */
function redraw(card, draw) {
  const focused = card.contains(document.activeElement);
  draw();
  if (focused && !card.contains(document.activeElement)) {
    (card.querySelector("[data-action=retry]") ?? card).focus({ preventScroll: true });
  }
}

const action = (label, name, what, onclick, kind = "quiet") =>
  h("button", { type: "button", class: kind, "aria-label": `${label}: ${name}`, "data-action": what, onclick }, label);

function reason(title, message) {
  return h("div", { class: "reason" }, icon("warn"), h("p", {}, h("strong", {}, `${title}. `), message));
}

const stand = (name) => h("div", { class: "stand" }, icon(name));

/** An empty card; a `show…` function fills it. */
export function newCard() {
  return h("li", { class: "card", tabindex: "-1" }, h("div", { class: "media" }), h("div", { class: "body" }));
}

/** The first frame of a file that is still on this machine; undefined for what the browser cannot play. */
export function localFrame(file) {
  const url = URL.createObjectURL(file);
  const frame = h("video", { class: "frame", preload: "auto", "aria-hidden": "true", tabindex: "-1" });
  frame.muted = true;
  frame.playsInline = true;
  frame.addEventListener("loadeddata", () => frame.classList.add("seen"), { once: true });
  frame.addEventListener("error", () => frame.remove(), { once: true });
  frame.src = `${url}#t=1`;
  return {
    element: frame,
    /** Gives the file back. */
    release() {
      frame.removeAttribute("src");
      frame.load();
      frame.remove();
      URL.revokeObjectURL(url);
    },
  };
}

/** Not accepted, before a byte was sent. */
export function showRefused(card, file, problem, dismiss) {
  setState(card, "refused");
  setMedia(card, stand("film"));
  const rest = [reason(problem.title, problem.message), h("div", { class: "actions" }, action("Dismiss", file.name, "dismiss", dismiss))];
  setBody(card, { name: file.name, meta: [bytes(file.size)], rest });
}

/** In the queue or on its way; hands back what draws the progress. */
export function showUploading(card, file, frame, cancel) {
  setState(card, "waiting");
  const bar = h("progress", { max: "1", value: "0", "aria-label": `Upload of ${file.name}` });
  const percent = h("strong", { class: "percent" }, "0 %");
  const numbers = h("span", {}, `${bytes(file.size)} · waiting`);
  setMedia(card, stand("upload"), frame.element, h("div", { class: "shade" }), percent);
  const rest = [bar, h("div", { class: "actions" }, action("Cancel", file.name, "cancel", cancel))];
  redraw(card, () => setBody(card, { name: file.name, meta: [numbers], rest }));
  return (sent, speed) => {
    setState(card, "uploading");
    const done = Math.min(1, file.size > 0 ? sent / file.size : 0);
    bar.value = done;
    percent.textContent = `${Math.floor(done * 100)} %`;
    const parts = [`${bytes(Math.min(sent, file.size))} of ${bytes(file.size)}`];
    if (speed > 0) parts.push(`${bytes(speed)}/s`, timeLeft((file.size - sent) / speed));
    numbers.textContent = done < 1 ? parts.join(" · ") : `${bytes(file.size)} · finishing`;
  };
}

/** The upload broke off or was not allowed. */
export function showInterrupted(card, file, error, { retry, dismiss }) {
  setState(card, "interrupted");
  setMedia(card, stand("upload"));
  const again = retry ? action("Try again", file.name, "retry", retry, "button small") : null;
  const actions = h("div", { class: "actions" }, again, action("Dismiss", file.name, "dismiss", dismiss));
  const rest = [reason("Not uploaded", error.message), actions];
  redraw(card, () => setBody(card, { name: file.name, meta: [bytes(file.size)], rest }));
}

function placeholder(video) {
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

function age(video) {
  const then = Date.parse(video.created_at);
  const time = h("time", { datetime: video.created_at, title: new Date(then).toLocaleString() });
  time.textContent = ago(then, Date.now());
  return time;
}

/** Brings "3 minutes ago" up to date on every card. */
export function refreshAges(root) {
  for (const time of root.querySelectorAll("time")) time.textContent = ago(Date.parse(time.dateTime), Date.now());
}

function meta(video) {
  const facts = [video.width && video.height ? `${video.width} × ${video.height}` : null, bytes(video.bytes)];
  return [facts.filter(Boolean).join(" · "), " · ", age(video)];
}

function showReady(card, video) {
  const size = { width: video.width || 16, height: video.height || 9 };
  const poster = h("img", { ...size, alt: "", loading: "lazy", decoding: "async" });
  const picture = h("picture", {}, h("source", { srcset: local(video.urls["thumbnail.webp"]), type: "image/webp" }), poster);
  const button = h(
    "button",
    { type: "button", class: "screen", "aria-label": `Moving preview of ${video.name}`, "aria-pressed": "false" },
    placeholder(video),
    picture,
    h("span", { class: "badge play" }, icon("play")),
    video.duration_ms ? h("span", { class: "badge length" }, duration(video.duration_ms)) : null,
  );
  poster.addEventListener("load", () => button.classList.add("drawn"));
  poster.addEventListener("error", () => button.classList.add("blank"));
  poster.src = local(video.urls["thumbnail.jpg"]);
  setMedia(card, button);
  setBody(card, { name: video.name, meta: meta(video), rest: [copyButtons(video)] });
  moving(button, { gif: local(video.urls["animated.gif"]), webp: local(video.urls["animated.webp"]), ...size });
}

function showWorking(card, video, frame) {
  setMedia(
    card,
    stand("film"),
    ...(frame ? [frame.element, h("div", { class: "shade" })] : []),
    h("div", { class: "shimmer" }),
    h("span", { class: "working" }, h("span", { class: "spinner", "aria-hidden": "true" }), "Making its pictures"),
  );
  setBody(card, { name: video.name, meta: meta(video), rest: [h("p", { class: "soft note" }, "Usually a matter of seconds.")] });
}

function showStuck(card, video, title, message, recheck) {
  setMedia(card, stand("film"));
  const again = h("div", { class: "actions" }, action("Check again", video.name, "recheck", recheck, "button small"));
  setBody(card, { name: video.name, meta: meta(video), rest: [reason(title, message), again] });
}

const SLOW = "Its pictures take longer than usual. The upload is safe: they appear here once they are made.";

/**
 * A video as the Worker describes it. `slow` says that waiting was given up; `frame` is a local first frame.
 * @param {import("./api.js").Video} video
 */
export function showVideo(card, video, options = {}) {
  card.dataset.video = video.id;
  redraw(card, () => drawVideo(card, video, options));
}

function drawVideo(card, video, { slow = false, frame, recheck }) {
  if (video.state === "ready") {
    setState(card, "ready");
    showReady(card, video);
  } else if (video.state === "rejected") {
    setState(card, "rejected");
    setMedia(card, stand("film"));
    const { title, message } = video.problem ?? { title: "Refused", message: "No pictures can be made of this file." };
    setBody(card, { name: video.name, meta: meta(video), rest: [reason(title, message)] });
  } else if (video.state === "failed") {
    setState(card, "failed");
    const message = `${video.problem?.message ?? "Something went wrong on our side."} It will be tried again; nothing is lost.`;
    showStuck(card, video, "Not yet", message, recheck);
  } else if (slow) {
    setState(card, "slow");
    showStuck(card, video, "Still working", SLOW, recheck);
  } else {
    setState(card, "processing");
    showWorking(card, video, frame);
  }
}
