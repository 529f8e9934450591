// The card of an uploaded video: processing, slow, ready, rejected, failed.

import { action, actions, age, errorMessage, redraw, setBody, setMedia, setState, placeholderIcon } from "./card.js";
import { copyButtons, traceIdRow } from "./copy-buttons.js";
import { h } from "./dom.js";
import { bytes } from "../../clients/js/src/elements/format.js";
import { showCacheStatus } from "./cache-status.js";
import { thumbnailView } from "./thumbnail-view.js";

function meta(video) {
  const facts = [video.width && video.height ? `${video.width} × ${video.height}` : null, bytes(video.bytes)];
  return [facts.filter(Boolean).join(" · "), " · ", age(video.created_at)];
}

function showReady(card, video, { remove, choose }) {
  const picture = thumbnailView(video, { label: `Moving preview of ${video.name}` });
  const origin = h("span", { class: "origin" });
  showCacheStatus(picture.querySelector("img"), origin);
  setMedia(card, picture);
  setBody(card, { name: video.name, meta: meta(video), rest: [copyButtons(video, origin)], remove });
  import("./card-motion.js").then(
    ({ addMotion }) => picture.isConnected && addMotion(card.querySelector(".media"), video, choose),
    // Without the chunk, the card shows the poster only.
    () => {},
  );
}

function showWorking(card, video, frame, remove) {
  setMedia(
    card,
    placeholderIcon("film"),
    ...(frame ? [frame.element, h("div", { class: "shade" })] : []),
    h("div", { class: "shimmer" }),
    h("span", { class: "working" }, h("span", { class: "spinner", "aria-hidden": "true" }), "Processing"),
  );
  setBody(card, { name: video.name, meta: meta(video), rest: [h("p", { class: "muted note" }, "Usually a matter of seconds.")], remove });
}

function showStuck(card, video, title, message, { recheck, remove }) {
  setMedia(card, placeholderIcon("film"));
  const again = actions(action("Check again", video.name, "recheck", recheck, "button small"));
  setBody(card, { name: video.name, meta: meta(video), rest: [errorMessage(title, message), traceIdRow(video), again], remove });
}

const SLOW = "Processing takes longer than usual. The upload is safe: its poster and preview appear here once they are ready.";

/**
 * The card of a video as returned by the API. `slow` is set once waiting has timed out; `frame` is a local first frame;
 * `recheck`, `remove` and `choose` are the actions of its buttons.
 * @param {import("../../clients/js/src/client.js").Video} video
 */
export function showVideo(card, video, options = {}) {
  card.dataset.video = video.id;
  card.dataset.trace = video.trace_id;
  redraw(card, () => drawVideo(card, video, options));
}

function drawVideo(card, video, { slow = false, frame, recheck, remove, choose }) {
  if (video.state === "ready") {
    setState(card, "ready");
    showReady(card, video, { remove, choose });
  } else if (video.state === "rejected") {
    setState(card, "rejected");
    setMedia(card, placeholderIcon("film"));
    const { title, message } = video.problem ?? { title: "Refused", message: "This file cannot be processed." };
    setBody(card, { name: video.name, meta: meta(video), rest: [errorMessage(title, message), traceIdRow(video)], remove });
  } else if (video.state === "failed") {
    setState(card, "failed");
    const message = `${video.problem?.message ?? "An internal error occurred."} It will be retried; nothing is lost.`;
    showStuck(card, video, "Not yet", message, { recheck, remove });
  } else if (slow) {
    setState(card, "slow");
    showStuck(card, video, "Still working", SLOW, { recheck, remove });
  } else {
    setState(card, "processing");
    showWorking(card, video, frame, remove);
  }
}
