// Manages the uploads of chosen files: check, queue, send, pause, retry, resume. A chunk of its own: it is loaded when the
// page is idle, or with the first file.

import { acceptAttribute, validateFile, typeOf } from "../../clients/js/src/elements/files.js";
import { bytes } from "../../clients/js/src/elements/format.js";
import { needsParts } from "../../clients/js/src/parts.js";
import { fingerprint as fingerprintOf, localStore, lockedUploads, removeStale } from "../../clients/js/src/resume.js";
import { Upload } from "../../clients/js/src/upload.js";
import { confirmAction, newCard, removeCard } from "./card.js";
import { announce, byId } from "./dom.js";
import { glimpse } from "./glimpse.js";
import { createSpeedMeter } from "./speed.js";
import { describeUploadError } from "./upload-errors.js";
import { createTotalProgress } from "./upload-progress.js";
import * as uploadCard from "./upload-card.js";

/** The number of concurrent uploads. More would only slow down each of them. */
const MAX_CONCURRENT = 3;
/** The number of concurrent parts of each: a browser has six connections per HTTP/1.1 host. */
const PARALLEL_PARTS = 2;

const OFFLINE = "You are offline. The upload resumes when you are back online.";

/** The video id of an upload's key. */
const videoIdFromKey = (key) => key.split("/").at(-1);

/**
 * @typedef {{ card: Element, state: "waiting" | "running" | "paused" | "interrupted" | "unfinished", name?: string,
 *   size?: number, sent: number, file?: File, frame?: uploadCard.Frame, upload?: Upload,
 *   multipart?: import("../../clients/js/src/client.js").Multipart, fingerprint?: string, startedAt?: string,
 *   isOffline?: boolean }} Job `multipart` is the upload of an earlier session, or of an attempt that failed
 * @param {{ me: import("../../clients/js/src/client.js").Me, place: (card: Element) => void, onUploaded: Function,
 *   onSignedOut: Function, onRemoved: Function }} host
 */
export function uploads(host) {
  const { limits, owner } = host.me;
  let stopped = false;
  /** @type {Set<Job>} */
  const jobs = new Set();
  const total = createTotalProgress();

  function startNext() {
    let free = MAX_CONCURRENT - [...jobs].filter((job) => job.state === "running").length;
    for (const job of jobs) {
      if (free <= 0) break;
      if (job.state !== "waiting") continue;
      free -= 1;
      void run(job);
    }
    total.show(jobs);
  }

  function end(job) {
    jobs.delete(job);
    startNext();
  }

  function remove(job) {
    job.frame?.release();
    removeCard(job.card, byId("choose"));
    end(job);
    host.onRemoved();
  }

  /** Aborts what was sent of a job, and removes its record. */
  async function abort({ upload, multipart }) {
    if (upload && upload.state !== "failed") await upload.abort();
    else if (multipart) {
      await glimpse.uploads.abort(multipart);
      localStore.remove(multipart.uploadId);
    }
  }

  function cancel(job) {
    announce(`Upload of ${job.name} cancelled.`);
    // Parts that cannot be deleted now are deleted by the bucket's lifecycle rule.
    void abort(job).catch(() => {});
    remove(job);
  }

  function enqueue(job) {
    job.state = "waiting";
    job.upload = undefined;
    job.frame ??= uploadCard.localFrame(job.file);
    uploadCard.showWaiting(job.card, job, job.frame, job.sent, { cancel: () => cancel(job) });
    startNext();
  }

  function draw(job) {
    const pause = needsParts(job.size) ? () => pauseJob(job) : undefined;
    job.draw = uploadCard.showUploading(job.card, job, job.frame, { cancel: () => cancel(job), pause });
    job.speed = createSpeedMeter();
    job.draw(job.sent, 0);
  }

  async function run(job) {
    job.state = "running";
    draw(job);
    const upload = new Upload(glimpse, job.file, {
      name: job.name,
      // A browser may not know a video's type: the Worker resolves it.
      type: typeOf(job.file, limits.types) ?? "application/octet-stream",
      parallel: PARALLEL_PARTS,
      onProgress({ sent }) {
        job.sent = sent;
        if (job.state === "running" && !job.isOffline) job.draw(sent, job.speed(sent, performance.now()));
        total.show(jobs);
      },
      onState: (state) => onState(job, state),
    });
    job.upload = upload;
    try {
      const { id } = await upload;
      if (jobs.has(job)) finish(job, id);
    } catch (error) {
      if (jobs.has(job)) fail(job, error);
    }
  }

  /** Shows that the connection is lost, and that it is back. */
  function onState(job, state) {
    if (job.state !== "running" || (state === "offline") === Boolean(job.isOffline)) return;
    job.isOffline = state === "offline";
    if (job.isOffline) {
      announce(`${job.name} was not uploaded. ${OFFLINE}`);
      uploadCard.showInterrupted(job.card, job, OFFLINE, job.upload.kept, { discard: () => discard(job) });
    } else if (state === "sending") {
      draw(job);
    }
  }

  function finish(job, id) {
    announce(`${job.name} is uploaded and being processed.`);
    total.count(job);
    end(job);
    host.onUploaded(job.card, { id, name: job.name, bytes: job.size, created_at: new Date().toISOString() }, job.frame);
  }

  function pauseJob(job) {
    job.state = "paused";
    job.upload.pause();
    job.sent = job.upload.kept;
    uploadCard.showPaused(job.card, job, job.frame, job.sent, { resume: () => resumeJob(job), cancel: () => cancel(job) });
    announce(`Upload of ${job.name} paused.`);
    startNext();
  }

  /** Resume has priority over the waiting files. */
  function resumeJob(job) {
    job.state = "running";
    draw(job);
    announce(`Upload of ${job.name} resumed.`);
    job.upload.resume();
    total.show(jobs);
  }

  function fail(job, error) {
    const failure = describeUploadError(error);
    if (failure.signedOut) host.onSignedOut();
    job.multipart = failure.gone ? undefined : job.upload.multipart;
    job.sent = job.multipart ? job.upload.kept : 0;
    interrupt(job, failure);
  }

  function interrupt(job, { message, isRetryable, unreadable }) {
    job.isOffline = false;
    job.frame?.release();
    job.frame = undefined;
    announce(`${job.name} was not uploaded. ${message}`);
    if (unreadable && job.multipart) {
      showUnreadable(job, message);
    } else {
      job.state = "interrupted";
      uploadCard.showInterrupted(job.card, job, message, job.sent, {
        retry: isRetryable ? () => enqueue(job) : undefined,
        ...(job.multipart ? { discard: () => discard(job) } : { dismiss: () => remove(job) }),
      });
    }
    startNext();
  }

  /** The file was moved or changed: the user can choose it again. */
  function showUnreadable(job, message) {
    job.fingerprint = localStore.list().find(({ uploadId }) => uploadId === job.multipart.uploadId)?.fingerprint;
    job.upload = undefined;
    showUnfinishedJob(job, message);
  }

  function discard(job) {
    confirmAction(job.card, {
      question: "Discard what was sent of it?",
      yes: "Discard",
      busy: "Discarding",
      async act() {
        await abort(job);
        announce("The unfinished upload is discarded.");
        remove(job);
      },
    });
  }

  /** An upload that the user can finish by choosing its file again. */
  function showUnfinishedJob(job, complaint) {
    job.state = "unfinished";
    const take = job.fingerprint ? (file) => void resumeWith(job, file) : undefined;
    const { name = "An unfinished upload", size, sent, startedAt = new Date().toISOString() } = job;
    const upload = { name, size, sent, startedAt, types: acceptAttribute(limits.types) };
    uploadCard.showUnfinished(job.card, upload, { take, discard: () => discard(job), complaint });
  }

  async function resumeWith(job, file) {
    const same = file.size === job.size && (await fingerprintOf(file).catch(() => undefined)) === job.fingerprint;
    if (same) {
      await resume(job, file);
      return;
    }
    const why = file.size === job.size ? "its content differs" : `it has ${bytes(file.size)}`;
    showUnfinishedJob(job, `${file.name} is not the original file: ${why}.`);
    announce(`${file.name} is not the original file.`);
  }

  async function resume(job, file) {
    const isLocked = await lockedUploads();
    if (job.state !== "unfinished") return;
    if (isLocked(job.multipart.uploadId)) {
      showUnfinishedJob(job, "Another tab is sending it already.");
      return;
    }
    job.file = file;
    // The video keeps the name from the start of the upload.
    job.name ??= file.name;
    announce(`Upload of ${job.name} resumed.`);
    enqueue(job);
  }

  /** A new file. */
  function addFile(file) {
    const card = newCard();
    host.place(card);
    const job = { card, file, name: file.name, size: file.size, sent: 0 };
    const problem = validateFile(file, limits);
    if (problem) {
      uploadCard.showRefused(card, file, problem, () => remove(job));
      announce(`${file.name} is refused. ${problem.message}`);
      return;
    }
    jobs.add(job);
    enqueue(job);
  }

  async function addOrResume(file, candidates) {
    const fingerprint = await fingerprintOf(file).catch(() => undefined);
    const job = candidates.find((one) => one.state === "unfinished" && one.fingerprint === fingerprint);
    if (job) await resume(job, file);
    else addFile(file);
  }

  function addUnfinished({ uploadId, key, initiated_at: startedAt, bytes_uploaded: sent }, record) {
    const { name, size, fingerprint } = record ?? {};
    const job = { card: newCard(), multipart: { key, uploadId }, sent, startedAt, name: name ?? undefined, size, fingerprint };
    jobs.add(job);
    host.place(job.card);
    showUnfinishedJob(job);
  }

  return {
    /** Adds files, the first one at the top. @param {File[]} files */
    add(files) {
      for (const file of [...files].reverse()) {
        const candidates = [...jobs].filter((job) => job.state === "unfinished" && job.fingerprint && job.size === file.size);
        if (candidates.length > 0) void addOrResume(file, candidates);
        else addFile(file);
      }
    },
    /** Shows unfinished uploads of earlier sessions. */
    async offerUnfinished() {
      const listedAt = Date.now();
      const { uploads: listed } = await glimpse.uploads.list();
      await removeStale(localStore, { uploadIds: new Set(listed.map(({ uploadId }) => uploadId)), owner, listedAt });
      const isLocked = await lockedUploads();
      if (stopped) return;
      const records = new Map(localStore.list().map((record) => [record.uploadId, record]));
      for (const upload of listed) if (!isLocked(upload.uploadId)) addUnfinished(upload, records.get(upload.uploadId));
    },
    /** Whether leaving the page would interrupt an upload. */
    busy: () => [...jobs].some((job) => job.state === "waiting" || job.state === "running"),
    /** Stops all uploads after a sign-out. Completed parts can be used after the next sign-in. */
    stop() {
      stopped = true;
      for (const job of jobs) {
        job.upload?.pause();
        job.frame?.release();
        job.card.remove();
      }
      jobs.clear();
      total.show(jobs);
      localStore.clearNames();
    },
  };
}
