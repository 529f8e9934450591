// The Worker with an injected fault: a request for `/fault` marks its module as a panic would.

import entry from "./entry.js";

export default {
  fetch(request, env, ctx) {
    if (new URL(request.url).pathname !== "/fault") return entry.fetch(request, env, ctx);
    globalThis.__worker_init_state.criticalError = true;
    return new Response(globalThis.__worker_init_state.instanceId);
  },
};
