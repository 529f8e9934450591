// Decides what becomes of files that somebody chose: refused, queued, granted, sent, tried again.

import { refusal, typeOf } from "./accept.js";
import * as api from "./api.js";
import { localFrame, newCard, showInterrupted, showRefused, showUploading } from "./card.js";
import { announce, byId } from "./dom.js";
import { TransferError, checksum, send, speedometer } from "./transfer.js";

/** How many files are sent at the same time. */
const AT_ONCE = 3;
/** A permission is not used any more when less than this is left of it, in milliseconds. */
const MARGIN_MS = 20_000;

/**
 * @param {{ limits: api.Me["limits"], place: (card: Element) => void, onUploaded: Function, onSignedOut: Function,
 *   onRemoved: Function }} host
 */
export function uploads(host) {
  const jobs = new Set();
  let running = 0;

  function startNext() {
    for (const job of jobs) {
      if (running >= AT_ONCE) return;
      if (job.state === "waiting") void run(job);
    }
  }

  function remove(job) {
    jobs.delete(job);
    job.frame?.release();
    const focused = job.card.contains(document.activeElement);
    job.card.remove();
    if (focused) byId("choose").focus({ preventScroll: true });
    host.onRemoved();
  }

  function enqueue(job) {
    job.state = "waiting";
    job.control = new AbortController();
    job.frame ??= localFrame(job.file);
    job.draw = showUploading(job.card, job.file, job.frame, () => {
      job.control.abort();
      announce(`Upload of ${job.file.name} cancelled.`);
      if (job.state === "waiting") remove(job);
    });
    startNext();
  }

  async function permission(job) {
    const usable = job.grant && Date.parse(job.grant.upload.expires_at) - Date.now() > MARGIN_MS;
    if (usable) return job.grant;
    const { file } = job;
    const sum = await checksum(file);
    const wish = { name: file.name, size: file.size, type: typeOf(file, host.limits.types), checksum_sha256: sum };
    return api.grant(wish, job.control.signal);
  }

  async function run(job) {
    running += 1;
    job.state = "running";
    job.draw(0, 0);
    try {
      job.grant = await permission(job);
      const speed = speedometer();
      await send(job.file, job.grant.upload, (sent) => job.draw(sent, speed(sent, performance.now())), job.control.signal);
      jobs.delete(job);
      announce(`${job.file.name} is uploaded. Its pictures are being made.`);
      host.onUploaded(job.card, job.grant.video, job.frame);
    } catch (error) {
      if (job.control.signal.aborted) remove(job);
      else interrupted(job, error);
    } finally {
      running -= 1;
      startNext();
    }
  }

  function interrupted(job, error) {
    job.state = "interrupted";
    job.offline = error.code === "network" || error.code === "unreachable";
    if (error instanceof TransferError && error.stale) job.grant = undefined;
    if (error.status === 401) host.onSignedOut();
    job.frame?.release();
    job.frame = undefined;
    const again = error instanceof TransferError ? error.again : ![413, 415, 422].includes(error.status);
    if (!(error instanceof TransferError || error instanceof api.Problem)) console.error(error);
    showInterrupted(job.card, job.file, error, {
      retry: again ? () => enqueue(job) : undefined,
      dismiss: () => remove(job),
    });
    announce(`${job.file.name} was not uploaded. ${error.message}`);
  }

  window.addEventListener("online", () => {
    for (const job of jobs) if (job.state === "interrupted" && job.offline) enqueue(job);
  });

  return {
    /** Takes files, the first of them topmost. @param {File[]} files */
    add(files) {
      for (const file of [...files].reverse()) {
        const card = newCard();
        host.place(card);
        const problem = refusal(file, host.limits);
        const job = { file, card };
        if (problem) {
          showRefused(card, file, problem, () => remove(job));
          announce(`${file.name} is refused. ${problem.message}`);
        } else {
          jobs.add(job);
          enqueue(job);
        }
      }
    },
    /** Whether leaving the page would break something off. */
    busy: () => [...jobs].some((job) => job.state === "waiting" || job.state === "running"),
    /** Stops everything: the person has signed out. */
    stop() {
      for (const job of [...jobs]) {
        job.control?.abort();
        remove(job);
      }
    },
  };
}
