// End-to-end test of storyboards in Shaka Player, in a real browser: image tracks of an HLS stream whose multivariant
// playlist names storyboard.m3u8, and the WebVTT track of a plain MP4.
//
//   GLIMPSE_EDGE_URL=http://localhost:8787 GLIMPSE_VIDEO=7zz… GLIMPSE_CLIP=clip.mp4 node tests/browser/shaka.mjs
//
// GLIMPSE_CLIP is the file of the video GLIMPSE_VIDEO. Prints `ok - …` for each step; the first failure prints the
// reason, and exits with 1.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";

import * as page from "./page-helpers.mjs";

const { GLIMPSE_EDGE_URL: edge, GLIMPSE_VIDEO: video, GLIMPSE_CLIP: clip } = process.env;
if (!edge || !video || !clip) {
  console.error("GLIMPSE_EDGE_URL, GLIMPSE_VIDEO and GLIMPSE_CLIP must be set");
  process.exit(2);
}
/** The query of each storyboard, and the format of its sheet. */
const BOARDS = [
  { query: "", type: "image/jpeg" },
  { query: "format=webp", type: "image/webp" },
  { query: "tiles=7&width=160", type: "image/jpeg" },
  { query: "interval=2.5&width=100&format=webp", type: "image/webp" },
];
const TYPES = { ".m3u8": "application/vnd.apple.mpegurl", ".m4s": "video/mp4", ".mp4": "video/mp4", ".js": "text/javascript", ".html": "text/html" };

const scratch = mkdtempSync(join(tmpdir(), "glimpse-shaka-"));
const files = new Map();
const server = createServer((request, response) => {
  const path = new URL(request.url, "http://x").pathname.slice(1);
  const body = files.get(path);
  response.writeHead(body ? 200 : 204, { "content-type": TYPES[extname(path)] ?? "text/plain" });
  response.end(body);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const origin = `http://127.0.0.1:${server.address().port}`;

/** The storyboard's JSON table: where each tile is. */
async function tableOf(query) {
  const response = await fetch(`${edge}/${video}/storyboard.json?${query}`);
  if (response.status !== 200) throw new Error(`storyboard.json?${query}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** Serves the clip as an HLS stream with an image playlist for each storyboard: the lines of docs/embedding.md. */
async function serveStream() {
  const hls = ["-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4"];
  const ffmpeg = process.env.GLIMPSE_REFERENCE_FFMPEG ?? "ffmpeg";
  execFileSync(ffmpeg, ["-nostdin", "-v", "error", "-i", clip, ...hls, "-master_pl_name", "master.m3u8", "film.m3u8"], { cwd: scratch });
  for (const name of readdirSync(scratch)) files.set(name, readFileSync(join(scratch, name)));
  const lines = await Promise.all(
    BOARDS.map(async ({ query }) => {
      const { tile_width, tile_height } = await tableOf(query);
      return `#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=16000,RESOLUTION=${tile_width}x${tile_height},URI="${edge}/${video}/storyboard.m3u8?${query}"\n`;
    }),
  );
  files.set("master.m3u8", Buffer.concat([files.get("master.m3u8"), Buffer.from(lines.join(""))]));
  files.set("film.mp4", readFileSync(clip));
  files.set("shaka.js", readFileSync(fileURLToPath(new URL("../../node_modules/shaka-player/dist/shaka-player.compiled.js", import.meta.url))));
  files.set("index.html", "<!doctype html><html lang=en><title>Shaka</title><video muted></video><script src=shaka.js></script>");
}

/** Compares thumbnails of Shaka with a table: the position of each tile's time. */
function expectTiles(thumbnails, table, what) {
  for (const [place, { start, x, y }] of table.tiles.entries()) {
    const found = thumbnails[place];
    const position = `${found?.positionX},${found?.positionY} ${found?.width}x${found?.height}`;
    page.expectEqual(position, `${x},${y} ${table.tile_width}x${table.tile_height}`, `${what}: the tile at ${start} s`);
  }
}

/** A time within each tile's interval, just after its start. */
const timesOf = (table) => table.tiles.map(({ start }) => start + 0.01);

async function story(tab) {
  await serveStream();
  await tab.goto(`${origin}/index.html`);
  const tracks = await tab.evaluate(async (source) => {
    window.player = new shaka.Player();
    await player.attach(document.querySelector("video"));
    await player.load(source);
    return player.getImageTracks();
  }, `${origin}/master.m3u8`);
  page.expectEqual(tracks.length, BOARDS.length, "image tracks of the HLS stream");
  console.log("ok - an HLS stream has an image track for each storyboard");

  for (const [place, { query, type }] of BOARDS.entries()) {
    const table = await tableOf(query);
    const track = tracks.find(({ originalImageId }) => originalImageId?.endsWith(`?${query}`)) ?? tracks[place];
    const shown = await tab.evaluate(
      async ({ id, times }) => {
        const thumbnails = [];
        for (const time of times) thumbnails.push(await player.getThumbnails(id, time));
        const plain = ({ positionX, positionY, width, height, startTime, imageWidth, imageHeight, uris }) => ({ positionX, positionY, width, height, startTime, imageWidth, imageHeight, uri: uris[0] });
        const image = new Image();
        image.src = thumbnails[0].uris[0];
        await image.decode();
        const response = await fetch(image.src);
        return { thumbnails: thumbnails.map(plain), size: [image.naturalWidth, image.naturalHeight], type: response.headers.get("content-type") };
      },
      { id: track.id, times: timesOf(table) },
    );
    expectTiles(shown.thumbnails, table, `storyboard.m3u8?${query}`);
    page.expectEqual(shown.type, type, `${query}: the type of the sheet`);
    const [first] = shown.thumbnails;
    page.expectEqual(shown.size.join("x"), `${first.imageWidth}x${first.imageHeight}`, `${query}: the size of the sheet`);
    for (const [index, { startTime }] of shown.thumbnails.entries()) {
      const off = Math.abs(startTime - table.tiles[index].start);
      if (off > 0.002) throw new Error(`${query}: tile ${index} is off by ${off} s`);
    }
    console.log(`ok - storyboard.m3u8?${query} has ${shown.thumbnails.length} tiles at their positions`);
  }

  const table = await tableOf("");
  const thumbnails = await tab.evaluate(
    async ({ source, track, times }) => {
      await player.load(source);
      const { id } = await player.addThumbnailsTrack(track, "text/vtt");
      const found = [];
      for (const time of times) {
        const { positionX, positionY, width, height } = await player.getThumbnails(id, time);
        found.push({ positionX, positionY, width, height });
      }
      return found;
    },
    { source: `${origin}/film.mp4`, track: `${edge}/${video}/storyboard.vtt`, times: timesOf(table) },
  );
  expectTiles(thumbnails, table, "storyboard.vtt");
  console.log("ok - a plain MP4 has the tiles of storyboard.vtt");
}

const browser = await page.launch().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
try {
  const tab = await browser.newPage();
  const complaints = page.listen(tab);
  complaints.expect(/favicon/);
  await story(tab);
  complaints.mustBeEmpty();
} catch (error) {
  console.log("not ok");
  console.error(error.stack);
  process.exitCode = 1;
} finally {
  await browser.close();
  server.closeAllConnections();
  server.close();
  rmSync(scratch, { recursive: true, force: true });
}
