// Manages the uploads of chosen files: check, queue, send, pause, retry, resume.

import { acceptAttribute, validateFile, typeOf } from "../../clients/js/src/elements/files.js";
import * as api from "./api.js";
import { confirmAction, newCard, removeCard } from "./card.js";
import { announce, byId } from "./dom.js";
import { bytes } from "../../clients/js/src/elements/format.js";
import * as resumeStore from "./resume-store.js";
import { matchesPartSizes, needsMultipart, partSize, partBytes } from "./multipart.js";
import { createTotalProgress } from "./upload-progress.js";
import { createSpeedMeter } from "../../clients/js/src/elements/speed.js";
import { OFFLINE, describeUploadError } from "./upload-errors.js";
import * as uploadCard from "./upload-card.js";

/** The number of concurrent uploads. More would only slow down each of them. */
const MAX_CONCURRENT = 3;

let loading;

/** The uploader: a chunk of its own, loaded once. */
function sender(maxSingleBytes) {
  loading ??= import("./uppy.js").then(({ sender: make }) =>
    make({ needsMultipart: (size) => needsMultipart(size, maxSingleBytes), partSize, problemOf: api.problemOf, unreachable: api.unreachable }),
  );
  // A chunk that failed to load is requested again with the next file.
  loading.catch(() => (loading = undefined));
  return loading;
}

/** The video id of an upload's key. */
const videoIdFromKey = (key) => key.split("/").at(-1);

/**
 * @typedef {{ card: Element, state: "waiting" | "running" | "paused" | "interrupted" | "unfinished", name?: string,
 *   size?: number, sent: number, kept: number, file?: File, frame?: uploadCard.Frame, multipart?: api.Multipart, release?: ()
 *   => void,
 *   print?: string, begun?: string, transfer?: object, offline?: boolean }} Job `sent` is the number of bytes sent,
 *   `kept` the
 *   number of bytes in completed parts
 * @param {{ me: api.Me, place: (card: Element) => void, onUploaded: Function, onSignedOut: Function,
 *   onRemoved: Function }} host
 */
export function uploads(host) {
  const { limits, owner } = host.me;
  let stopped = false;
  /** @type {Set<Job>} */
  const jobs = new Set();
  const total = createTotalProgress();
  const isMultipart = (job) => job.multipart !== undefined || needsMultipart(job.size, limits.max_single_upload_bytes);

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

  /** Removes all traces of the job, here and in the browser's storage. */
  function end(job) {
    jobs.delete(job);
    job.release?.();
    if (job.multipart) resumeStore.removePendingUpload(job.multipart.uploadId);
    startNext();
  }

  function remove(job) {
    job.frame?.release();
    removeCard(job.card, byId("choose"));
    end(job);
    host.onRemoved();
  }

  function cancel(job) {
    announce(`Upload of ${job.name} cancelled.`);
    if (job.transfer) job.transfer.cancel();
    // Uppy aborts the uploads that it has started; it does not know those that wait to be resumed.
    else if (job.multipart) void api.discard(job.multipart).catch(() => {});
    remove(job);
  }

  function enqueue(job) {
    job.state = "waiting";
    job.transfer = undefined;
    job.offline = false;
    job.frame ??= uploadCard.localFrame(job.file);
    uploadCard.showWaiting(job.card, job, job.frame, job.sent, { cancel: () => cancel(job) });
    startNext();
  }

  function draw(job) {
    const pause = isMultipart(job) ? () => pauseJob(job) : undefined;
    job.draw = uploadCard.showUploading(job.card, job, job.frame, { cancel: () => cancel(job), pause });
    job.speed = createSpeedMeter();
    job.draw(job.sent, 0);
  }

  async function run(job) {
    job.state = "running";
    draw(job);
    let uploader;
    try {
      uploader = await sender(limits.max_single_upload_bytes);
    } catch {
      const message = "A part of this page could not be loaded. Check your connection and try again, or reload the page.";
      if (job.state === "running") interrupt(job, { message, isRetryable: true, offline: true });
      return;
    }
    // In the meantime it may have been paused or canceled, or its session may have ended.
    if (job.transfer || !jobs.has(job)) return;
    job.transfer = uploader.send(job.file, {
      // A browser may not know a video's type: the Worker resolves it.
      type: typeOf(job.file, limits.types) ?? "application/octet-stream",
      resume: job.multipart,
      onMultipartCreated: (multipart) => void onMultipartCreated(job, multipart),
      onProgress(sent) {
        job.sent = sent;
        if (job.state === "running") job.draw(sent, job.speed(sent, performance.now()));
        total.show(jobs);
      },
      onPart: (number) => (job.kept += partBytes(number, job.size)),
      onDone: (key) => finish(job, key),
      onError: (error) => void onError(job, error),
    });
    if (job.state === "paused") job.transfer.pause();
  }

  /** From now on it can be resumed: this browser has a record of the file, and this tab has the lock. */
  async function onMultipartCreated(job, multipart) {
    job.multipart = multipart;
    const { name, size } = job;
    const mine = resumeStore.acquireLock(multipart.uploadId);
    try {
      job.fingerprint = await resumeStore.fingerprint(job.file);
      const note = { key: multipart.key, name, size, fingerprint: job.fingerprint, startedAt: Date.now() };
      if (jobs.has(job)) resumeStore.savePendingUpload(multipart.uploadId, note);
    } catch {
      // An unreadable file fails by itself, with its own message.
    }
    job.release = await mine;
    if (!jobs.has(job)) job.release?.();
  }

  function finish(job, key) {
    announce(`${job.name} is uploaded and being processed.`);
    total.count(job);
    end(job);
    host.onUploaded(job.card, { id: videoIdFromKey(key), name: job.name, bytes: job.size, created_at: new Date().toISOString() }, job.frame);
  }

  function pauseJob(job) {
    job.state = "paused";
    job.transfer?.pause();
    uploadCard.showPaused(job.card, job, job.frame, job.kept, { resume: () => resumeJob(job), cancel: () => cancel(job) });
    announce(`Upload of ${job.name} paused.`);
    startNext();
  }

  /** Resume has priority over the waiting files. */
  function resumeJob(job) {
    job.state = "running";
    job.offline = false;
    job.sent = job.kept;
    job.frame ??= uploadCard.localFrame(job.file);
    draw(job);
    announce(`Upload of ${job.name} resumed.`);
    if (job.transfer) job.transfer.resume();
    else void run(job);
    total.show(jobs);
  }

  async function onError(job, error) {
    const failure = await describeUploadError(error, job.file);
    if (!jobs.has(job)) return;
    if (failure.signedOut) host.onSignedOut();
    const key = failure.arrived ?? (failure.gone ? job.multipart?.key : undefined);
    if (key) {
      // The whole file may have arrived, and only the response was lost.
      const video = await api.video(videoIdFromKey(key)).catch(() => undefined);
      if (!jobs.has(job)) return;
      if (video) {
        job.transfer = undefined;
        finish(job, key);
        return;
      }
    }
    if (failure.gone && job.multipart) {
      job.release?.();
      resumeStore.removePendingUpload(job.multipart.uploadId);
      Object.assign(job, { multipart: undefined, release: undefined, sent: 0, kept: 0 });
    }
    interrupt(job, failure);
  }

  function interrupt(job, failure) {
    const { message } = failure;
    job.sent = job.kept;
    job.transfer = undefined;
    job.offline = failure.offline;
    job.frame?.release();
    job.frame = undefined;
    announce(`${job.name} was not uploaded. ${message}`);
    if (failure.unreadable && job.multipart) {
      showUnfinishedJob(job, message);
    } else {
      job.state = "interrupted";
      uploadCard.showInterrupted(job.card, job, message, job.kept, {
        retry: failure.isRetryable ? () => (job.transfer ? resumeJob(job) : enqueue(job)) : undefined,
        ...(job.multipart ? { discard: () => discard(job) } : { dismiss: () => remove(job) }),
      });
    }
    startNext();
  }

  function discard(job) {
    confirmAction(job.card, {
      question: "Discard what was sent of it?",
      yes: "Discard",
      busy: "Discarding",
      async act() {
        await api.discard(job.multipart);
        announce("The unfinished upload is discarded.");
        remove(job);
      },
    });
  }

  /** An upload that the user can finish by choosing its file again. */
  function showUnfinishedJob(job, complaint) {
    job.state = "unfinished";
    const take = job.fingerprint ? (file) => void resumeWith(job, file) : undefined;
    const { name = "An unfinished upload", size, sent, startedAt: since } = job;
    const upload = { name, size, sent, startedAt: since ?? new Date().toISOString(), types: acceptAttribute(limits.types) };
    uploadCard.showUnfinished(job.card, upload, { take, discard: () => discard(job), complaint });
  }

  async function resumeWith(job, file) {
    const same = file.size === job.size && (await fingerprintOf(file)) === job.fingerprint;
    if (same) {
      await resume(job, file);
      return;
    }
    const why = file.size === job.size ? "its content differs" : `it has ${bytes(file.size)}`;
    showUnfinishedJob(job, `${file.name} is not the original file: ${why}.`);
    announce(`${file.name} is not the original file.`);
  }

  const fingerprintOf = (file) => resumeStore.fingerprint(file).catch(() => undefined);

  async function resume(job, file) {
    job.release ??= await resumeStore.acquireLock(job.multipart.uploadId);
    if (job.state !== "unfinished") return;
    if (!job.release) {
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
    const job = { card, file, name: file.name, size: file.size, sent: 0, kept: 0 };
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
    const fingerprint = await fingerprintOf(file);
    const job = candidates.find((one) => one.state === "unfinished" && one.fingerprint === fingerprint);
    if (job) await resume(job, file);
    else addFile(file);
  }

  async function addUnfinished(upload, isLocked) {
    const { uploadId, initiated_at: startedAt, bytes_uploaded: kept } = upload;
    if (isLocked(uploadId)) return;
    const note = resumeStore.getPendingUpload(uploadId);
    let known;
    try {
      if (note && matchesPartSizes(await api.parts(upload), note.size)) known = note;
    } catch (error) {
      // Completed or aborted since the list was created.
      if ([404, 409, 410].includes(error.status)) return;
      throw error;
    }
    if (stopped) return;
    const job = { card: newCard(), multipart: { key: upload.key, uploadId }, sent: kept, kept, startedAt };
    job.name = known?.name ?? undefined;
    job.size = known?.size;
    job.fingerprint = known?.fingerprint;
    jobs.add(job);
    host.place(job.card);
    showUnfinishedJob(job);
  }

  /**
   * An active request may notice a lost connection after minutes, or never: multipart uploads are stopped immediately.
   */
  window.addEventListener("offline", () => {
    for (const job of jobs) {
      if (job.state !== "running" || !job.transfer || !job.multipart) continue;
      job.transfer.pause();
      const { transfer } = job;
      interrupt(job, OFFLINE);
      job.transfer = transfer;
    }
  });
  window.addEventListener("online", () => {
    for (const job of jobs) {
      if (job.state !== "interrupted" || !job.offline) continue;
      if (job.transfer) resumeJob(job);
      else enqueue(job);
    }
  });

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
      const asked = Date.now();
      const { uploads: listed } = await api.unfinished();
      resumeStore.removeStale(new Set(listed.map(({ uploadId }) => uploadId)), owner, asked);
      const isLocked = await resumeStore.queryLocks();
      await Promise.all(listed.map((upload) => addUnfinished(upload, isLocked)));
    },
    /** Loads the uploader in advance. */
    prepare: () => void sender(limits.max_single_upload_bytes).catch(() => {}),
    /** Whether leaving the page would interrupt an upload. */
    busy: () => [...jobs].some((job) => job.state === "waiting" || job.state === "running"),
    /** Stops all uploads after a sign-out. Completed parts can be used after the next sign-in. */
    stop() {
      stopped = true;
      void loading?.then((uploader) => uploader.halt(), () => {});
      for (const job of jobs) {
        job.release?.();
        job.frame?.release();
        job.card.remove();
      }
      jobs.clear();
      total.show(jobs);
      resumeStore.clearNames();
    },
  };
}
