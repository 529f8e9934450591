// Manages the uploads of chosen files: check, queue, send, pause, retry, resume.

import { choosable, refusal, typeOf } from "./accept.js";
import * as api from "./api.js";
import { ask, newCard, removeCard } from "./card.js";
import { announce, byId } from "./dom.js";
import { bytes } from "./format.js";
import * as notes from "./notes.js";
import { fits, inParts, partSize, sizeOfPart } from "./parts.js";
import { showTotal } from "./total.js";
import { OFFLINE, explain, speedometer } from "./trouble.js";
import * as face from "./upload-card.js";

/** The number of concurrent uploads. More would only slow down each of them. */
const AT_ONCE = 3;

let loading;

/** The uploader: a chunk of its own, loaded once. */
function sender(mostAtOnce) {
  loading ??= import("./uppy.js").then(({ sender: make }) =>
    make({ inParts: (size) => inParts(size, mostAtOnce), partSize, problemOf: api.problemOf, unreachable: api.unreachable }),
  );
  // A chunk that failed to load is requested again with the next file.
  loading.catch(() => (loading = undefined));
  return loading;
}

/** The video id of an upload's key. */
const videoOf = (key) => key.split("/").at(-1);

/**
 * @typedef {{ card: Element, state: "waiting" | "running" | "paused" | "interrupted" | "unfinished", name?: string,
 *   size?: number, sent: number, kept: number, file?: File, frame?: face.Frame, multipart?: api.Multipart, release?: ()
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
  const total = showTotal();
  const goesInParts = (job) => job.multipart !== undefined || inParts(job.size, limits.max_single_upload_bytes);

  function startNext() {
    let free = AT_ONCE - [...jobs].filter((job) => job.state === "running").length;
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
    if (job.multipart) notes.forget(job.multipart.uploadId);
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
    job.frame ??= face.localFrame(job.file);
    face.showWaiting(job.card, job, job.frame, job.sent, { cancel: () => cancel(job) });
    startNext();
  }

  function draw(job) {
    const pause = goesInParts(job) ? () => hold(job) : undefined;
    job.draw = face.showUploading(job.card, job, job.frame, { cancel: () => cancel(job), pause });
    job.speed = speedometer();
    job.draw(job.sent, 0);
  }

  async function run(job) {
    job.state = "running";
    draw(job);
    let chunk;
    try {
      chunk = await sender(limits.max_single_upload_bytes);
    } catch {
      const message = "A part of this page could not be loaded. Check your connection and try again, or reload the page.";
      if (job.state === "running") interrupted(job, { message, again: true, offline: true });
      return;
    }
    // In the meantime it may have been paused or canceled, or its session may have ended.
    if (job.transfer || !jobs.has(job)) return;
    job.transfer = chunk.send(job.file, {
      // A browser may not know a video's type: the Worker resolves it.
      type: typeOf(job.file, limits.types) ?? "application/octet-stream",
      resume: job.multipart,
      onBegun: (multipart) => void begun(job, multipart),
      onProgress(sent) {
        job.sent = sent;
        if (job.state === "running") job.draw(sent, job.speed(sent, performance.now()));
        total.show(jobs);
      },
      onPart: (number) => (job.kept += sizeOfPart(number, job.size)),
      onDone: (key) => done(job, key),
      onError: (error) => void failed(job, error),
    });
    if (job.state === "paused") job.transfer.pause();
  }

  /** From now on it can be resumed: this browser has a record of the file, and this tab has the lock. */
  async function begun(job, multipart) {
    job.multipart = multipart;
    const { name, size } = job;
    const mine = notes.hold(multipart.uploadId);
    try {
      job.print = await notes.fingerprint(job.file);
      const note = { key: multipart.key, name, size, print: job.print, begun: Date.now() };
      if (jobs.has(job)) notes.keep(multipart.uploadId, note);
    } catch {
      // An unreadable file fails by itself, with its own message.
    }
    job.release = await mine;
    if (!jobs.has(job)) job.release?.();
  }

  function done(job, key) {
    announce(`${job.name} is uploaded and being processed.`);
    total.count(job);
    end(job);
    host.onUploaded(job.card, { id: videoOf(key), name: job.name, bytes: job.size, created_at: new Date().toISOString() }, job.frame);
  }

  function hold(job) {
    job.state = "paused";
    job.transfer?.pause();
    face.showPaused(job.card, job, job.frame, job.kept, { resume: () => goOn(job), cancel: () => cancel(job) });
    announce(`Upload of ${job.name} paused.`);
    startNext();
  }

  /** Resume has priority over the waiting files. */
  function goOn(job) {
    job.state = "running";
    job.offline = false;
    job.sent = job.kept;
    job.frame ??= face.localFrame(job.file);
    draw(job);
    announce(`Upload of ${job.name} resumed.`);
    if (job.transfer) job.transfer.resume();
    else void run(job);
    total.show(jobs);
  }

  async function failed(job, error) {
    const trouble = await explain(error, job.file);
    if (!jobs.has(job)) return;
    if (trouble.signedOut) host.onSignedOut();
    const key = trouble.arrived ?? (trouble.gone ? job.multipart?.key : undefined);
    if (key) {
      // The whole file may have arrived, and only the response was lost.
      const video = await api.video(videoOf(key)).catch(() => undefined);
      if (!jobs.has(job)) return;
      if (video) {
        job.transfer = undefined;
        done(job, key);
        return;
      }
    }
    if (trouble.gone && job.multipart) {
      job.release?.();
      notes.forget(job.multipart.uploadId);
      Object.assign(job, { multipart: undefined, release: undefined, sent: 0, kept: 0 });
    }
    interrupted(job, trouble);
  }

  function interrupted(job, trouble) {
    const { message } = trouble;
    job.sent = job.kept;
    job.transfer = undefined;
    job.offline = trouble.offline;
    job.frame?.release();
    job.frame = undefined;
    announce(`${job.name} was not uploaded. ${message}`);
    if (trouble.unreadable && job.multipart) {
      offer(job, message);
    } else {
      job.state = "interrupted";
      face.showInterrupted(job.card, job, message, job.kept, {
        retry: trouble.again ? () => (job.transfer ? goOn(job) : enqueue(job)) : undefined,
        ...(job.multipart ? { discard: () => discard(job) } : { dismiss: () => remove(job) }),
      });
    }
    startNext();
  }

  function discard(job) {
    ask(job.card, {
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
  function offer(job, complaint) {
    job.state = "unfinished";
    const take = job.print ? (file) => void takeFor(job, file) : undefined;
    const { name = "An unfinished upload", size, sent, begun: since } = job;
    const upload = { name, size, sent, begun: since ?? new Date().toISOString(), types: choosable(limits.types) };
    face.showUnfinished(job.card, upload, { take, discard: () => discard(job), complaint });
  }

  async function takeFor(job, file) {
    const same = file.size === job.size && (await printOf(file)) === job.print;
    if (same) {
      await resume(job, file);
      return;
    }
    const why = file.size === job.size ? "its content differs" : `it has ${bytes(file.size)}`;
    offer(job, `${file.name} is not the original file: ${why}.`);
    announce(`${file.name} is not the original file.`);
  }

  const printOf = (file) => notes.fingerprint(file).catch(() => undefined);

  async function resume(job, file) {
    job.release ??= await notes.hold(job.multipart.uploadId);
    if (job.state !== "unfinished") return;
    if (!job.release) {
      offer(job, "Another tab is sending it already.");
      return;
    }
    job.file = file;
    // The video keeps the name from the start of the upload.
    job.name ??= file.name;
    announce(`Upload of ${job.name} resumed.`);
    enqueue(job);
  }

  /** A new file. */
  function fresh(file) {
    const card = newCard();
    host.place(card);
    const job = { card, file, name: file.name, size: file.size, sent: 0, kept: 0 };
    const problem = refusal(file, limits);
    if (problem) {
      face.showRefused(card, file, problem, () => remove(job));
      announce(`${file.name} is refused. ${problem.message}`);
      return;
    }
    jobs.add(job);
    enqueue(job);
  }

  async function freshOrBegun(file, candidates) {
    const print = await printOf(file);
    const job = candidates.find((one) => one.state === "unfinished" && one.print === print);
    if (job) await resume(job, file);
    else fresh(file);
  }

  async function found(upload, isHeld) {
    const { uploadId, initiated_at: begun, bytes_uploaded: kept } = upload;
    if (isHeld(uploadId)) return;
    const note = notes.noteOf(uploadId);
    let known;
    try {
      if (note && fits(await api.parts(upload), note.size)) known = note;
    } catch (error) {
      // Completed or aborted since the list was created.
      if ([404, 409, 410].includes(error.status)) return;
      throw error;
    }
    if (stopped) return;
    const job = { card: newCard(), multipart: { key: upload.key, uploadId }, sent: kept, kept, begun };
    job.name = known?.name ?? undefined;
    job.size = known?.size;
    job.print = known?.print;
    jobs.add(job);
    host.place(job.card);
    offer(job);
  }

  /**
   * An active request may notice a lost connection after minutes, or never: multipart uploads are stopped immediately.
   */
  window.addEventListener("offline", () => {
    for (const job of jobs) {
      if (job.state !== "running" || !job.transfer || !job.multipart) continue;
      job.transfer.pause();
      const { transfer } = job;
      interrupted(job, OFFLINE);
      job.transfer = transfer;
    }
  });
  window.addEventListener("online", () => {
    for (const job of jobs) {
      if (job.state !== "interrupted" || !job.offline) continue;
      if (job.transfer) goOn(job);
      else enqueue(job);
    }
  });

  return {
    /** Adds files, the first one at the top. @param {File[]} files */
    add(files) {
      for (const file of [...files].reverse()) {
        const candidates = [...jobs].filter((job) => job.state === "unfinished" && job.print && job.size === file.size);
        if (candidates.length > 0) void freshOrBegun(file, candidates);
        else fresh(file);
      }
    },
    /** Shows unfinished uploads of earlier sessions. */
    async offerUnfinished() {
      const asked = Date.now();
      const { uploads: listed } = await api.unfinished();
      notes.forgetAllBut(new Set(listed.map(({ uploadId }) => uploadId)), owner, asked);
      const isHeld = await notes.held();
      await Promise.all(listed.map((upload) => found(upload, isHeld)));
    },
    /** Loads the uploader in advance. */
    prepare: () => void sender(limits.max_single_upload_bytes).catch(() => {}),
    /** Whether leaving the page would interrupt an upload. */
    busy: () => [...jobs].some((job) => job.state === "waiting" || job.state === "running"),
    /** Stops all uploads after a sign-out. Completed parts can be used after the next sign-in. */
    stop() {
      stopped = true;
      void loading?.then((chunk) => chunk.halt(), () => {});
      for (const job of jobs) {
        job.release?.();
        job.frame?.release();
        job.card.remove();
      }
      jobs.clear();
      total.show(jobs);
      notes.forgetNames();
    },
  };
}
