// Makes films of which the kind of every moment is known: good scenes between black frames, fades, title cards and other
// moments that are no poster.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [WIDTH, HEIGHT, FPS] = [640, 360, 25];
/** The kinds of moments that are no poster. */
export const BAD_KINDS = ["black", "fade", "transition", "card", "blur", "flash", "bars", "test picture", "noise"];
/** The good scenes: files of GLIMPSE_MEDIA, and the seconds of each without black frames or titles. */
const SCENES = [
  ["bbb_480p_30s_h264.mp4", 4, 25],
  ["foreman-hevc-384.mp4", 0, 9],
  ["everybody-betray-me.mkv", 1, 6],
  ["Test.ogv", 5, 25],
];
/** Generated scenes, where there is no such folder. */
const GENERATED = ["mandelbrot=s=640x360:r=25:start_scale=0.3", "life=s=640x360:r=25:seed=7:ratio=0.4:mold=25:life_color=0x60c0ff:death_color=0x703050"];

/** Numbers from 0 to 1 (xorshift32). */
export function random(seed) {
  let state = seed | 0 || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  for (let count = 0; count < 20; count += 1) next();
  return next;
}

/** A title card as PPM: lines of strokes, like text, on a flat background. */
function card(next) {
  const pixels = Buffer.alloc(WIDTH * HEIGHT * 3);
  const isDark = next() < 0.5;
  const paper = [0, 1, 2].map(() => Math.floor(next() * 70) + (isDark ? 5 : 180));
  const ink = isDark ? 235 : 20;
  for (let at = 0; at < pixels.length; at += 1) pixels[at] = paper[at % 3];
  const lines = 1 + Math.floor(next() * 4);
  for (let line = 0; line < lines; line += 1) {
    const top = Math.floor((HEIGHT * (line + 1)) / (lines + 1)) - 12;
    const margin = 80 + Math.floor(next() * 120);
    for (let left = margin; left < WIDTH - margin; left += 14) {
      if (next() < 0.15) continue;
      for (let stroke = 0; stroke < 4; stroke += 1) {
        const isUpright = next() < 0.5;
        const [x, y] = [left + Math.floor(next() * 8), top + Math.floor(next() * 18)];
        const [wide, high] = isUpright ? [3, 22 - (y - top)] : [10 - (x - left), 3];
        for (let row = y; row < y + high; row += 1) pixels.fill(ink, (row * WIDTH + x) * 3, (row * WIDTH + x + wide) * 3);
      }
    }
  }
  return Buffer.concat([Buffer.from(`P6 ${WIDTH} ${HEIGHT} 255\n`), pixels]);
}

/** The segments of a film: `{ kind, seconds }`; a good scene has the kind `good`. */
function plan(next, scale) {
  const segments = [];
  const add = (kind, from, to) => segments.push({ kind, seconds: Math.max(0.4, Math.round((from + next() * (to - from)) * scale * FPS) / FPS) });
  const bad = [...BAD_KINDS].sort(() => next() - 0.5);
  // Films begin with nothing, a logo or a title more often than with a scene.
  add(["black", "card", "bars", "test picture"][Math.floor(next() * 4)], 2, 8);
  for (const kind of bad.slice(0, 4 + Math.floor(next() * 4))) {
    add("good", 3, 9);
    if (kind === "flash") add(kind, 0.4, 0.6);
    else if (kind === "fade" || kind === "transition") add(kind, 1, 2.5);
    else add(kind, 2, 8);
  }
  add("black", 1, 4);
  return segments;
}

/**
 * Makes the films in `folder`, unless it has them. Returns `{ path, seconds, segments: [{ kind, from, to }] }`.
 * @param {{ folder: string, count: number, media?: string, scale?: number }} settings `scale` shortens the segments
 */
export function makeFilms({ folder, count, media, scale = 1 }) {
  mkdirSync(folder, { recursive: true });
  return Array.from({ length: count }, (_, number) => makeFilm(folder, number, media, scale));
}

function makeFilm(folder, number, media, scale) {
  const next = random(1900 + number);
  const segments = plan(next, scale);
  const isLetterboxed = number % 5 === 0;
  const inputs = [];
  const chains = [];
  const uniform = `fps=${FPS},setsar=1,format=yuv420p,setpts=PTS-STARTPTS`;
  const input = (...args) => inputs.push(args) - 1;
  // A scene of each segment, and where it starts.
  const scenes = segments.map(({ seconds }) => {
    if (!media) return { source: GENERATED[Math.floor(next() * GENERATED.length)], start: 2 + next() * 3 };
    const [name, from, to] = SCENES[Math.floor(next() * SCENES.length)];
    return { source: join(media, "good", name), start: from + next() * Math.max(0, to - from - seconds) };
  });
  const scene = ({ source, start }, seconds) => {
    const kind = media ? ["-stream_loop", "3"] : ["-f", "lavfi"];
    return `[${input(...kind, "-ss", Math.max(0, start).toFixed(2), "-t", `${seconds}`, "-i", source)}:v]`;
  };
  const fit = isLetterboxed ? `scale=${WIDTH}:270,pad=${WIDTH}:${HEIGHT}:0:45` : `scale=${WIDTH}:${HEIGHT}`;
  const sources = { black: "color=c=black", flash: "color=c=white", bars: "smptehdbars", "test picture": "testsrc" };
  for (const [place, { kind, seconds }] of segments.entries()) {
    const out = `[s${place}]`;
    const end = `,trim=duration=${seconds},${uniform}${out}`;
    const lavfi = (source) => `[${input("-f", "lavfi", "-t", `${seconds}`, "-i", `${source}${source.includes("=") ? ":" : "="}s=${WIDTH}x${HEIGHT}:r=${FPS}`)}:v]`;
    if (sources[kind]) chains.push(`${lavfi(sources[kind])}null${end}`);
    else if (kind === "noise") chains.push(`${lavfi("color=c=gray")}noise=alls=100:allf=t${end}`);
    else if (kind === "card") {
      const path = join(folder, `card-${number}-${place}.ppm`);
      writeFileSync(path, card(next));
      chains.push(`[${input("-loop", "1", "-framerate", `${FPS}`, "-t", `${seconds}`, "-i", path)}:v]null${end}`);
    } else if (kind === "transition") {
      // Only the blended frames of a crossfade: the scene before continues, and the scene after it has begun.
      const [before, after] = [place - 1, place + 1].map((near) => (segments[near].kind === "good" ? near : place));
      const one = scene({ ...scenes[before], start: scenes[before].start + segments[before].seconds }, seconds);
      const other = scene({ ...scenes[after], start: scenes[after].start - seconds }, seconds);
      chains.push(`${one}${fit},${uniform}[a${place}];${other}${fit},${uniform}[b${place}]`);
      chains.push(`[a${place}][b${place}]blend=all_expr='A*(0.7-0.4*T/${seconds})+B*(0.3+0.4*T/${seconds})'${end}`);
    } else {
      // A fade is too dark for a poster up to two fifths.
      const change = { blur: ",gblur=sigma=14", fade: `,eq=eval=frame:brightness=-0.75+0.3*t/${seconds}:contrast=0.35` }[kind] ?? "";
      chains.push(`${scene(scenes[place], seconds)}${fit},${uniform}${change}${end}`);
    }
  }
  const path = join(folder, `crossfades-${number}-${media ? "real" : "generated"}-${scale}.mp4`);
  if (!existsSync(path)) {
    const graph = `${chains.join(";")};${segments.map((_, place) => `[s${place}]`).join("")}concat=n=${segments.length}[v]`;
    const draft = join(folder, `draft-${number}.mp4`);
    const encode = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-g", "100", "-movflags", "+faststart"];
    execFileSync(process.env.GLIMPSE_REFERENCE_FFMPEG, ["-nostdin", "-v", "error", "-y", ...inputs.flat(), "-filter_complex", graph, "-map", "[v]", ...encode, draft], { stdio: "inherit" });
    renameSync(draft, path);
  }
  let at = 0;
  const known = segments.map(({ kind, seconds }) => ({ kind, from: at, to: (at += seconds) }));
  return { path, seconds: at, segments: known };
}
