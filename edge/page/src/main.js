// Decides what the page is: who is signed in, the uploads, and the gallery of their videos.

import { choosable } from "./accept.js";
import * as api from "./api.js";
import { newCard, refreshAges, showVideo } from "./card.js";
import { announce, byId } from "./dom.js";
import { dropZone } from "./drop.js";
import { bytes, initials } from "./format.js";
import { uploads } from "./uploads.js";
import { watch } from "./watch.js";

/** How many videos are asked for at once: whole rows on most screens. */
const PAGE = 12;
const MINUTE_MS = 60_000;

/** @type {{ me: api.Me, uploads: ReturnType<typeof uploads>, end: AbortController, cursor: string | null } | undefined} */
let session;

function notice(sentence, { retry, signIn = false } = {}) {
  byId("notice-text").textContent = sentence ?? "";
  byId("notice-sign-in").hidden = !signIn;
  byId("notice-retry").hidden = !retry;
  byId("notice-retry").onclick = retry ?? null;
  byId("notice").hidden = !sentence;
}

const sessionOver = () => notice("Your session has ended.", { signIn: true });

function complain(error, retry) {
  if (error.status === 401) sessionOver();
  else notice(error instanceof api.Problem ? error.message : "Something went wrong in this page.", { retry });
  if (!(error instanceof api.Problem)) console.error(error);
}

const cardOf = (id) => byId("gallery").querySelector(`[data-video="${CSS.escape(id)}"]`);

function refreshEmptiness() {
  byId("studio").dataset.empty = String(byId("gallery").childElementCount === 0);
}

/** Draws a video and, while its pictures are still to come, keeps asking for them. */
function follow(card, video, frame) {
  const { signal: over } = session.end;
  let asking = new AbortController();
  over.addEventListener("abort", () => asking.abort());
  const recheck = () => {
    showVideo(card, { ...video, state: "processing" }, { frame });
    ask();
  };
  const draw = (current, slow = false) => {
    video = current;
    showVideo(card, current, { slow, frame, recheck });
    if (current.state === "ready" || current.state === "rejected") {
      frame?.release();
      frame = undefined;
      const reason = current.problem?.message ?? "";
      announce(current.state === "ready" ? `${current.name} is ready.` : `${current.name} is refused. ${reason}`);
    }
  };
  const ask = () => {
    asking.abort();
    asking = new AbortController();
    void watch(video.id, {
      signal: asking.signal,
      onVideo: (current) => {
        // The page knows that the upload is through, storage's listing may learn of it a moment later.
        const state = current.state === "uploading" ? "processing" : current.state;
        if (state !== card.dataset.state) draw({ ...current, state });
      },
      onSlow: () => draw(video, true),
      onProblem: (error) => {
        if (error.status === 401) sessionOver();
        else draw({ ...video, state: "rejected", problem: { title: "Gone", message: error.message } });
      },
    });
  };
  if (video.state === "ready" || video.state === "rejected") {
    showVideo(card, video);
    return;
  }
  showVideo(card, { ...video, state: video.state === "uploading" ? "processing" : video.state }, { frame, recheck });
  ask();
}

async function loadMore() {
  const asking = session;
  const button = byId("more");
  const focused = document.activeElement === button;
  button.disabled = true;
  button.textContent = "Loading";
  try {
    const page = await api.videos(PAGE, asking.cursor);
    if (session !== asking) return;
    const fresh = page.videos.filter((video) => !cardOf(video.id));
    let first;
    for (const video of fresh) {
      const card = newCard();
      byId("gallery").append(card);
      follow(card, video);
      first ??= card;
    }
    // Who asked by keyboard goes on where the new ones begin.
    if (focused) (first?.querySelector("button") ?? first)?.focus();
    session.cursor = page.cursor;
    button.hidden = page.cursor === null;
    notice();
    refreshEmptiness();
  } catch (error) {
    if (session === asking) complain(error, () => void loadMore());
  } finally {
    button.disabled = false;
    button.textContent = "Show more";
  }
}

function describe(me) {
  const name = me.name ?? me.email ?? me.subject;
  byId("who-name").textContent = name;
  byId("who-name").title = me.email ?? name;
  byId("avatar").textContent = initials(name);
  byId("limits").textContent = `MP4, MOV, WebM, MKV and most others, up to ${bytes(me.limits.max_upload_bytes)} each`;
  byId("files").accept = choosable(me.limits.types);
  byId("hint").textContent = matchMedia("(hover: none)").matches ? "Tap a poster to see it move." : "Point at a poster to see it move.";
}

function show(state) {
  document.body.dataset.session = state;
  byId("who").hidden = state !== "in";
  byId("studio").hidden = state !== "in";
  byId("welcome").hidden = state !== "out";
}

async function begin() {
  notice();
  let me;
  try {
    me = await api.me();
  } catch (error) {
    complain(error, () => void begin());
    return;
  }
  // The Worker sends the browser here when the provider's answer did not hold.
  const failed = new URLSearchParams(location.search).get("sign_in") === "failed";
  if (failed) history.replaceState(null, "", location.pathname);
  if (!me) {
    show("out");
    if (failed) notice("Signing in did not work. Try again.", { signIn: true });
    return;
  }
  describe(me);
  session = {
    me,
    end: new AbortController(),
    cursor: null,
    uploads: uploads({
      limits: me.limits,
      place: (card) => {
        byId("gallery").prepend(card);
        refreshEmptiness();
      },
      onUploaded: (card, video, frame) => follow(card, { ...video, state: "processing" }, frame),
      onSignedOut: sessionOver,
      onRemoved: refreshEmptiness,
    }),
  };
  show("in");
  await loadMore();
}

async function signOut() {
  if (session.uploads.busy() && !window.confirm("Uploads are still running. Sign out and stop them?")) return;
  try {
    await api.signOut();
  } catch (error) {
    if (error.status !== 401) {
      complain(error, () => void signOut());
      return;
    }
  }
  session.end.abort();
  session.uploads.stop();
  session = undefined;
  byId("gallery").replaceChildren();
  byId("more").hidden = true;
  byId("studio").dataset.empty = "unknown";
  notice();
  show("out");
  announce("You are signed out.");
  byId("sign-in").focus();
}

dropZone({
  take: (files) => {
    session.uploads.add(files);
    byId("gallery").firstElementChild?.scrollIntoView({ block: "nearest" });
  },
  onFolders: () => notice("A folder cannot be uploaded: drop the videos that are in it."),
  ready: () => session !== undefined,
});
byId("sign-out").addEventListener("click", () => void signOut());
byId("more").addEventListener("click", () => void loadMore());
window.addEventListener("beforeunload", (event) => {
  if (session?.uploads.busy()) event.preventDefault();
});
setInterval(() => refreshAges(byId("gallery")), MINUTE_MS);
void begin();
