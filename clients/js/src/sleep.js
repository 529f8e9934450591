// Time: a delay that a signal ends, and a time limit of a request.

/** Resolves after `ms` milliseconds, or when the signal is aborted. @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
export function sleep(ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) end();
  });
}

/**
 * A signal that is aborted with `outer`, or `ms` milliseconds after the last call of `restart`. `stop` ends it.
 * @param {number} ms @param {AbortSignal} [outer]
 */
export function timeLimit(ms, outer) {
  const controller = new AbortController();
  const abort = () => controller.abort(outer?.reason);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const restart = () => {
    clearTimeout(timer);
    timer = setTimeout(abort, ms);
  };
  const stop = () => {
    clearTimeout(timer);
    outer?.removeEventListener("abort", abort);
  };
  outer?.addEventListener("abort", abort);
  if (outer?.aborted) abort();
  restart();
  return { signal: controller.signal, restart, stop };
}
