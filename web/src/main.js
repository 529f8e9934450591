// The page: sign-in state, the uploads, and the gallery.

import { acceptAttribute, describeLimits } from "../../clients/js/src/elements/files.js";
import * as api from "./api.js";
import { refreshAges } from "./card.js";
import { announce, byId } from "./dom.js";
import { attachDropZone } from "./drop-zone.js";
import { initials } from "./format.js";
import { gallery, place, refreshEmptiness } from "./gallery.js";
import { uploads } from "./uploads.js";

const MINUTE_MS = 60_000;
/** The idle delay where a browser has no requestIdleCallback (Safari), in milliseconds. */
const IDLE_MS = 1500;

/** @type {{ uploads: ReturnType<typeof uploads>, gallery: ReturnType<typeof gallery> } | undefined} */
let session;

function notice(sentence, { retry, signIn = false } = {}) {
  byId("notice-text").textContent = sentence ?? "";
  byId("notice-sign-in").hidden = !signIn;
  byId("notice-retry").hidden = !retry;
  byId("notice-retry").onclick = retry ? () => (notice(), retry()) : null;
  byId("notice").hidden = !sentence;
}

const onSessionExpired = () => notice("Your session has ended.", { signIn: true });

function showError(error, retry) {
  if (error.status === 401) onSessionExpired();
  else notice(error instanceof api.Problem ? error.message : "Something went wrong in this page.", { retry });
  if (!(error instanceof api.Problem)) console.error(error);
}

function describe(me) {
  const name = me.name ?? me.email ?? me.subject;
  byId("account-name").textContent = name;
  byId("account-name").title = me.email ?? name;
  byId("avatar").textContent = initials(name);
  byId("limits").textContent = describeLimits(me.limits);
  byId("files").accept = acceptAttribute(me.limits.types);
  byId("hint").textContent = matchMedia("(hover: none)").matches ? "Tap a poster to see it move." : "Point at a poster to see it move.";
}

function show(state) {
  document.body.dataset.session = state;
  byId("account").hidden = state !== "in";
  byId("dashboard").hidden = state !== "in";
  byId("welcome").hidden = state !== "out";
}

async function offerUnfinished(mine) {
  try {
    await mine.uploads.offerUnfinished();
  } catch (error) {
    if (session === mine) showError(error, () => void offerUnfinished(mine));
  }
}

async function start() {
  notice();
  let me;
  try {
    me = await api.me();
  } catch (error) {
    showError(error, () => void start());
    return;
  }
  // The Worker redirects here after a failed sign-in.
  const failed = new URLSearchParams(location.search).get("sign_in") === "failed";
  if (failed) history.replaceState(null, "", location.pathname);
  if (!me) {
    show("out");
    if (failed) notice("Sign-in failed. Try again.", { signIn: true });
    return;
  }
  describe(me);
  const videos = gallery({ showError, onSignedOut: onSessionExpired });
  const mine = {
    gallery: videos,
    uploads: uploads({
      me,
      place,
      onUploaded: (card, video, frame) => videos.follow(card, { ...video, state: "processing" }, frame),
      onSignedOut: onSessionExpired,
      onRemoved: refreshEmptiness,
    }),
  };
  session = mine;
  show("in");
  await Promise.all([videos.more(), offerUnfinished(mine)]);
  (window.requestIdleCallback ?? ((act) => setTimeout(act, IDLE_MS)))(mine.uploads.prepare);
}

async function signOut() {
  if (session.uploads.busy() && !window.confirm("Uploads are still running. Sign out and stop them?")) return;
  try {
    await api.signOut();
  } catch (error) {
    if (error.status !== 401) {
      showError(error, () => void signOut());
      return;
    }
  }
  session.uploads.stop();
  session.gallery.end();
  session = undefined;
  notice();
  show("out");
  announce("You are signed out.");
  byId("sign-in").focus();
}

attachDropZone({
  take: (files) => {
    session.uploads.add(files);
    byId("gallery").firstElementChild?.scrollIntoView({ block: "nearest" });
  },
  onFolders: () => notice("A folder cannot be uploaded: drop the videos that are in it."),
  ready: () => session !== undefined,
});
byId("sign-out").addEventListener("click", () => void signOut());
byId("more").addEventListener("click", () => void session.gallery.more());
window.addEventListener("beforeunload", (event) => {
  if (session?.uploads.busy()) event.preventDefault();
});
setInterval(() => refreshAges(byId("gallery")), MINUTE_MS);
void start();
