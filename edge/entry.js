// Decides how a request reaches the Worker: straight to its handler. worker-build's own entry makes an object and two
// proxies for each request, a tenth of what a signed upload costs; it is asked after a fault only, since it begins anew.

import Entrypoint from "./build/index.js";

// What the module and worker-build's entry tell each other; where there is none, every request takes that entry.
const state = globalThis.__worker_init_state;
const handler = Entrypoint.prototype.fetch;

export default {
  fetch(request, env, ctx) {
    if (!state || state.criticalError) return new Entrypoint(ctx, env).fetch(request);
    return handler.call({ env, ctx }, request);
  },
};
