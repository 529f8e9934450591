/** Resolves after `ms` milliseconds, or when the signal is aborted. @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
export function sleep(ms: number, signal?: AbortSignal): Promise<void>;
