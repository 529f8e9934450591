// Waits for the outcome of a video: by the Worker's event stream, with polling as a fallback.

import * as api from "./api.js";

/** Delays between polls: the first, the longest, and their growth factor; in milliseconds. */
const FIRST_MS = 500;
const LONGEST_MS = 3000;
const GROWTH = 1.35;
/** The time limit, after which the page reports a delay and stops polling; in milliseconds. */
const PATIENCE_MS = 5 * 60_000;
/**
 * Concurrent streams. A browser has six connections per HTTP/1.1 host for all its tabs, and images need some of them.
 */
const MOST_STREAMS = 2;
/** After this many failed attempts in a row the stream is given up. */
const MOST_FAILURES = 3;

/** The names of the events. */
const EVENTS = ["uploading", "uploaded", "processing", "ready", "rejected", "failed"];
/** Final events. */
const isOver = (video) => ["ready", "rejected", "failed"].includes(video.state);

let streams = 0;

/** Resolves after `ms`, but not before the page is visible. */
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
 * Listens to the Worker's events; true once the outcome is known. The stream ends every half minute, and the browser
 * reconnects by itself; the stream is given up only if it cannot be opened.
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

/** Polls until the outcome is known: true; false after the time limit. */
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
