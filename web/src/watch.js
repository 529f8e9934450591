// Decides how the page learns that the pictures of a video are made: the Worker tells it, or else it asks.

import * as api from "./api.js";

/** Delays between questions: the first, the longest, and how they grow; in milliseconds. */
const FIRST_MS = 500;
const LONGEST_MS = 3000;
const GROWTH = 1.35;
/** After this much waiting the page says that it takes long, and stops; in milliseconds. */
const PATIENCE_MS = 5 * 60_000;
/** Streams at once. A browser has six connections to an HTTP/1.1 host, for all of its tabs, and pictures need some. */
const MOST_STREAMS = 2;
/** A stream that cannot be opened this often in a row is given up. */
const MOST_FAILURES = 3;

/** The names of the events. */
const EVENTS = ["uploading", "uploaded", "processing", "ready", "rejected", "failed"];
/** Nothing more comes after these. */
const isOver = (video) => ["ready", "rejected", "failed"].includes(video.state);

let streams = 0;

/** Resolves after `ms`, and not before somebody looks at the page. */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    setTimeout(() => {
      document.addEventListener("visibilitychange", look);
      look();
    }, ms);
    signal.addEventListener("abort", resolve, { once: true });
  });
}

/**
 * Listens to the Worker's events; true once the video's outcome is known. The stream ends every half a minute, and the
 * browser opens it again by itself; only one that does not open is given up.
 */
function listen(id, { onVideo, signal, until }) {
  streams += 1;
  return new Promise((resolve) => {
    const source = new EventSource(`/api/videos/${encodeURIComponent(id)}/events`);
    let failures = 0;
    const timer = setTimeout(() => close(false), Math.max(0, until - Date.now()));
    const close = (isKnown) => {
      source.close();
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      streams -= 1;
      resolve(isKnown);
    };
    const stop = () => close(false);
    signal.addEventListener("abort", stop);
    source.addEventListener("open", () => (failures = 0));
    source.addEventListener("error", () => {
      failures += 1;
      if (source.readyState === EventSource.CLOSED || failures >= MOST_FAILURES) close(false);
    });
    const hear = ({ data }) => {
      let video;
      try {
        video = JSON.parse(data);
      } catch {
        close(false);
        return;
      }
      onVideo(video);
      if (isOver(video)) close(true);
    };
    for (const event of EVENTS) source.addEventListener(event, hear);
  });
}

/** Asks until the outcome is known: true; false when patience ends. */
async function poll(id, { onVideo, onProblem, signal, until }) {
  let delay = FIRST_MS;
  while (Date.now() < until) {
    await pause(delay, signal);
    if (signal.aborted) return true;
    delay = Math.min(LONGEST_MS, delay * GROWTH);
    try {
      const video = await api.video(id, signal);
      onVideo(video);
      if (isOver(video)) return true;
    } catch (error) {
      if (signal.aborted) return true;
      // A lost connection or a busy server may pass; these do not.
      if ([401, 403, 404, 410].includes(error.status)) {
        onProblem(error);
        return true;
      }
    }
  }
  return false;
}

/**
 * Waits until the video is ready, refused or has failed. `onVideo` gets every change of state; `onSlow` is called when
 * patience ends; `onProblem` when the session is over or the video is gone.
 */
export async function watch(id, { onVideo, onSlow, onProblem, signal }) {
  let last;
  const tell = (video) => {
    if (video.state !== last) onVideo(video);
    last = video.state;
  };
  const how = { onVideo: tell, onProblem, signal, until: Date.now() + PATIENCE_MS };
  const canListen = typeof EventSource === "function" && streams < MOST_STREAMS;
  const isKnown = (canListen && (await listen(id, how))) || signal.aborted || (await poll(id, how));
  if (!isKnown && !signal.aborted) onSlow();
}
