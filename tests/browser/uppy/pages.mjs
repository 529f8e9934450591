// Serves the test pages: each Uppy version bundled as an app would bundle it, served from memory on its own origin.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

/** The page's program as one self-contained script. */
export async function bundle(generation) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(`${generation}/page.js`, import.meta.url))],
    bundle: true,
    format: "iife",
    target: "chrome120",
    define: { "process.env.NODE_ENV": '"production"' },
    write: false,
    logLevel: "warning",
  });
  return outputFiles[0].text;
}

/** Serves the page at `/` and the clip at `/clip.mp4` on this port; returns a function that stops the server. */
export async function serve(port, program, clip) {
  const html = '<!doctype html><meta charset="utf-8"><title>Uppy</title><body><script src="/page.js"></script>';
  const files = {
    "/": ["text/html", html],
    "/page.js": ["text/javascript", program],
    "/clip.mp4": ["video/mp4", await readFile(clip)],
    "/favicon.ico": ["image/x-icon", ""],
  };
  const server = createServer((request, response) => {
    const [type, body] = files[request.url] ?? ["text/plain", undefined];
    const headers = { "content-type": type, "access-control-allow-origin": "*" };
    response.writeHead(body === undefined ? 404 : 200, headers).end(body);
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return () => server.close();
}
