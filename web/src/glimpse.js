// The deployment that serves this page; the caller is known by the session cookie.

import { Api } from "../../clients/js/src/client.js";

// Tests import pure functions of modules that import this one, without a page.
export const glimpse = new Api({ url: globalThis.location?.origin ?? "https://video.example.com" });

/** Whether the message of an error is for users. The chunks of the page have their own copies of the class. */
export const isGlimpseError = (error) => error?.name === "GlimpseError";

/** The signed-in user; null if there is none. */
export async function signedInUser() {
  try {
    return await glimpse.me();
  } catch (error) {
    if (error.status === 401) return null;
    throw error;
  }
}

/** Links to a private video's images that are valid for this many seconds, by file name. */
export async function privateLinks(id, seconds) {
  const { tokens } = await glimpse.videos.tokens(id, { types: ["thumbnail", "animated"], expires_in: seconds });
  const files = tokens.flatMap(({ urls }) => Object.entries(urls));
  return Object.fromEntries(files.map(([file, { short }]) => [file, short]));
}

/** Deletes a video. One that is already deleted is not an error. */
export async function deleteVideo(id) {
  try {
    await glimpse.videos.delete(id);
  } catch (error) {
    if (![404, 410].includes(error.status)) throw error;
  }
}
