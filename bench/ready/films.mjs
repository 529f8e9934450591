// The uploaded videos: one minute of each codec is encoded at most, longer videos repeat it without encoding. Generated
// once, and kept with those of `bench engine`, under the same names. For a smoke run, two short videos.

import { existsSync } from "node:fs";
import { join } from "node:path";

import { encodeClip } from "../edge/clips.mjs";

const X264 = "-c:v libx264 -preset veryfast -b:v 5M -maxrate 6M -bufsize 10M -g 60 -pix_fmt yuv420p".split(" ");
const X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=60 -tag:v hvc1 -b:v 12M".split(" ");
const VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -row-mt 1 -g 60 -b:v 5M".split(" ");
/** MP4 with the index before the samples; without it, the index is at the end. */
const INDEX_FIRST = "-movflags +faststart".split(" ");

/** ffmpeg's arguments for the content: a real video scaled up if there is one, otherwise a zoom into a fractal. */
function picture(size, seconds) {
  const real = process.env.GLIMPSE_MEDIA && join(process.env.GLIMPSE_MEDIA, "good/bbb_480p_30s_h264.mp4");
  if (!real || !existsSync(real)) return ["-f", "lavfi", "-i", `mandelbrot=s=${size}:r=30`, "-t", `${seconds}`];
  return ["-stream_loop", "9", "-i", real, "-t", `${seconds}`, "-an", "-vf", `scale=${size}:flags=bicubic,fps=30`];
}

/** The videos of a measurement in `folder`: `{name, type, make}`; `name` contains the length, `make` returns the path. */
export function films(folder) {
  const minute = () => encodeClip(folder, "h264-60s.mp4", [...picture("1920x1080", 60), ...X264, ...INDEX_FIRST]);
  const repeat = (make, times, ...more) => ["-stream_loop", `${times - 1}`, "-i", make(), "-c", "copy", ...more];
  const hevc = () => encodeClip(folder, "hevc-4k-10s.mp4", [...picture("3840x2160", 10), ...X265]);
  const vp9 = () => encodeClip(folder, "vp9-20s.webm", [...picture("1920x1080", 20), ...VP9]);
  const mp4 = (name, file, args) => ({ name, type: "video/mp4", make: () => encodeClip(folder, file, args()) });
  return [
    mp4("10 s", "h264-10s.mp4", () => repeat(minute, 1, "-t", "10", ...INDEX_FIRST)),
    { name: "1 min", type: "video/mp4", make: minute },
    mp4("1 min, index at the end", "h264-60s-end.mp4", () => repeat(minute, 1)),
    mp4("1 min, HEVC in 4K", "hevc-4k-60s.mp4", () => repeat(hevc, 6)),
    { name: "1 min, VP9 in WebM", type: "video/webm", make: () => encodeClip(folder, "vp9-60s.webm", repeat(vp9, 3)) },
    mp4("10 min", "h264-10min.mp4", () => repeat(minute, 10, ...INDEX_FIRST)),
    mp4("10 min, index at the end", "h264-10min-end.mp4", () => repeat(minute, 10)),
    mp4("60 min", "h264-60min.mp4", () => repeat(minute, 60, ...INDEX_FIRST)),
    mp4("60 min, index at the end", "h264-60min-end.mp4", () => repeat(minute, 60)),
  ];
}

/** The videos of a smoke run. */
export function shortFilms(folder) {
  const source = "-f lavfi -i testsrc2=s=320x180:r=30 -t 2".split(" ");
  return [
    { name: "2 s", type: "video/mp4", make: () => encodeClip(folder, "short.mp4", [...source, ...X264, ...INDEX_FIRST]) },
    { name: "2 s, WebM", type: "video/webm", make: () => encodeClip(folder, "short.webm", [...source, ...VP9]) },
  ];
}
