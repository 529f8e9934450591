// Entry point of the Worker: calls the module's handlers, and reinitializes the module after a fault.

import { __wbg_reset_state as resetModule, cache_lookup_url as cacheLookupUrl, fetch as handler } from "./build/index.js";

// The module's panic hook sets `criticalError`; its memory and its tasks are then unusable.
const state = globalThis.__worker_init_state;

// V8 keeps 10 frames, all of which can be those of the panic handler.
Error.stackTraceLimit = 100;

// A trap in a task of the module, of which no caller learns.
addEventListener("error", ({ error }) => {
  if (!(error instanceof WebAssembly.RuntimeError)) return;
  console.error("Critical", error);
  state.criticalError = true;
});

/** The headers that the module reads of most requests of its API, as `platform` in the module lists them. */
const HEADERS = ["authorization", "origin", "content-type", "content-length"];

/**
 * Method, URL and headers as one text: the module would call for each of them. "\r" is in no value. A GET has no body to
 * describe, and without a token most are for images, of which no header is read.
 */
function head({ method, url, headers }) {
  let text = `${method}\n${url}`;
  const count = method !== "GET" ? HEADERS.length : headers.has("authorization") ? 2 : 0;
  for (let place = 0; place < count; place++) text += `\n${headers.get(HEADERS[place]) ?? "\r"}`;
  return text;
}

/** Creates the module's instance again. */
function reinitialize() {
  console.log("The module is reinitialized after a fault");
  resetModule();
  state.criticalError = false;
}

/** A copy of a private image, or its 304, that ends when the credential of its request expires, in Unix seconds. */
function untilExpiry(found, expires) {
  const lifetime = /max-age=(\d+)/.exec(found.headers.get("cache-control"))?.[1] ?? 0;
  const left = Math.max(expires - Math.floor(Date.now() / 1000), 0);
  const copy = new Response(found.body, found);
  copy.headers.set("cache-control", `private, max-age=${Math.min(lifetime, left)}`);
  return copy;
}

/**
 * Returns the cache entry of this URL, which may have the expiry of a credential in front of it, or else the result of
 * `look`. The module serves ranges of an image.
 */
function cached(entry, request, look) {
  const { headers } = request;
  if (headers.has("range")) return look();
  const space = entry.indexOf(" ");
  const url = entry.slice(space + 1);
  const tags = headers.get("if-none-match");
  const lookup = tags === null ? url : url === request.url ? request : new Request(url, { headers: { "if-none-match": tags } });
  const answer = (found) => {
    if (!found || (tags !== null && found.status !== 304)) return look();
    return space < 0 ? found : untilExpiry(found, Number(entry.slice(0, space)));
  };
  return caches.default.match(lookup).then(answer, look);
}

/** The longest JSON body that is read before the module is called, in bytes. */
const MAX_BODY_BYTES = 64 * 1024;

/** Whether the body of this request is JSON of a declared length that the module would only wait for. */
function hasShortJson({ method, headers }) {
  if (method !== "POST") return false;
  const length = headers.get("content-length");
  return length !== null && Number(length) <= MAX_BODY_BYTES && /^application\/json *(;|$)/i.test(headers.get("content-type") ?? "");
}

/** Answers a request whose body was read, or has to be read by the module. */
function respond(request, env, ctx, body) {
  if (state.criticalError) reinitialize();
  return handler(head(request), body, request, env, ctx);
}

export default {
  fetch(request, env, ctx) {
    if (hasShortJson(request)) {
      const answer = (buffer) => respond(request, env, ctx, buffer && new Uint8Array(buffer));
      return request.arrayBuffer().then(answer, () => answer());
    }
    if (state.criticalError) reinitialize();
    const found = cacheLookupUrl(head(request), request, env, ctx);
    if (typeof found !== "string") return found;
    return cached(found, request, () => respond(request, env, ctx));
  },
};
