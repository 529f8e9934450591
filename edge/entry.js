// Entry point of the Worker: calls the module's handlers directly. worker-build's own entry creates an object and two
// proxies for each request, a tenth of the cost of a signed upload. It is used only after a fault, since it reinitializes
// the module.

import Entrypoint from "./build/index.js";

// State shared by the module and worker-build's entry; without it, every request uses that entry.
const state = globalThis.__worker_init_state;
const { cache_lookup_url: cacheLookupUrl, fetch: handler } = Entrypoint.prototype;

/** Returns the cache entry of this URL, or else the result of `look`. The module serves ranges of an image. */
function cached(url, headers, look) {
  if (headers.has("range")) return look();
  const tags = headers.get("if-none-match");
  const asked = tags === null ? url : new Request(url, { headers: { "if-none-match": tags } });
  const meets = (found) => found && (tags === null || found.status === 304);
  return caches.default.match(asked).then((found) => (meets(found) ? found : look()), look);
}

export default {
  fetch(request, env, ctx) {
    if (!state || state.criticalError) return new Entrypoint(ctx, env).fetch(request);
    const found = cacheLookupUrl(request, env, ctx);
    if (typeof found !== "string") return found;
    return cached(found, request.headers, () => handler.call({ env, ctx }, request));
  },
};
