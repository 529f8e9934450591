// Decides how a request reaches the Worker: straight to its handler. worker-build's own entry makes an object and two
// proxies for each request, a tenth of what a signed upload costs; it is asked after a fault only, since it begins anew.

import Entrypoint from "./build/index.js";

// What the module and worker-build's entry tell each other; where there is none, every request takes that entry.
const state = globalThis.__worker_init_state;
const { begin, fetch: handler } = Entrypoint.prototype;

/** What the cache has at this URL, or else what `look` finds. Parts of a picture are cut by the module. */
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
    const begun = begin(request, env, ctx);
    if (typeof begun !== "string") return begun;
    return cached(begun, request.headers, () => handler.call({ env, ctx }, request));
  },
};
