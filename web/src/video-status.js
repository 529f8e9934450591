// Waits for the outcome of a video: by the Worker's event stream, with polling as a fallback.

import { glimpse } from "./glimpse.js";

/** Delays between polls: the first, the longest, and their growth factor; in milliseconds. */
const INITIAL_DELAY_MS = 500;
const MAX_DELAY_MS = 3000;
const GROWTH = 1.35;
/** The time limit, after which the page reports a delay and stops polling; in milliseconds. */
const MAX_WAIT_MS = 5 * 60_000;
/**
 * Concurrent streams. A browser has six connections per HTTP/1.1 host for all its tabs, and images need some of them.
 */
const MAX_STREAMS = 2;
/** After this many failed attempts in a row the stream is given up. */
const MAX_FAILURES = 3;

/** The names of the events. */
const EVENTS = ["uploading", "uploaded", "processing", "ready", "rejected", "failed"];
/** Final events. */
const isFinal = (video) => ["ready", "rejected", "failed"].includes(video.state);

let streams = 0;

/** Resolves after `ms`, but not before the page is visible. */
function waitVisible(ms, signal) {
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
 * Listens to the Worker's events; true once the outcome is known. The stream ends every half minute, and the browser
 * reconnects by itself; the stream is given up only if it cannot be opened.
 */
function listen(id, { onVideo, signal, deadline }) {
  streams += 1;
  return new Promise((resolve) => {
    const source = new EventSource(`/api/videos/${encodeURIComponent(id)}/events`);
    let failures = 0;
    const timer = setTimeout(() => close(false), Math.max(0, deadline - Date.now()));
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
      if (source.readyState === EventSource.CLOSED || failures >= MAX_FAILURES) close(false);
    });
    const onMessage = ({ data }) => {
      let video;
      try {
        video = JSON.parse(data);
      } catch {
        close(false);
        return;
      }
      onVideo(video);
      if (isFinal(video)) close(true);
    };
    for (const event of EVENTS) source.addEventListener(event, onMessage);
  });
}

/** Polls until the outcome is known: true; false after the time limit. */
async function poll(id, { onVideo, onProblem, signal, deadline }) {
  let delay = INITIAL_DELAY_MS;
  while (Date.now() < deadline) {
    await waitVisible(delay, signal);
    if (signal.aborted) return true;
    delay = Math.min(MAX_DELAY_MS, delay * GROWTH);
    try {
      const video = await glimpse.videos.get(id, { signal });
      onVideo(video);
      if (isFinal(video)) return true;
    } catch (error) {
      if (signal.aborted) return true;
      // A lost connection or a busy server is transient; these statuses are permanent.
      if ([401, 403, 404, 410].includes(error.status)) {
        onProblem(error);
        return true;
      }
    }
  }
  return false;
}

/**
 * Waits until the video is ready, rejected or failed. `onVideo` gets every change of state; `onSlow` is called after
 * the time limit; `onProblem` if the session has ended or the video is gone.
 */
export async function watchVideo(id, { onVideo, onSlow, onProblem, signal }) {
  let last;
  const notify = (video) => {
    if (video.state !== last) onVideo(video);
    last = video.state;
  };
  const options = { onVideo: notify, onProblem, signal, deadline: Date.now() + MAX_WAIT_MS };
  const canListen = typeof EventSource === "function" && streams < MAX_STREAMS;
  const isKnown = (canListen && (await listen(id, options))) || signal.aborted || (await poll(id, options));
  if (!isKnown && !signal.aborted) onSlow();
}
