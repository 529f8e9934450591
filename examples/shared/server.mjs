// The server of the examples. It serves an example's page, and does what needs the secret token: it creates an upload
// token for each visitor, and lists the videos. In your app, these two routes belong behind your own sign-in.
//
//   GLIMPSE_URL=http://localhost:8787 GLIMPSE_TOKEN=eyJ… node ../shared/server.mjs dist
//
// PORT is 5173 by default.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, resolve, sep } from "node:path";

import { Glimpse, pageUrl } from "@glimpse-video/client";

const { GLIMPSE_URL: url, GLIMPSE_TOKEN: token, PORT: port = "5173" } = process.env;
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".map": "application/json" };
/** How many videos a visitor can upload with one token. */
const VIDEOS = 20;

if (!url || !token || !process.argv[2]) {
  console.error("Set GLIMPSE_URL and GLIMPSE_TOKEN to the values that `cargo xtask dev` prints, and name the folder of the page.");
  process.exit(2);
}
const folder = resolve(process.argv[2]);
const glimpse = new Glimpse({ url, token });

const uploadUrl = async () => (await glimpse.uploadTokens.create({ videos: VIDEOS })).url;

const routes = {
  "POST /api/upload-url": async () => ({ url: await uploadUrl() }),
  "GET /api/videos": async () => {
    const { videos } = await glimpse.videos.list();
    return videos.filter(({ state }) => state === "ready").map(({ id, name, thumbhash }) => ({ id, name, thumbhash, page: pageUrl(url, id) }));
  },
};

async function sendFile(path, response) {
  const file = join(folder, path === "/" ? "index.html" : decodeURIComponent(path));
  const type = TYPES[extname(file)] ?? "application/octet-stream";
  const bytes = file.startsWith(folder + sep) ? await readFile(file).catch(() => undefined) : undefined;
  const body = bytes && type.startsWith("text/html") ? await fillIn(String(bytes)) : bytes;
  response.writeHead(bytes ? 200 : 404, { "content-type": type }).end(body);
}

/** The plain HTML has the URLs of the documentation: an upload token's, and the deployment's. */
async function fillIn(html) {
  const tokenUrl = "https://video.example.com/u/eyJ…";
  const filled = html.includes(tokenUrl) ? html.replace(tokenUrl, await uploadUrl()) : html;
  return filled.replaceAll("https://video.example.com", url);
}

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const route = routes[`${request.method} ${pathname}`];
  try {
    if (!route) return await sendFile(pathname, response);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(await route()));
  } catch (error) {
    console.error(error);
    response.writeHead(502, { "content-type": "application/json" }).end(JSON.stringify({ message: error.message }));
  }
});
server.listen(Number(port), "127.0.0.1", () => console.log(`http://localhost:${server.address().port}`));
