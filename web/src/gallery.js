// The gallery: the user's videos, newest first, each updated until it is processed.

import { confirmAction, newCard, removeCard } from "./card.js";
import { announce, byId } from "./dom.js";
import { deleteVideo, glimpse } from "./glimpse.js";
import { showVideo } from "./video-card.js";
import { watchVideo } from "./video-status.js";

/** The number of videos per request: whole rows on most screens. */
const PAGE = 12;

/** Inserts a card at the start. */
export function place(card) {
  byId("gallery").prepend(card);
  refreshEmptiness();
}

export function refreshEmptiness() {
  byId("dashboard").dataset.empty = String(byId("gallery").childElementCount === 0);
}

const cardOf = (id) => byId("gallery").querySelector(`[data-video="${CSS.escape(id)}"]`);
const isFinal = ({ state }) => state === "ready" || state === "rejected";

/**
 * The gallery of one session.
 * @param {{ showError: (error: Error, retry?: () => void) => void, onSignedOut: () => void }} host
 */
export function gallery(host) {
  const over = new AbortController();
  let cursor = null;

  /** Shows a video and, while it is being processed, waits for its outcome. */
  function follow(card, video, frame) {
    let watching = new AbortController();
    over.signal.addEventListener("abort", () => watching.abort());
    const release = () => {
      frame?.release();
      frame = undefined;
    };
    const remove = () =>
      confirmAction(card, {
        question: "Delete this video and its images? Links to them stop working.",
        yes: "Delete",
        busy: "Deleting",
        async act() {
          await deleteVideo(video.id);
          watching.abort();
          release();
          removeCard(card, byId("choose"));
          refreshEmptiness();
          announce(`${video.name} is deleted.`);
        },
      });
    const choose = async (seconds) => {
      video = await glimpse.videos.setPoster(video.id, seconds);
      showVideo(card, video, { remove, choose });
    };
    const draw = (current, slow = false) => {
      video = current;
      showVideo(card, current, { slow, frame, recheck, remove, choose });
      if (!isFinal(current)) return;
      release();
      const reason = current.problem?.message ?? "";
      announce(current.state === "ready" ? `${current.name} is ready.` : `${current.name} is refused. ${reason}`);
    };
    const wait = () => {
      watching.abort();
      watching = new AbortController();
      void watchVideo(video.id, {
        signal: watching.signal,
        onVideo: (current) => {
          // The page knows that the upload is complete; S3's listing may show it a moment later.
          const state = current.state === "uploading" ? "processing" : current.state;
          if (state !== card.dataset.state) draw({ ...current, state });
        },
        onSlow: () => draw(video, true),
        onProblem: (error) => {
          if (error.status === 401) host.onSignedOut();
          else draw({ ...video, state: "rejected", problem: { title: "Gone", message: error.message } });
        },
      });
    };
    const recheck = () => {
      showVideo(card, { ...video, state: "processing" }, { frame, remove });
      wait();
    };
    if (isFinal(video)) {
      showVideo(card, video, { remove, choose });
      return;
    }
    showVideo(card, { ...video, state: video.state === "uploading" ? "processing" : video.state }, { frame, recheck, remove });
    wait();
  }

  return {
    follow,
    /** Fetches the next page. */
    async more() {
      const button = byId("more");
      const focused = document.activeElement === button;
      button.disabled = true;
      button.textContent = "Loading";
      try {
        const page = await glimpse.videos.list({ limit: PAGE, cursor });
        if (over.signal.aborted) return;
        let first;
        for (const video of page.videos.filter(({ id }) => !cardOf(id))) {
          const card = newCard();
          byId("gallery").append(card);
          follow(card, video);
          first ??= card;
        }
        // A keyboard user continues at the first new card.
        if (focused) (first?.querySelector("button") ?? first)?.focus();
        cursor = page.cursor;
        button.hidden = cursor === null;
        refreshEmptiness();
      } catch (error) {
        if (!over.signal.aborted) host.showError(error, () => void this.more());
      } finally {
        button.disabled = false;
        button.textContent = "Show more";
      }
    },
    /** Removes all cards after a sign-out. */
    end() {
      over.abort();
      byId("gallery").replaceChildren();
      byId("more").hidden = true;
      byId("dashboard").dataset.empty = "unknown";
    },
  };
}
