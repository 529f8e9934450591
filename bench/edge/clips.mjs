// The source videos: an hour of 1080p H.264, of which one minute is encoded and the rest copied; generated once and
// kept with those of `bench engine`. For a smoke run, a few seconds of a small video.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";

import { temporaryFolder } from "./servers.mjs";

const X264 = "-c:v libx264 -preset veryfast -b:v 5M -maxrate 6M -bufsize 10M -g 60 -pix_fmt yuv420p -movflags +faststart";

/** Generates a video with the reference ffmpeg unless it exists, and returns its path. */
export function encodeClip(folder, name, args) {
  const path = join(folder, name);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const draft = join(folder, `draft-${name}`);
  console.log(`$ ffmpeg ${args.join(" ")} ${name}`);
  execFileSync(process.env.GLIMPSE_REFERENCE_FFMPEG, ["-nostdin", "-v", "error", "-y", ...args, draft], { stdio: "inherit" });
  renameSync(draft, path);
  return path;
}

/** The paths of the hour and of its first minute in `folder`; without a folder, of two short videos. */
export function encodeClips(folder) {
  const source = (size, seconds) => ["-f", "lavfi", "-i", `mandelbrot=s=${size}:r=30`, "-t", `${seconds}`, ...X264.split(" ")];
  if (!folder) {
    const place = temporaryFolder();
    return [encodeClip(place, "long.mp4", source("320x180", 4)), encodeClip(place, "short.mp4", source("320x180", 2))];
  }
  // `backend/bench` generates an equivalent minute under the same name.
  const minute = encodeClip(folder, "h264-60s.mp4", source("1920x1080", 60));
  const copy = "-c copy -movflags +faststart".split(" ");
  return [encodeClip(folder, "h264-60min.mp4", ["-stream_loop", "59", "-i", minute, ...copy]), minute];
}
