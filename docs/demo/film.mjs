// Draws short films: a landscape from dawn to night. They are generated, so that they can be published.

import { spawn } from "node:child_process";
import { once } from "node:events";

const WIDTH = 1280;
const HEIGHT = 720;
const FPS = 24;
const SECONDS = 8;

/**
 * Writes a film as an MP4. `seed` shapes the hills; `firstHour` and `lastHour` (0 to 1) are the part of the day.
 * @param {import("playwright-core").Browser} browser
 */
export async function writeFilm(browser, ffmpeg, path, { seed, firstHour, lastHour }) {
  const page = await browser.newPage();
  await page.setContent(`<canvas width="${WIDTH}" height="${HEIGHT}"></canvas>`);
  await page.evaluate(defineLandscape);
  const input = ["-f", "image2pipe", "-c:v", "mjpeg", "-framerate", `${FPS}`, "-i", "-"];
  const h264 = ["-c:v", "libx264", "-preset", "fast", "-crf", "20", "-pix_fmt", "yuv420p", "-g", `${FPS}`, "-movflags", "+faststart"];
  const encoder = spawn(ffmpeg, ["-v", "error", "-y", ...input, ...h264, path], { stdio: ["pipe", "inherit", "inherit"] });
  const finished = once(encoder, "close");
  const count = FPS * SECONDS;
  for (let number = 0; number < count; number += 1) {
    const progress = number / count;
    const hour = firstHour + (lastHour - firstHour) * progress;
    const jpeg = await page.evaluate(([hour, progress, seed]) => globalThis.drawLandscape(hour, progress, seed), [hour, progress, seed]);
    if (!encoder.stdin.write(Buffer.from(jpeg, "base64"))) await once(encoder.stdin, "drain");
  }
  encoder.stdin.end();
  const [status] = await finished;
  await page.close();
  if (status !== 0) throw new Error(`${ffmpeg} cannot encode the film: status ${status}`);
}

/** Runs in the page: defines `drawLandscape(hour, progress, seed)`, which returns a JPEG in base64. */
function defineLandscape() {
  const canvas = document.querySelector("canvas");
  const { width, height } = canvas;
  const context = canvas.getContext("2d");

  // Sky at the top, sky at the horizon, the farthest hills, the nearest hills, the light in the sky.
  const HOURS = [
    [0, "#2b2a5e", "#f2a07b", "#8a6a9c", "#2c2350", "#ffd9a0"],
    [0.3, "#3f8fd6", "#cfe9f7", "#8fb3c9", "#1f4d4a", "#fff6d8"],
    [0.62, "#5a58b8", "#ffc27a", "#b3709a", "#3a2452", "#ffe0a3"],
    [0.8, "#2a1f63", "#f0667a", "#6f3f87", "#22163f", "#ffb27d"],
    [1, "#0a0d26", "#26346b", "#1d2450", "#0a0b1f", "#e9edff"],
  ];
  const parse = (color) => [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
  const mix = (one, other, part) => {
    const channels = parse(one).map((value, index) => Math.round(value + (parse(other)[index] - value) * part));
    return `#${channels.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
  };
  const colorsAt = (hour) => {
    const after = Math.max(1, HOURS.findIndex(([time]) => time >= hour));
    const [from, to] = [HOURS[after - 1], HOURS[after]];
    const part = (hour - from[0]) / (to[0] - from[0]);
    return from.slice(1).map((color, index) => mix(color, to[index + 1], part));
  };
  const noise = (number) => {
    const value = Math.sin(number * 127.1) * 43758.5453;
    return value - Math.floor(value);
  };

  function drawDisc(x, y, radius, color, glow) {
    const halo = context.createRadialGradient(x, y, radius * 0.6, x, y, radius * glow);
    halo.addColorStop(0, `${color}cc`);
    halo.addColorStop(1, `${color}00`);
    context.fillStyle = halo;
    context.fillRect(0, 0, width, height);
    context.fillStyle = color;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  }

  function drawHills(layer, color, seed, progress) {
    const near = layer / 4;
    const shift = progress * (60 + 420 * near * near);
    context.fillStyle = color;
    context.beginPath();
    context.moveTo(0, height);
    for (let x = 0; x <= width; x += 4) {
      const place = (x + shift) / width + seed * 7 + layer * 3.7;
      const wave = Math.sin(place * 3.1) * 0.5 + Math.sin(place * 7.3 + seed) * 0.28 + Math.sin(place * 17.9) * 0.08 * (1 + near);
      context.lineTo(x, height * (0.56 + near * 0.3) - wave * height * (0.13 - near * 0.05));
    }
    context.lineTo(width, height);
    context.fill();
  }

  globalThis.drawLandscape = (hour, progress, seed) => {
    const [top, horizon, far, close, light] = colorsAt(hour);
    const sky = context.createLinearGradient(0, 0, 0, height * 0.75);
    sky.addColorStop(0, top);
    sky.addColorStop(1, horizon);
    context.fillStyle = sky;
    context.fillRect(0, 0, width, height);

    const night = Math.max(0, (hour - 0.78) / 0.22);
    for (let star = 0; star < 160; star += 1) {
      context.fillStyle = `rgb(255 255 255 / ${night * (0.3 + 0.7 * noise(star + 0.5))})`;
      const size = 1 + 2 * noise(star + 0.25);
      context.fillRect(noise(star) * width, noise(star + 0.75) * height * 0.6, size, size);
    }
    const day = Math.min(1, hour / 0.86);
    drawDisc(width * (0.12 + 0.76 * day), height * (0.62 - 0.46 * Math.sin(day * Math.PI)), 46, light, 7);
    if (night > 0) drawDisc(width * 0.24, height * (0.5 - 0.28 * night), 34, "#f4f1ff", 4);

    for (let cloud = 0; cloud < 5; cloud += 1) {
      const x = ((noise(cloud + seed) + progress * (0.05 + 0.04 * cloud)) % 1.3) * width - 0.15 * width;
      const y = height * (0.12 + 0.07 * cloud);
      context.fillStyle = `rgb(255 255 255 / ${0.22 * (1 - night * 0.8)})`;
      for (let puff = 0; puff < 4; puff += 1) {
        context.beginPath();
        context.ellipse(x + puff * 42, y + noise(puff + cloud) * 14, 70, 16 + 8 * noise(cloud + puff), 0, 0, 2 * Math.PI);
        context.fill();
      }
    }
    for (let layer = 0; layer <= 4; layer += 1) drawHills(layer, mix(far, close, layer / 4), seed, progress);
    return canvas.toDataURL("image/jpeg", 0.93).split(",")[1];
  };
}
