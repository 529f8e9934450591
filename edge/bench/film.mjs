// Decides which film the pictures are of: an hour of 1080p H.264, of which one minute is encoded and the rest copied; made
// once and kept with the engine's films.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";

const X264 = "-c:v libx264 -preset veryfast -b:v 5M -maxrate 6M -bufsize 10M -g 60 -pix_fmt yuv420p -movflags +faststart";

function made(folder, name, args) {
  const path = join(folder, name);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const draft = join(folder, `draft-${name}`);
  console.log(`$ ffmpeg ${args.join(" ")} ${name}`);
  execFileSync(process.env.GLIMPSE_REFERENCE_FFMPEG, ["-nostdin", "-v", "error", "-y", ...args, draft], { stdio: "inherit" });
  renameSync(draft, path);
  return path;
}

/** The path of its first minute. `backend/bench` makes its own under the same names, which is as good. */
export function minute(folder) {
  return made(folder, "h264-60s.mp4", ["-f", "lavfi", "-i", "mandelbrot=s=1920x1080:r=30", "-t", "60", ...X264.split(" ")]);
}

/** The path of the film. */
export function hour(folder) {
  const copy = "-c copy -movflags +faststart".split(" ");
  return made(folder, "h264-60min.mp4", ["-stream_loop", "59", "-i", minute(folder), ...copy]);
}
