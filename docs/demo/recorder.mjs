// Records a page as a film: the browser's own frames with their times, joined by ffmpeg.

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** The frame rate of the film. */
const FPS = 30;

export class Recorder {
  /** @type {{ path: string, ms: number }[]} */
  #frames = [];
  #folder;
  #wire;
  /** How long the recording was interrupted so far, in milliseconds. */
  #skippedMs = 0;
  /** When the current interruption began, in milliseconds since the epoch. */
  #skippedSince;
  #startedMs;

  constructor(folder) {
    this.#folder = folder;
  }

  /** Starts recording a page of this size. @param {import("playwright-core").Page} page */
  async start(page, { width, height }) {
    this.#wire = await page.context().newCDPSession(page);
    this.#startedMs = Date.now();
    this.#wire.on("Page.screencastFrame", ({ data, metadata, sessionId }) => {
      this.#wire.send("Page.screencastFrameAck", { sessionId }).catch(() => {});
      const takenMs = metadata.timestamp * 1000;
      if (this.#skippedSince !== undefined && takenMs > this.#skippedSince) return;
      const path = join(this.#folder, `${this.#frames.length}.jpg`);
      writeFileSync(path, Buffer.from(data, "base64"));
      this.#frames.push({ path, ms: Math.max(0, takenMs - this.#startedMs - this.#skippedMs) });
    });
    await this.#wire.send("Page.startScreencast", { format: "jpeg", quality: 100, maxWidth: width, maxHeight: height });
  }

  /** The length of the recording so far, in seconds. */
  get seconds() {
    return (Date.now() - this.#startedMs - this.#skippedMs) / 1000;
  }

  /** Waits without recording: viewers do not need to wait. */
  async skip(act) {
    this.#skippedSince = Date.now();
    try {
      return await act();
    } finally {
      this.#skippedMs += Date.now() - this.#skippedSince;
      this.#skippedSince = undefined;
    }
  }

  /** Ends the recording and writes the film as an MP4. Returns its length in seconds. */
  async finish(ffmpeg, path) {
    const seconds = this.seconds;
    await this.#wire.send("Page.stopScreencast");
    const frames = this.#frames.sort((one, other) => one.ms - other.ms);
    const lines = frames.map(({ path: frame, ms }, index) => {
      const nextMs = frames[index + 1]?.ms ?? seconds * 1000;
      return `file '${frame}'\nduration ${(Math.max(1, nextMs - (index === 0 ? 0 : ms)) / 1000).toFixed(4)}`;
    });
    // The demuxer ignores the duration of the last file, unless it is named again.
    const list = join(this.#folder, "frames.txt");
    writeFileSync(list, `ffconcat version 1.0\n${lines.join("\n")}\nfile '${frames.at(-1).path}'\n`);
    const input = ["-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", list];
    // Enough quality that only the last encoder is visible.
    const h264 = ["-vf", `fps=${FPS},format=yuv420p`, "-c:v", "libx264", "-preset", "fast", "-crf", "8", "-g", `${FPS}`];
    execFileSync(ffmpeg, [...input, ...h264, "-t", `${seconds}`, "-movflags", "+faststart", path], { stdio: "inherit" });
    console.log(`${frames.length} frames in ${seconds.toFixed(1)} s`);
    return seconds;
  }
}
