// The common progress of several uploads.

import { bytes } from "../../clients/js/src/elements/format.js";
import { announce, byId } from "./dom.js";
import { timeLeft } from "./format.js";
import { createSpeedMeter } from "./speed.js";

/** The states of active uploads; a paused one counts, since the user intends to finish it. */
const ACTIVE_STATES = new Set(["waiting", "running", "paused"]);

/** A strip below the drop zone, shown while two or more files upload together, until the last one is complete. */
export function createTotalProgress() {
  let done = [];
  let speed = createSpeedMeter();

  const sum = (files, valueOf) => files.reduce((all, file) => all + valueOf(file), 0);

  return {
    /** A file is complete. @param {{ size: number }} job */
    count: (job) => void done.push(job),
    /** @param {Iterable<{ state: string, size: number, sent: number }>} jobs */
    show(jobs) {
      const active = [...jobs].filter((job) => ACTIVE_STATES.has(job.state));
      const files = [...done, ...active];
      byId("total").hidden = active.length === 0 || files.length < 2;
      if (active.length === 0) {
        if (done.length > 1) announce(`${done.length} files are uploaded.`);
        done = [];
        speed = createSpeedMeter();
        return;
      }
      const size = sum(files, (file) => file.size);
      const sent = sum(done, (file) => file.size) + sum(active, (file) => Math.min(file.sent, file.size));
      const bytesPerSecond = speed(sent, performance.now());
      const share = size > 0 ? sent / size : 0;
      byId("total-bar").value = share;
      byId("total-title").textContent = `${done.length} of ${files.length} files uploaded`;
      const numbers = [`${Math.floor(share * 100)} %`, `${bytes(sent)} of ${bytes(size)}`];
      if (bytesPerSecond > 0) numbers.push(timeLeft((size - sent) / bytesPerSecond));
      byId("total-numbers").textContent = numbers.join(" · ");
    },
  };
}
