// A Worker that only calls `cache.match`: on a miss it fetches from ORIGIN, once.

export default {
  async fetch(request, env, context) {
    const found = await caches.default.match(request);
    if (found) return found;
    const { pathname, search } = new URL(request.url);
    if (pathname === "/health") return new Response(null);
    const answer = await fetch(env.ORIGIN + pathname + search, { headers: request.headers });
    if (answer.status === 200) context.waitUntil(caches.default.put(request, answer.clone()));
    return answer;
  },
};
