/** Resolves after `ms` milliseconds, or when the signal is aborted. @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
export function sleep(ms: number, signal?: AbortSignal): Promise<void>;
/**
 * A signal that is aborted with `outer`, or `ms` milliseconds after the last call of `restart`. `stop` ends it.
 * @param {number} ms @param {AbortSignal} [outer]
 */
export function timeLimit(ms: number, outer?: AbortSignal): {
    signal: AbortSignal;
    restart: () => void;
    stop: () => void;
};
