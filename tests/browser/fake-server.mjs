// A fake of the Worker's API and an in-memory S3 for the page's tests, over real HTTP, with injected errors. The
// end-to-end tests cover the real Worker; this covers situations that are hard to produce there.

import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const MIME = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png" };
const OWNER = "owner26";
/** An MP4 with H.264, as a preview. */
export const FILM = await readFile(fileURLToPath(new URL("../../doctor/clip.mp4", import.meta.url)));
/** The Worker's limits, small enough that a test can exceed them. */
const LIMITS = {
  max_upload_bytes: 100_000_000,
  max_single_upload_bytes: 100_000_000,
  types: ["video/mp4", "video/quicktime", "video/webm", "video/x-matroska", "video/x-msvideo", "video/mpeg", "image/gif"],
};

/** A storyboard of ten tiles of two seconds each. */
const TILES = Array.from({ length: 10 }, (_, place) => ({ start: place * 2, x: (place % 5) * 192, y: Math.floor(place / 5) * 108 }));
const sheet = `<svg xmlns="http://www.w3.org/2000/svg" width="960" height="216">${TILES.map(({ start, x, y }) => `<g transform="translate(${x} ${y})"><rect width="192" height="108" fill="hsl(${start * 18} 60% 45%)"/><text x="96" y="66" font-size="36" text-anchor="middle" fill="#fff">${start} s</text></g>`).join("")}</svg>`;

const poster = (hue) =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="640" height="360"><defs><linearGradient id="g" x2="1" y2="1"><stop stop-color="hsl(${hue} 70% 55%)"/><stop offset="1" stop-color="hsl(${hue + 60} 60% 30%)"/></linearGradient></defs><rect width="640" height="360" fill="url(#g)"/></svg>`;

async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Starts both servers; `dist` is the built page. */
export async function startFakeServer(dist) {
  const policy = /Content-Security-Policy: (.*)/.exec(await readFile(join(dist, "_headers"), "utf8"))[1];
  /** Every request with a complete response: `{ method, path, query, status, bytes }`. */
  const log = [];
  /** Replacement responses: `{ method, path, status, body, times, after }`; see `trouble`. */
  const rules = [];
  const videos = new Map();
  const unfinished = new Map();
  const streams = new Map();
  /** The chosen poster of a video, in seconds. */
  const posters = new Map();
  let limits = LIMITS;
  let automatic = true;

  const urlsOf = (id) =>
    Object.fromEntries(
      ["thumbnail.jpg", "thumbnail.webp", "animated.gif", "animated.webp", "animated.mp4", "storyboard.webp", "storyboard.json"].map((name) => [
        name,
        `${fake.origin}/${id}/${name}${posters.has(id) ? `?v=${posters.get(id)}` : ""}`,
      ]),
    );

  function tell(id) {
    const video = videos.get(id);
    for (const stream of streams.get(id) ?? []) {
      stream.write(`id: 3\nevent: ${video.state}\ndata: ${JSON.stringify(video)}\n\n`);
      if (["ready", "rejected", "failed"].includes(video.state)) stream.end();
    }
  }

  function addVideo(name, bytes, more = {}) {
    const id = randomBytes(13).toString("hex");
    const video = {
      id, name, bytes, state: "processing", content_type: "video/mp4", created_at: new Date().toISOString(), width: null,
      height: null, duration_ms: null, has_audio: null, thumbhash: null, dominant_color: null, problem: null,
      trace_id: randomBytes(16).toString("hex"), urls: urlsOf(id), ...more,
    };
    return video;
  }

  function arrived(video) {
    videos.set(video.id, video);
    if (automatic) setTimeout(() => fake.finish(video.name), 300);
  }

  const problem = (status, code, message) => [status, { type: "about:blank", title: code, status, code, message, error: message, detail: message }];

  function multipart(method, path, query, body) {
    const [, , uploadId, last] = path.slice(1).split("/");
    if (method === "POST" && !uploadId) {
      const { filename, type } = JSON.parse(body);
      const video = addVideo(filename, 0, { content_type: type });
      const id = randomBytes(12).toString("base64url");
      const key = `uploads/${OWNER}/${video.id}`;
      unfinished.set(id, { key, video, parts: new Map(), initiated_at: new Date().toISOString() });
      return [200, { key, uploadId: id, bucket: "fake" }];
    }
    const upload = unfinished.get(decodeURIComponent(uploadId));
    if (!upload || upload.key !== query.get("key")) return problem(404, "not_found", "There is no such upload.");
    const parts = [...upload.parts].sort(([a], [b]) => a - b);
    if (method === "DELETE") {
      unfinished.delete(uploadId);
      return [200, {}];
    }
    if (method === "GET" && !last) return [200, parts.map(([PartNumber, bytes]) => ({ PartNumber, ETag: etag(bytes), Size: bytes.length }))];
    if (method === "GET" && last === "batch") {
      const numbers = query.get("partNumbers").split(",");
      return [200, { presignedUrls: Object.fromEntries(numbers.map((number) => [number, `${fake.storage}/part/${uploadId}/${number}`])), expires: 900 }];
    }
    if (method === "GET") return [200, { url: `${fake.storage}/part/${uploadId}/${last}`, expires: 900, method: "PUT" }];
    // The Worker sorts the parts, as S3 requires.
    const named = JSON.parse(body).parts.sort((a, b) => a.PartNumber - b.PartNumber).map(({ PartNumber, ETag }) => {
      const bytes = upload.parts.get(PartNumber);
      return bytes && etag(bytes) === `"${ETag.replaceAll('"', "")}"` ? bytes : undefined;
    });
    if (named.includes(undefined)) return problem(400, "bad_parameter", "A part is not the one that was sent.");
    unfinished.delete(uploadId);
    const whole = Buffer.concat(named);
    fake.stored.set(upload.key, whole);
    const video = { ...upload.video, bytes: whole.length };
    arrived(video);
    return [200, { location: `${fake.storage}/${upload.key}`, key: upload.key, bucket: "fake", video }];
  }

  /** The owner's calls for one video. */
  function owned(method, path, body, video) {
    if (method === "DELETE") {
      videos.delete(video.id);
      return [200, { removed: {} }];
    }
    if (path.endsWith("/poster") && method === "PUT") {
      posters.set(video.id, JSON.parse(body).time);
      videos.set(video.id, { ...video, urls: urlsOf(video.id) });
      return [200, videos.get(video.id)];
    }
    if (path.endsWith("/tokens") && method === "POST") {
      const { types, expires_in } = JSON.parse(body);
      const tokens = types.map((type) => {
        const files = Object.keys(video.urls).filter((file) => file.startsWith(type));
        return { type, token: "t", urls: Object.fromEntries(files.map((file) => [file, { short: `${fake.origin}/${video.id}/${file}?expires=${expires_in}&kid=a&sig=s` }])) };
      });
      return [200, { video: video.id, tokens }];
    }
    return [200, video];
  }

  function api(method, path, query, body) {
    if (path === "/api/me") return [200, { owner: OWNER, subject: "ada", name: "Ada Lovelace", email: "ada@example.com", limits }];
    if (path === "/auth/logout") return [204, null];
    if (path === "/api/uploads") {
      const uploads = [...unfinished].map(([uploadId, { key, video, parts, initiated_at }]) => {
        const bytes_uploaded = [...parts.values()].reduce((sum, part) => sum + part.length, 0);
        return { key, uploadId, video: video.id, initiated_at, parts: parts.size, bytes_uploaded };
      });
      return [200, { uploads }];
    }
    if (path === "/api/videos" && method === "POST") {
      const { name, size, type, visibility = "public", external_id = null } = JSON.parse(body);
      const video = addVideo(name, size, { content_type: type, visibility, external_id });
      const key = `uploads/${OWNER}/${video.id}`;
      fake.granted.set(key, video);
      const headers = { "content-type": type, "if-none-match": "*" };
      return [201, { video: { ...video, state: "uploading" }, upload: { method: "PUT", url: `${fake.storage}/whole/${key}`, headers, expires_at: new Date(Date.now() + 900_000).toISOString() } }];
    }
    if (path === "/api/videos") return [200, { videos: [...videos.values()].reverse(), cursor: null }];
    const video = videos.get(path.split("/")[3]);
    if (!video) return problem(404, "not_found", "This video does not exist.");
    return owned(method, path, body, video);
  }

  function listen(id, response) {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    streams.set(id, (streams.get(id) ?? new Set()).add(response));
    response.on("close", () => streams.get(id)?.delete(response));
    tell(id);
  }

  async function page(path, response) {
    const file = normalize(path === "/" ? "/index.html" : path);
    const bytes = await readFile(join(dist, file)).catch(() => undefined);
    response.writeHead(bytes ? 200 : 404, { "content-type": MIME[extname(file)] ?? "text/plain", "content-security-policy": policy });
    response.end(bytes);
  }

  /** Responds as a rule specifies, if one matches. */
  async function hindered(method, path, response) {
    const rule = rules.find((one) => one.method === method && one.path.test(path) && one.times > 0);
    if (!rule) return false;
    rule.times -= 1;
    if (rule.status === undefined) {
      response.socket.destroy();
    } else {
      response.writeHead(rule.status, { "content-type": rule.type ?? "application/problem+json", "access-control-allow-origin": "*" });
      response.end(rule.body ?? "{}");
    }
    return true;
  }

  async function worker(request, response) {
    const { pathname: path, searchParams: query } = new URL(request.url, "http://x");
    const { method } = request;
    const body = await readBody(request);
    const rule = rules.find((one) => one.method === method && one.path.test(path) && one.times > 0);
    // The call succeeds, but its response is lost.
    if (rule?.after) multipart(method, path, query, body);
    if (await hindered(method, path, response)) return log.push({ method, path, query, status: "trouble" });
    if (path.endsWith("/storyboard.json")) {
      response.writeHead(200, { "content-type": "application/json" });
      return response.end(JSON.stringify({ tile_width: 192, tile_height: 108, duration: 20, tiles: TILES }));
    }
    if (path.endsWith("/storyboard.webp")) return response.writeHead(200, { "content-type": "image/svg+xml" }).end(sheet);
    if (path.endsWith("/animated.mp4")) return response.writeHead(200, { "content-type": "video/mp4", "cache-control": "no-store" }).end(FILM);
    const picture = /^\/(\w+)\/(thumbnail|animated)\./.exec(path);
    if (picture) {
      response.writeHead(200, { "content-type": "image/svg+xml", "cache-control": "no-store", "server-timing": "cache;desc=hit" });
      return response.end(poster((parseInt(picture[1].slice(0, 4), 16) + (picture[2] === "animated" ? 90 : 0)) % 360));
    }
    if (!/^\/(api|s3|auth)\//.test(path)) return page(path, response);
    const events = /^\/api\/videos\/(\w+)\/events$/.exec(path);
    if (events && videos.has(events[1])) {
      log.push({ method, path, query, status: 200 });
      return listen(events[1], response);
    }
    const [status, answer] = path.startsWith("/s3/multipart") ? multipart(method, path, query, body) : api(method, path, query, body);
    log.push({ method, path, query, status });
    response.writeHead(status, { "content-type": status < 400 ? "application/json" : "application/problem+json" });
    return response.end(answer === null ? undefined : JSON.stringify(answer));
  }

  async function storage(request, response) {
    const { pathname: path } = new URL(request.url, "http://x");
    const cors = { "access-control-allow-origin": "*", "access-control-expose-headers": "ETag, Location", "access-control-allow-methods": "PUT" };
    if (request.method === "OPTIONS") return response.writeHead(200, { ...cors, "access-control-allow-headers": "*" }).end();
    // A request that the browser aborts throws here, and is not counted.
    const body = await readBody(request);
    if (await hindered(request.method, path, response)) return log.push({ method: request.method, path, status: "trouble" });
    const done = () => log.push({ method: request.method, path, status: 200, bytes: body.length });
    if (path.startsWith("/whole/")) {
      const key = path.slice("/whole/".length);
      if (fake.stored.has(key)) return response.writeHead(412, cors).end("<Error><Code>PreconditionFailed</Code></Error>");
      done();
      fake.stored.set(key, body);
      arrived({ ...fake.granted.get(key), bytes: body.length });
      return response.writeHead(200, { ...cors, etag: etag(body) }).end();
    }
    const [, , uploadId, number] = path.split("/");
    const upload = unfinished.get(uploadId);
    if (!upload) {
      return response.writeHead(404, { ...cors, "content-type": "application/xml" }).end("<Error><Code>NoSuchUpload</Code></Error>");
    }
    done();
    upload.parts.set(Number(number), body);
    return response.writeHead(200, { ...cors, etag: etag(body) }).end();
  }

  const fake = {
    origin: "",
    storage: "",
    /** The stored objects by key. */
    stored: new Map(),
    granted: new Map(),
    log,
    /** The number of matching requests with a complete response. */
    count: (method, path) => log.filter((entry) => entry.method === method && path.test(entry.path) && entry.status !== "trouble").length,
    /** The numbers of the completely received parts, in ascending order: several are sent at once. */
    parts: () => log.filter(({ method, status, path }) => method === "PUT" && status === 200 && path.startsWith("/part/")).map(({ path }) => Number(path.split("/")[3])).sort((a, b) => a - b),
    unfinished,
    /** Whether these parts were received, and at most `twice` of them again, because their response was lost. */
    hasParts(numbers, twice) {
      const received = fake.parts();
      return [...new Set(received)].join() === numbers.join() && received.length <= numbers.length + twice;
    },
    /**
     * From now on, this many times: this status and body instead, or no response at all (after the call took effect,
     * with `after`).
     */
    trouble: (method, path, rule) => rules.push({ method, path, times: 1, ...rule }),
    calm: () => rules.splice(0),
    /** Whether videos become ready by themselves. */
    setAutomatic: (on) => (automatic = on),
    setLimits: (more) => (limits = { ...LIMITS, ...more }),
    addVideo(name, bytes, more) {
      const video = addVideo(name, bytes, more);
      videos.set(video.id, video);
      return video;
    },
    /** Sets the outcome of the newest video with this name. */
    finish(name, more = {}) {
      const video = [...videos.values()].reverse().find((one) => one.name === name && one.state === "processing");
      if (!video) return;
      Object.assign(video, { state: "ready", width: 1280, height: 720, duration_ms: 8300 }, more);
      tell(video.id);
    },
    /** Resets everything except the page. */
    clear() {
      for (const all of [videos, unfinished, fake.stored, fake.granted]) all.clear();
      for (const set of streams.values()) for (const stream of set) stream.end();
      streams.clear();
      log.length = 0;
      rules.length = 0;
      limits = LIMITS;
      automatic = true;
    },
    close: () => Promise.all(servers.map((server) => new Promise((done) => (server.close(done), server.closeAllConnections())))),
  };
  const etag = (bytes) => `"${createHash("md5").update(bytes).digest("hex")}"`;
  const serve = (answer) =>
    createServer((request, response) => {
      answer(request, response).catch(() => response.socket?.destroy());
    });
  const servers = [serve(worker), serve(storage)];
  for (const server of servers) await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  [fake.origin, fake.storage] = servers.map((server) => `http://127.0.0.1:${server.address().port}`);
  return fake;
}
