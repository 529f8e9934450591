// Reads the log of the local cloud: the line of each job of `preview`, and Lambda's report of its invocation.

/** How long a job's lines may take to arrive once its manifest exists. */
const LINES_TIMEOUT_MS = 5000;

/** The jobs in a log that is passed to `add` in pieces. */
export class JobLog {
  #rest = "";
  #jobs = new Map();
  #last = null;

  /** Adds a piece of the log. */
  add = (text) => {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    for (const line of lines) this.#addLine(line);
  };

  #addLine(line) {
    if (line.includes('"metric":"job"')) {
      const job = JSON.parse(line.slice(line.indexOf("{")));
      this.#last = job;
      this.#jobs.set(job.video, { job });
    } else if (line.includes("REPORT RequestId:") && this.#last) {
      const milliseconds = (name) => Number(new RegExp(`\\t${name}: ([\\d.]+) ms`).exec(line)?.[1] ?? 0);
      const report = { duration: milliseconds("Duration"), init: milliseconds("Init Duration") };
      Object.assign(this.#jobs.get(this.#last.video), report);
      this.#last = null;
    }
  }

  /** The phases of the job of `video` in milliseconds, once its invocation has ended. */
  async phases(video) {
    for (const until = performance.now() + LINES_TIMEOUT_MS; performance.now() < until; ) {
      const found = this.#jobs.get(video);
      if (found?.duration !== undefined) return phasesOf(found);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error(`the log has no job of ${video}`);
  }
}

/** The names of the phases, in their order. */
export const PHASES = ["event", "queue", "start", "check", "index", "fetch", "decode", "encode", "commit"];

/**
 * The phases of a job. `start` is the time that Lambda adds: the start of the function's process, if there was none,
 * and the Runtime API.
 */
function phasesOf({ job, duration, init }) {
  if (job.state !== "ready") throw new Error(`the job of ${job.video} is ${job.state}: ${job.code ?? job.why}`);
  const { event_ms: event, check_ms: check, index_ms: index, fetch_ms: fetch, encode_ms: encode, publish_ms: commit } = job;
  const start = init + Math.max(0, duration - check - index - job.look_ms - encode - commit);
  const queue = Math.max(0, job.queued_ms - start);
  return { event, queue, start, check, index, fetch, decode: job.look_ms - fetch, encode, commit };
}
