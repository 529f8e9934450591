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

/** Creates the module's instance again. */
function reinitialize() {
  console.log("The module is reinitialized after a fault");
  resetModule();
  state.criticalError = false;
}

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
    if (state.criticalError) reinitialize();
    const found = cacheLookupUrl(request, env, ctx);
    if (typeof found !== "string") return found;
    return cached(found, request.headers, () => handler(request, env, ctx));
  },
};
