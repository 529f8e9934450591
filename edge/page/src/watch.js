// Decides how long and how often the page asks whether the pictures of a video are made.

import * as api from "./api.js";

/** Delays between questions: the first, the longest, and how they grow; in milliseconds. */
const FIRST_MS = 500;
const LONGEST_MS = 3000;
const GROWTH = 1.35;
/** After this much asking the page says that it takes long, and stops; in milliseconds. */
const PATIENCE_MS = 5 * 60_000;

const settled = (video) => video.state === "ready" || video.state === "rejected";

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
 * Asks until the video is ready or refused. `onVideo` gets every change of state; `onSlow` is called when patience
 * ends; `onProblem` when the session is over or the video is gone.
 */
export async function watch(id, { onVideo, onSlow, onProblem, signal }) {
  let delay = FIRST_MS;
  let waited = 0;
  let last;
  while (waited < PATIENCE_MS) {
    await pause(delay, signal);
    if (signal.aborted) return;
    waited += delay;
    delay = Math.min(LONGEST_MS, delay * GROWTH);
    try {
      const video = await api.video(id, signal);
      if (video.state !== last) onVideo(video);
      last = video.state;
      if (settled(video)) return;
    } catch (error) {
      if (signal.aborted) return;
      // A lost connection or a busy server may pass; these do not.
      if ([401, 403, 404, 410].includes(error.status)) {
        onProblem(error);
        return;
      }
    }
  }
  onSlow();
}
