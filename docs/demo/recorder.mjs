// Records a page as a film: the browser's own frames with their times, joined by ffmpeg.

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** The frame rate of the film. */
const FPS = 30;

/** Records the phases of a session; what happens between them is left out, since viewers do not need to wait. */
export class Recorder {
  /** The frames with their times, in milliseconds since the epoch. @type {{ path: string, ms: number }[]} */
  #frames = [];
  /** @type {{ fromMs: number, toMs: number, maxMs: number }[]} */
  #phases = [];
  #folder;
  #wire;

  constructor(folder) {
    this.#folder = folder;
  }

  /** Starts recording a page, scaled to this size. @param {import("playwright-core").Page} page */
  async start(page, { width, height }) {
    this.#wire = await page.context().newCDPSession(page);
    this.#wire.on("Page.screencastFrame", ({ data, metadata, sessionId }) => {
      this.#wire.send("Page.screencastFrameAck", { sessionId }).catch(() => {});
      const path = join(this.#folder, `${this.#frames.length}.jpg`);
      writeFileSync(path, Buffer.from(data, "base64"));
      this.#frames.push({ path, ms: metadata.timestamp * 1000 });
    });
    await this.#wire.send("Page.startScreencast", { format: "jpeg", quality: 100, maxWidth: width, maxHeight: height });
  }

  /**
   * A part of the film: what happens during `act`. On a slow machine it is shown faster, within `maxMs`, so that the
   * film has a known length.
   */
  async phase(maxMs, act) {
    const fromMs = Date.now();
    const result = await act();
    this.#phases.push({ fromMs, toMs: Date.now(), maxMs });
    return result;
  }

  /** Ends the recording and writes the film as an MP4. Returns its length in seconds. */
  async finish(ffmpeg, path) {
    await this.#wire.send("Page.stopScreencast");
    this.#frames.sort((one, other) => one.ms - other.ms);
    const shown = [];
    let lengthMs = 0;
    for (const { fromMs, toMs, maxMs } of this.#phases) {
      const speed = Math.min(1, maxMs / (toMs - fromMs));
      // A phase begins with what the page shows at that moment.
      const first = this.#frames.findLast(({ ms }) => ms <= fromMs);
      if (first) shown.push({ path: first.path, ms: lengthMs });
      for (const { path: frame, ms } of this.#frames) {
        if (ms > fromMs && ms < toMs) shown.push({ path: frame, ms: lengthMs + (ms - fromMs) * speed });
      }
      lengthMs += (toMs - fromMs) * speed;
    }
    const lines = shown.map(({ path: frame, ms }, index) => {
      const endMs = shown[index + 1]?.ms ?? lengthMs;
      return `file '${frame}'\nduration ${((endMs - (index === 0 ? 0 : ms)) / 1000).toFixed(4)}`;
    });
    // The demuxer ignores the duration of the last file, unless it is named again.
    const list = join(this.#folder, "frames.txt");
    writeFileSync(list, `ffconcat version 1.0\n${lines.join("\n")}\nfile '${shown.at(-1).path}'\n`);
    const input = ["-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", list];
    // Enough quality that only the last encoder is visible.
    const h264 = ["-vf", `fps=${FPS},format=yuv420p`, "-c:v", "libx264", "-preset", "fast", "-crf", "8", "-g", `${FPS}`];
    const seconds = lengthMs / 1000;
    execFileSync(ffmpeg, [...input, ...h264, "-t", `${seconds}`, "-movflags", "+faststart", path], { stdio: "inherit" });
    const phases = this.#phases.map(({ fromMs, toMs, maxMs }) => `${toMs - fromMs} of ${maxMs}`).join(", ");
    console.log(`${shown.length} frames in ${seconds.toFixed(1)} s; phases in ms: ${phases}`);
    return seconds;
  }
}
