// A site that does with a pasted link what Discord documents, in a real browser: it reads the tags of the page and plays
// the video that they name, until it has ended. A second site frames the player as X does.
//
//   GLIMPSE_PAGE=http://localhost:8787/7zzzzzzzzz0123456789abcdef node tests/browser/link-preview.mjs
//
// The rules are those of <https://docs.discord.com/developers/link-previews/overview> and
// <https://developer.x.com/en/docs/x-for-websites/cards/overview/player-card>. Two are left out on a development
// machine: it has no TLS, and nothing is measured by a service.

import { mkdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

import * as page from "./page-helpers.mjs";

const link = process.env.GLIMPSE_PAGE;
const shots = process.env.GLIMPSE_SCREENSHOTS ?? "target/screenshots";
const VIDEO_TYPES = ["video/mp4", "video/webm", "video/quicktime"];
/** The longest URL of a preview, and of its title, in characters and bytes. */
const [MAX_URL, MAX_TITLE] = [2048, 70];

/** The tags of a page in the order of the document: the key is `name` or `property`, the value `content` or `value`. */
function tags(html) {
  const head = html.slice(0, html.indexOf("<main"));
  const attribute = (tag, name) => new RegExp(`\\s${name}="([^"]*)"`).exec(tag)?.[1];
  const decode = (text) => text.replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&#39;", "'").replaceAll("&amp;", "&");
  return [...head.matchAll(/<meta[^>]*>/g)]
    .map(([tag]) => [attribute(tag, "name") ?? attribute(tag, "property"), attribute(tag, "content") ?? attribute(tag, "value")])
    .filter(([key, value]) => key && value)
    .map(([key, value]) => [key, decode(value)]);
}

/** What Discord makes of a link: the embed, or an error with the rule that the page breaks. */
async function unfurl(url) {
  const response = await fetch(url, { headers: { "user-agent": "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)" } });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  page.expectMatch(response.headers.get("content-type"), /^(text\/html|application\/xhtml\+xml)/, "the page's type");
  page.expectEqual(response.headers.get("content-disposition"), null, "the page is no download");
  const found = tags(await response.text());
  const first = (...keys) => found.find(([key]) => keys.includes(key))?.[1];
  const last = (...keys) => found.findLast(([key]) => keys.includes(key))?.[1];
  const video = first("og:video", "og:video:url", "og:video:secure_url", "twitter:player:stream");
  const images = found.filter(([key]) => key === "og:image").map(([, value]) => value);
  const isVideoLayout = /^video(\.|$)/.test(last("og:type")) || last("twitter:card") === "player";
  if (!video || !isVideoLayout) throw new Error(`a still card: ${JSON.stringify(found)}`);
  if (!VIDEO_TYPES.includes(first("og:video:type", "twitter:player:stream:content_type"))) throw new Error("the video's type is not supported");
  page.expectEqual(images.length, 1, "images: two are a gallery");
  for (const target of [video, ...images]) {
    page.expectMatch(target, /^https?:\/\//, "an absolute URL");
    if (target.length > MAX_URL) throw new Error(`${target} is too long`);
  }
  const title = first("og:title", "twitter:title");
  if (Buffer.byteLength(title) > MAX_TITLE) throw new Error(`"${title}" is trimmed`);
  return {
    title,
    site: first("og:site_name"),
    color: last("theme-color"),
    image: images[0],
    video,
    type: first("og:video:type"),
    size: ["width", "height"].map((side) => Number(first(`og:video:${side}`))),
    player: { url: first("twitter:player"), size: ["width", "height"].map((side) => Number(first(`twitter:player:${side}`))) },
    stream: first("twitter:player:stream"),
  };
}

const attributes = (text) => text.replaceAll("&", "&amp;").replaceAll('"', "&quot;");

/** A message with the embed: the video has the poster as its first frame. */
const chat = ({ title, site, color, image, video, size: [width, height] }) => `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A chat</title>
<style>body { margin: 2rem; background: #313338; color: #dbdee1; font: 1rem/1.4 system-ui } article { width: 420px; padding: 1rem; border-left: 4px solid ${attributes(color)}; border-radius: 4px; background: #2b2d31 } video { display: block; width: 100%; margin-top: .75rem; border-radius: 4px } a { color: #00a8fc } small { display: block }</style>
<article><small>${attributes(site)}</small><a href="${attributes(link)}">${attributes(title)}</a>
<video src="${attributes(video)}" poster="${attributes(image)}" width="${width}" height="${height}" controls playsinline preload="none"></video></article>`;

async function check(tab, complaints, site) {
  const embed = await unfurl(link);
  page.expectMatch(embed.video, /\/animated\.mp4\?v=[0-9a-f]{8}$/, "the video");
  page.expectEqual(embed.stream, embed.video, "the stream of the player card");
  if (embed.size.some((side) => side % 2 || side < 2) || embed.size[0] > 320) throw new Error(`${embed.size}: not the size of a preview`);
  const file = await fetch(embed.video);
  page.expectEqual(file.headers.get("content-type"), embed.type, "the file's type");
  page.expectMatch(file.headers.get("cache-control"), /immutable/, "the file's lifetime");
  const part = await fetch(embed.video, { headers: { range: "bytes=0-99" } });
  page.expectEqual(part.status, 206, "status of a range, which players request");

  site.html = chat(embed);
  await tab.goto(site.origin);
  const film = tab.locator("video");
  await film.evaluate((one) => {
    one.muted = true;
    one.frames = 0;
    const count = () => {
      one.frames += 1;
      one.requestVideoFrameCallback(count);
    };
    one.requestVideoFrameCallback(count);
    return one.play();
  });
  await tab.screenshot({ path: join(shots, "link-preview-chat.png") });
  await page.eventually("the video has ended", () => film.evaluate((one) => one.ended), 60_000);
  const { frames, width, height, error } = await film.evaluate((one) => ({ frames: one.frames, width: one.videoWidth, height: one.videoHeight, error: one.error?.message }));
  page.expectEqual(error, undefined, "an error of the player");
  page.expectAtLeast(frames, 2, "frames");
  page.expectEqual(`${width}x${height}`, embed.size.join("x"), "the size in the tags");
  console.log("ok - the pasted link plays the preview until its end");

  const [frameWidth, frameHeight] = embed.player.size;
  site.html = `<!doctype html><html lang="en"><title>A card</title><style>body { margin: 0 }</style><iframe src="${attributes(embed.player.url)}" width="${frameWidth}" height="${frameHeight}" style="border:0"></iframe>`;
  await tab.setViewportSize({ width: frameWidth, height: frameHeight });
  await tab.goto(site.origin);
  const frame = tab.frameLocator("iframe");
  await frame.locator("#player > .screen.drawn").waitFor();
  await tab.screenshot({ path: join(shots, "link-preview-card-still.png") });
  await frame.locator(".screen").click();
  await page.eventually("the card moves", () => frame.locator("video.moving").evaluate((one) => !one.paused && one.currentTime > 0));
  await tab.screenshot({ path: join(shots, "link-preview-card.png") });
  complaints.mustBeEmpty();
  console.log("ok - the player card plays the preview in a frame");
}

if (!link) {
  console.error("GLIMPSE_PAGE is not set: it is the link that is pasted");
  process.exit(2);
}
mkdirSync(shots, { recursive: true });
const site = { html: "", origin: "" };
const server = createServer((request, response) => {
  response.writeHead(request.url === "/" ? 200 : 204, { "content-type": "text/html; charset=utf-8" });
  response.end(request.url === "/" ? site.html : undefined);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
site.origin = `http://127.0.0.1:${server.address().port}`;
const browser = await page.launch();
try {
  const context = await browser.newContext({ viewport: { width: 540, height: 560 }, colorScheme: "dark" });
  const tab = await context.newPage();
  tab.setDefaultTimeout(15_000);
  await check(tab, page.listen(tab), site);
} catch (error) {
  console.log("not ok - a pasted link");
  console.error(error.stack);
  process.exitCode = 1;
} finally {
  await browser.close();
  server.closeAllConnections();
  server.close();
}
