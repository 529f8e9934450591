// Measures how often a poster is a black, blurred, blended or otherwise useless frame, with several methods, and prints
// the commands.
//
// usage: cargo xtask bench poster [--films N] [--smoke]
//
// The kind of every moment of the made films is known (films.mjs). The methods:
//   glimpse     the poster of the `preview` function
//   10 %        the frame at a tenth of the length
//   thumbnail   ffmpeg's filter with its default: of the first 100 frames
//   histogram   of 100 frames over the whole length, the one whose histogram of colors is nearest to the mean histogram
// The films of GLIMPSE_MEDIA have no known kinds: there a poster is `dark` if a fiftieth of its pixels or less is lit,
// `flat` if its luma hardly differs, and `blurred` if most frames of the film are more than twice as sharp. Films of
// which no frame passes are left out. --smoke does it with one short film and prints no figures: `cargo xtask test` runs
// it.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { formatNumber, median, percentile, table } from "../edge/report.mjs";
import { stopAll, temporaryFolder } from "../edge/servers.mjs";
import { BAD_KINDS, makeFilms } from "./films.mjs";

const { values: options } = parseArgs({ options: { films: { type: "string", default: "30" }, smoke: { type: "boolean", default: false } } });
const MEDIA = options.smoke ? undefined : process.env.GLIMPSE_MEDIA;
const FFMPEG = process.env.GLIMPSE_REFERENCE_FFMPEG;
const ENGINE = join(process.env.GLIMPSE_ENGINE, "engine");
/** The frames that are compared, and their size. */
const FRAMES = 100;
const [WIDTH, HEIGHT] = [160, 90];
/** The number of bins of a channel's histogram. */
const BINS = 64;

function run(program, args, settings = {}) {
  const { status, stdout, stderr } = spawnSync(program, args, { maxBuffer: 2 ** 30, ...settings });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: ${stderr}`);
  return { stdout, stderr: String(stderr) };
}

/** The length of a film in seconds. */
function lengthOf(path) {
  const { stderr } = spawnSync(FFMPEG, ["-nostdin", "-hide_banner", "-i", path], { encoding: "utf8" });
  const [, hours, minutes, seconds] = /Duration: (\d+):(\d+):([\d.]+)/.exec(stderr) ?? [];
  return hours === undefined ? undefined : Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds);
}

/** Frames over the whole length as RGB: `{ at, pixels }`. */
function framesOf(path, seconds) {
  const rate = FRAMES / seconds;
  const { stdout } = spawnSync(FFMPEG, ["-nostdin", "-v", "error", "-i", path, "-map", "0:v:0", "-vf", `fps=${rate},scale=${WIDTH}:${HEIGHT}`, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], { maxBuffer: 2 ** 30 });
  const bytes = WIDTH * HEIGHT * 3;
  return Array.from({ length: Math.floor(stdout.length / bytes) }, (_, number) => ({ at: number / rate, pixels: stdout.subarray(number * bytes, (number + 1) * bytes) }));
}

function histogram(pixels) {
  const counts = new Float64Array(3 * BINS);
  for (let at = 0; at < pixels.length; at += 1) counts[(at % 3) * BINS + ((pixels[at] * BINS) >> 8)] += 1;
  return counts;
}

/** The moment of the frame whose histogram is nearest to the mean of all. */
function nearestToMean(frames) {
  if (frames.length === 0) return 0;
  const all = frames.map(({ pixels }) => histogram(pixels));
  const mean = all[0].map((_, bin) => all.reduce((sum, counts) => sum + counts[bin], 0) / all.length);
  const distances = all.map((counts) => counts.reduce((sum, count, bin) => sum + (count - mean[bin]) ** 2, 0));
  return frames[distances.indexOf(Math.min(...distances))].at;
}

/** The moment that ffmpeg's filter chooses, in seconds. */
function thumbnail(path) {
  const { stderr } = spawnSync(FFMPEG, ["-nostdin", "-hide_banner", "-i", path, "-map", "0:v:0", "-vf", "thumbnail,showinfo", "-frames:v", "1", "-f", "null", "-"], { encoding: "utf8" });
  return Number(/pts_time:([\d.]+)/.exec(stderr)?.[1] ?? 0);
}

/** Glimpse's poster, its moment in seconds if that is known, and the CPU time of all default outputs. */
function glimpse(path, folder) {
  const { stdout } = run(ENGINE, [path, "--out", folder]);
  const report = JSON.parse(stdout);
  if (report.result !== "Ok(Ready)") return undefined;
  return { at: (report.poster_ms ?? 0) / 1000, poster: join(folder, "thumbnail.jpg"), cpu: report.cpu_self + report.cpu_children };
}

/** The moments that the methods choose, by name; undefined if Glimpse rejects the film. */
function choices(path, seconds, folder) {
  const ours = glimpse(path, folder);
  if (!ours) return undefined;
  const moments = { glimpse: ours.at, "10 %": seconds / 10, thumbnail: thumbnail(path), histogram: nearestToMean(framesOf(path, seconds)) };
  return { moments, poster: ours.poster, cpu: ours.cpu };
}

const METHODS = ["glimpse", "10 %", "thumbnail", "histogram"];

/** Luma of a frame: the standard deviation, the level that a fiftieth of the pixels exceeds, and the sharpness. */
function measure(pixels) {
  const luma = new Float64Array(pixels.length / 3).map((_, at) => 0.2126 * pixels[3 * at] + 0.7152 * pixels[3 * at + 1] + 0.0722 * pixels[3 * at + 2]);
  const mean = luma.reduce((sum, value) => sum + value, 0) / luma.length;
  const deviation = Math.sqrt(luma.reduce((sum, value) => sum + (value - mean) ** 2, 0) / luma.length);
  let curvature = 0;
  for (let row = 0; row < HEIGHT; row += 1) {
    for (let column = 1; column < WIDTH - 1; column += 1) {
      const at = row * WIDTH + column;
      curvature += Math.abs(2 * luma[at] - luma[at - 1] - luma[at + 1]);
    }
  }
  return { deviation, lit: percentile([...luma], 98), sharpness: curvature / luma.length / Math.max(1, deviation) };
}

/** The first frame of a file, or the one at a moment in seconds; empty if there is none. */
function frameAt(path, at) {
  const seek = at === undefined ? [] : ["-ss", at.toFixed(3)];
  const args = ["-nostdin", "-v", "error", ...seek, "-i", path, "-map", "0:v:0", "-frames:v", "1", "-vf", `scale=${WIDTH}:${HEIGHT}`];
  // The output counts, not the status: a film may be damaged.
  return spawnSync(FFMPEG, [...args, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], { maxBuffer: 2 ** 30 }).stdout;
}

/** Why a frame of a film without known kinds is no poster; undefined if it may be one. */
function faultOf(pixels, sharpness) {
  if (pixels.length === 0) return undefined;
  const measured = measure(pixels);
  if (measured.lit < 48) return "dark";
  if (measured.deviation < 8) return "flat";
  return measured.sharpness < sharpness / 2 ? "blurred" : undefined;
}

function made(films, folder) {
  const found = films.map((film) => {
    const chosen = choices(film.path, film.seconds, folder);
    if (!chosen) throw new Error(`${film.path} is rejected`);
    const kinds = Object.fromEntries(METHODS.map((name) => {
      const at = chosen.moments[name];
      return [name, (film.segments.find(({ from, to }) => at >= from && at < to) ?? film.segments.at(-1)).kind];
    }));
    return { ...chosen, kinds };
  });
  const count = (name, kind) => found.filter(({ kinds }) => kinds[name] === kind).length;
  const rows = METHODS.map((name) => {
    const bad = found.length - count(name, "good");
    return [name, `${bad} of ${found.length}`, ...BAD_KINDS.map((kind) => count(name, kind))];
  });
  if (!options.smoke) {
    table(["made films", "no poster", ...BAD_KINDS], rows);
    console.log(`\nCPU time of all default outputs, median: ${formatNumber(median(found.map(({ cpu }) => cpu)))} s`);
    found.forEach(({ kinds, moments }, number) => kinds.glimpse === "good" || console.log(`film ${number}: ${kinds.glimpse} at ${moments.glimpse} s: ${films[number].path}`));
  }
  return found;
}

function real(media, folder) {
  const found = readdirSync(media).sort().flatMap((name) => {
    const path = join(media, name);
    const seconds = lengthOf(path);
    const chosen = seconds ? choices(path, seconds, folder) : undefined;
    if (!chosen) return [];
    const frames = framesOf(path, seconds);
    const sharpness = median(frames.map(({ pixels }) => measure(pixels).sharpness));
    if (frames.every(({ pixels }) => faultOf(pixels, sharpness))) return [];
    const poster = (method) => (method === "glimpse" ? frameAt(chosen.poster) : frameAt(path, chosen.moments[method]));
    const faults = Object.fromEntries(METHODS.map((method) => [method, faultOf(poster(method), sharpness)]));
    return [{ name, faults }];
  });
  const kinds = ["dark", "flat", "blurred"];
  table(["films of GLIMPSE_MEDIA", "no poster", ...kinds], METHODS.map((method) => {
    const of = (kind) => found.filter(({ faults }) => faults[method] === kind).length;
    return [method, `${found.filter(({ faults }) => faults[method]).length} of ${found.length}`, ...kinds.map(of)];
  }));
  for (const { name, faults } of found) if (faults.glimpse) console.log(`${name}: ${faults.glimpse}`);
}

function main() {
  const folder = options.smoke ? temporaryFolder() : join(process.env.GLIMPSE_TOOLS_DIR, "poster-bench");
  const films = makeFilms({ folder, count: options.smoke ? 1 : Number(options.films), media: MEDIA, scale: options.smoke ? 0.15 : 1 });
  if (!options.smoke) {
    console.log(`$ cargo xtask bench poster --films ${options.films}`);
    console.log(`${films.length} films of ${formatNumber(films.reduce((sum, { seconds }) => sum + seconds, 0) / films.length)} s on average`);
  }
  const outputs = join(folder, "outputs");
  const found = made(films, outputs);
  if (MEDIA) real(join(MEDIA, "good"), outputs);
  if (options.smoke) console.log(`smoke: ${found.length} film, ${METHODS.length} methods; no figures`);
}

try {
  main();
} finally {
  await stopAll();
}
