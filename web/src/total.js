// The common progress of several uploads.

import { announce, byId } from "./dom.js";
import { bytes, timeLeft } from "./format.js";
import { speedometer } from "./trouble.js";

/** The states of active uploads; a paused one counts, since the user intends to finish it. */
const UNDER_WAY = new Set(["waiting", "running", "paused"]);

/** A strip below the drop zone, shown while two or more files upload together, until the last one is complete. */
export function showTotal() {
  let done = [];
  let speed = speedometer();

  const sum = (files, of) => files.reduce((all, file) => all + of(file), 0);

  return {
    /** A file is complete. @param {{ size: number }} job */
    count: (job) => void done.push(job),
    /** @param {Iterable<{ state: string, size: number, sent: number }>} jobs */
    show(jobs) {
      const open = [...jobs].filter((job) => UNDER_WAY.has(job.state));
      const files = [...done, ...open];
      byId("total").hidden = open.length === 0 || files.length < 2;
      if (open.length === 0) {
        if (done.length > 1) announce(`${done.length} files are uploaded.`);
        done = [];
        speed = speedometer();
        return;
      }
      const size = sum(files, (file) => file.size);
      const sent = sum(done, (file) => file.size) + sum(open, (file) => Math.min(file.sent, file.size));
      const pace = speed(sent, performance.now());
      const share = size > 0 ? sent / size : 0;
      byId("total-bar").value = share;
      byId("total-title").textContent = `${done.length} of ${files.length} files uploaded`;
      const numbers = [`${Math.floor(share * 100)} %`, `${bytes(sent)} of ${bytes(size)}`];
      if (pace > 0) numbers.push(timeLeft((size - sent) / pace));
      byId("total-numbers").textContent = numbers.join(" · ");
    },
  };
}
