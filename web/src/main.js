// The page: sign-in state, the uploads, and the gallery.

import { acceptAttribute, describeLimits } from "../../clients/js/src/elements/files.js";
import { refreshAges } from "./card.js";
import { announce, byId } from "./dom.js";
import { attachDropZone } from "./drop-zone.js";
import { initials } from "./format.js";
import { gallery, place, refreshEmptiness } from "./gallery.js";
import { glimpse, isGlimpseError, signedInUser } from "./glimpse.js";

const MINUTE_MS = 60_000;
/** The idle delay where a browser has no requestIdleCallback (Safari), in milliseconds. */
const IDLE_MS = 1500;

const NOT_LOADED = "A part of this page could not be loaded. Check your connection and try again, or reload the page.";

/**
 * @typedef {ReturnType<typeof import("./uploads.js").uploads>} Uploads
 * @type {{ me: import("../../clients/js/src/client.js").Me, gallery: ReturnType<typeof gallery>, uploads?: Uploads } | undefined}
 */
let session;
let loading;

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
  else notice(isGlimpseError(error) ? error.message : "Something went wrong in this page.", { retry });
  if (!isGlimpseError(error)) console.error(error);
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

/** The uploads of a session: their code is loaded once, and requested again after a failure. @returns {Promise<Uploads>} */
async function uploadsOf(mine) {
  loading ??= import("./uploads.js");
  loading.catch(() => (loading = undefined));
  const { uploads } = await loading;
  mine.uploads ??= uploads({
    me: mine.me,
    place,
    onUploaded: (card, video, frame) => mine.gallery.follow(card, { ...video, state: "processing" }, frame),
    onSignedOut: onSessionExpired,
    onRemoved: refreshEmptiness,
  });
  return mine.uploads;
}

async function offerUnfinished(mine) {
  // Without its code, the next file shows the error.
  const uploads = await uploadsOf(mine).catch(() => undefined);
  try {
    await uploads?.offerUnfinished();
  } catch (error) {
    if (session === mine) showError(error, () => void offerUnfinished(mine));
  }
}

async function upload(files) {
  const mine = session;
  let uploads;
  try {
    uploads = await uploadsOf(mine);
  } catch {
    if (session === mine) notice(NOT_LOADED, { retry: () => void upload(files) });
    return;
  }
  if (session !== mine) return;
  uploads.add(files);
  byId("gallery").firstElementChild?.scrollIntoView({ block: "nearest" });
}

async function start() {
  notice();
  let me;
  try {
    me = await signedInUser();
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
  const mine = { me, gallery: gallery({ showError, onSignedOut: onSessionExpired }) };
  session = mine;
  show("in");
  await mine.gallery.more();
  (window.requestIdleCallback ?? ((act) => setTimeout(act, IDLE_MS)))(() => void offerUnfinished(mine));
}

async function signOut() {
  const uploads = await uploadsOf(session).catch(() => undefined);
  if (uploads?.busy() && !window.confirm("Uploads are still running. Sign out and stop them?")) return;
  try {
    await glimpse.logout();
  } catch (error) {
    if (error.status !== 401) {
      showError(error, () => void signOut());
      return;
    }
  }
  uploads?.stop();
  session.gallery.end();
  session = undefined;
  notice();
  show("out");
  announce("You are signed out.");
  byId("sign-in").focus();
}

attachDropZone({
  take: (files) => void upload(files),
  onFolders: () => notice("A folder cannot be uploaded: drop the videos that are in it."),
  ready: () => session !== undefined,
});
byId("sign-out").addEventListener("click", () => void signOut());
byId("more").addEventListener("click", () => void session.gallery.more());
window.addEventListener("beforeunload", (event) => {
  if (session?.uploads?.busy()) event.preventDefault();
});
setInterval(() => refreshAges(byId("gallery")), MINUTE_MS);
void start();
