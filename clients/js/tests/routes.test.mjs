// The client has a method, or a URL builder, for each operation of the OpenAPI document.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { Glimpse, animatedUrl, clipUrl, originalUrl, pageUrl, storyboardUrl, thumbnailUrl } from "@glimpse-video/client";

const { paths } = JSON.parse(await readFile(new URL("../../../docs/openapi.json", import.meta.url), "utf8"));
const ORIGIN = "https://video.example.com";
const ID = "7yegr1n5zz040g2081040g2081";
const UPLOAD = { key: `uploads/owner/${ID}`, uploadId: "a/b" };
const file = new Blob(["x"], { type: "video/mp4" });

/** Each operation with its call, or with a function that returns its URL. */
const CALLS = {
  me: (g) => g.me(),
  openapi: (g) => g.openapi(),
  mintUploadToken: (g) => g.uploadTokens.create({ videos: 2 }),
  listUploads: (g) => g.uploads.list(),
  listVideos: (g) => g.videos.list({ limit: 3, cursor: ID }),
  createVideo: (g) => g.videos.create({ name: "a.mp4", size: 1 }),
  sendNamedVideo: (g) => g.videos.send(file, { name: "a b/c.mp4", wait: 5 }),
  deleteVideo: (g) => g.videos.delete(ID),
  showVideo: (g) => g.videos.get(ID),
  watchVideo: async (g) => {
    for await (const _ of g.videos.events(ID));
  },
  resetPoster: (g) => g.videos.resetPoster(ID),
  setPoster: (g) => g.videos.setPoster(ID, 1.23456),
  mintDeliveryTokens: (g) => g.videos.tokens(ID, { types: ["thumbnail"] }),
  login: (g) => g.loginUrl("/"),
  logout: (g) => g.logout(),
  health: (g) => g.health(),
  oembed: (g) => g.oembed(`${ORIGIN}/${ID}`, { maxwidth: 5 }),
  createMultipart: (g) => g.uploads.create({ filename: "a.mp4" }),
  abortMultipart: (g) => g.uploads.abort(UPLOAD),
  listParts: (g) => g.uploads.parts(UPLOAD),
  signParts: (g) => g.uploads.signParts(UPLOAD, [1, 2], 5),
  completeMultipart: (g) => g.uploads.complete(UPLOAD, [{ PartNumber: 1, ETag: "e" }]),
  signPart: (g) => g.uploads.signPart(UPLOAD, 1, 5),
  uppyParams: (g) => g.uploads.params({ filename: "a.mp4", type: "video/mp4" }),
  presign: (g) => g.uploads.presign({ method: "PUT", key: "a.mp4" }),
  videoPage: () => pageUrl(ORIGIN, ID),
  videoMeta: (g) => g.meta(ID),
  original: () => originalUrl(ORIGIN, ID),
  clipMp4: () => clipUrl(ORIGIN, ID),
  ...Object.fromEntries(["Gif", "Mp4", "Webp"].map((format) => [`animated${format}`, () => animatedUrl(ORIGIN, ID, { format: format.toLowerCase() })])),
  ...Object.fromEntries(["Avif", "Jpg", "Png", "Webp"].map((format) => [`thumbnail${format}`, () => thumbnailUrl(ORIGIN, ID, { format: format.toLowerCase() })])),
  ...Object.fromEntries(["Jpg", "Json", "M3u8", "Vtt", "Webp"].map((format) => [`storyboard${format}`, () => storyboardUrl(ORIGIN, ID, { format: format.toLowerCase() })])),
};
/** Operations that a client does not call. */
const OTHERS = {
  callback: "the identity provider sends browsers there",
  sendVideo: "the same as sendNamedVideo",
  videoPageWithSlash: "a redirect to videoPage",
  streamAnimation: "Cloudflare Stream's name of an animation",
  streamThumbnail: "Cloudflare Stream's name of a thumbnail",
};

const operations = Object.entries(paths).flatMap(([path, methods]) =>
  Object.entries(methods).filter(([, operation]) => operation.operationId).map(([method, { operationId, parameters = [] }]) => ({ path, method: method.toUpperCase(), operationId, parameters })),
);

/** The requests that a call sends to a deployment that answers with an empty object. */
async function requestsOf(url, call) {
  const requests = [];
  const fetch = async (target, init) => {
    requests.push({ target: new URL(target), ...init });
    return String(target).includes("/events") ? new Response(null, { status: 204 }) : Response.json({});
  };
  const result = await call(new Glimpse({ url, token: "eyJ", fetch }));
  return { requests, result };
}

test("every operation has a call with its method and path", async () => {
  for (const { path, method, operationId } of operations) {
    const isWithToken = operationId.endsWith("WithToken");
    const name = operationId.replace(/WithToken$/, "");
    if (Object.hasOwn(OTHERS, name)) continue;
    assert.ok(Object.hasOwn(CALLS, name), `${operationId} has no call: ${method} ${path}`);
    const base = isWithToken ? `${ORIGIN}/u/eyJ.a.b` : `${ORIGIN}/`;
    const { requests, result } = await requestsOf(base, CALLS[name]);
    assert.ok(requests.length <= 1);
    const { target, method: sent } = requests[0] ?? { target: new URL(result), method: "GET" };
    assert.equal(sent, method, operationId);
    const pattern = new RegExp(`^${path.replace(/[.]/g, "\\.").replace("{token}", "eyJ\\.a\\.b").replace(/\{\w+\}/g, "[^/]+")}$`);
    assert.match(target.pathname, pattern, operationId);
  }
});

test("every call is of an operation", () => {
  const known = new Set(operations.map(({ operationId }) => operationId));
  for (const name of [...Object.keys(CALLS), ...Object.keys(OTHERS)]) assert.ok(known.has(name), name);
});

test("a call has only the parameters of its operation", async () => {
  const named = JSON.parse(await readFile(new URL("../../../docs/openapi.json", import.meta.url), "utf8")).components.parameters;
  for (const { operationId, parameters } of operations) {
    if (!Object.hasOwn(CALLS, operationId)) continue;
    const known = parameters.map((parameter) => parameter.name ?? named[parameter.$ref.split("/").at(-1)].name);
    const { requests, result } = await requestsOf(ORIGIN, CALLS[operationId]);
    const { searchParams } = requests[0]?.target ?? new URL(result);
    for (const name of searchParams.keys()) assert.ok(known.includes(name), `${operationId}: ${name}`);
  }
});

test("every call carries the bearer token", async () => {
  for (const [name, call] of Object.entries(CALLS)) {
    const { requests } = await requestsOf(ORIGIN, call);
    for (const { headers } of requests) assert.equal(headers.authorization, "Bearer eyJ", name);
  }
});
