// The Cache API of a measured Worker: a separate process that keeps entries in memory. `workerd serve` has no cache; it
// sends HTTP requests to one (`GET`, to be answered from the cache only, and `PUT` of a whole response).
//
//   usage: node cache.mjs PORT [forgetful]     with `forgetful`, the cache accepts entries but never returns one

import { createServer } from "node:http";

const [port, mood] = process.argv.slice(2);
const entries = new Map();

/** A stored response: HTTP/1.1 as text in front of its body. */
function parseResponse(bytes) {
  const end = bytes.indexOf("\r\n\r\n");
  const [status, ...lines] = bytes.subarray(0, end).toString("latin1").split("\r\n");
  const headers = lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]);
  const kept = headers.filter(([name]) => !["transfer-encoding", "content-length", "connection"].includes(name));
  return { status: Number(status.split(" ")[1]), headers: Object.fromEntries(kept), body: bytes.subarray(end + 4) };
}

/** Decodes a chunked body. */
function dechunk({ headers, body, ...rest }, isChunked) {
  if (!isChunked) return { ...rest, headers, body };
  const parts = [];
  for (let at = 0; ; ) {
    const line = body.indexOf("\r\n", at);
    const length = Number.parseInt(body.subarray(at, line).toString("latin1"), 16);
    if (!length) return { ...rest, headers, body: Buffer.concat(parts) };
    parts.push(body.subarray(line + 2, line + 2 + length));
    at = line + 2 + length + 2;
  }
}

function answer(request, response) {
  const entry = entries.get(request.headers.host + request.url);
  if (!entry) return response.writeHead(504, { "cf-cache-status": "MISS" }).end();
  const { status, headers, body } = entry;
  if (request.headers["if-none-match"] === headers.etag && headers.etag) {
    return response.writeHead(304, { ...headers, "cf-cache-status": "HIT" }).end();
  }
  return response.writeHead(status, { ...headers, "content-length": body.length, "cf-cache-status": "HIT" }).end(body);
}

createServer((request, response) => {
  if (request.method === "GET") return answer(request, response);
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const bytes = Buffer.concat(chunks);
    const isChunked = /\r\ntransfer-encoding: *chunked/i.test(bytes.subarray(0, bytes.indexOf("\r\n\r\n") + 2).toString("latin1"));
    if (request.method === "PUT" && mood !== "forgetful") entries.set(request.headers.host + request.url, dechunk(parseResponse(bytes), isChunked));
    response.writeHead(request.method === "PUT" ? 204 : 405).end();
  });
}).listen(Number(port), "127.0.0.1");
