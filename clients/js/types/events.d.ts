/**
 * The video at each event, until its outcome is known. The server ends the stream every half minute; then it is opened
 * again, after the last event.
 * @param {import("./client.js").Api} client @param {string} path of the video @param {{ signal?: AbortSignal }} [options]
 * @returns {AsyncGenerator<Video, void>}
 */
export function events(client: import("./client.js").Api, path: string, { signal }?: {
    signal?: AbortSignal;
}): AsyncGenerator<Video, void>;
export function isSettled({ state }: {
    state: string;
}): boolean;
export type Video = import("../types/openapi.js").components["schemas"]["Video"];
